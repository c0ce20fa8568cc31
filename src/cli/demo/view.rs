//! What the demo shows on the terminal while it runs: one line a second on standard error, and a line for each fault.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use crate::ops::Status;
use crate::ops::status::{StreamState, WriterState};

/// The terminal, or whatever standard error is.
pub struct View {
    terminal: bool,
    last_fault: Option<String>,
}

/// What a line shows beside the status.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Since the demo began.
    pub elapsed: Duration,
    /// Ticks a second since the last line.
    pub ticks_per_s: f64,
    /// Faults that took effect.
    pub injected: u64,
    /// Faults that the client named.
    pub survived: u64,
}

impl View {
    /// On standard error.
    pub fn new() -> View {
        View { terminal: std::io::stderr().is_terminal(), last_fault: None }
    }

    /// A line of its own that stays.
    pub fn say(&mut self, line: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        let _ = writeln!(std::io::stderr(), "{clear}{line}");
    }

    /// The running line; on a terminal it replaces itself.
    pub fn show(&mut self, status: &Status, moment: Moment) {
        if let Some(fault) = &status.stream.last_fault
            && self.last_fault.as_ref() != Some(&fault.at)
        {
            self.last_fault = Some(fault.at.clone());
            let line = format!("        fault: {}", fault.text);
            self.say(&line);
        }
        let stream = match status.stream.state {
            StreamState::Live => "live",
            StreamState::Waiting | StreamState::Connecting => "reconnecting",
            StreamState::Starting => "starting",
            StreamState::Stopped => "stopped",
        };
        let writer = match status.writer.state {
            WriterState::Writing => "writing",
            WriterState::Starting => "starting",
            WriterState::StoreAway => "store away",
            WriterState::WaitingForLock => "waiting",
            WriterState::Stopped => "stopped",
        };
        let latency = status
            .writer
            .tick_to_commit_us
            .map_or_else(|| "-".to_owned(), |us| format!("{:.1}/{:.1} ms", us.p50 as f64 / 1e3, us.p99 as f64 / 1e3));
        let accounts = status.user_data.as_ref().map_or_else(String::new, |on| {
            format!("{}/{} accounts live, {} frames  ", on.live, on.accounts, on.frames)
        });
        let line = format!(
            "{:5.1} s  {stream:<12} {:4.1} ticks/s {:5.0} prices/s  {writer:<8} {:5.0} rows/s  tick to commit p50/p99 {latency}  \
             {accounts}RSS {:.1} MB  faults {} injected, {} survived",
            moment.elapsed.as_secs_f64(),
            moment.ticks_per_s,
            status.stream.prices_per_s,
            status.writer.rows_per_s,
            status.rss_bytes as f64 / 1e6,
            moment.injected,
            moment.survived,
        );
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
        } else {
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}
