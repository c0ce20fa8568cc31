//! The price role's part of the status: its stream and its writer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LatencyUs, Status, millis, word};

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

/// What [`super::summary_line`] says of them.
pub(super) fn price_line(status: &Status) -> String {
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
