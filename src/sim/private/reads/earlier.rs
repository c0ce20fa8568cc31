//! Earlier states of an account: what a read shows that lags behind the pushes.
//!
//! The state before each change is kept for as long as reads may lag. A read shows the state before the first change inside
//! its lag.

use std::collections::VecDeque;

use crate::domain::limits::SIM_EARLIER_STATES_MAX;

use crate::sim::private::book::{AccountBook, AlgoTruth, AssetTruth, FEE_ASSET, OrderTruth, PositionTruth};

/// States before changes, oldest first.
#[derive(Debug, Default)]
pub(in crate::sim) struct Earlier(VecDeque<State>);

/// What the lists showed before a change.
#[derive(Debug)]
pub(super) struct State {
    changed_ms: i64,
    pub(super) orders: Vec<OrderTruth>,
    pub(super) algo_orders: Vec<AlgoTruth>,
    pub(super) positions: Vec<PositionTruth>,
    pub(super) balances: Vec<(&'static str, AssetTruth)>,
}

impl Earlier {
    /// The book is about to change. Beyond [`SIM_EARLIER_STATES_MAX`] the oldest state is forgotten.
    pub(in crate::sim) fn keep(&mut self, book: &AccountBook, lag_ms: i64, now_ms: i64) {
        while self.0.front().is_some_and(|state| state.changed_ms <= now_ms.saturating_sub(lag_ms)) {
            self.0.pop_front();
        }
        if lag_ms == 0 || self.0.back().is_some_and(|state| state.changed_ms == now_ms) {
            return;
        }
        if self.0.len() == SIM_EARLIER_STATES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(State {
            changed_ms: now_ms,
            orders: book.open_orders().cloned().collect(),
            algo_orders: book.open_algo_orders().cloned().collect(),
            positions: positions(book),
            balances: balances(book),
        });
    }

    /// The state of that time; `None` where nothing has changed since.
    pub(super) fn at(&self, ms: i64) -> Option<&State> {
        self.0.iter().find(|state| state.changed_ms > ms)
    }
}

/// What `positionRisk` lists: positions that are held, and those of symbols with an open order.
pub(super) fn positions(book: &AccountBook) -> Vec<PositionTruth> {
    let mut listed: Vec<_> = book.positions.values().filter(|position| position.amount != 0).cloned().collect();
    for order in book.open_orders() {
        let is_it = |one: &PositionTruth| {
            one.instrument.symbol == order.instrument.symbol && one.position_side == order.position_side
        };
        if listed.iter().any(is_it) {
            continue;
        }
        let flat = || PositionTruth {
            instrument: order.instrument.clone(),
            position_side: order.position_side,
            is_isolated: false,
            updated_ms: 0,
            amount: 0,
            entry: 0,
            realized: 0,
            wallet: 0,
        };
        let key = (order.instrument.symbol.clone(), order.position_side);
        listed.push(book.positions.get(&key).cloned().unwrap_or_else(flat));
    }
    listed
}

/// All assets of an account, USDT first.
pub(super) fn balances(book: &AccountBook) -> Vec<(&'static str, AssetTruth)> {
    let usdt = AssetTruth { wallet: book.wallet, cross_wallet: book.wallet, updated_ms: book.wallet_updated_ms };
    let mut all = vec![("USDT", usdt)];
    if !book.assets.contains_key("BNB") {
        all.push(("BNB", FEE_ASSET));
    }
    all.extend(book.assets.iter().map(|(asset, held)| (*asset, *held)));
    all
}
