//! What the user-data role keeps in the database: who is streamed, with which listen key, and when nobody listened.
//!
//! [`UserDataTables`] is one open session on either database; [`UserDataStore`] is what a control thread holds: it opens a
//! session when one is needed and drops it after a fault that makes it worthless, so that the next call starts anew. Neither
//! waits or retries: the caller knows how long it can. Credentials pass through as [`Ciphertext`]; nothing here can read one.

use std::time::Duration;

use super::error::{ErrorClass, Result, StoreError};
#[cfg(feature = "server")]
use super::postgres::{PostgresOptions, PostgresStore};
use super::rows::ApiSystem;
#[cfg(feature = "embedded")]
use super::sqlite::SqliteStore;
use super::url::StoreUrl;
use super::user_data_rows::{
    AccountListing, AccountRow, Ciphertext, GapQuery, GapRow, ListenKeyRow, NewAccount, NewGap, NewListenKey,
};
use crate::domain::Wall;

/// The tables of the user-data role, in one open session.
///
/// Every function answers with what the database says went wrong; a table or column that is not there is
/// [`ErrorClass::MissingTable`] or [`ErrorClass::MissingColumn`], which `migrate` mends.
pub trait UserDataTables: Send {
    /// Whether the session is worth another statement; `false` where the connection is known to be gone, or the file moved.
    fn is_usable(&self) -> bool;

    /// The row of `api_systems` with this canonical name.
    fn venue_system(&mut self, canonical: &str) -> Result<Option<ApiSystem>>;

    /// Accounts to be streamed from the venue, in ascending id: active, not soft-deleted, key and secret present and not
    /// empty. `can_trade`, subscription and user play no part: positions must stay managed (facts/incumbent.md §1.7).
    fn eligible_accounts(&mut self, canonical: &str) -> Result<Vec<AccountRow>>;

    /// Accounts of the venue with open positions or orders that are not over, in ascending id: those for which being deaf is
    /// dangerous. None where there are no such tables.
    fn exposed_accounts(&mut self, canonical: &str) -> Result<Vec<i64>>;

    /// All rows of `binance_listen_keys`, in ascending account id.
    fn listen_keys(&mut self) -> Result<Vec<ListenKeyRow>>;

