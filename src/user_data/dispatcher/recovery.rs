//! What the dispatcher does when the sink says no, and when it has lost what it had taken.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::replay::Replay;
use super::{Dispatcher, Stuck};
use crate::domain::Mono;
use crate::domain::limits::{PUSH_FULL_RETRY, PUSH_RETRY_MAX, PUSH_RETRY_MIN, SINK_HEALTH_EVERY};
use crate::queue::{Forgot, PushError, PushErrorClass, Rewind, SinkHealth};
use crate::spool::{Disk, ReadBatch, RewindError};

impl<D: Disk> Dispatcher<D> {
    pub(super) fn handle_error(&mut self, error: PushError) {
        let now = self.parts.clock.now();
        self.own.failures += 1;
        if let Some(forgot) = &error.forgot {
            tracing::error!("{error}");
            self.rewind(forgot);
            self.retry_at = now.mono;
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let wait = match error.class {
            PushErrorClass::Full => PUSH_FULL_RETRY,
            _ => (PUSH_RETRY_MIN * (1 << (self.failures - 1).min(8))).min(PUSH_RETRY_MAX),
        };
        // Half of it drawn: several producers of one server do not come back in step.
        let half = u64::try_from(wait.as_nanos() / 2).unwrap_or(u64::MAX);
        self.retry_at = now.mono.plus(wait / 2 + Duration::from_nanos(self.parts.random.below(half)));
        match &mut self.own.stuck {
            Some(stuck) if stuck.class == error.class => stuck.text = error.text,
            stuck => {
                tracing::warn!("jobs wait in the spool ({}): {error}", error.class);
                let since = stuck.as_ref().map_or(now.wall, |stuck| stuck.since);
                *stuck = Some(Stuck { class: error.class, text: error.text, since });
            }
        }
    }

    pub(super) fn go_on(&mut self) {
        self.failures = 0;
        self.retry_at = Mono::ZERO;
        if let Some(stuck) = self.own.stuck.take() {
            tracing::info!("jobs go again; they had waited since {} UTC ({})", stuck.since, stuck.class);
        }
    }

    /// Asks what the sink still has. Whether it answered.
    pub(super) fn ask_health(&mut self, now: Mono) -> bool {
        self.next_health = now.plus(SINK_HEALTH_EVERY);
        let vouches = self.owes_word && self.is_rewind_durable();
        self.parts.sink.vouch(vouches);
        match self.parts.sink.health() {
            Ok(health) => {
                if !std::mem::replace(&mut self.is_known, true) {
                    self.compare(&health);
                }
                self.owes_word &= !(vouches && health.is_vouched);
                self.own.depth = health.depth;
                self.own.health = Some(health);
                if self.batch.is_empty() {
                    self.go_on();
                }
                true
            }
            Err(error) => {
                self.handle_error(error);
                false
            }
        }
    }

    /// Holds what an earlier life acknowledged against what the server has of it.
    pub(super) fn compare(&mut self, health: &SinkHealth) {
        let Some(server) = &health.server else { return };
        let acked = self.parts.reader.status().positions.acked;
        // Without the word, the watermark is that of a push which came too late to a server that had lost all before it.
        let kept = health.watermark.filter(|_| health.is_vouched);
        let has_lost = match kept {
            Some(kept) => kept.position.saturating_add(1) < acked,
            None => acked > self.parts.reader.oldest(),
        };
        self.owes_word = !health.is_vouched;
        if has_lost {
            self.rewind(&Forgot { kept, window: server.loss_window() });
        }
    }

    /// Goes back to the first record that the sink may have lost.
    pub(super) fn rewind(&mut self, forgot: &Forgot) {
        let reader = &mut self.parts.reader;
        let audited = self.parts.audited.load(Ordering::Acquire);
        let wanted = match forgot.rewind() {
            Rewind::Behind(kept) => kept.position.saturating_add(1),
            Rewind::ToLastAudited if audited > 0 => audited + 1,
            Rewind::ToLastAudited => reader.oldest(),
        };
        let to = match reader.rewind(wanted) {
            Ok(()) => wanted,
            Err(RewindError::Ahead { dispatched }) => dispatched,
            Err(RewindError::Gone { oldest }) => {
                tracing::error!(
                    wanted,
                    oldest,
                    "the spool no longer holds all that the queue lost; it goes as far as it can"
                );
                // The oldest may have gone since; then there is nothing between, and the next read goes on where it can.
                match reader.rewind(oldest) {
                    Ok(()) => oldest,
                    Err(RewindError::Gone { oldest: now } | RewindError::Ahead { dispatched: now }) => now,
                }
            }
        };
        let to = to.min(reader.status().positions.dispatched);
        tracing::warn!(position = to, "the queue lost jobs: the spool is handed out again from here");
        self.own.rewinds += 1;
        self.batch.clear();
        self.is_closed = false;
        self.read = ReadBatch::new(self.config.jobs_max);
        self.at = 0;
        self.acks.restart(to);
        self.poison.clear();
        self.owes_word = true;
        self.replay = Some(Replay::new(self.parts.reader.refill_until()));
    }

    /// Whether a crash now would find the cursor at or before what is acknowledged: after a rewind not until it is saved.
    pub(super) fn is_rewind_durable(&self) -> bool {
        let positions = self.parts.reader.status().positions;
        positions.cursor <= positions.acked
    }
}
