//! Instrument lists: what one page gives, and the walk over all pages with the fetching left to the caller.
//!
//! Kept are linear perpetuals, crypto and traditional underlyings alike: the contracts whose price is a mark price of
//! their own venue's token and quote. Dated contracts share token and quote with the perpetual (`BTCUSDT_261225` is BTC
//! and USDT too) and inverse ones quote another thing altogether; both are left out and counted. Token and quote are
//! always the venue's own fields, never cut out of the symbol.

use std::collections::HashSet;
use std::fmt;

use super::{Exchange, ShapeError};
use crate::domain::limits::INSTRUMENT_PAGES_MAX;
use crate::domain::{Instrument, Venue};

/// One page of a venue's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstrumentPage {
    /// Linear perpetuals, in the venue's order.
    pub instruments: Vec<Instrument>,
    /// What else was on the page.
    pub left_out: LeftOut,
    /// Asks for the next page; `None` on the last one.
    pub next_cursor: Option<String>,
}

/// All pages together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstrumentList {
    /// Linear perpetuals, each symbol once.
    pub instruments: Vec<Instrument>,
    /// What else was listed.
    pub left_out: LeftOut,
}

/// Listed, but no rows of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Delivered at a date.
    pub dated: usize,
    /// Settled in the base asset (COIN-M and the like).
    pub inverse: usize,
    /// Of a kind this program does not know.
    pub other_kind: usize,
    /// Without symbol, base or quote, or with one that no column takes.
    pub incomplete: usize,
    /// Binance only: the symbol is not base and quote put together, by which its price would be looked up.
    pub pair_differs: usize,
}

impl LeftOut {
    /// All kinds together.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.dated + self.inverse + self.other_kind + self.incomplete + self.pair_differs
    }

    fn add(&mut self, other: LeftOut) {
        self.dated += other.dated;
        self.inverse += other.inverse;
        self.other_kind += other.other_kind;
        self.incomplete += other.incomplete;
        self.pair_differs += other.pair_differs;
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (count, name) in [
            (self.dated, "dated"),
            (self.inverse, "inverse"),
            (self.other_kind, "of another kind"),
            (self.incomplete, "incomplete"),
            (self.pair_differs, "named unlike their pair"),
        ] {
            if count > 0 {
                write!(f, "{separator}{count} {name}")?;
                separator = ", ";
            }
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

/// Why a list could not be read to its end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError<E> {
    /// The request itself failed.
    #[error("{0}")]
    Fetch(E),
    /// The answer is not what it should be.
    #[error("{0}")]
    Shape(#[from] ShapeError),
    /// A cursor came back a second time, or the list goes on for more than [`INSTRUMENT_PAGES_MAX`] pages.
    #[error("{venue} instruments: the list does not end (page {page} asks for cursor {cursor:?})")]
    Endless {
        /// Who.
        venue: Venue,
        /// Pages read so far.
        page: usize,
        /// What the last one asked for.
        cursor: String,
    },
}

/// Reads all pages of a venue's list. `fetch` takes a URL and gives the body of the answer, whatever its status.
///
/// # Errors
/// [`ListError`]; no partial list is given, because a symbol missing from it would look delisted.
pub fn list_instruments<E>(
    exchange: &dyn Exchange,
    base: &str,
    mut fetch: impl FnMut(&str) -> Result<Vec<u8>, E>,
) -> Result<InstrumentList, ListError<E>> {
    let mut list = InstrumentList::default();
    let mut cursors: Vec<String> = Vec::new();
    let mut known = HashSet::new();
    loop {
        let url = exchange.instruments_request(base, cursors.last().map(String::as_str));
        let page = exchange.read_instruments(&fetch(&url).map_err(ListError::Fetch)?)?;
        list.left_out.add(page.left_out);
        list.instruments.extend(page.instruments.into_iter().filter(|one| known.insert(one.symbol.clone())));
        let Some(cursor) = page.next_cursor else { return Ok(list) };
        let pages = cursors.len() + 1;
        if pages >= INSTRUMENT_PAGES_MAX || cursors.contains(&cursor) {
            return Err(ListError::Endless { venue: exchange.venue(), page: pages, cursor });
        }
        cursors.push(cursor);
    }
}

#[cfg(test)]
mod tests {
    use super::super::exchange;
    use super::*;

    const PAGE_1: &str = include_str!("../../tests/fixtures/rest/bybit_instruments_page1.json");
    const PAGE_2: &str = include_str!("../../tests/fixtures/rest/bybit_instruments_page2.json");

    #[test]
    fn pages_are_walked_to_the_end() {
        let mut asked = Vec::new();
        let list = list_instruments(exchange(Venue::Bybit), "https://x", |url| {
            asked.push(url.to_owned());
            Ok::<_, String>(if asked.len() == 1 { PAGE_1 } else { PAGE_2 }.into())
        })
        .unwrap();
        assert_eq!(
            asked,
            [
                "https://x/v5/market/instruments-info?category=linear&limit=1000",
                "https://x/v5/market/instruments-info?category=linear&limit=1000\
                 &cursor=first%253D10000SATSUSDT%2526last%253DSHIB1000USDT",
            ]
        );
        let symbols: Vec<_> = list.instruments.iter().map(|one| one.symbol.as_str()).collect();
        assert_eq!(
            symbols,
            ["10000SATSUSDT", "1000BONKUSDT", "BTCUSDT", "SHIB1000USDT", "BTCPERP", "龙虾USDT", "NEWUSDT"]
        );
        assert_eq!(list.left_out.to_string(), "2 dated, 1 inverse, 2 incomplete");
    }

    #[test]
    fn a_list_without_end_is_refused() {
        let result = list_instruments(exchange(Venue::Bybit), "https://x", |_| Ok::<_, String>(PAGE_1.into()));
        assert_eq!(
            result.unwrap_err().to_string(),
            "bybit instruments: the list does not end (page 2 asks for cursor \
             \"first%3D10000SATSUSDT%26last%3DSHIB1000USDT\")"
        );
        let mut page = 0;
        let result = list_instruments(exchange(Venue::Bybit), "https://x", |_| {
            page += 1;
            Ok::<_, String>(PAGE_1.replace("first%3D", &format!("{page}")).into_bytes())
        });
        assert!(matches!(result, Err(ListError::Endless { page: INSTRUMENT_PAGES_MAX, .. })), "{result:?}");
    }

    #[test]
    fn a_failed_page_gives_no_list() {
        let mut page = 0;
        let result = list_instruments(exchange(Venue::Bybit), "https://x", |_| {
            page += 1;
            if page == 1 { Ok(PAGE_1.into()) } else { Err("connection reset") }
        });
        assert_eq!(result, Err(ListError::Fetch("connection reset")));
    }

    #[test]
    fn nothing_left_out_says_so() {
        assert_eq!(LeftOut::default().to_string(), "none");
        assert_eq!(LeftOut { dated: 2, pair_differs: 1, ..LeftOut::default() }.total(), 3);
    }
}
