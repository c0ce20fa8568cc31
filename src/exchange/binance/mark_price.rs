//! Reads mark-price frames where they lie: symbol, price, market and event time are slices of the frame's own bytes.
//!
//! Two ways lead to the same entries. A frame without a backslash is parsed whole by simd-json over kept buffers. If
//! simd-json refuses it (one 30-digit number, one invalid UTF-8 byte and the whole document is gone), or if it holds a
//! backslash, `outline.rs` cuts it into its elements and each is parsed on its own, so that a bad entry
//! hides no other.
//!
//! simd-json unescapes strings in place, also in a parse that fails later, and a text with `\u0022` already turned into
//! `"` cannot be cut any more. The cutter therefore only ever looks at bytes no parse has touched: simd-json writes
//! nothing unless it meets a backslash, a frame with one is never parsed whole, and the parse of one element writes only
//! between that element's first and last byte, all of them behind the cutter's back. No copy is needed.
//!
//! Data plane: no allocation once the buffers have grown to the traffic's size.

use std::{fmt, mem};

use simd_json::{Buffers, Node, Tape, fill_tape_padded};

pub use super::entry::{BadEntry, Entry, MarkPrice};
use super::entry::{EVENT, Fields, width};
pub use super::frame_fault::FrameFault;
use super::outline::{self, Elements, ObjectKind, Outline, Span};
use crate::domain::limits::{FRAME_ENTRIES_MAX, FRAME_PADDING, FRAME_WHOLE_MAX, JSON_DEPTH_MAX};

/// The parser of one connection: simd-json's scratch memory, kept from frame to frame.
pub struct MarkPriceParser {
    buffers: Buffers,
    tape: Tape<'static>,
}

/// What a frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// An array of entries or a single one, bare or in `{"stream":…,"data":…}`.
    Prices {
        /// Entries handed over, of every kind.
        entries: usize,
        /// Whether the frame was cut and its entries parsed one by one: it holds an escape, or simd-json refused it.
        split: bool,
    },
    /// The reply to a request: `{"result":…,"id":…}`, `{"error":…,"id":…}` or `{"code":…,"msg":…}`.
    Control,
    /// Sound JSON that says nothing about prices.
    Other,
}

impl MarkPriceParser {
    /// A parser with scratch memory for whole frames. Most of it stays untouched, hence not resident, until used.
    #[must_use]
    pub fn new() -> Self {
        MarkPriceParser {
            buffers: Buffers::with_max_depth(FRAME_WHOLE_MAX, JSON_DEPTH_MAX),
            tape: Tape(Vec::with_capacity(FRAME_WHOLE_MAX / 8)),
        }
    }

