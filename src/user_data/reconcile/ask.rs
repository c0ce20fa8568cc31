//! One question of a reconcile, owned, and the paging of those that have pages.

use crate::domain::limits::{REST_PAGE_ROWS, REST_SPAN_MAX};
use crate::exchange::binance::signed::{AccountRead, From};

const LONGEST_MS: i64 = REST_SPAN_MAX.as_millis() as i64;

/// A question; see [`AccountRead`], which it lends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// All open orders.
    OpenOrders,
    /// All open algo orders.
    OpenAlgoOrders,
    /// Positions.
    Positions,
    /// Balances.
    Balances,
    /// Which symbols moved money.
    Income {
        /// ms since 1970 UTC.
        start_ms: i64,
        /// ms since 1970 UTC.
        end_ms: i64,
    },
    /// A part of one symbol's history.
    History {
        /// Of what.
        of: History,
        /// The venue's.
        symbol: String,
        /// Which part.
        from: From,
    },
    /// One order.
    Order {
        /// The venue's.
        symbol: String,
        /// `orderId`.
        order_id: u64,
    },
    /// One order by its client's id.
    OrderOfClient {
        /// The venue's.
        symbol: String,
        /// `origClientOrderId`.
        client_id: String,
    },
    /// One algo order.
    AlgoOrder {
        /// `algoId`.
        algo_id: u64,
    },
    /// One algo order by its client's id.
    AlgoOrderOfClient {
        /// `clientAlgoId`.
        client_id: String,
    },
}

/// What a symbol has a history of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// Orders, open or over.
    Orders,
    /// Algo orders, open or over.
    AlgoOrders,
    /// Fills.
    Trades,
}

impl History {
    /// All of them. Orders come first: fills that are read later are never older than the order that they belong to.
    pub const ALL: [History; 3] = [History::Orders, History::AlgoOrders, History::Trades];
}

impl Ask {
    /// As the signed request takes it.
    #[must_use]
    pub fn read(&self) -> AccountRead<'_> {
        match self {
            Ask::OpenOrders => AccountRead::OpenOrders,
            Ask::OpenAlgoOrders => AccountRead::OpenAlgoOrders,
            Ask::Positions => AccountRead::Positions,
            Ask::Balances => AccountRead::Balances,
            Ask::Income { start_ms, end_ms } => AccountRead::Income { start_ms: *start_ms, end_ms: *end_ms },
            Ask::History { of: History::Orders, symbol, from } => AccountRead::AllOrders { symbol, from: *from },
            Ask::History { of: History::AlgoOrders, symbol, from } => {
                AccountRead::AllAlgoOrders { symbol, from: *from }
            }
            Ask::History { of: History::Trades, symbol, from } => AccountRead::Trades { symbol, from: *from },
            Ask::Order { symbol, order_id } => AccountRead::Order { symbol, order_id: *order_id },
            Ask::OrderOfClient { symbol, client_id } => AccountRead::OrderOfClient { symbol, client_id },
            Ask::AlgoOrder { algo_id } => AccountRead::AlgoOrder { algo_id: *algo_id },
            Ask::AlgoOrderOfClient { client_id } => AccountRead::AlgoOrderOfClient { client_id },
        }
    }

    /// A symbol's history from `since_ms` on.
    #[must_use]
    pub fn history(of: History, symbol: &str, since_ms: i64, now_ms: i64) -> Ask {
        Ask::History { of, symbol: symbol.to_owned(), from: span(since_ms, now_ms) }
    }

    /// What must be asked after an answer of `rows` rows with this highest id or time, until the present is reached.
    #[must_use]
    pub fn next_page(&self, rows: usize, last: Option<i64>, now_ms: i64) -> Option<Ask> {
        let is_full = rows >= REST_PAGE_ROWS as usize;
        match (self, last) {
            (Ask::History { of, symbol, .. }, Some(last)) if is_full => {
                let next = u64::try_from(last).ok()?.checked_add(1)?;
                Some(Ask::History { of: *of, symbol: symbol.clone(), from: From::Id(next) })
            }
            // An id's page goes on to the present; a span ends after a week.
            (Ask::History { of, symbol, from: From::Span { start_ms, end_ms } }, _) if is_cut(*start_ms, *end_ms) => {
                Some(Ask::history(*of, symbol, end_ms + 1, now_ms))
            }
            // Rows of one millisecond on both pages are no harm: only symbols are taken from them.
            (Ask::Income { start_ms, end_ms }, Some(last)) if is_full => {
                Some(Ask::Income { start_ms: last.max(start_ms + 1), end_ms: *end_ms })
            }
            (Ask::Income { start_ms, end_ms }, _) if is_cut(*start_ms, *end_ms) => {
                Some(Ask::income(end_ms + 1, now_ms))
            }
            _ => None,
        }
    }

    /// Money's movements from `since_ms` on.
    #[must_use]
    pub fn income(since_ms: i64, now_ms: i64) -> Ask {
        let From::Span { start_ms, end_ms } = span(since_ms, now_ms) else { unreachable!("a span is one") };
        Ask::Income { start_ms, end_ms }
    }
}

/// Whether the span ends where spans must, and not at the present as it was when the question was made: the present moves on
/// while the venue answers, and what happens meanwhile comes over the live stream.
fn is_cut(start_ms: i64, end_ms: i64) -> bool {
    end_ms - start_ms >= LONGEST_MS - 1
}

/// From `since_ms` to the present, as far as one span goes.
fn span(since_ms: i64, now_ms: i64) -> From {
    From::Span { start_ms: since_ms, end_ms: now_ms.max(since_ms).min(since_ms + LONGEST_MS - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: i64 = 7 * 24 * 3_600_000;

    #[test]
    fn pages_go_on_until_the_present() {
        let ask = Ask::history(History::Trades, "A", 5, 100);
        let by_id = Ask::History { of: History::Trades, symbol: "A".into(), from: From::Id(8) };
        let long = Ask::history(History::Orders, "A", 0, 2 * WEEK);
        for (ask, rows, last, now_ms, next) in [
            (&ask, 999, Some(7), 100, None),
            (&ask, 0, None, 100, None),
            // The present has moved on meanwhile.
            (&ask, 0, None, 105, None),
            (&Ask::income(5, 100), 0, None, 105, None),
            (&ask, 1_000, Some(7), 100, Some(by_id.clone())),
            (
                &by_id,
                1_000,
                Some(8),
                100,
                Some(Ask::History { of: History::Trades, symbol: "A".into(), from: From::Id(9) }),
            ),
            (&by_id, 12, Some(20), 100, None),
            (&long, 3, Some(7), 2 * WEEK, Some(Ask::history(History::Orders, "A", WEEK, 2 * WEEK))),
            (&Ask::income(5, 100), 1_000, Some(60), 100, Some(Ask::income(60, 100))),
            (&Ask::income(5, 100), 1_000, Some(5), 100, Some(Ask::income(6, 100))),
            (&Ask::income(5, 100), 9, Some(60), 100, None),
        ] {
            assert_eq!(ask.next_page(rows, last, now_ms), next, "{ask:?}");
        }
        assert_eq!(span(0, 2 * WEEK), From::Span { start_ms: 0, end_ms: WEEK - 1 });
    }
}
