//! Promise: a private frame goes from the loop's batch through the spool to the dispatcher without an allocation, once the
//! buffers are warm, on a real disk, with syncs and acknowledgements going on.

use std::time::Duration;

use kraite_streams::domain::{Mono, Now, Wall};
use kraite_streams::spool::{AccountId, Epoch, ExchangeId, FolderDisk, Opened, ReadBatch, SpoolConfig, SyncMode, open};

#[path = "support/counting_alloc.rs"]
mod counting_alloc;

#[global_allocator]
static ALLOCATOR: counting_alloc::CountingAlloc = counting_alloc::CountingAlloc;

#[test]
fn a_thousand_batches_allocate_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let disk = FolderDisk::open(temp.path()).unwrap();
    let config = SpoolConfig { sync: SyncMode::Interval(Duration::from_millis(5)), ..SpoolConfig::default() };
    let at = |turn: u64| Now { mono: Mono::from_nanos(turn * 1_000_000), wall: Wall::from_millis(turn as i64) };
    let Opened { mut appender, mut syncer, mut reader, .. } = open(disk, config, Epoch([1; 16]), at(0)).unwrap();
    let key = b"SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA";
    let frame = [
        br#"{"stream":"SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA@X","data":{"e":"X","a":""#
            .as_slice(),
        &[b'x'; 1_000],
        br#""}}"#,
    ]
    .concat();
    let mut batch = appender.batch();
    let (mut out, mut skipped) = (ReadBatch::default(), Vec::new());
    let mut handed_out = 0;
    let mut work = |turns: std::ops::Range<u64>| {
        for turn in turns {
            for n in 0..20 {
                let account = AccountId(turn * 7 % 50 + n);
                batch.push_frame(account, ExchangeId(1), at(turn).wall, &frame, key).unwrap();
            }
            appender.append(&mut batch, at(turn)).unwrap();
            while reader.read(&mut out, &mut skipped).unwrap() > 0 {
                let last = out.iter().last().map(|record| record.identity.position).unwrap();
                handed_out += out.len();
                reader.ack(last + 1);
            }
            // Twice an interval, so that some batches are handed out unsynced.
            if turn % 10 == 0 {
                syncer.turn(at(turn));
            }
        }
    };
    work(1..200);
    let (allocations, ()) = counting_alloc::allocations_in(|| work(200..1_200));
    // Free space and old segments are looked at once a second: the counts below hold their few lists.
    assert!(allocations <= 4, "{allocations} allocations in 20,000 frames");
    assert!(handed_out >= 1_199 * 20);
}
