//! The exact account of what was sent: the truth against which a client's own ledger and its table are checked.
//!
//! "Delivered" means that the last byte of the frame went into the socket; a frame that was only generated, or is half in
//! the socket, is not delivered. The prices that a client must hold in the end are those of delivered frames, by the rules
//! of the stream: newest `E` per symbol within a connection, a newer connection's first value wins, bad entries never.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::domain::limits::{SIM_CONNECTION_HISTORY_MAX, SIM_POISONED_MAX};

use super::fault::FaultKind;
use super::listing::Listed;
use super::poison::Poisoned;
use super::private::fault::{AccountFault, VenueFault};
use super::venue::{FrameRecord, price_text};

/// A snapshot of everything that was counted.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Ticks generated, with or without anyone listening.
    pub ticks: u64,
    /// TCP connections accepted.
    pub connections_accepted: u64,
    /// Upgrades answered with 101.
    pub upgrades: u64,
    /// Upgrades answered with something else.
    pub upgrades_refused: u64,
    /// REST requests answered.
    pub rest_requests: u64,
    /// TLS handshakes and records that failed.
    pub tls_failures: u64,
    /// Price frames handed to connections, whole or not.
    pub frames_queued: u64,
    /// Price frames whose last byte is in the socket; the ones with broken JSON are not among them.
    pub frames_delivered: u64,
    /// Entries of those frames.
    pub entries_delivered: u64,
    /// Of those, good USDⓈ-M entries.
    pub valid_delivered: u64,
    /// Of those, good COIN-M entries.
    pub other_market_delivered: u64,
    /// Of the good USDⓈ-M entries, those that were not newer than one of the same symbol and connection before.
    pub stale_delivered: u64,
    /// Of the entries delivered, the bad ones by kind.
    pub bad_delivered: BTreeMap<&'static str, u64>,
    /// The bad entries themselves, newest last; the oldest go beyond [`SIM_POISONED_MAX`].
    pub poisoned: VecDeque<Poisoned>,
    /// Frames with unbalanced JSON whose last byte is in the socket.
    pub unbalanced_delivered: u64,
    /// Faults that took effect, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Faults asked for that wait for a connection.
    pub faults_waiting: usize,
    /// Pings sent.
    pub pings_sent: u64,
    /// Pongs that echo a ping of ours byte for byte.
    pub pongs_matched: u64,
    /// Pongs that do not.
    pub pongs_unsolicited: u64,
    /// Text, binary, ping and unsolicited pong messages received.
    pub client_messages: u64,
    /// Breaches of RFC 6455 by clients.
    pub client_protocol_errors: u64,
    /// Upgrades asked for, those above the connect limit too.
    pub connects_attempted: u64,
    /// Of those, the ones above the connect limit.
    pub connects_refused: u64,
    /// The most attempts of one source address in any window; one above the limit stands for more.
    pub connects_in_window_max: usize,
    /// Request weight of all REST requests to Binance.
    pub weight_total: u64,
    /// The most of one source address in a minute.
    pub weight_in_minute_max: u32,
    /// REST requests answered with 429.
    pub rest_limited: u64,
    /// REST requests answered with 418.
    pub rest_banned: u64,
    /// The newest connections, oldest first.
    pub connections: VecDeque<ConnectionLedger>,
    pub(super) truth: Vec<Option<Truth>>,
    pub(super) settled: bool,
}

/// One WebSocket connection.
#[derive(Clone, Debug)]
pub struct ConnectionLedger {
    /// Grows with every TCP connection.
    pub id: u64,
    /// The client's address.
    pub peer: SocketAddr,
    /// Path and query of the upgrade; what looks like a listen key is overwritten.
    pub target: String,
    /// Price frames handed over.
    pub frames_queued: u64,
    /// Price frames in the socket to the last byte.
    pub frames_delivered: u64,
    /// Their entries.
    pub entries_delivered: u64,
    /// `E` of the newest of them.
    pub event_ms_delivered: Option<i64>,
    /// Why it ended; `None` while it lives.
    pub ended: Option<Ending>,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Close frames were exchanged, the client's first.
    ClientClosed,
    /// The client's TCP ended without a close frame, or broke.
    ClientGone,
    /// The client broke RFC 6455.
    ClientProtocol,
    /// A fault ended it.
    Fault(FaultKind),
    /// An account's fault ended it.
    AccountFault(AccountFault),
    /// A fault of the venue ended it.
    VenueFault(VenueFault),
    /// It was older than [`SimConfig::connection_lifetime`](super::SimConfig::connection_lifetime): cut.
    Lifetime,
    /// One connect too many.
    ConnectLimit,
    /// No pong in time: close 1008.
    PongTimeout,
    /// Too many messages in a second: close 1008.
    RateLimited,
    /// More bytes owed than [`SimConfig::queue_max`](super::SimConfig::queue_max).
    SlowConsumer,
    /// Something else took too long: TLS, a request, the answer to a close frame.
    TimedOut,
    /// TLS failed.
    Tls,
    /// An HTTP answer was given and the connection is done.
    Answered,
    /// The simulator stopped.
    Stopped,
}

/// The newest good price of a symbol that reached a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Truth {
    pub(super) connection: u64,
    pub(super) event_ms: i64,
    pub(super) price: u64,
}

impl Ledger {
    pub(super) fn new(symbols: usize) -> Self {
        Ledger { truth: vec![None; symbols], ..Ledger::default() }
    }

