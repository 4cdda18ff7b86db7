//! The one program of the guest: a `BusyBox` that needs no libraries.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::BuildTinyError;
use super::packages::{self, Package};
use super::programs::Program;
use crate::images::manifest::Sha256Hex;

const PACKAGE: &str = "busybox-static";
const INSTALLED: [&str; 2] = ["/usr/bin/busybox", "/bin/busybox"];
const LIST_DEADLINE: Duration = Duration::from_secs(20);
/// `BusyBox` is some 2 MB; a larger file is something else.
const BYTES_MAX: u64 = 64 << 20;

/// What the guest cannot do without.
const APPLETS_NEEDED: [&str; 16] = [
    "acpid", "getty", "head", "hostname", "httpd", "init", "insmod", "ip", "login", "mke2fs", "mount",
    "poweroff", "sh", "tr", "udhcpc", "umount",
];

/// Where the guest's `BusyBox` comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// It is installed on this machine.
    Installed { path: PathBuf, sha256: Sha256Hex },
    /// It comes from the package, which is only unpacked.
    Package(Package),
}

impl Source {
    /// Names the exact program in an image's list of ingredients.
    pub(super) fn ingredient(&self) -> String {
        match self {
            Self::Installed { sha256, .. } => {
                format!("busybox {}", sha256.as_str().get(..16).unwrap_or_default())
            }
            Self::Package(package) => format!("{} {}", package.name, package.version),
        }
    }
}

/// The installed one where it is linked statically, else the package's.
pub(super) async fn find() -> Result<Source, BuildTinyError> {
    for path in INSTALLED.map(Path::new) {
        if let Ok(content) = read(path).await
            && is_static_elf(&content)
            && missing(&applets(path).await?).is_empty()
        {
            return Ok(Source::Installed {
                path: path.to_owned(),
                sha256: Sha256Hex::of(&content),
            });
        }
    }
    let found = packages::versions(&[PACKAGE.to_owned()]).await?;
    found
        .into_iter()
        .next()
        .map(Source::Package)
        .ok_or_else(|| BuildTinyError::IncompletePackages {
            packages: vec![PACKAGE.to_owned()],
            missing: "version",
        })
}

/// The program's content and the names that it answers to. `unpacked` holds the package's files where it comes from one.
pub(super) async fn load(source: &Source, unpacked: &Path) -> Result<(Vec<u8>, Vec<String>), BuildTinyError> {
    let path = match source {
        Source::Installed { path, .. } => path.clone(),
        Source::Package(package) => ["bin/busybox", "usr/bin/busybox"]
            .iter()
            .map(|path| unpacked.join(path))
            .find(|path| path.is_file())
            .ok_or_else(|| BuildTinyError::IncompletePackages {
                packages: vec![package.name.clone()],
                missing: "busybox program",
            })?,
    };
    let applets = applets(&path).await?;
    let missing = missing(&applets);
    if !missing.is_empty() {
        return Err(BuildTinyError::WeakBusybox { path, missing });
    }
    Ok((read(&path).await?, applets))
}

async fn read(path: &Path) -> Result<Vec<u8>, BuildTinyError> {
    use tokio::io::AsyncReadExt as _;
    let failed = |err| BuildTinyError::io("read", path, err);
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut content = Vec::new();
    file.take(BYTES_MAX)
        .read_to_end(&mut content)
        .await
        .map_err(failed)?;
    Ok(content)
}

/// The names that the program answers to.
async fn applets(path: &Path) -> Result<Vec<String>, BuildTinyError> {
    // Started through `env`, whose name is static, so that an error names the program that is missing.
    let list = Program::new("env", LIST_DEADLINE)
        .args([path, Path::new("--list")])
        .if_failed("the temporary folder or the state folder may be mounted noexec")
        .stdout()
        .await?;
    Ok(parse_applets(&String::from_utf8_lossy(&list)))
}

/// Each becomes a file name in the guest.
fn parse_applets(list: &str) -> Vec<String> {
    list.lines()
        .map(str::trim)
        .filter(|name| !name.is_empty() && *name != "busybox" && !name.contains(['/', '\0']))
        .map(str::to_owned)
        .collect()
}

fn missing(applets: &[String]) -> Vec<&'static str> {
    let lacks = |needed: &&str| !applets.iter().any(|applet| applet == needed);
    APPLETS_NEEDED.into_iter().filter(lacks).collect()
}

/// Whether it is a 64-bit ELF program that asks for no dynamic loader.
fn is_static_elf(file: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let u16_at = |at: usize| Some(u16::from_le_bytes(file.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| {
        Some(u32::from_le_bytes(
            file.get(at..at.checked_add(4)?)?.try_into().ok()?,
        ))
    };
    let u64_at = |at: usize| Some(u64::from_le_bytes(file.get(at..at + 8)?.try_into().ok()?));
    // 64-bit, little-endian.
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    let headers = || {
        let start = usize::try_from(u64_at(32)?).ok()?;
        Some((start, usize::from(u16_at(54)?), usize::from(u16_at(56)?)))
    };
    let Some((start, size, count)) = headers() else {
        return false;
    };
    // `count` is at most 65,535, and a header beyond the file's end is a broken file.
    count > 0
        && (0..count).all(|index| {
            start
                .checked_add(index * size)
                .and_then(u32_at)
                .is_some_and(|kind| kind != PT_INTERP)
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn elf(kinds: &[u32]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        file[56..58].copy_from_slice(&u16::try_from(kinds.len()).unwrap().to_le_bytes());
        for kind in kinds {
            let mut header = vec![0; 56];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            file.extend(header);
        }
        file
    }

    #[test]
    fn a_program_that_asks_for_a_loader_is_not_static() {
        assert!(is_static_elf(&elf(&[1, 1])));
        assert!(!is_static_elf(&elf(&[1, 3])));
    }

    #[test]
    fn broken_programs_are_not_static() {
        assert!(!is_static_elf(b""));
        assert!(!is_static_elf(b"#!/bin/sh\n"));
        assert!(!is_static_elf(&elf(&[1, 1])[..100]));
        let mut far = elf(&[1]);
        far[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(!is_static_elf(&far));
    }

    #[test]
    fn what_the_guest_lacks_is_named() {
        let all = parse_applets(&APPLETS_NEEDED.join("\n"));
        assert!(missing(&all).is_empty());
        assert_eq!(missing(&all[1..]), ["acpid"]);
        assert_eq!(parse_applets("sh\n../x\nbusybox\n\n"), ["sh"]);
    }

    proptest! {
        #[test]
        fn no_file_makes_the_check_panic(tail in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = is_static_elf(&[b"\x7fELF\x02\x01", tail.as_slice()].concat());
        }
    }
}
