//! Every account's listen key: which one it has, who must hear of a change, and what its row says. Sans-IO: the schedule
//! gives out calls, answers come back, and from the state that results commands and rows follow.
//!
//! Commands are differences between what is so and what the user-data role was told, so however slow the role is, what
//! waits for it is bounded, and it hears the newest. A key that changes keeps its old socket until the new one is verified.

mod account;
pub mod command;
pub mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use self::account::{Account, HeldKey, usable};
use self::command::{AccountCommand, KeyLoss};
use self::rows::RowBook;
use super::discovery::{ApiKey, Change, SeenRow, Sighting, WantedAccount, reconcile, stale_rows};
use super::key_schedule::{Answer, KeySchedule, Lane, Order, Pace, Settled};
use crate::domain::{Mono, Now, Random};
use crate::exchange::binance::listen_key::{KeyCall, ListenKey, read_extension, read_listen_key};

/// What the venue answered.
#[derive(Clone, PartialEq, Eq)]
pub struct VenueAnswer {
    /// HTTP status.
    pub status: u16,
    /// Holds a listen key where all is well.
    pub body: Vec<u8>,
    /// The header of that name.
    pub retry_after: Option<String>,
    /// `x-mbx-used-weight-1m`.
    pub used_weight: Option<u32>,
}

impl std::fmt::Debug for VenueAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VenueAnswer({}, {} bytes)", self.status, self.body.len())
    }
}

/// A call of the venue, and with whose API key.
#[derive(Clone, Debug)]
pub struct VenueCall {
    /// Whose, and what.
    pub order: Order,
    /// The header's value.
    pub api_key: ApiKey,
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// First keys, and new keys in place of dead ones.
    pub created: u64,
    /// Extensions.
    pub extended: u64,
    /// Of these, those that brought another key.
    pub rotated: u64,
    /// Calls that the venue refused.
    pub refused: u64,
    /// Calls that nobody answered.
    pub unanswered: u64,
    /// Keys that died.
    pub lost: u64,
}

/// The accounts of one venue.
#[derive(Debug)]
pub struct ListenKeys {
    schedule: KeySchedule,
    accounts: BTreeMap<i64, Account>,
    /// Accounts of which the role must still hear that they have gone.
    leaving: BTreeSet<i64>,
    /// Accounts whose state and the role's knowledge of it may differ, each once.
    unsaid: VecDeque<i64>,
    generation: u64,
    exposed: Arc<BTreeSet<i64>>,
    rows: RowBook,
    counts: KeyCounts,
    random: Random,
}

impl ListenKeys {
    /// Without accounts.
    #[must_use]
    pub fn new(pace: Pace, random: Random) -> Self {
        ListenKeys {
            schedule: KeySchedule::new(pace),
            accounts: BTreeMap::new(),
            leaving: BTreeSet::new(),
            unsaid: VecDeque::new(),
            generation: 0,
            exposed: Arc::default(),
            rows: RowBook::default(),
            counts: KeyCounts::default(),
            random,
        }
    }

    /// What the database holds: accounts come, go and change; rows of nobody are removed, rows that are missing are
    /// written again, and a row in which somebody else has put another key raises a doubt.
    pub fn handle_sighting(&mut self, sighting: &Sighting, now: Now) -> Vec<Change> {
        self.note_exposed(&sighting.exposed);
        let changes = reconcile(&sighting.accounts, self.accounts.values().map(|account| &account.wanted));
        for change in &changes {
            self.apply(change.clone(), now);
        }
        for account in stale_rows(sighting) {
            self.rows.delete(account);
        }
        let seen: BTreeMap<i64, &SeenRow> = sighting.rows.iter().map(|row| (row.account, row)).collect();
        for (&id, account) in &mut self.accounts {
            let row = seen.get(&id).copied();
            let before = std::mem::replace(&mut account.row, row.cloned()).and_then(|row| row.key);
            let Some(held) = account.key.as_ref().filter(|_| !self.rows.has_pending(id)) else { continue };
            match row.map(|row| row.key.as_ref()) {
                None => self.rows.put(id, held.key.clone(), true, now.wall),
                Some(Some(key)) if *key != held.key && before.as_ref() != Some(key) => {
                    self.schedule.doubt(id, now.mono)
                }
                Some(_) => {}
            }
        }
        changes
    }

    /// These accounts have open positions or working orders: their new keys and their connections come first.
    pub fn note_exposed(&mut self, exposed: &BTreeSet<i64>) {
        if *self.exposed != *exposed {
            self.exposed = Arc::new(exposed.clone());
            self.schedule.prefer(Arc::clone(&self.exposed));
        }
    }

