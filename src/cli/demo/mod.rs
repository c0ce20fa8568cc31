//! `demo`: a simulated exchange, the price stream against it, faults, and a ledger that must balance.
//!
//! The parts are the real ones: the roles that `prices` and `user-data` run, TLS and WebSocket on loopback, instruments and
//! listen keys over REST, SQLite and the spool in a temporary folder, the in-process queue and the worker. Only the exchange is
//! simulated, and it keeps the truth that the [`judge`] compares with; and so is the trading application, whose orders the
//! worker keeps.

mod accounts;
mod audit_report;
pub(crate) mod check;
mod gap_story;
mod judge;
mod kill;
mod latency;
mod orders;
mod repairs;
mod report;
mod saboteur;
mod stage;
mod truth;
mod view;
mod watched_source;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::args::DemoArgs;
use super::exit::{CommandError, Exit};
use super::out;
use crate::daemon::price_role::{PriceRole, PriceRoleConfig, faults_by_kind};
use crate::daemon::shown::{self, Shown};
use crate::daemon::wiring;
use crate::domain::limits::STOP_MAX;
use crate::domain::time::SystemClock;
use crate::domain::{Clock, Mono, Random};
use crate::ops::signals::Signal;
use crate::ops::status::{RateMeter, rss_bytes};
use crate::ops::{Signals, Status};
use crate::sim::{Ledger, Script, SimHandle, Simulator};
use crate::store::sqlite::SqliteStore;
use accounts::{FAULTS_WITHIN, PrivateHalf};
use audit_report::AuditReport;
use gap_story::GapStory;
use judge::Evidence;
use report::{CheckReport, Percentiles, Report};
use saboteur::{Saboteur, Watch};
use stage::{Folder, database, prepare, settings, system};
use view::{Moment, View};

/// From one look at role and table to the next.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long faults that are still to come are waited for.
const FAULTS_MAX: Duration = Duration::from_secs(30);
/// How long the end may take: prices frozen, last tick delivered, written, compared.
const SETTLE_MAX: Duration = Duration::from_secs(20);
/// How long gaps that are open at the end have until they are repaired: a minute's REST weight may be used up, and is then
/// waited for.
const REPAIRED_MAX: Duration = Duration::from_secs(90);
/// How long frames are counted in the quiet end.
const QUIET: Duration = Duration::from_secs(3);

pub(super) fn run(args: &DemoArgs) -> Result<Exit, CommandError> {
    if args.kill {
        return kill::run(args);
    }
    let signals = Signals::listen().map_err(system)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let mut view = View::new();
    let status = Status::new("demo", clock.now().wall, Duration::from_secs(1));
    let shown = Arc::new(Shown::new(status.clone()));
    let page = shown::open_page(args.page, &shown);
    match &page {
        Some(page) => view.say(&format!("live page: http://{}/", page.address())),
        None => view.say(&format!("no live page: {} is taken; --page ADDRESS names another", args.page)),
    }

    let folder = Folder::create().map_err(|error| CommandError::new(Exit::CantCreate, error.to_string()))?;
    let seed = args.seed.map_or_else(super::seed, Ok)?;
    let sim = Simulator::start(stage::exchange_config(seed, accounts::config(args.seconds))).map_err(system)?;
    let settings = settings(&sim, folder.path(), args.break_check)?;
    prepare(&sim, &settings, folder.path(), args.break_check)?;
    let watch = Arc::new(Watch::default());
    let mut random = Random::from_seed(seed);
    let config = PriceRoleConfig {
        session: wiring::price_session(&settings)?,
        sink: wiring::price_sink(&settings, "kraite-streams demo")?,
        writer: wiring::writer_settings(&settings),
        gate: wiring::connect_gate(&settings, &mut random),
    };
    let breaks = args.break_check;
    let watched = Arc::clone(&watch);
    let role = PriceRole::start(config, Arc::clone(&clock), random.fork(), move |consumer| {
        Box::new(Saboteur::new(consumer, watched, breaks))
    })
    .map_err(system)?;
    shown.show_prices(role.newest_reader());
    let private = PrivateHalf::start(&sim, &settings, folder.path(), &clock, &mut random, breaks)?;
    let store = SqliteStore::open(&database(folder.path()))?;
    let looks = Looks::default();
    let mut demo = Demo { args, seed, clock, shown, status, view, sim, role, private, store, watch, signals, looks };
    demo.view.say(&format!(
        "seed {seed}; {} symbols a second and {} accounts from {}; {} s{}",
        demo.sim.listed().len(),
        accounts::ACCOUNTS,
        demo.sim.stream_base(),
        args.seconds,
        if args.no_faults { ", no faults" } else { ", with faults" }
    ));
    let interrupted = demo.run_stream()?;
    let report = demo.settle_and_judge()?;
    for line in report.lines() {
        demo.view.say(&line);
    }
    if args.json {
        let text =
            serde_json::to_string(&report).map_err(|error| CommandError::new(Exit::Software, error.to_string()))?;
        out(&format!("{text}\n"))?;
    }
    if args.hold && !interrupted {
        demo.hold()?;
    }
    let ok = report.ok;
    let Demo { role, private, sim, clock, .. } = demo;
    role.stop(STOP_MAX, &*clock);
    private.stop(&*clock);
    sim.stop();
    Ok(if ok { Exit::Ok } else { Exit::Failed })
}

