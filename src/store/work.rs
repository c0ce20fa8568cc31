//! What the worker keeps in the database: audit rows, order changes, intents, progress, each job in one transaction.
//!
//! [`WorkTables`] is one open session on either database; [`WorkTables::transaction`] lends a [`WorkTransaction`] that is
//! rolled back unless the work asks for its commit. Locks are taken in one order: account, then positions by id, then orders.
//! On SQLite a transaction is `BEGIN IMMEDIATE` with `synchronous = FULL`.

use std::time::Duration;

use super::error::Result;
#[cfg(feature = "server")]
use super::postgres::{PostgresStore, PostgresWork};
use super::reconcile::ReconcileTables;
#[cfg(feature = "embedded")]
use super::sqlite::SqliteWork;
use super::url::StoreUrl;
use super::user_data::{Place, UserDataOptions};
use super::user_data_rows::NewGap;
use super::work_rows::{
    AccountFacts, AuditRecord, AuditRow, DecisionRow, FailedJob, IntentRow, NewIntent, OrderChange, OrderRow,
    PositionRow, Progress,
};
use crate::domain::Wall;
use crate::domain::order::OrderStatus;

/// How a transaction ends when its work has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything stays.
    Commit,
    /// Nothing stays: another worker holds the lease, or it was a preview.
    RollBack,
}

/// The tables of the worker, in one open session.
pub trait WorkTables: ReconcileTables + Send {
    /// Whether the session is worth another statement.
    fn is_usable(&self) -> bool;

    /// Statements that this session has carried out for jobs, `BEGIN` and `COMMIT` among them: what a job costs, as a
    /// number that is the same on every machine.
    fn statements(&self) -> u64;

    /// Does `work` in one transaction. An error of `work` or of the database rolls back, one that `work` passed over too:
    /// PostgreSQL carries nothing out after a statement that failed.
    fn transaction(&mut self, work: &mut dyn FnMut(&mut dyn WorkTransaction) -> Result<End>) -> Result<End>;

    /// How far each account's jobs are applied; accounts of which none was are left out, and rows that cannot be read.
    fn all_progress(&mut self) -> Result<Vec<(i64, Progress)>>;

    /// Those of these audit keys that have their row.
    fn audited_keys(&mut self, keys: &[String]) -> Result<Vec<String>>;

    /// Those of these uuids that have a row in `failed_jobs`.
    fn failed_uuids(&mut self, uuids: &[String]) -> Result<Vec<String>>;

