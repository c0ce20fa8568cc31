//! The loop: accepts, reads, routes, ticks, writes. One thread, one poll, any number of sockets.
//!
//! A connection is taken out of the table while it is stepped and put back if it lives on, so that a step may use
//! everything else of the server.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::{Condvar, Mutex};
use rustls::ServerConfig;
use tungstenite::handshake::server::{create_response, write_response};
use tungstenite::http::StatusCode;

use crate::domain::limits::{SIM_CONNECTIONS_MAX, SIM_FAULTS_WAITING_MAX};
use crate::domain::time::SystemClock;
use crate::domain::{Clock, Mono, Now, Random};

use super::connection::{Connection, Farewell, Mark, Phase, ReadEnd};
use super::cross_listing::CrossListing;
use super::fault::{FaultKind, Script};
use super::http::{Request, Response, keeps_alive, read_request};
use super::ledger::{Ending, Ledger};
use super::listing::Listed;
use super::rest;
use super::venue::{FrameRecord, Market};
use super::websocket::{Outcome, Rules, WebSocketSide, read_target};
use super::{Command, Shared, SimConfig};

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
/// Connection `id` has token `id + FIRST`.
const FIRST: u64 = 2;
/// How often deadlines of connections are looked at.
const HOUSEKEEPING: Duration = Duration::from_millis(100);
/// For TLS and the first request.
const HANDSHAKE_MAX: Duration = Duration::from_secs(30);
/// Between requests of a kept connection.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// For the client's answer to a close frame.
pub(super) const CLOSE_MAX: Duration = Duration::from_secs(2);

/// The simulator's loop and everything it owns.
pub(super) struct Server {
    pub(super) config: SimConfig,
    pub(super) rules: Rules,
    pub(super) market: Market,
    pub(super) random: Random,
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) door: Door,
    pub(super) faults: VecDeque<FaultKind>,
    pub(super) ticks: Ticks,
    pub(super) shared: Arc<Shared>,
    script: Option<(Mono, Script)>,
    tls: Arc<ServerConfig>,
    poll: Poll,
    waker: Arc<Waker>,
    listener: Option<TcpListener>,
    addr: SocketAddr,
    commands: Receiver<Command>,
    clock: SystemClock,
    next_id: u64,
    housekeeping_at: Mono,
    again: Vec<u64>,
    plain: Vec<u8>,
}

/// Faults that wait for the next client at the door.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    pub(super) refuse_upgrade: Option<u16>,
    pub(super) glue_frames: bool,
    pub(super) slow_handshake: Option<Duration>,
    /// Nobody listens before this.
    pub(super) closed_until: Mono,
}

