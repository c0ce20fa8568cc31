//! Entries that no client may apply, and how each looks on the wire.

use std::io::Write;

/// Why an entry is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BadEntry {
    /// `"p":"0.00000000"`.
    Zero,
    /// `"p":"-1"`.
    Negative,
    /// `"p":"NaN"`.
    NotANumber,
    /// `"p":""`.
    Empty,
    /// `"p":"1e5"`.
    Exponent,
    /// `p` is a bare literal of 30 digits: simd-json refuses the whole document for it.
    LongNumber,
    /// `p` is a lone surrogate escape: as above.
    LoneSurrogate,
    /// `p` is a JSON number instead of a string.
    Number,
    /// 19 digits behind the point.
    TooFine,
    /// 21 digits before the point.
    TooLarge,
    /// A well-formed price with an `E` an hour ahead of the clock.
    EventAhead,
    /// No `p` at all.
    NoPrice,
    /// A well-formed price that `numeric(20,8)` would round to zero. Only with
    /// [`SimConfig::narrow_columns`](super::SimConfig::narrow_columns): wider columns take it.
    ColumnRounds,
}

impl BadEntry {
    /// Every kind but [`BadEntry::ColumnRounds`]: bad whatever the target column.
    pub const ALWAYS: [BadEntry; 12] = [
        BadEntry::Zero,
        BadEntry::Negative,
        BadEntry::NotANumber,
        BadEntry::Empty,
        BadEntry::Exponent,
        BadEntry::LongNumber,
        BadEntry::LoneSurrogate,
        BadEntry::Number,
        BadEntry::TooFine,
        BadEntry::TooLarge,
        BadEntry::EventAhead,
        BadEntry::NoPrice,
    ];

    /// The word used in ledgers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            BadEntry::Zero => "zero",
            BadEntry::Negative => "negative",
            BadEntry::NotANumber => "not_a_number",
            BadEntry::Empty => "empty",
            BadEntry::Exponent => "exponent",
            BadEntry::LongNumber => "long_number",
            BadEntry::LoneSurrogate => "lone_surrogate",
            BadEntry::Number => "number",
            BadEntry::TooFine => "too_fine",
            BadEntry::TooLarge => "too_large",
            BadEntry::EventAhead => "event_ahead",
            BadEntry::NoPrice => "no_price",
            BadEntry::ColumnRounds => "column_rounds",
        }
    }

    /// The JSON value of `p`, or `None` where the key is left out. No good price ever looks like one of these.
    #[must_use]
    pub const fn price_json(self) -> Option<&'static str> {
        match self {
            BadEntry::Zero => Some("\"0.00000000\""),
            BadEntry::Negative => Some("\"-1\""),
            BadEntry::NotANumber => Some("\"NaN\""),
            BadEntry::Empty => Some("\"\""),
            BadEntry::Exponent => Some("\"1e5\""),
            BadEntry::LongNumber => Some("123456789012345678901234567890"),
            BadEntry::LoneSurrogate => Some("\"\\ud800\""),
            BadEntry::Number => Some("31415.92653589"),
            BadEntry::TooFine => Some("\"0.0000000000000000001\""),
            BadEntry::TooLarge => Some("\"123456789012345678901.00000000\""),
            BadEntry::EventAhead => Some("\"27182.81828459\""),
            BadEntry::NoPrice => None,
            BadEntry::ColumnRounds => Some("\"0.000000001\""),
        }
    }

    /// The `E` of such an entry in a frame of `event_ms`.
    #[must_use]
    pub const fn event_ms(self, event_ms: i64) -> i64 {
        match self {
            BadEntry::EventAhead => event_ms + 3_600_000,
            _ => event_ms,
        }
    }

    /// The whole element.
    pub(super) fn write(self, symbol: &str, event_ms: i64, funding_ms: i64, out: &mut Vec<u8>) {
        let event_ms = self.event_ms(event_ms);
        let _ = write!(out, "{{\"e\":\"markPriceUpdate\",\"E\":{event_ms},\"s\":\"{symbol}\"");
        if let Some(price) = self.price_json() {
            let _ = write!(out, ",\"p\":{price}");
        }
        let _ = write!(
            out,
            ",\"ap\":\"1.00000000\",\"P\":\"1.00000000\",\"i\":\"1.00000000\",\"r\":\"0.00010000\",\"T\":{funding_ms},\"st\":1}}"
        );
    }
}

/// A bad entry that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poisoned {
    /// Whose entry it pretended to be.
    pub symbol: String,
    /// Why it is bad.
    pub kind: BadEntry,
    /// `E` of the frame it was in. Neither a row's price nor its time may come from this frame.
    pub frame_event_ms: i64,
    /// The symbol is absent from all later frames, so that its last good price must still be in the table at the end.
    pub held_back: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ColumnScale, PriceText};

    #[test]
    fn no_bad_price_passes_and_only_the_documented_ones_are_well_formed() {
        for kind in BadEntry::ALWAYS {
            let text = kind.price_json().and_then(|json| json.strip_prefix('"')?.strip_suffix('"'));
            let Some(text) = text else { continue };
            let well_formed = PriceText::parse(text.as_bytes()).is_ok();
            assert_eq!(well_formed, kind == BadEntry::EventAhead, "{}", kind.as_str());
        }
        let fine = PriceText::parse(b"0.000000001").unwrap();
        assert!(fine.check_column(ColumnScale::numeric(20, 8)).is_err());
    }

    #[test]
    fn the_elements_are_as_bad_as_they_say_to_another_parser() {
        for kind in BadEntry::ALWAYS {
            let mut out = Vec::new();
            kind.write("BTCUSDT", 1_795_419_015_000, 0, &mut out);
            let parsed = serde_json::from_slice::<serde_json::Value>(&out);
            assert_eq!(parsed.is_ok(), kind != BadEntry::LoneSurrogate, "{}", kind.as_str());
            let Ok(value) = parsed else { continue };
            assert_eq!(
                value["p"].is_string(),
                !matches!(kind, BadEntry::LongNumber | BadEntry::Number | BadEntry::NoPrice)
            );
        }
    }
}
