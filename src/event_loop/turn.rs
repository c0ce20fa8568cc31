//! The loop itself: one turn after the other over a slab of connections and a packed array of their deadlines.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Receiver;
use mio::event::Event;
use mio::{Events, Poll, Token, Waker};

use super::buffers::SharedBuffers;
use super::connect_queue::ConnectQueue;
use super::connection::{Connection, Counted, Outcome, Shared, slot_of};
use super::control::{self, Command, LoopControl};
use super::resolver::{Answer, Resolver};
use super::slab::Slab;
use super::{LoopConfig, Stream};
use crate::domain::limits::{DEADLINE_SCAN_EVERY, LOOP_COMMANDS_MAX, POLL_EVENTS_MAX};
use crate::domain::{Clock, Mono, Now, Random};
use crate::stream::{ConnectClass, ConnectGate, Hold, Pace, Permit, Session, StreamUrl};

const WAKE: Token = Token(usize::MAX);

/// All streams of one thread.
pub(super) struct EventLoop {
    poll: Poll,
    events: Events,
    clock: Arc<dyn Clock>,
    random: Random,
    stop: Arc<AtomicBool>,
    is_stopping: bool,
    max_message: usize,
    gate: Arc<dyn ConnectGate>,
    commands: Receiver<Command>,
    /// All streams are paused, also those that come.
    is_paused: bool,
    slab: Slab,
    /// No deadline is earlier. Data moves deadlines later without moving this, the next scan does.
    earliest: Mono,
    next_scan: Mono,
    /// Slots that had more to read than a turn's share.
    ring: VecDeque<usize>,
    /// Hosts that are known to answer pings of clients: a handful of venues.
    answering: Vec<String>,
    /// Of the gate, as far as the streams know.
    recoveries: u64,
    shared: Shared,
}

/// What happened to one stream.
enum Step<'e> {
    Ready(&'e Event),
    Read,
    Resolved(Answer),
    Deadline,
    Permitted,
    Pause(Hold),
    Resume(Hold),
    Reconnect(Option<StreamUrl>, Pace),
    SendText(String),
    SetClass(ConnectClass),
    PingAnswered,
    Reachable,
    Overflow,
    Stop,
}

