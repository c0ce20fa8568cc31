//! The user-data role: loops, spooler, syncer, dispatcher and control around one spool. Starts them, shows what they do,
//! stops them in order.
//!
//! Stopping: the loops first (close frames), so that nothing new comes; the spooler writes what was taken; the dispatcher gets
//! what is left of the bound; the syncer makes it durable and saves the cursor; control writes its rows last. What the
//! dispatcher could not push stays in the spool and goes out with the next start.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::bounded;
use parking_lot::Mutex;

use super::account_host::{AccountHost, HostConfig, HostedLoop, LoopReading, Names};
use super::account_threads::{run_dispatcher, run_spooler, run_syncer};
use super::control_ports::MeteredListenKeyRest;
use super::reconcile_wiring::{self, ReconcileRole};
use super::thread::{join_within, spawn};
use super::venue_memory::VenueMemory;
use crate::domain::limits::{ACCOUNT_COMMANDS_MAX, POLICY_EVERY};
use crate::domain::{Clock, Mono, Now, Random};
use crate::event_loop::{self, ConnectGate, LoopConfig, LoopHandle};
use crate::ops::Settings;
use crate::ops::status::{AccountStatus, LatencyUs, UserDataStatus};
use crate::queue::{InProcessQueue, JobShape, JobSink, JobWriter};
use crate::spool::{self, Epoch, FolderDisk, OpenReport, SpoolConfig};
use crate::store::UserDataStore;
use crate::user_data::control::ports::{ColumnCipher, ListenKeyRest};
use crate::user_data::control::{self, ControlConfig, ControlHandle, ControlParts};
use crate::user_data::dispatcher::{AppliedEvents, DispatchParts, DispatcherStatus};
use crate::user_data::gaps::GapRows as _;
use crate::user_data::lane::Lane;
use crate::user_data::reconcile::meter_file::SharedMeter;
use crate::user_data::reconcile::runner::{ReconcileParts, Reconciler};
use crate::user_data::registry::Accounts;
use crate::user_data::spooler::{Spooler, SpoolerStatus};

/// Of the time in which the role ends: what is kept for the threads behind the loops, once there is nothing left to push.
const END_MARGIN: Duration = Duration::from_secs(2);

/// What the role needs.
pub struct AccountRoleConfig {
    /// Streams of accounts.
    pub host: HostConfig,
    /// Threads that read sockets.
    pub threads: usize,
    /// Discovery and listen keys.
    pub control: ControlConfig,
    /// The control threads' database.
    pub store: UserDataStore,
    /// Another session of the same, for a question at the start.
    pub venue_store: UserDataStore,
    /// What earlier starts knew of the venue's number.
    pub venue_memory: VenueMemory,
    /// The venue's REST.
    pub rest: Arc<dyn ListenKeyRest>,
    /// Laravel's cipher.
    pub cipher: Arc<dyn ColumnCipher>,
    /// The spool's folder, which this process owns from now on.
    pub disk: FolderDisk,
    /// Its bounds.
    pub spool: SpoolConfig,
    /// Its epoch: 128 random bits.
    pub epoch: Epoch,
    /// From one durable liveness mark to the next.
    pub mark_every: Duration,
    /// Where jobs go.
    pub sink: Box<dyn JobSink>,
    /// What they look like.
    pub shape: JobShape,
    /// The consumer's end of the queue, where it is in this process.
    pub queue: Option<InProcessQueue>,
    /// How far its consumer has committed; 0 for unknown.
    pub audited: Arc<AtomicU64>,
    /// REST weight of this machine's address.
    pub meter: Arc<SharedMeter>,
    /// What closes gaps; `None`: nobody here.
    pub reconcile: Option<ReconcileRole>,
    /// Says which events are applied, where the queue has lost its jobs.
    pub applied: Box<dyn AppliedEvents>,
    /// Jobs of one push, and how long one waits for companions.
    pub batch: (usize, Duration),
}