    /// Records a job that has failed for good; a second row for the same uuid is none.
    fn insert_failed_job(&mut self, job: &FailedJob<'_>) -> Result<()>;

    /// Marks the account for a reconcile: a row of `stream_gaps` without identity and with this reason, unless one like it
    /// is outstanding that no reconcile has taken up yet. An account that is not there has nothing to reconcile.
    fn request_reconcile(&mut self, account_id: i64, api_system_id: i64, reason: &str, at: Wall) -> Result<()>;

    /// Intents that are not pushed yet, in ascending id.
    fn unpushed_intents(&mut self, limit: u32) -> Result<Vec<IntentRow>>;

    /// The relay has pushed these.
    fn intents_pushed(&mut self, ids: &[i64], at: Wall) -> Result<()>;

    /// Deletes at most `limit` audit rows that were received before `before`, each account's oldest first; how many.
    fn delete_audit_before(&mut self, before: Wall, limit: u32) -> Result<u64>;

    /// Deletes at most `limit` intents that were decided before `before`, the oldest first; how many. `only_pushed`: one that is
    /// not finished and that the relay has not pushed stays, however old.
    fn delete_intents_before(&mut self, before: Wall, only_pushed: bool, limit: u32) -> Result<u64>;

    /// Deletes those of the `limit` oldest decisions that were decided before `before`; how many.
    fn delete_decisions_before(&mut self, before: Wall, limit: u32) -> Result<u64>;

    /// Audit rows of an order by exchange or client order id, oldest first; `account` narrows. Those of the order that an
    /// algo order became are among them. An id that is only ever a client's is looked for row by row.
    fn audit_of_order(&mut self, id: &str, account: Option<i64>, limit: u32) -> Result<Vec<AuditRecord>>;

    /// Audit rows received from `since` on with an id above `after`, in ascending id.
    fn audit_since(&mut self, since: Wall, after: i64, limit: u32) -> Result<Vec<AuditRecord>>;

    /// Accounts that have audit rows, ascending.
    fn audited_accounts(&mut self) -> Result<Vec<i64>>;

    /// An account's audit rows in the order in which they were received, then by id: those behind the row `after`, or, where
    /// that is no row (0), received from `since` on.
    fn audit_of_account(&mut self, account_id: i64, since: Wall, after: i64, limit: u32) -> Result<Vec<AuditRecord>>;

    /// Orders by either id, of all accounts or one: id, account and what [`OrderRow`] holds.
    fn orders_of_id(&mut self, id: &str, account: Option<i64>) -> Result<Vec<(i64, OrderRow)>>;

    /// What was decided about an order's events, or about events with one of these audit keys; ascending id.
    fn decisions(&mut self, order_id: Option<i64>, keys: &[String]) -> Result<Vec<DecisionRow>>;

    /// Intents of an order or, where it has none, of its position; ascending id.
    fn intents_of(&mut self, order_id: Option<i64>, position_id: Option<i64>, limit: u32) -> Result<Vec<IntentRow>>;
}

/// One transaction of the worker.
pub trait WorkTransaction {
    /// Locks the account's row of `stream_progress`, made where it is missing, and reads it. `None`: nothing applied yet.
    fn lock_progress(&mut self, account_id: i64) -> Result<Option<Progress>>;

    /// Writes it.
    fn set_progress(&mut self, account_id: i64, progress: &Progress) -> Result<()>;

