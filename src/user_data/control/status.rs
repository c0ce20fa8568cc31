//! What the control threads show of themselves: numbers, sentences, no secret.

use std::sync::Arc;

use crate::domain::Wall;
use crate::user_data::listen_keys::KeyCounts;

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlStatus {
    /// Accounts that are to be streamed.
    pub accounts: usize,
    /// Of these, the ones whose listen key is good.
    pub with_key: usize,
    /// Accounts in trouble; the first [`crate::domain::limits::TROUBLES_NAMED_MAX`] are in [`ControlStatus::troubles`].
    pub degraded: usize,
    /// Account, name and the sentence that says why, in ascending account id.
    pub troubles: Vec<(i64, Arc<str>, Arc<str>)>,
    /// The venue lets nobody call from this address until then.
    pub address_held_until: Option<Wall>,
    /// Calls and keys since the start.
    pub keys: KeyCounts,
    /// The last successful look at the accounts.
    pub last_look_at: Option<Wall>,
    /// The last extension of any key.
    pub last_keep_alive_at: Option<Wall>,
    /// What the database says is wrong; `None` while all is well.
    pub database_fault: Option<Arc<str>>,
    /// Rows of `binance_listen_keys` that wait for the database.
    pub rows_waiting: usize,
    /// Gaps that wait for the database.
    pub gaps_waiting: usize,
    /// Changes and gaps that the database will never take.
    pub rows_refused: u64,
    /// Gaps refused because too many were waiting; who brought them brings them again.
    pub gaps_turned_away: u64,
}
