//! `cargo +nightly fuzz run control_reply`
#![no_main]

#[path = "../bodies/control_reply.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::control_reply(input));
