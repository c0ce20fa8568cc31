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

mod work;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::work::work_line;
pub use self::work::{HeldLaneStatus, WORK_ROLE, WorkStatus};
use crate::domain::{Layer, Mono, Wall};

/// The role of a process that has private streams only.
pub const USER_DATA_ROLE: &str = "user-data";

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

/// The price stream as it is now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamStatus {
    /// What it does.
    pub state: StreamState,
    /// Host and port of its URL.
    pub host: String,
    /// Attempts since it was last healthy; 1 is the first.
    pub attempt: u64,
    /// The newest fault.
    pub last_fault: Option<LastFault>,
    /// Since when it is connected.
    pub connected_since: Option<String>,
    /// When the newest price arrived.
    pub last_data_at: Option<String>,
    /// Price frames received.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries of those frames by what became of them (`accepted`, `stale`, `other_market`, `not_decimal`, …).
    pub entries: BTreeMap<String, u64>,
    /// Accepted prices a second, over the last interval.
    pub prices_per_s: f64,
}

/// What the stream does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    /// Not started yet.
    #[default]
    Starting,
    /// Resolving, connecting, upgrading.
    Connecting,
    /// Upgraded; data flows or is awaited.
    Live,
    /// Between two attempts.
    Waiting,
    /// Ended.
    Stopped,
}

impl StreamState {
    /// What "the stream …" does.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            StreamState::Starting => "has not started yet",
            StreamState::Connecting => "is connecting",
            StreamState::Live => "is live",
            StreamState::Waiting => "waits for its next attempt",
            StreamState::Stopped => "has ended",
        }
    }
}

/// One connection fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastFault {
    /// Its layer.
    pub layer: String,
    /// What happened: a sentence that begins with the layer.
    pub text: String,
    /// When.
    pub at: String,
}

/// The price writer as it is now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WriterStatus {
    /// What it does.
    pub state: WriterState,
    /// Rows updated.
    pub rows_written: u64,
    /// Transactions committed.
    pub commits: u64,
    /// From socket readable to commit, over the process's life; absent before the first commit.
    pub tick_to_commit_us: Option<LatencyUs>,
    /// The symbol map.
    pub map: MapStatus,
    /// Symbols that have a row and were not seen for 60 s.
    pub unseen: Vec<String>,
    /// Rows that the database refused, by name.
    pub quarantined: Vec<String>,
    /// The newest error of the database, without secrets.
    pub last_error: Option<String>,
    /// Rows a second, over the last interval.
    pub rows_per_s: f64,
}

/// What the writer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriterState {
    /// Not connected yet.
    #[default]
    Starting,
    /// Connected; writes what comes.
    Writing,
    /// Another process holds the writer lock.
    WaitingForLock,
    /// The database is away or refuses; newest prices are kept.
    StoreAway,
    /// Ended.
    Stopped,
}

impl WriterState {
    /// What "the writer …" does.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            WriterState::Starting => "has not connected yet",
            WriterState::Writing => "writes",
            WriterState::WaitingForLock => "waits for the lock that another price writer holds",
            WriterState::StoreAway => "waits for the database",
            WriterState::Stopped => "has ended",
        }
    }
}

/// The private streams of all accounts, and the way of their frames to the queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserDataStatus {
    /// Accounts that are to be streamed.
    pub accounts: u64,
    /// Of these, live now: subscribed and proven.
    pub live: u64,
    /// Frames recorded since the start.
    pub frames: u64,
    /// Gap records since the start.
    pub gaps: u64,
    /// Bytes of the spool.
    pub spool_bytes: u64,
    /// Positions of the spool: `write(2)` returned,
    pub written: u64,
    /// durable,
    pub synced: u64,
    /// handed to the dispatcher,
    pub dispatched: u64,
    /// safe with the queue.
    pub acked: u64,
    /// Jobs pushed.
    pub jobs: u64,
    /// Records written and not yet on the queue.
    pub behind: u64,
    /// Times that the queue's server had lost what it had taken, and was filled again.
    pub rewinds: u64,
    /// Records in quarantine because no job can be made of them.
    pub poisoned: u64,
    /// Jobs that wait on the queue, as far as is known.
    pub queue_depth: u64,
    /// From a frame's socket being readable to its job on the queue.
    pub frame_to_job_us: Option<LatencyUs>,
    /// Gaps that are being closed; absent where that is switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconcile: Option<ReconcileStatus>,
    /// Each account's stream.
    pub streams: Vec<AccountStatus>,
    /// What needs a person.
    pub alarms: Vec<String>,
}

