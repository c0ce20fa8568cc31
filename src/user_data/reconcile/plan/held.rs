//! What the plan's readings say of positions and balances that nobody heard of; the module
//! [`holdings`](super::super::holdings) says by which evidence.

use std::collections::BTreeMap;

use super::Plan;
use crate::domain::Decimal;
use crate::domain::order::PositionSide;
use crate::exchange::binance::account_answers::RestBalance;
use crate::exchange::binance::account_fact::PositionFact;
use crate::exchange::binance::recovered::account_event;
use crate::user_data::reconcile::holdings::{FLAT_AFTER_MS, HeardHoldings, PositionKey};

impl Plan {
    /// The newest fill of each position that is flat by the last reading, inside the gap; with when it was.
    fn flat_since(&self) -> BTreeMap<PositionKey, i64> {
        let Some(last) = &self.holdings.last else { return BTreeMap::new() };
        let mut newest: BTreeMap<PositionKey, i64> = BTreeMap::new();
        for trade in self.trades.values() {
            let Some(side) = PositionSide::of_word(&trade.position_side) else { continue };
            let at_ms = newest.entry((trade.symbol.clone(), side)).or_insert(trade.time_ms);
            *at_ms = trade.time_ms.max(*at_ms);
        }
        newest.retain(|key, at_ms| self.is_within(*at_ms) && !last.holds(key));
        newest
    }

    /// Where the readings do not prove yet that what is flat is flat: from when on another reading does, ms since 1970 UTC.
    pub(super) fn flat_unproven_until(&self) -> Option<i64> {
        let last = self.holdings.last.as_ref()?;
        let unproven = self.flat_since().into_iter().filter(|(key, at_ms)| !self.holdings.is_proven_flat(key, *at_ms));
        unproven.map(|(_, at_ms)| if last.has(at_ms) { 0 } else { at_ms.saturating_add(FLAT_AFTER_MS) }).max()
    }

    /// Whether something of this time may have been missed.
    pub(in super::super) fn is_within(&self, at_ms: i64) -> bool {
        at_ms >= self.scope.since_ms && self.scope.until_ms.is_none_or(|until| at_ms <= until)
    }

    /// The account events that nobody heard, oldest first: when each happened, ms since 1970 UTC, and its text.
    pub(in super::super) fn holdings_missed(&self, heard: &HeardHoldings) -> Vec<(i64, String)> {
        let mut changes: BTreeMap<i64, (Vec<PositionFact>, Vec<RestBalance>)> = BTreeMap::new();
        let listed = self.holdings.last.iter().flat_map(|reading| &reading.held);
        for held in listed.filter(|held| !held.quantity.is_zero() && self.is_within(held.updated_ms)) {
            let Some(side) = PositionSide::of_word(&held.position_side) else { continue };
            let entry = Some(held.entry_price.clone());
            let fact = PositionFact { symbol: held.symbol.clone(), side, quantity: held.quantity.clone(), entry };
            if !heard.tells(held.updated_ms, &fact) {
                changes.entry(held.updated_ms).or_default().0.push(fact);
            }
        }
        for ((symbol, side), at_ms) in self.flat_since() {
            let key = (symbol, side);
            let of_key = |symbol: &str, word: &str| symbol == key.0 && word == side.as_str();
            let fills = self
                .trades
                .values()
                .filter(|trade| trade.time_ms == at_ms && of_key(&trade.symbol, &trade.position_side));
            let fills = fills.count();
            if self.holdings.is_proven_flat(&key, at_ms) && !heard.tells_flat(&key, at_ms, fills) {
                let fact = PositionFact { symbol: key.0, side, quantity: Decimal::zero(), entry: None };
                changes.entry(at_ms).or_default().0.push(fact);
            }
        }
        for held in self.holdings.balances.iter().filter(|held| held.updated_ms > 0 && self.is_within(held.updated_ms))
        {
            if !heard.tells_balance(held) {
                changes.entry(held.updated_ms).or_default().1.push(held.clone());
            }
        }
        let text = |(positions, balances): (Vec<_>, Vec<_>), at_ms| account_event(at_ms, &positions, &balances);
        changes.into_iter().map(|(at_ms, held)| (at_ms, text(held, at_ms))).collect()
    }
}
