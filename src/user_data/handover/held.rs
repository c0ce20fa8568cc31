//! Frames of the socket that follows, waiting for their twins in the order in which they came.

use std::collections::VecDeque;

use super::{Print, Side};
use crate::domain::limits::HANDOVER_FRAME_COST;
use crate::domain::{Mono, Wall};
use crate::exchange::binance::event_key::EventKey;

/// One of them.
#[derive(Debug)]
pub(super) struct Waiting {
    pub side: Side,
    pub print: Print,
    pub key: Option<EventKey>,
    pub frame: Vec<u8>,
    pub at: Wall,
    pub came: Mono,
    pub until: Mono,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Held {
    frames: VecDeque<Waiting>,
    bytes: usize,
}

impl Held {
    /// What a frame counts while it waits, in bytes.
    pub fn cost(frame: &[u8]) -> usize {
        frame.len() + HANDOVER_FRAME_COST
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.frames.len()
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub fn front(&self) -> Option<&Waiting> {
        self.frames.front()
    }

    pub fn front_mut(&mut self) -> Option<&mut Waiting> {
        self.frames.front_mut()
    }

    pub fn push(&mut self, waiting: Waiting) {
        self.bytes += Held::cost(&waiting.frame);
        self.frames.push_back(waiting);
    }

    pub fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.frames.pop_front()?;
        self.bytes -= Held::cost(&waiting.frame);
        Some(waiting)
    }

    /// The first with the same bytes, else the first with the same key; whether it is the bytes.
    pub fn find(&self, print: &Print, key: Option<EventKey>) -> Option<(usize, bool)> {
        let same = self.frames.iter().position(|waiting| waiting.print == *print);
        let near = || key.and_then(|key| self.frames.iter().position(|waiting| waiting.key == Some(key)));
        same.map(|place| (place, true)).or_else(|| near().map(|place| (place, false)))
    }
}
