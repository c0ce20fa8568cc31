//! What the writer shows of itself: a snapshot for the status file, the page and the summary line.

use std::fmt;

use crate::domain::limits::BAD_ROWS_NAMED_MAX;
use crate::domain::{BadPrice, Mono, Wall};
use crate::store::error::ErrorClass;

use super::case_when::Transactions;

/// What the writer is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriterState {
    /// Not connected yet.
    #[default]
    Starting,
    /// Connected; whatever gets dirty is written.
    Writing,
    /// Nothing can be written; it goes on trying, and the newest values wait on the board.
    Away(ErrorClass),
    /// Another writer holds the lock; it waits for a bounded time at the start.
    WaitingForLock,
    /// It gave up at the start; the sentence says why.
    Refused,
    /// It was told to stop.
    Stopped,
}

impl WriterState {
    /// The word used in logs and the status file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            WriterState::Starting => "starting",
            WriterState::Writing => "writing",
            WriterState::Away(class) => class.as_str(),
            WriterState::WaitingForLock => "waiting_for_lock",
            WriterState::Refused => "refused",
            WriterState::Stopped => "stopped",
        }
    }
}

impl fmt::Display for WriterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The writer at one moment. Counters count since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriterStatus {
    /// What it is doing.
    pub state: WriterState,
    /// Since when.
    pub state_since: Wall,
    /// Why it is not writing, in a sentence without secrets; empty while it is.
    pub sentence: String,
    /// Where the commits stand; `None` before the first connection.
    pub transactions: Option<Transactions>,
    /// Sessions opened.
    pub sessions: u64,
    /// Rows committed.
    pub rows_written: u64,
    /// Transactions committed.
    pub commits: u64,
    /// Batches written.
    pub writes: u64,
    /// Batches, or parts of one, that failed and were put back.
    pub failures: u64,
    /// Microseconds from the socket being readable for a frame to its commit.
    pub tick_to_commit_us: Latency,
    /// When the last commit was answered.
    pub last_commit: Option<Wall>,
    /// Since when a write is under way: old while a server answers nothing.
    pub writing_since: Option<Mono>,
    /// Rows in the symbol map.
    pub rows_mapped: usize,
    /// Symbols in the symbol map.
    pub symbols_mapped: usize,
    /// Symbols seen that have no row.
    pub symbols_unmapped: usize,
    /// How often the map was loaded.
    pub map_loads: u64,
    /// When the map was loaded last.
    pub map_loaded_at: Option<Wall>,
    /// Prices that a target column would round or overflow, also after a shift, in the order of [`BadPrice::ALL`].
    pub bad_prices: [u64; BadPrice::ALL.len()],
    /// Rows that the database refused, with its words.
    pub quarantined: Names,
    /// Ids in the map that the target table lacks.
    pub missing: Names,
    /// Symbols tracked but unseen for [`SYMBOL_UNSEEN_MAX`](crate::domain::limits::SYMBOL_UNSEEN_MAX).
    pub unseen: Names,
}

/// Percentiles in microseconds; zero before the first sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Samples: one for each frame and commit.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 99 in 100 are faster.
    pub p99: u64,
    /// The slowest.
    pub max: u64,
}

/// How many there are, and the first [`BAD_ROWS_NAMED_MAX`] by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// All of them.
    pub count: usize,
    /// The first ones.
    pub first: Vec<String>,
}

impl Names {
    /// Counts `names` and keeps the first.
    pub fn collect(names: impl Iterator<Item = String>) -> Self {
        let mut kept = Names::default();
        for name in names {
            kept.count += 1;
            if kept.first.len() < BAD_ROWS_NAMED_MAX {
                kept.first.push(name);
            }
        }
        kept
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join(", "))?;
        match self.count - self.first.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_cut() {
        let names = Names::collect((0..25).map(|n| format!("S{n}")));
        assert_eq!((names.count, names.first.len()), (25, BAD_ROWS_NAMED_MAX));
        assert!(names.to_string().ends_with("S19 and 5 more"), "{names}");
        assert_eq!(Names::collect(["A".to_owned()].into_iter()).to_string(), "A");
    }
}
