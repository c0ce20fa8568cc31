//! Answers to [`AccountRead`](super::signed::AccountRead)s: what the venue says about an account's orders, algo orders, fills
//! and positions (facts/binance.md §6).
//!
//! A list whose rows cannot be read is no answer: what a reconcile decides from absence must not come from a row that was
//! skipped. Members that may be absent are; a decimal may come in scientific notation (`7.0E-4`, seen on algo quantities).

use serde_json::Value;

use super::refusal::Refusal;
use crate::domain::Decimal;

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// -2013: the venue does not know the order: it never was, has aged out, or is an algo order that has not triggered.
    #[error("the venue does not know the order")]
    UnknownOrder,
    /// The venue refused.
    #[error("the venue refused: {}", .0.as_str())]
    Refused(Refusal),
    /// The answer is not of its shape; the path of the member that is missing or of another type.
    #[error("the answer has no readable {0}")]
    Shape(&'static str),
}

/// An order as REST tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestOrder {
    /// `symbol`.
    pub symbol: String,
    /// `orderId`.
    pub order_id: u64,
    /// `clientOrderId`.
    pub client_order_id: String,
    /// `status`: the venue's word.
    pub status: String,
    /// `price`.
    pub price: Decimal,
    /// `avgPrice`; absent on some answers for orders without a fill.
    pub average_price: Option<Decimal>,
    /// `origQty`.
    pub quantity: Decimal,
    /// `executedQty`.
    pub executed: Decimal,
    /// `side`.
    pub side: String,
    /// `positionSide`.
    pub position_side: String,
    /// `type`.
    pub kind: String,
    /// `origType`.
    pub original_kind: String,
    /// `timeInForce`.
    pub time_in_force: String,
    /// `reduceOnly`.
    pub reduce_only: bool,
    /// `closePosition`.
    pub close_position: bool,
    /// `updateTime`, ms since 1970 UTC.
    pub updated_ms: i64,
}

/// An algo order as REST tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestAlgoOrder {
    /// `symbol`.
    pub symbol: String,
    /// `algoId`.
    pub algo_id: u64,
    /// `clientAlgoId`.
    pub client_algo_id: String,
    /// `algoStatus`: the venue's word.
    pub status: String,
    /// `actualOrderId`; `None` until it has triggered.
    pub order_id: Option<u64>,
    /// `triggerPrice`.
    pub trigger_price: Decimal,
    /// `actualPrice`, where there is one.
    pub average_price: Option<Decimal>,
    /// `actualQty`, where there is one.
    pub executed: Option<Decimal>,
    /// `quantity`.
    pub quantity: Decimal,
    /// `orderType`.
    pub kind: String,
    /// `side`.
    pub side: String,
    /// `positionSide`.
    pub position_side: String,
    /// `timeInForce`.
    pub time_in_force: String,
    /// `reduceOnly`.
    pub reduce_only: bool,
    /// `closePosition`.
    pub close_position: bool,
    /// `triggerTime`, ms since 1970 UTC; 0 before.
    pub triggered_ms: i64,
    /// `updateTime`, ms since 1970 UTC.
    pub updated_ms: i64,
}

/// A fill as REST tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestTrade {
    /// `symbol`.
    pub symbol: String,
    /// `id`: the trade's, unique with the symbol.
    pub trade_id: u64,
    /// `orderId`.
    pub order_id: u64,
    /// `price`.
    pub price: Decimal,
    /// `qty`.
    pub quantity: Decimal,
    /// `commission`.
    pub commission: Decimal,
    /// `commissionAsset`.
    pub commission_asset: String,
    /// `realizedPnl`, before fees.
    pub realized: Decimal,
    /// `side`.
    pub side: String,
    /// `positionSide`.
    pub position_side: String,
    /// `maker`.
    pub is_maker: bool,
    /// `time`, ms since 1970 UTC.
    pub time_ms: i64,
}

/// A position as REST tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestPosition {
    /// `symbol`.
    pub symbol: String,
    /// `positionSide`.
    pub position_side: String,
    /// `positionAmt`, signed.
    pub quantity: Decimal,
    /// `entryPrice`.
    pub entry_price: Decimal,
    /// `updateTime`, ms since 1970 UTC.
    pub updated_ms: i64,
}

/// A balance as REST tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestBalance {
    /// `asset`.
    pub asset: String,
    /// `balance`: the wallet's, may be negative.
    pub wallet: Decimal,
    /// `crossWalletBalance`.
    pub cross_wallet: Decimal,
    /// `updateTime`, ms since 1970 UTC; 0 for an asset that was never touched.
    pub updated_ms: i64,
}

