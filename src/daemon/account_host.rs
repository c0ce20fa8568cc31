//! The host of the accounts: obeys the control threads, opens and ends streams on the loops, and looks after each account
//! a few times a second.
//!
//! One thread. It never waits for a peer; a loop that is busy is asked again at the next look.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;

use super::account_consumer::{AccountConsumer, pace_of};
use super::spelling_memory::SpellingMemory;
use crate::domain::{Clock, Mono, Now, Wall};
use crate::event_loop::{ConnectGate, LoopControl, Stream};
use crate::exchange::binance::private_url::SpellingChoice;
use crate::spool::{AccountFound, AccountId, ExchangeId};
use crate::stream::{SessionConfig, StreamUrl};
use crate::user_data::account::{Account, AccountConfig, KeyNews};
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
        clock: Arc<dyn Clock>,
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
        }
    }

    /// Works until `stop` is set or control has ended.
    pub fn run(mut self, commands: &Receiver<AccountCommand>, stop: &AtomicBool) {
        let mut look_at = Mono::ZERO;
        while !stop.load(Ordering::Acquire) {
            match commands.recv_timeout(LOOK_EVERY) {
                Ok(command) => self.handle(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = self.clock.now().mono;
            if now >= look_at {
                look_at = now.plus(LOOK_EVERY);
                self.look();
            }
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
                let mut fresh = Account::new(config, now);
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
            AccountCommand::KeyExtended { at, .. } => self.with(id, |account| account.handle_key_extended(at)),
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
    fn end(&self, id: AccountId) {
        if let Some(cell) = self.accounts.cell(id) {
            cell.account(self.clock.now(), Account::stop);
            if let Err(error) = self.loop_of(id).control.remove(id.0) {
                tracing::error!(account = id.0, "its stream could not be ended: {error}");
            }
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
        let is_shut = self.spooler.lock().shut.is_some();
        if is_shut != self.are_keys_held {
            self.are_keys_held = is_shut;
            self.control.hold_new_keys(is_shut);
        }
        for cell in self.accounts.all() {
            let id = cell.id();
            if let Some(url) = cell.account(now, Account::poll_open)
                && !self.open(&cell, url.expose())
            {
                cell.account(now, Account::handle_open_refused);
            }
            if let Some(pace) = cell.account(now, |account| account.poll_nudge(now)) {
                // A loop that is busy is nudged again.
                let _ = self.loop_of(id).control.reconnect(id.0, None, pace_of(pace));
            }
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

    /// Hands the account's stream to its loop.
    fn open(&self, cell: &Arc<AccountCell>, url: &str) -> bool {
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
        let intake = Intake::new(Arc::clone(cell));
        let consumer = Box::new(AccountConsumer::new(intake));
        hosted.control.add(cell.id().0, Stream { config, consumer }).is_ok()
    }
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
        self.loop_of(account).pause(account.0).is_ok()
    }

    fn resume(&self, account: AccountId) -> bool {
        self.loop_of(account).resume(account.0).is_ok()
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
