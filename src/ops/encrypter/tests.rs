//! Vectors that PHP made (`tests/fixtures/encrypter/make.php`), and what damaged payloads are called.

use serde::Deserialize;

use super::*;

const K: &str = "base64:a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
const P: &str = "base64:cHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHA=";
const TEXT: &str = "SYNTHETICapiKey";
const NO_KEY: DecryptError = DecryptError::NoKeyFits { tried: 1 };

#[derive(Deserialize)]
struct Vector {
    name: String,
    key: String,
    cipher: String,
    iv: String,
    serialized: bool,
    text: String,
    payload: String,
}

#[test]
fn phps_payloads_are_read_and_written_byte_for_byte() {
    let vectors = include_str!("../../../tests/fixtures/encrypter/vectors.json");
    let vectors: Vec<Vector> = serde_json::from_str(vectors).unwrap();
    assert_eq!(vectors.len(), 64);
    for vector in vectors {
        let one = encrypter(&vector.key, "", vector.cipher.parse().unwrap());
        let read = one.decrypt(&vector.payload).unwrap();
        assert_eq!(read.expose(), vector.text, "{}", vector.name);
        if !vector.serialized {
            let iv: Vec<u8> =
                (0..16).map(|at| u8::from_str_radix(&vector.iv[2 * at..2 * at + 2], 16).unwrap()).collect();
            let written = one.encrypt_with_iv(&vector.text, iv.try_into().unwrap());
            assert_eq!(written, Ok(vector.payload.clone()), "{}", vector.name);
        }
        let late = encrypter(P, &vector.key, Cipher::Aes256Cbc).decrypt(&vector.payload);
        assert_eq!(late.map(|secret| secret.expose().to_owned()), Ok(vector.text), "{}", vector.name);
        assert_eq!(encrypter(P, "", Cipher::Aes256Gcm).decrypt(&vector.payload), Err(NO_KEY), "{}", vector.name);
    }
}

#[test]
fn what_is_written_is_read_and_never_twice_the_same() {
    for cipher in [Cipher::Aes256Cbc, Cipher::Aes256Gcm] {
        let one = encrypter(K, "", cipher);
        for text in ["", TEXT, "s:3:\"abc\"", &"é".repeat(PLAIN_LEN_MAX / 2)] {
            let (first, second) = (one.encrypt(text).unwrap(), one.encrypt(text).unwrap());
            assert_ne!(first, second);
            assert!(first.len() <= ENCRYPTED_LEN_MAX);
            for payload in [first, second] {
                assert_eq!(one.decrypt(&payload).unwrap().expose(), text);
            }
        }
        assert_eq!(one.encrypt(&"x".repeat(PLAIN_LEN_MAX + 1)), Err(EncryptError::TooLong));
    }
}

