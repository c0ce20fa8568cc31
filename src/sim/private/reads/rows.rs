//! Rows as the venue writes them: members and types of `facts/binance.md` §6 and of the answers recorded there.

use serde_json::{Value, json};

use crate::sim::private::book::{AlgoTruth, AssetTruth, Fill, OrderTruth, PositionTruth};
use crate::sim::private::decimal::{ONE, Padded, Spare, Trimmed, mul};

use super::income::Row;

/// Of `openOrders` and `order`.
pub(super) fn order(order: &OrderTruth) -> Value {
    let places = order.instrument.price_places;
    let average = if order.filled == 0 { "0.00".to_owned() } else { Padded(order.average(), places + 3).to_string() };
    let mut row = json!({
        "orderId": order.id,
        "symbol": &*order.instrument.symbol,
        "status": order.status,
        "clientOrderId": order.client_id,
        "price": order.price_text(),
        "avgPrice": average,
        "origQty": order.quantity_text(),
        "executedQty": order.filled_text(),
        "cumQuote": Spare(order.quote, 5).to_string(),
        "timeInForce": order.time_in_force,
        "type": order.kind,
        "reduceOnly": order.reduce_only,
        "closePosition": false,
        "side": order.side,
        "positionSide": order.position_side,
        "stopPrice": Spare(order.stop, places).to_string(),
        "workingType": order.working_kind,
        "priceProtect": false,
        "origType": order.original_kind,
        "priceMatch": "NONE",
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "goodTillDate": order.good_till_ms,
        "time": order.created_ms,
        "updateTime": order.updated_ms,
    });
    if let Some((activation, rate)) = order.trailing {
        row["activatePrice"] = Trimmed(activation).to_string().into();
        row["priceRate"] = Trimmed(rate).to_string().into();
    }
    row
}

/// Of `allOrders`, whose rows have two members more.
pub(super) fn listed_order(one: &OrderTruth) -> Value {
    let mut row = order(one);
    row["cumBase"] = one.filled_text().into();
    row["pair"] = (&*one.instrument.symbol).into();
    row
}

/// Of all reads of algo orders.
pub(super) fn algo_order(algo: &AlgoTruth) -> Value {
    let places = algo.instrument.price_places;
    // Some quantities come in scientific notation; which ones, nobody knows.
    let quantity = if algo.id.is_multiple_of(4) { scientific(algo.quantity) } else { algo.quantity_text() };
    json!({
        "algoId": algo.id,
        "clientAlgoId": algo.client_id,
        "algoType": "CONDITIONAL",
        "orderType": algo.kind,
        "symbol": &*algo.instrument.symbol,
        "side": algo.side,
        "positionSide": algo.position_side,
        "timeInForce": "GTC",
        "quantity": quantity,
        "algoStatus": algo.status,
        "actualOrderId": algo.order_id.map(|id| id.to_string()).unwrap_or_default(),
        "actualPrice": Padded(algo.average, 7).to_string(),
        "triggerPrice": Padded(algo.trigger, places).to_string(),
        "price": "0.00",
        "icebergQuantity": null,
        "tpTriggerPrice": "0.000",
        "tpPrice": "0.000",
        "slTriggerPrice": "0.000",
        "slPrice": "0.000",
        "tpOrderType": "",
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "workingType": "MARK_PRICE",
        "priceMatch": "NONE",
        "closePosition": false,
        "priceProtect": false,
        "reduceOnly": true,
        "createTime": algo.created_ms,
        "updateTime": algo.updated_ms,
        "triggerTime": algo.triggered_ms,
        "goodTillDate": 0,
    })
}