struct Demo<'a> {
    args: &'a DemoArgs,
    seed: u64,
    clock: Arc<dyn Clock>,
    shown: Arc<Shown>,
    status: Status,
    view: View,
    sim: SimHandle,
    role: PriceRole,
    private: PrivateHalf,
    store: SqliteStore,
    watch: Arc<Watch>,
    signals: Signals,
    looks: Looks,
}

/// What was seen while it ran.
#[derive(Default)]
struct Looks {
    sightings: Vec<String>,
    future_stamps: Vec<String>,
    rss_warm: u64,
    shown_at: Option<Mono>,
    gaps: GapStory,
    ticks: RateMeter,
}

impl Demo<'_> {
    /// Lets it run for its time; says whether a signal cut it short.
    fn run_stream(&mut self) -> Result<bool, CommandError> {
        let began = self.clock.now().mono;
        let time = Duration::from_secs(self.args.seconds);
        if !self.args.no_faults {
            let seconds = self.args.seconds;
            let script = Script::demo(seconds, self.seed);
            let within = seconds.min(FAULTS_WITHIN.as_secs());
            self.sim.run_script(script.with_accounts(within, self.seed, accounts::ACCOUNTS));
        }
        loop {
            let elapsed = self.clock.now().mono.since(began);
            if elapsed >= time {
                return Ok(false);
            }
            if elapsed * 2 >= time {
                self.watch.second_half.store(true, Ordering::Relaxed);
            }
            // A quarter of the time warms up: the first connection, the first write of every row, the first faults.
            if elapsed * 4 >= time && self.looks.rss_warm == 0 {
                self.looks.rss_warm = rss_bytes().unwrap_or(0);
            }
            self.look(elapsed)?;
            if self.wait(LOOK_EVERY)? {
                return Ok(true);
            }
        }
    }

    /// One look at role, simulator and table.
    fn look(&mut self, elapsed: Duration) -> Result<(), CommandError> {
        let now = self.clock.now();
        // Stamps are read before the clock is: a row stamped later than that is stamped in the future.
        let rows = self.store.priced_rows()?;
        let after = self.clock.now();
        judge::look(&rows, after.wall, &mut self.looks.sightings, &mut self.looks.future_stamps);
        if self.looks.shown_at.is_some_and(|at| now.mono.since(at) < Duration::from_secs(1)) {
            return Ok(());
        }
        self.looks.shown_at = Some(now.mono);
        self.role.fill(&mut self.status, now);
        self.status.user_data = Some(self.private.status(now));
        self.status.work = Some(self.private.work_status(now));
        self.shown.show(&self.status);
        for line in self.looks.gaps.news(&self.store, &self.sim, self.private.rows(), now.wall)? {
            self.view.say(&line);
        }
        let ticks_per_s = self.looks.ticks.rate(self.watch.ticks.load(Ordering::Relaxed), now.mono);
        let ledger = self.sim.ledger();
        let injected = ledger.faults_total();
        // A fault inside the data breaks no connection: it is survived when it is over.
        let breaking = |kind: &str| kind.parse::<crate::sim::FaultKind>().is_ok_and(|kind| kind.ends_connection());
        let within: u64 = ledger.faults.iter().filter(|(kind, _)| !breaking(kind)).map(|(_, count)| count).sum();
        let named: u64 = self.role.stream().faults_by_kind.iter().sum();
        let survived = injected.min(named + within);
        self.view.show(&self.status, Moment { elapsed, ticks_per_s, injected, survived });
        Ok(())
    }

    /// Waits; says whether a signal asked to stop.
    fn wait(&self, time: Duration) -> Result<bool, CommandError> {
        match self.signals.receiver().recv_timeout(time) {
            Ok(Signal::Stop) => Ok(true),
            Ok(Signal::Reload) | Err(crossbeam_channel::RecvTimeoutError::Timeout) => Ok(false),
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                Err(CommandError::new(Exit::Software, "the signal thread is gone"))
            }
        }
    }

    /// In a short run the script's last faults may still wait for a connection: they get the time they need.
    fn wait_for_faults(&mut self) -> Result<(), CommandError> {
        let script = (!self.args.no_faults).then(|| Script::demo(self.args.seconds, self.seed));
        let scripted = script.map_or(0, |script| script.steps().count() as u64);
        let began = self.clock.now().mono;
        let deadline = began.plus(FAULTS_MAX);
        let is_through = |demo: &mut Self| {
            let now = demo.clock.now();
            demo.sim.ledger().faults_total() >= scripted && demo.private.is_through(&demo.sim, now)
        };
        while !is_through(self) && self.clock.now().mono < deadline {
            self.look(Duration::from_secs(self.args.seconds) + self.clock.now().mono.since(began))?;
            self.wait(LOOK_EVERY)?;
        }
        Ok(())
    }

    /// Freezes prices, lets the last of them reach the table, and judges.
    fn settle_and_judge(&mut self) -> Result<Report, CommandError> {
        self.wait_for_faults()?;
        let rss_end = rss_bytes().unwrap_or(0);
        self.sim.quiesce();
        let settled = self.sim.wait_settled(SETTLE_MAX);
        if !settled {
            self.view.say("the stream did not settle: no live connection has had the whole list at its last prices");
        }
        let quiet_frames = self.count_quiet_frames()?;
        let book = truth::book(&self.sim);
        let deadline = self.clock.now().mono.plus(if settled { SETTLE_MAX } else { Duration::ZERO });
        // The last commit may be on its way: the table has until the deadline to agree.
        let rows = loop {
            let rows = self.store.priced_rows()?;
            let comparison = truth::compare(&rows, &book, &self.sim.last_valid_prices());
            let agrees = comparison.wrong.is_empty() && comparison.wrong_shifted.is_empty();
            if agrees || self.clock.now().mono >= deadline || self.args.break_check.is_some() {
                break rows;
            }
            self.wait(LOOK_EVERY)?;
        };
        judge::look(&rows, self.clock.now().wall, &mut self.looks.sightings, &mut self.looks.future_stamps);
        let audit = self.judge_accounts()?;
        let user_data = self.private.status(self.clock.now());
        let (ledger, stream, writer) = (self.sim.ledger(), self.role.stream(), self.role.writer());
        let verdicts = Evidence {
            sim: &self.sim,
            ledger: &ledger,
            with_faults: !self.args.no_faults,
            rows: &rows,
            book: &book,
            stream: &stream,
            sightings: &self.looks.sightings,
            future_stamps: &self.looks.future_stamps,
            quiet_frames,
            audit: &audit,
            rss: (self.looks.rss_warm, rss_end),
        }
        .judge();
        let counts = &stream.counts;
        Ok(Report {
            ok: verdicts.iter().all(|verdict| verdict.ok),
            seconds: self.clock.now().mono.since(Mono::ZERO).as_secs_f64(),
            seed: self.seed,
            ticks: self.watch.ticks.load(Ordering::Relaxed),
            rows_written: writer.rows_written,
            commits: writer.commits,
            tick_to_commit_us: Percentiles {
                p50: writer.tick_to_commit_us.p50,
                p99: writer.tick_to_commit_us.p99,
                max: writer.tick_to_commit_us.max,
            },
            frames: user_data.frames,
            gaps: audit.repairs.gaps,
            gaps_repaired: audit.repairs.repaired,
            recovered_events: audit.repairs.recovered,
            break_to_repair_ms: audit.repairs.break_to_repair_ms,
            fills: audit.repairs.fills,
            fills_recovered: audit.repairs.fills_recovered,
            audit_rows: audit.frames.frames,
            orders_checked: audit.orders.checked,
            orders_repaired: audit.orders.repaired,
            orders_in_gaps: audit.orders.in_gaps,
            intents: audit.orders.intents_total(),
            frame_to_job_us: user_data.frame_to_job_us.map_or_else(Percentiles::default, |us| Percentiles {
                p50: us.p50,
                p99: us.p99,
                max: us.max,
            }),
            frame_to_audit_us: audit.latencies.from_sent,
            event_to_audit_us: audit.latencies.from_event,
            event_to_audit_outside_bursts_us: audit.latencies.outside_bursts,
            burst_frames: audit.latencies.burst_frames,
            rss_bytes: rss_end,
            account_faults: self.account_faults(),
            faults: ledger.faults.clone(),
            faults_named: faults_by_kind(&stream).collect(),
            ledger: report::Ledger {
                frames_sent: ledger.frames_delivered + ledger.unbalanced_delivered,
                entries_sent: ledger.entries_delivered,
                frames_received: counts.frames,
                entries_received: counts.entries,
                accepted: counts.accepted,
                conflated: counts.conflated,
                rejected: counts.rejected_by_kind().filter(|(_, count)| *count > 0).collect(),
                frames_refused: counts.frame_faults_by_kind().filter(|(_, count)| *count > 0).collect(),
                rows_written: writer.rows_written,
            },
            checks: verdicts.into_iter().map(CheckReport::from).collect(),
        })
    }

    /// Holds audit rows, orders and intents against the exchange. The last jobs may be on their way: they have until the
    /// deadline to agree.
    fn judge_accounts(&mut self) -> Result<AuditReport, CommandError> {
        let is_broken = self.args.break_check.is_some();
        let most = if is_broken { QUIET } else { SETTLE_MAX };
        if !self.sim.wait_delivered(most) {
            self.view.say("frames of the exchange's accounts are still under way");
        }
        let began = self.clock.now().mono;
        loop {
            let report = self.private.judge(&self.sim, self.clock.now())?;
            let elapsed = self.clock.now().mono.since(began);
            let bound = if report.repairs.open.is_empty() || is_broken { most } else { REPAIRED_MAX };
            if report.is_clean() || elapsed >= bound {
                return Ok(report);
            }
            self.look(Duration::from_secs(self.args.seconds) + elapsed)?;
            self.wait(LOOK_EVERY)?;
        }
    }

    fn account_faults(&self) -> BTreeMap<&'static str, u64> {
        let mut faults = BTreeMap::new();
        for index in 0..accounts::ACCOUNTS {
            for (kind, count) in self.sim.account_ledger(index).faults {
                *faults.entry(kind).or_default() += count;
            }
        }
        faults
    }

    /// Frames sent and received in the quiet end. Both ends of the count lie between two ticks: the simulator's count must
    /// not move while the client's is read.
    fn count_quiet_frames(&self) -> Result<(u64, u64), CommandError> {
        let (sent_before, received_before) = self.frames_at_rest()?;
        self.wait(QUIET)?;
        let (sent_after, received_after) = self.frames_at_rest()?;
        Ok((sent_after - sent_before, received_after - received_before))
    }

    fn frames_at_rest(&self) -> Result<(u64, u64), CommandError> {
        const REST: Duration = Duration::from_millis(150);
        let sent = |ledger: &Ledger| ledger.frames_delivered;
        let mut tries = 0;
        loop {
            let before = sent(&self.sim.ledger());
            self.wait(REST)?;
            let received = self.role.stream().counts.frames;
            let after = sent(&self.sim.ledger());
            tries += 1;
            if before == after || tries == 20 {
                return Ok((after, received));
            }
        }
    }

    /// Stays up until a signal.
    fn hold(&mut self) -> Result<(), CommandError> {
        self.view.say("");
        self.view
            .say(&format!("holding; prices move on the page, the stream is {}; Ctrl-C ends it", self.sim.stream_url()));
        let began = self.clock.now().mono;
        loop {
            self.look(self.clock.now().mono.since(began))?;
            if self.wait(LOOK_EVERY)? {
                return Ok(());
            }
        }
    }
}
