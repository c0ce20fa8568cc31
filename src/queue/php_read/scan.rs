//! The grammar: checked first, then written as JSON by a second walk, since a list is known by its last key.
//!
//! Recursive, at most as deep as PHP's JSON and the object around it.

use super::{PhpError, PhpErrorKind};
use crate::queue::digits::write_int;
use crate::queue::json::DEPTH_MAX;
use crate::queue::json_text::{Escapes, write_escaped};

/// A key, or a value that could be one.
pub(super) enum Key<'a> {
    Int(i64),
    Text(&'a [u8]),
}

/// A text, and how far it is read.
pub(super) struct Scan<'a, 'l> {
    pub text: &'a [u8],
    pub at: usize,
    /// For each array and object, in the order of their openings: whether its keys are 0 to n-1.
    pub lists: &'l mut Vec<bool>,
}

impl<'a> Scan<'a, '_> {
    pub fn fail<T>(&self, kind: PhpErrorKind) -> Result<T, PhpError> {
        Err(PhpError { kind, at: self.at })
    }

    pub fn expect(&mut self, bytes: &[u8]) -> Result<(), PhpError> {
        let rest = &self.text[self.at..];
        if rest.starts_with(bytes) {
            self.at += bytes.len();
            return Ok(());
        }
        self.fail(if bytes.starts_with(rest) { PhpErrorKind::Truncated } else { PhpErrorKind::Unexpected })
    }

    /// What stands before `end`, which is read too.
    fn until(&mut self, end: u8) -> Result<&'a [u8], PhpError> {
        // No number of PHP's is longer; a text without an end must not be searched whole for each value.
        const LEN_MAX: usize = 40;
        let rest = &self.text[self.at..];
        match rest.iter().take(LEN_MAX).position(|&byte| byte == end) {
            Some(len) => {
                self.at += len + 1;
                Ok(&rest[..len])
            }
            None if rest.len() < LEN_MAX => self.fail(PhpErrorKind::Truncated),
            None => self.fail(PhpErrorKind::Unexpected),
        }
    }

    fn int(&mut self, end: u8) -> Result<i64, PhpError> {
        let at = self.at;
        let digits = self.until(end)?;
        canonical_int(digits).ok_or(PhpError { kind: PhpErrorKind::Unexpected, at })
    }

    /// `<count>:`
    pub fn count(&mut self) -> Result<usize, PhpError> {
        let at = self.at;
        usize::try_from(self.int(b':')?).map_err(|_| PhpError { kind: PhpErrorKind::Unexpected, at })
    }

    /// `<length>:"<bytes>"` and what follows.
    pub fn text_of(&mut self, behind: u8) -> Result<&'a [u8], PhpError> {
        let len = self.count()?;
        self.expect(b"\"")?;
        let rest = &self.text[self.at..];
        if len > rest.len() {
            return self.fail(PhpErrorKind::Truncated);
        }
        self.at += len;
        self.expect(b"\"")?;
        self.expect(&[behind])?;
        Ok(&rest[..len])
    }

    pub fn key(&mut self) -> Result<Key<'a>, PhpError> {
        match self.text.get(self.at..self.at + 2) {
            Some(b"i:") => {
                self.at += 2;
                Ok(Key::Int(self.int(b';')?))
            }
            Some(b"s:") => {
                self.at += 2;
                Ok(Key::Text(self.text_of(b';')?))
            }
            None if matches!(self.text[self.at..], [] | [b'i' | b's']) => self.fail(PhpErrorKind::Truncated),
            _ => self.fail(PhpErrorKind::Unexpected),
        }
    }

    fn double(&mut self) -> Result<&'a [u8], PhpError> {
        let at = self.at;
        let digits = self.until(b';')?;
        if is_double(digits) { Ok(digits) } else { Err(PhpError { kind: PhpErrorKind::Unexpected, at }) }
    }

    /// Checks the value that begins here, inside `depth` arrays and objects, and notes which arrays are lists.
    pub fn skip(&mut self, depth: usize) -> Result<(), PhpError> {
        let Some(&kind) = self.text.get(self.at) else { return self.fail(PhpErrorKind::Truncated) };
        match kind {
            b'N' => self.expect(b"N;"),
            b'b' => match self.text.get(self.at + 2) {
                Some(b'0') => self.expect(b"b:0;"),
                _ => self.expect(b"b:1;"),
            },
            b'i' | b's' => self.key().map(drop),
            b'd' => {
                self.expect(b"d:")?;
                self.double().map(drop)
            }
            // The object, and what PHP's JSON may nest in its payload.
            b'a' | b'O' if depth > DEPTH_MAX => self.fail(PhpErrorKind::TooDeep),
            b'a' => {
                self.expect(b"a:")?;
                self.members(depth)
            }
            b'O' => {
                self.expect(b"O:")?;
                self.text_of(b':')?;
                self.members(depth)
            }
            b'R' | b'r' | b'C' | b'E' => self.fail(PhpErrorKind::Unsupported),
            _ => self.fail(PhpErrorKind::Unexpected),
        }
    }

    fn members(&mut self, depth: usize) -> Result<(), PhpError> {
        let own = self.lists.len();
        self.lists.push(true);
        let count = self.count()?;
        self.expect(b"{")?;
        let mut is_list = true;
        // A count beyond the text ends with the text.
        for expected in 0..count {
            is_list &= matches!(self.key()?, Key::Int(key) if usize::try_from(key) == Ok(expected));
            self.skip(depth + 1)?;
        }
        self.expect(b"}")?;
        self.lists[own] = is_list;
        Ok(())
    }

    /// Writes the value that begins here, which was checked; `list` is its place among arrays and objects.
    pub fn write_json(&mut self, list: &mut usize, out: &mut Vec<u8>) -> Result<(), PhpError> {
        match self.text[self.at] {
            b'N' => {
                self.at += 2;
                out.extend_from_slice(b"null");
            }
            b'b' => {
                out.extend_from_slice(if self.text[self.at + 2] == b'1' { b"true" } else { b"false" });
                self.at += 4;
            }
            b'i' | b's' => {
                let at = self.at;
                match self.key()? {
                    Key::Int(value) => write_int(value, out),
                    Key::Text(text) => write_text(text, at, out)?,
                }
            }
            b'd' => {
                self.at += 2;
                let at = self.at;
                match self.double()? {
                    b"INF" => out.extend_from_slice(b"1e999"),
                    b"-INF" => out.extend_from_slice(b"-1e999"),
                    b"NAN" => return Err(PhpError { kind: PhpErrorKind::Unsupported, at }),
                    digits => {
                        out.extend_from_slice(digits);
                        if !digits.iter().any(|digit| matches!(digit, b'.' | b'E')) {
                            out.extend_from_slice(b".0");
                        }
                    }
                }
            }
            b'a' => {
                self.at += 2;
                let is_list = self.lists[*list];
                *list += 1;
                let count = self.count()?;
                self.expect(b"{")?;
                out.push(if is_list { b'[' } else { b'{' });
                for member in 0..count {
                    if member > 0 {
                        out.push(b',');
                    }
                    let at = self.at;
                    match self.key()? {
                        _ if is_list => {}
                        Key::Int(key) => {
                            out.push(b'"');
                            write_int(key, out);
                            out.push(b'"');
                            out.push(b':');
                        }
                        Key::Text(key) => {
                            write_text(key, at, out)?;
                            out.push(b':');
                        }
                    }
                    self.write_json(list, out)?;
                }
                self.expect(b"}")?;
                out.push(if is_list { b']' } else { b'}' });
            }
            _ => return self.fail(PhpErrorKind::Unsupported),
        }
        Ok(())
    }
}

