//! What an order event says, as far as two texts can say the same: the stream's frame and the recovered event of one fill are
//! different bytes and one fact. A fill is its symbol and trade id; any other state is the order, its status, what is filled,
//! its price and its quantity, which an amendment changes (facts/binance.md §4.1, §4.4).

use serde_json::Value;

use crate::domain::Decimal;

/// Which order an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A regular order: exchanges number them by symbol.
    Order {
        /// The venue's symbol.
        symbol: String,
        /// `i`.
        id: u64,
    },
    /// An algo order.
    Algo {
        /// `aid`.
        id: u64,
    },
}

impl Subject {
    /// The text of its id, as `orders.exchange_order_id` and the audit rows hold it.
    #[must_use]
    pub fn exchange_order_id(&self) -> String {
        match self {
            Subject::Order { id, .. } | Subject::Algo { id } => id.to_string(),
        }
    }
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderFact {
    /// Whose state it is.
    pub subject: Subject,
    /// The venue's word: `X`.
    pub status: String,
    /// `z`: cumulative.
    pub filled: Option<Decimal>,
    /// `p`, or an algo order's `tp`.
    pub price: Option<Decimal>,
    /// `q`; of algo orders none, whose answers write it in a form of their own.
    pub quantity: Option<Decimal>,
    /// `t`, where the event is a fill.
    pub trade: Option<u64>,
    /// `T`, ms since 1970 UTC; 0 where it is absent.
    pub time_ms: i64,
}

impl OrderFact {
    /// Reads an event; `None` for what is no order event, or names no order.
    #[must_use]
    pub fn read(event: &[u8]) -> Option<OrderFact> {
        let event: Value = serde_json::from_slice(event).ok()?;
        let order = event.get("o")?;
        let text = |key: &str| order.get(key).and_then(Value::as_str);
        let decimal = |key: &str| text(key).and_then(Decimal::parse);
        let id = |key: &str| order.get(key).and_then(Value::as_u64).filter(|&id| id > 0);
        let (subject, price, quantity, trade) = match event.get("e")?.as_str()? {
            "ORDER_TRADE_UPDATE" => {
                let subject = Subject::Order { symbol: text("s")?.to_owned(), id: id("i")? };
                // Only executions carry a trade's id; other events have 0 there.
                let trade = id("t").filter(|_| matches!(text("x"), Some("TRADE" | "CALCULATED")));
                (subject, decimal("p"), decimal("q"), trade)
            }
            "ALGO_UPDATE" => (Subject::Algo { id: id("aid")? }, decimal("tp"), None, None),
            _ => return None,
        };
        let time_ms = event.get("T").and_then(Value::as_i64).unwrap_or(0);
        let (status, filled) = (text("X")?.to_owned(), decimal("z"));
        Some(OrderFact { subject, status, filled, price, quantity, trade, time_ms })
    }

    /// Whether `other` says the same: then this one was not missed.
    #[must_use]
    pub fn is_told_by(&self, other: &OrderFact) -> bool {
        let is_same_symbol = match (&self.subject, &other.subject) {
            (Subject::Order { symbol, .. }, Subject::Order { symbol: others, .. }) => symbol == others,
            (Subject::Algo { .. }, Subject::Algo { .. }) => true,
            _ => false,
        };
        match self.trade {
            Some(trade) => is_same_symbol && other.trade == Some(trade),
            None => {
                let is_same_quantity =
                    self.quantity.as_ref().zip(other.quantity.as_ref()).is_none_or(|(mine, others)| mine == others);
                self.subject == other.subject
                    && self.status == other.status
                    && self.filled == other.filled
                    && self.price == other.price
                    && is_same_quantity
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: &[u8] =
        br#"{"e":"ORDER_TRADE_UPDATE","E":9,"T":7,"o":{"s":"ETHUSDT","c":"x","x":"TRADE","X":"FILLED","i":42,
        "p":"10.50","q":"2.0","z":"2.000","t":77,"l":"2"}}"#;
    const RECOVERED: &[u8] =
        br#"{"e":"ORDER_TRADE_UPDATE","E":7,"T":7,"o":{"s":"ETHUSDT","x":"TRADE","X":"FILLED","i":42,
        "p":"10.5","q":"2","z":"2","t":77},"recovered":true}"#;

    #[test]
    fn a_fill_is_its_trade_and_a_state_is_all_it_says() {
        let replaced = |from: &str, to: &str| {
            OrderFact::read(String::from_utf8_lossy(RECOVERED).replace(from, to).as_bytes()).unwrap()
        };
        let live = OrderFact::read(LIVE).unwrap();
        assert_eq!((live.trade, live.time_ms), (Some(77), 7));
        for (fact, is_told) in [
            (OrderFact::read(RECOVERED).unwrap(), true),
            (replaced("\"t\":77", "\"t\":78"), false),
            (replaced("ETHUSDT", "BTCUSDT"), false),
            // Without a trade the state counts, and a fill tells the state too.
            (replaced("\"t\":77", "\"t\":0"), true),
            (replaced(",\"t\":77", ""), true),
            (replaced("\"z\":\"2\",\"t\":77", "\"z\":\"1\""), false),
            (replaced("10.5\",\"q\":\"2\",\"z\":\"2\",\"t\":77", "10\",\"q\":\"2\",\"z\":\"2\""), false),
            (replaced("\"q\":\"2\",\"z\":\"2\",\"t\":77", "\"q\":\"3\",\"z\":\"2\""), false),
            (replaced("\"q\":\"2\",\"z\":\"2\",\"t\":77", "\"z\":\"2\""), true),
            (replaced("\"X\":\"FILLED\",\"i\":42,", "\"X\":\"CANCELED\",\"i\":42,"), true),
        ] {
            assert_eq!(fact.is_told_by(&live), is_told, "{fact:?}");
        }
    }

    #[test]
    fn what_names_no_order_is_no_fact() {
        let algo = OrderFact::read(br#"{"e":"ALGO_UPDATE","T":3,"o":{"aid":5,"X":"NEW","tp":"1"}}"#).unwrap();
        assert_eq!((algo.subject.clone(), algo.subject.exchange_order_id()), (Subject::Algo { id: 5 }, "5".to_owned()));
        for text in [
            "",
            "[]",
            r#"{"raw_base64":"e30="}"#,
            r#"{"e":"ORDER_TRADE_UPDATE"}"#,
            r#"{"e":"ORDER_TRADE_UPDATE","o":{"s":"A","i":0,"X":"NEW"}}"#,
            r#"{"e":"ORDER_TRADE_UPDATE","o":{"s":"A","i":1}}"#,
            r#"{"e":"ACCOUNT_UPDATE","o":{"s":"A","i":1,"X":"NEW"}}"#,
        ] {
            assert_eq!(OrderFact::read(text.as_bytes()), None, "{text}");
        }
    }
}
