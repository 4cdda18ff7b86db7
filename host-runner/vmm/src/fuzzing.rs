//! What is fuzzed: an entry for each place where bytes come in that nobody here has chosen.
//!
//! `make fuzz` throws bytes at each entry (`fuzz/`, a package of its own with a target for each), and the tests throw the bytes at them
//! that it has found worth keeping (`fuzz/corpus`). An entry finds something by panicking, by never coming back, or by taking gigabytes.

use std::sync::Once;

use vmm_sys_util::signal::block_signal;

use crate::devices::serial;
use crate::devices::virtio::{balloon, block, console, entropy, mmio, net, vsock};
use crate::{api, boot, config, snapshot};

/// An entry: does with the bytes what the monitor would.
pub type Entry = fn(&[u8]);

/// The entries by name: that of the target, and of the folder of its corpus.
pub const ENTRIES: [(&str, Entry); 14] = [
    ("api", api::fuzz::fuzz),
    ("balloon", balloon::fuzz::fuzz),
    ("block_qcow2", block::fuzz::fuzz_qcow2),
    ("block_raw", block::fuzz::fuzz),
    ("config", config::fuzz::fuzz),
    ("console", console::fuzz::fuzz),
    ("entropy", entropy::fuzz::fuzz),
    ("kernel", boot::fuzz::fuzz),
    ("net", net::fuzz::fuzz),
    ("net_pairs", net::fuzz::fuzz_pairs),
    ("serial", serial::fuzz::fuzz),
    ("state", snapshot::fuzz::fuzz),
    ("transport", mmio::fuzz::fuzz),
    ("vsock", vsock::fuzz::fuzz),
];

/// Runs the entry of that name.
///
/// # Panics
///
/// Where there is none of that name; and where the entry does, which is what a fuzzer looks for.
#[expect(clippy::panic, reason = "a target that has no entry is found out at once")]
pub fn run(name: &str, data: &[u8]) {
    // The monitor ignores SIGPIPE, as every Rust program does; the fuzzer's own `main` does not, and a closed socket would end it.
    static AS_IN_THE_MONITOR: Once = Once::new();
    AS_IN_THE_MONITOR.call_once(|| {
        let _blocked_already = block_signal(libc::SIGPIPE);
    });
    match ENTRIES.iter().find(|(known, _)| *known == name) {
        Some((_, entry)) => entry(data),
        None => panic!("there is no entry {name}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn fuzz_folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
    }

    fn names_in(folder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .file_stem()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    }

    #[test]
    fn each_entry_has_a_target_and_a_corpus() {
        let entries: BTreeSet<String> = ENTRIES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names_in(&fuzz_folder().join("fuzz_targets")), entries);
        assert_eq!(names_in(&fuzz_folder().join("corpus")), entries);
        let manifest = fs::read_to_string(fuzz_folder().join("Cargo.toml")).unwrap();
        for name in entries {
            assert!(manifest.contains(&format!("\nname = \"{name}\"\n")), "{name}");
        }
    }

    #[test]
    fn what_a_fuzzer_found_worth_keeping_is_survived() {
        for (name, entry) in ENTRIES {
            let mut inputs = 0;
            for file in fs::read_dir(fuzz_folder().join("corpus").join(name)).unwrap() {
                entry(&fs::read(file.unwrap().path()).unwrap());
                inputs += 1;
            }
            assert!(inputs > 0, "{name}");
        }
    }
}
