//! The loop: accepts, reads, routes, ticks, writes. One thread, one poll, any number of sockets.
//!
//! A connection is taken out of the table while it is stepped and put back if it lives on, so that a step may use
//! everything else of the server.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::{Condvar, Mutex};
use rustls::ServerConfig;

use crate::domain::limits::SIM_FAULTS_WAITING_MAX;
use crate::domain::time::SystemClock;
use crate::domain::{Clock, Mono, Now, Random, Wall};

use super::connection::{Connection, Mark, ReadEnd};
use super::cross_listing::CrossListing;
use super::door::Door;
use super::fault::{FaultKind, Script};
use super::gate::Gate;
use super::ledger::{Ending, Ledger};
use super::listing::Listed;
use super::pace::Pace;
use super::private::Accounts;
use super::private::side::PrivateRules;
use super::timers::Timers;
use super::venue::{FrameRecord, Market};
use super::websocket::Rules;
use super::{Command, Shared, SimConfig};

pub(super) const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
/// Connection `id` has token `id + FIRST`.
pub(super) const FIRST: u64 = 2;
/// How often the door is looked at.
const HOUSEKEEPING: Duration = Duration::from_millis(100);
/// For the client's answer to a close frame.
pub(super) const CLOSE_MAX: Duration = Duration::from_secs(2);

/// The simulator's loop and everything it owns.
pub(super) struct Server {
    pub(super) config: SimConfig,
    pub(super) rules: Rules,
    /// The same for private connections.
    pub(super) private_rules: Rules,
    pub(super) market: Market,
    pub(super) random: Random,
    pub(super) connections: BTreeMap<u64, Connection>,
    /// Those that may take prices.
    pub(super) takers: BTreeSet<u64>,
    pub(super) timers: Timers,
    pub(super) gate: Gate,
    pub(super) pace: Pace,
    /// Accounts with faults that wait for a connection.
    pub(super) faulty: BTreeSet<usize>,
    pub(super) door: Door,
    pub(super) faults: VecDeque<FaultKind>,
    pub(super) ticks: Ticks,
    pub(super) shared: Arc<Shared>,
    script: Option<(Mono, Script)>,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) poll: Poll,
    waker: Arc<Waker>,
    pub(super) listener: Option<TcpListener>,
    pub(super) addr: SocketAddr,
    commands: Receiver<Command>,
    clock: SystemClock,
    pub(super) next_id: u64,
    housekeeping_at: Mono,
    again: Vec<u64>,
    plain: Vec<u8>,
}

/// When the next frames are due, and what the last ones were.
pub(super) struct Ticks {
    pub(super) next: Mono,
    /// The second frame of the tick; never while the first is due.
    pub(super) second: Mono,
    pub(super) count: u64,
    pub(super) last_event_ms: i64,
    /// The tick of the newest fault: the next one comes a tick later, so that a client gets to see each.
    pub(super) last_fault: u64,
    /// Body and record of the previous ordinary frame.
    pub(super) previous: Option<(Vec<u8>, Arc<FrameRecord>)>,
    /// Frames from this number on carry frozen prices.
    pub(super) frozen_from: Option<u64>,
}

