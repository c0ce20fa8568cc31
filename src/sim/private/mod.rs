//! The private half of the simulated venue, sans-IO: accounts with their credentials, listen keys, order lives, truth and
//! ledger. `server` puts it on sockets (`shipping`), `desk` answers the listen-key requests.
//!
//! Time, prices and randomness are passed in; each account draws from a source of its own, so what happens on it depends on
//! the seed and on the number of its steps only.

mod account_events;
pub mod account_ledger;
pub mod application;
#[cfg(test)]
mod application_tests;
pub mod book;
mod decimal;
pub(in crate::sim) mod desk;
mod draft;
mod event;
pub mod fault;
mod instruments;
pub mod life;
#[cfg(test)]
mod life_tests;
mod listen_key;
mod moves;
mod position;
pub mod reads;
pub mod sessions;
pub(in crate::sim) mod side;
mod steps;
pub(in crate::sim) mod subscription;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::domain::limits::{
    SIM_ANNOUNCEMENTS_MAX, SIM_FRAME_BYTES_KEPT_MAX, SIM_FRAMES_RECORDED_MAX, SIM_REPLAY_FRAMES,
};
use crate::domain::{Mono, Now, Random};

use super::venue::Market;
use account_ledger::AccountLedger;
use application::Announcement;
use book::{AccountBook, Instrument};
use decimal::ONE;
pub(in crate::sim) use event::{Event, ExpiryNotice, listen_key_expired};
use fault::AccountFault;
use instruments::instruments;
use life::Lives;
use listen_key::KeyRing;
use reads::{Earlier, ReadRules};
pub(in crate::sim) use steps::What;
pub use subscription::Spellings;

/// The accounts of the simulated venue.
#[derive(Clone, Debug)]
pub struct AccountsConfig {
    /// How many there are at the start.
    pub count: usize,
    /// Every so-manieth account is in hedge mode, the first one included; 0 = none.
    pub hedge_every: usize,
    /// Frames per second of all accounts together; 0 = only what is asked for.
    pub frames_per_second: f64,
    /// One in so many frames is sent twice, byte for byte; 0 = none.
    pub duplicate_one_in: u64,
    /// An account trades before its first connection. By default it begins with it, so that nothing is missed before.
    pub trades_unheard: bool,
    /// Of a listen key; the venue's is an hour.
    pub listen_key_lifetime: Duration,
    /// How the end of a key is told when its time is over.
    pub expiry_notice: ExpiryNotice,
    /// What comes of each spelling.
    pub spellings: Spellings,
    /// LIST_SUBSCRIPTIONS names a key that does not exist.
    pub lists_unknown_keys: bool,
    /// LIST_SUBSCRIPTIONS goes on naming a key that has died since it was asked for. What the venue does is not known; this
    /// is the harder for a client.
    pub lists_dead_keys: bool,
    /// Client messages in a rolling second on a private connection; the measured limit is 5 (`facts/binance.md` §3).
    pub messages_per_second: usize,
    /// The ledgers keep the bytes of every frame, up to [`SIM_FRAME_BYTES_KEPT_MAX`] together.
    pub keeps_bytes: bool,
    /// How REST tells of accounts.
    pub reads: ReadRules,
    /// An application trades on each account beside other people; see [`application`].
    pub has_application: bool,
}

impl Default for AccountsConfig {
    fn default() -> Self {
        AccountsConfig {
            count: 0,
            hedge_every: 3,
            frames_per_second: 0.0,
            duplicate_one_in: 50,
            trades_unheard: false,
            listen_key_lifetime: Duration::from_secs(3_600),
            expiry_notice: ExpiryNotice::Number,
            spellings: Spellings::default(),
            lists_unknown_keys: false,
            lists_dead_keys: true,
            messages_per_second: 5,
            keeps_bytes: false,
            reads: ReadRules::default(),
            has_application: false,
        }
    }
}

