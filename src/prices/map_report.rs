//! What `check` tells about the symbol map: every shift, and every row that gets no price, by name.

use std::collections::BTreeMap;

/// The account of one build of the map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapReport {
    /// Symbols with at least one row.
    pub symbols: usize,
    /// Rows that get a price, by exchange (`api_systems.canonical`).
    pub rows_by_exchange: BTreeMap<String, usize>,
    /// Rows whose contract has another size than Binance's.
    pub shifted: Vec<Pairing>,
    /// Mapped rows whose ratio cannot be known: they get no price.
    pub unknown_ratio: Vec<Pairing>,
    /// Rows with `is_price_aligned = false` that would be in the map otherwise.
    pub unaligned: Vec<Pairing>,
    /// Claims that lost a row to a better one.
    pub contested: Vec<Contested>,
    /// Rows of other venues that differ from a Binance token only in a multiplier, and have no mapper.
    pub lookalikes: Vec<Pairing>,
    /// Mappers of active exchanges that found no row on one side.
    pub idle_mappers: Vec<IdleMapper>,
    /// Mappers that point to an exchange that is switched off or unknown.
    pub inactive_mappers: usize,
    /// Rows of exchanges that are switched off or unknown.
    pub inactive_rows: usize,
    /// Rows beyond the bound `ROWS_MAX`: they get no price.
    pub rows_over_limit: usize,
}

/// A Binance symbol and a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pairing {
    /// The symbol in the price stream.
    pub symbol: String,
    /// The Binance row's token.
    pub binance_token: String,
    /// The exchange that lists the row.
    pub exchange: String,
    /// The row's token.
    pub token: String,
    /// The quote of both.
    pub quote: String,
    /// `exchange_symbols.id`.
    pub row_id: i64,
    /// Row's price = Binance price × 10^shift; `None` where it cannot be known.
    pub shift: Option<i8>,
    /// `token_mappers.price_ratio`, where one was given.
    pub price_ratio: Option<String>,
}

/// A row that two symbols claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contested {
    /// `exchange_symbols.id`.
    pub row_id: i64,
    /// Whose price it gets.
    pub kept: String,
    /// Whose price it does not get.
    pub dropped: String,
}

/// A mapper that does nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdleMapper {
    /// Its Binance token.
    pub binance_token: String,
    /// Its other token.
    pub other_token: String,
    /// The other exchange.
    pub exchange: String,
}

impl MapReport {
    /// Rows that get a price.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows_by_exchange.values().sum()
    }
}
