//! The world around the roles: a venue with sockets, a loop that reads them, control threads, a consumer, and time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kraite_streams::domain::{Clock, Mono, Now, Random, Wall};
use kraite_streams::exchange::binance::listen_key::ListenKey;
use kraite_streams::exchange::binance::private_url::{Spelling, SpellingChoice};
use kraite_streams::queue::{
    InProcessQueue, InProcessSink, JobBatch, JobClass, JobReader, JobShape, JobSink, JobWriter, Laravel, PushError,
    PushErrorClass, Pushed, SinkHealth, in_process_queue,
};
use kraite_streams::spool::{
    AccountId, Disk, Epoch, ExchangeId, Gap, Identity, MemDisk, Opened, SpoolConfig, SyncMode, Syncer, open,
};
use kraite_streams::user_data::account::{Account, AccountConfig, Down, KeyNews, Request};
use kraite_streams::user_data::dispatcher::{AppliedEvents, DispatchConfig, DispatchParts, Dispatcher, EventName};
use kraite_streams::user_data::gaps::{GapNotice, GapRows};
use kraite_streams::user_data::intake::Intake;
use kraite_streams::user_data::lane::Lane;
use kraite_streams::user_data::registry::{AccountCell, Accounts};
use kraite_streams::user_data::spooler::{Reading, Spooler};
use parking_lot::Mutex;

const ACCOUNTS: u64 = 4;
const EXCHANGE: ExchangeId = ExchangeId(3);
const BASE: &str = "wss://venue.test/private";

/// What may go wrong beside cuts, dead keys and refusing queues, which always do.
#[derive(Clone, Default)]
pub struct Faults {
    pub kills: bool,
    pub power: bool,
    pub full_disk: Option<Rc<RefCell<MemDisk>>>,
    pub slow_consumer: bool,
}

/// How a life ended.
#[derive(Clone, Copy, Debug)]
pub enum Life {
    /// Killed, or stopped.
    Ended,
    PowerCut,
}

struct MovedClock(Mutex<i64>);

impl Clock for MovedClock {
    fn now(&self) -> Now {
        let millis = *self.0.lock();
        Now { mono: Mono::from_nanos(millis as u64 * 1_000_000), wall: Wall::from_millis(millis + 1_795_000_000_000) }
    }
}

enum Wire {
    Frame(String),
    Reply(String),
    Ping,
}

/// The venue's side of one account.
struct Peer {
    id: u64,
    key: u64,
    key_is_good: bool,
    /// The key that the socket was opened with, and whether its spelling is subscribed.
    socket: Option<(u64, bool)>,
    buffer: VecDeque<Wire>,
    serial: u64,
    /// Serial → when it happened.
    ledger: BTreeMap<u64, Wall>,
    next_ping: i64,
    good_spelling: Spelling,
    /// What the database says of the key.
    row: Option<(u64, Wall)>,
}

/// Our side's socket of one account.
struct Session {
    intake: Intake,
    target: (u64, Spelling),
    is_up: bool,
    attempt_at: i64,
    own_hold: bool,
    next_activity: i64,
}

#[derive(Clone, Copy)]
enum Command {
    Pause(AccountId),
    Resume(AccountId),
    PauseAll,
    ResumeAll,
}

/// The loop's remote control, which sometimes takes nothing.
struct Remote {
    commands: Arc<Mutex<VecDeque<Command>>>,
    random: Mutex<Random>,
}

impl Remote {
    fn send(&self, command: Command) -> bool {
        let takes = self.random.lock().below(10) > 0;
        if takes {
            self.commands.lock().push_back(command);
        }
        takes
    }
}

impl Reading for Remote {
    fn pause(&self, account: AccountId) -> bool {
        self.send(Command::Pause(account))
    }
    fn resume(&self, account: AccountId) -> bool {
        self.send(Command::Resume(account))
    }
    fn pause_all(&self) -> bool {
        self.send(Command::PauseAll)
    }
    fn resume_all(&self) -> bool {
        self.send(Command::ResumeAll)
    }
}

/// The real queue behind a wire that fails: before the push, or after it and without an answer.
struct FailingSink {
    queue: InProcessSink,
    random: Random,
    /// The batch whose outcome is doubtful must come again as it was.
    doubtful: Option<Vec<u8>>,
}

