//! The appender: gives records their positions, writes each batch with one `write(2)`, turns segments, and mends what a
//! failed sync left. Owned by the spooler's thread.
//!
//! Data plane while the disk is well. Every failure leaves the caller's batch as it was, so that nothing is lost by asking
//! again later.

use std::io;
use std::sync::Arc;

use smallvec::SmallVec;

use super::batch::Batch;
use super::disk::{Disk, is_no_space};
use super::format::{AccountId, Kind};
use super::segments::{Current, Source};
use super::state::{Core, FullReason, SpoolStatus};
use crate::domain::limits::{SPOOL_ACCOUNTS_MAX, SPOOL_BATCH_RECORDS_MAX, SPOOL_RETRY_MIN, SPOOL_UNSYNCED_RECORDS_MAX};
use crate::domain::{Mono, Now, Wall};

/// What an append did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Records written.
    pub written: usize,
    /// Records of accounts over their share. They are what the batch still holds, in order.
    pub held_back: usize,
    /// The accounts that are over their share: stop reading them.
    pub full_accounts: SmallVec<[AccountId; 4]>,
    /// Liveness records that a nearly full reserve dropped; an older mark only widens a gap.
    pub dropped_marks: usize,
}

/// Why nothing of a batch was written. The batch is as it was.
#[derive(Debug)]
pub enum AppendError {
    /// No room for frames; marks may still go. Stop reading, and ask again.
    Full(FullReason),
    /// The disk syncs more slowly than frames arrive. Stop reading, and ask again.
    SyncBehind,
    /// A sync failed, and writing the unsynced records to another file has not worked yet. Stop reading, and ask again.
    SyncFailing(String),
    /// The disk refused. A new segment is begun at the next call.
    Io(io::Error),
    /// More accounts than the spool remembers.
    TooManyAccounts,
}

/// The writing end of a spool.
pub struct Appender<D: Disk> {
    pub(super) core: Arc<Core<D>>,
    pub(super) current: Option<Current<D::File>>,
    pub(super) next_segment: u64,
    pub(super) next_position: u64,
    pub(super) has_reserve: bool,
    /// Whether no segment of this life is begun yet.
    pub(super) is_first: bool,
    pub(super) retry_at: Mono,
    pub(super) snapshot: Batch,
    /// Numbers the batches, so that what an account's entry says about one is not taken for another.
    batch_number: u64,
    /// For each record of the batch at hand whether its account lets it go.
    goes: Vec<bool>,
}

impl<D: Disk> Appender<D> {
    pub(super) fn new(core: Arc<Core<D>>, next_segment: u64, next_position: u64, has_reserve: bool) -> Self {
        Appender {
            core,
            current: None,
            next_segment,
            next_position,
            has_reserve,
            is_first: true,
            retry_at: Mono::ZERO,
            snapshot: Batch::new(),
            batch_number: 0,
            goes: Vec::with_capacity(SPOOL_BATCH_RECORDS_MAX),
        }
    }

    /// Writes the batch and leaves in it an empty buffer, or the records of accounts over their share.
    ///
    /// After it returns, a killed process loses none of the written records.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was accepted then. A batch of marks only is taken by a full spool too.
    pub fn append(&mut self, batch: &mut Batch, now: Now) -> Result<Appended, AppendError> {
        if batch.is_empty() {
            return Ok(Appended::default());
        }
        self.mend(now)?;
        self.check_unsynced(batch)?;
        if batch.is_marks() {
            return self.append_marks(batch, now);
        }
        let mut appended = Appended::default();
        let Some(held) = self.hold_back(batch, &mut appended)? else {
            appended.written = batch.records();
            self.append_frames(batch, now)?;
            return Ok(appended);
        };
        // `batch` now holds what may go, `held` the rest; a failure puts them together again in their order.
        if !batch.is_empty() {
            appended.written = batch.records();
            if let Err(error) = self.append_frames(batch, now) {
                held.restore(batch);
                return Err(error);
            }
        }
        *batch = held.held;
        Ok(appended)
    }

    /// What is due without a batch: mends a failed sync. To be called a few times a second.
    ///
    /// # Errors
    /// [`AppendError::SyncFailing`].
    pub fn turn(&mut self, now: Now) -> Result<(), AppendError> {
        self.mend(now)
    }

