//! What the account holds, as far as nobody heard of it: positions and balances of the venue's lists held against the last account
//! events. Each change that was missed becomes one account event, at the time at which the venue says that it happened, so the
//! same change found again is the same bytes.
//!
//! A value is older than a push, and nothing, where an event of a later time was recorded for the same position or asset. A
//! position that is flat is often in no list, so its flatness needs evidence: a fill of it inside the gap, two readings in
//! a row that do not have it, and either a balance that is as new as the fill (every fill moves a balance, so the account's
//! state is as new as that) or [`RECONCILE_FLAT_AFTER`] since the fill. A position without a fill is never taken for closed: it
//! may be about to open.

use std::collections::{BTreeMap, HashMap};

use super::conclusion::RecoveredEvent;
use super::plan::Plan;
use crate::domain::Decimal;
use crate::domain::limits::RECONCILE_FLAT_AFTER;
use crate::domain::order::PositionSide;
use crate::exchange::binance::account_answers::{RestBalance, RestPosition};
use crate::exchange::binance::account_fact::{AccountFact, PositionFact};
use crate::exchange::binance::recovered::account_event;

/// A position's name: symbol and side.
pub(super) type PositionKey = (String, PositionSide);

/// The newest that was heard of each position and asset.
#[derive(Debug, Default)]
pub(super) struct HeardHoldings {
    positions: HashMap<PositionKey, (i64, PositionFact)>,
    balances: HashMap<String, (i64, Decimal)>,
}

impl HeardHoldings {
    /// Takes a recorded event, in the order in which they were recorded: of one time the last one holds.
    pub(super) fn add(&mut self, fact: AccountFact) {
        for held in fact.positions {
            let known = self.positions.entry((held.symbol.clone(), held.side)).or_insert((i64::MIN, held.clone()));
            if known.0 <= fact.time_ms {
                *known = (fact.time_ms, held);
            }
        }
        for held in fact.balances {
            let known = self.balances.entry(held.asset).or_insert((i64::MIN, held.wallet.clone()));
            if known.0 <= fact.time_ms {
                *known = (fact.time_ms, held.wallet);
            }
        }
    }

    /// Whether a position that the venue has held like this since `at_ms` was told, or what was told is newer.
    fn tells(&self, at_ms: i64, held: &PositionFact) -> bool {
        let Some((heard_ms, heard)) = self.positions.get(&(held.symbol.clone(), held.side)) else { return false };
        let is_same = heard.quantity == held.quantity && (*heard_ms == at_ms || heard.entry == held.entry);
        *heard_ms > at_ms || is_same
    }

    /// The same of one that is flat since `at_ms`, when it had so many fills: of several fills of one moment only some may have
    /// been told. It may have been flat before, and opened and closed again unheard.
    fn tells_flat(&self, key: &PositionKey, at_ms: i64, fills: usize) -> bool {
        let heard = self.positions.get(key);
        heard.is_some_and(|(heard_ms, heard)| {
            *heard_ms > at_ms || *heard_ms == at_ms && (heard.quantity.is_zero() || fills == 1)
        })
    }

    fn tells_balance(&self, held: &RestBalance) -> bool {
        let heard = self.balances.get(&held.asset);
        heard.is_some_and(|(heard_ms, wallet)| *heard_ms > held.updated_ms || *wallet == held.wallet)
    }
}

/// One reading of the list of positions.
#[derive(Debug)]
pub(super) struct Reading {
    held: Vec<RestPosition>,
    /// How new the balances were that were read before it, ms since 1970 UTC.
    balance_ms: i64,
    /// When it was made.
    at_ms: i64,
}

/// The lists of positions and balances, as they were read.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    last: Option<Reading>,
    before: Option<Reading>,
    balances: Vec<RestBalance>,
}

impl Holdings {
    pub(super) fn take_positions(&mut self, held: Vec<RestPosition>, at_ms: i64) {
        let balance_ms = self.balances.iter().map(|held| held.updated_ms).max().unwrap_or(0);
        self.before = self.last.replace(Reading { held, balance_ms, at_ms });
    }

    pub(super) fn take_balances(&mut self, balances: Vec<RestBalance>) {
        self.balances = balances;
    }

    fn is_proven_flat(&self, key: &PositionKey, fill_ms: i64) -> bool {
        let (Some(last), Some(before)) = (&self.last, &self.before) else { return false };
        !last.holds(key) && !before.holds(key) && last.has(fill_ms)
    }
}

const FLAT_AFTER_MS: i64 = RECONCILE_FLAT_AFTER.as_millis() as i64;

impl Reading {
    /// Whether it is surely not older than a fill of this time.
    fn has(&self, fill_ms: i64) -> bool {
        self.balance_ms >= fill_ms || self.at_ms.saturating_sub(fill_ms) >= FLAT_AFTER_MS
    }

    fn holds(&self, key: &PositionKey) -> bool {
        self.held
            .iter()
            .filter(|held| !held.quantity.is_zero())
            .any(|held| held.symbol == key.0 && PositionSide::of_word(&held.position_side) == Some(key.1))
    }
}

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
    pub(super) fn is_within(&self, at_ms: i64) -> bool {
        at_ms >= self.scope.since_ms && self.scope.until_ms.is_none_or(|until| at_ms <= until)
    }

    /// The account events that nobody heard, oldest first.
    pub(super) fn holdings_missed(&self, heard: &HeardHoldings) -> Vec<RecoveredEvent> {
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
        let events = changes.into_iter().map(|(at_ms, (positions, balances))| RecoveredEvent {
            at_ms,
            text: account_event(at_ms, &positions, &balances),
            is_missed: true,
        });
        events.collect()
    }
}
