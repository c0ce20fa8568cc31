//! The venue's clock, as far as it is known here: signed reads are stamped by it and histories are asked for by it, so that a
//! machine whose clock is off reconciles all the same. Told by the venue itself; between two tellings our monotonic clock goes
//! on from the last one, so a wall clock that is set meanwhile changes nothing. One a process; sans-IO.

use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::limits::{VENUE_CLOCK_KEPT, VENUE_CLOCK_OFF_MAX};
use crate::domain::{Mono, Now, Wall};

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct VenueClock {
    told: Mutex<Option<Told>>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    /// What it showed,
    wall: Wall,
    /// then, give or take
    at: Mono,
    /// so much.
    give_or_take: Duration,
}

impl VenueClock {
    /// Takes an answer of the venue: the time is of some moment between question and answer, as likely one as another.
    pub fn handle_told(&self, time_ms: i64, asked: Mono, answered: Mono) {
        let half = answered.since(asked) / 2;
        *self.told.lock() = Some(Told { wall: Wall::from_millis(time_ms), at: asked.plus(half), give_or_take: half });
    }

    /// Whether it is to be asked.
    #[must_use]
    pub fn is_due(&self, now: Now) -> bool {
        self.told.lock().is_none_or(|told| now.mono.since(told.at) >= VENUE_CLOCK_KEPT)
    }

    /// The moment by the venue's clock; by ours where it has never told.
    #[must_use]
    pub fn at(&self, now: Now) -> Now {
        Now { wall: Wall::from_micros(now.wall.as_micros().saturating_add(self.ahead_us(now).unwrap_or(0))), ..now }
    }

    /// How much it is ahead of ours, in ms; negative where it is behind. `None`: it has never told.
    #[must_use]
    pub fn ahead_ms(&self, now: Now) -> Option<i64> {
        self.ahead_us(now).map(|ahead| ahead / 1_000)
    }

    /// A sentence where this machine's clock is off by more than it may.
    #[must_use]
    pub fn warning(&self, now: Now) -> Option<String> {
        let give_or_take = (*self.told.lock())?.give_or_take;
        let ahead = self.ahead_us(now)?;
        let surely = Duration::from_micros(ahead.unsigned_abs()).saturating_sub(give_or_take);
        (surely > VENUE_CLOCK_OFF_MAX).then(|| {
            format!(
                "this machine's clock is {}.{} s {} the venue's: synchronise it (signed reads go by the venue's meanwhile)",
                ahead.unsigned_abs() / 1_000_000,
                ahead.unsigned_abs() / 100_000 % 10,
                if ahead > 0 { "behind" } else { "ahead of" }
            )
        })
    }

    fn ahead_us(&self, now: Now) -> Option<i64> {
        let told = (*self.told.lock())?;
        let since = i64::try_from(now.mono.since(told.at).as_micros()).unwrap_or(i64::MAX);
        Some(told.wall.as_micros().saturating_add(since).saturating_sub(now.wall.as_micros()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64, wall_ms: i64) -> Now {
        Now { mono: Mono::from_nanos(mono_ms * 1_000_000), wall: Wall::from_millis(wall_ms) }
    }

    #[test]
    fn the_venues_clock_goes_on_by_our_monotonic_one() {
        let clock = VenueClock::default();
        assert_eq!((clock.at(at(0, 5)), clock.ahead_ms(at(0, 5)), clock.warning(at(0, 5))), (at(0, 5), None, None));
        assert!(clock.is_due(at(0, 5)));
        // Asked at 1,000 ms, answered 200 ms later: 50,000 was right at 1,100.
        clock.handle_told(50_000, at(1_000, 0).mono, at(1_200, 0).mono);
        for (now, ahead_ms) in
            [(at(1_100, 50_000), 0), (at(2_100, 51_000), 0), (at(2_100, 251_000), -200_000), (at(2_100, 1), 50_999)]
        {
            assert_eq!(
                (clock.ahead_ms(now), clock.at(now).wall.as_millis()),
                (Some(ahead_ms), now.wall.as_millis() + ahead_ms)
            );
            assert_eq!(clock.at(now).mono, now.mono);
        }
        let kept = VENUE_CLOCK_KEPT.as_millis() as u64;
        assert!(!clock.is_due(at(1_099 + kept, 0)) && clock.is_due(at(1_100 + kept, 0)));
    }

    #[test]
    fn only_what_is_surely_off_is_told() {
        for (answered_ms, our_ms, says) in [
            (200, 50_100, None),
            (200, 49_200, None),
            (200, 48_900, Some("this machine's clock is 1.2 s behind the venue's")),
            (200, 170_100, Some("this machine's clock is 120.0 s ahead of the venue's")),
            // The answer took so long that nobody knows.
            (6_000, 52_000, None),
        ] {
            let clock = VenueClock::default();
            clock.handle_told(50_000, at(0, 0).mono, at(answered_ms, 0).mono);
            let warning = clock.warning(at(answered_ms / 2 + 100, our_ms));
            assert_eq!(warning.is_some(), says.is_some(), "{answered_ms} {our_ms}: {warning:?}");
            assert!(warning.unwrap_or_default().starts_with(says.unwrap_or_default()), "{answered_ms} {our_ms}");
        }
    }
}
