//! Order lives against the recorded frames, and against themselves: shapes, order, distinct bytes, and a book that agrees
//! with what was told.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::life::LifeKind;
use super::*;
use crate::domain::Wall;
use crate::sim::listing::Counts;

/// The skeleton of a JSON text: member names in their order, types of the values, arrays by their first element.
struct Shape(String);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Skeleton)
    }
}

struct Skeleton;

impl<'de> Visitor<'de> for Skeleton {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut text = String::from("{");
        while let Some((name, Shape(value))) = map.next_entry::<String, Shape>()? {
            text += &format!("{name}:{value},");
        }
        Ok(Shape(text + "}"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let mut elements = BTreeSet::new();
        while let Some(Shape(element)) = seq.next_element()? {
            elements.insert(element);
        }
        Ok(Shape(format!("{elements:?}")))
    }

    fn visit_str<E>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape("text".into()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape("bool".into()))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape("number".into()))
    }
}

fn shape(text: &str) -> String {
    serde_json::from_str::<Shape>(text).unwrap_or_else(|e| panic!("{e}: {text}")).0
}

fn accounts(count: usize) -> (Accounts, Market) {
    let market = Market::new(5, Counts { ordinary: 300, coin_m: 3, tradfi: 5 }, false);
    (Accounts::new(AccountsConfig { count, ..AccountsConfig::default() }, 5, &market), market)
}

fn run(accounts: &mut Accounts, market: &Market, index: usize, steps: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for at in 0..steps {
        events.append(&mut accounts.step(index, What::Step, market, 1_795_419_015_000 + at as i64));
    }
    events
}

/// Shapes of the recorded frames of user data, by file.
fn recorded() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let of_user_data = [
            "account_",
            "algo_",
            "conditional_",
            "grid_",
            "margin_",
            "order_trade_",
            "strategy_",
            "trade_lite",
            "unknown_event",
            "listen_key_expired",
        ];
        if of_user_data.iter().any(|start| name.starts_with(start)) {
            found.insert(name, shape(&std::fs::read_to_string(path).unwrap()));
        }
    }
    found
}

#[test]
fn every_frame_has_a_recorded_shape_and_every_recorded_shape_occurs() {
    let recorded = recorded();
    assert!(recorded.len() >= 40, "{}", recorded.len());
    let mut known: BTreeSet<&str> = recorded.values().map(String::as_str).collect();
    // facts/binance.md §4.5: an isolated one has no `cw`. No such frame was recorded.
    let isolated = recorded["margin_call_cross.json"].replace("cw:text,", "");
    known.insert(&isolated);
    let mut seen = BTreeSet::new();
    let (mut accounts, market) = accounts(6);
    for index in 0..6 {
        for kind in LifeKind::ALL {
            for event in accounts.step(index, What::Life(kind), &market, 1_795_419_015_000) {
                let shape = shape(&event.text);
                assert!(known.contains(shape.as_str()), "{kind:?} has a new shape: {}", event.text);
                seen.insert(shape);
            }
        }
        for event in run(&mut accounts, &market, index, 4_000) {
            let shape = shape(&event.text);
            assert!(known.contains(shape.as_str()), "a new shape: {}", event.text);
            seen.insert(shape);
        }
    }
    let key = "K".repeat(64);
    for notice in [ExpiryNotice::Number, ExpiryNotice::TextTime] {
        seen.insert(shape(&listen_key_expired(notice, &key, 1_795_422_615_123).text));
    }
    for (name, shape) in &recorded {
        assert!(seen.contains(shape), "{name} never occurs: {shape}");
    }
    assert!(seen.contains(&isolated));
}

