//! The target `template` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netloom_fuzz::template(bytes));
