//! `microvm`: runs one machine.

// A line that cannot be written would end the machine: see `microvm::log`.
#![deny(clippy::print_stderr)]

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use microvm::config::MachineConfig;
use microvm::cpu::FeatureWords;
use microvm::error_text::with_causes;
use microvm::log::say;
use microvm::panics;
use microvm::sandbox::{self, Account, Confinement, Seccomp};
use serde::de::DeserializeOwned;

/// The most bytes of a configuration.
const CONFIG_MAX: u64 = 256 << 10;

/// What `--help` says of the choice that a configuration makes.
const CPU_MODELS: &str = r#"CPU models ("cpus": {"count": 2, "model": ...} in the configuration):
  "host"           All that this machine's processor offers; the default.
                   A snapshot goes on where there is at least as much, and
                   is refused elsewhere, with the names of what is missing
  {"pool": [...]}  What each of several machines offers, so that a snapshot
                   goes on at any of them. The list is made with
                     microvm cpu-features >NAME.json           on each
                     microvm cpu-pool NAME.json... >pool.json  of all files
                   No pool has nested virtualization, performance counters,
                   enclaves or AMX. Vendors do not mix"#;

/// Runs one virtual machine on KVM.
#[derive(Parser)]
#[command(version, about, after_long_help = CPU_MODELS)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a machine until it ends. Exits with 0 when it was turned off, 10 when it reset itself, 11 when its kernel panicked, 1 when it failed
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
    /// Print the `pool` CPU model of several machines: what each of them offers
    CpuPool {
        /// What `cpu-features` printed on each of them
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
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
        Command::CpuPool { files } => cpu_pool(&files),
    };
    done.unwrap_or_else(|error| {
        say(&format_args!("microvm: {}", with_causes(&*error)));
        ExitCode::FAILURE
    })
}

fn run(path: &Path, confinement: &Confinement) -> Result<ExitCode, Box<dyn std::error::Error>> {
    sandbox::begin()?;
    panics::end_process();
    let config: MachineConfig = read(path)?;
    let ending = microvm::run::run(&config, confinement)?;
    say(&format_args!("microvm: {ending}"));
    Ok(ExitCode::from(ending.exit_code()))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text = || -> io::Result<T> {
        let mut text = String::new();
        File::open(path)?.take(CONFIG_MAX).read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    };
    text().map_err(|err| format!("cannot read {}: {err}", path.display()))
}

fn cpu_features() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let kvm = kvm_ioctls::Kvm::new().map_err(|err| format!("cannot open /dev/kvm: {err}"))?;
    print_words(&microvm::cpu::feature_words(&kvm)?)
}

fn cpu_pool(files: &[PathBuf]) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let machines = files
        .iter()
        .map(|file| read(file))
        .collect::<Result<Vec<_>, _>>()?;
    print_words(&FeatureWords::common(machines).ok_or("of no machine there is no model")?)
}

fn print_words(words: &FeatureWords) -> Result<ExitCode, Box<dyn std::error::Error>> {
    writeln!(io::stdout(), "{}", serde_json::to_string_pretty(words)?)?;
    Ok(ExitCode::SUCCESS)
}