    /// What [`ListenKeys::note_exposed`] was told last; the same one as before where nothing has changed.
    #[must_use]
    pub fn exposed(&self) -> Arc<BTreeSet<i64>> {
        Arc::clone(&self.exposed)
    }

    /// The next call of one of `lanes`, if one is due. Its answer goes to [`ListenKeys::handle_answer`].
    pub fn poll_call(&mut self, lanes: &[Lane], now: Now) -> Option<VenueCall> {
        self.look_for_losses(now);
        let order = self.schedule.poll(lanes, now.mono)?;
        let api_key = self.accounts.get(&order.account).and_then(|account| account.api_key.clone());
        let api_key = api_key.expect("an account enters the schedule with an API key and leaves it before it goes");
        Some(VenueCall { order, api_key })
    }

    /// What the venue said, or the sentence that says why it said nothing.
    pub fn handle_answer(&mut self, order: &Order, answer: Result<&VenueAnswer, &str>, now: Now) {
        let read = match answer {
            Ok(answer) => {
                if let Some(used) = answer.used_weight {
                    self.schedule.note_used_weight(used, now);
                }
                let retry_after = answer.retry_after.as_deref();
                match order.lane {
                    Lane::KeepAlive => read_extension(answer.status, &answer.body, retry_after),
                    Lane::Create => read_listen_key(answer.status, &answer.body, retry_after).map(Some),
                }
                .map_err(Some)
            }
            Err(_) => Err(None),
        };
        let fate = match read {
            Ok(_) => Answer::Granted,
            Err(Some(refusal)) => Answer::Refused(refusal),
            Err(None) => Answer::Nothing,
        };
        match fate {
            Answer::Granted => {}
            Answer::Refused(_) => self.counts.refused += 1,
            Answer::Nothing => self.counts.unanswered += 1,
        }
        let settled = self.schedule.settle(order, fate, now, &mut self.random);
        let Some(account) = self.accounts.get_mut(&order.account) else { return };
        match (settled, read) {
            (Settled::Granted { is_first }, Ok(key)) => self.granted(order, is_first, key, now),
            (Settled::KeyGone, _) => {
                account.loss = Some(KeyLoss::Unknown);
                self.counts.lost += 1;
                self.rows.failed(order.account);
                tracing::info!(
                    account = order.account,
                    "the venue does not know the listen key any more: asking for a new one"
                );
            }
            (Settled::Failed { .. }, Err(refusal)) => {
                self.rows.failed(order.account);
                account.failed(refusal, answer.err().unwrap_or_default());
            }
            (Settled::Stale | Settled::Granted { .. } | Settled::Failed { .. }, _) => {}
        }
        self.say(order.account);
    }

    /// The account's stream says that the key of this generation has expired. Said twice, or of an older key, it is once.
    pub fn handle_expiry(&mut self, account: i64, key_generation: u64, now: Now) {
        let Some(known) = self.accounts.get_mut(&account) else { return };
        if known.loss.is_some() || known.key.as_ref().is_none_or(|held| held.generation != key_generation) {
            return;
        }
        known.loss = Some(KeyLoss::Expired);
        // The one who says it knows it.
        known.told.gone = Some(key_generation);
        self.counts.lost += 1;
        self.schedule.renew(account, now.mono);
    }

    /// Something is odd about the account's stream: its key is asked for by POST.
    pub fn handle_doubt(&mut self, account: i64, now: Now) {
        self.schedule.doubt(account, now.mono);
    }

    /// See [`KeySchedule::retry_failed`].
    pub fn handle_retry(&mut self, now: Now) {
        self.schedule.retry_failed(now.mono);
    }

    /// See [`KeySchedule::hold_creates`].
    pub fn hold_new_keys(&mut self, are_held: bool) {
        self.schedule.hold_creates(are_held);
    }

    /// The account's row was not there to be updated: somebody removed it, but the account is streamed.
    pub fn handle_missing_row(&mut self, account: i64, now: Now) {
        let held = self.accounts.get(&account).and_then(|known| known.key.as_ref());
        if let Some(held) = held.filter(|_| !self.rows.has_pending(account)) {
            self.rows.put(account, held.key.clone(), true, now.wall);
        }
    }

    /// Whether the account is wanted.
    #[must_use]
    pub fn is_streamed(&self, account: i64) -> bool {
        self.accounts.contains_key(&account)
    }

    /// The next thing that the user-data role must hear.
    pub fn poll_command(&mut self) -> Option<AccountCommand> {
        while let Some(&id) = self.unsaid.front() {
            if self.leaving.remove(&id) {
                return Some(AccountCommand::Reap { account: id });
            }
            if let Some(command) = self.accounts.get_mut(&id).and_then(Account::next_command) {
                return Some(command);
            }
            self.unsaid.pop_front();
        }
        None
    }

