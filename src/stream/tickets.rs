//! TLS sessions to resume, so that a reconnect costs one signature less on either side.
//!
//! rustls' own store keeps eight tickets per server name, so a storm of reconnects would be full handshakes for all
//! accounts but eight. This one is sized to the connections. Every bound holds whatever a server sends: newest tickets
//! push out the oldest, and newest names the oldest. Tickets are secrets: they are never printed, and live in memory only.

use std::collections::VecDeque;
use std::fmt;

use parking_lot::Mutex;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use crate::domain::limits::TLS_SERVER_NAMES_MAX;

/// Tickets of all servers that one TLS configuration talks to.
pub struct TicketStore {
    per_server: usize,
    /// Oldest name first.
    servers: Mutex<VecDeque<Server>>,
}

struct Server {
    name: ServerName<'static>,
    key_exchange: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    /// Oldest first. A TLS 1.3 ticket is used once (RFC 8446 §C.4).
    tls13: VecDeque<Tls13ClientSessionValue>,
}

impl TicketStore {
    /// A store of `per_server` TLS 1.3 tickets for each server name; with 0 no session is ever resumed.
    #[must_use]
    pub fn new(per_server: usize) -> Self {
        TicketStore { per_server, servers: Mutex::new(VecDeque::new()) }
    }

    /// Tickets held now, of all servers.
    #[must_use]
    pub fn held(&self) -> usize {
        self.servers.lock().iter().map(|server| server.tls13.len() + usize::from(server.tls12.is_some())).sum()
    }

    fn read<T>(&self, name: &ServerName<'_>, read: impl FnOnce(&mut Server) -> Option<T>) -> Option<T> {
        self.servers.lock().iter_mut().find(|server| server.name == *name).and_then(read)
    }

    fn change(&self, name: ServerName<'static>, change: impl FnOnce(&mut Server)) {
        let mut servers = self.servers.lock();
        let at = servers.iter().position(|server| server.name == name).unwrap_or_else(|| {
            if servers.len() == TLS_SERVER_NAMES_MAX {
                servers.pop_front();
            }
            servers.push_back(Server { name, key_exchange: None, tls12: None, tls13: VecDeque::new() });
            servers.len() - 1
        });
        change(&mut servers[at]);
    }
}

impl ClientSessionStore for TicketStore {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.change(name, |server| server.key_exchange = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.read(name, |server| server.key_exchange)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        if self.per_server > 0 {
            self.change(name, |server| server.tls12 = Some(value));
        }
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.read(name, |server| server.tls12.clone())
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.read(name, |server| server.tls12.take());
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        if self.per_server == 0 {
            return;
        }
        let per_server = self.per_server;
        self.change(name, |server| {
            if server.tls13.len() >= per_server {
                server.tls13.pop_front();
            }
            server.tls13.push_back(value);
        });
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.read(name, |server| server.tls13.pop_back())
    }
}

impl fmt::Debug for TicketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketStore").field("per_server", &self.per_server).field("held", &self.held()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_the_oldest_goes_first() {
        let store = TicketStore::new(4);
        let name = |n: usize| ServerName::try_from(format!("host-{n}.example")).unwrap();
        for n in 0..TLS_SERVER_NAMES_MAX + 3 {
            store.set_kx_hint(name(n), NamedGroup::X25519);
            store.set_kx_hint(name(n), NamedGroup::secp256r1);
        }
        assert_eq!(store.servers.lock().len(), TLS_SERVER_NAMES_MAX);
        assert_eq!(store.kx_hint(&name(2)), None);
        assert_eq!(store.kx_hint(&name(3)), Some(NamedGroup::secp256r1));
        assert!(store.take_tls13_ticket(&name(3)).is_none());
    }
}
