//! Reads mark-price frames where they lie: symbol, price, market and event time are slices of the frame's own bytes.
//!
//! Two ways lead to the same entries. A frame without a backslash is parsed whole by simd-json over kept buffers. If
//! simd-json refuses it (one 30-digit number, one invalid UTF-8 byte and the whole document is gone), or if it holds a
//! backslash, [`outline`](super::outline) cuts it into its elements and each is parsed on its own, so that a bad entry
//! hides no other.
//!
//! simd-json unescapes strings in place, also in a parse that fails later, and a text with `\u0022` already turned into
//! `"` cannot be cut any more. The cutter therefore only ever looks at bytes no parse has touched: simd-json writes
//! nothing unless it meets a backslash, a frame with one is never parsed whole, and the parse of one element writes only
//! between that element's first and last byte, all of them behind the cutter's back. No copy is needed.
//!
//! Data plane: no allocation once the buffers have grown to the traffic's size.

use std::{fmt, mem};

use simd_json::{Buffers, Node, StaticNode, Tape, fill_tape_padded};

use super::outline::{self, Elements, ObjectKind, Outline, Span};
use crate::domain::limits::{FRAME_ENTRIES_MAX, FRAME_PADDING, FRAME_WHOLE_MAX, JSON_DEPTH_MAX, SYMBOL_LEN_MAX};

/// The parser of one connection: simd-json's scratch memory, kept from frame to frame.
pub struct MarkPriceParser {
    buffers: Buffers,
    tape: Tape<'static>,
}

/// One price, as the venue wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkPrice<'a> {
    /// The venue's name of the instrument (`s`): 1 to [`SYMBOL_LEN_MAX`] bytes of UTF-8 without control characters.
    pub symbol: &'a str,
    /// The price's text (`p`), not yet validated: see [`PriceText`](crate::domain::PriceText).
    pub price: &'a str,
    /// `E`, ms since 1970 UTC, sent as a number or a string; `None` where it is absent or neither.
    pub event_time_ms: Option<i64>,
}

/// One element of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A USDⓈ-M price.
    Price(MarkPrice<'a>),
    /// Not ours: `st` is there and not 1, or `st` is absent and the symbol is shaped like COIN-M's.
    OtherMarket,
    /// Nothing can be read from it.
    Bad(BadEntry),
}

/// Why an element gave no price. Counted by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BadEntry {
    /// An element of the array that is no object.
    NotAnObject,
    /// simd-json refuses it: a number beyond 64 bits, a lone surrogate, invalid UTF-8, nested too deep, no JSON.
    Unparsable,
    /// Longer than [`FRAME_WHOLE_MAX`].
    TooLong,
    /// `e` is there and is not `markPriceUpdate`.
    OtherEvent,
    /// `s` is absent, null or empty.
    NoSymbol,
    /// `s` is no string.
    SymbolNotText,
    /// `s` is longer than [`SYMBOL_LEN_MAX`].
    SymbolTooLong,
    /// `s` holds a control character: no log, status page or database should meet it.
    SymbolUnprintable,
    /// `p` is absent or null.
    NoPrice,
    /// `p` is no string: a number has already lost digits in somebody's float.
    PriceNotText,
}

impl BadEntry {
    /// All kinds, for tables of counters; a kind's place is `kind as usize`.
    pub const ALL: [BadEntry; 10] = [
        BadEntry::NotAnObject,
        BadEntry::Unparsable,
        BadEntry::TooLong,
        BadEntry::OtherEvent,
        BadEntry::NoSymbol,
        BadEntry::SymbolNotText,
        BadEntry::SymbolTooLong,
        BadEntry::SymbolUnprintable,
        BadEntry::NoPrice,
        BadEntry::PriceNotText,
    ];

    /// The word used in logs, metrics and the status file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            BadEntry::NotAnObject => "not_an_object",
            BadEntry::Unparsable => "unparsable",
            BadEntry::TooLong => "too_long",
            BadEntry::OtherEvent => "other_event",
            BadEntry::NoSymbol => "no_symbol",
            BadEntry::SymbolNotText => "symbol_not_text",
            BadEntry::SymbolTooLong => "symbol_too_long",
            BadEntry::SymbolUnprintable => "symbol_unprintable",
            BadEntry::NoPrice => "no_price",
            BadEntry::PriceNotText => "price_not_text",
        }
    }
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

/// Why a frame as a whole is refused; no entry was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameFault {
    /// Brackets or quotes do not close, or close what was not open: no entry has certain bounds.
    Unbalanced,
    /// Neither an array nor an object, nor any other JSON value.
    NotJson,
    /// Text behind the end of the document.
    TrailingText,
    /// More than [`FRAME_ENTRIES_MAX`] entries.
    TooManyEntries,
}