#[test]
fn every_life_tells_what_it_is_for() {
    let (mut accounts, market) = accounts(2);
    let mut told: HashMap<LifeKind, String> = HashMap::new();
    for round in 0..40 {
        for kind in LifeKind::ALL {
            for event in accounts.step(round % 2, What::Life(kind), &market, 1_795_419_015_000) {
                *told.entry(kind).or_default() += &event.text;
            }
        }
    }
    for (kind, words) in [
        (LifeKind::Filled, &["\"X\":\"PARTIALLY_FILLED\"", "\"X\":\"FILLED\"", "\"m\":true"][..]),
        (LifeKind::Amended, &["\"x\":\"AMENDMENT\"", "\"M\":\"qa-modify-"]),
        (LifeKind::ExpiredIoc, &["\"er\":\"2\"", "\"f\":\"IOC\""]),
        (LifeKind::ExpiredGtd, &["\"f\":\"GTD\""]),
        (LifeKind::ExpiredInMatch, &["\"X\":\"EXPIRED_IN_MATCH\""]),
        (LifeKind::ClosePosition, &["\"pa\":\"0\"", "\"R\":true", "\"c\":\"web_Qa"]),
        (LifeKind::AlgoTriggered, &["TRIGGERING", "TRIGGERED", "FINISHED", "\"ai\":\"\"", "\"x\":\"TRADE\""]),
        (LifeKind::AlgoTrailing, &["\"ia\":true"]),
        (LifeKind::AlgoZeroFill, &["\"aq\":\"0.00000\",\"act\":\"MARKET\",\"tp\""]),
        (LifeKind::AlgoRejected, &["\"rm\":\"ReduceOnly reject\""]),
        (LifeKind::Liquidation, &["\"o\":\"LIQUIDATION\"", "\"c\":\"autoclose-"]),
        (LifeKind::Takeover, &["\"x\":\"CALCULATED\"", "adl_autoclose"]),
        (LifeKind::Funding, &["FUNDING_FEE", "\"P\":[]", "\"S\":\""]),
        (LifeKind::Transfer, &["DEPOSIT"]),
        (LifeKind::AssetTransfer, &["\"wb\":\"-"]),
        (LifeKind::MarginCall, &["\"mt\":\"CROSSED\"", "\"mt\":\"ISOLATED\""]),
        (LifeKind::Market, &["币安人生USDT", "ETHUSDT", "\"ps\":\"LONG\"", "\"ps\":\"BOTH\""]),
    ] {
        for word in words {
            assert!(told[&kind].contains(word), "{kind:?} never says {word}");
        }
    }
}

#[test]
fn events_are_distinct_in_order_and_agree_with_the_book() {
    let (mut accounts, market) = accounts(4);
    for index in 0..4 {
        let events = run(&mut accounts, &market, index, 6_000);
        let mut bytes = HashSet::new();
        let mut orders: HashMap<u64, Value> = HashMap::new();
        let mut positions: HashMap<(String, String), (String, String)> = HashMap::new();
        let (mut last, mut lite, mut wallet) = ((0, 0), HashSet::new(), String::new());
        for event in &events {
            assert!(bytes.insert(event.text.as_str()), "twice the same bytes: {}", event.text);
            let value: Value = serde_json::from_str(&event.text).unwrap();
            assert_eq!((&value["e"], &value["E"]), (&event.name.into(), &event.event_ms.into()));
            // A margin call has no `T`.
            let transaction_ms = value["T"].as_i64().unwrap_or(last.0);
            assert!(transaction_ms >= last.0 && event.event_ms >= last.1, "{last:?}: {}", event.text);
            assert!(value["T"].is_null() || event.event_ms - transaction_ms <= 2, "{}", event.text);
            last = (transaction_ms, event.event_ms);
            let order = &value["o"];
            match event.name {
                "TRADE_LITE" => assert!(lite.insert((value["s"].to_string(), value["t"].as_u64().unwrap()))),
                "ORDER_TRADE_UPDATE" => {
                    let id = order["i"].as_u64().unwrap();
                    assert_eq!(id, event.order_id);
                    if order["x"] == "TRADE" && order["o"] != "LIQUIDATION" {
                        let key = (order["s"].to_string(), order["t"].as_u64().unwrap());
                        assert!(lite.remove(&key), "no TRADE_LITE before {}", event.text);
                    }
                    assert_eq!(order["t"] == 0, !matches!(order["x"].as_str(), Some("TRADE" | "CALCULATED")));
                    orders.insert(id, order.clone());
                }
                "ACCOUNT_UPDATE" => {
                    for p in value["a"]["P"].as_array().unwrap() {
                        let text = |name: &str| p[name].as_str().unwrap().to_owned();
                        positions.insert((text("s"), text("ps")), (text("pa"), text("ep")));
                    }
                    let usdt = value["a"]["B"].as_array().unwrap().iter().find(|b| b["a"] == "USDT");
                    wallet = usdt.map_or(wallet, |b| b["wb"].as_str().unwrap().to_owned());
                }
                _ => {}
            }
        }
        assert!(lite.is_empty(), "each TRADE_LITE has its ORDER_TRADE_UPDATE");
        let book = &accounts.list[index].book;
        assert!(orders.len() > 1_000 && orders.keys().any(|id| *id > 1 << 53));
        for (id, told) in &orders {
            let order = &book.orders[id];
            let truth = [
                order.status.into(),
                order.filled_text(),
                order.average_text(),
                order.price_text(),
                order.quantity_text(),
            ];
            let told = ["X", "z", "ap", "p", "q"].map(|name| told[name].as_str().unwrap().to_owned());
            assert_eq!(truth, told, "{order:?}");
        }
        // An order of a triggered algo order is in the book before it is told of.
        let silent = book.orders.values().filter(|order| !orders.contains_key(&order.id));
        assert!(silent.clone().all(|order| order.algo_id.is_some()) && silent.count() <= 8);
        for ((symbol, side), told) in &positions {
            let position =
                book.positions.values().find(|p| *p.instrument.symbol == **symbol && p.position_side == side);
            let position = position.unwrap();
            assert_eq!((&position.amount_text(), &position.entry_text()), (&told.0, &told.1));
        }
        assert_eq!(book.wallet_text(), wallet);
        let filled: i64 = book.fills.iter().map(|fill| fill.quantity).sum();
        assert_eq!(filled, book.orders.values().map(|order| order.filled).sum::<i64>());
    }
}

