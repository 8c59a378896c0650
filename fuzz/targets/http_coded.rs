#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guard_protocols::fuzz::fuzz_coded(data));
