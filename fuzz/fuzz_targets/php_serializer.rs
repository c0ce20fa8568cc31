//! `cargo +nightly fuzz run php_serializer`
#![no_main]

#[path = "../bodies/php_serializer.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::php_serializer(input));
