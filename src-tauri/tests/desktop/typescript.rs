//! The window's TypeScript is generated from the Rust types, committed, and never edited by hand.

use std::any::TypeId;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use api::{ErrorCode, Snapshot};
use millpond::contract::{Call, CommandError, CommandResults, WindowEvent};
use ts_rs::{Config, TS, TypeVisitor};

/// Set to `1` to write the file instead of comparing it.
const UPDATE: &str = "UPDATE_GENERATED";

const HEADER: &str = "// Generated from Rust: src-tauri/src/contract, host-runner/api and host-runner/pool. Never edit by hand.\n\
    // Write it anew: UPDATE_GENERATED=1 cargo test -p millpond --test desktop typescript\n";

/// Declarations by name, so that the file's order depends on nothing but the names.
struct Declarations {
    config: Config,
    seen: HashSet<TypeId>,
    by_name: BTreeMap<String, String>,
}

impl TypeVisitor for Declarations {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        if !self.seen.insert(TypeId::of::<T>()) {
            return;
        }
        // Only types that would have a file of their own are declared; a list or an option of one is written where it is used.
        if T::output_path().is_some() {
            let mut text = T::docs().unwrap_or_default();
            text.push_str("export ");
            text.push_str(&T::decl(&self.config));
            text.push('\n');
            let clash = self.by_name.insert(T::ident(&self.config), text);
            assert_eq!(clash, None, "two types are called {}", T::ident(&self.config));
        }
        T::visit_dependencies(self);
        T::visit_generics(self);
    }
}

fn generated() -> String {
    let mut declarations = Declarations {
        config: Config::new(),
        seen: HashSet::new(),
        by_name: BTreeMap::new(),
    };
    declarations.visit::<Call>();
    declarations.visit::<CommandResults>();
    declarations.visit::<CommandError>();
    declarations.visit::<WindowEvent>();
    declarations.visit::<ErrorCode>();
    declarations.visit::<Snapshot>();
    declarations
        .by_name
        .values()
        .fold(HEADER.to_owned(), |file, declaration| file + "\n" + declaration)
}

#[test]
fn the_committed_typescript_is_what_the_rust_types_say() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../ui/src/api/generated/contract.ts");
    let expected = generated();
    if std::env::var(UPDATE).is_ok_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().expect("the file is in a folder")).expect("ui/ can be written");
        std::fs::write(&path, &expected).expect("ui/ can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == expected,
        "{} has drifted from the Rust types; run with {UPDATE}=1",
        path.display()
    );
}