pub(super) fn trade(fill: &Fill) -> Value {
    json!({
        "symbol": &*fill.instrument.symbol,
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "side": fill.side,
        "price": fill.price_text(),
        "qty": fill.quantity_text(),
        "realizedPnl": fill.realized_text(),
        "quoteQty": Padded(mul(fill.quantity, fill.price), 5).to_string(),
        "baseQty": fill.quantity_text(),
        "commission": fill.commission_text(),
        "commissionAsset": fill.commission_asset,
        "marginAsset": "USDT",
        "pair": &*fill.instrument.symbol,
        "time": fill.time_ms,
        "positionSide": fill.position_side,
        "maker": fill.is_maker,
        "buyer": fill.side == "BUY",
    })
}

/// Of `positionRisk` at this mark price.
pub(super) fn position(position: &PositionTruth, mark: i64) -> Value {
    let notional = mul(position.amount, mark);
    let isolated = if position.is_isolated { position.wallet } else { 0 };
    let margin = Spare(notional.abs() / 25, 8).to_string();
    json!({
        "symbol": &*position.instrument.symbol,
        "positionSide": position.position_side,
        "positionAmt": Padded(position.amount, position.instrument.quantity_places).to_string(),
        "entryPrice": position.entry_text(),
        "breakEvenPrice": Trimmed(position.entry + position.entry / 5_000).to_string(),
        "markPrice": Padded(mark, 8).to_string(),
        "unRealizedProfit": Spare(mul(position.amount, mark - position.entry), 8).to_string(),
        "liquidationPrice": "0",
        "isolatedMargin": Spare(isolated, 8).to_string(),
        "notional": Spare(notional, 8).to_string(),
        "marginAsset": "USDT",
        "isolatedWallet": Spare(isolated, 8).to_string(),
        "initialMargin": margin,
        "maintMargin": Spare(notional.abs() / 250, 8).to_string(),
        "positionInitialMargin": margin,
        "openOrderInitialMargin": "0",
        "adl": 2,
        "bidNotional": "0",
        "askNotional": "0",
        "updateTime": position.updated_ms,
    })
}

/// Of `balance`.
pub(super) fn balance(account: usize, asset: &str, held: &AssetTruth) -> Value {
    let available = Padded(held.cross_wallet.max(0), 8).to_string();
    json!({
        "accountAlias": format!("Sim{account:05}"),
        "asset": asset,
        "balance": Padded(held.wallet, 8).to_string(),
        "crossWalletBalance": Padded(held.cross_wallet, 8).to_string(),
        "crossUnPnl": "0.00000000",
        "availableBalance": available,
        "maxWithdrawAmount": available,
        "marginAvailable": true,
        "updateTime": held.updated_ms,
    })
}

/// Of `income`.
pub(super) fn income(row: &Row<'_>) -> Value {
    let trade_id = row.trade_id.map(|id| id.to_string()).unwrap_or_default();
    json!({
        "symbol": row.symbol,
        "incomeType": row.kind,
        "income": Padded(row.amount, 8).to_string(),
        "asset": row.asset,
        "time": row.time_ms,
        "info": if trade_id.is_empty() { row.kind } else { &trade_id },
        "tranId": row.id,
        "tradeId": trade_id,
    })
}

/// As Java writes a double that is small or large: one digit before the point, one behind it at least.
fn scientific(units: i64) -> String {
    if units == 0 {
        return "0.0".to_owned();
    }
    let digits = units.unsigned_abs().to_string();
    let exponent = digits.len() as i32 - ONE.ilog10() as i32 - 1;
    let (first, rest) = digits.split_at(1);
    let rest = rest.trim_end_matches('0');
    let sign = if units < 0 { "-" } else { "" };
    format!("{sign}{first}.{}E{exponent}", if rest.is_empty() { "0" } else { rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents() {
        for (units, text) in [
            (70_000, "7.0E-4"),
            (12_000_000, "1.2E-1"),
            (ONE, "1.0E0"),
            (123_456 * ONE, "1.23456E5"),
            (-1, "-1.0E-8"),
            (0, "0.0"),
        ] {
            assert_eq!(scientific(units), text);
        }
    }
}
