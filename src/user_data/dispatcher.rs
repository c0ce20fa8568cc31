//! The dispatcher: reads the spool, makes jobs of records, pushes them in order, and acknowledges what is safe.
//!
//! The spool is the queue; what happens behind it (Redis down, slow, full, read-only, restarted without its memory) only
//! changes where reading goes on. A push that is refused or doubtful is repeated with the same bytes; a server that lost what
//! it had taken is filled again from the last record that it kept. A record of which no job can be made goes into
//! quarantine and stops nobody. Order is the spool's: nothing is pushed before what stands in front of it.
//!
//! A turn is one bounded piece of work. Only the sink waits, for at most its own timeouts.

mod acks;
mod poison;
mod records;
mod recovery;
mod replay;
mod status;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;

use self::acks::Acks;
use self::poison::PoisonBox;
use self::replay::Replay;
pub use self::replay::{AppliedEvents, EventName};
pub(in crate::user_data) use self::status::LatencyMeter;
pub use self::status::{DispatcherStatus, Latency, Stuck};
use super::gaps::{GapNotice, GapRows};
use super::spooler::{Damage, DamageLink};
use crate::domain::limits::{DISPATCH_IDLE_MAX, PUSH_AGE_MAX, PUSH_JOBS_MAX, SINK_HEALTH_EVERY, SPOOL_IN_FLIGHT_MAX};
use crate::domain::{Clock, Mono, Random, Wall};
use crate::queue::{JobBatch, JobSink, JobWriter, Pushed};
use crate::spool::{Disk, ExchangeId, ReadBatch, Reader, Skipped};

/// How jobs are made and pushed.
#[derive(Clone, Debug)]
pub struct DispatchConfig {
    /// Jobs of one push, at most [`PUSH_JOBS_MAX`].
    pub jobs_max: usize,
    /// A job waits this long for companions.
    pub age: Duration,
    /// `api_systems.canonical` by `api_systems.id`.
    pub canonicals: Vec<(ExchangeId, String)>,
    /// Further numbers may come to be known: a record of an unknown one waits, with all behind it, and is no poison yet.
    pub awaits_more: bool,
}

impl DispatchConfig {
    /// The defaults for these exchanges.
    #[must_use]
    pub fn new(canonicals: Vec<(ExchangeId, String)>) -> Self {
        DispatchConfig { jobs_max: PUSH_JOBS_MAX, age: PUSH_AGE_MAX, canonicals, awaits_more: false }
    }
}

/// What the dispatcher works with.
pub struct DispatchParts<D: Disk> {
    /// The spool's reading end.
    pub reader: Reader<D>,
    /// Where jobs go.
    pub sink: Box<dyn JobSink>,
    /// Makes their bodies.
    pub writer: JobWriter,
    /// Where gaps become rows.
    pub rows: Box<dyn GapRows>,
    /// Where damage becomes gaps.
    pub damage: DamageLink,
    /// The last position that consumers are known to have committed; 0 for unknown. Where a server forgot everything, the
    /// spool is read again from there, else from the oldest record that is retained.
    pub audited: Arc<AtomicU64>,
    /// Which events are applied: asked while a rewound stretch is read again.
    pub applied: Box<dyn AppliedEvents>,
    /// The process's clock.
    pub clock: Arc<dyn Clock>,
    /// For jitter.
    pub random: Random,
}

