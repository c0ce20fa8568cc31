//! The names that private events carry in `e` (facts/binance.md §4), and sets of them.

use std::fmt;

use super::outline::key_is;

/// What an event is about, by its `e`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// An order was placed, filled, amended, cancelled or has expired.
    OrderTradeUpdate,
    /// Balances or positions changed.
    AccountUpdate,
    /// A conditional order before its trigger, and its end.
    AlgoUpdate,
    /// The early copy of a fill.
    TradeLite,
    /// Positions near liquidation.
    MarginCall,
    /// Leverage or the multi-assets mode changed.
    AccountConfigUpdate,
    /// A strategy of the venue's own changed.
    StrategyUpdate,
    /// A grid of the venue's own changed; deprecated.
    GridUpdate,
    /// A trigger was refused; replaced by [`EventType::AlgoUpdate`] in Dec 2025.
    ConditionalOrderTriggerReject,
    /// The listen key is dead; the socket stays open and silent.
    ListenKeyExpired,
    /// Documented for Spot only: this server goes away soon.
    ServerShutdown,
    /// A name that this program does not know.
    Unknown,
}

impl EventType {
    /// All of them, for tables of counters; a type's place is `event_type as usize`.
    pub const ALL: [EventType; 12] = [
        EventType::OrderTradeUpdate,
        EventType::AccountUpdate,
        EventType::AlgoUpdate,
        EventType::TradeLite,
        EventType::MarginCall,
        EventType::AccountConfigUpdate,
        EventType::StrategyUpdate,
        EventType::GridUpdate,
        EventType::ConditionalOrderTriggerReject,
        EventType::ListenKeyExpired,
        EventType::ServerShutdown,
        EventType::Unknown,
    ];

    /// Those that a subscription names. In the query spelling the list is a filter: what is left out never comes, and a
    /// name that the venue does not know is ignored without an error (facts/binance.md §1.3).
    pub const SUBSCRIBED: [EventType; 10] = [
        EventType::OrderTradeUpdate,
        EventType::AccountUpdate,
        EventType::AlgoUpdate,
        EventType::TradeLite,
        EventType::MarginCall,
        EventType::AccountConfigUpdate,
        EventType::StrategyUpdate,
        EventType::GridUpdate,
        EventType::ConditionalOrderTriggerReject,
        EventType::ListenKeyExpired,
    ];

    /// The venue's name; `unknown` for the rest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            EventType::OrderTradeUpdate => "ORDER_TRADE_UPDATE",
            EventType::AccountUpdate => "ACCOUNT_UPDATE",
            EventType::AlgoUpdate => "ALGO_UPDATE",
            EventType::TradeLite => "TRADE_LITE",
            EventType::MarginCall => "MARGIN_CALL",
            EventType::AccountConfigUpdate => "ACCOUNT_CONFIG_UPDATE",
            EventType::StrategyUpdate => "STRATEGY_UPDATE",
            EventType::GridUpdate => "GRID_UPDATE",
            EventType::ConditionalOrderTriggerReject => "CONDITIONAL_ORDER_TRIGGER_REJECT",
            EventType::ListenKeyExpired => "listenKeyExpired",
            EventType::ServerShutdown => "serverShutdown",
            EventType::Unknown => "unknown",
        }
    }

    /// The type that the raw text of a string, escapes and all, names.
    pub(super) fn of_text(raw: &[u8]) -> EventType {
        EventType::ALL
            .into_iter()
            .filter(|&one| one != EventType::Unknown)
            .find(|one| key_is(raw, one.as_str().as_bytes()))
            .unwrap_or(EventType::Unknown)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Some of the event types.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct EventSet(u16);

impl EventSet {
    /// Everything in [`EventType::SUBSCRIBED`].
    #[must_use]
    pub fn subscribed() -> Self {
        EventType::SUBSCRIBED.into_iter().collect()
    }

    /// None of them.
    #[must_use]
    pub const fn none() -> Self {
        EventSet(0)
    }

    /// Adds one.
    pub fn insert(&mut self, event_type: EventType) {
        self.0 |= 1 << event_type as u16;
    }

    /// Whether it is in.
    #[must_use]
    pub const fn contains(self, event_type: EventType) -> bool {
        self.0 >> event_type as u16 & 1 == 1
    }

    /// Whether none is in.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of `self` that are not in `other`.
    #[must_use]
    pub const fn without(self, other: EventSet) -> EventSet {
        EventSet(self.0 & !other.0)
    }

    /// In the order of [`EventType::ALL`].
    pub fn iter(self) -> impl Iterator<Item = EventType> {
        EventType::ALL.into_iter().filter(move |&one| self.contains(one))
    }
}

impl FromIterator<EventType> for EventSet {
    fn from_iter<I: IntoIterator<Item = EventType>>(types: I) -> Self {
        let mut set = EventSet::default();
        types.into_iter().for_each(|one| set.insert(one));
        set
    }
}

impl fmt::Debug for EventSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The names with a slash between, as in the venue's own lists.
impl fmt::Display for EventSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, one) in self.iter().enumerate() {
            if place > 0 {
                f.write_str("/")?;
            }
            f.write_str(one.as_str())?;
        }
        Ok(())
    }
}

const _: () = assert!(EventType::ALL.len() <= u16::BITS as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_types() {
        for (place, one) in EventType::ALL.into_iter().enumerate() {
            assert_eq!(one as usize, place);
            assert_eq!(EventType::of_text(one.as_str().as_bytes()), one);
        }
        assert_eq!(EventType::of_text(br"\u004cISTEN_KEY"), EventType::Unknown);
        assert_eq!(EventType::of_text(br"\u0054RADE\u005FLITE"), EventType::TradeLite);
        for other in ["", "TRADE_LIT", "TRADE_LITE ", "trade_lite", "UNKNOWN", "TRADE_LITE\\n"] {
            assert_eq!(EventType::of_text(other.as_bytes()), EventType::Unknown, "{other}");
        }
    }

    #[test]
    fn sets_count_and_print() {
        let mut set = EventSet::default();
        assert!(set.is_empty());
        set.insert(EventType::TradeLite);
        set.insert(EventType::OrderTradeUpdate);
        assert_eq!(set.to_string(), "ORDER_TRADE_UPDATE/TRADE_LITE");
        let absent = EventSet::subscribed().without(set);
        assert_eq!(absent.iter().count(), 8);
        assert!(absent.contains(EventType::ListenKeyExpired) && !absent.contains(EventType::ServerShutdown));
    }
}