#[test]
fn a_seed_repeats_each_account_whatever_the_others_do() {
    let (mut alone, market) = accounts(3);
    let (mut among, _) = accounts(3);
    run(&mut among, &market, 0, 500);
    assert_eq!(alone.list[2].credentials, among.list[2].credentials);
    assert_eq!(run(&mut alone, &market, 2, 500), run(&mut among, &market, 2, 500));
    let distinct: HashSet<String> = alone.secrets().into_iter().collect();
    assert_eq!(distinct.len(), 6);
    assert!(distinct.iter().all(|secret| secret.len() == 64 && secret.starts_with("SYNTHETIC")));
    assert!(alone.list[0].credentials.hedge_mode && !alone.list[1].credentials.hedge_mode);
    let shown = format!("{:?}", alone.list[0].credentials);
    assert!(!distinct.iter().any(|secret| shown.contains(secret.as_str())), "{shown}");
}

#[test]
fn a_flood_is_as_large_as_asked_for_and_in_one_moment() {
    let (mut accounts, market) = accounts(1);
    let events = accounts.step(0, What::Flood(2_000), &market, 1_795_419_015_000);
    assert!((2_000..2_003).contains(&events.len()), "{}", events.len());
    assert!(events.iter().all(|event| event.event_ms == events[0].event_ms));
    let distinct: HashSet<_> = events.iter().map(|event| &event.text).collect();
    assert_eq!(distinct.len(), events.len());
    let book = &accounts.list[0].book;
    assert!(book.orders.values().all(|order| order.status == "FILLED") && book.orders.len() == 1);
}

#[test]
fn keys_come_and_go_and_ledgers_mask_them() {
    let (mut accounts, _) = accounts(1);
    let hour = accounts.config.listen_key_lifetime;
    let at = |minutes: u64| Mono::ZERO.plus(Duration::from_secs(60 * minutes));
    let key = accounts.post_key(0, at(0));
    assert_eq!(accounts.of_listen_key(&key), Some(0));
    assert_eq!(accounts.post_key(0, at(30)), key);
    assert_eq!((accounts.poll_expired(at(89)), accounts.expiry_due()), (None, at(90)));
    let event = listen_key_expired(ExpiryNotice::Number, &key, 1);
    let now = Now { mono: at(90), wall: Wall::from_millis(1) };
    assert_eq!(accounts.record(0, &event, false, now), Some(1));
    let masked = event.text.replace(&*key, &"*".repeat(64));
    assert_eq!(accounts.list[0].ledger.frames[0].hash, account_ledger::frame_hash(masked.as_bytes()));
    assert_eq!(accounts.poll_expired(at(90)), Some(0));
    assert!(accounts.drop_key(0) && !accounts.drop_key(0));
    assert_eq!((accounts.of_listen_key(&key), accounts.put_key(0, None, at(91))), (None, None));
    let second = accounts.post_key(0, at(91));
    let third = accounts.put_key(0, Some(hour / 2), at(92)).unwrap();
    assert!(second != third && key != second);
    assert_eq!([&second, &third].map(|key| accounts.of_listen_key(key)), [Some(0); 2]);
    assert_eq!(accounts.poll_expired(at(122)), None);
    assert_eq!([&second, &third].map(|key| accounts.of_listen_key(key)), [None, Some(0)]);
    assert_eq!(accounts.poll_expired(at(152)), Some(0));
    assert_eq!(accounts.secrets().len(), 5);
}
