//! What follows a failed `fdatasync`: the kernel may have dropped the pages and call them clean, so that file is given up,
//! and every unsynced record, still in memory, is written to a new one. Same epoch, same positions, same bytes.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::append::{AppendError, Appender};
use super::disk::{Disk, write_all_at};
use super::format::{SEGMENT_HEADER_LEN, segment_name};
use super::segments::{Current, Source};
use super::state::Segment;
use crate::domain::Now;
use crate::domain::limits::{SPOOL_RETRY_MAX, SPOOL_RETRY_MIN};

impl<D: Disk> Appender<D> {
    /// After a failed sync: writes every unsynced record to a new segment, same epoch, same positions, same bytes.
    pub(super) fn mend(&mut self, now: Now) -> Result<(), AppendError> {
        let Some(why) = self.core.state.lock().sync_failed.clone() else { return Ok(()) };
        if now.mono < self.retry_at {
            return Err(AppendError::SyncFailing(why));
        }
        let failures = {
            let mut state = self.core.state.lock();
            state.sync_failures_in_a_row += 1;
            state.sync_failures_in_a_row
        };
        if failures > 1 {
            let pause = SPOOL_RETRY_MIN.saturating_mul(1 << failures.min(10)).min(SPOOL_RETRY_MAX);
            self.retry_at = now.mono.plus(pause);
        }
        match self.rewrite(now) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.retry_at = self.retry_at.max(now.mono.plus(SPOOL_RETRY_MIN));
                Err(AppendError::SyncFailing(format!("{why}; then: {error}")))
            }
        }
    }

    fn rewrite(&mut self, now: Now) -> io::Result<()> {
        let (blocks, first) = {
            let state = self.core.state.lock();
            let synced = state.positions.synced;
            let unsynced = || state.tail.iter().filter(|block| block.end > synced);
            let first = unsynced().next().map_or(self.next_position, |block| block.first);
            let blocks: Vec<_> = unsynced().map(|block| Arc::clone(&block.bytes)).collect();
            (blocks, first)
        };
        let (id, file) = self.create_segment(Source::New, first, now)?;
        let mut len = SEGMENT_HEADER_LEN as u64;
        for bytes in &blocks {
            if let Err(error) = write_all_at(&*file, bytes, len) {
                let _ = self.core.disk.remove(&segment_name(id));
                return Err(error);
            }
            len += bytes.len() as u64;
        }
        {
            let mut guard = self.core.state.lock();
            let state = &mut *guard;
            let written = state.positions.written;
            let mut kept = VecDeque::with_capacity(state.segments.len() + 1);
            for mut segment in state.segments.drain(..) {
                if segment.first >= first {
                    state.doomed.push((segment.id, written));
                    continue;
                }
                if segment.end > first {
                    (segment.end, segment.file, segment.dirty) = (first, None, false);
                }
                kept.push_back(segment);
            }
            // A file that still holds synced records stays.
            state.doomed.retain(|(id, _)| kept.iter().all(|segment| segment.id != *id));
            kept.push_back(Segment {
                id,
                epoch: self.core.epoch,
                first,
                end: written.max(first),
                start: SEGMENT_HEADER_LEN as u64,
                len,
                newest: now.wall,
                dirty: true,
                file: Some(Arc::clone(&file)),
            });
            state.segments = kept;
            state.bytes = state.segments.iter().map(|segment| segment.len).sum();
            state.dir_dirty = true;
            state.dirty_since = Some(now.mono);
            state.sync_failed = None;
        }
        self.current = Some(Current { id, file, len, reserve: None });
        // If this fails, the records are safe all the same; the snapshot comes with the next segment.
        let _ = self.write_snapshot(now);
        Ok(())
    }
}
