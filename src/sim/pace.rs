//! How many frames of all accounts together are due: a rate, and credit that is spent frame by frame.

use std::time::Duration;

use crate::domain::Mono;

/// Waking more often would be work for nobody.
const WAKE_EVERY: Duration = Duration::from_millis(2);

/// The pace of all order lives.
#[derive(Debug)]
pub(super) struct Pace {
    rate: f64,
    credit: f64,
    at: Mono,
    due: Mono,
}

impl Pace {
    /// This many frames a second; none where that is no positive number.
    pub(super) fn new(rate: f64) -> Self {
        Pace { rate: if rate.is_finite() { rate.max(0.0) } else { 0.0 }, credit: 0.0, at: Mono::ZERO, due: Mono::NEVER }
    }

    /// Another rate from now on.
    pub(super) fn set(&mut self, rate: f64, now: Mono) {
        *self = Pace { at: now, due: now, ..Pace::new(rate) };
    }

    /// Somebody trades who did not before.
    pub(super) fn wake(&mut self, now: Mono) {
        if self.due == Mono::NEVER {
            (self.at, self.due) = (now, now);
        }
    }

    /// When it wants to be looked at.
    pub(super) fn due(&self) -> Mono {
        self.due
    }

    /// Credit for the time since the last look. A pause of the process is not made up for.
    pub(super) fn earn(&mut self, now: Mono) {
        self.credit = (self.credit + self.rate * now.since(self.at).as_secs_f64()).min(self.rate.max(1.0));
        self.at = now;
        let wait = if self.rate > 0.0 { ((1.0 - self.credit) / self.rate).clamp(0.0, 60.0) } else { 60.0 };
        self.due = now.plus(WAKE_EVERY.max(Duration::from_secs_f64(wait)));
    }

    /// Whether a frame is due.
    pub(super) fn has_credit(&self) -> bool {
        self.credit >= 1.0
    }

    /// This many frames were sent.
    pub(super) fn spend(&mut self, frames: usize) {
        self.credit -= frames as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_over_time_whatever_the_bursts() {
        let mut pace = Pace::new(200.0);
        pace.wake(Mono::ZERO);
        let mut sent = 0;
        for ms in 0..10_000 {
            let now = Mono::ZERO.plus(Duration::from_millis(ms));
            if now < pace.due() {
                continue;
            }
            pace.earn(now);
            while pace.has_credit() {
                pace.spend(3);
                sent += 3;
            }
        }
        assert!((1_990..=2_003).contains(&sent), "{sent}");
        // Nobody is made to swallow the frames of an hour at once.
        pace.earn(Mono::ZERO.plus(Duration::from_secs(3_600)));
        assert!(pace.credit <= 200.0);
        assert_eq!(Pace::new(f64::NAN).rate, 0.0);
    }
}
