//! One order's road, for people and as JSON. Pure: what is known goes in, text comes out.
//!
//! Ids and notes come from the venue and from tables: control characters are escaped before a terminal sees them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::spool::escape;
use super::trace_spool::SpoolLook;
use crate::domain::order::OrderKind;
use crate::domain::{Decimal, Wall};
use crate::exchange::projection::Projection;
use crate::spool::{Epoch, Identity};
use crate::store::work_rows::{DecisionRow, IntentRow, OrderRow};

/// What is known of an order.
pub(super) struct Road {
    pub(super) id: String,
    pub(super) account: Option<i64>,
    pub(super) orders: Vec<(i64, OrderRow)>,
    pub(super) events: Vec<Event>,
    /// Of the order or its position, caused by no event that is shown.
    pub(super) other_intents: Vec<IntentRow>,
    pub(super) look: SpoolLook,
    pub(super) is_cut: bool,
    /// The allowlist in force is empty.
    pub(super) is_shadow: bool,
}

/// One event of it; at least one of audit row, spooled record and decision is there.
pub(super) struct Event {
    pub(super) account: i64,
    /// Its row and the receive time in it, to the millisecond.
    pub(super) audit: Option<(i64, Wall)>,
    /// Its record, where the spool still has it, and the receive time in it.
    pub(super) spooled: Option<(Identity, Wall)>,
    pub(super) decision: Option<DecisionRow>,
    pub(super) intents: Vec<IntentRow>,
    /// `None` where neither audit nor spool has its bytes any more.
    pub(super) projection: Option<Projection>,
}

impl Event {
    /// When the daemon received it, as exactly as anything says.
    pub(super) fn received_at(&self) -> Option<Wall> {
        let spooled = self.spooled.map(|(_, at)| at);
        let reserved = || self.decision.as_ref().map(|decision| decision.reserved_at);
        spooled.or(self.audit.map(|(_, at)| at)).or_else(reserved)
    }

    /// What became of it where nothing was decided.
    fn undecided(&self, road: &Road) -> &'static str {
        match (self.audit, road.is_shadow) {
            (None, _) => "not applied yet, or its audit row has been let go (work.audit_retain_days)",
            (Some(_), true) => "shadow mode: audited, nothing was decided",
            (Some(_), false) => "no decision: it came in shadow mode, or another program applied it",
        }
    }

    fn place(&self, road: &Road) -> String {
        let place = |identity: Identity| format!("position {}, epoch {}", identity.position, identity.epoch);
        match (&self.spooled, self.decision.as_ref()) {
            (Some((identity, _)), _) => place(*identity),
            (None, Some(decision)) if decision.identity.0 != [0; 16] => {
                let gone = if road.look.is_there { "the spool has let it go" } else { "there is no spool here" };
                let identity = Identity { epoch: Epoch(decision.identity.0), position: decision.identity.1 };
                format!("{}; {gone}", place(identity))
            }
            _ if !road.look.is_there => "there is no spool here".to_owned(),
            _ => "not in the spool: it has let it go, or another program received the event".to_owned(),
        }
    }

    fn title(&self) -> String {
        let Some(event) = &self.projection else { return "an event of which only the decision is kept".to_owned() };
        let mut text = escape(event.raw_event_type.as_bytes());
        for word in [event.execution_type.as_deref(), event.native_status.as_deref()].into_iter().flatten() {
            let _ = write!(text, " {}", escape(word.as_bytes()));
        }
        let numbers = [
            ("z", &event.filled_quantity),
            ("aq", &event.executed_quantity),
            ("p", &event.price),
            ("ap", &event.average_price),
        ];
        for (name, value) in numbers {
            if let Some(value) = value {
                let _ = write!(text, "  {name} {value}");
            }
        }
        if let Some(id) = event.exchange_order_id.as_deref() {
            let _ = write!(text, "  id {}", escape(id.as_bytes()));
        }
        if let Some(id) = event.triggered_order_id.as_deref().filter(|id| !id.is_empty()) {
            let _ = write!(text, "  became {}", escape(id.as_bytes()));
        }
        text
    }

    /// The venue's time that a hop begins with: of the matching engine, else of the event.
    fn venue_at(&self) -> Option<Wall> {
        let event = self.projection.as_ref()?;
        event.transaction_time_ms.or(event.event_time_ms).map(Wall::from_millis)
    }
}

/// Milliseconds from one hop to the next, where both are known.
fn millis(from: Option<Wall>, to: Option<Wall>) -> Option<f64> {
    Some((to?.as_micros() - from?.as_micros()) as f64 / 1_000.0)
}

fn hop(text: &mut String, name: &str, from: Option<Wall>, to: Option<Wall>, what: &str) {
    let time = millis(from, to).map_or_else(|| "-".to_owned(), |ms| format!("{ms:+.3} ms"));
    let _ = writeln!(text, "  {name:<9} {time:>14}  {what}");
}