/// The running role.
pub struct AccountRole {
    accounts: Arc<Accounts>,
    names: Names,
    loops: Vec<LoopHandle>,
    control: ControlHandle,
    gate: Arc<dyn ConnectGate>,
    reconciler: Option<Reconciler>,
    allowlist_at: Mono,
    spooler_status: Arc<Mutex<SpoolerStatus>>,
    dispatcher_status: Arc<Mutex<DispatcherStatus>>,
    report: OpenReport,
    stop: Stops,
    threads: Threads,
}

/// A flag for each step of stopping.
#[derive(Clone, Default)]
struct Stops {
    host: Arc<AtomicBool>,
    spooler: Arc<AtomicBool>,
    dispatcher: Arc<AtomicBool>,
    syncer: Arc<AtomicBool>,
}

struct Threads {
    host: JoinHandle<()>,
    spooler: JoinHandle<usize>,
    dispatcher: JoinHandle<()>,
    syncer: JoinHandle<()>,
}

impl AccountRole {
    /// Opens the spool and starts everything.
    ///
    /// # Errors
    /// A spool that cannot be opened (damaged beyond repair, or another process has it), or a system without threads.
    pub fn start(config: AccountRoleConfig, clock: Arc<dyn Clock>, mut random: Random) -> io::Result<AccountRole> {
        let AccountRoleConfig { mut host, control, store, rest, cipher, sink, shape, audited, applied, .. } = config;
        let venue = (config.venue_store, config.venue_memory);
        let opened = spool::open(config.disk, config.spool, config.epoch, clock.now()).map_err(io::Error::other)?;
        host.found.clone_from(&opened.report.accounts);
        let gate = Arc::clone(&host.gate);
        let accounts = Accounts::new();
        let names = Names::default();

        let (wake, woken) = bounded(1);
        let mut loops = Vec::new();
        let mut hosted = Vec::new();
        for _ in 0..config.threads.max(1) {
            let handle =
                event_loop::spawn_empty(LoopConfig::user_data(Arc::clone(&gate)), Arc::clone(&clock), random.fork())?;
            hosted.push(HostedLoop { control: handle.control().clone(), lane: Lane::new(wake.clone()) });
            loops.push(handle);
        }

        let (tell, commands) = bounded(ACCOUNT_COMMANDS_MAX);
        let meter = config.meter;
        let rest = Arc::new(MeteredListenKeyRest { rest, meter: Arc::clone(&meter), clock: Arc::clone(&clock) });
        let parts = ControlParts {
            store,
            rest,
            cipher: Arc::clone(&cipher),
            clock: Arc::clone(&clock),
            random: random.fork(),
            commands: tell,
        };
        let control = control::spawn(&control, parts)?;

        let reading = LoopReading { loops: hosted.iter().map(|hosted| hosted.control.clone()).collect() };
        let lanes = hosted.iter().map(|hosted| Arc::clone(&hosted.lane)).collect();
        let spooler = Spooler::new(opened.appender, lanes, Arc::clone(&accounts), Box::new(reading))
            .with_marks_every(config.mark_every);
        let (damage, spooler_status) = (spooler.damage_link(), spooler.status());
        let recovered = spooler.recovered_link();

        let stop = Stops::default();
        let dispatcher_status: Arc<Mutex<DispatcherStatus>> = Arc::default();
        let parts = DispatchParts {
            reader: opened.reader,
            sink,
            writer: JobWriter::new(shape),
            rows: Box::new(control.link()),
            damage,
            audited,
            applied,
            clock: Arc::clone(&clock),
            random: random.fork(),
        };
        let host = AccountHost::new(
            host,
            hosted,
            Arc::clone(&accounts),
            Arc::clone(&names),
            control.link(),
            Arc::clone(&spooler_status),
            (Arc::clone(&clock), random.fork()),
        );
        let threads = Threads {
            syncer: spawn("spool-sync", {
                let (stop, clock) = (Arc::clone(&stop.syncer), Arc::clone(&clock));
                move || run_syncer(opened.syncer, &*clock, &stop)
            })?,
            spooler: spawn("spooler", {
                let (stop, clock) = (Arc::clone(&stop.spooler), Arc::clone(&clock));
                move || run_spooler(spooler, &woken, &*clock, &stop)
            })?,
            dispatcher: spawn("dispatcher", {
                let (stop, shown) = (Arc::clone(&stop.dispatcher), Arc::clone(&dispatcher_status));
                let batch = config.batch;
                move || run_dispatcher(parts, batch, venue, &shown, &stop)
            })?,
            host: spawn("account-host", {
                let stop = Arc::clone(&stop.host);
                move || host.run(&commands, &stop)
            })?,
        };
        let reconciler = match config.reconcile {
            None => None,
            Some(ReconcileRole { config, store, lease, rest }) => {
                let (positions, rows) = (Arc::clone(&spooler_status), control.link());
                let parts = ReconcileParts {
                    store,
                    lease,
                    rest,
                    cipher,
                    meter,
                    accounts: Arc::clone(&accounts),
                    recovered,
                    synced: Box::new(move || positions.lock().spool.positions.synced),
                    rows: Box::new(move || rows.settled()),
                    clock: Arc::clone(&clock),
                    random: random.fork(),
                };
                Some(Reconciler::start(config, parts)?)
            }
        };
        let report = opened.report;
        Ok(AccountRole {
            reconciler,
            allowlist_at: clock.now().mono.plus(POLICY_EVERY),
            accounts,
            names,
            loops,
            control,
            gate,
            spooler_status,
            dispatcher_status,
            report,
            stop,
            threads,
        })
    }

