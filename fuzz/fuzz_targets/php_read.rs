//! `cargo +nightly fuzz run php_read`
#![no_main]

#[path = "../bodies/php_read.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::php_read(input));
