//! What the worker has left in the tables, held against the exchange: audit rows against its ledgers, orders and intents
//! against its books. The same for the demo's own worker and for a daemon that was killed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::accounts::{PrivateReport, Recorded, hold_against};
use super::latency::FrameLatencies;
use super::orders::{self, OrderReport};
use super::repairs::{self, Origin, RepairReport, Told};
use crate::cli::exit::CommandError;
use crate::domain::Wall;
use crate::sim::{SimHandle, frame_hash};
use crate::store::sqlite::SqliteStore;

/// What the worker's half came to.
#[derive(Debug, Default)]
pub struct AuditReport {
    /// The audit rows against the exchange's ledgers.
    pub frames: PrivateReport,
    /// Gaps and recovered events against both.
    pub repairs: RepairReport,
    /// Orders and intents against its books.
    pub orders: OrderReport,
    /// How long frames were under way.
    pub latencies: FrameLatencies,
}

impl AuditReport {
    /// Whether there is nothing to complain of.
    pub fn is_clean(&self) -> bool {
        self.frames.complaints.is_empty()
            && self.repairs.complaints.is_empty()
            && self.orders.wrong.is_empty()
            && self.orders.wrong_intents.is_empty()
    }

    /// See [`Check::FramesAreAudited`](super::check::Check::FramesAreAudited).
    pub fn frames_are_audited(&self) -> (bool, String) {
        let PrivateReport { complaints, delivered, distinct, gaps, covered, .. } = &self.frames;
        let mut detail = format!(
            "{distinct} of {delivered} distinct frames delivered are audit rows, each once, in order per account; {covered} \
             frames missing, each inside one of {gaps} gaps"
        );
        if let Some(first) = complaints.first() {
            detail = format!("{} complaints, the first: {first}; {distinct} of {delivered} are rows", complaints.len());
        }
        (complaints.is_empty(), detail)
    }

    /// See [`Check::GapsRepaired`](super::check::Check::GapsRepaired).
    pub fn gaps_are_repaired(&self, with_faults: bool) -> (bool, String) {
        let RepairReport { complaints, gaps, repaired, recovered, fills, fills_recovered, .. } = &self.repairs;
        let mut detail = format!(
            "{repaired} of {gaps} gaps repaired, {recovered} events recovered; {fills} fills of the exchange are audited once, \
             {fills_recovered} of them recovered; {} orders that ended unheard hold the exchange's state",
            self.orders.repaired
        );
        if let Some(first) = complaints.first() {
            detail = format!("{} complaints, the first: {first}; {repaired} of {gaps} repaired", complaints.len());
        }
        (complaints.is_empty() && *gaps > 0 && *fills > 0 && (!with_faults || *recovered > 0), detail)
    }

    /// See [`Check::OrdersAreTruth`](super::check::Check::OrdersAreTruth).
    pub fn orders_are_truth(&self) -> (bool, String) {
        let OrderReport { wrong, checked, algo, in_gaps, foreign, .. } = &self.orders;
        let mut detail = format!(
            "{checked} orders, {algo} of them algo orders, hold the exchange's status and price and their own quantity; \
             {in_gaps} more have their end in an open gap; {foreign} orders of other people have no row"
        );
        if let Some(first) = wrong.first() {
            detail = format!("{} orders differ, the first: {first}; {checked} are right", wrong.len());
        }
        (wrong.is_empty() && *checked > 0, detail)
    }

    /// See [`Check::IntentsFollow`](super::check::Check::IntentsFollow).
    pub fn intents_follow(&self) -> (bool, String) {
        let OrderReport { wrong_intents, intents, answered, .. } = &self.orders;
        let kinds: Vec<String> = intents.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let mut detail = format!(
            "{} intents, each with its cause, none doubled ({}); {answered} orders called for a workflow and have it",
            self.orders.intents_total(),
            kinds.join(", ")
        );
        if let Some(first) = wrong_intents.first() {
            detail = format!("{} complaints, the first: {first}", wrong_intents.len());
        }
        (wrong_intents.is_empty() && *answered > 0, detail)
    }
}

/// Holds the tables of the worker and of the application against the exchange; `placed` orders were sent.
pub fn judge_tables(sim: &SimHandle, rows: &[u64], database: &Path, placed: u64) -> Result<AuditReport, CommandError> {
    // Intents before orders: what an intent is about is in the table by then.
    let store = SqliteStore::open(database)?;
    let (intents, orders) = (store.held_intents()?, store.held_orders()?);
    let gaps = store.held_gaps()?;
    let mut all: BTreeMap<u64, Recorded> = BTreeMap::new();
    let mut audited: HashMap<u64, HashSet<u128>> = HashMap::new();
    let mut told: BTreeMap<u64, Told> = BTreeMap::new();
    for frame in store.held_frames()? {
        let account = u64::try_from(frame.account_id).unwrap_or_default();
        let raw = recorded_bytes(frame.raw_payload);
        if told.entry(account).or_default().push(&raw) == Origin::Recovered {
            continue;
        }
        audited.entry(account).or_default().insert(frame_hash(&raw));
        all.entry(account).or_default().frames.push(raw);
    }
    for gap in &gaps {
        let account = u64::try_from(gap.account_id).unwrap_or_default();
        let since = gap.started_at.unwrap_or(Wall::from_micros(i64::MIN));
        all.entry(account).or_default().gaps.push((since, gap.ended_at));
    }
    let mut frames = hold_against(sim, rows, &all);
    if frames.repeated > 0 {
        frames.complaints.push(format!("{} frames have more than one audit row", frames.repeated));
    }
    let repairs = repairs::judge(sim, rows, &gaps, &told);
    let (audited, open_gaps) = (&audited, &repairs.open);
    let evidence = orders::Evidence { sim, rows, placed, orders: &orders, intents: &intents, audited, open_gaps };
    Ok(AuditReport { frames, orders: orders::judge(&evidence), repairs, latencies: FrameLatencies::default() })
}

/// The bytes that were recorded: of a frame that is no JSON they stand in base64.
fn recorded_bytes(payload: String) -> Vec<u8> {
    let coded = payload.strip_prefix("{\"raw_base64\":\"").and_then(|rest| rest.strip_suffix("\"}"));
    match coded.and_then(|coded| BASE64.decode(coded).ok()) {
        Some(raw) => raw,
        None => payload.into_bytes(),
    }
}
