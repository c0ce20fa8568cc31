//! The loop itself: one turn after the other over a slab of connections and a packed array of their deadlines.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Token, Waker};

use super::Stream;
use super::buffers::SharedBuffers;
use super::connection::{Connection, Shared, slot_of};
use super::resolver::{Answer, Resolver};
use crate::domain::limits::{DEADLINE_SCAN_EVERY, POLL_EVENTS_MAX};
use crate::domain::{Clock, Mono, Now, Random};
use crate::stream::Session;

const WAKE: Token = Token(usize::MAX);

/// All streams of one thread.
pub(super) struct EventLoop {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    clock: Arc<dyn Clock>,
    random: Random,
    stop: Arc<AtomicBool>,
    is_stopping: bool,
    /// The slab; a slot is empty once its stream has stopped.
    connections: Vec<Option<Connection>>,
    /// Per slot, packed: a scan touches nothing else (facts/measurements.md, WebSocket §6).
    deadlines: Vec<Mono>,
    /// No deadline is earlier. Data moves deadlines later without moving this, the next scan does.
    earliest: Mono,
    next_scan: Mono,
    /// Slots that had more to read than a turn's share.
    ring: VecDeque<usize>,
    shared: Shared,
}

/// What happened to one stream.
enum Step<'e> {
    Ready(&'e Event),
    Read,
    Resolved(Answer),
    Deadline,
    Stop,
}

impl EventLoop {
    /// A loop for messages up to `max_message` bytes.
    pub fn new(
        max_message: usize,
        clock: Arc<dyn Clock>,
        random: Random,
        stop: Arc<AtomicBool>,
    ) -> io::Result<EventLoop> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let shared = Shared {
            registry: poll.registry().try_clone()?,
            buffers: SharedBuffers::new(max_message),
            resolver: Resolver::new(Arc::clone(&waker)),
            generation: 0,
        };
        Ok(EventLoop {
            poll,
            events: Events::with_capacity(POLL_EVENTS_MAX),
            waker,
            clock,
            random,
            stop,
            is_stopping: false,
            connections: Vec::new(),
            deadlines: Vec::new(),
            earliest: Mono::NEVER,
            next_scan: Mono::ZERO,
            ring: VecDeque::new(),
            shared,
        })
    }

    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Hosts one more stream, due at once.
    pub fn add(&mut self, stream: Stream) {
        let slot = self.connections.len();
        let session = Session::new(stream.config, self.random.fork(), self.clock.now().mono);
        self.deadlines.push(session.deadline());
        self.earliest = self.earliest.min(session.deadline());
        self.connections.push(Some(Connection::new(slot, session, stream.consumer)));
        self.shared.buffers.add(slot);
    }

    /// Turns until every stream has stopped.
    pub fn run(mut self) -> io::Result<()> {
        while self.connections.iter().any(Option::is_some) {
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        let timeout = self.poll_timeout(self.clock.now().mono);
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            outcome => outcome?,
        }
        let now = self.clock.now();
        // Taken out while the streams are stepped; an empty one allocates nothing.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            if event.token() != WAKE {
                self.step(slot_of(event.token()), Step::Ready(event), now);
            }
        }
        self.events = events;
        while let Some(answer) = self.shared.resolver.poll_answer() {
            self.step(answer.slot, Step::Resolved(answer), now);
        }
        for _ in 0..self.ring.len() {
            let slot = self.ring.pop_front().expect("as many as were counted");
            self.step(slot, Step::Read, now);
        }
        self.scan_deadlines(now);
        if !self.is_stopping && self.stop.load(Ordering::Acquire) {
            self.is_stopping = true;
            (0..self.connections.len()).for_each(|slot| self.step(slot, Step::Stop, now));
        }
        Ok(())
    }

    fn poll_timeout(&self, now: Mono) -> Option<Duration> {
        if !self.ring.is_empty() {
            return Some(Duration::ZERO);
        }
        (self.earliest < Mono::NEVER).then(|| self.earliest.max(self.next_scan).since(now))
    }

    /// At most ten times a second, and only when a deadline may be due.
    fn scan_deadlines(&mut self, now: Now) {
        if now.mono < self.earliest.max(self.next_scan) {
            return;
        }
        self.next_scan = now.mono.plus(DEADLINE_SCAN_EVERY);
        for slot in 0..self.deadlines.len() {
            if self.deadlines[slot] <= now.mono {
                self.step(slot, Step::Deadline, now);
            }
        }
        self.earliest = self.deadlines.iter().copied().min().unwrap_or(Mono::NEVER);
    }

    /// Steps one stream. A panic in it, or in its consumer, costs it its connection and nobody else anything.
    fn step(&mut self, slot: usize, step: Step<'_>, now: Now) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else { return };
        let shared = &mut self.shared;
        if matches!(step, Step::Read) {
            connection.in_ring = false;
        }
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            let consumer = &mut *connection.consumer;
            let has_more = match step {
                Step::Ready(event) => connection.handle_event(event, shared, now),
                Step::Read => connection.read(shared, now),
                Step::Resolved(Answer { attempt, outcome, .. }) => {
                    connection.session.handle_resolved(attempt, outcome, now, consumer);
                    false
                }
                Step::Deadline => {
                    connection.session.handle_deadline(now, consumer);
                    false
                }
                Step::Stop => {
                    connection.session.stop(now, consumer);
                    false
                }
            };
            connection.flush(now);
            connection.act(shared, now);
            has_more
        }));
        let has_more = stepped.unwrap_or_else(|_| {
            connection.close(shared);
            // The session is in its backoff before the consumer hears of it; one that panics on that too changes nothing.
            let _ = catch_unwind(AssertUnwindSafe(|| connection.session.handle_panic(now, &mut *connection.consumer)));
            connection.act(shared, now);
            false
        });
        if has_more && !connection.in_ring {
            connection.in_ring = true;
            self.ring.push_back(slot);
        }
        self.deadlines[slot] = connection.session.deadline();
        self.earliest = self.earliest.min(self.deadlines[slot]);
        if connection.session.is_stopped() {
            self.connections[slot] = None;
        }
    }
}
