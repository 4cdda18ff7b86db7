//! The program: see [`host_runner::cli`].

use std::process::ExitCode;

use clap::Parser;
use host_runner::{cli::Cli, commands};
use rustix::fs::Mode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What this program makes is for its user alone; what others need is opened by name where it is made.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    // Two threads carry an agent's work, and idle ones cost memory on every machine of the pool.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(commands::run(cli));
            // A read of stdin that never ends must not keep the program from ending.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("host-runner: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
