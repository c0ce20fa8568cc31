//! The grammar: text to nodes of the tree, refusing exactly what PHP refuses.
//!
//! Recursive, at most [`DEPTH_MAX`] deep.

use super::{DEPTH_MAX, Document, JsonError, JsonErrorKind, NONE, Span, Value};

/// A text, and how far it is read.
pub(super) struct Reader<'d, 'j> {
    pub document: &'d mut Document,
    pub json: &'j [u8],
    pub at: usize,
}

impl Reader<'_, '_> {
    fn fail<T>(&self, kind: JsonErrorKind) -> Result<T, JsonError> {
        Err(JsonError { kind, at: self.at })
    }

    fn peek(&self) -> Result<u8, JsonError> {
        self.json.get(self.at).copied().ok_or(JsonError { kind: JsonErrorKind::Truncated, at: self.at })
    }

    pub fn skip_space(&mut self) {
        while matches!(self.json.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &[u8], key: Span, value: Value) -> Result<u32, JsonError> {
        let rest = &self.json[self.at..];
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(self.document.push(key, value));
        }
        let kind = if word.starts_with(rest) { JsonErrorKind::Truncated } else { JsonErrorKind::Unexpected };
        self.fail(kind)
    }

    /// The value that begins here, inside `depth` lists and objects.
    pub fn value(&mut self, key: Span, depth: usize) -> Result<u32, JsonError> {
        match self.peek()? {
            b'n' => self.word(b"null", key, Value::Null),
            b't' => self.word(b"true", key, Value::Bool(true)),
            b'f' => self.word(b"false", key, Value::Bool(false)),
            b'"' => {
                let text = self.text()?;
                Ok(self.document.push(key, Value::Text(text)))
            }
            b'-' | b'0'..=b'9' => {
                let number = self.number()?;
                Ok(self.document.push(key, number))
            }
            b'[' | b'{' if depth >= DEPTH_MAX => self.fail(JsonErrorKind::TooDeep),
            b'[' => self.container(key, depth, false),
            b'{' => self.container(key, depth, true),
            _ => self.fail(JsonErrorKind::Unexpected),
        }
    }

