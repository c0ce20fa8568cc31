//! The plan against a venue made of rows: what it asks, and what it concludes.

use serde_json::{Value, json};

use super::ask::{Ask, History};
use super::conclusion::{Conclusion, Heard};
use super::plan::{Next, Plan, PlanError, Scope};
use crate::domain::order::OrderKind;
use crate::domain::{Decimal, Mono, Now, Wall};
use crate::exchange::binance::signed::From;
use crate::store::reconcile::LocalOrder;
use crate::store::work_rows::{OrderMark, OrderRow};

/// The gap of all tests: 1,000,000 ms to 1,060,000 ms.
pub(super) const SINCE: i64 = 1_000_000;
pub(super) const UNTIL: i64 = 1_060_000;

#[derive(Default)]
pub(super) struct Venue {
    pub(super) orders: Vec<Value>,
    pub(super) algos: Vec<Value>,
    pub(super) trades: Vec<Value>,
    pub(super) income: Vec<Value>,
    /// The lists, one a reading, the last one for all that follow; without any, each fill's position, held since ever.
    pub(super) positions: Vec<Vec<Value>>,
    /// As the positions.
    pub(super) balances: Vec<Vec<Value>>,
    pub(super) asked: Vec<Ask>,
    /// What lists of orders still show of the order with the same id.
    pub(super) earlier: Option<Value>,
    /// Before this question lists and single reads do not know of trades and of any order's end.
    pub(super) lags_until: usize,
}

impl Venue {
    fn answer(&mut self, ask: &Ask) -> (u16, Value) {
        self.asked.push(ask.clone());
        let is_late = self.asked.len() <= self.lags_until;
        let working = |row: &&Value| matches!(row["status"].as_str(), Some("NEW" | "PARTIALLY_FILLED"));
        let is_of = |row: &Value, symbol: &str, from: From, id: &str, time: &str| {
            row["symbol"] == symbol
                && match from {
                    From::Id(first) => row[id].as_u64().unwrap() >= first,
                    From::Span { start_ms, end_ms } => (start_ms..=end_ms).contains(&row[time].as_i64().unwrap()),
                }
        };
        let page = |rows: Vec<Value>| (200, Value::Array(rows.into_iter().take(1_000).collect()));
        let unknown = (400, json!({"code": -2013, "msg": "Order does not exist."}));
        match ask {
            Ask::OpenOrders => page(self.orders.iter().filter(working).cloned().collect()),
            Ask::OpenAlgoOrders => page(self.algos.iter().filter(|row| row["algoStatus"] == "NEW").cloned().collect()),
            Ask::Positions if self.positions.is_empty() => {
                page(self.trades.iter().map(|row| position(row["symbol"].as_str().unwrap(), "BOTH", "1", 0)).collect())
            }
            Ask::Positions => page(reading(&mut self.positions)),
            Ask::Balances => page(reading(&mut self.balances)),
            Ask::Income { .. } => page(self.income.clone()),
            Ask::History { symbol, from, of } => {
                let (rows, id, time) = match of {
                    History::Orders => (&self.orders, "orderId", "updateTime"),
                    History::AlgoOrders => (&self.algos, "algoId", "updateTime"),
                    History::Trades if is_late => return page(Vec::new()),
                    History::Trades => (&self.trades, "id", "time"),
                };
                let of_rows = rows.iter().filter(|row| is_of(row, symbol, *from, id, time));
                let earlier = self.earlier.as_ref().filter(|_| *of == History::Orders);
                let shown =
                    |row: &Value| earlier.filter(|earlier| earlier["orderId"] == row["orderId"]).unwrap_or(row).clone();
                page(of_rows.map(shown).collect())
            }
            Ask::Order { symbol, order_id } => {
                let found = self.orders.iter().find(|row| row["symbol"] == **symbol && row["orderId"] == *order_id);
                found.filter(|_| !is_late).map_or(unknown, |row| (200, row.clone()))
            }
            Ask::OrderOfClient { symbol, client_id } => {
                let is_it = |row: &&Value| row["symbol"] == **symbol && row["clientOrderId"] == **client_id;
                let found = self.orders.iter().find(is_it);
                found.filter(|_| !is_late).map_or(unknown, |row| (200, row.clone()))
            }
            Ask::AlgoOrderOfClient { client_id } => {
                let found = self.algos.iter().find(|row| row["clientAlgoId"] == **client_id);
                found.map_or(unknown, |row| (200, row.clone()))
            }
            Ask::AlgoOrder { algo_id } => {
                self.algos.iter().find(|row| row["algoId"] == *algo_id).map_or(unknown, |row| (200, row.clone()))
            }
        }
    }
}

