//! Promise: every price of a frame is read as the venue wrote it, and no bad entry hides another.

use kraite_streams::domain::limits::{FRAME_ENTRIES_MAX, FRAME_PADDING, FRAME_WHOLE_MAX, PRICE_MESSAGE_MAX};
use kraite_streams::exchange::binance::mark_price::{BadEntry, FrameFault, FrameKind, MarkPriceParser};

#[path = "../fuzz/bodies/mark_price.rs"]
#[allow(dead_code, reason = "tests/mark_price_twin.rs uses the rest")]
mod body;

use body::{Seen, read};

const BTC: &str = r#"{"e":"markPriceUpdate","E":1795419015000,"s":"BTCUSDT","p":"86537.1","st":1}"#;
const ETH: &str = r#"{"s":"ETHUSDT","p":"2842.9"}"#;
/// A number that simd-json refuses together with the whole document.
const HUGE: &str = "123456789012345678901234567890";

#[test]
fn recorded_frames() {
    for (name, entries, ours) in [
        ("mark_price_arr", 700, 673),
        ("mark_price_arr_combined", 700, 673),
        ("mark_price_arr_tradfi", 191, 191),
        ("mark_price_arr_small", 10, 8),
        ("mark_price_arr_small_combined", 10, 8),
        ("mark_price_arr_legacy_fields", 8, 8),
        ("mark_price_arr_empty", 0, 0),
        ("mark_price_single", 1, 1),
        ("mark_price_single_combined", 1, 1),
    ] {
        let frame = fixture(name);
        let (outcome, seen) = read(&mut MarkPriceParser::new(), &frame);
        assert_eq!(outcome, Ok(FrameKind::Prices { entries, split: false }), "{name}");
        let prices = seen.iter().filter(|one| matches!(one, Seen::Price { .. })).count();
        let other_market = seen.iter().filter(|one| **one == Seen::OtherMarket).count();
        assert_eq!((prices, other_market), (ours, entries - ours), "{name}");
    }
    let (_, seen) = read(&mut MarkPriceParser::new(), &fixture("mark_price_arr_small"));
    assert_eq!(seen[0], price_at("BTCUSDT", "86537.10501823", Some(1_795_419_015_000)));
    assert_eq!(seen[4], price_at("BTCUSDT_261225", "86795.07602146", Some(1_795_419_015_000)));
    assert_eq!(seen[6], price_at("我踏马来了USDT", "0.01934558", Some(1_795_419_015_000)));
    assert_eq!(seen[9], Seen::OtherMarket);
}

#[test]
fn recorded_frames_without_prices() {
    for (name, kind) in [
        ("control_error", FrameKind::Control),
        ("list_subscriptions_reply_empty", FrameKind::Control),
        ("list_subscriptions_reply_mark_price", FrameKind::Control),
        ("subscribe_ack", FrameKind::Control),
        ("server_shutdown_tolerated", FrameKind::Other),
        ("unknown_event", FrameKind::Other),
    ] {
        let (outcome, seen) = read(&mut MarkPriceParser::new(), &fixture(name));
        assert_eq!((outcome, seen), (Ok(kind), Vec::new()), "{name}");
    }
}

