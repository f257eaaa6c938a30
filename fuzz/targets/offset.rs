//! `millrace_fuzz::targets::offset` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::targets::offset::check(bytes));
