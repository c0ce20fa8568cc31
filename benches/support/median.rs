//! Medians of interleaved rounds: a busy machine disturbs all alike.

use std::time::{Duration, Instant};

pub struct Samples(Vec<Duration>);

impl Samples {
    pub fn new(room: usize) -> Self {
        Samples(Vec::with_capacity(room))
    }

    /// Runs `work`, and keeps its time unless this is the warm-up.
    pub fn time(&mut self, warm: bool, work: impl FnOnce()) {
        let start = Instant::now();
        work();
        self.push(warm, start.elapsed());
    }

    pub fn push(&mut self, warm: bool, time: Duration) {
        if !warm {
            self.0.push(time);
        }
    }

    pub fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}