impl EventLoop {
    /// A loop without streams, and its remote control.
    pub fn new(
        config: LoopConfig,
        clock: Arc<dyn Clock>,
        random: Random,
        stop: Arc<AtomicBool>,
    ) -> io::Result<(EventLoop, LoopControl)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let shared = Shared {
            registry: poll.registry().try_clone()?,
            buffers: SharedBuffers::new(config.max_message, config.parking_pool),
            resolver: Resolver::new(Arc::clone(&waker)),
            connects: ConnectQueue::default(),
            generation: 0,
        };
        let (control, commands) = control::channel(waker);
        let event_loop = EventLoop {
            poll,
            events: Events::with_capacity(POLL_EVENTS_MAX),
            clock,
            random,
            stop,
            is_stopping: false,
            max_message: config.max_message,
            gate: config.gate,
            commands,
            is_paused: false,
            slab: Slab::default(),
            earliest: Mono::NEVER,
            next_scan: Mono::ZERO,
            ring: VecDeque::new(),
            answering: Vec::new(),
            recoveries: 0,
            shared,
        };
        Ok((event_loop, control))
    }

    /// Hosts one more stream under `key`, which is free; due at once.
    pub fn add(&mut self, key: u64, stream: Stream) {
        let now = self.clock.now();
        let Stream { mut config, consumer } = stream;
        config.max_message = config.max_message.min(self.max_message);
        let mut session = Session::new(config, self.random.fork(), now.mono);
        if self.is_paused {
            session.pause(Hold::All, now);
        }
        let id = self.slab.next_id();
        self.shared.buffers.add(id.slot);
        let deadline = session.deadline();
        self.slab.insert(key, Connection::new(id, key, session, consumer));
        self.slab.set_deadline(id.slot, deadline);
        self.earliest = self.earliest.min(deadline);
        self.learn(id.slot, now);
    }

    /// Turns until it is told to stop and every stream has.
    pub fn run(mut self) -> io::Result<()> {
        while !(self.is_stopping && self.slab.hosted() == 0) {
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
            let stream = answer.stream;
            if self.slab.at(stream.slot).is_some_and(|connection| connection.id == stream) {
                self.step(stream.slot, Step::Resolved(answer), now);
            }
        }
        for _ in 0..self.ring.len() {
            let slot = self.ring.pop_front().expect("as many as were counted");
            self.step(slot, Step::Read, now);
        }
        for _ in 0..LOOP_COMMANDS_MAX {
            let Ok(command) = self.commands.try_recv() else { break };
            self.obey(command, now);
        }
        let recoveries = self.gate.recoveries();
        if recoveries != self.recoveries {
            self.recoveries = recoveries;
            self.step_all(|| Step::Reachable, now);
        }
        self.scan_deadlines(now);
        self.grant_permits(now);
        while let Some(slot) = self.shared.buffers.poll_cut() {
            self.step(slot, Step::Overflow, now);
        }
        if !self.is_stopping && self.stop.load(Ordering::Acquire) {
            self.is_stopping = true;
            self.step_all(|| Step::Stop, now);
        }
        Ok(())
    }

    fn poll_timeout(&self, now: Mono) -> Option<Duration> {
        if !self.ring.is_empty() || !self.commands.is_empty() {
            return Some(Duration::ZERO);
        }
        let scan = if self.earliest < Mono::NEVER { self.earliest.max(self.next_scan) } else { Mono::NEVER };
        let due = scan.min(self.shared.connects.deadline());
        (due < Mono::NEVER).then(|| due.since(now))
    }

    fn obey(&mut self, command: Command, now: Now) {
        let (key, step) = match command {
            Command::Add { key, stream } => {
                if let Some(slot) = self.slab.take_key(key) {
                    self.step(slot, Step::Stop, now);
                }
                if !self.is_stopping {
                    self.add(key, *stream);
                }
                return;
            }
            Command::Remove { key } => {
                if let Some(slot) = self.slab.take_key(key) {
                    self.step(slot, Step::Stop, now);
                }
                return;
            }
            Command::PauseAll => {
                self.is_paused = true;
                return self.step_all(|| Step::Pause(Hold::All), now);
            }
            Command::ResumeAll => {
                self.is_paused = false;
                return self.step_all(|| Step::Resume(Hold::All), now);
            }
            Command::Pause { key } => (key, Step::Pause(Hold::Own)),
            Command::Resume { key } => (key, Step::Resume(Hold::Own)),
            Command::Reconnect { key, url, pace } => (key, Step::Reconnect(url.map(|url| *url), pace)),
            Command::SendText { key, text } => (key, Step::SendText(text)),
            Command::SetClass { key, class } => (key, Step::SetClass(class)),
        };
        if let Some(slot) = self.slab.slot_of_key(key) {
            let goes_elsewhere = matches!(step, Step::Reconnect(Some(_), _));
            self.step(slot, step, now);
            if goes_elsewhere {
                self.learn(slot, now);
            }
        }
    }

    fn step_all<'e>(&mut self, step: impl Fn() -> Step<'e>, now: Now) {
        (0..self.slab.slots()).for_each(|slot| self.step(slot, step(), now));
    }

    /// At most ten times a second, and only when a deadline may be due.
    fn scan_deadlines(&mut self, now: Now) {
        if now.mono < self.earliest.max(self.next_scan) {
            return;
        }
        self.next_scan = now.mono.plus(DEADLINE_SCAN_EVERY);
        for slot in 0..self.slab.slots() {
            if self.slab.deadline(slot) <= now.mono {
                self.step(slot, Step::Deadline, now);
            }
        }
        self.earliest = self.slab.earliest();
    }

    /// Lets those begin their attempt whose turn it is, the most important class first.
    fn grant_permits(&mut self, now: Now) {
        for class in ConnectClass::ALL {
            while let Some(stream) = self.shared.connects.head(class, now.mono) {
                let connection = self.slab.at(stream.slot).filter(|connection| connection.id == stream);
                let Some(connection) = connection.filter(|connection| connection.queued == Some(class)) else {
                    self.shared.connects.pop(class);
                    continue;
                };
                let is_wanted = connection.session.awaits_permit();
                if is_wanted && let Permit::At(at) = self.gate.permit(class, now) {
                    self.shared.connects.hold_back(class, at, now.mono);
                    break;
                }
                connection.queued = None;
                self.shared.connects.pop(class);
                if is_wanted {
                    let connections = connection.session.connections();
                    connection.counted = Some(Counted { class, at: now.mono, connections });
                    self.step(stream.slot, Step::Permitted, now);
                }
            }
        }
    }

    /// Tells one stream what is known about its host.
    fn learn(&mut self, slot: usize, now: Now) {
        let Some(connection) = self.slab.at(slot) else { return };
        if self.answering.iter().any(|host| host == connection.session.url().host()) {
            self.step(slot, Step::PingAnswered, now);
        }
    }

    /// The host of `slot` answers pings of clients: all its streams should know. Once per host.
    fn spread(&mut self, slot: usize, now: Now) {
        let Some(connection) = self.slab.at(slot) else { return };
        let host = connection.session.url().host().to_owned();
        if !self.answering.contains(&host) {
            self.answering.push(host);
            (0..self.slab.slots()).for_each(|slot| self.learn(slot, now));
        }
    }

    /// Steps one stream. A panic in it, or in its consumer, costs it its connection and nobody else anything.
    fn step(&mut self, slot: usize, step: Step<'_>, now: Now) {
        let Some(connection) = self.slab.at(slot) else { return };
        let shared = &mut self.shared;
        if matches!(step, Step::Read) {
            connection.in_ring = false;
        }
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            let has_more = connection.handle_step(step, shared, now);
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
        let deadline = connection.session.deadline();
        let is_over = connection.session.is_stopped();
        let has_learned = connection.session.poll_ping_answered();
        if let Some(pause) = connection.session.poll_turned_away() {
            self.gate.hold(pause, now);
        }
        match connection.poll_outcome() {
            None => {}
            Some(Outcome::Reached(Counted { class, at, .. })) => self.gate.handle_reached(class, at, now),
            Some(Outcome::Unreached(Counted { class, at, .. })) => self.gate.handle_unreached(class, at, now),
        }
        self.slab.set_deadline(slot, deadline);
        self.earliest = self.earliest.min(deadline);
        if is_over {
            self.end(slot);
        } else if has_learned {
            self.spread(slot, now);
        }
    }

    /// Frees the slot of a stream that has ended. A consumer that panics while it is dropped harms nobody.
    fn end(&mut self, slot: usize) {
        self.shared.buffers.release(slot);
        let _ = catch_unwind(AssertUnwindSafe(|| self.slab.remove(slot)));
    }
}

