//! `kraite-streams prices`: the price role as a process under supervisor.
//!
//! Starts logs, role, page and status file in that order; then waits for signals and looks once a second. It ends by
//! itself for three reasons only: a setting that cannot be carried out, another price writer on the same table, and a feed
//! that stayed silent through every reconnect for `prices.silence_exit_s`, which only a fresh process may heal
//! (facts/incumbent.md §9, 42).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::memory_plan::MemoryPlan;
use super::price_role::{PriceRole, PriceRoleConfig};
use super::shown::{self, Shown};
use super::wiring::{self, BadSetting};
use crate::domain::limits::STOP_MAX;
use crate::domain::{Clock, Mono, Random};
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

/// How often the daemon looks at its role.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs until it ends. `named` is the settings file of the command line, read again on SIGHUP.
///
/// # Errors
/// [`StartError`] before anything has started.
pub fn run(
    mut settings: Settings,
    named: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    mut random: Random,
) -> Result<Ended, StartError> {
    let name = format!("kraite-streams prices (pid {})", std::process::id());
    let config = PriceRoleConfig {
        session: wiring::price_session(&settings)?,
        sink: wiring::price_sink(&settings, &name)?,
        writer: wiring::writer_settings(&settings),
    };
    let mut logging = Logging::install(&settings.ops, Arc::clone(&clock)).map_err(StartError::Log)?;
    let signals = Signals::listen()?;
    tracing::info!(
        "kraite-streams {} prices: {} into {}",
        env!("CARGO_PKG_VERSION"),
        config.session.url,
        config.sink.target()
    );
    MemoryPlan::of_prices(&settings).log();

    let started = clock.now();
    let mut status = Status::new("prices", started.wall, settings.ops.status_interval);
    let mut role = PriceRole::start(config, Arc::clone(&clock), random.fork(), |consumer| Box::new(consumer))?;
    let shown = Arc::new(Shown::new(status.clone()));
    shown.show_prices(role.newest_reader());
    let _page = settings.ops.page.and_then(|address| shown::open_page(address, &shown));

    let mut status_at = started.mono;
    let mut summary_at = started.mono.plus(settings.ops.summary_interval);
    let mut status_fails = false;
    let ended = loop {
        let now = clock.now();
        role.fill(&mut status, now);
        shown.show(&status);
        if now.mono >= status_at {
            status_at = now.mono.plus(settings.ops.status_interval);
            write_status(&status, &settings, &mut status_fails);
        }
        if now.mono >= summary_at {
            summary_at = now.mono.plus(settings.ops.summary_interval);
            tracing::info!("{}", summary_line(&status));
        }
        if let Some(ended) = look(&role) {
            break ended;
        }
        match signals.receiver().recv_timeout(LOOK_EVERY) {
            Ok(Signal::Stop) => break Ended::Stopped,
            Ok(Signal::Reload) => {
                reload(&mut settings, named.as_deref(), &mut logging);
                role.reload_map();
                summary_at = summary_at.min(clock.now().mono.plus(settings.ops.summary_interval));
                status_at = Mono::ZERO;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break Ended::Broken,
        }
    };
    tracing::info!("stopping: {}", reason(&ended));
    let written = role.stop(STOP_MAX - Duration::from_secs(1), &*clock);
    status.stream.state = StreamState::Stopped;
    status.writer.state = WriterState::Stopped;
    status.touch(clock.now().wall);
    write_status(&status, &settings, &mut status_fails);
    tracing::info!("stopped: {}", summary_line(&status));
    logging.flush(Duration::from_millis(500));
    Ok(match ended {
        Ended::Stopped if !written => Ended::StoppedUnwritten,
        other => other,
    })
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
            let live = |key: &String| key.starts_with("ops.") && key != "ops.page";
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
