//! What can go wrong with an image.

use std::io;
use std::path::{Path, PathBuf};

use api::{ApiError, ErrorCode};

/// Why an image cannot be listed, used or published.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The name breaks the naming rules.
    #[error("image name {name:?} is not allowed: {rule}")]
    InvalidName {
        /// The name, as given.
        name: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// No manifest has this name.
    #[error("this machine holds no image {name:?}")]
    NotFound {
        /// The name, as given.
        name: String,
    },
    /// The manifest or one of its files is missing or damaged.
    #[error("image {name:?} is damaged: {problem}; {remedy}")]
    Corrupt {
        /// The image's name.
        name: String,
        /// The file that is at fault.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// Another image is being made, by this process or another.
    #[error("another image is being made on this machine; try again when it is done")]
    Busy,
    /// The disk that holds the images is full.
    #[error("no space left on the disk while writing {}", path.display())]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// A file operation failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was attempted, such as `read`.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// A background task that hashed files was cancelled or died.
    #[error("the check of the image's files did not finish")]
    Interrupted(#[source] tokio::task::JoinError),
}

impl ImageError {
    /// A failed file operation; a full disk is told apart.
    pub(super) fn io(operation: &'static str, path: &Path, err: io::Error) -> Self {
        let path = path.to_owned();
        match err.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, err },
            _ => Self::Io { operation, path, err },
        }
    }

    /// A damaged image, with the remedy that mends it.
    pub(super) fn corrupt(name: &str, file: PathBuf, problem: String) -> Self {
        let remedy = match name {
            super::tiny::NAME => "make it again with `host-runner image build-tiny`".to_owned(),
            _ => "import the image again".to_owned(),
        };
        Self::Corrupt {
            name: name.to_owned(),
            file,
            problem,
            remedy,
        }
    }

    /// The error as it crosses the wire.
    pub fn to_api(&self) -> ApiError {
        let message = self.to_string();
        match self {
            Self::InvalidName { rule, .. } => ApiError::new(ErrorCode::InvalidName, message)
                .with("field", "image")
                .with("rule", *rule),
            Self::NotFound { name } => {
                ApiError::new(ErrorCode::ImageNotFound, message).with("image", name.as_str())
            }
            Self::Corrupt {
                name, file, remedy, ..
            } => ApiError::new(ErrorCode::ImageCorrupt, message)
                .with("image", name.as_str())
                .with("file", file.display().to_string())
                .with("remedy", remedy.as_str()),
            Self::DiskFull { path, .. } => {
                ApiError::new(ErrorCode::DiskFull, message).with("path", path.display().to_string())
            }
            Self::Io { err, .. } => ApiError::new(ErrorCode::Internal, format!("{message}: {err}")),
            Self::Busy | Self::Interrupted(_) => ApiError::new(ErrorCode::Internal, message),
        }
    }
}