/// When the next frames are due, and what the last ones were.
pub(super) struct Ticks {
    pub(super) next: Mono,
    /// The second frame of the tick; never while the first is due.
    pub(super) second: Mono,
    pub(super) count: u64,
    pub(super) last_event_ms: i64,
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
        };
        let clock = SystemClock::start();
        let ticks = Ticks {
            next: clock.now().mono.plus(config.tick),
            second: Mono::NEVER,
            count: 0,
            last_event_ms: 0,
            previous: None,
            frozen_from: None,
        };
        let door = Door { refuse_upgrade: None, glue_frames: false, slow_handshake: None, closed_until: Mono::ZERO };
        Ok(Server {
            rules,
            market,
            random: Random::from_seed(config.seed ^ 0x0d15_ea5e),
            connections: BTreeMap::new(),
            door,
            faults: VecDeque::new(),
            ticks,
            shared: Arc::new(Shared { ledger: Mutex::new(ledger), settled: Condvar::new() }),
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
            let now = self.clock.now();
            if !self.handle_commands(now) {
                break;
            }
            for id in std::mem::take(&mut self.again) {
                self.step(id, now);
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(now),
                    WAKER => {}
                    Token(token) => self.step(token as u64 - FIRST, now),
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
        next.since(now)
    }

    /// Whether to go on.
    fn handle_commands(&mut self, now: Now) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Inject(kind) => self.ask(kind),
                Command::Script(script) => self.script = Some((now.mono, script)),
                Command::Quiesce => {
                    self.script = None;
                    self.faults.clear();
                    self.door.refuse_upgrade = None;
                    self.door.glue_frames = false;
                    self.door.slow_handshake = None;
                    self.freeze();
                }
                Command::Stop => return false,
            }
        }
        true
    }

    fn ask(&mut self, kind: FaultKind) {
        if self.faults.len() == SIM_FAULTS_WAITING_MAX {
            tracing::warn!(fault = kind.as_str(), "too many faults wait for a connection; this one is dropped");
        } else {
            self.faults.push_back(kind);
        }
    }

    fn handle_time(&mut self, now: Now) {
        if let Some((start, script)) = &mut self.script {
            let elapsed = now.mono.since(*start);
            while let Some(kind) = script.poll_due(elapsed) {
                if self.faults.len() < SIM_FAULTS_WAITING_MAX {
                    self.faults.push_back(kind);
                }
            }
        }
        if now.mono >= self.ticks.second {
            self.tick_second(now);
        }
        if now.mono >= self.ticks.next {
            self.tick_first(now);
        }
        self.apply_faults(now);
        if now.mono >= self.housekeeping_at {
            self.housekeeping_at = now.mono.plus(HOUSEKEEPING);
            self.keep_house(now);
        }
        self.shared.ledger.lock().faults_waiting = self.faults.len();
    }

    /// Deadlines of connections, pings, and the door.
    fn keep_house(&mut self, now: Now) {
        if self.listener.is_none() && now.mono >= self.door.closed_until {
            self.open_door();
        }
        if self.listener.is_some() {
            // An accept that failed for want of descriptors gives no second readiness.
            self.accept(now);
        }
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            if let (Some(farewell), (Mono::NEVER, _)) = (connection.farewell, connection.deadline) {
                connection.deadline = (now.mono.plus(CLOSE_MAX), farewell.ending);
            }
            let (deadline, ending) = connection.deadline;
            if now.mono >= deadline {
                if let Some(connection) = self.connections.remove(&id) {
                    self.finish(connection, ending);
                }
                continue;
            }
            let mut wants_step = connection.asleep_until != Mono::ZERO && now.mono >= connection.asleep_until;
            if wants_step {
                connection.asleep_until = Mono::ZERO;
            }
            if let Phase::WebSocket(side) = &mut connection.phase {
                if side.is_pong_overdue(now.mono) {
                    side.close(tungstenite::protocol::frame::coding::CloseCode::Policy, "Pong timeout");
                    connection.deadline = (now.mono.plus(CLOSE_MAX), Ending::PongTimeout);
                    wants_step = true;
                } else if side.poll_ping(&self.rules, now.mono, now.wall.as_millis()) {
                    self.shared.ledger.lock().pings_sent += 1;
                    wants_step = true;
                }
            }
            if wants_step {
                self.step(id, now);
            }
        }
    }

    /// Stops listening; live connections stay.
    pub(super) fn close_door(&mut self, until: Mono) {
        self.door.closed_until = until;
        if let Some(mut listener) = self.listener.take() {
            let _ = self.poll.registry().deregister(&mut listener);
        }
    }

    fn open_door(&mut self) {
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

    fn accept(&mut self, now: Now) {
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
            let mut connection = match Connection::new(id, socket, peer, &self.tls, deadline) {
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
            self.connections.insert(id, connection);
        }
    }

    /// One connection reads, answers and writes.
    pub(super) fn step(&mut self, id: u64, now: Now) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        match self.step_connection(&mut connection, now) {
            Ok(()) => {
                self.connections.insert(id, connection);
            }
            Err(ending) => self.finish(connection, ending),
        }
    }

    fn step_connection(&mut self, connection: &mut Connection, now: Now) -> Result<(), Ending> {
        if now.mono < connection.asleep_until {
            return Ok(());
        }
        let mut plain = std::mem::take(&mut self.plain);
        let end = connection.read(&mut plain);
        if connection.farewell.is_none() {
            self.handle_plain(connection, &plain, now);
        }
        plain.clear();
        self.plain = plain;
        connection.pump();
        let flushed = self.flush(connection, now);
        match end {
            ReadEnd::Over(ending) => return Err(connection.reason(ending)),
            ReadEnd::More => self.again.push(connection.id),
            ReadEnd::Drained => {}
        }
        flushed
    }

    fn handle_plain(&mut self, connection: &mut Connection, plain: &[u8], now: Now) {
        if matches!(connection.phase, Phase::Http) {
            connection.inbox.extend_from_slice(plain);
            self.handle_requests(connection, now);
            return;
        }
        self.handle_websocket(connection, plain, now);
    }

    fn handle_requests(&mut self, connection: &mut Connection, now: Now) {
        while connection.farewell.is_none() {
            let request = match read_request(&mut connection.inbox) {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(status) => {
                    self.answer(connection, &Response::text(status, "bad request\n"), false);
                    return;
                }
            };
            connection.deadline = (now.mono.plus(IDLE_MAX), Ending::TimedOut);
            let asks_upgrade = request.headers().get("upgrade").is_some();
            let target = read_target(request.uri().path(), request.uri().query());
            match (asks_upgrade, target) {
                (true, Some((route, wrapped, names))) => {
                    let side = WebSocketSide::new(route, wrapped, names, &self.rules, now.mono);
                    if self.upgrade(connection, &request, side, now) {
                        let rest = std::mem::take(&mut connection.inbox);
                        self.handle_websocket(connection, &rest, now);
                        return;
                    }
                }
                (false, Some(_)) => {
                    self.answer(connection, &Response::text(StatusCode::BAD_REQUEST, "upgrade expected\n"), false);
                }
                (_, None) => {
                    self.shared.ledger.lock().rest_requests += 1;
                    let response = rest::respond(&request, &self.market, now.wall.as_millis());
                    self.answer(connection, &response, keeps_alive(&request));
                }
            }
        }
    }

    fn answer(&mut self, connection: &mut Connection, response: &Response, keep_alive: bool) {
        let mut bytes = Vec::with_capacity(response.body.len() + 256);
        response.write(keep_alive, &mut bytes);
        connection.queue(&bytes);
        if !keep_alive {
            connection.leave(Farewell { ending: Ending::Answered, polite: true });
        }
    }

    /// Whether the connection is a WebSocket now.
    fn upgrade(&mut self, connection: &mut Connection, request: &Request, side: WebSocketSide, now: Now) -> bool {
        let target = request.uri().to_string();
        if let Some(status) = self.door.refuse_upgrade.take() {
            let mut ledger = self.shared.ledger.lock();
            ledger.upgrades_refused += 1;
            ledger.count_fault(FaultKind::RefuseUpgrade { status });
            drop(ledger);
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            self.answer(connection, &Response::text(status, "refused by the simulator\n"), false);
            return false;
        }
        let head = tungstenite::http::Request::from_parts(request.clone().into_parts().0, ());
        let mut bytes = Vec::with_capacity(256);
        let accepted = create_response(&head).and_then(|response| write_response(&mut bytes, &response));
        if let Err(error) = accepted {
            tracing::debug!(%error, target, "an upgrade is malformed");
            self.shared.ledger.lock().upgrades_refused += 1;
            self.answer(connection, &Response::text(StatusCode::BAD_REQUEST, "malformed upgrade\n"), false);
            return false;
        }
        tracing::debug!(connection = connection.id, target, "upgraded");
        self.shared.ledger.lock().open(connection.id, connection.peer, target);
        connection.deadline = (Mono::NEVER, Ending::TimedOut);
        let glued = self.glue(connection.id, &side, &mut bytes, now);
        connection.phase = Phase::WebSocket(Box::new(side));
        connection.queue(&bytes);
        if let Some(record) = glued {
            connection.mark(Mark::Frame(record));
        }
        true
    }

    fn handle_websocket(&mut self, connection: &mut Connection, bytes: &[u8], now: Now) {
        let Phase::WebSocket(side) = &mut connection.phase else { return };
        let received = side.handle_bytes(bytes, &self.rules, now.mono);
        let mut ledger = self.shared.ledger.lock();
        ledger.client_messages += received.messages;
        ledger.pongs_matched += received.pongs_matched;
        ledger.pongs_unsolicited += received.pongs_unsolicited;
        drop(ledger);
        match received.outcome {
            Outcome::Open => {}
            Outcome::TooFast => connection.deadline = (now.mono.plus(CLOSE_MAX), Ending::RateLimited),
            Outcome::Breach => connection.leave(Farewell { ending: Ending::ClientProtocol, polite: true }),
            Outcome::Closed => {
                let ending = connection.reason(Ending::ClientClosed);
                connection.leave(Farewell { ending, polite: true });
            }
        }
    }

    /// Writes what the socket takes, and accounts for what was delivered.
    pub(super) fn flush(&mut self, connection: &mut Connection, now: Now) -> Result<(), Ending> {
        let mut delivered = Vec::new();
        let written = connection.write(&mut delivered);
        if !delivered.is_empty() {
            let mut ledger = self.shared.ledger.lock();
            for (id, mark) in delivered {
                match mark {
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
            Some(farewell) if connection.owed() == 0 => Err(farewell.ending),
            _ => Ok(()),
        }
    }

    /// The connection is over: the socket closes with it.
    pub(super) fn finish(&mut self, mut connection: Connection, ending: Ending) {
        let _ = self.poll.registry().deregister(connection.socket_mut());
        self.shared.ledger.lock().end(connection.id, ending);
        tracing::debug!(connection = connection.id, ?ending, "closed");
    }
}
