//! What a reconcile found over REST, as the event that the stream would have sent: one text for each fact, so that the rules,
//! the audit row and the job are the same for both.
//!
//! A text is a function of the venue's facts alone: the same fact found twice is the same bytes, and one audit row. It is
//! marked by a last member, `"recovered":true`; times are the venue's. What REST does not tell is left out, never made up.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::account_answers::{RestAlgoOrder, RestBalance, RestOrder, RestTrade};
use super::account_fact::PositionFact;
use crate::domain::Decimal;

/// The events of one order, oldest first: its fills among `trades`, then its state, unless the last fill says it already.
///
/// `trades` may be of other orders too, in any order; those of this order must reach up to its newest fill. Cumulative
/// quantities are counted back from the order's executed quantity, so earlier fills need not be there.
#[must_use]
pub fn order_events(order: &RestOrder, trades: &[RestTrade]) -> Vec<String> {
    let fills: BTreeMap<u64, &RestTrade> =
        trades.iter().filter(|trade| trade.order_id == order.order_id).map(|trade| (trade.trade_id, trade)).collect();
    // Newest first: each fill's cumulative quantity is what is left after the later ones are taken away.
    let mut cumulative = Some(order.executed.clone());
    let mut events = Vec::with_capacity(fills.len() + 1);
    let is_filled = order.status == "FILLED";
    for (at, trade) in fills.values().rev().enumerate() {
        let is_last = at == 0;
        let status = if is_last && is_filled { "FILLED" } else { "PARTIALLY_FILLED" };
        events.push(fill_event(order, trade, status, cumulative.as_ref(), is_last));
        cumulative = cumulative.and_then(|sum| sum.minus(&trade.quantity)).filter(|left| !left.is_negative());
    }
    events.reverse();
    let newest = fills.values().map(|trade| trade.time_ms).max();
    let is_told = match order.status.as_str() {
        "FILLED" => newest.is_some(),
        // Changed since its newest fill, it was amended: no fill tells the new price as newer than what it replaced.
        "PARTIALLY_FILLED" => newest.is_some_and(|newest| newest >= order.updated_ms),
        _ => false,
    };
    if !is_told {
        events.push(state_event(order));
    }
    events
}

/// The event of an algo order's state.
#[must_use]
pub fn algo_event(algo: &RestAlgoOrder) -> String {
    let mut members = Map::new();
    members.insert("caid".into(), json!(algo.client_algo_id));
    members.insert("aid".into(), json!(algo.algo_id));
    members.insert("at".into(), json!("CONDITIONAL"));
    members.insert("o".into(), json!(algo.kind));
    members.insert("s".into(), json!(algo.symbol));
    members.insert("S".into(), json!(algo.side));
    members.insert("ps".into(), json!(algo.position_side));
    members.insert("f".into(), json!(algo.time_in_force));
    members.insert("q".into(), json!(algo.quantity.as_str()));
    members.insert("X".into(), json!(algo.status));
    members.insert("ai".into(), json!(algo.order_id.map(|id| id.to_string()).unwrap_or_default()));
    add_decimal(&mut members, "ap", algo.average_price.as_ref());
    add_decimal(&mut members, "aq", algo.executed.as_ref());
    members.insert("tp".into(), json!(algo.trigger_price.as_str()));
    members.insert("cp".into(), json!(algo.close_position));
    members.insert("R".into(), json!(algo.reduce_only));
    members.insert("tt".into(), json!(algo.triggered_ms));
    event("ALGO_UPDATE", algo.updated_ms, members)
}

/// Why an account event was sent: a word that is none of the venue's.
pub const RECOVERED_REASON: &str = "KRAITE_RECOVERED";

/// The event of what is held since `at_ms`: absolute values, as the stream has them.
#[must_use]
pub fn account_event(at_ms: i64, positions: &[PositionFact], balances: &[RestBalance]) -> String {
    let positions: Vec<Value> = positions
        .iter()
        .map(|held| {
            let entry = held.entry.as_ref().map_or("0", Decimal::as_str);
            json!({"s": held.symbol, "pa": held.quantity.as_str(), "ep": entry, "ps": held.side.as_str()})
        })
        .collect();
    let balances: Vec<Value> = balances
        .iter()
        .map(|held| json!({"a": held.asset, "wb": held.wallet.as_str(), "cw": held.cross_wallet.as_str()}))
        .collect();
    let account = json!({"m": RECOVERED_REASON, "B": balances, "P": positions});
    json!({"e": "ACCOUNT_UPDATE", "E": at_ms, "T": at_ms, "a": account, "recovered": true}).to_string()
}