impl JobSink for FailingSink {
    fn push(&mut self, batch: &JobBatch) -> Result<Pushed, PushError> {
        let bytes: Vec<u8> = batch.jobs().flat_map(|job| job.body.to_vec()).collect();
        if let Some(doubtful) = &self.doubtful {
            assert!(*doubtful == bytes, "a doubtful push is repeated with the same bytes");
        }
        match self.random.below(20) {
            0 => Err(PushError::refused(PushErrorClass::ReadOnly, "a replica")),
            1 => {
                self.doubtful = Some(bytes);
                Err(PushError { doubtful: true, ..PushError::refused(PushErrorClass::Timeout, "no answer") })
            }
            2 => {
                self.queue.push(batch)?;
                self.doubtful = Some(bytes);
                Err(PushError { doubtful: true, ..PushError::refused(PushErrorClass::Down, "cut") })
            }
            _ => {
                let pushed = self.queue.push(batch)?;
                self.doubtful = None;
                Ok(pushed)
            }
        }
    }

    fn acked(&self) -> Option<u64> {
        self.queue.acked()
    }

    fn health(&mut self) -> Result<SinkHealth, PushError> {
        self.queue.health()
    }
}

/// The database's table of gaps, which is away at times.
#[derive(Clone, Default)]
struct Rows(Arc<Mutex<RowsInner>>);

#[derive(Default)]
struct RowsInner {
    waiting: Vec<GapNotice>,
    offered: u64,
    rows: BTreeMap<(Epoch, u64), GapNotice>,
    is_away: bool,
}

impl GapRows for Rows {
    fn offer(&self, gap: &GapNotice) -> Option<u64> {
        let mut inner = self.0.lock();
        if inner.waiting.len() >= 3 {
            return None;
        }
        inner.waiting.push(gap.clone());
        inner.offered += 1;
        Some(inner.offered)
    }

    fn settled(&self) -> u64 {
        let inner = self.0.lock();
        inner.offered - inner.waiting.len() as u64
    }
}

/// Consumers in PHP: nobody says what they have applied.
struct NoTables;

impl AppliedEvents for NoTables {
    fn progress(&mut self) -> Option<Vec<(AccountId, Identity)>> {
        None
    }
    fn done(&mut self, _: Vec<EventName>) -> Option<Vec<bool>> {
        None
    }
}

/// One life of the process.
struct Process<D: Disk> {
    sessions: HashMap<u64, Session>,
    cells: HashMap<u64, Arc<AccountCell>>,
    commands: Arc<Mutex<VecDeque<Command>>>,
    all_hold: bool,
    spooler: Spooler<D>,
    syncer: Syncer<D>,
    dispatcher: Dispatcher<D>,
    queue: InProcessQueue,
    key_at: HashMap<u64, i64>,
    next_keep_alive: i64,
}

/// A job as the consumer committed it.
struct Job {
    position: u64,
    serial: Option<u64>,
}

pub struct World<D: Disk> {
    seed: u64,
    random: Random,
    faults: Faults,
    clock: Arc<MovedClock>,
    peers: Vec<Peer>,
    process: Option<Process<D>>,
    reopen: Box<dyn FnMut(Option<Life>) -> D>,
    lives: u64,
    jobs: BTreeMap<u64, Vec<Job>>,
    gaps: BTreeMap<u64, BTreeSet<(Option<Wall>, Wall)>>,
    gap_identities: BTreeSet<(Epoch, u64)>,
    rows: Rows,
    full_until: Option<i64>,
    was_shut: bool,
    was_held: bool,
    has_lost_power: bool,
    is_calm: bool,
    reader: JobReader,
}

fn key_text(account: u64, number: u64) -> String {
    format!("SYNTHETICkey{account:04}x{number:08}000000000000000000000000000000000000000")
}

fn key_of(account: u64, number: u64) -> ListenKey {
    ListenKey::new(&key_text(account, number)).unwrap()
}

pub fn assert_no_key(bytes: &[u8], what: &str) {
    let found = bytes.windows(13).any(|window| window.starts_with(b"SYNTHETICkey"));
    assert!(!found, "{what} holds a listen key");
}

