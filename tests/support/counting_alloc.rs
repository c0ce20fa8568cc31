//! An allocator that counts what the calling thread does, so that "no allocation in steady state" is a number.
//!
//! Counters are per thread: the test harness and other threads do not disturb them. The crate itself forbids unsafe code;
//! this file belongs to tests and benches only, which bring it in with
//! `#[path = "support/counting_alloc.rs"] mod counting_alloc;` and name it as their `#[global_allocator]`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counted.
pub struct CountingAlloc;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}

/// What a thread allocated so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocations {
    /// Calls that asked for memory; growing a block is one.
    pub calls: u64,
    /// Bytes asked for and not given back; negative when a thread frees what others allocated.
    pub live_bytes: i64,
}

impl Allocations {
    /// Of the calling thread, until now.
    pub fn of_this_thread() -> Self {
        Allocations { calls: CALLS.get(), live_bytes: LIVE_BYTES.get() }
    }

    /// What was added since `earlier`.
    pub fn since(self, earlier: Allocations) -> Self {
        Allocations { calls: self.calls - earlier.calls, live_bytes: self.live_bytes - earlier.live_bytes }
    }
}

fn count(calls: u64, bytes: i64) {
    // `try_with`: a thread that is ending may still allocate; nobody asks for its numbers any more.
    let _ = CALLS.try_with(|cell| cell.set(cell.get() + calls));
    let _ = LIVE_BYTES.try_with(|cell| cell.set(cell.get() + bytes));
}

// SAFETY: every call is passed on to `System` unchanged; the counters are plain cells without a destructor, so counting
// neither allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller's promises are `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// Runs `work`, and tells how often it allocated or grew an allocation on this thread.
#[allow(dead_code, reason = "each test crate uses its own part of this file")]
pub fn allocations_in<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = Allocations::of_this_thread();
    let result = work();
    (Allocations::of_this_thread().since(before).calls, result)
}
