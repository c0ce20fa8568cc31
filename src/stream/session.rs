//! One stream across its reconnects, without I/O: it is told what happened and what time it is.
//!
//! A shell (`crate::event_loop`) owns the socket and the buffers. It hands in outcomes (`handle_…`), then does what
//! [`Session::poll_action`] asks, sends what [`Session::transmit`] holds, and comes back at [`Session::deadline`]. Messages
//! and events go straight to the [`Consumer`], in the order in which they happen.
//!
//! What holds: it retries for ever, but never after [`Session::stop`]; a late answer to an earlier attempt changes
//! nothing; the wait starts from the beginning again only after proven health; a peer that reads nothing costs bounded
//! memory; while it is held no message is handed over and nobody is called silent; no byte of the wire panics. Wall time
//! is passed on to the consumer and decides nothing.

mod attempt;
mod beat;
mod live;
#[cfg(all(test, feature = "sim"))]
mod tests;
mod wish;

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use super::backoff::Backoff;
use super::client_queue::ClientQueue;
use super::config::SessionConfig;
use super::event::{Consumer, StreamEvent};
use super::fault::{Cause, Fault};
use super::liveness::DataClock;
use super::outbound::Outbound;
use super::phase::{Link, Phase};
use super::plain::PlainBuffer;
use super::tls::TlsClient;
use super::tls_error::TlsError;
use super::url::StreamUrl;
use crate::domain::limits::{CLOSE_ECHO_MAX, PAUSED_MAX, RETRY_AFTER_MAX, SPARSE_BACKSTOP};
use crate::domain::{Mono, Now, Random};

/// What the shell does next. Each ends the socket and the lookup that were there before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask whether an attempt of [`Session::class`] may begin, and answer with [`Session::handle_permit`] once it may.
    Permit,
    /// Look the URL's host up, afresh, and answer with [`Session::handle_resolved`].
    Resolve {
        /// To be given back with the answer.
        attempt: u64,
    },
    /// Connect, and answer with [`Session::handle_connected`] or [`Session::handle_io_error`].
    Connect(SocketAddr),
    /// Send what [`Session::transmit`] still holds as far as the socket takes it at once, then close.
    Close,
}

/// Who holds a stream back from reading. It reads when nobody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// For a reason of this stream alone: its share is used up.
    Own,
    /// For a reason that all streams have: no room at all.
    All,
}

/// What is left of the time when a stream is held.
#[derive(Clone, Copy, Debug)]
struct Held {
    since: Mono,
    own: bool,
    all: bool,
}

/// A stream across its reconnects. See the module's documentation.
pub struct Session {
    config: SessionConfig,
    random: Random,
    backoff: Backoff,
    data: DataClock,
    phase: Phase,
    action: Option<Action>,
    outbound: Outbound,
    queue: ClientQueue,
    held: Option<Held>,
    /// This venue answers pings of clients: pongs are owed.
    bound: bool,
    /// That has just been found out, and the shell does not know it yet.
    found_bound: bool,
    /// No activity is told before this.
    next_activity: Mono,
    /// Where a probe is written.
    probe: String,
    /// Attempts begun; tells a late lookup from this one's.
    attempts: u64,
    /// TCP connections made.
    connection: u64,
    /// The last time that was handed in.
    noticed: Mono,
    stopping: bool,
    is_ended: bool,
    /// The last attempt found nobody.
    is_unreached: bool,
    /// This process stood still so long that the venue has given up a connection of that time.
    slept: Option<Duration>,
    /// The venue turned this address away, for so long; the shell does not know it yet.
    turned_away: Option<Duration>,
}

impl Session {
    /// A stream whose first attempt is due at once.
    #[must_use]
    pub fn new(config: SessionConfig, random: Random, now: Mono) -> Session {
        Session {
            data: DataClock::start(config.liveness, now),
            bound: config.liveness.is_ping_answered(),
            config,
            random,
            backoff: Backoff::default(),
            phase: Phase::Backoff { until: now },
            action: None,
            outbound: Outbound::default(),
            queue: ClientQueue::default(),
            held: None,
            found_bound: false,
            next_activity: Mono::ZERO,
            probe: String::new(),
            attempts: 0,
            connection: 0,
            noticed: now,
            stopping: false,
            is_ended: false,
            is_unreached: false,
            slept: None,
            turned_away: None,
        }
    }

    /// Where the stream is.
    #[must_use]
    pub fn url(&self) -> &StreamUrl {
        &self.config.url
    }

