//! What one process a database may do: a session's advisory lock, so that it goes with the session, whatever ends it.

use std::fmt;

use super::PostgresStore;
use crate::store::error::Result;

/// Class of our advisory locks: "krai" in ASCII, so that another program's key is unlikely to be ours.
const LOCK_CLASS: i32 = 0x6b72_6169;

/// What only one session of a database may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreLock {
    /// The writer of prices.
    Prices = 1,
    /// The safety net.
    SyncOrders = 2,
}

/// Who holds the lock, as the server tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// Its backend.
    pub backend_pid: i32,
    /// Its `application_name`: ours names command, host and process.
    pub application_name: String,
    /// Its address; `None` on a unix socket, or where the role may not see it.
    pub client_addr: Option<String>,
    /// When it connected, UTC.
    pub since: String,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.application_name.is_empty() { "an unnamed client" } else { &self.application_name };
        let from = self.client_addr.as_deref().unwrap_or("a local socket");
        write!(f, "{name} (from {from}, backend {}, since {} UTC)", self.backend_pid, self.since)
    }
}

impl PostgresStore {
    /// Takes the lock of this database unless another session has it. Taking it twice is one lock.
    ///
    /// # Errors
    /// What the server says.
    pub fn try_lock(&mut self, lock: StoreLock) -> Result<bool> {
        // Asked first, because a session that takes a lock twice must give it back twice.
        let held = self.lock_is_ours(lock)?;
        if held {
            return Ok(true);
        }
        let rows = self.rows(&format!("SELECT pg_try_advisory_lock({LOCK_CLASS}, {})", lock as i32))?;
        Ok(rows.first().is_some_and(|row| row[0].as_deref() == Some("t")))
    }

    /// Whether this very session holds the lock.
    ///
    /// # Errors
    /// What the server says.
    pub fn lock_is_ours(&mut self, lock: StoreLock) -> Result<bool> {
        let rows = self.rows(&format!("SELECT 1 FROM pg_locks WHERE {} AND pid = pg_backend_pid()", held(lock)))?;
        Ok(!rows.is_empty())
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// What the server says.
    pub fn unlock(&mut self, lock: StoreLock) -> Result<()> {
        self.execute(&format!("SELECT pg_advisory_unlock({LOCK_CLASS}, {})", lock as i32))
    }

    /// Who holds the lock; `None` where nobody does.
    ///
    /// # Errors
    /// What the server says.
    pub fn lock_holder(&mut self, lock: StoreLock) -> Result<Option<LockHolder>> {
        let rows = self.rows(&format!(
            "SELECT pid, coalesce(application_name, ''), host(client_addr), to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS') \
             FROM pg_locks LEFT JOIN pg_stat_activity USING (pid) WHERE {} LIMIT 1",
            held(lock)
        ))?;
        Ok(rows.into_iter().next().map(|mut row| LockHolder {
            since: row[3].take().unwrap_or_else(|| "an unknown time".to_owned()),
            client_addr: row[2].take(),
            application_name: row[1].take().unwrap_or_default(),
            backend_pid: row[0].take().and_then(|pid| pid.parse().ok()).unwrap_or_default(),
        }))
    }
}

fn held(lock: StoreLock) -> String {
    let number = lock as i32;
    format!(
        "locktype = 'advisory' AND classid = {LOCK_CLASS}::oid AND objid = {number}::oid AND objsubid = 2 AND granted \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
}
