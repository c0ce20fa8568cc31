//! Answers against the book: every read after seeded lives that nobody listened to.

use std::collections::{BTreeMap, BTreeSet};

use kraite_streams::domain::{Decimal, Random};
use kraite_streams::exchange::binance::account_answers::{
    AnswerError, RestAlgoOrder, RestOrder, read_algo_order, read_algo_orders, read_balances, read_income, read_order,
    read_orders, read_positions, read_trades,
};
use kraite_streams::exchange::binance::signed::{AccountRead, From};
use kraite_streams::sim::{AccountBook, AlgoTruth, LifeKind, OrderTruth};
use serde_json::Value;

use super::rig::{Venue, lived, now_ms, quiet, start};

const HOUR_MS: i64 = 3_600_000;

fn number(text: &str) -> Decimal {
    Decimal::parse(text).unwrap()
}

#[track_caller]
fn check_order(told: &RestOrder, truth: &OrderTruth) {
    assert_eq!(
        (told.order_id, told.symbol.as_str(), told.client_order_id.as_str(), told.status.as_str()),
        (truth.id, &*truth.instrument.symbol, truth.client_id.as_str(), truth.status)
    );
    assert_eq!(
        [&told.price, &told.quantity, &told.executed, told.average_price.as_ref().unwrap()],
        [
            &number(&truth.price_text()),
            &number(&truth.quantity_text()),
            &number(&truth.filled_text()),
            &number(&truth.average_text())
        ]
    );
    assert_eq!(
        (told.side.as_str(), told.position_side.as_str(), told.kind.as_str(), told.original_kind.as_str()),
        (truth.side, truth.position_side, truth.kind, truth.original_kind)
    );
    assert_eq!(
        (told.time_in_force.as_str(), told.reduce_only, told.updated_ms),
        (truth.time_in_force, truth.reduce_only, truth.updated_ms)
    );
}

#[track_caller]
fn check_algo(told: &RestAlgoOrder, truth: &AlgoTruth) {
    assert_eq!(
        (told.algo_id, told.symbol.as_str(), told.client_algo_id.as_str(), told.status.as_str(), told.order_id),
        (truth.id, &*truth.instrument.symbol, truth.client_id.as_str(), truth.status, truth.order_id)
    );
    assert_eq!(
        (&told.quantity, &told.trigger_price),
        (&number(&truth.quantity_text()), &number(&truth.trigger_text()))
    );
    assert_eq!(
        (told.side.as_str(), told.position_side.as_str(), told.kind.as_str(), told.triggered_ms, told.updated_ms),
        (truth.side, truth.position_side, truth.kind, truth.triggered_ms, truth.updated_ms)
    );
}

fn symbols(book: &AccountBook) -> BTreeSet<String> {
    let orders = book.orders.values().map(|order| order.instrument.symbol.to_string());
    orders.chain(book.algo_orders.values().map(|algo| algo.instrument.symbol.to_string())).collect()
}

