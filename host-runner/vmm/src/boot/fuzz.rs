//! The loader's entry for fuzzing.

use vm_memory::GuestAddress;

use super::{explaining, load};
use crate::config::BootConfig;
use crate::devices::virtio::testing::file;
use crate::memory::{self, Backing};

/// Takes the bytes for a kernel, behind a byte that says how large the file is, and whether there is an initrd.
///
/// # Panics
/// A stretch that is shown is not what it should be: whole pages of the file, in order and apart.
pub fn fuzz(data: &[u8]) {
    let Some((how, kernel)) = data.split_first() else {
        return;
    };
    let Ok(memory) = memory::create(32, Backing::Shared) else {
        return;
    };
    let (file, path) = file(kernel);
    // Zeroes behind the bytes: a kernel may say that it is large.
    let length = (u64::from(how >> 2) << 14).max(kernel.len() as u64);
    if file.set_len(length).is_err() {
        return;
    }
    let stretches = explaining::stretches(&file);
    let whole = |at: u64| at.is_multiple_of(4096);
    let mut before = 0;
    for one in stretches {
        assert!(before <= one.file.start && one.file.start < one.file.end && one.file.end <= length);
        assert!(whole(one.file.start) && whole(one.file.end) && whole(one.address));
        before = one.file.end;
    }
    let boot = BootConfig {
        initrd: (how & 2 != 0).then(|| path.clone()),
        kernel: path,
        command_line: "quiet".to_owned(),
    };
    let _refused = load(&boot, &memory, GuestAddress(0xe_0000));
}
