//! SQLite: the embedded store, one file of our own, nothing to install.
//!
//! Write-ahead log, so that readers (the status page, `symbols`) never stop the writer; `synchronous = NORMAL`, because the
//! next tick writes a lost one again. Decimals and stamps are TEXT: what the venue wrote, digit for digit, and
//! `YYYY-MM-DD HH:MM:SS.mmm` in UTC. The file and its neighbours are for their owner only.

mod application;
mod lock;
mod priced;
mod read;
mod reconcile;
mod user_data;
mod work;
mod work_read;
mod work_transaction;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

pub use application::{HeldFrame, HeldGap, HeldIntent, HeldOrder, PlacedRow};
pub use lock::FileLock;
pub use work::SqliteWork;
pub use write::split_symbol;

use super::error::{ErrorClass, Result, StoreError};
use super::schema::{LEDGER, MIGRATIONS, Migration, Outcome, Script, Step};

/// How long a writer waits for another process's write. Readers never hold it up.
pub const BUSY_TIMEOUT: Duration = Duration::from_millis(500);

/// An open database file.
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqliteStore({})", self.path.display())
    }
}

impl SqliteStore {
    /// Opens the file, and creates it where it is not there.
    ///
    /// # Errors
    /// A folder that is not there or not ours, a file that is no database.
    pub fn open(path: &Path) -> Result<SqliteStore> {
        let doing = format!("cannot use {}", path.display());
        create_private(path).map_err(|error| StoreError::new(ErrorClass::Unreachable, format!("{doing}: {error}")))?;
        SqliteStore::open_existing(path).map_err(|error| error.during(&doing))
    }

    /// Opens a file that is there, to read only.
    ///
    /// # Errors
    /// A file that is not there or is no database.
    pub fn open_read_only(path: &Path) -> Result<SqliteStore> {
        let doing = format!("cannot read {}", path.display());
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || -> Result<SqliteStore> {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            Ok(SqliteStore { connection, path: path.to_owned(), identity: identity(path) })
        };
        open().map_err(|error| error.during(&doing))
    }

    /// Runs `work` in one transaction.
    ///
    /// # Errors
    /// What `work` or the commit says; then nothing was written.
    pub fn in_transaction<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let answer = work(&transaction)?;
        transaction.commit()?;
        Ok(answer)
    }

    /// The connection, for reads of one's own.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether the file at the path is still the one that was opened: a file that was moved or deleted takes writes that
    /// nobody will ever read.
    ///
    /// # Errors
    /// [`ErrorClass::Unreachable`] where it is not.
    pub fn check_file(&self) -> Result<()> {
        if identity(&self.path) == self.identity {
            return Ok(());
        }
        let sentence = format!("{} was moved or replaced", self.path.display());
        Err(StoreError::new(ErrorClass::Unreachable, sentence))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Applies what the ledger lacks; see [`schema`](super::schema). Safe to call at every start.
    ///
    /// # Errors
    /// The first migration that failed, named; it and those behind it are not in the ledger.
    pub fn migrate(&mut self) -> Result<Vec<Step>> {
        self.in_transaction(|connection| {
            connection.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS {LEDGER} (number INTEGER PRIMARY KEY, name TEXT NOT NULL, \
                 applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"
            ))?;
            MIGRATIONS
                .iter()
                .map(|migration| {
                    apply(connection, migration)
                        .map_err(|error| error.during(&format!("migration {:04}_{}", migration.number, migration.name)))
                })
                .collect()
        })
    }

    /// What [`SqliteStore::migrate`] would do; changes nothing.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn plan_migrations(&self) -> Result<Vec<Step>> {
        MIGRATIONS.iter().map(|migration| plan(&self.connection, migration)).collect()
    }

    fn open_existing(path: &Path) -> Result<SqliteStore> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(16);
        Ok(SqliteStore { connection, path: path.to_owned(), identity: identity(path) })
    }
}

fn plan(connection: &Connection, migration: &Migration) -> Result<Step> {
    let step = |outcome| Step { number: migration.number, name: migration.name, outcome };
    let ledger = read::table_shape(connection, LEDGER)?.exists();
    if ledger {
        let applied: bool = connection.query_row(
            &format!("SELECT EXISTS (SELECT 1 FROM {LEDGER} WHERE number = ?1)"),
            [migration.number],
            |row| row.get(0),
        )?;
        if applied {
            return Ok(step(Outcome::Applied));
        }
    }
    let script = Script::read(migration.sqlite);
    let shape = read::table_shape(connection, script.table)?;
    let missing: Vec<String> = script
        .columns
        .iter()
        .filter(|column| shape.column(column.name).is_none())
        .map(|column| column.name.to_owned())
        .collect();
    Ok(step(match (shape.exists(), missing.is_empty()) {
        (false, _) => Outcome::Created,
        (true, true) => Outcome::Complete,
        (true, false) => Outcome::Extended(missing),
    }))
}

fn apply(connection: &Connection, migration: &Migration) -> Result<Step> {
    let step = plan(connection, migration)?;
    let script = Script::read(migration.sqlite);
    match &step.outcome {
        Outcome::Applied => return Ok(step),
        Outcome::Complete => {}
        Outcome::Created => {
            connection.execute_batch(&script.create)?;
            for statement in &script.rest {
                connection.execute_batch(statement)?;
            }
        }
        Outcome::Extended(missing) => {
            for column in script.columns.iter().filter(|column| missing.iter().any(|name| name == column.name)) {
                connection.execute_batch(&format!(
                    "ALTER TABLE {} ADD COLUMN {} {}",
                    script.table,
                    column.name,
                    column.nullable_definition()
                ))?;
            }
        }
    }
    connection
        .execute(&format!("INSERT INTO {LEDGER} (number, name) VALUES (?1, ?2)"), (migration.number, migration.name))?;
    Ok(step)
}

/// Device and inode; `None` where there is no file or the system has no such thing.
fn identity(path: &Path) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// SQLite gives its log and shared memory the mode of the database file, so the file's mode settles all three.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
