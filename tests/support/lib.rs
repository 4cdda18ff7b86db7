//! What the tests of the whole product are made of: machines in network namespaces, real SSH servers, real agents.
//!
//! Everything here ends what it started when it is dropped.

mod agent;
mod debian;
mod desktop;
mod initramfs;
mod lab_guest;
mod machine;
mod monitor;
mod process;
mod ssh_agent;
mod ssh_keys;
mod ssh_server;
mod trouble;
mod wait;
mod window;

pub use agent::{AgentOptions, AgentProcess, host_runner, program, tiny_image_state};
pub use debian::{DEBIAN_COMMAND_LINE, DEBIAN_PASSWORD, debian, debian_image_state};
pub use desktop::Desktop;
pub use initramfs::{Initramfs, archive, vmlinux};
pub use lab_guest::lab_guest;
pub use machine::Machine;
pub use monitor::{MachineFolder, Mapping, Monitor, QUIET_COMMAND_LINE, ask};
pub use process::{Place, Process, run};
pub use ssh_agent::SshAgent;
pub use ssh_keys::{KeyKind, SshKey};
pub use ssh_server::{PASSWORD, SshServer, SshServerOptions, USER};
pub use trouble::Trouble;
pub use wait::{wait_until, wait_until_async};
pub use window::{Display, Window, WindowOptions, WindowTrouble};
