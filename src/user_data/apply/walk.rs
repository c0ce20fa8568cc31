//! The walk from an event over the account's rows: find, lock, read again, decide, write.

use super::{JobEvent, Policy};
use crate::domain::Wall;
use crate::domain::order::{ACTIVE_POSITIONS, OPENED_POSITIONS};
use crate::exchange::projection::{PositionEntry, Projection};
use crate::store::error::Result;
use crate::store::work::WorkTransaction;
use crate::store::work_rows::{AccountFacts, OrderRow, PositionRow};
use crate::user_data::rules::intent::Draft;
use crate::user_data::rules::lifecycle::{self, Effect};
use crate::user_data::rules::{Decision, Rule, external_close, flat, order};

/// One event's way through one transaction.
pub(super) struct Walk<'a> {
    tx: &'a mut dyn WorkTransaction,
    event: &'a JobEvent<'a>,
    policy: &'a Policy,
    account: &'a AccountFacts,
    key: &'a str,
    now: Wall,
    order_id: Option<i64>,
    intents: Vec<&'static str>,
    needs_reconcile: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        tx: &'a mut dyn WorkTransaction,
        event: &'a JobEvent<'a>,
        policy: &'a Policy,
        account: &'a AccountFacts,
        key: &'a str,
        now: Wall,
    ) -> Self {
        let (order_id, intents, needs_reconcile) = (None, Vec::new(), false);
        Walk { tx, event, policy, account, key, now, order_id, intents, needs_reconcile }
    }

    /// The order that was found, the intents that were written, and whether a reconcile is wanted.
    pub(super) fn finish(self) -> (Option<i64>, Vec<&'static str>, bool) {
        (self.order_id, self.intents, self.needs_reconcile)
    }

    pub(super) fn apply_order_update(&mut self, event: &Projection) -> Result<Decision> {
        let found = match (&event.exchange_order_id, &event.client_order_id) {
            (None, None) => None,
            (exchange, client) => self.tx.find_order(
                self.event.account_id,
                self.event.api_system_id,
                event.symbol.as_deref(),
                exchange.as_deref(),
                client.as_deref(),
            )?,
        };
        match found {
            Some(found) => self.apply_to_order(event, &found),
            None => self.apply_to_no_order(event),
        }
    }

    fn apply_to_order(&mut self, event: &Projection, found: &OrderRow) -> Result<Decision> {
        self.order_id = Some(found.id);
        let is_admitted = self.policy.allowlist.admits(event).is_some();
        let link = event.triggered_order_id.as_deref().filter(|id| event.is_algo && !id.is_empty());
        let kept_out = || Decision::new(Rule::NotOnAllowlist, not_listed(event));
        if !is_admitted && link.is_none() {
            return Ok(kept_out());
        }
        let position = self.tx.lock_position(found.position_id)?;
        let Some(mut order) = self.tx.lock_order(found.id)? else {
            return Ok(Decision::new(Rule::UnknownOrder, format!("order {} has gone meanwhile", found.id)));
        };
        // Kept whatever the allowlist says: without it the real order's fill looks like somebody else's.
        if let (Some(id), Some(symbol)) = (link, event.symbol.as_deref()) {
            self.tx.link_triggered(self.event.account_id, symbol, id, order.id)?;
        }
        if !is_admitted {
            return Ok(kept_out());
        }
        let decided = order::decide(&order, event, self.now);
        self.needs_reconcile |= decided.decision.kind() == Rule::UnknownStatus;
        if let Some(status) = decided.child_ended {
            self.tx.set_child_ended(order.id, status)?;
        }
        let mut decision = decided.decision;
        if let Some(change) = decided.change {
            self.tx.update_order(order.id, &change)?;
            order.status = change.status.as_str().to_owned();
            order.price = change.price.or(order.price);
            if let Some(position) = position {
                self.follow_up(&order, position, &mut decision)?;
            }
        }
        Ok(decision)
    }

    /// The intents that a written order asks for, in the order of the rules' table.
    fn follow_up(&mut self, order: &OrderRow, position: PositionRow, decision: &mut Decision) -> Result<()> {
        let siblings = match lifecycle::needs_siblings(order) {
            true => self.tx.orders_of_position(position.id)?,
            false => Vec::new(),
        };
        for step in lifecycle::steps(order, &position, &siblings) {
            if !self.write_intent(&step.draft, decision)? {
                continue;
            }
            if step.effect != Effect::None {
                self.tx.set_reference_status(order.id, &order.status)?;
            }
            if step.effect == Effect::AcknowledgeAndClose {
                self.tx.set_position_status(position.id, "closing")?;
            }
        }
        Ok(())
    }

    /// Writes an intent unless its kind is off, one like it lives, or this event wrote it before. Its position is locked.
    fn write_intent(&mut self, draft: &Draft, decision: &mut Decision) -> Result<bool> {
        let workflow = draft.kind.workflow();
        if !self.policy.intents.is_on(draft.kind) {
            decision.add(&format!("{workflow} is switched off"));
            return Ok(false);
        }
        if self.tx.has_live_intent(&draft.live_key(), self.now, self.policy.live_for)? {
            decision.add(&format!("{workflow} runs already"));
            return Ok(false);
        }
        if !self.tx.insert_intent(&draft.intent(self.event.account_id, self.key, self.now))? {
            decision.add(&format!("{workflow} was started by this event before"));
            return Ok(false);
        }
        decision.add(&format!("intent {workflow}"));
        self.intents.push(workflow);
        Ok(true)
    }

    /// An order that is none of ours: perhaps somebody closed a position by hand.
    fn apply_to_no_order(&mut self, event: &Projection) -> Result<Decision> {
        if let Some(decision) = self.detect_external_close(event)? {
            return Ok(decision);
        }
        if event.exchange_order_id.is_none() && event.client_order_id.is_none() {
            self.needs_reconcile = true;
            return Ok(Decision::new(Rule::UnknownOrder, "the event names no order"));
        }
        if self.policy.allowlist.admits(event).is_none() {
            return Ok(Decision::new(Rule::NotOnAllowlist, not_listed(event)));
        }
        Ok(Decision::new(Rule::UnknownOrder, "no order of this account has one of its ids"))
    }

    fn detect_external_close(&mut self, event: &Projection) -> Result<Option<Decision>> {
        let Some(symbol) = event.symbol.as_deref().filter(|_| external_close::is_candidate(event)) else {
            return Ok(None);
        };
        let candidates = self.tx.positions(self.event.account_id, symbol, &ACTIVE_POSITIONS)?;
        let Some(id) = external_close::the_position(event, self.account, &candidates) else {
            return Ok(None);
        };
        let Some(position) = self.tx.lock_position(id)? else {
            return Ok(None);
        };
        let Some(draft) = external_close::replacement(event, &position) else {
            return Ok(None);
        };
        let orders = self.tx.orders_of_position(id)?;
        if let Some(own) = external_close::own_conditional(event, &position, &orders) {
            self.needs_reconcile = true;
            let note = format!("perhaps what order {own} of position {id} became, and no close by hand: reconcile");
            return Ok(Some(Decision::new(Rule::PerhapsOurs, note)));
        }
        let mut decision = Decision::new(Rule::ExternalClose, format!("external close of position {id}"));
        self.write_intent(&draft, &mut decision)?;
        Ok(Some(decision))
    }

    /// Flat positions; locked by ascending id, whatever the order in which the event lists them.
    pub(super) fn apply_account_update(&mut self, event: &Projection) -> Result<Decision> {
        let (mut flat_ids, mut notes) = (Vec::new(), Vec::new());
        // What was recovered is told late: a position that was made since is another one.
        let late = (self.event.kind == "recovered").then_some(event.transaction_time_ms).flatten();
        for entry in event.positions.iter().filter(|entry| entry.quantity.is_zero()) {
            match self.flat_position(entry, late)? {
                Ok(id) => flat_ids.push(id),
                Err(note) => notes.push(note),
            }
        }
        flat_ids.sort_unstable();
        flat_ids.dedup();
        if flat_ids.is_empty() {
            let note = if notes.is_empty() { "no position is flat".to_owned() } else { notes.join("; ") };
            return Ok(Decision::new(Rule::Audited, note));
        }
        let words: Vec<String> = flat_ids.iter().map(i64::to_string).collect();
        let mut decision = Decision::new(Rule::FlatPosition, format!("flat: position {}", words.join(", ")));
        for id in flat_ids {
            let Some(position) = self.tx.lock_position(id)? else {
                continue;
            };
            let orders = self.tx.orders_of_position(id)?;
            match flat::cancel(&position, &orders) {
                Some(draft) => drop(self.write_intent(&draft, &mut decision)?),
                None => decision.add(&format!("no opening order of position {id} works")),
            }
        }
        Ok(decision)
    }

    fn flat_position(
        &mut self,
        entry: &PositionEntry,
        late_ms: Option<i64>,
    ) -> Result<std::result::Result<i64, String>> {
        let mut candidates = self.tx.positions(self.event.account_id, &entry.symbol, &OPENED_POSITIONS)?;
        candidates.retain(|position| late_ms.is_none_or(|at_ms| flat::is_as_old(position, at_ms)));
        Ok(flat::the_position(entry, &candidates))
    }
}

fn not_listed(event: &Projection) -> String {
    format!("{} is not on the allowlist", event.execution_type.as_deref().unwrap_or("an event without execution type"))
}
