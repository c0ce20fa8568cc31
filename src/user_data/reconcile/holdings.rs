//! What the account holds, as far as nobody heard of it: positions and balances of the venue's lists held against the last account
//! events. Each change that was missed becomes one account event, at the time at which the venue says that it happened, so the
//! same change found again is the same bytes.
//!
//! A value is older than a push, and nothing, where an event of a later time was recorded for the same position or asset. A
//! position that is flat is often in no list, so its flatness needs evidence: a fill of it inside the gap, two readings in
//! a row that do not have it, and either a balance that is as new as the fill (every fill moves a balance, so the account's
//! state is as new as that) or [`RECONCILE_FLAT_AFTER`] since the fill. A position without a fill is never taken for closed: it
//! may be about to open.

use std::collections::HashMap;

use crate::domain::Decimal;
use crate::domain::limits::RECONCILE_FLAT_AFTER;
use crate::domain::order::PositionSide;
use crate::exchange::binance::account_answers::{RestBalance, RestPosition};
use crate::exchange::binance::account_fact::{AccountFact, PositionFact};

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
    pub(super) fn tells(&self, at_ms: i64, held: &PositionFact) -> bool {
        let Some((heard_ms, heard)) = self.positions.get(&(held.symbol.clone(), held.side)) else { return false };
        let is_same = heard.quantity == held.quantity && (*heard_ms == at_ms || heard.entry == held.entry);
        *heard_ms > at_ms || is_same
    }

    /// The same of one that is flat since `at_ms`, when it had so many fills: of several fills of one moment only some may have
    /// been told. It may have been flat before, and opened and closed again unheard.
    pub(super) fn tells_flat(&self, key: &PositionKey, at_ms: i64, fills: usize) -> bool {
        let heard = self.positions.get(key);
        heard.is_some_and(|(heard_ms, heard)| {
            *heard_ms > at_ms || *heard_ms == at_ms && (heard.quantity.is_zero() || fills == 1)
        })
    }

    pub(super) fn tells_balance(&self, held: &RestBalance) -> bool {
        let heard = self.balances.get(&held.asset);
        heard.is_some_and(|(heard_ms, wallet)| *heard_ms > held.updated_ms || *wallet == held.wallet)
    }
}

/// One reading of the list of positions.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) held: Vec<RestPosition>,
    /// How new the balances were that were read before it, ms since 1970 UTC.
    balance_ms: i64,
    /// When it was made.
    at_ms: i64,
}

/// The lists of positions and balances, as they were read.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    pub(super) last: Option<Reading>,
    before: Option<Reading>,
    pub(super) balances: Vec<RestBalance>,
}

impl Holdings {
    pub(super) fn take_positions(&mut self, held: Vec<RestPosition>, at_ms: i64) {
        let balance_ms = self.balances.iter().map(|held| held.updated_ms).max().unwrap_or(0);
        self.before = self.last.replace(Reading { held, balance_ms, at_ms });
    }

    pub(super) fn take_balances(&mut self, balances: Vec<RestBalance>) {
        self.balances = balances;
    }

    pub(super) fn is_proven_flat(&self, key: &PositionKey, fill_ms: i64) -> bool {
        let (Some(last), Some(before)) = (&self.last, &self.before) else { return false };
        !last.holds(key) && !before.holds(key) && last.has(fill_ms)
    }
}

/// [`RECONCILE_FLAT_AFTER`].
pub(super) const FLAT_AFTER_MS: i64 = RECONCILE_FLAT_AFTER.as_millis() as i64;

impl Reading {
    /// Whether it is surely not older than a fill of this time.
    pub(super) fn has(&self, fill_ms: i64) -> bool {
        self.balance_ms >= fill_ms || self.at_ms.saturating_sub(fill_ms) >= FLAT_AFTER_MS
    }

    pub(super) fn holds(&self, key: &PositionKey) -> bool {
        self.held
            .iter()
            .filter(|held| !held.quantity.is_zero())
            .any(|held| held.symbol == key.0 && PositionSide::of_word(&held.position_side) == Some(key.1))
    }
}