impl<D: Disk> World<D> {
    pub fn new(seed: u64, faults: Faults, reopen: impl FnMut(Option<Life>) -> D + 'static) -> Self {
        let mut random = Random::from_seed(seed);
        let peers = (1..=ACCOUNTS).map(|id| Peer {
            id,
            key: 1,
            key_is_good: true,
            socket: None,
            buffer: VecDeque::new(),
            serial: 0,
            ledger: BTreeMap::new(),
            next_ping: 0,
            good_spelling: Spelling::ALL[random.below(3) as usize],
            row: None,
        });
        let mut world = World {
            seed,
            peers: peers.collect(),
            random,
            faults,
            clock: Arc::new(MovedClock(Mutex::new(10_000))),
            process: None,
            reopen: Box::new(reopen),
            lives: 0,
            jobs: BTreeMap::new(),
            gaps: BTreeMap::new(),
            gap_identities: BTreeSet::new(),
            rows: Rows::default(),
            full_until: None,
            was_shut: false,
            was_held: false,
            has_lost_power: false,
            is_calm: false,
            reader: JobReader::new(),
        };
        world.start(None);
        world
    }

    pub fn lives(&self) -> u64 {
        self.lives
    }

    pub fn was_shut(&self) -> bool {
        self.was_shut
    }

    pub fn was_held(&self) -> bool {
        self.was_held
    }

