//! `millrace_fuzz::targets::head` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millrace_fuzz::targets::head::check(bytes));
