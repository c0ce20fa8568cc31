//! Opening a spool: what is there, what of it is whole, what is gone; then the first segment of a new epoch.
//!
//! Control plane. Nothing is dropped silently: whatever cannot be handed on stands in the [`OpenReport`].

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::append::Appender;
use super::disk::{Disk, DiskFile, LockRefused, read_up_to, write_all_at};
use super::find::{FoundFile, find_segments, open_cursor, tidy};
use super::format::{Epoch, SEGMENT_HEADER_LEN, SegmentHeader, segment_name};
use super::read::Reader;
use super::report::{Loss, OpenError, OpenReport, failed};
use super::segments::RESERVE;
use super::state::{Core, Positions, Segment, SpoolConfig, State};
use super::survey::{Fold, scan};
use super::sync::Syncer;
use super::windows::{Window, holes, resolve};
use crate::domain::Now;
use crate::domain::limits::SPOOL_UNSYNCED_RECORDS_MAX;

/// The three parts of an open spool, each for a thread of its own, and what was found.
pub struct Opened<D: Disk> {
    /// For the spooler.
    pub appender: Appender<D>,
    /// For the syncer.
    pub syncer: Syncer<D>,
    /// For the dispatcher.
    pub reader: Reader<D>,
    /// What was found.
    pub report: OpenReport,
}

/// Opens the spool that the disk holds, or begins one. `epoch` is 128 fresh random bits.
///
/// # Errors
/// [`OpenError`]. A full disk is none: what is there can be handed out, and marks and frames wait for room.
pub fn open<D: Disk>(disk: D, config: SpoolConfig, epoch: Epoch, now: Now) -> Result<Opened<D>, OpenError> {
    disk.lock(&config.holder).map_err(|refused| match refused {
        LockRefused::Held(holder) => OpenError::Locked { holder },
        LockRefused::Io(error) => failed("lock the spool's folder", error),
    })?;
    let mut report = OpenReport::default();
    let names = tidy(&disk, &mut report)?;
    let (cursor_file, cursor) = open_cursor(&disk, &names, &mut report)?;
    let acked = cursor.map_or(0, |slot| slot.acked);
    let mut files = find_segments(&disk, &names, config.unsynced_bytes_max as u64, &mut report)?;
    report.segments = files.len();

    let mut fold = Fold::new(acked);
    let (runs, scanned) = scan(&disk, &files, acked, &mut fold, &mut report)?;
    let mut windows = resolve(&runs);
    let promised: Vec<u64> = files
        .iter()
        .map(|found| if found.rebuilt { found.header.first } else { found.header.previous_end })
        .chain(cursor.map(|slot| slot.synced))
        .collect();
    let oldest = files.iter().map(|found| found.header.first).min();
    let from = cursor.map(|slot| slot.acked).into_iter().chain(oldest).min();
    report.lost = holes(&windows, from, &promised, &fold.damage)
        .into_iter()
        .map(|(positions, after)| Loss { acknowledged: positions.end <= acked, positions, after })
        .collect();
    let last_id = files.iter().map(|found| found.id).max().unwrap_or(0);
    let next_id = make_durable(&disk, &mut files, &mut windows, &scanned, last_id + 1, now, &mut report)?;
    drop_replaced(&disk, &files, &windows, &mut report)?;

    let known_end = windows.last().map_or(0, |window| window.end).max(acked);
    let heads = files.iter().map(|found| found.header.first.max(found.header.previous_end));
    let issued = heads.chain(cursor.map(|slot| slot.synced)).fold(known_end, u64::max);
    // A leap over everything that may have been handed out and then lost with the power.
    let next_position = if issued == 0 { 1 } else { issued + 2 * SPOOL_UNSYNCED_RECORDS_MAX };
    let written = known_end.max(1);
    let start = cursor.map_or_else(|| windows.first().map_or(written, |window| window.first), |slot| slot.acked);
    let positions = Positions {
        acked: start.min(written),
        dispatched: start.min(written),
        synced: written,
        written,
        cursor: cursor.map_or(0, |slot| slot.acked.min(written)),
    };
    report.next_position = next_position;
    report.unacknowledged = fold.unacknowledged;
    report.accounts = fold.found();
    let segments: VecDeque<Segment<D::File>> = windows.iter().map(|window| to_segment(window, &files)).collect();
    let mut state = State::new(positions, segments, fold.into_accounts());
    state.undispatched = report.unacknowledged;
    state.refill_until = cursor.map_or(0, |slot| slot.refill_until).min(written);
    if state.refill_until <= positions.acked {
        state.refill_until = 0;
    }
    let has_reserve =
        disk.list().map_err(|error| failed("list the spool's folder", error))?.iter().any(|n| n == RESERVE);
    let core = Arc::new(Core {
        disk,
        config,
        epoch,
        state: Mutex::new(state),
        readable: Condvar::new(),
        syncable: Condvar::new(),
    });
    let mut appender = Appender::new(Arc::clone(&core), next_id, next_position, has_reserve);
    appender.begin(now).map_err(|error| failed("begin a segment", error))?;
    let mut syncer = Syncer::new(Arc::clone(&core), cursor_file, cursor);
    syncer.finish(now);
    let reader = Reader::new(Arc::clone(appender.core()));
    Ok(Opened { appender, syncer, reader, report })
}

