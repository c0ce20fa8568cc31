//! `cargo +nightly fuzz run user_data_frame`
#![no_main]

#[path = "../bodies/user_data_frame.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::user_data_frame(input));
