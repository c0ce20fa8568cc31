//! Retention of the audit: old rows of `api_data_stream` go, few at a time, with pauses between, so that neither locks nor dead
//! rows pile up. Only the holder of the lease deletes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::lanes::Lanes;
use super::status::Meters;
use crate::domain::limits::{RETENTION_EVERY, RETENTION_PAUSE, RETENTION_ROWS_MAX, WORK_RETRY_MAX};
use crate::domain::{Clock, Wall};
use crate::store::WorkStore;

/// See the module's documentation.
pub(super) struct Retention {
    pub store: WorkStore,
    pub keep: Duration,
    pub meters: Arc<Mutex<Meters>>,
    pub clock: Arc<dyn Clock>,
}

impl Retention {
    /// One transaction at most; how long to wait before the next.
    pub fn turn(&mut self, lanes: &Lanes) -> Duration {
        if lanes.fence().is_none() {
            return RETENTION_PAUSE;
        }
        let keep = i64::try_from(self.keep.as_micros()).unwrap_or(i64::MAX);
        let before = Wall::from_micros(self.clock.now().wall.as_micros().saturating_sub(keep));
        match self.store.run(|tables| tables.delete_audit_before(before, RETENTION_ROWS_MAX)) {
            Ok(deleted) => {
                let mut meters = self.meters.lock();
                meters.status.retention_stuck = None;
                meters.status.deleted += deleted;
                if deleted >= u64::from(RETENTION_ROWS_MAX) {
                    return RETENTION_PAUSE;
                }
                drop(meters);
                self.store.close();
                RETENTION_EVERY
            }
            Err(error) => {
                let mut meters = self.meters.lock();
                if meters.status.retention_stuck.is_none() {
                    tracing::warn!("old audit rows stay: {error}");
                }
                meters.status.retention_stuck = Some(error.sentence().to_owned());
                WORK_RETRY_MAX
            }
        }
    }
}