    /// The phase's name, for people.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        self.phase.as_str()
    }

    /// Whether the stream has ended, after [`Session::stop`].
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_ended
    }

    /// For how long the venue has turned this source address away (418, 429), told once: no stream of it should connect.
    pub fn poll_turned_away(&mut self) -> Option<Duration> {
        self.turned_away.take()
    }

    /// What to do next, once.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.action.take()
    }

    /// When [`Session::handle_deadline`] is due. To be asked again after every other call.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        let phase = match &self.phase {
            Phase::Backoff { .. } if self.held.is_some() => Mono::NEVER,
            Phase::Backoff { until } | Phase::Closing { until, .. } => *until,
            Phase::Connecting { deadline, address_deadline, .. } => *deadline.min(address_deadline),
            Phase::Resolving { deadline } | Phase::Tls { deadline, .. } | Phase::Upgrading { deadline, .. } => {
                *deadline
            }
            Phase::Live { .. } if self.slept.is_some() => Mono::ZERO,
            Phase::Live { since, heartbeat, .. } => match self.held {
                Some(held) => held.since.plus(PAUSED_MAX),
                None => {
                    let beat = heartbeat.as_ref().map_or(Mono::NEVER, |heartbeat| heartbeat.deadline(self.bound));
                    self.data.connection_deadline(*since).min(beat).min(self.queue.deadline())
                }
            },
            Phase::Permit | Phase::Stopped => Mono::NEVER,
        };
        if self.stopping || self.held.is_some() { phase } else { phase.min(self.data.escalation_deadline()) }
    }

    /// Bytes for the socket, in order.
    #[must_use]
    pub fn transmit(&self) -> &[u8] {
        self.outbound.unsent()
    }

    /// The socket took the first `n` bytes of [`Session::transmit`]. A pong that had to wait may follow.
    pub fn handle_sent(&mut self, n: usize, now: Now, consumer: &mut dyn Consumer) {
        self.outbound.handle_sent(n);
        if let Phase::Live { link, .. } = &mut self.phase {
            match self.outbound.flush_pong(&mut link.tls, &mut self.random) {
                Ok(false) => {}
                Ok(true) => self.queue.handle_spoken(now.mono),
                Err(error) => self.fail_tls(&error, now, consumer),
            }
        }
    }

    /// The answer to [`Action::Resolve`]: addresses in the order in which they are to be tried.
    pub fn handle_resolved(
        &mut self,
        attempt: u64,
        outcome: io::Result<Vec<SocketAddr>>,
        now: Now,
        consumer: &mut dyn Consumer,
    ) {
        self.notice(now);
        let Phase::Resolving { deadline } = self.phase else { return };
        if attempt != self.attempts {
            return;
        }
        match outcome {
            Ok(addresses) if !addresses.is_empty() => self.begin_connect(deadline, addresses, now, consumer),
            Ok(_) => {
                let none = io::Error::new(io::ErrorKind::NotFound, "the answer is empty");
                self.fail(Cause::unresolved(&self.config.url, &none), now, consumer);
            }
            Err(error) => self.fail(Cause::unresolved(&self.config.url, &error), now, consumer),
        }
    }

    /// TCP is up.
    pub fn handle_connected(&mut self, plain: &mut PlainBuffer, now: Now, consumer: &mut dyn Consumer) {
        self.notice(now);
        let Phase::Connecting { deadline, ref addresses, next, .. } = self.phase else { return };
        let peer = addresses[next - 1];
        self.connection += 1;
        self.outbound.clear();
        self.queue.clear();
        self.next_activity = Mono::ZERO;
        let hello = TlsClient::new(&self.config.tls, self.config.url.server_name().clone()).and_then(|mut tls| {
            tls.read(&mut [], plain, self.outbound.cipher())?;
            Ok(tls)
        });
        match hello {
            Ok(tls) => self.phase = Phase::Tls { deadline, link: Box::new(Link { peer, tls }) },
            Err(error) => self.fail(Cause::tls(&self.config.url, peer, false, &error), now, consumer),
        }
    }

    /// Connecting, reading or writing failed.
    pub fn handle_io_error(&mut self, error: &io::Error, now: Now, consumer: &mut dyn Consumer) {
        self.notice(now);
        if let Phase::Connecting { last, .. } = &mut self.phase {
            *last = error.to_string();
            return self.connect_next(now, consumer);
        }
        self.cut(Some(error), now, consumer);
    }

    /// The peer ended TCP, or TLS.
    pub fn handle_eof(&mut self, now: Now, consumer: &mut dyn Consumer) {
        self.notice(now);
        self.cut(None, now, consumer);
    }

    /// Ciphertext arrived: `cipher` is what was left over and what is new. `plain` holds what this connection left in it.
    /// Returns how many bytes are done with; the rest must stand in front of the next call's.
    pub fn handle_bytes(
        &mut self,
        cipher: &mut [u8],
        plain: &mut PlainBuffer,
        now: Now,
        consumer: &mut dyn Consumer,
    ) -> usize {
        self.notice(now);
        let mut done = 0;
        loop {
            let Some(link) = self.phase.link_mut() else { return cipher.len() };
            let progress = link.tls.read(&mut cipher[done..], plain, self.outbound.cipher());
            // Also before a failure: what was decrypted until then is good.
            self.handle_plain(plain, now, consumer);
            let progress = match progress {
                Ok(progress) => progress,
                Err(error) => {
                    self.fail_tls(&error, now, consumer);
                    return cipher.len();
                }
            };
            done += progress.consumed;
            if self.phase.link().is_none() {
                return cipher.len();
            }
            if !self.wants_read() {
                // What is decrypted and not handed over comes first when reading is taken up again; then the peer's end.
                return done;
            }
            if progress.peer_closed {
                self.cut(None, now, consumer);
            } else if self.outbound.is_stuck() {
                self.fail(Cause::blocked(&self.config.url), now, consumer);
            }
            if self.phase.link().is_none() {
                return cipher.len();
            }
            if progress.consumed == 0 || done == cipher.len() {
                self.pump(now, consumer);
                return if self.phase.link().is_none() { cipher.len() } else { done };
            }
        }
    }

    /// Time has passed; to be called at [`Session::deadline`] or later, earlier calls change nothing.
    pub fn handle_deadline(&mut self, now: Now, consumer: &mut dyn Consumer) {
        self.notice(now);
        self.handle_phase_deadline(now, consumer);
        self.pump(now, consumer);
        if !self.stopping
            && self.held.is_none()
            && let Some(silent) = self.data.poll_escalation(now.mono)
        {
            let event = StreamEvent::DataSilence { silent, attempt: self.backoff.attempt() };
            consumer.handle_event(&event, now);
            self.serve(now, consumer);
        }
    }

    /// Ends the stream: a live connection says goodbye and waits [`CLOSE_ECHO_MAX`] for the echo, any other state ends at
    /// once, and so does a held one: nobody would hear the echo. Nothing that is under way can bring it back.
    pub fn stop(&mut self, now: Now, consumer: &mut dyn Consumer) {
        self.notice(now);
        if mem::replace(&mut self.stopping, true) {
            return;
        }
        if self.held.is_some() {
            self.say_goodbye(Some(1000));
            return self.finish(now, consumer);
        }
        match mem::replace(&mut self.phase, Phase::Stopped) {
            Phase::Live { mut link, frames, .. } => {
                let until = now.mono.plus(CLOSE_ECHO_MAX);
                let said = self.outbound.close(Some(1000), &mut link.tls, &mut self.random);
                self.phase = Phase::Closing { link, frames, until };
                if said.is_err() {
                    self.finish(now, consumer);
                }
            }
            _ => self.finish(now, consumer),
        }
    }

    /// The shell caught a panic while it stepped this session: the connection's state is not to be trusted any more.
    pub fn handle_panic(&mut self, now: Now, consumer: &mut dyn Consumer) {
        self.outbound = Outbound::default();
        self.queue.clear();
        if self.is_ended {
            return self.action = Some(Action::Close);
        }
        self.fail(Cause::panic(&self.config.url), now, consumer);
    }

    fn fail_tls(&mut self, error: &TlsError, now: Now, consumer: &mut dyn Consumer) {
        let Some(peer) = self.phase.link().map(|link| link.peer) else { return };
        let live = matches!(self.phase, Phase::Live { .. } | Phase::Closing { .. });
        self.fail(Cause::tls(&self.config.url, peer, live, error), now, consumer);
    }

    /// TCP or TLS ended where we did not end it.
    fn cut(&mut self, error: Option<&io::Error>, now: Now, consumer: &mut dyn Consumer) {
        let Some(peer) = self.phase.link().map(|link| link.peer) else { return };
        self.fail(Cause::cut(&self.config.url, peer, self.phase.layer(), error), now, consumer);
    }

    /// The only way back to the backoff: one place decides that there is another attempt.
    fn fail(&mut self, cause: Cause, now: Now, consumer: &mut dyn Consumer) {
        if self.stopping {
            return self.finish(now, consumer);
        }
        // A wait that the server asks for is kept, a longer one of our own too.
        self.turned_away = cause.turns_away().or(self.turned_away);
        self.is_unreached = self.is_attempting();
        let retry_in = self.backoff.next_delay(&mut self.random).max(cause.wait.min(RETRY_AFTER_MAX));
        self.phase = Phase::Backoff { until: now.mono.plus(retry_in) };
        self.action = Some(Action::Close);
        let Cause { layer, kind, status, text, .. } = cause;
        let fault = Fault { layer, kind, status, text, attempt: self.backoff.attempt(), retry_in };
        consumer.handle_event(&StreamEvent::Fault(fault), now);
        self.serve(now, consumer);
    }

    fn finish(&mut self, now: Now, consumer: &mut dyn Consumer) {
        if let Some(Link { tls, .. }) = self.phase.link_mut() {
            tls.close(self.outbound.cipher());
        }
        self.phase = Phase::Stopped;
        self.is_ended = true;
        self.action = Some(Action::Close);
        consumer.handle_event(&StreamEvent::Stopped, now);
    }

    /// Every hand-in passes here first: a standstill of ours is no silence of theirs.
    fn notice(&mut self, now: Now) {
        let due = self.deadline().max(self.noticed);
        self.noticed = now.mono;
        let late = now.mono.since(due);
        if late >= SPARSE_BACKSTOP && matches!(self.phase, Phase::Live { heartbeat: Some(_), .. }) {
            self.slept = Some(late);
        }
        let stood_still = self.data.forgive_standstill(due, now.mono);
        if stood_still && let Phase::Live { heartbeat: Some(heartbeat), .. } = &mut self.phase {
            heartbeat.restart(now.mono);
        }
    }
}