/// See the module's documentation.
pub struct Dispatcher<D: Disk> {
    parts: DispatchParts<D>,
    config: DispatchConfig,
    read: ReadBatch,
    /// Records of `read` that were looked at.
    at: usize,
    /// The last read found nothing more.
    is_drained: bool,
    skipped: Vec<Skipped>,
    damage: Vec<Damage>,
    last_received: Option<Wall>,
    batch: JobBatch,
    /// The batch may be on the queue already: it must stay as it is.
    is_closed: bool,
    acks: Acks,
    waiting_rows: VecDeque<GapNotice>,
    poison: PoisonBox,
    /// While a stretch is read again.
    replay: Option<Replay>,
    /// The server has not the word yet that the spool owes it nothing; see [`JobSink::vouch`].
    owes_word: bool,
    /// The sink was asked what it still has.
    is_known: bool,
    next_health: Mono,
    retry_at: Mono,
    failures: u32,
    latency: LatencyMeter,
    own: DispatcherStatus,
    status: Arc<Mutex<DispatcherStatus>>,
    next_show: Mono,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DispatchTurn {
    /// Jobs pushed.
    pub pushed: usize,
    /// What to wait for before the next turn.
    pub wait: DispatchWait,
}

/// What the next turn waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DispatchWait {
    /// Nothing: there is more to do.
    Nothing,
    /// A record, at most so long.
    Record(Duration),
    /// Time alone.
    Time(Duration),
}

impl<D: Disk> Dispatcher<D> {
    /// A dispatcher that has pushed nothing yet.
    #[must_use]
    pub fn new(parts: DispatchParts<D>, mut config: DispatchConfig) -> Self {
        config.jobs_max = config.jobs_max.clamp(1, PUSH_JOBS_MAX);
        let mut acks = Acks::default();
        let dispatched = parts.reader.status().positions.dispatched;
        acks.restart(dispatched);
        // A stretch that an earlier life was filling again is gone through with the same eyes.
        let until = parts.reader.refill_until();
        let replay = (until > dispatched).then(|| Replay::new(until));
        Dispatcher {
            read: ReadBatch::new(config.jobs_max),
            parts,
            config,
            at: 0,
            is_drained: false,
            skipped: Vec::new(),
            damage: Vec::new(),
            last_received: None,
            batch: JobBatch::new(),
            is_closed: false,
            acks,
            waiting_rows: VecDeque::new(),
            poison: PoisonBox::default(),
            replay,
            owes_word: false,
            is_known: false,
            next_health: Mono::ZERO,
            retry_at: Mono::ZERO,
            failures: 0,
            latency: LatencyMeter::new(),
            own: DispatcherStatus::default(),
            status: Arc::default(),
            next_show: Mono::ZERO,
        }
    }

    /// Where the status is.
    #[must_use]
    pub fn status(&self) -> Arc<Mutex<DispatcherStatus>> {
        Arc::clone(&self.status)
    }

    /// The spool's reading end, to wait on.
    #[must_use]
    pub fn reader(&self) -> &Reader<D> {
        &self.parts.reader
    }

