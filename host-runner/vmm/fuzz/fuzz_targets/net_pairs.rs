#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| microvm::fuzzing::run("net_pairs", data));
