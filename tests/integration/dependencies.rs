//! Who may depend on whom, as the design says.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// A package and the packages of ours that it may need, in its product code.
const ALLOWED: [(&str, &[&str]); 4] = [
    ("pool", &[]),
    ("api", &["pool"]),
    ("host-runner", &["api", "pool"]),
    ("millpond", &["api", "pool"]),
];

/// What would let decisions depend on time, chance or the outside world.
const IMPURE: [&str; 8] = [
    "tokio",
    "hyper",
    "rand",
    "getrandom",
    "rustix",
    "libc",
    "jiff",
    "russh",
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