fn fill_event(
    order: &RestOrder,
    trade: &RestTrade,
    status: &str,
    cumulative: Option<&Decimal>,
    knows_average: bool,
) -> String {
    let mut members = base(order);
    if knows_average {
        add_decimal(&mut members, "ap", order.average_price.as_ref());
    }
    members.insert("x".into(), json!("TRADE"));
    members.insert("X".into(), json!(status));
    members.insert("l".into(), json!(trade.quantity.as_str()));
    add_decimal(&mut members, "z", cumulative);
    members.insert("L".into(), json!(trade.price.as_str()));
    members.insert("n".into(), json!(trade.commission.as_str()));
    members.insert("N".into(), json!(trade.commission_asset));
    members.insert("T".into(), json!(trade.time_ms));
    members.insert("t".into(), json!(trade.trade_id));
    members.insert("m".into(), json!(trade.is_maker));
    members.insert("rp".into(), json!(trade.realized.as_str()));
    event("ORDER_TRADE_UPDATE", trade.time_ms, members)
}

fn state_event(order: &RestOrder) -> String {
    let mut members = base(order);
    add_decimal(&mut members, "ap", order.average_price.as_ref());
    let execution = match order.status.as_str() {
        "FILLED" | "PARTIALLY_FILLED" => "TRADE",
        "EXPIRED_IN_MATCH" => "EXPIRED",
        // REST tells an amended order as NEW with another price.
        status => status,
    };
    members.insert("x".into(), json!(execution));
    members.insert("X".into(), json!(order.status));
    members.insert("z".into(), json!(order.executed.as_str()));
    members.insert("T".into(), json!(order.updated_ms));
    event("ORDER_TRADE_UPDATE", order.updated_ms, members)
}

fn base(order: &RestOrder) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("s".into(), json!(order.symbol));
    members.insert("c".into(), json!(order.client_order_id));
    members.insert("S".into(), json!(order.side));
    members.insert("o".into(), json!(order.kind));
    members.insert("ot".into(), json!(order.original_kind));
    members.insert("f".into(), json!(order.time_in_force));
    members.insert("q".into(), json!(order.quantity.as_str()));
    members.insert("p".into(), json!(order.price.as_str()));
    members.insert("i".into(), json!(order.order_id));
    members.insert("R".into(), json!(order.reduce_only));
    members.insert("cp".into(), json!(order.close_position));
    members.insert("ps".into(), json!(order.position_side));
    members
}

fn add_decimal(members: &mut Map<String, Value>, key: &str, value: Option<&Decimal>) {
    if let Some(value) = value {
        members.insert(key.into(), json!(value.as_str()));
    }
}