/// A row of `income`, as far as it matters: money moved because of this symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestIncome {
    /// `symbol`; `None` for transfers.
    pub symbol: Option<String>,
    /// `incomeType`: `COMMISSION`, `REALIZED_PNL`, `FUNDING_FEE`, `TRANSFER`, ….
    pub kind: String,
    /// `time`, ms since 1970 UTC.
    pub time_ms: i64,
}

/// Reads the answer of `openOrders` and `allOrders`.
///
/// # Errors
/// [`AnswerError`].
pub fn read_orders(status: u16, body: &[u8], retry_after: Option<&str>) -> Result<Vec<RestOrder>, AnswerError> {
    list(status, body, retry_after)?.iter().map(order).collect()
}

/// Reads the answer of `order`.
///
/// # Errors
/// [`AnswerError`]; [`AnswerError::UnknownOrder`] where the venue does not know it.
pub fn read_order(status: u16, body: &[u8], retry_after: Option<&str>) -> Result<RestOrder, AnswerError> {
    order(&answer(status, body, retry_after)?)
}

/// Reads the answer of `openAlgoOrders` and `allAlgoOrders`.
///
/// # Errors
/// [`AnswerError`].
pub fn read_algo_orders(
    status: u16,
    body: &[u8],
    retry_after: Option<&str>,
) -> Result<Vec<RestAlgoOrder>, AnswerError> {
    list(status, body, retry_after)?.iter().map(algo_order).collect()
}

/// Reads the answer of `algoOrder`.
///
/// # Errors
/// [`AnswerError`]; [`AnswerError::UnknownOrder`] where the venue does not know it, which for a second or so after placement
/// proves nothing.
pub fn read_algo_order(status: u16, body: &[u8], retry_after: Option<&str>) -> Result<RestAlgoOrder, AnswerError> {
    algo_order(&answer(status, body, retry_after)?)
}

/// Reads the answer of `userTrades`.
///
/// # Errors
/// [`AnswerError`].
pub fn read_trades(status: u16, body: &[u8], retry_after: Option<&str>) -> Result<Vec<RestTrade>, AnswerError> {
    list(status, body, retry_after)?.iter().map(trade).collect()
}

/// Reads the answer of `positionRisk`.
///
/// # Errors
/// [`AnswerError`].
pub fn read_positions(status: u16, body: &[u8], retry_after: Option<&str>) -> Result<Vec<RestPosition>, AnswerError> {
    list(status, body, retry_after)?.iter().map(position).collect()
}

/// Reads the answer of `balance`.
///
/// # Errors
/// [`AnswerError`].
pub fn read_balances(status: u16, body: &[u8], retry_after: Option<&str>) -> Result<Vec<RestBalance>, AnswerError> {
    list(status, body, retry_after)?.iter().map(balance).collect()
}

/// Reads the answer of `income`.
///
/// # Errors
/// [`AnswerError`].
pub fn read_income(status: u16, body: &[u8], retry_after: Option<&str>) -> Result<Vec<RestIncome>, AnswerError> {
    list(status, body, retry_after)?.iter().map(income).collect()
}

/// What an answer says, whatever it is about.
pub(super) fn answer(status: u16, body: &[u8], retry_after: Option<&str>) -> Result<Value, AnswerError> {
    let answer = serde_json::from_slice::<Value>(body);
    let code = answer.as_ref().ok().and_then(|answer| answer.get("code")).and_then(Value::as_i64);
    if code == Some(-2013) {
        return Err(AnswerError::UnknownOrder);
    }
    if !(200..300).contains(&status) || code.is_some_and(|code| code < 0) {
        let message = answer.as_ref().ok().and_then(|answer| answer.get("msg")).and_then(Value::as_str);
        return Err(AnswerError::Refused(Refusal::of(status, code, message.unwrap_or_default(), retry_after)));
    }
    answer.map_err(|_| AnswerError::Shape("JSON"))
}

fn list(status: u16, body: &[u8], retry_after: Option<&str>) -> Result<Vec<Value>, AnswerError> {
    match answer(status, body, retry_after)? {
        Value::Array(rows) => Ok(rows),
        _ => Err(AnswerError::Shape("list")),
    }
}