    pub fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
    }

    /// A stop as the daemon's: the loop has ended, the spooler writes what is there, the syncer makes it durable.
    pub fn stop_and_start_again(&mut self) {
        let now = self.clock.now();
        let mut process = self.process.take().unwrap();
        assert_eq!(process.spooler.finish(now), 0, "seed {}: something was left unwritten", self.seed);
        process.syncer.finish(now);
        drop(process);
        self.start(Some(Life::Ended));
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.random.below(one_in) == 0
    }

    fn millis(&self) -> i64 {
        *self.clock.0.lock()
    }

    fn start(&mut self, ended: Option<Life>) {
        for peer in &mut self.peers {
            peer.socket = None;
            peer.buffer.clear();
        }
        // What the control threads had in memory.
        self.rows.0.lock().waiting.clear();
        self.lives += 1;
        let mut epoch = [0; 16];
        self.random.fill(&mut epoch);
        let now = self.clock.now();
        let slow = self.faults.slow_consumer;
        let config = SpoolConfig {
            sync: if self.seed % 4 == 3 { SyncMode::Always } else { SyncMode::Interval(Duration::from_millis(5)) },
            segment_bytes: 30_000,
            account_bytes_max: if slow { 4_000 } else { 1 << 20 },
            free_min: 1_000,
            reserve_bytes: 20_000,
            in_flight_max: 200,
            ..SpoolConfig::default()
        };
        let disk = (self.reopen)(ended);
        let Opened { appender, syncer, reader, report } = open(disk, config, Epoch(epoch), now).unwrap();
        let accounts = Accounts::new();
        let lane = Lane::new(crossbeam_channel::bounded(1).0);
        let mut cells = HashMap::new();
        for peer in &self.peers {
            let found = report.accounts.iter().find(|found| found.account.0 == peer.id);
            let config = AccountConfig {
                account: AccountId(peer.id),
                exchange: EXCHANGE,
                base: BASE.to_owned(),
                choice: SpellingChoice::Auto,
                delivered: None,
                alive_at: found.and_then(|found| found.alive_at),
            };
            let cell = AccountCell::new(Account::new(config, now), Arc::clone(&lane));
            accounts.insert(Arc::clone(&cell));
            cells.insert(peer.id, cell);
        }
        let commands = Arc::new(Mutex::new(VecDeque::new()));
        let remote = Remote { commands: Arc::clone(&commands), random: Mutex::new(self.random.fork()) };
        let spooler = Spooler::new(appender, vec![Arc::clone(&lane)], Arc::clone(&accounts), Box::new(remote))
            .with_marks_every(Duration::from_secs(2));
        let (sink, queue) = in_process_queue();
        let shape = JobShape { job_class: JobClass::parse("Job").unwrap(), laravel: Laravel::V12, horizon: false };
        let parts = DispatchParts {
            reader,
            sink: Box::new(FailingSink { queue: sink, random: self.random.fork(), doubtful: None }),
            writer: JobWriter::new(shape),
            rows: Box::new(self.rows.clone()),
            damage: spooler.damage_link(),
            audited: Arc::new(AtomicU64::new(0)),
            applied: Box::new(NoTables),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            random: self.random.fork(),
        };
        let dispatcher = Dispatcher::new(parts, DispatchConfig::new(vec![(EXCHANGE, "binance".to_owned())]));
        self.process = Some(Process {
            sessions: HashMap::new(),
            cells,
            commands,
            all_hold: false,
            spooler,
            syncer,
            dispatcher,
            queue,
            key_at: HashMap::new(),
            next_keep_alive: 0,
        });
    }

    fn step(&mut self) {
        *self.clock.0.lock() += 1 + self.random.below(30) as i64;
        self.venue();
        if !self.is_calm {
            self.trouble();
        }
        if !self.chance(5) {
            self.turn_loop();
        }
        if !self.chance(3) {
            self.control();
        }
        let now = self.clock.now();
        let turns = [self.chance(3), self.chance(3), self.chance(3)];
        let process = self.process.as_mut().unwrap();
        if !turns[0] {
            process.spooler.turn(now);
        }
        if !turns[1] {
            process.syncer.turn(now);
        }
        if !turns[2] {
            process.dispatcher.turn();
        }
        let status = process.spooler.status().lock().clone();
        self.was_shut |= status.shut.is_some();
        self.was_held |= !status.held.is_empty();
        // A slow consumer sleeps for seconds.
        let sleeps = self.faults.slow_consumer && !self.is_calm && self.millis() / 4_000 % 2 == 0;
        if !sleeps && !self.chance(3) {
            self.consume();
        }
        self.write_rows();
    }

    fn write_rows(&mut self) {
        let mut rows = self.rows.0.lock();
        if !rows.is_away {
            for gap in std::mem::take(&mut rows.waiting) {
                rows.rows.insert((gap.identity.epoch, gap.identity.position), gap);
            }
        }
    }

    fn venue(&mut self) {
        let (millis, wall) = (self.millis(), self.clock.now().wall);
        for at in 0..self.peers.len() {
            let (happens, odd) = (!self.is_calm && self.chance(3), self.random.below(40));
            let padding = self.random.below(600) as usize;
            let peer = &mut self.peers[at];
            let key = key_text(peer.id, peer.key);
            let delivers = peer.socket == Some((peer.key, true)) && peer.key_is_good;
            if happens {
                peer.serial += 1;
                peer.ledger.insert(peer.serial, wall);
                let (n, padding) = (peer.serial, "x".repeat(padding));
                let event = match odd {
                    0 => format!(r#"{{"n":{n},"listenKey":"{key}""#),
                    1 => format!(r#"{{"n":{n},"e":"NEWS","listenKey":{{"a":["{key}"]}}}}"#),
                    _ => format!(r#"{{"e":"ORDER_TRADE_UPDATE","E":1,"n":{n},"o":{{"c":"{padding}"}}}}"#),
                };
                let frame = match peer.good_spelling {
                    Spelling::Stream => format!(r#"{{"stream":"{key}@ORDER_TRADE_UPDATE","data":{event}}}"#),
                    Spelling::Query | Spelling::Path => event,
                };
                if delivers {
                    peer.buffer.push_back(Wire::Frame(frame));
                }
            }
            if peer.socket.is_some() && millis >= peer.next_ping {
                peer.next_ping = millis + 700;
                peer.buffer.push_back(Wire::Ping);
            }
        }
    }

    fn trouble(&mut self) {
        let millis = self.millis();
        let at = self.random.below(ACCOUNTS) as usize;
        if self.chance(150) {
            self.cut(at);
        }
        if self.chance(400) {
            self.peers[at].key_is_good = false;
        }
        if self.chance(400) {
            let peer = &mut self.peers[at];
            let key = key_text(peer.id, peer.key);
            peer.key_is_good = false;
            if peer.socket.is_some() {
                let text = format!(r#"{{"e":"listenKeyExpired","E":"1","listenKey":"{key}"}}"#);
                peer.buffer.push_back(Wire::Frame(text));
            }
        }
        if self.chance(100) {
            let mut rows = self.rows.0.lock();
            rows.is_away = !rows.is_away;
        }
        if let Some(disk) = self.faults.full_disk.clone() {
            let fills = self.chance(200);
            match self.full_until {
                None if fills => {
                    self.full_until = Some(millis + 500 + self.random.below(8_000) as i64);
                    // Full at once, or after a few more batches.
                    let disk = disk.borrow();
                    let names = disk.list().unwrap();
                    let used: u64 = names.iter().map(|name| disk.contents(name).unwrap().len() as u64).sum();
                    disk.set_capacity(Some(used + self.random.below(3) * 4_000));
                }
                Some(until) if millis > until => {
                    self.full_until = None;
                    disk.borrow().set_capacity(None);
                }
                _ => {}
            }
        }
        if self.faults.kills && self.chance(500) {
            self.process = None;
            self.start(Some(Life::Ended));
        } else if self.faults.power && self.chance(500) {
            self.has_lost_power = true;
            self.process = None;
            self.start(Some(Life::PowerCut));
        }
    }

    /// The connection breaks; what was under way is gone.
    fn cut(&mut self, at: usize) {
        let now = self.clock.now();
        let wait = self.random.below(3_000) as i64;
        let peer = &mut self.peers[at];
        let Some(session) = self.process.as_mut().unwrap().sessions.get_mut(&peer.id) else { return };
        if session.is_up {
            peer.socket = None;
            peer.buffer.clear();
            session.is_up = false;
            session.attempt_at = now.mono.as_nanos() as i64 / 1_000_000 + wait;
            session.intake.handle_down(Down::Fault { refused: None, text: "cut" }, now);
            serve(session, peer, now);
        }
    }

    fn turn_loop(&mut self) {
        let (now, millis) = (self.clock.now(), self.millis());
        let process = self.process.as_mut().unwrap();
        for command in std::mem::take(&mut *process.commands.lock()) {
            match command {
                Command::PauseAll => process.all_hold = true,
                Command::ResumeAll => process.all_hold = false,
                Command::Pause(account) | Command::Resume(account) => {
                    if let Some(session) = process.sessions.get_mut(&account.0) {
                        session.own_hold = matches!(command, Command::Pause(_));
                    }
                }
            }
        }
        for peer in &mut self.peers {
            let Some(session) = process.sessions.get_mut(&peer.id) else { continue };
            if process.all_hold || session.own_hold {
                continue;
            }
            if !session.is_up && millis >= session.attempt_at {
                let (key, spelling) = session.target;
                peer.socket = Some((key, spelling == peer.good_spelling));
                peer.buffer.clear();
                session.is_up = true;
                session.next_activity = 0;
                session.intake.handle_connected(now);
                serve(session, peer, now);
            }
            for _ in 0..self.random.below(8) {
                if !session.is_up || session.own_hold {
                    break;
                }
                let Some(item) = peer.buffer.pop_front() else { break };
                if let Wire::Frame(text) | Wire::Reply(text) = item {
                    session.intake.handle_message(text.as_bytes(), now);
                    serve(session, peer, now);
                }
                if session.is_up && millis >= session.next_activity {
                    session.next_activity = millis + 1_000;
                    session.intake.handle_activity(now);
                    serve(session, peer, now);
                }
            }
        }
    }

    fn control(&mut self) {
        let (now, millis) = (self.clock.now(), self.millis());
        let takes_time = 200 + self.random.below(800) as i64;
        let is_refused = self.chance(10);
        let process = self.process.as_mut().unwrap();
        let keeps_alive = millis >= process.next_keep_alive;
        if keeps_alive {
            process.next_keep_alive = millis + 3_000;
        }
        // Keys are kept back while the spool takes nothing: the gap of the old one must be durable first.
        let is_shut = process.spooler.status().lock().shut.is_some();
        for peer in &mut self.peers {
            let cell = &process.cells[&peer.id];
            if cell.account(now, |account| account.wants_key()) {
                let due = *process.key_at.entry(peer.id).or_insert(millis + takes_time);
                if millis >= due && !is_shut {
                    process.key_at.remove(&peer.id);
                    if !peer.key_is_good {
                        (peer.key, peer.key_is_good) = (peer.key + 1, true);
                    }
                    let replaced = peer.row.filter(|&(key, _)| key != peer.key).map(|(_, good)| good);
                    peer.row = Some((peer.key, now.wall));
                    let news = KeyNews { key: key_of(peer.id, peer.key), replaced };
                    cell.account(now, |account| account.handle_key(news, now));
                }
            } else if keeps_alive && let Some((_, good)) = &mut peer.row {
                if peer.key_is_good {
                    *good = now.wall;
                    cell.account(now, |account| account.handle_key_extended(now.wall, now));
                } else {
                    cell.account(now, |account| account.handle_key_gone(now));
                }
            }
            if let Some(url) = cell.account(now, |account| account.poll_open()) {
                assert!(!format!("{url:?}").contains("SYNTH"));
                if is_refused {
                    cell.account(now, |account| account.handle_open_refused());
                } else {
                    let session = Session {
                        intake: Intake::new(Arc::clone(cell)),
                        target: target_of(url.expose(), url.spelling()),
                        is_up: false,
                        attempt_at: millis,
                        own_hold: false,
                        next_activity: 0,
                    };
                    process.sessions.insert(peer.id, session);
                }
            }
            if cell.account(now, |account| account.poll_nudge(now)).is_some()
                && let Some(session) = process.sessions.get_mut(&peer.id)
            {
                leave(session, peer, now);
                serve(session, peer, now);
            }
            let (state, _) = cell.state(now);
            assert!(!format!("{state:?}").contains("SYNTH"), "{state:?}");
        }
    }

    fn consume(&mut self) {
        for _ in 0..self.random.below(20) {
            let Some(job) = self.process.as_ref().unwrap().queue.reserve(Duration::ZERO) else { return };
            self.commit(job.body());
            if !self.chance(10) {
                job.ack();
            }
        }
    }

    /// What a consumer with an audit does: the same job again changes nothing.
    fn commit(&mut self, body: &[u8]) {
        assert_no_key(body, "a job");
        let seed = self.seed;
        let view = self.reader.read(body).unwrap();
        let jobs = self.jobs.entry(view.account).or_default();
        if jobs.binary_search_by_key(&view.position, |job| job.position).is_ok() {
            return;
        }
        let last = jobs.last().map(|job| job.position);
        assert!(last < Some(view.position), "seed {seed}: position {} after {last:?}", view.position);
        if !self.has_lost_power {
            assert_eq!(view.previous, last, "seed {seed}: the record before position {}", view.position);
        }
        let text = String::from_utf8_lossy(view.raw);
        let serial = text
            .split_once(r#""n":"#)
            .map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse::<u64>().unwrap());
        if let Some(serial) = serial {
            let before = jobs.iter().rev().find_map(|job| job.serial);
            assert!(before < Some(serial), "seed {seed}: frame {serial} after {before:?}");
        }
        jobs.push(Job { position: view.position, serial });
        if view.kind == "gap" {
            let gap = Gap::read(view.raw).unwrap();
            assert!(gap.silent_since <= Some(gap.live_at));
            self.gaps.entry(view.account).or_default().insert((gap.silent_since, gap.live_at));
            self.gap_identities.insert((Epoch(view.epoch), view.position));
        }
    }

    /// Lets the trouble end and everything come to rest, then holds the ledger against the queue.
    pub fn judge(&mut self) {
        self.is_calm = true;
        self.rows.0.lock().is_away = false;
        if let Some(disk) = &self.faults.full_disk {
            disk.borrow().set_capacity(None);
        }
        for _ in 0..5_000 {
            self.step();
            let now = self.clock.now();
            let process = self.process.as_ref().unwrap();
            let is_live = process.cells.values().all(|cell| cell.state(now).0.phase == "live");
            let is_good = self.peers.iter().all(|peer| peer.key_is_good && peer.socket == Some((peer.key, true)));
            let is_read = self.peers.iter().all(|peer| peer.buffer.iter().all(|item| matches!(item, Wire::Ping)));
            let is_done = process.dispatcher.is_done() && process.spooler.status().lock().waiting == 0;
            if is_good
                && is_live
                && is_read
                && is_done
                && process.queue.depth() == 0
                && self.rows.0.lock().waiting.is_empty()
            {
                break;
            }
        }
        // A last look, so that nothing is still on its way; marks are written to the end.
        self.run(50);
        for _ in 0..20 {
            *self.clock.0.lock() += 100;
            let now = self.clock.now();
            let process = self.process.as_mut().unwrap();
            process.syncer.turn(now);
            process.dispatcher.turn();
            self.write_rows();
        }
        let (seed, now) = (self.seed, self.clock.now());
        let process = self.process.as_ref().unwrap();
        assert!(process.dispatcher.is_done(), "seed {seed}: {:?}", process.dispatcher.reader().status());
        for peer in &self.peers {
            let (state, counts) = process.cells[&peer.id].state(now);
            let spooler = process.spooler.status().lock().clone();
            assert_eq!((state.phase, state.degraded.as_deref()), ("live", None), "seed {seed}: {spooler:?}");
            assert_eq!((counts.refused, state.delivered), (0, Some(peer.good_spelling)));
            let empty = BTreeSet::new();
            let gaps = self.gaps.get(&peer.id).unwrap_or(&empty);
            let jobs: BTreeSet<u64> =
                self.jobs.get(&peer.id).into_iter().flatten().filter_map(|job| job.serial).collect();
            for (serial, &at) in &peer.ledger {
                let is_covered = gaps.iter().any(|&(since, live_at)| since <= Some(at) && at <= live_at);
                assert!(
                    jobs.contains(serial) || is_covered,
                    "seed {seed}: frame {serial} of account {} at {at} is neither a job nor in a gap: {:?}",
                    peer.id,
                    gaps.iter().map(|(since, live)| format!("{since:?}..{live}")).collect::<Vec<_>>()
                );
            }
            assert!(jobs.len() * 2 > peer.ledger.len() / 4, "seed {seed}: the world was mostly away");
        }
        if !self.has_lost_power {
            let rows = self.rows.0.lock();
            let missing = self.gap_identities.iter().find(|identity| !rows.rows.contains_key(identity));
            assert_eq!(missing, None, "seed {seed}: a gap without a row");
        }
        for (shown, what) in [
            (format!("{:?}", process.spooler.status().lock()), "the spooler's status"),
            (format!("{:?}", process.dispatcher.status().lock()), "the dispatcher's status"),
        ] {
            assert_no_key(shown.as_bytes(), what);
        }
    }
}

/// Obeys what the account wants of its session, as the event loop does.
fn serve(session: &mut Session, peer: &mut Peer, now: Now) {
    while let Some(request) = session.intake.poll_request() {
        match request {
            Request::Text(text) => {
                assert_no_key(text.as_bytes(), "a text that may be logged");
                let id = text.rsplit(':').next().unwrap().trim_end_matches('}').to_owned();
                let Some((key, is_subscribed)) = peer.socket else { continue };
                let names = if is_subscribed && key == peer.key && peer.key_is_good {
                    format!(r#""{}""#, key_text(peer.id, key))
                } else {
                    String::new()
                };
                peer.buffer.push_back(Wire::Reply(format!(r#"{{"result":[{names}],"id":{id}}}"#)));
            }
            Request::Reconnect { url, .. } => {
                if let Some(url) = url {
                    session.target = target_of(url.expose(), url.spelling());
                }
                leave(session, peer, now);
            }
            Request::Pause => session.own_hold = true,
            Request::Close => unreachable!("no account is removed in this world"),
        }
    }
}

fn leave(session: &mut Session, peer: &mut Peer, now: Now) {
    if session.is_up {
        session.is_up = false;
        session.attempt_at = now.mono.as_nanos() as i64 / 1_000_000;
        peer.socket = None;
        peer.buffer.clear();
        session.intake.handle_down(Down::Left, now);
    }
}

fn target_of(url: &str, spelling: Spelling) -> (u64, Spelling) {
    let key = url.split_once("SYNTHETICkey").unwrap().1;
    (key[5..13].parse().unwrap(), spelling)
}
