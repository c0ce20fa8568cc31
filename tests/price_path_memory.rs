//! Promise: memory stays flat over days of ticks. Alone in its file, because resident memory is the whole process's.

use kraite_streams::prices::case_when::{Form, Layout, Transactions};
use kraite_streams::prices::intake::FrameVerdict;
use kraite_streams::prices::price_table::PriceTable;

#[path = "support/counting_alloc.rs"]
mod counting_alloc;
#[allow(dead_code, reason = "the rig serves several promises")]
#[path = "support/price_path.rs"]
mod price_path;

use counting_alloc::{Allocations, CountingAlloc};
use price_path::{PricePath, thin_ticks};

#[global_allocator]
static ALLOCATOR: CountingAlloc = CountingAlloc;

#[test]
fn ten_thousand_ticks_leave_memory_flat() {
    // Whole frames where the compiler has optimised; a part of each where ten thousand of them would take two minutes.
    let ticks = thin_ticks(16, usize::MAX, if cfg!(debug_assertions) { 20 } else { 1 });
    let mut path = PricePath::new(
        PriceTable::parse("exchange_symbols").unwrap(),
        Layout { form: Form::CaseBucketed, transactions: Transactions::One, ..Layout::default() },
    );
    for tick in &ticks {
        path.tick(&tick.wire);
    }
    let (resident, before) = (resident_bytes(), Allocations::of_this_thread());
    for (n, tick) in ticks.iter().cycle().take(10_000).enumerate() {
        path.receive(&tick.wire, |outcome| assert_eq!(outcome.verdict, FrameVerdict::Prices));
        // The database is away for three ticks out of ten: the board conflates, nothing piles up.
        if n % 10 < 7 {
            path.take();
            path.build();
        }
    }
    assert_eq!(Allocations::of_this_thread().since(before), Allocations { calls: 0, live_bytes: 0 });
    assert!(path.intake.counts().conflated > 3 * 1_000 * path.board.counts().symbols as u64 / 2);
    if let (Some(before), Some(after)) = (resident, resident_bytes()) {
        assert!(after <= before + (1 << 20), "resident memory grew from {before} to {after} bytes");
    }
}

/// Resident memory where the kernel tells it.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4_096)
}
