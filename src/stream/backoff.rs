//! How long to wait before the next attempt: min(2^attempt, 32) s with full jitter, for ever (DESIGN.md §3).
//!
//! "Max 5" caps the exponent, never the number of attempts: giving up after five tries was a 14-hour outage
//! (facts/incumbent.md §9.2). The counter starts again only after proven health, never on a mere connect (§9.51).

use std::time::Duration;

use crate::domain::Random;
use crate::domain::limits::BACKOFF_EXPONENT_MAX;

/// The attempts since health was last proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    attempt: u32,
}

impl Backoff {
    /// Failed attempts since health was last proven.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Counts one more failure and draws the wait before the next attempt: evenly from zero to [`Backoff::ceiling`].
    pub fn next_delay(&mut self, random: &mut Random) -> Duration {
        let ceiling = Backoff::ceiling(self.attempt);
        self.attempt = self.attempt.saturating_add(1);
        Duration::from_millis(random.below(ceiling.as_millis() as u64 + 1))
    }

    /// Health is proven: the next failure starts from one second again.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// The longest wait after `attempt` failures in a row before this one: 1, 2, 4, 8, 16, 32, 32, … s.
    #[must_use]
    pub fn ceiling(attempt: u32) -> Duration {
        Duration::from_secs(1 << attempt.min(BACKOFF_EXPONENT_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_to_32_seconds_and_stays() {
        for (attempt, seconds) in [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (6, 32), (16_632, 32)] {
            assert_eq!(Backoff::ceiling(attempt), Duration::from_secs(seconds), "{attempt}");
        }
        assert_eq!(Backoff::ceiling(u32::MAX), Duration::from_secs(32));
    }

    #[test]
    fn full_jitter_fills_the_range_and_only_health_resets() {
        let mut random = Random::from_seed(3);
        let mut low = [Duration::MAX; 8];
        let mut high = [Duration::ZERO; 8];
        for _ in 0..2_000 {
            let mut backoff = Backoff::default();
            for attempt in 0..8 {
                assert_eq!(backoff.attempt(), attempt);
                let delay = backoff.next_delay(&mut random);
                assert!(delay <= Backoff::ceiling(attempt), "{delay:?} after {attempt}");
                low[attempt as usize] = low[attempt as usize].min(delay);
                high[attempt as usize] = high[attempt as usize].max(delay);
            }
            backoff.reset();
            assert_eq!(backoff, Backoff::default());
        }
        for attempt in 0..8 {
            let ceiling = Backoff::ceiling(attempt as u32);
            assert!(low[attempt] < ceiling / 100 && high[attempt] > ceiling * 99 / 100, "attempt {attempt}");
        }
        let mut worn = Backoff { attempt: u32::MAX };
        worn.next_delay(&mut random);
        assert_eq!(worn.attempt(), u32::MAX);
    }
}
