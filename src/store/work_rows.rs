//! Rows of the worker as both databases give and take them: plain values, no driver type (facts/incumbent.md §1.1, §1.8,
//! §1.9). Decimals are [`Decimal`]s from text on either database, so that they are compared digit by digit.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::IgnoredAny;

use super::user_data_rows::identity;
use crate::domain::limits::{AUDIT_JSON_DEPTH_MAX, CLOCKS_APART_MAX};
use crate::domain::order::{Direction, OrderKind, OrderStatus};
use crate::domain::{Decimal, Wall};

/// A row of `api_data_stream` to be inserted.
#[derive(Clone, Copy, Debug)]
pub struct AuditRow<'a> {
    /// `accounts.id`.
    pub account_id: i64,
    /// `api_systems.id`.
    pub api_system_id: i64,
    /// The event's columns.
    pub columns: &'a AuditColumns,
    /// When the daemon received it.
    pub received_at: Wall,
    /// The recorded bytes where they are valid JSON, else `{"raw_base64":"…"}`.
    pub raw_payload: &'a str,
    /// 64 lower-case hex digits: SHA-256 of account, system and the recorded bytes.
    pub idempotency_key: &'a str,
}

/// The columns that come from the event itself. Texts and decimals fit their columns: who projects sees to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditColumns {
    /// ≤ 64 characters.
    pub raw_event_type: String,
    /// ≤ 40 characters.
    pub event_type: String,
    /// ≤ 64 characters.
    pub exchange_order_id: Option<String>,
    /// ≤ 64 characters.
    pub client_order_id: Option<String>,
    /// ≤ 40 characters.
    pub symbol: Option<String>,
    /// ≤ 40 characters.
    pub status: Option<String>,
    /// ≤ 20 characters.
    pub normalized_status: Option<String>,
    /// `decimal(20,8)`, as all decimals here.
    pub price: Option<Decimal>,
    /// See [`AuditColumns::price`].
    pub average_price: Option<Decimal>,
    /// See [`AuditColumns::price`].
    pub original_quantity: Option<Decimal>,
    /// See [`AuditColumns::price`].
    pub filled_quantity: Option<Decimal>,
    /// See [`AuditColumns::price`].
    pub last_filled_price: Option<Decimal>,
    /// See [`AuditColumns::price`].
    pub last_filled_quantity: Option<Decimal>,
    /// With milliseconds.
    pub event_time: Option<Wall>,
}

/// A row of `api_data_stream`, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Primary key.
    pub id: i64,
    /// `accounts.id`.
    pub account_id: i64,
    /// `api_systems.id`.
    pub api_system_id: i64,
    /// The event's columns.
    pub columns: AuditColumns,
    /// When the daemon received it.
    pub received_at: Wall,
    /// When the row was inserted, where the column says so to the millisecond.
    pub created_at: Option<Wall>,
    /// See [`AuditRow::raw_payload`].
    pub raw_payload: String,
    /// See [`AuditRow::idempotency_key`].
    pub idempotency_key: String,
}

/// How far an account's jobs are applied: a row of `stream_progress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Epoch of the last applied record.
    pub epoch: [u8; 16],
    /// Its position.
    pub position: u64,
    /// The lease under which it was applied; a worker with a smaller number must not write.
    pub fence: u64,
}

/// What the rules need to know of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountFacts {
    /// `accounts.id`.
    pub id: i64,
    /// `accounts.api_system_id`.
    pub api_system_id: i64,
    /// `accounts.on_hedge_mode`.
    pub on_hedge_mode: bool,
}

/// A row of `orders` with what this program keeps beside it in `order_progress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRow {
    /// Primary key.
    pub id: i64,
    /// `positions.id`.
    pub position_id: i64,
    /// `type`.
    pub kind: OrderKind,
    /// `status`, as the column has it.
    pub status: String,
    /// `reference_status`.
    pub reference_status: Option<String>,
    /// `client_order_id`.
    pub client_order_id: Option<String>,
    /// `exchange_order_id`.
    pub exchange_order_id: Option<String>,
    /// `is_algo`.
    pub is_algo: bool,
    /// `quantity`: placed. Never written by this program.
    pub quantity: Option<Decimal>,
    /// `price`.
    pub price: Option<Decimal>,
    /// `reference_quantity`: never written by this program.
    pub reference_quantity: Option<Decimal>,
    /// `reference_price`: never written by this program.
    pub reference_price: Option<Decimal>,
    /// `filled_at` is set.
    pub is_filled_at_set: bool,
    /// What the newest applied event said; `None` before the first.
    pub last: Option<OrderMark>,
    /// The status in which the real order of a triggered algo order ended.
    pub child_ended: Option<OrderStatus>,
}

