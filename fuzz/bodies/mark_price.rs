//! The price-frame parser against a naive twin: serde_json values, owned strings, one rule after the other.
//!
//! `mark_price` is the fuzz target's body; the tests use the twin too.

use kraite_streams::domain::limits::{FRAME_PADDING, SYMBOL_LEN_MAX};
use kraite_streams::exchange::binance::mark_price::{BadEntry, Entry, FrameFault, FrameKind, MarkPriceParser};
use serde_json::Value;

/// An [`Entry`] that owns its texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Price { symbol: String, price: String, event_time_ms: Option<i64> },
    OtherMarket,
    Bad(BadEntry),
}

/// Any bytes are a frame that somebody may send.
pub fn mark_price(input: &[u8]) {
    let mut parser = MarkPriceParser::new();
    let (outcome, entries) = read(&mut parser, input);
    if let Ok(value) = serde_json::from_slice::<Value>(input) {
        compare_with_twin(&value, outcome, &entries);
    }
    // The same elements behind one that holds a backslash: now they are cut and parsed one by one.
    let start = input.iter().position(|byte| !b" \t\r\n".contains(byte)).unwrap_or(0);
    if input.get(start) == Some(&b'[') && matches!(outcome, Ok(FrameKind::Prices { entries: 1.., .. })) {
        let cut = [&br#"["\\","#[..], &input[start + 1..]].concat();
        let (_, cut_entries) = read(&mut parser, &cut);
        assert_eq!(cut_entries[1..], entries, "whole and cut differ");
    }
}

/// Runs the parser over a copy of `frame`, and checks what holds for every frame.
pub fn read(parser: &mut MarkPriceParser, frame: &[u8]) -> (Result<FrameKind, FrameFault>, Vec<Seen>) {
    let mut buf = frame.to_vec();
    buf.extend((0..FRAME_PADDING).map(|n| br#""\{}[],:0 e"#[n % 11]));
    let padding = buf[frame.len()..].to_vec();
    let mut entries = Vec::new();
    let outcome = parser.parse(&mut buf, frame.len(), &mut |entry| {
        entries.push(match entry {
            Entry::Price(one) => {
                assert!(!one.symbol.is_empty() && one.symbol.len() <= SYMBOL_LEN_MAX, "{:?}", one.symbol);
                Seen::Price {
                    symbol: one.symbol.to_owned(),
                    price: one.price.to_owned(),
                    event_time_ms: one.event_time_ms,
                }
            }
            Entry::OtherMarket => Seen::OtherMarket,
            Entry::Bad(kind) => Seen::Bad(kind),
        });
    });
    let counted = match outcome {
        Ok(FrameKind::Prices { entries, .. }) => entries,
        Ok(FrameKind::Control | FrameKind::Other) | Err(_) => 0,
    };
    assert_eq!(counted, entries.len(), "{outcome:?}");
    assert_eq!(buf[frame.len()..], padding, "the padding is the next frame");
    (outcome, entries)
}

/// One element's text.
pub fn twin_entry(text: &[u8]) -> Seen {
    serde_json::from_slice(text).map_or(Seen::Bad(BadEntry::Unparsable), |value| twin_of_value(&value))
}

fn twin_of_value(value: &Value) -> Seen {
    if !value.is_object() {
        return Seen::Bad(BadEntry::NotAnObject);
    }
    if value.get("e").is_some_and(|event| event != "markPriceUpdate") {
        return Seen::Bad(BadEntry::OtherEvent);
    }
    let market = value.get("st").filter(|market| !market.is_null());
    if market.is_some_and(|market| market != &Value::from(1) && market != "1") {
        return Seen::OtherMarket;
    }
    let symbol = match value.get("s") {
        None | Some(Value::Null) => return Seen::Bad(BadEntry::NoSymbol),
        Some(Value::String(symbol)) => symbol,
        Some(_) => return Seen::Bad(BadEntry::SymbolNotText),
    };
    if symbol.is_empty() {
        return Seen::Bad(BadEntry::NoSymbol);
    }
    if symbol.len() > SYMBOL_LEN_MAX {
        return Seen::Bad(BadEntry::SymbolTooLong);
    }
    if symbol.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Seen::Bad(BadEntry::SymbolUnprintable);
    }
    let tail = symbol.rsplit_once("USD_").map(|(_, tail)| tail.as_bytes());
    let dated = |tail: &[u8]| tail.len() == 6 && tail.iter().all(u8::is_ascii_digit);
    if market.is_none() && tail.is_some_and(|tail| tail == b"PERP" || dated(tail)) {
        return Seen::OtherMarket;
    }
    let price = match value.get("p") {
        None | Some(Value::Null) => return Seen::Bad(BadEntry::NoPrice),
        Some(Value::String(price)) => price.clone(),
        Some(_) => return Seen::Bad(BadEntry::PriceNotText),
    };
    let event_time_ms = match value.get("E") {
        Some(Value::String(text)) => text.parse().ok(),
        Some(number) => number.as_i64(),
        None => None,
    };
    Seen::Price { symbol: symbol.clone(), price, event_time_ms }
}

/// serde_json reads numbers that simd-json refuses, so an entry of ours may be unparsable where the twin has one.
fn compare_with_twin(value: &Value, outcome: Result<FrameKind, FrameFault>, entries: &[Seen]) {
    let payload = match value.get("data") {
        Some(data @ (Value::Array(_) | Value::Object(_))) => data,
        _ => value,
    };
    let expected: Vec<Seen> = match payload {
        Value::Array(elements) => elements.iter().map(twin_of_value).collect(),
        Value::Object(_) if matches!(outcome, Ok(FrameKind::Prices { .. })) => vec![twin_of_value(payload)],
        _ => Vec::new(),
    };
    if outcome == Err(FrameFault::TooManyEntries) || outcome == Err(FrameFault::NotJson) && !value.is_object() {
        return;
    }
    assert!(outcome.is_ok(), "sound JSON, but {outcome:?}");
    assert_eq!(entries.len(), expected.len());
    for (entry, expected) in entries.iter().zip(&expected) {
        let negative_zero = |seen: &Seen| match seen {
            Seen::Price { symbol, price, event_time_ms: None } => {
                Seen::Price { symbol: symbol.clone(), price: price.clone(), event_time_ms: Some(0) }
            }
            other => other.clone(),
        };
        assert!(
            entry == expected || *entry == Seen::Bad(BadEntry::Unparsable) || *entry == negative_zero(expected),
            "{entry:?} instead of {expected:?}"
        );
    }
}
