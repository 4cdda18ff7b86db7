//! The main job, by itself: a template is dragged onto a machine in the real window, and a real Linux guest boots there.
//!
//! Everything on the path is real: the app's window (on a display without a screen, driven through `WebKitWebDriver`), an SSH session
//! to a server of OpenSSH, an agent, a guest in QEMU. Each step is told on the terminal, checked in the window and at the agent, and
//! pictured in `target/demo`. The exit code is 0 only when every step really happened.

mod error;
mod stage;
mod story;

use std::process::ExitCode;

use error::DemoError;
use stage::Stage;
use story::Story;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => {
            eprintln!("demo: cannot start: {err}");
            return ExitCode::FAILURE;
        }
    };
    // What was started lives in groups of its own, which Ctrl-C does not reach: it ends when the story's future is dropped.
    let told = runtime.block_on(async {
        tokio::select! {
            told = tell() => told,
            _ = tokio::signal::ctrl_c() => Err(DemoError::Interrupted),
        }
    });
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("demo: FAILED: {}", err.with_causes());
            ExitCode::FAILURE
        }
    }
}

async fn tell() -> Result<(), DemoError> {
    let stage = Stage::set()?;
    let mut story = Story::begin(&stage).await?;
    let told = story.tell().await;
    if told.is_err() {
        story.explain_failure().await;
    }
    told
}
