//! How long a private frame is on its way: from the exchange to the commit of its audit row.

use hdrhistogram::Histogram;

use super::report::Percentiles;
use super::watched_source::Commits;
use crate::domain::Wall;
use crate::sim::SimHandle;

/// A frame that has been under way longer than this is counted as this, in µs.
const LONGEST_US: u64 = 600_000_000;

/// Of all frames that are audited.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameLatencies {
    /// From the moment at which the exchange had its last byte in a socket for the first time.
    pub from_sent: Percentiles,
    /// From the exchange's own event time `E`, which is in whole ms and up to 2 ms ahead; frames that a fault of the
    /// exchange has held back are among them.
    pub from_event: Percentiles,
}

/// Reads the ledgers: `rows` are the accounts' rows by the exchange's index.
pub fn measure(sim: &SimHandle, rows: &[u64], commits: &Commits) -> FrameLatencies {
    let mut histograms = [(); 2].map(|()| {
        Histogram::<u64>::new_with_max(LONGEST_US, 3).expect("three digits up to ten minutes are a histogram")
    });
    let commits = commits.lock();
    for (index, row) in rows.iter().enumerate() {
        let ledger = sim.account_ledger(index);
        let mut sent = vec![None; ledger.frames.len()];
        for delivery in &ledger.deliveries {
            sent[delivery.frame as usize - 1].get_or_insert(delivery.at);
        }
        for (frame, sent) in ledger.frames.iter().zip(sent) {
            let (Some(committed), Some(sent)) = (commits.get(&(*row, frame.hash)), sent) else { continue };
            let starts = [sent, Wall::from_millis(frame.event_ms)];
            for (histogram, start) in histograms.iter_mut().zip(starts) {
                let us = u64::try_from(committed.as_micros() - start.as_micros()).unwrap_or(0);
                histogram.saturating_record(us.min(LONGEST_US));
            }
        }
    }
    let read = |histogram: &Histogram<u64>| Percentiles {
        p50: histogram.value_at_quantile(0.5),
        p99: histogram.value_at_quantile(0.99),
        max: histogram.max(),
    };
    FrameLatencies { from_sent: read(&histograms[0]), from_event: read(&histograms[1]) }
}
