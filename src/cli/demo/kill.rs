//! `demo --kill`: the daemon as a process of its own, killed with SIGKILL in the middle of a tick and of a burst of frames.
//!
//! Nothing in the process can react to SIGKILL, so what the ledgers say afterwards is what disk and database hold. The parent
//! opens the dead daemon's spool itself: each frame that the exchange delivered is a record, or lies inside a gap record; each is
//! one audit row too, in order; orders and prices hold what the exchange's do. The trading application lives on in the parent.

mod daemon;

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use serde::Serialize;

use self::daemon::{Daemon, write_settings};
use super::accounts::{self, ACCOUNTS, PrivateReport, Recorded};
use super::audit_report::{self, AuditReport};
use super::check::{Check, Verdict};
use super::gap_story::GapStory;
use super::report::{CheckReport, RepairTimes};
use super::stage::{self, Folder, database, system};
use super::truth;
use super::view::View;
use super::{LOOK_EVERY, REPAIRED_MAX, SETTLE_MAX};
use crate::cli::args::DemoArgs;
use crate::cli::exit::{CommandError, Exit};
use crate::cli::out;
use crate::domain::time::SystemClock;
use crate::domain::{Clock, Random};
use crate::ops::signals::Signal;
use crate::ops::status::StreamState;
use crate::ops::{Signals, Status};
use crate::sim::bot::{Bot, Intents};
use crate::sim::{AccountFault, AccountsConfig, SimHandle, Simulator};
use crate::spool::Kind;
use crate::spool::view::SpoolView;
use crate::store::sqlite::SqliteStore;

/// How often it is killed while streams run.
const KILLS: u32 = 3;
/// Frames of all accounts together, a second: some are always on their way.
const FRAMES_PER_SECOND: f64 = 150.0;
/// The burst in which a kill falls.
const BURST: AccountFault = AccountFault::Flood { frames: 400 };
/// How long a daemon may take until price stream and accounts are live.
const LIVE_MAX: Duration = Duration::from_secs(60);
/// How long the moment for a kill is waited for.
const MOMENT_MAX: Duration = Duration::from_secs(5);
/// From one look for that moment to the next.
const MOMENT_LOOK: Duration = Duration::from_micros(500);

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    seconds: f64,
    seed: u64,
    kills: u32,
    frames: u64,
    gaps: u64,
    gaps_repaired: u64,
    recovered_events: u64,
    break_to_repair_ms: RepairTimes,
    fills: u64,
    fills_recovered: u64,
    covered: u64,
    audit_rows: u64,
    orders_checked: u64,
    orders_repaired: u64,
    orders_in_gaps: u64,
    intents: u64,
    checks: Vec<CheckReport>,
}

pub(super) fn run(args: &DemoArgs) -> Result<Exit, CommandError> {
    let mut demo = KillDemo::prepare(args)?;
    let life = Duration::from_secs(args.seconds) / (KILLS + 1);
    for kill in 0..KILLS {
        let mut daemon = Daemon::start(demo.folder.path()).map_err(system)?;
        demo.wait_live(&mut daemon)?;
        demo.pause(life)?;
        let moment = if kill % 2 == 0 { demo.wait_mid_burst()? } else { demo.wait_mid_tick()? };
        daemon.kill().map_err(system)?;
        demo.tell_gaps()?;
        demo.view.say(&format!("killed process {} {moment}", daemon.id()));
    }
    let mut daemon = Daemon::start(demo.folder.path()).map_err(system)?;
    demo.wait_live(&mut daemon)?;
    demo.pause(life)?;
    let table = demo.settle(&mut daemon)?;
    demo.tell_gaps()?;
    // The last life is ended the same way: what was written is all there is.
    daemon.kill().map_err(system)?;
    let spool = demo.judge_spool().map_err(system)?;
    let audit = demo.judge_tables()?;
    let report = demo.report(table, spool, &audit);
    for check in &report.checks {
        demo.view.say(&format!("{}  {:<26} {}", if check.ok { "ok  " } else { "FAIL" }, check.name, check.detail));
    }
    if args.json {
        let text = serde_json::to_string(&report);
        out(&format!("{}\n", text.map_err(|error| CommandError::new(Exit::Software, error.to_string()))?))?;
    }
    Ok(if report.ok { Exit::Ok } else { Exit::Failed })
}

struct KillDemo {
    clock: Arc<dyn Clock>,
    signals: Signals,
    view: View,
    seed: u64,
    sim: SimHandle,
    rows: Vec<u64>,
    bot: Bot,
    folder: Folder,
    gaps: GapStory,
}