    fn container(&mut self, key: Span, depth: usize, object: bool) -> Result<u32, JsonError> {
        let close = if object { b'}' } else { b']' };
        let parent = self.document.push(key, Value::Null);
        self.at += 1;
        let mut count = 0;
        let mut previous = NONE;
        self.skip_space();
        if self.peek()? == close {
            self.at += 1;
        } else {
            loop {
                let mut member = Span { start: 0, end: 0 };
                if object {
                    if self.peek()? != b'"' {
                        return self.fail(JsonErrorKind::Unexpected);
                    }
                    member = self.text()?;
                    self.skip_space();
                    if self.peek()? != b':' {
                        return self.fail(JsonErrorKind::Unexpected);
                    }
                    self.at += 1;
                    self.skip_space();
                }
                let child = self.value(member, depth + 1)?;
                if previous == NONE {
                    self.document.nodes[parent as usize].first_child = child;
                } else {
                    self.document.nodes[previous as usize].next = child;
                }
                previous = child;
                count += 1;
                self.skip_space();
                match self.peek()? {
                    b',' => {
                        self.at += 1;
                        self.skip_space();
                    }
                    found if found == close => {
                        self.at += 1;
                        break;
                    }
                    _ => return self.fail(JsonErrorKind::Unexpected),
                }
            }
        }
        let value = if object { Value::Object(self.document.fold_repeated(parent)) } else { Value::List(count) };
        self.document.nodes[parent as usize].value = value;
        Ok(parent)
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        if self.peek()? == b'-' {
            self.at += 1;
        }
        let leading_zero = self.peek()? == b'0';
        let digits = self.digits()?;
        if leading_zero && digits > 1 {
            self.at = start;
            return self.fail(JsonErrorKind::Unexpected);
        }
        let mut integer = true;
        if self.json.get(self.at) == Some(&b'.') {
            integer = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.json.get(self.at), Some(b'e' | b'E')) {
            integer = false;
            self.at += 1;
            if matches!(self.json.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = std::str::from_utf8(&self.json[start..self.at]).expect("digits are ASCII");
        if integer && let Ok(value) = text.parse::<i64>() {
            return Ok(Value::Int(value));
        }
        Ok(Value::Double(text.parse::<f64>().expect("the JSON number grammar is within Rust's")))
    }

    fn digits(&mut self) -> Result<usize, JsonError> {
        let start = self.at;
        while self.json.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start {
            self.peek()?;
            return self.fail(JsonErrorKind::Unexpected);
        }
        Ok(self.at - start)
    }

    fn text(&mut self) -> Result<Span, JsonError> {
        self.at += 1;
        let start = self.document.text.len() as u32;
        loop {
            let run = self.json[self.at..].iter().position(|&b| matches!(b, b'"' | b'\\') || b < 0x20);
            let Some(run) = run else {
                self.at = self.json.len();
                return self.fail(JsonErrorKind::Truncated);
            };
            self.document.text.extend_from_slice(&self.json[self.at..self.at + run]);
            self.at += run;
            match self.json[self.at] {
                b'"' => {
                    self.at += 1;
                    return Ok(Span { start, end: self.document.text.len() as u32 });
                }
                b'\\' => self.escape()?,
                _ => return self.fail(JsonErrorKind::Unexpected),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.at += 1;
        let escaped = self.peek()?;
        self.at += 1;
        let byte = match escaped {
            b'"' | b'\\' | b'/' => escaped,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let mut unit = self.hex4()?;
                if (0xd800..0xdc00).contains(&unit) {
                    if !self.json[self.at..].starts_with(b"\\u") {
                        return Err(JsonError { kind: JsonErrorKind::BadText, at: start });
                    }
                    self.at += 2;
                    let low = self.hex4()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err(JsonError { kind: JsonErrorKind::BadText, at: start });
                    }
                    unit = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                }
                let Some(c) = char::from_u32(unit) else {
                    return Err(JsonError { kind: JsonErrorKind::BadText, at: start });
                };
                self.document.text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => {
                self.at = start;
                return self.fail(JsonErrorKind::Unexpected);
            }
        };
        self.document.text.push(byte);
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let mut unit = 0;
        for _ in 0..4 {
            let Some(digit) = char::from(self.peek()?).to_digit(16) else {
                return self.fail(JsonErrorKind::Unexpected);
            };
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limits::JSON_TEXT_MAX;

    #[test]
    fn what_php_refuses_is_refused() {
        use JsonErrorKind::*;
        let mut document = Document::new();
        for (json, kind) in [
            ("", Truncated),
            ("{", Truncated),
            ("[1,", Truncated),
            ("tru", Truncated),
            ("\"a", Truncated),
            ("\"\\u12", Truncated),
            ("-", Truncated),
            ("1.", Truncated),
            ("[1,]", Unexpected),
            ("{1:2}", Unexpected),
            ("{\"a\" 1}", Unexpected),
            ("01", Unexpected),
            ("+1", Unexpected),
            ("nul!", Unexpected),
            ("\"\n\"", Unexpected),
            ("\"\\x\"", Unexpected),
            ("1 2", Trailing),
            ("\"\\ud800\"", BadText),
            ("\"\\udc00\"", BadText),
            ("\"\\ud800\\u0041\"", BadText),
        ] {
            assert_eq!(document.read(json.as_bytes()).unwrap_err().kind, kind, "{json}");
        }
        assert_eq!(document.read(b"\"\xff\"").unwrap_err(), JsonError { kind: BadText, at: 1 });
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(document.read(deep(511).as_bytes()).is_ok());
        assert_eq!(document.read(deep(512).as_bytes()).unwrap_err(), JsonError { kind: TooDeep, at: 511 });
        assert_eq!(document.read(deep(1 << 20).as_bytes()).unwrap_err().kind, TooDeep);
        let long = vec![b' '; JSON_TEXT_MAX + 1];
        assert_eq!(document.read(&long).unwrap_err(), JsonError { kind: TooLong, at: JSON_TEXT_MAX });
    }

    #[test]
    fn numbers_are_read_as_php_reads_them() {
        let mut document = Document::new();
        for (json, value) in [
            ("0", Value::Int(0)),
            ("-0", Value::Int(0)),
            ("8390000000000000001", Value::Int(8_390_000_000_000_000_001)),
            ("-9223372036854775808", Value::Int(i64::MIN)),
            ("9223372036854775808", Value::Double(9_223_372_036_854_775_808.0)),
            ("1.0", Value::Double(1.0)),
            ("1e3", Value::Double(1000.0)),
            ("1E-7", Value::Double(1e-7)),
            ("1e999", Value::Double(f64::INFINITY)),
        ] {
            let at = document.read(json.as_bytes()).unwrap();
            assert_eq!(document.value(at), value, "{json}");
        }
    }
}
