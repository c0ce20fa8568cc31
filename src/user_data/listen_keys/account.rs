//! One account's key as the venue, its row and the role know it, and what the role must still hear.

use std::sync::Arc;

use super::command::{AccountCommand, KeyLoss, StreamedAccount};
use crate::domain::Wall;
use crate::exchange::binance::listen_key::{ListenKey, Refusal, is_sendable_api_key};
use crate::user_data::discovery::{ApiKey, SeenRow, WantedAccount};

/// Failures in a row from which an account counts as degraded; the incumbent raised its alarm there.
const FAILURES_SHOWN_FROM: u32 = 3;

#[derive(Debug)]
pub(super) struct Account {
    pub(super) wanted: WantedAccount,
    /// The last one that could be read.
    pub(super) api_key: Option<ApiKey>,
    pub(super) key: Option<HeldKey>,
    /// Why the key is no good any more.
    pub(super) loss: Option<KeyLoss>,
    pub(super) failures: u32,
    pub(super) refused: Option<Arc<str>>,
    /// When the venue last extended the key.
    pub(super) extended_at: Option<Wall>,
    /// What the row held at the last look.
    pub(super) row: Option<SeenRow>,
    pub(super) told: Told,
}

#[derive(Clone, Debug)]
pub(super) struct HeldKey {
    pub(super) key: ListenKey,
    pub(super) generation: u64,
    /// See [`AccountCommand::KeyChanged`].
    pub(super) replaced: Option<Wall>,
}

#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) generation: Option<u64>,
    pub(super) gone: Option<u64>,
    pub(super) extended_at: Option<Wall>,
    pub(super) trouble: Option<Arc<str>>,
}

impl Account {
    pub(super) fn new(wanted: WantedAccount) -> Self {
        Account {
            api_key: usable(&wanted),
            wanted,
            key: None,
            loss: None,
            failures: 0,
            refused: None,
            extended_at: None,
            row: None,
            told: Told::default(),
        }
    }

    pub(super) fn failed(&mut self, refusal: Option<Refusal>, why: &str) {
        self.failures = self.failures.saturating_add(1);
        let is_permanent = refusal.is_some_and(Refusal::is_permanent);
        let is_waiting = refusal.is_some_and(Refusal::concerns_address) && self.key.is_none();
        let sentence: Arc<str> = match refusal {
            Some(refusal) => refusal.to_string().into(),
            None => why.into(),
        };
        let is_shown = is_permanent || is_waiting || self.failures >= FAILURES_SHOWN_FROM;
        if is_shown && self.refused.as_ref() != Some(&sentence) {
            tracing::warn!(account = self.wanted.id, name = &*self.wanted.name, "degraded: {sentence}");
            self.refused = Some(sentence);
        }
    }

    pub(super) fn trouble(&self) -> Option<Arc<str>> {
        let unreadable = match &self.wanted.api_key {
            Err(why) => Some(Arc::clone(why)),
            Ok(key) if !is_sendable_api_key(key.expose()) => Some(
                "the API key in the database is no API key: it is empty, too long, or holds blanks or line ends".into(),
            ),
            Ok(_) => None,
        };
        unreadable.or_else(|| self.refused.clone())
    }

    pub(super) fn next_command(&mut self) -> Option<AccountCommand> {
        let id = self.wanted.id;
        if let Some(held) = &self.key {
            let HeldKey { key, generation, replaced } = held.clone();
            let key_generation = generation;
            match (self.told.generation, self.loss) {
                // A key that died before anybody heard of it is not worth a socket.
                (None, None) => {
                    (self.told.generation, self.told.extended_at) = (Some(generation), self.extended_at);
                    return Some(AccountCommand::Spawn { account: self.streamed(), key, key_generation, replaced });
                }
                (Some(told), None) if told != generation => {
                    (self.told.generation, self.told.extended_at) = (Some(generation), self.extended_at);
                    return Some(AccountCommand::KeyChanged { account: id, key, key_generation, replaced });
                }
                (Some(_), None) if self.told.extended_at != self.extended_at => {
                    self.told.extended_at = self.extended_at;
                    return self.extended_at.map(|at| AccountCommand::KeyExtended { account: id, at });
                }
                (Some(told), Some(loss)) if told == generation && self.told.gone != Some(told) => {
                    self.told.gone = Some(told);
                    return Some(AccountCommand::KeyGone { account: id, key_generation, loss });
                }
                _ => {}
            }
        }
        let trouble = self.trouble();
        if trouble == self.told.trouble {
            return None;
        }
        self.told.trouble.clone_from(&trouble);
        Some(AccountCommand::Health { account: self.streamed(), trouble })
    }

    fn streamed(&self) -> StreamedAccount {
        let wanted = &self.wanted;
        StreamedAccount { id: wanted.id, api_system_id: wanted.api_system_id, name: Arc::clone(&wanted.name) }
    }
}

impl Told {
    pub(super) fn is_anything(&self) -> bool {
        self.generation.is_some() || self.trouble.is_some()
    }
}

/// Its API key, if it can be sent.
pub(super) fn usable(wanted: &WantedAccount) -> Option<ApiKey> {
    wanted.api_key.as_ref().ok().filter(|key| is_sendable_api_key(key.expose())).cloned()
}
