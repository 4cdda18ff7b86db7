//! Which of the kernel's modules the guest loads, and in which order.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::BuildTinyError;
use super::programs::Program;

/// Without these the guest has no network, no disk, and does not hear the power button.
const REQUIRED: [&str; 5] = ["virtio_pci", "virtio_blk", "virtio_net", "evdev", "button"];
/// These make it better where the kernel has them: devices without PCI, randomness from the machine, and unused memory that goes back
/// to it.
const OPTIONAL: [&str; 3] = ["virtio_mmio", "virtio_rng", "virtio_balloon"];

/// What identifies this choice: any change of it is a change of the image.
pub(super) fn recipe() -> Vec<u8> {
    REQUIRED
        .iter()
        .chain(&OPTIONAL)
        .flat_map(|name| format!("{name}\0").into_bytes())
        .collect()
}

/// Debian's generic kernel has some 4,000 modules; a tree beyond this is not a kernel's.
const FILES_MAX: usize = 50_000;
const DECOMPRESS_DEADLINE: Duration = Duration::from_secs(60);

/// A module, ready for `insmod`.
#[derive(Debug)]
pub(super) struct Module {
    /// With underscores for hyphens, as the kernel names it.
    pub(super) name: String,
    /// The object file, decompressed.
    pub(super) content: Vec<u8>,
}

/// The modules to load, each after those that it depends on. `tree` is the kernel's folder below `lib/modules`.
pub(super) async fn choose(tree: &Path, release: &str) -> Result<Vec<Module>, BuildTinyError> {
    let builtin = read_builtin(tree)?;
    let files = index(&tree.join("kernel"))?;
    let mut contents: HashMap<String, Vec<u8>> = HashMap::new();
    let mut depends: HashMap<String, Vec<String>> = HashMap::new();
    let mut wanted: VecDeque<String> = REQUIRED.iter().chain(&OPTIONAL).map(|&n| n.to_owned()).collect();
    while let Some(name) = wanted.pop_front() {
        if builtin.contains(&name) || contents.contains_key(&name) {
            continue;
        }
        let Some(file) = files.get(&name) else {
            if OPTIONAL.contains(&name.as_str()) {
                continue;
            }
            return Err(BuildTinyError::NoModule {
                kernel: release.to_owned(),
                module: name,
            });
        };
        let content = read_module(file).await?;
        let needs = parse_depends(&content);
        wanted.extend(needs.iter().cloned());
        depends.insert(name.clone(), needs);
        contents.insert(name, content);
    }
    Ok(load_order(&depends)
        .into_iter()
        .filter_map(|name| contents.remove(&name).map(|content| Module { name, content }))
        .collect())
}

/// Each module after those that it depends on, for the wanted ones in their own order. A module in a circle is placed once.
fn load_order(depends: &HashMap<String, Vec<String>>) -> Vec<String> {
    fn place(
        name: &str,
        depends: &HashMap<String, Vec<String>>,
        seen: &mut HashSet<String>,
        order: &mut Vec<String>,
    ) {
        // Marked before its dependencies are, so that a circle ends.
        let Some(needs) = depends.get(name) else { return };
        if !seen.insert(name.to_owned()) {
            return;
        }
        for need in needs {
            place(need, depends, seen, order);
        }
        order.push(name.to_owned());
    }
    let (mut seen, mut order) = (HashSet::new(), Vec::new());
    for name in REQUIRED.iter().chain(&OPTIONAL) {
        place(name, depends, &mut seen, &mut order);
    }
    order
}

/// The names behind `depends=` in a module's `.modinfo`: the package has no `modules.dep`, which is made at installation.
fn parse_depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = module.get(at + KEY.len()..).unwrap_or_default();
    let end = value.iter().position(|&b| b == 0).unwrap_or(0);
    String::from_utf8_lossy(value.get(..end).unwrap_or_default())
        .split(',')
        .filter(|name| !name.is_empty())
        .map(normalized)
        .collect()
}

fn normalized(name: &str) -> String {
    name.replace('-', "_")
}

/// `kernel/drivers/net/virtio-net.ko.xz` → `virtio_net`; `None` for a file that is no module.
fn module_name(file_name: &str) -> Option<String> {
    let stem = file_name
        .strip_suffix(".xz")
        .or_else(|| file_name.strip_suffix(".zst"))
        .or_else(|| file_name.strip_suffix(".gz"))
        .unwrap_or(file_name);
    let name = stem.strip_suffix(".ko").filter(|name| !name.is_empty())?;
    Some(normalized(name))
}

fn read_builtin(tree: &Path) -> Result<HashSet<String>, BuildTinyError> {
    let path = tree.join("modules.builtin");
    let text = std::fs::read_to_string(&path).map_err(|err| BuildTinyError::io("read", &path, err))?;
    Ok(text
        .lines()
        .filter_map(|line| module_name(line.rsplit('/').next()?))
        .collect())
}

