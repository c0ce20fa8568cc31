//! Who waits for a permit to connect: one line per class, first come, first served.
//!
//! Only the head of a line asks the gate, and not before the gate said it should: a thousand streams that wait cost one
//! question when the next attempt falls due, and nobody is overtaken within a class.

use std::collections::VecDeque;

use super::stream_id::StreamId;
use crate::domain::Mono;
use crate::domain::limits::PERMIT_EVERY_MIN;
use crate::stream::ConnectClass;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct ConnectQueue {
    lines: [Line; ConnectClass::ALL.len()],
}

#[derive(Default)]
struct Line {
    streams: VecDeque<StreamId>,
    not_before: Mono,
}

impl ConnectQueue {
    /// Puts `stream` last. One that does not wait any more when its turn comes is left out by who asks.
    pub fn push(&mut self, class: ConnectClass, stream: StreamId) {
        self.lines[class.index()].streams.push_back(stream);
    }

    /// The head of the line, when the gate may be asked for it.
    pub fn head(&self, class: ConnectClass, now: Mono) -> Option<StreamId> {
        let line = &self.lines[class.index()];
        if now < line.not_before { None } else { line.streams.front().copied() }
    }

    /// The head has had its turn.
    pub fn pop(&mut self, class: ConnectClass) {
        let line = &mut self.lines[class.index()];
        line.streams.pop_front();
        if line.streams.is_empty() {
            *line = Line::default();
        }
    }

    /// The gate is not to be asked for this class before `at`.
    pub fn hold_back(&mut self, class: ConnectClass, at: Mono, now: Mono) {
        self.lines[class.index()].not_before = at.max(now.plus(PERMIT_EVERY_MIN));
    }

    /// When somebody may be asked for.
    pub fn deadline(&self) -> Mono {
        let waiting = self.lines.iter().filter(|line| !line.streams.is_empty());
        waiting.map(|line| line.not_before).min().unwrap_or(Mono::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(nanos: u64) -> Mono {
        Mono::from_nanos(nanos * 1_000_000_000)
    }

    #[test]
    fn the_head_of_each_line_asks_when_it_was_told_to() {
        use ConnectClass::{Exposed, Ordinary, Prices};
        let mut queue = ConnectQueue::default();
        assert_eq!((queue.head(Ordinary, at(5)), queue.deadline()), (None, Mono::NEVER));
        let ids: Vec<_> = (0..3).map(|slot| StreamId { slot, generation: 9 }).collect();
        ids.iter().for_each(|id| queue.push(Ordinary, *id));
        queue.push(Prices, ids[1]);
        queue.hold_back(Ordinary, at(100), at(5));
        assert_eq!((queue.head(Ordinary, at(99)), queue.head(Ordinary, at(100))), (None, Some(ids[0])));
        assert_eq!((queue.head(Prices, at(5)), queue.head(Exposed, at(5))), (Some(ids[1]), None));
        assert_eq!(queue.deadline(), Mono::ZERO);
        queue.pop(Prices);
        assert_eq!(queue.deadline(), at(100));
        queue.pop(Ordinary);
        assert_eq!(queue.head(Ordinary, at(100)), Some(ids[1]));
        // An answer that lies in the past costs no spinning.
        queue.hold_back(Ordinary, at(1), at(100));
        assert_eq!(queue.head(Ordinary, at(100)), None);
        assert_eq!(queue.deadline(), at(100).plus(PERMIT_EVERY_MIN));
        (0..2).for_each(|_| queue.pop(Ordinary));
        assert_eq!(queue.deadline(), Mono::NEVER);
    }
}