/// The next of several readings; the last one stays.
fn reading(readings: &mut Vec<Vec<Value>>) -> Vec<Value> {
    if readings.len() > 1 { readings.remove(0) } else { readings.first().cloned().unwrap_or_default() }
}

pub(super) fn position(symbol: &str, side: &str, amount: &str, updated_ms: i64) -> Value {
    json!({"symbol": symbol, "positionSide": side, "positionAmt": amount, "entryPrice": "10", "updateTime": updated_ms})
}

pub(super) fn balance(asset: &str, wallet: &str, updated_ms: i64) -> Value {
    json!({"asset": asset, "balance": wallet, "crossWalletBalance": wallet, "updateTime": updated_ms})
}

pub(super) fn order(symbol: &str, id: u64, status: &str, executed: &str, updated_ms: i64) -> Value {
    json!({"symbol": symbol, "orderId": id, "clientOrderId": format!("c{id}"), "status": status, "price": "10",
        "avgPrice": "10", "origQty": "3", "executedQty": executed, "side": "BUY", "positionSide": "BOTH", "type": "LIMIT",
        "origType": "LIMIT", "updateTime": updated_ms})
}

pub(super) fn trade(symbol: &str, id: u64, order_id: u64, quantity: &str, time_ms: i64) -> Value {
    json!({"symbol": symbol, "id": id, "orderId": order_id, "price": "10", "qty": quantity, "side": "BUY",
        "time": time_ms})
}

pub(super) fn algo(id: u64, status: &str, real: &str, updated_ms: i64) -> Value {
    json!({"symbol": "B", "algoId": id, "clientAlgoId": format!("a{id}"), "algoStatus": status, "actualOrderId": real,
        "triggerPrice": "9", "quantity": "3", "orderType": "STOP_MARKET", "side": "SELL", "updateTime": updated_ms})
}

pub(super) fn local(id: i64, symbol: &str, exchange_order_id: &str, status: &str, is_algo: bool) -> LocalOrder {
    let order = OrderRow {
        id,
        position_id: 1,
        kind: OrderKind::Market,
        status: status.to_owned(),
        reference_status: None,
        client_order_id: None,
        exchange_order_id: Some(exchange_order_id.to_owned()),
        is_algo,
        quantity: Decimal::parse("3"),
        price: None,
        reference_quantity: None,
        reference_price: None,
        is_filled_at_set: false,
        last: None,
        child_ended: None,
    };
    LocalOrder { symbol: symbol.to_owned(), order }
}

pub(super) fn scope(orders: Vec<LocalOrder>) -> Scope {
    Scope { since_ms: SINCE, until_ms: Some(UNTIL), asks_income: true, orders, ..Scope::default() }
}

pub(super) fn at(mono_ms: u64) -> Now {
    Now { mono: Mono::from_nanos(mono_ms * 1_000_000), wall: Wall::from_millis(UNTIL + 10_000 + mono_ms as i64) }
}

