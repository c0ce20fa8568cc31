//! Cuts a price frame into its elements without parsing them: strings, escapes and brackets are all it knows.
//!
//! One walk over the whole text proves it balanced before anything is handed out; a second one, element by element, is
//! made while the elements are parsed. Bytes only: invalid UTF-8 stays inside the element that holds it, because no byte
//! of a quote, a backslash or a bracket occurs inside another character. Nothing recurses and nothing is allocated:
//! [`JSON_DEPTH_MAX`] levels are remembered as one bit each, deeper ones are counted by kind of bracket (an element that
//! deep is refused by its own parse anyway).

use std::iter;
use std::ops::Range;

use super::frame_fault::FrameFault;
use crate::domain::limits::{FRAME_ENTRIES_MAX, JSON_DEPTH_MAX};

/// Positions of some text within the frame.
pub(super) type Span = Range<usize>;

/// What a frame looks like from outside.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outline {
    /// An array, bare or as the last `data` of a wrapper.
    Array(Elements),
    /// An object as the last `data` of a wrapper.
    Wrapped(Span),
    /// An object without a `data` of either kind.
    Object { span: Span, kind: ObjectKind },
    /// Neither: a number, a word, or no JSON at all.
    Scalar,
}

/// What an object's keys say, for the case that the object itself cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObjectKind {
    /// Has `s` or `p`.
    Price,
    /// A reply to a request.
    Control,
    /// Anything else.
    Other,
}

/// Where the elements of an array begin, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elements {
    pub(super) start: usize,
    pub(super) count: usize,
}

/// Walks the whole text.
pub(super) fn scan(text: &[u8]) -> Result<Outline, FrameFault> {
    let start = skip_blanks(text, 0);
    let (outline, end) = match text.get(start) {
        Some(b'[') => {
            let (elements, end) = count_elements(text, start + 1)?;
            (Outline::Array(elements), end)
        }
        Some(b'{') => scan_object(text, start)?,
        _ => return Ok(Outline::Scalar),
    };
    match text.get(skip_blanks(text, end)) {
        None => Ok(outline),
        Some(b']' | b'}') => Err(FrameFault::Unbalanced),
        Some(_) => Err(FrameFault::TrailingText),
    }
}

/// The element at `at`, without the blanks around it, and where the next one begins. An element is what stands between
/// two commas, so it may be empty.
pub(super) fn next_element(text: &[u8], at: usize) -> Result<(Span, usize), FrameFault> {
    let end = next_boundary(text, at)?;
    Ok((trim(text, at..end), end + 1))
}

/// The members of the object whose brace stands at `start`, in their order: the key's raw text and the value. Ends at the
/// first thing that is out of balance, so the caller has proved the text before.
pub(super) fn members(text: &[u8], start: usize) -> impl Iterator<Item = (Span, Span)> {
    let mut next = (text.get(start) == Some(&b'{')).then_some(start + 1);
    iter::from_fn(move || {
        let (member, end) = next_member(text, next?).ok()?;
        next = (text[end] == b',').then_some(end + 1);
        Some(member)
    })
    .flatten()
}

/// The elements of the array whose bracket stands at `start`; as [`members`]. One element of an empty array is empty.
pub(super) fn elements(text: &[u8], start: usize) -> impl Iterator<Item = Span> {
    let mut next = (text.get(start) == Some(&b'[')).then_some(start + 1);
    iter::from_fn(move || {
        let (element, behind) = next_element(text, next?).ok()?;
        next = (text[behind - 1] == b',').then_some(behind);
        Some(element)
    })
}

/// Whether a key belongs to the reply to a request.
pub(super) fn is_reply_key(key: &[u8]) -> bool {
    [&b"result"[..], b"error", b"code"].iter().any(|name| key_is(key, name))
}

/// Counts the elements of the array whose bracket stands before `start`; also gives the position behind its end.
fn count_elements(text: &[u8], start: usize) -> Result<(Elements, usize), FrameFault> {
    let mut count = 0;
    let mut at = start;
    loop {
        let end = next_boundary(text, at)?;
        let only_blanks = trim(text, at..end).is_empty();
        match text[end] {
            b']' if count == 0 && only_blanks => return Ok((Elements { start, count: 0 }, end + 1)),
            b'}' => return Err(FrameFault::Unbalanced),
            closing => {
                count += 1;
                if count > FRAME_ENTRIES_MAX {
                    return Err(FrameFault::TooManyEntries);
                }
                if closing == b']' {
                    return Ok((Elements { start, count }, end + 1));
                }
            }
        }
        at = end + 1;
    }
}

