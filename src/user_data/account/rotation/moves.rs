//! The moves of a handover: a socket takes the account's place, is given up, or is tried again.

use std::time::Duration;

use super::{Cause, Next, Stage};
use crate::domain::limits::{
    HANDOVER_ASK_AFTER, HANDOVER_DRAIN, HANDOVER_KEY_TRIES, HANDOVER_RETRY_MAX, HANDOVER_RETRY_MIN, ROTATE_JITTER_PART,
};
use crate::domain::{Mono, Now};
use crate::exchange::binance::control::{Proof, subscriptions_prove};
use crate::user_data::account::{Account, KeyNews, Pace, Phase};
use crate::user_data::handover::Side;

impl Account {
    pub(super) fn next_mut(&mut self) -> Option<&mut Next> {
        self.rotations.under_way.as_mut()?.next.as_mut()
    }

    pub(in crate::user_data::account) fn is_handing_over(&self) -> bool {
        self.rotations.newer.is_some() || self.rotations.under_way.as_ref().is_some_and(|it| it.next.is_some())
    }

    pub(in crate::user_data::account) fn has_newer_key(&self) -> bool {
        self.rotations.newer.is_some()
    }

    pub(in crate::user_data::account) fn forget_newer_key(&mut self) {
        self.rotations.newer = None;
    }

    /// The account's socket is connected.
    pub(in crate::user_data::account) fn note_connected(&mut self, now: Now) {
        self.rotations.is_up = true;
        self.rotations.due = self.due_from(now.mono);
    }

    /// A new key while a socket is up: a second one is opened with it, and the news is kept for that.
    pub(in crate::user_data::account) fn keep_for_handover(&mut self, news: KeyNews, now: Now) -> Option<KeyNews> {
        let is_live = matches!(self.phase, Phase::Live { .. });
        let is_possible = self.rotations.plan.is_some() && self.is_open && self.rotations.is_up && self.key.is_some();
        if !is_possible || !(is_live || self.phase == Phase::NoKey || self.has_newer_key()) {
            return Some(news);
        }
        if !is_live {
            self.be_replaced_since(news.replaced);
            self.phase = Phase::Connecting;
        }
        self.abandon_rotation(now);
        self.rotations.failures = 0;
        self.rotations.not_before = now.mono;
        self.rotations.newer = Some(news);
        None
    }

    /// The newer key becomes the account's.
    pub(in crate::user_data::account) fn take_newer_key(&mut self) {
        if let Some(news) = self.rotations.newer.take() {
            self.be_replaced_since(news.replaced);
            self.key = Some(news.key);
        }
    }

    /// The key of the account's socket is dead, and there is a newer one: whether it takes over.
    pub(in crate::user_data::account) fn go_on_with_newer_key(&mut self, now: Now) -> bool {
        if !self.has_newer_key() {
            return false;
        }
        let is_opened = self.next_mut().is_some();
        match &mut self.rotations.under_way {
            // Verified already: from here on its frames are all there is.
            Some(under_way) if matches!(under_way.next, Some(Next { stage: Stage::Live { .. }, .. })) => {
                self.promote(now);
            }
            _ if is_opened => self.phase = Phase::Connecting,
            _ => self.go_elsewhere(Pace::Now, now),
        }
        true
    }

    /// The account's socket has ended: whether the second one takes its place.
    pub(in crate::user_data::account) fn hand_over_broken(&mut self, now: Now) -> bool {
        self.rotations.is_up = false;
        let is_live = matches!(self.phase, Phase::Live { .. });
        let Some(under_way) = &mut self.rotations.under_way else {
            self.take_newer_key_unless_live(is_live, now);
            return false;
        };
        let Some(next) = &under_way.next else {
            if under_way.old.0 == self.rotations.seat {
                under_way.handover.handle_dead(Side::Old, now.mono);
            }
            self.take_newer_key_unless_live(is_live, now);
            return false;
        };
        let is_verified = matches!(next.stage, Stage::Live { .. });
        let is_whole = is_live && is_verified && next.is_borne_out && next.cause == Cause::Age;
        let is_key = next.cause == Cause::Key;
        if matches!(next.stage, Stage::Wanted) {
            self.abandon_rotation(now);
            return false;
        }
        if !is_whole {
            self.go_silent(if is_key { "key" } else { "reconnect" }, is_key, now);
        }
        self.promote(now);
        true
    }

    /// A socket that ended before its handover began reconnects with the newer key at once.
    fn take_newer_key_unless_live(&mut self, is_live: bool, now: Now) {
        if self.has_newer_key() {
            if is_live {
                self.go_silent("reconnect", false, now);
            }
            self.go_elsewhere(Pace::Now, now);
        }
    }

    /// Whether `reply` is the old socket's answer to the question that was asked once the new one was proven.
    pub(in crate::user_data::account) fn is_borne_out_by(&mut self, reply: &[u8], now: Now) -> bool {
        let Some(under_way) = &mut self.rotations.under_way else { return false };
        let (Some(next), key) = (&mut under_way.next, &under_way.old.1) else { return false };
        let Some(id) = next.asked else { return false };
        match subscriptions_prove(reply, id, key) {
            Proof::NotThisReply => return false,
            Proof::Named { .. } => {
                (next.asked, next.is_borne_out) = (None, true);
                if next.cause == Cause::Age {
                    self.confirmed = Some(now.wall);
                }
            }
            Proof::Missing => {
                next.asked = None;
                self.lose_key(now);
            }
            Proof::Error { .. } => next.asked = None,
        }
        true
    }

