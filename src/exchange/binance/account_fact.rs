//! What an account event says is held: positions by symbol and side, balances by asset, each an absolute value as of the event's
//! `T` (facts/binance.md §4.3). The stream's frame and the recovered event of one change are different bytes and one fact.

use serde_json::Value;

use crate::domain::Decimal;
use crate::domain::order::PositionSide;

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFact {
    /// `T`, ms since 1970 UTC.
    pub time_ms: i64,
    /// `a.P`, entries that are whole.
    pub positions: Vec<PositionFact>,
    /// `a.B`, entries that are whole.
    pub balances: Vec<BalanceFact>,
}

/// One position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionFact {
    /// The venue's symbol.
    pub symbol: String,
    /// `ps`.
    pub side: PositionSide,
    /// `pa`, signed.
    pub quantity: Decimal,
    /// `ep`; `None` where it is absent.
    pub entry: Option<Decimal>,
}

/// One balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceFact {
    /// `a`.
    pub asset: String,
    /// `wb`, may be negative.
    pub wallet: Decimal,
}

impl AccountFact {
    /// Reads an event; `None` for what is no account event, or has no time.
    #[must_use]
    pub fn read(event: &[u8]) -> Option<AccountFact> {
        let event: Value = serde_json::from_slice(event).ok()?;
        if event.get("e")?.as_str()? != "ACCOUNT_UPDATE" {
            return None;
        }
        let account = event.get("a")?;
        let entries = |key: &str| account.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        Some(AccountFact {
            time_ms: event.get("T").and_then(Value::as_i64)?,
            positions: entries("P").iter().filter_map(position).collect(),
            balances: entries("B").iter().filter_map(balance).collect(),
        })
    }
}

fn position(entry: &Value) -> Option<PositionFact> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    Some(PositionFact {
        symbol: text("s")?.to_owned(),
        side: PositionSide::of_word(text("ps")?)?,
        quantity: Decimal::parse(text("pa")?)?,
        entry: text("ep").and_then(Decimal::parse),
    })
}

fn balance(entry: &Value) -> Option<BalanceFact> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    Some(BalanceFact { asset: text("a")?.to_owned(), wallet: Decimal::parse(text("wb")?)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_entries_are_read_and_others_passed_over() {
        let text = br#"{"e":"ACCOUNT_UPDATE","E":9,"T":7,"a":{"m":"ORDER","B":[{"a":"USDT","wb":"-1.50","bc":"0"},{"a":"BNB"}],
            "P":[{"s":"A","pa":"-2.0","ep":"10.50","ps":"SHORT"},{"s":"A","pa":"1","ps":"SIDEWAYS"},{"s":"B","pa":"0","ps":"BOTH"}]}}"#;
        let fact = AccountFact::read(text).unwrap();
        assert_eq!((fact.time_ms, fact.balances.len(), fact.balances[0].wallet.as_str()), (7, 1, "-1.5"));
        let held: Vec<_> = fact
            .positions
            .iter()
            .map(|held| (&*held.symbol, held.side, held.quantity.as_str(), held.entry.is_some()))
            .collect();
        assert_eq!(held, [("A", PositionSide::Short, "-2", true), ("B", PositionSide::Both, "0", false)]);
    }

    #[test]
    fn what_is_no_account_event_is_none() {
        for text in [
            "",
            "[]",
            r#"{"e":"ORDER_TRADE_UPDATE","T":1,"o":{}}"#,
            r#"{"e":"ACCOUNT_UPDATE","a":{}}"#,
            r#"{"e":"ACCOUNT_UPDATE","T":1}"#,
        ] {
            assert_eq!(AccountFact::read(text.as_bytes()), None, "{text}");
        }
        let bare = AccountFact::read(br#"{"e":"ACCOUNT_UPDATE","T":1,"a":{}}"#).unwrap();
        assert!(bare.positions.is_empty() && bare.balances.is_empty());
    }
}
