//! What the other three venues list, consistent with the Binance list: the truth against which a symbol map is checked.
//!
//! Most instruments carry Binance's token under the venue's own spelling; the special ones are the table of
//! `facts/other_exchanges.md` §4, with the power of ten between the two contract sizes written down by hand, never derived
//! from the names: the program under test derives it, and this is the independent answer.

use crate::domain::{Random, Venue};

use super::listing::{Contract, Listed};

/// One instrument of Bybit, KuCoin or Bitget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrossListing {
    /// Who lists it.
    pub venue: Venue,
    /// The venue's own name: `XBTUSDTM`, `SHIB1000USDT`.
    pub symbol: String,
    /// Base as the venue names it: `XBT`, `SHIB1000`.
    pub token: String,
    /// Quote asset.
    pub quote: String,
    /// The Binance contract on the same coin; `None` where Binance has none.
    pub source: Option<Source>,
}

/// Where the price of a [`CrossListing`] comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Binance's symbol: `1000SATSUSDT`.
    pub symbol: String,
    /// Binance's base asset: `1000SATS`. Where it differs from the venue's, a token mapper has to say so.
    pub token: String,
    /// Position in the simulator's own list.
    pub position: usize,
    /// The venue's price is Binance's times 10^`shift`: +1 from `1000SATS` to `10000SATS`.
    pub shift: i8,
}

/// The instruments of the three venues, each venue's together and sorted by symbol: about 560 shared with Binance each.
#[must_use]
pub fn build(listed: &[Listed], random: &mut Random) -> Vec<CrossListing> {
    let mut out = Vec::new();
    for (column, venue) in [Venue::Bybit, Venue::Kucoin, Venue::Bitget].into_iter().enumerate() {
        let first = out.len();
        for (position, l) in listed.iter().enumerate() {
            if let Some((token, shift)) = token_at(venue, column, l, random) {
                let source = Source { symbol: l.symbol.clone(), token: l.base.clone(), position, shift };
                out.push(instrument(venue, &token, &l.quote, Some(source)));
            }
        }
        for token in ELSEWHERE[column] {
            out.push(instrument(venue, token, "USDT", None));
        }
        out[first..].sort_by(|a, b| a.symbol.cmp(&b.symbol));
    }
    out
}

/// The venue's token and shift for this Binance contract, or `None` where the venue does not list it.
fn token_at(venue: Venue, column: usize, l: &Listed, random: &mut Random) -> Option<(String, i8)> {
    let draw = random.below(100);
    if let Some((_, row)) = SPECIAL.iter().find(|(base, _)| *base == l.base) {
        let (token, shift) = row[column]?;
        return (l.quote == "USDT").then(|| (token.to_owned(), shift));
    }
    let token = if venue == Venue::Kucoin && l.base == "BTC" { "XBT" } else { l.base.as_str() };
    let listed = match (l.contract, l.quote.as_str()) {
        (Contract::Perpetual, "USDT") => !l.settling && (is_major(&l.base) || draw < 84) && fits(venue, &l.base),
        (Contract::Perpetual, "USDC") => match venue {
            Venue::Bybit => is_major(&l.base) || draw < 40,
            Venue::Kucoin => matches!(l.base.as_str(), "BTC" | "ETH" | "SOL" | "XRP"),
            _ => is_major(&l.base),
        },
        (Contract::TradFi, _) => venue != Venue::Kucoin && draw < 30,
        _ => false,
    };
    listed.then(|| (token.to_owned(), 0))
}

/// KuCoin lists no symbol outside ASCII; the other two do (facts/other_exchanges.md §3.3).
fn fits(venue: Venue, base: &str) -> bool {
    venue != Venue::Kucoin || base.is_ascii()
}

fn is_major(base: &str) -> bool {
    matches!(base, "BTC" | "ETH" | "BNB" | "SOL" | "XRP" | "DOGE" | "ADA" | "LINK" | "LTC" | "1INCH" | "0G")
}

fn instrument(venue: Venue, token: &str, quote: &str, source: Option<Source>) -> CrossListing {
    let symbol = match (venue, quote) {
        (Venue::Bybit | Venue::Bitget, "USDC") => format!("{token}PERP"),
        (Venue::Kucoin, _) => format!("{token}{quote}M"),
        _ => format!("{token}{quote}"),
    };
    CrossListing { venue, symbol, token: token.to_owned(), quote: quote.to_owned(), source }
}

