//! The time for which nobody of a source address connects, because the venue turned it away: a line of the shared file like
//! an attempt's, but its stamp is the end. When it is over one attempt goes ahead, and the others wait
//! [`CONNECT_TRIAL`] for what comes of it: who goes on after a 429 is banned (facts/binance.md §3).

use std::time::Duration;

use crate::domain::limits::{CONNECT_HOLD_MAX, CONNECT_TRIAL};
use crate::domain::{Mono, Now, Wall};

/// Until when nobody begins an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    until: Mono,
    /// One attempt is ahead; after this all may go.
    is_trial: bool,
}

/// What a hold says about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Open,
    /// This attempt would be the one that goes ahead.
    Ahead,
    Shut(Mono),
}

impl Hold {
    /// For `pause` from now on, [`CONNECT_HOLD_MAX`] at most.
    pub fn new(pause: Duration, now: Mono) -> Hold {
        Hold { until: now.plus(pause.min(CONNECT_HOLD_MAX)), is_trial: false }
    }

    /// An attempt goes ahead now.
    pub fn trial(now: Mono) -> Hold {
        Hold { until: now.plus(CONNECT_TRIAL), is_trial: true }
    }

    /// The one that lasts longer.
    pub fn longer(one: Option<Hold>, other: Option<Hold>) -> Option<Hold> {
        [one, other].into_iter().flatten().max_by_key(|hold| (hold.until, !hold.is_trial))
    }

    pub fn way(hold: Option<Hold>, now: Mono) -> Way {
        match hold {
            Some(hold) if now < hold.until => Way::Shut(hold.until),
            Some(Hold { is_trial: false, .. }) => Way::Ahead,
            Some(_) | None => Way::Open,
        }
    }

    pub fn is_trial(self) -> bool {
        self.is_trial
    }

    pub fn left(self, now: Mono) -> Duration {
        self.until.since(now)
    }

    /// Its line's stamp and letter; `None` once it is over.
    pub fn words(self, now: Now) -> Option<(i64, &'static str)> {
        let left = i64::try_from(self.left(now.mono).as_micros()).expect("bounded by CONNECT_HOLD_MAX");
        (left > 0).then(|| (now.wall.as_micros() + left, if self.is_trial { "t" } else { "h" }))
    }

    /// A line of somebody else's; `None` for one that is over, is no hold, or ends later than any does.
    pub fn read(line: &str, at: Mono, wall: Wall) -> Option<Hold> {
        let mut words = line.split(' ');
        let until: i64 = words.next()?.parse().ok()?;
        u64::from_str_radix(words.next().filter(|word| word.len() == 16)?, 16).ok()?;
        let is_trial = match words.next()? {
            "h" => false,
            "t" => true,
            _ => return None,
        };
        let left = u64::try_from(until.checked_sub(wall.as_micros())?).ok().map(Duration::from_micros)?;
        let is_sound = words.next().is_none() && !left.is_zero() && left <= CONNECT_HOLD_MAX;
        is_sound.then(|| Hold { until: at.plus(left), is_trial })
    }
}
