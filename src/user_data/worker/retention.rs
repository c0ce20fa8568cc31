//! Retention: old audit rows, intents and decisions go, few at a time, with pauses between, so that neither locks nor dead rows
//! pile up. Only the holder of the lease deletes.
//!
//! An intent is kept for as long as it may keep others from being written, and until it is pushed where a relay pushes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::PolicyCell;
use super::lanes::Lanes;
use super::status::Meters;
use crate::domain::limits::{RETENTION_EVERY, RETENTION_PAUSE, RETENTION_ROWS_MAX, WORK_RETRY_MAX};
use crate::domain::{Clock, Wall};
use crate::store::WorkStore;

/// See the module's documentation.
pub(super) struct Retention {
    pub store: WorkStore,
    pub keep: Duration,
    /// Intents are pushed by a relay.
    pub relays: bool,
    pub policy: Arc<PolicyCell>,
    pub meters: Arc<Mutex<Meters>>,
    pub clock: Arc<dyn Clock>,
    /// The table whose turn it is.
    pub table: Table,
}

/// The tables that retention keeps small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Table {
    #[default]
    Audit,
    Intents,
    Decisions,
}

impl Retention {
    /// One transaction at most; how long to wait before the next.
    pub fn turn(&mut self, lanes: &Lanes) -> Duration {
        if lanes.fence().is_none() {
            return RETENTION_PAUSE;
        }
        let now = self.clock.now().wall;
        let before = |keep: Duration| {
            let keep = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
            Wall::from_micros(now.as_micros().saturating_sub(keep))
        };
        let (keep, relays) = (self.keep, self.relays);
        let deleted = match self.table {
            Table::Audit => self.store.run(|tables| tables.delete_audit_before(before(keep), RETENTION_ROWS_MAX)),
            Table::Intents => {
                let keep = keep.max(self.policy.read().live_for);
                self.store.run(|tables| tables.delete_intents_before(before(keep), relays, RETENTION_ROWS_MAX))
            }
            Table::Decisions => {
                self.store.run(|tables| tables.delete_decisions_before(before(keep), RETENTION_ROWS_MAX))
            }
        };
        match deleted {
            Ok(deleted) => {
                self.note(deleted);
                if deleted >= u64::from(RETENTION_ROWS_MAX) {
                    return RETENTION_PAUSE;
                }
                self.table = match self.table {
                    Table::Audit => Table::Intents,
                    Table::Intents => Table::Decisions,
                    Table::Decisions => Table::Audit,
                };
                if self.table != Table::Audit {
                    return RETENTION_PAUSE;
                }
                self.store.close();
                RETENTION_EVERY
            }
            Err(error) => {
                let mut meters = self.meters.lock();
                if meters.status.retention_stuck.is_none() {
                    tracing::warn!("old rows stay: {error}");
                }
                meters.status.retention_stuck = Some(error.sentence().to_owned());
                WORK_RETRY_MAX
            }
        }
    }

    fn note(&self, deleted: u64) {
        let status = &mut self.meters.lock().status;
        status.retention_stuck = None;
        match self.table {
            Table::Audit => status.deleted += deleted,
            Table::Intents => status.intents_deleted += deleted,
            Table::Decisions => status.decisions_deleted += deleted,
        }
    }
}
