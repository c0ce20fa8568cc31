//! The daemon under supervisor: `prices`, `user-data`, `work`, or the first two as `run`. The worker belongs to `user-data` and
//! `run` too where the queue is in their process.
//!
//! Starts logs, roles, page and status file in that order; then waits for signals and looks once a second. `prices` ends by
//! itself when another process writes the same prices, and when the feed stayed silent through every reconnect for
//! `prices.silence_exit_s`, which only a fresh process may heal (facts/incumbent.md §9, 42). In `run` both rebuild the price
//! role alone and are alarms: a price outage never touches accounts. User-data streams never end the process.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::account_role::AccountRole;
use super::account_wiring;
use super::memory_plan::MemoryPlan;
use super::price_role::{PriceRole, PriceRoleConfig};
use super::shown::{self, Shown};
use super::wiring::{self, BadSetting};
use super::work_role::WorkRole;
use super::work_wiring;
use crate::domain::limits::STOP_MAX;
use crate::domain::{Clock, Mono, Random};
use crate::event_loop::ConnectGate;
use crate::ops::settings::SettingsError;
use crate::ops::signals::Signal;
use crate::ops::status::{StreamState, WriterState};
use crate::ops::{Logging, Settings, Signals, Status, summary_line};
use crate::prices::writer_status;
use crossbeam_channel::RecvTimeoutError;

/// How the daemon ended.
#[derive(Debug)]
pub enum Ended {
    /// It was told to, and the last write was done or there was none to do.
    Stopped,
    /// It was told to, but the last write could not be finished inside the bound.
    StoppedUnwritten,
    /// No price for too long: a fresh process is wanted.
    Silent(Duration),
    /// Another process writes these prices; the sentence names it.
    Refused(String),
    /// A thread ended that nobody stopped: our own mistake.
    Broken,
}

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be carried out.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// The log file cannot be opened.
    #[error("the log cannot be opened: {0}")]
    Log(io::Error),
    /// The system gave no thread, descriptor or signal handler.
    #[error("the system gave no thread or descriptor: {0}")]
    System(#[from] io::Error),
}

/// How often the daemon looks at its roles.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// In `run`: from the end of a price role to the next try.
const REBUILD_AFTER: Duration = Duration::from_secs(30);
/// In `run`: how long a price role that is given up may take to end. A writer that waits for a server longer than this is left
/// behind, so that signals are not.
const GIVE_UP_WITHIN: Duration = Duration::from_secs(2);

/// Which roles a process plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The price role.
    Prices,
    /// The user-data role.
    UserData,
    /// The worker's role alone.
    Work,
    /// Prices and user data.
    Run,
}

impl Mode {
    /// The command that starts it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Prices => "prices",
            Mode::UserData => "user-data",
            Mode::Work => "work",
            Mode::Run => "run",
        }
    }

    const fn has_prices(self) -> bool {
        matches!(self, Mode::Prices | Mode::Run)
    }

    const fn has_accounts(self) -> bool {
        matches!(self, Mode::UserData | Mode::Run)
    }
}

