//! The target `ovsdb-updates` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netloom_fuzz::ovsdb_updates(bytes));
