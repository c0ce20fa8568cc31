//! The newest price of every symbol, and which of them the database has not been given yet.
//!
//! A mark price is worthless once a newer one exists, so a value that was not taken before the next arrives is replaced
//! ("conflated", counted). The dirty slots form one list, threaded through the slots themselves: a slot that is
//! overwritten moves to the end, so that the list is always in the order of the frames and, within a frame, in the
//! order of the feed, and values of one frame stand together. Memory is fixed: [`SYMBOLS_MAX`] slots.
//!
//! Two threads meet here under one parking_lot mutex: the loop applies a frame that it has parsed beforehand, the
//! writer takes what is dirty. Both hold the lock for plain copies only, about ten microseconds for a frame of 750.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::frame_stamp::FrameStamp;
use crate::domain::limits::SYMBOLS_MAX;
use crate::domain::{Mono, PriceText};

/// A symbol's place on the board: dense, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

impl Slot {
    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A value that the writer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whose price.
    pub slot: Slot,
    /// The price.
    pub price: PriceText,
    /// The frame that carried it.
    pub stamp: FrameStamp,
}

/// Shared between the loop and the writer.
pub struct PriceBoard {
    state: Mutex<BoardState>,
    changed: Condvar,
}

/// What happened to the board since the process started. `applied = taken + conflated + dirty` as long as nothing was
/// put back or marked again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoardCounts {
    /// Values put on the board.
    pub applied: u64,
    /// Values overwritten before they were taken.
    pub conflated: u64,
    /// Values taken.
    pub taken: u64,
    /// Values put back after a failed write.
    pub put_back: u64,
    /// Slots dirty now.
    pub dirty: usize,
    /// Slots that have a name.
    pub symbols: usize,
}

/// What the loop puts on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewPrice {
    pub(super) slot: Slot,
    pub(super) price: PriceText,
}

/// No slot: the ends of the dirty list.
const NONE: u32 = u32::MAX;

struct BoardState {
    names: Vec<Arc<str>>,
    cells: Vec<Cell>,
    head: u32,
    tail: u32,
    counts: BoardCounts,
    /// A slot was marked dirty again behind newer frames.
    out_of_order: bool,
    woken: bool,
}

#[derive(Clone, Copy)]
struct Cell {
    price: Option<PriceText>,
    dirty: bool,
    prev: u32,
    next: u32,
    stamp: FrameStamp,
}

impl Default for PriceBoard {
    fn default() -> Self {
        PriceBoard::new()
    }
}

