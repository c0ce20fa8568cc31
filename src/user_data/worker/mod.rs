//! The worker: jobs from the queue, each applied in a transaction, exactly once in effect.
//!
//! The [`reserver`] is the one thread that talks to the queue. It feeds a lane per account ([`lanes`]), and a few threads
//! ([`lane_thread`]) work on them, a lane on one thread at a time, each piece in one transaction ([`transact`]). Order comes from
//! the positions that jobs carry ([`disorder`]), not from a lock; the lease says which process works, and its number, written
//! with everything that is applied, keeps one that slept through it from undoing what its successor did.
//!
//! It promises:
//!
//! - a job is acknowledged after its transaction is committed, so a death at any moment loses nothing;
//! - a job that comes again changes nothing;
//! - a lane that fails holds nobody but itself ([`retry`]); one that fails for good goes to `failed_jobs` ([`failing`]) and its
//!   account is marked for a reconcile;
//! - what is in hand is bounded. Jobs of a lane that does not move stay in hand: where one account alone waits for very long (a
//!   row that somebody keeps locked), its jobs may in the end take all the room.
//!
//! The [`relay`] pushes intents afterwards, [`retention`] deletes old rows; both belong to the holder of the lease.

pub mod disorder;
mod failing;
pub mod job;
mod lane_thread;
pub mod lanes;
pub mod relay;
mod reserver;
mod retention;
pub mod retry;
pub mod status;
mod transact;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

pub use self::failing::FAILED_JOB_REASON;
use self::lane_thread::LaneThread;
pub use self::lane_thread::NEEDS_RECONCILE_REASON;
use self::lanes::{LaneBounds, LaneCounts, Lanes};
use self::relay::{Relay, RelayParts};
use self::reserver::Reserver;
use self::retention::{Retention, Table};
use self::status::{Meters, WorkerStatus};
pub use self::transact::Apply;
use crate::domain::limits::{WORK_BYTES_MAX, WORK_HELD_NAMED_MAX};
use crate::domain::{Clock, Mono, Random};
use crate::queue::{JobReader, JobSource};
use crate::store::WorkStore;
use crate::user_data::apply::Policy;

/// How the worker works.
#[derive(Clone, Debug)]
pub struct WorkConfig {
    /// Threads that apply, each with a database session of its own.
    pub threads: usize,
    /// Jobs of one account in one transaction.
    pub batch: usize,
    /// Jobs in hand.
    pub reserve: usize,
    /// Attempts that a job has.
    pub tries: u32,
    /// After the first attempt, the second, …; the last one holds for all further. Empty: no wait.
    pub backoff: Vec<Duration>,
    /// How long a job waits for the one before it.
    pub disorder_wait: Duration,
    /// How long the lease lasts.
    pub lease: Duration,
    /// How long a reservation lasts.
    pub retry_after: Duration,
    /// `connection` of rows in `failed_jobs`.
    pub connection: String,
    /// `queue` of rows in `failed_jobs`: the logical name.
    pub queue: String,
    /// `api_systems.canonical` of the venue.
    pub canonical: String,
    /// How long audit rows, intents and decisions are kept; `None`: for ever.
    pub audit_keep: Option<Duration>,
}

/// What the worker works with.
pub struct WorkParts {
    /// The queue.
    pub source: Box<dyn JobSource>,
    /// Makes a database session's owner; called once a thread.
    pub store: Box<dyn FnMut() -> WorkStore>,
    /// Applies a job.
    pub apply: Apply,
    /// What it may do.
    pub policy: Policy,
    /// Where intents go; `None`: they stay rows.
    pub relay: Option<RelayParts>,
    /// The process's clock.
    pub clock: Arc<dyn Clock>,
    /// For jitter.
    pub random: Random,
}

/// The policy in force; put anew while jobs run.
pub(super) struct PolicyCell(RwLock<Policy>);

impl PolicyCell {
    fn read(&self) -> Policy {
        self.0.read().clone()
    }
}

/// The running worker.
pub struct Worker {
    lanes: Arc<Lanes>,
    policy: Arc<PolicyCell>,
    meters: Arc<Mutex<Meters>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    upkeep: Vec<JoinHandle<()>>,
}

/// How often threads that sleep look whether they are to stop.
const STOP_LOOK: Duration = Duration::from_millis(50);