fn order(row: &Value) -> Result<RestOrder, AnswerError> {
    Ok(RestOrder {
        symbol: text(row, "symbol")?,
        order_id: id(row, "orderId")?,
        client_order_id: text(row, "clientOrderId")?,
        status: text(row, "status")?,
        price: decimal(row, "price")?,
        average_price: decimal(row, "avgPrice").ok(),
        quantity: decimal(row, "origQty")?,
        executed: decimal(row, "executedQty")?,
        side: text(row, "side")?,
        position_side: text(row, "positionSide").unwrap_or_else(|_| "BOTH".to_owned()),
        kind: text(row, "type")?,
        original_kind: text(row, "origType").or_else(|_| text(row, "type"))?,
        time_in_force: text(row, "timeInForce").unwrap_or_default(),
        reduce_only: flag(row, "reduceOnly"),
        close_position: flag(row, "closePosition"),
        updated_ms: time(row, "updateTime")?,
    })
}

fn algo_order(row: &Value) -> Result<RestAlgoOrder, AnswerError> {
    Ok(RestAlgoOrder {
        symbol: text(row, "symbol")?,
        algo_id: id(row, "algoId")?,
        client_algo_id: text(row, "clientAlgoId")?,
        status: text(row, "algoStatus")?,
        order_id: id(row, "actualOrderId").ok().filter(|&id| id > 0),
        trigger_price: decimal(row, "triggerPrice")?,
        average_price: decimal(row, "actualPrice").ok(),
        executed: decimal(row, "actualQty").ok(),
        quantity: decimal(row, "quantity")?,
        kind: text(row, "orderType")?,
        side: text(row, "side")?,
        position_side: text(row, "positionSide").unwrap_or_else(|_| "BOTH".to_owned()),
        time_in_force: text(row, "timeInForce").unwrap_or_default(),
        reduce_only: flag(row, "reduceOnly"),
        close_position: flag(row, "closePosition"),
        triggered_ms: time(row, "triggerTime").unwrap_or(0),
        updated_ms: time(row, "updateTime")?,
    })
}

fn trade(row: &Value) -> Result<RestTrade, AnswerError> {
    Ok(RestTrade {
        symbol: text(row, "symbol")?,
        trade_id: id(row, "id")?,
        order_id: id(row, "orderId")?,
        price: decimal(row, "price")?,
        quantity: decimal(row, "qty")?,
        commission: decimal(row, "commission").unwrap_or_else(|_| Decimal::zero()),
        commission_asset: text(row, "commissionAsset").unwrap_or_default(),
        realized: decimal(row, "realizedPnl").unwrap_or_else(|_| Decimal::zero()),
        side: text(row, "side")?,
        position_side: text(row, "positionSide").unwrap_or_else(|_| "BOTH".to_owned()),
        is_maker: flag(row, "maker"),
        time_ms: time(row, "time")?,
    })
}

fn position(row: &Value) -> Result<RestPosition, AnswerError> {
    Ok(RestPosition {
        symbol: text(row, "symbol")?,
        position_side: text(row, "positionSide").unwrap_or_else(|_| "BOTH".to_owned()),
        quantity: decimal(row, "positionAmt")?,
        entry_price: decimal(row, "entryPrice")?,
        updated_ms: time(row, "updateTime")?,
    })
}

fn balance(row: &Value) -> Result<RestBalance, AnswerError> {
    Ok(RestBalance {
        asset: text(row, "asset")?,
        wallet: decimal(row, "balance")?,
        cross_wallet: decimal(row, "crossWalletBalance").or_else(|_| decimal(row, "balance"))?,
        updated_ms: time(row, "updateTime").unwrap_or(0),
    })
}

fn income(row: &Value) -> Result<RestIncome, AnswerError> {
    Ok(RestIncome { symbol: text(row, "symbol").ok(), kind: text(row, "incomeType")?, time_ms: time(row, "time")? })
}

/// A string that is not empty.
fn text(row: &Value, key: &'static str) -> Result<String, AnswerError> {
    let found = row.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    found.map(str::to_owned).ok_or(AnswerError::Shape(key))
}

/// A whole number up to 2^64, sent as a number or a string.
fn id(row: &Value, key: &'static str) -> Result<u64, AnswerError> {
    match row.get(key) {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    }
    .ok_or(AnswerError::Shape(key))
}

fn time(row: &Value, key: &'static str) -> Result<i64, AnswerError> {
    id(row, key).ok().and_then(|ms| i64::try_from(ms).ok()).ok_or(AnswerError::Shape(key))
}

fn flag(row: &Value, key: &str) -> bool {
    matches!(row.get(key), Some(Value::Bool(true))) || row.get(key).and_then(Value::as_str) == Some("true")
}

