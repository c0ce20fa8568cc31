//! Signed reads of one account over REST: what to ask, what it weighs, and the signature (facts/binance.md §6).
//!
//! The server wants `timestamp < server + 1000 ms` and `server - timestamp ≤ recvWindow`; the signature is the lower-case hex
//! HMAC-SHA256 of the query exactly as sent, and stands last. Nothing here can place, change or cancel an order.

use std::fmt;
use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::domain::limits::{REST_PAGE_ROWS, REST_RECV_WINDOW};
use crate::exchange::rest_shape::query_value;

/// An account's API secret. No formatting shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiSecret(String);

impl ApiSecret {
    /// Takes the text as it is.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        ApiSecret(text.into())
    }

    /// The signature of `query`: 64 lower-case hex digits.
    #[must_use]
    pub fn sign(&self, query: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).expect("an HMAC takes a key of any length");
        mac.update(query.as_bytes());
        let mut hex = String::with_capacity(64);
        for byte in mac.finalize().into_bytes() {
            write!(hex, "{byte:02x}").expect("a String takes what is written");
        }
        hex
    }
}

impl fmt::Debug for ApiSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiSecret(***)")
    }
}

/// A part of an account's history: all of it from an id on, or a span of time. The venue takes one or the other, and spans of
/// seven days at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// This trade or order id and later ones.
    Id(u64),
    /// ms since 1970 UTC, both included.
    Span {
        /// The first millisecond.
        start_ms: i64,
        /// The last one.
        end_ms: i64,
    },
}

/// A read of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountRead<'a> {
    /// All open orders; algo orders are not among them.
    OpenOrders,
    /// All open algo orders.
    OpenAlgoOrders,
    /// Positions of symbols with a position or an open order.
    Positions,
    /// Balances by asset.
    Balances,
    /// One order by the venue's id; -2013 where it is unknown, aged out or an algo order that has not triggered.
    Order {
        /// The venue's symbol.
        symbol: &'a str,
        /// `orderId`.
        order_id: u64,
    },
    /// One order by the id that its client gave it: for one whose placement was never answered.
    OrderOfClient {
        /// The venue's symbol.
        symbol: &'a str,
        /// `origClientOrderId`.
        client_id: &'a str,
    },
    /// One algo order by its id.
    AlgoOrder {
        /// `algoId`.
        algo_id: u64,
    },
    /// One algo order by the id that its client gave it.
    AlgoOrderOfClient {
        /// `clientAlgoId`.
        client_id: &'a str,
    },
    /// Orders of a symbol, open or over: a page of [`REST_PAGE_ROWS`].
    AllOrders {
        /// The venue's symbol.
        symbol: &'a str,
        /// Which.
        from: From,
    },
    /// Algo orders of a symbol, open or over.
    AllAlgoOrders {
        /// The venue's symbol.
        symbol: &'a str,
        /// Which.
        from: From,
    },
    /// Fills of a symbol: a page of [`REST_PAGE_ROWS`].
    Trades {
        /// The venue's symbol.
        symbol: &'a str,
        /// Which.
        from: From,
    },
    /// Commissions, realised profits and fundings of all symbols in a span: names the symbols that were traded in it.
    Income {
        /// The first millisecond.
        start_ms: i64,
        /// The last one.
        end_ms: i64,
    },
}

