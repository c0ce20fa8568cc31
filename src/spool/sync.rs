//! The syncer: groups `fdatasync`s, keeps the durable cursor, deletes what is no longer needed. One thread's role; a turn
//! is one bounded piece of work, so that a test drives it without the thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::disk::{Disk, DiskFile, read_up_to, write_all_at};
use super::format::{CURSOR_SLOT_LEN, CURSOR_SLOTS, CursorSlot};
use super::state::{Core, SpoolStatus, SyncMode};
use crate::domain::limits::{SPOOL_CURSOR_INTERVAL, SPOOL_SWEEP_INTERVAL, SPOOL_SYNC_INTERVAL};
use crate::domain::{Mono, Now};

/// The name of the cursor.
pub(super) const CURSOR: &str = "cursor";
const CURSOR_NEW: &str = "cursor.tmp";

/// The syncing part of a spool.
pub struct Syncer<D: Disk> {
    core: Arc<Core<D>>,
    cursor: CursorFile<D::File>,
    next_cursor: Mono,
    next_sweep: Mono,
}

/// What a turn did, for logs.
#[derive(Debug, Default)]
pub struct SyncTurn {
    /// Records became durable.
    pub synced: bool,
    /// The cursor was saved.
    pub saved: bool,
    /// A failed sync; the appender mends it at its next call.
    pub sync_failed: Option<String>,
    /// The cursor could not be saved; it is tried again in a new file.
    pub cursor_failed: Option<io::Error>,
    /// Old segments could not be deleted, or free space not be measured.
    pub sweep_failed: Option<io::Error>,
}

struct CursorFile<F> {
    file: Option<F>,
    sequence: u64,
    acked: u64,
    refill_until: u64,
}

impl<D: Disk> Syncer<D> {
    pub(super) fn new(core: Arc<Core<D>>, file: Option<D::File>, saved: Option<CursorSlot>) -> Self {
        let (sequence, acked, refill_until) =
            saved.map_or((0, 0, 0), |slot| (slot.sequence, slot.acked, slot.refill_until));
        let cursor = CursorFile { file, sequence, acked, refill_until };
        Syncer { core, cursor, next_cursor: Mono::ZERO, next_sweep: Mono::ZERO }
    }

    /// Does what is due.
    pub fn turn(&mut self, now: Now) -> SyncTurn {
        let due = match self.core.config.sync {
            SyncMode::Always => true,
            SyncMode::Interval(interval) => {
                self.core.state.lock().dirty_since.is_some_and(|since| since.plus(interval) <= now.mono)
            }
        };
        self.work(now, due, self.next_cursor <= now.mono, self.next_sweep <= now.mono)
    }

    /// Syncs everything and saves the cursor now: before the process ends.
    pub fn finish(&mut self, now: Now) -> SyncTurn {
        self.work(now, true, true, false)
    }

    /// Waits until something is due, at most `longest`.
    pub fn wait(&self, now: Now, longest: Duration) {
        let mut state = self.core.state.lock();
        let wait = match (self.core.config.sync, state.dirty_since) {
            // The appender mends it; there is nothing to do until then.
            _ if state.sync_failed.is_some() => SPOOL_SYNC_INTERVAL,
            (SyncMode::Interval(interval), Some(since)) => since.plus(interval).since(now.mono),
            (SyncMode::Always, Some(_)) => return,
            _ => {
                self.core.syncable.wait_for(&mut state, longest);
                return;
            }
        };
        // Its own group's time runs: further appends need not wake it.
        drop(state);
        std::thread::sleep(wait.min(longest));
    }

    /// Counts and states.
    #[must_use]
    pub fn status(&self) -> SpoolStatus {
        self.core.status()
    }

    fn work(&mut self, now: Now, sync: bool, cursor: bool, sweep: bool) -> SyncTurn {
        let mut turn = SyncTurn::default();
        if sync {
            match self.sync() {
                Ok(synced) => turn.synced = synced,
                Err(why) => turn.sync_failed = Some(why),
            }
            if turn.synced
                && let Err(error) = self.core.bury()
            {
                turn.sweep_failed = Some(error);
            }
        }
        if cursor {
            match self.save_cursor(now) {
                Ok(saved) => turn.saved = saved,
                Err(error) => {
                    self.cursor.file = None;
                    turn.cursor_failed = Some(error);
                }
            }
            self.next_cursor = now.mono.plus(SPOOL_CURSOR_INTERVAL);
        }
        if sweep {
            if let Err(error) = self.core.sweep(now.wall, 0).and_then(|_| self.measure_free()) {
                turn.sweep_failed = Some(error);
            }
            self.next_sweep = now.mono.plus(SPOOL_SWEEP_INTERVAL);
        }
        turn
    }

