//! What the monitor says of itself: lines on its standard error, which the agent keeps in a file.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Writes a line. One that cannot be written, on a full disk or to nobody, is lost: the machine goes on without it.
///
/// Instead of `eprintln!`, which panics then, and a panic ends the machine.
pub fn say(line: &dyn Display) {
    let _lost = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Set for the process that speaks.
    const ROLE: &str = "MICROVM_TEST_SPEAKS";

    #[test]
    fn a_line_that_nobody_takes_ends_nothing() {
        if std::env::var_os(ROLE).is_some() {
            let mut told_that_nobody_reads = String::new();
            io::stdin().read_line(&mut told_that_nobody_reads).unwrap();
            crate::panics::end_process();
            say(&"to nobody");
            crate::devices::once("topic", &"to nobody");
            return;
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "log::tests::a_line_that_nobody_takes_ends_nothing",
                "--test-threads=1",
                // Else it would be the test runner that takes the lines.
                "--nocapture",
            ])
            .env(ROLE, "speaker")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stderr.take());
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
}
