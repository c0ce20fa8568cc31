//! What the two sockets of a handover bring, as the loop tells it.

use super::{Place, Seat, Stage};
use crate::domain::Now;
use crate::domain::limits::PROOF_WITHIN;
use crate::exchange::binance::control::{Proof, list_subscriptions_request, subscriptions_prove};
use crate::exchange::binance::event_key::EventKey;
use crate::exchange::binance::listen_key::ListenKey;
use crate::exchange::binance::user_data::{Class, Demand, Frame};
use crate::user_data::account::{Account, Down, Phase};
use crate::user_data::handover::{Arrival, Release, Side};

impl Account {
    /// Whether `seat` is the account's only socket, as nearly always.
    #[must_use]
    pub fn is_alone(&self, seat: Seat) -> bool {
        self.rotations.under_way.is_none() && seat == self.rotations.seat
    }

    /// What `seat` is.
    #[must_use]
    pub fn place(&self, seat: Seat) -> Place {
        let next = self.rotations.under_way.as_ref().filter(|under_way| under_way.next.is_some());
        match next {
            _ if seat == self.rotations.seat => Place::Current,
            Some(under_way) if under_way.new.0 == seat => Place::Next,
            _ => Place::Left,
        }
    }

    /// The keys of both sockets, the old one's first: each frame is masked with its own.
    #[must_use]
    pub fn handover_keys(&self) -> Option<(ListenKey, ListenKey)> {
        self.rotations.under_way.as_ref().map(|under_way| (under_way.old.1.clone(), under_way.new.1.clone()))
    }

    /// A frame came by `seat` during a handover; calls `record` for each that is to be recorded now. Whether `seat` belongs
    /// to the handover: if not, the frame is to be recorded as it is.
    pub fn handle_arrival(
        &mut self,
        seat: Seat,
        frame: &[u8],
        event: &[u8],
        key: Option<EventKey>,
        at: Now,
        record: &mut impl FnMut(Release<'_>),
    ) -> bool {
        let Some(under_way) = &mut self.rotations.under_way else { return false };
        let side = match seat {
            _ if seat == under_way.old.0 => Side::Old,
            _ if seat == under_way.new.0 => Side::New,
            _ => return false,
        };
        under_way.handover.handle_frame(&Arrival { side, event, frame, key, at }, record);
        true
    }

    /// The second socket's upgrade is through.
    pub fn handle_next_connected(&mut self, now: Now) {
        let due = self.due_from(now.mono);
        let id = self.ask();
        let Some(under_way) = &mut self.rotations.under_way else { return };
        under_way.handover.handle_up(now.mono);
        let Some(next) = &mut under_way.next else { return };
        next.text = Some(list_subscriptions_request(id));
        next.stage = Stage::Verifying { id, until: now.mono.plus(PROOF_WITHIN) };
        (next.due, next.heard) = (due, now);
    }

    /// The second socket has ended, or its attempt has.
    pub fn handle_next_down(&mut self, down: Down<'_>, now: Now) {
        if let Down::Fault { text, .. } = down {
            self.fault = Some(text.to_owned());
        }
        self.fail_rotation(now);
    }

    /// Something came by the second socket.
    pub fn handle_next_activity(&mut self, now: Now) {
        if let Some(next) = self.next_mut() {
            next.heard = now;
        }
    }

    /// The answer to a request of ours came by the second socket.
    pub fn handle_next_reply(&mut self, reply: &[u8], now: Now) {
        let Some(under_way) = &mut self.rotations.under_way else { return };
        let (Some(next), key) = (&mut under_way.next, &under_way.new.1) else { return };
        let Stage::Verifying { id, .. } = next.stage else { return };
        match subscriptions_prove(reply, id, key) {
            Proof::Named { absent } => {
                next.absent = absent;
                self.prove_next(now);
            }
            Proof::Missing | Proof::Error { .. } => self.fail_rotation(now),
            Proof::NotThisReply => {}
        }
    }

    /// A frame came by the second socket.
    pub fn handle_next_frame(&mut self, frame: &Frame<'_>, now: Now) {
        let Some(under_way) = &mut self.rotations.under_way else { return };
        let Some(next) = &mut under_way.next else { return };
        next.heard = now;
        match frame.class.demand() {
            Demand::NewListenKey if frame.names_key(&under_way.new.1) != Some(false) => {
                self.forget_newer_key();
                self.lose_key(now);
            }
            Demand::ReconnectSoon => self.fail_rotation(now),
            Demand::NewListenKey => {}
            Demand::Nothing => {
                let is_verifying = matches!(next.stage, Stage::Verifying { .. });
                if is_verifying && matches!(frame.class, Class::Event(_)) {
                    self.prove_next(now);
                } else if is_verifying && !matches!(self.phase, Phase::Live { .. }) && self.gaps.is_empty() {
                    // The spool will take this record for a sign of life.
                    self.tell_silence(now);
                }
            }
        }
    }

    /// A text for the second socket.
    pub fn poll_next_text(&mut self) -> Option<String> {
        self.next_mut()?.text.take()
    }
}
