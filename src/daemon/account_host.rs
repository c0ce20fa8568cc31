//! The host of the accounts: obeys the control threads, opens and ends streams on the loops, and looks after each account
//! a few times a second.
//!
//! One thread. It never waits for a peer; a loop that is busy is asked again at the next look.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;

use super::account_consumer::{AccountConsumer, pace_of};
use super::rotation_share::RotationShare;
use super::spelling_memory::SpellingMemory;
use crate::domain::limits::{HANDOVER_TURN_EVERY, STANDSTILL_MIN};
use crate::domain::{Clock, Mono, Now, Random, Wall};
use crate::event_loop::{ConnectGate, LoopControl, Stream};
use crate::exchange::binance::private_url::SpellingChoice;
use crate::spool::{AccountFound, AccountId, ExchangeId};
use crate::stream::{ConnectClass, SessionConfig, StreamUrl};
use crate::user_data::account::{Account, AccountConfig, Cause, KeyNews, RotationPlan, Seat};
use crate::user_data::control::ControlLink;
use crate::user_data::intake::Intake;
use crate::user_data::lane::Lane;
use crate::user_data::listen_keys::command::AccountCommand;
use crate::user_data::registry::{AccountCell, Accounts};
use crate::user_data::spooler::{Reading, SpoolerStatus};

/// From one look at the accounts to the next.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// From one report of an account's activity to the next; the rows are written every 30 s.
const ACTIVE_EVERY: Duration = Duration::from_secs(15);
/// Spellings that failed in a row before the key itself is doubted.
const PROOFS_BEFORE_DOUBT: u32 = 3;

/// One loop and its lane.
#[derive(Clone)]
pub struct HostedLoop {
    /// Its remote control.
    pub control: LoopControl,
    /// Where its consumers lay what they take.
    pub lane: Arc<Lane>,
}

/// What every stream begins with.
#[derive(Clone)]
pub struct HostConfig {
    /// Scheme, host and route of private streams.
    pub base: String,
    /// `user_data.spelling`.
    pub choice: SpellingChoice,
    /// Trust and bounds; the URL is each account's own.
    pub session: SessionConfig,
    /// The spool's folder: what is remembered of spellings lies beside it.
    pub spool_folder: PathBuf,
    /// Told of bans, so that no stream of this address connects.
    pub gate: Arc<dyn ConnectGate>,
    /// Accounts that the spool knows: until when each is known to have been alive.
    pub found: Vec<AccountFound>,
    /// Connections are replaced at this age; `None`: the venue cuts them.
    pub rotate_after: Option<Duration>,
    /// How many of them at once.
    pub rotations: RotationShare,
}

/// What people call each account, and what control says is wrong with it.
pub type Names = Arc<Mutex<HashMap<AccountId, (Arc<str>, Option<Arc<str>>)>>>;

/// See the module's documentation.
pub struct AccountHost {
    config: HostConfig,
    loops: Vec<HostedLoop>,
    accounts: Arc<Accounts>,
    names: Names,
    control: ControlLink,
    clock: Arc<dyn Clock>,
    generations: HashMap<AccountId, u64>,
    /// The key generation whose end was told to control.
    told_gone: HashMap<AccountId, u64>,
    /// The count of failed proofs at which control was last told to doubt.
    doubted: HashMap<AccountId, u32>,
    active_at: Mono,
    spellings: SpellingMemory,
    spooler: Arc<Mutex<SpoolerStatus>>,
    /// Control knows that the spool is shut.
    are_keys_held: bool,
    /// The end of the ban that the gate knows of.
    banned_until: Mono,
    /// Accounts with two sockets.
    rotating: HashSet<AccountId>,
    /// Accounts with something to lose: they connect before others.
    exposed: Arc<BTreeSet<i64>>,
    random: Random,
}