#[test]
fn lists_are_what_the_book_holds() {
    let venue = lived(11);
    let mut open_seen = 0;
    for account in 0..3 {
        let book = venue.sim.account_book(account);
        let open = venue.told(account, &AccountRead::OpenOrders, read_orders).unwrap();
        assert_eq!(open.len(), book.open_orders().count());
        open_seen += open.len();
        for told in &open {
            check_order(told, &book.orders[&told.order_id]);
        }
        let algo = venue.told(account, &AccountRead::OpenAlgoOrders, read_algo_orders).unwrap();
        assert_eq!(algo.len(), book.open_algo_orders().count());
        for told in &algo {
            check_algo(told, &book.algo_orders[&told.algo_id]);
        }
        let positions = venue.told(account, &AccountRead::Positions, read_positions).unwrap();
        let told: BTreeMap<_, _> =
            positions.iter().map(|one| ((one.symbol.as_str(), one.position_side.as_str()), one)).collect();
        assert_eq!(told.len(), positions.len());
        let has_order = |key: &(&str, &str)| {
            book.open_orders().any(|order| (&*order.instrument.symbol, order.position_side) == *key)
        };
        for truth in book.positions.values() {
            let key = (&*truth.instrument.symbol, truth.position_side);
            let is_held = truth.amount_text() != "0";
            assert_eq!(told.contains_key(&key), is_held || has_order(&key), "{key:?}");
            if let Some(told) = told.get(&key) {
                assert_eq!(told.quantity, number(&truth.amount_text()));
                assert_eq!(told.entry_price, number(&truth.entry_text()));
                assert_eq!(told.updated_ms, truth.updated_ms);
            }
        }
        assert!(told.keys().all(|key| book.positions.contains_key(&(key.0.into(), side(key.1))) || has_order(key)));
        let balances = venue.told(account, &AccountRead::Balances, read_balances).unwrap();
        assert_eq!((balances[0].asset.as_str(), &balances[0].wallet), ("USDT", &number(&book.wallet_text())));
        assert!(balances[0].updated_ms > 0);
    }
    assert!(open_seen > 0, "no order was open: the test shows nothing");
}

fn side(text: &str) -> &'static str {
    ["BOTH", "LONG", "SHORT"].into_iter().find(|side| *side == text).unwrap()
}

#[test]
fn one_order_is_told_by_its_id() {
    let venue = lived(12);
    let book = venue.sim.account_book(0);
    for truth in book.orders.values().step_by(7) {
        let read = AccountRead::Order { symbol: &truth.instrument.symbol, order_id: truth.id };
        check_order(&venue.told(0, &read, read_order).unwrap(), truth);
        let query = format!("symbol={}&origClientOrderId={}", percent(&truth.instrument.symbol), truth.client_id);
        assert_eq!(venue.raw(0, "/fapi/v1/order", &query).1["clientOrderId"], truth.client_id.as_str());
        let elsewhere = AccountRead::Order { symbol: "ETHUSDT", order_id: truth.id };
        if &*truth.instrument.symbol != "ETHUSDT" {
            assert_eq!(venue.told(0, &elsewhere, read_order), Err(AnswerError::UnknownOrder));
        }
        assert_eq!(venue.told(1, &read, read_order), Err(AnswerError::UnknownOrder), "another account's");
    }
    assert!(book.algo_orders.len() > 3);
    for truth in book.algo_orders.values() {
        let read = AccountRead::AlgoOrder { algo_id: truth.id };
        check_algo(&venue.told(0, &read, read_algo_order).unwrap(), truth);
        // Before it has triggered no order has its client id, and none ever has its own id.
        let symbol = percent(&truth.instrument.symbol);
        let by_name =
            venue.code(0, "/fapi/v1/order", &format!("symbol={symbol}&origClientOrderId={}", truth.client_id));
        assert_eq!(by_name, if truth.order_id.is_some() { (200, 0) } else { (400, -2013) });
        assert_eq!(venue.code(0, "/fapi/v1/order", &format!("symbol={symbol}&orderId={}", truth.id)), (400, -2013));
    }
    assert_eq!(venue.told(0, &AccountRead::AlgoOrder { algo_id: 5 }, read_algo_order), Err(AnswerError::UnknownOrder));
}

#[test]
fn pages_add_up_to_the_book_whatever_their_size() {
    for seed in [21, 22] {
        let venue = lived(seed);
        let mut random = Random::from_seed(seed);
        for account in 0..3 {
            let book = venue.sim.account_book(account);
            let (mut orders, mut algos, mut trades) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            for symbol in symbols(&book) {
                let symbol = percent(&symbol);
                let all = page_all(&venue, account, "/fapi/v1/allOrders", &symbol, ("orderId", "orderId"), &mut random);
                orders.extend(all);
                let all =
                    page_all(&venue, account, "/fapi/v1/allAlgoOrders", &symbol, ("algoId", "algoId"), &mut random);
                algos.extend(all);
                let all = page_all(&venue, account, "/fapi/v1/userTrades", &symbol, ("fromId", "id"), &mut random);
                trades.extend(all);
            }
            assert_eq!(orders, book.orders.keys().copied().collect(), "seed {seed}, account {account}");
            assert_eq!(algos, book.algo_orders.keys().copied().collect(), "seed {seed}, account {account}");
            assert_eq!(trades, book.fills.iter().map(|fill| fill.trade_id).collect(), "seed {seed}, account {account}");
        }
    }
}