impl AccountRead<'_> {
    /// Below the venue's REST base.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        match self {
            AccountRead::OpenOrders => "/fapi/v1/openOrders",
            AccountRead::OpenAlgoOrders => "/fapi/v1/openAlgoOrders",
            AccountRead::Positions => "/fapi/v3/positionRisk",
            AccountRead::Balances => "/fapi/v3/balance",
            AccountRead::Order { .. } | AccountRead::OrderOfClient { .. } => "/fapi/v1/order",
            AccountRead::AlgoOrder { .. } | AccountRead::AlgoOrderOfClient { .. } => "/fapi/v1/algoOrder",
            AccountRead::AllOrders { .. } => "/fapi/v1/allOrders",
            AccountRead::AllAlgoOrders { .. } => "/fapi/v1/allAlgoOrders",
            AccountRead::Trades { .. } => "/fapi/v1/userTrades",
            AccountRead::Income { .. } => "/fapi/v1/income",
        }
    }

    /// What it costs of the address's minute (facts/binance.md §6, Aug 2026).
    #[must_use]
    pub const fn weight(&self) -> u32 {
        match self {
            AccountRead::OpenOrders | AccountRead::OpenAlgoOrders => 40,
            AccountRead::Positions
            | AccountRead::Balances
            | AccountRead::AllOrders { .. }
            | AccountRead::AllAlgoOrders { .. }
            | AccountRead::Trades { .. } => 5,
            AccountRead::Order { .. }
            | AccountRead::OrderOfClient { .. }
            | AccountRead::AlgoOrder { .. }
            | AccountRead::AlgoOrderOfClient { .. } => 1,
            AccountRead::Income { .. } => 30,
        }
    }

    /// The whole URL, signed; `base` is scheme and host, `now_ms` the wall clock as the server has it.
    #[must_use]
    pub fn url(&self, base: &str, now_ms: i64, secret: &ApiSecret) -> String {
        let query = self.query(now_ms);
        let signature = secret.sign(&query);
        format!("{}{}?{query}&signature={signature}", base.trim_end_matches('/'), self.path())
    }

    fn query(&self, now_ms: i64) -> String {
        let mut query = String::new();
        let mut add = |key: &str, value: &dyn fmt::Display| {
            write!(query, "{key}={value}&").expect("a String takes what is written");
        };
        match self {
            AccountRead::OpenOrders | AccountRead::OpenAlgoOrders | AccountRead::Positions | AccountRead::Balances => {}
            AccountRead::Order { symbol, order_id } => {
                add("symbol", &query_value(symbol));
                add("orderId", order_id);
            }
            AccountRead::OrderOfClient { symbol, client_id } => {
                add("symbol", &query_value(symbol));
                add("origClientOrderId", &query_value(client_id));
            }
            AccountRead::AlgoOrder { algo_id } => add("algoId", algo_id),
            AccountRead::AlgoOrderOfClient { client_id } => add("clientAlgoId", &query_value(client_id)),
            AccountRead::AllOrders { symbol, from } | AccountRead::AllAlgoOrders { symbol, from } => {
                add("symbol", &query_value(symbol));
                let id = if matches!(self, AccountRead::AllOrders { .. }) { "orderId" } else { "algoId" };
                match from {
                    From::Id(first) => add(id, first),
                    From::Span { start_ms, end_ms } => {
                        add("startTime", start_ms);
                        add("endTime", end_ms);
                    }
                }
                add("limit", &REST_PAGE_ROWS);
            }
            AccountRead::Trades { symbol, from } => {
                add("symbol", &query_value(symbol));
                match from {
                    From::Id(first) => add("fromId", first),
                    From::Span { start_ms, end_ms } => {
                        add("startTime", start_ms);
                        add("endTime", end_ms);
                    }
                }
                add("limit", &REST_PAGE_ROWS);
            }
            AccountRead::Income { start_ms, end_ms } => {
                add("startTime", start_ms);
                add("endTime", end_ms);
                add("limit", &REST_PAGE_ROWS);
            }
        }
        add("recvWindow", &REST_RECV_WINDOW.as_millis());
        add("timestamp", &now_ms);
        query.pop();
        query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_venues_own_example() {
        // The example of the venue's public documentation of signed endpoints.
        let secret = ApiSecret::new("NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j");
        let query = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559";
        assert_eq!(secret.sign(query), "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71");
        assert_eq!(format!("{secret:?}"), "ApiSecret(***)");
    }

    #[test]
    fn urls_are_signed_last_and_symbols_are_encoded() {
        let secret = ApiSecret::new("s");
        let span = From::Span { start_ms: 1, end_ms: 2 };
        for (read, rest) in [
            (AccountRead::OpenOrders, "/fapi/v1/openOrders?"),
            (
                AccountRead::Order { symbol: "ETHUSDT", order_id: u64::MAX },
                "/fapi/v1/order?symbol=ETHUSDT&orderId=18446744073709551615&",
            ),
            (AccountRead::AlgoOrder { algo_id: 4 }, "/fapi/v1/algoOrder?algoId=4&"),
            (
                AccountRead::OrderOfClient { symbol: "ETHUSDT", client_id: "a&b" },
                "/fapi/v1/order?symbol=ETHUSDT&origClientOrderId=a%26b&",
            ),
            (AccountRead::AlgoOrderOfClient { client_id: "x-1" }, "/fapi/v1/algoOrder?clientAlgoId=x-1&"),
            (
                AccountRead::Trades { symbol: "币安人生USDT", from: From::Id(7) },
                "/fapi/v1/userTrades?symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT&fromId=7&limit=1000&",
            ),
            (
                AccountRead::AllOrders { symbol: "A", from: span },
                "/fapi/v1/allOrders?symbol=A&startTime=1&endTime=2&limit=1000&",
            ),
            (
                AccountRead::AllAlgoOrders { symbol: "A", from: From::Id(5) },
                "/fapi/v1/allAlgoOrders?symbol=A&algoId=5&limit=1000&",
            ),
            (AccountRead::Income { start_ms: 1, end_ms: 2 }, "/fapi/v1/income?startTime=1&endTime=2&limit=1000&"),
        ] {
            let url = read.url("https://fapi.example/", 1_795_419_600_000, &secret);
            let (unsigned, signature) = url.split_once("&signature=").unwrap();
            assert_eq!(unsigned, format!("https://fapi.example{rest}recvWindow=5000&timestamp=1795419600000"));
            assert_eq!(signature, secret.sign(unsigned.split_once('?').unwrap().1));
        }
    }

    #[test]
    fn a_full_read_weighs_what_the_venue_counts() {
        let full =
            [AccountRead::OpenOrders, AccountRead::OpenAlgoOrders, AccountRead::Positions, AccountRead::Balances];
        assert_eq!(full.iter().map(AccountRead::weight).sum::<u32>(), 90);
    }
}
