//! The distribution's packages: which kernel it offers, and fetching and unpacking packages without installing them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::BuildTinyError;
use super::programs::Program;

const QUERY_DEADLINE: Duration = Duration::from_secs(60);
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(600);
const UNPACK_DEADLINE: Duration = Duration::from_secs(120);

/// A package at a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
}

/// The packages that hold the distribution's present kernel for virtual machines and its modules.
pub(super) async fn kernel_packages() -> Result<Vec<Package>, BuildTinyError> {
    let arch = Program::new("dpkg", QUERY_DEADLINE)
        .args(["--print-architecture"])
        .stdout()
        .await?;
    let arch = String::from_utf8_lossy(&arch).trim().to_owned();
    // Debian's small kernel for clouds, Ubuntu's for virtual machines, and then anything that boots.
    let tried = [
        format!("linux-image-cloud-{arch}"),
        "linux-image-virtual".to_owned(),
        "linux-image-kvm".to_owned(),
        "linux-image-generic".to_owned(),
        format!("linux-image-{arch}"),
    ];
    for meta in &tried {
        let Some(image) = dependencies(meta)
            .await?
            .into_iter()
            .find(|name| is_versioned_image(name))
        else {
            continue;
        };
        // Ubuntu keeps the modules in a package of their own, which the kernel's depends on.
        let modules = dependencies(&image)
            .await?
            .into_iter()
            .find(|name| name.starts_with("linux-modules-"));
        return versions(&[vec![image], modules.into_iter().collect()].concat()).await;
    }
    Err(BuildTinyError::NoKernelPackage {
        tried: tried.to_vec(),
    })
}

async fn dependencies(package: &str) -> Result<Vec<String>, BuildTinyError> {
    let output = Program::new("apt-cache", QUERY_DEADLINE)
        .args(["depends", "--important", package])
        .output()
        .await?;
    // A package that apt does not know is an answer, not a failure.
    Ok(if output.status.success() {
        parse_dependencies(&String::from_utf8_lossy(&output.stdout))
    } else {
        Vec::new()
    })
}

fn parse_dependencies(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.trim_start_matches([' ', '|']).strip_prefix("Depends: "))
        .map(|name| name.trim().to_owned())
        .filter(|name| is_package_name(name))
        .collect()
}

/// Whether it can be a package's name: it becomes an argument, and must not be an option.
fn is_package_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
}

fn is_versioned_image(name: &str) -> bool {
    name.strip_prefix("linux-image-")
        .map(|rest| rest.strip_prefix("unsigned-").unwrap_or(rest))
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The versions that apt would fetch.
pub(super) async fn versions(names: &[String]) -> Result<Vec<Package>, BuildTinyError> {
    let text = Program::new("apt-cache", QUERY_DEADLINE)
        .args(["show", "--no-all-versions"])
        .args(names)
        .if_failed("refresh apt's lists with `sudo apt-get update`")
        .stdout()
        .await?;
    Ok(parse_versions(&String::from_utf8_lossy(&text)))
}

fn parse_versions(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    let mut name = None;
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("Package: ") {
            name = Some(value.trim().to_owned());
        } else if let Some(version) = line.strip_prefix("Version: ")
            && let Some(name) = name.take()
        {
            packages.push(Package {
                name,
                version: version.trim().to_owned(),
            });
        }
    }
    packages
}

/// Fetches the packages and unpacks them into `folder`, which is made. Installs nothing, and needs no root.
pub(super) async fn unpack(packages: &[Package], folder: &Path) -> Result<(), BuildTinyError> {
    let archives = folder.with_extension("archives");
    for made in [folder, &archives] {
        std::fs::create_dir(made).map_err(|err| BuildTinyError::io("create", made, err))?;
    }
    Program::new("apt-get", DOWNLOAD_DEADLINE)
        // As root, apt would fetch as a user of its own that cannot write here.
        .args(["-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2", "download"])
        .args(packages.iter().map(|package| format!("{}={}", package.name, package.version)))
        .current_dir(&archives)
        .if_failed("check that this machine reaches its package mirror and that the disk has room, refresh apt's lists with `sudo apt-get update`, and try again")
        .stdout()
        .await?;
    for archive in archives_in(&archives)? {
        Program::new("dpkg-deb", UNPACK_DEADLINE)
            .args([Path::new("-x"), &archive, folder])
            .if_failed("check that the disk has room for about 250 MB")
            .stdout()
            .await?;
        std::fs::remove_file(&archive).map_err(|err| BuildTinyError::io("remove", archive, err))?;
    }
    Ok(())
}

fn archives_in(folder: &Path) -> Result<Vec<PathBuf>, BuildTinyError> {
    let failed = |err| BuildTinyError::io("read", folder, err);
    let mut archives = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            archives.push(path);
        }
    }
    archives.sort();
    Ok(archives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versioned_kernel_is_found_behind_the_meta_package() {
        let debian = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        let ubuntu =
            "linux-image-virtual\n  Depends: linux-image-6.8.0-90-generic\n  Depends: intel-microcode\n";
        for text in [debian, ubuntu] {
            let found: Vec<_> = parse_dependencies(text)
                .into_iter()
                .filter(|name| is_versioned_image(name))
                .collect();
            assert_eq!(found.len(), 1, "{found:?}");
        }
    }

    #[test]
    fn virtual_packages_alternatives_and_options_are_not_taken_for_names() {
        let text = "linux-image-x\n |Depends: initramfs-tools\n  Depends: <linux-initramfs-tool>\n    dracut\n  Depends: --yes\n";
        assert_eq!(parse_dependencies(text), ["initramfs-tools"]);
        assert!(!is_versioned_image("linux-image-generic"));
        assert!(is_versioned_image("linux-image-unsigned-6.8.0-90-generic"));
    }

    #[test]
    fn each_package_gets_its_first_version() {
        let text = "Package: a\nVersion: 1:2-3\nDescription: x\n Version: 9\n\nPackage: b\nVersion: 4\n";
        let package = |name: &str, version: &str| Package {
            name: name.to_owned(),
            version: version.to_owned(),
        };
        assert_eq!(parse_versions(text), [package("a", "1:2-3"), package("b", "4")]);
    }
}
