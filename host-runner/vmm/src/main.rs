//! `microvm`: runs one machine.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use microvm::config::MachineConfig;

/// The most bytes of a configuration.
const CONFIG_MAX: u64 = 256 << 10;

/// Runs one virtual machine on KVM.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a machine until it ends. Exits with 0 when it was turned off, 10 when it reset itself, 1 when it failed
    Run {
        /// The machine's configuration, a JSON file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print what this machine's processor offers to guests, for a CPU model that several machines share
    CpuFeatures,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run { config } => run(&config),
        Command::CpuFeatures => cpu_features(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("microvm: {}", chain(&*error));
        ExitCode::FAILURE
    })
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn run(path: &PathBuf) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let config = read_config(path).map_err(|err| format!("cannot read {}: {err}", path.display()))?;
    let ending = microvm::run::run(&config)?;
    eprintln!("microvm: {ending}");
    Ok(ExitCode::from(ending.exit_code()))
}

fn read_config(path: &PathBuf) -> io::Result<MachineConfig> {
    let mut text = String::new();
    File::open(path)?.take(CONFIG_MAX).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

fn cpu_features() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let kvm = kvm_ioctls::Kvm::new().map_err(|err| format!("cannot open /dev/kvm: {err}"))?;
    println!(
        "{}",
        serde_json::to_string_pretty(&microvm::cpu::feature_words(&kvm)?)?
    );
    Ok(ExitCode::SUCCESS)
}
