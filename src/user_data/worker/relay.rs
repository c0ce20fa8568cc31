//! The relay: pushes intents that are in the database onto the application's queue, in ascending id, at least once.
//!
//! The row is what counts; the push follows it. A push whose answer was lost is repeated with the same bytes, and one that a
//! process could not mark before it died is too: the receiver takes an intent once, by its id. Only the holder of the lease
//! relays.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::lanes::Lanes;
use super::retry::retry_after;
use super::status::Meters;
use crate::domain::limits::{RELAY_BATCH_MAX, RELAY_EVERY, RELAY_RUNS_MAX};
use crate::domain::{Clock, Random};
use crate::queue::{IntentJob, IntentJobWriter, JobBatch, JobShape, JobSink};
use crate::store::WorkStore;
use crate::store::work_rows::IntentRow;

/// The shape of the job that asks for a workflow.
pub type ShapeOf = Box<dyn Fn(&str) -> JobShape + Send>;
/// Opens the sink of a logical queue, for jobs of one shape.
pub type OpenSink = Box<dyn FnMut(&str, &JobShape) -> Box<dyn JobSink> + Send>;

/// Where intents go.
pub struct RelayParts {
    /// Called once for each workflow that an intent names.
    pub shape_of: ShapeOf,
    /// Called once for each queue and class.
    pub open: OpenSink,
}

/// See the module's documentation.
pub(super) struct Relay {
    store: WorkStore,
    shape_of: ShapeOf,
    open: OpenSink,
    /// By workflow.
    writers: HashMap<String, IntentJobWriter>,
    /// By queue and class.
    sinks: HashMap<(String, String), Box<dyn JobSink>>,
    batch: JobBatch,
    /// Pushed, and not marked yet: the database was away or busy. Marked before anything else is pushed.
    unmarked: Vec<i64>,
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
            shape_of: parts.shape_of,
            open: parts.open,
            writers: HashMap::new(),
            sinks: HashMap::new(),
            batch: JobBatch::new(),
            unmarked: Vec::new(),
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
            Ok(is_more) => {
                self.failures = 0;
                let mut meters = self.meters.lock();
                meters.status.relay_stuck = None;
                if is_more { Duration::ZERO } else { RELAY_EVERY }
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

    /// Pushes the oldest intents, run by run of one queue and class, so that their order is that of their ids; a few runs at a
    /// time. Whether more may wait.
    fn push(&mut self) -> Result<bool, String> {
        self.mark()?;
        let rows = self
            .store
            .run(|tables| tables.unpushed_intents(RELAY_BATCH_MAX))
            .map_err(|error| error.sentence().to_owned())?;
        let mut rest = rows.as_slice();
        for _ in 0..RELAY_RUNS_MAX {
            let Some(first) = rest.first() else { break };
            let place = self.place_of(first);
            let mut run = 1;
            while run < rest.len() && self.place_of(&rest[run]) == place {
                run += 1;
            }
            let pushed = self.push_run(&rest[..run], place)?;
            rest = &rest[pushed..];
        }
        Ok(!rest.is_empty() || rows.len() >= RELAY_BATCH_MAX as usize)
    }

    /// Queue and class of an intent's job.
    fn place_of(&mut self, row: &IntentRow) -> (String, String) {
        if !self.writers.contains_key(&row.name) {
            let writer = IntentJobWriter::new((self.shape_of)(&row.name));
            self.writers.insert(row.name.clone(), writer);
        }
        let class = self.writers[&row.name].shape().job_class.as_str().to_owned();
        (row.queue.clone(), class)
    }

    /// Pushes as many of these as fit a batch, at least one, and marks them.
    fn push_run(&mut self, rows: &[IntentRow], place: (String, String)) -> Result<usize, String> {
        let now = self.clock.now();
        self.batch.clear();
        let mut ids = Vec::with_capacity(rows.len());
        for row in rows {
            if self.batch.is_full() {
                break;
            }
            let writer = self.writers.get_mut(&row.name).expect("`place_of` made it");
            self.batch.add_intent(writer, &job_of(row), now.mono);
            ids.push(row.id);
        }
        let shape = self.writers[&rows[0].name].shape();
        let open = &mut self.open;
        let sink = self.sinks.entry(place).or_insert_with_key(|(queue, _)| open(queue, shape));
        sink.push(&self.batch).map_err(|error| error.text)?;
        let pushed = ids.len();
        self.meters.lock().status.intents_pushed += pushed as u64;
        self.unmarked.append(&mut ids);
        self.mark()?;
        Ok(pushed)
    }

    fn mark(&mut self) -> Result<(), String> {
        if self.unmarked.is_empty() {
            return Ok(());
        }
        let (unmarked, at) = (&self.unmarked, self.clock.now().wall);
        self.store
            .run(|tables| tables.intents_pushed(unmarked, at))
            .map_err(|error| format!("pushed, and not marked: {}", error.sentence()))?;
        self.unmarked.clear();
        Ok(())
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
