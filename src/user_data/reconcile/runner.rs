//! The threads that reconcile: a few, each one account at a time. Another one looks at the database whenever a gap has got its
//! row, and from time to time anyway; the database's lease says whether this process plays the safety net.

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::drive::Unfinished;
use super::meter_file::SharedMeter;
use super::ports::AccountRest;
use super::queue::{ReconcileQueue, Task};
use super::run::{Found, Outlet, Run};
use super::status::ReconcileStatus;
use super::venue_clock::VenueClock;
use crate::domain::limits::{MUTE_AFTER, RECONCILE_LOOK_EVERY, RECONCILE_RETRY_MIN, RECONCILE_THREADS};
use crate::domain::{Clock, Mono, Random, Wall};
use crate::exchange::binance::fact::OrderFact;
use crate::spool::AccountId;
use crate::store::reconcile::{GapVerdict, Standing};
use crate::store::{LeaseState, SyncLease, WorkStore};
use crate::user_data::control::ports::ColumnCipher;
use crate::user_data::registry::Accounts;
use crate::user_data::spooler::RecoveredLink;

/// The note of gaps that nobody can close any more.
const REMOVED: &str = "the account was removed before what was missed could be read";
/// How often a thread without work looks for some.
const IDLE: Duration = Duration::from_millis(100);

/// How reconciles run.
#[derive(Clone, Debug)]
pub struct ReconcileConfig {
    /// `api_systems.canonical` of the venue.
    pub canonical: String,
    /// Whether local orders that do not show what was heard are told again: not in shadow mode, where none is ever changed.
    /// At the start; see [`Reconciler::set_heals`].
    pub heals: bool,
    /// From one round of the safety net to the next; `None`: there is none.
    pub sync_every: Option<Duration>,
}

/// Hears which accounts have something to lose.
pub type Exposed = Box<dyn Fn(&BTreeSet<i64>) + Send + Sync>;

/// A number that somebody else counts.
pub type Count = Box<dyn Fn() -> u64 + Send + Sync>;

/// What the threads work with.
pub struct ReconcileParts {
    /// Makes a thread's own session's owner.
    pub store: Box<dyn FnMut() -> WorkStore + Send>,
    /// Whoever holds it plays the safety net.
    pub lease: SyncLease,
    /// Reads the venue.
    pub rest: Arc<dyn AccountRest>,
    /// Laravel's columns.
    pub cipher: Arc<dyn ColumnCipher>,
    /// The address's weight.
    pub meter: Arc<SharedMeter>,
    /// Whose streams are live.
    pub accounts: Arc<Accounts>,
    /// Into the spool.
    pub recovered: RecoveredLink,
    /// Up to which position the spool is durable.
    pub synced: Count,
    /// Gaps that have their row: another number means another look.
    pub rows: Count,
    /// At each look.
    pub exposed: Exposed,
    /// The process's clock.
    pub clock: Arc<dyn Clock>,
    /// For jitter.
    pub random: Random,
}

struct Shared {
    core: Mutex<Core>,
    /// Never asked for while `core` is locked: it waits for the database.
    lease: Mutex<SyncLease>,
    wake: Condvar,
    config: ReconcileConfig,
    rest: Arc<dyn AccountRest>,
    cipher: Arc<dyn ColumnCipher>,
    meter: Arc<SharedMeter>,
    accounts: Arc<Accounts>,
    recovered: RecoveredLink,
    synced: Count,
    rows: Count,
    exposed: Exposed,
    clock: Arc<dyn Clock>,
    venue_clock: VenueClock,
    heals: AtomicBool,
}

struct Core {
    queue: ReconcileQueue,
    status: ReconcileStatus,
    look_at: Mono,
    /// The rows that the last look knew of.
    rows: u64,
    round_at: Mono,
    /// Whose the lease was at the last look; an error's sentence where nobody could say.
    lease: Option<Result<LeaseState, Arc<str>>>,
    is_stopping: bool,
}

