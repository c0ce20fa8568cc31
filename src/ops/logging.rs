//! Logs: one line an event, UTC, to standard error or a file, as text or JSON.
//!
//! The thread that logs never waits: a line is formatted where it arises and put into a bounded lane; the log thread writes
//! it. A pipe that nobody reads, or a full disk, costs lines, and their number is logged once lines flow again. What came
//! over the wire cannot forge a line: control characters are escaped.
//!
//! Formatting is our own `FormatEvent`: the `json` feature of tracing-subscriber would bring a second serializer, and its
//! text would let a newline through.

mod lane;
mod line;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, Registry, reload};

use crate::domain::Clock;
use crate::ops::settings::{LogLevel, OpsSettings};
use lane::{Lane, LogThread, Target};
use line::LineFormat;

/// The log of this process. Dropping it writes what waits.
pub struct Logging {
    thread: LogThread,
    format: Arc<LineFormat>,
    level: reload::Handle<LevelFilter, Registry>,
}

/// How long [`Drop`] waits for what is still in the lane.
const DRAIN_MAX: Duration = Duration::from_millis(500);

impl Logging {
    /// Sends `tracing` events of the whole process to the log that `settings` names. Once per process.
    ///
    /// # Errors
    /// The log file cannot be opened, or another subscriber is installed.
    pub fn install(settings: &OpsSettings, clock: Arc<dyn Clock>) -> io::Result<Logging> {
        let (logging, subscriber) = Logging::build(settings, clock)?;
        tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
        Ok(logging)
    }

    fn build(
        settings: &OpsSettings,
        clock: Arc<dyn Clock>,
    ) -> io::Result<(Logging, impl tracing::Subscriber + Send + Sync + use<>)> {
        let thread = LogThread::start(Target::open(settings.log_file.as_deref())?)?;
        let format = Arc::new(LineFormat::new(settings.log_format, clock));
        let (level, handle) = reload::Layer::new(filter(settings.log_level));
        let lines = tracing_subscriber::fmt::layer()
            .event_format(Arc::clone(&format).for_layer())
            .log_internal_errors(false)
            .with_writer(MakeLine { lane: thread.lane() });
        let subscriber = Registry::default().with(level.and_then(lines));
        Ok((Logging { thread, format, level: handle }, subscriber))
    }

    /// Takes format, level and file from `settings` and opens the file again, so that it can be rotated.
    ///
    /// # Errors
    /// The file cannot be opened: the log then goes on where it went before.
    pub fn reload(&mut self, settings: &OpsSettings) -> io::Result<()> {
        let target = Target::open(settings.log_file.as_deref()).map_err(|error| {
            let path = settings.log_file.as_deref().map_or(String::new(), |path| path.display().to_string());
            io::Error::new(error.kind(), format!("cannot open the log file {path}: {error}"))
        })?;
        self.format.set(settings.log_format);
        self.level.reload(filter(settings.log_level)).map_err(io::Error::other)?;
        self.thread.switch(target);
        Ok(())
    }

    /// Waits until everything logged so far is written, at most `wait`; whether it is.
    pub fn flush(&self, wait: Duration) -> bool {
        self.thread.flush(wait)
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.flush(DRAIN_MAX);
    }
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Gives each event a writer that hands the finished line to the lane.
struct MakeLine {
    lane: Lane,
}

impl<'a> MakeWriter<'a> for MakeLine {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(&self.lane)
    }
}

/// The subscriber writes each event in one piece.
struct LineWriter<'a>(&'a Lane);

impl io::Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
