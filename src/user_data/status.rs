//! One look at the whole role, for the status file and the page: plain values, no listen key in any of them.

use super::account::AccountState;
use super::dispatcher::DispatcherStatus;
use super::registry::{AccountCounts, Accounts};
use super::spooler::SpoolerStatus;
use crate::domain::Now;
use crate::spool::{AccountId, ExchangeId};

/// The role at one moment.
#[derive(Clone, Debug, Default)]
pub struct UserDataStatus {
    /// Every hosted account, by id.
    pub accounts: Vec<AccountStatus>,
    /// Of those: live.
    pub live: usize,
    /// Of those: with a reason for being unwell.
    pub degraded: usize,
    /// Frames recorded since the start, of all accounts together.
    pub frames: u64,
    /// Gap records since the start.
    pub gaps: u64,
    /// The spool and its writer.
    pub spooler: SpoolerStatus,
    /// The way to the queue.
    pub dispatcher: DispatcherStatus,
}

/// One account at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountStatus {
    /// `accounts.id`.
    pub account: AccountId,
    /// `api_systems.id`.
    pub exchange: ExchangeId,
    /// Its state.
    pub state: AccountState,
    /// What came.
    pub counts: AccountCounts,
}

impl UserDataStatus {
    /// Looks at everything.
    #[must_use]
    pub fn of(accounts: &Accounts, spooler: SpoolerStatus, dispatcher: DispatcherStatus, now: Now) -> UserDataStatus {
        let mut status = UserDataStatus { spooler, dispatcher, ..UserDataStatus::default() };
        for cell in accounts.all() {
            let (state, counts) = cell.state(now);
            status.live += usize::from(state.phase == "live");
            status.degraded += usize::from(state.degraded.is_some());
            status.frames += counts.frames;
            status.gaps += counts.gaps;
            status.accounts.push(AccountStatus { account: cell.id(), exchange: cell.exchange(), state, counts });
        }
        status
    }

    /// What an operator should know first; empty if all is well.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        if let Some((why, since)) = &self.spooler.shut {
            troubles.push(format!("no stream is read since {since} UTC: {why}"));
        }
        if let Some(stuck) = &self.dispatcher.stuck {
            troubles
                .push(format!("jobs wait in the spool since {} UTC ({}): {}", stuck.since, stuck.class, stuck.text));
        }
        if self.dispatcher.poisoned > 0 {
            troubles.push(format!("{} records are in the spool's quarantine", self.dispatcher.poisoned));
        }
        for account in &self.accounts {
            if let Some(why) = &account.state.degraded {
                troubles.push(format!("account {}: {why}", account.account.0));
            }
        }
        troubles
    }
}
