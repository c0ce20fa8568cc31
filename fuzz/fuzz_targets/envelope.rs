//! `cargo +nightly fuzz run envelope`
#![no_main]

#[path = "../bodies/envelope.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::envelope(input));