/// Drives the plan to its end; every wait is waited for.
#[track_caller]
pub(super) fn run(venue: &mut Venue, scope: Scope) -> (Plan, Result<(), PlanError>) {
    let mut plan = Plan::new(scope);
    let mut now = at(0);
    for _ in 0..10_000 {
        match plan.poll(now) {
            Next::Ask(ask) => {
                let (status, body) = venue.answer(&ask);
                if let Err(error) = plan.handle_answer(status, body.to_string().as_bytes(), None, now) {
                    return (plan, Err(error));
                }
            }
            Next::Wait(until) => now = at(until.as_nanos() / 1_000_000),
            Next::Finished => {
                let checked = plan.check();
                return (plan, checked);
            }
        }
    }
    panic!("the plan does not end: {:?}", venue.asked);
}

#[track_caller]
pub(super) fn concluded(venue: &mut Venue, scope: Scope, heard: &[&str]) -> Conclusion {
    let orders = scope.orders.clone();
    let (plan, checked) = run(venue, scope);
    assert_eq!(checked, Ok(()));
    let mut known = Heard::default();
    heard.iter().for_each(|event| drop(known.add(event.as_bytes())));
    plan.conclude(&known, &orders, true, Wall::from_millis(UNTIL))
}

/// Status, cumulative quantity and trade of each event.
pub(super) fn told(conclusion: &Conclusion) -> Vec<(String, String, u64)> {
    let told = conclusion.events.iter().map(|event| {
        let value: Value = serde_json::from_str(&event.text).unwrap();
        let text = |key: &str| value["o"][key].as_str().unwrap_or_default().to_owned();
        (text("X"), text("z"), value["o"]["t"].as_u64().unwrap_or_default())
    });
    told.collect()
}

fn expected(rows: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
    rows.iter().map(|(status, filled, trade)| ((*status).to_owned(), (*filled).to_owned(), *trade)).collect()
}

#[test]
fn a_market_order_of_the_gap_is_recovered_fill_by_fill() {
    let mut venue = Venue {
        orders: vec![order("A", 7, "FILLED", "3", SINCE + 20)],
        trades: vec![trade("A", 1, 7, "1", SINCE + 10), trade("A", 2, 7, "2", SINCE + 20)],
        ..Venue::default()
    };
    let mine = vec![local(1, "A", "7", "NEW", false)];
    let conclusion = concluded(&mut venue, scope(mine.clone()), &[]);
    assert_eq!(told(&conclusion), expected(&[("PARTIALLY_FILLED", "1", 1), ("FILLED", "3", 2)]));
    assert_eq!((conclusion.missed(), conclusion.drift.len()), (2, 1));
    assert_eq!((conclusion.drift[0].local.as_str(), conclusion.drift[0].venue.as_str()), ("NEW", "FILLED"));
    // What was heard is not missed; the local order that does not show it still gets it.
    let heard: Vec<String> = conclusion.events.iter().map(|event| event.text.clone()).collect();
    let heard: Vec<&str> = heard.iter().map(String::as_str).collect();
    let conclusion = concluded(&mut venue, scope(mine), &heard[1..]);
    assert_eq!((conclusion.events.len(), conclusion.missed()), (2, 1));
    let conclusion = concluded(&mut venue, scope(Vec::new()), &heard);
    assert_eq!((conclusion.events.len(), conclusion.drift.len()), (0, 0));
}

#[test]
fn a_symbol_that_nobody_knew_is_found_by_its_income() {
    let mut venue = Venue {
        orders: vec![order("X", 9, "FILLED", "3", SINCE + 5)],
        trades: vec![trade("X", 4, 9, "3", SINCE + 5)],
        income: vec![json!({"symbol": "X", "incomeType": "COMMISSION", "time": SINCE + 5})],
        ..Venue::default()
    };
    assert_eq!(told(&concluded(&mut venue, scope(Vec::new()), &[])), expected(&[("FILLED", "3", 4)]));
    let without = Scope { asks_income: false, ..scope(Vec::new()) };
    venue.asked.clear();
    venue.positions = vec![Vec::new()];
    assert_eq!(told(&concluded(&mut venue, without, &[])), []);
    assert_eq!(venue.asked, [Ask::OpenOrders, Ask::OpenAlgoOrders, Ask::Positions, Ask::Balances]);
}

