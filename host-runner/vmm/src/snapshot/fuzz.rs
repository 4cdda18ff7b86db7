//! The state file's entry for fuzzing.

use super::file::{self, Contents, StateFileError};
use super::{MachineState, Run, pages};

/// The memory of the machine that would go on, in MiB.
const MEMORY_MIB: u32 = 64;

/// Takes the bytes for a state file, and for what is in one behind a sum that is right: a fuzzer would hardly come by that.
///
/// # Panics
///
/// Where more pages would be read than the machine has: that is what this looks for.
pub fn fuzz(data: &[u8]) {
    look_at(data);
    look_at(&[file::head(data).as_slice(), data].concat());
}

fn look_at(mut bytes: &[u8]) {
    // Memory can always be read.
    let Ok(Contents { state, .. }) = file::parse(&mut bytes, |_| StateFileError::Truncated) else {
        return;
    };
    let MachineState {
        shape, runs, zeroes, ..
    } = state;
    let _told = shape.to_string();
    for runs in [runs, zeroes] {
        if pages::within(MEMORY_MIB, &runs) {
            let bytes: u64 = runs.iter().map(Run::bytes).sum();
            assert!(bytes <= u64::from(MEMORY_MIB) << 20);
        }
    }
}
