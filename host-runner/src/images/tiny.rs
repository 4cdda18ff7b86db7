//! "Tiny Linux": a small guest made from the distribution's own packages, without root.

use std::io::Write;

use api::Image;

use super::{ImageError, ImageStore};

/// The name of the image that [`build`] makes.
pub const NAME: &str = "tiny-linux";

/// Why Tiny Linux could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildTinyError {
    /// The image could not be published.
    #[error("cannot publish the image")]
    Publish(#[from] ImageError),
}

/// Makes Tiny Linux, or returns the present one where it is up to date. `progress` hears each step, in words.
pub async fn build(
    store: &ImageStore,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Image, BuildTinyError> {
    progress("");
    let _ = store.list().await?;
    unimplemented!()
}

/// The command `image build-tiny`: makes the image and prints each step to `out`, and what was made or why not, with the remedy.
///
/// The exit code of the process is 0 where the image is ready, else 1.
pub async fn run_command(store: &ImageStore, out: &mut (dyn Write + Send)) -> std::process::ExitCode {
    let _ = (store, out);
    unimplemented!()
}
