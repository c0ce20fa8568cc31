//! What is concluded of positions and balances, against the plan tests' venue.

use serde_json::{Value, json};

use super::ask::Ask;
use super::plan_tests::{SINCE, UNTIL, Venue, balance, concluded, order, position, scope, trade};
use crate::exchange::binance::recovered::RECOVERED_REASON;

/// A position that was closed by one fill in the middle of the gap.
const FILL: i64 = SINCE + 30_000;

fn closed() -> Venue {
    Venue {
        orders: vec![order("A", 7, "FILLED", "3", FILL)],
        trades: vec![trade("A", 1, 7, "3", FILL)],
        income: vec![json!({"symbol": "A", "incomeType": "COMMISSION", "time": FILL})],
        positions: vec![Vec::new()],
        balances: vec![vec![balance("USDT", "100", FILL)]],
        ..Venue::default()
    }
}

/// Time, positions and balances of each account event, and whether it stands last.
#[track_caller]
fn holdings(venue: &mut Venue, heard: &[&str]) -> Vec<(i64, String)> {
    let conclusion = concluded(venue, scope(Vec::new()), heard);
    let mut found = Vec::new();
    for event in &conclusion.events {
        let value: Value = serde_json::from_str(&event.text).unwrap();
        if value["e"] != "ACCOUNT_UPDATE" {
            assert!(found.iter().all(|(at_ms, _)| *at_ms < event.at_ms), "a fill stands behind its account event");
            continue;
        }
        assert_eq!((&value["a"]["m"], event.is_missed), (&json!(RECOVERED_REASON), true));
        let of = |list: &str, keys: [&str; 2]| {
            let rows = value["a"][list].as_array().unwrap().iter();
            let words =
                rows.map(|row| format!("{} {}", row[keys[0]].as_str().unwrap(), row[keys[1]].as_str().unwrap()));
            words.collect::<Vec<_>>()
        };
        found.push((event.at_ms, [of("P", ["s", "pa"]), of("B", ["a", "wb"])].concat().join(", ")));
    }
    found
}

fn push(at_ms: i64, positions: &str, balances: &str) -> String {
    format!(
        r#"{{"e":"ACCOUNT_UPDATE","E":{at_ms},"T":{at_ms},"a":{{"m":"ORDER","P":[{positions}],"B":[{balances}]}}}}"#
    )
}

