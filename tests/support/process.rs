use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{Machine, Trouble, wait_until};

/// Where a program runs.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// This computer as it is.
    Here,
    /// A machine of the test's own.
    Machine(&'a Machine),
}

impl Place<'_> {
    /// A command that will run there.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        match self {
            Self::Here => Command::new(program),
            Self::Machine(machine) => machine.command(program),
        }
    }
}

/// Runs a program to its end and gives what it wrote to stdout.
///
/// # Errors
/// [`Trouble::Failed`] with all that it wrote, where it does not end well.
pub fn run(command: &mut Command) -> Result<String, Trouble> {
    let name = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(Trouble::io(format!("run {name}")))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        return Err(Trouble::Failed {
            command: name,
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&text).trim().to_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program that runs until it is dropped, and its log.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; its output goes to a file.
    ///
    /// # Errors
    /// [`Trouble::Io`].
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self, Trouble> {
        let file = File::create(log).map_err(Trouble::io(format!("create {}", log.display())))?;
        let copy = file.try_clone().map_err(Trouble::io("share a log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .spawn()
            .map_err(Trouble::io(format!("start {name}")))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it is up.
    ///
    /// # Errors
    /// [`Trouble::NotUp`] with the end of its log, where it ends before, or the deadline passes.
    pub fn wait_up(&mut self, deadline: Duration, mut up: impl FnMut() -> bool) -> Result<(), Trouble> {
        let child = &mut self.child;
        let outcome = wait_until("the program is up", deadline, || {
            if up() {
                return Some(true);
            }
            matches!(child.try_wait(), Ok(Some(_))).then_some(false)
        });
        if matches!(outcome, Ok(true)) {
            return Ok(());
        }
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        Err(Trouble::NotUp {
            program: self.name.clone(),
            log: self.log.clone(),
            end: lines[lines.len().saturating_sub(20)..].join("\n"),
        })
    }

    /// Ends it at once, as a crash would (SIGKILL), and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended already: that is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