    /// What opening the spool found.
    #[must_use]
    pub fn open_report(&self) -> &OpenReport {
        &self.report
    }

    /// Looks for accounts soon, and tries those that the venue refused at once: what was wrong may be mended.
    pub fn reload(&self) {
        self.control.link().discover();
        self.control.link().retry_refused();
    }

    /// Reads the allowlist again, now and then or `at_once`: whether reconciles tell local orders again follows it, as the worker
    /// does. What cannot be read leaves it as it was.
    pub fn refresh_allowlist(&mut self, named: Option<&Path>, at_once: bool, now: Now) {
        let Some(reconciler) = self.reconciler.as_ref().filter(|_| at_once || now.mono >= self.allowlist_at) else {
            return;
        };
        self.allowlist_at = now.mono.plus(POLICY_EVERY);
        if let Ok((settings, _)) = Settings::load(named) {
            reconciler.set_heals(reconcile_wiring::heals(&settings));
        }
    }

    /// Whether a thread has ended that nobody stopped.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.loops.iter().any(LoopHandle::is_finished)
            || self.control.has_lost_a_thread()
            || self.threads.spooler.is_finished()
            || self.threads.dispatcher.is_finished()
            || self.threads.syncer.is_finished()
            || self.threads.host.is_finished()
            || self.reconciler.as_ref().is_some_and(Reconciler::is_broken)
    }

    /// What the role shows.
    #[must_use]
    pub fn status(&self, now: Now) -> UserDataStatus {
        let (spooler, dispatcher) = (self.spooler_status.lock().clone(), self.dispatcher_status.lock().clone());
        let control = self.control.status();
        let names = self.names.lock().clone();
        let mut status = UserDataStatus {
            accounts: control.accounts as u64,
            spool_bytes: spooler.spool.bytes,
            written: spooler.spool.positions.written,
            synced: spooler.spool.positions.synced,
            dispatched: spooler.spool.positions.dispatched,
            acked: spooler.spool.positions.acked,
            jobs: dispatcher.jobs,
            behind: dispatcher.behind,
            rewinds: dispatcher.rewinds,
            left_out: dispatcher.left_out,
            poisoned: dispatcher.poisoned,
            queue_depth: dispatcher.depth,
            frame_to_job_us: (dispatcher.frame_to_job.count > 0).then_some(LatencyUs {
                p50: dispatcher.frame_to_job.p50_us,
                p99: dispatcher.frame_to_job.p99_us,
                max: dispatcher.frame_to_job.max_us,
            }),
            ..UserDataStatus::default()
        };
        for cell in self.accounts.all() {
            let (state, counts) = cell.state(now);
            status.frames += counts.frames;
            status.gaps += counts.gaps;
            status.live += u64::from(state.live_since.is_some());
            let name = names.get(&cell.id()).map(|(name, _)| name.to_string()).unwrap_or_default();
            status.streams.push(AccountStatus {
                id: cell.id().0,
                name,
                phase: state.phase.to_owned(),
                spelling: state.delivered.map(|spelling| spelling.to_string()),
                frames: counts.frames,
                gaps: counts.gaps,
                last_frame_at: state.last_frame_at.map(crate::ops::status::iso),
                degraded: state.degraded,
                rotations: state.rotation.done,
                rotations_failed: state.rotation.failed,
                last_rotation_at: state.rotation.last_at.map(crate::ops::status::iso),
                overlap_ms: state
                    .rotation
                    .overlap
                    .map(|overlap| u64::try_from(overlap.as_millis()).unwrap_or(u64::MAX)),
                folded: state.rotation.counts.folded,
                near_duplicates: state.rotation.counts.near_duplicates,
                late_frames: state.rotation.counts.late,
            });
        }
        for (id, name, trouble) in &control.troubles {
            status.alarms.push(format!("account {id} ({name}): {trouble}"));
        }
        if let Some((text, since)) = &spooler.shut {
            status.alarms.push(format!("nothing is read since {since}: {text}"));
        }
        if let Some(stuck) = &dispatcher.stuck {
            status.alarms.push(format!("jobs wait in the spool since {}: {}", stuck.since, stuck.text));
        }
        if let Some(fault) = &control.database_fault {
            status.alarms.push(format!("accounts and rows wait for the database: {fault}"));
        }
        if let Some(until) = control.address_held_until {
            status.alarms.push(format!("the venue lets nobody call from this address until {until}"));
        }
        let held = self.gate.held_for(now);
        if !held.is_zero() {
            status.alarms.push(format!(
                "the venue has turned this address away (418 or 429): no stream connects for {} s",
                held.as_secs() + 1
            ));
        }
        if let Some(reconciler) = &self.reconciler {
            reconcile_wiring::show(&reconciler.status(), &mut status);
        }
        for stream in &status.streams {
            if let Some(reason) = &stream.degraded {
                status.alarms.push(format!("account {} ({}): {reason}", stream.id, stream.name));
            }
        }
        status
    }

    /// Ends everything inside `bound`; says whether all that was taken is in the spool.
    pub fn stop(mut self, bound: Duration, clock: &dyn Clock) -> bool {
        let until = clock.now().mono.plus(bound);
        self.stop.host.store(true, Ordering::Release);
        if let Some(reconciler) = &self.reconciler {
            reconciler.tell_to_stop();
        }
        self.loops.iter().for_each(LoopHandle::stop);
        for event_loop in self.loops.drain(..) {
            if let Err(error) = event_loop.join() {
                tracing::error!("a loop ended badly: {error}");
            }
        }
        self.stop.spooler.store(true, Ordering::Release);
        let unwritten = self.threads.spooler.join().unwrap_or(usize::MAX);
        // The dispatcher has what is left, but for the time in which the rest ends.
        let drained = until.since(clock.now().mono).saturating_sub(END_MARGIN);
        let drain_until = clock.now().mono.plus(drained);
        while clock.now().mono < drain_until && !self.threads.dispatcher.is_finished() {
            let (left, is_stuck) = {
                let status = self.dispatcher_status.lock();
                (status.unacknowledged, status.stuck.is_some())
            };
            if left == 0 || is_stuck {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.stop.dispatcher.store(true, Ordering::Release);
        // One that waits for a server which answers nothing is left to the end of the process: its records stay in the spool.
        join_within(self.threads.dispatcher, END_MARGIN, clock);
        self.stop.syncer.store(true, Ordering::Release);
        let _ = self.threads.syncer.join();
        let _ = self.threads.host.join();
        if let Some(mut reconciler) = self.reconciler.take() {
            reconciler.stop(Duration::from_millis(200));
        }
        self.control.stop(until.since(clock.now().mono).max(Duration::from_millis(200)));
        if unwritten > 0 {
            tracing::error!(
                "{unwritten} records could not be written; they lie in the gap that the next start records"
            );
        }
        unwritten == 0
    }
}
