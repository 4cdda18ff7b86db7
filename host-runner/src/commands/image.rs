//! `image build-tiny` and `image list`.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::CommandError;
use crate::cli::Common;
use crate::images::{ImageStore, tiny};

/// Makes the image tiny-linux.
pub async fn build_tiny(common: &Common) -> Result<ExitCode, CommandError> {
    let places = common.places()?;
    places.make_state()?;
    let store = ImageStore::open(&places.state_dir)?;
    Ok(tiny::run_command(&store, &mut std::io::stdout()).await)
}

/// Lists the images.
pub async fn list(common: &Common) -> Result<ExitCode, CommandError> {
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
