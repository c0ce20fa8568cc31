//! Encrypted columns that may hold anything, and the way there and back for every text.
//!
//! Run by the fuzz target `encrypter`, and on stable by `tests/fuzz_corpus.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kraite_streams::domain::limits::ENCRYPTED_LEN_MAX;
use kraite_streams::ops::app_key::{AppKey, AppKeys};
use kraite_streams::ops::encrypter::{Cipher, DecryptError, EncryptError, Encrypter};

const CURRENT: &str = "base64:a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
const PREVIOUS: &str = "base64:cHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHA=";

/// One input is a column, a payload before its base64, a text to encrypt, and a key.
pub fn encrypter(input: &[u8]) {
    let keys = AppKeys::parse(CURRENT, PREVIOUS).unwrap();
    let [cbc, gcm] = [Cipher::Aes256Cbc, Cipher::Aes256Gcm].map(|cipher| Encrypter::new(keys.clone(), cipher));
    let text = String::from_utf8_lossy(input);
    for column in [text.clone().into_owned(), STANDARD.encode(input)] {
        assert_eq!(gcm.decrypt(&column), cbc.decrypt(&column), "reading depends on the cipher of writing");
    }
    for one in [&cbc, &gcm] {
        round_trip(one, &text);
    }
    if let Ok(key) = AppKey::parse(&text) {
        assert_eq!(format!("{key:?}"), "AppKey(***)");
    }
}

fn round_trip(one: &Encrypter, text: &str) {
    let column = match one.encrypt_with_iv(text, [7; 16]) {
        Ok(column) => column,
        Err(error) => {
            assert!(error == EncryptError::TooLong && text.len() > ENCRYPTED_LEN_MAX / 2);
            return;
        }
    };
    let read = one.decrypt(&column).unwrap();
    let is_inside = text.starts_with("s:") && text.ends_with(&format!(":\"{}\";", read.expose()));
    assert!(read.expose() == text || is_inside, "another text came back");
    let other = Encrypter::new(AppKeys::parse(PREVIOUS, "").unwrap(), Cipher::Aes256Cbc);
    assert_eq!(other.decrypt(&column), Err(DecryptError::NoKeyFits { tried: 1 }));
}