    /// Faults that took effect, all kinds together.
    #[must_use]
    pub fn faults_total(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Bad entries delivered, all kinds together.
    #[must_use]
    pub fn bad_total(&self) -> u64 {
        self.bad_delivered.values().sum()
    }

    pub(super) fn prices(&self, listed: &[Listed]) -> BTreeMap<String, String> {
        let known = listed.iter().zip(&self.truth);
        known.filter_map(|(l, truth)| truth.map(|t| (l.symbol.clone(), price_text(t.price)))).collect()
    }

    pub(super) fn count_fault(&mut self, kind: FaultKind) {
        self.count_fault_named(kind.as_str());
    }

    pub(super) fn count_fault_named(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub(super) fn open(&mut self, id: u64, peer: SocketAddr, target: String) {
        self.upgrades += 1;
        if self.connections.len() == SIM_CONNECTION_HISTORY_MAX {
            // A live one is worth keeping; the oldest that ended goes first.
            let oldest = self.connections.iter().position(|c| c.ended.is_some()).unwrap_or(0);
            self.connections.remove(oldest);
        }
        self.connections.push_back(ConnectionLedger {
            id,
            peer,
            target,
            frames_queued: 0,
            frames_delivered: 0,
            entries_delivered: 0,
            event_ms_delivered: None,
            ended: None,
        });
    }

    pub(super) fn end(&mut self, id: u64, ending: Ending) {
        if let Some(connection) = self.connection_mut(id) {
            connection.ended.get_or_insert(ending);
        }
        match ending {
            Ending::Tls => self.tls_failures += 1,
            Ending::ClientProtocol => self.client_protocol_errors += 1,
            _ => {}
        }
    }

    pub(super) fn queued(&mut self, id: u64) {
        self.frames_queued += 1;
        if let Some(connection) = self.connection_mut(id) {
            connection.frames_queued += 1;
        }
    }

    /// The last byte of a frame went into the socket of connection `id`.
    pub(super) fn delivered(&mut self, id: u64, record: &FrameRecord) {
        self.frames_delivered += 1;
        self.entries_delivered += record.entries();
        self.valid_delivered += record.valid.len() as u64;
        self.other_market_delivered += record.other_market;
        for bad in &record.bad {
            *self.bad_delivered.entry(bad.kind.as_str()).or_default() += 1;
            if self.poisoned.len() == SIM_POISONED_MAX {
                self.poisoned.pop_front();
            }
            self.poisoned.push_back(bad.clone());
        }
        for &(position, price) in &record.valid {
            let seen = &mut self.truth[position];
            match seen {
                Some(t) if t.connection >= id && t.event_ms >= record.event_ms => self.stale_delivered += 1,
                _ => *seen = Some(Truth { connection: id, event_ms: record.event_ms, price }),
            }
        }
        if let Some(connection) = self.connection_mut(id) {
            connection.frames_delivered += 1;
            connection.entries_delivered += record.entries();
            connection.event_ms_delivered = connection.event_ms_delivered.max(Some(record.event_ms));
        }
    }

    fn connection_mut(&mut self, id: u64) -> Option<&mut ConnectionLedger> {
        self.connections.iter_mut().rev().find(|c| c.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::poison::BadEntry;

    fn record(event_ms: i64, valid: &[(usize, u64)]) -> FrameRecord {
        FrameRecord { number: 1, event_ms, valid: valid.to_vec(), other_market: 1, bad: Vec::new() }
    }

    #[test]
    fn the_truth_is_newest_per_connection_and_first_of_a_new_one() {
        let mut ledger = Ledger::new(2);
        let price = |ledger: &Ledger| ledger.truth[0].unwrap().price;
        for (id, event_ms, sent, holds) in [
            (1, 1_000, 10, 10),
            (1, 2_000, 11, 11),
            (1, 1_000, 10, 11), // An old frame again.
            (1, 2_000, 12, 11), // The same instant again.
            (2, 500, 13, 13),   // A new connection: the first value wins.
            (1, 1_900, 14, 14), // The older connection still lives, and its value is newer.
        ] {
            ledger.delivered(id, &record(event_ms, &[(0, sent)]));
            assert_eq!(price(&ledger), holds, "connection {id}, E {event_ms}");
        }
        assert_eq!((ledger.stale_delivered, ledger.valid_delivered, ledger.entries_delivered), (2, 6, 12));
        assert!(ledger.truth[1].is_none());
    }

    #[test]
    fn bad_entries_count_and_never_become_truth() {
        let mut ledger = Ledger::new(1);
        let bad = Poisoned { symbol: "A".into(), kind: BadEntry::Zero, frame_event_ms: 5, held_back: true };
        ledger.delivered(1, &FrameRecord { bad: vec![bad.clone()], ..record(5, &[]) });
        assert_eq!(ledger.truth, [None]);
        assert_eq!((ledger.bad_total(), ledger.bad_delivered["zero"]), (1, 1));
        assert_eq!(ledger.poisoned, [bad]);
    }

    #[test]
    fn history_is_bounded_and_keeps_the_living() {
        let mut ledger = Ledger::new(0);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        for id in 0..2 * SIM_CONNECTION_HISTORY_MAX as u64 {
            ledger.open(id, peer, String::new());
            if id > 0 {
                ledger.end(id, Ending::ClientGone);
            }
        }
        assert_eq!(ledger.connections.len(), SIM_CONNECTION_HISTORY_MAX);
        assert_eq!((ledger.connections[0].id, ledger.connections[0].ended), (0, None));
    }
}