    /// Syncs all that is written. After a failure nothing is synced until the appender has written it anew.
    fn sync(&mut self) -> Result<bool, String> {
        let mut files: SmallVec<[(u64, Arc<D::File>); 4]> = SmallVec::new();
        let (target, dir, since) = {
            let mut state = self.core.state.lock();
            if state.sync_failed.is_some() {
                return Ok(false);
            }
            for segment in state.segments.iter().filter(|segment| segment.dirty) {
                if let Some(file) = &segment.file {
                    files.push((segment.id, Arc::clone(file)));
                }
            }
            if files.is_empty() && !state.dir_dirty {
                state.dirty_since = None;
                return Ok(false);
            }
            (state.positions.written, std::mem::take(&mut state.dir_dirty), state.dirty_since.take())
        };
        let mut done = files.iter().try_for_each(|(id, file)| {
            file.sync_data().map_err(|error| format!("fdatasync of segment {id:016x}: {error}"))
        });
        if done.is_ok() && dir {
            done = self.core.disk.sync_dir().map_err(|error| format!("fsync of the spool's folder: {error}"));
        }
        let mut guard = self.core.state.lock();
        let state = &mut *guard;
        if let Err(why) = done {
            state.sync_failed = Some(why.clone());
            state.sync_failures += 1;
            state.dir_dirty |= dir;
            state.dirty_since = since.or(state.dirty_since);
            return Err(why);
        }
        state.sync_failures_in_a_row = 0;
        state.positions.synced = target;
        let written = state.positions.written;
        let last = state.segments.back().map(|segment| segment.id);
        for segment in state.segments.iter_mut().filter(|segment| files.iter().any(|(id, _)| *id == segment.id)) {
            if segment.end <= target {
                segment.dirty = false;
                // The appender holds the last one itself, and this handle serves its next sync.
                if Some(segment.id) != last {
                    segment.file = None;
                }
            }
        }
        state.unsynced_bytes =
            state.tail.iter().rev().take_while(|block| block.end > target).map(|block| block.bytes.len()).sum();
        if written == target {
            state.dirty_since = None;
        }
        state.trim_tail(self.core.config.tail_bytes_max);
        state.check(self.core.config.sync);
        drop(guard);
        self.core.readable.notify_all();
        Ok(true)
    }

    fn save_cursor(&mut self, now: Now) -> io::Result<bool> {
        let (acked, synced, refill_until) = {
            let state = self.core.state.lock();
            (state.positions.acked.min(state.positions.synced), state.positions.synced, state.refill_until)
        };
        if self.cursor.file.is_some() && (self.cursor.acked, self.cursor.refill_until) == (acked, refill_until) {
            return Ok(false);
        }
        assert!(acked <= synced, "the durable cursor may not pass synced: {acked} > {synced}");
        let sequence = self.cursor.sequence + 1;
        let epoch = self.core.epoch;
        let slot = CursorSlot { sequence, acked, synced, epoch, saved_at: now.wall, refill_until };
        match &self.cursor.file {
            Some(file) => {
                write_all_at(file, &slot.encode(), CURSOR_SLOTS[(sequence % 2) as usize])?;
                file.sync_data()?;
            }
            None => {
                // Absent, or a sync of it failed: a new file takes its place whole.
                let disk = &self.core.disk;
                let _ = disk.remove(CURSOR_NEW);
                let file = disk.create(CURSOR_NEW)?;
                write_all_at(&file, &slot.encode(), CURSOR_SLOTS[(sequence % 2) as usize])?;
                file.sync_data()?;
                disk.rename(CURSOR_NEW, CURSOR)?;
                disk.sync_dir()?;
                self.cursor.file = Some(file);
            }
        }
        (self.cursor.sequence, self.cursor.acked, self.cursor.refill_until) = (sequence, acked, refill_until);
        let mut state = self.core.state.lock();
        state.positions.cursor = acked;
        state.check(self.core.config.sync);
        Ok(true)
    }

    fn measure_free(&self) -> io::Result<()> {
        let free = self.core.disk.free_space()?;
        self.core.state.lock().free_low = free < self.core.config.free_min;
        Ok(())
    }
}

/// The newest whole slot, and whether a cursor file was there at all.
pub(super) fn read_cursor<F: DiskFile>(file: &F) -> io::Result<Option<CursorSlot>> {
    let mut newest: Option<CursorSlot> = None;
    for offset in CURSOR_SLOTS {
        let mut bytes = [0; CURSOR_SLOT_LEN];
        let len = read_up_to(file, &mut bytes, offset)?;
        if let Some(slot) = CursorSlot::read(&bytes[..len])
            && newest.is_none_or(|newest| slot.sequence > newest.sequence)
        {
            newest = Some(slot);
        }
    }
    Ok(newest)
}
