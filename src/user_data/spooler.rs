//! The spooler: takes the lanes' batches, writes each with one `write(2)`, and says who may read on.
//!
//! While the spool takes nothing (full, disk broken, syncs behind) what was taken stays here, all streams pause, and it is
//! tried again; an account over its share pauses alone, its records wait here in order. A liveness mark every
//! [`LIVENESS_MARK_EVERY`] says when each account was last alive, never more than what is written bears out. An account
//! that is not hosted any more is forgotten once all its frames are acknowledged, so that accounts may come and go for ever.
//!
//! A turn is one bounded piece of work, so that a test drives it without the thread.

mod flow;
mod leaving;
mod recovered;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use self::flow::Flow;
pub use self::flow::Reading;
use self::recovered::RecoveredRecords;
pub use self::recovered::{RecoveredLink, Written};
use super::lane::{Lane, Taken};
use super::registry::Accounts;
use crate::domain::limits::{
    LIVENESS_MARK_EVERY, SPOOL_ACCOUNTS_MAX, SPOOL_RETRY_MIN, SPOOLER_DAMAGE_MAX, SPOOLER_IDLE_MAX,
};
use crate::domain::{Mono, Now, Wall};
use crate::spool::{
    AccountId, AppendError, Appender, Batch, Disk, Entry, ExchangeId, Gap, Kind, LivenessEntry, SpoolStatus,
};

/// Records of the spool that could not be read again, met by the dispatcher: frames between two instants are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Receive time of the last whole record before them; `None` if there is none.
    pub after: Option<Wall>,
    /// Receive time of the first one behind them, or when it was noticed.
    pub before: Wall,
}

/// Tells the spooler of damage, so that it lies in gap records.
#[derive(Clone, Debug)]
pub struct DamageLink {
    damage: Sender<Damage>,
}

impl DamageLink {
    /// Hands it over. `false`: too much waits; bring it again.
    #[must_use]
    pub fn tell(&self, damage: Damage) -> bool {
        self.damage.try_send(damage).is_ok()
    }
}

/// See the module's documentation.
pub struct Spooler<D: Disk> {
    appender: Appender<D>,
    lanes: Vec<Arc<Lane>>,
    accounts: Arc<Accounts>,
    reading: Box<dyn Reading>,
    /// Batches that were taken and not written, with the lane that each goes back to.
    pending: VecDeque<(Batch, Option<usize>)>,
    /// Records of accounts over their share, each account's in order.
    held: BTreeMap<AccountId, Held>,
    /// Signs of life that hold once `pending` is written.
    heard: Vec<(AccountId, Wall)>,
    /// Signs of life that are borne out and not yet marked.
    alive: HashMap<AccountId, Wall>,
    /// Accounts that are not hosted any more and not yet forgotten, and when they may be.
    leaving: BTreeMap<AccountId, Mono>,
    /// Accounts that paused because the lane was full.
    paused: Vec<AccountId>,
    taken: Taken,
    marks: Batch,
    mark_payload: Vec<u8>,
    mark_every: Duration,
    next_mark: Mono,
    next_show: Mono,
    flow: Flow,
    damage: Receiver<Damage>,
    damage_link: DamageLink,
    recovered: Receiver<RecoveredRecords>,
    recovered_link: RecoveredLink,
    /// Recovered records that found no room.
    unwritten: VecDeque<RecoveredRecords>,
    status: Arc<Mutex<SpoolerStatus>>,
}

#[derive(Debug)]
struct Held {
    records: Batch,
    is_paused: bool,
}

/// What the spooler does, for people.
#[derive(Clone, Debug, Default)]
pub struct SpoolerStatus {
    /// Positions, sizes, states of the spool.
    pub spool: SpoolStatus,
    /// Batches written.
    pub batches: u64,
    /// Liveness marks written.
    pub marks: u64,
    /// Why all streams pause, and since when; `None` while they do not.
    pub shut: Option<(String, Wall)>,
    /// Times that all streams paused.
    pub shuts: u64,
    /// Accounts that wait because they are over their share.
    pub held: Vec<AccountId>,
    /// Records taken and not written.
    pub waiting: usize,
}

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolerTurn {
    /// Records written.
    pub written: usize,
    /// Wait for the wake no longer than this.
    pub wait: Duration,
}

