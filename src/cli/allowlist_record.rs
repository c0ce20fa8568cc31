//! A transaction that notes what the rules write through it, for a preview: order changes, acknowledgements, position changes,
//! intents. Everything goes on to the real transaction, so that later rules see it.

use std::collections::HashMap;
use std::time::Duration;

use crate::domain::Wall;
use crate::domain::order::OrderStatus;
use crate::store::Result;
use crate::store::user_data_rows::NewGap;
use crate::store::work::WorkTransaction;
use crate::store::work_rows::{
    AccountFacts, AuditRow, DecisionRow, NewIntent, OrderChange, OrderRow, PositionRow, Progress,
};

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Written {
    /// To an order: its status and price before and after.
    Order { order_id: i64, from: (String, Option<String>), to: (String, Option<String>) },
    /// An order's acknowledgement.
    Reference { order_id: i64, status: String },
    /// A position's status.
    Position { position_id: i64, from: String, to: String },
    /// A workflow that would be started.
    Intent { name: &'static str, position_id: i64, order_id: Option<i64> },
}

/// The transaction, and what was written through it since the last [`Recording::take`].
pub(super) struct Recording<'t> {
    inner: &'t mut dyn WorkTransaction,
    orders: HashMap<i64, (String, Option<String>)>,
    positions: HashMap<i64, String>,
    written: Vec<Written>,
}

impl<'t> Recording<'t> {
    pub(super) fn new(inner: &'t mut dyn WorkTransaction) -> Self {
        Recording { inner, orders: HashMap::new(), positions: HashMap::new(), written: Vec::new() }
    }

    /// What the last event wrote; rows are read again for the next one.
    pub(super) fn take(&mut self) -> Vec<Written> {
        self.orders.clear();
        self.positions.clear();
        std::mem::take(&mut self.written)
    }
}

impl WorkTransaction for Recording<'_> {
    fn lock_progress(&mut self, account_id: i64) -> Result<Option<Progress>> {
        self.inner.lock_progress(account_id)
    }

    fn set_progress(&mut self, account_id: i64, progress: &Progress) -> Result<()> {
        self.inner.set_progress(account_id, progress)
    }

    fn insert_audit(&mut self, row: &AuditRow<'_>) -> Result<bool> {
        self.inner.insert_audit(row)
    }

    fn recorded_of_order(&mut self, account_id: i64, exchange_order_id: &str) -> Result<Vec<String>> {
        self.inner.recorded_of_order(account_id, exchange_order_id)
    }

    fn recorded_account_updates(&mut self, account_id: i64, since: Wall) -> Result<Vec<String>> {
        self.inner.recorded_account_updates(account_id, since)
    }

    fn account(&mut self, account_id: i64) -> Result<Option<AccountFacts>> {
        self.inner.account(account_id)
    }

    fn find_order(
        &mut self,
        account_id: i64,
        api_system_id: i64,
        symbol: Option<&str>,
        exchange_order_id: Option<&str>,
        client_order_id: Option<&str>,
    ) -> Result<Option<OrderRow>> {
        self.inner.find_order(account_id, api_system_id, symbol, exchange_order_id, client_order_id)
    }

    fn lock_position(&mut self, position_id: i64) -> Result<Option<PositionRow>> {
        let position = self.inner.lock_position(position_id)?;
        if let Some(position) = &position {
            self.positions.insert(position.id, position.status.clone());
        }
        Ok(position)
    }

    fn positions(&mut self, account_id: i64, symbol: &str, statuses: &[&str]) -> Result<Vec<PositionRow>> {
        self.inner.positions(account_id, symbol, statuses)
    }

    fn lock_order(&mut self, order_id: i64) -> Result<Option<OrderRow>> {
        let order = self.inner.lock_order(order_id)?;
        if let Some(order) = &order {
            let price = order.price.as_ref().map(ToString::to_string);
            self.orders.insert(order.id, (order.status.clone(), price));
        }
        Ok(order)
    }

    fn orders_of_position(&mut self, position_id: i64) -> Result<Vec<OrderRow>> {
        self.inner.orders_of_position(position_id)
    }

    fn update_order(&mut self, order_id: i64, change: &OrderChange) -> Result<()> {
        self.inner.update_order(order_id, change)?;
        let from = self.orders.get(&order_id).cloned().unwrap_or_default();
        let price = change.price.as_ref().map(ToString::to_string).or_else(|| from.1.clone());
        let to = (change.status.as_str().to_owned(), price);
        // A mark that moves alone changes nothing that anybody sees.
        if from != to || change.filled_at.is_some() {
            self.written.push(Written::Order { order_id, from, to });
        }
        Ok(())
    }

    fn set_reference_status(&mut self, order_id: i64, status: &str) -> Result<()> {
        self.inner.set_reference_status(order_id, status)?;
        self.written.push(Written::Reference { order_id, status: status.to_owned() });
        Ok(())
    }

    fn set_position_status(&mut self, position_id: i64, status: &str) -> Result<()> {
        self.inner.set_position_status(position_id, status)?;
        let from = self.positions.get(&position_id).cloned().unwrap_or_default();
        self.written.push(Written::Position { position_id, from, to: status.to_owned() });
        Ok(())
    }

    fn link_triggered(&mut self, account_id: i64, symbol: &str, exchange_order_id: &str, order_id: i64) -> Result<()> {
        self.inner.link_triggered(account_id, symbol, exchange_order_id, order_id)
    }

    fn set_child_ended(&mut self, order_id: i64, status: OrderStatus) -> Result<()> {
        self.inner.set_child_ended(order_id, status)
    }

    fn has_live_intent(&mut self, live_key: &str, now: Wall, live_for: Duration) -> Result<bool> {
        self.inner.has_live_intent(live_key, now, live_for)
    }

    fn insert_intent(&mut self, intent: &NewIntent) -> Result<bool> {
        let is_new = self.inner.insert_intent(intent)?;
        if is_new {
            let (name, position_id, order_id) = (intent.name, intent.position_id, intent.order_id);
            self.written.push(Written::Intent { name, position_id, order_id });
        }
        Ok(is_new)
    }

    fn insert_decision(&mut self, decision: &DecisionRow, replaced: &[&str]) -> Result<()> {
        self.inner.insert_decision(decision, replaced)
    }

    fn insert_gap(&mut self, gap: &NewGap<'_>) -> Result<()> {
        self.inner.insert_gap(gap)
    }
}
