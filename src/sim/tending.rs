//! Deadlines, pings and wake-ups of connections, by a timer for each: an idle socket costs nothing per turn.

use tungstenite::protocol::frame::coding::CloseCode;

use crate::domain::{Mono, Now};

use super::connection::{Connection, Phase};
use super::ledger::Ending;
use super::server::{CLOSE_MAX, Server};

impl Server {
    /// Back into the table, and into the timers for when it wants to be looked at.
    pub(super) fn put_back(&mut self, mut connection: Connection, now: Now) {
        if let (Some(farewell), (Mono::NEVER, _)) = (connection.farewell, connection.deadline) {
            connection.deadline = (now.mono.plus(CLOSE_MAX), farewell.ending);
        }
        if connection.half_open.is_none() && connection.asleep_until > now.mono {
            // Nothing can be expected of a client that has not been answered.
            connection.deadline.0 = connection.deadline.0.max(connection.asleep_until.plus(CLOSE_MAX));
        }
        self.timers.enter(connection.id, connection.due(), &mut connection.timer);
        self.connections.insert(connection.id, connection);
    }

    /// Looks at those whose time has come.
    pub(super) fn tend(&mut self, now: Now) {
        let mut due = Vec::new();
        while let Some(entry) = self.timers.poll(now.mono) {
            due.push(entry);
        }
        for (at, id) in due {
            let Some(mut connection) = self.connections.remove(&id) else { continue };
            if connection.timer != at {
                self.connections.insert(id, connection);
                continue;
            }
            connection.timer = Mono::NEVER;
            self.attend(connection, now);
        }
    }

    fn attend(&mut self, mut connection: Connection, now: Now) {
        let (deadline, ending) = connection.deadline;
        if now.mono >= deadline {
            return self.finish(connection, ending);
        }
        if now.mono >= connection.lives_until {
            return self.finish(connection, Ending::Lifetime);
        }
        if connection.asleep_until != Mono::ZERO && now.mono >= connection.asleep_until {
            connection.asleep_until = Mono::ZERO;
        }
        if now.mono >= connection.deaf_until {
            connection.deaf_until = Mono::ZERO;
        }
        let rules = self.rules;
        if let (Phase::WebSocket(side), Mono::ZERO) = (&mut connection.phase, connection.asleep_until) {
            if side.is_pong_overdue(now.mono) {
                side.close(CloseCode::Policy, "Pong timeout");
                connection.deadline = (now.mono.plus(CLOSE_MAX), Ending::PongTimeout);
            } else if side.poll_ping(&rules, now.mono, now.wall.as_millis()) {
                self.shared.ledger.lock().pings_sent += 1;
            }
        }
        let id = connection.id;
        self.connections.insert(id, connection);
        self.step(id, now);
    }

    /// Whether a connection does not read, for longer than a moment.
    pub(super) fn is_asleep(&self, id: u64) -> bool {
        self.connections
            .get(&id)
            .is_some_and(|connection| connection.asleep_until == Mono::NEVER || connection.deaf_until != Mono::ZERO)
    }

    /// The client has given up on a half-open socket.
    pub(super) fn bury(&mut self, id: u64) {
        if let Some(connection) = self.connections.remove(&id) {
            let ending = connection.half_open.map_or(Ending::ClientGone, Ending::AccountFault);
            self.finish(connection, ending);
        }
    }
}