#[test]
fn documents_of_every_shape() {
    let btc = || vec![price_at("BTCUSDT", "86537.1", Some(1_795_419_015_000))];
    let eth = || vec![price("ETHUSDT", "2842.9")];
    for (frame, kind, entries) in [
        (format!(" [ {BTC} ] \n"), prices(1), btc()),
        (format!(r#"{{"data":[{BTC}],"stream":"x"}}"#), prices(1), btc()),
        (format!(r#"{{"stream":"x","data":{BTC}}}"#), prices(1), btc()),
        (ETH.to_owned(), prices(1), eth()),
        // A key named twice: the last one counts, in the wrapper too.
        (format!(r#"{{"data":[{BTC}],"data":[{ETH}]}}"#), prices(1), eth()),
        (r#"[{"s":"A","p":"1","s":"B","p":"2"}]"#.to_owned(), prices(1), vec![price("B", "2")]),
        // The data may be escaped, and so may its name.
        (format!(r#"{{"stream":"\u0021","data":[{ETH}]}}"#), cut(1), eth()),
        (format!(r#"{{"d\u0061ta":[{ETH}]}}"#), cut(1), eth()),
        (format!(r#"{{"\u0064ata":{ETH}}}"#), cut(1), eth()),
        (r#"{"\u0073":"A\"B","p":"1"}"#.to_owned(), cut(1), vec![price("A\"B", "1")]),
        (r#"[{"s":"\u5e01\u5b89USDT","\u0070":"1.5"}]"#.to_owned(), cut(1), vec![price("币安USDT", "1.5")]),
        (r#"{"e":"bookTicker","s":"A\u0041","p":"1"}"#.to_owned(), FrameKind::Other, Vec::new()),
        (r#"{"result":"\"","id":1}"#.to_owned(), FrameKind::Control, Vec::new()),
        (r#"{"code":-1121,"msg":"Invalid symbol."}"#.to_owned(), FrameKind::Control, Vec::new()),
        (r#"{"data":7}"#.to_owned(), FrameKind::Other, Vec::new()),
        (r#"{"stream":"x","data":{"e":"serverShutdown"}}"#.to_owned(), FrameKind::Other, Vec::new()),
        ("{}".to_owned(), FrameKind::Other, Vec::new()),
        ("17".to_owned(), FrameKind::Other, Vec::new()),
        (r#""a\\b""#.to_owned(), FrameKind::Other, Vec::new()),
        ("null".to_owned(), FrameKind::Other, Vec::new()),
        ("[]".to_owned(), prices(0), Vec::new()),
        ("[ ]".to_owned(), prices(0), Vec::new()),
        (r#"{"x":"\\","data":[ ]}"#.to_owned(), cut(0), Vec::new()),
        // Refused by simd-json, but the keys say what it was.
        (format!(r#"{{"result":null,"id":{HUGE}}}"#), FrameKind::Control, Vec::new()),
        (format!(r#"{{"e":"serverShutdown","E":{HUGE}}}"#), FrameKind::Other, Vec::new()),
        (format!(r#"{{"s":"A","p":"1","x":{HUGE}}}"#), cut(1), vec![Seen::Bad(BadEntry::Unparsable)]),
        (format!(r#"{{"data":{{"s":"A","p":"1","x":{HUGE}}}}}"#), cut(1), vec![Seen::Bad(BadEntry::Unparsable)]),
        // A broken wrapper hides no sound entry.
        (format!(r#"{{"x":{HUGE},"data":[{ETH}],"y":tru}}"#), cut(1), eth()),
    ] {
        let (outcome, seen) = read(&mut MarkPriceParser::new(), frame.as_bytes());
        assert_eq!((outcome, seen), (Ok(kind), entries), "{frame}");
    }
}

#[test]
fn entries_of_every_kind() {
    use BadEntry::*;
    let long = "L".repeat(65);
    for (text, expected) in [
        (r#"{"s":"BTCUSDT_261225","p":"1"}"#.to_owned(), price("BTCUSDT_261225", "1")),
        (r#"{"s":"BTCUSD_PERP","p":"1"}"#.to_owned(), Seen::OtherMarket),
        (r#"{"s":"BTCUSD_261225","p":"1"}"#.to_owned(), Seen::OtherMarket),
        (r#"{"s":"BTCUSD_26122","p":"1"}"#.to_owned(), price("BTCUSD_26122", "1")),
        (r#"{"s":"BTCUSD_PERP","p":"1","st":1}"#.to_owned(), price("BTCUSD_PERP", "1")),
        (r#"{"s":"BTCUSD_PERP","p":"1","st":null}"#.to_owned(), Seen::OtherMarket),
        (r#"{"s":"A","p":"1","st":2}"#.to_owned(), Seen::OtherMarket),
        (r#"{"s":"A","p":"1","st":"1"}"#.to_owned(), price("A", "1")),
        (r#"{"s":"A","p":"1","st":"2"}"#.to_owned(), Seen::OtherMarket),
        (r#"{"s":"A","p":"1","st":3}"#.to_owned(), Seen::OtherMarket),
        (r#"{"s":"A","p":"1","st":{}}"#.to_owned(), Seen::OtherMarket),
        (r#"{"s":"A","p":"1","E":"17"}"#.to_owned(), price_at("A", "1", Some(17))),
        (r#"{"s":"A","p":"1","E":-17}"#.to_owned(), price_at("A", "1", Some(-17))),
        (r#"{"s":"A","p":"1","E":18446744073709551615}"#.to_owned(), price("A", "1")),
        (r#"{"s":"A","p":"1","E":1.5}"#.to_owned(), price("A", "1")),
        (r#"{"s":"A","p":"1","E":"soon"}"#.to_owned(), price("A", "1")),
        (r#"{"s":"A","p":""}"#.to_owned(), price("A", "")),
        (r#"{"x":{"s":"B","p":"2"},"s":"A","y":[{"p":"3"}],"p":"1"}"#.to_owned(), price("A", "1")),
        (r#"{"e":"markPriceUpdate","p":"1"}"#.to_owned(), Seen::Bad(NoSymbol)),
        (r#"{"s":null,"p":"1"}"#.to_owned(), Seen::Bad(NoSymbol)),
        (r#"{"s":"","p":"1"}"#.to_owned(), Seen::Bad(NoSymbol)),
        (r#"{"s":7,"p":"1"}"#.to_owned(), Seen::Bad(SymbolNotText)),
        (r#"{"s":["A"],"p":"1"}"#.to_owned(), Seen::Bad(SymbolNotText)),
        (format!(r#"{{"s":"{long}","p":"1"}}"#), Seen::Bad(SymbolTooLong)),
        (format!(r#"{{"s":"{}","p":"1"}}"#, &long[1..]), price(&long[1..], "1")),
        (r#"{"s":"A\u0000B","p":"1"}"#.to_owned(), Seen::Bad(SymbolUnprintable)),
        (r#"{"s":"A\nB","p":"1"}"#.to_owned(), Seen::Bad(SymbolUnprintable)),
        (r#"{"s":"A"}"#.to_owned(), Seen::Bad(NoPrice)),
        (r#"{"s":"A","p":null}"#.to_owned(), Seen::Bad(NoPrice)),
        (r#"{"s":"A","p":1.5}"#.to_owned(), Seen::Bad(PriceNotText)),
        (r#"{"s":"A","p":{}}"#.to_owned(), Seen::Bad(PriceNotText)),
        (r#"{"e":"bookTicker","s":"A","p":"1"}"#.to_owned(), Seen::Bad(OtherEvent)),
        (r#"{"e":7,"s":"A","p":"1"}"#.to_owned(), Seen::Bad(OtherEvent)),
        ("{}".to_owned(), Seen::Bad(NoSymbol)),
        ("null".to_owned(), Seen::Bad(NotAnObject)),
        ("[]".to_owned(), Seen::Bad(NotAnObject)),
        (r#""x""#.to_owned(), Seen::Bad(NotAnObject)),
        // From here on simd-json refuses the whole frame.
        ("nul".to_owned(), Seen::Bad(NotAnObject)),
        ("".to_owned(), Seen::Bad(NotAnObject)),
        ("[]x[]".to_owned(), Seen::Bad(NotAnObject)),
        (format!(r#"{{"s":"A","p":"1","x":{HUGE}}}"#), Seen::Bad(Unparsable)),
        (r#"{"s":"A","p":"1","x":"\ud800"}"#.to_owned(), Seen::Bad(Unparsable)),
        (r#"{"s":"A\ud800\u0041","p":"1"}"#.to_owned(), Seen::Bad(Unparsable)),
        (r#"{"s":"A","p":"1","x":"\q"}"#.to_owned(), Seen::Bad(Unparsable)),
        (r#"{"s":"A","p":"1","x":"\u12"}"#.to_owned(), Seen::Bad(Unparsable)),
        ("{\"s\":\"A\u{1}\",\"p\":\"1\"}".to_owned(), Seen::Bad(Unparsable)),
        (r#"{"s":"A","p":"1",}"#.to_owned(), Seen::Bad(Unparsable)),
        (r#"{"s":"A" "p":"1"}"#.to_owned(), Seen::Bad(Unparsable)),
        (r#"{"s":"A","p":"1"} x"#.to_owned(), Seen::Bad(Unparsable)),
        (r#"{"s":"A","p":"1"}{"s":"B","p":"1"}"#.to_owned(), Seen::Bad(Unparsable)),
        (format!(r#"{{"s":"A","p":"1","x":{}1{}}}"#, "[".repeat(99), "]".repeat(99)), Seen::Bad(Unparsable)),
    ] {
        check_between(text.as_bytes(), &expected);
    }
    for bad in
        [&b"{\"s\":\"A\xff\",\"p\":\"1\"}"[..], b"{\"s\":\"A\",\"p\":\"1\",\"\xe5\xb8\":1}", b"{\"s\":\"A\xe5\xb8\"}"]
    {
        check_between(bad, &Seen::Bad(Unparsable));
    }
    check_between(format!(r#"{{"s":"A","x":"{}"}}"#, "x".repeat(FRAME_WHOLE_MAX)).as_bytes(), &Seen::Bad(TooLong));
}

/// simd-json turns `\u0022` into a quote in place before it meets the number that it refuses. Whoever cuts that text
/// afterwards sees other strings than the venue sent.
#[test]
fn escapes_of_a_refused_frame_do_not_move_its_strings() {
    let head = r#"{"s":"A\u0022\u007d,{\u0022s\u0022:\u0022B","p":"1"},{"s":"C\\","p":"2"}"#;
    let frame = format!(r#"[{head},{{"x":{HUGE}}},{ETH}]"#);
    let (outcome, seen) = read(&mut MarkPriceParser::new(), frame.as_bytes());
    assert_eq!(outcome, Ok(cut(4)));
    let bad = Seen::Bad(BadEntry::Unparsable);
    assert_eq!(seen, [price("A\"},{\"s\":\"B", "1"), price("C\\", "2"), bad, price("ETHUSDT", "2842.9")]);
}

#[test]
fn unbalanced_text_is_a_fault_of_the_frame() {
    use FrameFault::*;
    for (frame, fault) in [
        ("", NotJson),
        ("   ", NotJson),
        ("hello", NotJson),
        ("\u{feff}[]", NotJson),
        ("17 18", NotJson),
        (r#""open"#, NotJson),
        ("[", Unbalanced),
        ("{", Unbalanced),
        ("[}", Unbalanced),
        ("{]", Unbalanced),
        ("[]]", Unbalanced),
        ("[{\"s\":\"A\",\"p\":\"1\"}", Unbalanced),
        ("[{\"s\":\"A\",\"p\":\"1\"]", Unbalanced),
        ("[{\"s\":\"A\",\"p\":\"1}]", Unbalanced),
        ("[{\"s\":\"A\",\"p\":\"1\\\"}]", Unbalanced),
        ("[{\"s\":[\"A\"},\"p\":\"1\"]", Unbalanced),
        ("[{\"x\":[1}]", Unbalanced),
        ("{\"data\":[{\"s\":\"A\",\"p\":\"1\"}}", Unbalanced),
        ("[] x", TrailingText),
        ("[][]", TrailingText),
        ("{\"data\":[{\"s\":\"A\",\"p\":\"1\"}]}{}", TrailingText),
        ("{\"data\":[{\"s\":\"A\",\"p\":\"1\"}] 5}", TrailingText),
    ] {
        let (outcome, seen) = read(&mut MarkPriceParser::new(), frame.as_bytes());
        assert_eq!((outcome, seen.len()), (Err(fault), 0), "{frame}");
    }
}

#[test]
fn a_frame_cut_short_gives_nothing() {
    let mut parser = MarkPriceParser::new();
    for name in ["mark_price_arr_small", "mark_price_arr_small_combined"] {
        let frame = fixture(name);
        for len in 0..frame.len() {
            let (outcome, _) = read(&mut parser, &frame[..len]);
            let fault = if len == 0 { FrameFault::NotJson } else { FrameFault::Unbalanced };
            assert_eq!(outcome, Err(fault), "{name} cut at {len}");
        }
    }
}

#[test]
fn one_wrong_byte_touches_one_entry_at_most() {
    let mut parser = MarkPriceParser::new();
    let frame = fixture("mark_price_arr_small");
    let (_, sound) = read(&mut parser, &frame);
    let mut harmless = 0;
    for at in 0..frame.len() {
        for byte in *b"\"\\{}[],:0x\0\xff" {
            let mut wrong = frame.clone();
            wrong[at] = byte;
            let (outcome, seen) = read(&mut parser, &wrong);
            if matches!(outcome, Ok(FrameKind::Prices { entries: 10, .. })) {
                let differing = seen.iter().zip(&sound).filter(|(one, other)| one != other).count();
                assert!(differing <= 1, "{} at {at}: {differing} entries differ", char::from(byte));
                harmless += 1;
            }
        }
    }
    assert!(harmless > 10_000, "{harmless} frames still had their ten entries");
}

#[test]
fn hostile_frames_of_the_largest_size() {
    let mut parser = MarkPriceParser::new();
    let full = |unit: &str| unit.repeat(PRICE_MESSAGE_MAX / unit.len());
    let half = PRICE_MESSAGE_MAX / 2;
    for (frame, outcome) in [
        (full("["), Err(FrameFault::Unbalanced)),
        (full("{"), Err(FrameFault::Unbalanced)),
        (full("]"), Err(FrameFault::NotJson)),
        (full("\""), Err(FrameFault::NotJson)),
        (full("\\"), Err(FrameFault::NotJson)),
        (full(" "), Err(FrameFault::NotJson)),
        (full("{\"a\":"), Err(FrameFault::Unbalanced)),
        (full("[{"), Err(FrameFault::Unbalanced)),
        (format!("[{}", full("0,")), Err(FrameFault::TooManyEntries)),
        (format!("{}{}", "[".repeat(half), "]".repeat(half)), Ok(cut(1))),
        (format!("{}{}", "[".repeat(half), "}".repeat(half)), Err(FrameFault::Unbalanced)),
        (format!("{{\"a\":{}{}}}", "[".repeat(half), "]".repeat(half)), Ok(FrameKind::Other)),
        (format!("{{\"data\":\"{}\"}}", "x".repeat(half)), Ok(FrameKind::Other)),
    ] {
        assert_eq!(read(&mut parser, frame.as_bytes()).0, outcome, "{}…", &frame[..10]);
        // And the parser is as good as new.
        assert_eq!(read(&mut parser, format!("[{ETH}]").as_bytes()).1, [price("ETHUSDT", "2842.9")]);
    }
}

#[test]
fn a_frame_may_hold_so_many_entries_and_no_more() {
    let mut parser = MarkPriceParser::new();
    let frame = |count: usize, element: &str| format!("[{}]", vec![element; count].join(","));
    for element in ["7", r#""\\""#] {
        let (outcome, seen) = read(&mut parser, frame(FRAME_ENTRIES_MAX, element).as_bytes());
        assert_eq!(seen.len(), FRAME_ENTRIES_MAX, "{outcome:?}");
        let (outcome, seen) = read(&mut parser, frame(FRAME_ENTRIES_MAX + 1, element).as_bytes());
        assert_eq!((outcome, seen.len()), (Err(FrameFault::TooManyEntries), 0));
    }
}

#[test]
fn a_frame_too_large_to_be_parsed_whole_is_read_all_the_same() {
    let count = FRAME_WHOLE_MAX / ETH.len() + 1;
    let frame = format!("[{}]", vec![ETH; count].join(","));
    let (outcome, seen) = read(&mut MarkPriceParser::new(), frame.as_bytes());
    assert_eq!(outcome, Ok(cut(count)));
    assert!(seen.iter().all(|one| *one == price("ETHUSDT", "2842.9")));
}

#[test]
#[should_panic(expected = "buf must hold len + FRAME_PADDING bytes")]
fn a_buffer_without_padding_is_the_callers_mistake() {
    let _ = MarkPriceParser::new().parse(&mut [b'['; FRAME_PADDING], 1, &mut |_| ());
}

/// `text` as an element of its own between two sound ones; bare, wrapped, and with the whole frame cut.
#[track_caller]
fn check_between(text: &[u8], expected: &Seen) {
    let mut parser = MarkPriceParser::new();
    let escaped = r#"{"s":"\u0042\u0043","p":"0.5"}"#;
    for (head, tail, last) in [
        (format!("[{ETH},"), format!(",{ETH}]"), price("ETHUSDT", "2842.9")),
        (format!(r#"{{"stream":"x","data":[{ETH},"#), format!(",{ETH}]}}"), price("ETHUSDT", "2842.9")),
        (format!("[{ETH},"), format!(",{escaped}]"), price("BC", "0.5")),
        (format!(r#"{{"data":[{ETH}, "#), format!(" ,{escaped}],\"y\":{HUGE}}}"), price("BC", "0.5")),
    ] {
        let frame = [head.as_bytes(), text, tail.as_bytes()].concat();
        let (outcome, seen) = read(&mut parser, &frame);
        assert!(matches!(outcome, Ok(FrameKind::Prices { entries: 3, .. })), "{outcome:?}");
        assert_eq!(seen, [price("ETHUSDT", "2842.9"), expected.clone(), last], "{}", String::from_utf8_lossy(&frame));
    }
}

fn price(symbol: &str, price: &str) -> Seen {
    price_at(symbol, price, None)
}

fn price_at(symbol: &str, price: &str, event_time_ms: Option<i64>) -> Seen {
    Seen::Price { symbol: symbol.to_owned(), price: price.to_owned(), event_time_ms }
}

fn prices(entries: usize) -> FrameKind {
    FrameKind::Prices { entries, split: false }
}

fn cut(entries: usize) -> FrameKind {
    FrameKind::Prices { entries, split: true }
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
}
