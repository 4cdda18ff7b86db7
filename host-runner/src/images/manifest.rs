//! The manifest of an image: hostile input until every rule here has been checked.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use api::Mib;

/// The largest manifest that is read, in bytes.
pub(super) const MANIFEST_BYTES_MAX: u64 = 64 * 1024;
/// The longest command line that the x86 kernel keeps is 2,048 bytes with its end; the engine still appends the name.
const COMMAND_LINE_BYTES_MAX: usize = 1_920;
const TEXT_CHARS_MAX: usize = 200;
const MEMORY_MIN: std::ops::RangeInclusive<u32> = 16..=16_777_216;

/// A rule of the names of images, in words that an error can carry.
pub(super) const NAME_RULE: &str = "1 to 63 of a-z, 0-9 and -, starting and ending with a letter or digit";

/// Whether `name` may name an image: it becomes a file name and a word on a kernel's command line.
pub(super) fn name_is_allowed(name: &str) -> bool {
    let bytes = name.as_bytes();
    let label = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| label(b) || *b == b'-')
        && bytes.first().is_some_and(label)
        && bytes.last().is_some_and(label)
}

/// A SHA-256 in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Sha256Hex(String);

impl Sha256Hex {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::from_hasher(Sha256::new_with_prefix(bytes))
    }

    pub(super) fn from_hasher(hasher: Sha256) -> Self {
        use fmt::Write as _;
        let mut hex = String::with_capacity(64);
        for byte in hasher.finalize() {
            // Writing to a `String` cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Self(hex)
    }

    /// The file name of the blob with this digest.
    pub(super) fn blob_name(&self) -> String {
        format!("sha256-{}", self.0)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 64 && text.bytes().all(hex) {
            Ok(Self(text))
        } else {
            Err("a digest is 64 lower-case hexadecimal digits")
        }
    }
}

impl From<Sha256Hex> for String {
    fn from(digest: Sha256Hex) -> Self {
        digest.0
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlobRef {
    pub(super) sha256: Sha256Hex,
    /// In bytes.
    pub(super) size: u64,
}

/// What an image consists of. Holds nothing that differs between two machines that made the same image, so that its digest is the
/// image's identity everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) version: u32,
    pub(super) name: String,
    pub(super) title: String,
    pub(super) summary: String,
    /// Absent where the disk brings its own boot loader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kernel: Option<BlobRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) initrd: Option<BlobRef>,
    /// What each instance's disk begins with: the bytes of a raw disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) disk: Option<BlobRef>,
    pub(super) command_line: String,
    pub(super) memory_min_mib: Mib,
    /// The recipe and its ingredients with their versions; equal text is an equal image.
    pub(super) made_from: String,
}

impl Manifest {
    /// The version of this format that is written and read.
    pub(super) const VERSION: u32 = 1;

    /// Reads a manifest that claims to be the image `name`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(name: &str, bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|err| format!("its manifest does not parse: {err}"))?;
        manifest.check(name)?;
        Ok(manifest)
    }