/// Syncs what was scanned. A file whose sync fails, or whose head is damaged, is copied, with its epoch, and the copy
/// synced; returns the next free number.
fn make_durable<D: Disk>(
    disk: &D,
    files: &mut [FoundFile<D::File>],
    windows: &mut [Window],
    scanned: &[u64],
    mut next_id: u64,
    now: Now,
    report: &mut OpenReport,
) -> Result<u64, OpenError> {
    for found in files.iter_mut().filter(|found| scanned.contains(&found.id)) {
        if found.file.sync_data().is_ok() && !found.rebuilt {
            continue;
        }
        let old = segment_name(found.id);
        let what = |error| failed(&format!("sync {old}, or copy it"), error);
        let (id, old_id) = (next_id, found.id);
        next_id += 1;
        let header = SegmentHeader { id, created_at: now.wall, ..found.header };
        let copy = disk.create(&segment_name(id)).map_err(what)?;
        write_all_at(&copy, &header.encode(), 0).map_err(what)?;
        let mut window = vec![0; 64 << 10];
        let mut at = SEGMENT_HEADER_LEN as u64;
        while at < found.size {
            let len = read_up_to(&*found.file, &mut window, at).map_err(what)?;
            let len = len.min(usize::try_from(found.size - at).unwrap_or(usize::MAX));
            if len == 0 {
                return Err(what(io::ErrorKind::UnexpectedEof.into()));
            }
            write_all_at(&copy, &window[..len], at).map_err(what)?;
            at += len as u64;
        }
        copy.sync_data().map_err(what)?;
        disk.sync_dir().map_err(what)?;
        for window in windows.iter_mut().filter(|window| window.id == old_id) {
            window.id = id;
        }
        (found.id, found.header, found.file) = (id, header, Arc::new(copy));
        report.rescued.push(old_id);
        disk.remove(&old).map_err(what)?;
    }
    disk.sync_dir().map_err(|error| failed("sync the spool's folder", error))?;
    Ok(next_id)
}

/// Removes files of which nothing counts any more. The last one stays if bytes at its end are unexplained.
fn drop_replaced<D: Disk>(
    disk: &D,
    files: &[FoundFile<D::File>],
    windows: &[Window],
    report: &mut OpenReport,
) -> Result<(), OpenError> {
    for found in files {
        let used = windows.iter().any(|window| window.id == found.id);
        let unexplained = report.torn.iter().chain(&report.damaged).any(|damage| damage.segment == found.id);
        if !used && !unexplained {
            let name = segment_name(found.id);
            disk.remove(&name).map_err(|error| failed(&format!("remove {name}"), error))?;
            report.removed.push(name);
        }
    }
    Ok(())
}

fn to_segment<F>(window: &Window, files: &[FoundFile<F>]) -> Segment<F> {
    let owner = files.iter().find(|found| found.id == window.id).expect("windows are made of the files found");
    Segment {
        id: window.id,
        epoch: owner.header.epoch,
        first: window.first,
        end: window.end,
        start: window.start,
        len: window.stop,
        newest: window.newest,
        dirty: false,
        file: None,
    }
}