impl PriceBoard {
    /// An empty board with all memory it will ever need.
    #[must_use]
    pub fn new() -> Self {
        let state = BoardState {
            names: Vec::with_capacity(SYMBOLS_MAX),
            cells: Vec::with_capacity(SYMBOLS_MAX),
            head: NONE,
            tail: NONE,
            counts: BoardCounts::default(),
            out_of_order: false,
            woken: false,
        };
        PriceBoard { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Upper bound of the board's memory, for the memory plan; names at their longest included.
    #[must_use]
    pub const fn bytes_max() -> usize {
        let name = size_of::<Arc<str>>() + 2 * size_of::<usize>() + crate::domain::limits::SYMBOL_LEN_MAX;
        SYMBOLS_MAX * (size_of::<Cell>() + name)
    }

    // ---- the writer's side ----

    /// Appends every dirty value to `out` and leaves none dirty. Ordered by frame, within a frame by the feed.
    pub fn take_dirty(&self, out: &mut Vec<Taken>) {
        // Reserved before the lock is held; in steady state the room is there.
        out.reserve(SYMBOLS_MAX);
        let first = out.len();
        let mut state = self.state.lock();
        let mut at = state.head;
        while at != NONE {
            let cell = &mut state.cells[at as usize];
            cell.dirty = false;
            let price = cell.price.expect("only a slot with a price gets dirty");
            out.push(Taken { slot: Slot(at), price, stamp: cell.stamp });
            at = cell.next;
        }
        (state.head, state.tail) = (NONE, NONE);
        state.counts.taken += (out.len() - first) as u64;
        state.counts.dirty = 0;
        let out_of_order = std::mem::take(&mut state.out_of_order);
        drop(state);
        if out_of_order {
            out[first..].sort_unstable_by_key(|taken| (taken.stamp.seq, taken.slot));
        }
    }

    /// Marks values dirty again whose write failed, except those that a newer value has overtaken. Nothing but the mark
    /// changes: an older value never comes back over a newer one.
    pub fn put_back(&self, failed: &[Taken]) {
        let mut state = self.state.lock();
        // From the last to the first, each to the front: they are older than whatever is dirty by now.
        for taken in failed.iter().rev() {
            let at = taken.slot.0;
            let Some(cell) = state.cells.get(taken.slot.index()) else { continue };
            if cell.dirty || cell.stamp.seq != taken.stamp.seq {
                continue;
            }
            let head = state.head;
            if head != NONE && state.cells[head as usize].stamp.seq < taken.stamp.seq {
                state.out_of_order = true;
            }
            state.link_front(at);
            state.counts.put_back += 1;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Marks a slot dirty whose value was taken before: its symbol has just got a row. Nothing happens when it is dirty
    /// already or has no price yet.
    pub fn mark_dirty(&self, slot: Slot) {
        let mut state = self.state.lock();
        match state.cells.get(slot.index()) {
            Some(cell) if cell.price.is_some() && !cell.dirty => {}
            _ => return,
        }
        state.out_of_order = true;
        state.link_front(slot.0);
        drop(state);
        self.changed.notify_one();
    }

    /// Appends the names of the slots `known..` to `out`. Names are append-only: name number i is slot i's for ever.
    pub fn names_since(&self, known: usize, out: &mut Vec<Arc<str>>) {
        let state = self.state.lock();
        out.extend(state.names.iter().skip(known).cloned());
    }

    /// The newest value of a slot, dirty or not.
    #[must_use]
    pub fn latest(&self, slot: Slot) -> Option<Taken> {
        let state = self.state.lock();
        let cell = state.cells.get(slot.index())?;
        Some(Taken { slot, price: cell.price?, stamp: cell.stamp })
    }

    /// When the socket became readable for the slot's newest value.
    #[must_use]
    pub fn seen(&self, slot: Slot) -> Option<Mono> {
        self.latest(slot).map(|taken| taken.stamp.readable_at)
    }

    /// Appends the slots whose newest value is older than `before`.
    pub fn unseen(&self, before: Mono, out: &mut Vec<Slot>) {
        let state = self.state.lock();
        let stale = state.cells.iter().enumerate().filter(|(_, cell)| cell.stamp.readable_at < before);
        out.extend(stale.map(|(at, _)| Slot(at as u32)));
    }

    /// Whether anything waits to be written.
    #[must_use]
    pub fn has_dirty(&self) -> bool {
        self.state.lock().head != NONE
    }

    /// When the socket became readable for the value that has been waiting longest.
    #[must_use]
    pub fn dirty_since(&self) -> Option<Mono> {
        let state = self.state.lock();
        state.cells.get(state.head as usize).map(|cell| cell.stamp.readable_at)
    }

    /// Waits until something is dirty, [`PriceBoard::wake`] is called or `timeout` passes. Returns whether anything is
    /// dirty.
    pub fn wait_dirty(&self, timeout: Duration) -> bool {
        let mut state = self.state.lock();
        let unready = |state: &mut BoardState| state.head == NONE && !state.woken;
        self.changed.wait_while_for(&mut state, unready, timeout);
        state.woken = false;
        state.head != NONE
    }

    /// Waits until [`PriceBoard::wake`] is called or `timeout` passes, whatever is dirty: a pause of the writer that a
    /// stop can cut short. Returns whether it was woken.
    pub fn wait_woken(&self, timeout: Duration) -> bool {
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, |state| !state.woken, timeout);
        std::mem::take(&mut state.woken)
    }

    /// Ends a wait, the current or the next one.
    pub fn wake(&self) {
        self.state.lock().woken = true;
        self.changed.notify_one();
    }

    /// The counters at this moment.
    #[must_use]
    pub fn counts(&self) -> BoardCounts {
        self.state.lock().counts
    }

    // ---- the loop's side ----

    /// Puts one frame's values on the board, at most one for a slot, after the names of slots that are new; tells the
    /// writer once. Returns how many values were overwritten untaken.
    pub(super) fn apply(&self, stamp: FrameStamp, new_names: &mut Vec<Arc<str>>, values: &[NewPrice]) -> u64 {
        let mut state = self.state.lock();
        for name in new_names.drain(..) {
            assert!(state.names.len() < SYMBOLS_MAX, "the symbol table hands out at most SYMBOLS_MAX slots");
            state.names.push(name);
            state.cells.push(Cell { price: None, dirty: false, prev: NONE, next: NONE, stamp: FrameStamp::default() });
        }
        state.counts.symbols = state.names.len();
        let mut conflated = 0;
        for value in values {
            let cell = &mut state.cells[value.slot.index()];
            cell.price = Some(value.price);
            cell.stamp = stamp;
            if cell.dirty {
                conflated += 1;
                state.unlink(value.slot.0);
            }
            state.link_back(value.slot.0);
        }
        state.counts.applied += values.len() as u64;
        state.counts.conflated += conflated;
        drop(state);
        if !values.is_empty() {
            self.changed.notify_one();
        }
        conflated
    }
}

impl BoardState {
    fn link_back(&mut self, at: u32) {
        let tail = self.tail;
        let cell = &mut self.cells[at as usize];
        (cell.dirty, cell.prev, cell.next) = (true, tail, NONE);
        match self.cells.get_mut(tail as usize) {
            Some(last) => last.next = at,
            None => self.head = at,
        }
        self.tail = at;
        self.counts.dirty += 1;
    }

    fn link_front(&mut self, at: u32) {
        let head = self.head;
        let cell = &mut self.cells[at as usize];
        (cell.dirty, cell.prev, cell.next) = (true, NONE, head);
        match self.cells.get_mut(head as usize) {
            Some(first) => first.prev = at,
            None => self.tail = at,
        }
        self.head = at;
        self.counts.dirty += 1;
    }

    fn unlink(&mut self, at: u32) {
        let cell = &mut self.cells[at as usize];
        let (prev, next) = (cell.prev, cell.next);
        cell.dirty = false;
        match self.cells.get_mut(prev as usize) {
            Some(before) => before.next = next,
            None => self.head = next,
        }
        match self.cells.get_mut(next as usize) {
            Some(after) => after.prev = prev,
            None => self.tail = prev,
        }
        self.counts.dirty -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Wall;

    fn stamp(seq: u64) -> FrameStamp {
        let at = 1_000 * seq;
        FrameStamp { seq, received_at: Wall::from_millis(at as i64), readable_at: Mono::from_nanos(at), connection: 1 }
    }

    fn board(symbols: usize) -> PriceBoard {
        let board = PriceBoard::new();
        let mut names = (0..symbols).map(|n| Arc::from(format!("S{n}"))).collect();
        board.apply(stamp(0), &mut names, &[]);
        board
    }

    fn apply(board: &PriceBoard, seq: u64, values: &[(u32, &str)]) -> u64 {
        let values: Vec<_> = values
            .iter()
            .map(|&(slot, price)| NewPrice { slot: Slot(slot), price: PriceText::parse(price.as_bytes()).unwrap() })
            .collect();
        board.apply(stamp(seq), &mut Vec::new(), &values)
    }

    fn take(board: &PriceBoard) -> Vec<Taken> {
        let mut out = Vec::new();
        board.take_dirty(&mut out);
        out
    }

    #[track_caller]
    fn check(taken: &[Taken], expected: &[(u32, &str, u64)]) {
        let found: Vec<_> = taken.iter().map(|t| (t.slot.0, t.price.as_str(), t.stamp.seq)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_newest_wins_and_frames_stay_together() {
        let board = board(4);
        assert!(!board.has_dirty() && board.dirty_since().is_none());
        assert_eq!(apply(&board, 1, &[(0, "1"), (1, "2"), (2, "3")]), 0);
        assert_eq!(apply(&board, 2, &[(1, "20"), (3, "40")]), 1);
        assert_eq!(board.dirty_since(), Some(stamp(1).readable_at));
        check(&take(&board), &[(0, "1", 1), (2, "3", 1), (1, "20", 2), (3, "40", 2)]);
        check(&take(&board), &[]);
        let counts = board.counts();
        assert_eq!((counts.applied, counts.conflated, counts.taken, counts.dirty), (5, 1, 4, 0));
        assert_eq!(board.latest(Slot(1)).unwrap().price.as_str(), "20");
        assert_eq!(board.seen(Slot(3)), Some(stamp(2).readable_at));
    }

    #[test]
    fn a_failed_write_comes_back_only_where_nothing_is_newer() {
        let board = board(4);
        apply(&board, 1, &[(0, "1"), (1, "2"), (2, "3")]);
        let failed = take(&board);
        // 1 is overtaken and still dirty; 2 is overtaken and already written.
        apply(&board, 2, &[(2, "30")]);
        let written = take(&board);
        check(&written, &[(2, "30", 2)]);
        apply(&board, 3, &[(1, "20")]);
        board.put_back(&failed);
        board.put_back(&failed);
        check(&take(&board), &[(0, "1", 1), (1, "20", 3)]);
        assert_eq!(board.counts().put_back, 1);
        // Out of order on purpose: the later frame is put back first.
        board.put_back(&written);
        board.put_back(&[failed[0]]);
        check(&take(&board), &[(0, "1", 1), (2, "30", 2)]);
        board.put_back(&[failed[0]]);
        board.put_back(&written);
        check(&take(&board), &[(0, "1", 1), (2, "30", 2)]);
    }

    #[test]
    fn a_symbol_that_just_got_a_row_is_written_in_its_own_frame() {
        let board = board(5);
        apply(&board, 1, &[(0, "1"), (1, "2")]);
        apply(&board, 2, &[(2, "3")]);
        take(&board);
        apply(&board, 3, &[(3, "4")]);
        for slot in [2, 0, 1, 3, 4, 99] {
            board.mark_dirty(Slot(slot));
        }
        check(&take(&board), &[(0, "1", 1), (1, "2", 1), (2, "3", 2), (3, "4", 3)]);
    }

    #[test]
    fn names_are_append_only_and_the_unseen_are_known() {
        let board = board(2);
        board.apply(stamp(1), &mut vec![Arc::from("NEW")], &[]);
        let mut names = Vec::new();
        board.names_since(1, &mut names);
        assert_eq!(names, [Arc::from("S1"), Arc::from("NEW")]);
        apply(&board, 5, &[(1, "1")]);
        let mut unseen = Vec::new();
        board.unseen(stamp(5).readable_at, &mut unseen);
        assert_eq!(unseen, [Slot(0), Slot(2)]);
    }

    #[test]
    fn a_wait_ends_by_a_frame_or_a_wake() {
        let board = Arc::new(board(1));
        assert!(!board.wait_dirty(Duration::ZERO));
        board.wake();
        assert!(!board.wait_dirty(Duration::from_secs(60)), "woken, nothing dirty");
        let waiter = std::thread::spawn({
            let board = Arc::clone(&board);
            move || board.wait_dirty(Duration::from_secs(60))
        });
        apply(&board, 1, &[(0, "1")]);
        assert!(waiter.join().unwrap());
        assert!(!board.wait_woken(Duration::from_millis(1)), "dirty alone does not end a pause");
        board.wake();
        assert!(board.wait_woken(Duration::from_secs(60)));
    }
}