fn pushed(at_ms: i64, amount: &str) -> String {
    push(at_ms, &format!(r#"{{"s":"A","pa":"{amount}","ep":"10.0","ps":"BOTH"}}"#), "")
}

#[test]
fn what_nobody_heard_of_is_told_once() {
    let flat = vec![(FILL, "A 0, USDT 100".to_owned())];
    assert_eq!(holdings(&mut closed(), &[]), flat);
    // Its own text, found again, is heard.
    let conclusion = concluded(&mut closed(), scope(Vec::new()), &[]);
    let texts: Vec<&str> = conclusion.events.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(holdings(&mut closed(), &texts), []);
    let usdt = |at_ms: i64, wallet: &str| push(at_ms, "", &format!(r#"{{"a":"USDT","wb":"{wallet}"}}"#));
    for (heard, expected) in [
        // A push of the same change, or a later one.
        (vec![pushed(FILL, "0"), usdt(FILL, "100.00")], vec![]),
        (vec![pushed(FILL + 5, "2"), usdt(FILL + 5, "90")], vec![]),
        // An earlier one: open, or flat and opened since.
        (vec![pushed(FILL - 5, "3"), usdt(FILL - 5, "100")], vec![(FILL, "A 0".to_owned())]),
        (vec![pushed(FILL - 5, "0"), usdt(FILL - 5, "100")], vec![(FILL, "A 0".to_owned())]),
        // The only fill of that moment has been told, and left a position: the list is older than the push.
        (vec![pushed(FILL, "3"), usdt(FILL, "90")], vec![(FILL, "USDT 100".to_owned())]),
    ] {
        let heard: Vec<&str> = heard.iter().map(String::as_str).collect();
        assert_eq!(holdings(&mut closed(), &heard), expected, "{heard:?}");
    }
    // Of two fills of one moment the first was told.
    let mut venue = closed();
    venue.orders = vec![order("A", 7, "FILLED", "6", FILL)];
    venue.trades.push(trade("A", 2, 7, "3", FILL));
    assert_eq!(holdings(&mut venue, &[&pushed(FILL, "3")]), flat);
}

#[test]
fn what_is_held_is_told_with_its_own_time() {
    let held = |amount: &str, updated_ms: i64| Venue {
        positions: vec![vec![position("A", "BOTH", amount, updated_ms)]],
        ..Venue::default()
    };
    for (mut venue, heard, expected) in [
        (held("2", FILL), vec![], vec![(FILL, "A 2".to_owned())]),
        (held("2", FILL), vec![pushed(FILL - 1, "1")], vec![(FILL, "A 2".to_owned())]),
        (held("2", FILL), vec![pushed(FILL - 1, "2.0")], vec![]),
        (held("2", FILL), vec![pushed(FILL, "2")], vec![]),
        (held("2", FILL), vec![pushed(FILL + 1, "5")], vec![]),
        (held("2", SINCE - 1), vec![], vec![]),
        (held("2", UNTIL + 1), vec![], vec![]),
        // Nothing was filled: it is about to open.
        (held("0", FILL), vec![pushed(FILL - 1, "2")], vec![]),
    ] {
        let heard: Vec<&str> = heard.iter().map(String::as_str).collect();
        assert_eq!(holdings(&mut venue, &heard), expected, "{heard:?}");
    }
    let mut venue = Venue {
        balances: vec![vec![balance("USDT", "5", FILL), balance("BNB", "1", 0), balance("USDC", "-2.5", FILL + 7)]],
        ..Venue::default()
    };
    let expected = vec![(FILL, "USDT 5".to_owned()), (FILL + 7, "USDC -2.5".to_owned())];
    assert_eq!(holdings(&mut venue, &[]), expected);
}

#[test]
fn a_position_is_flat_when_it_is_proven_to_be() {
    let open = || vec![position("A", "BOTH", "3", SINCE - 5)];
    let old = || vec![balance("USDT", "99", SINCE - 5)];
    let readings = |venue: &Venue| venue.asked.iter().filter(|ask| **ask == Ask::Positions).count();
    // The list has it first: one reading without it is not enough.
    let mut venue = Venue { positions: vec![open(), Vec::new()], ..closed() };
    assert_eq!(holdings(&mut venue, &[]), [(FILL, "A 0, USDT 100".to_owned())]);
    assert_eq!(readings(&venue), 3);
    // It comes back: the list was older than the push, or it was opened anew.
    let mut venue = Venue { positions: vec![Vec::new(), open()], ..closed() };
    assert_eq!(holdings(&mut venue, &[]), [(FILL, "USDT 100".to_owned())]);
    // The balance does not know of the fill, so the list may not either; time tells.
    let fresh = UNTIL + 9_000;
    let late = |positions| {
        let mut venue = Venue { positions, balances: vec![old()], ..closed() };
        venue.orders = vec![order("A", 7, "FILLED", "3", fresh)];
        venue.trades = vec![trade("A", 1, 7, "3", fresh)];
        venue
    };
    let without_end = super::plan::Scope { until_ms: None, ..scope(Vec::new()) };
    let mut venue = late(vec![Vec::new()]);
    let conclusion = concluded(&mut venue, without_end.clone(), &[]);
    let flat = conclusion.events.last().unwrap();
    assert_eq!((flat.at_ms, flat.text.contains(r#""pa":"0""#), readings(&venue)), (fresh, true, 3));
    let mut venue = late(vec![Vec::new(), Vec::new(), open()]);
    let conclusion = concluded(&mut venue, without_end, &[]);
    assert!(conclusion.events.iter().all(|event| !event.text.contains("ACCOUNT_UPDATE")), "{conclusion:?}");
    // The sides of a hedge account are positions of their own.
    let mut venue = closed();
    venue.trades[0]["positionSide"] = json!("LONG");
    venue.positions = vec![vec![position("A", "SHORT", "-1", 0)]];
    let conclusion = concluded(&mut venue, scope(Vec::new()), &[]);
    assert!(conclusion.events.last().unwrap().text.contains(r#""ps":"LONG""#), "{conclusion:?}");
}
