//! From one socket of an account to the next without a hole, sans-IO: frames of both and `now` come in, and it says what is
//! recorded, in which order, and when the new one leads.
//!
//! Both sockets receive every event (facts/binance.md §3), so each frame of one has a twin on the other. One socket leads:
//! its frames are recorded at once. A frame of the other waits for [`HANDOVER_HOLD`] at most and is recorded only if the
//! leader has not brought its twin by then. Leadership moves at a frame that both have brought: a connection delivers in
//! order, so from there on the new socket has everything. Twins are folded by count: what one socket brought twice is
//! recorded twice. Of a frame whose bytes differ and whose [`EventKey`] is the same, both are recorded, and counted.
//!
//! So of each text as many are recorded as the socket that brought more of them brought, whatever the order, lags and
//! losses; only a twin later than [`HANDOVER_RECALL`], or behind [`HANDOVER_SEEN_MAX`] others, is recorded again.
//!
//! It lives for the time of a handover; a stream outside of one has none, and pays nothing.

mod held;

use std::collections::VecDeque;

use sha2::{Digest as _, Sha256};

use self::held::{Held, Waiting};
use crate::domain::limits::{
    HANDOVER_HELD_BYTES_MAX, HANDOVER_HOLD, HANDOVER_MAX, HANDOVER_MUTE_AFTER, HANDOVER_QUIET, HANDOVER_RECALL,
    HANDOVER_RECALL_ALONE, HANDOVER_SEEN_MAX, HANDOVER_TAIL,
};
use crate::domain::{Mono, Now, Wall};
use crate::exchange::binance::event_key::EventKey;

/// Which of the two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that is to be left.
    Old,
    /// The one that takes its place.
    New,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Side {
        match self {
            Side::Old => Side::New,
            Side::New => Side::Old,
        }
    }
}

/// A frame that came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'f> {
    /// By which socket.
    pub side: Side,
    /// The event's own bytes, without a wrapper: what twins have in common.
    pub event: &'f [u8],
    /// The whole frame: what is recorded.
    pub frame: &'f [u8],
    /// What the event is known by where its bytes differ.
    pub key: Option<EventKey>,
    /// When.
    pub at: Now,
}

/// A frame that is to be recorded now.
#[derive(Clone, Copy, Debug)]
pub struct Release<'f> {
    /// The socket that it came by.
    pub side: Side,
    /// The whole frame.
    pub frame: &'f [u8],
    /// When it came.
    pub at: Wall,
}

/// What there is to decide; see [`Handover::judge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Wait,
    /// The new socket leads, or may: nothing is missing.
    Lead,
    /// The old socket delivers nothing of what the new one does, since who knows when.
    OldIsMute,
    /// The new socket delivers nothing of what the old one does, or no decision came in time: it is to be given up.
    NewIsUseless,
}

/// What happened during one handover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandoverCounts {
    /// Frames that both sockets brought and that were recorded once.
    pub folded: u64,
    /// Pairs of frames about the same change whose bytes differ: both are recorded.
    pub near_duplicates: u64,
    /// Frames that the leader had not brought in time, or that found no room to wait.
    pub late: u64,
    /// Recorded frames that were forgotten before their twin came, because there were too many.
    pub forgotten: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Handover {
    leader: Side,
    /// When the new socket was up, and when it was proven to be subscribed.
    new_up: Option<Mono>,
    new_proven: Option<Mono>,
    is_up: [bool; 2],
    /// Frames of the follower that wait for their twin, in their order.
    held: Held,
    /// So many of them are to be recorded at once, from the front.
    ready: usize,
    /// Recorded frames whose twin has not come, in the order in which they were.
    seen: VecDeque<Seen>,
    last_frame: Mono,
    /// When each socket first brought something after the new one was proven.
    first: [Option<Mono>; 2],
    /// Set when it is decided who leads: late twins are folded until then.
    tail_until: Option<Mono>,
    counts: HandoverCounts,
}

#[derive(Debug)]
struct Seen {
    side: Side,
    print: Print,
    key: Option<EventKey>,
    at: Mono,
}

/// 128 bits of SHA-256: two texts that share one were made for it by somebody with 2^64 tries.
type Print = [u8; 16];