    /// A recycled empty batch.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch::from_buffer(self.core.state.lock().buffer())
    }

    /// Counts and states.
    #[must_use]
    pub fn status(&self) -> SpoolStatus {
        self.core.status()
    }

    /// When something last arrived for the account, as far as the spool knows: never later than the truth.
    #[must_use]
    pub fn alive_at(&self, account: AccountId) -> Option<Wall> {
        self.core.state.lock().accounts.get(&account).and_then(|account| account.alive_at)
    }

    /// Whether the account is over its share.
    #[must_use]
    pub fn is_held_back(&self, account: AccountId) -> bool {
        self.core.state.lock().accounts.get(&account).is_some_and(|account| account.held_back)
    }

    /// Forgets an account that is not streamed any more, once all its frames are acknowledged; whether it is forgotten. If
    /// it comes back, its first record names none before it.
    pub fn forget(&mut self, account: AccountId) -> bool {
        let mut state = self.core.state.lock();
        let is_idle = state.accounts.get(&account).is_none_or(|account| account.unacked == 0);
        if is_idle {
            state.accounts.remove(&account);
        }
        is_idle
    }

    /// The accounts that are remembered.
    #[must_use]
    pub fn remembered(&self) -> Vec<AccountId> {
        self.core.state.lock().accounts.keys().copied().collect()
    }

    pub(super) fn core(&self) -> &Arc<Core<D>> {
        &self.core
    }

    fn check_unsynced(&self, batch: &Batch) -> Result<(), AppendError> {
        let state = self.core.state.lock();
        let records = state.positions.written.saturating_sub(state.positions.synced);
        let bytes = state.unsynced_bytes + batch.bytes_len();
        if bytes > self.core.config.unsynced_bytes_max && state.unsynced_bytes > 0
            || records + batch.records() as u64 > SPOOL_UNSYNCED_RECORDS_MAX
        {
            return Err(AppendError::SyncBehind);
        }
        Ok(())
    }

    /// Takes the records of accounts over their share out of the batch. `None`, and no copy, when there are none.
    ///
    /// Behind an account's first record that must wait all its records wait, so that its order holds.
    fn hold_back(&mut self, batch: &mut Batch, appended: &mut Appended) -> Result<Option<Held>, AppendError> {
        let share = self.core.config.account_bytes_max;
        self.batch_number += 1;
        self.goes.clear();
        {
            let mut guard = self.core.state.lock();
            let state = &mut *guard;
            for (header, record) in batch.iter() {
                if !state.accounts.contains_key(&header.account) && state.accounts.len() >= SPOOL_ACCOUNTS_MAX {
                    return Err(AppendError::TooManyAccounts);
                }
                let account = state.accounts.entry(header.account).or_default();
                if account.batch != self.batch_number {
                    (account.batch, account.pending, account.waits) = (self.batch_number, account.unacked, false);
                }
                let len = record.len() as u64;
                let over = account.held_back || account.pending > 0 && account.pending + len > share;
                if !header.kind.is_mark() && over && !account.waits {
                    (account.waits, account.held_back) = (true, true);
                    appended.full_accounts.push(header.account);
                }
                if !header.kind.is_mark() && !account.waits {
                    account.pending += len;
                }
                self.goes.push(!account.waits);
            }
        }
        if appended.full_accounts.is_empty() {
            return Ok(None);
        }
        let (mut going, mut held) = (Batch::new(), Batch::new());
        for ((_, record), &goes) in batch.iter().zip(&self.goes) {
            if goes { going.push_record(record) } else { held.push_record(record) }
        }
        appended.held_back = held.records();
        *batch = going;
        Ok(Some(Held { held, order: self.goes.clone() }))
    }

    fn append_frames(&mut self, batch: &mut Batch, now: Now) -> Result<(), AppendError> {
        self.check_room(batch, now)?;
        let fits = self.current.as_ref().is_some_and(|current| {
            current.reserve.is_none() && current.len + batch.bytes_len() as u64 <= self.core.config.segment_bytes
        });
        if !fits {
            self.begin_segment(Source::New, now).map_err(|error| self.refused(error, now))?;
        }
        self.write(batch, now).map_err(|error| self.refused(error, now))?;
        self.core.state.lock().full = None;
        Ok(())
    }

    /// Whether there is room for frames, and for the reserve that must come first.
    fn check_room(&mut self, batch: &Batch, now: Now) -> Result<(), AppendError> {
        let len = batch.bytes_len() as u64;
        let (full, over, free_low) = {
            let state = self.core.state.lock();
            let over = (state.bytes + len).saturating_sub(self.core.config.bytes_max);
            (state.full, over, state.free_low)
        };
        if over > 0 && self.core.sweep(now.wall, over).map_err(AppendError::Io)? < over {
            return Err(self.note(FullReason::Spool));
        }
        if free_low {
            return Err(self.note(FullReason::FreeLow));
        }
        if full == Some(FullReason::Disk) {
            if now.mono < self.retry_at {
                return Err(AppendError::Full(FullReason::Disk));
            }
            self.retry_at = now.mono.plus(SPOOL_RETRY_MIN);
            let needed = len
                + if self.has_reserve { 0 } else { self.core.config.reserve_bytes }
                + self.core.config.free_min.min(self.core.config.reserve_bytes);
            let free = self.core.disk.free_space().map_err(AppendError::Io)?;
            if free < needed && self.core.sweep(now.wall, needed - free).map_err(AppendError::Io)? < needed - free {
                return Err(AppendError::Full(FullReason::Disk));
            }
        }
        self.make_reserve().map_err(|error| self.refused(error, now))
    }

    fn append_marks(&mut self, batch: &mut Batch, now: Now) -> Result<Appended, AppendError> {
        let records = batch.records();
        let len = batch.bytes_len() as u64;
        let config = &self.core.config;
        let done = Appended { written: records, ..Appended::default() };
        let over = {
            let state = self.core.state.lock();
            let new = |account| account != AccountId(0) && !state.accounts.contains_key(&account);
            let new = batch.iter().filter(|(header, _)| new(header.account)).count();
            if new > 0 && state.accounts.len() + new > SPOOL_ACCOUNTS_MAX {
                return Err(AppendError::TooManyAccounts);
            }
            (state.bytes + len).saturating_sub(config.bytes_max + config.reserve_bytes)
        };
        if over > 0 && self.core.sweep(now.wall, over).map_err(AppendError::Io)? < over {
            return Err(self.note(FullReason::Spool));
        }
        let mut full = self.core.state.lock().full == Some(FullReason::Disk);
        // While it is full nobody may be read, so that no frame comes which could find out that it no longer is.
        if full && now.mono >= self.retry_at && self.check_room(batch, now).is_ok() {
            self.core.state.lock().full = None;
            full = false;
        }
        if !full && self.current.as_ref().is_none_or(|current| current.reserve.is_none()) {
            let fits = self.current.as_ref().is_some_and(|current| current.len + len <= self.core.config.segment_bytes);
            let tried = if fits { Ok(()) } else { self.begin_segment(Source::New, now) };
            match tried.and_then(|()| self.write(batch, now)) {
                Ok(()) => return Ok(done),
                Err(error) if is_no_space(&error) => self.note_full(now),
                Err(error) => return Err(AppendError::Io(error)),
            }
        }
        if self.current.as_ref().is_none_or(|current| current.reserve.is_none()) {
            if !self.has_reserve {
                return Err(AppendError::Full(FullReason::Disk));
            }
            self.begin_segment(Source::Reserve, now).map_err(|error| self.refused(error, now))?;
        }
        let (used, size) = match &self.current {
            Some(Current { len, reserve: Some(size), .. }) => (*len, *size),
            _ => return Err(AppendError::Full(FullReason::Disk)),
        };
        let liveness_only = batch.iter().all(|(header, _)| header.kind == Kind::Liveness);
        if liveness_only && used + len > size / 2 {
            batch.clear();
            return Ok(Appended { written: 0, dropped_marks: records, ..Appended::default() });
        }
        if used + len > size {
            return Err(AppendError::Full(FullReason::Disk));
        }
        self.write(batch, now).map_err(|error| self.refused(error, now))?;
        Ok(done)
    }

    fn refused(&mut self, error: io::Error, now: Now) -> AppendError {
        if is_no_space(&error) {
            self.note_full(now);
            AppendError::Full(FullReason::Disk)
        } else {
            AppendError::Io(error)
        }
    }

    pub(super) fn note_full(&mut self, now: Now) {
        self.retry_at = now.mono.plus(SPOOL_RETRY_MIN);
        self.core.state.lock().full = Some(FullReason::Disk);
    }

    fn note(&self, reason: FullReason) -> AppendError {
        self.core.state.lock().full = Some(reason);
        AppendError::Full(reason)
    }
}

/// A batch without the records that must wait, and where they stood.
struct Held {
    held: Batch,
    order: Vec<bool>,
}

impl Held {
    fn restore(&self, batch: &mut Batch) {
        let mut whole = Batch::new();
        {
            let (mut going, mut held) = (batch.iter(), self.held.iter());
            for &goes in &self.order {
                let next = if goes { going.next() } else { held.next() };
                if let Some((_, record)) = next {
                    whole.push_record(record);
                }
            }
        }
        *batch = whole;
    }
}

impl std::fmt::Display for AppendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AppendError::Full(reason) => write!(f, "the spool takes no frames: {reason}"),
            AppendError::SyncBehind => {
                f.write_str("the spool takes no frames: the disk syncs more slowly than they arrive")
            }
            AppendError::SyncFailing(why) => {
                write!(f, "the spool takes nothing: a sync failed and is not mended: {why}")
            }
            AppendError::Io(error) => write!(f, "the spool could not write: {error}"),
            AppendError::TooManyAccounts => {
                write!(f, "the spool remembers {SPOOL_ACCOUNTS_MAX} accounts, and this is one more")
            }
        }
    }
}

impl std::error::Error for AppendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AppendError::Io(error) => Some(error),
            _ => None,
        }
    }
}