    /// A key that the venue has just answered with, at the start of a stream: inserted, or put in place of the old one;
    /// keep-alive state starts anew, `last_frame_at` stays.
    fn put_listen_key(&mut self, key: &NewListenKey<'_>) -> Result<()>;

    /// The venue has extended the key at `at`: status `success`, no failures. A `rotated` key takes the old one's place and
    /// counts as created then. `false` where the row is gone: somebody says that this account is not streamed.
    fn keep_alive_succeeded(&mut self, account_id: i64, at: Wall, rotated: Option<&Ciphertext>) -> Result<bool>;

    /// A keep-alive has failed: status `failure`, one more in a row, up to 255. The new count; `None` where the row is gone.
    fn keep_alive_failed(&mut self, account_id: i64) -> Result<Option<u8>>;

    /// When sockets were last active, pings included: at most every 30 s per account is what the column promises, and the
    /// caller keeps to. Never moves a stamp back. How many rows took it.
    fn touch_frames(&mut self, active: &[(i64, Wall)]) -> Result<u64>;

    /// The account is no longer streamed. `false` where there was no row.
    fn delete_listen_key(&mut self, account_id: i64) -> Result<bool>;

    /// Records a gap; the new row's id, `None` where a gap with the same epoch and position is there already.
    fn insert_gap(&mut self, gap: &NewGap<'_>) -> Result<Option<i64>>;

    /// Records gaps in one transaction: all of them or, on any error, none. One that is there already is no error.
    fn insert_gaps(&mut self, gaps: &[NewGap<'_>]) -> Result<()>;

    /// The newest gaps first.
    fn gaps(&mut self, query: &GapQuery) -> Result<Vec<GapRow>>;

    /// Every account that is not soft-deleted, with its listen-key row, in ascending id.
    fn accounts(&mut self) -> Result<Vec<AccountListing>>;

    /// Adds an account, active; its id, `None` where the user has one of that name. An unknown venue is
    /// [`ErrorClass::Other`].
    fn add_account(&mut self, account: &NewAccount<'_>) -> Result<Option<i64>>;

    /// Switches streaming on, or off with a reason. `false` where there is no such account.
    fn set_account_active(&mut self, account_id: i64, off_because: Option<&str>) -> Result<bool>;

    /// Soft-deletes an account, as Laravel does. `false` where there is no such account.
    fn remove_account(&mut self, account_id: i64) -> Result<bool>;
}

/// How sessions of the user-data role are opened.
#[derive(Clone, Debug)]
pub struct UserDataOptions {
    /// What others see in `pg_stat_activity`.
    pub application_name: String,
    /// PEM of roots trusted for the database beside the built-in ones.
    pub extra_roots_pem: Vec<u8>,
    /// From the first packet to the login.
    pub connect_timeout: Duration,
    /// How long a statement waits for a lock: other programs write these rows too.
    pub lock_timeout: Duration,
    /// How long a statement runs.
    pub statement_timeout: Duration,
}

impl UserDataOptions {
    /// Two seconds for a lock, five for a statement: control threads are patient, but a keep-alive must not wait for ever.
    #[must_use]
    pub fn new(application_name: impl Into<String>) -> Self {
        UserDataOptions {
            application_name: application_name.into(),
            extra_roots_pem: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(5),
        }
    }
}

/// A control thread's access to the database: one session at most, opened when it is needed.
pub struct UserDataStore {
    place: Place,
    target: String,
    session: Option<Box<dyn UserDataTables>>,
}

/// Where sessions of either role are opened, and how.
pub(super) enum Place {
    #[cfg(feature = "server")]
    Postgres(Box<super::url::PostgresUrl>, PostgresOptions),
    #[cfg(feature = "embedded")]
    Sqlite(std::path::PathBuf),
}

impl Place {
    #[cfg_attr(not(feature = "server"), allow(unused_variables, reason = "a file takes no options"))]
    pub(super) fn new(url: &StoreUrl, options: &UserDataOptions) -> Result<Place> {
        Ok(match url {
            #[cfg(feature = "server")]
            StoreUrl::Postgres(url) => Place::Postgres(
                Box::new(url.clone()),
                PostgresOptions {
                    application_name: options.application_name.clone(),
                    extra_roots_pem: options.extra_roots_pem.clone(),
                    connect_timeout: options.connect_timeout,
                    lock_timeout: options.lock_timeout,
                    statement_timeout: options.statement_timeout,
                    synchronous_commit: true,
                },
            ),
            #[cfg(feature = "embedded")]
            StoreUrl::Sqlite(path) => Place::Sqlite(path.clone()),
            #[cfg(not(all(feature = "server", feature = "embedded")))]
            other => {
                let sentence = format!("this build cannot use {other}: it was made without the feature for it");
                return Err(StoreError::new(ErrorClass::Refused, sentence));
            }
        })
    }

    #[cfg(feature = "embedded")]
    pub(super) fn open_file(path: &std::path::Path) -> Result<SqliteStore> {
        let mut store = SqliteStore::open(path)?;
        store.migrate()?;
        // What was recorded must survive a power cut; these rows are few beside the prices.
        store.connection().pragma_update(None, "synchronous", "full")?;
        Ok(store)
    }
}

impl UserDataStore {
    /// For the store at `url`; contacts nothing yet.
    ///
    /// # Errors
    /// A build without the feature for that database.
    pub fn new(url: &StoreUrl, options: &UserDataOptions) -> Result<UserDataStore> {
        Ok(UserDataStore { place: Place::new(url, options)?, target: url.to_string(), session: None })
    }

    /// Where it writes to, without a password.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Whether a session is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.session.is_some()
    }

    /// Does `work` in the open session, or in a new one. After a fault whose class says so the session is given up, and
    /// the next call opens another.
    ///
    /// # Errors
    /// What opening or `work` says.
    pub fn run<T>(&mut self, work: impl FnOnce(&mut dyn UserDataTables) -> Result<T>) -> Result<T> {
        let mut session = match self.session.take().filter(|session| session.is_usable()) {
            Some(session) => session,
            None => self.open()?,
        };
        let answer = work(&mut *session);
        if answer.as_ref().err().is_none_or(|error| !error.class().needs_reconnect()) {
            self.session = Some(session);
        }
        answer
    }

    /// Ends the session; the next call opens another.
    pub fn close(&mut self) {
        self.session = None;
    }

    fn open(&self) -> Result<Box<dyn UserDataTables>> {
        match &self.place {
            #[cfg(feature = "server")]
            Place::Postgres(url, options) => Ok(Box::new(PostgresStore::connect(url, options)?)),
            #[cfg(feature = "embedded")]
            Place::Sqlite(path) => Ok(Box::new(Place::open_file(path)?)),
        }
    }
}

impl std::fmt::Debug for UserDataStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserDataStore({})", self.target)
    }
}

/// `binance_listen_keys.failure_count` was an unsigned byte; a count that ran over it once ended a whole keep-alive pass.
pub const FAILURE_COUNT_MAX: u8 = u8::MAX;

/// An installation without the application's tables has nobody with something to lose, as far as it knows.
pub(super) fn none_without_tables(exposed: Result<Vec<i64>>) -> Result<Vec<i64>> {
    match exposed {
        Err(error) if matches!(error.class(), ErrorClass::MissingTable | ErrorClass::MissingColumn) => Ok(Vec::new()),
        other => other,
    }
}

/// The refusal to add an account to a venue that `api_systems` does not know.
pub(super) fn unknown_venue(canonical: &str) -> StoreError {
    StoreError::new(ErrorClass::Other, format!("api_systems has no row for {canonical}"))
}
