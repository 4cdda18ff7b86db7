//! Files that are asked for: whole, or as they were.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Writes a file beside its place and puts it there once it is whole, so that a full disk leaves no half of one, and nothing of what was
/// there is lost. What is no plain file, such as a pipe or a device, is written as it is.
pub(in crate::commands) fn save(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(err) if err.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(err) => return Err(err),
    };
    let there = match fs::metadata(&target) {
        Ok(there) => Some(there),
        Err(err) if err.kind() == io::ErrorKind::NotFound => None,
        Err(err) => return Err(err),
    };
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        return fs::write(&target, bytes);
    }
    let mut staged = tempfile::NamedTempFile::new_in(folder_of(&target))?;
    if let Some(there) = there {
        staged.as_file().set_permissions(there.permissions())?;
    }
    staged.write_all(bytes)?;
    staged.as_file().sync_all()?;
    staged.persist(&target)?;
    Ok(())
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}
