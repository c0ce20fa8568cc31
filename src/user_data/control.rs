//! The control half of the user-data role: discovery, listen keys, rows. [`Control`] is the whole of it without threads,
//! sockets, database or clock: a test turns it by hand. [`spawn`] puts it behind one lock that nobody holds while waiting,
//! with one thread for the database and a few for REST, the only blocking ones.
//!
//! While the database is away streams go on with the accounts and keys that are known, and what is to be written waits,
//! the newest of each row. While the venue is away rows say so, and discovery goes on.

pub mod chore;
pub mod gap_book;
pub mod ports;
mod status;
#[cfg(test)]
mod tests;
mod threads;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use self::chore::{Chore, WriteBatch, Written};
use self::gap_book::{GapBook, GapsFull, WaitingGap};
pub use self::status::ControlStatus;
pub use self::threads::{ControlHandle, ControlLink, ControlParts, spawn};
use super::discovery::{Cadence, Change, Sighting, retry_pause};
use super::key_schedule::{Lane, Order, Pace};
use super::listen_keys::command::AccountCommand;
use super::listen_keys::{ListenKeys, VenueAnswer, VenueCall};
use crate::domain::limits::{DATABASE_SILENCE_SHOWN, GAP_BATCH_MAX, ROW_BATCH_MAX, TROUBLES_NAMED_MAX};
use crate::domain::{Mono, Now, Random, Wall};
use crate::store::StoreError;

/// What the settings say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlConfig {
    /// `api_systems.canonical` of the venue.
    pub canonical: String,
    /// Between two looks for accounts that came, went or changed.
    pub discovery: Duration,
    /// How often a key is extended.
    pub pace: Pace,
    /// Threads altogether: one for the database, the others for REST; three at least.
    pub threads: usize,
}

/// Discovery, listen keys and rows of one venue.
#[derive(Debug)]
pub struct Control {
    cadence: Cadence,
    keys: ListenKeys,
    gaps: GapBook,
    database: Database,
    /// Since when a chore is being done; there is one at a time.
    busy_since: Option<Mono>,
    /// Gaps were written last: other rows are next, if there are any.
    is_rows_turn: bool,
    last_look_at: Option<Wall>,
    last_keep_alive_at: Option<Wall>,
    rows_refused: u64,
    gaps_turned_away: u64,
    random: Random,
}

#[derive(Debug, Default)]
struct Database {
    failures: u32,
    not_before: Mono,
    fault: Option<Arc<str>>,
}

impl Control {
    /// Knows nobody yet; the first look is due at once.
    #[must_use]
    pub fn new(config: &ControlConfig, mut random: Random) -> Self {
        Control {
            cadence: Cadence::new(config.discovery),
            keys: ListenKeys::new(config.pace, random.fork()),
            gaps: GapBook::default(),
            database: Database::default(),
            busy_since: None,
            is_rows_turn: false,
            last_look_at: None,
            last_keep_alive_at: None,
            rows_refused: 0,
            gaps_turned_away: 0,
            random,
        }
    }

    /// The next call of the venue in one of `lanes`; [`Control::handle_answer`] must follow.
    pub fn poll_call(&mut self, lanes: &[Lane], now: Now) -> Option<VenueCall> {
        self.keys.poll_call(lanes, now)
    }

    /// What the venue said, or why it said nothing.
    pub fn handle_answer(&mut self, order: &Order, answer: Result<&VenueAnswer, &str>, now: Now) {
        let before = self.keys.counts();
        self.keys.handle_answer(order, answer, now);
        let after = self.keys.counts();
        if (before.created, before.extended) != (after.created, after.extended) {
            self.last_keep_alive_at = Some(now.wall);
        }
    }

    /// When [`Control::poll_call`] may have something.
    #[must_use]
    pub fn next_call_at(&self, lanes: &[Lane]) -> Mono {
        self.keys.next_deadline(lanes)
    }

