//! From the socket to the consumer nothing allocates in steady state, but rustls once per TLS record.
#![cfg(feature = "sim")]

#[path = "loop_tls/server.rs"]
mod server;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Now, Random};
use kraite_streams::event_loop::{Consumer, Received, SessionConfig, Stream, StreamEvent, spawn};
use kraite_streams::stream::StreamUrl;

const TICK: usize = 150_000;
const TICKS: usize = 120;
const WARM_UP: usize = 20;
/// TLS records of one tick with its frame header.
const RECORDS: u64 = (TICK as u64 + 10).div_ceil(16 << 10);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every call is passed to the system's allocator unchanged; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

/// Notes, on the loop's own thread, how much it allocated from one tick to the next.
struct Meter {
    last: u64,
    per_tick: Vec<u64>,
    done: mpsc::SyncSender<Vec<u64>>,
}

impl Consumer for Meter {
    fn handle_message(&mut self, _connection: u64, payload: &mut [u8], len: usize, _at: Now) -> Received {
        assert!(len == TICK && payload[len - 1] == b'x');
        let so_far = ALLOCATIONS.get();
        self.per_tick.push(so_far - std::mem::replace(&mut self.last, so_far));
        if self.per_tick.len() == TICKS {
            self.done.send(std::mem::take(&mut self.per_tick)).unwrap();
        }
        Received::Data
    }

    fn handle_event(&mut self, _event: &StreamEvent, _at: Now) {}
}

#[test]
fn a_tick_costs_no_allocation_beyond_one_per_tls_record() {
    let authority = server::Authority::new("ours");
    let address = server::serve(&authority, |_, mut tls| {
        server::upgrade(&mut tls, b"");
        for _ in 0..TICKS {
            tls.write_all(&server::text(&[b'x'; TICK])).unwrap();
            tls.flush().unwrap();
            thread::sleep(Duration::from_millis(2));
        }
        server::hold(tls);
    });
    let url = StreamUrl::parse(&format!("wss://{address}/")).unwrap();
    let config = SessionConfig::new(url, authority.client());
    let (done, ticks) = mpsc::sync_channel(1);
    let consumer = Box::new(Meter { last: 0, per_tick: Vec::with_capacity(TICKS), done });
    let handle =
        spawn(vec![Stream { config, consumer }], Arc::new(SystemClock::start()), Random::from_seed(1)).unwrap();
    let per_tick = ticks.recv_timeout(Duration::from_secs(30)).unwrap();
    handle.stop();
    handle.join().unwrap();
    // A record of the next tick may be decrypted before this one is handed over.
    let steady = &per_tick[WARM_UP..];
    assert!(steady.iter().all(|&count| count <= RECORDS + 1), "{RECORDS} records, allocations: {steady:?}");
    assert!(steady.iter().sum::<u64>() <= RECORDS * steady.len() as u64 + 1, "{RECORDS} records: {steady:?}");
}
