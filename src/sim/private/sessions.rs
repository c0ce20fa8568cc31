//! Connections of one account, and the breaks between them: what a client's own record of its silences is held against.
//!
//! A break is a time in which no proven socket could bring anything: from the moment at which the last one fell silent to the
//! moment at which another one was proven. It is known to the simulator alone; a client hears of it later, or never.

use std::net::SocketAddr;

use crate::domain::Wall;
use crate::sim::ledger::Ending;

use super::account_ledger::AccountLedger;
use super::subscription::PrivateSpelling;

/// One connection that asked for a key of this account.
#[derive(Clone, Debug)]
pub struct AccountSession {
    /// Grows with every TCP connection.
    pub connection: u64,
    /// The client's address.
    pub peer: SocketAddr,
    /// How it asked.
    pub spelling: PrivateSpelling,
    /// When it asked.
    pub opened_at: Wall,
    /// When LIST_SUBSCRIPTIONS first named its subscription, or its first frame was delivered.
    pub proven_at: Option<Wall>,
    /// When bytes last went into its socket, before it fell silent.
    pub spoken_at: Wall,
    /// From when on nothing can come through it: a fault, or its end.
    pub silent_since: Option<Wall>,
    /// Frames delivered to it, doubles too.
    pub frames_delivered: u64,
    /// When and why it ended; `None` while it lives.
    pub ended: Option<(Wall, Ending)>,
}

/// A time in which nobody could hear the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Break {
    /// When bytes last went into the socket that broke.
    pub spoken_at: Wall,
    /// From when on nothing came through it.
    pub began_at: Wall,
    /// When the next socket was proven; `None`: none was so far.
    pub proven_at: Option<Wall>,
}

impl AccountSession {
    pub(in crate::sim) fn new(connection: u64, peer: SocketAddr, spelling: PrivateSpelling, now: Wall) -> Self {
        AccountSession {
            connection,
            peer,
            spelling,
            opened_at: now,
            proven_at: None,
            spoken_at: now,
            silent_since: None,
            frames_delivered: 0,
            ended: None,
        }
    }

    /// Whether it is proven and not silent at that time.
    fn is_heard_at(&self, at: Wall) -> bool {
        self.proven_at.is_some_and(|proven| proven <= at) && self.silent_since.is_none_or(|silent| silent > at)
    }
}

impl AccountLedger {
    /// When the first connection was proven; before that nobody listened.
    #[must_use]
    pub fn first_proven_at(&self) -> Option<Wall> {
        self.sessions.iter().filter_map(|session| session.proven_at).min()
    }

    /// All breaks, as far as [`AccountLedger::sessions`] reaches back, oldest first. A connection that was never proven makes
    /// none, nor does one that ends while another one is heard. A key that dies breaks no connection and is not in here.
    #[must_use]
    pub fn breaks(&self) -> Vec<Break> {
        let proven = || self.sessions.iter().filter(|session| session.proven_at.is_some());
        let mut breaks: Vec<Break> = proven()
            .filter_map(|session| {
                let began_at = session.silent_since?;
                let is_heard = proven().any(|other| other.is_heard_at(began_at));
                (!is_heard).then(|| Break {
                    spoken_at: session.spoken_at,
                    began_at,
                    proven_at: proven().filter_map(|next| next.proven_at).filter(|at| *at > began_at).min(),
                })
            })
            .collect();
        breaks.sort_by_key(|one| one.began_at);
        // Two sockets that fall silent in one moment leave one break.
        breaks.dedup_by_key(|one| one.proven_at);
        breaks
    }

    /// The connection's subscription was named, or has delivered.
    pub(in crate::sim) fn prove(&mut self, connection: u64, now: Wall) {
        self.with_session(connection, |session| {
            session.proven_at.get_or_insert(now);
        });
    }

    /// Bytes went into the connection's socket.
    pub(in crate::sim) fn speak(&mut self, connection: u64, now: Wall) {
        self.with_session(connection, |session| {
            if session.silent_since.is_none() {
                session.spoken_at = now;
            }
        });
    }

    /// Nothing comes through the connection any more.
    pub(in crate::sim) fn fall_silent(&mut self, connection: u64, now: Wall) {
        self.with_session(connection, |session| {
            session.silent_since.get_or_insert(now);
        });
    }

    pub(in crate::sim) fn end(&mut self, connection: u64, now: Wall, ending: Ending) {
        self.with_session(connection, |session| {
            session.silent_since.get_or_insert(now);
            session.ended.get_or_insert((now, ending));
        });
    }

    pub(super) fn with_session(&mut self, connection: u64, change: impl FnOnce(&mut AccountSession)) {
        if let Some(session) = self.sessions.iter_mut().rev().find(|one| one.connection == connection) {
            change(session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions as `(proven, spoken, silent)`, in seconds; a minus is none.
    fn ledger(sessions: &[(i64, i64, i64)]) -> AccountLedger {
        let mut ledger = AccountLedger::default();
        let peer = "127.0.0.1:1".parse().unwrap();
        let at = |s: i64| Wall::from_millis(s * 1_000);
        for (connection, &(proven, spoken, silent)) in (1..).zip(sessions) {
            ledger.open(AccountSession::new(connection, peer, PrivateSpelling::Path, at(0)));
            if proven >= 0 {
                ledger.prove(connection, at(proven));
                ledger.prove(connection, at(proven + 1));
            }
            ledger.speak(connection, at(spoken));
            if silent >= 0 {
                ledger.fall_silent(connection, at(silent));
                ledger.speak(connection, at(silent + 1));
                ledger.end(connection, at(silent + 2), Ending::Lifetime);
            }
        }
        ledger
    }

    #[test]
    fn a_break_is_from_the_last_proven_socket_to_the_next() {
        for (sessions, expected) in [
            (&[][..], &[][..]),
            (&[(5, 8, -1)], &[]),
            (&[(5, 8, 9)], &[(8, 9, -1)]),
            (&[(5, 8, 9), (20, 20, -1)], &[(8, 9, 20)]),
            // One that was never proven is inside the break.
            (&[(5, 8, 9), (-1, 12, 13), (20, 20, -1)], &[(8, 9, 20)]),
            (&[(5, 8, 9), (20, 25, 30), (40, 40, -1)], &[(8, 9, 20), (25, 30, 40)]),
            // Make before break.
            (&[(5, 8, 30), (20, 28, -1)], &[]),
            (&[(5, 8, 30), (20, 28, 30), (41, 41, -1)], &[(8, 30, 41)]),
        ] {
            let found: Vec<_> = ledger(sessions)
                .breaks()
                .iter()
                .map(|one| {
                    let seconds = |at: Wall| at.as_millis() / 1_000;
                    (seconds(one.spoken_at), seconds(one.began_at), one.proven_at.map_or(-1, seconds))
                })
                .collect();
            assert_eq!(found, expected, "{sessions:?}");
        }
        assert_eq!(ledger(&[(7, 8, 9), (20, 20, -1)]).first_proven_at(), Some(Wall::from_millis(7_000)));
    }
}
