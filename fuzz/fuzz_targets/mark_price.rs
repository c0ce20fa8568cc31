//! `cargo +nightly fuzz run mark_price`
#![no_main]

#[path = "../bodies/mark_price.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::mark_price(input));