/// What a client needs to know of an account. Synthetic, and secret all the same: `Debug` shows neither key nor secret.
#[derive(Clone, PartialEq, Eq)]
pub struct AccountCredentials {
    /// Position in the list of accounts, from 0.
    pub index: usize,
    /// 64 characters, `SYNTHETICapiKey…`.
    pub api_key: String,
    /// 64 characters, `SYNTHETICapiSecret…`.
    pub api_secret: String,
    /// Positions have two sides.
    pub hedge_mode: bool,
}

impl fmt::Debug for AccountCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountCredentials")
            .field("index", &self.index)
            .field("hedge_mode", &self.hedge_mode)
            .finish_non_exhaustive()
    }
}

/// One account.
pub(in crate::sim) struct Account {
    pub(in crate::sim) credentials: AccountCredentials,
    pub(in crate::sim) is_revoked: bool,
    pub(in crate::sim) keys: KeyRing,
    pub(in crate::sim) book: AccountBook,
    /// The book before its newest changes, for reads that lag.
    pub(in crate::sim) earlier: Earlier,
    pub(in crate::sim) lives: Lives,
    pub(in crate::sim) ledger: AccountLedger,
    /// Connections that asked for one of its keys.
    pub(in crate::sim) sockets: Vec<u64>,
    /// Faults that wait for a live connection.
    pub(in crate::sim) faults: VecDeque<AccountFault>,
    /// Faults that wait at the door or the desk.
    pub(in crate::sim) door: VecDeque<AccountFault>,
    /// Every upgrade is answered with this status until then.
    pub(in crate::sim) refuses_until: (Mono, u16),
    /// It trades.
    pub(in crate::sim) has_begun: bool,
    /// The newest frames, for replays.
    pub(in crate::sim) recent: VecDeque<(u64, Event)>,
    /// Every listen key that it ever had.
    issued: Vec<Arc<str>>,
    /// The time of its entry among the expiries.
    watched: Mono,
    random: Random,
}

impl Account {
    /// Takes the first fault at the door that `wanted` picks, and counts it.
    pub(in crate::sim) fn meet(&mut self, wanted: impl Fn(&AccountFault) -> bool) -> Option<AccountFault> {
        let at = self.door.iter().position(wanted)?;
        let fault = self.door.remove(at)?;
        self.ledger.count_fault(fault.as_str());
        self.count_waiting();
        Some(fault)
    }

    pub(in crate::sim) fn count_waiting(&mut self) {
        self.ledger.faults_waiting = self.faults.len() + self.door.len();
    }
}

/// All accounts.
pub(in crate::sim) struct Accounts {
    pub(in crate::sim) config: AccountsConfig,
    pub(in crate::sim) list: Vec<Account>,
    by_api_key: HashMap<String, usize>,
    by_listen_key: HashMap<Arc<str>, usize>,
    /// When a key of an account dies; an entry may be out of date.
    expiries: BinaryHeap<Reverse<(Mono, usize)>>,
    instruments: Arc<[Arc<Instrument>]>,
    /// Accounts that trade.
    begun: Vec<usize>,
    seed: u64,
    random: Random,
    recorded: usize,
    bytes_kept: usize,
    /// Both ends, so that the queue lives as long as the venue.
    announcements: (Sender<Announcement>, Receiver<Announcement>),
}

impl Accounts {
    pub(in crate::sim) fn new(config: AccountsConfig, seed: u64, market: &Market) -> Self {
        let mut accounts = Accounts {
            list: Vec::new(),
            by_api_key: HashMap::new(),
            by_listen_key: HashMap::new(),
            expiries: BinaryHeap::new(),
            instruments: instruments(market.listed()),
            begun: Vec::new(),
            seed,
            random: Random::from_seed(seed ^ 0x0acc_0047),
            recorded: 0,
            bytes_kept: 0,
            announcements: crossbeam_channel::bounded(SIM_ANNOUNCEMENTS_MAX),
            config,
        };
        if accounts.instruments.is_empty() {
            accounts.config.count = 0;
        }
        for _ in 0..accounts.config.count {
            accounts.add();
        }
        accounts
    }

