//! The judge of gaps and recovered events finds what it is there for, and nothing where there is none.

use super::*;
use crate::domain::Decimal;
use crate::exchange::binance::account_answers::{RestAlgoOrder, RestOrder, RestTrade};
use crate::exchange::binance::recovered::{algo_event, order_events};
use crate::sim::{AccountsConfig, Counts, LifeKind, SimConfig, Simulator};

const ROW: u64 = 41;

/// An exchange on which one life of each kind was lived, and nobody heard it.
fn lived() -> SimHandle {
    let accounts = AccountsConfig { count: 1, hedge_every: 0, ..AccountsConfig::default() };
    let symbols = Counts { ordinary: 60, coin_m: 2, tradfi: 2 };
    let sim = Simulator::start(SimConfig { symbols, accounts, ..SimConfig::default() }).unwrap();
    for kind in [LifeKind::Filled, LifeKind::Canceled, LifeKind::AlgoCanceled] {
        sim.run_life(0, kind);
    }
    sim.sync();
    sim
}

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).unwrap()
}

/// What a reconcile makes of the exchange's book.
fn recovered(sim: &SimHandle) -> Vec<String> {
    let book = sim.account_book(0);
    let fills: Vec<RestTrade> = book
        .fills
        .iter()
        .map(|fill| RestTrade {
            symbol: fill.instrument.symbol.to_string(),
            trade_id: fill.trade_id,
            order_id: fill.order_id,
            price: decimal(&fill.price_text()),
            quantity: decimal(&fill.quantity_text()),
            commission: decimal(&fill.commission_text()),
            commission_asset: fill.commission_asset.to_owned(),
            realized: decimal(&fill.realized_text()),
            side: fill.side.to_owned(),
            position_side: fill.position_side.to_owned(),
            is_maker: fill.is_maker,
            time_ms: fill.time_ms,
        })
        .collect();
    let orders = book.orders.values().flat_map(|order| {
        let told = RestOrder {
            symbol: order.instrument.symbol.to_string(),
            order_id: order.id,
            client_order_id: order.client_id.clone(),
            side: order.side.to_owned(),
            position_side: order.position_side.to_owned(),
            kind: order.kind.to_owned(),
            original_kind: order.original_kind.to_owned(),
            time_in_force: order.time_in_force.to_owned(),
            status: order.status.to_owned(),
            quantity: decimal(&order.quantity_text()),
            executed: decimal(&order.filled_text()),
            price: decimal(&order.price_text()),
            average_price: Some(decimal(&order.average_text())),
            reduce_only: order.reduce_only,
            close_position: false,
            updated_ms: order.updated_ms,
        };
        order_events(&told, &fills)
    });
    let algos = book.algo_orders.values().map(|algo| {
        algo_event(&RestAlgoOrder {
            symbol: algo.instrument.symbol.to_string(),
            algo_id: algo.id,
            client_algo_id: algo.client_id.clone(),
            order_id: algo.order_id,
            kind: algo.kind.to_owned(),
            side: algo.side.to_owned(),
            position_side: algo.position_side.to_owned(),
            time_in_force: "GTC".to_owned(),
            status: algo.status.to_owned(),
            quantity: decimal(&algo.quantity_text()),
            executed: None,
            average_price: None,
            trigger_price: decimal(&algo.trigger_text()),
            close_position: false,
            reduce_only: false,
            updated_ms: algo.updated_ms,
            triggered_ms: algo.triggered_ms,
        })
    });
    orders.chain(algos).collect()
}

fn gap(sim: &SimHandle) -> HeldGap {
    let frames = sim.account_ledger(0).frames;
    HeldGap {
        id: 1,
        account_id: ROW as i64,
        started_at: Some(frames[0].generated_at),
        ended_at: frames[frames.len() - 1].generated_at,
        reason: "reconnect".to_owned(),
        outcome: Some("recovered".to_owned()),
        note: String::new(),
        recovered: 0,
        reconciled_at: Some(Wall::from_millis(frames[0].generated_at.as_millis() + 4_000)),
    }
}

fn judged(sim: &SimHandle, gaps: &[HeldGap], texts: &[String]) -> RepairReport {
    let mut told = Told::default();
    texts.iter().for_each(|text| {
        told.push(text.as_bytes());
    });
    judge(sim, &[ROW], gaps, &BTreeMap::from([(ROW, told)]))
}

