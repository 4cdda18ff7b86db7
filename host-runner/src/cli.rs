//! The command line.

mod plan;
mod pool;
mod simulate;
mod size;

use std::path::PathBuf;

use api::Mib;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::paths::{PathError, Places, Surroundings};

pub use plan::{
    Asking, BalancePlan, ConsolidatePlan, DrainPlan, PlacePlan, PlanCommand, PolicyChoice, RecoverPlan,
    RecoveryChoice, SolverChoice, WhatIfPlan,
};
pub use pool::{MachineAddress, PoolCommand, PoolDump};
pub use simulate::{
    MemoryBinds, Simulate, SimulateCommand, SimulatePlanetlab, SimulateScenario, SimulateTune,
    SimulatedPolicy,
};

/// The agent of a Millpond machine: admits, runs and reports guests.
///
/// It listens on a Unix socket, never on a network port: whoever may log in to the machine may manage it.
#[derive(Debug, Parser)]
#[command(name = "host-runner", version, max_term_width = 100)]
pub struct Cli {
    /// What applies to all commands.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What stands above the options of all commands in a help text.
const EVERYWHERE: &str = "Options of all commands";

/// Options of all commands.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Where the ledger, images and disks are kept
    ///
    /// Default: `/var/lib/millpond` as root, else `$XDG_STATE_HOME/millpond` or `~/.local/state/millpond`.
    #[arg(
        long,
        global = true,
        env = "HOST_RUNNER_STATE_DIR",
        value_name = "DIR",
        help_heading = EVERYWHERE
    )]
    pub state_dir: Option<PathBuf>,

    /// Where the sockets of the agent and of running guests are
    ///
    /// Default: `/run/host-runner` as root, else `$XDG_RUNTIME_DIR/host-runner` or `/tmp/host-runner-UID`. `connect` looks at
    /// all of these and at `/run/user/UID/host-runner`.
    #[arg(
        long,
        global = true,
        env = "HOST_RUNNER_RUNTIME_DIR",
        value_name = "DIR",
        help_heading = EVERYWHERE
    )]
    pub runtime_dir: Option<PathBuf>,

    /// The agent's socket
    ///
    /// Default: api.sock in the runtime directory. As root it belongs to the group `millpond`, where there is one.
    #[arg(
        long,
        global = true,
        env = "HOST_RUNNER_SOCKET",
        value_name = "PATH",
        help_heading = EVERYWHERE
    )]
    pub socket: Option<PathBuf>,

    /// How log lines are written (to stderr); `RUST_LOG` sets how many
    #[arg(
        long,
        global = true,
        env = "HOST_RUNNER_LOG_FORMAT",
        value_enum,
        default_value_t = LogFormat::Human,
        help_heading = EVERYWHERE
    )]
    pub log_format: LogFormat,
}

impl Common {
    /// The directories and the socket.
    pub fn places(&self) -> Result<Places, PathError> {
        Places::resolve(
            self.state_dir.clone(),
            self.runtime_dir.clone(),
            self.socket.clone(),
            &Surroundings::of_process(),
        )
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent until SIGTERM; guests keep running after it
    Serve(Serve),
    /// Join stdin and stdout to the agent's socket
    ///
    /// What a desktop uses over SSH where the server forbids socket forwarding.
    Connect,
    /// Say what this machine can do and what it lacks, each with the remedy
    Doctor(Doctor),
    /// Make and list images
    Image {
        /// Which.
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// Print the REST interface as an OpenAPI document
    Openapi,
    /// Write the pool down as one JSON file, for `plan` and for your own programs
    Pool {
        /// What.
        #[command(subcommand)]
        command: PoolCommand,
    },
    /// Answer what-if questions about a pool from its file: nothing moves
    ///
    /// Exit code: 0 where there is a plan, 1 for an error, 2 for a mistake on the command line, 3 where something would find no place.
    Plan {
        /// Which.
        #[command(subcommand)]
        command: PlanCommand,
    },
    /// Run a pool over virtual time, by a scenario file or by recorded traces, and report what it costs
    Simulate(Simulate),
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Offer at most this much memory to instances, in MiB
    ///
    /// Default: all but what the machine keeps for itself, a tenth and at least 512 MiB.
    #[arg(long, env = "HOST_RUNNER_OFFER_MEMORY_MIB", value_name = "MIB", value_parser = mib)]
    pub offer_memory_mib: Option<Mib>,

    /// Offer at most this much disk to instances, in MiB
    ///
    /// Default: what is free on the state directory's file system.
    #[arg(long, env = "HOST_RUNNER_OFFER_DISK_MIB", value_name = "MIB", value_parser = mib)]
    pub offer_disk_mib: Option<Mib>,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// For programs
    #[arg(long)]
    pub json: bool,
}

/// What to do with images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Make the image tiny-linux from Debian packages
    BuildTiny,
    /// Import an image of your own: a kernel, and what it needs
    ///
    /// The files are copied; an image of the same name is replaced. Instances that exist keep their disks.
    Import(ImportImage),
    /// List the images of this machine
    List,
}

/// Options of `image import`.
#[derive(Debug, Args)]
pub struct ImportImage {
    /// What the image is called: 1 to 63 of a-z, 0-9 and -
    #[arg(long, value_name = "NAME")]
    pub name: String,

    /// What people read in its place [default: the name]
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,

    /// The kernel: a bzImage such as /boot/vmlinuz-…, or an ELF vmlinux. Without one the disk boots by itself, on QEMU alone
    #[arg(long, value_name = "FILE", required_unless_present = "disk")]
    pub kernel: Option<PathBuf>,

    /// The initial RAM file system
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub initrd: Option<PathBuf>,

    /// The disk that each instance's own one begins with
    #[arg(long, value_name = "FILE")]
    pub disk: Option<PathBuf>,

    /// The format of the disk; it is never guessed
    #[arg(long, value_enum, default_value_t = DiskFormat::Raw, requires = "disk")]
    pub format: DiskFormat,

    /// The kernel's command line, such as `console=ttyS0 root=/dev/vda1`
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "console=ttyS0",
        requires = "kernel"
    )]
    pub command_line: String,

    /// The least memory that a guest of it boots with, in MiB
    #[arg(long, value_name = "N", default_value = "256", value_parser = mib)]
    pub memory_min_mib: Mib,
}

/// The format of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DiskFormat {
    /// The bytes themselves.
    Raw,
    /// QEMU's copy-on-write format; it is converted, which needs the program qemu-img.
    Qcow2,
}

fn mib(text: &str) -> Result<Mib, String> {
    text.parse()
        .map(Mib)
        .map_err(|_| "a whole number of MiB is expected".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