fn write_text(text: &[u8], at: usize, out: &mut Vec<u8>) -> Result<(), PhpError> {
    out.push(b'"');
    write_escaped(utf8(text, at)?, Escapes::Plain, out);
    out.push(b'"');
    Ok(())
}

pub(super) fn utf8(text: &[u8], at: usize) -> Result<&str, PhpError> {
    std::str::from_utf8(text).map_err(|_| PhpError { kind: PhpErrorKind::BadText, at })
}

/// As PHP writes an integer: no plus, no leading zero, no `-0`, within 64 bits.
pub(super) fn canonical_int(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if canonical { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// As PHP writes a double: JSON's grammar with `E+` or `E-`, or one of three words.
fn is_double(text: &[u8]) -> bool {
    if matches!(text, b"INF" | b"-INF" | b"NAN") {
        return true;
    }
    let plain = text.strip_prefix(b"-").unwrap_or(text);
    let split = plain.iter().position(|&byte| byte == b'E');
    let (mantissa, exponent) = plain.split_at(split.unwrap_or(plain.len()));
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let point = mantissa.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = mantissa.split_at(point.unwrap_or(mantissa.len()));
    let no_leading_zero = whole.len() == 1 || whole.first() != Some(&b'0');
    let fraction = fraction.is_empty() || digits(&fraction[1..]);
    let exponent = match exponent {
        [] => true,
        [b'E', b'+' | b'-', rest @ ..] => digits(rest),
        _ => false,
    };
    digits(whole) && no_leading_zero && fraction && exponent
}
