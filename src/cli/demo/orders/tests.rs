//! The judge of orders and intents finds what it is there for: every kind of difference, and nothing where there is none.

use super::*;
use crate::sim::{AccountsConfig, Counts, LifeKind, SimConfig, Simulator};

const ROW: u64 = 41;

/// An exchange on which one life of each kind was lived, none of it heard; all that the ledger holds counts as audited.
struct Lived {
    sim: SimHandle,
    audited: HashMap<u64, HashSet<u128>>,
}

impl Lived {
    fn new(kinds: &[LifeKind]) -> Lived {
        let accounts = AccountsConfig { count: 1, hedge_every: 0, ..AccountsConfig::default() };
        let symbols = Counts { ordinary: 60, coin_m: 2, tradfi: 2 };
        let sim = Simulator::start(SimConfig { symbols, accounts, ..SimConfig::default() }).unwrap();
        for kind in kinds {
            sim.run_life(0, *kind);
        }
        sim.sync();
        let hashes = sim.account_ledger(0).frames.iter().map(|frame| frame.hash).collect();
        Lived { sim, audited: HashMap::from([(ROW, hashes)]) }
    }

    fn judge(&self, orders: &[HeldOrder], intents: &[HeldIntent]) -> OrderReport {
        let placed = orders.len() as u64;
        self.judge_with(orders, intents, &HashSet::new(), placed)
    }

    fn judge_with(
        &self,
        orders: &[HeldOrder],
        intents: &[HeldIntent],
        open_gaps: &HashSet<u64>,
        placed: u64,
    ) -> OrderReport {
        let audited = &self.audited;
        judge(&Evidence { sim: &self.sim, rows: &[ROW], placed, orders, intents, audited, open_gaps })
    }

    /// The one regular or algo order, as the application's row has to be.
    fn row(&self, kind: &str, status: &str, price: &str, is_algo: bool) -> HeldOrder {
        let book = self.sim.account_book(0);
        let (client_id, id, quantity) = match is_algo {
            true => {
                let algo = book.algo_orders.values().next().unwrap();
                (algo.client_id.clone(), algo.id, algo.quantity_text())
            }
            false => {
                let order = book.orders.values().find(|order| order.algo_id.is_none()).unwrap();
                (order.client_id.clone(), order.id, order.quantity_text())
            }
        };
        HeldOrder {
            id: 7,
            position_id: 3,
            account_id: ROW as i64,
            kind: kind.to_owned(),
            status: status.to_owned(),
            reference_status: Some("NEW".to_owned()),
            client_order_id: client_id,
            exchange_order_id: Some(id.to_string()),
            quantities: (Some(quantity.clone()), Some(quantity)),
            prices: (Some(price.to_owned()), Some(price.to_owned())),
            is_algo,
            position_status: "active".to_owned(),
        }
    }
}

fn intent(id: i64, name: &str, order_id: Option<i64>) -> HeldIntent {
    HeldIntent {
        id,
        name: name.to_owned(),
        position_id: 3,
        order_id,
        arguments: "{}".to_owned(),
        live_key: format!("{name}:3"),
        dedupe: format!("cause {id}"),
        created_at: format!("2026-11-23 07:30:15.{id:03}"),
        is_pushed: true,
        finished_at: None,
    }
}

#[test]
fn rows_are_right_when_they_hold_the_end_and_wrong_in_every_other_way() {
    for (life, kind, status, is_algo) in [
        (LifeKind::Filled, "LIMIT", "FILLED", false),
        (LifeKind::Canceled, "PROFIT-LIMIT", "CANCELLED", false),
        (LifeKind::ExpiredInMatch, "LIMIT", "EXPIRED", false),
        (LifeKind::ExpiredIoc, "LIMIT", "EXPIRED", false),
        (LifeKind::Market, "MARKET", "FILLED", false),
        (LifeKind::AlgoTriggered, "STOP-MARKET", "FILLED", true),
        (LifeKind::AlgoCanceled, "STOP-MARKET", "CANCELLED", true),
        (LifeKind::AlgoExpired, "STOP-MARKET", "EXPIRED", true),
        // Neither REJECTED nor a FINISHED without a fill is on the production list.
        (LifeKind::AlgoRejected, "STOP-MARKET", "NEW", true),
        (LifeKind::AlgoZeroFill, "STOP-MARKET", "NEW", true),
    ] {
        let lived = Lived::new(&[life]);
        let book = lived.sim.account_book(0);
        let price = match is_algo {
            true => book.algo_orders.values().next().unwrap().trigger_text(),
            false => {
                let order = book.orders.values().next().unwrap();
                let is_filled = order.filled_text() != "0";
                if is_filled { order.average_text() } else { order.price_text() }
            }
        };
        let right = lived.row(kind, status, &price, is_algo);
        let report = lived.judge(std::slice::from_ref(&right), &[]);
        assert_eq!((&report.wrong[..], report.checked, report.in_gaps), (&[][..], 1, 0), "{life:?}");
        type Change = fn(&mut HeldOrder);
        let differences: [(&str, Change); 5] = [
            ("status", |row| row.status = "PARTIALLY_FILLED".to_owned()),
            ("price", |row| row.prices.0 = Some("0.00000001".to_owned())),
            ("no price", |row| row.prices.0 = None),
            ("quantity", |row| row.quantities.0 = Some("0.001".to_owned())),
            ("id", |row| row.exchange_order_id = Some("1".to_owned())),
        ];
        for (what, change) in differences {
            let mut row = right.clone();
            change(&mut row);
            let report = lived.judge(&[row], &[]);
            assert_eq!((report.wrong.len(), report.checked), (1, 0), "{life:?}: {what} was not found");
        }
    }
}