/// A decimal, sent as a string or a number, perhaps in scientific notation.
fn decimal(row: &Value, key: &'static str) -> Result<Decimal, AnswerError> {
    match row.get(key) {
        Some(Value::String(text)) => plain(text),
        Some(Value::Number(number)) => plain(&number.to_string()),
        _ => None,
    }
    .ok_or(AnswerError::Shape(key))
}

/// Writes out an exponent of at most two digits, exactly.
fn plain(text: &str) -> Option<Decimal> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return Decimal::parse(text) };
    let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.abs() < 40)?;
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).ok()? + exponent;
    let written = if point <= 0 {
        format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize))
    } else {
        let point = point as usize;
        let padded = format!("{digits:0<point$}");
        let (whole, fraction) = padded.split_at(point);
        if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    };
    Decimal::parse(&written)
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! fixture {
        ($name:literal) => {
            include_bytes!(concat!("../../../tests/fixtures/rest/binance_", $name, ".json"))
        };
    }

    #[test]
    fn the_samples_are_read() {
        let orders = read_orders(200, fixture!("all_orders"), None).unwrap();
        assert_eq!((orders.len(), orders[0].order_id, orders[0].status.as_str()), (2, 912_345_678_901, "FILLED"));
        assert_eq!(orders[0].average_price.as_ref().unwrap().as_str(), "86450.1");
        assert_eq!(read_orders(200, fixture!("open_orders"), None).unwrap()[0].executed.as_str(), "0.045");
        let algo = read_algo_orders(200, fixture!("open_algo_orders"), None).unwrap();
        assert_eq!((algo[1].quantity.as_str(), algo[1].order_id), ("0.0007", None));
        let positions = read_positions(200, fixture!("position_risk_v3"), None).unwrap();
        assert_eq!((positions[0].quantity.as_str(), positions[0].position_side.as_str()), ("0.12", "BOTH"));
        let trades = read_trades(200, fixture!("user_trades"), None).unwrap();
        assert_eq!((trades.len(), trades[1].trade_id, trades[1].is_maker), (2, 7_012_345_701, true));
        let body = br#"[{"asset":"USDT","balance":"-1.5","crossWalletBalance":"2","updateTime":3}]"#;
        assert_eq!(read_balances(200, body, None).unwrap()[0].wallet.as_str(), "-1.5");
        let body = br#"[{"symbol":"","incomeType":"TRANSFER","time":5},{"symbol":"BTCUSDT","incomeType":"COMMISSION","time":"6"}]"#;
        let rows = read_income(200, body, None).unwrap();
        assert_eq!((&rows[0].symbol, rows[1].symbol.as_deref(), rows[1].time_ms), (&None, Some("BTCUSDT"), 6));
    }

    #[test]
    fn an_unreadable_row_is_no_answer() {
        for (body, path) in [
            (r#"{"a":1}"#, "list"),
            ("<html>", "JSON"),
            (r#"[{"symbol":"A"}]"#, "orderId"),
            (r#"[{"symbol":"A","orderId":-1}]"#, "orderId"),
            (r#"[{"symbol":"A","orderId":1,"clientOrderId":"c","status":"NEW","price":"x"}]"#, "price"),
        ] {
            assert_eq!(read_orders(200, body.as_bytes(), None), Err(AnswerError::Shape(path)), "{body}");
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        for (status, body, expected) in [
            (400, r#"{"code":-2013,"msg":"Order does not exist."}"#, AnswerError::UnknownOrder),
            (
                429,
                r#"{"code":-1003,"msg":"Too many requests"}"#,
                AnswerError::Refused(Refusal::Limited { retry_after: None }),
            ),
            (400, r#"{"code":-1021,"msg":""}"#, AnswerError::Refused(Refusal::Clock)),
            (503, "", AnswerError::Refused(Refusal::Overload { retry_after: None })),
        ] {
            assert_eq!(read_order(status, body.as_bytes(), None), Err(expected), "{body}");
        }
    }

    #[test]
    fn exponents_are_written_out() {
        for (text, expected) in [
            ("7.0E-4", Some("0.0007")),
            ("1e3", Some("1000")),
            ("1.25E+1", Some("12.5")),
            ("-2.5e0", Some("-2.5")),
            ("1E-8", Some("0.00000001")),
            ("1E99", None),
            ("E5", None),
            ("1E", None),
        ] {
            assert_eq!(plain(text).as_ref().map(Decimal::as_str), expected, "{text}");
        }
    }
}