/// The newest event that was applied to an order: what a later one is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderMark {
    /// `T`, ms since 1970 UTC; 0 where the event had none.
    pub transaction_time_ms: i64,
    /// Cumulative filled quantity.
    pub filled_quantity: Option<Decimal>,
}

/// What is written to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderChange {
    /// The new status.
    pub status: OrderStatus,
    /// The new price; `None` leaves it.
    pub price: Option<Decimal>,
    /// Sets `filled_at` where it is not set.
    pub filled_at: Option<Wall>,
    /// The new mark.
    pub mark: OrderMark,
}

/// A row of `positions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionRow {
    /// Primary key.
    pub id: i64,
    /// `accounts.id`.
    pub account_id: i64,
    /// `parsed_trading_pair`: the venue's symbol.
    pub symbol: String,
    /// `exchange_symbols.id`.
    pub exchange_symbol_id: Option<i64>,
    /// `status`.
    pub status: String,
    /// `direction`.
    pub direction: Direction,
    /// `created_at`, in whole seconds on most tables.
    pub created_at: Option<Wall>,
}

/// A row of `workflow_intents` to be inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIntent {
    /// The workflow: `ClosePositionJob` and the like.
    pub name: &'static str,
    /// `positions.id`.
    pub position_id: i64,
    /// `accounts.id`.
    pub account_id: i64,
    /// `orders.id`, where one order is the cause.
    pub order_id: Option<i64>,
    /// A JSON object: the workflow's arguments.
    pub arguments: String,
    /// Where it is pushed: a logical queue.
    pub queue: &'static str,
    /// While an intent of this text lives (it is neither finished nor too old) no other is written.
    pub live_key: String,
    /// No two intents ever have the same: the cause's identity and the workflow.
    pub dedupe: String,
    /// When it was decided.
    pub at: Wall,
}

/// A row of `workflow_intents`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentRow {
    /// Primary key.
    pub id: i64,
    /// See [`NewIntent::name`].
    pub name: String,
    /// See [`NewIntent::position_id`].
    pub position_id: i64,
    /// See [`NewIntent::account_id`].
    pub account_id: i64,
    /// See [`NewIntent::order_id`].
    pub order_id: Option<i64>,
    /// See [`NewIntent::arguments`].
    pub arguments: String,
    /// See [`NewIntent::queue`].
    pub queue: String,
    /// See [`NewIntent::dedupe`].
    pub dedupe: String,
    /// When it was decided.
    pub created_at: Option<Wall>,
    /// When the relay pushed it; `None`: not yet.
    pub pushed_at: Option<Wall>,
    /// When the application said that the workflow has ended.
    pub finished_at: Option<Wall>,
}

/// A row of Laravel's `failed_jobs` (facts/laravel_queue.md §4).
#[derive(Clone, Copy, Debug)]
pub struct FailedJob<'a> {
    /// The job's uuid.
    pub uuid: &'a str,
    /// Laravel's connection: `redis`.
    pub connection: &'a str,
    /// The logical queue, without prefix.
    pub queue: &'a str,
    /// The body as it was popped.
    pub payload: &'a str,
    /// What went wrong.
    pub exception: &'a str,
    /// When.
    pub failed_at: Wall,
}

/// A row of `stream_decisions`: what became of an order event, for `trace`. Written in the event's own transaction, and only
/// where an allowlist is set: in shadow mode nothing is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRow {
    /// The audit row's key.
    pub idempotency_key: String,
    /// `accounts.id`.
    pub account_id: i64,
    /// `orders.id`, where the event found one.
    pub order_id: Option<i64>,
    /// Epoch and position of the spooled record.
    pub identity: ([u8; 16], u64),
    /// The job's uuid.
    pub job_uuid: String,
    /// ≤ 40 characters, a word: `applied`, `rank_guard`, `not_on_allowlist`, ….
    pub rule: String,
    /// ≤ 255 characters, a sentence: `rank guard: FILLED > NEW`.
    pub note: String,
    /// When the worker took the job.
    pub reserved_at: Wall,
    /// When it was decided; both to the microsecond.
    pub decided_at: Wall,
}

