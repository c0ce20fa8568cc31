//! PostgreSQL: one connection of the control plane or of the price writer, and every statement but the price update.
//!
//! **Session.** `TimeZone` is UTC, a lock is waited for half a second and a statement runs for less than one, so that
//! neither a locked row nor a slow server ever holds the writer; a client that vanished is noticed by the server within
//! [`GHOST_MAX`], which frees its advisory lock.
//!
//! **Transaction-mode poolers** hand each transaction to another server session: settings and the advisory lock would
//! silently land elsewhere. [`PostgresStore::connect`] looks for one with a second connection that runs a transaction:
//! without a pooler it is another backend than ours, ours stays the same while that transaction is open, and our own
//! session variable survives. A pooler that reuses its server connection fails the first test, one with a spare
//! connection the others. [`PostgresStore::check_session`] repeats the last test later.

mod lock;
mod migrate;
mod read;
mod reconcile;
pub mod tls;
mod user_data;
mod work;
mod work_batch;
mod work_read;
mod work_transaction;
mod write;

use std::fmt;
use std::time::Duration;

use postgres::{Client, Config, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

pub use lock::{LockHolder, StoreLock};
pub use work::PostgresWork;

use super::error::{ErrorClass, Result, StoreError};
use super::url::{PostgresUrl, SslMode};

/// A client that vanished without a word is noticed within this: keepalive after 15 s, every 10 s, three times.
pub const GHOST_MAX: Duration = Duration::from_secs(45);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// How a session is opened.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// `application_name`: what others see in `pg_stat_activity`, and who a refused second writer is told holds the lock.
    pub application_name: String,
    /// PEM of roots trusted beside the built-in ones (`net.extra_roots`).
    pub extra_roots_pem: Vec<u8>,
    /// From the first packet to the login.
    pub connect_timeout: Duration,
    /// `lock_timeout`.
    pub lock_timeout: Duration,
    /// `statement_timeout`.
    pub statement_timeout: Duration,
    /// `synchronous_commit`: off for prices, which the next tick writes again.
    pub synchronous_commit: bool,
}

impl PostgresOptions {
    /// For the price writer (facts: measurements, conclusion 3).
    #[must_use]
    pub fn prices(application_name: impl Into<String>) -> Self {
        PostgresOptions {
            application_name: application_name.into(),
            extra_roots_pem: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_millis(500),
            statement_timeout: Duration::from_millis(900),
            synchronous_commit: false,
        }
    }

    /// For commands: `migrate`, `check`, `symbols sync`.
    #[must_use]
    pub fn command(application_name: impl Into<String>) -> Self {
        PostgresOptions {
            lock_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(60),
            synchronous_commit: true,
            ..PostgresOptions::prices(application_name)
        }
    }
}

/// An open session.
pub struct PostgresStore {
    client: Client,
    target: String,
    /// Value of our session variable, and the backend that holds it.
    session: (String, String),
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresStore({})", self.target)
    }
}

impl PostgresStore {
    /// Opens a session and makes sure that it is one.
    ///
    /// # Errors
    /// Unreachable or refused by the server, TLS that does not verify, a transaction-mode pooler
    /// ([`ErrorClass::Refused`]).
    pub fn connect(url: &PostgresUrl, options: &PostgresOptions) -> Result<PostgresStore> {
        let mut store = PostgresStore::open(url, options)?;
        let mut other = PostgresStore::open(url, options)?;
        other.execute("BEGIN")?;
        let pooled = other.session.1 == store.session.1 || store.check_session().is_err();
        other.execute("COMMIT")?;
        if pooled || store.check_session().is_err() {
            return Err(pooler(&store.target));
        }
        Ok(store)
    }

    /// Where it is connected to, without a password.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Whether the connection is gone for good.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Whether this is still the session that was opened: same backend, same session variable.
    ///
    /// # Errors
    /// [`ErrorClass::Refused`] where a transaction-mode pooler moved us; what the connection says otherwise.
    pub fn check_session(&mut self) -> Result<()> {
        let found = self.session_now()?;
        if found == self.session { Ok(()) } else { Err(pooler(&self.target)) }
    }

