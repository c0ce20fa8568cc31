//! Rows of the user-data role as both databases give and take them: plain values, no driver type.
//!
//! Column names and meanings are the incumbent's (facts/incumbent.md §1.2, §1.7). Stamps are kept to the millisecond, in
//! UTC. A [`Ciphertext`] is Laravel's `encrypted` text: whoever holds `APP_KEY` can read it, so it is never shown either.

use std::fmt;

use crate::domain::Wall;

/// A text in Laravel's `encrypted` format. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Ciphertext(String);

impl Ciphertext {
    /// Takes the text as it is.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Ciphertext(text.into())
    }

    /// The text, for the decrypter.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ciphertext({} bytes)", self.0.len())
    }
}

/// An account that is to be streamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// Primary key.
    pub id: i64,
    /// Whose account it is: `api_systems.id`.
    pub api_system_id: i64,
    /// `api_systems.canonical`.
    pub canonical: String,
    /// What people call it.
    pub name: String,
    /// The API key, encrypted; a difference from the last look means a new key.
    pub api_key_ciphertext: Ciphertext,
    /// The API secret, encrypted.
    pub api_secret_ciphertext: Ciphertext,
    /// When the row was last changed.
    pub updated_at: Option<Wall>,
}

/// A row of `binance_listen_keys`: this account is being streamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenKeyRow {
    /// Whose key it is.
    pub account_id: i64,
    /// The key, encrypted.
    pub listen_key: Ciphertext,
    /// When the venue first gave out this key.
    pub last_created_at: Option<Wall>,
    /// The last success.
    pub last_keep_alive_at: Option<Wall>,
    /// When the socket was last active, to about 30 s.
    pub last_frame_at: Option<Wall>,
    /// How the last keep-alive went.
    pub last_keep_alive: Option<KeepAlive>,
    /// Failures in a row; 255 is "or more".
    pub failure_count: u8,
}

/// `binance_listen_keys.last_keep_alive_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// The venue extended the key.
    Success,
    /// It did not, or nobody could ask it.
    Failure,
}

impl KeepAlive {
    /// The word in the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            KeepAlive::Success => "success",
            KeepAlive::Failure => "failure",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        [KeepAlive::Success, KeepAlive::Failure].into_iter().find(|state| state.as_str() == word)
    }
}

/// A key at the start of a stream.
#[derive(Clone, Copy, Debug)]
pub struct NewListenKey<'a> {
    /// Whose key it is.
    pub account_id: i64,
    /// The key, encrypted.
    pub listen_key: &'a Ciphertext,
    /// Whether the venue had not given it out before: sets `last_created_at`. An unchanged key keeps its old stamp.
    pub is_new: bool,
    /// When the venue answered.
    pub at: Wall,
}

/// A gap to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewGap<'a> {
    /// Whose stream was silent.
    pub account_id: i64,
    /// Its venue.
    pub api_system_id: i64,
    /// When it was last known alive, never later than the truth; stored rounded down. `None`: never before.
    pub started_at: Option<Wall>,
    /// When it was live again; stored rounded up.
    pub ended_at: Wall,
    /// A word: `start`, `reconnect`, `key`, ….
    pub reason: &'a str,
    /// Epoch and position of the spool's gap record: the identity that makes a second insert one row.
    pub identity: Option<([u8; 16], u64)>,
}

/// A row of `stream_gaps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapRow {
    /// Primary key.
    pub id: i64,
    /// Whose stream was silent.
    pub account_id: i64,
    /// Its venue.
    pub api_system_id: i64,
    /// See [`NewGap::started_at`].
    pub started_at: Option<Wall>,
    /// See [`NewGap::ended_at`].
    pub ended_at: Wall,
    /// See [`NewGap::reason`].
    pub reason: String,
    /// See [`NewGap::identity`].
    pub identity: Option<([u8; 16], u64)>,
    /// When a reconcile took it up.
    pub opened_at: Option<Wall>,
    /// What the reconcile came to; `None` while it is outstanding.
    pub outcome: Option<String>,
}

/// Which gaps are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapQuery {
    /// Only this account's.
    pub account_id: Option<i64>,
    /// Only those without an outcome.
    pub outstanding: bool,
    /// At most so many.
    pub limit: u32,
}

/// An account to be added.
#[derive(Clone, Copy, Debug)]
pub struct NewAccount<'a> {
    /// `api_systems.canonical`.
    pub canonical: &'a str,
    /// What people call it; unique per user.
    pub name: &'a str,
    /// Laravel's user, where accounts belong to one.
    pub user_id: Option<i64>,
    /// A random UUID.
    pub uuid: &'a str,
    /// Encrypted.
    pub api_key: &'a Ciphertext,
    /// Encrypted.
    pub api_secret: &'a Ciphertext,
}

/// An account as `accounts list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountListing {
    /// Primary key.
    pub id: i64,
    /// What people call it.
    pub name: String,
    /// `api_systems.canonical`.
    pub canonical: String,
    /// Whether it is switched on.
    pub is_active: bool,
    /// Encrypted; `None` where it is missing or empty.
    pub api_key: Option<Ciphertext>,
    /// Whether there is a secret.
    pub has_secret: bool,
    /// Its listen-key row, if it is being streamed.
    pub listen_key: Option<ListenKeyRow>,
}

/// The epoch of a gap as the column holds it: 32 lower-case hex digits.
pub(super) fn epoch_text(epoch: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(epoch))
}

/// Epoch and position as the columns hold them; `None` where one is missing or is not ours.
pub(super) fn identity(epoch: Option<&str>, position: Option<i64>) -> Option<([u8; 16], u64)> {
    let epoch = epoch.filter(|epoch| epoch.len() == 32 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let epoch = u128::from_str_radix(epoch, 16).ok()?;
    Some((epoch.to_be_bytes(), u64::try_from(position?).ok()?))
}

/// A position as the signed column takes it; a spool would have to run for millennia to reach the end.
pub(super) fn position_column(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// Rounded up to the millisecond that the column keeps: a gap must cover what was missed.
pub(super) fn rounded_up(at: Wall) -> Wall {
    Wall::from_micros(at.as_micros().saturating_add(999))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_columns() {
        let epoch = std::array::from_fn(|at| at as u8);
        assert_eq!(epoch_text(epoch), "000102030405060708090a0b0c0d0e0f");
        assert_eq!(identity(Some(&epoch_text(epoch)), Some(7)), Some((epoch, 7)));
        for (epoch, position) in [
            (None, Some(1)),
            (Some("00"), Some(1)),
            (Some("+00102030405060708090a0b0c0d0e0f"), Some(1)),
            (Some("000102030405060708090a0b0c0d0e0f"), None),
            (Some("000102030405060708090a0b0c0d0e0f"), Some(-1)),
        ] {
            assert_eq!(identity(epoch, position), None, "{epoch:?} {position:?}");
        }
    }

    #[test]
    fn an_end_is_rounded_up_and_a_ciphertext_is_not_shown() {
        for (micros, stamp) in [(1_000, "1970-01-01 00:00:00.001"), (1_001, "1970-01-01 00:00:00.002")] {
            assert_eq!(rounded_up(Wall::from_micros(micros)).to_string(), stamp);
        }
        assert_eq!(format!("{:?}", Ciphertext::new("eyJpdiI6")), "Ciphertext(8 bytes)");
    }
}