impl Handover {
    /// The old socket leads; the new one is not up yet.
    #[must_use]
    pub fn new(now: Mono) -> Handover {
        Handover {
            leader: Side::Old,
            new_up: None,
            new_proven: None,
            is_up: [true, false],
            held: Held::default(),
            ready: 0,
            seen: VecDeque::new(),
            last_frame: now,
            first: [None; 2],
            tail_until: None,
            counts: HandoverCounts::default(),
        }
    }

    /// Who leads.
    #[must_use]
    pub fn leader(&self) -> Side {
        self.leader
    }

    /// What happened until now.
    #[must_use]
    pub fn counts(&self) -> HandoverCounts {
        self.counts
    }

    /// Frames that wait, in bytes with their bookkeeping.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.bytes()
    }

    /// The new socket's upgrade is through.
    pub fn handle_up(&mut self, now: Mono) {
        self.is_up[Side::New as usize] = true;
        self.new_up = Some(now);
    }

    /// The new socket was proven to be subscribed.
    pub fn handle_proven(&mut self, now: Mono) {
        self.new_proven.get_or_insert(now);
    }

    /// A socket has ended, or is given up. If it led, the other one does, and what waits of it is recorded.
    pub fn handle_dead(&mut self, side: Side, now: Mono) {
        self.is_up[side as usize] = false;
        if side == self.leader && self.is_up[side.other() as usize] {
            self.lead(side.other(), now);
        } else {
            self.tail_until.get_or_insert(now.plus(HANDOVER_TAIL));
        }
    }

    /// `side` leads from now on; what waits of it is recorded at the next call that records.
    pub fn lead(&mut self, side: Side, now: Mono) {
        self.leader = side;
        self.ready = self.held.len();
        self.tail_until = Some(now.plus(HANDOVER_TAIL));
    }

    /// A frame came by one of the sockets; calls `record` for each that is to be recorded now, in order.
    pub fn handle_frame(&mut self, arrival: &Arrival<'_>, record: &mut impl FnMut(Release<'_>)) {
        let now = arrival.at.mono;
        self.flush(now, record);
        self.last_frame = self.last_frame.max(now);
        if self.new_proven.is_some() {
            self.first[arrival.side as usize].get_or_insert(now);
        }
        let print = print_of(arrival.event);
        if self.fold_seen(arrival, &print, record) {
            return self.meet(now, record);
        }
        if arrival.side != self.leader {
            return self.hold(arrival, print, record);
        }
        let Some((place, is_same)) = self.held.find(&print, arrival.key) else {
            return self.record(arrival, print, arrival.key, record);
        };
        // What waits before the twin was skipped by the leader: its order is the follower's.
        self.release(place, record);
        if is_same {
            self.counts.folded += 1;
            self.held.pop();
            record(Release { side: arrival.side, frame: arrival.frame, at: arrival.at.wall });
        } else {
            self.counts.near_duplicates += 1;
            self.record(arrival, print, None, record);
            self.held.front_mut().expect("it was found there").key = None;
            self.release(1, record);
        }
        self.meet(now, record);
    }

    /// Records what has waited long enough. To be called at [`Handover::deadline`], and after every other call.
    pub fn flush(&mut self, now: Mono, record: &mut impl FnMut(Release<'_>)) {
        let ready = std::mem::take(&mut self.ready);
        self.release(ready, record);
        while self.held.front().is_some_and(|held| held.until <= now) {
            self.counts.late += 1;
            self.release(1, record);
        }
        let recall = if self.new_up.is_some() { HANDOVER_RECALL } else { HANDOVER_RECALL_ALONE };
        while self.seen.front().is_some_and(|seen| seen.at.plus(recall) <= now) {
            self.seen.pop_front();
        }
    }

    /// When [`Handover::flush`] has something to record; what is to be judged besides has no hurry.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        if self.ready > 0 { Mono::ZERO } else { self.held.front().map_or(Mono::NEVER, |held| held.until) }
    }

    /// What there is to decide. `is_borne_out`: the old socket has answered a question that was asked after the new one was
    /// proven, so all that it carried before has arrived.
    #[must_use]
    pub fn judge(&self, is_borne_out: bool, now: Mono) -> Verdict {
        if self.leader == Side::New {
            return Verdict::Lead;
        }
        let Some(proven) = self.new_proven.filter(|_| self.is_up[Side::New as usize]) else { return Verdict::Wait };
        let is_old = |since: Option<Mono>| since.is_some_and(|since| now.since(since) >= HANDOVER_MUTE_AFTER);
        let is_quiet = now.since(self.last_frame.max(proven)) >= HANDOVER_QUIET && self.held.is_empty();
        match self.first {
            [None, None] if is_quiet && is_borne_out => Verdict::Lead,
            [None, Some(_)] if is_old(self.first[1]) => Verdict::OldIsMute,
            [Some(_), _] if is_old(self.first[0]) => Verdict::NewIsUseless,
            _ if now.since(proven) >= HANDOVER_MAX => Verdict::NewIsUseless,
            _ => Verdict::Wait,
        }
    }

    /// Whether it is decided who leads, nothing waits, and no twin is awaited any more.
    #[must_use]
    pub fn is_over(&self, now: Mono) -> bool {
        self.tail_until.is_some_and(|until| until <= now) && self.held.is_empty()
    }

    /// The twin was recorded already, or something that is the same but for its bytes.
    fn fold_seen(&mut self, arrival: &Arrival<'_>, print: &Print, record: &mut impl FnMut(Release<'_>)) -> bool {
        let other = arrival.side.other();
        if let Some(place) = self.seen.iter().position(|seen| seen.side == other && seen.print == *print) {
            self.seen.remove(place);
            self.counts.folded += 1;
            return true;
        }
        let near = |seen: &&mut Seen| seen.side == other && arrival.key.is_some() && seen.key == arrival.key;
        let Some(seen) = self.seen.iter_mut().find(near) else { return false };
        seen.key = None;
        self.counts.near_duplicates += 1;
        // Its own earlier ones must not come behind it.
        if arrival.side != self.leader {
            let all = self.held.len();
            self.release(all, record);
        }
        self.record(arrival, *print, None, record);
        true
    }

    /// A frame that both have brought: from here on the new socket has everything.
    fn meet(&mut self, now: Mono, record: &mut impl FnMut(Release<'_>)) {
        if self.leader == Side::Old && self.new_proven.is_some() && self.is_up[Side::New as usize] {
            self.lead(Side::New, now);
            self.flush(now, record);
        }
    }

    fn hold(&mut self, arrival: &Arrival<'_>, print: Print, record: &mut impl FnMut(Release<'_>)) {
        let cost = Held::cost(arrival.frame);
        while !self.held.is_empty() && self.held.bytes() + cost > HANDOVER_HELD_BYTES_MAX {
            self.counts.late += 1;
            self.release(1, record);
        }
        if cost > HANDOVER_HELD_BYTES_MAX {
            self.counts.late += 1;
            return self.record(arrival, print, arrival.key, record);
        }
        self.held.push(Waiting {
            side: arrival.side,
            print,
            key: arrival.key,
            frame: arrival.frame.to_vec(),
            at: arrival.at.wall,
            until: arrival.at.mono.plus(HANDOVER_HOLD),
            came: arrival.at.mono,
        });
    }

    fn record(
        &mut self,
        arrival: &Arrival<'_>,
        print: Print,
        key: Option<EventKey>,
        record: &mut impl FnMut(Release<'_>),
    ) {
        record(Release { side: arrival.side, frame: arrival.frame, at: arrival.at.wall });
        self.remember(Seen { side: arrival.side, print, key, at: arrival.at.mono });
    }

    /// Records the first `count` of those that wait.
    fn release(&mut self, count: usize, record: &mut impl FnMut(Release<'_>)) {
        for _ in 0..count {
            let Some(held) = self.held.pop() else { return };
            record(Release { side: held.side, frame: &held.frame, at: held.at });
            self.remember(Seen { side: held.side, print: held.print, key: held.key, at: held.came });
        }
    }

    fn remember(&mut self, seen: Seen) {
        if self.seen.len() == HANDOVER_SEEN_MAX {
            self.seen.pop_front();
            // Before the new socket is up nobody awaits the twins of old frames.
            self.counts.forgotten += u64::from(self.new_up.is_some());
        }
        self.seen.push_back(seen);
    }
}

fn print_of(event: &[u8]) -> Print {
    let mut print = Print::default();
    print.copy_from_slice(&Sha256::digest(event)[..16]);
    print
}