/// A row of [`SPECIAL`]: token and shift at Bybit, KuCoin, Bitget.
type Elsewhere = [Option<(&'static str, i8)>; 3];

/// Binance's base, and what the same coin is called elsewhere.
const SPECIAL: &[(&str, Elsewhere)] = &[
    ("1000PEPE", [Some(("1000PEPE", 0)), Some(("PEPE", -3)), Some(("PEPE", -3))]),
    ("1000SHIB", [Some(("SHIB1000", 0)), Some(("SHIB", -3)), Some(("SHIB", -3))]),
    ("1000BONK", [Some(("1000BONK", 0)), Some(("1000BONK", 0)), Some(("1000BONK", 0))]),
    ("1000FLOKI", [Some(("1000FLOKI", 0)), Some(("FLOKI", -3)), Some(("FLOKI", -3))]),
    ("1000LUNC", [Some(("1000LUNC", 0)), Some(("LUNC", -3)), Some(("LUNC", -3))]),
    ("1000XEC", [Some(("1000XEC", 0)), Some(("XEC", -3)), Some(("1000XEC", 0))]),
    ("1000SATS", [Some(("10000SATS", 1)), Some(("10000SATS", 1)), Some(("1000SATS", 0))]),
    ("1000RATS", [Some(("1000RATS", 0)), Some(("1000RATS", 0)), Some(("1000RATS", 0))]),
    ("1000000MOG", [Some(("1000000MOG", 0)), Some(("1000000MOG", 0)), Some(("1000000MOG", 0))]),
    ("1MBABYDOGE", [Some(("1000000BABYDOGE", 0)), Some(("1MBABYDOGE", 0)), Some(("1MBABYDOGE", 0))]),
    ("1000CHEEMS", [Some(("1000000CHEEMS", 3)), Some(("1000CHEEMS", 0)), Some(("1MCHEEMS", 3))]),
    ("1000X", [Some(("1000X", 0)), Some(("1000X", 0)), Some(("X", -3))]),
    ("1000CAT", [Some(("1000CAT", 0)), Some(("10000CAT", 1)), Some(("1000CAT", 0))]),
    ("1000WHY", [Some(("10000WHY", 1)), None, None]),
    ("TURBO", [Some(("1000TURBO", 3)), Some(("TURBO", 0)), Some(("TURBO", 0))]),
    ("LUNA2", [Some(("LUNA2", 0)), Some(("LUNA", 0)), Some(("LUNA", 0))]),
    ("RAYSOL", [Some(("RAYDIUM", 0)), Some(("RAY", 0)), Some(("RAY", 0))]),
    ("RONIN", [Some(("RONIN", 0)), Some(("RON", 0)), Some(("RON", 0))]),
    ("BEAMX", [Some(("BEAM", 0)), None, Some(("BEAM", 0))]),
    ("LAYER", [Some(("SOLAYER", 0)), Some(("SOLAYER", 0)), Some(("LAYER", 0))]),
    ("TST", [Some(("TSTBSC", 0)), Some(("TSTBSC", 0)), Some(("TSTBSC", 0))]),
    ("RED", [Some(("RED", 0)), Some(("REDSTONE", 0)), Some(("RED", 0))]),
    ("ACT", [Some(("ACT", 0)), Some(("ACTSOL", 0)), Some(("ACT", 0))]),
];

/// Listed there and not on Binance: rows that no tick may touch.
const ELSEWHERE: [&[&str]; 3] = [
    &["1000BTT", "1000TOSHI", "1000TAG", "1000CATS", "10000ELON", "10000COQ", "10000LADYS", "10000WEN"],
    &["CATS", "10000COQ", "10000LADYS", "10000WEN"],
    &["TOSHI", "TAG", "10000ELON"],
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::listing::{self, Counts};

    fn world() -> (Vec<Listed>, Vec<CrossListing>) {
        let listed = listing::build(Counts::default(), &mut Random::from_seed(5));
        let cross = build(&listed, &mut Random::from_seed(6));
        (listed, cross)
    }

    #[test]
    fn about_560_are_shared_with_each_venue_and_point_at_their_source() {
        let (listed, cross) = world();
        for venue in [Venue::Bybit, Venue::Kucoin, Venue::Bitget] {
            let of_venue: Vec<_> = cross.iter().filter(|c| c.venue == venue).collect();
            let shared = of_venue.iter().filter(|c| c.source.is_some()).count();
            assert!((500..680).contains(&shared), "{venue}: {shared}");
            let mut symbols: Vec<_> = of_venue.iter().map(|c| &c.symbol).collect();
            symbols.dedup();
            assert_eq!(symbols.len(), of_venue.len(), "{venue}");
        }
        for source in cross.iter().filter_map(|c| c.source.as_ref()) {
            assert_eq!(listed[source.position].symbol, source.symbol);
            assert_eq!(listed[source.position].base, source.token);
        }
    }

    #[test]
    fn the_special_names_are_spelled_as_the_venues_spell_them() {
        let (_, cross) = world();
        for (venue, symbol, token, source, shift) in [
            (Venue::Kucoin, "XBTUSDTM", "XBT", "BTCUSDT", 0),
            (Venue::Kucoin, "XBTUSDCM", "XBT", "BTCUSDC", 0),
            (Venue::Kucoin, "10000SATSUSDTM", "10000SATS", "1000SATSUSDT", 1),
            (Venue::Kucoin, "FLOKIUSDTM", "FLOKI", "1000FLOKIUSDT", -3),
            (Venue::Bybit, "SHIB1000USDT", "SHIB1000", "1000SHIBUSDT", 0),
            (Venue::Bybit, "BTCPERP", "BTC", "BTCUSDC", 0),
            (Venue::Bitget, "BTCPERP", "BTC", "BTCUSDC", 0),
            (Venue::Bybit, "1000000BABYDOGEUSDT", "1000000BABYDOGE", "1MBABYDOGEUSDT", 0),
            (Venue::Bitget, "1MCHEEMSUSDT", "1MCHEEMS", "1000CHEEMSUSDT", 3),
        ] {
            let found = cross.iter().find(|c| c.venue == venue && c.symbol == symbol).expect(symbol);
            let from = found.source.as_ref().expect(symbol);
            assert_eq!((found.token.as_str(), from.symbol.as_str(), from.shift), (token, source, shift));
        }
    }
}
