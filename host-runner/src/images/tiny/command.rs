//! The command `host-runner image build-tiny`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use super::{BuildTinyError, build};
use crate::images::ImageStore;

/// The command `image build-tiny`: makes the image and prints each step to `out`, and what was made or why not, with the remedy.
///
/// The exit code is 0 where the image is ready, else 1.
pub async fn run_command(store: &ImageStore, out: &mut (dyn Write + Send)) -> ExitCode {
    let begun = Instant::now();
    let built = build(store, &mut |step| print(out, &format!("Tiny Linux: {step}"))).await;
    match built {
        Ok(image) => {
            print(
                out,
                &format!(
                    "Tiny Linux: ready ({}, {:.1} s), sha256 {}",
                    image.size_mib,
                    begun.elapsed().as_secs_f64(),
                    image.digest
                ),
            );
            ExitCode::SUCCESS
        }
        Err(err) => {
            print(out, &refusal(&err));
            ExitCode::FAILURE
        }
    }
}

/// The error with its causes, and the remedy below.
fn refusal(err: &BuildTinyError) -> String {
    use std::fmt::Write as _;
    // Writing to a `String` cannot fail.
    let mut text = format!("Tiny Linux: not made: {err}");
    let mut cause = std::error::Error::source(err);
    while let Some(err) = cause {
        let _ = write!(text, ": {err}");
        cause = err.source();
    }
    if let Some(remedy) = err.remedy() {
        let _ = write!(text, "\n  What to do: {remedy}");
    }
    text
}

fn print(out: &mut (dyn Write + Send), line: &str) {
    // Whoever closed the pipe does not want to hear; the build goes on all the same.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::ImageError;

    #[test]
    fn a_full_disk_is_told_with_its_path_cause_and_remedy() {
        let err = BuildTinyError::io(
            "write",
            "/var/lib/x",
            std::io::Error::from(std::io::ErrorKind::StorageFull),
        );
        assert!(matches!(err, BuildTinyError::Store(ImageError::DiskFull { .. })));
        let text = refusal(&err);
        assert!(
            text.contains("/var/lib/x") && text.contains("What to do: free about 250 MB"),
            "{text}"
        );
    }
}