    /// Inserts an audit row; `false` where its idempotency key is there already. Never fails the transaction for a duplicate.
    fn insert_audit(&mut self, row: &AuditRow<'_>) -> Result<bool>;

    /// Recorded bytes of this order's or algo order's events, for one that is to be told from them.
    fn recorded_of_order(&mut self, account_id: i64, exchange_order_id: &str) -> Result<Vec<String>>;

    /// Recorded bytes of the account's balance and position events whose event time is `since` or later, for one that is to
    /// be told from them; in the order in which they were recorded.
    fn recorded_account_updates(&mut self, account_id: i64, since: Wall) -> Result<Vec<String>>;

    /// Inserts the audit rows of several jobs at once, in this order, where that saves the database something; to be
    /// followed by [`WorkTransaction::insert_audit`] of each, which then tells what was found.
    fn insert_audit_ahead(&mut self, _rows: &[AuditRow<'_>]) -> Result<()> {
        Ok(())
    }

    /// The account, soft-deleted or not, as of this transaction's first look at it; `None` where there is none.
    fn account(&mut self, account_id: i64) -> Result<Option<AccountFacts>>;

    /// The order with this exchange order id, else the one with this client order id, else the algo order that is known to
    /// have become the order with this id; each only if its position belongs to the account and the account to the system. Of several, the one whose position has
    /// this symbol, then the newest: exchanges number orders by symbol.
    fn find_order(
        &mut self,
        account_id: i64,
        api_system_id: i64,
        symbol: Option<&str>,
        exchange_order_id: Option<&str>,
        client_order_id: Option<&str>,
    ) -> Result<Option<OrderRow>>;

    /// Locks a position's row and reads it. `None` too where it has no direction yet: nothing is placed for it.
    fn lock_position(&mut self, position_id: i64) -> Result<Option<PositionRow>>;

    /// Positions of the account with this symbol and one of these statuses, ascending id, not locked.
    fn positions(&mut self, account_id: i64, symbol: &str, statuses: &[&str]) -> Result<Vec<PositionRow>>;

    /// Locks an order's row and reads it again.
    fn lock_order(&mut self, order_id: i64) -> Result<Option<OrderRow>>;

    /// All orders of a position, ascending id, not locked.
    fn orders_of_position(&mut self, position_id: i64) -> Result<Vec<OrderRow>>;

    /// Writes status, price, `filled_at`, `updated_at` of an order, and its mark.
    fn update_order(&mut self, order_id: i64, change: &OrderChange) -> Result<()>;

    /// Moves the local intent: `reference_status`.
    fn set_reference_status(&mut self, order_id: i64, status: &str) -> Result<()>;

    /// Moves a position's status.
    fn set_position_status(&mut self, position_id: i64, status: &str) -> Result<()>;

    /// The algo order has become the real order with this id: later events of that id belong to it.
    fn link_triggered(&mut self, account_id: i64, symbol: &str, exchange_order_id: &str, order_id: i64) -> Result<()>;

    /// The real order of this algo order has ended.
    fn set_child_ended(&mut self, order_id: i64, status: OrderStatus) -> Result<()>;

    /// Whether an intent with this `live_key` lives: not finished, and decided no longer than `live_for` before `now`.
    fn has_live_intent(&mut self, live_key: &str, now: Wall, live_for: Duration) -> Result<bool>;

    /// Inserts an intent; `false` where its `dedupe` is there already.
    fn insert_intent(&mut self, intent: &NewIntent) -> Result<bool>;

    /// Records what was decided. A second decision about the same event takes the first one's place where that one's rule is
    /// among `replaced`, and is dropped elsewhere. Those of one transaction that replace any name the same rules.
    fn insert_decision(&mut self, decision: &DecisionRow, replaced: &[&str]) -> Result<()>;

    /// Records a gap; a second row of the same identity is none.
    fn insert_gap(&mut self, gap: &NewGap<'_>) -> Result<()>;
}

/// The worker's access to the database: one session at most, opened when it is needed.
pub struct WorkStore {
    place: Place,
    target: String,
    session: Option<Box<dyn WorkTables>>,
    statements: u64,
}

impl WorkStore {
    /// For the store at `url`; contacts nothing yet.
    ///
    /// # Errors
    /// A build without the feature for that database.
    pub fn new(url: &StoreUrl, options: &UserDataOptions) -> Result<WorkStore> {
        Ok(WorkStore { place: Place::new(url, options)?, target: url.to_string(), session: None, statements: 0 })
    }

    /// Where it writes to, without a password.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// [`WorkTables::statements`] of all sessions so far.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements
    }

    /// Whether a session is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.session.is_some()
    }

    /// Does `work` in the open session, or in a new one. After a fault whose class says so the session is given up, and
    /// the next call opens another. An SQLite file is made and migrated by that; PostgreSQL is left as it is.
    ///
    /// # Errors
    /// What opening or `work` says.
    pub fn run<T>(&mut self, work: impl FnOnce(&mut dyn WorkTables) -> Result<T>) -> Result<T> {
        let mut session = match self.session.take().filter(|session| session.is_usable()) {
            Some(session) => session,
            None => self.open()?,
        };
        let before = session.statements();
        let answer = work(&mut *session);
        self.statements += session.statements() - before;
        if answer.as_ref().err().is_none_or(|error| !error.class().needs_reconnect()) {
            self.session = Some(session);
        }
        answer
    }

    /// Ends the session; the next call opens another.
    pub fn close(&mut self) {
        self.session = None;
    }

    fn open(&self) -> Result<Box<dyn WorkTables>> {
        match &self.place {
            #[cfg(feature = "server")]
            Place::Postgres(url, options) => Ok(Box::new(PostgresWork::new(PostgresStore::connect(url, options)?)?)),
            #[cfg(feature = "embedded")]
            Place::Sqlite(path) => Ok(Box::new(SqliteWork::new(Place::open_file(path)?))),
        }
    }
}

impl std::fmt::Debug for WorkStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WorkStore({})", self.target)
    }
}
