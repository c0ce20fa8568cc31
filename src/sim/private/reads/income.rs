//! `income`: the movements of money, made of the book's fills and of what moved without one.

use serde_json::Value;

use crate::sim::private::book::AccountBook;

use super::params::Params;
use super::{Refused, rows};

/// Without a span, the last week; as many rows as the venue gives unless told.
const SPAN_MS: i64 = 7 * 24 * 3_600_000;
const ROWS: u64 = 100;

/// One movement of money.
pub(super) struct Row<'a> {
    pub(super) symbol: &'a str,
    pub(super) kind: &'static str,
    pub(super) amount: i64,
    pub(super) asset: &'static str,
    pub(super) time_ms: i64,
    /// Of a fill.
    pub(super) trade_id: Option<u64>,
    /// Unique within its kind.
    pub(super) id: u64,
}

pub(super) fn answer(params: &Params, book: &AccountBook, symbol: Option<&str>, now_ms: i64) -> Result<Value, Refused> {
    let (start, end) = params.span()?;
    let from_ms = start.unwrap_or_else(|| end.unwrap_or(now_ms).saturating_sub(SPAN_MS));
    let span = from_ms..=end.unwrap_or(i64::MAX);
    let limit = params.limit(ROWS)?;
    let page = usize::try_from(params.number("page")?.unwrap_or(1).max(1)).unwrap_or(usize::MAX);
    let wanted = params.text("incomeType");
    let mut all: Vec<_> = of(book)
        .filter(|row| span.contains(&row.time_ms) && symbol.is_none_or(|symbol| symbol == row.symbol))
        .filter(|row| wanted.is_none_or(|kind| kind == row.kind))
        .collect();
    all.sort_by_key(|row| row.time_ms);
    Ok(all.iter().skip((page - 1).saturating_mul(limit)).take(limit).map(rows::income).collect())
}

fn of(book: &AccountBook) -> impl Iterator<Item = Row<'_>> {
    let fills = book.fills.iter().flat_map(|fill| {
        let row = |kind, amount, asset| Row {
            symbol: &fill.instrument.symbol,
            kind,
            amount,
            asset,
            time_ms: fill.time_ms,
            trade_id: Some(fill.trade_id),
            id: fill.trade_id,
        };
        let realized = (fill.realized != 0).then(|| row("REALIZED_PNL", fill.realized, "USDT"));
        [Some(row("COMMISSION", -fill.commission, fill.commission_asset)), realized].into_iter().flatten()
    });
    let movements = book.movements.iter().map(|one| Row {
        symbol: one.symbol.as_deref().unwrap_or(""),
        kind: one.kind,
        amount: one.amount,
        asset: one.asset,
        time_ms: one.time_ms,
        trade_id: None,
        // Times of an account's events are all different.
        id: one.time_ms.unsigned_abs(),
    });
    fills.chain(movements)
}
