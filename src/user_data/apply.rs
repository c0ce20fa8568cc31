//! One job's part of its transaction: audit row, order, intents, decision (facts/incumbent.md §4). Whoever calls it has
//! locked the account's progress and commits; after an error everything is rolled back.
//!
//! Locks are taken in the one order: account (the caller's), positions by ascending id, orders. An order is found without a
//! lock, its position is locked, then the order is locked and read again, and only that reading decides.
//!
//! A duplicate goes through everything: its audit row is not written twice, and the rules find that its effect has happened,
//! or make it happen. With an empty allowlist nothing is written but the audit row, or a gap job's gap. Nothing that a frame
//! may hold is an error; an account that has no row is one, of class [`ErrorClass::Data`], which no retry heals.

mod audit;
mod recovered;
mod walk;

use std::time::Duration;

pub use audit::audit_key;

use self::recovered::Recorded;
use self::walk::Walk;
use super::rules::{Allowlist, Decision, IntentSwitches, Rule};
use crate::domain::limits::{DECISION_NOTE_CHARS_MAX, EVENT_TIME_MS_MAX};
use crate::domain::{Venue, Wall};
use crate::exchange::binance::project;
use crate::exchange::projection::{EventKind, Projection};
use crate::spool::Gap;
use crate::store::error::{ErrorClass, Result, StoreError};
use crate::store::user_data_rows::NewGap;
use crate::store::work::WorkTransaction;
use crate::store::work_rows::{AuditColumns, AuditRow, DecisionRow, audit_payload};

/// What a job may do. Cheap to clone; replaced as a whole when settings change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Execution types that may change anything; empty is shadow mode.
    pub allowlist: Allowlist,
    /// Which kinds of intents are written.
    pub intents: IntentSwitches,
    /// How long an intent counts as running where nobody says that it has ended.
    pub live_for: Duration,
}

/// A job, as the queue gave it.
#[derive(Clone, Copy, Debug)]
pub struct JobEvent<'a> {
    /// `accounts.id`.
    pub account_id: i64,
    /// `api_systems.id`.
    pub api_system_id: i64,
    /// `api_systems.canonical`.
    pub canonical: &'a str,
    /// `frame`, `gap` or `recovered`: one that a frame has told already gets no second audit row. A word of a later version
    /// is taken as a frame.
    pub kind: &'a str,
    /// The job's.
    pub uuid: &'a str,
    /// The record's.
    pub epoch: [u8; 16],
    /// The record's.
    pub position: u64,
    /// The account's record before it.
    pub previous: Option<u64>,
    /// When the daemon received it.
    pub received_at: Wall,
    /// When the worker took the job.
    pub reserved_at: Wall,
    /// The recorded bytes.
    pub raw: &'a [u8],
}

/// What became of the audit row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditOutcome {
    /// Written.
    Inserted,
    /// There already.
    Duplicate,
    /// A gap has none.
    NoRow,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Of its audit row.
    pub audit: AuditOutcome,
    /// Of its event.
    pub decision: Decision,
    /// Workflows for which intents were written.
    pub intents: Vec<&'static str>,
    /// Projected fields that did not fit and are NULL.
    pub misfits: u32,
    /// The venue told of an order in words that mean nothing here: what is true only the venue knows.
    pub needs_reconcile: bool,
}

