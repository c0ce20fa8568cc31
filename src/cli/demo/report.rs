//! What the demo says in the end: the ledger and the checks, for people on standard error or as one JSON object.

use std::collections::BTreeMap;

use serde::Serialize;

use super::check::Verdict;

/// Everything that `--json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether every check held.
    pub ok: bool,
    /// How long it ran, in seconds.
    pub seconds: f64,
    /// Repeats the market and the faults.
    pub seed: u64,
    /// Ticks received: all frames of one second are one.
    pub ticks: u64,
    /// Rows updated and committed.
    pub rows_written: u64,
    /// Transactions committed.
    pub commits: u64,
    /// From a frame's socket being readable to its commit.
    pub tick_to_commit_us: Percentiles,
    /// Private frames that became jobs, doubles too.
    pub frames: u64,
    /// Gaps that became jobs.
    pub gaps: u64,
    /// From a private frame's arrival to its job on the queue.
    pub frame_to_job_us: Percentiles,
    /// Resident memory of the whole process at the end, simulator included.
    pub rss_bytes: u64,
    /// Faults that took effect, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Faults of accounts that took effect, by kind.
    pub account_faults: BTreeMap<&'static str, u64>,
    /// Faults that the client named, by its own kinds.
    pub faults_named: BTreeMap<&'static str, u64>,
    /// What was sent, and what became of it.
    pub ledger: Ledger,
    /// The checks.
    pub checks: Vec<CheckReport>,
}

/// Microseconds.
#[derive(Debug, Default, Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50: u64,
    /// 99 of 100.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

/// Frames and entries, from the exchange to the table.
#[derive(Debug, Serialize)]
pub struct Ledger {
    /// Price frames whose last byte went into a socket, and their entries.
    pub frames_sent: u64,
    /// As above.
    pub entries_sent: u64,
    /// Messages received, and the entries of those that were whole.
    pub frames_received: u64,
    /// As above.
    pub entries_received: u64,
    /// Entries put on the board.
    pub accepted: u64,
    /// Of those, overtaken by a newer one before the writer came.
    pub conflated: u64,
    /// Entries not accepted, by kind.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Messages refused as a whole, by kind.
    pub frames_refused: BTreeMap<&'static str, u64>,
    /// Rows updated and committed.
    pub rows_written: u64,
}

/// One check.
#[derive(Debug, Serialize)]
pub struct CheckReport {
    /// Its word, as `--break` takes it.
    pub name: &'static str,
    /// Whether it held.
    pub ok: bool,
    /// What was compared.
    pub detail: String,
}

impl From<Verdict> for CheckReport {
    fn from(verdict: Verdict) -> Self {
        CheckReport { name: verdict.check.name(), ok: verdict.ok, detail: verdict.detail }
    }
}

impl Report {
    /// Lines for people.
    pub fn lines(&self) -> Vec<String> {
        let ledger = &self.ledger;
        let counted = |kinds: &BTreeMap<&'static str, u64>| {
            let words: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            if words.is_empty() { "none".to_owned() } else { words.join(", ") }
        };
        let mut lines = vec![
            String::new(),
            format!("ledger  sent       {} frames, {} entries", ledger.frames_sent, ledger.entries_sent),
            format!(
                "        received   {} frames, {} entries, {} ticks",
                ledger.frames_received, ledger.entries_received, self.ticks
            ),
            format!("        accepted   {} prices, {} of them conflated", ledger.accepted, ledger.conflated),
            format!("        written    {} rows in {} commits", ledger.rows_written, self.commits),
            format!("        rejected   {}", counted(&ledger.rejected)),
            format!("        refused    {}", counted(&ledger.frames_refused)),
            format!("        accounts   {} frames became jobs, {} gaps", self.frames, self.gaps),
            format!("faults  injected   {}", counted(&self.faults)),
            format!("        named      {}", counted(&self.faults_named)),
            format!("        accounts   {}", counted(&self.account_faults)),
            format!(
                "tick to commit     p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
                self.tick_to_commit_us.p50 as f64 / 1e3,
                self.tick_to_commit_us.p99 as f64 / 1e3,
                self.tick_to_commit_us.max as f64 / 1e3
            ),
            format!(
                "frame to job       p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
                self.frame_to_job_us.p50 as f64 / 1e3,
                self.frame_to_job_us.p99 as f64 / 1e3,
                self.frame_to_job_us.max as f64 / 1e3
            ),
            format!("memory             {:.1} MB, the simulator included", self.rss_bytes as f64 / 1e6),
            String::new(),
        ];
        for check in &self.checks {
            lines.push(format!("{}  {:<26} {}", if check.ok { "ok  " } else { "FAIL" }, check.name, check.detail));
        }
        lines
    }
}