#[test]
fn an_end_that_was_not_heard_is_excused_while_its_gap_is_open_but_for_its_quantity() {
    let mut lived = Lived::new(&[LifeKind::Filled]);
    let ledger = lived.sim.account_ledger(0);
    let last = ledger.frames.iter().rev().find(|frame| frame.event == "ORDER_TRADE_UPDATE").unwrap().hash;
    lived.audited.get_mut(&ROW).unwrap().remove(&last);
    let row = lived.row("LIMIT", "NEW", "1", false);
    let open = HashSet::from([ROW]);
    let judge = |row: &HeldOrder, open_gaps: &HashSet<u64>| {
        let report = lived.judge_with(std::slice::from_ref(row), &[], open_gaps, 1);
        (report.wrong.len(), report.checked, report.repaired, report.in_gaps)
    };
    assert_eq!(judge(&row, &open), (0, 0, 0, 1));
    let touched = HeldOrder { quantities: (Some("9".to_owned()), Some("8".to_owned())), ..row.clone() };
    assert_eq!(judge(&touched, &open).0, 1);
    // Once the gap is closed nothing excuses an order that is behind.
    assert_eq!(judge(&row, &HashSet::new()), (1, 0, 0, 0));
    let book = lived.sim.account_book(0);
    let average = book.orders.values().next().unwrap().average_text();
    let mended = HeldOrder { status: "FILLED".to_owned(), prices: (Some(average.clone()), Some(average)), ..row };
    assert_eq!(judge(&mended, &HashSet::new()), (0, 1, 1, 0));
    assert_eq!(ended_within(&book, std::slice::from_ref(&mended), (0, i64::MAX)), (1, 1));
    assert_eq!(ended_within(&book, &[HeldOrder { status: "NEW".to_owned(), ..mended }], (0, i64::MAX)), (1, 0));
}

#[test]
fn foreign_orders_and_unplaced_ones_are_told_apart() {
    let lived = Lived::new(&[LifeKind::Filled, LifeKind::Canceled, LifeKind::Filled]);
    let waiting = HeldOrder {
        client_order_id: "qa-waits".to_owned(),
        exchange_order_id: None,
        ..lived.row("LIMIT", "NEW", "5", false)
    };
    let report = lived.judge(std::slice::from_ref(&waiting), &[]);
    assert_eq!((report.wrong.len(), report.checked, report.foreign), (0, 1, 3));
    let moved = HeldOrder { status: "FILLED".to_owned(), ..waiting.clone() };
    assert_eq!(lived.judge(&[moved], &[]).wrong.len(), 1);
    let elsewhere = HeldOrder { account_id: 1, ..waiting.clone() };
    assert_eq!(lived.judge(&[elsewhere], &[]).wrong.len(), 1);
    assert_eq!(lived.judge_with(&[waiting], &[], &HashSet::new(), 2).wrong.len(), 1, "a row is missing");
}

#[test]
fn intents_need_a_cause_and_ends_need_an_intent() {
    let lived = Lived::new(&[LifeKind::Canceled]);
    let order = lived.sim.account_book(0).orders.into_values().next().unwrap();
    let price = if order.filled_text() == "0" { order.price_text() } else { order.average_text() };
    let mut lost = lived.row("LIMIT", "CANCELLED", &price, false);
    lost.prices.1 = Some(order.price_text());
    let intended = HeldOrder { reference_status: Some("CANCELLED".to_owned()), ..lost.clone() };
    let closed = HeldOrder { position_status: "closed".to_owned(), ..lost.clone() };
    let replacement = || intent(1, "PreparePositionReplacementJob", Some(7));
    let ended = || HeldIntent { finished_at: Some("2026-11-23 07:30:15.002".to_owned()), ..replacement() };
    let again = || intent(2, "PreparePositionReplacementJob", Some(7));
    let by_hand = || HeldIntent {
        order_id: None,
        arguments: "{\"manualCloseDetected\":true}".to_owned(),
        ..intent(1, "PreparePositionReplacementJob", None)
    };
    for (what, row, intents, wrong) in [
        ("its replacement", &lost, vec![replacement()], 0),
        ("none", &lost, vec![], 1),
        ("none, of a cancel of its own", &intended, vec![], 0),
        ("one, of a cancel of its own", &intended, vec![replacement()], 1),
        ("none, of a closed position", &closed, vec![], 0),
        ("another one behind the end of the first", &lost, vec![ended(), again()], 0),
        ("two at a time", &lost, vec![replacement(), again()], 1),
        ("two of one event", &lost, vec![ended(), HeldIntent { dedupe: "cause 1".to_owned(), ..again() }], 1),
        (
            "a close of an order that was not filled",
            &lost,
            vec![replacement(), intent(2, "ClosePositionJob", Some(7))],
            1,
        ),
        (
            "a correction of one that nobody moved",
            &lost,
            vec![replacement(), intent(2, "PrepareOrderCorrectionJob", Some(7))],
            1,
        ),
        ("one of an order that is not there", &lost, vec![replacement(), intent(2, "ApplyWapJob", Some(8))], 1),
        ("one by hand", &intended, vec![by_hand()], 0),
        ("one of nobody", &intended, vec![intent(1, "ApplyWapJob", None)], 1),
        ("a name that nobody knows", &lost, vec![replacement(), intent(2, "SomeJob", Some(7))], 1),
    ] {
        let report = lived.judge(std::slice::from_ref(row), &intents);
        assert_eq!(report.wrong_intents.len() as u64, wrong, "{what}: {:?}", report.wrong_intents);
        assert_eq!(report.intents_total(), intents.len() as u64);
    }
}