impl KillDemo {
    fn prepare(args: &DemoArgs) -> Result<KillDemo, CommandError> {
        let signals = Signals::listen().map_err(system)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let folder = Folder::create().map_err(|error| CommandError::new(Exit::CantCreate, error.to_string()))?;
        let seed = args.seed.map_or_else(crate::cli::seed, Ok)?;
        let accounts = AccountsConfig {
            count: ACCOUNTS,
            frames_per_second: FRAMES_PER_SECOND,
            has_application: true,
            ..AccountsConfig::default()
        };
        let sim = Simulator::start(stage::exchange_config(seed, accounts)).map_err(system)?;
        let settings = stage::settings(&sim, folder.path(), None)?;
        stage::prepare(&sim, &settings, folder.path(), None)?;
        let rows = accounts::add_accounts(&sim, &settings)?;
        write_settings(folder.path(), &settings).map_err(system)?;
        let database = database(folder.path());
        let random = Random::from_seed(seed);
        let bot = Bot::start(sim.application(), &database, &rows, Intents::Table, Arc::clone(&clock), random);
        let bot = bot.map_err(system)?;
        let mut view = View::new();
        view.say(&format!("seed {seed}; a daemon of its own for {ACCOUNTS} accounts and prices, killed {KILLS} times"));
        Ok(KillDemo { clock, signals, view, seed, sim, rows, bot, folder, gaps: GapStory::default() })
    }

    /// What the tables have of gaps that was not told yet.
    fn tell_gaps(&mut self) -> Result<(), CommandError> {
        let store = SqliteStore::open(&database(self.folder.path()))?;
        let now = self.clock.now().wall;
        for line in self.gaps.news(&store, &self.sim, &self.rows, now)? {
            self.view.say(&line);
        }
        Ok(())
    }

    /// Waits; a signal ends the demo.
    fn pause(&self, time: Duration) -> Result<(), CommandError> {
        match self.signals.receiver().recv_timeout(time) {
            Ok(Signal::Reload) | Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => {
                Err(CommandError::new(Exit::Failed, "the demo was stopped before its end"))
            }
        }
    }

    /// Looks until `done` says so; `false` when it did not in time.
    fn wait(&self, most: Duration, every: Duration, mut done: impl FnMut() -> bool) -> Result<bool, CommandError> {
        let deadline = self.clock.now().mono.plus(most);
        while !done() {
            if self.clock.now().mono >= deadline {
                return Ok(false);
            }
            self.pause(every)?;
        }
        Ok(true)
    }

    fn wait_live(&self, daemon: &mut Daemon) -> Result<(), CommandError> {
        let is_live = |status: &Status| {
            let accounts = status.user_data.as_ref().map_or(0, |on| on.live);
            status.stream.state == StreamState::Live && accounts == ACCOUNTS as u64
        };
        let mut ended = false;
        let live = self.wait(LIVE_MAX, LOOK_EVERY, || {
            ended = daemon.has_ended();
            ended || daemon.status().is_some_and(|status| is_live(&status))
        })?;
        if live && !ended {
            return Ok(());
        }
        let what = if ended { "ended by itself" } else { "did not become live" };
        Err(CommandError::new(Exit::Software, format!("the daemon {what}; its log:\n{}", daemon.log())))
    }

