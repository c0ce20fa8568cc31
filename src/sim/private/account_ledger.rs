//! The exact account of one account's stream: each frame that was generated, what became of it, and each delivery.
//!
//! "Delivered" means that the last byte went into the socket. A frame is known by a hash of the bytes that a recorder keeps:
//! the event without its wrapper, each occurrence of the listen key overwritten by `*`. [`AccountLedger::judge`] holds a
//! recorder's frames and gaps against it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::Wall;
use crate::domain::limits::SIM_SESSIONS_KEPT_MAX;

use super::event::Event;
use super::sessions::AccountSession;

/// A snapshot of what happened on one account's stream.
#[derive(Clone, Debug, Default)]
pub struct AccountLedger {
    /// Each distinct frame in the order of its generation; `frames[n].number` is `n + 1`.
    pub frames: Vec<FrameEntry>,
    /// Each delivery, doubles too, in the order of delivery.
    pub deliveries: Vec<Delivery>,
    /// The newest connections that asked for a key of this account, oldest first.
    pub sessions: VecDeque<AccountSession>,
    /// Frames generated when the ledger was full: a checker must find zero here.
    pub unrecorded: u64,
    /// Frames in a queue of a connection, whole or in part.
    pub in_flight: u64,
    /// Faults that took effect, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Faults asked for that wait for a connection.
    pub faults_waiting: usize,
    /// Listen-key requests answered with a key: POST.
    pub posts: u64,
    /// The same for PUT.
    pub puts: u64,
    /// The same for DELETE.
    pub deletes: u64,
    /// Listen-key requests answered with an error.
    pub key_errors: u64,
    /// Signed reads answered as asked, by the last part of the path: `openOrders`.
    pub reads: BTreeMap<&'static str, u64>,
    /// Signed reads refused or spoilt, by the same.
    pub read_errors: BTreeMap<&'static str, u64>,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameEntry {
    /// From 1, in the order of generation.
    pub number: u64,
    /// `e`; `malformed` for a frame that is no JSON.
    pub event: &'static str,
    /// `E`.
    pub event_ms: i64,
    /// Of the bytes that a recorder keeps; see [`frame_hash`].
    pub hash: u128,
    /// Length of the event without its wrapper.
    pub len: usize,
    /// The real order it is about; 0 for none.
    pub order_id: u64,
    /// The algo order it is about, or from which its real order comes; 0 for none.
    pub algo_id: u64,
    /// When it was generated, and sent if anybody listened.
    pub generated_at: Wall,
    /// What became of it.
    pub fate: Fate,
    /// The bytes that a recorder keeps: of malformed frames always, of all with
    /// [`AccountsConfig::keeps_bytes`](super::AccountsConfig::keeps_bytes).
    pub bytes: Option<Arc<[u8]>>,
    queued: u32,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on its way into a socket.
    InFlight,
    /// The last byte is in a socket.
    Delivered,
    /// It never reached one.
    Missed(Missed),
}

/// Why a frame reached nobody; where several connections missed it for different reasons, the last of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missed {
    /// No connection.
    NobodyListened,
    /// Connections listen with a key that is dead.
    DeadKey,
    /// The spelling does not deliver.
    SilentSpelling,
    /// A fault keeps the socket silent, but it answers pings.
    Mute,
    /// A fault keeps the socket from reading and writing.
    HalfOpen,
    /// Earlier garbage, an oversize frame or a farewell is in the way.
    Blocked,
    /// The filter of the connection leaves its type out: no gap, but the client's own wish.
    Filtered,
    /// The connection ended with bytes of it unsent.
    Lost,
}

/// One delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// From 1, in the order of delivery.
    pub seq: u64,
    /// [`FrameEntry::number`].
    pub frame: u64,
    /// Which connection.
    pub connection: u64,
    /// When its last byte went into the socket.
    pub at: Wall,
}

/// What holding a recorder's frames against the ledger came to. All is well when every list is empty and every count zero.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Frames that a connection was owed and the recorder has not, outside all gaps.
    pub uncovered: Vec<FrameEntry>,
    /// Recorded frames that were never generated.
    pub foreign: u64,
    /// Recorded frames that were never delivered.
    pub impossible: u64,
    /// Places where the recorder's order of first sights is not that of the first deliveries.
    pub disordered: u64,
    /// Distinct frames recorded.
    pub distinct: u64,
    /// Frames recorded more than once.
    pub repeated: u64,
    /// Missing frames that lie inside a gap.
    pub covered: u64,
}

impl Verdict {
    /// Whether nothing is wrong. Repeated frames are right where the venue sent doubles or two sockets overlapped.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.uncovered.is_empty() && self.foreign == 0 && self.impossible == 0 && self.disordered == 0
    }
}