    /// The next thing to do at the database, one at a time; its outcome must be handed in.
    pub fn poll_chore(&mut self, now: Now) -> Option<Chore> {
        if self.busy_since.is_none() && self.cadence.due() <= now.mono {
            self.cadence.started(now.mono);
            self.busy_since = Some(now.mono);
            return Some(Chore::Look);
        }
        self.poll_write(now)
    }

    /// Of the chores, only what is to be written: at the end.
    pub fn poll_write(&mut self, now: Now) -> Option<Chore> {
        let is_due = self.database.not_before <= now.mono && (self.keys.rows().due() <= now.mono || self.gaps.is_due());
        if self.busy_since.is_some() || !is_due {
            return None;
        }
        self.busy_since = Some(now.mono);
        // Gaps go alone, so that they are settled as soon as they are committed, and in turn with the rest.
        let are_gaps_next = self.gaps.is_due() && !(self.is_rows_turn && self.keys.rows().due() <= now.mono);
        self.is_rows_turn = are_gaps_next;
        if are_gaps_next {
            return Some(Chore::Write(WriteBatch { gaps: self.gaps.take(GAP_BATCH_MAX), ..WriteBatch::default() }));
        }
        let rows = self.keys.rows().take(ROW_BATCH_MAX, now.mono);
        Some(Chore::Write(WriteBatch { rows, gaps: Vec::new() }))
    }

    /// When [`Control::poll_chore`] may have something.
    #[must_use]
    pub fn next_chore_at(&mut self) -> Mono {
        if self.busy_since.is_some() {
            return Mono::NEVER;
        }
        let write = if self.gaps.is_due() { Mono::ZERO } else { self.keys.rows().due() };
        self.cadence.due().min(write.max(self.database.not_before))
    }

    /// What a look brought. On an error nothing changes: nobody is reaped because a database cannot be read.
    pub fn handle_look(&mut self, look: Result<Sighting, StoreError>, now: Now) {
        self.busy_since = None;
        match look {
            Ok(sighting) => {
                self.cadence.succeeded();
                self.database_answered();
                self.last_look_at = Some(now.wall);
                for change in self.keys.handle_sighting(&sighting, now) {
                    report(&change);
                }
            }
            Err(error) => {
                self.cadence.failed(now.mono, &mut self.random);
                self.database_failed(&error, now);
            }
        }
    }

    /// What became of a batch.
    pub fn handle_written(&mut self, written: Written, now: Now) {
        self.busy_since = None;
        let Written { left, fault, gone, refused } = written;
        self.keys.rows().put_back(left.rows);
        self.gaps.settle(left.gaps);
        for account in gone {
            self.keys.handle_missing_row(account, now);
        }
        for (account, why) in refused {
            self.rows_refused += 1;
            tracing::warn!(account, "a row about this account is not written: {why}");
        }
        match fault {
            None => self.database_answered(),
            Some(error) => self.database_failed(&error, now),
        }
    }

    /// The next thing that the user-data role must hear.
    pub fn poll_command(&mut self) -> Option<AccountCommand> {
        self.keys.poll_command()
    }

    /// Somebody knows of a change in the accounts: looks soon.
    pub fn discover(&mut self, now: Now) {
        self.cadence.ask(now.mono);
    }

    /// See [`ListenKeys::handle_expiry`].
    pub fn handle_expiry(&mut self, account: i64, key_generation: u64, now: Now) {
        self.keys.handle_expiry(account, key_generation, now);
    }

    /// See [`ListenKeys::handle_doubt`].
    pub fn handle_doubt(&mut self, account: i64, now: Now) {
        self.keys.handle_doubt(account, now);
    }

    /// Somebody has mended what the venue refused: accounts that wait after failures are tried now.
    pub fn retry_refused(&mut self, now: Now) {
        self.keys.handle_retry(now);
    }

    /// See [`KeySchedule::address_banned_for`](super::key_schedule::KeySchedule::address_banned_for).
    #[must_use]
    pub fn address_banned_for(&self, now: Now) -> Duration {
        self.keys.schedule().address_banned_for(now.mono)
    }

