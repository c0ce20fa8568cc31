//! What the recorded events say to one that was recovered: the frame came after all and stood in the spool before the
//! reconcile's text, or a later one did. Then it gets no audit row, and what is older than a push changes nothing.

use super::JobEvent;
use crate::domain::Wall;
use crate::exchange::binance::account_fact::AccountFact;
use crate::exchange::binance::fact::OrderFact;
use crate::exchange::projection::PositionEntry;
use crate::store::error::Result;
use crate::store::work::WorkTransaction;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// Everything that it says was said; the rules see it nevertheless.
    pub(super) is_told: bool,
    /// Account events that are later than a recovered one.
    later: Vec<AccountFact>,
}

impl Recorded {
    /// Of an event that is to be applied; nothing for a frame.
    pub(super) fn of(tx: &mut dyn WorkTransaction, event: &JobEvent<'_>) -> Result<Recorded> {
        if event.kind != "recovered" {
            return Ok(Recorded::default());
        }
        if let Some(fact) = OrderFact::read(event.raw) {
            let recorded = tx.recorded_of_order(event.account_id, &fact.subject.exchange_order_id())?;
            let mut recorded = recorded.iter().filter_map(|text| OrderFact::read(text.as_bytes()));
            return Ok(Recorded { is_told: recorded.any(|heard| fact.is_told_by(&heard)), later: Vec::new() });
        }
        let Some(fact) = AccountFact::read(event.raw) else { return Ok(Recorded::default()) };
        let recorded = tx.recorded_account_updates(event.account_id, Wall::from_millis(fact.time_ms))?;
        let recorded: Vec<_> = recorded.iter().filter_map(|text| AccountFact::read(text.as_bytes())).collect();
        Ok(Recorded::account(&fact, recorded))
    }

    fn account(fact: &AccountFact, recorded: Vec<AccountFact>) -> Recorded {
        let is_after = |heard: &&AccountFact| heard.time_ms >= fact.time_ms;
        let is_told = fact.positions.iter().all(|held| {
            let of = recorded.iter().filter(is_after);
            let mut of = of.flat_map(|heard| heard.positions.iter().map(|known| (heard.time_ms, known)));
            of.any(|(at_ms, known)| {
                known.symbol == held.symbol
                    && known.side == held.side
                    && (at_ms > fact.time_ms || known.quantity == held.quantity)
            })
        }) && fact.balances.iter().all(|held| {
            let of = recorded.iter().filter(is_after);
            let mut of = of.flat_map(|heard| heard.balances.iter().map(|known| (heard.time_ms, known)));
            of.any(|(at_ms, known)| known.asset == held.asset && (at_ms > fact.time_ms || known.wallet == held.wallet))
        });
        let later = recorded.into_iter().filter(|heard| heard.time_ms > fact.time_ms).collect();
        Recorded { is_told, later }
    }

    /// Whether a later event told of this position: then what the venue said of an earlier time is past.
    pub(super) fn has_overtaken(&self, entry: &PositionEntry) -> bool {
        let mut later = self.later.iter().flat_map(|heard| &heard.positions);
        later.any(|known| known.side == entry.side && known.symbol.eq_ignore_ascii_case(&entry.symbol))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Decimal;
    use crate::domain::order::PositionSide;

    fn event(at_ms: i64, positions: &str, balances: &str) -> AccountFact {
        let text = format!(r#"{{"e":"ACCOUNT_UPDATE","T":{at_ms},"a":{{"P":[{positions}],"B":[{balances}]}}}}"#);
        AccountFact::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_recovered_state_gives_way_to_later_ones() {
        let (flat, open) = (r#"{"s":"A","ps":"BOTH","pa":"0.0"}"#, r#"{"s":"A","ps":"BOTH","pa":"2"}"#);
        let (other, short) = (r#"{"s":"B","ps":"BOTH","pa":"0"}"#, r#"{"s":"A","ps":"SHORT","pa":"0"}"#);
        let (usdt, less) = (r#"{"a":"USDT","wb":"5"}"#, r#"{"a":"USDT","wb":"4"}"#);
        for (positions, balances, recorded, is_told, is_overtaken) in [
            (flat, "", vec![], false, false),
            (flat, "", vec![event(10, flat, "")], true, false),
            (flat, "", vec![event(9, flat, "")], false, false),
            (flat, "", vec![event(10, open, "")], false, false),
            (flat, "", vec![event(11, open, "")], true, true),
            (flat, "", vec![event(11, other, usdt), event(11, short, "")], false, false),
            (flat, usdt, vec![event(10, flat, "")], false, false),
            (flat, usdt, vec![event(10, flat, ""), event(12, "", less)], true, false),
            ("", usdt, vec![event(10, "", less)], false, false),
            ("", usdt, vec![event(10, flat, usdt)], true, false),
        ] {
            let found = Recorded::account(&event(10, positions, balances), recorded.clone());
            assert_eq!(found.is_told, is_told, "{positions} {balances} {recorded:?}");
            let entry = PositionEntry { symbol: "A".to_owned(), side: PositionSide::Both, quantity: Decimal::zero() };
            assert_eq!(found.has_overtaken(&entry), is_overtaken, "{positions} {balances} {recorded:?}");
        }
    }
}
