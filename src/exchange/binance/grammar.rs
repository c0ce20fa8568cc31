//! Says whether a text is JSON (RFC 8259), every byte of it: the proof that a private frame's outline may be trusted.
//!
//! Price frames do without, because each entry is parsed anyway. A private frame is not parsed on the loop, and what its
//! members say decides whether it is recorded, so `{"result":<garbage>,"id":1}` must not pass for a reply. Data plane: one
//! walk, no recursion, no allocation.

use super::outline::skip_blanks;
use crate::domain::limits::EVENT_DEPTH_MAX;

/// Whether `text` is one JSON value with nothing but blanks around it, nested no deeper than [`EVENT_DEPTH_MAX`]. Lone
/// surrogates in `\u` escapes and numbers of any size are JSON.
pub(super) fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok() && document_end(text) == Some(text.len())
}

/// Where the blanks behind the first value end.
fn document_end(text: &[u8]) -> Option<usize> {
    let mut open = Open::default();
    let mut at = 0;
    loop {
        at = skip_blanks(text, at);
        at = match *text.get(at)? {
            b'"' => string_end(text, at)?,
            b'-' | b'0'..=b'9' => number_end(text, at)?,
            b't' => word_end(text, at, b"true")?,
            b'f' => word_end(text, at, b"false")?,
            b'n' => word_end(text, at, b"null")?,
            b'{' => {
                open.push(true)?;
                let first = skip_blanks(text, at + 1);
                if text.get(first) != Some(&b'}') {
                    at = key_end(text, first)?;
                    continue;
                }
                first
            }
            b'[' => {
                open.push(false)?;
                let first = skip_blanks(text, at + 1);
                if text.get(first) != Some(&b']') {
                    at = first;
                    continue;
                }
                first
            }
            _ => return None,
        };
        // A value has ended, or a bracket without content is about to: what follows belongs to the level around it.
        loop {
            at = skip_blanks(text, at);
            let Some(in_object) = open.innermost() else { return Some(at) };
            match (*text.get(at)?, in_object) {
                (b',', true) => {
                    at = key_end(text, skip_blanks(text, at + 1))?;
                    break;
                }
                (b',', false) => {
                    at += 1;
                    break;
                }
                (b'}', true) | (b']', false) => {
                    open.pop();
                    at += 1;
                }
                _ => return None,
            }
        }
    }
}

/// Behind the colon of the key that opens at `at`.
fn key_end(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'"') {
        return None;
    }
    let colon = skip_blanks(text, string_end(text, at)?);
    (text.get(colon) == Some(&b':')).then_some(colon + 1)
}

/// Behind the string that opens at `at`.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match *text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => match *text.get(at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                b'u' if text.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => at += 6,
                _ => return None,
            },
            0..=0x1f => return None,
            _ => at += 1,
        }
    }
}

fn number_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + usize::from(text[at] == b'-');
    at = match *text.get(at)? {
        b'0' => at + 1,
        _ => digits_end(text, at)?,
    };
    if text.get(at) == Some(&b'.') {
        at = digits_end(text, at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        at += usize::from(matches!(text.get(at), Some(b'+' | b'-')));
        at = digits_end(text, at)?;
    }
    Some(at)
}

/// Behind the digits at `at`, of which there is one at least.
fn digits_end(text: &[u8], at: usize) -> Option<usize> {
    let len = text.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (len > 0).then_some(at + len)
}

fn word_end(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    text[at..].starts_with(word).then_some(at + word.len())
}

/// The brackets open at one point of the walk: one bit a level, the innermost lowest, set for a brace.
#[derive(Default)]
struct Open {
    depth: usize,
    kinds: u128,
}

impl Open {
    fn push(&mut self, brace: bool) -> Option<()> {
        if self.depth == EVENT_DEPTH_MAX {
            return None;
        }
        self.kinds = self.kinds << 1 | u128::from(brace);
        self.depth += 1;
        Some(())
    }

    /// Whether the innermost one is a brace; `None` outside of all.
    fn innermost(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.kinds & 1 == 1)
    }

    fn pop(&mut self) {
        self.kinds >>= 1;
        self.depth -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_json() {
        for text in [
            "{}",
            "[]",
            " \t\r\n{ } ",
            "0",
            "-0",
            "-12.50e+07",
            "1E9",
            "true",
            "false",
            "null",
            r#""""#,
            r#""\u0022\/\b""#,
            r#""\ud83d""#,
            r#"{"a":[1,{"b":null},[]],"":"x"}"#,
            "[[[[]]],{}]",
            "\"\u{7f}é\"",
            "123456789012345678901234567890",
        ] {
            check(text, true);
        }
        for text in [
            "",
            " ",
            "{",
            "}",
            "[",
            "]",
            "{]",
            "[}",
            "[1,]",
            "[,1]",
            "[,]",
            "{,}",
            r#"{"a":1,}"#,
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a" 1}"#,
            r#"{a:1}"#,
            "{1:1}",
            r#"{"a":1 "b":2}"#,
            "[1 2]",
            "01",
            "-",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "0x1",
            "tru",
            "truex",
            "nul",
            "nan",
            r#""a"#,
            r#""\x""#,
            r#""\u12g4""#,
            r#""\u12""#,
            "\"\u{1}\"",
            "\"\n\"",
            "{}{}",
            "{} x",
            "[] ]",
            "'a'",
            "\u{feff}{}",
            "//\n1",
        ] {
            check(text, false);
        }
        assert!(!is_json(b"\"\xff\""));
    }

    #[test]
    fn depth_is_bounded_where_serde_json_stops() {
        for depth in [1, EVENT_DEPTH_MAX, EVENT_DEPTH_MAX + 1, 100_000] {
            let arrays = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let objects = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
            for text in [arrays, objects] {
                assert_eq!(is_json(text.as_bytes()), depth <= EVENT_DEPTH_MAX, "{depth}");
                assert_eq!(
                    serde_json::from_str::<serde_json::Value>(&text).is_ok(),
                    depth <= EVENT_DEPTH_MAX,
                    "{depth}"
                );
            }
        }
    }

    #[track_caller]
    fn check(text: &str, expected: bool) {
        assert_eq!(is_json(text.as_bytes()), expected, "{text}");
        assert_eq!(serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(), expected, "serde_json: {text}");
    }
}