impl<D: Disk> Spooler<D> {
    /// A spooler behind `lanes`, one for each loop.
    #[must_use]
    pub fn new(
        appender: Appender<D>,
        lanes: Vec<Arc<Lane>>,
        accounts: Arc<Accounts>,
        reading: Box<dyn Reading>,
    ) -> Self {
        let (tell, damage) = bounded(SPOOLER_DAMAGE_MAX);
        let (recovered_link, recovered) = recovered::lane();
        Spooler {
            appender,
            lanes,
            accounts,
            reading,
            pending: VecDeque::new(),
            held: BTreeMap::new(),
            heard: Vec::new(),
            alive: HashMap::new(),
            leaving: BTreeMap::new(),
            paused: Vec::new(),
            taken: Taken::default(),
            marks: Batch::new(),
            mark_payload: Vec::new(),
            mark_every: LIVENESS_MARK_EVERY,
            next_mark: Mono::ZERO,
            next_show: Mono::ZERO,
            flow: Flow::Open,
            damage,
            damage_link: DamageLink { damage: tell },
            recovered,
            recovered_link,
            unwritten: VecDeque::new(),
            status: Arc::default(),
        }
    }

    /// Marks at this pace (`user_data.liveness_mark_s`).
    #[must_use]
    pub fn with_marks_every(mut self, every: Duration) -> Self {
        self.mark_every = every;
        self
    }

    /// For the dispatcher.
    #[must_use]
    pub fn damage_link(&self) -> DamageLink {
        self.damage_link.clone()
    }

    /// For whoever recovers what was missed.
    #[must_use]
    pub fn recovered_link(&self) -> RecoveredLink {
        self.recovered_link.clone()
    }

    /// Where the status is.
    #[must_use]
    pub fn status(&self) -> Arc<Mutex<SpoolerStatus>> {
        Arc::clone(&self.status)
    }

    /// Does what there is to do.
    pub fn turn(&mut self, now: Now) -> SpoolerTurn {
        let mut written = self.write_pending(now);
        // What is taken at once stays in the lanes otherwise, where it is bounded.
        if self.pending.is_empty() {
            self.settle();
            self.take();
            written += self.write_pending(now);
            if self.pending.is_empty() {
                self.settle();
            }
        }
        self.record_damage(now);
        written += self.write_recovered(now);
        written += self.retry_held(now);
        if now.mono >= self.next_mark {
            self.mark(now);
        }
        match self.appender.turn(now) {
            Err(error) => self.shut(&error, now),
            // A failed sync was mended, and no frame waits that could show it.
            Ok(()) if self.pending.is_empty() => self.open(now),
            Ok(()) => {}
        }
        self.tell_loops(now);
        if now.mono >= self.next_show {
            self.next_show = now.mono.plus(SPOOLER_IDLE_MAX);
            self.forget_leaving(now.mono);
            self.show();
        }
        let wait = match self.flow {
            Flow::Open if self.held.is_empty() && self.paused.is_empty() => SPOOLER_IDLE_MAX,
            _ => SPOOL_RETRY_MIN,
        };
        SpoolerTurn { written, wait }
    }

    /// Writes all that can be written, and the last marks: before the process ends, after the loops have. Records that the
    /// spool does not take; they lie in the gap that the next start records.
    pub fn finish(&mut self, now: Now) -> usize {
        if let Flow::Shut { retry_at, .. } = &mut self.flow {
            *retry_at = Mono::ZERO;
        }
        self.turn(now);
        self.turn(now);
        self.mark(now);
        self.show();
        self.waiting()
    }

    fn take(&mut self) {
        for (at, lane) in self.lanes.iter().enumerate() {
            lane.take(&mut self.taken);
            self.pending.extend(self.taken.batches.drain(..).map(|batch| (batch, Some(at))));
        }
        self.heard.append(&mut self.taken.heard);
        self.paused.append(&mut self.taken.paused);
    }

    /// All that was taken is written, but for accounts that wait: what was heard with it holds.
    fn settle(&mut self) {
        for (account, at) in self.heard.drain(..) {
            if !self.held.contains_key(&account) {
                self.alive.insert(account, at);
            }
        }
    }

