//! The loop's side of one account: what each message, event and pause means, and where its bytes go.
//!
//! A frame is classified where it lies, which changes nothing, and copied into the lane; nothing that could change it ever
//! sees it. Replies to our own requests go to the account's state machine and nowhere else; all other frames are recorded,
//! unknown and malformed ones too. A gap record that a frame ends stands before it.
//!
//! This is the stream's consumer but for the types of `stream`, which this room may not name: the daemon's adapter maps them
//! one to one. Data plane: no allocation a frame in steady state; an account's lock, then the lane's.

mod overlap;

use std::sync::Arc;

use super::account::{Account, Down, Place, Request, Seat};
use super::lane::Laid;
use super::registry::{AccountCell, AccountCounts, Hosted};
use crate::domain::Now;
use crate::exchange::binance::user_data::{Class, Demand, EventType, classify};
use crate::spool::AccountId;

/// Takes what one account's stream brings, on its loop's thread.
pub struct Intake {
    cell: Arc<AccountCell>,
    /// Which of the account's sockets this is.
    seat: Seat,
    /// The last frame found no room: the session must hand over nothing more.
    wants_pause: bool,
    /// Its socket has ended and was left: the session must not begin another one.
    wants_close: bool,
}

/// What a message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// On its way into the spool: data.
    Recorded,
    /// A reply to a request of ours: no data.
    Control,
    /// No batch takes it; the connection is left, and a gap will cover it.
    Refused,
}

impl Intake {
    /// For the account of `cell` and its first socket.
    #[must_use]
    pub fn new(cell: Arc<AccountCell>) -> Intake {
        Intake::at_seat(cell, 0)
    }

    /// For the account of `cell` and the socket of `seat`.
    #[must_use]
    pub fn at_seat(cell: Arc<AccountCell>, seat: Seat) -> Intake {
        Intake { cell, seat, wants_pause: false, wants_close: false }
    }

    /// Whose it is.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.cell.id()
    }

    /// A whole message. `at` was read when the poll that found the socket readable returned.
    pub fn handle_message(&mut self, frame: &[u8], at: Now) -> Taken {
        let cell = &*self.cell;
        let wants_pause = &mut self.wants_pause;
        let (read, seat) = (classify(frame), self.seat);
        cell.with(|hosted| {
            if !hosted.account.is_alone(seat) {
                let (taken, laid) = overlap::take(cell, hosted, seat, &read, frame, at);
                note(laid, wants_pause, hosted, at);
                return taken;
            }
            if !read.class.is_recorded() {
                hosted.counts.control += 1;
                hosted.account.handle_reply(frame, at);
                let laid = cell.lay_gaps(hosted, at);
                note(laid, wants_pause, hosted, at);
                return Taken::Control;
            }
            hosted.account.handle_recorded(&read, at);
            let laid = cell.lay_gaps(hosted, at);
            note(laid, wants_pause, hosted, at);
            let key = hosted.account.key().map_or(&[][..], |key| key.expose().as_bytes());
            let (id, exchange) = (cell.id(), cell.exchange());
            match cell.lane().lay(id, |batch| batch.push_frame(id, exchange, at.wall, frame, key)) {
                Ok(laid) => {
                    count(&mut hosted.counts, read.class, frame.len());
                    note(laid, wants_pause, hosted, at);
                    Taken::Recorded
                }
                Err(_) => {
                    hosted.counts.refused += 1;
                    hosted.account.handle_unrecorded(at);
                    Taken::Refused
                }
            }
        })
    }

    /// The upgrade is through.
    pub fn handle_connected(&mut self, at: Now) {
        self.wants_pause = false;
        let seat = self.seat;
        self.cell.account(at, |account| match account.place(seat) {
            Place::Current => account.handle_connected(at),
            Place::Next => account.handle_next_connected(at),
            Place::Left => {}
        });
    }

    /// A connection or attempt has ended.
    pub fn handle_down(&mut self, down: Down<'_>, at: Now) {
        let seat = self.seat;
        self.wants_close = self.cell.account(at, |account| {
            match account.place(seat) {
                Place::Current => account.handle_down(down, at),
                Place::Next => account.handle_next_down(down, at),
                Place::Left => {}
            }
            account.place(seat) == Place::Left
        });
    }

    /// Something came, a ping included; at most once a second.
    pub fn handle_activity(&mut self, at: Now) {
        let seat = self.seat;
        let is_life = self.cell.account(at, |account| match account.place(seat) {
            Place::Current => account.handle_activity(at),
            Place::Next => {
                account.handle_next_activity(at);
                false
            }
            Place::Left => false,
        });
        if is_life {
            self.cell.lane().hear(self.cell.id(), at.wall);
        }
    }

    /// What the session must do now; to be asked after each of the calls above until there is nothing more.
    pub fn poll_request(&mut self) -> Option<Request> {
        if std::mem::take(&mut self.wants_pause) {
            return Some(Request::Pause);
        }
        if std::mem::take(&mut self.wants_close) {
            return Some(Request::Close);
        }
        let seat = self.seat;
        self.cell.with(|hosted| match hosted.account.place(seat) {
            Place::Current => Account::poll_request(&mut hosted.account),
            Place::Next => hosted.account.poll_next_text().map(Request::Text),
            Place::Left => None,
        })
    }

    /// Appends the question that shows whether the stream is alive.
    pub fn write_probe(&mut self, out: &mut String) {
        let seat = self.seat;
        self.cell.with(|hosted| {
            if hosted.account.place(seat) == Place::Current {
                hosted.account.write_probe(out);
            }
        });
    }
}

fn note(laid: Laid, wants_pause: &mut bool, hosted: &mut Hosted, at: Now) {
    if laid == Laid::Aside && !std::mem::replace(wants_pause, true) {
        hosted.counts.pauses += 1;
        hosted.account.handle_hold(true, at);
    }
}

pub(super) fn count(counts: &mut AccountCounts, class: Class, len: usize) {
    counts.frames += 1;
    counts.bytes += len as u64;
    match class {
        Class::Event(EventType::Unknown) => counts.unknown += 1,
        Class::NotJson => counts.malformed += 1,
        _ if class.demand() == Demand::NewListenKey => counts.expired += 1,
        _ => {}
    }
}