#[test]
fn the_exchange_s_own_truth_is_accepted() {
    let sim = lived();
    let texts = recovered(&sim);
    let report = judged(&sim, &[gap(&sim)], &texts);
    assert_eq!(report.complaints, [""; 0]);
    assert_eq!((report.gaps, report.repaired, report.recovered), (1, 1, texts.len() as u64));
    assert!(report.fills > 0 && report.fills == report.fills_recovered, "{report:?}");
    assert!((4_000..4_002).contains(&report.break_to_repair_ms.max) && report.open.is_empty(), "{report:?}");
}

#[test]
fn every_kind_of_mistake_is_found() {
    let sim = lived();
    let (gap, texts) = (gap(&sim), recovered(&sim));
    let at = |what: &str| texts.iter().position(|text| text.contains(what)).unwrap();
    let (fill, canceled, algo) = (at("\"rp\""), at("\"x\":\"CANCELED\""), at("ALGO_UPDATE"));
    let changed = |at: usize, from: &str, to: &str| {
        let mut texts = texts.clone();
        assert!(texts[at].contains(from), "{} has no {from}", texts[at]);
        texts[at] = texts[at].replacen(from, to, 1);
        texts
    };
    let without = |at: usize| [&texts[..at], &texts[at + 1..]].concat();
    let heard = |at: usize| [&texts[..], &[texts[at].replace(",\"recovered\":true", "")]].concat();
    let twice = |at: usize| [&texts[..], &texts[at..=at]].concat();
    let book = sim.account_book(0);
    let position = book.positions.values().find(|position| position.updated_ms > 0).unwrap();
    let (updated, amount) = (position.updated_ms, position.amount_text());
    let (symbol, side) = (position.instrument.symbol.to_string(), position.position_side);
    let held = |time_ms: i64, amount: &str| {
        format!(
            r#"{{"e":"ACCOUNT_UPDATE","T":{time_ms},"a":{{"P":[{{"s":"{symbol}","pa":"{amount}","ps":"{side}"}}]}},"recovered":true}}"#
        )
    };
    let with = |text: String| [&texts[..], &[text]].concat();
    assert_eq!(
        judged(&sim, std::slice::from_ref(&gap), &with(held(updated, &amount))).complaints,
        Vec::<String>::new()
    );
    let early = HeldGap { ended_at: Wall::from_millis(1), started_at: None, ..gap.clone() };
    let open = HeldGap { outcome: None, reconciled_at: None, note: "the venue is shut".to_owned(), ..gap.clone() };
    for (what, gap, texts, says) in [
        ("a fill that is missing", &gap, without(fill), "audited 0 times"),
        ("a fill twice", &gap, twice(fill), "stands in the audit already"),
        ("a fill that was heard too", &gap, heard(fill), "stands in the audit already"),
        ("a state that was heard too", &gap, heard(canceled), "stands in the audit already"),
        ("another price", &gap, changed(fill, "\"L\":\"", "\"L\":\"1"), "tells another price"),
        ("another fee", &gap, changed(fill, "\"n\":\"", "\"n\":\"1"), "tells another commission"),
        ("a fill that never was", &gap, changed(fill, "\"t\":", "\"t\":9"), "which never was"),
        (
            "another end",
            &gap,
            changed(canceled, "\"X\":\"CANCELED\"", "\"X\":\"EXPIRED\""),
            "is CANCELED at the exchange",
        ),
        ("another owner", &gap, changed(canceled, "\"c\":\"", "\"c\":\"x"), "is CANCELED"),
        ("another quantity", &gap, changed(algo, "\"q\":\"", "\"q\":\"7"), "is CANCELED at the exchange"),
        ("an order that never was", &gap, changed(algo, "\"aid\":", "\"aid\":9"), "never was"),
        ("neither order nor holdings", &gap, changed(canceled, "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"), "of nothing"),
        ("another holding", &gap, with(held(updated, "77")), "says that 77 of"),
        ("a holding of another time", &gap, with(held(updated + 200, &amount)), "is of nothing that happened then"),
        ("a position that never was", &gap, with(held(updated, &amount).replace(&symbol, "NEVERUSDT")), "never was"),
        ("a holding twice", &gap, [with(held(updated, &amount)), vec![held(updated, &amount)]].concat(), "already"),
        ("events outside of the gap", &early, texts.clone(), "lies in no gap"),
        ("a gap that is open", &open, texts.clone(), "is not repaired: the venue is shut"),
    ] {
        let report = judged(&sim, std::slice::from_ref(gap), &texts);
        assert!(report.complaints.iter().any(|text| text.contains(says)), "{what}: {:?}", report.complaints);
        assert_eq!(report.open.contains(&ROW), gap.outcome.is_none(), "{what}");
    }
}