fn event(name: &str, at_ms: i64, order: Map<String, Value>) -> String {
    json!({"e": name, "E": at_ms, "T": at_ms, "o": order, "recovered": true}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::binance::account_answers::{read_algo_orders, read_orders, read_trades};
    use crate::exchange::binance::user_data::{Class, EventType, classify};

    const ORDERS: &[u8] = include_bytes!("../../../tests/fixtures/rest/binance_all_orders.json");
    const TRADES: &[u8] = include_bytes!("../../../tests/fixtures/rest/binance_user_trades.json");
    const ALGO: &[u8] = include_bytes!("../../../tests/fixtures/rest/binance_open_algo_orders.json");

    #[test]
    fn fills_count_back_from_what_was_executed() {
        let orders = read_orders(200, ORDERS, None).unwrap();
        let mut trades = read_trades(200, TRADES, None).unwrap();
        trades.reverse();
        let events = check(&order_events(&orders[0], &trades), "ORDER_TRADE_UPDATE");
        let seen: Vec<_> = events.iter().map(|event| (text(event, "X"), text(event, "z"), text(event, "l"))).collect();
        assert_eq!(
            seen,
            [
                ("PARTIALLY_FILLED".to_owned(), "0.045".to_owned(), "0.045".to_owned()),
                ("FILLED".to_owned(), "0.12".to_owned(), "0.075".to_owned()),
            ]
        );
        assert_eq!(events[0]["o"].get("ap"), None, "an average is known for the newest fill only");
        // The older fill is not needed for the newer one's sum.
        let newest = order_events(&orders[0], &trades[..1]);
        assert_eq!(newest, order_events(&orders[0], &trades)[1..]);
    }

    #[test]
    fn a_state_without_fills_is_one_event() {
        let orders = read_orders(200, ORDERS, None).unwrap();
        let events = check(&order_events(&orders[1], &[]), "ORDER_TRADE_UPDATE");
        assert_eq!(
            (text(&events[0], "x"), text(&events[0], "X"), events.len()),
            ("CANCELED".into(), "CANCELED".into(), 1)
        );
        let events = check(&order_events(&orders[0], &[]), "ORDER_TRADE_UPDATE");
        assert_eq!((text(&events[0], "x"), text(&events[0], "z")), ("TRADE".into(), "0.12".into()));
        let partly = RestOrder { status: "CANCELED".into(), ..orders[0].clone() };
        let trades = read_trades(200, TRADES, None).unwrap();
        let events = check(&order_events(&partly, &trades), "ORDER_TRADE_UPDATE");
        let states: Vec<_> = events.iter().map(|event| text(event, "X")).collect();
        assert_eq!(states, ["PARTIALLY_FILLED", "PARTIALLY_FILLED", "CANCELED"]);
    }

    #[test]
    fn an_order_that_was_amended_after_its_newest_fill_has_a_state_beside_it() {
        let orders = read_orders(200, ORDERS, None).unwrap();
        let trades = read_trades(200, TRADES, None).unwrap();
        let newest = trades.iter().map(|trade| trade.time_ms).max().unwrap();
        let states = |status: &str, updated_ms| {
            let order = RestOrder { status: status.into(), updated_ms, ..orders[0].clone() };
            let events = check(&order_events(&order, &trades), "ORDER_TRADE_UPDATE");
            let last = events.last().unwrap();
            (events.len(), last["o"].get("t").is_some(), last["T"].as_i64().unwrap())
        };
        assert_eq!(states("PARTIALLY_FILLED", newest), (2, true, newest));
        assert_eq!(states("PARTIALLY_FILLED", newest + 1), (3, false, newest + 1));
        assert_eq!(states("FILLED", newest + 1), (2, true, newest));
    }

    #[test]
    fn algo_orders_keep_their_exact_quantity() {
        let algo = read_algo_orders(200, ALGO, None).unwrap();
        let events = check(&[algo_event(&algo[1])], "ALGO_UPDATE");
        assert_eq!(
            (text(&events[0], "q"), text(&events[0], "X"), text(&events[0], "ai")),
            ("0.0007".into(), "NEW".into(), "".into())
        );
    }

    #[test]
    fn account_events_are_what_the_rules_read() {
        use crate::domain::order::PositionSide;
        use crate::exchange::binance::account_answers::read_balances;
        let body = br#"[{"asset":"USDT","balance":"1.50","crossWalletBalance":"1.50","updateTime":3}]"#;
        let flat =
            PositionFact { symbol: "ETHUSDT".into(), side: PositionSide::Long, quantity: Decimal::zero(), entry: None };
        let text = account_event(3, std::slice::from_ref(&flat), &read_balances(200, body, None).unwrap());
        let event = &check(std::slice::from_ref(&text), "ACCOUNT_UPDATE")[0];
        assert_eq!((event["a"]["m"].as_str(), event["T"].as_i64()), (Some(RECOVERED_REASON), Some(3)));
        let projection = crate::exchange::binance::project(text.as_bytes());
        assert!(projection.positions[0].quantity.is_zero() && projection.misfits == 0, "{projection:?}");
        assert_eq!(projection.positions[0].side, PositionSide::Long);
        let fact = crate::exchange::binance::account_fact::AccountFact::read(text.as_bytes()).unwrap();
        assert_eq!((fact.positions[0].quantity.is_zero(), fact.balances[0].wallet.as_str()), (true, "1.5"));
    }

    fn text(event: &Value, key: &str) -> String {
        event["o"][key].as_str().unwrap().to_owned()
    }

    /// What the stream's own reader makes of the texts.
    #[track_caller]
    fn check(events: &[String], name: &str) -> Vec<Value> {
        let read = events.iter().map(|event| {
            assert_eq!(classify(event.as_bytes()).class, Class::Event(EventType::of_text(name.as_bytes())));
            let value: Value = serde_json::from_str(event).unwrap();
            assert_eq!(value["recovered"], true);
            value
        });
        read.collect()
    }
}
