//! Looks for planted secrets in everything that a run wrote: raw, and in the forms that a careless line would give them
//! (base64 at any alignment, percent-encoded, hex, a list of byte values). A finding names file, offset and form, never the
//! secret.

#![allow(dead_code, reason = "shared by several test binaries, each of which uses a part")]

use std::fs;
use std::path::{Path, PathBuf};

/// Secrets, and what must not hold them.
pub struct SecretScan {
    needles: Vec<Needle>,
    except: Vec<PathBuf>,
}

struct Needle {
    secret: String,
    form: &'static str,
    bytes: Vec<u8>,
    any_case: bool,
}

impl SecretScan {
    /// Looks for `planted`: pairs of a name for reports and the secret, which must be long enough to be no accident.
    pub fn new(planted: &[(&str, &str)]) -> SecretScan {
        let mut needles = Vec::new();
        for (name, secret) in planted {
            assert!(secret.len() >= 12, "{name}: a planted secret needs 12 bytes to be found only where it is");
            for (form, bytes, any_case) in forms(secret.as_bytes()) {
                needles.push(Needle { secret: (*name).to_owned(), form, bytes, any_case });
            }
        }
        SecretScan { needles, except: Vec::new() }
    }

    /// Leaves out a file, or a folder and all below it: where the secret may be.
    pub fn except(mut self, path: impl Into<PathBuf>) -> SecretScan {
        self.except.push(path.into());
        self
    }

    /// Fails if a file below `folder`, or its name, holds a secret; or if there is no file at all, which would prove nothing.
    #[track_caller]
    pub fn check_folder(&self, folder: &Path) {
        let mut findings = Vec::new();
        let mut files = 0;
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let entry = entry.unwrap();
                let path = entry.path();
                if self.except.contains(&path) {
                    continue;
                }
                findings.extend(self.findings("the name of a file", entry.file_name().as_encoded_bytes()));
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() {
                    files += 1;
                    findings.extend(self.findings(&path.display().to_string(), &fs::read(&path).unwrap()));
                }
            }
        }
        assert!(files > 0, "{} holds no file to look at", folder.display());
        assert!(findings.is_empty(), "secrets were written:\n{}", findings.join("\n"));
    }

    /// Fails if `bytes` (a page's body, standard error) hold a secret.
    #[track_caller]
    pub fn check_bytes(&self, name: &str, bytes: &[u8]) {
        let findings = self.findings(name, bytes);
        assert!(findings.is_empty(), "secrets were written:\n{}", findings.join("\n"));
    }

    /// What is found in `bytes`, one line each.
    pub fn findings(&self, name: &str, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for needle in &self.needles {
            if let Some(offset) = needle.find(bytes) {
                found.push(format!("{name} at byte {offset}: {} ({})", needle.secret, needle.form));
            }
        }
        found
    }
}

impl Needle {
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        let equal = |window: &[u8]| match self.any_case {
            true => window.eq_ignore_ascii_case(&self.bytes),
            false => window == self.bytes,
        };
        bytes.windows(self.bytes.len()).position(equal)
    }
}

fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>, bool)> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let every: String = secret.iter().map(|byte| format!("%{byte:02X}")).collect();
    let needed: String = secret
        .iter()
        .map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) => char::from(*byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    let list: Vec<String> = secret.iter().map(u8::to_string).collect();
    let mut forms = vec![
        ("raw", secret.to_vec(), false),
        ("hex", hex.into_bytes(), true),
        ("percent-encoded throughout", every.into_bytes(), true),
        ("a list of byte values", list.join(", ").into_bytes(), false),
        ("a list of byte values", list.join(",").into_bytes(), false),
    ];
    if needed.as_bytes() != secret {
        forms.push(("percent-encoded", needed.into_bytes(), true));
    }
    // JSON as PHP and as others write it.
    let json = serde_json::to_string(&String::from_utf8_lossy(secret)).unwrap();
    let json = json.trim_matches('"');
    if json.as_bytes() != secret {
        forms.push(("in JSON", json.as_bytes().to_vec(), false));
    }
    if json.contains('/') {
        forms.push(("in PHP's JSON", json.replace('/', r"\/").into_bytes(), false));
    }
    for ahead in 0..3 {
        // Only whole groups of four characters are the secret's alone, whatever stands around it.
        let inner = base64(&secret[ahead..secret.len() - (secret.len() - ahead) % 3]);
        let safe = inner.replace('+', "-").replace('/', "_");
        if safe != inner {
            forms.push(("base64 for URLs", safe.into_bytes(), false));
        }
        forms.push(("base64", inner.into_bytes(), false));
    }
    forms
}

/// RFC 4648 §4, of a length that needs no padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks_exact(3) {
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(LETTERS[(bits >> shift & 63) as usize]));
        }
    }
    text
}
