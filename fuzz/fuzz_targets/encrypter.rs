//! `cargo +nightly fuzz run encrypter`
#![no_main]

#[path = "../bodies/encrypter.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::encrypter(input));
