//! What the control threads tell the user-data role about its accounts.

use std::fmt;
use std::sync::Arc;

use crate::domain::Wall;
use crate::exchange::binance::listen_key::ListenKey;

/// An account, as the role needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamedAccount {
    /// `accounts.id`.
    pub id: i64,
    /// `accounts.api_system_id`.
    pub api_system_id: i64,
    /// What people call it.
    pub name: Arc<str>,
}

/// Something the user-data role must do, in order per account. The newest state wins: a role that is slow does not hear of
/// keys that were replaced meanwhile. `Debug` shows no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountCommand {
    /// Open a stream. Sent once in an account's life, when it has its first key.
    Spawn {
        /// Whose.
        account: StreamedAccount,
        /// With this key.
        key: ListenKey,
        /// Grows with every key of any account; names the key in what the role reports.
        key_generation: u64,
        /// When the key that an earlier process used was last extended, where it was another: nobody hears events on that
        /// one, so a gap begins no later.
        replaced: Option<Wall>,
    },
    /// Open a new socket with this key, verify it, record the gap if there was one, and close the old socket then. The text
    /// of the key may be the old one where the venue had forgotten it meanwhile: a new socket is needed all the same.
    KeyChanged {
        /// Whose.
        account: i64,
        /// The new key.
        key: ListenKey,
        /// See [`AccountCommand::Spawn`].
        key_generation: u64,
        /// When the key of the role's last [`AccountCommand::Spawn`] or [`AccountCommand::KeyChanged`] was last extended.
        replaced: Option<Wall>,
    },
    /// The key was extended, so it was good at `at`.
    KeyExtended {
        /// Whose.
        account: i64,
        /// When the venue said so.
        at: Wall,
    },
    /// The key is dead or must be taken for dead, and [`AccountCommand::KeyChanged`] follows once there is a new one. The
    /// socket may stay open, but what it brings proves nothing: the account is not live.
    KeyGone {
        /// Whose.
        account: i64,
        /// Which key.
        key_generation: u64,
        /// How it is known.
        loss: KeyLoss,
    },
    /// The account is not to be streamed any more: close its sockets and forget it. A later [`AccountCommand::Spawn`] of
    /// the same id is a new life. May name an account that was never spawned.
    Reap {
        /// Whose.
        account: i64,
    },
    /// The account is in trouble, or no longer (`None`). May come before [`AccountCommand::Spawn`], or without one: an
    /// account whose credentials cannot be read has no stream.
    Health {
        /// Whose.
        account: StreamedAccount,
        /// A sentence for people; no secret, and nothing of the venue's own text, is in it.
        trouble: Option<Arc<str>>,
    },
}

impl AccountCommand {
    /// Whose command it is.
    #[must_use]
    pub fn account(&self) -> i64 {
        match self {
            AccountCommand::Spawn { account, .. } | AccountCommand::Health { account, .. } => account.id,
            AccountCommand::KeyChanged { account, .. }
            | AccountCommand::KeyExtended { account, .. }
            | AccountCommand::KeyGone { account, .. }
            | AccountCommand::Reap { account } => *account,
        }
    }
}

/// How it is known that a key is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLoss {
    /// The venue does not know it (-1125).
    Unknown,
    /// The stream said so (`listenKeyExpired`).
    Expired,
    /// Nobody could extend it for an hour.
    Unextended,
}

impl KeyLoss {
    /// The word used in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyLoss::Unknown => "unknown to the venue",
            KeyLoss::Expired => "expired",
            KeyLoss::Unextended => "not extended for an hour",
        }
    }
}

impl fmt::Display for KeyLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
