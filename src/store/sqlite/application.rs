//! What the application beside this program does with its tables, for the demo's bot that plays it: positions, orders and the
//! workflows that intents ask for; and what a checker reads of all that.
//!
//! The program itself never writes positions or orders but for what the worker's rules allow.

use rusqlite::OptionalExtension;

use super::SqliteStore;
use super::user_data::{millis, wall};
use crate::domain::Wall;
use crate::store::error::Result;

/// An order as the application writes it before it is sent.
#[derive(Clone, Copy, Debug)]
pub struct PlacedRow<'a> {
    /// `accounts.id`.
    pub account_id: i64,
    /// The venue's name of the instrument.
    pub symbol: &'a str,
    /// `LONG` or `SHORT`: of the position that it belongs to.
    pub direction: &'a str,
    /// `type`.
    pub kind: &'a str,
    /// `side`.
    pub side: &'a str,
    /// `position_side`.
    pub position_side: &'a str,
    /// `client_order_id`.
    pub client_order_id: &'a str,
    /// `exchange_order_id`, where the answer is known.
    pub exchange_order_id: Option<&'a str>,
    /// `quantity` and `reference_quantity`.
    pub quantity: &'a str,
    /// `price` and `reference_price`.
    pub price: &'a str,
    /// `is_algo`.
    pub is_algo: bool,
}

/// An order, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldOrder {
    /// Primary key.
    pub id: i64,
    /// `positions.id`.
    pub position_id: i64,
    /// `accounts.id`.
    pub account_id: i64,
    /// `type`.
    pub kind: String,
    /// `status`.
    pub status: String,
    /// `reference_status`.
    pub reference_status: Option<String>,
    /// `client_order_id`.
    pub client_order_id: String,
    /// `exchange_order_id`.
    pub exchange_order_id: Option<String>,
    /// `quantity` and `reference_quantity`.
    pub quantities: (Option<String>, Option<String>),
    /// `price` and `reference_price`.
    pub prices: (Option<String>, Option<String>),
    /// `is_algo`.
    pub is_algo: bool,
    /// `positions.status`.
    pub position_status: String,
}

/// An intent, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldIntent {
    /// Primary key.
    pub id: i64,
    /// The workflow.
    pub name: String,
    /// `positions.id`.
    pub position_id: i64,
    /// `orders.id`, where one is the cause.
    pub order_id: Option<i64>,
    /// A JSON object.
    pub arguments: String,
    /// See [`NewIntent::live_key`](crate::store::work_rows::NewIntent::live_key).
    pub live_key: String,
    /// See [`NewIntent::dedupe`](crate::store::work_rows::NewIntent::dedupe).
    pub dedupe: String,
    /// When it was decided; with `finished_at` these sort as text.
    pub created_at: String,
    /// Whether the relay has pushed it.
    pub is_pushed: bool,
    /// When the application had done it.
    pub finished_at: Option<String>,
}

/// An audit row, as far as a checker needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFrame {
    /// `accounts.id`.
    pub account_id: i64,
    /// `raw_payload`.
    pub raw_payload: String,
}

/// A gap and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldGap {
    /// Primary key.
    pub id: i64,
    /// `accounts.id`.
    pub account_id: i64,
    /// The last moment of surely listening; `None`: there was none.
    pub started_at: Option<Wall>,
    /// The first of surely listening again.
    pub ended_at: Wall,
    /// A word.
    pub reason: String,
    /// A word; `None` while it is outstanding.
    pub outcome: Option<String>,
    /// A sentence.
    pub note: String,
    /// Events that were recovered.
    pub recovered: u64,
    /// When it got its outcome.
    pub reconciled_at: Option<Wall>,
}

