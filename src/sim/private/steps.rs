//! What an account is asked for, and what comes of it: events, and announcements to the application that trades on it.

use crossbeam_channel::Receiver;

use crate::domain::limits::SIM_ANNOUNCEMENTS_MAX;
use crate::sim::venue::Market;

use super::application::Announcement;
use super::book::Instrument;
use super::event::Event;
use super::life::{ACTIVE_MAX, LifeKind};
use super::{Account, Accounts};

/// What an account is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum What {
    Step,
    Life(LifeKind),
    Flood(usize),
}

impl Accounts {
    /// The next events of an account.
    pub(in crate::sim) fn step(&mut self, index: usize, what: What, market: &Market, now_ms: i64) -> Vec<Event> {
        let lag_ms = i64::try_from(self.config.reads.lag.as_millis()).unwrap_or(i64::MAX);
        let Account { earlier, book, .. } = &mut self.list[index];
        earlier.keep(book, lag_ms, now_ms);
        let price = |instrument: &Instrument| market.price(instrument.position) as i64;
        let Account { lives, book, .. } = &mut self.list[index];
        let has_room = self.announcements.0.len() + ACTIVE_MAX as usize <= SIM_ANNOUNCEMENTS_MAX;
        let events = match what {
            What::Step => lives.step(book, has_room, now_ms, &price),
            What::Life(kind) => lives.whole(kind, book, now_ms, &price),
            What::Flood(frames) => lives.flood(frames, book, now_ms, &price),
        };
        for announcement in lives.announced.drain(..) {
            // There is room, and the other end is kept here.
            let _ = self.announcements.0.try_send(announcement);
        }
        events
    }

    /// Where applications hear what they are about to do.
    pub(in crate::sim) fn announcements(&self) -> Receiver<Announcement> {
        self.announcements.1.clone()
    }
}
