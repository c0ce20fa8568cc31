//! A JSON document as PHP's `json_decode($text, true)` reads it: order kept, integers exact, repeated keys folded.
//!
//! simd-json and serde_json differ from PHP where it matters here: an integer beyond 64 bits becomes a double, `-0` is the
//! integer 0, `1e999` is infinity, a repeated key keeps its first place and its last value. The tree lives in two vectors
//! that are kept between documents, so reading allocates nothing in steady state; what a rare huge document made them grow
//! by is given back at the next read.

mod read;

use std::fmt;
use std::ops::Range;

use self::read::Reader;
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

#[cfg(test)]
mod tests {
    use super::*;

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