/// Ids of all rows, page by page: from a start by time, then from the id behind the last one. No row comes twice.
fn page_all(
    venue: &Venue,
    account: usize,
    path: &str,
    symbol: &str,
    (parameter, member): (&str, &str),
    random: &mut Random,
) -> Vec<u64> {
    let mut ids: Vec<u64> = Vec::new();
    loop {
        let limit = 1 + random.below(9);
        let from = match ids.last() {
            Some(last) => format!("{parameter}={}", last + 1),
            None => format!("startTime={}&endTime={}", now_ms() - HOUR_MS, now_ms() + HOUR_MS),
        };
        let (status, rows) = venue.raw(account, path, &format!("symbol={symbol}&{from}&limit={limit}"));
        assert_eq!(status, 200, "{rows}");
        let page: Vec<u64> = rows.as_array().unwrap().iter().map(|row| row[member].as_u64().unwrap()).collect();
        let follows = page.first().is_none_or(|first| ids.last().is_none_or(|last| first > last));
        assert!(page.len() as u64 <= limit && page.is_sorted() && follows, "{page:?} after {ids:?}");
        ids.extend(&page);
        if (page.len() as u64) < limit {
            return ids;
        }
    }
}

#[test]
fn fills_and_income_are_those_of_the_book() {
    let venue = lived(31);
    for account in 0..3 {
        let book = venue.sim.account_book(account);
        let span = From::Span { start_ms: now_ms() - HOUR_MS, end_ms: now_ms() + HOUR_MS };
        let mut told = BTreeMap::new();
        for symbol in symbols(&book) {
            let rows = venue.told(account, &AccountRead::Trades { symbol: &symbol, from: span }, read_trades).unwrap();
            told.extend(rows.into_iter().map(|row| (row.trade_id, row)));
        }
        assert_eq!(told.len(), book.fills.len());
        for truth in &book.fills {
            let row = &told[&truth.trade_id];
            assert_eq!(
                (row.order_id, row.symbol.as_str(), row.side.as_str()),
                (truth.order_id, &*truth.instrument.symbol, truth.side)
            );
            assert_eq!(
                [&row.price, &row.quantity, &row.commission, &row.realized],
                [
                    &number(&truth.price_text()),
                    &number(&truth.quantity_text()),
                    &number(&truth.commission_text()),
                    &number(&truth.realized_text())
                ]
            );
            assert_eq!((row.is_maker, row.time_ms), (truth.is_maker, truth.time_ms));
            assert_eq!(
                (row.commission_asset.as_str(), row.position_side.as_str()),
                (truth.commission_asset, truth.position_side)
            );
        }
        let read = AccountRead::Income { start_ms: now_ms() - HOUR_MS, end_ms: now_ms() + HOUR_MS };
        let income = venue.told(account, &read, read_income).unwrap();
        assert!(income.len() < 1_000 && income.iter().is_sorted_by_key(|row| row.time_ms));
        let count = |kind: &str| income.iter().filter(|row| row.kind == kind).count();
        assert_eq!(count("COMMISSION"), book.fills.len());
        assert_eq!(count("REALIZED_PNL"), book.fills.iter().filter(|fill| fill.realized_text() != "0").count());
        assert_eq!(count("FUNDING_FEE") + count("TRANSFER"), book.movements.len());
        let traded: BTreeSet<_> = book.fills.iter().map(|fill| fill.instrument.symbol.to_string()).collect();
        let named = income.iter().filter(|row| row.kind == "COMMISSION").map(|row| row.symbol.clone().unwrap());
        assert_eq!(named.collect::<BTreeSet<_>>(), traded);
    }
}

