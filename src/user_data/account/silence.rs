//! When an account was silent: where its gaps begin, and when they are told.

use std::time::Duration;

use super::{Account, Phase};
use crate::domain::limits::{GAP_MARGIN, SIGNS_APART_MAX};
use crate::domain::{Mono, Now, Wall};
use crate::spool::Gap;

/// Why a gap began whose connection answered pings and brought no events.
pub(super) const MUTE: &str = "mute";

/// An open gap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    since: Option<Wall>,
    /// The sign of life from which it counts, by the clock that nobody sets.
    heard: Option<Mono>,
    reason: &'static str,
}

impl Account {
    /// Leaves `Live`, if it is, with a gap open. A dead key may move its beginning to the key's last proof, which is told at
    /// once: pings that came since are durable signs of life that were none.
    pub(super) fn go_silent(&mut self, reason: &'static str, is_key: bool, now: Now) {
        let was_live = matches!(self.phase, Phase::Live { .. });
        if was_live {
            self.phase = Phase::Connecting;
            self.not_live_since = now.mono;
            // It began with the same sign of life.
            self.pause = None;
            self.silence = Some(Silence::after(self.heard, reason));
        }
        if is_key && let Some(silence) = &mut self.silence {
            // A mute connection is left with its key, which is why there is a new one.
            if silence.reason != MUTE {
                silence.reason = reason;
            }
            if let Some(confirmed) = self.confirmed {
                silence.begin_by(confirmed);
            }
            if was_live {
                self.tell_silence(now);
            }
        }
    }

    /// The open gap begins no later than `at`. Whether it began later.
    pub(super) fn be_silent_since(&mut self, at: Option<Wall>) -> bool {
        let (Some(silence), Some(at)) = (&mut self.silence, at) else { return false };
        let at = earlier(at, GAP_MARGIN);
        if silence.since.is_none_or(|since| since <= at) {
            return false;
        }
        silence.since = Some(at);
        true
    }

    /// The key was replaced, and was last extended at `at`. An event that its connection brought later is a later proof.
    pub(super) fn be_replaced_since(&mut self, at: Option<Wall>) {
        self.be_silent_since(at.map(|at| self.brought.map_or(at, |brought| brought.max(at))));
    }

    /// Records the gap as far as it goes; it stays open.
    pub(super) fn tell_silence(&mut self, now: Now) {
        self.end_silence(now);
        let reason = self.silence.map_or("reconnect", |silence| silence.reason);
        self.silence = Some(Silence::after(Some(now), reason));
        self.confirmed = None;
    }

    pub(super) fn go_live(&mut self, now: Now) {
        self.end_silence(now);
        self.delivered = Some(self.spelling());
        self.failed_proofs = 0;
        self.unproven = 0;
        self.phase = Phase::Live { since: now.wall };
        self.heard = Some(now);
        self.confirmed = Some(now);
        self.brought = None;
        self.silence = None;
        self.fault = None;
    }

    pub(super) fn end_silence(&mut self, now: Now) {
        let unknown = Silence::after(self.heard, "reconnect");
        self.gaps.push_back(self.silence.unwrap_or(unknown).end(now));
    }

    /// A sign of life came, of whatever kind. One that comes much later than a stream in health lets it says nothing about the
    /// time before it: this process or its machine has stood still, and what was read just now may have waited since then.
    pub(super) fn hear(&mut self, now: Now) {
        let is_late = self.heard.is_some_and(|heard| now.mono.since(heard.mono) > SIGNS_APART_MAX);
        if is_late && self.pause.is_none() {
            self.pause = Some(Silence::after(self.heard, "paused"));
        }
        self.end_pause(now);
        self.heard = Some(now);
    }

    pub(super) fn end_pause(&mut self, now: Now) {
        if let Some(pause) = self.pause.take() {
            self.gaps.push_back(pause.end(now));
        }
    }
}

impl Silence {
    /// Since that sign of life; with none, nobody knows since when.
    pub(super) fn after(heard: Option<Now>, reason: &'static str) -> Silence {
        let since = heard.map(|heard| earlier(heard.wall, GAP_MARGIN));
        Silence { since, heard: heard.map(|heard| heard.mono), reason }
    }

    /// Since the durable mark of another process.
    pub(super) fn since_mark(mark: Option<Wall>) -> Silence {
        Silence { since: mark.map(|mark| earlier(mark, GAP_MARGIN)), heard: None, reason: "start" }
    }

    /// It begins no later than this.
    fn begin_by(&mut self, at: Now) {
        self.since = self.since.map(|since| since.min(earlier(at.wall, GAP_MARGIN)));
        self.heard = self.heard.map(|heard| heard.min(at.mono));
    }

    /// The wall clock may have been set since it began, in either direction and rightly or not. So of what the stamp says and
    /// what the time that has passed says the earlier counts: a gap never begins later than the truth.
    fn end(self, now: Now) -> Gap {
        let silent_since = match self.heard {
            Some(heard) => {
                let passed = now.mono.since(heard).saturating_add(GAP_MARGIN);
                self.since.map(|since| since.min(earlier(now.wall, passed)))
            }
            // A mark of the future is of a clock that was set back since, or is wrong now: by how much nobody knows.
            None => self.since.filter(|since| *since <= now.wall),
        };
        Gap { silent_since, live_at: now.wall, reason: self.reason.to_owned() }
    }
}

/// Later by the same margin.
pub(super) fn later(at: Wall) -> Wall {
    let margin = i64::try_from(GAP_MARGIN.as_micros()).unwrap_or(i64::MAX);
    Wall::from_micros(at.as_micros().saturating_add(margin))
}

/// Earlier: by [`GAP_MARGIN`] for what the venue's clock and the way to us may hide.
fn earlier(at: Wall, by: Duration) -> Wall {
    let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Wall::from_micros(at.as_micros().saturating_sub(by))
}
