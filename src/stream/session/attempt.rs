//! An attempt from its beginning to the TCP connection, and every deadline of a stream.

use std::net::SocketAddr;

use super::{Action, Session};
use crate::domain::limits::ADDRESSES_TRIED_MAX;
use crate::domain::{Mono, Now};
use crate::stream::event::Consumer;
use crate::stream::fault::Cause;
use crate::stream::phase::Phase;

impl Session {
    pub(super) fn handle_phase_deadline(&mut self, now: Now, consumer: &mut dyn Consumer) {
        match &mut self.phase {
            Phase::Backoff { until } => {
                if now.mono >= *until {
                    self.begin_attempt(now, consumer);
                }
            }
            Phase::Connecting { deadline, address_deadline, last, .. }
                if now.mono >= *address_deadline && now.mono < *deadline =>
            {
                "no answer to the TCP connect".clone_into(last);
                self.connect_next(now, consumer);
            }
            Phase::Resolving { deadline }
            | Phase::Connecting { deadline, .. }
            | Phase::Tls { deadline, .. }
            | Phase::Upgrading { deadline, .. } => {
                if now.mono >= *deadline {
                    let peer = self.phase.link().map(|link| link.peer);
                    let (layer, after) = (self.phase.layer(), self.config.connect_deadline);
                    self.fail(Cause::timeout(&self.config.url, layer, after, peer), now, consumer);
                }
            }
            Phase::Live { since, .. } => {
                if now.mono >= self.data.connection_deadline(*since) {
                    let silent = self.data.silent(now.mono).min(now.mono.since(*since));
                    self.fail(Cause::silence(&self.config.url, silent), now, consumer);
                }
            }
            Phase::Closing { until, .. } => {
                if now.mono >= *until {
                    self.finish(now, consumer);
                }
            }
            Phase::Stopped => {}
        }
    }

    pub(super) fn begin_attempt(&mut self, now: Now, consumer: &mut dyn Consumer) {
        self.attempts += 1;
        let deadline = now.mono.plus(self.config.connect_deadline);
        if let Some(address) = self.config.url.address() {
            let addresses = vec![SocketAddr::new(address, self.config.url.port())];
            return self.begin_connect(deadline, addresses, now, consumer);
        }
        self.phase = Phase::Resolving { deadline };
        self.action = Some(Action::Resolve { attempt: self.attempts });
    }

    /// Each attempt begins one address further, so that one that takes TCP and then breaks does not block the others.
    pub(super) fn begin_connect(
        &mut self,
        deadline: Mono,
        mut addresses: Vec<SocketAddr>,
        now: Now,
        consumer: &mut dyn Consumer,
    ) {
        let first = self.backoff.attempt() as usize % addresses.len();
        addresses.rotate_left(first);
        addresses.truncate(ADDRESSES_TRIED_MAX);
        let last = String::new();
        self.phase = Phase::Connecting { deadline, address_deadline: deadline, addresses, next: 0, last };
        self.connect_next(now, consumer);
    }

    /// The addresses left share the time left.
    pub(super) fn connect_next(&mut self, now: Now, consumer: &mut dyn Consumer) {
        let Phase::Connecting { deadline, address_deadline, addresses, next, last } = &mut self.phase else { return };
        let Some(&address) = addresses.get(*next) else {
            let cause = Cause::unreachable(&self.config.url, addresses.len(), last);
            return self.fail(cause, now, consumer);
        };
        let left = u32::try_from(addresses.len() - *next).expect("a handful of addresses");
        *address_deadline = now.mono.plus(deadline.since(now.mono) / left);
        *next += 1;
        self.action = Some(Action::Connect(address));
    }
}
