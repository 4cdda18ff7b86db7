//! The guest's root: an archive that the kernel unpacks into memory.

use std::collections::BTreeMap;
use std::io::{self, Write};

use cpio::newc::{Builder, ModeFileType, trailer};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::modules::Module;

/// The files of the guest that are not programs or modules, in the archive's order.
const FILES: [(&str, u32, &str); 12] = [
    ("etc/acpi/PWRF/00000080", 0o755, include_str!("root/power-button")),
    ("etc/data", 0o755, include_str!("root/data")),
    ("etc/group", 0o644, "root:x:0:\n"),
    ("etc/inittab", 0o644, include_str!("root/inittab")),
    ("etc/issue", 0o644, include_str!("root/issue")),
    ("etc/motd", 0o644, include_str!("root/motd")),
    ("etc/network", 0o755, include_str!("root/network")),
    // No password: whoever sees the console may log in, and the console is reached through SSH alone.
    ("etc/passwd", 0o644, "root::0:0:root:/root:/bin/sh\n"),
    ("etc/profile", 0o644, include_str!("root/profile")),
    ("etc/rc", 0o755, include_str!("root/rc")),
    ("etc/stop", 0o755, include_str!("root/stop")),
    ("etc/udhcpc.script", 0o755, include_str!("root/udhcpc.script")),
];
const FOLDERS: [&str; 16] = [
    "bin",
    "data",
    "dev",
    "etc",
    "etc/acpi",
    "etc/acpi/PWRF",
    "lib",
    "lib/modules",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr",
    "var",
    "www",
];
const LINKS: [(&str, &str); 6] = [
    ("init", "bin/busybox"),
    ("sbin", "bin"),
    ("usr/bin", "../bin"),
    ("usr/sbin", "../bin"),
    ("var/run", "../run"),
    ("var/log", "../tmp"),
];

/// What identifies this recipe: any change of the files above is a change of the image.
pub(super) fn recipe() -> Vec<u8> {
    let mut text = Vec::new();
    for (path, mode, content) in FILES {
        text.extend(format!("{path}\0{mode:o}\0{content}\0").into_bytes());
    }
    for name in FOLDERS {
        text.extend(format!("{name}\0").into_bytes());
    }
    for (name, target) in LINKS {
        text.extend(format!("{name}\0{target}\0").into_bytes());
    }
    text
}

enum Node {
    Folder,
    File { mode: u32, content: Vec<u8> },
    Link { target: String },
    Console,
}

/// Writes the gzipped archive. The same input makes the same bytes: owners, times and inode numbers are fixed.
pub(super) fn write<W: Write>(
    out: W,
    busybox: Vec<u8>,
    applets: &[String],
    modules: Vec<Module>,
) -> io::Result<W> {
    let nodes = nodes(busybox, applets, modules);
    // Level 6: a tenth of the work of the best one, and the kernel unpacks either in the same time.
    let mut archive = GzEncoder::new(out, Compression::new(6));
    for (inode, (path, node)) in nodes.iter().enumerate() {
        let inode = u32::try_from(inode).map_err(io::Error::other)?;
        write_node(&mut archive, inode + 1, path, node)?;
    }
    trailer(&mut archive)?;
    archive.finish()
}

