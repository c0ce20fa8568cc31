//! What a reconcile reads and writes: gaps that wait for one, what is believed of an account's orders, and which events of it
//! were heard. [`ReconcileTables`] is part of the worker's session.

use super::error::Result;
use super::user_data_rows::{AccountRow, GapRow};
use super::work_rows::OrderRow;
use crate::domain::Wall;

/// All gaps of one account that have no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingGaps {
    /// `accounts.id`.
    pub account_id: i64,
    /// How many.
    pub gaps: u64,
    /// The highest id among them: a gap that is added later has a higher one.
    pub newest_id: i64,
    /// When the first of them ended.
    pub waiting_since: Wall,
    /// Whether anybody can close them.
    pub standing: Standing,
}

/// Whether an account is streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Streamed,
    /// It is switched off, or has no credentials: its gaps wait until that changes.
    SwitchedOff,
    /// It was removed.
    Removed,
}

/// An account that has something to lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// `accounts.id`.
    pub account_id: i64,
    /// `accounts.api_system_id`.
    pub api_system_id: i64,
    /// Positions that are open or about to be.
    pub positions: u64,
    /// Orders that the exchange has and that are not over.
    pub orders: u64,
    /// When it was last asked for its orders, by any process.
    pub asked_at: Option<Wall>,
    /// When they were last compared in full.
    pub compared_at: Option<Wall>,
}

/// An order that is not over, as far as is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalOrder {
    /// The venue's symbol, of its position.
    pub symbol: String,
    /// The order.
    pub order: OrderRow,
}

/// What a reconcile came to, for one gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapVerdict<'a> {
    /// A word; `None` while it could not be finished: the gap stays outstanding.
    pub outcome: Option<&'a str>,
    /// A sentence for people; cut at 255 characters.
    pub note: &'a str,
    /// Events of this gap that were recovered.
    pub recovered: u64,
    /// When.
    pub at: Wall,
}

/// See the module's documentation.
pub trait ReconcileTables {
    /// Accounts of the venue with gaps that have no outcome, in ascending id.
    fn gaps_waiting(&mut self, canonical: &str) -> Result<Vec<WaitingGaps>>;

    /// Gives this outcome to all gaps of the account that have none; how many.
    fn give_up_gaps(&mut self, account_id: i64, verdict: &GapVerdict<'_>) -> Result<u64>;

    /// The gaps of one account that have no outcome, the oldest first, `limit` at most.
    fn waiting_gaps_of(&mut self, account_id: i64, limit: u32) -> Result<Vec<GapRow>>;

    /// A reconcile has taken these up: `opened_at`, where it is not set.
    fn gaps_taken_up(&mut self, ids: &[i64], at: Wall) -> Result<()>;

    /// What a reconcile came to. A gap that has an outcome keeps it.
    fn settle_gap(&mut self, id: i64, verdict: &GapVerdict<'_>) -> Result<()>;

    /// The account with its credentials, if it is to be streamed.
    fn account_row(&mut self, canonical: &str, account_id: i64) -> Result<Option<AccountRow>>;

    /// Accounts of the venue with open positions or orders that are not over, in ascending id.
    fn exposures(&mut self, canonical: &str) -> Result<Vec<Exposure>>;

    /// The account was asked for its orders at `at`, and, where it is so, all of them were compared.
    fn note_asked(&mut self, account_id: i64, at: Wall, is_compared: bool) -> Result<()>;

    /// Orders of the account that are not over: of every type, whatever the position's status; ascending id. Those without the
    /// exchange's id only where they have a client's and were made from `unplaced_since` on: the answer to their placement was
    /// lost, or they were never placed.
    fn working_orders(&mut self, account_id: i64, unplaced_since: Wall, limit: u32) -> Result<Vec<LocalOrder>>;

    /// Symbols of positions that are open or about to be.
    fn opened_symbols(&mut self, account_id: i64) -> Result<Vec<String>>;

    /// Recorded events of the account about orders, balances and positions, received from `since` on, with an id above `after`: id and bytes, ascending id.
    fn events_since(&mut self, account_id: i64, since: Wall, after: i64, limit: u32) -> Result<Vec<(i64, String)>>;
}

/// What the statements of both databases say of an account's standing.
pub(super) fn standing(word: &str) -> Standing {
    match word {
        "streamed" => Standing::Streamed,
        "removed" => Standing::Removed,
        _ => Standing::SwitchedOff,
    }
}

/// Statuses of orders that are not over. An algo order that has triggered is not: its real order works.
pub const WORKING_ORDERS: [&str; 4] = ["NEW", "PARTIALLY_FILLED", "TRIGGERING", "TRIGGERED"];