    /// The second socket is subscribed. A while later the account's own is asked whether it is, behind all that it sent.
    pub(super) fn prove_next(&mut self, now: Now) {
        let is_live = matches!(self.phase, Phase::Live { .. });
        let Some(under_way) = &mut self.rotations.under_way else { return };
        under_way.handover.handle_proven(now.mono);
        let Some(next) = &mut under_way.next else { return };
        next.stage = Stage::Live { since: now };
        (next.heard, next.ask_at) = (now.wall, now.mono.plus(HANDOVER_ASK_AFTER));
        if !is_live {
            self.promote(now);
        }
    }

    /// The second socket becomes the account's, in whatever state it is; the gap that is open ends if it is proven.
    pub(super) fn promote(&mut self, now: Now) {
        let Some(under_way) = &mut self.rotations.under_way else { return };
        let Some(next) = under_way.next.take() else { return };
        if under_way.handover.leader() == Side::Old {
            under_way.handover.lead(Side::New, now.mono);
        }
        let (seat, key) = under_way.new.clone();
        let left = std::mem::replace(&mut self.rotations.seat, seat);
        self.rotations.leaving.push((left, now.mono.plus(HANDOVER_DRAIN)));
        if self.rotations.newer.as_ref().is_some_and(|news| news.key == key) {
            let news = self.rotations.newer.take();
            self.be_replaced_since(news.and_then(|news| news.replaced));
        }
        self.key = Some(key);
        self.rotations.due = next.due;
        self.rotations.is_up = !matches!(next.stage, Stage::Wanted | Stage::Connecting);
        (self.reconnect, self.probe, self.unproven) = (None, None, 0);
        self.texts.clear();
        self.texts.extend(next.text);
        match next.stage {
            Stage::Wanted | Stage::Connecting => self.phase = Phase::Connecting,
            Stage::Verifying { id, until } => self.phase = Phase::Verifying { id, until },
            Stage::Live { since } => {
                if self.silence.is_some() {
                    self.end_silence(now);
                }
                (self.silence, self.fault) = (None, None);
                (self.delivered, self.failed_proofs) = (Some(next.spelling), 0);
                self.phase = Phase::Live { since: since.wall };
                self.absent = next.absent;
                (self.heard, self.confirmed, self.brought) = (Some(next.heard), Some(since.wall), None);
                self.rotations.failures = 0;
                let shown = &mut self.rotations.shown;
                shown.done += 1;
                (shown.last_at, shown.overlap) = (Some(now.wall), Some(now.mono.since(since.mono)));
            }
        }
    }

    /// The second socket is given up, and tried again later.
    pub(super) fn fail_rotation(&mut self, now: Now) {
        let Some(cause) = self.next_mut().map(|next| next.cause) else { return };
        let is_live = matches!(self.phase, Phase::Live { .. });
        self.abandon_rotation(now);
        let rotations = &mut self.rotations;
        rotations.shown.failed += 1;
        rotations.failures = rotations.failures.saturating_add(1);
        if cause == Cause::Key && (!is_live || rotations.failures >= HANDOVER_KEY_TRIES) {
            // The venue has another key for this account; the old socket may bring nothing any more.
            self.go_silent("key", true, now);
            return self.fail_proof(now);
        }
        let pause = HANDOVER_RETRY_MIN.saturating_mul(1 << (rotations.failures - 1).min(16)).min(HANDOVER_RETRY_MAX);
        let part = u64::try_from(pause.as_millis() / 2).unwrap_or(u64::MAX).max(1);
        let jitter = rotations.plan.as_mut().map_or(0, |plan| plan.random.below(part));
        rotations.not_before = now.mono.plus(pause / 2 + Duration::from_millis(jitter));
    }

    /// The second socket is given up. What waits of it is recorded unless the account's own brings it.
    pub(in crate::user_data::account) fn abandon_rotation(&mut self, now: Now) {
        let Some(under_way) = &mut self.rotations.under_way else { return };
        if under_way.next.take().is_some() {
            self.rotations.leaving.push((under_way.new.0, now.mono));
            under_way.handover.handle_dead(Side::New, now.mono);
        }
    }

    /// The account is no longer streamed.
    pub(in crate::user_data::account) fn end_rotation(&mut self) {
        (self.rotations.under_way, self.rotations.newer) = (None, None);
    }

    pub(super) fn due_from(&mut self, now: Mono) -> Option<Mono> {
        let plan = self.rotations.plan.as_mut()?;
        let after = plan.after?;
        let jitter = u64::try_from((after / ROTATE_JITTER_PART).as_nanos()).unwrap_or(u64::MAX / 4).max(1);
        let early = after.saturating_sub(after / ROTATE_JITTER_PART);
        Some(now.plus(early + Duration::from_nanos(plan.random.below(2 * jitter))))
    }
}
