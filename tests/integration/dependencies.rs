//! Who may depend on whom, as the design says.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// A package and the packages of ours that it may need, in its product code.
const ALLOWED: [(&str, &[&str]); 5] = [
    ("pool", &[]),
    ("microvm", &[]),
    ("api", &["pool"]),
    ("host-runner", &["api", "pool"]),
    ("millpond", &["api", "pool"]),
];

/// What would let decisions depend on time, chance or the outside world.
const IMPURE: [&str; 7] = ["tokio", "hyper", "getrandom", "rustix", "libc", "jiff", "russh"];

/// What in a source file asks the world instead of a seed, a clock that is passed in, or a text that is handed over.
const ASKS_THE_WORLD: [&str; 9] = [
    "rand::rng(",
    "thread_rng",
    "from_os_rng",
    "OsRng",
    "SysRng",
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::net",
];

#[test]
fn packages_depend_on_each_other_only_as_the_design_allows() {
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .expect("cargo metadata");
    let ours: BTreeSet<&str> = metadata
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    for package in &metadata.packages {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name.as_str()) else {
            assert_eq!(
                package.name.as_str(),
                "tests",
                "a package that this test does not know"
            );
            continue;
        };
        let needs = |dependency: &&cargo_metadata::Dependency| dependency.kind != DependencyKind::Development;
        for dependency in package.dependencies.iter().filter(needs) {
            let name = dependency.name.as_str();
            assert!(
                !ours.contains(name) || allowed.contains(&name),
                "{} must not depend on {name}",
                package.name
            );
            assert!(
                package.name.as_str() != "pool" || !IMPURE.contains(&name),
                "pool decides purely, and must not depend on {name}"
            );
        }
    }
}

#[test]
fn the_pool_asks_neither_chance_nor_a_clock_nor_a_file() {
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../host-runner/pool/src");
    let mut folders = vec![sources];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a source file");
            read += 1;
            for words in ASKS_THE_WORLD {
                assert!(!text.contains(words), "{} has {words}", path.display());
            }
        }
    }
    assert!(read > 50, "only {read} files were looked at");
}
