//! Accounts that are not hosted any more: what the spool remembers of them is given up, since it remembers
//! [`SPOOL_ACCOUNTS_MAX`](crate::domain::limits::SPOOL_ACCOUNTS_MAX) of them and then takes nobody new.

use std::collections::HashSet;

use super::Spooler;
use crate::domain::Mono;
use crate::domain::limits::FORGET_AFTER;
use crate::spool::{AccountId, Disk};

impl<D: Disk> Spooler<D> {
    /// Forgets those that were taken out of the registry a while ago, each once nothing of it waits.
    pub(super) fn forget_leaving(&mut self, now: Mono) {
        self.leaving.extend(self.accounts.take_removed().into_iter().map(|id| (id, now.plus(FORGET_AFTER))));
        if self.leaving.is_empty() || !self.pending.is_empty() {
            return;
        }
        for (account, at) in std::mem::take(&mut self.leaving) {
            let is_back = self.accounts.cell(account).is_some();
            if !is_back && (now < at || !self.forget(account)) {
                self.leaving.insert(account, at);
            }
        }
    }

    /// Forgets all that are not hosted and of which nothing waits; whether that made room.
    pub(super) fn forget_strangers(&mut self) -> bool {
        let waiting: HashSet<AccountId> = self.pending.iter().flat_map(|(batch, _)| batch.accounts()).collect();
        let mut forgotten = 0;
        for account in self.appender.remembered() {
            let is_stranger = self.accounts.cell(account).is_none() && !waiting.contains(&account);
            forgotten += usize::from(is_stranger && self.forget(account));
        }
        if forgotten > 0 {
            tracing::info!(forgotten, "the spool forgets accounts that are not streamed, to remember others");
        }
        forgotten > 0
    }

    fn forget(&mut self, account: AccountId) -> bool {
        let is_forgotten = !self.held.contains_key(&account) && self.appender.forget(account);
        if is_forgotten {
            // A mark would make the spool remember it.
            self.alive.remove(&account);
        }
        is_forgotten
    }
}
