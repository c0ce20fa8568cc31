//! What reconciles show of themselves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::conclusion::Drift;
use super::meter_file::MeterStatus;
use crate::domain::Wall;
use crate::domain::limits::{DRIFT_NAMED_MAX, REPAIRS_NAMED_MAX};

/// A gap that has got its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// Whose.
    pub account: i64,
    /// The last moment of surely listening; `None`: there was none.
    pub started_at: Option<Wall>,
    /// The first of surely listening again.
    pub ended_at: Wall,
    /// Why nobody listened: a word.
    pub reason: String,
    /// Events that were recovered.
    pub recovered: u64,
    /// When it got its outcome.
    pub closed_at: Wall,
}

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReconcileStatus {
    /// Accounts whose gaps nobody closes at the moment.
    pub waiting: usize,
    /// Accounts that are being reconciled.
    pub running: usize,
    /// Accounts whose reconcile could not be finished, each with why.
    pub degraded: Vec<(i64, Arc<str>)>,
    /// Accounts with gaps that are switched off: nobody can close these until they are streamed again.
    pub switched_off: usize,
    /// Gaps that got their outcome since the start.
    pub gaps_closed: u64,
    /// The newest of these, oldest first.
    pub repairs: VecDeque<Repair>,
    /// Events that were recovered since the start.
    pub recovered: u64,
    /// The safety net's rounds since the start.
    pub rounds: u64,
    /// How long the last one took.
    pub round: Option<Duration>,
    /// When it ended.
    pub round_ended_at: Option<Wall>,
    /// Accounts that the round at hand has not asked for yet.
    pub sync_left: usize,
    /// Local orders that were found elsewhere than at the venue, since the start.
    pub drifted: u64,
    /// The newest of these, with their accounts.
    pub drift: VecDeque<(i64, Drift)>,
    /// How much the venue's clock is ahead of ours, in ms; `None`: it has not been asked yet.
    pub venue_ahead_ms: Option<i64>,
    /// Where that is too much.
    pub clock_warning: Option<String>,
    /// What the database says is wrong.
    pub database_fault: Option<Arc<str>>,
    /// The address's weight.
    pub meter: MeterStatus,
    /// Why it is not shared with other processes.
    pub meter_warning: Option<String>,
}

impl ReconcileStatus {
    pub(super) fn note_repairs(&mut self, repairs: &[Repair]) {
        self.gaps_closed += repairs.len() as u64;
        self.repairs.extend(repairs.iter().cloned());
        let surplus = self.repairs.len().saturating_sub(REPAIRS_NAMED_MAX);
        self.repairs.drain(..surplus);
    }

    pub(super) fn note_drift(&mut self, account: i64, drift: &[Drift]) {
        self.drifted += drift.len() as u64;
        self.drift.extend(drift.iter().map(|drift| (account, drift.clone())));
        let surplus = self.drift.len().saturating_sub(DRIFT_NAMED_MAX);
        self.drift.drain(..surplus);
    }
}
