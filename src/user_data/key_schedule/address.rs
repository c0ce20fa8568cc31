//! Whether the venue lets this address call at all. It counts by address, so one account's refusal of that kind stops all;
//! when the pause is over one call goes ahead alone, and only its answer opens the way for the others.

use std::time::Duration;

use super::Answer;
use crate::domain::limits::BLOCKED_HOLD_MAX;
use crate::domain::{Mono, Now, Random};
use crate::exchange::binance::listen_key::Refusal;

/// Jitter behind a pause that the venue asked for: it is never cut short.
const HOLD_JITTER: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub(super) struct Address {
    way: Way,
    refusals: u32,
    /// The end of a ban that the venue named or that is usual: it is about every connection of this address.
    banned_until: Mono,
}

#[derive(Clone, Copy, Debug, Default)]
enum Way {
    #[default]
    Open,
    Held(Mono),
    /// The call with this ticket is ahead alone.
    Probing(u64),
}

impl Address {
    /// From when on calls may go; `None` while one is ahead alone.
    pub(super) fn open_from(&self) -> Option<Mono> {
        match self.way {
            Way::Open => Some(Mono::ZERO),
            Way::Held(until) => Some(until),
            Way::Probing(_) => None,
        }
    }

    pub(super) fn held_for(&self, now: Mono) -> Duration {
        match self.way {
            Way::Held(until) => until.since(now),
            Way::Open | Way::Probing(_) => Duration::ZERO,
        }
    }

    pub(super) fn banned_for(&self, now: Mono) -> Duration {
        self.banned_until.since(now)
    }

    /// A call goes out; after a pause it is the one that goes ahead.
    pub(super) fn started(&mut self, ticket: u64) {
        if let Way::Held(_) = self.way {
            self.way = Way::Probing(ticket);
        }
    }

    pub(super) fn settle(&mut self, ticket: u64, answer: Answer, now: Now, random: &mut Random) {
        let was_ahead = matches!(self.way, Way::Probing(ahead) if ahead == ticket);
        match answer {
            Answer::Refused(refusal) if refusal.concerns_address() => {
                // Calls that were out together are refused together: that is one refusal.
                let is_news = was_ahead || matches!(self.way, Way::Open);
                self.refusals = if is_news { self.refusals.saturating_add(1) } else { self.refusals };
                let mut pause = refusal.pause(self.refusals, now.wall.as_millis());
                if let Refusal::Banned { .. } = refusal {
                    self.banned_until = self.banned_until.max(now.mono.plus(pause));
                }
                if let Refusal::Blocked { .. } = refusal {
                    pause = pause.min(BLOCKED_HOLD_MAX);
                }
                self.hold(pause, now.mono, random);
            }
            Answer::Nothing if was_ahead => {
                let pause = Refusal::Overload { retry_after: None }.pause(self.refusals, now.wall.as_millis());
                self.hold(pause, now.mono, random);
            }
            _ if was_ahead => *self = Address::default(),
            _ => {
                if let Way::Open = self.way {
                    self.refusals = 0;
                }
            }
        }
    }

    fn hold(&mut self, pause: Duration, now: Mono, random: &mut Random) {
        let jitter = Duration::from_millis(random.below(HOLD_JITTER.as_millis() as u64 + 1));
        let until = now.plus(pause).plus(jitter);
        self.way = Way::Held(match self.way {
            Way::Held(before) => before.max(until),
            Way::Open | Way::Probing(_) => until,
        });
    }
}