/// `api_data_stream.raw_payload` of a recorded frame: its very bytes where they are JSON that both databases keep and that
/// PHP reads back (UTF-8, one value, at most [`AUDIT_JSON_DEPTH_MAX`] deep), else `{"raw_base64":"…"}` with all of them.
///
/// Escapes of NUL and of lone surrogates, numbers of any size and keys that come twice are kept as they are: a `json` column
/// checks the grammar only (PostgreSQL 15, §8.14).
#[must_use]
pub fn audit_payload(raw: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(raw)
        && depth(raw) <= AUDIT_JSON_DEPTH_MAX
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
    {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{{\"raw_base64\":\"{}\"}}", BASE64.encode(raw)))
}

/// How deep arrays and objects stand in each other, for text that may yet turn out to be no JSON.
fn depth(raw: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in raw {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A text as a column of `chars_max` characters takes it: cut behind them, and without NUL, which PostgreSQL refuses.
pub(super) fn fitted(text: &str, chars_max: usize) -> Cow<'_, str> {
    let cut = text.char_indices().nth(chars_max).map_or(text, |(at, _)| &text[..at]);
    if cut.contains('\0') { Cow::Owned(cut.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(cut) }
}

/// Nothing that happened at `at` by the venue's clock was received before this, by ours: so far the two may be apart.
pub(super) fn earliest_receipt(at: Wall) -> Wall {
    Wall::from_micros(at.as_micros().saturating_sub(CLOCKS_APART_MAX.as_micros() as i64))
}

/// A stamp as a column takes it, to the millisecond; `None` outside the years 1 to 9999, which no column holds and no venue
/// means.
pub(super) fn column_stamp(at: Wall) -> Option<String> {
    const YEAR_1: i64 = -62_135_596_800_000;
    const YEAR_10000: i64 = 253_402_300_800_000;
    (YEAR_1..YEAR_10000).contains(&at.as_millis()).then(|| at.to_string())
}

/// A stamp to the microsecond: `YYYY-MM-DD HH:MM:SS.mmmuuu`.
pub(super) fn micros_stamp(at: Wall) -> String {
    format!("{at}{:03}", at.as_micros().rem_euclid(1_000))
}

/// Columns of `stream_progress`; `Some(None)` where nothing was applied yet, `None` where they are not ours.
pub(super) fn progress(epoch: Option<&str>, position: Option<&str>, fence: Option<&str>) -> Option<Option<Progress>> {
    if epoch.is_none() {
        return Some(None);
    }
    let (epoch, _) = identity(epoch, Some(0))?;
    Some(Some(Progress { epoch, position: position?.parse().ok()?, fence: fence?.parse().ok()? }))
}

/// Columns of `order_progress`.
pub(super) fn mark(transaction_time_ms: Option<i64>, filled_quantity: Option<&str>) -> Option<OrderMark> {
    let filled_quantity = filled_quantity.and_then(Decimal::parse);
    transaction_time_ms.map(|transaction_time_ms| OrderMark { transaction_time_ms, filled_quantity })
}

/// `positions.direction`; a position that has none yet is no match for any event.
pub(super) fn direction(word: Option<&str>) -> Option<Direction> {
    match word {
        Some("LONG") => Some(Direction::Long),
        Some("SHORT") => Some(Direction::Short),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_their_columns() {
        for (text, chars_max, expected) in [
            ("", 3, ""),
            ("abc", 3, "abc"),
            ("abcd", 3, "abc"),
            ("我踏马来", 3, "我踏马"),
            ("a\0b\0c", 3, "a\u{fffd}b"),
            ("abc\0", 3, "abc"),
            ("a\0", usize::MAX, "a\u{fffd}"),
        ] {
            assert_eq!(fitted(text, chars_max), expected, "{text:?}");
        }
    }

    #[test]
    fn stamps_are_of_years_that_a_column_has() {
        for (millis, stamp) in [
            (0, Some("1970-01-01 00:00:00.000")),
            (-62_135_596_800_000, Some("0001-01-01 00:00:00.000")),
            (-62_135_596_800_001, None),
            (253_402_300_799_999, Some("9999-12-31 23:59:59.999")),
            (253_402_300_800_000, None),
            (i64::MAX, None),
            (i64::MIN, None),
        ] {
            assert_eq!(column_stamp(Wall::from_millis(millis)).as_deref(), stamp, "{millis}");
        }
        assert_eq!(micros_stamp(Wall::from_micros(1_000_007)), "1970-01-01 00:00:01.000007");
    }

    #[test]
    fn depth_counts_brackets_outside_of_texts() {
        for (text, expected) in [("", 0), ("1", 0), ("[[1],[2]]", 2), (r#"{"a[[":["\"[["]}"#, 2), ("]]][", 1)] {
            assert_eq!(depth(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_row_of_progress_is_ours_or_told() {
        let epoch = "0".repeat(32);
        let ours = Progress { epoch: [0; 16], position: 7, fence: u64::MAX };
        let max = u64::MAX.to_string();
        for (columns, expected) in [
            ((None, None, None), Some(None)),
            ((Some(epoch.as_str()), Some("7"), Some(max.as_str())), Some(Some(ours))),
            ((Some("0"), Some("7"), Some("1")), None),
            ((Some(epoch.as_str()), Some("-1"), Some("1")), None),
            ((Some(epoch.as_str()), Some("7"), None), None),
        ] {
            assert_eq!(progress(columns.0, columns.1, columns.2), expected, "{columns:?}");
        }
    }
}
