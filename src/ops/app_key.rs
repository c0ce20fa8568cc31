//! The application's keys, under which Laravel encrypts columns: `APP_KEY`, and those before it in `APP_PREVIOUS_KEYS`.
//!
//! They come from the environment or from a file, which may be Laravel's own `.env` or hold one key and nothing else. No
//! formatting shows a key, and no error repeats a part of one.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::domain::limits::{APP_KEY_FILE_MAX, APP_KEYS_MAX};

/// Name of the variable that holds the current key.
pub const APP_KEY: &str = "APP_KEY";
/// Name of the variable that holds earlier keys, with commas between.
pub const APP_PREVIOUS_KEYS: &str = "APP_PREVIOUS_KEYS";

/// Base64 as PHP reads it: with or without `=`.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Bytes of a key of AES-256.
const KEY_LEN: usize = 32;

/// One key of AES-256.
#[derive(Clone, PartialEq, Eq)]
pub struct AppKey([u8; KEY_LEN]);

impl AppKey {
    /// Reads `base64:…`, as `php artisan key:generate` writes it, or 32 bytes as they are.
    ///
    /// # Errors
    /// [`BadKey`], which repeats nothing of the text.
    pub fn parse(text: &str) -> Result<AppKey, BadKey> {
        let text = text.trim();
        if text.is_empty() {
            return Err(BadKey::Empty);
        }
        let bytes = match text.strip_prefix("base64:") {
            Some(encoded) => BASE64.decode(encoded).map_err(|_| BadKey::NotBase64)?,
            None => text.as_bytes().to_vec(),
        };
        let len = bytes.len();
        bytes.try_into().map(AppKey).map_err(|_| BadKey::Length(len))
    }

    /// The key's bytes: for the cipher and the MAC only.
    pub(super) const fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppKey(***)")
    }
}

/// The current key and the earlier ones, newest first: one key at least, [`APP_KEYS_MAX`] at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppKeys(Vec<AppKey>);

impl AppKeys {
    /// Reads the values of [`APP_KEY`] and [`APP_PREVIOUS_KEYS`]. Empty places in the list are passed over.
    ///
    /// # Errors
    /// [`AppKeyError`], which repeats nothing of them.
    pub fn parse(current: &str, previous: &str) -> Result<AppKeys, AppKeyError> {
        let mut keys = vec![AppKey::parse(current).map_err(AppKeyError::Current)?];
        for (place, text) in previous.split(',').filter(|text| !text.trim().is_empty()).enumerate() {
            if keys.len() == APP_KEYS_MAX {
                return Err(AppKeyError::TooMany);
            }
            keys.push(AppKey::parse(text).map_err(|bad| AppKeyError::Previous { place: place + 1, bad })?);
        }
        Ok(AppKeys(keys))
    }

    /// Finds the keys. `variable` looks into the environment, which wins over `file`, each variable for itself, as it does
    /// over Laravel's `.env`.
    ///
    /// # Errors
    /// [`AppKeyError`]; it names the file and repeats nothing of what is in it.
    pub fn load(variable: impl Fn(&str) -> Option<String>, file: Option<&Path>) -> Result<AppKeys, AppKeyError> {
        let (mut current, mut previous) = (variable(APP_KEY), variable(APP_PREVIOUS_KEYS));
        if let Some(path) = file.filter(|_| current.is_none() || previous.is_none()) {
            let found = read_file(path).map_err(|fault| AppKeyError::File { path: path.to_owned(), fault })?;
            let (in_file, previous_in_file) = find_in(&found);
            current = current.or(in_file);
            previous = previous.or(previous_in_file);
        }
        AppKeys::parse(&current.ok_or(AppKeyError::Missing)?, &previous.unwrap_or_default())
    }

    /// The key under which values are written.
    #[must_use]
    pub fn current(&self) -> &AppKey {
        &self.0[0]
    }

    /// All of them, the current one first.
    #[must_use]
    pub fn all(&self) -> &[AppKey] {
        &self.0
    }
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    // One byte more than allowed tells too long from just fits.
    File::open(path)?.take(APP_KEY_FILE_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > APP_KEY_FILE_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {APP_KEY_FILE_MAX} bytes")));
    }
    Ok(text)
}

/// The two variables in the text of a `.env` file; a text of one line without them is the key itself.
fn find_in(text: &str) -> (Option<String>, Option<String>) {
    let text = text.trim_start_matches('\u{feff}').trim();
    let (mut current, mut previous, mut is_env) = (None, None, false);
    for line in text.lines() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
        match name.trim() {
            APP_KEY => current = Some(env_value(value)),
            APP_PREVIOUS_KEYS => previous = Some(env_value(value)),
            _ => continue,
        }
        is_env = true;
    }
    if !is_env && text.lines().count() == 1 {
        current = Some(text.to_owned());
    }
    (current, previous)
}

