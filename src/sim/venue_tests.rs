//! Promises of the simulated venue: seeds repeat, shapes are the live ones, every good price is one.

use std::collections::HashMap;

use super::listing::Counts;
use super::poison::BadEntry;
use super::venue::{Distortion, FrameRecord, Group, Market, price_text};
use crate::domain::PriceText;

const EVENT_MS: i64 = 1_795_419_015_000;

fn frame(market: &mut Market, group: Group, distortion: Distortion) -> (Vec<u8>, FrameRecord) {
    let mut out = Vec::new();
    let record = market.write_frame(group, EVENT_MS, distortion, &mut out);
    (out, record)
}

#[test]
fn a_seed_repeats_every_byte() {
    let run = |seed| {
        let mut market = Market::new(seed, Counts::default(), false);
        let mut all = Vec::new();
        for _ in 0..5 {
            market.step();
            market.write_frame(Group::Ordinary, EVENT_MS, Distortion::BadPrices, &mut all);
            market.write_frame(Group::TradFi, EVENT_MS + 1, Distortion::MissingSymbols, &mut all);
        }
        all
    };
    assert_eq!(run(9), run(9));
    assert_ne!(run(9), run(10));
}

#[test]
fn elements_have_the_keys_of_the_recorded_frame_in_its_order() {
    let recorded: &str = r#"{"e":"markPriceUpdate","E":1795419015000,"s":"BTCUSDT","p":"86537.10501823","ap":"86537.10501823","P":"86503.71261615","i":"86485.93511944","r":"0.00010000","T":1795420800000,"st":1}"#;
    let mut market = Market::new(1, Counts::default(), false);
    let (text, record) = frame(&mut market, Group::Ordinary, Distortion::None);
    assert!((120_000..180_000).contains(&text.len()), "{}", text.len());
    let text = String::from_utf8(text).unwrap();
    let elements: Vec<&str> = text[1..text.len() - 1].split_inclusive('}').map(|e| e.trim_start_matches(',')).collect();
    assert_eq!(elements.len(), 750);
    assert_eq!(record.entries(), 750);
    assert_eq!((record.valid.len(), record.other_market), (720, 30));
    for element in elements {
        assert_eq!(keys(element), keys(recorded), "{element}");
        let value: serde_json::Value = serde_json::from_str(element).unwrap();
        for key in ["p", "ap", "P", "i"] {
            let price = value[key].as_str().unwrap();
            PriceText::parse(price.as_bytes()).unwrap_or_else(|e| panic!("{element}: {e}"));
            assert_eq!(price.len() - price.find('.').unwrap(), 9, "{element}");
        }
        assert_eq!(value["E"], EVENT_MS);
        let coin_m = value["s"].as_str().unwrap().contains("USD_");
        assert_eq!(value["st"], if coin_m { 2 } else { 1 }, "{element}");
        assert!(value["T"] == 0 || value["T"] == 1_795_420_800_000i64, "{element}");
    }
    let (_, tradfi) = frame(&mut market, Group::TradFi, Distortion::None);
    assert_eq!((tradfi.valid.len(), tradfi.other_market), (200, 0));
}

fn keys(element: &str) -> Vec<&str> {
    element.split("\":").filter_map(|part| part.rsplit_once('"').map(|(_, key)| key)).collect()
}

#[test]
fn prices_move_stay_positive_and_stop_when_frozen() {
    let mut market = Market::new(2, Counts::default(), false);
    let start: Vec<u64> = (0..950).map(|at| market.price(at)).collect();
    for _ in 0..5_000 {
        market.step();
    }
    let after: Vec<u64> = (0..950).map(|at| market.price(at)).collect();
    let moved = start.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert!(moved > 900, "{moved}");
    assert!(after.iter().all(|&p| PriceText::parse(price_text(p).as_bytes()).is_ok()));
    for (l, (a, b)) in market.listed().iter().zip(start.iter().zip(&after)) {
        assert!(!l.settling || a == b, "{}", l.symbol);
    }
    market.freeze();
    market.step();
    assert_eq!(after, (0..950).map(|at| market.price(at)).collect::<Vec<_>>());
}

#[test]
fn bad_entries_are_recorded_and_half_of_their_symbols_held_back() {
    let mut market = Market::new(3, Counts::default(), true);
    let (text, record) = frame(&mut market, Group::Ordinary, Distortion::BadPrices);
    let text = String::from_utf8(text).unwrap();
    assert_eq!(record.bad.len(), 2 * (BadEntry::ALWAYS.len() + 1));
    assert_eq!(record.entries(), 750);
    let mut by_kind: HashMap<BadEntry, usize> = HashMap::new();
    for bad in &record.bad {
        *by_kind.entry(bad.kind).or_default() += 1;
        assert!(text.contains(&format!("\"s\":\"{}\"", bad.symbol)));
        assert!(record.valid.iter().all(|&(at, _)| market.listed()[at].symbol != bad.symbol));
    }
    assert!(by_kind.values().all(|&n| n == 2));
    let (_, next) = frame(&mut market, Group::Ordinary, Distortion::None);
    assert_eq!(next.entries(), 750 - 13);
    for bad in &record.bad {
        let back = next.valid.iter().any(|&(at, _)| market.listed()[at].symbol == bad.symbol);
        assert_ne!(back, bad.held_back, "{}", bad.symbol);
    }
    let (_, again) = frame(&mut market, Group::Ordinary, Distortion::BadPrices);
    assert_eq!(again.entries(), 750);
}

#[test]
fn missing_symbols_are_about_a_third_and_only_for_one_frame() {
    let mut market = Market::new(4, Counts::default(), false);
    let (_, record) = frame(&mut market, Group::Ordinary, Distortion::MissingSymbols);
    assert!((400..600).contains(&record.entries()), "{}", record.entries());
    let (_, next) = frame(&mut market, Group::Ordinary, Distortion::None);
    assert_eq!(next.entries(), 750);
    assert_eq!(next.number, record.number + 1);
}

#[test]
fn a_tiny_list_still_has_good_entries_in_a_bad_frame() {
    let mut market = Market::new(5, Counts { ordinary: 4, coin_m: 1, tradfi: 0 }, false);
    let (text, record) = frame(&mut market, Group::Ordinary, Distortion::BadPrices);
    assert_eq!((record.bad.len(), record.valid.len()), (2, 2), "{}", String::from_utf8_lossy(&text));
    let (text, _) = frame(&mut market, Group::TradFi, Distortion::None);
    assert_eq!(text, b"[]");
}