/// Does everything of a job's transaction but the progress and the commit. `now` stamps intents and decisions.
///
/// # Errors
/// The database's, and class [`ErrorClass::Data`] for an account that has no row: that job can never be done.
pub fn apply(tx: &mut dyn WorkTransaction, event: &JobEvent<'_>, policy: &Policy, now: Wall) -> Result<Outcome> {
    let Some(account) = tx.account(event.account_id)? else {
        let sentence = format!("account {} has no row in accounts: its events cannot be audited", event.account_id);
        return Err(StoreError::new(ErrorClass::Data, sentence));
    };
    if event.kind == "gap" {
        return apply_gap(tx, event);
    }
    let mut projection = projection(event);
    let key = audit_key(event.account_id, event.api_system_id, event.raw);
    let (columns, payload) = (audit::columns(&projection), audit_payload(event.raw));
    let recorded = Recorded::of(tx, event)?;
    let is_new = !recorded.is_told
        && tx
            .insert_audit(&audit_row(event, &columns, &payload, &key))
            .map_err(|error| error.during(&format!("inserting the audit row of account {}", event.account_id)))?;
    let audit = if is_new { AuditOutcome::Inserted } else { AuditOutcome::Duplicate };
    let mut outcome = Outcome {
        audit,
        decision: Decision::new(Rule::Shadow, "shadow mode: the allowlist is empty"),
        intents: Vec::new(),
        misfits: projection.misfits,
        needs_reconcile: false,
    };
    if policy.allowlist.is_empty() {
        return Ok(outcome);
    }
    let mut walk = Walk::new(tx, event, policy, &account, &key, now);
    outcome.decision = match projection.kind {
        _ if account.api_system_id != event.api_system_id => Decision::new(
            Rule::OtherSystem,
            format!("the account is of system {}, the event of {}", account.api_system_id, event.api_system_id),
        ),
        EventKind::OrderUpdate => walk.apply_order_update(&projection)?,
        EventKind::AccountUpdate => {
            projection.positions.retain(|entry| !recorded.has_overtaken(entry));
            walk.apply_account_update(&projection)?
        }
        kind => Decision::new(Rule::Audited, format!("{} changes nothing", kind.as_str())),
    };
    let (order_id, intents, needs_reconcile) = walk.finish();
    (outcome.intents, outcome.needs_reconcile) = (intents, needs_reconcile);
    // Only what somebody may ask after: an order's events, and whatever else had an effect.
    if projection.kind == EventKind::OrderUpdate || outcome.decision.kind() != Rule::Audited {
        let decision = DecisionRow {
            idempotency_key: key,
            account_id: event.account_id,
            order_id,
            identity: (event.epoch, event.position),
            job_uuid: event.uuid.to_owned(),
            rule: outcome.decision.rule().to_owned(),
            note: outcome.decision.note().chars().take(DECISION_NOTE_CHARS_MAX).collect(),
            reserved_at: event.reserved_at,
            decided_at: now,
        };
        tx.insert_decision(&decision, &outcome.decision.kind().replaces())?;
    }
    Ok(outcome)
}

/// Inserts the audit rows of events that are applied next, all of one account, as one where the database gains by it. It
/// saves a round trip an event, and costs a second projection, which is a hundredth of that.
///
/// # Errors
/// The database's; then nothing of the transaction stands.
pub fn audit_ahead(tx: &mut dyn WorkTransaction, events: &[JobEvent<'_>]) -> Result<()> {
    // What was recovered is held against the rows that are there by then.
    let frames: Vec<_> = events.iter().filter(|event| !matches!(event.kind, "gap" | "recovered")).collect();
    let is_known = |event: &&&JobEvent<'_>| event.account_id == frames[0].account_id;
    // An account without a row fails in `apply`, which says so.
    if frames.len() < 2 || !frames.iter().all(|event| is_known(&event)) || tx.account(frames[0].account_id)?.is_none() {
        return Ok(());
    }
    let parts: Vec<_> = frames
        .iter()
        .map(|event| {
            let key = audit_key(event.account_id, event.api_system_id, event.raw);
            (audit::columns(&projection(event)), audit_payload(event.raw), key)
        })
        .collect();
    let rows: Vec<_> = frames
        .iter()
        .zip(&parts)
        .map(|(event, (columns, payload, key))| audit_row(event, columns, payload, key))
        .collect();
    tx.insert_audit_ahead(&rows)
        .map_err(|error| error.during(&format!("inserting audit rows of account {}", frames[0].account_id)))
}

/// Events of a venue whose words are not known here are kept as they are, to be read later.
fn projection(event: &JobEvent<'_>) -> Projection {
    match event.canonical == Venue::Binance.canonical() {
        true => project(event.raw),
        false => Projection::default(),
    }
}

fn audit_row<'a>(event: &JobEvent<'_>, columns: &'a AuditColumns, payload: &'a str, key: &'a str) -> AuditRow<'a> {
    AuditRow {
        account_id: event.account_id,
        api_system_id: event.api_system_id,
        columns,
        received_at: event.received_at,
        raw_payload: payload,
        idempotency_key: key,
    }
}

/// A gap job: its row, which the dispatcher may have written before. What cannot be read is a gap all the same.
fn apply_gap(tx: &mut dyn WorkTransaction, event: &JobEvent<'_>) -> Result<Outcome> {
    let has_form = |at: &Wall| (0..=EVENT_TIME_MS_MAX).contains(&at.as_millis());
    let read = Gap::read(event.raw).filter(|gap| has_form(&gap.live_at) && gap.silent_since.iter().all(has_form));
    let gap = read.unwrap_or(Gap { silent_since: None, live_at: event.received_at, reason: "unreadable".to_owned() });
    tx.insert_gap(&NewGap {
        account_id: event.account_id,
        api_system_id: event.api_system_id,
        started_at: gap.silent_since,
        ended_at: gap.live_at,
        reason: &gap.reason,
        identity: Some((event.epoch, event.position)),
    })?;
    Ok(Outcome {
        audit: AuditOutcome::NoRow,
        decision: Decision::new(Rule::Gap, format!("gap: {}", gap.reason)),
        intents: Vec::new(),
        misfits: 0,
        needs_reconcile: false,
    })
}
