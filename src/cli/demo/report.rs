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
    /// Private frames that went into the spool, doubles too.
    pub frames: u64,
    /// Gaps of streams, each a row of `stream_gaps`.
    pub gaps: u64,
    /// Of these: with an outcome.
    pub gaps_repaired: u64,
    /// Events that nobody had heard and that became jobs all the same.
    pub recovered_events: u64,
    /// From the last moment of surely listening to the gap's outcome.
    pub break_to_repair_ms: RepairTimes,
    /// Fills of the exchange, and of these the recovered ones; each is one audit row.
    pub fills: u64,
    /// As above.
    pub fills_recovered: u64,
    /// Rows of `api_data_stream` that frames became.
    pub audit_rows: u64,
    /// Orders of the application that were compared with the exchange's, and hold the same.
    pub orders_checked: u64,
    /// Of these: orders whose last frame nobody has heard.
    pub orders_repaired: u64,
    /// Orders whose last frame lies in a gap that is still open: not compared.
    pub orders_in_gaps: u64,
    /// Workflows that were asked for.
    pub intents: u64,
    /// From a private frame's arrival to its job on the queue.
    pub frame_to_job_us: Percentiles,
    /// From a private frame's last byte in the exchange's socket to the acknowledgement behind the commit of its audit row.
    pub frame_to_audit_us: Percentiles,
    /// From the exchange's event time `E`, in whole ms, to the same; what a fault has held back is in it.
    pub event_to_audit_us: Percentiles,
    /// The same of frames that came in no burst.
    pub event_to_audit_outside_bursts_us: Percentiles,
    /// Frames that came in one: hundreds in one moment, by a fault of the exchange.
    pub burst_frames: u64,
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
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50: u64,
    /// 99 of 100.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct RepairTimes {
    /// Median.
    pub p50: u64,
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
            format!(
                "        accounts   {} frames became {} audit rows; {} orders compared, {} in open gaps; {} intents",
                self.frames, self.audit_rows, self.orders_checked, self.orders_in_gaps, self.intents
            ),
            format!(
                "        gaps       {} of {} repaired: {} events recovered, {} of {} fills among them; {} orders that changed \
                 unheard are right",
                self.gaps_repaired,
                self.gaps,
                self.recovered_events,
                self.fills_recovered,
                self.fills,
                self.orders_repaired
            ),
            format!("faults  injected   {}", counted(&self.faults)),
            format!("        named      {}", counted(&self.faults_named)),
            format!("        accounts   {}", counted(&self.account_faults)),
            latency("tick to commit", &self.tick_to_commit_us),
            latency("frame to job", &self.frame_to_job_us),
            latency("frame to audit", &self.frame_to_audit_us),
            latency("exchange E to audit", &self.event_to_audit_us),
            format!(
                "{}   (the owner's measure: 100 ms; without {} frames in bursts)",
                latency("  outside of bursts", &self.event_to_audit_outside_bursts_us),
                self.burst_frames
            ),
            format!(
                "break to repair      p50 {:.1} s, max {:.1} s",
                self.break_to_repair_ms.p50 as f64 / 1e3,
                self.break_to_repair_ms.max as f64 / 1e3
            ),
            format!("memory               {:.1} MB, the simulator included", self.rss_bytes as f64 / 1e6),
            String::new(),
        ];
        for check in &self.checks {
            lines.push(format!("{}  {:<26} {}", if check.ok { "ok  " } else { "FAIL" }, check.name, check.detail));
        }
        lines
    }
}

fn latency(what: &str, us: &Percentiles) -> String {
    let ms = |us: u64| us as f64 / 1e3;
    format!("{what:<20} p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", ms(us.p50), ms(us.p99), ms(us.max))
}
