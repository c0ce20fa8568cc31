//! What the price loop tells the rest of the process about itself: a copy of counters and state behind one short lock.
//!
//! The loop writes once a frame and once an event; status file, page and escalation read. Nobody waits for anybody.

use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::{Layer, Mono, Wall};
use crate::ops::status::{LastFault, StreamState, StreamStatus};
use crate::prices::intake_counts::IntakeCounts;
use crate::stream::FaultKind;

/// Shared by the loop and whoever looks.
#[derive(Debug, Default)]
pub struct StreamTelemetry(Mutex<Snapshot>);

/// The loop's state at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What the stream does.
    pub state: StreamState,
    /// Failures in a row.
    pub attempt: u32,
    /// Since when it is connected.
    pub connected_since: Option<Wall>,
    /// Connections that came up since the start.
    pub connections: u64,
    /// Connections in a row that brought no price.
    pub barren: u32,
    /// Messages and their bytes, control replies included.
    pub messages: u64,
    /// As above.
    pub bytes: u64,
    /// The intake's counters.
    pub counts: IntakeCounts,
    /// When the newest accepted price arrived.
    pub last_data: Option<(Mono, Wall)>,
    /// The newest fault.
    pub last_fault: Option<FaultSeen>,
    /// Faults by [`Layer`], in the order of [`Layer::ALL`].
    pub faults_by_layer: [u64; Layer::ALL.len()],
    /// Faults by [`FaultKind`], in the order of [`FaultKind::ALL`].
    pub faults_by_kind: [u64; FaultKind::ALL.len()],
    /// When the newest message without a usable row arrived; forgotten with the next usable one.
    pub no_usable_row_at: Option<Wall>,
    /// The newest frame said that our wall clock is behind.
    pub clock_behind: bool,
    /// The first symbol that found the table full.
    pub refused_symbol: Option<String>,
    /// Escalations: so long without data that only a fresh process or role may heal it. Grows.
    pub escalations: u64,
    /// The span of the newest escalation.
    pub silent: Duration,
}

/// A fault and when it was seen.
#[derive(Clone, Debug)]
pub struct FaultSeen {
    /// Where it broke.
    pub layer: Layer,
    /// Its sentence.
    pub text: String,
    /// When.
    pub at: Wall,
}

/// Connections in a row without a first price from which on it is an alarm (facts/binance.md §5, outages).
pub const BARREN_ALARM: u32 = 3;

impl StreamTelemetry {
    /// Changes the snapshot; the loop's side.
    pub fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.0.lock());
    }

    /// A copy.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.lock().clone()
    }
}

impl Snapshot {
    /// As the status file has it; the rate is the caller's.
    #[must_use]
    pub fn stream_status(&self, host: &str, prices_per_s: f64) -> StreamStatus {
        let mut entries: std::collections::BTreeMap<String, u64> =
            self.counts.rejected_by_kind().map(|(kind, count)| (kind.to_owned(), count)).collect();
        entries.insert("accepted".to_owned(), self.counts.accepted);
        StreamStatus {
            state: self.state,
            host: host.to_owned(),
            attempt: u64::from(self.attempt) + 1,
            last_fault: self.last_fault.as_ref().map(|fault| LastFault {
                layer: fault.layer.as_str().to_owned(),
                text: fault.text.clone(),
                at: crate::ops::status::iso(fault.at),
            }),
            connected_since: self.connected_since.map(crate::ops::status::iso),
            last_data_at: self.last_data.map(|(_, wall)| crate::ops::status::iso(wall)),
            frames: self.counts.frames,
            bytes: self.bytes,
            entries,
            prices_per_s,
        }
    }

    /// What needs a person, a sentence each. `silence` is the bound after which a silent stream is reconnected.
    #[must_use]
    pub fn alarms(&self, now: Mono, started: Mono, silence: Duration) -> Vec<String> {
        let mut alarms = Vec::new();
        let silent = now.since(self.last_data.map_or(started, |(mono, _)| mono));
        if silent > silence {
            alarms.push(format!("no price for {} s", silent.as_secs()));
        }
        if self.barren >= BARREN_ALARM {
            alarms.push(format!(
                "{} connections in a row brought no price: the stream's URL or spelling may be out of date",
                self.barren
            ));
        }
        if let Some(at) = self.no_usable_row_at {
            alarms
                .push(format!("a well-formed message without a usable row at {at}: the feed's shape may have changed"));
        }
        if self.clock_behind {
            alarms.push("most event times are over 60 s ahead of this machine's clock: correct the clock".to_owned());
        }
        if let Some(symbol) = &self.refused_symbol {
            alarms.push(format!("the symbol table is full: {symbol} and later ones get no price"));
        }
        alarms
    }
}
