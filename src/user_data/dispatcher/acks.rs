//! How far the spool may be acknowledged: behind the last record whose job is safe, but never past one whose row or
//! quarantine file is still missing. Those hold it for [`ACK_HOLD_MAX`] at most: a database that is away must not stop jobs.

use std::collections::VecDeque;

use crate::domain::Mono;
use crate::domain::limits::ACK_HOLD_MAX;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Jobs that were pushed and are not acknowledged by the sink, in order.
    pushed: VecDeque<u64>,
    /// Behind the last record that was looked at.
    seen_end: u64,
    /// Records that were looked at and may not be acknowledged yet: the spool counts them as in flight. Positions leap, so
    /// their difference is no number of records.
    seen: VecDeque<u64>,
    rows: VecDeque<Pin>,
    poison: VecDeque<Pin>,
}

#[derive(Clone, Copy, Debug)]
struct Pin {
    position: u64,
    until: Mono,
    /// The row's number with those who write it; `None` until they have it.
    row: Option<u64>,
}

impl Acks {
    /// Everything begins again at `position`.
    pub fn restart(&mut self, position: u64) {
        *self = Acks { seen_end: position, ..Acks::default() };
    }

    /// A record was looked at: its job is in the batch at hand, or it has none.
    pub fn handle_seen(&mut self, position: u64) {
        self.seen_end = position + 1;
        self.seen.push_back(position);
    }

    pub fn handle_pushed(&mut self, position: u64) {
        self.pushed.push_back(position);
    }

    /// The record needs a row that is not yet in the database.
    pub fn await_row(&mut self, position: u64, now: Mono) {
        self.rows.push_back(Pin { position, until: now.plus(ACK_HOLD_MAX), row: None });
    }

    /// The record's row is handed over, under this number.
    pub fn handle_row_offered(&mut self, position: u64, number: u64) {
        if let Some(pin) = self.rows.iter_mut().find(|pin| pin.position == position) {
            pin.row = Some(number);
        }
    }

    /// All rows up to this number are there: the others go on waiting, and hold up none of these.
    pub fn handle_rows_settled(&mut self, number: u64) {
        self.rows.retain(|pin| pin.row.is_none_or(|row| row > number));
    }

    /// The record has no quarantine file yet.
    pub fn await_quarantine(&mut self, position: u64, now: Mono) {
        self.poison.push_back(Pin { position, until: now.plus(ACK_HOLD_MAX), row: None });
    }

    pub fn handle_quarantined(&mut self, position: u64) {
        self.poison.retain(|pin| pin.position != position);
    }

    /// Lets go of what has waited too long, or of all of it. How many those were.
    pub fn lift(&mut self, now: Mono, all: bool) -> usize {
        let before = self.rows.len() + self.poison.len();
        self.rows.retain(|pin| !all && now < pin.until);
        self.poison.retain(|pin| !all && now < pin.until);
        before - self.rows.len() - self.poison.len()
    }

    /// Records that were looked at and may not be acknowledged yet.
    pub fn in_flight(&self) -> usize {
        self.seen.len()
    }

    /// Whether a row is awaited.
    pub fn awaits_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Every record before this one may be acknowledged. `acked` is the last job that the sink has acknowledged,
    /// `unpushed` the first one of the batch at hand.
    pub fn end(&mut self, acked: Option<u64>, unpushed: Option<u64>) -> u64 {
        if let Some(acked) = acked {
            while self.pushed.pop_front_if(|position| *position <= acked).is_some() {}
        }
        let pins = self.rows.iter().chain(&self.poison).map(|pin| pin.position);
        let end = self.pushed.front().copied().into_iter().chain(unpushed).chain(pins).fold(self.seen_end, u64::min);
        while self.seen.pop_front_if(|position| *position < end).is_some() {}
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_acknowledged_before_its_time() {
        let mut acks = Acks::default();
        acks.restart(5);
        assert_eq!(acks.end(Some(900), None), 5, "what an earlier life acknowledged says nothing");
        for position in 5..10 {
            acks.handle_seen(position);
        }
        // 5 and 8 are jobs, the rest are marks.
        assert_eq!(acks.end(None, Some(5)), 5);
        acks.handle_pushed(5);
        assert_eq!(acks.end(None, Some(8)), 5);
        assert_eq!(acks.end(Some(5), Some(8)), 8);
        acks.handle_pushed(8);
        acks.await_row(6, Mono::ZERO);
        assert_eq!(acks.end(Some(8), None), 6);
        acks.await_quarantine(7, Mono::ZERO);
        acks.handle_row_offered(6, 3);
        acks.handle_rows_settled(2);
        assert_eq!(acks.end(Some(8), None), 6, "a row before it is there, its own is not");
        acks.handle_rows_settled(3);
        assert_eq!(acks.end(Some(8), None), 7);
        assert_eq!(acks.lift(Mono::from_nanos(1), false), 0);
        assert_eq!(acks.lift(Mono::ZERO.plus(ACK_HOLD_MAX), false), 1);
        assert_eq!(acks.end(Some(8), None), 10);
        acks.await_row(9, Mono::ZERO);
        assert_eq!(acks.in_flight(), 0);
        acks.handle_seen(900_000);
        assert_eq!((acks.end(Some(8), None), acks.in_flight()), (9, 1), "behind a leap there is one record");
        assert_eq!((acks.lift(Mono::ZERO, true), acks.end(Some(8), None)), (1, 900_001));
    }
}
