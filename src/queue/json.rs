//! A JSON document as PHP's `json_decode($text, true)` reads it: order kept, integers exact, repeated keys folded.
//!
//! simd-json and serde_json differ from PHP where it matters here: an integer beyond 64 bits becomes a double, `-0` is the
//! integer 0, `1e999` is infinity, a repeated key keeps its first place and its last value. The tree lives in two vectors
//! that are kept between documents, so reading allocates nothing in steady state; what a rare huge document made them grow
//! by is given back at the next read.

use std::fmt;
use std::ops::Range;

use crate::domain::limits::{JSON_NODES_KEPT_MAX, JSON_TEXT_KEPT_MAX, JSON_TEXT_MAX};

/// Lists and objects inside each other: PHP's default depth of 512 counts the value inside the innermost one too, so it
/// refuses the 512th (8.2, run).
pub const DEPTH_MAX: usize = 511;

/// Why a text is not a document. Small and `Copy`; `at` is the byte offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// What is wrong.
    pub kind: JsonErrorKind,
    /// Where, in bytes from the start.
    pub at: usize,
}

/// The kinds of [`JsonError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonErrorKind {
    /// The text ends inside a value.
    Truncated,
    /// A byte that cannot stand here.
    Unexpected,
    /// Bytes behind the document.
    Trailing,
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// Not UTF-8, or a lone surrogate: PHP refuses both.
    BadText,
    /// Longer than [`JSON_TEXT_MAX`]: ours alone refuses it.
    TooLong,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            JsonErrorKind::Truncated => "the text ends inside a value",
            JsonErrorKind::Unexpected => "a byte that cannot stand here",
            JsonErrorKind::Trailing => "bytes behind the document",
            JsonErrorKind::TooDeep => "nested too deep",
            JsonErrorKind::BadText => "text that is not Unicode",
            JsonErrorKind::TooLong => "a document beyond the bound",
        };
        write!(f, "{what} at byte {}", self.at)
    }
}

impl std::error::Error for JsonError {}

/// A value of the tree. Children are found by [`Document::children`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number without point or exponent that fits 64 bits.
    Int(i64),
    /// Any other number.
    Double(f64),
    /// Text, unescaped: see [`Document::text`].
    Text(Span),
    /// A list of so many values.
    List(u32),
    /// An object of so many distinct keys.
    Object(u32),
}

/// A piece of the document's unescaped text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    key: Span,
    value: Value,
    first_child: u32,
    next: u32,
}

/// A document and the memory it is read into, kept from one to the next.
#[derive(Debug, Default)]
pub struct Document {
    nodes: Vec<Node>,
    text: Vec<u8>,
    by_key: Vec<u32>,
}

/// A value's place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At(u32);

impl Document {
    /// An empty document.
    #[must_use]
    pub fn new() -> Self {
        Document::default()
    }

    /// Reads `json`, forgetting what was read before.
    ///
    /// # Errors
    /// [`JsonError`] where PHP's decoder refuses the text.
    pub fn read(&mut self, json: &[u8]) -> Result<At, JsonError> {
        self.forget();
        if json.len() > JSON_TEXT_MAX {
            return Err(JsonError { kind: JsonErrorKind::TooLong, at: JSON_TEXT_MAX });
        }
        let json = match std::str::from_utf8(json) {
            Ok(text) => text.as_bytes(),
            Err(error) => return Err(JsonError { kind: JsonErrorKind::BadText, at: error.valid_up_to() }),
        };
        let mut reader = Reader { document: self, json, at: 0 };
        reader.skip_space();
        let root = reader.value(Span { start: 0, end: 0 }, 0)?;
        reader.skip_space();
        if reader.at < json.len() {
            return Err(JsonError { kind: JsonErrorKind::Trailing, at: reader.at });
        }
        Ok(At(root))
    }

    /// The value at a place.
    #[must_use]
    pub fn value(&self, at: At) -> Value {
        self.nodes[at.0 as usize].value
    }

    /// The key under which the value stands in its object; empty for the root and in lists.
    #[must_use]
    pub fn key(&self, at: At) -> &[u8] {
        self.text(self.nodes[at.0 as usize].key)
    }

    /// The bytes of a text: UTF-8.
    #[must_use]
    pub fn text(&self, span: Span) -> &[u8] {
        &self.text[span.start as usize..span.end as usize]
    }