impl SqliteStore {
    /// Writes an order, under the account's open position of that symbol and direction or a new one. `false` where the
    /// client id is taken.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn place_order(&mut self, order: &PlacedRow<'_>, now: Wall) -> Result<bool> {
        self.in_transaction(|connection| {
            let open = connection
                .prepare_cached(
                    "SELECT id FROM positions WHERE account_id = ?1 AND parsed_trading_pair = ?2 AND direction = ?3 \
                     AND status IN ('new', 'opening', 'active', 'waping', 'syncing') ORDER BY id DESC LIMIT 1",
                )?
                .query_row((order.account_id, order.symbol, order.direction), |row| row.get::<_, i64>(0))
                .optional()?;
            let position = match open {
                Some(id) => id,
                None => connection
                    .prepare_cached(
                        "INSERT INTO positions (account_id, exchange_symbol_id, parsed_trading_pair, direction, status, \
                         quantity, opened_at) SELECT a.id, s.id, ?2, ?3, 'active', ?4, ?5 FROM accounts a LEFT JOIN \
                         exchange_symbols s ON s.api_system_id = a.api_system_id AND s.asset = ?2 WHERE a.id = ?1 \
                         RETURNING id",
                    )?
                    .query_row(
                        (order.account_id, order.symbol, order.direction, order.quantity, now.to_string()),
                        |row| row.get(0),
                    )?,
            };
            let added = connection
                .prepare_cached(
                    "INSERT INTO orders (position_id, client_order_id, type, status, reference_status, side, \
                     position_side, exchange_order_id, quantity, reference_quantity, original_quantity, price, \
                     reference_price, original_price, is_algo, opened_at) \
                     VALUES (?1, ?2, ?3, 'NEW', 'NEW', ?4, ?5, ?6, ?7, ?7, ?7, ?8, ?8, ?8, ?9, ?10) \
                     ON CONFLICT (client_order_id) DO NOTHING",
                )?
                .execute((
                    position,
                    order.client_order_id,
                    order.kind,
                    order.side,
                    order.position_side,
                    order.exchange_order_id,
                    order.quantity,
                    order.price,
                    order.is_algo,
                    now.to_string(),
                ))?;
            Ok(added == 1)
        })
    }

    /// The venue's answer to a placed order has come.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn acknowledge_order(&mut self, client_order_id: &str, exchange_order_id: &str) -> Result<()> {
        let mut statement =
            self.connection.prepare_cached("UPDATE orders SET exchange_order_id = ?2 WHERE client_order_id = ?1")?;
        statement.execute((client_order_id, exchange_order_id))?;
        Ok(())
    }

    /// The application is going to cancel an order: its echo will be no news.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn intend_cancel(&mut self, client_order_id: &str) -> Result<()> {
        let mut statement = self
            .connection
            .prepare_cached("UPDATE orders SET reference_status = 'CANCELLED' WHERE client_order_id = ?1")?;
        statement.execute([client_order_id])?;
        Ok(())
    }

    /// Ends the workflow of an intent; what was to be closed is closed. `false` where it has ended before.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn finish_intent(&mut self, intent_id: i64, now: Wall) -> Result<bool> {
        self.in_transaction(|connection| {
            let finished = connection
                .prepare_cached("UPDATE workflow_intents SET finished_at = ?2 WHERE id = ?1 AND finished_at IS NULL")?
                .execute((intent_id, now.to_string()))?;
            connection
                .prepare_cached(
                    "UPDATE positions SET status = 'closed', closed_at = ?2 WHERE status = 'closing' \
                     AND id = (SELECT position_id FROM workflow_intents WHERE id = ?1)",
                )?
                .execute((intent_id, now.to_string()))?;
            Ok(finished == 1)
        })
    }

    /// Intents whose workflows have not ended, pushed or not, ascending id.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn unfinished_intents(&self) -> Result<Vec<i64>> {
        let mut statement = self
            .connection()
            .prepare_cached("SELECT id FROM workflow_intents WHERE finished_at IS NULL ORDER BY id")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Says whether the positions of an account have two sides.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn set_hedge_mode(&mut self, account_id: i64, is_on: bool) -> Result<()> {
        let mut statement = self.connection.prepare_cached("UPDATE accounts SET on_hedge_mode = ?2 WHERE id = ?1")?;
        statement.execute((account_id, is_on))?;
        Ok(())
    }

    /// Every order, ascending id.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn held_orders(&self) -> Result<Vec<HeldOrder>> {
        let mut statement = self.connection().prepare_cached(
            "SELECT o.id, o.position_id, p.account_id, o.type, o.status, o.reference_status, o.client_order_id, \
             o.exchange_order_id, o.quantity, o.reference_quantity, o.price, o.reference_price, o.is_algo, p.status \
             FROM orders o JOIN positions p ON p.id = o.position_id ORDER BY o.id",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(HeldOrder {
                id: row.get(0)?,
                position_id: row.get(1)?,
                account_id: row.get(2)?,
                kind: row.get(3)?,
                status: row.get(4)?,
                reference_status: row.get(5)?,
                client_order_id: row.get(6)?,
                exchange_order_id: row.get(7)?,
                quantities: (row.get(8)?, row.get(9)?),
                prices: (row.get(10)?, row.get(11)?),
                is_algo: row.get(12)?,
                position_status: row.get(13)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Every intent, ascending id.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn held_intents(&self) -> Result<Vec<HeldIntent>> {
        let mut statement = self.connection().prepare_cached(
            "SELECT id, name, position_id, order_id, arguments, live_key, dedupe, created_at, pushed_at IS NOT NULL, \
             finished_at FROM workflow_intents ORDER BY id",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(HeldIntent {
                id: row.get(0)?,
                name: row.get(1)?,
                position_id: row.get(2)?,
                order_id: row.get(3)?,
                arguments: row.get(4)?,
                live_key: row.get(5)?,
                dedupe: row.get(6)?,
                created_at: row.get(7)?,
                is_pushed: row.get(8)?,
                finished_at: row.get(9)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Every gap of a stream, ascending id; not what a failed job has asked for.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn held_gaps(&self) -> Result<Vec<HeldGap>> {
        let sql = format!(
            "SELECT id, account_id, {}, {}, reason, outcome, coalesce(outcome_note, ''), coalesce(recovered_count, 0), {} \
             FROM stream_gaps WHERE epoch IS NOT NULL ORDER BY id",
            millis("started_at"),
            millis("ended_at"),
            millis("reconciled_at"),
        );
        let mut statement = self.connection().prepare_cached(&sql)?;
        let rows = statement.query_map([], |row| {
            Ok(HeldGap {
                id: row.get(0)?,
                account_id: row.get(1)?,
                started_at: wall(row, 2)?,
                ended_at: wall(row, 3)?.unwrap_or_default(),
                reason: row.get(4)?,
                outcome: row.get(5)?,
                note: row.get(6)?,
                recovered: u64::try_from(row.get::<_, i64>(7)?).unwrap_or_default(),
                reconciled_at: wall(row, 8)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Every audit row, ascending id.
    ///
    /// # Errors
    /// A missing table among others.
    pub fn held_frames(&self) -> Result<Vec<HeldFrame>> {
        let mut statement =
            self.connection().prepare_cached("SELECT account_id, raw_payload FROM api_data_stream ORDER BY id")?;
        let rows =
            statement.query_map([], |row| Ok(HeldFrame { account_id: row.get(0)?, raw_payload: row.get(1)? }))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
