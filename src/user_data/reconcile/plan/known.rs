//! What a plan has read so far: which telling of an order holds, which order a local row stands for, and what is over.

use std::collections::BTreeSet;

use super::Plan;
use crate::exchange::binance::account_answers::{RestAlgoOrder, RestOrder, RestTrade};
use crate::exchange::binance::fact::Subject;
use crate::store::reconcile::LocalOrder;

impl Plan {
    /// The order that a local row stands for: by the venue's id, or by the client's where the venue has told of that one.
    pub(in super::super) fn subject(&self, local: &LocalOrder) -> Option<Subject> {
        let client_id = match subject_of(local) {
            None => unanswered(local)?,
            known => return known,
        };
        if local.order.is_algo {
            let found = self.algos.values().rev().find(|algo| algo.client_algo_id == client_id);
            return found.map(|algo| Subject::Algo { id: algo.algo_id });
        }
        let of_symbol = self.orders.range((local.symbol.clone(), 0)..=(local.symbol.clone(), u64::MAX));
        let found = of_symbol.rev().find(|(_, order)| order.client_order_id == client_id);
        found.map(|((symbol, id), _)| Subject::Order { symbol: symbol.clone(), id: *id })
    }

    /// The fills of an order, the oldest first.
    pub(in super::super) fn fills_of(&self, order: &RestOrder) -> Vec<RestTrade> {
        let of_symbol = self.trades.range((order.symbol.clone(), 0)..=(order.symbol.clone(), u64::MAX));
        of_symbol.filter(|(_, trade)| trade.order_id == order.order_id).map(|(_, trade)| trade.clone()).collect()
    }

    /// Of two tellings the newer one holds; of two of one time the later read.
    pub(super) fn take(&mut self, order: RestOrder) {
        let key = (order.symbol.clone(), order.order_id);
        self.unknown.remove(&Subject::Order { symbol: key.0.clone(), id: key.1 });
        if self.orders.get(&key).is_none_or(|known| known.updated_ms <= order.updated_ms) {
            self.orders.insert(key, order);
        }
    }

    pub(super) fn take_algo(&mut self, algo: RestAlgoOrder) {
        self.unknown.remove(&Subject::Algo { id: algo.algo_id });
        if self.algos.get(&algo.algo_id).is_none_or(|known| known.updated_ms <= algo.updated_ms) {
            self.algos.insert(algo.algo_id, algo);
        }
    }

    pub(super) fn miss(&mut self, subject: Subject) {
        *self.unknown.entry(subject).or_default() += 1;
    }

    pub(super) fn is_read(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Order { symbol, id } => self.orders.contains_key(&(symbol.clone(), *id)),
            Subject::Algo { id } => self.algos.contains_key(id),
        }
    }

    /// Algo orders of the window, and those of local orders, however old.
    pub(super) fn algos_of_interest(&self) -> impl Iterator<Item = &RestAlgoOrder> {
        let locals: BTreeSet<Subject> = self.scope.orders.iter().filter_map(|local| self.subject(local)).collect();
        self.algos.values().filter(move |algo| {
            algo.updated_ms >= self.scope.since_ms || locals.contains(&Subject::Algo { id: algo.algo_id })
        })
    }

    /// Real orders that worked when they were read, and whose algo orders say that they have ended: what was executed is not
    /// known before they are read again.
    pub(super) fn unfinished_reals(&self) -> Vec<(String, u64)> {
        let finished = self.algos_of_interest().filter(|algo| algo.status == "FINISHED");
        let reals = finished.filter_map(|algo| self.orders.get(&(algo.symbol.clone(), algo.order_id?)));
        reals.filter(|real| is_working(real)).map(|real| (real.symbol.clone(), real.order_id)).collect()
    }

    /// Whether the venue says that it has ended, which is never taken back.
    pub(super) fn is_over(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Order { symbol, id } => {
                let order = self.orders.get(&(symbol.clone(), *id));
                order.is_some_and(|order| !is_working(order))
            }
            Subject::Algo { id } => {
                let algo = self.algos.get(id);
                algo.is_some_and(|algo| !matches!(algo.status.as_str(), "NEW" | "TRIGGERING" | "TRIGGERED"))
            }
        }
    }
}

/// The client's id of a local order that has no other.
pub(in super::super) fn unanswered(local: &LocalOrder) -> Option<&str> {
    let has_other = local.order.exchange_order_id.as_deref().is_some_and(|id| !id.is_empty());
    local.order.client_order_id.as_deref().filter(|id| !id.is_empty() && !has_other)
}

/// The order that a local row's id names; `None` where it is none of this venue.
fn subject_of(local: &LocalOrder) -> Option<Subject> {
    let id = local.order.exchange_order_id.as_ref()?.parse().ok()?;
    Some(if local.order.is_algo { Subject::Algo { id } } else { Subject::Order { symbol: local.symbol.clone(), id } })
}

fn is_working(order: &RestOrder) -> bool {
    matches!(order.status.as_str(), "NEW" | "PARTIALLY_FILLED")
}
