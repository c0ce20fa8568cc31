//! The listening socket: who comes in, and what waits there for the next one.

use std::io;
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Interest, Token};

use crate::domain::limits::SIM_CONNECTIONS_MAX;
use crate::domain::{Mono, Now};

use super::connection::Connection;
use super::fault::FaultKind;
use super::ledger::Ending;
use super::server::{FIRST, LISTENER, Server};

/// For TLS and the first request.
const HANDSHAKE_MAX: Duration = Duration::from_secs(30);

/// Faults that wait for the next client at the door.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    pub(super) refuse_upgrade: Option<u16>,
    pub(super) glue_frames: bool,
    pub(super) slow_handshake: Option<Duration>,
    /// Nobody listens before this.
    pub(super) closed_until: Mono,
}

impl Door {
    /// Open, and nothing waits.
    pub(super) const fn open() -> Self {
        Door { refuse_upgrade: None, glue_frames: false, slow_handshake: None, closed_until: Mono::ZERO }
    }

    /// Nothing waits any more; a closed door opens at its time.
    pub(super) fn forget_faults(&mut self) {
        *self = Door { closed_until: self.closed_until, ..Door::open() };
    }
}

impl Server {
    /// Stops listening; live connections stay.
    pub(super) fn close_door(&mut self, until: Mono) {
        self.door.closed_until = until;
        if let Some(mut listener) = self.listener.take() {
            let _ = self.poll.registry().deregister(&mut listener);
        }
    }

    pub(super) fn open_door(&mut self) {
        // Somebody else may have taken the port; the next housekeeping tries again.
        let opened = TcpListener::bind(self.addr).and_then(|mut listener| {
            self.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
            Ok(listener)
        });
        match opened {
            Ok(listener) => self.listener = Some(listener),
            Err(error) => tracing::warn!(%error, addr = %self.addr, "the simulator cannot listen again yet"),
        }
    }

    pub(super) fn accept(&mut self, now: Now) {
        while let Some(listener) = &self.listener {
            let (socket, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    return;
                }
            };
            if self.connections.len() >= SIM_CONNECTIONS_MAX {
                tracing::warn!(%peer, "too many connections; this one is dropped");
                continue;
            }
            let id = self.next_id;
            self.next_id += 1;
            let _ = socket.set_nodelay(true);
            let deadline = (now.mono.plus(HANDSHAKE_MAX), Ending::TimedOut);
            let lives_until = now.mono.plus(self.config.connection_lifetime);
            let mut connection = match Connection::new(id, socket, peer, &self.tls, deadline, lives_until) {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::error!(%error, "a TLS connection cannot be made");
                    continue;
                }
            };
            let token = Token((id + FIRST) as usize);
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = self.poll.registry().register(connection.socket_mut(), token, interest) {
                tracing::error!(%error, "a socket cannot be registered");
                continue;
            }
            let mut ledger = self.shared.ledger.lock();
            ledger.connections_accepted += 1;
            if let Some(delay) = self.door.slow_handshake.take() {
                connection.asleep_until = now.mono.plus(delay);
                ledger.count_fault(FaultKind::SlowHandshake { delay });
            }
            drop(ledger);
            self.put_back(connection, now);
        }
    }
}
