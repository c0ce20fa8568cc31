//! What becomes of a stream as its listen key comes, is extended, or dies: a new key is a new connection, and a dead one means
//! that nothing since the last proof of it is certain to have come.

use super::{Account, KeyNews, Pace, Phase};
use crate::domain::{Mono, Now, Wall};

impl Account {
    /// The venue gave a key: a new connection, even where the text is the old one, which the venue may have forgotten
    /// meanwhile.
    pub fn handle_key(&mut self, news: KeyNews, now: Now) {
        if self.phase == Phase::Stopped {
            return;
        }
        self.refused = None;
        let Some(news) = self.keep_for_handover(news, now) else { return };
        if self.key.replace(news.key).is_some() {
            self.go_silent("key", true, now);
        }
        self.be_replaced_since(news.replaced);
        if self.is_open {
            self.go_elsewhere(Pace::Now, now);
        } else {
            self.phase = Phase::HaveKey;
        }
    }

    /// A keep-alive at `at` answered for the key in use.
    pub fn handle_key_extended(&mut self, at: Wall, now: Now) {
        self.refused = None;
        // With a newer key at hand it says nothing about the key of this connection.
        if matches!(self.phase, Phase::Live { .. }) && !self.has_newer_key() {
            let ago = u64::try_from(now.wall.as_micros().saturating_sub(at.as_micros())).unwrap_or_default();
            let mono = Mono::from_nanos(now.mono.as_nanos().saturating_sub(ago.saturating_mul(1_000)));
            self.confirmed = Some(Now { mono, wall: at });
        }
    }

    /// The venue says that the key does not exist (-1125).
    pub fn handle_key_gone(&mut self, now: Now) {
        if !matches!(self.phase, Phase::Stopped | Phase::NoKey) {
            self.forget_newer_key();
            self.lose_key(now);
        }
    }

    /// The venue gives no key; `text` is a sentence for people. Ends with the next key or keep-alive.
    pub fn handle_key_refused(&mut self, text: &str) {
        self.refused = Some(text.to_owned());
    }

    pub(super) fn lose_key(&mut self, now: Now) {
        self.go_silent("key", true, now);
        if self.go_on_with_newer_key(now) {
            return;
        }
        self.abandon_rotation(now);
        self.phase = Phase::NoKey;
        self.reconnect = None;
        self.texts.clear();
        self.probe = None;
    }
}