/// All modules below a folder, by name.
fn index(root: &Path) -> Result<HashMap<String, PathBuf>, BuildTinyError> {
    let mut files = HashMap::new();
    let mut folders = vec![root.to_owned()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        let failed = |err| BuildTinyError::io("read", &folder, err);
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            seen += 1;
            if seen > FILES_MAX {
                return Ok(files);
            }
            // Links are not followed: they could lead out of the package.
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file()
                && let Some(name) = entry.file_name().to_str().and_then(module_name)
            {
                files.insert(name, entry.path());
            }
        }
    }
    Ok(files)
}

async fn read_module(file: &Path) -> Result<Vec<u8>, BuildTinyError> {
    let (program, if_missing) = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => ("xz", "install it with `sudo apt-get install xz-utils`"),
        Some("zst") => ("zstd", "install it with `sudo apt-get install zstd`"),
        Some("gz") => ("gzip", "install it with `sudo apt-get install gzip`"),
        _ => {
            return tokio::fs::read(file)
                .await
                .map_err(|err| BuildTinyError::io("read", file, err));
        }
    };
    Program::new(program, DECOMPRESS_DEADLINE)
        .args([Path::new("-dc"), file])
        .if_missing(if_missing)
        .stdout()
        .await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn depends(pairs: &[(&str, &[&str])]) -> HashMap<String, Vec<String>> {
        pairs
            .iter()
            .map(|(name, needs)| ((*name).to_owned(), needs.iter().map(|&n| n.to_owned()).collect()))
            .collect()
    }

    #[test]
    fn a_module_comes_after_what_it_depends_on_and_only_once() {
        let order = load_order(&depends(&[
            ("virtio_pci", &["virtio", "virtio_ring"]),
            ("virtio_ring", &["virtio"]),
            ("virtio", &[]),
            ("virtio_blk", &["virtio", "virtio_ring"]),
        ]));
        assert_eq!(order, ["virtio", "virtio_ring", "virtio_pci", "virtio_blk"]);
    }

    #[test]
    fn a_circle_of_modules_ends() {
        let order = load_order(&depends(&[("virtio_pci", &["a"]), ("a", &["virtio_pci"])]));
        assert_eq!(order, ["a", "virtio_pci"]);
    }

    #[test]
    fn dependencies_are_read_from_the_modules_own_information() {
        let module = b"\x7fELF..\0license=GPL\0depends=virtio,virtio-ring\0retpoline=Y\0";
        assert_eq!(parse_depends(module), ["virtio", "virtio_ring"]);
        assert!(parse_depends(b"\0depends=\0").is_empty());
        assert!(parse_depends(b"\0depends=unterminated").is_empty());
    }

    #[test]
    fn names_are_the_kernels_own() {
        assert_eq!(module_name("virtio-rng.ko.zst").as_deref(), Some("virtio_rng"));
        assert_eq!(module_name("evdev.ko").as_deref(), Some("evdev"));
        assert_eq!(module_name(".ko"), None);
        assert_eq!(module_name("modules.order"), None);
    }

    fn tree(modules: &[(&str, &[u8])], builtin: &str) -> TempDir {
        let tree = TempDir::new().unwrap();
        let drivers = tree.path().join("kernel/drivers");
        std::fs::create_dir_all(&drivers).unwrap();
        std::fs::write(tree.path().join("modules.builtin"), builtin).unwrap();
        for (name, content) in modules {
            std::fs::write(drivers.join(name), content).unwrap();
        }
        tree
    }

    #[tokio::test]
    async fn built_in_modules_are_not_loaded_and_a_missing_one_is_named() {
        let builtin =
            "kernel/virtio/virtio_pci.ko\nkernel/virtio_blk.ko\nkernel/evdev.ko\nkernel/button.ko\n";
        let complete = tree(&[("virtio_net.ko", b"\0depends=\0")], builtin);
        let chosen = choose(complete.path(), "6.1").await.unwrap();
        assert_eq!(
            chosen
                .iter()
                .map(|module| module.name.as_str())
                .collect::<Vec<_>>(),
            ["virtio_net"]
        );

        let lacking = tree(&[("virtio_net.ko", b"\0depends=failover\0")], builtin);
        let err = choose(lacking.path(), "6.1").await.unwrap_err();
        assert_eq!(err.to_string(), "the kernel 6.1 has no module failover");
    }

    proptest! {
        #[test]
        fn no_module_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse_depends(&bytes);
            let _ = parse_depends(&[b"\0depends=", bytes.as_slice()].concat());
        }
    }
}