    /// Reads the frame in `buf[..len]` and hands its entries to `each`, in the frame's order.
    ///
    /// The frame's bytes are scratch afterwards; the padding behind them is unchanged. Where an object names a key twice,
    /// the last one counts, as in `serde_json` and JavaScript.
    ///
    /// # Errors
    /// [`FrameFault`]; `each` was not called then.
    ///
    /// # Panics
    /// If `buf` is shorter than `len` + [`FRAME_PADDING`]: the caller's mistake, never the wire's.
    pub fn parse(
        &mut self,
        buf: &mut [u8],
        len: usize,
        each: &mut dyn FnMut(Entry<'_>),
    ) -> Result<FrameKind, FrameFault> {
        assert!(buf.len() >= len + FRAME_PADDING, "buf must hold len + FRAME_PADDING bytes");
        if !has_backslash(&buf[..len])
            && let Some(outcome) = self.with_nodes(buf, 0..len, |nodes| read_document(nodes, each))
        {
            return outcome;
        }
        match outline::scan(&buf[..len])? {
            Outline::Array(elements) => Ok(self.read_elements(buf, len, elements, each)),
            Outline::Wrapped(span) => Ok(match self.with_nodes(buf, span, |nodes| read_single(nodes, each)) {
                Some(kind) => kind.into_split(),
                None => refused_entry(each),
            }),
            Outline::Object { span, kind } => match self.with_nodes(buf, span, |nodes| read_document(nodes, each)) {
                Some(outcome) => outcome.map(FrameKind::into_split),
                None => Ok(match kind {
                    ObjectKind::Price => refused_entry(each),
                    ObjectKind::Control => FrameKind::Control,
                    ObjectKind::Other => FrameKind::Other,
                }),
            },
            Outline::Scalar => self.with_nodes(buf, 0..len, |_| FrameKind::Other).ok_or(FrameFault::NotJson),
        }
    }

    /// Parses `buf[span]` alone and reads its nodes; `None` if it is too long or simd-json refuses it. Writes nothing
    /// outside of the span, and nothing at all where the span holds no backslash.
    fn with_nodes<R>(&mut self, buf: &mut [u8], span: Span, read: impl FnOnce(&[Node<'_>]) -> R) -> Option<R> {
        if span.len() > FRAME_WHOLE_MAX {
            return None;
        }
        let mut tape = mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let padded = &mut buf[span.start..span.end + FRAME_PADDING];
        let parsed = fill_tape_padded(padded, span.len(), &mut self.buffers, &mut tape);
        let result = if parsed.is_ok() { Some(read(&tape.0)) } else { None };
        self.tape = tape.reset();
        result
    }

    /// Parses the elements of an array one by one. Each step cuts first, behind everything parsed so far.
    fn read_elements(
        &mut self,
        buf: &mut [u8],
        len: usize,
        elements: Elements,
        each: &mut dyn FnMut(Entry<'_>),
    ) -> FrameKind {
        let mut at = elements.start;
        for _ in 0..elements.count {
            let (span, next) = outline::next_element(&buf[..len], at).expect("the scan walked these bytes");
            if span.len() > FRAME_WHOLE_MAX {
                each(Entry::Bad(BadEntry::TooLong));
            } else if buf[span.start] != b'{' {
                each(Entry::Bad(BadEntry::NotAnObject));
            } else if self.with_nodes(buf, span, |nodes| each(Fields::of(nodes).entry())).is_none() {
                each(Entry::Bad(BadEntry::Unparsable));
            }
            at = next;
        }
        FrameKind::Prices { entries: elements.count, split: true }
    }
}

impl Default for MarkPriceParser {
    fn default() -> Self {
        MarkPriceParser::new()
    }
}

impl fmt::Debug for MarkPriceParser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MarkPriceParser").field("tape_nodes", &self.tape.0.capacity()).finish_non_exhaustive()
    }
}

impl FrameKind {
    fn into_split(self) -> FrameKind {
        match self {
            FrameKind::Prices { entries, .. } => FrameKind::Prices { entries, split: true },
            other => other,
        }
    }
}

/// A whole document: an array, a wrapper, or a single object.
fn read_document(nodes: &[Node<'_>], each: &mut dyn FnMut(Entry<'_>)) -> Result<FrameKind, FrameFault> {
    match nodes[0] {
        Node::Array { len, .. } => read_array(nodes, len, each),
        Node::Object { .. } => match Fields::of(nodes).data {
            None => Ok(read_single(nodes, each)),
            Some(data) => match data[0] {
                Node::Array { len, .. } => read_array(data, len, each),
                Node::Object { .. } => Ok(read_single(data, each)),
                _ => Ok(FrameKind::Other),
            },
        },
        _ => Ok(FrameKind::Other),
    }
}

fn read_array(nodes: &[Node<'_>], len: usize, each: &mut dyn FnMut(Entry<'_>)) -> Result<FrameKind, FrameFault> {
    if len > FRAME_ENTRIES_MAX {
        return Err(FrameFault::TooManyEntries);
    }
    let mut rest = &nodes[1..];
    for _ in 0..len {
        each(match rest[0] {
            Node::Object { .. } => Fields::of(rest).entry(),
            _ => Entry::Bad(BadEntry::NotAnObject),
        });
        rest = &rest[width(rest[0])..];
    }
    Ok(FrameKind::Prices { entries: len, split: false })
}

/// An object that stands alone: a price if it says so, else a reply or something else. Another event is no bad entry here.
fn read_single(nodes: &[Node<'_>], each: &mut dyn FnMut(Entry<'_>)) -> FrameKind {
    let fields = Fields::of(nodes);
    match fields.event {
        Some(Node::String(EVENT)) => {}
        None if fields.symbol.is_some() && fields.price.is_some() => {}
        None if fields.is_reply => return FrameKind::Control,
        _ => return FrameKind::Other,
    }
    each(fields.entry());
    FrameKind::Prices { entries: 1, split: false }
}

fn refused_entry(each: &mut dyn FnMut(Entry<'_>)) -> FrameKind {
    each(Entry::Bad(BadEntry::Unparsable));
    FrameKind::Prices { entries: 1, split: true }
}

/// Folded a block at a time, so that it becomes vector compares: 3 µs for a tick.
fn has_backslash(text: &[u8]) -> bool {
    text.chunks(256).any(|block| block.iter().fold(false, |found, &byte| found | (byte == b'\\')))
}

const _: () = assert!(FRAME_PADDING >= simd_json::INPUT_PADDING);

#[cfg(test)]
mod tests {
    use super::*;

    /// What the whole design of the two ways stands on.
    #[test]
    fn a_refused_parse_without_a_backslash_writes_nothing() {
        let mut parser = MarkPriceParser::new();
        let good = r#"{"e":"markPriceUpdate","s":"币安人生USDT","p":"0.08713117","st":1}"#;
        for (bad, at) in [
            ("123456789012345678901234567890", 3),
            ("[[[", 1),
            ("tru", 0),
            ("\"\u{1}\"", 2),
            ("{\"s\":}", 4),
            ("1.", 2),
            ("-", 3),
            ("{\"s\":\"A\" \"p\":1}", 1),
        ] {
            let mut entries = vec![good; 4];
            entries.insert(at, bad);
            let text = format!("[{}]", entries.join(","));
            check_untouched(&mut parser, text.as_bytes());
        }
        let mut invalid = format!("[{good},{good}]").into_bytes();
        invalid[20] = 0xff;
        check_untouched(&mut parser, &invalid);
    }

    #[test]
    fn a_backslash_is_found_wherever_it_stands() {
        for at in 0..1_000 {
            let mut text = vec![b'x'; 1_000];
            assert!(!has_backslash(&text));
            text[at] = b'\\';
            assert!(has_backslash(&text), "{at}");
        }
    }

    #[test]
    fn kinds_are_small_and_counted_by_place() {
        assert_eq!(size_of::<Result<FrameKind, FrameFault>>(), 16);
        for (place, kind) in FrameFault::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
        for (place, kind) in BadEntry::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }

    #[track_caller]
    fn check_untouched(parser: &mut MarkPriceParser, text: &[u8]) {
        let mut buf = text.to_vec();
        buf.extend([0xa5; FRAME_PADDING]);
        let before = buf.clone();
        assert_eq!(parser.with_nodes(&mut buf, 0..text.len(), |_| ()), None);
        assert!(buf == before, "{}", String::from_utf8_lossy(text));
    }
}