impl AccountHost {
    /// A host of no account yet.
    #[must_use]
    pub fn new(
        config: HostConfig,
        loops: Vec<HostedLoop>,
        accounts: Arc<Accounts>,
        names: Names,
        control: ControlLink,
        spooler: Arc<Mutex<SpoolerStatus>>,
        (clock, random): (Arc<dyn Clock>, Random),
    ) -> Self {
        AccountHost {
            spooler,
            are_keys_held: false,
            spellings: SpellingMemory::beside(&config.spool_folder),
            config,
            loops,
            accounts,
            names,
            control,
            clock,
            generations: HashMap::new(),
            told_gone: HashMap::new(),
            doubted: HashMap::new(),
            active_at: Mono::ZERO,
            banned_until: Mono::ZERO,
            rotating: HashSet::new(),
            exposed: Arc::default(),
            random,
        }
    }

    /// Works until `stop` is set or control has ended.
    pub fn run(mut self, commands: &Receiver<AccountCommand>, stop: &AtomicBool) {
        let (mut look_at, mut looked_at) = (Mono::ZERO, self.clock.now().mono);
        while !stop.load(Ordering::Acquire) {
            let wait = if self.rotating.is_empty() { LOOK_EVERY } else { HANDOVER_TURN_EVERY };
            match commands.recv_timeout(wait) {
                Ok(command) => self.handle(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = self.clock.now().mono;
            if now >= look_at {
                look_at = now.plus(LOOK_EVERY);
                if now.since(std::mem::replace(&mut looked_at, now)) >= STANDSTILL_MIN {
                    // The loops' waits were measured out before this machine stood still.
                    self.loops.iter().for_each(|hosted| hosted.control.wake());
                }
                self.look();
            }
            self.turn_rotations();
        }
    }

    fn loop_of(&self, account: AccountId) -> &HostedLoop {
        &self.loops[(account.0 % self.loops.len() as u64) as usize]
    }

    fn handle(&mut self, command: AccountCommand) {
        let now = self.clock.now();
        let id = AccountId(command.account() as u64);
        match command {
            AccountCommand::Spawn { account, key, key_generation, replaced } => {
                tracing::info!(account = id.0, "account {:?} is streamed", account.name);
                let found = self.config.found.iter().find(|found| found.account == id);
                let config = AccountConfig {
                    account: id,
                    exchange: ExchangeId(u32::try_from(account.api_system_id).unwrap_or(u32::MAX)),
                    base: self.config.base.clone(),
                    choice: self.config.choice,
                    delivered: self.spellings.of(id),
                    alive_at: found.and_then(|found| found.alive_at),
                };
                let plan = RotationPlan { after: self.config.rotate_after, random: self.random.fork() };
                let mut fresh = Account::new(config, now).with_rotation(plan);
                fresh.handle_key(KeyNews { key, replaced }, now);
                self.names.lock().entry(id).or_default().0 = account.name;
                self.generations.insert(id, key_generation);
                self.end(id);
                let lane = Arc::clone(&self.loop_of(id).lane);
                self.accounts.insert(AccountCell::new(fresh, lane));
            }
            AccountCommand::KeyChanged { key, key_generation, replaced, .. } => {
                self.generations.insert(id, key_generation);
                self.with(id, |account| account.handle_key(KeyNews { key, replaced }, now));
            }
            AccountCommand::KeyExtended { at, .. } => self.with(id, |account| account.handle_key_extended(at, now)),
            AccountCommand::KeyGone { key_generation, loss, .. } => {
                tracing::warn!(account = id.0, "its listen key is {loss}; waiting for a new one");
                self.told_gone.insert(id, key_generation);
                self.with(id, |account| account.handle_key_gone(now));
            }
            AccountCommand::Reap { .. } => {
                if self.accounts.cell(id).is_some() {
                    tracing::info!(account = id.0, "the account is not streamed any more");
                }
                self.end(id);
                self.accounts.remove(id);
                self.names.lock().remove(&id);
                self.generations.remove(&id);
            }
            AccountCommand::Health { account, trouble } => {
                match &trouble {
                    Some(trouble) => tracing::warn!(account = id.0, "account {:?}: {trouble}", account.name),
                    None => tracing::info!(account = id.0, "account {:?} is in order again", account.name),
                }
                if let Some(trouble) = &trouble {
                    self.with(id, |account| account.handle_key_refused(trouble));
                }
                self.names.lock().insert(id, (account.name, trouble));
            }
        }
    }

    fn with(&self, id: AccountId, work: impl FnOnce(&mut Account)) {
        if let Some(cell) = self.accounts.cell(id) {
            cell.account(self.clock.now(), work);
        }
    }

    /// Ends the stream that this account has, if it has one.
    fn end(&mut self, id: AccountId) {
        if let Some(cell) = self.accounts.cell(id) {
            cell.account(self.clock.now(), Account::stop);
            // Both seats: one of them is mostly empty.
            for key in [stream_key(id, 0), stream_key(id, 1)] {
                if let Err(error) = self.loop_of(id).control.remove(key) {
                    tracing::error!(account = id.0, "its stream could not be ended: {error}");
                }
            }
            self.rotating.remove(&id);
        }
    }

    /// What each account wants now.
    fn look(&mut self) {
        let now = self.clock.now();
        let tells_activity = now.mono >= self.active_at;
        if tells_activity {
            self.active_at = now.mono.plus(ACTIVE_EVERY);
        }
        self.obey_ban(now);
        self.class_by_exposure();
        let is_shut = self.spooler.lock().shut.is_some();
        if is_shut != self.are_keys_held {
            self.are_keys_held = is_shut;
            self.control.hold_new_keys(is_shut);
        }
        for cell in self.accounts.all() {
            let id = cell.id();
            if let Some(url) = cell.account(now, Account::poll_open)
                && !self.open(&cell, cell.account(now, |account| account.seat()), url.expose())
            {
                cell.account(now, Account::handle_open_refused);
            }
            if let Some(pace) = cell.account(now, |account| account.poll_nudge(now)) {
                // A loop that is busy is nudged again.
                let key = stream_key(id, cell.account(now, |account| account.seat()));
                let _ = self.loop_of(id).control.reconnect(key, None, pace_of(pace));
            }
            self.rotate(&cell, now);
            let generation = self.generations.get(&id).copied().unwrap_or_default();
            if cell.account(now, |account| account.wants_key())
                && self.told_gone.insert(id, generation) != Some(generation)
            {
                self.control.key_expired(id.0 as i64, generation);
            }
            let (state, _) = cell.state(now);
            if let Some(spelling) = state.delivered {
                self.spellings.note(id, spelling);
            }
            if state.failed_proofs >= PROOFS_BEFORE_DOUBT {
                let doubted = self.doubted.entry(id).or_default();
                if state.failed_proofs >= *doubted + PROOFS_BEFORE_DOUBT {
                    *doubted = state.failed_proofs;
                    self.control.doubt(id.0 as i64);
                }
            } else {
                self.doubted.remove(&id);
            }
            if tells_activity && let Some(at) = state.last_frame_at {
                self.control.active(id.0 as i64, at);
            }
        }
        self.spellings.save();
    }

    /// Those with something to lose stand in a line of their own. A loop that is busy hears of it at the next look.
    fn class_by_exposure(&mut self) {
        let exposed = self.control.exposed();
        if Arc::ptr_eq(&exposed, &self.exposed) {
            return;
        }
        let changed = exposed.symmetric_difference(&self.exposed).map(|&account| AccountId(account as u64));
        let is_told = changed.into_iter().all(|id| {
            let (control, class) = (&self.loop_of(id).control, class_of(&exposed, id));
            [0, 1].iter().all(|&seat| control.set_class(stream_key(id, seat), class).is_ok())
        });
        if is_told {
            self.exposed = exposed;
        }
    }

    /// What REST is told of a ban holds for connections too: they come from the same address.
    fn obey_ban(&mut self, now: Now) {
        let pause = self.control.address_banned_for();
        let until = now.mono.plus(pause);
        // The same end, computed at another time, is no news.
        if !pause.is_zero() && until.since(self.banned_until) > LOOK_EVERY {
            self.banned_until = until;
            tracing::error!("the venue has banned this address: no stream connects for {} s", pause.as_secs() + 1);
            self.config.gate.hold(pause, now);
        }
    }

    /// Opens a second socket for the account, if one is wanted and due. A new key waits for nobody but the gate.
    fn rotate(&mut self, cell: &Arc<AccountCell>, now: Now) {
        let Some(cause) = cell.account(now, |account| account.wants_rotation(now)) else { return };
        if cause == Cause::Age && !self.config.rotations.take(now.mono) {
            return;
        }
        let Some((seat, url)) = cell.account(now, |account| account.begin_rotation(now)) else { return };
        tracing::info!(account = cell.id().0, "opening a second socket: {}", cause.as_str());
        let is_taken = self.open(cell, seat, url.expose());
        cell.account(now, |account| account.handle_rotation_opened(is_taken, now));
        self.rotating.insert(cell.id());
    }

    /// Looks after the accounts that have two sockets.
    fn turn_rotations(&mut self) {
        if self.rotating.is_empty() {
            return;
        }
        let now = self.clock.now();
        for id in self.rotating.iter().copied().collect::<Vec<_>>() {
            let Some(cell) = self.accounts.cell(id) else {
                self.rotating.remove(&id);
                continue;
            };
            let control = &self.loop_of(id).control;
            let (question, leaving, seat, is_rotating) = cell.account(now, |account| {
                account.judge_rotation(now);
                (account.poll_question(now), account.poll_leaving(now), account.seat(), account.is_rotating())
            });
            if let Some(text) = question {
                // One that does not arrive is answered by nobody: the handover is decided by frames, or given up.
                let _ = control.send_text(stream_key(id, seat), text);
            }
            if let Some(left) = leaving {
                tracing::info!(account = id.0, "one of its two sockets is left");
                if control.remove(stream_key(id, left)).is_err() {
                    cell.account(now, |account| account.handle_leaving_refused(left));
                }
            } else if !is_rotating {
                self.rotating.remove(&id);
            }
        }
    }

    /// Hands a stream of the account to its loop.
    fn open(&self, cell: &Arc<AccountCell>, seat: Seat, url: &str) -> bool {
        let hosted = self.loop_of(cell.id());
        let url = match StreamUrl::parse(url) {
            Ok(url) => url,
            Err(error) => {
                tracing::error!(account = cell.id().0, "user_data.url gives no address: {error}");
                return false;
            }
        };
        let mut config = self.config.session.clone();
        config.url = url;
        config.class = class_of(&self.exposed, cell.id());
        let intake = Intake::at_seat(Arc::clone(cell), seat);
        let consumer = Box::new(AccountConsumer::new(intake));
        hosted.control.add(stream_key(cell.id(), seat), Stream { config, consumer }).is_ok()
    }
}

fn class_of(exposed: &BTreeSet<i64>, account: AccountId) -> ConnectClass {
    if exposed.contains(&(account.0 as i64)) { ConnectClass::Exposed } else { ConnectClass::Ordinary }
}

/// What the loop calls the socket in an account's seat. Seats that exist together differ by one, ids have 63 bits.
const fn stream_key(account: AccountId, seat: Seat) -> u64 {
    account.0 | ((seat & 1) as u64) << 63
}

/// The loops' reading, as the spooler steers it; it tells the accounts itself, before reading begins again.
pub struct LoopReading {
    /// All loops.
    pub loops: Vec<LoopControl>,
}

impl LoopReading {
    fn loop_of(&self, account: AccountId) -> &LoopControl {
        &self.loops[(account.0 % self.loops.len() as u64) as usize]
    }
}

impl Reading for LoopReading {
    fn pause(&self, account: AccountId) -> bool {
        let control = self.loop_of(account);
        [0, 1].iter().all(|&seat| control.pause(stream_key(account, seat)).is_ok())
    }

    fn resume(&self, account: AccountId) -> bool {
        let control = self.loop_of(account);
        [0, 1].iter().all(|&seat| control.resume(stream_key(account, seat)).is_ok())
    }

    fn pause_all(&self) -> bool {
        self.loops.iter().all(|control| control.pause_all().is_ok())
    }

    fn resume_all(&self) -> bool {
        self.loops.iter().all(|control| control.resume_all().is_ok())
    }
}

/// The newest frame of any account, for status files.
#[must_use]
pub fn newest_frame(accounts: &Accounts, now: Now) -> Option<Wall> {
    accounts.all().iter().filter_map(|cell| cell.state(now).0.last_frame_at).max()
}
