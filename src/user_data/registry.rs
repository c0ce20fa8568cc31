//! The accounts that are hosted now, shared by the loop's side, the control threads and the spooler.
//!
//! One short lock per account, held for a frame's classification at most and never across a system call.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::account::{Account, AccountState};
use super::lane::{Laid, Lane};
use crate::domain::Now;
use crate::spool::{AccountId, Entry, ExchangeId, Kind};

/// One account, shared.
pub struct AccountCell {
    id: AccountId,
    exchange: ExchangeId,
    lane: Arc<Lane>,
    inner: Mutex<Hosted>,
}

/// What lies under an account's lock.
pub struct Hosted {
    /// Its state machine.
    pub account: Account,
    /// What came.
    pub counts: AccountCounts,
    /// The payload of a gap record, kept.
    gap_text: Vec<u8>,
}

/// What came on one account's stream since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountCounts {
    /// Frames recorded.
    pub frames: u64,
    /// Bytes of those, wrappers included.
    pub bytes: u64,
    /// Of the recorded ones: events of a type that is not known.
    pub unknown: u64,
    /// Of the recorded ones: no JSON.
    pub malformed: u64,
    /// Of the recorded ones: `listenKeyExpired`.
    pub expired: u64,
    /// Replies to our own requests: not recorded.
    pub control: u64,
    /// Gap records.
    pub gaps: u64,
    /// Times that reading paused because there was no batch for a frame.
    pub pauses: u64,
    /// Frames that no batch takes; a gap record covers them.
    pub refused: u64,
}

impl AccountCell {
    /// A cell for `account`, whose loop fills `lane`.
    #[must_use]
    pub fn new(account: Account, lane: Arc<Lane>) -> Arc<AccountCell> {
        let (id, exchange) = (account.id(), account.exchange());
        let counts = AccountCounts::default();
        let inner = Mutex::new(Hosted { account, counts, gap_text: Vec::with_capacity(160) });
        Arc::new(AccountCell { id, exchange, lane, inner })
    }

    /// Whose it is.
    #[must_use]
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// From which exchange.
    #[must_use]
    pub fn exchange(&self) -> ExchangeId {
        self.exchange
    }

    /// The lane of its loop.
    #[must_use]
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Runs `work` on the state machine, and records the gaps that it told. It must not call the loop or wait.
    pub fn account<T>(&self, now: Now, work: impl FnOnce(&mut Account) -> T) -> T {
        let mut hosted = self.inner.lock();
        let result = work(&mut hosted.account);
        // No room: the account's next frame finds none either, and asks for the pause.
        self.settle(&mut hosted, now);
        result
    }

    /// As [`AccountCell::account`], for the intake.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Hosted) -> T) -> T {
        work(&mut self.inner.lock())
    }

    /// Puts the gaps that the machine told into the lane.
    pub(super) fn lay_gaps(&self, hosted: &mut Hosted, now: Now) -> Laid {
        let mut worst = Laid::Sent;
        while let Some(gap) = hosted.account.poll_gap() {
            hosted.counts.gaps += 1;
            hosted.gap_text.clear();
            gap.write(&mut hosted.gap_text);
            let entry = Entry { kind: Kind::Gap, account: self.id, exchange: self.exchange, received_at: now.wall };
            let laid = self.lane.lay(self.id, |batch| batch.push(entry, &hosted.gap_text, &[]));
            if laid.expect("a gap of 160 bytes fits every batch") == Laid::Aside {
                worst = Laid::Aside;
            }
        }
        worst
    }

    /// Puts into the lane what the machine told: gaps, and then frames of a handover whose time has come.
    pub(super) fn settle(&self, hosted: &mut Hosted, now: Now) -> Laid {
        if !hosted.account.is_rotating() {
            return self.lay_gaps(hosted, now);
        }
        hosted.account.judge_rotation(now);
        let laid = self.lay_gaps(hosted, now);
        let released = self.lay_held(hosted, now);
        if released == Laid::Aside { released } else { laid }
    }

    /// State and counts, for people.
    #[must_use]
    pub fn state(&self, now: Now) -> (AccountState, AccountCounts) {
        let hosted = self.inner.lock();
        (hosted.account.state(now), hosted.counts)
    }
}

/// All hosted accounts.
#[derive(Default)]
pub struct Accounts {
    cells: RwLock<HashMap<AccountId, Arc<AccountCell>>>,
    /// Taken out and not yet told to who asks.
    removed: Mutex<Vec<AccountId>>,
}

impl Accounts {
    /// None yet.
    #[must_use]
    pub fn new() -> Arc<Accounts> {
        Arc::default()
    }

    /// Adds an account; the one that had its id, if there was one.
    pub fn insert(&self, cell: Arc<AccountCell>) -> Option<Arc<AccountCell>> {
        self.cells.write().insert(cell.id(), cell)
    }

    /// Takes an account out.
    pub fn remove(&self, account: AccountId) -> Option<Arc<AccountCell>> {
        let cell = self.cells.write().remove(&account);
        if cell.is_some() {
            self.removed.lock().push(account);
        }
        cell
    }

    /// Those that were taken out since the last call; some may be back. For the spooler alone.
    #[must_use]
    pub fn take_removed(&self) -> Vec<AccountId> {
        std::mem::take(&mut self.removed.lock())
    }

    /// One account.
    #[must_use]
    pub fn cell(&self, account: AccountId) -> Option<Arc<AccountCell>> {
        self.cells.read().get(&account).cloned()
    }

    /// All of them, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<AccountCell>> {
        let mut cells: Vec<_> = self.cells.read().values().cloned().collect();
        cells.sort_unstable_by_key(|cell| cell.id());
        cells
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.read().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
