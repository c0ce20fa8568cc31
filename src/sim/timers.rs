//! Deadlines of connections in a heap, so that thousands of idle ones cost nothing per turn.
//!
//! An entry may be out of date; the connection knows for which time it is entered, and any other entry is dropped.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::domain::Mono;

/// When which connection wants to be looked at.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Mono, u64)>>,
}

impl Timers {
    /// Enters connection `id` for `due`, unless `entered` is as early; `entered` then is the new time.
    pub(super) fn enter(&mut self, id: u64, due: Mono, entered: &mut Mono) {
        if due < *entered {
            *entered = due;
            self.heap.push(Reverse((due, id)));
        }
    }

    /// The time of the next entry.
    pub(super) fn due(&self) -> Mono {
        self.heap.peek().map_or(Mono::NEVER, |Reverse((at, _))| *at)
    }

    /// The next entry whose time has come.
    pub(super) fn poll(&mut self, now: Mono) -> Option<(Mono, u64)> {
        let &Reverse(entry) = self.heap.peek()?;
        (entry.0 <= now).then(|| {
            self.heap.pop();
            entry
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_time_is_entered_and_a_later_one_is_not() {
        let at = Mono::from_nanos;
        let mut timers = Timers::default();
        let mut entered = Mono::NEVER;
        for (due, is_entered) in [(50, 50), (70, 50), (50, 50), (20, 20)] {
            timers.enter(1, at(due), &mut entered);
            assert_eq!(entered, at(is_entered));
        }
        assert_eq!((timers.due(), timers.poll(at(19))), (at(20), None));
        assert_eq!(
            (timers.poll(at(60)), timers.poll(at(60)), timers.poll(at(60))),
            (Some((at(20), 1)), Some((at(50), 1)), None)
        );
        assert_eq!(timers.due(), Mono::NEVER);
    }
}
