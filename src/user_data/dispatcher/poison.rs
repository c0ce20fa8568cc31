//! Poison records whose quarantine file could not be written at once: a few are kept in memory and tried again.

use std::collections::VecDeque;

use crate::domain::limits::{POISON_KEPT_MAX, PUSH_RETRY_MAX};
use crate::domain::{Mono, Wall};
use crate::spool::{AccountId, Disk, ExchangeId, Identity, Kind, Reader, Record};

/// A record, owned.
#[derive(Debug)]
pub(super) struct Poison {
    identity: Identity,
    kind: Kind,
    account: AccountId,
    exchange: ExchangeId,
    previous: u64,
    received_at: Wall,
    payload: Vec<u8>,
    suffix: Vec<u8>,
    reason: String,
}

impl Poison {
    pub fn of(record: &Record<'_>, reason: String) -> Poison {
        Poison {
            identity: record.identity,
            kind: record.kind,
            account: record.account,
            exchange: record.exchange,
            previous: record.previous,
            received_at: record.received_at,
            payload: record.payload.to_vec(),
            suffix: record.suffix.to_vec(),
            reason,
        }
    }

    fn record(&self) -> Record<'_> {
        Record {
            identity: self.identity,
            kind: self.kind,
            account: self.account,
            exchange: self.exchange,
            previous: self.previous,
            received_at: self.received_at,
            payload: &self.payload,
            suffix: &self.suffix,
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct PoisonBox {
    kept: VecDeque<Poison>,
    retry_at: Mono,
}

impl PoisonBox {
    /// Whether there was room.
    pub fn keep(&mut self, poison: Poison) -> bool {
        let fits = self.kept.len() < POISON_KEPT_MAX;
        if fits {
            self.kept.push_back(poison);
        }
        fits
    }

    /// Tries the oldest one again; its position, once it is safe.
    pub fn retry<D: Disk>(&mut self, reader: &Reader<D>, now: Mono) -> Option<u64> {
        let first = self.kept.front().filter(|_| now >= self.retry_at)?;
        match reader.quarantine(&first.record(), &first.reason) {
            Ok(()) => self.kept.pop_front().map(|poison| poison.identity.position),
            Err(_) => {
                self.retry_at = now.plus(PUSH_RETRY_MAX);
                None
            }
        }
    }

    /// Everything is read again.
    pub fn clear(&mut self) {
        self.kept.clear();
    }
}
