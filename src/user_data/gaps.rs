//! Gaps on their way out of the spool: each gap record is a job for the consumers and a row for people and the reconcile.

use crate::spool::{AccountId, ExchangeId, Gap, Identity, Record};

/// A gap record as the dispatcher met it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapNotice {
    /// Whose stream was silent.
    pub account: AccountId,
    /// Its venue.
    pub exchange: ExchangeId,
    /// The record's; a second row with the same is not written.
    pub identity: Identity,
    /// When and why.
    pub gap: Gap,
}

impl GapNotice {
    /// Reads a record of the kind gap; `None` if its payload is none of ours.
    #[must_use]
    pub fn read(record: &Record<'_>) -> Option<GapNotice> {
        let gap = Gap::read(record.payload)?;
        Some(GapNotice { account: record.account, exchange: record.exchange, identity: record.identity, gap })
    }
}

/// Where gaps become rows: the control threads.
pub trait GapRows: Send {
    /// Hands one over; its number, higher than those before it, or 0 where none is needed. `None`: too many wait; it is
    /// brought again.
    fn offer(&self, gap: &GapNotice) -> Option<u64>;
    /// The number up to which all that were handed over have their row, or never will.
    fn settled(&self) -> u64;
}