impl Server {
    pub(super) fn bind(config: SimConfig, tls: Arc<ServerConfig>, commands: Receiver<Command>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, config.port)))?;
        let addr = listener.local_addr()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let market = Market::new(config.seed, config.symbols, config.narrow_columns);
        let ledger = Ledger::new(market.listed().len());
        let rules = Rules {
            ping_interval: config.ping_interval,
            pong_deadline: config.pong_deadline,
            messages_per_second: config.messages_per_second,
            private: PrivateRules {
                spellings: config.accounts.spellings,
                lists_unknown_keys: config.accounts.lists_unknown_keys,
                lists_dead_keys: config.accounts.lists_dead_keys,
            },
        };
        let private_rules = Rules { messages_per_second: config.accounts.messages_per_second, ..rules };
        let accounts = Accounts::new(config.accounts.clone(), config.seed, &market);
        let clock = SystemClock::start();
        let mut pace = Pace::new(config.accounts.frames_per_second);
        if config.accounts.trades_unheard {
            pace.wake(clock.now().mono);
        }
        let ticks = Ticks {
            next: clock.now().mono.plus(config.tick),
            second: Mono::NEVER,
            count: 0,
            last_event_ms: 0,
            last_fault: 0,
            previous: None,
            frozen_from: None,
        };
        Ok(Server {
            rules,
            private_rules,
            market,
            random: Random::from_seed(config.seed ^ 0x0d15_ea5e),
            connections: BTreeMap::new(),
            takers: BTreeSet::new(),
            timers: Timers::default(),
            gate: Gate::new(config.connects, config.weight),
            pace,
            faulty: BTreeSet::new(),
            door: Door::open(),
            faults: VecDeque::new(),
            ticks,
            shared: Arc::new(Shared {
                ledger: Mutex::new(ledger),
                settled: Condvar::new(),
                accounts: Mutex::new(accounts),
                delivered: Condvar::new(),
            }),
            script: None,
            config,
            tls,
            poll,
            waker,
            listener: Some(listener),
            addr,
            commands,
            clock,
            next_id: 1,
            housekeeping_at: Mono::ZERO,
            again: Vec::new(),
            plain: Vec::new(),
        })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    pub(super) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    pub(super) fn listed(&self) -> Vec<Listed> {
        self.market.listed().to_vec()
    }

    pub(super) fn cross(&self) -> Vec<CrossListing> {
        self.market.cross().to_vec()
    }

    /// By the venue's clock.
    fn now(&self) -> Now {
        let now = self.clock.now();
        let ahead = self.config.clock_ahead_ms.saturating_mul(1_000);
        Now { wall: Wall::from_micros(now.wall.as_micros().saturating_add(ahead)), ..now }
    }

    /// Until told to stop.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(1_024);
        loop {
            let timeout = self.timeout(self.clock.now().mono);
            match self.poll.poll(&mut events, Some(timeout)) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "the simulator cannot poll and stops");
                    break;
                }
            }
            let now = self.now();
            if !self.handle_commands(now) {
                break;
            }
            // At once, so that whoever connects after `inject` has returned meets the fault at the door.
            self.apply_faults(now);
            for id in std::mem::take(&mut self.again) {
                self.step(id, now);
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(now),
                    WAKER => {}
                    Token(token) => {
                        let id = token as u64 - FIRST;
                        if event.is_read_closed() && self.is_asleep(id) {
                            self.bury(id);
                        } else {
                            self.step(id, now);
                        }
                    }
                }
            }
            self.handle_time(now);
        }
        for (_, connection) in std::mem::take(&mut self.connections) {
            self.finish(connection, Ending::Stopped);
        }
    }

    fn timeout(&self, now: Mono) -> Duration {
        if !self.again.is_empty() {
            return Duration::ZERO;
        }
        let next = self.ticks.next.min(self.ticks.second).min(self.housekeeping_at);
        let expiry = self.shared.accounts.lock().expiry_due();
        next.min(self.timers.due()).min(self.pace.due()).min(expiry).since(now)
    }

    /// Whether to go on.
    fn handle_commands(&mut self, now: Now) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Inject(injection) => self.inject(injection, now),
                Command::Script(script) => self.script = Some((now.mono, script)),
                Command::Quiesce => {
                    self.script = None;
                    self.faults.clear();
                    self.door.forget_faults();
                    self.freeze();
                    self.calm_accounts(now);
                }
                Command::Life(account, kind) => self.run_life(account, kind, now),
                Command::Pace(rate) => self.pace.set(rate, now.mono),
                Command::Spellings(spellings) => {
                    self.rules.private.spellings = spellings;
                    self.private_rules.private.spellings = spellings;
                }
                Command::Sync(done) => {
                    let _ = done.try_send(());
                }
                Command::Stop => return false,
            }
        }
        true
    }

    pub(super) fn ask(&mut self, kind: FaultKind) {
        if self.faults.len() == SIM_FAULTS_WAITING_MAX {
            tracing::warn!(fault = kind.as_str(), "too many faults wait for a connection; this one is dropped");
        } else {
            self.faults.push_back(kind);
        }
    }

    fn handle_time(&mut self, now: Now) {
        if let Some((start, mut script)) = self.script.take() {
            while let Some(injection) = script.poll_due(now.mono.since(start)) {
                self.inject(injection, now);
            }
            self.script = Some((start, script));
        }
        if now.mono >= self.ticks.second {
            self.tick_second(now);
        }
        if now.mono >= self.ticks.next {
            self.tick_first(now);
        }
        self.apply_faults(now);
        self.apply_account_faults(now);
        self.expire_keys(now);
        self.run_lives(now);
        self.tend(now);
        if now.mono >= self.housekeeping_at {
            self.housekeeping_at = now.mono.plus(HOUSEKEEPING);
            self.keep_house(now);
        }
        self.shared.ledger.lock().faults_waiting = self.faults.len();
    }

    /// The door.
    fn keep_house(&mut self, now: Now) {
        if self.listener.is_none() && now.mono >= self.door.closed_until {
            self.open_door();
        }
        if self.listener.is_some() {
            // An accept that failed for want of descriptors gives no second readiness.
            self.accept(now);
        }
    }

    /// One connection reads, answers and writes.
    pub(super) fn step(&mut self, id: u64, now: Now) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        match self.step_connection(&mut connection, now) {
            Ok(()) => self.put_back(connection, now),
            Err(ending) => self.finish(connection, ending),
        }
    }

    fn step_connection(&mut self, connection: &mut Connection, now: Now) -> Result<(), Ending> {
        if now.mono < connection.asleep_until {
            return Ok(());
        }
        let mut plain = std::mem::take(&mut self.plain);
        let is_deaf = now.mono < connection.deaf_until;
        let end = if is_deaf { ReadEnd::Drained } else { connection.read(&mut plain) };
        if connection.farewell.is_none() {
            self.handle_plain(connection, &plain, now);
        }
        plain.clear();
        self.plain = plain;
        connection.pump(now.mono);
        connection.release(now);
        let flushed = self.flush(connection, now);
        match end {
            ReadEnd::Over(ending) => return Err(connection.reason(ending)),
            ReadEnd::More => self.again.push(connection.id),
            ReadEnd::Drained => {}
        }
        flushed
    }

    /// Writes what the socket takes, and accounts for what was delivered.
    pub(super) fn flush(&mut self, connection: &mut Connection, now: Now) -> Result<(), Ending> {
        if now.mono < connection.asleep_until {
            return Ok(());
        }
        let mut delivered = Vec::new();
        let before = connection.written();
        let written = connection.write(now.mono, &mut delivered);
        if connection.written() > before {
            self.note_sign_of_life(connection, now);
        }
        self.count_account_frames(&mut delivered, now);
        if !delivered.is_empty() {
            let mut ledger = self.shared.ledger.lock();
            for (id, mark) in delivered {
                match mark {
                    Mark::Account { .. } => {}
                    Mark::Unbalanced => ledger.unbalanced_delivered += 1,
                    Mark::Frame(record) => {
                        ledger.delivered(id, &record);
                        connection.is_proven = true;
                        if self.ticks.frozen_from.is_some_and(|from| record.number >= from) {
                            connection.frozen_frames += 1;
                        }
                    }
                }
            }
            if connection.frozen_frames >= self.frames_per_tick() && !ledger.settled {
                ledger.settled = true;
                self.shared.settled.notify_all();
            }
        }
        written?;
        if connection.owed() > self.config.queue_max {
            tracing::info!(connection = connection.id, owed = connection.owed(), now = %now.wall, "a slow consumer is dropped");
            return Err(Ending::SlowConsumer);
        }
        match connection.farewell {
            Some(farewell) if connection.is_flushed() => Err(farewell.ending),
            _ => Ok(()),
        }
    }

    /// The connection is over: the socket closes with it.
    pub(super) fn finish(&mut self, mut connection: Connection, ending: Ending) {
        let _ = self.poll.registry().deregister(connection.socket_mut());
        self.takers.remove(&connection.id);
        self.leave_accounts(&mut connection, ending, self.now());
        self.shared.ledger.lock().end(connection.id, ending);
        tracing::debug!(connection = connection.id, ?ending, "closed");
    }
}
