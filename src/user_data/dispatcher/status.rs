//! What the dispatcher does, for people.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::domain::Wall;
use crate::queue::{PushErrorClass, SinkHealth};

/// Counts and states since the start.
#[derive(Clone, Debug, Default)]
pub struct DispatcherStatus {
    /// Jobs pushed, those that came again after a rewind included.
    pub jobs: u64,
    /// Of those: gap records.
    pub gaps: u64,
    /// Pushes that were done.
    pub pushes: u64,
    /// Pushes whose outcome was doubtful at first.
    pub doubtful: u64,
    /// Pushes that were refused or doubtful.
    pub failures: u64,
    /// Why nothing goes, since when; `None` while it does.
    pub stuck: Option<Stuck>,
    /// Times that the server had lost what it had taken.
    pub rewinds: u64,
    /// Records of rewound stretches that were applied before, and not pushed again.
    pub left_out: u64,
    /// Records in quarantine because no job can be made of them.
    pub poisoned: u64,
    /// Records acknowledged although their row or quarantine file was still missing.
    pub let_go: u64,
    /// Stretches of the spool that could not be read.
    pub damaged: u64,
    /// Jobs that wait on the queue, as far as is known.
    pub depth: u64,
    /// Records that are written and not on the queue.
    pub behind: u64,
    /// Records that are not acknowledged: those, and what the consumer or a row has yet to make safe.
    pub unacknowledged: u64,
    /// From a frame's arrival to its job on the queue.
    pub frame_to_job: Latency,
    /// What the sink last said about itself.
    pub health: Option<SinkHealth>,
}

/// Why the dispatcher waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The kind.
    pub class: PushErrorClass,
    /// A sentence.
    pub text: String,
    /// Since when.
    pub since: Wall,
}

/// Percentiles in µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half were faster.
    pub p50_us: u64,
    /// 99 of 100 were faster.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
}

/// Measures latencies in fixed memory, two digits exact.
pub(in crate::user_data) struct LatencyMeter(Histogram<u64>);

impl LatencyMeter {
    pub fn new() -> Self {
        let day = 24 * 3_600 * 1_000_000;
        LatencyMeter(Histogram::new_with_bounds(1, day, 2).expect("1 to a day with 2 digits are bounds"))
    }

    pub fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub fn latency(&self) -> Latency {
        Latency {
            count: self.0.len(),
            p50_us: self.0.value_at_quantile(0.5),
            p99_us: self.0.value_at_quantile(0.99),
            max_us: self.0.max(),
        }
    }
}
