//! `cargo +nightly fuzz run projection`
#![no_main]

#[path = "../bodies/projection.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::projection(input));
