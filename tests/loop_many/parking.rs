//! Unfinished messages of many streams: whoever holds most of the memory for them loses it, and nobody else anything.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kraite_streams::event_loop::LoopConfig;
use kraite_streams::stream::FaultKind;

use crate::accounts;
use crate::ears::{add, config, host, stop};
use crate::server::{Authority, hold, serve, text, upgrade};

#[test]
fn the_largest_unfinished_message_is_cut_and_the_others_are_finished() {
    const OTHERS: u64 = 5;
    const SMALL: usize = 100_000;
    const LARGE: usize = 1_000_000;
    // Less than all together, more than all but the large one at their loosest.
    const POOL: usize = 1_050_000;
    let authority = Authority::new("ours");
    // Nobody's message ends before the large one is cut.
    let is_cut = Arc::new(AtomicBool::new(false));
    let may_end = Arc::clone(&is_cut);
    let address = serve(&authority, move |number, mut tls| {
        let path = upgrade(&mut tls, b"");
        let len = if path == "/large" { LARGE } else { SMALL };
        let message = text(&vec![b'm'; len]);
        let (most, rest) = message.split_at(len - 100);
        if number < OTHERS as usize + 1 {
            for part in most.chunks(10_000) {
                if tls.write_all(part).and_then(|()| tls.flush()).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(2));
            }
            // Who came last holds the shared buffers and counts nothing: the small ones trickle, so that the large one parks.
            let mut rest = rest;
            while !may_end.load(Ordering::Acquire) {
                if len == SMALL && rest.len() > 10 {
                    let _ = tls.write_all(&rest[..1]).and_then(|()| tls.flush());
                    rest = &rest[1..];
                }
                thread::sleep(Duration::from_millis(50));
            }
            let _ = tls.write_all(rest).and_then(|()| tls.flush());
        }
        hold(tls);
    });
    let handle = host(LoopConfig { parking_pool: POOL, ..accounts() });
    let large = add(&handle, 100, config(&authority, address, "/large"));
    let others: Vec<_> = (0..OTHERS).map(|key| add(&handle, key, config(&authority, address, "/small"))).collect();
    large.wait_fault(FaultKind::Overflow);
    is_cut.store(true, Ordering::Release);
    assert!(large.faults()[0].text.contains("the memory for those was used up"), "{:?}", large.faults());
    let mut cut = 0;
    for ears in &others {
        ears.wait("a message or a fault", |heard| {
            !heard.messages.is_empty() || crate::ears::faults(heard).next().is_some()
        });
        cut += ears.faults().len();
        assert!(ears.messages().iter().all(|message| message.len() == SMALL));
    }
    assert_eq!((cut, large.messages().len()), (0, 0), "the large one was enough");
    stop(handle);
}
