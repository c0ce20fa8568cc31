//! What a daemon says about itself: one JSON file, replaced atomically, read by `kraite-streams status`, by the live page
//! and by whatever watches the machine.
//!
//! Schema 1, one object. Times are ISO 8601 in UTC, durations carry their unit, counters start at zero with the process.
//!
//! | member | meaning |
//! |---|---|
//! | `schema` | 1; grows when a member changes its meaning |
//! | `version`, `role`, `pid` | who writes the file; `role` is `prices`, `user-data`, `work` or `run` |
//! | `started_at`, `updated_at`, `updated_at_ms` | stamps; the last one in ms since 1970 |
//! | `interval_s` | seconds between two replacements: a file older than three of them is stale |
//! | `stream` | see [`StreamStatus`] |
//! | `writer` | see [`WriterStatus`] |
//! | `user_data` | see [`UserDataStatus`]; absent without private streams |
//! | `work` | see [`WorkStatus`]; absent without a worker |
//! | `faults`, `fault_kinds` | connection faults by layer, and by what exactly happened |
//! | `rss_bytes` | resident memory |
//! | `alarms` | sentences; empty when all is well |

mod prices;
mod user_data;
mod work;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::prices::price_line;
pub use self::prices::{LastFault, MapStatus, StreamState, StreamStatus, WriterState, WriterStatus};
use self::user_data::user_data_line;
pub use self::user_data::{AccountStatus, DriftStatus, ReconcileStatus, RepairStatus, USER_DATA_ROLE, UserDataStatus};
use self::work::work_line;
pub use self::work::{HeldLaneStatus, WORK_ROLE, WorkStatus};
use crate::domain::{Layer, Mono, Wall};

