//! The relay: pushes intents that are in the database onto the application's queue, in ascending id, at least once.
//!
//! The row is what counts; the push follows it. A push whose answer was lost is repeated with the same bytes, and one whose
//! mark was lost too: the receiver takes an intent once, by its id. Only the holder of the lease relays.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::lanes::Lanes;
use super::retry::retry_after;
use super::status::Meters;
use crate::domain::limits::{RELAY_BATCH_MAX, RELAY_EVERY};
use crate::domain::{Clock, Random};
use crate::queue::{IntentJob, IntentJobWriter, JobBatch, JobShape, JobSink};
use crate::store::WorkStore;
use crate::store::work_rows::IntentRow;

/// Opens the sink of a logical queue.
pub type OpenSink = Box<dyn FnMut(&str) -> Box<dyn JobSink> + Send>;

/// Where intents go.
pub struct RelayParts {
    /// Their job.
    pub shape: JobShape,
    /// Called once for each queue that an intent names.
    pub open: OpenSink,
}

/// See the module's documentation.
pub(super) struct Relay {
    store: WorkStore,
    writer: IntentJobWriter,
    open: OpenSink,
    sinks: HashMap<String, Box<dyn JobSink>>,
    batch: JobBatch,
    meters: Arc<Mutex<Meters>>,
    clock: Arc<dyn Clock>,
    random: Random,
    failures: u32,
}

impl Relay {
    pub fn new(
        parts: RelayParts,
        store: WorkStore,
        meters: Arc<Mutex<Meters>>,
        clock: Arc<dyn Clock>,
        random: Random,
    ) -> Relay {
        Relay {
            store,
            writer: IntentJobWriter::new(parts.shape),
            open: parts.open,
            sinks: HashMap::new(),
            batch: JobBatch::new(),
            meters,
            clock,
            random,
            failures: 0,
        }
    }

    /// One bounded piece of work; how long to wait before the next.
    pub fn turn(&mut self, lanes: &Lanes) -> Duration {
        if lanes.fence().is_none() {
            return RELAY_EVERY;
        }
        match self.push() {
            Ok(pushed) => {
                self.failures = 0;
                let mut meters = self.meters.lock();
                meters.status.relay_stuck = None;
                meters.status.intents_pushed += pushed as u64;
                if pushed >= RELAY_BATCH_MAX as usize { Duration::ZERO } else { RELAY_EVERY }
            }
            Err(why) => {
                let mut meters = self.meters.lock();
                if meters.status.relay_stuck.is_none() {
                    tracing::warn!("intents wait in the database: {why}");
                }
                meters.status.relay_stuck = Some(why);
                self.failures = self.failures.saturating_add(1);
                retry_after(self.failures, &mut self.random)
            }
        }
    }

    /// Pushes the oldest intents, run by run of one queue, so that their order is that of their ids.
    fn push(&mut self) -> Result<usize, String> {
        let rows = self
            .store
            .run(|tables| tables.unpushed_intents(RELAY_BATCH_MAX))
            .map_err(|error| error.sentence().to_owned())?;
        let mut rest = rows.as_slice();
        while let Some(first) = rest.first() {
            let run = rest.iter().take_while(|row| row.queue == first.queue).count();
            let pushed = self.push_run(&rest[..run])?;
            rest = &rest[pushed..];
        }
        Ok(rows.len())
    }

    /// Pushes as many of these as fit a batch, at least one, and marks them.
    fn push_run(&mut self, rows: &[IntentRow]) -> Result<usize, String> {
        let now = self.clock.now();
        self.batch.clear();
        let mut ids = Vec::with_capacity(rows.len());
        for row in rows {
            if self.batch.is_full() {
                break;
            }
            self.batch.add_intent(&mut self.writer, &job_of(row), now.mono);
            ids.push(row.id);
        }
        let queue = &rows[0].queue;
        if !self.sinks.contains_key(queue) {
            let sink = (self.open)(queue);
            self.sinks.insert(queue.clone(), sink);
        }
        let sink = self.sinks.get_mut(queue).expect("it was put there");
        sink.push(&self.batch).map_err(|error| error.text)?;
        self.store
            .run(|tables| tables.intents_pushed(&ids, now.wall))
            .map_err(|error| format!("pushed, and not marked: {}", error.sentence()))?;
        Ok(ids.len())
    }
}

fn job_of(row: &IntentRow) -> IntentJob<'_> {
    IntentJob {
        id: row.id,
        name: &row.name,
        account_id: row.account_id,
        position_id: row.position_id,
        order_id: row.order_id,
        arguments: &row.arguments,
        dedupe: &row.dedupe,
        decided_at: row.created_at.unwrap_or_default(),
    }
}
