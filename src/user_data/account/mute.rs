//! A connection that answers everything and brings nothing: pings, key and subscription are in order, events do not come
//! (facts/binance.md §3, §7). Only the venue's books can tell, so the safety net's comparison does.

use super::silence::{MUTE, later};
use super::{Account, Phase};
use crate::domain::limits::MUTE_AFTER;
use crate::domain::{Now, Wall};

impl Account {
    /// The venue's books show an order event of `at` that nobody heard. If this connection was live before, and has brought
    /// nothing since, it is left for a new one, with a new key, and the gap begins with the last event that it brought.
    /// Whether it is.
    pub fn handle_unheard(&mut self, at: Wall, now: Now) -> bool {
        let Phase::Live { since } = self.phase else { return false };
        let borne_out = self.brought.map_or(since, |brought| brought.max(since));
        // One that nobody reads, or whose subscription leaves events out, is known not to be whole.
        let is_judged = self.held.is_none()
            && self.pause.is_none()
            && self.absent.is_empty()
            && self.reconnect.is_none()
            && !self.is_rotating();
        let is_late = now.wall.as_micros().saturating_sub(at.as_micros()) >= MUTE_AFTER.as_micros() as i64;
        if !is_judged || !is_late || at <= later(borne_out) {
            return false;
        }
        if self.brought.is_none() {
            // A spelling can be acknowledged and silent (facts/binance.md §1.3); one that has delivered is kept.
            self.failed_proofs = self.failed_proofs.saturating_add(1);
        }
        self.fault = Some("the connection brought nothing of what happened at the venue".to_owned());
        self.go_silent(MUTE, false, now);
        if self.be_silent_since(Some(borne_out)) {
            // Its pings were durable signs of life that were none. A half-open one had none, and its gap goes on as one.
            self.tell_silence(now);
        }
        self.lose_key(now);
        true
    }
}
