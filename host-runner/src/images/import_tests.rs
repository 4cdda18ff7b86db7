use super::*;

struct Bench {
    dir: tempfile::TempDir,
    store: ImageStore,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&dir.path().join("state")).unwrap();
        Self { dir, store }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn order(&self) -> Import {
        let mut kernel = vec![0; 4096];
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        Import {
            name: "mine".into(),
            title: "Mine".into(),
            kernel: Some(self.file("vmlinuz", &kernel)),
            initrd: None,
            disk: None,
            command_line: "console=ttyS0".into(),
            memory_min: Mib(128),
        }
    }

    fn import(&self, order: &Import) -> Result<Image, ImportError> {
        import(&self.store, order, &mut |_| ())
    }

    /// The refusal; nothing may be left of the attempt.
    fn refused(&self, order: &Import) -> (String, Option<&'static str>) {
        let error = self.import(order).unwrap_err();
        assert_eq!(self.store.list_now().unwrap(), []);
        let left = std::fs::read_dir(&self.store.folders().staging).unwrap().count();
        assert_eq!(left, 0, "staged files are left");
        (error.to_string(), error.remedy())
    }
}

#[tokio::test]
async fn an_image_has_its_kernel_initrd_and_disk() {
    let bench = Bench::new();
    let mut order = bench.order();
    order.initrd = Some(bench.file("initrd", b"cpio"));
    order.disk = Some((bench.file("disk", &vec![3; 1 << 20]), DiskFormat::Raw));
    let image = bench.import(&order).unwrap();
    assert_eq!(
        (image.state, image.title.as_str()),
        (api::ImageState::Ready, "Mine")
    );
    let boot = bench.store.resolve("mine").await.unwrap();
    assert_eq!(
        std::fs::read(boot.kernel.unwrap().initrd.unwrap()).unwrap(),
        b"cpio"
    );
    let disk = boot.disk.unwrap();
    assert_eq!(
        (disk.size, std::fs::read(disk.path).unwrap().len()),
        (Mib(1), 1 << 20)
    );
}

#[test]
fn the_same_files_are_the_same_image_and_another_import_replaces_it() {
    let bench = Bench::new();
    let first = bench.import(&bench.order()).unwrap();
    assert_eq!(bench.import(&bench.order()).unwrap().digest, first.digest);
    let other = Import {
        command_line: "console=ttyS0 quiet".into(),
        ..bench.order()
    };
    assert_ne!(bench.import(&other).unwrap().digest, first.digest);
    assert_eq!(bench.store.list_now().unwrap().len(), 1);
}

#[test]
fn an_image_that_nothing_can_boot_is_refused() {
    let bench = Bench::new();
    let blank = || bench.file("disk", &[0; 512]);
    let nothing = Import {
        kernel: None,
        ..bench.order()
    };
    let no_loader = Import {
        disk: Some((blank(), DiskFormat::Raw)),
        ..nothing.clone()
    };
    let initrd_alone = Import {
        initrd: Some(bench.file("initrd", b"cpio")),
        ..no_loader.clone()
    };
    for (order, expected) in [
        (nothing, "neither a kernel nor a disk"),
        (no_loader, "disk has no boot loader"),
        (initrd_alone, "is for a kernel, and there is none"),
    ] {
        let (said, remedy) = bench.refused(&order);
        assert!(said.contains(expected), "{said}");
        assert!(remedy.unwrap().contains("--kernel"), "{remedy:?}");
    }
}

#[tokio::test]
async fn a_disk_that_boots_by_itself_needs_no_kernel_in_either_format() {
    let bench = Bench::new();
    let mut sectors = vec![0; 64 << 10];
    sectors[510..512].copy_from_slice(&[0x55, 0xaa]);
    let raw = bench.file("disk", &sectors);
    let qcow2 = bench.dir.path().join("disk.qcow2");
    let converted = Command::new(QEMU_IMG)
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .args([&raw, &qcow2])
        .output()
        .unwrap();
    assert!(converted.status.success(), "{converted:?}");
    let mut digests = Vec::new();
    for disk in [(raw, DiskFormat::Raw), (qcow2, DiskFormat::Qcow2)] {
        let order = Import {
            kernel: None,
            disk: Some(disk),
            ..bench.order()
        };
        digests.push(bench.import(&order).unwrap().digest);
        let boot = bench.store.resolve("mine").await.unwrap();
        assert_eq!(boot.kernel, None);
        assert!(std::fs::read(boot.disk.unwrap().path).unwrap() == sectors);
    }
    assert_eq!(digests[0], digests[1], "the same disk");
}