    /// The values of a list or object, in order.
    pub fn children(&self, at: At) -> impl Iterator<Item = At> + '_ {
        let mut next = self.nodes[at.0 as usize].first_child;
        std::iter::from_fn(move || {
            let here = (next != NONE).then_some(At(next))?;
            next = self.nodes[next as usize].next;
            Some(here)
        })
    }

    /// The member of an object with this key.
    #[must_use]
    pub fn member(&self, object: At, key: &[u8]) -> Option<At> {
        self.children(object).find(|&child| self.key(child) == key)
    }

    fn forget(&mut self) {
        self.nodes.clear();
        self.text.clear();
        self.by_key.clear();
        self.nodes.shrink_to(JSON_NODES_KEPT_MAX);
        self.by_key.shrink_to(JSON_NODES_KEPT_MAX);
        self.text.shrink_to(JSON_TEXT_KEPT_MAX);
    }

    fn push(&mut self, key: Span, value: Value) -> u32 {
        let index = self.nodes.len() as u32;
        self.nodes.push(Node { key, value, first_child: NONE, next: NONE });
        index
    }

    /// Folds repeated keys of the object at `parent`: the first place keeps, the last value wins. Returns how many keys
    /// are left. Sorting by key keeps a hostile object of 100,000 keys at n·log n.
    fn fold_repeated(&mut self, parent: u32) -> u32 {
        self.by_key.clear();
        let mut child = self.nodes[parent as usize].first_child;
        while child != NONE {
            self.by_key.push(child);
            child = self.nodes[child as usize].next;
        }
        let count = self.by_key.len() as u32;
        let (nodes, text) = (&mut self.nodes, &self.text);
        let key = |nodes: &[Node], index: u32| -> Range<usize> {
            let span = nodes[index as usize].key;
            span.start as usize..span.end as usize
        };
        // Stable by construction: equal keys stand in the order of their places, which grow with the node's index.
        self.by_key.sort_unstable_by(|&a, &b| text[key(nodes, a)].cmp(&text[key(nodes, b)]).then(a.cmp(&b)));
        let mut folded = 0;
        let mut at = 0;
        while at < self.by_key.len() {
            let first = self.by_key[at];
            let mut last = at;
            while last + 1 < self.by_key.len() && text[key(nodes, self.by_key[last + 1])] == text[key(nodes, first)] {
                last += 1;
            }
            if last > at {
                let winner = nodes[self.by_key[last] as usize];
                let kept = &mut nodes[first as usize];
                kept.value = winner.value;
                kept.first_child = winner.first_child;
                for &dropped in &self.by_key[at + 1..=last] {
                    // An empty range marks a node that no longer stands in its object.
                    nodes[dropped as usize].value = Value::Null;
                    nodes[dropped as usize].key = Span { start: NONE, end: NONE };
                    folded += 1;
                }
            }
            at = last + 1;
        }
        if folded > 0 {
            let mut previous = NONE;
            let mut child = nodes[parent as usize].first_child;
            while child != NONE {
                let next = nodes[child as usize].next;
                if nodes[child as usize].key.start == NONE {
                    nodes[previous as usize].next = next;
                } else {
                    previous = child;
                }
                child = next;
            }
        }
        count - folded
    }
}

struct Reader<'d, 'j> {
    document: &'d mut Document,
    json: &'j [u8],
    at: usize,
}

impl Reader<'_, '_> {
    fn fail<T>(&self, kind: JsonErrorKind) -> Result<T, JsonError> {
        Err(JsonError { kind, at: self.at })
    }

    fn peek(&self) -> Result<u8, JsonError> {
        self.json.get(self.at).copied().ok_or(JsonError { kind: JsonErrorKind::Truncated, at: self.at })
    }

    fn skip_space(&mut self) {
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

    fn value(&mut self, key: Span, depth: usize) -> Result<u32, JsonError> {
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
        if integer {
            if let Ok(value) = text.parse::<i64>() {
                return Ok(Value::Int(value));
            }
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
    fn what_a_huge_document_took_is_given_back() {
        let mut document = Document::new();
        let huge = format!("[{}\"{}\"]", "0,".repeat(JSON_NODES_KEPT_MAX), "x".repeat(2 * JSON_TEXT_KEPT_MAX));
        document.read(huge.as_bytes()).unwrap();
        assert!(document.nodes.capacity() > JSON_NODES_KEPT_MAX && document.text.capacity() > JSON_TEXT_KEPT_MAX);
        document.read(b"[]").unwrap();
        assert!(document.nodes.capacity() <= JSON_NODES_KEPT_MAX && document.text.capacity() <= JSON_TEXT_KEPT_MAX);
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

    #[test]
    fn a_repeated_key_keeps_its_first_place_and_its_last_value() {
        let mut document = Document::new();
        let at = document.read(br#"{"a":1,"b":[2],"a":{"x":3},"c":4,"b":5}"#).unwrap();
        assert_eq!(document.value(at), Value::Object(3));
        let keys: Vec<_> = document.children(at).map(|child| document.key(child).to_vec()).collect();
        assert_eq!(keys, [b"a", b"b", b"c"]);
        let a = document.member(at, b"a").unwrap();
        assert_eq!(document.value(a), Value::Object(1));
        assert_eq!(document.value(document.member(a, b"x").unwrap()), Value::Int(3));
        assert_eq!(document.value(document.member(at, b"b").unwrap()), Value::Int(5));
    }

    #[test]
    fn a_hostile_object_is_read_in_reasonable_time() {
        let mut json = String::from("{");
        for n in 0..100_000 {
            json.push_str(&format!("\"k{}\":{n},", n % 50_000));
        }
        json.push_str("\"z\":0}");
        let mut document = Document::new();
        let at = document.read(json.as_bytes()).unwrap();
        assert_eq!(document.value(at), Value::Object(50_001));
        assert_eq!(document.value(document.member(at, b"k7").unwrap()), Value::Int(50_007));
    }
}
