//! What a stream's frames say of it: they prove that it is live, or that its subscription or key is gone. Their content goes
//! past here, into the spool.

use super::{Account, Pace, Phase};
use crate::domain::Now;
use crate::domain::limits::UNPROVEN_FRAMES_MAX;
use crate::exchange::binance::control::{Proof, subscriptions_prove};
use crate::exchange::binance::user_data::{Class, Demand, Frame};

impl Account {
    /// Something came, a ping included. Whether it proves that the account is alive.
    pub fn handle_activity(&mut self, now: Now) -> bool {
        let is_live = matches!(self.phase, Phase::Live { .. });
        if is_live {
            self.hear(now);
        }
        is_live
    }

    /// The answer to a request of ours came.
    pub fn handle_reply(&mut self, reply: &[u8], now: Now) {
        if self.is_borne_out_by(reply, now) {
            return;
        }
        let Some(key) = self.key.as_ref().filter(|_| self.reconnect.is_none()) else { return };
        match self.phase {
            Phase::Verifying { id, .. } => match subscriptions_prove(reply, id, key) {
                Proof::Named { absent } => {
                    self.absent = absent;
                    self.go_live(now);
                }
                Proof::Missing | Proof::Error { .. } => self.fail_proof(now),
                Proof::NotThisReply => {}
            },
            Phase::Live { .. } => {
                let Some(id) = self.probe else { return };
                match subscriptions_prove(reply, id, key) {
                    Proof::Named { absent } => {
                        (self.absent, self.probe, self.confirmed) = (absent, None, Some(now));
                    }
                    // What was subscribed no longer is: as if the key were dead.
                    Proof::Missing => self.lose_key(now),
                    Proof::Error { .. } => self.probe = None,
                    Proof::NotThisReply => {}
                }
            }
            _ => {}
        }
    }

    /// A frame is about to be recorded, behind the gaps that are there then: one that ends with it, or, on a connection that
    /// is not proven, one that says that until now nobody is known to have listened.
    pub fn handle_recorded(&mut self, frame: &Frame<'_>, now: Now) {
        match frame.class.demand() {
            // An expiry that names a key which was already replaced is old news.
            Demand::NewListenKey
                if !matches!(self.phase, Phase::NoKey | Phase::Stopped)
                    && self.key.as_ref().and_then(|key| frame.names_key(key)) != Some(false) =>
            {
                self.lose_key(now);
            }
            Demand::ReconnectSoon => self.reconnect = self.reconnect.or(Some(Pace::Backoff)),
            Demand::Nothing | Demand::NewListenKey => {}
        }
        let is_event = matches!(frame.class, Class::Event(_)) && frame.class.demand() == Demand::Nothing;
        match self.phase {
            Phase::Live { .. } => {
                self.hear(now);
                if is_event {
                    (self.confirmed, self.brought) = (Some(now), Some(now.wall));
                }
            }
            Phase::Verifying { .. } if is_event && self.reconnect.is_none() => {
                self.go_live(now);
                self.brought = Some(now.wall);
            }
            _ => {
                self.unproven += 1;
                // While another socket is on its way this one is left soon enough.
                if !self.is_handing_over()
                    && self.unproven > UNPROVEN_FRAMES_MAX
                    && self.is_open
                    && self.phase != Phase::Stopped
                {
                    self.unproven = 0;
                    match self.phase {
                        Phase::NoKey => self.reconnect = Some(Pace::Backoff),
                        _ => self.fail_proof(now),
                    }
                }
                // The spool will take this record for a sign of life, so what came before must be told, if it was not just now.
                if self.gaps.is_empty() {
                    self.tell_silence(now);
                }
            }
        }
    }

    /// A frame could not be recorded, which no limit allows: what follows counts as missed until it is live again.
    pub fn handle_unrecorded(&mut self, now: Now) {
        if !matches!(self.phase, Phase::Stopped | Phase::NoKey) {
            self.go_elsewhere(Pace::Backoff, now);
        }
    }
}
