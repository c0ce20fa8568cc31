//! What a test or the demo asks of the private half: credentials, books, ledgers, and what to happen.

use std::time::{Duration, Instant};

use crate::domain::limits::SIM_ACCOUNTS_MAX;

use super::private::account_ledger::AccountLedger;
use super::private::application::Application;
use super::private::book::AccountBook;
use super::private::life::LifeKind;
use super::private::reads::ReadRules;
use super::private::subscription::Spellings;
use super::{AccountCredentials, Command, SimHandle};

impl SimHandle {
    /// Credentials of all accounts, by index.
    #[must_use]
    pub fn accounts(&self) -> Vec<AccountCredentials> {
        self.shared.accounts.lock().list.iter().map(|account| account.credentials.clone()).collect()
    }

    /// Another account, from now on; `None` when there are [`SIM_ACCOUNTS_MAX`] or the market lists nothing tradable.
    pub fn add_account(&self) -> Option<AccountCredentials> {
        let mut accounts = self.shared.accounts.lock();
        (accounts.list.len() < SIM_ACCOUNTS_MAX && accounts.is_tradable()).then(|| accounts.add())
    }

    /// The account's API key is rejected with -2015 from now on, or accepted again. Its listen key lives on until its time is
    /// over, and so do its sockets.
    pub fn set_revoked(&self, account: usize, is_revoked: bool) {
        if let Some(account) = self.shared.accounts.lock().list.get_mut(account) {
            account.is_revoked = is_revoked;
        }
    }

    /// Frames per second of all accounts together from now on; 0 stops the lives where they are.
    pub fn set_frames_per_second(&self, rate: f64) {
        self.command(Command::Pace(rate));
    }

    /// What comes of each spelling from now on, on live connections too.
    pub fn set_spellings(&self, spellings: Spellings) {
        self.command(Command::Spellings(spellings));
    }

    /// How REST tells of accounts from now on; a lag begins with the next change.
    pub fn set_read_rules(&self, rules: ReadRules) {
        self.shared.accounts.lock().config.reads = rules;
    }

    /// A whole life of this kind on an account, at once.
    pub fn run_life(&self, account: usize, kind: LifeKind) {
        self.command(Command::Life(account, kind));
    }

    /// The application's end, where [`AccountsConfig::has_application`](super::AccountsConfig::has_application). Without
    /// anybody who sends its requests on, none of its orders is placed.
    #[must_use]
    pub fn application(&self) -> Application {
        Application {
            announcements: self.shared.accounts.lock().announcements(),
            shared: std::sync::Arc::clone(&self.shared),
        }
    }

    /// Waits until everything asked for before has been done by the loop.
    pub fn sync(&self) {
        let (done, wait) = crossbeam_channel::bounded(1);
        self.command(Command::Sync(done));
        // An error means that the loop has stopped; nothing will be done any more.
        let _ = wait.recv();
    }

    /// Waits until no frame of any account is on its way: each is in a socket or missed. False after `timeout`. With order
    /// lives going on that is a moment; after [`SimHandle::quiesce`] it stays so.
    #[must_use]
    pub fn wait_delivered(&self, timeout: Duration) -> bool {
        self.sync();
        let deadline = Instant::now() + timeout;
        let mut accounts = self.shared.accounts.lock();
        while accounts.list.iter().any(|account| account.ledger.in_flight > 0) {
            if self.shared.delivered.wait_until(&mut accounts, deadline).timed_out() {
                return accounts.list.iter().all(|account| account.ledger.in_flight == 0);
            }
        }
        true
    }

    /// A snapshot of what happened on an account's stream.
    ///
    /// # Panics
    /// When there is no such account.
    #[must_use]
    pub fn account_ledger(&self, account: usize) -> AccountLedger {
        self.shared.accounts.lock().list[account].ledger.clone()
    }

    /// A snapshot of the truth about an account's orders, fills and positions.
    ///
    /// # Panics
    /// When there is no such account.
    #[must_use]
    pub fn account_book(&self, account: usize) -> AccountBook {
        self.shared.accounts.lock().list[account].book.clone()
    }

    /// Everything that no output may hold: API keys, secrets, and every listen key ever issued.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        self.shared.accounts.lock().secrets()
    }
}