    /// See [`ListenKeys::note_exposed`].
    pub fn note_exposed(&mut self, exposed: &BTreeSet<i64>) {
        self.keys.note_exposed(exposed);
    }

    /// See [`ListenKeys::exposed`].
    #[must_use]
    pub fn exposed(&self) -> Arc<BTreeSet<i64>> {
        self.keys.exposed()
    }

    /// While the spool is shut no new keys are asked for.
    pub fn hold_new_keys(&mut self, are_held: bool) {
        self.keys.hold_new_keys(are_held);
    }

    /// The account's socket was active, pings included; as often as one likes.
    pub fn handle_activity(&mut self, account: i64, at: Wall) {
        if self.keys.is_streamed(account) {
            self.keys.rows().active(account, at);
        }
    }

    /// A gap for `stream_gaps`; its number, see [`GapBook`].
    ///
    /// # Errors
    /// [`GapsFull`]: bring it again later.
    pub fn offer_gap(&mut self, gap: WaitingGap) -> Result<u64, GapsFull> {
        let answer = self.gaps.offer(gap);
        self.gaps_turned_away += u64::from(answer.is_err());
        answer
    }

    /// The number up to which all gaps have their row.
    #[must_use]
    pub fn gaps_settled(&self) -> u64 {
        self.gaps.settled()
    }

    /// Gaps without a row yet.
    #[must_use]
    pub fn gaps_waiting(&self) -> usize {
        self.gaps.len()
    }

    /// What to show.
    #[must_use]
    pub fn status(&mut self, now: Now) -> ControlStatus {
        let (accounts, with_key) = self.keys.sizes();
        let troubles = self.keys.troubles().map(|(wanted, trouble)| (wanted.id, Arc::clone(&wanted.name), trouble));
        ControlStatus {
            accounts,
            with_key,
            degraded: self.keys.troubles().count(),
            troubles: troubles.take(TROUBLES_NAMED_MAX).collect(),
            address_held_until: self.keys.schedule().address_held_until(now),
            keys: self.keys.counts(),
            last_look_at: self.last_look_at,
            last_keep_alive_at: self.last_keep_alive_at,
            database_fault: self.database_silence(now).or_else(|| self.database.fault.clone()),
            rows_waiting: self.keys.rows().len(),
            gaps_waiting: self.gaps.len(),
            rows_refused: self.rows_refused,
            gaps_turned_away: self.gaps_turned_away,
        }
    }

    /// A session whose server stands still waits for it, in bounds that only the server could hold; people must know.
    fn database_silence(&self, now: Now) -> Option<Arc<str>> {
        let waited = now.mono.since(self.busy_since?);
        (waited >= DATABASE_SILENCE_SHOWN)
            .then(|| format!("the database has not answered for {} s", waited.as_secs()).into())
    }

    fn database_answered(&mut self) {
        if self.database.fault.is_some() {
            tracing::info!("the database answers again");
        }
        self.database = Database::default();
    }

    fn database_failed(&mut self, error: &StoreError, now: Now) {
        let sentence: Arc<str> = error.to_string().into();
        if self.database.fault.as_ref() != Some(&sentence) {
            tracing::warn!("accounts and listen keys: {sentence}; streams go on with what is known");
        }
        self.database.failures = self.database.failures.saturating_add(1);
        self.database.not_before = now.mono.plus(retry_pause(self.database.failures, &mut self.random));
        self.database.fault = Some(sentence);
    }
}

fn report(change: &Change) {
    match change {
        Change::Spawn(wanted) => tracing::info!(account = wanted.id, name = &*wanted.name, "account is to be streamed"),
        Change::Reap(account) => tracing::info!(account, "account is not to be streamed any more"),
        Change::Credentials(wanted) => tracing::info!(account = wanted.id, name = &*wanted.name, "credentials changed"),
        Change::Name(_) => {}
    }
    if let Change::Spawn(wanted) | Change::Credentials(wanted) = change
        && let Err(why) = &wanted.api_key
    {
        tracing::warn!(account = wanted.id, name = &*wanted.name, "degraded: {why}");
    }
}