/// The threads at work.
pub struct Reconciler {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Reconciler {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system has no thread left; those that were started end by themselves.
    pub fn start(config: ReconcileConfig, parts: ReconcileParts) -> io::Result<Reconciler> {
        let ReconcileParts {
            mut store,
            lease,
            rest,
            cipher,
            meter,
            accounts,
            recovered,
            synced,
            rows,
            exposed,
            clock,
            random,
        } = parts;
        let core = Core {
            queue: ReconcileQueue::new(random),
            status: ReconcileStatus::default(),
            look_at: Mono::ZERO,
            rows: 0,
            round_at: config.sync_every.map_or(Mono::NEVER, |every| clock.now().mono.plus(every)),
            lease: None,
            is_stopping: false,
        };
        let (core, wake, lease) = (Mutex::new(core), Condvar::new(), Mutex::new(lease));
        let (venue_clock, heals) = (VenueClock::default(), AtomicBool::new(config.heals));
        let shared = Arc::new(Shared {
            core,
            lease,
            wake,
            config,
            rest,
            cipher,
            meter,
            accounts,
            recovered,
            synced,
            rows,
            exposed,
            clock,
            venue_clock,
            heals,
        });
        let mut reconciler = Reconciler { shared: Arc::clone(&shared), threads: Vec::new() };
        for number in 0..=RECONCILE_THREADS {
            let (shared, store) = (Arc::clone(&shared), store());
            let thread = match number {
                RECONCILE_THREADS => named("reconcile-look".to_owned()).spawn(move || shared.watch(store)),
                _ => named(format!("reconcile-{number}")).spawn(move || shared.work(store)),
            };
            match thread {
                Ok(thread) => reconciler.threads.push(thread),
                Err(error) => {
                    reconciler.tell_to_stop();
                    return Err(error);
                }
            }
        }
        Ok(reconciler)
    }

    /// Whether a thread has ended that nobody stopped.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// What to show.
    #[must_use]
    pub fn status(&self) -> ReconcileStatus {
        let mut status = {
            let core = self.shared.core.lock();
            let queue = core.queue.status();
            ReconcileStatus {
                waiting: queue.waiting,
                running: queue.running,
                degraded: queue.degraded,
                sync_left: queue.sync_left,
                ..core.status.clone()
            }
        };
        let now = self.shared.clock.now();
        status.venue_ahead_ms = self.shared.venue_clock.ahead_ms(now);
        status.clock_warning = self.shared.venue_clock.warning(now);
        status.meter = self.shared.meter.status(now);
        status.meter_warning = self.shared.meter.warning();
        status
    }

    /// As [`ReconcileConfig::heals`], from the next reconcile on: the allowlist may change while the process runs.
    pub fn set_heals(&self, heals: bool) {
        self.shared.heals.store(heals, Ordering::Relaxed);
    }

    /// Tells the threads to end; what they were at is outstanding, and begins anew with the next start.
    pub fn tell_to_stop(&self) {
        self.shared.core.lock().is_stopping = true;
        self.shared.wake.notify_all();
    }