#[test]
fn what_came_and_went_is_the_change_of_the_wallet() {
    let venue = start(quiet());
    for account in 0..3 {
        for kind in [LifeKind::Transfer, LifeKind::Funding, LifeKind::Market, LifeKind::ClosePosition] {
            for _ in 0..5 {
                venue.sim.run_life(account, kind);
            }
        }
    }
    venue.sim.sync();
    for account in 0..3 {
        let (status, rows) = venue.raw(account, "/fapi/v1/income", "limit=1000");
        assert_eq!(status, 200);
        let usdt = rows.as_array().unwrap().iter().filter(|row| row["asset"] == "USDT");
        let sum = usdt.fold(number("25000"), |sum, row| sum.plus(&number(row["income"].as_str().unwrap())).unwrap());
        assert_eq!(sum, number(&venue.sim.account_book(account).wallet_text()));
        let page = |query: &str| venue.raw(account, "/fapi/v1/income", query).1.as_array().unwrap().clone();
        let (first, second) = (page("limit=5"), page("limit=5&page=2"));
        assert_eq!([first, second].concat(), rows.as_array().unwrap()[..10]);
        assert!(page("incomeType=TRANSFER").iter().all(|row| row["incomeType"] == "TRANSFER" && row["symbol"] == ""));
        assert_eq!(page("incomeType=TRANSFER").len(), 5);
    }
}

#[test]
fn rows_have_the_members_and_types_of_the_recorded_answers() {
    let venue = lived(41);
    let book = venue.sim.account_book(1);
    let filled = book.fills.last().unwrap();
    let symbol = format!("symbol={}", percent(&filled.instrument.symbol));
    for (path, query, sample, more) in [
        ("openOrders", "", include_str!("../fixtures/rest/binance_open_orders.json"), &[][..]),
        ("allOrders", symbol.as_str(), include_str!("../fixtures/rest/binance_all_orders.json"), &["cumBase", "pair"]),
        ("openAlgoOrders", "", include_str!("../fixtures/rest/binance_open_algo_orders.json"), &[]),
        (
            "userTrades",
            symbol.as_str(),
            include_str!("../fixtures/rest/binance_user_trades.json"),
            &["baseQty", "marginAsset", "pair"],
        ),
        ("positionRisk", "", include_str!("../fixtures/rest/binance_position_risk_v3.json"), &[]),
    ] {
        let version = if path == "positionRisk" { "v3" } else { "v1" };
        let mut seen = 0;
        for account in [1, 0, 2] {
            let (_, rows) = venue.raw(account, &format!("/fapi/{version}/{path}"), query);
            let sample: Value = serde_json::from_str(sample).unwrap();
            let sample = sample[0].as_object().unwrap();
            let trailing = ["activatePrice", "priceRate"];
            for row in rows.as_array().unwrap() {
                seen += 1;
                let row = row.as_object().unwrap();
                for (name, value) in sample {
                    let told = row.get(name).unwrap_or_else(|| panic!("{path} has no {name}"));
                    assert_eq!(std::mem::discriminant(told), std::mem::discriminant(value), "{path}: {name}");
                }
                let known = |name: &&String| {
                    !sample.contains_key(*name) && !more.contains(&name.as_str()) && !trailing.contains(&name.as_str())
                };
                assert_eq!(row.keys().find(known), None, "{path}");
                assert!(more.iter().all(|name| row.contains_key(*name)), "{path}");
            }
        }
        assert!(seen > 0, "{path} lists nothing");
    }
    let algo = venue.sim.account_book(0);
    let sent = algo.algo_orders.keys().map(|id| venue.raw(0, "/fapi/v1/algoOrder", &format!("algoId={id}")).1);
    let quantities: Vec<_> = sent.map(|row| row["quantity"].as_str().unwrap().to_owned()).collect();
    assert!(quantities.iter().any(|text| text.contains('E')) && quantities.iter().any(|text| !text.contains('E')));
}

fn percent(symbol: &str) -> String {
    symbol
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}
