//! `trace`: what database and spool know of one order, put in the order of its events.

use std::collections::{BTreeMap, BTreeSet};

use super::exit::{CommandError, Exit};
use super::trace_args::TraceArgs;
use super::trace_road::{Event, Road};
use super::trace_spool::{self, SpoolLook};
use super::{Loaded, out, work_tables};
use crate::domain::limits::{TRACE_EVENTS_MAX, TRACE_INTENTS_MAX};
use crate::exchange::binance::project;
use crate::store::work::{End, WorkTables};
use crate::store::work_rows::{AuditRecord, DecisionRow, IntentRow, OrderRow};
use crate::store::{Result, WorkStore};
use crate::user_data::rules::Rule;

pub(super) fn run(loaded: &Loaded, args: &TraceArgs) -> std::result::Result<Exit, CommandError> {
    let mut store = work_tables::open(loaded)?;
    let known = Known::read(&mut store, args)?;
    let folder = &loaded.settings.spool.folder;
    let look = trace_spool::look(folder, &known.ids, &known.accounts(args))
        .map_err(|error| CommandError::of_spool(folder, &error))?;
    let is_shadow = loaded.settings.user_data.binance.dispatched_executions.is_empty();
    let road = known.road(args, look, is_shadow);
    let is_known = !road.orders.is_empty() || !road.events.is_empty();
    out(&if args.json { format!("{}\n", road.json()) } else { road.text() })?;
    Ok(if is_known { Exit::Ok } else { Exit::Failed })
}

/// What the database knows.
#[derive(Default)]
struct Known {
    orders: Vec<(i64, OrderRow)>,
    audit: BTreeMap<i64, AuditRecord>,
    decisions: BTreeMap<String, DecisionRow>,
    intents: BTreeMap<i64, IntentRow>,
    /// Every id under which the order goes.
    ids: BTreeSet<String>,
    is_cut: bool,
}

impl Known {
    fn read(store: &mut WorkStore, args: &TraceArgs) -> Result<Known> {
        store.run(|tables| {
            let mut known = Known { orders: tables.orders_of_id(&args.order, args.account)?, ..Known::default() };
            known.read_events(tables, &args.order, args.account)?;
            known.read_parents(tables)?;
            known.read_intents(tables)?;
            known.ids.insert(args.order.clone());
            for (_, order) in &known.orders {
                known.ids.extend([&order.exchange_order_id, &order.client_order_id].into_iter().flatten().cloned());
            }
            for record in known.audit.values() {
                let columns = [&record.columns.exchange_order_id, &record.columns.client_order_id];
                known.ids.extend(columns.into_iter().flatten().cloned());
            }
            known.ids.retain(|id| !id.is_empty());
            Ok(known)
        })
    }

    /// Audit rows of an id, and what was decided about them or about the orders that are known.
    fn read_events(&mut self, tables: &mut dyn WorkTables, id: &str, account: Option<i64>) -> Result<()> {
        let rows = tables.audit_of_order(id, account, TRACE_EVENTS_MAX + 1)?;
        self.is_cut |= rows.len() > TRACE_EVENTS_MAX as usize;
        let rows = rows.into_iter().take(TRACE_EVENTS_MAX as usize);
        self.audit.extend(rows.map(|row| (row.id, row)));
        let keys: Vec<String> = self.audit.values().map(|row| row.idempotency_key.clone()).collect();
        let mut decisions = tables.decisions(None, &keys)?;
        for (_, order) in &self.orders {
            decisions.extend(tables.decisions(Some(order.id), &[])?);
        }
        self.decisions.extend(decisions.into_iter().map(|row| (row.idempotency_key.clone(), row)));
        Ok(())
    }

    /// Orders that events were found to belong to under another id: the algo order of a real one.
    fn read_parents(&mut self, tables: &mut dyn WorkTables) -> Result<()> {
        let parents: BTreeMap<i64, i64> = self
            .decisions
            .values()
            .filter_map(|decision| Some((decision.order_id?, decision.account_id)))
            .filter(|(id, _)| !self.orders.iter().any(|(_, order)| order.id == *id))
            .collect();
        for (id, account) in parents {
            let mut found = None;
            tables.transaction(&mut |tx| {
                found = tx.lock_order(id)?;
                Ok(End::RollBack)
            })?;
            let Some(order) = found else { continue };
            let name = order.exchange_order_id.clone().or_else(|| order.client_order_id.clone());
            self.orders.push((account, order));
            if let Some(name) = name {
                self.read_events(tables, &name, Some(account))?;
            }
        }
        Ok(())
    }

    fn read_intents(&mut self, tables: &mut dyn WorkTables) -> Result<()> {
        let own = self.orders.iter().map(|(_, order)| (Some(order.id), Some(order.position_id)));
        // A close by hand has no order here; which position it closed stands in the decision's sentence.
        let closed = self.decisions.values().filter(|decision| decision.rule == Rule::ExternalClose.as_str());
        let closed = closed.filter_map(|decision| {
            let rest = decision.note.strip_prefix("external close of position ")?;
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            Some((None, Some(digits.parse().ok()?)))
        });
        let places: BTreeSet<_> = own.chain(closed).collect();
        for (order, position) in places {
            let rows = tables.intents_of(order, position, TRACE_INTENTS_MAX)?;
            self.intents.extend(rows.into_iter().map(|row| (row.id, row)));
        }
        Ok(())
    }

    fn accounts(&self, args: &TraceArgs) -> BTreeSet<i64> {
        match args.account {
            Some(account) => BTreeSet::from([account]),
            None => {
                let orders = self.orders.iter().map(|(account, _)| *account);
                orders.chain(self.audit.values().map(|row| row.account_id)).collect()
            }
        }
    }

    fn road(mut self, args: &TraceArgs, mut look: SpoolLook, is_shadow: bool) -> Road {
        let mut events = Vec::new();
        let mut intents = self.intents;
        let mut caused = |key: &str| -> Vec<IntentRow> {
            let ids: Vec<i64> = intents.values().filter(|row| row.dedupe.starts_with(key)).map(|row| row.id).collect();
            ids.iter().filter_map(|id| intents.remove(id)).collect()
        };
        for record in self.audit.into_values() {
            let key = record.idempotency_key.clone();
            let decision = self.decisions.remove(&key);
            let event = project(record.raw_payload.as_bytes());
            events.push(Event {
                account: record.account_id,
                audit: Some((record.id, record.received_at)),
                spooled: look.found.remove(&key).map(|found| (found.identity, found.received_at)),
                decision,
                intents: caused(&key),
                projection: Some(event),
            });
        }
        // Received, and not in the audit: not applied yet, or the audit has let it go.
        for (key, found) in std::mem::take(&mut look.found) {
            events.push(Event {
                account: found.account,
                audit: None,
                spooled: Some((found.identity, found.received_at)),
                decision: self.decisions.remove(&key),
                intents: caused(&key),
                projection: Some(project(&found.payload)),
            });
        }
        for (key, decision) in self.decisions {
            events.push(Event {
                account: decision.account_id,
                audit: None,
                spooled: None,
                intents: caused(&key),
                decision: Some(decision),
                projection: None,
            });
        }
        events.sort_by_key(|event| (event.received_at(), event.audit.map(|(id, _)| id)));
        Road {
            id: args.order.clone(),
            account: args.account,
            orders: self.orders,
            events,
            other_intents: intents.into_values().collect(),
            is_cut: self.is_cut || look.is_cut,
            look,
            is_shadow,
        }
    }
}