impl Connection {
    /// Hands `step` to the session. Returns whether there is something to read.
    fn handle_step(&mut self, step: Step<'_>, shared: &mut Shared, now: Now) -> bool {
        let (session, consumer) = (&mut self.session, &mut *self.consumer);
        match step {
            Step::Ready(event) => return self.handle_event(event, shared, now),
            Step::Read => return self.read(shared, now),
            Step::Resume(hold) => {
                session.resume(hold, now);
                return self.resume(shared, now);
            }
            Step::Resolved(Answer { attempt, outcome, .. }) => session.handle_resolved(attempt, outcome, now, consumer),
            Step::Deadline => session.handle_deadline(now, consumer),
            Step::Permitted => session.handle_permit(now, consumer),
            Step::Pause(hold) => session.pause(hold, now),
            Step::Reconnect(url, pace) => session.reconnect(url, pace, now, consumer),
            Step::SendText(text) => session.send_text(text, now, consumer),
            Step::SetClass(class) => {
                session.set_class(class);
                self.queue_up(shared);
            }
            Step::PingAnswered => session.handle_ping_answered(now),
            Step::Reachable => session.handle_reachable(now),
            Step::Overflow => session.handle_overflow(now, consumer),
            Step::Stop => session.stop(now, consumer),
        }
        false
    }
}