/// Walks the members of the object that opens at `start`; what is not `"key": value` is passed over.
fn scan_object(text: &[u8], start: usize) -> Result<(Outline, usize), FrameFault> {
    let (mut data, mut has_event, mut has_price, mut is_reply) = (None, false, false, false);
    let mut at = start + 1;
    let end = loop {
        let (member, end) = next_member(text, at)?;
        if let Some((key, value)) = member {
            let key = &text[key];
            if key_is(key, b"data") {
                data = Some(value);
            }
            has_event |= key_is(key, b"e");
            has_price |= key_is(key, b"s") || key_is(key, b"p");
            is_reply |= is_reply_key(key);
        }
        match text[end] {
            b'}' => break end + 1,
            b']' => return Err(FrameFault::Unbalanced),
            _ => at = end + 1,
        }
    };
    let outline = match data {
        Some(value) if text.get(value.start) == Some(&b'[') => {
            let (elements, behind) = count_elements(text, value.start + 1)?;
            if behind != value.end {
                return Err(FrameFault::TrailingText);
            }
            Outline::Array(elements)
        }
        Some(value) if text.get(value.start) == Some(&b'{') => Outline::Wrapped(value),
        _ => {
            let kind = match (has_price, is_reply) {
                (true, _) => ObjectKind::Price,
                (false, true) if !has_event => ObjectKind::Control,
                _ => ObjectKind::Other,
            };
            Outline::Object { span: start..end, kind }
        }
    };
    Ok((outline, end))
}

/// The member at `at`, `None` for what is not `"key": value`, and the comma or bracket behind it.
fn next_member(text: &[u8], at: usize) -> Result<(Option<(Span, Span)>, usize), FrameFault> {
    let end = next_boundary(text, at)?;
    Ok((member(text, trim(text, at..end)), end))
}

/// Splits `"key" : value` into the key's raw text and the value.
fn member(text: &[u8], span: Span) -> Option<(Span, Span)> {
    if text.get(span.start) != Some(&b'"') {
        return None;
    }
    let behind_key = string_end(text, span.start).ok()?;
    let colon = skip_blanks(text, behind_key);
    (text.get(colon) == Some(&b':'))
        .then(|| (span.start + 1..behind_key - 1, skip_blanks(text, colon + 1).min(span.end)..span.end))
}

/// The next comma or closing bracket that belongs to the level at which `from` stands.
fn next_boundary(text: &[u8], from: usize) -> Result<usize, FrameFault> {
    let mut open = Nesting::default();
    let mut at = from;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at)?;
                continue;
            }
            b'{' | b'[' => open.push(byte == b'{'),
            b'}' | b']' if open.depth == 0 => return Ok(at),
            b'}' | b']' => open.pop(byte == b'}')?,
            b',' if open.depth == 0 => return Ok(at),
            _ => {}
        }
        at += 1;
    }
    Err(FrameFault::Unbalanced)
}

/// The position behind the string that opens at `at`.
fn string_end(text: &[u8], at: usize) -> Result<usize, FrameFault> {
    let mut at = at + 1;
    loop {
        match text.get(at) {
            None => return Err(FrameFault::Unbalanced),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

/// The brackets open at one point of the walk.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// One bit a level, the innermost lowest; set for a brace.
    kinds: u64,
    /// Below [`JSON_DEPTH_MAX`] levels: brackets and braces, counted.
    deeper: [usize; 2],
}

const _: () = assert!(JSON_DEPTH_MAX <= u64::BITS as usize);

impl Nesting {
    fn push(&mut self, brace: bool) {
        if self.depth < JSON_DEPTH_MAX {
            self.kinds = self.kinds << 1 | u64::from(brace);
        } else {
            self.deeper[usize::from(brace)] += 1;
        }
        self.depth += 1;
    }

    fn pop(&mut self, brace: bool) -> Result<(), FrameFault> {
        if self.depth > JSON_DEPTH_MAX {
            let count = &mut self.deeper[usize::from(brace)];
            *count = count.checked_sub(1).ok_or(FrameFault::Unbalanced)?;
        } else {
            if (self.kinds & 1 == 1) != brace {
                return Err(FrameFault::Unbalanced);
            }
            self.kinds >>= 1;
        }
        self.depth -= 1;
        Ok(())
    }
}

/// Whether the raw text of a string, escapes and all, means `text`, which is printable ASCII.
pub(super) fn key_is(raw: &[u8], text: &[u8]) -> bool {
    strip_text(raw, text).is_some_and(<[u8]>::is_empty)
}

/// The raw text behind `text`, which is printable ASCII, where the string begins with it in whatever spelling.
pub(super) fn strip_text<'r>(mut raw: &'r [u8], text: &[u8]) -> Option<&'r [u8]> {
    for &letter in text {
        raw = match raw {
            [b'\\', b'u', hex @ ..] if hex.len() >= 4 => {
                let code = std::str::from_utf8(&hex[..4]).ok().and_then(|hex| u32::from_str_radix(hex, 16).ok());
                if code != Some(u32::from(letter)) {
                    return None;
                }
                &hex[4..]
            }
            [b'\\', b'/', rest @ ..] if letter == b'/' => rest,
            [first, rest @ ..] if *first == letter && letter != b'\\' => rest,
            _ => return None,
        };
    }
    Some(raw)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

pub(super) fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(|&byte| is_blank(byte)) {
        at += 1;
    }
    at
}

pub(super) fn trim(text: &[u8], mut span: Span) -> Span {
    while span.start < span.end && is_blank(text[span.start]) {
        span.start += 1;
    }
    while span.start < span.end && is_blank(text[span.end - 1]) {
        span.end -= 1;
    }
    span
}