    /// Whether its words keep the rules.
    ///
    /// # Errors
    /// The rule that one breaks, in words.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        if self.version != Self::VERSION {
            return Err(format!(
                "its manifest has version {}, not {}",
                self.version,
                Self::VERSION
            ));
        }
        if self.name != name {
            return Err(format!("its manifest is of {:?}", self.name));
        }
        match (&self.kernel, &self.disk) {
            (None, None) => return Err("it has neither a kernel nor a disk".to_owned()),
            (None, Some(_)) if self.initrd.is_some() || !self.command_line.is_empty() => {
                return Err("it has an initrd or a command line, and no kernel to read them".to_owned());
            }
            _ => {}
        }
        for (field, text) in [
            ("title", &self.title),
            ("summary", &self.summary),
            ("made_from", &self.made_from),
        ] {
            if text.chars().count() > TEXT_CHARS_MAX || text.chars().any(char::is_control) {
                return Err(format!(
                    "its manifest's {field} is longer than {TEXT_CHARS_MAX} characters or has control characters"
                ));
            }
        }
        let printable = |b: u8| b == b' ' || b.is_ascii_graphic();
        if self.command_line.len() > COMMAND_LINE_BYTES_MAX || !self.command_line.bytes().all(printable) {
            return Err(format!(
                "its kernel command line is longer than {COMMAND_LINE_BYTES_MAX} bytes or not printable ASCII"
            ));
        }
        if !MEMORY_MIN.contains(&self.memory_min_mib.0) {
            return Err(format!(
                "its least memory is {} MiB, outside {} to {}",
                self.memory_min_mib.0,
                MEMORY_MIN.start(),
                MEMORY_MIN.end()
            ));
        }
        Ok(())
    }

    /// The files that the image consists of.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &BlobRef> {
        self.kernel.iter().chain(&self.initrd).chain(&self.disk)
    }

    /// The size of its files.
    pub(super) fn size(&self) -> Mib {
        // A hostile manifest may claim sizes whose sum overflows.
        let bytes = self
            .blobs()
            .fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
        Mib::ceil_from_bytes(bytes)
    }

    /// The size of its disk; zero where it has none.
    pub(super) fn disk_min(&self) -> Mib {
        self.disk
            .as_ref()
            .map_or(Mib::ZERO, |disk| Mib::ceil_from_bytes(disk.size))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn sample(name: &str) -> Manifest {
        Manifest {
            version: Manifest::VERSION,
            name: name.to_owned(),
            title: "Tiny Linux".to_owned(),
            summary: "A small guest".to_owned(),
            kernel: Some(BlobRef {
                sha256: Sha256Hex::of(b"kernel"),
                size: 6,
            }),
            initrd: None,
            disk: None,
            command_line: "console=ttyS0".to_owned(),
            memory_min_mib: Mib(128),
            made_from: "recipe 1".to_owned(),
        }
    }

    fn refusal(edit: impl FnOnce(&mut serde_json::Value)) -> String {
        let mut json = serde_json::to_value(sample("tiny")).unwrap();
        edit(&mut json);
        Manifest::parse("tiny", json.to_string().as_bytes()).expect_err("must be refused")
    }

    #[test]
    fn what_is_written_is_read_back() {
        let written = serde_json::to_vec(&sample("tiny")).unwrap();
        assert_eq!(Manifest::parse("tiny", &written), Ok(sample("tiny")));
    }

    #[test]
    fn hostile_manifests_are_refused_with_the_reason() {
        assert!(refusal(|m| m["surprise"] = 1.into()).contains("unknown field"));
        assert!(refusal(|m| m["version"] = 2.into()).contains("version 2, not 1"));
        assert!(refusal(|m| m["name"] = "other".into()).contains("\"other\""));
        assert!(refusal(|m| m["title"] = "a\u{1b}[31m".into()).contains("title"));
        assert!(refusal(|m| m["summary"] = "x".repeat(201).into()).contains("summary"));
        assert!(refusal(|m| m["command_line"] = "a\nb".into()).contains("command line"));
        assert!(refusal(|m| m["command_line"] = "x".repeat(1_921).into()).contains("command line"));
        assert!(refusal(|m| m["memory_min_mib"] = 0.into()).contains("0 MiB"));
        assert!(refusal(|m| m["kernel"]["sha256"] = "../../etc/passwd".into()).contains("64 lower-case"));
        assert!(refusal(|m| m["kernel"]["sha256"] = "A".repeat(64).into()).contains("64 lower-case"));
    }

    #[test]
    fn what_nothing_boots_is_refused_and_a_kernels_words_need_a_kernel() {
        let without = |m: &mut serde_json::Value| m.as_object_mut().unwrap().remove("kernel");
        assert!(
            refusal(|m| {
                without(m);
            })
            .contains("neither a kernel nor a disk")
        );
        let with_disk = |m: &mut serde_json::Value| m["disk"] = without(m).unwrap();
        assert!(refusal(with_disk).contains("no kernel to read them"));
        let mut json = serde_json::to_value(sample("tiny")).unwrap();
        with_disk(&mut json);
        json["command_line"] = "".into();
        assert!(Manifest::parse("tiny", json.to_string().as_bytes()).is_ok());
    }

    #[test]
    fn sizes_that_overflow_are_capped() {
        let mut manifest = sample("tiny");
        let largest = manifest.kernel.as_mut().map(|kernel| &mut kernel.size);
        *largest.unwrap() = u64::MAX;
        manifest.initrd = manifest.kernel.clone();
        assert_eq!(manifest.size(), Mib(u32::MAX));
    }

    #[test]
    fn names_are_host_name_labels() {
        for good in ["a", "tiny-linux", "0", &"x".repeat(63)] {
            assert!(name_is_allowed(good), "{good:?}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "../x",
            "a/b",
            "a\0",
            "ä",
            &"x".repeat(64),
        ] {
            assert!(!name_is_allowed(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = Manifest::parse("tiny", &bytes);
        }
    }
}