/// A value without its quotes, or without the comment behind it.
fn env_value(text: &str) -> String {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some((inside, _)) = text.strip_prefix(quote).and_then(|rest| rest.split_once(quote)) {
            return inside.to_owned();
        }
    }
    text.split_once(" #").map_or(text, |(value, _)| value.trim_end()).to_owned()
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// There is nothing.
    #[error("is empty")]
    Empty,
    /// What follows `base64:` is no base64.
    #[error("is no base64 behind \"base64:\"")]
    NotBase64,
    /// So many bytes, which is no key of AES-256.
    #[error("has {0} bytes; AES-256 takes 32 (a key with the prefix \"base64:\" has 44 characters behind it)")]
    Length(usize),
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum AppKeyError {
    /// Neither the environment nor the file holds one.
    #[error("there is no APP_KEY: set it in the environment, or name the file that holds it (Laravel's .env will do)")]
    Missing,
    /// The current key is none.
    #[error("APP_KEY {0}")]
    Current(BadKey),
    /// An earlier key is none.
    #[error("key {place} of APP_PREVIOUS_KEYS {bad}")]
    Previous {
        /// Counted from 1, empty places left out.
        place: usize,
        /// What is wrong with it.
        bad: BadKey,
    },
    /// More than [`APP_KEYS_MAX`] keys.
    #[error("APP_PREVIOUS_KEYS holds more than {} keys", APP_KEYS_MAX - 1)]
    TooMany,
    /// The file cannot be read.
    #[error("the file of the application's key, {path}, cannot be read: {fault}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        fault: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32 times `k`, `p` and `q`.
    const K: &str = "base64:a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
    const P: &str = "base64:cHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHA=";
    const Q: &str = "base64:cXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXE=";

    #[test]
    fn keys_of_every_spelling() {
        let raw = "k".repeat(32);
        for text in [K, K.trim_end_matches('='), &format!(" {K}\n"), &raw] {
            assert_eq!(AppKey::parse(text).map(|key| *key.bytes()), Ok([b'k'; 32]), "{text}");
        }
        for (text, expected) in [
            ("", BadKey::Empty),
            (" \n", BadKey::Empty),
            ("base64:", BadKey::Length(0)),
            ("base64:****", BadKey::NotBase64),
            ("base64:a2tra2tra2tra2tra2traw==", BadKey::Length(16)),
            (&K[7..], BadKey::Length(44)),
            (&raw[1..], BadKey::Length(31)),
        ] {
            assert_eq!(AppKey::parse(text), Err(expected), "{text}");
        }
        assert_eq!(format!("{:?}", AppKeys::parse(K, P).unwrap()), "AppKeys([AppKey(***), AppKey(***)])");
    }

    #[test]
    fn previous_keys_are_a_list() {
        assert_eq!(letters(AppKeys::parse(K, &format!("{P}, ,{Q},"))), Ok("kpq".to_owned()));
        assert_eq!(letters(AppKeys::parse(K, "")), Ok("k".to_owned()));
        let many = [P; APP_KEYS_MAX - 1].join(",");
        assert_eq!(letters(AppKeys::parse(K, &many)).map(|keys| keys.len()), Ok(APP_KEYS_MAX));
        for (current, previous, expected) in [
            ("", "", "APP_KEY is empty"),
            (K, "base64:x", "key 1 of APP_PREVIOUS_KEYS is no base64 behind \"base64:\""),
            (
                K,
                &format!(",{P},abc"),
                "key 2 of APP_PREVIOUS_KEYS has 3 bytes; AES-256 takes 32 (a key with the prefix \"base64:\" has 44 \
                 characters behind it)",
            ),
            (K, &format!("{many},{P}"), "APP_PREVIOUS_KEYS holds more than 15 keys"),
        ] {
            assert_eq!(letters(AppKeys::parse(current, previous)), Err(expected.to_owned()));
        }
    }

    #[test]
    fn files_of_both_kinds() {
        for (text, current, previous) in [
            ("key", Some("key"), None),
            ("\u{feff} key \r\n", Some("key"), None),
            ("APP_KEY=key", Some("key"), None),
            ("APP_NAME=x\nAPP_KEY=\"key\" # now\n\nAPP_PREVIOUS_KEYS='a,b'\n", Some("key"), Some("a,b")),
            ("export APP_KEY = key # now\n#APP_KEY=old\nXAPP_KEY=other", Some("key"), None),
            ("APP_KEY=one\nAPP_KEY=two", Some("two"), None),
            ("APP_KEY=base64:aa==", Some("base64:aa=="), None),
            ("APP_KEY=", Some(""), None),
            ("one\ntwo", None, None),
            ("", None, None),
        ] {
            let expected = (current.map(str::to_owned), previous.map(str::to_owned));
            assert_eq!(find_in(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_environment_wins_and_the_file_helps_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".env");
        std::fs::write(&file, format!("APP_KEY={P}\nAPP_PREVIOUS_KEYS={Q}\n")).unwrap();
        let load = |current: Option<&str>, file: Option<&Path>| {
            let current = current.map(str::to_owned);
            letters(AppKeys::load(|name| current.clone().filter(|_| name == APP_KEY), file))
        };
        assert_eq!(load(Some(K), None), Ok("k".to_owned()));
        assert_eq!(load(Some(K), Some(&file)), Ok("kq".to_owned()));
        assert_eq!(load(None, Some(&file)), Ok("pq".to_owned()));
        assert!(load(None, None).unwrap_err().starts_with("there is no APP_KEY"));
        let absent = load(None, Some(&folder.path().join("absent"))).unwrap_err();
        assert!(absent.contains("absent, cannot be read"), "{absent}");
        std::fs::write(&file, "x".repeat(APP_KEY_FILE_MAX as usize + 1)).unwrap();
        let long = load(None, Some(&file)).unwrap_err();
        assert!(long.ends_with("longer than 65536 bytes"), "{long}");
    }

    /// The first byte of each key, or the error's sentence.
    fn letters(keys: Result<AppKeys, AppKeyError>) -> Result<String, String> {
        keys.map(|keys| keys.all().iter().map(|key| char::from(key.bytes()[0])).collect()).map_err(|e| e.to_string())
    }
}
