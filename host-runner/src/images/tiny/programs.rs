//! The distribution's programs that the build runs, each with a deadline.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::BuildTinyError;

/// How much of a program's standard error an error repeats, in bytes.
const SAID_BYTES_MAX: usize = 600;

/// A program to run.
pub(super) struct Program {
    name: &'static str,
    command: Command,
    deadline: Duration,
    if_missing: &'static str,
    if_failed: &'static str,
}

impl Program {
    pub(super) fn new(name: &'static str, deadline: Duration) -> Self {
        let mut command = Command::new(name);
        command
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Self {
            name,
            command,
            deadline,
            if_missing: "Tiny Linux is made from packages of Debian or Ubuntu; on another distribution copy STATE/images from one",
            if_failed: "the program's own words say what is wrong",
        }
    }

    pub(super) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub(super) fn current_dir(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// What to advise when the program is not there.
    pub(super) fn if_missing(mut self, remedy: &'static str) -> Self {
        self.if_missing = remedy;
        self
    }

    /// What to advise when it fails.
    pub(super) fn if_failed(mut self, remedy: &'static str) -> Self {
        self.if_failed = remedy;
        self
    }

    fn shown(&self) -> String {
        let command = self.command.as_std();
        std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(OsStr::to_string_lossy)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs it to its end, whatever that is. It is killed when the deadline passes or the caller gives up.
    pub(super) async fn output(mut self) -> Result<Output, BuildTinyError> {
        match tokio::time::timeout(self.deadline, self.command.output()).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(err)) if err.kind() == io::ErrorKind::NotFound => Err(BuildTinyError::NoProgram {
                program: self.name,
                remedy: self.if_missing,
            }),
            Ok(Err(err)) => Err(BuildTinyError::Run {
                program: self.name.to_owned(),
                err,
            }),
            Err(_) => Err(BuildTinyError::TimedOut {
                command: self.shown(),
                deadline_s: self.deadline.as_secs(),
                remedy: self.if_failed,
            }),
        }
    }

    /// Runs it and returns what it wrote to its standard output.
    pub(super) async fn stdout(self) -> Result<Vec<u8>, BuildTinyError> {
        let (command, remedy) = (self.shown(), self.if_failed);
        let output = self.output().await?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(BuildTinyError::Failed {
            command,
            said: end_of(&output.stderr),
            remedy,
        })
    }
}

/// The end of what a program said, as one line for an error.
fn end_of(stderr: &[u8]) -> String {
    let start = stderr.len().saturating_sub(SAID_BYTES_MAX);
    let text = String::from_utf8_lossy(stderr.get(start..).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        "it said nothing".to_owned()
    } else {
        lines.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Program {
        Program::new("sh", Duration::from_secs(20)).args(["-c", script])
    }

    #[tokio::test]
    async fn a_failure_carries_the_programs_own_words() {
        let err = sh("echo E: no such thing >&2; exit 3")
            .if_failed("do this")
            .stdout()
            .await
            .unwrap_err();
        assert!(err.to_string().ends_with("failed: E: no such thing"), "{err}");
        assert_eq!(err.remedy(), Some("do this"));
    }

    #[tokio::test]
    async fn a_missing_program_is_named_with_the_remedy() {
        let err = Program::new("no-such-program-here", Duration::from_secs(20))
            .if_missing("install it")
            .stdout()
            .await
            .unwrap_err();
        assert!(err.to_string().contains("no-such-program-here"));
        assert_eq!(err.remedy(), Some("install it"));
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended_at_its_deadline() {
        let hangs = Program::new("sh", Duration::from_millis(50)).args(["-c", "read -r line </dev/zero"]);
        assert!(matches!(
            hangs.stdout().await,
            Err(BuildTinyError::TimedOut { .. })
        ));
    }
}