/// One account's stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountStatus {
    /// `accounts.id`.
    pub id: u64,
    /// What people call it.
    pub name: String,
    /// `no_key`, `have_key`, `connecting`, `verifying`, `live` or `stopped`.
    pub phase: String,
    /// The spelling of the URL that delivered.
    pub spelling: Option<String>,
    /// Frames recorded.
    pub frames: u64,
    /// Gap records.
    pub gaps: u64,
    /// The last frame, pings included.
    pub last_frame_at: Option<String>,
    /// Why it is not well.
    pub degraded: Option<String>,
}

/// Reconciles, the safety net, and the REST weight of the address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReconcileStatus {
    /// Accounts whose gaps nobody closes at the moment.
    pub waiting: u64,
    /// Accounts that are being reconciled.
    pub running: u64,
    /// Accounts whose reconcile could not be finished and is tried again.
    pub degraded: u64,
    /// Gaps that got their outcome since the start.
    pub gaps_closed: u64,
    /// Events that nobody had heard.
    pub recovered: u64,
    /// Rounds of the safety net since the start.
    pub sync_rounds: u64,
    /// How long the last one took.
    pub sync_round_ms: Option<u64>,
    /// When it ended.
    pub sync_round_at: Option<String>,
    /// Accounts that the round at hand has not asked for yet.
    pub sync_left: u64,
    /// Local orders that were found elsewhere than at the venue.
    pub drifted: u64,
    /// The newest of these.
    pub drift: Vec<DriftStatus>,
    /// REST weight of the last minute, by anybody at this address as far as is known.
    pub weight_used: u64,
    /// Of so much.
    pub weight_limit: u64,
    /// The venue has banned this address for so long.
    pub banned_s: u64,
    /// A 429 stops reconciles for so long.
    pub held_s: u64,
}

/// A local order that was elsewhere than at the venue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DriftStatus {
    /// `accounts.id`.
    pub account: i64,
    /// `orders.id`.
    pub order: i64,
    /// `orders.exchange_order_id`.
    pub exchange_order_id: String,
    /// The venue's.
    pub symbol: String,
    /// `orders.status`.
    pub local: String,
    /// What it becomes.
    pub venue: String,
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

/// Counts of the symbol map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MapStatus {
    /// Symbols with at least one row.
    pub symbols: u64,
    /// Rows that take prices.
    pub rows: u64,
    /// Rows whose price is shifted by a power of ten.
    pub shifted: u64,
    /// Pairs whose ratio cannot be known: they get no price.
    pub unknown: u64,
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

fn user_data_line(user_data: &UserDataStatus) -> String {
    let latency = user_data.frame_to_job_us.map_or("no job yet".to_owned(), |us| {
        format!("frame to job p50 {} p99 {} max {}", millis(us.p50), millis(us.p99), millis(us.max))
    });
    format!(
        "accounts {} of {} live, {} frames, {} gaps; spool {:.1} MB, {} records behind; {} jobs, {} rewinds; {latency}",
        user_data.live,
        user_data.accounts,
        user_data.frames,
        user_data.gaps,
        user_data.spool_bytes as f64 / 1e6,
        user_data.behind,
        user_data.jobs,
        user_data.rewinds,
    )
}

fn price_line(status: &Status) -> String {
    let latency = status.writer.tick_to_commit_us.map_or("no commit yet".to_owned(), |us| {
        format!("tick to commit p50 {} p99 {} max {}", millis(us.p50), millis(us.p99), millis(us.max))
    });
    let faults: Vec<String> =
        status.faults.iter().filter(|(_, n)| **n > 0).map(|(layer, count)| format!("{layer} {count}")).collect();
    let faults = if faults.is_empty() { "none".to_owned() } else { faults.join(" ") };
    format!(
        "stream {}, {:.0} prices/s; writer {}, {:.0} rows/s, {} rows in {} commits; {latency}; faults {faults}",
        word(&status.stream.state),
        status.stream.prices_per_s,
        word(&status.writer.state),
        status.writer.rows_per_s,
        status.writer.rows_written,
        status.writer.commits,
    )
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
