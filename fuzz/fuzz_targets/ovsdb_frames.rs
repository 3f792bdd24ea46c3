//! The target `ovsdb-frames` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netloom_fuzz::ovsdb_frames(bytes));
