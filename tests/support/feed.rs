//! A price feed for the writer's tests: frames as the venue spells them, through the real intake, under a clock that the
//! test moves.

#![allow(dead_code, reason = "shared by several test binaries, each of which uses a part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kraite_streams::domain::limits::FRAME_PADDING;
use kraite_streams::domain::{Clock, Mono, Now, Wall};
use kraite_streams::prices::board::PriceBoard;
use kraite_streams::prices::frame_stamp::FrameStamp;
use kraite_streams::prices::intake::Intake;

/// 2026-11-23 07:30:15.000 UTC.
pub const START_MS: i64 = 1_795_419_015_000;

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct TestClock {
    nanos: AtomicU64,
}

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.nanos.fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        let nanos = self.nanos.load(Ordering::Relaxed);
        Now { mono: Mono::from_nanos(nanos), wall: Wall::from_micros(START_MS * 1_000 + (nanos / 1_000) as i64) }
    }
}

pub struct Feed {
    pub board: Arc<PriceBoard>,
    pub clock: Arc<dyn Clock>,
    intake: Intake,
    seq: u64,
}

impl Feed {
    pub fn new(clock: Arc<dyn Clock>) -> Feed {
        let board = Arc::new(PriceBoard::new());
        Feed { intake: Intake::new(Arc::clone(&board)), board, clock, seq: 0 }
    }

    /// One frame, received now. Returns the stamp that its rows must carry.
    pub fn frame(&mut self, prices: &[(&str, &str)]) -> String {
        let now = self.clock.now();
        let event = now.wall.as_millis();
        let entries: Vec<String> = prices
            .iter()
            .map(|(symbol, price)| {
                format!(r#"{{"e":"markPriceUpdate","E":{event},"s":"{symbol}","p":"{price}","r":"0.0001","st":1}}"#)
            })
            .collect();
        let mut bytes = format!("[{}]", entries.join(",")).into_bytes();
        let len = bytes.len();
        bytes.resize(len + FRAME_PADDING, 0);
        self.seq += 1;
        let stamp = FrameStamp { seq: self.seq, received_at: now.wall, readable_at: now.mono, connection: 1 };
        self.intake.handle_frame(&mut bytes, len, stamp);
        now.wall.to_string()
    }
}
