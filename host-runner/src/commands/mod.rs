//! What the program does for each subcommand.

mod connect;
mod image;
mod plan;
mod pool;
mod save;
mod simulate;
mod table;
mod words;

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use crate::agent::{self, AgentError};
use crate::cli::{Cli, Command, Common, Doctor, ImageCommand, LogFormat, PoolCommand, Serve};
use crate::host::{self, HostProbe, HostProbeSettings};
use crate::images::ImageError;
use crate::images::ImageStore;
use crate::paths::PathError;
use crate::rest;

pub use self::plan::{PlanCommandError, SourceError};
pub use self::pool::DumpError;
pub use self::simulate::SimulateError;
pub use connect::ConnectError;

/// Why a command failed. The message is for the terminal, whole, with its causes.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The agent cannot start.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The agent cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A directory cannot be used.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The pool cannot be written down.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] PlanCommandError),
    /// Nothing was simulated.
    #[error(transparent)]
    Simulate(#[from] SimulateError),
    /// An image cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The document cannot be written.
    #[error("cannot write the document")]
    Document(#[from] serde_json::Error),
    /// The output cannot be written.
    #[error("cannot write to stdout")]
    Output(#[from] std::io::Error),
}

/// Does what the command line says.
pub async fn run(cli: Cli) -> ExitCode {
    start_logging(cli.common.log_format, matches!(cli.command, Command::Serve(_)));
    let done = match cli.command {
        Command::Serve(options) => serve(&cli.common, options).await,
        Command::Connect => connect::run(&cli.common).await,
        Command::Doctor(options) => doctor(&cli.common, &options).await,
        Command::Image {
            command: ImageCommand::BuildTiny,
        } => image::build_tiny(&cli.common).await,
        Command::Image {
            command: ImageCommand::Import(options),
        } => image::import(&cli.common, options).await,
        Command::Image {
            command: ImageCommand::List,
        } => image::list(&cli.common).await,
        Command::Openapi => openapi(),
        Command::Pool {
            command: PoolCommand::Dump(options),
        } => pool::dump(&cli.common, &options).await,
        Command::Pool {
            command: PoolCommand::Schema,
        } => pool::print_schema(),
        Command::Plan { command } => plan::run(&command),
        Command::Simulate(asked) => simulate::run(&asked),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("host-runner: {}", words::presentable(&with_causes(&error)));
            ExitCode::FAILURE
        }
    }
}

/// The words of an error and of all its causes, on one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {next}");
        cause = next.source();
    }
    text
}

fn start_logging(format: LogFormat, is_agent: bool) {
    let default = if is_agent { "info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Human => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

async fn serve(common: &Common, options: Serve) -> Result<ExitCode, CommandError> {
    agent::run(agent::Settings {
        places: common.places()?,
        offer_memory: options.offer_memory_mib,
        offer_disk: options.offer_disk_mib,
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

async fn doctor(common: &Common, options: &Doctor) -> Result<ExitCode, CommandError> {
    let places = common.places()?;
    let images = ImageStore::look(&places.state_dir);
    let probe = HostProbe::new(HostProbeSettings {
        state_dir: places.state_dir,
        runtime_dir: places.runtime_dir,
        offer_memory: None,
    });
    let capabilities = probe.doctor(&images).await;
    let text = if options.json {
        host::render_json(&capabilities)
    } else {
        host::render(&capabilities)
    };
    print(&text)?;
    let lacking = capabilities
        .iter()
        .any(|capability| capability.state == api::CapabilityState::Missing);
    Ok(if lacking {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn openapi() -> Result<ExitCode, CommandError> {
    print(&rest::document()?)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to stdout. A reader that has gone away has seen enough: that is no error.
fn print(text: &str) -> std::io::Result<()> {
    match print_all(text) {
        Err(err) if err.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn print_all(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}