/// Everything by path; a folder's path sorts before those of its content.
fn nodes(busybox: Vec<u8>, applets: &[String], modules: Vec<Module>) -> BTreeMap<String, Node> {
    let mut nodes = BTreeMap::new();
    for name in FOLDERS {
        nodes.insert(name.to_owned(), Node::Folder);
    }
    for (path, mode, content) in FILES {
        let content = content.as_bytes().to_vec();
        nodes.insert(path.to_owned(), Node::File { mode, content });
    }
    for (path, target) in LINKS {
        let target = target.to_owned();
        nodes.insert(path.to_owned(), Node::Link { target });
    }
    for applet in applets {
        let target = "busybox".to_owned();
        nodes.insert(format!("bin/{applet}"), Node::Link { target });
    }
    nodes.insert(
        "bin/busybox".to_owned(),
        Node::File {
            mode: 0o755,
            content: busybox,
        },
    );
    // The kernel opens it for the first process, before anything is mounted.
    nodes.insert("dev/console".to_owned(), Node::Console);
    let names: Vec<String> = modules
        .iter()
        .map(|module| format!("{}.ko\n", module.name))
        .collect();
    for module in modules {
        nodes.insert(
            format!("lib/modules/{}.ko", module.name),
            Node::File {
                mode: 0o644,
                content: module.content,
            },
        );
    }
    nodes.insert(
        "etc/modules".to_owned(),
        Node::File {
            mode: 0o644,
            content: names.concat().into_bytes(),
        },
    );
    nodes
}

fn write_node<W: Write>(archive: &mut W, inode: u32, path: &str, node: &Node) -> io::Result<()> {
    let entry = Builder::new(path).ino(inode);
    let (entry, content) = match node {
        Node::Folder => {
            let mode = if path == "tmp" { 0o1777 } else { 0o755 };
            (
                entry
                    .mode(mode)
                    .nlink(2)
                    .set_mode_file_type(ModeFileType::Directory),
                &[][..],
            )
        }
        Node::File { mode, content } => (
            entry.mode(*mode).set_mode_file_type(ModeFileType::Regular),
            content.as_slice(),
        ),
        Node::Link { target } => (
            entry.mode(0o777).set_mode_file_type(ModeFileType::Symlink),
            target.as_bytes(),
        ),
        Node::Console => (
            entry
                .mode(0o600)
                .rdev_major(5)
                .rdev_minor(1)
                .set_mode_file_type(ModeFileType::Char),
            &[][..],
        ),
    };
    let size = u32::try_from(content.len()).map_err(io::Error::other)?;
    let mut writer = entry.write(archive, size);
    writer.write_all(content)?;
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn archive() -> Vec<u8> {
        let modules = vec![
            Module {
                name: "virtio".to_owned(),
                content: vec![1, 2, 3],
            },
            Module {
                name: "virtio_net".to_owned(),
                content: vec![4],
            },
        ];
        write(Vec::new(), b"program".to_vec(), &["sh".to_owned()], modules).unwrap()
    }

    /// Path, mode and content of every entry, in the archive's order.
    fn entries(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut raw = Vec::new();
        flate2::read::GzDecoder::new(archive)
            .read_to_end(&mut raw)
            .unwrap();
        let (mut rest, mut entries) = (io::Cursor::new(raw), Vec::new());
        loop {
            let mut reader = cpio::NewcReader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                return entries;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            entries.push((name, mode, content));
            rest = reader.finish().unwrap();
        }
    }

    #[test]
    fn the_archive_reads_back_with_modes_and_contents() {
        let archive = archive();
        let entries = entries(&archive);
        let entry = |path: &str| entries.iter().find(|(name, ..)| name == path).unwrap();
        assert_eq!(entry("bin/busybox").1, 0o100_755);
        assert_eq!(entry("bin/sh").2, b"busybox");
        assert_eq!(entry("bin/sh").1, 0o120_777);
        assert_eq!(entry("dev/console").1, 0o020_600);
        assert_eq!(entry("lib/modules/virtio.ko").2, [1, 2, 3]);
        assert_eq!(entry("etc/modules").2, b"virtio.ko\nvirtio_net.ko\n");
        assert_eq!(entry("tmp").1, 0o041_777);
    }

    #[test]
    fn every_folder_comes_before_its_content() {
        let mut made = vec![String::new()];
        for (path, mode, _) in entries(&archive()) {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            assert!(
                made.iter().any(|folder| folder == parent),
                "{path} has no folder yet"
            );
            if mode & 0o170_000 == 0o040_000 {
                made.push(path);
            }
        }
    }

    #[test]
    fn the_same_input_makes_the_same_bytes() {
        assert_eq!(archive(), archive());
    }
}