/// FNV-1a over 128 bits: what a frame is known by.
#[must_use]
pub fn frame_hash(bytes: &[u8]) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash: u128, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
    })
}

impl AccountLedger {
    /// Frames delivered, each once, in the order of their first delivery.
    #[must_use]
    pub fn distinct_delivered(&self) -> Vec<&FrameEntry> {
        let mut seen = vec![false; self.frames.len() + 1];
        let first = |delivery: &&Delivery| !std::mem::replace(&mut seen[delivery.frame as usize], true);
        self.deliveries.iter().filter(first).map(|delivery| &self.frames[delivery.frame as usize - 1]).collect()
    }

    /// Frames that reached nobody, and why.
    pub fn missed(&self) -> impl Iterator<Item = (&FrameEntry, Missed)> {
        self.frames.iter().filter_map(|frame| match frame.fate {
            Fate::Missed(why) => Some((frame, why)),
            _ => None,
        })
    }

    /// How many frames reached nobody because of `why`.
    #[must_use]
    pub fn missed_count(&self, why: Missed) -> usize {
        self.missed().filter(|(_, reason)| *reason == why).count()
    }

    /// Holds what a recorder has, in its order, and its gaps against this ledger. A gap is from the last moment at which the
    /// recorder was surely listening to the moment at which it surely was again, both included.
    ///
    /// Every frame but a filtered one must be recorded or lie inside a gap, by the time of its generation or of a delivery:
    /// what went into the socket of a client that was killed is missing although it was delivered.
    pub fn judge<'a>(&self, recorded: impl IntoIterator<Item = &'a [u8]>, gaps: &[(Wall, Wall)]) -> Verdict {
        let by_hash: HashMap<u128, usize> =
            self.frames.iter().enumerate().map(|(at, frame)| (frame.hash, at)).collect();
        let mut rank = vec![u64::MAX; self.frames.len()];
        let mut last_at = vec![None; self.frames.len()];
        for delivery in &self.deliveries {
            let at = delivery.frame as usize - 1;
            rank[at] = rank[at].min(delivery.seq);
            last_at[at] = Some(delivery.at);
        }
        let mut verdict = Verdict::default();
        let mut have = vec![false; self.frames.len()];
        let mut newest = 0;
        for bytes in recorded {
            let Some(&at) = by_hash.get(&frame_hash(bytes)) else {
                verdict.foreign += 1;
                continue;
            };
            if std::mem::replace(&mut have[at], true) {
                verdict.repeated += 1;
                continue;
            }
            verdict.distinct += 1;
            if rank[at] == u64::MAX {
                verdict.impossible += 1;
            } else if rank[at] < newest {
                verdict.disordered += 1;
            } else {
                newest = rank[at];
            }
        }
        for (at, frame) in self.frames.iter().enumerate() {
            if have[at] || frame.fate == Fate::Missed(Missed::Filtered) {
                continue;
            }
            let inside = |moment: Wall| gaps.iter().any(|(from, to)| *from <= moment && moment <= *to);
            if inside(frame.generated_at) || last_at[at].is_some_and(inside) {
                verdict.covered += 1;
            } else {
                verdict.uncovered.push(frame.clone());
            }
        }
        verdict
    }

    /// A signed read was answered.
    pub(in crate::sim) fn count_read(&mut self, path: &'static str, is_answered: bool) {
        let counts = if is_answered { &mut self.reads } else { &mut self.read_errors };
        *counts.entry(path).or_default() += 1;
    }

    /// A frame was generated; its number.
    pub(in crate::sim) fn record(
        &mut self,
        name: &'static str,
        event: &Event,
        kept: &[u8],
        keeps_bytes: bool,
        now: Wall,
    ) -> u64 {
        let number = self.frames.len() as u64 + 1;
        self.frames.push(FrameEntry {
            number,
            event: name,
            event_ms: event.event_ms,
            hash: frame_hash(kept),
            len: event.text.len(),
            order_id: event.order_id,
            algo_id: event.algo_id,
            generated_at: now,
            fate: Fate::Missed(Missed::NobodyListened),
            bytes: keeps_bytes.then(|| kept.into()),
            queued: 0,
        });
        number
    }

    /// A connection did not take the frame.
    pub(in crate::sim) fn skipped(&mut self, number: u64, why: Missed) {
        if let Some(frame) = self.frame_mut(number)
            && let Fate::Missed(before) = frame.fate
        {
            frame.fate = Fate::Missed(before.max(why));
        }
    }

    /// The frame went into a connection's queue.
    pub(in crate::sim) fn queued(&mut self, number: u64) {
        self.in_flight += 1;
        if let Some(frame) = self.frame_mut(number) {
            frame.queued += 1;
            if frame.fate != Fate::Delivered {
                frame.fate = Fate::InFlight;
            }
        }
    }

    /// Its last byte went into the socket.
    pub(in crate::sim) fn delivered(&mut self, number: u64, connection: u64, now: Wall) {
        self.in_flight -= 1;
        if let Some(frame) = self.frame_mut(number) {
            frame.queued -= 1;
            frame.fate = Fate::Delivered;
        }
        self.deliveries.push(Delivery { seq: self.deliveries.len() as u64 + 1, frame: number, connection, at: now });
        self.with_session(connection, |session| {
            session.frames_delivered += 1;
            session.proven_at.get_or_insert(now);
        });
    }

    /// The connection ended before.
    pub(in crate::sim) fn lost(&mut self, number: u64) {
        self.in_flight -= 1;
        if let Some(frame) = self.frame_mut(number) {
            frame.queued -= 1;
            if frame.queued == 0 && frame.fate == Fate::InFlight {
                frame.fate = Fate::Missed(Missed::Lost);
            }
        }
    }

    pub(in crate::sim) fn open(&mut self, session: AccountSession) {
        if self.sessions.len() == SIM_SESSIONS_KEPT_MAX {
            let oldest = self.sessions.iter().position(|one| one.ended.is_some()).unwrap_or(0);
            self.sessions.remove(oldest);
        }
        self.sessions.push_back(session);
    }

    pub(in crate::sim) fn count_fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    fn frame_mut(&mut self, number: u64) -> Option<&mut FrameEntry> {
        self.frames.get_mut((number as usize).checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(frames: &[&str]) -> AccountLedger {
        let mut ledger = AccountLedger::default();
        for (at, text) in frames.iter().enumerate() {
            let now = Wall::from_millis(at as i64);
            let event = Event { name: "X", text: (*text).to_owned(), event_ms: 0, order_id: 0, algo_id: 0 };
            ledger.record("X", &event, text.as_bytes(), false, now);
        }
        ledger
    }

    fn deliver(ledger: &mut AccountLedger, number: u64) {
        ledger.queued(number);
        ledger.delivered(number, 1, Wall::from_millis(number as i64 - 1));
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(frame_hash(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(frame_hash(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }

    #[test]
    fn a_verdict_names_what_is_wrong() {
        let mut ledger = ledger(&["a", "b", "c", "d"]);
        for number in [1, 2, 2, 4] {
            deliver(&mut ledger, number);
        }
        ledger.skipped(3, Missed::Filtered);
        let judge = |recorded: &[&str], gaps: &[(i64, i64)]| {
            let gaps: Vec<_> = gaps.iter().map(|&(a, b)| (Wall::from_millis(a), Wall::from_millis(b))).collect();
            let verdict = ledger.judge(recorded.iter().map(|text| text.as_bytes()), &gaps);
            let wrong = (verdict.uncovered.len() as u64, verdict.foreign, verdict.impossible, verdict.disordered);
            (verdict.is_clean(), wrong, verdict.covered)
        };
        for (recorded, gaps, expected) in [
            (&["a", "b", "b", "d"][..], &[][..], (true, (0, 0, 0, 0), 0)),
            (&["a", "d"], &[], (false, (1, 0, 0, 0), 0)),
            (&["a", "d"], &[(0, 1)], (true, (0, 0, 0, 0), 1)),
            (&["a", "d"], &[(2, 9)], (false, (1, 0, 0, 0), 0)),
            (&["b", "a", "d"], &[], (false, (0, 0, 0, 1), 0)),
            (&["a", "b", "c", "d"], &[], (false, (0, 0, 1, 0), 0)),
            (&["a", "b", "d", "e"], &[], (false, (0, 1, 0, 0), 0)),
        ] {
            assert_eq!(judge(recorded, gaps), expected, "{recorded:?} {gaps:?}");
        }
        assert_eq!(ledger.distinct_delivered().len(), 3);
    }

    #[test]
    fn a_frame_is_lost_only_when_its_last_connection_lost_it() {
        let mut ledger = ledger(&["a"]);
        ledger.queued(1);
        ledger.queued(1);
        ledger.lost(1);
        assert_eq!((ledger.frames[0].fate, ledger.in_flight), (Fate::InFlight, 1));
        ledger.lost(1);
        assert_eq!((ledger.frames[0].fate, ledger.in_flight), (Fate::Missed(Missed::Lost), 0));
        deliver(&mut ledger, 1);
        ledger.skipped(1, Missed::Mute);
        assert_eq!(ledger.frames[0].fate, Fate::Delivered);
    }
}
