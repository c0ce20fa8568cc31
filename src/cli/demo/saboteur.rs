//! What stands between the loop and the consumer in the demo: it counts ticks, and with `--break` it takes one guard away.
//!
//! The program itself has no switch that turns a guard off. Each sabotage is done to what goes in or comes out: bytes are
//! changed before the guard sees them, messages or events are withheld.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::check::Check;
use crate::domain::{Mono, Now, Wall};
use crate::sim::BadEntry;
use crate::stream::{Consumer, Received, StreamEvent};

/// Frames that begin within this time of each other are one tick: the venue sends two, a millisecond apart.
const ONE_TICK: Duration = Duration::from_millis(200);
/// How far the clock is put ahead for [`Check::StampsAreReceiveTimes`].
const CLOCK_AHEAD_MICROS: i64 = 3_600_000_000;
/// Bytes kept of each message for [`Check::MemoryIsFlat`].
const KEPT_PER_MESSAGE: usize = 16 << 20;

/// What the demo and its saboteur share.
#[derive(Debug, Default)]
pub struct Watch {
    /// Ticks seen.
    pub ticks: AtomicU64,
    /// Set by the demo when half of its time is over.
    pub second_half: AtomicBool,
}

/// A consumer in front of the consumer.
pub struct Saboteur<C> {
    inner: C,
    watch: Arc<Watch>,
    breaks: Option<Check>,
    tick_began: Option<Mono>,
    messages: u64,
    kept: Vec<Vec<u8>>,
}

impl<C: Consumer> Saboteur<C> {
    /// In front of `inner`; without `breaks` it only counts.
    pub fn new(inner: C, watch: Arc<Watch>, breaks: Option<Check>) -> Self {
        Saboteur { inner, watch, breaks, tick_began: None, messages: 0, kept: Vec::new() }
    }
}

impl<C: Consumer> Consumer for Saboteur<C> {
    fn handle_message(&mut self, connection: u64, payload: &mut [u8], len: usize, mut at: Now) -> Received {
        if self.tick_began.is_none_or(|began| at.mono.since(began) > ONE_TICK) {
            self.tick_began = Some(at.mono);
            self.watch.ticks.fetch_add(1, Ordering::Relaxed);
        }
        self.messages += 1;
        match self.breaks {
            Some(Check::TableIsTruth) if self.watch.second_half.load(Ordering::Relaxed) => return Received::Data,
            Some(Check::EveryFrameAccounted) if self.messages.is_multiple_of(2) => return Received::Data,
            Some(Check::NothingFromBadEntries) => hide_false_event_time(&mut payload[..len]),
            Some(Check::CoinMLeftOut) => relabel_coin_m(&mut payload[..len]),
            Some(Check::StampsAreReceiveTimes) => at.wall = Wall::from_micros(at.wall.as_micros() + CLOCK_AHEAD_MICROS),
            Some(Check::MemoryIsFlat) => self.kept.push(vec![1; KEPT_PER_MESSAGE]),
            _ => {}
        }
        self.inner.handle_message(connection, payload, len, at)
    }

    fn handle_event(&mut self, event: &StreamEvent, at: Now) {
        if self.breaks == Some(Check::FaultsSurvived) && matches!(event, StreamEvent::Fault(_)) {
            return;
        }
        self.inner.handle_event(event, at);
    }
}

/// Gives the entry whose event time is an hour ahead the event time of the frame's first entry, digit for digit.
fn hide_false_event_time(frame: &mut [u8]) {
    const KEY: &[u8] = b"\"E\":";
    const DIGITS: usize = 13;
    let price = BadEntry::EventAhead.price_json().expect("it has a price").as_bytes();
    let Some(first) = find(frame, KEY) else { return };
    let Some(honest) = frame.get(first + KEY.len()..first + KEY.len() + DIGITS).map(<[u8]>::to_vec) else { return };
    let mut from = 0;
    while let Some(at) = find(&frame[from..], price).map(|at| from + at) {
        if let Some(event) = rfind(&frame[..at], KEY) {
            frame[event + KEY.len()..event + KEY.len() + DIGITS].copy_from_slice(&honest);
        }
        from = at + price.len();
    }
}

fn relabel_coin_m(frame: &mut [u8]) {
    const KEY: &[u8] = b"\"st\":2";
    let mut from = 0;
    while let Some(at) = find(&frame[from..], KEY).map(|at| from + at) {
        frame[at + KEY.len() - 1] = b'1';
        from = at + KEY.len();
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn rfind(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).rposition(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sabotages_change_what_they_say() {
        let mut frame = br#"[{"E":1000000000000,"s":"A","p":"1.0","st":2},{"E":1000003600000,"s":"B","p":"27182.81828459","st":1}]"#.to_vec();
        hide_false_event_time(&mut frame);
        relabel_coin_m(&mut frame);
        let changed =
            r#"[{"E":1000000000000,"s":"A","p":"1.0","st":1},{"E":1000000000000,"s":"B","p":"27182.81828459","st":1}]"#;
        assert_eq!(String::from_utf8(frame).unwrap(), changed);
    }
}
