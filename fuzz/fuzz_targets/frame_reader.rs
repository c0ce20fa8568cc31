//! `cargo +nightly fuzz run frame_reader`
#![no_main]

#[path = "../bodies/frame_reader.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::frame_reader(input));