/// The word in `orders.type`.
fn kind_word(kind: OrderKind) -> &'static str {
    match kind {
        OrderKind::Market => "MARKET",
        OrderKind::Limit => "LIMIT",
        OrderKind::ProfitLimit => "PROFIT-LIMIT",
        OrderKind::ProfitMarket => "PROFIT-MARKET",
        OrderKind::StopMarket => "STOP-MARKET",
        OrderKind::MarketCancel => "MARKET-CANCEL",
        OrderKind::Other => "another type",
    }
}

fn decimal(value: &Option<Decimal>) -> String {
    value.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
}

impl Road {
    /// What is not there, in sentences.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.orders.is_empty() {
            let whose = self.account.map(|account| format!(" of account {account}")).unwrap_or_default();
            notes.push(format!("no row in orders{whose} has this id"));
        }
        if self.events.is_empty() {
            let rest = match (self.look.is_there, self.look.oldest) {
                (true, Some((position, at))) => {
                    format!(
                        "nor in the spool, whose oldest record is position {position} of {at} UTC: never received here, or let go"
                    )
                }
                (true, None) => "nor in the spool, which is empty: never received here, or let go".to_owned(),
                (false, _) => "and there is no spool here (spool.folder)".to_owned(),
            };
            notes.push(format!("no event of it is in the audit, {rest}"));
        }
        if self.is_shadow {
            notes.push(
                "the allowlist in force is empty (shadow mode): events are audited and nothing is applied".to_owned(),
            );
        }
        if self.is_cut {
            notes.push("there are more events than are shown".to_owned());
        }
        notes
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (account, order) in &self.orders {
            let id = |id: &Option<String>| id.as_deref().map_or_else(|| "none".to_owned(), |id| escape(id.as_bytes()));
            let _ = writeln!(
                text,
                "order {} of account {account}: {}, position {}, exchange id {}, client id {}{}",
                order.id,
                kind_word(order.kind),
                order.position_id,
                id(&order.exchange_order_id),
                id(&order.client_order_id),
                if order.is_algo { ", algo" } else { "" }
            );
            let _ = writeln!(
                text,
                "  now {}, reference {}, price {} (placed {}), quantity {}",
                escape(order.status.as_bytes()),
                escape(order.reference_status.as_deref().unwrap_or("none").as_bytes()),
                decimal(&order.price),
                decimal(&order.reference_price),
                decimal(&order.quantity)
            );
            if let Some(status) = order.child_ended {
                let _ = writeln!(text, "  the real order that it became has ended: {status}");
            }
        }
        for event in &self.events {
            self.write_event(event, &mut text);
        }
        if !self.other_intents.is_empty() {
            text.push_str("\nother intents of the order or its position\n");
            for intent in &self.other_intents {
                let _ = writeln!(text, "  {}", words_of(intent));
            }
        }
        let notes = self.notes();
        if !notes.is_empty() && !text.is_empty() {
            text.push('\n');
        }
        for note in notes {
            let _ = writeln!(text, "{note}");
        }
        text.trim_start_matches('\n').to_owned()
    }

    fn write_event(&self, event: &Event, text: &mut String) {
        let stamp = |at: Option<Wall>| at.map_or_else(|| "at a time not known".to_owned(), |at| format!("{at} UTC"));
        let received = event.received_at().filter(|_| event.audit.is_some() || event.spooled.is_some());
        let venue = event.venue_at();
        let _ = writeln!(text, "\naccount {}: {}", event.account, event.title());
        if let Some(projection) = &event.projection {
            let time = |ms: Option<i64>| stamp(ms.map(Wall::from_millis));
            let (t, e) = (time(projection.transaction_time_ms), time(projection.event_time_ms));
            let _ = writeln!(text, "  {:<9} {:>14}  T {t}, E {e}", "venue", "");
        }
        hop(text, "received", venue, received, &format!("{}; spool: {}", stamp(received), event.place(self)));
        match &event.decision {
            Some(decision) => {
                let (reserved, decided) = (Some(decision.reserved_at), Some(decision.decided_at));
                hop(text, "reserved", received, reserved, &format!("job {}", escape(decision.job_uuid.as_bytes())));
                let rule = format!("{} [{}]", escape(decision.note.as_bytes()), escape(decision.rule.as_bytes()));
                hop(text, "decided", reserved, decided, &rule);
            }
            None => hop(text, "decided", None, None, event.undecided(self)),
        }
        let audit = match event.audit {
            Some((id, _)) => format!("row {id}"),
            None => "no row".to_owned(),
        };
        hop(text, "audit", None, None, &audit);
        let decided = event.decision.as_ref().map(|decision| decision.decided_at);
        for intent in &event.intents {
            hop(text, "intent", decided, intent.pushed_at, &words_of(intent));
        }
    }

    pub(super) fn json(&self) -> Value {
        let orders: Vec<Value> = self
            .orders
            .iter()
            .map(|(account, order)| {
                json!({
                    "order_id": order.id,
                    "account": account,
                    "position_id": order.position_id,
                    "exchange_order_id": order.exchange_order_id,
                    "client_order_id": order.client_order_id,
                    "is_algo": order.is_algo,
                    "status": order.status,
                    "reference_status": order.reference_status,
                    "price": order.price.as_ref().map(Decimal::as_str),
                    "quantity": order.quantity.as_ref().map(Decimal::as_str),
                    "child_ended": order.child_ended.map(|status| status.as_str()),
                })
            })
            .collect();
        json!({
            "id": self.id,
            "orders": orders,
            "events": self.events.iter().map(|event| self.json_of_event(event)).collect::<Vec<_>>(),
            "intents": self.other_intents.iter().map(json_of_intent).collect::<Vec<_>>(),
            "spool": {
                "is_there": self.look.is_there,
                "oldest_position": self.look.oldest.map(|(position, _)| position),
                "oldest_received_at_us": self.look.oldest.map(|(_, at)| at.as_micros()),
            },
            "notes": self.notes(),
        })
    }

    fn json_of_event(&self, event: &Event) -> Value {
        let micros = |at: Option<Wall>| at.map(Wall::as_micros);
        let projection = event.projection.as_ref();
        let decision = event.decision.as_ref();
        let received = event.received_at().filter(|_| event.audit.is_some() || event.spooled.is_some());
        let (reserved, decided) =
            (decision.map(|decision| decision.reserved_at), decision.map(|decision| decision.decided_at));
        let pushed = event.intents.iter().filter_map(|intent| intent.pushed_at).max();
        let identity = match (&event.spooled, decision) {
            (Some((identity, _)), _) => Some(*identity),
            (None, Some(decision)) if decision.identity.0 != [0; 16] => {
                Some(Identity { epoch: Epoch(decision.identity.0), position: decision.identity.1 })
            }
            _ => None,
        };
        json!({
            "account": event.account,
            "order_id": decision.and_then(|decision| decision.order_id),
            "event": projection.map(|event| event.raw_event_type.as_str()),
            "execution_type": projection.and_then(|event| event.execution_type.as_deref()),
            "status": projection.and_then(|event| event.native_status.as_deref()),
            "exchange_order_id": projection.and_then(|event| event.exchange_order_id.as_deref()),
            "triggered_order_id": projection.and_then(|event| event.triggered_order_id.as_deref()),
            "transaction_time_ms": projection.and_then(|event| event.transaction_time_ms),
            "event_time_ms": projection.and_then(|event| event.event_time_ms),
            "received_at_us": micros(received),
            "epoch": identity.map(|identity| identity.epoch.to_string()),
            "position": identity.map(|identity| identity.position),
            "in_spool": event.spooled.is_some(),
            "job": decision.map(|decision| decision.job_uuid.as_str()),
            "reserved_at_us": micros(reserved),
            "decided_at_us": micros(decided),
            "audit_id": event.audit.map(|(id, _)| id),
            "rule": decision.map(|decision| decision.rule.as_str()),
            "note": decision.map_or_else(|| event.undecided(self), |decision| decision.note.as_str()),
            "intents": event.intents.iter().map(json_of_intent).collect::<Vec<_>>(),
            "ms": {
                "venue_to_received": millis(event.venue_at(), received),
                "received_to_reserved": millis(received, reserved),
                "reserved_to_decided": millis(reserved, decided),
                "decided_to_pushed": millis(decided, pushed),
            },
        })
    }
}

fn words_of(intent: &IntentRow) -> String {
    let pushed = if intent.pushed_at.is_some() { "pushed" } else { "not pushed" };
    let finished = match intent.finished_at {
        Some(at) => format!("finished {at} UTC"),
        None => "nobody said that it has finished".to_owned(),
    };
    let order = intent.order_id.map(|id| format!(", order {id}")).unwrap_or_default();
    format!(
        "{} (id {}) for position {}{order} on {}: {pushed}, {finished}",
        escape(intent.name.as_bytes()),
        intent.id,
        intent.position_id,
        escape(intent.queue.as_bytes())
    )
}

fn json_of_intent(intent: &IntentRow) -> Value {
    let micros = |at: Option<Wall>| at.map(Wall::as_micros);
    json!({
        "id": intent.id,
        "name": intent.name,
        "position_id": intent.position_id,
        "order_id": intent.order_id,
        "queue": intent.queue,
        "created_at_us": micros(intent.created_at),
        "pushed_at_us": micros(intent.pushed_at),
        "finished_at_us": micros(intent.finished_at),
    })
}
