//! Promise: saying what a private frame is allocates nothing, from the first frame on, and writes nothing.

use std::fs;
use std::hint::black_box;
use std::path::Path;

use kraite_streams::exchange::binance::listen_key::ListenKey;
use kraite_streams::exchange::binance::user_data::{Class, classify};

#[path = "support/counting_alloc.rs"]
mod counting_alloc;

#[global_allocator]
static ALLOCATOR: counting_alloc::CountingAlloc = counting_alloc::CountingAlloc;

use counting_alloc::allocations_in;

#[test]
fn no_frame_allocates() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/user_data");
    let mut frames: Vec<Vec<u8>> =
        fs::read_dir(folder).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(frames.len() >= 70);
    let deep = 20_000;
    frames.extend([
        Vec::new(),
        b"\xff\xfe".to_vec(),
        b"{\"e\":\"ORDER_TRADE_UPDATE\"".to_vec(),
        [b"[".repeat(deep), b"]".repeat(deep)].concat(),
        format!("{{\"e\":\"{}\"}}", "x".repeat(1 << 20)).into_bytes(),
    ]);
    let key = ListenKey::new("SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA").unwrap();
    let (mut events, mut named) = (0, 0);
    let (allocations, ()) = allocations_in(|| {
        for frame in &frames {
            let read = black_box(classify(black_box(frame)));
            events += usize::from(matches!(read.class, Class::Event(_)));
            named += usize::from(read.names_key(&key) == Some(true));
        }
    });
    // 59 fixtures and the name of a megabyte.
    assert_eq!((allocations, events, named), (0, 60, 4));
}

#[test]
fn the_counter_counts() {
    let (allocations, _) = allocations_in(|| black_box(vec![1_u8; black_box(10)]));
    assert_eq!(allocations, 1);
}
