//! Promise: reading WebSocket messages allocates nothing once the buffer is warm, whole or fragmented, however it is cut.

use std::hint::black_box;

use kraite_streams::domain::limits::PRICE_MESSAGE_MAX;
use kraite_streams::stream::frame::{FrameReader, Incoming};
use kraite_streams::stream::plain::PlainBuffer;

#[path = "support/counting_alloc.rs"]
mod counting_alloc;

#[global_allocator]
static ALLOCATOR: counting_alloc::CountingAlloc = counting_alloc::CountingAlloc;

#[test]
fn reading_a_thousand_ticks_allocates_nothing() {
    check(&frame(0x81, 150_000), 16 << 10);
    check(&frame(0x81, 150_000), 1_400);
    let fragments = [
        frame(0x01, 16 << 10),
        frame(0x89, 8),
        frame(0x00, 100_000),
        frame(0x8a, 125),
        frame(0x00, 0),
        frame(0x80, 33_616),
        frame(0x81, 20_000),
    ];
    check(&fragments.concat(), 16 << 10);
    check(&fragments.concat(), 333);
}

#[test]
fn the_counter_counts() {
    let (allocations, _) = counting_alloc::allocations_in(|| black_box(vec![1_u8; black_box(10)]));
    assert_eq!(allocations, 1);
}

fn frame(first: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![first];
    match len {
        0..126 => frame.push(len as u8),
        126..65_536 => frame.extend([&[126], &(len as u16).to_be_bytes()[..]].concat()),
        _ => frame.extend([&[127], &(len as u64).to_be_bytes()[..]].concat()),
    }
    frame.resize(frame.len() + len, b'x');
    frame
}

fn check(tick: &[u8], piece: usize) {
    let mut plain = PlainBuffer::for_messages(PRICE_MESSAGE_MAX);
    let mut reader = FrameReader::new(PRICE_MESSAGE_MAX);
    let mut bytes_read = 0;
    let mut read = |ticks: usize| {
        for _ in 0..ticks {
            for bytes in tick.chunks(piece) {
                plain.append(bytes).unwrap();
                while let Some(incoming) = reader.next(&mut plain).unwrap() {
                    if let Incoming::Message { payload, .. } = incoming {
                        bytes_read += black_box(payload.bytes()).len();
                    }
                }
            }
        }
    };
    read(2);
    let (allocations, ()) = counting_alloc::allocations_in(|| read(1_000));
    assert_eq!(allocations, 0, "in pieces of {piece}");
    assert!(bytes_read >= 1_002 * 150_000);
}