    /// Another account.
    pub(in crate::sim) fn add(&mut self) -> AccountCredentials {
        let index = self.list.len();
        let mut random = Random::from_seed(self.seed ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let hedge_mode = self.config.hedge_every > 0 && index.is_multiple_of(self.config.hedge_every);
        let credentials = AccountCredentials {
            index,
            api_key: synthetic("SYNTHETICapiKey", index, &mut random),
            api_secret: synthetic("SYNTHETICapiSecret", index, &mut random),
            hedge_mode,
        };
        self.by_api_key.insert(credentials.api_key.clone(), index);
        let mut lives = Lives::new(index, hedge_mode, Arc::clone(&self.instruments), random.fork());
        lives.has_application = self.config.has_application;
        self.list.push(Account {
            credentials: credentials.clone(),
            is_revoked: false,
            keys: KeyRing::default(),
            book: AccountBook { wallet: 25_000 * ONE, ..AccountBook::default() },
            earlier: Earlier::default(),
            lives,
            ledger: AccountLedger::default(),
            sockets: Vec::new(),
            faults: VecDeque::new(),
            door: VecDeque::new(),
            refuses_until: (Mono::ZERO, 0),
            has_begun: false,
            recent: VecDeque::new(),
            issued: Vec::new(),
            watched: Mono::NEVER,
            random,
        });
        if self.config.trades_unheard {
            self.begin(index);
        }
        credentials
    }

    /// Whether the market lists anything that an account could trade.
    pub(in crate::sim) fn is_tradable(&self) -> bool {
        !self.instruments.is_empty()
    }

    /// The account trades from now on.
    pub(in crate::sim) fn begin(&mut self, index: usize) {
        if !std::mem::replace(&mut self.list[index].has_begun, true) {
            self.begun.push(index);
        }
    }

    /// One of the accounts that trade.
    pub(in crate::sim) fn draw(&mut self) -> Option<usize> {
        let at = self.random.below(self.begun.len() as u64) as usize;
        self.begun.get(at).copied()
    }

    /// Whose API key this is, revoked ones included.
    pub(in crate::sim) fn of_api_key(&self, api_key: &str) -> Option<usize> {
        self.by_api_key.get(api_key).copied()
    }

    /// Whose living listen key this is.
    pub(in crate::sim) fn of_listen_key(&self, key: &str) -> Option<usize> {
        self.by_listen_key.get(key).copied()
    }

    /// POST: the account's key, extended or fresh.
    pub(in crate::sim) fn post_key(&mut self, index: usize, now: Mono) -> Arc<str> {
        let account = &mut self.list[index];
        let before = account.keys.active().cloned();
        let (key, fresh) = account
            .keys
            .post(now, self.config.listen_key_lifetime, || fresh_key(index, &mut account.issued, &mut account.random));
        if fresh {
            if let Some(gone) = before {
                self.by_listen_key.remove(&gone);
            }
            self.by_listen_key.insert(Arc::clone(&key), index);
        }
        self.watch(index);
        key
    }

    /// PUT: the key, extended; another one when a rotation is due.
    pub(in crate::sim) fn put_key(&mut self, index: usize, rotation: Option<Duration>, now: Mono) -> Option<Arc<str>> {
        let account = &mut self.list[index];
        let key = account.keys.put(now, self.config.listen_key_lifetime)?;
        let Some(grace) = rotation else {
            self.watch(index);
            return Some(key);
        };
        let fresh = fresh_key(index, &mut account.issued, &mut account.random);
        let gone = account.keys.rotate(now, self.config.listen_key_lifetime, grace, Arc::clone(&fresh));
        // Without grace the one before is dead at once.
        for gone in gone.into_iter().chain(account.keys.poll_retired(now)) {
            self.by_listen_key.remove(&gone);
        }
        self.by_listen_key.insert(Arc::clone(&fresh), index);
        self.watch(index);
        Some(fresh)
    }

    /// The account's key is dead from now on, without a word.
    pub(in crate::sim) fn drop_key(&mut self, index: usize) -> bool {
        let dropped = self.list[index].keys.drop_active();
        self.watch(index);
        dropped.is_some_and(|key| self.by_listen_key.remove(&key).is_some())
    }

    /// Everything that no output may hold: API keys, secrets, and listen keys ever issued.
    pub(in crate::sim) fn secrets(&self) -> Vec<String> {
        let of = |account: &Account| {
            let credentials = [account.credentials.api_key.clone(), account.credentials.api_secret.clone()];
            credentials.into_iter().chain(account.issued.iter().map(|key| key.to_string())).collect::<Vec<_>>()
        };
        self.list.iter().flat_map(of).collect()
    }

    /// When the next key dies, perhaps.
    pub(in crate::sim) fn expiry_due(&self) -> Mono {
        self.expiries.peek().map_or(Mono::NEVER, |Reverse((at, _))| *at)
    }

    /// An account whose active key's time is over. The key itself stays until [`Accounts::drop_key`].
    pub(in crate::sim) fn poll_expired(&mut self, now: Mono) -> Option<usize> {
        while let Some(&Reverse((at, index))) = self.expiries.peek()
            && at <= now
        {
            self.expiries.pop();
            let account = &mut self.list[index];
            if account.watched != at {
                continue;
            }
            account.watched = Mono::NEVER;
            if let Some(gone) = account.keys.poll_retired(now) {
                self.by_listen_key.remove(&gone);
            }
            if self.list[index].keys.is_active_over(now) {
                return Some(index);
            }
            self.watch(index);
        }
        None
    }

    /// Writes a frame into the account's ledger, if there is room. `text` is the event without wrapper.
    pub(in crate::sim) fn record(&mut self, index: usize, event: &Event, malformed: bool, now: Now) -> Option<u64> {
        let account = &mut self.list[index];
        if self.recorded >= SIM_FRAMES_RECORDED_MAX {
            account.ledger.unrecorded += 1;
            return None;
        }
        self.recorded += 1;
        let masked = account.keys.active().filter(|key| event.text.contains(&***key)).map(|key| {
            // A recorder overwrites the key.
            event.text.replace(&**key, &"*".repeat(key.len()))
        });
        let kept = masked.as_ref().unwrap_or(&event.text).as_bytes();
        let keeps = malformed || (self.config.keeps_bytes && self.bytes_kept + kept.len() <= SIM_FRAME_BYTES_KEPT_MAX);
        if keeps {
            self.bytes_kept += kept.len();
        }
        let name = if malformed { "malformed" } else { event.name };
        let number = account.ledger.record(name, event, kept, keeps, now.wall);
        if account.recent.len() == SIM_REPLAY_FRAMES {
            account.recent.pop_front();
        }
        account.recent.push_back((number, event.clone()));
        Some(number)
    }

    fn watch(&mut self, index: usize) {
        let account = &mut self.list[index];
        let due = account.keys.due();
        // A PUT moves the end; the entry that is too early finds out and is renewed.
        if due < account.watched {
            account.watched = due;
            self.expiries.push(Reverse((due, index)));
        }
    }
}

fn fresh_key(index: usize, issued: &mut Vec<Arc<str>>, random: &mut Random) -> Arc<str> {
    let key: Arc<str> = synthetic("SYNTHETIClistenKey", index, random).into();
    issued.push(Arc::clone(&key));
    key
}

/// 64 letters and digits that say what they are.
fn synthetic(what: &str, index: usize, random: &mut Random) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut text = format!("{what}{index:05}");
    while text.len() < 64 {
        text.push(char::from(ALPHABET[random.below(32) as usize]));
    }
    text
}