/// Runs until it ends. `named` is the settings file of the command line, read again on SIGHUP.
///
/// # Errors
/// [`StartError`] before anything has started.
pub fn run(
    mode: Mode,
    mut settings: Settings,
    named: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    mut random: Random,
) -> Result<Ended, StartError> {
    // Both are made before anything starts, so that every bad setting is told at once.
    let gate = wiring::connect_gate(&settings, &mut random);
    let price_config = mode.has_prices().then(|| price_config(&settings, mode, &gate)).transpose()?;
    let account_config = mode
        .has_accounts()
        .then(|| account_wiring::account_role(&settings, mode.as_str(), Arc::clone(&gate)))
        .transpose()?;
    let embedded =
        account_config.as_ref().and_then(|config| Some((config.queue.clone()?, Arc::clone(&config.audited))));
    let work_config = (mode == Mode::Work || embedded.is_some())
        .then(|| work_wiring::work_role(&settings, mode.as_str(), embedded))
        .transpose()?;
    let mut logging = Logging::install(&settings.ops, Arc::clone(&clock)).map_err(StartError::Log)?;
    let signals = Signals::listen()?;
    tracing::info!(
        "kraite-streams {} {}, store {}",
        env!("CARGO_PKG_VERSION"),
        mode.as_str(),
        wiring::store_url(&settings)?
    );
    if mode.has_prices() {
        MemoryPlan::of_prices(&settings).log("prices");
    }

    let started = clock.now();
    let mut status = Status::new(mode.as_str(), started.wall, settings.ops.status_interval);
    let shown = Arc::new(Shown::new(status.clone()));
    let mut prices = price_config.map(|config| start_prices(config, &shown, &clock, &mut random)).transpose()?;
    let mut accounts = match account_config {
        None => None,
        Some(config) => match AccountRole::start(config, Arc::clone(&clock), random.fork()) {
            Ok(role) => Some(role),
            Err(error) => {
                tracing::error!("the spool {} cannot be used: {error}", settings.spool.folder.display());
                if let Some(prices) = prices {
                    prices.stop(STOP_MAX, &*clock);
                }
                logging.flush(Duration::from_millis(500));
                return Ok(Ended::Refused(format!(
                    "the spool {} cannot be used: {error}",
                    settings.spool.folder.display()
                )));
            }
        },
    };
    if let Some(accounts) = &accounts {
        let report = accounts.open_report();
        account_wiring::log_opened(report, &settings);
        let known = report.accounts.len();
        MemoryPlan::of_accounts(&settings, known).log(&format!("user data, {known} accounts known"));
    }
    let mut work = match work_config {
        None => None,
        Some(config) => {
            MemoryPlan::of_work(&settings).log("the worker");
            Some(WorkRole::start(config, Arc::clone(&clock), random.fork())?)
        }
    };
    let _page = settings.ops.page.and_then(|address| shown::open_page(address, &shown));

    let mut status_at = started.mono;
    let mut summary_at = started.mono.plus(settings.ops.summary_interval);
    let mut rebuild_at = Mono::NEVER;
    let mut price_alarm: Option<String> = None;
    let mut status_fails = false;
    let ended = loop {
        let now = clock.now();
        match &mut prices {
            Some(prices) => prices.fill(&mut status, now),
            None => {
                status.alarms.clear();
                status.touch(now.wall);
            }
        }
        if let Some(accounts) = &mut accounts {
            accounts.refresh_allowlist(named.as_deref(), false, now);
            let user_data = accounts.status(now);
            status.alarms.extend(user_data.alarms.iter().cloned());
            status.user_data = Some(user_data);
        }
        if let Some(work) = &mut work {
            work.refresh_policy(named.as_deref(), false, now);
            let shown = work.status(now);
            status.alarms.extend(shown.alarms.iter().cloned());
            status.work = Some(shown);
        }
        status.alarms.extend(gate.warning());
        status.alarms.extend(price_alarm.iter().cloned());
        shown.show(&status);
        if now.mono >= status_at {
            status_at = now.mono.plus(settings.ops.status_interval);
            write_status(&status, &settings, &mut status_fails);
        }
        if now.mono >= summary_at {
            summary_at = now.mono.plus(settings.ops.summary_interval);
            tracing::info!("{}", summary_line(&status));
        }
        if accounts.as_ref().is_some_and(AccountRole::is_broken) || work.as_ref().is_some_and(WorkRole::is_broken) {
            break Ended::Broken;
        }
        match prices.as_ref().and_then(look) {
            None => {}
            Some(ended) if mode == Mode::Prices => break ended,
            Some(ended) => {
                let sentence = format!("the price role is rebuilt: {}", reason(&ended));
                tracing::error!("{sentence}");
                price_alarm = Some(sentence);
                if let Some(prices) = prices.take() {
                    prices.stop(GIVE_UP_WITHIN, &*clock);
                }
                let wait = if matches!(ended, Ended::Refused(_)) { REBUILD_AFTER } else { Duration::ZERO };
                rebuild_at = clock.now().mono.plus(wait);
            }
        }
        if prices.is_none() && mode.has_prices() && now.mono >= rebuild_at {
            // Everything is made anew: threads, resolver, TLS, database session.
            match price_config_again(&settings, mode, &gate, &shown, &clock, &mut random) {
                Ok(fresh) => prices = Some(fresh),
                Err(error) => {
                    tracing::error!("the price role does not start: {error}");
                    rebuild_at = now.mono.plus(REBUILD_AFTER);
                }
            }
        }
        if prices.as_ref().is_some_and(|prices| prices.stream().last_data.is_some()) {
            price_alarm = None;
        }
        match signals.receiver().recv_timeout(LOOK_EVERY) {
            Ok(Signal::Stop) => break Ended::Stopped,
            Ok(Signal::Reload) => {
                reload(&mut settings, named.as_deref(), &mut logging);
                if let Some(prices) = &prices {
                    prices.reload_map();
                }
                if let Some(accounts) = &mut accounts {
                    accounts.refresh_allowlist(named.as_deref(), true, clock.now());
                    accounts.reload();
                }
                if let Some(work) = &mut work {
                    work.refresh_policy(named.as_deref(), true, clock.now());
                }
                summary_at = summary_at.min(clock.now().mono.plus(settings.ops.summary_interval));
                status_at = Mono::ZERO;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break Ended::Broken,
        }
    };
    tracing::info!("stopping: {}", reason(&ended));
    let until = clock.now().mono.plus(STOP_MAX - Duration::from_secs(1));
    // Side by side, so that neither takes the other's time.
    let (written, spooled) = std::thread::scope(|scope| {
        let (left, clock) = (until.since(clock.now().mono), &*clock);
        let stopping = work.as_mut();
        // The worker goes on while the dispatcher empties the spool into the queue in this process.
        let accounts = scope.spawn(move || {
            let part = if stopping.is_some() { left / 2 } else { left };
            let spooled = accounts.is_none_or(|accounts| accounts.stop(part, clock));
            stopping.is_none_or(|work| work.stop(until.since(clock.now().mono), clock)) && spooled
        });
        let written = prices.is_none_or(|prices| prices.stop(left, clock));
        (written, accounts.join().unwrap_or(false))
    });
    if let Some(work) = &mut work {
        status.work = Some(work.status(clock.now()));
    }
    status.stream.state = StreamState::Stopped;
    status.writer.state = WriterState::Stopped;
    status.touch(clock.now().wall);
    write_status(&status, &settings, &mut status_fails);
    tracing::info!("stopped: {}", summary_line(&status));
    logging.flush(Duration::from_millis(500));
    Ok(match ended {
        Ended::Stopped if !written || !spooled => Ended::StoppedUnwritten,
        other => other,
    })
}

fn price_config(settings: &Settings, mode: Mode, gate: &Arc<dyn ConnectGate>) -> Result<PriceRoleConfig, BadSetting> {
    let name = format!("kraite-streams {} (pid {})", mode.as_str(), std::process::id());
    Ok(PriceRoleConfig {
        session: wiring::price_session(settings)?,
        sink: wiring::price_sink(settings, &name)?,
        writer: wiring::writer_settings(settings),
        gate: Arc::clone(gate),
    })
}

fn start_prices(
    config: PriceRoleConfig,
    shown: &Shown,
    clock: &Arc<dyn Clock>,
    random: &mut Random,
) -> io::Result<PriceRole> {
    tracing::info!("prices: {} into {}", config.session.url, config.sink.target());
    let role = PriceRole::start(config, Arc::clone(clock), random.fork(), |consumer| Box::new(consumer))?;
    shown.show_prices(role.newest_reader());
    Ok(role)
}

fn price_config_again(
    settings: &Settings,
    mode: Mode,
    gate: &Arc<dyn ConnectGate>,
    shown: &Shown,
    clock: &Arc<dyn Clock>,
    random: &mut Random,
) -> Result<PriceRole, StartError> {
    Ok(start_prices(price_config(settings, mode, gate)?, shown, clock, random)?)
}

/// Whether the role wants the process to end.
fn look(role: &PriceRole) -> Option<Ended> {
    let writer = role.writer();
    if writer.state == writer_status::WriterState::Refused {
        return Some(Ended::Refused(writer.sentence));
    }
    let stream = role.stream();
    if stream.escalations > 0 {
        return Some(Ended::Silent(stream.silent));
    }
    role.is_broken().then_some(Ended::Broken)
}

fn reason(ended: &Ended) -> String {
    match ended {
        Ended::Stopped | Ended::StoppedUnwritten => "told to".to_owned(),
        Ended::Silent(silent) => {
            format!("no price for {} s, so that supervisor starts a fresh process", silent.as_secs())
        }
        Ended::Refused(sentence) => sentence.clone(),
        Ended::Broken => "a thread has ended that nobody stopped".to_owned(),
    }
}

/// Settings that a running process takes over: those of `ops` but for the page. The rest is named, and needs a restart.
fn reload(settings: &mut Settings, named: Option<&std::path::Path>, logging: &mut Logging) {
    match Settings::load(named) {
        Ok((fresh, origin)) => {
            let live = |key: &String| (key.starts_with("ops.") && key != "ops.page") || work_wiring::is_live(key);
            let (taken, later): (Vec<String>, Vec<String>) = settings.changed_keys(&fresh).into_iter().partition(live);
            let page = settings.ops.page;
            settings.ops = fresh.ops;
            settings.ops.page = page;
            tracing::info!("settings read again from {origin}; taken over: {}", list(&taken));
            if !later.is_empty() {
                tracing::warn!("these need a restart to take effect: {}", list(&later));
            }
        }
        Err(error @ (SettingsError::Unreadable { .. } | SettingsError::Bad { .. })) => {
            tracing::error!("the settings stay as they were: {error}");
        }
    }
    if let Err(error) = logging.reload(&settings.ops) {
        tracing::error!("the log goes on where it was: {error}");
    }
}

fn list(keys: &[String]) -> String {
    if keys.is_empty() { "nothing changed".to_owned() } else { keys.join(", ") }
}

fn write_status(status: &Status, settings: &Settings, fails: &mut bool) {
    let path = &settings.ops.status_file;
    match status.replace(path) {
        Ok(()) => {
            if std::mem::take(fails) {
                tracing::info!("the status file {} is written again", path.display());
            }
        }
        Err(error) if !*fails => {
            *fails = true;
            tracing::warn!("the status file {} cannot be written: {error}", path.display());
        }
        Err(_) => {}
    }
}
