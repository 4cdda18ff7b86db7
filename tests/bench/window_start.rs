//! How soon the window shows the pool, against an empty window of the same toolkit: both started by turns on one display, so that what
//! the machine does meanwhile falls on both.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::{AgentOptions, AgentProcess, Display, Place, Process};

use crate::Outcome;

const ROUNDS: usize = 7;
const DEADLINE: Duration = Duration::from_secs(60);
/// A millisecond's error in half a second is nothing; polling more often would take the processor from what is measured.
const POLL: Duration = Duration::from_millis(1);

/// Medians over all rounds.
pub struct WindowStart {
    app_ms: f64,
    empty_ms: f64,
}

impl WindowStart {
    /// How many times as long the app takes as the empty window.
    pub fn ratio(&self) -> f64 {
        self.app_ms / self.empty_ms
    }
}

impl fmt::Display for WindowStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the pool is drawn after {:.0} ms, an empty window after {:.0} ms (medians of {ROUNDS})",
            self.app_ms, self.empty_ms
        )
    }
}

/// Starts both windows by turns and waits until each says that it is drawn.
pub fn measure() -> Outcome<WindowStart> {
    let agent = AgentProcess::start(
        Place::Here,
        AgentOptions {
            with_tiny_image: true,
            ..AgentOptions::default()
        },
    )?;
    let folder = tempfile::tempdir()?;
    let display = Display::start(1280, 800, folder.path())?;
    let own = std::env::current_exe()?;
    let beside = own.parent().ok_or("this program has no folder")?;
    let (app, empty) = (beside.join("millpond"), beside.join("examples/empty_window"));

    let (mut app_ms, mut empty_ms) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let home = folder.path().join(format!("home-{round}"));
        std::fs::create_dir(&home)?;
        let mut command = program(&app, &display, &home);
        command
            .env("MILLPOND_AGENT_SOCKET", agent.socket())
            .env("MILLPOND_DATA_DIR", home.join("data"));
        app_ms.push(start_ms(
            "millpond",
            command,
            &home.join("app.log"),
            "the pool is drawn",
        )?);
        let command = program(&empty, &display, &home);
        empty_ms.push(start_ms(
            "empty_window",
            command,
            &home.join("empty.log"),
            "drawn",
        )?);
    }
    Ok(WindowStart {
        app_ms: median(app_ms),
        empty_ms: median(empty_ms),
    })
}

fn program(path: &PathBuf, display: &Display, home: &Path) -> Command {
    let mut command = Command::new(path);
    command
        .env("DISPLAY", display.name())
        .env("HOME", home)
        .env_remove("WAYLAND_DISPLAY");
    command
}

fn start_ms(name: &str, mut command: Command, log: &Path, says: &str) -> Outcome<f64> {
    let start = Instant::now();
    let process = Process::start(name, &mut command, log)?;
    while !process.log().contains(says) {
        if start.elapsed() > DEADLINE {
            return Err(format!(
                "{name} was not drawn within {} s:\n{}",
                DEADLINE.as_secs(),
                process.log()
            )
            .into());
        }
        std::thread::sleep(POLL);
    }
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
