//! Laravel's encrypter: what `Crypt::encryptString` and the `encrypted` cast write into a column, read and written byte for
//! byte, so that an accounts table works as it is.
//!
//! A payload is base64 of `{"iv":…,"value":…,"mac":…,"tag":…}`, whose parts are base64 again. Under AES-256-CBC `mac` is
//! HMAC-SHA256, in hexadecimal, over the texts of `iv` and `value`, and `tag` is empty; under AES-256-GCM `tag` is the
//! tag and `mac` is empty. Both are read, whatever is written: who does not know a key can make neither. Control plane.

use std::fmt;
use std::str::FromStr;

use aes::Aes256;
use aes_gcm::aead::{Aead as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

use super::app_key::{AppKey, AppKeys, BASE64};
use super::secret::Secret;
use crate::domain::limits::ENCRYPTED_LEN_MAX;

const CBC_IV_LEN: usize = 16;
const GCM_IV_LEN: usize = 12;
const GCM_TAG_LEN: usize = 16;
const MAC_LEN: usize = 32;
/// Twice base64 makes 16/9 of a text; the rest is room for the other members.
const PLAIN_LEN_MAX: usize = ENCRYPTED_LEN_MAX / 2;

/// What values are written with; Laravel's `app.cipher`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// Laravel's default.
    #[default]
    Aes256Cbc,
    /// With a tag of its own instead of a MAC.
    Aes256Gcm,
}

/// Reads and writes encrypted columns.
#[derive(Clone, Debug)]
pub struct Encrypter {
    keys: AppKeys,
    cipher: Cipher,
}

impl Encrypter {
    /// Reads under all of `keys`, writes under the current one with `cipher`.
    #[must_use]
    pub const fn new(keys: AppKeys, cipher: Cipher) -> Self {
        Encrypter { keys, cipher }
    }

    /// Reads a column. A text that `Crypt::encrypt` serialized before (`s:3:"abc";`) is taken out of that.
    ///
    /// # Errors
    /// [`DecryptError`], which repeats nothing of the value.
    pub fn decrypt(&self, payload: &str) -> Result<Secret, DecryptError> {
        let parts = Parts::read(payload)?;
        let plain = self.keys.all().iter().find_map(|key| parts.decrypt(key));
        let plain = plain.ok_or(DecryptError::NoKeyFits { tried: self.keys.all().len() })??;
        let text = String::from_utf8(plain).map_err(|_| DecryptError::NotText)?;
        Ok(Secret::new(match unserialized(&text) {
            Some(inside) => inside.to_owned(),
            None => text,
        }))
    }

    /// Writes a column as `Crypt::encryptString` would.
    ///
    /// # Errors
    /// [`EncryptError`].
    pub fn encrypt(&self, plain: &str) -> Result<String, EncryptError> {
        let mut iv = [0; CBC_IV_LEN];
        getrandom::fill(&mut iv).map_err(|_| EncryptError::NoRandomness)?;
        self.encrypt_with_iv(plain, iv)
    }

