//! One entry of a price frame: which members mean something, and what they must be like.

use simd_json::{Node, StaticNode};

use super::outline;
use crate::domain::limits::SYMBOL_LEN_MAX;

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
    /// Longer than [`FRAME_WHOLE_MAX`](crate::domain::limits::FRAME_WHOLE_MAX).
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

/// What `e` says in every entry.
pub(super) const EVENT: &str = "markPriceUpdate";

/// The members of one object that mean something here; the last of each name.
#[derive(Default)]
pub(super) struct Fields<'n, 't> {
    pub(super) event: Option<Node<'t>>,
    pub(super) symbol: Option<Node<'t>>,
    pub(super) price: Option<Node<'t>>,
    pub(super) market: Option<Node<'t>>,
    pub(super) event_time: Option<Node<'t>>,
    pub(super) data: Option<&'n [Node<'t>]>,
    pub(super) is_reply: bool,
}

impl<'n, 't> Fields<'n, 't> {
    /// `nodes` begin with an object; what stands behind it is not looked at.
    pub(super) fn of(nodes: &'n [Node<'t>]) -> Self {
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

    /// What the entry says.
    pub(super) fn entry(&self) -> Entry<'t> {
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
pub(super) fn width(node: Node<'_>) -> usize {
    match node {
        Node::Object { count, .. } | Node::Array { count, .. } => count + 1,
        Node::String(_) | Node::Static(_) => 1,
    }
}
