//! `cargo +nightly fuzz run spool_open`
#![no_main]

#[path = "../bodies/spool_open.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::spool_open(input));
