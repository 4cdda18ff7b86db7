#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| microvm::fuzzing::run("config", data));