impl FrameFault {
    /// All kinds, for tables of counters; a kind's place is `kind as usize`.
    pub const ALL: [FrameFault; 4] =
        [FrameFault::Unbalanced, FrameFault::NotJson, FrameFault::TrailingText, FrameFault::TooManyEntries];

    /// The word used in logs, metrics and the status file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FrameFault::Unbalanced => "unbalanced",
            FrameFault::NotJson => "not_json",
            FrameFault::TrailingText => "trailing_text",
            FrameFault::TooManyEntries => "too_many_entries",
        }
    }
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

const EVENT: &str = "markPriceUpdate";

/// The members of one object that mean something here; the last of each name.
#[derive(Default)]
struct Fields<'n, 't> {
    event: Option<Node<'t>>,
    symbol: Option<Node<'t>>,
    price: Option<Node<'t>>,
    market: Option<Node<'t>>,
    event_time: Option<Node<'t>>,
    data: Option<&'n [Node<'t>]>,
    is_reply: bool,
}

impl<'n, 't> Fields<'n, 't> {
    /// `nodes` begin with an object; what stands behind it is not looked at.
    fn of(nodes: &'n [Node<'t>]) -> Self {
        let mut fields = Fields::default();
        let Node::Object { len, .. } = nodes[0] else { return fields };
        let mut rest = &nodes[1..];
        for _ in 0..len {
            let (key, value) = (rest[0], &rest[1..]);
            if let Node::String(key) = key {
                let node = Some(value[0]);
                match key {
                    "e" => fields.event = node,
                    "s" => fields.symbol = node,
                    "p" => fields.price = node,
                    "st" => fields.market = node,
                    "E" => fields.event_time = node,
                    "data" => fields.data = Some(value),
                    _ if outline::is_reply_key(key.as_bytes()) => fields.is_reply = true,
                    _ => {}
                }
            }
            rest = &value[width(value[0])..];
        }
        fields
    }

    fn entry(&self) -> Entry<'t> {
        if self.event.is_some_and(|event| event != Node::String(EVENT)) {
            return Entry::Bad(BadEntry::OtherEvent);
        }
        let ours = self.market.and_then(is_usd_margined);
        if ours == Some(false) {
            return Entry::OtherMarket;
        }
        let symbol = match self.symbol {
            Some(Node::String(symbol)) if !symbol.is_empty() => symbol,
            None | Some(Node::String(_) | Node::Static(StaticNode::Null)) => return Entry::Bad(BadEntry::NoSymbol),
            Some(_) => return Entry::Bad(BadEntry::SymbolNotText),
        };
        if symbol.len() > SYMBOL_LEN_MAX {
            return Entry::Bad(BadEntry::SymbolTooLong);
        }
        if symbol.bytes().any(|byte| byte.is_ascii_control()) {
            return Entry::Bad(BadEntry::SymbolUnprintable);
        }
        if ours.is_none() && is_coin_margined(symbol) {
            return Entry::OtherMarket;
        }
        match self.price {
            Some(Node::String(price)) => {
                Entry::Price(MarkPrice { symbol, price, event_time_ms: self.event_time.and_then(millis) })
            }
            None | Some(Node::Static(StaticNode::Null)) => Entry::Bad(BadEntry::NoPrice),
            Some(_) => Entry::Bad(BadEntry::PriceNotText),
        }
    }
}

/// `st`: 1 is USDⓈ-M, 2 is COIN-M, what else may come is not ours; null says as little as an absent one.
fn is_usd_margined(market: Node<'_>) -> Option<bool> {
    match market {
        Node::Static(StaticNode::Null) => None,
        Node::Static(StaticNode::U64(1) | StaticNode::I64(1)) | Node::String("1") => Some(true),
        _ => Some(false),
    }
}

/// COIN-M's names: `BTCUSD_PERP`, `BTCUSD_261225`. `BTCUSDT_261225` is a USDⓈ-M delivery contract.
fn is_coin_margined(symbol: &str) -> bool {
    symbol.rsplit_once('_').is_some_and(|(pair, tail)| {
        pair.ends_with("USD") && (tail == "PERP" || (tail.len() == 6 && tail.bytes().all(|b| b.is_ascii_digit())))
    })
}

fn millis(node: Node<'_>) -> Option<i64> {
    match node {
        Node::Static(StaticNode::U64(millis)) => i64::try_from(millis).ok(),
        Node::Static(StaticNode::I64(millis)) => Some(millis),
        Node::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Nodes that a value takes on the tape, its own included.
fn width(node: Node<'_>) -> usize {
    match node {
        Node::Object { count, .. } | Node::Array { count, .. } => count + 1,
        Node::String(_) | Node::Static(_) => 1,
    }
}

/// Folded a block at a time, so that it becomes vector compares: 3 µs for a tick.
fn has_backslash(text: &[u8]) -> bool {
    text.chunks(256).any(|block| block.iter().fold(false, |found, &byte| found | (byte == b'\\')))
}
