#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guard_audit::tlog::fuzz_tlog(data));
