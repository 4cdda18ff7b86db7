//! Builds the window's page before the window: Tauri embeds what lies in `ui/dist`.
//!
//! `MILLPOND_SKIP_UI_BUILD=1` takes `ui/dist` as it is, and where there is none a page that says so.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::time::SystemTime;

const SKIP: &str = "MILLPOND_SKIP_UI_BUILD";

fn main() {
    println!("cargo:rerun-if-changed=src/history/migrations");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={SKIP}");
    if std::env::var_os("CARGO_FEATURE_WINDOW").is_none() {
        return;
    }
    let ui = PathBuf::from("../ui");
    for source in [
        "src",
        "public",
        "index.html",
        "package.json",
        "package-lock.json",
        "vite.config.ts",
        "tsconfig.json",
    ] {
        let source = ui.join(source);
        // Cargo takes a missing file for a changed one.
        if source.exists() {
            println!("cargo:rerun-if-changed={}", source.display());
        }
    }
    if std::env::var(SKIP).is_ok_and(|skip| skip == "1") {
        explain_missing_page(&ui);
    } else {
        build_page(&ui);
    }
    #[cfg(feature = "window")]
    tauri_build::build();
}

fn build_page(ui: &Path) {
    let installed = modified(&ui.join("node_modules/.package-lock.json"));
    let locked = modified(&ui.join("package-lock.json"));
    if installed.is_none() || installed < locked {
        npm(ui, &["ci", "--no-audit", "--no-fund"]);
    }
    npm(ui, &["run", "build"]);
}

fn npm(ui: &Path, arguments: &[&str]) {
    let program = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let told = format!("npm {}", arguments.join(" "));
    match Command::new(program).args(arguments).current_dir(ui).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            for line in String::from_utf8_lossy(&text)
                .lines()
                .rev()
                .take(40)
                .collect::<Vec<_>>()
                .iter()
                .rev()
            {
                println!("cargo::error={line}");
            }
            fail(&format!(
                "the window's page was not built: `{told}` in ui/ failed ({})",
                output.status
            ));
        }
        Err(error) => fail(&format!(
            "the window's page was not built: `{told}` cannot be run ({error}); install Node.js 20 or newer with npm \
             (`make setup`, or Debian's nodejs and npm), or set {SKIP}=1"
        )),
    }
}

fn explain_missing_page(ui: &Path) {
    let dist = ui.join("dist");
    let page = dist.join("index.html");
    if page.exists() {
        return;
    }
    let text = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Millpond</title>\
         <p>This build has no page: it was made with {SKIP}=1. Build it again without."
    );
    if let Err(error) = std::fs::create_dir_all(&dist).and_then(|()| std::fs::write(&page, text)) {
        fail(&format!("cannot write {}: {error}", page.display()));
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|facts| facts.modified()).ok()
}

fn fail(reason: &str) -> ! {
    println!("cargo::error={reason}");
    exit(1)
}
