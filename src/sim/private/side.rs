//! What a private connection holds: its subscriptions, and the events that a fault holds back.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::Mono;

use super::account_ledger::Missed;
use super::subscription::{self, SpellingAnswer, Spellings, Subscription};

/// What the venue does with spellings and with keys that do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) struct PrivateRules {
    pub(in crate::sim) spellings: Spellings,
    pub(in crate::sim) lists_unknown_keys: bool,
    pub(in crate::sim) lists_dead_keys: bool,
}

/// Whose living listen key a text is.
pub(in crate::sim) type Whose<'a> = &'a dyn Fn(&str) -> Option<usize>;

/// The private part of a connection.
#[derive(Default)]
pub(in crate::sim) struct PrivateSide {
    pub(in crate::sim) subscriptions: Vec<Subscription>,
    /// Accounts in whose lists this connection is.
    pub(in crate::sim) accounts: Vec<usize>,
    /// The subscriptions have changed.
    pub(in crate::sim) is_changed: bool,
    /// LIST_SUBSCRIPTIONS has named some.
    pub(in crate::sim) is_named: bool,
    /// Nothing is delivered before this.
    pub(in crate::sim) muted_until: Mono,
    /// Events are held back until this.
    pub(in crate::sim) stalled_until: Mono,
    /// Everything comes so much later.
    pub(in crate::sim) lag: Duration,
    held: VecDeque<Held>,
    held_len: usize,
}

/// A frame that waits for its time.
pub(in crate::sim) struct Held {
    due: Mono,
    pub(in crate::sim) frame: Option<(usize, u64)>,
    pub(in crate::sim) bytes: Vec<u8>,
}

impl PrivateSide {
    pub(in crate::sim) fn new(subscriptions: Vec<Subscription>) -> Self {
        PrivateSide { subscriptions, is_changed: true, ..PrivateSide::default() }
    }

    /// Adds what a SUBSCRIBE names.
    pub(in crate::sim) fn subscribe(&mut self, wrapped: bool, names: &[String], whose: Whose<'_>) {
        for mut new in subscription::read_names(wrapped, names) {
            new.account = whose(&new.key);
            subscription::add(&mut self.subscriptions, new);
        }
        self.is_changed = true;
    }

    /// Takes away what an UNSUBSCRIBE names.
    pub(in crate::sim) fn unsubscribe(&mut self, names: &[String]) {
        subscription::remove(&mut self.subscriptions, names);
        self.is_changed = true;
    }

    /// The answer to LIST_SUBSCRIPTIONS.
    pub(in crate::sim) fn listed(&mut self, rules: &PrivateRules, whose: Whose<'_>) -> Vec<String> {
        let is_shown = |one: &Subscription| match one.account {
            None => rules.lists_unknown_keys,
            Some(_) => rules.lists_dead_keys || whose(&one.key).is_some(),
        };
        let shown = self.subscriptions.iter().filter(|one| {
            let answer = rules.spellings.answer(one.spelling);
            is_shown(one) && matches!(answer, SpellingAnswer::Delivers | SpellingAnswer::Acknowledges)
        });
        let names: Vec<String> = shown.flat_map(Subscription::listed).collect();
        self.is_named |= !names.is_empty();
        names
    }

    /// By which subscription an event of an account is delivered here.
    ///
    /// # Errors
    /// Why it is not.
    pub(in crate::sim) fn route(
        &self,
        account: usize,
        event: &str,
        is_alive: impl Fn(&str) -> bool,
        rules: &PrivateRules,
        now: Mono,
    ) -> Result<&Subscription, Missed> {
        let mut why = Missed::NobodyListened;
        for one in self.subscriptions.iter().filter(|one| one.account == Some(account)) {
            let reason = if !is_alive(&one.key) {
                Missed::DeadKey
            } else if rules.spellings.answer(one.spelling) != SpellingAnswer::Delivers {
                Missed::SilentSpelling
            } else if !one.filter.takes(event) {
                Missed::Filtered
            } else if now < self.muted_until {
                Missed::Mute
            } else {
                return Ok(one);
            };
            why = why.max(reason);
        }
        Err(why)
    }

    /// Until when an event of now is held back.
    pub(in crate::sim) fn holds_until(&self, now: Mono) -> Option<Mono> {
        let due = self.stalled_until.max(now.plus(self.lag)).max(self.held.back().map_or(Mono::ZERO, |held| held.due));
        (due > now || !self.held.is_empty()).then_some(due)
    }

    /// Until when a reply or a ping of now is held back: on a connection that lags it comes behind the events before it.
    pub(in crate::sim) fn holds_words_until(&self, now: Mono) -> Option<Mono> {
        if self.lag.is_zero() { None } else { self.holds_until(now) }
    }

    pub(in crate::sim) fn hold(&mut self, due: Mono, frame: Option<(usize, u64)>, bytes: Vec<u8>) {
        self.held_len += bytes.len();
        self.held.push_back(Held { due, frame, bytes });
    }

    /// The next frame whose time has come.
    pub(in crate::sim) fn poll_held(&mut self, now: Mono) -> Option<Held> {
        let held = self.held.pop_front_if(|held| held.due <= now)?;
        self.held_len -= held.bytes.len();
        Some(held)
    }

    /// Bytes held back.
    pub(in crate::sim) fn held_len(&self) -> usize {
        self.held_len
    }

    /// When the next frame's time comes.
    pub(in crate::sim) fn held_due(&self) -> Mono {
        self.held.front().map_or(Mono::NEVER, |held| held.due)
    }

    /// Nothing is held back from now on; what was comes at once.
    pub(in crate::sim) fn calm(&mut self) {
        (self.muted_until, self.stalled_until, self.lag) = (Mono::ZERO, Mono::ZERO, Duration::ZERO);
        for held in &mut self.held {
            held.due = Mono::ZERO;
        }
    }
}