    /// When a call of these lanes may be due.
    #[must_use]
    pub fn next_deadline(&self, lanes: &[Lane]) -> Mono {
        self.schedule.next_deadline(lanes)
    }

    /// What is to be written.
    pub fn rows(&mut self) -> &mut RowBook {
        &mut self.rows
    }

    /// When the schedule lets calls go again; see [`KeySchedule::address_held_until`].
    #[must_use]
    pub fn schedule(&self) -> &KeySchedule {
        &self.schedule
    }

    /// What happened since the start.
    #[must_use]
    pub fn counts(&self) -> KeyCounts {
        self.counts
    }

    /// Accounts that are wanted, and of these the ones with a key that is good.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        let good = self.accounts.values().filter(|account| account.key.is_some() && account.loss.is_none());
        (self.accounts.len(), good.count())
    }

    /// Accounts in trouble, each with the sentence that says why.
    pub fn troubles(&self) -> impl Iterator<Item = (&WantedAccount, Arc<str>)> {
        self.accounts.values().filter_map(|account| account.trouble().map(|trouble| (&account.wanted, trouble)))
    }

    fn apply(&mut self, change: Change, now: Now) {
        let id = match &change {
            Change::Reap(id) => *id,
            Change::Spawn(wanted) | Change::Credentials(wanted) | Change::Name(wanted) => wanted.id,
        };
        match change {
            Change::Spawn(wanted) => {
                let account = Account::new(wanted);
                if account.api_key.is_some() {
                    self.schedule.add(id, now.mono);
                }
                self.accounts.insert(id, account);
            }
            Change::Reap(_) => {
                self.schedule.remove(id);
                self.rows.delete(id);
                if self.accounts.remove(&id).is_some_and(|account| account.told.is_anything()) {
                    self.leaving.insert(id);
                }
            }
            Change::Credentials(wanted) => {
                let Some(account) = self.accounts.get_mut(&id) else { return };
                let before = account.api_key.clone();
                account.api_key = usable(&wanted).or(before.clone());
                account.wanted = wanted;
                if account.api_key != before {
                    (account.failures, account.refused) = (0, None);
                    if before.is_some() {
                        self.schedule.start_over(id, now.mono);
                    } else {
                        self.schedule.add(id, now.mono);
                    }
                }
            }
            Change::Name(wanted) => {
                let Some(account) = self.accounts.get_mut(&id) else { return };
                account.wanted = wanted;
            }
        }
        self.say(id);
    }

    fn granted(&mut self, order: &Order, is_first: bool, key: Option<ListenKey>, now: Now) {
        let id = order.account;
        let Some(account) = self.accounts.get_mut(&id) else { return };
        let before = account.key.as_ref().map(|held| held.key.clone());
        let Some(key) = key.or_else(|| before.clone()) else { return };
        let is_other = before.as_ref() != Some(&key);
        let was_good_at = account.extended_at.replace(now.wall);
        // What an earlier process left, where that was another key.
        let left = account.row.take_if(|row| before.is_none() && row.key.as_ref() != Some(&key));
        match (is_first, order.call) {
            (true, _) => self.counts.created += 1,
            (false, KeyCall::Create | KeyCall::Extend) => self.counts.extended += 1,
        }
        if before.is_none() {
            self.rows.put(id, key.clone(), account.row.is_none(), now.wall);
        } else {
            self.rows.kept(id, now.wall, is_other.then(|| key.clone()));
            self.counts.rotated += u64::from(is_other && !is_first);
        }
        if is_other || account.loss.is_some() {
            self.generation += 1;
            let replaced = match &account.key {
                None => left.and_then(|row| row.kept_at),
                // Of the key that the role knows, which is not the last one if it has not heard of that.
                Some(held) if account.told.generation == Some(held.generation) => was_good_at,
                Some(held) => held.replaced,
            };
            account.key = Some(HeldKey { key, generation: self.generation, replaced });
        }
        (account.loss, account.failures, account.refused) = (None, 0, None);
    }

    fn look_for_losses(&mut self, now: Now) {
        while let Some(id) = self.schedule.poll_lost(now.mono) {
            if let Some(account) = self.accounts.get_mut(&id) {
                account.loss = Some(KeyLoss::Unextended);
                account.refused.get_or_insert_with(|| "nobody could extend its listen key for an hour".into());
                self.counts.lost += 1;
                tracing::warn!(account = id, "nobody could extend the listen key for an hour: it counts as dead");
            }
            self.say(id);
        }
    }

    fn say(&mut self, account: i64) {
        // Far fewer wait than there are accounts; only a role that takes nothing makes this long.
        if !self.unsaid.contains(&account) {
            self.unsaid.push_back(account);
        }
    }
}