    /// Whether all that is in the spool was pushed and acknowledged.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let positions = self.parts.reader.status().positions;
        self.batch.is_empty() && self.is_drained && positions.acked == positions.written
    }

    /// Does what there is to do.
    pub fn turn(&mut self) -> DispatchTurn {
        let now = self.parts.clock.now().mono;
        let mut pushed = 0;
        // Asking may put the next try off: the wait is read after that.
        let mut wait = if now < self.retry_at || (!self.is_known && !self.ask_health(now)) {
            DispatchWait::Time(self.retry_at.since(now))
        } else {
            self.fill(now);
            match self.push_if_due(now) {
                Some(count) => {
                    pushed = count;
                    if count == 0 { DispatchWait::Time(self.retry_at.since(now)) } else { DispatchWait::Nothing }
                }
                None if now >= self.next_health && self.batch.is_empty() => {
                    self.ask_health(now);
                    DispatchWait::Record(DISPATCH_IDLE_MAX)
                }
                None => {
                    let due = self.batch.age(now).map(|age| self.config.age.saturating_sub(age));
                    DispatchWait::Record(due.unwrap_or(DISPATCH_IDLE_MAX).min(DISPATCH_IDLE_MAX))
                }
            }
        };
        self.tend(now);
        self.acknowledge();
        if !self.is_drained && wait == DispatchWait::Record(DISPATCH_IDLE_MAX) && !self.is_full() {
            wait = DispatchWait::Nothing;
        }
        self.show(now);
        DispatchTurn { pushed, wait }
    }

    fn is_full(&self) -> bool {
        self.batch.len() >= self.config.jobs_max || self.batch.is_full()
    }

    /// `None` if it is not due; else how many jobs were pushed, 0 if they were not.
    fn push_if_due(&mut self, now: Mono) -> Option<usize> {
        let is_old = self.batch.age(now).is_some_and(|age| age >= self.config.age);
        if self.batch.is_empty() || !(self.is_closed || self.is_full() || is_old) {
            return None;
        }
        let vouches = self.owes_word && self.is_rewind_durable();
        self.parts.sink.vouch(vouches);
        match self.parts.sink.push(&self.batch) {
            Ok(pushed) => {
                self.owes_word &= !vouches || pushed.was_there;
                Some(self.handle_pushed(&pushed))
            }
            Err(error) => {
                self.is_closed |= error.doubtful;
                self.own.doubtful += u64::from(error.doubtful);
                self.handle_error(error);
                Some(0)
            }
        }
    }

    fn handle_pushed(&mut self, pushed: &Pushed) -> usize {
        let now = self.parts.clock.now();
        let count = self.batch.len();
        for job in self.batch.jobs() {
            let took = now.wall.as_micros().saturating_sub(job.received_at.as_micros()).max(0);
            self.latency.record(Duration::from_micros(took.unsigned_abs()));
            self.acks.handle_pushed(job.position);
        }
        self.batch.clear();
        self.is_closed = false;
        self.own.jobs += count as u64;
        self.own.pushes += 1;
        self.own.depth = pushed.depth;
        self.next_health = now.mono.plus(SINK_HEALTH_EVERY);
        self.go_on();
        if let Some(remark) = &pushed.remark {
            tracing::warn!("the jobs are on the queue, but: {remark}");
        }
        if let Some(forgot) = &pushed.forgot {
            self.rewind(forgot);
        }
        count
    }

    /// Rows, quarantine files and damage that wait.
    fn tend(&mut self, now: Mono) {
        let rows = &self.parts.rows;
        while let Some(number) = self.waiting_rows.front().and_then(|notice| rows.offer(notice)) {
            if let Some(notice) = self.waiting_rows.pop_front() {
                self.acks.handle_row_offered(notice.identity.position, number);
            }
        }
        if self.acks.awaits_rows() {
            self.acks.handle_rows_settled(rows.settled());
        }
        if let Some(position) = self.poison.retry(&self.parts.reader, now) {
            self.acks.handle_quarantined(position);
        }
        let told = self.damage.iter().take_while(|damage| self.parts.damage.tell(**damage)).count();
        self.damage.drain(..told);
        let is_crowded = self.acks.in_flight() > SPOOL_IN_FLIGHT_MAX / 2;
        let let_go = self.acks.lift(now, is_crowded);
        if let_go > 0 {
            self.own.let_go += let_go as u64;
            tracing::error!(
                records = let_go,
                "acknowledged before their row or quarantine file is there: it took too long"
            );
        }
    }

    fn acknowledge(&mut self) {
        let unpushed = self.batch.jobs().next().map(|job| job.position);
        let end = self.acks.end(self.parts.sink.acked(), unpushed);
        let positions = self.parts.reader.status().positions;
        // Behind a rewind or a leap of positions `end` may lag; it never leads.
        if end > positions.acked {
            self.parts.reader.ack(end.min(positions.dispatched));
        }
    }

    fn show(&mut self, now: Mono) {
        if now < self.next_show {
            return;
        }
        self.next_show = now.plus(DISPATCH_IDLE_MAX);
        let spool = self.parts.reader.status();
        let at_hand = self.read.len() - self.at + self.batch.len();
        self.own.behind = spool.undispatched + at_hand as u64;
        self.own.unacknowledged = spool.unacknowledged;
        self.own.frame_to_job = self.latency.latency();
        self.status.lock().clone_from(&self.own);
    }

    /// The status as it is now, into its place.
    pub fn show_now(&mut self) {
        self.next_show = Mono::ZERO;
        self.show(Mono::ZERO);
    }
}
