//! Who is read and who is not: what the spooler tells the loops, and the accounts.

use super::Spooler;
use crate::domain::limits::SPOOL_RETRY_MIN;
use crate::domain::{Mono, Now};
use crate::spool::{AccountId, AppendError, Disk};

/// Who reads on and who does not: the loops' remote control. `false`: it was not taken, and is asked again.
pub trait Reading: Send {
    /// Stops reading one account's stream.
    fn pause(&self, account: AccountId) -> bool;
    /// Reads one account's stream again.
    fn resume(&self, account: AccountId) -> bool;
    /// Stops reading all streams of all loops.
    fn pause_all(&self) -> bool;
    /// Reads all streams again.
    fn resume_all(&self) -> bool;
}

/// Whether the spool takes frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Open,
    /// Nothing is taken; all streams pause.
    Shut {
        since: Now,
        retry_at: Mono,
        /// The loops have been told.
        is_told: bool,
    },
    /// Open again, and the loops do not all know it.
    Opening,
}

impl<D: Disk> Spooler<D> {
    pub(super) fn shut(&mut self, error: &AppendError, now: Now) {
        let retry_at = now.mono.plus(SPOOL_RETRY_MIN);
        match &mut self.flow {
            Flow::Shut { retry_at: at, .. } => *at = retry_at,
            Flow::Open | Flow::Opening => {
                tracing::error!("no stream is read until this is mended: {error}");
                self.flow = Flow::Shut { since: now, retry_at, is_told: false };
                let mut status = self.status.lock();
                status.shuts += 1;
                status.shut = Some((error.to_string(), now.wall));
            }
        }
    }

    pub(super) fn open(&mut self, now: Now) {
        if let Flow::Shut { since, .. } = self.flow {
            let seconds = now.mono.since(since.mono).as_secs_f32();
            tracing::info!("the spool takes frames again, after {seconds:.1} s: all streams are read");
            self.flow = Flow::Opening;
            self.status.lock().shut = None;
        }
    }

    /// What the loops must know and do not yet.
    pub(super) fn tell_loops(&mut self, now: Now) {
        match &mut self.flow {
            Flow::Shut { is_told, .. } if !*is_told => {
                *is_told = self.reading.pause_all();
                if *is_told {
                    self.hold_all(true, now);
                }
            }
            // All that was taken before must be written first, or the next turn shuts again.
            Flow::Opening if self.pending.is_empty() => {
                self.hold_all(false, now);
                if self.reading.resume_all() {
                    self.flow = Flow::Open;
                } else {
                    self.hold_all(true, now);
                }
            }
            _ => {}
        }
        let pausing: Vec<AccountId> =
            self.held.iter().filter(|(_, held)| !held.is_paused).map(|(&account, _)| account).collect();
        for account in pausing {
            if self.reading.pause(account)
                && let Some(held) = self.held.get_mut(&account)
            {
                held.is_paused = true;
                self.hold(account, true, now);
            }
        }
        if self.pending.is_empty() && self.flow == Flow::Open {
            for account in std::mem::take(&mut self.paused) {
                // One that is over its share stays paused, and is resumed with it.
                if !self.held.contains_key(&account) && !self.resume(account, now) {
                    self.paused.push(account);
                }
            }
        }
    }

    /// The account is told first: what it reads next has waited.
    pub(super) fn resume(&self, account: AccountId, now: Now) -> bool {
        self.hold(account, false, now);
        let is_taken = self.reading.resume(account);
        if !is_taken {
            self.hold(account, true, now);
        }
        is_taken
    }

    pub(super) fn hold(&self, account: AccountId, is_held: bool, now: Now) {
        if let Some(cell) = self.accounts.cell(account) {
            cell.account(now, |account| account.handle_hold(is_held, now));
        }
    }

    pub(super) fn hold_all(&self, is_held: bool, now: Now) {
        for cell in self.accounts.all() {
            let is_paused = self.held.contains_key(&cell.id()) || self.paused.contains(&cell.id());
            let is_held = is_held || is_paused;
            cell.account(now, |account| account.handle_hold(is_held, now));
        }
    }
}