    /// Until the first frames of a burst have gone into an account's socket: the rest is on its way.
    fn wait_mid_burst(&self) -> Result<&'static str, CommandError> {
        let delivered = || self.sim.account_ledger(0).deliveries.len();
        self.sim.inject(BURST.on(0));
        let before = delivered();
        self.wait(MOMENT_MAX, MOMENT_LOOK, || delivered() > before + 20)?;
        Ok("mid-frame, in a burst")
    }

    /// Until the first of a tick's two frames has gone into the socket.
    fn wait_mid_tick(&self) -> Result<&'static str, CommandError> {
        let before = self.sim.ledger().frames_delivered;
        self.wait(MOMENT_MAX, MOMENT_LOOK, || self.sim.ledger().frames_delivered > before)?;
        Ok("mid-tick")
    }

    /// Freezes the exchange, waits until daemon and table have all of it, and judges the table.
    fn settle(&self, daemon: &mut Daemon) -> Result<CheckReport, CommandError> {
        self.sim.quiesce();
        let settled = self.sim.wait_settled(SETTLE_MAX) && self.sim.wait_delivered(SETTLE_MAX);
        let (store, book) = (SqliteStore::open(&database(self.folder.path()))?, truth::book(&self.sim));
        let mut last = truth::Comparison::default();
        let mut failed = None;
        let agrees = self.wait(SETTLE_MAX, LOOK_EVERY, || match store.priced_rows() {
            Ok(rows) => {
                last = truth::compare(&rows, &book, &self.sim.last_valid_prices());
                last.wrong.is_empty() && last.wrong_shifted.is_empty() && last.right.len() == 4
            }
            Err(error) => {
                failed = Some(error);
                true
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        // What is still open then is a failure, which the judge of the tables names.
        let mut failed = None;
        self.wait(REPAIRED_MAX, LOOK_EVERY, || match store.held_gaps() {
            Ok(gaps) => gaps.iter().all(|gap| gap.outcome.is_some()),
            Err(error) => {
                failed = Some(error);
                true
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        // Two statuses a second apart that say the same: nothing is on its way to the spool, or from there to the tables.
        let mut before = None;
        self.wait(SETTLE_MAX, Duration::from_millis(1_100), || {
            let Some(Status { user_data: Some(user_data), work: Some(work), .. }) = daemon.status() else {
                return false;
            };
            let now = Some((user_data.written, work.applied));
            let is_done = user_data.written == user_data.synced && work.queue_depth == 0 && work.in_hand == 0;
            let is_at_rest = is_done && before == now;
            before = now;
            is_at_rest
        })?;
        let right: usize = last.right.values().sum();
        let first = last.wrong.iter().chain(&last.wrong_shifted).next();
        let detail = first.map_or_else(
            || format!("{right} rows hold the exchange's last valid price after {KILLS} kills"),
            |first| format!("rows differ after {KILLS} kills, the first: {first}"),
        );
        Ok(CheckReport { name: "table_is_truth", ok: settled && agrees && right > 0, detail })
    }

    /// Reads the dead daemon's spool from its beginning and holds it against the exchange's ledgers.
    fn judge_spool(&self) -> io::Result<SpoolReport> {
        let spool = SpoolView::open(&self.folder.path().join("spool"))?;
        let mut all: BTreeMap<u64, Recorded> = BTreeMap::new();
        let (mut bad, mut recovered) = (None, 0);
        spool.read(0, |record| {
            let recorded = all.entry(record.account.0).or_default();
            match record.kind {
                Kind::Frame => recorded.frames.push(record.payload.to_vec()),
                Kind::Gap => bad = recorded.push_gap(record.payload).err().or(bad.take()),
                Kind::Recovered => recovered += 1,
                Kind::Liveness => {}
            }
            ControlFlow::Continue(())
        })?;
        if let Some(error) = bad {
            return Err(error);
        }
        let damaged: u64 = spool.survey()?.segments.iter().map(|segment| segment.damaged).sum();
        let mut report = accounts::hold_against(&self.sim, &self.rows, &all);
        if damaged > 0 {
            report.complaints.push(format!("{damaged} bytes between the spool's records cannot be read"));
        }
        Ok(SpoolReport { frames: report, recovered })
    }

    /// Holds the dead daemon's tables against the exchange.
    fn judge_tables(&self) -> Result<AuditReport, CommandError> {
        let placed = self.bot.counts().placed.load(Ordering::Relaxed);
        let mut report = audit_report::judge_tables(&self.sim, &self.rows, &database(self.folder.path()), placed)?;
        if self.bot.has_ended() {
            report.frames.complaints.push("the application has ended".to_owned());
        }
        Ok(report)
    }

    fn report(&self, table: CheckReport, spool: SpoolReport, audit: &AuditReport) -> Report {
        let SpoolReport {
            frames: PrivateReport { complaints, delivered, distinct, frames, gaps, covered, .. },
            recovered,
        } = spool;
        let detail = complaints.first().map_or_else(
            || {
                format!(
                    "{distinct} of {delivered} distinct frames delivered are in the spool, in order per account; {covered} \
                     frames missing, each inside one of {gaps} gaps; {recovered} records of recovered events"
                )
            },
            |first| format!("{} complaints, the first: {first}", complaints.len()),
        );
        // Each kill leaves a gap for each account, or it was no kill of a live daemon.
        let repairs = &audit.repairs;
        // What became an audit row was in the spool before.
        let ok = complaints.is_empty()
            && frames > 0
            && recovered >= repairs.recovered
            && gaps >= u64::from(KILLS) * ACCOUNTS as u64;
        let mut checks = vec![table, CheckReport { name: "frames_are_spooled", ok, detail }];
        for (check, judge) in [
            (Check::FramesAreAudited, AuditReport::frames_are_audited as fn(&AuditReport) -> (bool, String)),
            (Check::GapsRepaired, |audit| audit.gaps_are_repaired(true)),
            (Check::OrdersAreTruth, AuditReport::orders_are_truth),
            (Check::IntentsFollow, AuditReport::intents_follow),
        ] {
            let (ok, detail) = judge(audit);
            checks.push(CheckReport::from(Verdict { check, ok, detail }));
        }
        Report {
            ok: checks.iter().all(|check| check.ok),
            seconds: self.clock.now().mono.since(crate::domain::Mono::ZERO).as_secs_f64(),
            seed: self.seed,
            kills: KILLS,
            frames,
            gaps: repairs.gaps,
            gaps_repaired: repairs.repaired,
            recovered_events: repairs.recovered,
            break_to_repair_ms: repairs.break_to_repair_ms,
            fills: repairs.fills,
            fills_recovered: repairs.fills_recovered,
            covered,
            audit_rows: audit.frames.frames,
            orders_checked: audit.orders.checked,
            orders_repaired: audit.orders.repaired,
            orders_in_gaps: audit.orders.in_gaps,
            intents: audit.orders.intents_total(),
            checks,
        }
    }
}

/// What the spool holds.
struct SpoolReport {
    frames: PrivateReport,
    /// Records of recovered events: what a killed daemon had recovered is found again by the next, and then it stands here twice.
    recovered: u64,
}
