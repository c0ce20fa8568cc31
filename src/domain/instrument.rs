//! Venues and what they list.

use std::fmt;
use std::str::FromStr;

/// A venue this system knows. The text is `api_systems.canonical`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Venue {
    /// Binance USDⓈ-M futures: where prices come from.
    Binance,
    /// Bybit v5, category linear.
    Bybit,
    /// KuCoin Futures.
    Kucoin,
    /// Bitget USDT futures.
    Bitget,
}

impl Venue {
    /// All venues, the price source first.
    pub const ALL: [Venue; 4] = [Venue::Binance, Venue::Bybit, Venue::Kucoin, Venue::Bitget];

    /// `api_systems.canonical`.
    #[must_use]
    pub const fn canonical(self) -> &'static str {
        match self {
            Venue::Binance => "binance",
            Venue::Bybit => "bybit",
            Venue::Kucoin => "kucoin",
            Venue::Bitget => "bitget",
        }
    }

    /// The name that people read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Venue::Binance => "Binance",
            Venue::Bybit => "Bybit",
            Venue::Kucoin => "KuCoin",
            Venue::Bitget => "Bitget",
        }
    }
}

impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.canonical())
    }
}

impl FromStr for Venue {
    type Err = UnknownVenue;

    fn from_str(text: &str) -> Result<Self, UnknownVenue> {
        Venue::ALL.into_iter().find(|venue| venue.canonical() == text).ok_or_else(|| UnknownVenue(text.to_owned()))
    }
}

/// A name that is no venue's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVenue(pub String);

impl fmt::Display for UnknownVenue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown exchange {:?}: expected binance, bybit, kucoin or bitget", self.0)
    }
}

impl std::error::Error for UnknownVenue {}

/// One listed instrument, as a venue's public REST tells it: a row of `exchange_symbols`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// Who lists it.
    pub venue: Venue,
    /// The venue's own name (`exchange_symbols.asset`): `BTCUSDT`, `XBTUSDTM`.
    pub symbol: String,
    /// Base asset as the venue names it: `BTC`, `XBT`, `1000PEPE`.
    pub token: String,
    /// Quote asset: `USDT`.
    pub quote: String,
    /// Decimal places of a price; `None` where the venue does not say.
    pub price_precision: Option<u8>,
    /// Decimal places of a quantity; `None` where the venue does not say.
    pub quantity_precision: Option<u8>,
    /// Smallest price step, as the venue wrote it.
    pub tick_size: Option<String>,
    /// Smallest order value in quote, as the venue wrote it.
    pub min_notional: Option<String>,
    /// When it is delivered or delisted, ms since 1970 UTC; `None` for a perpetual without a date.
    pub delivery_ms: Option<i64>,
    /// Whether it trades now.
    pub trading: bool,
}