    /// [`Encrypter::encrypt`] with an initialization vector that the caller knows to be random and never used before;
    /// AES-256-GCM takes its first 12 bytes.
    ///
    /// # Errors
    /// [`EncryptError::TooLong`].
    pub fn encrypt_with_iv(&self, plain: &str, iv: [u8; 16]) -> Result<String, EncryptError> {
        if plain.len() > PLAIN_LEN_MAX {
            return Err(EncryptError::TooLong);
        }
        let key = self.keys.current();
        let json = match self.cipher {
            Cipher::Aes256Cbc => {
                let mut block = plain.as_bytes().to_vec();
                block.resize((plain.len() / CBC_IV_LEN + 1) * CBC_IV_LEN, 0);
                let value = cbc::Encryptor::<Aes256>::new(key.bytes().into(), &iv.into())
                    .encrypt_padded::<Pkcs7>(&mut block, plain.len())
                    .expect("the block has room for the padding");
                let (iv, value) = (STANDARD.encode(iv), STANDARD.encode(value));
                let mac = Hex(&mac_of(key, &iv, &value).finalize().into_bytes()).to_string();
                format!(r#"{{"iv":"{iv}","value":"{value}","mac":"{mac}","tag":""}}"#)
            }
            Cipher::Aes256Gcm => {
                let iv: [u8; GCM_IV_LEN] = iv[..GCM_IV_LEN].try_into().expect("12 of 16 bytes");
                let sealed = Aes256Gcm::new(key.bytes().into())
                    .encrypt(&Nonce::from(iv), plain.as_bytes())
                    .expect("far below the cipher's bound of 64 GiB");
                let (value, tag) = sealed.split_at(plain.len());
                let (iv, value, tag) = (STANDARD.encode(iv), STANDARD.encode(value), STANDARD.encode(tag));
                format!(r#"{{"iv":"{iv}","value":"{value}","mac":"","tag":"{tag}"}}"#)
            }
        };
        Ok(STANDARD.encode(json))
    }
}

/// The members of a payload; Laravel before 8 wrote no `tag`.
#[derive(Deserialize)]
struct Payload {
    iv: String,
    value: String,
    mac: String,
    #[serde(default)]
    tag: Option<String>,
}

/// A payload taken apart.
enum Parts {
    Cbc { iv: [u8; CBC_IV_LEN], value: Vec<u8>, mac: [u8; MAC_LEN], iv_text: String, value_text: String },
    Gcm { iv: [u8; GCM_IV_LEN], value_and_tag: Vec<u8> },
}

impl Parts {
    fn read(payload: &str) -> Result<Parts, DecryptError> {
        use DecryptError::{NotAPayload, WrongCipher};

        let payload = payload.trim();
        if payload.len() > ENCRYPTED_LEN_MAX {
            return Err(DecryptError::TooLong);
        }
        let json = BASE64.decode(payload).map_err(|_| NotAPayload(Flaw::NotBase64))?;
        let members: Payload = serde_json::from_slice(&json).map_err(|_| NotAPayload(Flaw::Members))?;
        let part = |text: &str| BASE64.decode(text).map_err(|_| NotAPayload(Flaw::Part));
        let (iv, mut value) = (part(&members.iv)?, part(&members.value)?);
        let tag = members.tag.filter(|tag| !tag.is_empty());
        let iv_len = iv.len();
        match tag {
            None if iv_len == CBC_IV_LEN && members.mac.is_empty() => Err(NotAPayload(Flaw::NoMac)),
            None if iv_len == CBC_IV_LEN => Ok(Parts::Cbc {
                iv: iv.try_into().expect("its length was asked"),
                value,
                mac: unhex(&members.mac).ok_or(NotAPayload(Flaw::Part))?,
                iv_text: members.iv,
                value_text: members.value,
            }),
            Some(tag) if iv_len == GCM_IV_LEN => {
                let tag = part(&tag)?;
                if tag.len() != GCM_TAG_LEN {
                    return Err(WrongCipher { iv_len });
                }
                value.extend_from_slice(&tag);
                Ok(Parts::Gcm { iv: iv.try_into().expect("its length was asked"), value_and_tag: value })
            }
            None | Some(_) => Err(WrongCipher { iv_len }),
        }
    }

    /// The plain bytes; `None` if `key` is not the one.
    fn decrypt(&self, key: &AppKey) -> Option<Result<Vec<u8>, DecryptError>> {
        match self {
            Parts::Cbc { iv, value, mac, iv_text, value_text } => {
                // In constant time.
                mac_of(key, iv_text, value_text).verify_slice(mac).ok()?;
                let mut block = value.clone();
                let plain = cbc::Decryptor::<Aes256>::new(key.bytes().into(), iv.into())
                    .decrypt_padded::<Pkcs7>(&mut block)
                    .map(<[u8]>::to_vec);
                Some(plain.map_err(|_| DecryptError::Padding))
            }
            Parts::Gcm { iv, value_and_tag } => {
                let cipher = Aes256Gcm::new(key.bytes().into());
                cipher.decrypt(&Nonce::from(*iv), value_and_tag.as_slice()).ok().map(Ok)
            }
        }
    }
}

fn mac_of(key: &AppKey, iv: &str, value: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.bytes()).expect("HMAC takes keys of any length");
    mac.update(iv.as_bytes());
    mac.update(value.as_bytes());
    mac
}

/// The inside of a text that PHP serialized: `s:<bytes>:"<text>";`.
fn unserialized(text: &str) -> Option<&str> {
    let (len, rest) = text.strip_prefix("s:")?.split_once(":\"")?;
    let inside = rest.strip_suffix("\";")?;
    let is_plain = len.bytes().all(|byte| byte.is_ascii_digit());
    (is_plain && len.parse() == Ok(inside.len())).then_some(inside)
}

/// Lower-case hexadecimal, as PHP's `hash_hmac` writes it.
struct Hex<'b>(&'b [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn unhex(text: &str) -> Option<[u8; MAC_LEN]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * MAC_LEN || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; MAC_LEN];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| if digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 };
        *byte = value(pair[0]) << 4 | value(pair[1]);
    }
    Some(bytes)
}

