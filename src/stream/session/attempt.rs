//! An attempt from its beginning to the TCP connection, and every deadline of a stream.

use std::net::SocketAddr;

use super::{Action, Session};
use crate::domain::limits::{ADDRESSES_TRIED_MAX, PAUSED_MAX};
use crate::domain::{Mono, Now};
use crate::stream::event::Consumer;
use crate::stream::fault::Cause;
use crate::stream::phase::Phase;

impl Session {
    pub(super) fn handle_phase_deadline(&mut self, now: Now, consumer: &mut dyn Consumer) {
        match &mut self.phase {
            Phase::Backoff { until } => {
                if now.mono >= *until && self.held.is_none() {
                    self.phase = Phase::Permit;
                    self.action = Some(Action::Permit);
                }
            }
            Phase::Permit => {}
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
            Phase::Live { since, heartbeat, .. } => {
                if let Some(slept) = self.slept {
                    self.fail(Cause::slept(&self.config.url, slept), now, consumer);
                } else if let Some(held) = self.held {
                    let paused = now.mono.since(held.since);
                    if paused >= PAUSED_MAX {
                        self.say_goodbye(Some(1000));
                        self.fail(Cause::paused(&self.config.url, paused), now, consumer);
                    }
                } else if let Some(heartbeat) = heartbeat
                    && let Some(missing) = heartbeat.missing(now.mono, self.bound)
                {
                    let cause = Cause::unanswered(&self.config.url, missing, heartbeat.silent(now.mono));
                    self.fail(cause, now, consumer);
                } else if now.mono >= self.data.connection_deadline(*since) {
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

    /// Whether the answer to [`Action::Permit`] is still wanted.
    #[must_use]
    pub fn awaits_permit(&self) -> bool {
        matches!(self.phase, Phase::Permit)
    }

    /// Whether an attempt is under way: from the lookup to the answered upgrade.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.is_attempting() || matches!(self.phase, Phase::Tls { .. } | Phase::Upgrading { .. })
    }

    /// Whether it has not led to a TCP connection yet.
    pub(super) fn is_attempting(&self) -> bool {
        matches!(self.phase, Phase::Resolving { .. } | Phase::Connecting { .. })
    }

    /// Whether the last attempt failed because nobody was there.
    #[must_use]
    pub fn is_unreached(&self) -> bool {
        self.is_unreached
    }

    /// TCP connections made since the start.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connection
    }

    /// The venue is reached again, by another stream: a wait that only says that nobody was there is over.
    pub fn handle_reachable(&mut self, now: Now) {
        if let Phase::Backoff { until } = &mut self.phase
            && self.is_unreached
        {
            *until = (*until).min(now.mono);
        }
    }

    /// The answer to [`Action::Permit`]: the attempt may begin, and is counted.
    pub fn handle_permit(&mut self, now: Now, consumer: &mut dyn Consumer) {
        self.notice(now);
        if self.awaits_permit() {
            self.begin_attempt(now, consumer);
        }
    }

    fn begin_attempt(&mut self, now: Now, consumer: &mut dyn Consumer) {
        self.attempts += 1;
        (self.is_unreached, self.slept) = (false, None);
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
