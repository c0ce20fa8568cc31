//! Words about orders and positions, as the local tables spell them (facts/incumbent.md §1.8, §1.9, §4.1).

use std::fmt;

/// A status in `orders.status` or `api_data_stream.normalized_status`: the incumbent's spelling, which is not the venue's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderStatus {
    /// Works, nothing filled.
    New,
    /// A conditional order whose trigger is being carried out.
    Triggering,
    /// Works, something filled.
    PartiallyFilled,
    /// A conditional order that has become a real one.
    Triggered,
    /// All filled.
    Filled,
    /// The venue's `CANCELED`.
    Cancelled,
    /// Ended by its terms; the venue's `EXPIRED_IN_MATCH` too.
    Expired,
    /// Never worked.
    Rejected,
    /// A word that this program does not know.
    Unknown,
}

impl OrderStatus {
    /// All of them.
    pub const ALL: [OrderStatus; 9] = [
        OrderStatus::New,
        OrderStatus::Triggering,
        OrderStatus::PartiallyFilled,
        OrderStatus::Triggered,
        OrderStatus::Filled,
        OrderStatus::Cancelled,
        OrderStatus::Expired,
        OrderStatus::Rejected,
        OrderStatus::Unknown,
    ];

    /// The word in the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            OrderStatus::New => "NEW",
            OrderStatus::Triggering => "TRIGGERING",
            OrderStatus::PartiallyFilled => "PARTIALLY_FILLED",
            OrderStatus::Triggered => "TRIGGERED",
            OrderStatus::Filled => "FILLED",
            OrderStatus::Cancelled => "CANCELLED",
            OrderStatus::Expired => "EXPIRED",
            OrderStatus::Rejected => "REJECTED",
            OrderStatus::Unknown => "UNKNOWN",
        }
    }

    /// From a column; what is none of the words is [`OrderStatus::Unknown`].
    #[must_use]
    pub fn of_column(word: &str) -> OrderStatus {
        OrderStatus::ALL.into_iter().find(|status| status.as_str() == word).unwrap_or(OrderStatus::Unknown)
    }

    /// Whether the order still works under its own id, so that its stated price is the one that counts.
    #[must_use]
    pub const fn is_working(self) -> bool {
        matches!(self, OrderStatus::New | OrderStatus::PartiallyFilled)
    }
}

impl fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `BUY` or `SELL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Adds to a long position.
    Buy,
    /// Adds to a short position.
    Sell,
}

/// The side of a position: hedge accounts have two a symbol, one-way accounts one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PositionSide {
    /// One-way mode.
    Both,
    /// Hedge mode.
    Long,
    /// Hedge mode.
    Short,
}

impl PositionSide {
    /// The venue's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PositionSide::Both => "BOTH",
            PositionSide::Long => "LONG",
            PositionSide::Short => "SHORT",
        }
    }

    /// From the venue's word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<PositionSide> {
        [PositionSide::Both, PositionSide::Long, PositionSide::Short].into_iter().find(|side| side.as_str() == word)
    }
}

/// `orders.type`: what the application placed the order for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderKind {
    /// An entry at the market.
    Market,
    /// An opening limit order: a rung of the ladder.
    Limit,
    /// The take-profit.
    ProfitLimit,
    /// The take-profit at the market.
    ProfitMarket,
    /// The stop; at Binance an algo order.
    StopMarket,
    /// A close at the market.
    MarketCancel,
    /// A word that this program does not know.
    Other,
}

impl OrderKind {
    /// From the column.
    #[must_use]
    pub fn of_column(word: &str) -> OrderKind {
        match word {
            "MARKET" => OrderKind::Market,
            "LIMIT" => OrderKind::Limit,
            "PROFIT-LIMIT" => OrderKind::ProfitLimit,
            "PROFIT-MARKET" => OrderKind::ProfitMarket,
            "STOP-MARKET" => OrderKind::StopMarket,
            "MARKET-CANCEL" => OrderKind::MarketCancel,
            _ => OrderKind::Other,
        }
    }
}

/// `positions.direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Bought.
    Long,
    /// Sold.
    Short,
}

/// Statuses of positions that are open at the venue or about to be (facts/incumbent.md §1.9).
pub const OPENED_POSITIONS: [&str; 7] = ["opening", "waping", "active", "new", "closing", "cancelling", "syncing"];
/// Statuses of positions whose orders' changes start workflows.
pub const ACTIVE_POSITIONS: [&str; 5] = ["opening", "active", "new", "waping", "syncing"];