    fn write_pending(&mut self, now: Now) -> usize {
        if let Flow::Shut { retry_at, .. } = self.flow
            && now.mono < retry_at
        {
            return 0;
        }
        let mut written = 0;
        while let Some((mut batch, lane)) = self.pending.pop_front() {
            // An account whose earlier records wait must not be overtaken by itself.
            for (&account, held) in &mut self.held {
                batch.move_account(account, &mut held.records);
            }
            let is_marks = batch.is_marks();
            match self.appender.append(&mut batch, now) {
                Ok(appended) => {
                    written += appended.written;
                    for &account in &appended.full_accounts {
                        let held = self
                            .held
                            .entry(account)
                            .or_insert_with(|| Held { records: Batch::new(), is_paused: false });
                        batch.move_account(account, &mut held.records);
                        tracing::warn!(
                            account = account.0,
                            "the account's share of the spool is used up: it is not read"
                        );
                    }
                    debug_assert!(batch.is_empty(), "what is left belongs to the accounts that are over their share");
                    if let Some(lane) = lane {
                        self.lanes[lane].give_back(batch);
                    }
                    // A full spool takes marks too, which says nothing about frames.
                    if !is_marks {
                        self.open(now);
                    }
                }
                Err(error) => {
                    self.pending.push_front((batch, lane));
                    if matches!(error, AppendError::TooManyAccounts) && self.forget_strangers() {
                        continue;
                    }
                    self.shut(&error, now);
                    break;
                }
            }
        }
        if written > 0 {
            self.status.lock().batches += 1;
        }
        written
    }

    /// Accounts that have room again.
    fn retry_held(&mut self, now: Now) -> usize {
        let mut written = 0;
        let accounts: Vec<AccountId> = self.held.keys().copied().collect();
        for account in accounts {
            if self.appender.is_held_back(account) {
                continue;
            }
            let Some(held) = self.held.get_mut(&account) else { continue };
            match self.appender.append(&mut held.records, now) {
                Ok(appended) => written += appended.written,
                // The other accounts find out by themselves; this one waits in any case.
                Err(_) => break,
            }
            let Some(held) = self.held.get(&account) else { continue };
            if held.records.is_empty() && (!held.is_paused || self.resume(account, now)) {
                self.held.remove(&account);
                tracing::info!(account = account.0, "the account has room in the spool again: it is read");
            }
        }
        written
    }

    /// Gap records for what the dispatcher could not read, of every account that may be concerned.
    fn record_damage(&mut self, now: Now) {
        while let Ok(damage) = self.damage.try_recv() {
            let mut batch = Batch::new();
            let mut text = Vec::new();
            for cell in self.accounts.all() {
                text.clear();
                let silent_since = damage.after.map(|after| after.min(damage.before));
                Gap { silent_since, live_at: damage.before, reason: "damage".to_owned() }.write(&mut text);
                let (account, exchange) = (cell.id(), cell.exchange());
                let entry = Entry { kind: Kind::Gap, account, exchange, received_at: now.wall };
                if batch.push(entry, &text, &[]).is_err() {
                    self.pending.push_back((std::mem::take(&mut batch), None));
                    batch.push(entry, &text, &[]).expect("an empty batch takes a gap record");
                }
            }
            if !batch.is_empty() {
                self.pending.push_back((batch, None));
            }
        }
        if !self.pending.is_empty() {
            self.write_pending(now);
        }
    }

    fn mark(&mut self, now: Now) {
        self.next_mark = now.mono.plus(self.mark_every);
        if self.alive.is_empty() {
            return;
        }
        self.mark_payload.clear();
        for (&account, &alive_at) in self.alive.iter().take(SPOOL_ACCOUNTS_MAX) {
            let entry = LivenessEntry { account, alive_at, last_position: 0 };
            self.mark_payload.extend_from_slice(&entry.encode());
        }
        let entry =
            Entry { kind: Kind::Liveness, account: AccountId(0), exchange: ExchangeId(0), received_at: now.wall };
        self.marks.clear();
        self.marks.push(entry, &self.mark_payload, &[]).expect("checked in limits: all accounts fit one record");
        match self.appender.append(&mut self.marks, now) {
            Ok(appended) if appended.written > 0 => {
                self.alive.clear();
                self.status.lock().marks += 1;
            }
            // A mark that is not written only widens a gap.
            Ok(_) => {}
            Err(error) => tracing::debug!("no liveness mark: {error}"),
        }
    }

    fn waiting(&self) -> usize {
        self.pending.iter().map(|(batch, _)| batch.records()).sum::<usize>()
            + self.held.values().map(|held| held.records.records()).sum::<usize>()
    }

    fn show(&self) {
        let spool = self.appender.status();
        let mut status = self.status.lock();
        status.spool = spool;
        status.waiting = self.waiting();
        status.held.clear();
        status.held.extend(self.held.keys());
    }
}