#[test]
fn a_read_that_is_older_than_the_newest_push_changes_nothing() {
    let mut mine = local(1, "A", "7", "PARTIALLY_FILLED", false);
    for (newest, events) in [(SINCE + 30, 0), (SINCE + 10, 1)] {
        let mut venue = Venue { orders: vec![order("A", 7, "CANCELED", "0", SINCE + 20)], ..Venue::default() };
        mine.order.last = Some(OrderMark { transaction_time_ms: newest, filled_quantity: None });
        let conclusion = concluded(&mut venue, scope(vec![mine.clone()]), &[]);
        assert_eq!(conclusion.missed(), events, "{newest}");
    }
}

#[test]
fn what_happened_outside_of_the_gap_is_left_to_the_stream() {
    let mut venue = Venue {
        orders: vec![order("A", 7, "CANCELED", "0", SINCE - 1), order("A", 8, "CANCELED", "0", UNTIL + 1)],
        ..Venue::default()
    };
    let of_symbol = Scope { symbols: ["A".to_owned()].into(), ..scope(Vec::new()) };
    assert_eq!(told(&concluded(&mut venue, of_symbol.clone(), &[])), []);
    let without_end = Scope { until_ms: None, ..of_symbol };
    assert_eq!(told(&concluded(&mut venue, without_end, &[])), expected(&[("CANCELED", "0", 0)]));
}

#[test]
fn absence_is_confirmed() {
    // It is in no list, aged out: the venue is asked twice, and nothing is made up.
    let mut venue = Venue::default();
    let mine = vec![local(1, "A", "7", "NEW", false), local(2, "B", "5", "NEW", true)];
    let conclusion = concluded(&mut venue, scope(mine.clone()), &[]);
    assert_eq!((conclusion.events.len(), conclusion.unknown.len()), (0, 2));
    let asked = |wanted: &Ask| venue.asked.iter().filter(|ask| *ask == wanted).count();
    assert_eq!(asked(&Ask::Order { symbol: "A".into(), order_id: 7 }), 2);
    assert_eq!(asked(&Ask::AlgoOrder { algo_id: 5 }), 2);
    // The read lags the push: the second one knows the order and its fill.
    let mut venue = Venue {
        orders: vec![order("A", 7, "FILLED", "3", SINCE + 20)],
        trades: vec![trade("A", 1, 7, "3", SINCE + 20)],
        lags_until: 12,
        ..Venue::default()
    };
    let conclusion = concluded(&mut venue, scope(mine[..1].to_vec()), &[]);
    assert_eq!(told(&conclusion), expected(&[("FILLED", "3", 1)]));
    assert_eq!(conclusion.unknown, [""; 0]);
}

