//! The window.

// Without it a console window opens beside the app on Windows.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

mod graphics;
mod window;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use api::client::ssh::SshOptions;
use clap::Parser;
use millpond::app::App;
use millpond::cli::CommonOptions;
use millpond::machines::{LocalAgent, RealDial};

/// One pool of cloud servers out of the machines that you own.
#[derive(Debug, Parser)]
#[command(name = "millpond", version)]
struct Options {
    #[command(flatten)]
    common: CommonOptions,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let started = Instant::now();
    let options = Options::parse();
    options.common.start_logging();
    match run(&options, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millpond: {}", millpond::error::with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options, started: Instant) -> Result<(), Failure> {
    let data_dir = options.common.data_dir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    tauri::async_runtime::set(runtime.handle().clone());
    let app = runtime.block_on(async {
        let local = LocalAgent::from_environment(data_dir.join("host-runner.log"));
        let dial = Arc::new(RealDial::new(local, SshOptions::from_environment()));
        App::start(&data_dir, dial).await
    })?;
    let shown = window::show(Arc::clone(&app), started);
    // The window is gone; what was told before is still written down.
    runtime.block_on(app.shut_down());
    Ok(shown?)
}
