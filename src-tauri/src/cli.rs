//! What both programs, the window and the dev server, take from the command line and the environment.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Chooses what is logged, in `tracing`'s filter language, such as `info,millpond=debug`.
pub const LOG_VARIABLE: &str = "MILLPOND_LOG";

/// Options of both programs.
#[derive(Debug, Clone, Args)]
pub struct CommonOptions {
    /// The folder for what the app remembers; by default the platform's own for this user
    #[arg(long, env = "MILLPOND_DATA_DIR", value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// How log lines look
    #[arg(
        long,
        env = "MILLPOND_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "human"
    )]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The user has no folder that could hold the app's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no home folder to keep data in; name one with --data-dir")]
pub struct NoDataDir;

impl CommonOptions {
    /// The folder for what the app remembers.
    pub fn data_dir(&self) -> Result<PathBuf, NoDataDir> {
        match &self.data_dir {
            Some(folder) => Ok(folder.clone()),
            None => platform_data_dir().ok_or(NoDataDir),
        }
    }

    /// Sends log lines to stderr. To be called once.
    pub fn start_logging(&self) {
        let filter =
            EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info,russh=warn"));
        let lines = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Human => lines.init(),
            LogFormat::Json => lines.json().flatten_event(true).init(),
        }
    }
}

/// Waits for Ctrl-C, or until the system asks politely.
pub async fn asked_to_end() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    if let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = interrupted => {}
            _ = terminated.recv() => {}
        }
        return;
    }
    // Where a signal cannot be waited for, its default ends the program.
    let _ = interrupted.await;
}

fn platform_data_dir() -> Option<PathBuf> {
    let folder = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if cfg!(windows) {
        return folder("LOCALAPPDATA").map(|data| data.join("Millpond"));
    }
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    if cfg!(target_os = "macos") {
        return home.map(|home| home.join("Library/Application Support/Millpond"));
    }
    folder("XDG_DATA_HOME")
        .or_else(|| home.map(|home| home.join(".local/share")))
        .map(|data| data.join("millpond"))
}