/// Why a column cannot be read; nothing of the value is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// Longer than [`ENCRYPTED_LEN_MAX`].
    #[error("the value is longer than {ENCRYPTED_LEN_MAX} bytes")]
    TooLong,
    /// Nothing that Laravel's encrypter writes.
    #[error("the value is not encrypted in Laravel's format: {0}")]
    NotAPayload(Flaw),
    /// A payload of a cipher that is not read here.
    #[error("the value is encrypted with another cipher than AES-256-CBC and AES-256-GCM (its iv has {iv_len} bytes)")]
    WrongCipher {
        /// Bytes of the initialization vector: 16 under CBC, 12 under GCM.
        iv_len: usize,
    },
    /// Another key, or a changed value: neither MAC nor tag can tell these apart.
    #[error(
        "none of the {tried} known keys fits: the value was encrypted under another APP_KEY (add that one to \
         APP_PREVIOUS_KEYS), or was changed since"
    )]
    NoKeyFits {
        /// Keys that were tried.
        tried: usize,
    },
    /// A key fits, but what it opens is not padded: the writer is broken.
    #[error("a key fits, but the value was not encrypted with AES-256-CBC")]
    Padding,
    /// A key fits, but what it opens is no UTF-8.
    #[error("a key fits, but the value is no text")]
    NotText,
}

/// What is missing from a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The whole.
    #[error("it is no base64")]
    NotBase64,
    /// It is base64 of something else, or was cut short.
    #[error("its base64 holds no object with iv, value and mac (was it cut short by its column?)")]
    Members,
    /// `iv`, `value`, `mac` or `tag`.
    #[error("its iv, value, mac or tag is badly written")]
    Part,
    /// `mac` and `tag` are empty.
    #[error("it has neither a mac nor a tag")]
    NoMac,
}

/// Why a value cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// More than half of [`ENCRYPTED_LEN_MAX`].
    #[error("a value of more than {PLAIN_LEN_MAX} bytes is not encrypted")]
    TooLong,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for an initialization vector")]
    NoRandomness,
}

impl Cipher {
    /// Laravel's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Cipher::Aes256Cbc => "AES-256-CBC",
            Cipher::Aes256Gcm => "AES-256-GCM",
        }
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// In upper or lower case, as Laravel.
impl FromStr for Cipher {
    type Err = UnknownCipher;

    fn from_str(text: &str) -> Result<Self, UnknownCipher> {
        let found =
            [Cipher::Aes256Cbc, Cipher::Aes256Gcm].into_iter().find(|one| one.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| UnknownCipher(text.to_owned()))
    }
}

/// A word that is no cipher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown cipher {0:?}: expected AES-256-CBC or AES-256-GCM")]
pub struct UnknownCipher(pub String);

#[cfg(test)]
mod tests;
