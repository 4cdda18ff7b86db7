#![no_main]

// As in the monitor, what the library makes of an image that contradicts itself is no end: libFuzzer's own hook knows no such exception.
libfuzzer_sys::fuzz_target!(init: microvm::panics::end_process(), |data: &[u8]| {
    microvm::fuzzing::run("block_qcow2", data);
});