impl Worker {
    /// Starts everything.
    ///
    /// # Errors
    /// A system without threads.
    pub fn start(config: WorkConfig, mut parts: WorkParts) -> io::Result<Worker> {
        let bounds = LaneBounds { jobs: config.reserve.max(1), bytes: WORK_BYTES_MAX, piece: config.batch.max(1) };
        let lanes = Arc::new(Lanes::new(bounds));
        let config = Arc::new(config);
        let policy = Arc::new(PolicyCell(RwLock::new(parts.policy)));
        let meters = Arc::new(Mutex::new(Meters::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut worker = Worker {
            lanes: Arc::clone(&lanes),
            policy: Arc::clone(&policy),
            meters: Arc::clone(&meters),
            stop: Arc::clone(&stop),
            threads: Vec::new(),
            upkeep: Vec::new(),
        };
        for number in 0..config.threads.max(1) {
            let thread = LaneThread {
                lanes: Arc::clone(&lanes),
                store: (parts.store)(),
                apply: Arc::clone(&parts.apply),
                policy: Arc::clone(&policy),
                config: Arc::clone(&config),
                meters: Arc::clone(&meters),
                clock: Arc::clone(&parts.clock),
                random: parts.random.fork(),
            };
            let stop = Arc::clone(&stop);
            worker.threads.push(spawn(&format!("work-{number}"), move || {
                thread.run(&|| stop.load(Ordering::Acquire));
            })?);
        }
        let reserver = Reserver {
            source: parts.source,
            lanes: Arc::clone(&lanes),
            config: Arc::clone(&config),
            meters: Arc::clone(&meters),
            clock: Arc::clone(&parts.clock),
            reader: JobReader::new(),
            jobs: Vec::new(),
            tickets: Vec::new(),
            lease_at: Mono::ZERO,
            lease_until: Mono::ZERO,
            extend_at: Mono::ZERO,
            retry_at: Mono::ZERO,
            must_hand_back: false,
            calm: 0,
        };
        worker.threads.push(spawn("work-reserver", {
            let stop = Arc::clone(&stop);
            move || reserver.run(&|| stop.load(Ordering::Acquire))
        })?);
        let relays = parts.relay.is_some();
        if let Some(relay) = parts.relay {
            let (meters, clock) = (Arc::clone(&meters), Arc::clone(&parts.clock));
            let mut relay = Relay::new(relay, (parts.store)(), meters, clock, parts.random.fork());
            let (lanes, stop) = (Arc::clone(&lanes), Arc::clone(&stop));
            worker.upkeep.push(spawn("work-relay", move || repeat(&stop, || relay.turn(&lanes)))?);
        }
        if let Some(keep) = config.audit_keep {
            let (store, clock) = ((parts.store)(), parts.clock);
            let mut retention = Retention { store, keep, relays, policy, meters, clock, table: Table::default() };
            worker.upkeep.push(spawn("work-retention", move || repeat(&stop, || retention.turn(&lanes)))?);
        }
        Ok(worker)
    }

    /// What jobs may do from now on; those in a transaction end under what was before.
    pub fn set_policy(&self, policy: Policy) {
        *self.policy.0.write() = policy;
    }

    /// Counts since the start, and how things stand.
    #[must_use]
    pub fn status(&self) -> (WorkerStatus, LaneCounts) {
        (self.meters.lock().read(), self.lanes.counts(WORK_HELD_NAMED_MAX))
    }

    /// Whether a thread has ended that nobody stopped.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        !self.stop.load(Ordering::Acquire) && self.threads.iter().chain(&self.upkeep).any(JoinHandle::is_finished)
    }

    /// Ends transactions in hand, acknowledges them, hands the rest back and lets go of the lease; waits at most `bound` and
    /// says whether that was enough. What was not acknowledged comes again.
    #[must_use]
    pub fn stop(&mut self, bound: Duration, clock: &dyn Clock) -> bool {
        let until = clock.now().mono.plus(bound);
        self.stop.store(true, Ordering::Release);
        self.lanes.close();
        let threads: Vec<_> = self.threads.drain(..).chain(self.upkeep.drain(..)).collect();
        while clock.now().mono < until && !threads.iter().all(JoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(5));
        }
        threads.into_iter().all(|thread| thread.is_finished() && thread.join().is_ok())
    }
}

fn repeat(stop: &AtomicBool, mut turn: impl FnMut() -> Duration) {
    while !stop.load(Ordering::Acquire) {
        let mut left = turn();
        while !left.is_zero() && !stop.load(Ordering::Acquire) {
            let part = left.min(STOP_LOOK);
            thread::sleep(part);
            left -= part;
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}