#[test]
fn a_file_that_is_missing_or_not_what_it_is_named_as_is_named_with_a_remedy() {
    let bench = Bench::new();
    let kernel = |path| Import {
        kernel: Some(path),
        ..bench.order()
    };
    let disk = |path, format| Import {
        disk: Some((path, format)),
        ..bench.order()
    };
    let cases = [
        (kernel(bench.dir.path().join("nowhere")), "nowhere"),
        (kernel(bench.dir.path().to_owned()), "open"),
        (
            kernel(bench.file("text", b"#!/bin/sh")),
            "text is no Linux kernel",
        ),
        (kernel(bench.file("empty", b"")), "empty is empty"),
        (
            disk(bench.file("odd", &[0; 100]), DiskFormat::Raw),
            "odd is no raw disk: it has 100 bytes",
        ),
        (
            disk(bench.file("q", b"QFI\xfb12345678"), DiskFormat::Raw),
            "q is a qcow2 disk",
        ),
        (
            disk(bench.file("r", &[0; 512]), DiskFormat::Qcow2),
            "r is no qcow2 disk",
        ),
    ];
    for (order, expected) in cases {
        let (said, _) = bench.refused(&order);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn names_and_words_that_break_a_rule_are_refused() {
    let bench = Bench::new();
    for name in ["../x", "", "A", "a/b"] {
        let order = Import {
            name: name.into(),
            ..bench.order()
        };
        let (said, _) = bench.refused(&order);
        assert!(said.contains("is not allowed"), "{said}");
    }
    let order = Import {
        title: "a\u{1b}[31m".into(),
        ..bench.order()
    };
    assert!(bench.refused(&order).0.contains("title"));
}

#[test]
fn a_full_disk_is_told_with_its_remedy() {
    let err = io::Error::from(io::ErrorKind::StorageFull);
    let error = ImportError::Store(ImageError::io("write", Path::new("/images/x"), err));
    assert!(error.to_string().contains("/images/x"), "{error}");
    assert!(error.remedy().unwrap().contains("free some space"));
}

#[test]
fn a_qcow2_disk_becomes_raw_and_one_that_rests_on_another_file_is_refused() {
    let bench = Bench::new();
    let whole = bench.dir.path().join("whole.qcow2");
    let made = |arguments: &[&str], path: &Path, size: &[&str]| {
        let run = Command::new(QEMU_IMG)
            .args(arguments)
            .arg(path)
            .args(size)
            .output()
            .unwrap();
        assert!(run.status.success(), "{run:?}");
    };
    made(&["create", "-f", "qcow2"], &whole, &["3M"]);
    let order = Import {
        disk: Some((whole.clone(), DiskFormat::Qcow2)),
        ..bench.order()
    };
    bench.import(&order).unwrap();
    assert_eq!(
        bench.store.resolve_now("mine").unwrap().disk.unwrap().size,
        Mib(3)
    );

    let bench = Bench::new();
    let resting = bench.dir.path().join("resting.qcow2");
    let base = whole_path(&bench);
    made(
        &["create", "-f", "qcow2", "-F", "raw", "-b", &base],
        &resting,
        &[],
    );
    let order = Import {
        disk: Some((resting, DiskFormat::Qcow2)),
        ..bench.order()
    };
    assert!(bench.refused(&order).0.contains("rests on another file"));
}

fn whole_path(bench: &Bench) -> String {
    bench.file("base", &[0; 1024]).to_string_lossy().into_owned()
}
