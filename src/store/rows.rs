//! Rows as the price role reads them from either database: plain values, no connection, no driver type.
//!
//! Column names are the incumbent's (facts/incumbent.md §1.3–1.6), with `parsed_trading_pair` stored and `price_ratio`
//! added by our migrations; on a table that lacks an optional column the value is `None`.

use crate::domain::ColumnScale;

/// Everything that a symbol map is built from, read in one go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapRows {
    /// `api_systems`.
    pub systems: Vec<ApiSystem>,
    /// `exchange_symbols`, in ascending id.
    pub symbols: Vec<SymbolRow>,
    /// `token_mappers`, in ascending id.
    pub mappers: Vec<TokenMapper>,
}

/// A row of `api_systems`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSystem {
    /// Primary key.
    pub id: i64,
    /// `binance`, `bybit`, …: unique.
    pub canonical: String,
    /// Whether the exchange is switched on.
    pub is_active: bool,
}

/// A row of `exchange_symbols`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolRow {
    /// Primary key; `exchange_symbol_prices.exchange_symbol_id` names it.
    pub id: i64,
    /// Who lists it.
    pub api_system_id: i64,
    /// Base asset as the venue names it.
    pub token: String,
    /// Quote asset.
    pub quote: String,
    /// The venue's own name of the instrument.
    pub asset: Option<String>,
    /// The name that the price stream uses; `None` where it was never stored.
    pub parsed_trading_pair: Option<String>,
    /// False = somebody found this row's price off: it gets none.
    pub is_price_aligned: bool,
}

/// A row of `token_mappers`: the Binance token's price also belongs to another token on another exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenMapper {
    /// `exchange_symbols.token` of the Binance row.
    pub binance_token: String,
    /// `exchange_symbols.token` on the other exchange.
    pub other_token: String,
    /// The other exchange.
    pub other_api_system_id: i64,
    /// Other price = Binance price × ratio, as decimal text; `None` = derive it from the two names.
    pub price_ratio: Option<String>,
}

/// One column of a target table, as the database's catalogue tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnShape {
    /// Its name.
    pub name: String,
    /// The type as the database spells it, for people: `numeric(20,8)`.
    pub declared: String,
    /// What that means for us.
    pub kind: ColumnKind,
    /// Whether it takes NULL.
    pub nullable: bool,
}

/// The types that matter to a price writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// A whole number.
    Integer,
    /// An exact decimal.
    Numeric(ColumnScale),
    /// Text; holds every price.
    Text,
    /// A date and time with this many digits of a second: 0 = whole seconds.
    Timestamp {
        /// Digits behind the second.
        fraction_digits: u8,
        /// Whether the type keeps an instant (`timestamptz`) instead of a wall reading.
        zoned: bool,
    },
    /// Anything else, floats among them: no price goes there.
    Other,
}

impl ColumnShape {
    /// What the column holds of a price without rounding; `None` when prices must not go there.
    #[must_use]
    pub fn price_scale(&self) -> Option<ColumnScale> {
        match self.kind {
            ColumnKind::Numeric(scale) => Some(scale),
            ColumnKind::Text => Some(ColumnScale::UNBOUNDED),
            ColumnKind::Integer | ColumnKind::Timestamp { .. } | ColumnKind::Other => None,
        }
    }
}

/// A row of `exchange_symbols` with the price it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricedRow {
    /// Primary key.
    pub id: i64,
    /// Who lists it (`api_systems.canonical`).
    pub exchange: String,
    /// The venue's own name of the instrument.
    pub symbol: String,
    /// Base asset.
    pub token: String,
    /// `mark_price` as text, digit for digit.
    pub price: Option<String>,
    /// `mark_price_synced_at` as text.
    pub synced_at: Option<String>,
}
