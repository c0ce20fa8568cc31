//! When an account was silent: where its gaps begin, and when they are told.

use super::{Account, Phase};
use crate::domain::limits::GAP_MARGIN;
use crate::domain::{Now, Wall};
use crate::spool::Gap;

/// An open gap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    pub since: Option<Wall>,
    pub reason: &'static str,
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
            self.silence = Some(Silence { since: self.heard.map(earlier), reason });
        }
        if is_key && let Some(silence) = &mut self.silence {
            silence.reason = reason;
            let confirmed = self.confirmed;
            self.be_silent_since(confirmed);
            if was_live {
                self.tell_silence(now);
            }
        }
    }

    /// The open gap begins no later than `at`.
    pub(super) fn be_silent_since(&mut self, at: Option<Wall>) {
        if let (Some(silence), Some(at)) = (&mut self.silence, at) {
            silence.since = silence.since.map(|since| since.min(earlier(at)));
        }
    }

    /// The key was replaced, and was last extended at `at`. An event that its connection brought later is a later proof.
    pub(super) fn be_replaced_since(&mut self, at: Option<Wall>) {
        self.be_silent_since(at.map(|at| self.brought.map_or(at, |brought| brought.max(at))));
    }

    /// Records the gap as far as it goes; it stays open.
    pub(super) fn tell_silence(&mut self, now: Now) {
        self.end_silence(now);
        let reason = self.silence.map_or("reconnect", |silence| silence.reason);
        self.silence = Some(Silence { since: Some(earlier(now.wall)), reason });
        self.confirmed = None;
    }

    pub(super) fn go_live(&mut self, now: Now) {
        self.end_silence(now);
        self.delivered = Some(self.spelling());
        self.failed_proofs = 0;
        self.unproven = 0;
        self.phase = Phase::Live { since: now.wall };
        self.heard = Some(now.wall);
        self.confirmed = Some(now.wall);
        self.brought = None;
        self.silence = None;
        self.fault = None;
    }

    pub(super) fn end_silence(&mut self, now: Now) {
        let unknown = Silence { since: self.heard.map(earlier), reason: "reconnect" };
        self.gaps.push_back(self.silence.unwrap_or(unknown).end(now));
    }

    pub(super) fn end_pause(&mut self, now: Now) {
        if let Some(pause) = self.pause.take() {
            self.gaps.push_back(pause.end(now));
        }
    }
}

impl Silence {
    /// A wall clock that was set back must not make a gap end before it begins.
    fn end(self, now: Now) -> Gap {
        let silent_since = self.since.map(|since| since.min(now.wall));
        Gap { silent_since, live_at: now.wall, reason: self.reason.to_owned() }
    }
}

/// Later by the same margin.
pub(super) fn later(at: Wall) -> Wall {
    let margin = i64::try_from(GAP_MARGIN.as_micros()).unwrap_or(i64::MAX);
    Wall::from_micros(at.as_micros().saturating_add(margin))
}

/// Earlier by the margin for what the venue's clock and the way to us may hide.
pub(super) fn earlier(at: Wall) -> Wall {
    let margin = i64::try_from(GAP_MARGIN.as_micros()).unwrap_or(i64::MAX);
    Wall::from_micros(at.as_micros().saturating_sub(margin))
}
