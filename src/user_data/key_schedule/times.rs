//! One account's times: when its key was extended, when it asks for a call of its own, what it waits for after failures.

use crate::domain::Mono;
use crate::domain::limits::{LISTEN_KEY_LIFE, RENEWAL_CALM, RENEWAL_SPACING_MAX, RENEWAL_SPACING_MIN};

#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub has_key: bool,
    /// A call of the account's own: a new key, a retry, a doubt. NEVER: the beat decides.
    pub asks_at: Mono,
    pub extended_at: Mono,
    pub asked_new_at: Option<Mono>,
    pub renewals: u32,
    pub failures: u32,
    pub is_doubtful: bool,
    pub in_flight: Option<u64>,
}

impl Times {
    pub fn is_healthy(&self) -> bool {
        self.has_key && self.failures == 0
    }

    pub fn lost_at(&self) -> Mono {
        self.extended_at.plus(LISTEN_KEY_LIFE)
    }

    pub fn granted(&mut self, now: Mono) {
        (self.has_key, self.asks_at, self.extended_at) = (true, Mono::NEVER, now);
        (self.failures, self.is_doubtful) = (0, false);
    }

    /// A call in flight is about the dead key, so its answer will be stale.
    pub fn renew(&mut self, now: Mono) {
        if !self.has_key {
            return;
        }
        (self.has_key, self.in_flight) = (false, None);
        let asked = self.asked_new_at.unwrap_or(Mono::ZERO);
        self.renewals = if now.since(asked) >= RENEWAL_CALM { 0 } else { self.renewals.saturating_add(1) };
        let doublings = self.renewals.saturating_sub(1).min(16);
        let spacing = (RENEWAL_SPACING_MIN * (1 << doublings)).min(RENEWAL_SPACING_MAX);
        self.asks_at = if self.renewals == 0 { now } else { now.max(asked.plus(spacing)) };
    }
}
