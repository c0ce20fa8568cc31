//! What `binance_listen_keys` must be told, account by account. While the database is away the newest wins, so what waits
//! is one entry an account, whatever happened meanwhile (facts/incumbent.md §1.2).

use std::collections::BTreeMap;

use crate::domain::limits::FRAME_STAMP_EVERY;
use crate::domain::{Mono, Wall};
use crate::exchange::binance::listen_key::ListenKey;

/// Unwritten changes of all accounts.
#[derive(Debug, Default)]
pub struct RowBook {
    pending: BTreeMap<i64, RowChange>,
    frames: BTreeMap<i64, FrameStamp>,
}

/// Unwritten changes of one row, in the order in which they are carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowChange {
    /// The row goes.
    pub delete: bool,
    /// The row comes, or takes a key at the start of a stream: key, whether it is newly given out, when.
    pub put: Option<(ListenKey, bool, Wall)>,
    /// The key was extended: when, and the key that took its place.
    pub kept: Option<(Wall, Option<ListenKey>)>,
    /// Failures since.
    pub failures: u8,
}

impl RowChange {
    /// Both changes as one.
    #[must_use]
    pub fn then(self, later: RowChange) -> RowChange {
        if later.delete {
            return later;
        }
        if later.put.is_some() {
            return RowChange { delete: self.delete, ..later };
        }
        let Some((at, rotated)) = later.kept else {
            return RowChange { failures: self.failures.saturating_add(later.failures), ..self };
        };
        match self.put {
            Some((key, is_new, _)) => {
                let is_new = is_new || rotated.is_some();
                RowChange { put: Some((rotated.unwrap_or(key), is_new, at)), failures: later.failures, ..self }
            }
            None => {
                let rotated = rotated.or(self.kept.and_then(|(_, rotated)| rotated));
                RowChange {
                    kept: Some((at, rotated)),
                    failures: later.failures,
                    ..RowChange { put: None, kept: None, ..self }
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct FrameStamp {
    newest: Wall,
    written: Option<Wall>,
    not_before: Mono,
}

/// Changes on their way to the database.
#[derive(Clone, Debug, Default)]
pub struct RowBatch {
    /// In ascending account id.
    pub rows: Vec<(i64, RowChange)>,
    /// `last_frame_at`.
    pub frames: Vec<(i64, Wall)>,
}

impl RowBatch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.frames.is_empty()
    }
}

impl RowBook {
    /// A key at the start of a stream, or of a row that somebody removed.
    pub fn put(&mut self, account: i64, key: ListenKey, is_new: bool, at: Wall) {
        self.add(account, RowChange { put: Some((key, is_new, at)), ..RowChange::default() });
    }

    /// The key was extended; `rotated` took its place.
    pub fn kept(&mut self, account: i64, at: Wall, rotated: Option<ListenKey>) {
        self.add(account, RowChange { kept: Some((at, rotated)), ..RowChange::default() });
    }

    /// A call failed.
    pub fn failed(&mut self, account: i64) {
        self.add(account, RowChange { failures: 1, ..RowChange::default() });
    }

    /// The account is not streamed.
    pub fn delete(&mut self, account: i64) {
        self.frames.remove(&account);
        self.add(account, RowChange { delete: true, ..RowChange::default() });
    }

    /// The account's socket was active, pings included. Written every 30 s at most.
    pub fn active(&mut self, account: i64, at: Wall) {
        let stamp = FrameStamp { newest: at, written: None, not_before: Mono::ZERO };
        let stamp = self.frames.entry(account).or_insert(stamp);
        stamp.newest = stamp.newest.max(at);
    }

    /// Whether something about this row is unwritten.
    #[must_use]
    pub fn has_pending(&self, account: i64) -> bool {
        self.pending.contains_key(&account)
    }

    /// Rows that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether no row waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// When there is something to write.
    #[must_use]
    pub fn due(&self) -> Mono {
        if !self.pending.is_empty() {
            return Mono::ZERO;
        }
        let unwritten = self.frames.values().filter(|stamp| stamp.is_unwritten());
        unwritten.map(|stamp| stamp.not_before).min().unwrap_or(Mono::NEVER)
    }

    /// Takes what is due, of at most `max` accounts.
    pub fn take(&mut self, max: usize, now: Mono) -> RowBatch {
        let mut batch = RowBatch::default();
        while batch.rows.len() < max
            && let Some(row) = self.pending.pop_first()
        {
            batch.rows.push(row);
        }
        let ready = self.frames.iter_mut().filter(|(_, stamp)| stamp.is_unwritten() && stamp.not_before <= now);
        for (&account, stamp) in ready.take(max) {
            batch.frames.push((account, stamp.newest));
            (stamp.written, stamp.not_before) = (Some(stamp.newest), now.plus(FRAME_STAMP_EVERY));
        }
        batch
    }

    /// Could not be written; what came meanwhile stands behind it.
    pub fn put_back(&mut self, batch: RowBatch) {
        for (account, earlier) in batch.rows {
            let both = match self.pending.remove(&account) {
                Some(later) => earlier.then(later),
                None => earlier,
            };
            self.pending.insert(account, both);
        }
        for (account, _) in batch.frames {
            if let Some(stamp) = self.frames.get_mut(&account) {
                (stamp.written, stamp.not_before) = (None, Mono::ZERO);
            }
        }
    }

    fn add(&mut self, account: i64, change: RowChange) {
        let row = self.pending.entry(account).or_default();
        *row = std::mem::take(row).then(change);
    }
}

impl FrameStamp {
    fn is_unwritten(&self) -> bool {
        self.written.is_none_or(|written| written < self.newest)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(letter: char) -> ListenKey {
        ListenKey::new(&letter.to_string().repeat(64)).unwrap()
    }

    fn at(seconds: i64) -> Wall {
        Wall::from_millis(seconds * 1_000)
    }

    fn change() -> RowChange {
        RowChange::default()
    }

    #[test]
    fn what_waits_is_one_change_a_row() {
        let put = |letter, is_new, s| RowChange { put: Some((key(letter), is_new, at(s))), ..change() };
        let kept = |s, letter: Option<char>| RowChange { kept: Some((at(s), letter.map(key))), ..change() };
        let failed = |n| RowChange { failures: n, ..change() };
        let delete = || RowChange { delete: true, ..change() };
        check([put('a', true, 1), kept(2, None)], put('a', true, 2));
        check([put('a', false, 1), kept(2, Some('b'))], put('b', true, 2));
        check([put('a', true, 1), failed(2)], RowChange { failures: 2, ..put('a', true, 1) });
        check([put('a', true, 1), put('b', false, 2)], put('b', false, 2));
        check([kept(1, Some('b')), kept(2, None)], kept(2, Some('b')));
        check([kept(1, Some('b')), kept(2, Some('c'))], kept(2, Some('c')));
        check([kept(1, None), failed(1)], RowChange { failures: 1, ..kept(1, None) });
        check([failed(3), kept(1, None)], kept(1, None));
        check([failed(250), failed(9)], failed(255));
        check([put('a', true, 1), delete()], delete());
        check([delete(), put('a', true, 1)], RowChange { delete: true, ..put('a', true, 1) });
        check([RowChange { failures: 2, ..put('a', true, 1) }, kept(3, None)], put('a', true, 3));
    }

    #[test]
    fn stamps_are_written_every_half_minute_and_a_failed_write_again() {
        let now = |s| Mono::ZERO.plus(Duration::from_secs(s));
        let mut book = RowBook::default();
        let mut written = Vec::new();
        for second in 0..100u64 {
            book.active(7, at(second as i64));
            if book.due() <= now(second) {
                let batch = book.take(10, now(second));
                if second == 30 {
                    book.put_back(batch);
                    assert!(book.due() <= now(second));
                } else {
                    written.extend(batch.frames);
                }
            }
        }
        assert_eq!(written, [(7, at(0)), (7, at(31)), (7, at(61)), (7, at(91))]);
        book.delete(7);
        let batch = book.take(10, now(200));
        assert_eq!((batch.rows.len(), batch.frames.len(), book.due()), (1, 0, Mono::NEVER));
    }

    #[test]
    fn a_batch_is_bounded_and_what_comes_back_stands_in_front() {
        let mut book = RowBook::default();
        (0..100).for_each(|account| book.failed(account));
        let batch = book.take(64, Mono::ZERO);
        assert_eq!((batch.rows.len(), book.len()), (64, 36));
        book.kept(3, at(5), None);
        book.put_back(batch);
        assert_eq!(book.len(), 100);
        let rows: BTreeMap<i64, RowChange> = book.take(100, Mono::ZERO).rows.into_iter().collect();
        assert_eq!(rows[&3], RowChange { kept: Some((at(5), None)), ..change() });
        assert_eq!(rows[&4].failures, 1);
    }

    #[track_caller]
    fn check([earlier, later]: [RowChange; 2], expected: RowChange) {
        assert_eq!(earlier.then(later), expected);
    }
}
