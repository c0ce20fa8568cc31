//! The loop's side of one account: what each message, event and pause means, and where its bytes go.
//!
//! A frame is classified where it lies, which changes nothing, and copied into the lane; nothing that could change it ever
//! sees it. Replies to our own requests go to the account's state machine and nowhere else; all other frames are recorded,
//! unknown and malformed ones too. A gap record that a frame ends stands before it.
//!
//! This is the stream's consumer but for the types of `stream`, which this room may not name: the daemon's adapter maps them
//! one to one. Data plane: no allocation a frame in steady state; an account's lock, then the lane's.

use std::sync::Arc;

use super::account::{Account, Down, Request};
use super::lane::{Laid, Lane};
use super::registry::{AccountCell, AccountCounts, Hosted};
use crate::domain::{Now, Wall};
use crate::exchange::binance::user_data::{Class, Demand, EventType, classify};
use crate::spool::{AccountId, BatchError, Entry, ExchangeId, Gap, Kind};

/// Takes what one account's stream brings, on its loop's thread.
pub struct Intake {
    cell: Arc<AccountCell>,
    lane: Arc<Lane>,
    /// The last frame found no room: the session must hand over nothing more.
    wants_pause: bool,
    /// The payload of a gap record, kept.
    gap_text: Vec<u8>,
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
    /// For the account of `cell`, whose loop fills `lane`.
    #[must_use]
    pub fn new(cell: Arc<AccountCell>, lane: Arc<Lane>) -> Intake {
        Intake { cell, lane, wants_pause: false, gap_text: Vec::with_capacity(160) }
    }

    /// Whose it is.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.cell.id()
    }

    /// A whole message. `at` was read when the poll that found the socket readable returned.
    pub fn handle_message(&mut self, frame: &[u8], at: Now) -> Taken {
        let (id, exchange) = (self.cell.id(), self.cell.exchange());
        let read = classify(frame);
        let cell = Arc::clone(&self.cell);
        cell.with(|Hosted { account, counts }| {
            if !read.class.is_recorded() {
                counts.control += 1;
                if let Some(gap) = account.handle_reply(frame, at) {
                    self.lay_gap(&gap, account, counts, at);
                }
                return Taken::Control;
            }
            if let Some(gap) = account.handle_recorded(&read, at) {
                self.lay_gap(&gap, account, counts, at);
            }
            let key = account.key().map_or(&[][..], |key| key.expose().as_bytes());
            match self.lane.lay(id, |batch| batch.push_frame(id, exchange, at.wall, frame, key)) {
                Ok(laid) => {
                    count(counts, read.class, frame.len());
                    self.note(laid, account, counts, at);
                    Taken::Recorded
                }
                Err(_) => {
                    counts.refused += 1;
                    account.handle_unrecorded(at);
                    Taken::Refused
                }
            }
        })
    }

    /// The upgrade is through.
    pub fn handle_connected(&mut self, at: Now) {
        self.wants_pause = false;
        self.cell.account(|account| account.handle_connected(at));
    }

    /// A connection or attempt has ended.
    pub fn handle_down(&mut self, down: Down<'_>, at: Now) {
        self.cell.account(|account| account.handle_down(down, at));
    }

    /// Something came, a ping included; at most once a second.
    pub fn handle_activity(&mut self, at: Now) {
        let cell = Arc::clone(&self.cell);
        let is_alive = cell.with(|Hosted { account, counts }| {
            let (is_alive, gap) = account.handle_activity(at);
            if let Some(gap) = gap {
                self.lay_gap(&gap, account, counts, at);
            }
            is_alive
        });
        if is_alive {
            self.lane.hear(self.cell.id(), at.wall);
        }
    }

    /// What the session must do now; to be asked after each of the calls above until there is nothing more.
    pub fn poll_request(&mut self) -> Option<Request> {
        if std::mem::take(&mut self.wants_pause) {
            return Some(Request::Pause);
        }
        self.cell.account(Account::poll_request)
    }

    /// Appends the question that shows whether the stream is alive.
    pub fn write_probe(&mut self, out: &mut String) {
        self.cell.account(|account| account.write_probe(out));
    }

    fn lay_gap(&mut self, gap: &Gap, account: &mut Account, counts: &mut AccountCounts, at: Now) {
        counts.gaps += 1;
        self.gap_text.clear();
        gap.write(&mut self.gap_text);
        let text = &self.gap_text[..];
        let entry = gap_entry(self.cell.id(), self.cell.exchange(), at.wall);
        let laid = self.lane.lay(entry.account, |batch| batch.push(entry, text, &[]));
        match laid {
            Ok(laid) => self.note(laid, account, counts, at),
            Err(error @ (BatchError::Full | BatchError::TooLarge(_))) => {
                unreachable!("a gap of {} bytes fits every batch: {error}", text.len())
            }
        }
    }

    fn note(&mut self, laid: Laid, account: &mut Account, counts: &mut AccountCounts, at: Now) {
        if laid == Laid::Aside && !std::mem::replace(&mut self.wants_pause, true) {
            counts.pauses += 1;
            account.handle_hold(true, at);
        }
    }
}

/// The record of a gap that ended at `at`.
pub(super) fn gap_entry(account: AccountId, exchange: ExchangeId, at: Wall) -> Entry {
    Entry { kind: Kind::Gap, account, exchange, received_at: at }
}

fn count(counts: &mut AccountCounts, class: Class, len: usize) {
    counts.frames += 1;
    counts.bytes += len as u64;
    match class {
        Class::Event(EventType::Unknown) => counts.unknown += 1,
        Class::NotJson => counts.malformed += 1,
        _ if class.demand() == Demand::NewListenKey => counts.expired += 1,
        _ => {}
    }
}