/// The schema that this version writes.
pub const SCHEMA: u32 = 1;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of the program.
    pub version: String,
    /// What this process does: `prices`.
    pub role: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started_at: String,
    /// When this was written.
    pub updated_at: String,
    /// The same in ms since 1970.
    pub updated_at_ms: i64,
    /// Seconds between two replacements.
    pub interval_s: u64,
    /// The price stream.
    pub stream: StreamStatus,
    /// The price writer.
    pub writer: WriterStatus,
    /// The private streams; absent where this process has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<UserDataStatus>,
    /// The worker behind the queue; absent where this process has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<WorkStatus>,
    /// Connection faults by layer (`resolve`, `connect`, `tls`, `upgrade`, `protocol`, `silence`).
    pub faults: BTreeMap<String, u64>,
    /// The same faults by kind, as the session names them; kinds that did not occur may be left out.
    pub fault_kinds: BTreeMap<String, u64>,
    /// Resident memory.
    pub rss_bytes: u64,
    /// What needs a person.
    pub alarms: Vec<String>,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LatencyUs {
    /// Median.
    pub p50: u64,
    /// 99 of 100.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

impl Default for Status {
    fn default() -> Self {
        Status {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: String::new(),
            pid: 0,
            started_at: String::new(),
            updated_at: String::new(),
            updated_at_ms: 0,
            interval_s: 0,
            stream: StreamStatus::default(),
            writer: WriterStatus::default(),
            user_data: None,
            work: None,
            faults: Layer::ALL.iter().map(|layer| (layer.as_str().to_owned(), 0)).collect(),
            fault_kinds: BTreeMap::new(),
            rss_bytes: 0,
            alarms: Vec::new(),
        }
    }
}

impl Status {
    /// The status of this process, which plays `role` and replaces its file every `interval`.
    #[must_use]
    pub fn new(role: &str, started: Wall, interval: Duration) -> Self {
        Status {
            role: role.to_owned(),
            pid: std::process::id(),
            started_at: iso(started),
            interval_s: interval.as_secs(),
            ..Status::default()
        }
    }

    /// Stamps it and reads the resident memory.
    pub fn touch(&mut self, now: Wall) {
        self.updated_at = iso(now);
        self.updated_at_ms = now.as_millis();
        self.rss_bytes = rss_bytes().unwrap_or(0);
    }

    /// Why it is not healthy, a sentence each; empty when it is.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = self.alarms.clone();
        // A process that plays only other roles has no price stream to complain of.
        if !self.has_prices() {
            return complaints;
        }
        if self.stream.state != StreamState::Live {
            let fault = self.stream.last_fault.as_ref();
            let fault = fault.map_or(String::new(), |fault| format!("; last fault: {}", fault.text));
            complaints.push(format!("the stream {}{fault}", self.stream.state.in_words()));
        }
        if self.writer.state != WriterState::Writing {
            let error = self.writer.last_error.as_ref().map_or(String::new(), |error| format!("; last error: {error}"));
            complaints.push(format!("the writer {}{error}", self.writer.state.in_words()));
        }
        complaints
    }

    /// Whether this process has a price stream.
    #[must_use]
    pub fn has_prices(&self) -> bool {
        self.role != USER_DATA_ROLE && self.role != WORK_ROLE
    }

    /// Age at `now`; zero for a file from the future.
    #[must_use]
    pub fn age(&self, now: Wall) -> Duration {
        Duration::from_millis(u64::try_from(now.as_millis() - self.updated_at_ms).unwrap_or(0))
    }

    /// Whether the file was left behind: older than three intervals.
    #[must_use]
    pub fn is_stale(&self, now: Wall) -> bool {
        self.age(now) > Duration::from_secs(self.interval_s.max(1).saturating_mul(3))
    }

    /// Replaces the file at `path` in one step: a reader sees the old one or the new one, never a part.
    ///
    /// # Errors
    /// What the system says; the old file then stays.
    pub fn replace(&self, path: &Path) -> io::Result<()> {
        let temporary = temporary_beside(path)?;
        let written = (|| {
            let mut file = fs::File::create(&temporary)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            fs::rename(&temporary, path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Reads a file that [`Status::replace`] wrote.
    ///
    /// # Errors
    /// What the system says, or [`io::ErrorKind::InvalidData`] for what is not a status.
    pub fn read(path: &Path) -> io::Result<Status> {
        let status: Status = serde_json::from_slice(&fs::read(path)?).map_err(io::Error::from)?;
        if status.role.is_empty() || status.updated_at_ms == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no role and no time in it"));
        }
        Ok(status)
    }
}

/// One line for the log: how it goes.
#[must_use]
pub fn summary_line(status: &Status) -> String {
    let mut parts = Vec::new();
    if status.has_prices() {
        parts.push(price_line(status));
    }
    parts.extend(status.user_data.as_ref().map(user_data_line));
    parts.extend(status.work.as_ref().map(work_line));
    parts.push(format!("alarms {}; memory {:.1} MB", status.alarms.len(), status.rss_bytes as f64 / 1e6));
    parts.join("; ")
}

/// Turns a growing count into a rate over the time since the last look.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateMeter {
    last: Option<(Mono, u64)>,
}

impl RateMeter {
    /// Counts a second since the last call; zero at the first one, and for a count that shrank.
    pub fn rate(&mut self, total: u64, now: Mono) -> f64 {
        let rate = self.last.map_or(0.0, |(then, before)| {
            let elapsed = now.since(then).as_secs_f64();
            if elapsed > 0.0 { total.saturating_sub(before) as f64 / elapsed } else { 0.0 }
        });
        self.last = Some((now, total));
        rate
    }
}

/// Resident memory of this process; `None` where /proc is missing.
#[must_use]
pub fn rss_bytes() -> Option<u64> {
    // statm counts pages of 4 KiB on the machines we build for; status counts kB and needs no page size.
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    kilobytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// `2026-11-23T07:30:15.123Z`.
#[must_use]
pub fn iso(wall: Wall) -> String {
    let mut text = wall.to_string();
    text.replace_range(10..11, "T");
    text.push('Z');
    text
}

/// The word of a state, as it stands in the file.
pub(crate) fn word<T: Serialize>(state: &T) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word.replace('_', " "),
        _ => String::new(),
    }
}

/// Microseconds as milliseconds with one decimal.
pub(crate) fn millis(micros: u64) -> String {
    format!("{:.1} ms", micros as f64 / 1e3)
}

fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file name"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(temporary))
}

#[cfg(test)]
mod tests;
