//! How long a private frame is on its way: from the exchange to the commit of its audit row.

use std::collections::HashMap;

use hdrhistogram::Histogram;

use super::report::Percentiles;
use super::watched_source::Commits;
use crate::domain::Wall;
use crate::sim::SimHandle;

/// A frame that has been under way longer than this is counted as this, in µs.
const LONGEST_US: u64 = 600_000_000;

/// More frames of one account than this with one event time are a burst; a market order's fills are a dozen.
const BURST_FRAMES: usize = 30;

/// Of all frames that are audited.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameLatencies {
    /// From the moment at which the exchange had its last byte in a socket for the first time.
    pub from_sent: Percentiles,
    /// From the exchange's own event time `E`, which is in whole ms and up to 2 ms ahead; frames that a fault of the
    /// exchange has held back are among them.
    pub from_event: Percentiles,
    /// The same without frames that came in a burst: a fault of the exchange sends hundreds in one moment.
    pub outside_bursts: Percentiles,
    /// How many came in one.
    pub burst_frames: u64,
}

/// Reads the ledgers: `rows` are the accounts' rows by the exchange's index.
pub fn measure(sim: &SimHandle, rows: &[u64], commits: &Commits) -> FrameLatencies {
    let mut burst_frames = 0;
    let mut histograms = [(); 3].map(|()| {
        Histogram::<u64>::new_with_max(LONGEST_US, 3).expect("three digits up to ten minutes are a histogram")
    });
    let commits = commits.lock();
    for (index, row) in rows.iter().enumerate() {
        let ledger = sim.account_ledger(index);
        let mut sent = vec![None; ledger.frames.len()];
        for delivery in &ledger.deliveries {
            sent[delivery.frame as usize - 1].get_or_insert(delivery.at);
        }
        let mut at_once: HashMap<i64, usize> = HashMap::new();
        for frame in &ledger.frames {
            *at_once.entry(frame.event_ms).or_default() += 1;
        }
        for (frame, sent) in ledger.frames.iter().zip(sent) {
            let (Some(committed), Some(sent)) = (commits.frames.get(&(*row, frame.hash)), sent) else { continue };
            let event = Wall::from_millis(frame.event_ms);
            let is_burst = at_once[&frame.event_ms] > BURST_FRAMES;
            burst_frames += u64::from(is_burst);
            let starts = [Some(sent), Some(event), (!is_burst).then_some(event)];
            for (histogram, start) in histograms.iter_mut().zip(starts) {
                let Some(start) = start else { continue };
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
    let [from_sent, from_event, outside_bursts] = histograms.each_ref().map(read);
    FrameLatencies { from_sent, from_event, outside_bursts, burst_frames }
}