#[test]
fn damaged_payloads_are_called_what_they_are() {
    use DecryptError::{NotAPayload, TooLong, WrongCipher};

    let cbc = encrypter(K, "", Cipher::Aes256Cbc).encrypt(TEXT).unwrap();
    let gcm = encrypter(K, "", Cipher::Aes256Gcm).encrypt(TEXT).unwrap();
    let (mac, tag) = (r#""mac":""#, r#""tag":""#);
    for (payload, expected) in [
        (format!(" {cbc}\n"), None),
        (format!(" {}\n", gcm.trim_end_matches('=')), None),
        (edit(&cbc, ",\"tag\":\"\"", ""), None),
        (edit(&cbc, ",\"tag\":\"\"", ",\"tag\":null,\"v\":[1]"), None),
        (String::new(), Some(NotAPayload(Flaw::Members))),
        ("plain-api-key".to_owned(), Some(NotAPayload(Flaw::NotBase64))),
        (TEXT.to_owned(), Some(NotAPayload(Flaw::NotBase64))),
        ("SYNTHETICapiKey0".to_owned(), Some(NotAPayload(Flaw::Members))),
        (cbc[..100].to_owned(), Some(NotAPayload(Flaw::Members))),
        (STANDARD.encode("[]"), Some(NotAPayload(Flaw::Members))),
        (edit(&cbc, r#""iv":"#, r#""vi":"#), Some(NotAPayload(Flaw::Members))),
        (edit(&cbc, mac, r#""mac":5,"x":""#), Some(NotAPayload(Flaw::Members))),
        (edit(&cbc, mac, r#""mac":"0"#), Some(NotAPayload(Flaw::Part))),
        (edit(&cbc, mac, r#""mac":"","x":""#), Some(NotAPayload(Flaw::NoMac))),
        (edit(&cbc, r#""iv":""#, r#""iv":"*"#), Some(NotAPayload(Flaw::Part))),
        (edit(&cbc, r#""iv":""#, r#""iv":"AAAA"#), Some(WrongCipher { iv_len: 19 })),
        (edit(&cbc, tag, r#""tag":"AAAA"#), Some(WrongCipher { iv_len: 16 })),
        (edit(&gcm, tag, r#""tag":"AAAA"#), Some(WrongCipher { iv_len: 12 })),
        (edit(&gcm, tag, r#""tag":"","x":""#), Some(WrongCipher { iv_len: 12 })),
        ("A".repeat(ENCRYPTED_LEN_MAX + 1), Some(TooLong)),
        (flip(&cbc, "iv"), Some(NO_KEY)),
        (flip(&cbc, "value"), Some(NO_KEY)),
        (flip(&cbc, "mac"), Some(NO_KEY)),
        (flip(&gcm, "iv"), Some(NO_KEY)),
        (flip(&gcm, "value"), Some(NO_KEY)),
        (flip(&gcm, "tag"), Some(NO_KEY)),
    ] {
        check(&payload, expected);
    }
}

/// A broken writer that knows the key: the MAC fits, and the inside does not.
#[test]
fn what_fits_and_is_no_text_is_told_apart() {
    let key = AppKey::parse(K).unwrap();
    let forge = |value: &[u8]| {
        let (iv, value) = (STANDARD.encode([7; 16]), STANDARD.encode(value));
        let mac = Hex(&mac_of(&key, &iv, &value).finalize().into_bytes()).to_string();
        STANDARD.encode(format!(r#"{{"iv":"{iv}","value":"{value}","mac":"{mac}","tag":""}}"#))
    };
    for odd in [&[][..], &[1; 15], &[1; 16]] {
        check(&forge(odd), Some(DecryptError::Padding));
    }
    let mut block = [0; 16];
    block[..2].copy_from_slice(b"\xff\xfe");
    let value = cbc::Encryptor::<Aes256>::new(key.bytes().into(), &[7; 16].into())
        .encrypt_padded::<Pkcs7>(&mut block, 2)
        .unwrap();
    check(&forge(value), Some(DecryptError::NotText));
}

#[test]
fn serialized_texts() {
    for (text, inside) in [
        (r#"s:3:"abc";"#, Some("abc")),
        (r#"s:0:"";"#, Some("")),
        (r#"s:2:"é";"#, Some("é")),
        (r#"s:4:""a";";"#, Some(r#""a";"#)),
        (r#"s:1:"é";"#, None),
        (r#"s:4:"abc";"#, None),
        (r#"s:+3:"abc";"#, None),
        (r#"s:3:"abc""#, None),
        (r#"s:3:"abc"; "#, None),
        (r#"s::"";"#, None),
        (r#"s:99999999999999999999:"";"#, None),
        ("s:", None),
        ("abc", None),
    ] {
        assert_eq!(unserialized(text), inside, "{text}");
    }
}

#[test]
fn ciphers_are_named_as_in_laravel() {
    for (text, cipher) in [("AES-256-CBC", Cipher::Aes256Cbc), ("aes-256-gcm", Cipher::Aes256Gcm)] {
        assert_eq!(text.parse(), Ok(cipher));
        assert_eq!(cipher.to_string(), text.to_ascii_uppercase());
    }
    assert_eq!(
        "AES-128-CBC".parse::<Cipher>().unwrap_err().to_string(),
        r#"unknown cipher "AES-128-CBC": expected AES-256-CBC or AES-256-GCM"#
    );
}

fn encrypter(current: &str, previous: &str, cipher: Cipher) -> Encrypter {
    Encrypter::new(AppKeys::parse(current, previous).unwrap(), cipher)
}

/// The payload with a part of its JSON replaced.
fn edit(payload: &str, from: &str, to: &str) -> String {
    let json = String::from_utf8(STANDARD.decode(payload).unwrap()).unwrap();
    assert!(json.contains(from), "{json}");
    STANDARD.encode(json.replacen(from, to, 1))
}

/// The payload with the first character of a member changed, which keeps its length.
fn flip(payload: &str, member: &str) -> String {
    let json = String::from_utf8(STANDARD.decode(payload).unwrap()).unwrap();
    let at = json.find(&format!("\"{member}\":\"")).unwrap() + member.len() + 4;
    let other = if &json[at..=at] == "a" { "b" } else { "a" };
    STANDARD.encode(format!("{}{other}{}", &json[..at], &json[at + 1..]))
}

/// What the payload reads as under [`K`] — `None` is [`TEXT`] — and that no error says anything of the value.
#[track_caller]
fn check(payload: &str, expected: Option<DecryptError>) {
    let read = encrypter(K, "", Cipher::Aes256Cbc).decrypt(payload);
    match expected {
        None => assert_eq!(read, Ok(Secret::new(TEXT))),
        Some(expected) => {
            assert_eq!(read, Err(expected), "{payload}");
            let shown = format!("{expected} {expected:?}");
            assert!(!shown.contains("SYNTH") && (payload.is_empty() || !shown.contains(payload.trim())), "{shown}");
        }
    }
}
