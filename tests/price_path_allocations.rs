//! Promise: in steady state the price path allocates nothing, from decrypted bytes to finished SQL text.

use std::sync::Arc;

use kraite_streams::domain::{Mono, Wall};
use kraite_streams::prices::board::PriceBoard;
use kraite_streams::prices::case_when::{Form, Layout, Transactions};
use kraite_streams::prices::frame_stamp::FrameStamp;
use kraite_streams::prices::intake::{FrameVerdict, Intake};
use kraite_streams::prices::price_table::PriceTable;

#[path = "support/counting_alloc.rs"]
mod counting_alloc;
#[path = "support/price_path.rs"]
mod price_path;

use counting_alloc::{Allocations, CountingAlloc};
use price_path::{PricePath, SYMBOLS, Twin, ticks};

#[global_allocator]
static ALLOCATOR: CountingAlloc = CountingAlloc;

fn path(form: Form, transactions: Transactions) -> PricePath {
    let table = PriceTable::parse("exchange_symbols").unwrap();
    PricePath::new(table, Layout { form, transactions, ..Layout::default() })
}

/// A message in one frame.
const WHOLE: usize = usize::MAX;

#[test]
fn two_hundred_ticks_without_an_allocation() {
    check(Form::CaseBucketed, Transactions::One, WHOLE, 200);
}

#[test]
fn nor_in_any_other_layout_or_in_fragments() {
    for (form, transactions, fragment) in [
        (Form::CaseBucketed, Transactions::PerChunk, WHOLE),
        (Form::Case, Transactions::One, 10_000),
        (Form::Case, Transactions::PerChunk, 1_400),
    ] {
        check(form, transactions, fragment, 20);
    }
}

#[test]
fn the_text_is_what_naive_code_would_write() {
    let mut path = path(Form::Case, Transactions::One);
    let mut twin = Twin::new(&path.map);
    for tick in ticks(5, WHOLE) {
        let expected = twin.tick(&tick.payloads);
        assert_eq!(path.tick(&tick.wire), expected);
    }
}

#[test]
fn bad_entries_cost_no_memory_either() {
    // Each kind of rejection, over and over: a venue gone mad must not be able to make this process grow.
    let mut intake = Intake::new(Arc::new(PriceBoard::new()));
    let frame = br#"[{"e":"markPriceUpdate","E":1795419015000,"s":"A","p":"1.5","st":1},
        {"e":"markPriceUpdate","E":1795419015000,"s":"B","p":"0","st":1},
        {"e":"markPriceUpdate","E":1795419015000,"s":"C","p":"1e5","st":1},
        {"e":"markPriceUpdate","E":1795519015000,"s":"D","p":"1.5","st":1},
        {"e":"markPriceUpdate","E":1795419014000,"s":"A","p":"1.5","st":1},
        {"e":"markPriceUpdate","E":1795419015000,"s":"BTCUSD_PERP","p":"1.5","st":2},
        {"e":"markPriceUpdate","E":1795419015000,"p":"1.5"}, 7, null, "x", [], {}]"#;
    let mut buf = [&frame[..], &[0; 64]].concat();
    let mut seq = 0;
    let mut handle = |intake: &mut Intake| {
        seq += 1;
        buf[..frame.len()].copy_from_slice(frame);
        let stamp = FrameStamp {
            seq,
            received_at: Wall::from_millis(1_795_419_015_000),
            readable_at: Mono::ZERO,
            connection: 1,
        };
        intake.handle_frame(&mut buf, frame.len(), stamp)
    };
    assert_eq!(handle(&mut intake).accepted, 1);
    let before = Allocations::of_this_thread();
    for _ in 0..1_000 {
        assert_eq!(handle(&mut intake).verdict, FrameVerdict::Prices);
    }
    assert_eq!(Allocations::of_this_thread().since(before), Allocations { calls: 0, live_bytes: 0 });
}

fn check(form: Form, transactions: Transactions, fragment: usize, count: usize) {
    let ticks = ticks(10, fragment);
    let mut path = path(form, transactions);
    for tick in ticks.iter().take(3) {
        path.tick(&tick.wire);
    }
    let before = Allocations::of_this_thread();
    for tick in ticks.iter().cycle().take(count) {
        path.tick(&tick.wire);
        assert_eq!(path.batch.rows().len(), path.map.rows());
    }
    let made = Allocations::of_this_thread().since(before);
    assert_eq!(made, Allocations { calls: 0, live_bytes: 0 }, "{form:?}, {transactions:?}, fragments of {fragment}");
    let (counts, frames) = (path.intake.counts(), count as u64 + 3);
    assert_eq!(counts.accepted, frames * SYMBOLS as u64);
    assert_eq!((counts.entries, counts.other_market), (frames * 891, frames * 27));
}
