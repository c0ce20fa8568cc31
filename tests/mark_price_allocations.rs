//! Promise: reading price frames allocates nothing once the parser is warm, whether they are parsed whole or cut.

use std::hint::black_box;

use kraite_streams::domain::limits::FRAME_PADDING;
use kraite_streams::exchange::binance::mark_price::{Entry, FrameKind, MarkPriceParser};

#[path = "support/counting_alloc.rs"]
mod counting_alloc;

#[global_allocator]
static ALLOCATOR: counting_alloc::CountingAlloc = counting_alloc::CountingAlloc;

use counting_alloc::allocations_in;

const HUGE: &str = r#"{"s":"BADUSDT","p":"1","x":123456789012345678901234567890}"#;

#[test]
fn a_hundred_ticks_allocate_nothing() {
    check(&[fixture("mark_price_arr"), fixture("mark_price_arr_tradfi")], 100, 86_400, false);
    check(&[fixture("mark_price_arr_combined")], 20, 13_460, false);
}

#[test]
fn cut_frames_allocate_nothing() {
    let poisoned = format!("[{HUGE},{}", &fixture("mark_price_arr")[1..]);
    check(&[poisoned], 20, 673 * 20, true);
    let escaped = fixture("mark_price_arr_combined").replace("币", r"\u5e01");
    check(&[escaped], 20, 673 * 20, true);
}

#[test]
fn other_frames_allocate_nothing() {
    for frame in ["subscribe_ack", "control_error", "unknown_event", "mark_price_arr_empty"] {
        check(&[fixture(frame)], 100, 0, false);
    }
    check(&["[[[".to_owned(), "garbage".to_owned(), String::new(), format!("{{\"a\":{HUGE}}}")], 100, 0, false);
}

#[test]
fn the_counter_counts() {
    let (allocations, _) = allocations_in(|| black_box(vec![1_u8; black_box(10)]));
    assert_eq!(allocations, 1);
}

/// Reads `frames` `rounds` times over, as the wire would bring them: into one buffer that each parse spoils.
#[track_caller]
fn check(frames: &[String], rounds: usize, prices_expected: usize, split_expected: bool) {
    let mut parser = MarkPriceParser::new();
    let longest = frames.iter().map(String::len).max().unwrap();
    let mut buf = vec![0; longest + FRAME_PADDING];
    let mut tick = |prices: &mut usize, split: &mut bool| {
        for frame in frames {
            buf[..frame.len()].copy_from_slice(frame.as_bytes());
            let outcome = parser.parse(&mut buf, frame.len(), &mut |entry| {
                if let Entry::Price(one) = entry {
                    *prices += usize::from(!black_box(one).symbol.is_empty());
                }
            });
            *split |= matches!(outcome, Ok(FrameKind::Prices { split: true, .. }));
        }
    };
    tick(&mut 0, &mut false);
    let (mut prices, mut split) = (0, false);
    let (allocations, ()) = allocations_in(|| (0..rounds).for_each(|_| tick(&mut prices, &mut split)));
    assert_eq!((allocations, prices, split), (0, prices_expected, split_expected));
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
}