    /// Runs a text of one or more statements as one message; the affected rows of each, in order.
    ///
    /// # Errors
    /// What the server says about the first statement that failed.
    pub fn run(&mut self, text: &str, affected: &mut Vec<u64>) -> Result<()> {
        affected.clear();
        let messages = self.client.simple_query(text)?;
        affected.extend(messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        }));
        Ok(())
    }

    /// Runs a text whose answers do not matter.
    ///
    /// # Errors
    /// As [`PostgresStore::run`].
    pub fn execute(&mut self, text: &str) -> Result<()> {
        Ok(self.client.batch_execute(text)?)
    }

    /// Ends the session, which frees its lock.
    pub fn close(self) {
        // The server notices either way; a connection that broke has nothing left to say.
        let _ = self.client.close();
    }

    fn open(url: &PostgresUrl, options: &PostgresOptions) -> Result<PostgresStore> {
        let target = url.to_string();
        let doing = format!("cannot use {target}");
        let client = connect(url, options).map_err(|error| error.during(&doing))?;
        let mut store = PostgresStore { client, target, session: (String::new(), String::new()) };
        store.begin_session(url, options).map_err(|error| error.during(&doing))?;
        Ok(store)
    }

    fn begin_session(&mut self, url: &PostgresUrl, options: &PostgresOptions) -> Result<()> {
        let mut token = [0u8; 8];
        getrandom::fill(&mut token)
            .map_err(|error| StoreError::new(ErrorClass::Other, format!("no randomness from the system: {error}")))?;
        let token = u64::from_le_bytes(token);
        let mut text = format!(
            "SET TIME ZONE 'UTC'; SET client_min_messages = warning; SET standard_conforming_strings = on; \
             SET lock_timeout = {}; SET statement_timeout = {}; SET idle_in_transaction_session_timeout = 10000; \
             SET synchronous_commit = {}; SET kraite.session = '{token:016x}';",
            options.lock_timeout.as_millis(),
            options.statement_timeout.as_millis(),
            if options.synchronous_commit { "on" } else { "off" },
        );
        if !url.host.starts_with('/') {
            text.push_str(&format!(
                "SET tcp_keepalives_idle = {}; SET tcp_keepalives_interval = {}; SET tcp_keepalives_count = {}; \
                 SET tcp_user_timeout = {};",
                KEEPALIVE_IDLE.as_secs(),
                KEEPALIVE_INTERVAL.as_secs(),
                KEEPALIVE_RETRIES,
                GHOST_MAX.as_millis(),
            ));
        }
        self.execute(&text)?;
        self.session = self.session_now()?;
        if self.session.0 == format!("{token:016x}") { Ok(()) } else { Err(pooler(&self.target)) }
    }

    fn session_now(&mut self) -> Result<(String, String)> {
        let row = self.rows("SELECT coalesce(current_setting('kraite.session', true), ''), pg_backend_pid()")?;
        let field = |at: usize| row.first().and_then(|row| row[at].clone()).unwrap_or_default();
        Ok((field(0), field(1)))
    }

    /// The rows of one statement as text: this is the control plane, and text needs no agreement on types with tables
    /// that are somebody else's.
    fn rows(&mut self, text: &str) -> Result<Vec<Vec<Option<String>>>> {
        let messages = self.client.simple_query(text)?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
            _ => None,
        });
        Ok(rows.collect())
    }
}

fn connect(url: &PostgresUrl, options: &PostgresOptions) -> Result<Client> {
    let on_socket = url.host.starts_with('/');
    let mode = if on_socket { SslMode::Disable } else { url.ssl_mode };
    let mut config = Config::new();
    config
        .user(&url.user)
        .dbname(&url.database)
        .port(url.port)
        .application_name(&options.application_name)
        .connect_timeout(options.connect_timeout)
        .tcp_user_timeout(GHOST_MAX)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES);
    if on_socket {
        config.host_path(&url.host);
    } else {
        config.host(&url.host);
    }
    if let Some(password) = &url.password {
        config.password(password);
    }
    config.ssl_mode(match mode {
        SslMode::Disable => postgres::config::SslMode::Disable,
        SslMode::Prefer => postgres::config::SslMode::Prefer,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => postgres::config::SslMode::Require,
    });
    if mode == SslMode::Disable {
        return Ok(config.connect(NoTls)?);
    }
    let mut roots = options.extra_roots_pem.clone();
    if let Some(path) = &url.ssl_root_cert {
        let pem = std::fs::read(path).map_err(|error| {
            StoreError::new(ErrorClass::Other, format!("cannot read sslrootcert {}: {error}", path.display()))
        })?;
        roots.push(b'\n');
        roots.extend_from_slice(&pem);
    }
    let tls = tls::client_config(mode, &roots, url.ssl_root_cert.is_some())?;
    Ok(config.connect(MakeRustlsConnect::new(tls))?)
}

fn pooler(target: &str) -> StoreError {
    StoreError::new(
        ErrorClass::Refused,
        format!(
            "{target} is behind a pooler in transaction mode: it moves each transaction to another session, so neither \
             time limits nor the single-writer lock would hold. Point store.url at the server itself, or at a pool in \
             session mode"
        ),
    )
}

/// A quoted identifier; `schema.table` becomes two.
fn quoted(name: &str) -> String {
    name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect::<Vec<_>>().join(".")
}

/// A quoted literal (`standard_conforming_strings` is on).
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', "''"))
}
