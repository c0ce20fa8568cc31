//! Where the mark prices are. Both spellings carry the same frames; the venue has retired URLs without notice before
//! (facts/binance.md §1.2: 101, an acknowledgement, and then silence), so base and spelling are settings.

use std::fmt;
use std::str::FromStr;

/// Production, with the route that mark prices are on (facts/binance.md §1.1).
pub const STREAM_BASE: &str = "wss://fstream.binance.com/market";

const STREAM: &str = "!markPrice@arr@1s";

/// How the stream is named in the URL (`prices.spelling`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Spelling {
    /// `…/stream?streams=!markPrice@arr@1s`; frames arrive as `{"stream":…,"data":[…]}`.
    #[default]
    Combined,
    /// `…/ws/!markPrice@arr@1s`; frames arrive as bare arrays.
    Raw,
}

/// The URL of all mark prices, once a second. `base` is scheme, host and route, such as [`STREAM_BASE`].
#[must_use]
pub fn mark_price_url(base: &str, spelling: Spelling) -> String {
    let base = base.trim_end_matches('/');
    match spelling {
        Spelling::Combined => format!("{base}/stream?streams={STREAM}"),
        Spelling::Raw => format!("{base}/ws/{STREAM}"),
    }
}

impl Spelling {
    /// The word used in the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Spelling::Combined => "combined",
            Spelling::Raw => "raw",
        }
    }
}

impl fmt::Display for Spelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Spelling {
    type Err = UnknownSpelling;

    fn from_str(text: &str) -> Result<Self, UnknownSpelling> {
        [Spelling::Combined, Spelling::Raw]
            .into_iter()
            .find(|spelling| spelling.as_str() == text)
            .ok_or_else(|| UnknownSpelling(text.to_owned()))
    }
}

/// A word that is no spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSpelling(pub String);

impl fmt::Display for UnknownSpelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown stream spelling {:?}: expected combined or raw", self.0)
    }
}

impl std::error::Error for UnknownSpelling {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings() {
        let combined = "wss://fstream.binance.com/market/stream?streams=!markPrice@arr@1s";
        assert_eq!(mark_price_url(STREAM_BASE, Spelling::default()), combined);
        assert_eq!(mark_price_url("wss://fstream.binance.com/market/", Spelling::Combined), combined);
        assert_eq!(
            mark_price_url("wss://localhost:9443/market", Spelling::Raw),
            "wss://localhost:9443/market/ws/!markPrice@arr@1s"
        );
        for spelling in [Spelling::Combined, Spelling::Raw] {
            assert_eq!(spelling.to_string().parse(), Ok(spelling));
        }
        assert_eq!(
            "ws".parse::<Spelling>().unwrap_err().to_string(),
            "unknown stream spelling \"ws\": expected combined or raw"
        );
    }
}