    /// Ends the threads inside `bound`; one that hangs in a call is left behind. Whether all ended.
    pub fn stop(&mut self, bound: Duration) -> bool {
        self.tell_to_stop();
        let clock = Arc::clone(&self.shared.clock);
        let until = clock.now().mono.plus(bound);
        while !self.threads.iter().all(JoinHandle::is_finished) {
            if clock.now().mono >= until {
                return false;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // A panic has been printed by the thread itself.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
        // Nobody acts any more, so somebody else may; with a thread left behind it goes with the process.
        self.shared.lease.lock().give_up();
        true
    }
}

fn named(name: String) -> thread::Builder {
    thread::Builder::new().name(name)
}

impl Drop for Reconciler {
    fn drop(&mut self) {
        self.tell_to_stop();
    }
}

impl Shared {
    /// Looks at the database, on a thread of its own: those that reconcile may all be waiting for weight.
    fn watch(&self, mut store: WorkStore) {
        let mut core = self.core.lock();
        while !core.is_stopping {
            let rows = (self.rows)();
            if self.clock.now().mono >= core.look_at || rows != core.rows {
                core.rows = rows;
                self.look(&mut core, &mut store);
                self.wake.notify_all();
            } else {
                self.wake.wait_for(&mut core, IDLE);
            }
        }
    }

    fn work(&self, mut store: WorkStore) {
        let mut core = self.core.lock();
        while !core.is_stopping {
            let now = self.clock.now();
            let Some((account, task)) = core.queue.poll(now, |account| self.live_since(account).is_some()) else {
                self.wake.wait_for(&mut core, IDLE);
                continue;
            };
            if task == Task::Sync && !MutexGuard::unlocked(&mut core, || self.holds_lease()) {
                core.queue.handle_done(account, Err(Unfinished::Interrupted), self.clock.now());
                core.queue.abandon_round();
                continue;
            }
            let found = MutexGuard::unlocked(&mut core, || {
                let done = catch_unwind(AssertUnwindSafe(|| self.run(account, task, &mut store)));
                done.unwrap_or_else(|_| {
                    store.close();
                    Err(Unfinished::because("the reconcile broke off inside this program"))
                })
            });
            self.note(&mut core, account, task, found);
        }
    }

    fn look(&self, core: &mut MutexGuard<'_, Core>, store: &mut WorkStore) {
        let canonical = &self.config.canonical;
        let look = MutexGuard::unlocked(core, || {
            let now = self.clock.now().wall;
            let look = store.run(|tables| {
                let gaps = tables.gaps_waiting(canonical)?;
                for of in gaps.iter().filter(|of| of.standing == Standing::Removed) {
                    let verdict = GapVerdict { outcome: Some("account_removed"), note: REMOVED, recovered: 0, at: now };
                    let count = tables.give_up_gaps(of.account_id, &verdict)?;
                    tracing::warn!(account = of.account_id, "{count} gaps of a removed account stay unread");
                }
                Ok((gaps, tables.exposures(canonical)?))
            });
            (look, self.config.sync_every.map(|_| self.ask_lease()))
        });
        let (look, lease) = look;
        note_lease(&mut core.lease, lease);
        let now = self.clock.now();
        core.look_at = now.mono.plus(RECONCILE_LOOK_EVERY);
        match look {
            Ok((gaps, exposed)) => {
                core.status.database_fault = None;
                core.status.switched_off = gaps.iter().filter(|of| of.standing == Standing::SwitchedOff).count();
                let gaps: Vec<_> = gaps.into_iter().filter(|of| of.standing == Standing::Streamed).collect();
                core.queue.handle_look(&gaps, &exposed);
                (self.exposed)(&exposed.iter().map(|exposure| exposure.account_id).collect());
                self.tend_round(core);
            }
            Err(error) => {
                let sentence: Arc<str> = error.to_string().into();
                if core.status.database_fault.as_ref() != Some(&sentence) {
                    tracing::warn!("reconciles wait for the database: {sentence}");
                }
                core.status.database_fault = Some(sentence);
                core.look_at = now.mono.plus(RECONCILE_RETRY_MIN);
            }
        }
    }

    fn tend_round(&self, core: &mut Core) {
        let Some(every) = self.config.sync_every else { return };
        core.queue.skip_unready(|account| self.live_since(account).is_some());
        let now = self.clock.now();
        if now.mono < core.round_at {
            return;
        }
        // While somebody else holds the lease it is asked for again at the next look.
        if core.lease == Some(Ok(LeaseState::Ours)) && core.queue.start_round(now) {
            core.round_at = now.mono.plus(every);
        }
    }

    fn ask_lease(&self) -> Result<LeaseState, Arc<str>> {
        self.lease.lock().take().map_err(|error| error.to_string().into())
    }

    fn holds_lease(&self) -> bool {
        self.ask_lease() == Ok(LeaseState::Ours)
    }

    fn live_since(&self, account: i64) -> Option<Wall> {
        let cell = self.accounts.cell(AccountId(u64::try_from(account).ok()?))?;
        cell.state(self.clock.now()).0.live_since
    }

    fn run(&self, account: i64, task: Task, store: &mut WorkStore) -> Result<Found, Unfinished> {
        let Some(live_since) = self.live_since(account) else { return Err(Unfinished::Interrupted) };
        // A stream that breaks meanwhile has a newer gap, and one reconcile closes both.
        let goes_on = || self.live_since(account) == Some(live_since) && !self.core.lock().is_stopping;
        let mut run = Run {
            account,
            canonical: &self.config.canonical,
            heals: self.heals.load(Ordering::Relaxed),
            store,
            rest: &*self.rest,
            cipher: &*self.cipher,
            meter: &self.meter,
            clock: &*self.clock,
            venue_clock: &self.venue_clock,
            goes_on: &goes_on,
        };
        let outlet = Outlet { link: &self.recovered, synced: &self.synced };
        let found = match task {
            Task::Gaps => run.close_gaps(&outlet),
            Task::Sync => run.sync_orders(Some(&outlet)),
        };
        if let Err(error) = run.note_asked(&found) {
            tracing::warn!(account, "when it was compared is not noted: {error}");
        }
        if let (Task::Sync, Ok(found)) = (task, &found) {
            self.leave_if_mute(account, found);
        }
        found
    }

    /// An order event that nobody heard while the stream was live may mean that its connection brings nothing.
    fn leave_if_mute(&self, account: i64, found: &Found) {
        let now = self.clock.now();
        // Events are stamped by the venue's clock, frames by ours.
        let ahead_ms = self.venue_clock.ahead_ms(now).unwrap_or(0);
        let until = now.wall.as_millis().saturating_sub(MUTE_AFTER.as_millis() as i64);
        let missed = found.conclusion.events.iter().filter(|event| event.is_missed);
        let of_orders = missed.filter(|event| OrderFact::read(event.text.as_bytes()).is_some());
        let at = of_orders.map(|event| event.at_ms.saturating_sub(ahead_ms)).filter(|at_ms| *at_ms <= until).max();
        let Some(at_ms) = at else { return };
        let cell = u64::try_from(account).ok().and_then(|id| self.accounts.cell(AccountId(id)));
        if cell.is_some_and(|cell| cell.account(now, |account| account.handle_unheard(Wall::from_millis(at_ms), now))) {
            tracing::warn!(account, "its stream is mute: subscribed, and it brings no events; it is left");
        }
    }

    fn note(&self, core: &mut Core, account: i64, task: Task, found: Result<Found, Unfinished>) {
        let now = self.clock.now();
        let outcome = match &found {
            Ok(found) => {
                let conclusion = &found.conclusion;
                core.status.note_repairs(&found.repairs);
                core.status.recovered += conclusion.missed() as u64;
                core.status.note_drift(account, &conclusion.drift);
                if task == Task::Gaps {
                    tracing::info!(
                        account,
                        gaps = found.repairs.len(),
                        "reconciled: {} events recovered, {} local orders elsewhere than at the venue",
                        conclusion.missed(),
                        conclusion.drift.len()
                    );
                } else if !conclusion.events.is_empty() {
                    tracing::warn!(
                        account,
                        "the safety net found {} events that nobody heard and {} local orders elsewhere than at the venue",
                        conclusion.missed(),
                        conclusion.drift.len()
                    );
                }
                Ok(found.newest_id)
            }
            Err(unfinished) => {
                if let Some(sentence) = unfinished.sentence() {
                    tracing::warn!(account, "degraded: not reconciled: {sentence}");
                }
                Err(unfinished.clone())
            }
        };
        if let Some(round) = core.queue.handle_done(account, outcome, now) {
            core.status.rounds += 1;
            core.status.round = Some(round);
            core.status.round_ended_at = Some(now.wall);
        }
        self.wake.notify_all();
    }
}

/// Keeps whose the lease is, and says so when that changes.
fn note_lease(known: &mut Option<Result<LeaseState, Arc<str>>>, now: Option<Result<LeaseState, Arc<str>>>) {
    if *known == now {
        return;
    }
    match &now {
        Some(Ok(LeaseState::Ours)) => tracing::info!("this process plays the safety net (sync-orders)"),
        Some(Ok(LeaseState::Theirs(holder))) => tracing::info!("the safety net (sync-orders) is played by {holder}"),
        Some(Err(error)) => tracing::warn!("no safety net (sync-orders): its lease cannot be asked for: {error}"),
        None => {}
    }
    *known = now;
}
