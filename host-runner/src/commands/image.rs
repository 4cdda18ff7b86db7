//! `image build-tiny`, `image import` and `image list`.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use super::{CommandError, words};
use crate::cli::{Common, DiskFormat, ImportImage};
use crate::images::{self, ImageError, ImageStore, Import, Progress, tiny};

/// Makes the image tiny-linux.
pub async fn build_tiny(common: &Common) -> Result<ExitCode, CommandError> {
    let places = common.places()?;
    places.make_state()?;
    let store = ImageStore::open(&places.state_dir)?;
    Ok(tiny::run_command(&store, &mut std::io::stdout()).await)
}

/// Imports an image.
pub async fn import(common: &Common, options: ImportImage) -> Result<ExitCode, CommandError> {
    let places = common.places()?;
    places.make_state()?;
    let store = ImageStore::open(&places.state_dir)?;
    let order = Import {
        title: options.title.unwrap_or_else(|| options.name.clone()),
        name: options.name,
        kernel: options.kernel,
        initrd: options.initrd,
        disk: options.disk.map(|path| (path, format_of(options.format))),
        command_line: options.command_line,
        memory_min: options.memory_min_mib,
    };
    let work = tokio::task::spawn_blocking(move || images::import(&store, &order, &mut show));
    match work.await.map_err(ImageError::Interrupted)? {
        Ok(image) => {
            let line = format!(
                "{}: ready ({}), sha256 {}",
                image.name, image.size_mib, image.digest
            );
            super::print(&line)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let said = words::presentable(&super::with_causes(&error));
            eprintln!("host-runner: not imported: {said}");
            if let Some(remedy) = error.remedy() {
                eprintln!("  What to do: {remedy}");
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

fn format_of(asked: DiskFormat) -> images::DiskFormat {
    match asked {
        DiskFormat::Raw => images::DiskFormat::Raw,
        DiskFormat::Qcow2 => images::DiskFormat::Qcow2,
    }
}

/// One line that counts, on a terminal; elsewhere nobody reads along.
fn show(Progress { step, percent }: Progress<'_>) {
    let mut out = std::io::stderr().lock();
    if out.is_terminal() {
        // Whoever closed the terminal does not want to hear; the import goes on all the same.
        let end = if percent == 100 { "\n" } else { "" };
        let _ = write!(out, "\r{step}: {percent} %\x1b[K{end}").and_then(|()| out.flush());
    }
}

/// Lists the images.
pub async fn list(common: &Common) -> Result<ExitCode, CommandError> {
    use std::fmt::Write as _;
    let store = ImageStore::look(&common.places()?.state_dir);
    let images = store.list().await?;
    if images.is_empty() {
        super::print("no images; `host-runner image build-tiny` makes one")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for image in images {
        let state = match image.state {
            api::ImageState::Ready => "ready".to_owned(),
            api::ImageState::Corrupt => format!("damaged: {}", image.problem.unwrap_or_default()),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<20} {:>9}  {state}",
            image.name,
            image.size_mib.to_string()
        );
    }
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