#[test]
fn algo_orders_are_followed_into_their_real_order() {
    let mut venue = Venue {
        orders: vec![order("B", 70, "FILLED", "3", SINCE + 30)],
        algos: vec![algo(5, "FINISHED", "70", SINCE + 31)],
        trades: vec![trade("B", 3, 70, "3", SINCE + 30)],
        ..Venue::default()
    };
    let conclusion = concluded(&mut venue, scope(vec![local(1, "B", "5", "NEW", true)]), &[]);
    assert_eq!(told(&conclusion), expected(&[("FINISHED", "", 0), ("FILLED", "3", 3)]));
    assert!(conclusion.events[0].text.contains(r#""aq":"3""#), "the real order says what was executed");
    // The fill was heard, and nobody knew whose it was: it comes again, behind the event that says so.
    let heard = conclusion.events[1].text.clone();
    let conclusion = concluded(&mut venue, scope(vec![local(1, "B", "5", "NEW", true)]), &[&heard]);
    assert_eq!(told(&conclusion), expected(&[("FINISHED", "", 0), ("FILLED", "3", 3)]));
    assert_eq!(conclusion.missed(), 1);
}

#[test]
fn what_an_algo_order_has_executed_is_read_when_its_real_order_is_over() {
    // The real order was read while it worked, the algo order when it had ended.
    let mut venue = Venue {
        orders: vec![order("B", 70, "FILLED", "3", SINCE + 30)],
        earlier: Some(order("B", 70, "NEW", "0", SINCE + 29)),
        algos: vec![algo(5, "FINISHED", "70", SINCE + 31)],
        trades: vec![trade("B", 3, 70, "3", SINCE + 30)],
        ..Venue::default()
    };
    let mine = vec![local(1, "B", "5", "NEW", true)];
    let conclusion = concluded(&mut venue, scope(mine.clone()), &[]);
    assert_eq!(told(&conclusion), expected(&[("FINISHED", "", 0), ("FILLED", "3", 3)]));
    assert!(conclusion.events[0].text.contains(r#""aq":"3""#), "{conclusion:?}");
    // All of it was over long before the window, and the local order does not show it.
    let old = SINCE - 1_000_000;
    let mut venue = Venue {
        orders: vec![order("B", 70, "FILLED", "3", old)],
        algos: vec![algo(5, "FINISHED", "70", old + 1)],
        trades: vec![trade("B", 3, 70, "3", old)],
        ..Venue::default()
    };
    let conclusion = concluded(&mut venue, scope(mine), &[]);
    assert!(conclusion.events[0].text.contains(r#""aq":"3""#), "{conclusion:?}");
    assert_eq!((conclusion.missed(), conclusion.drift[0].venue.as_str()), (0, "FILLED"));
}

#[test]
fn pages_are_read_to_the_end() {
    let trades = (0..2_500).map(|id| trade("A", id + 1, 7, "1", SINCE + 1)).collect();
    let mut row = order("A", 7, "FILLED", "2500", SINCE + 1);
    row["origQty"] = json!("2500");
    let mut venue = Venue { orders: vec![row], trades, ..Venue::default() };
    let conclusion = concluded(&mut venue, scope(vec![local(1, "A", "7", "NEW", false)]), &[]);
    assert_eq!(conclusion.missed(), 2_500);
    assert_eq!(told(&conclusion).last(), expected(&[("FILLED", "2500", 2_500)]).last());
}

#[test]
fn fills_that_lag_for_ever_are_no_outcome() {
    let mut venue = Venue {
        orders: vec![order("A", 7, "FILLED", "3", SINCE + 20)],
        trades: vec![trade("A", 1, 7, "3", SINCE + 20)],
        lags_until: usize::MAX,
        ..Venue::default()
    };
    let of_symbol = Scope { symbols: ["A".to_owned()].into(), ..scope(Vec::new()) };
    assert_eq!(run(&mut venue, of_symbol).1, Err(PlanError::Disagreement(7, "A".into())));
}

#[test]
fn an_order_that_was_filled_before_the_gap_and_amended_in_it_has_the_new_price() {
    let mut venue = Venue {
        orders: vec![order("A", 7, "PARTIALLY_FILLED", "1", SINCE + 20)],
        trades: vec![trade("A", 1, 7, "1", SINCE - 100_000)],
        ..Venue::default()
    };
    let mut mine = local(1, "A", "7", "PARTIALLY_FILLED", false);
    mine.order.price = Decimal::parse("11");
    mine.order.last = Some(OrderMark { transaction_time_ms: SINCE - 100_000, filled_quantity: Decimal::parse("1") });
    let conclusion = concluded(&mut venue, scope(vec![mine.clone()]), &[]);
    assert_eq!(told(&conclusion), expected(&[("PARTIALLY_FILLED", "1", 0)]));
    assert_eq!((conclusion.missed(), conclusion.drift.len()), (1, 1));
    // The same with the fill inside the window: it was heard, the amendment was not.
    venue.trades = vec![trade("A", 1, 7, "1", SINCE + 10)];
    mine.order.last = Some(OrderMark { transaction_time_ms: SINCE + 10, filled_quantity: Decimal::parse("1") });
    let fill = r#"{"e":"ORDER_TRADE_UPDATE","T":1000010,"o":{"s":"A","x":"TRADE","X":"PARTIALLY_FILLED","i":7,"p":"11","z":"1","t":1}}"#;
    let conclusion = concluded(&mut venue, scope(vec![mine]), &[fill]);
    assert_eq!(told(&conclusion), expected(&[("PARTIALLY_FILLED", "1", 0)]));
    assert_eq!((conclusion.missed(), conclusion.drift.len()), (1, 1));
}

#[test]
fn a_refused_question_stays_open() {
    let mut plan = Plan::new(scope(Vec::new()));
    let asked = plan.poll(at(0));
    let refused = plan.handle_answer(503, b"", None, at(0));
    assert!(matches!(refused, Err(PlanError::Answer(_))));
    assert_eq!((plan.poll(at(1)), &asked), (asked.clone(), &Next::Ask(Ask::OpenOrders)));
    assert!(plan.handle_answer(200, b"[{}]", None, at(1)).is_err(), "a row that cannot be read is no answer");
    plan.handle_answer(200, b"[]", None, at(1)).unwrap();
    assert_eq!(plan.poll(at(1)), Next::Ask(Ask::OpenAlgoOrders));
}

#[test]
fn an_order_whose_placement_was_not_answered_is_found_by_its_client_id() {
    let lost = |id: i64, symbol: &str, client_id: &str, is_algo: bool| {
        let mut row = local(id, symbol, "", "NEW", is_algo);
        row.order.client_order_id = Some(client_id.to_owned());
        row
    };
    let mine = vec![lost(1, "A", "c7", false), lost(2, "B", "a5", true), lost(3, "A", "gone", false), {
        let mut nameless = local(4, "A", "", "NEW", false);
        nameless.order.exchange_order_id = None;
        nameless
    }];
    // The order is older than the window: no list tells of it.
    let mut venue = Venue {
        orders: vec![order("A", 7, "CANCELED", "0", SINCE - 100)],
        algos: vec![algo(5, "CANCELED", "", SINCE - 90)],
        ..Venue::default()
    };
    let conclusion = concluded(&mut venue, scope(mine.clone()), &[]);
    assert_eq!(told(&conclusion), expected(&[("CANCELED", "0", 0), ("CANCELED", "", 0)]));
    assert_eq!((conclusion.missed(), conclusion.unknown.len()), (0, 0));
    assert_eq!(conclusion.unplaced, ["gone"]);
    let drift: Vec<_> = conclusion.drift.iter().map(|drift| (drift.order_id, &*drift.exchange_order_id)).collect();
    assert_eq!(drift, [(1, "7"), (2, "5")]);
    let by_client = |ask: &&Ask| matches!(ask, Ask::OrderOfClient { client_id, .. } if client_id == "gone");
    assert_eq!(venue.asked.iter().filter(by_client).count(), 2, "absence is confirmed");
    // What is known by then is asked for by the venue's id, and what has ended not at all.
    assert_eq!(venue.asked.iter().filter(|ask| matches!(ask, Ask::OrderOfClient { .. })).count(), 3);
    // A list that tells of it spares the question.
    let mut venue = Venue { orders: vec![order("A", 7, "NEW", "0", SINCE + 5)], ..Venue::default() };
    let conclusion = concluded(&mut venue, scope(mine[..1].to_vec()), &[]);
    assert!(!venue.asked.iter().any(|ask| matches!(ask, Ask::OrderOfClient { .. })), "{:?}", venue.asked);
    assert_eq!(venue.asked.iter().filter(|ask| matches!(ask, Ask::Order { .. })).count(), 1);
    assert_eq!(conclusion.unplaced, [""; 0]);
}
