//! `microvm`: runs one machine.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use microvm::config::MachineConfig;
use microvm::error_text::with_causes;
use microvm::panics;
use microvm::sandbox::{self, Account, Confinement, Seccomp};

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
        /// What a system call that is none of a thread's business does
        #[arg(long, value_enum, default_value_t)]
        seccomp: Seccomp,
        /// Whom the process becomes when all files are open; only root can
        #[arg(long, requires = "gid", value_parser = clap::value_parser!(u32).range(1..))]
        uid: Option<u32>,
        /// The only group that the process is in then
        #[arg(long, requires = "uid", value_parser = clap::value_parser!(u32).range(1..))]
        gid: Option<u32>,
    },
    /// Print what this machine's processor offers to guests, for a CPU model that several machines share
    CpuFeatures,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run {
            config,
            seccomp,
            uid,
            gid,
        } => {
            let account = uid.zip(gid).map(|(uid, gid)| Account { uid, gid });
            run(&config, &Confinement { seccomp, account })
        }
        Command::CpuFeatures => cpu_features(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("microvm: {}", with_causes(&*error));
        ExitCode::FAILURE
    })
}

fn run(path: &PathBuf, confinement: &Confinement) -> Result<ExitCode, Box<dyn std::error::Error>> {
    sandbox::begin()?;
    panics::end_process();
    let config = read_config(path).map_err(|err| format!("cannot read {}: {err}", path.display()))?;
    let ending = microvm::run::run(&config, confinement)?;
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
