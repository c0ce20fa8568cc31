//! The first look at an opened folder: files, cursor, and the heads of the segments.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile, read_up_to};
use super::format::{
    BadSegment, CursorSlot, Epoch, RECORD_HEADER_LEN, SEGMENT_HEADER_LEN, SegmentHeader, segment_id, segment_name,
};
use super::quarantine::is_quarantine;
use super::report::{OpenError, OpenReport, failed};
use super::scan::{Scanner, Step};
use super::segments::RESERVE;
use super::sync::{CURSOR, read_cursor};
use crate::domain::Wall;

/// A segment with a head.
pub(super) struct FoundFile<F> {
    pub id: u64,
    pub header: SegmentHeader,
    /// The head was damaged; this one is made up from the records.
    pub rebuilt: bool,
    pub size: u64,
    pub file: Arc<F>,
}

/// Removes what never became whole, and gives a reserve that was in use its name as a segment.
pub(super) fn tidy<D: Disk>(disk: &D, report: &mut OpenReport) -> Result<Vec<String>, OpenError> {
    let list = || disk.list().map_err(|error| failed("list the spool's folder", error));
    for name in list()? {
        if name.ends_with(".tmp") {
            disk.remove(&name).map_err(|error| failed("remove an unfinished file", error))?;
            report.removed.push(name);
        } else if name == RESERVE {
            let file = disk.open(RESERVE).map_err(|error| failed("open the reserve", error))?;
            let mut head = [0; SEGMENT_HEADER_LEN];
            let len = read_up_to(&file, &mut head, 0).map_err(|error| failed("read the reserve", error))?;
            // The folder was not synced after its renaming: the name is the old one, the content the new one.
            if let Ok(header) = SegmentHeader::read(&head[..len])
                && !list()?.contains(&segment_name(header.id))
            {
                disk.rename(RESERVE, &segment_name(header.id)).map_err(|error| failed("rename the reserve", error))?;
            }
        } else if !(name == CURSOR || name == "lock" || is_quarantine(&name) || segment_id(&name).is_some()) {
            report.ignored.push(name);
        }
    }
    list()
}

pub(super) type CursorFound<F> = (Option<F>, Option<CursorSlot>);

pub(super) fn open_cursor<D: Disk>(
    disk: &D,
    names: &[String],
    report: &mut OpenReport,
) -> Result<CursorFound<D::File>, OpenError> {
    if !names.iter().any(|name| name == CURSOR) {
        return Ok((None, None));
    }
    let file = disk.open(CURSOR).map_err(|error| failed("open the cursor", error))?;
    match read_cursor(&file).map_err(|error| failed("read the cursor", error))? {
        Some(slot) => Ok((Some(file), Some(slot))),
        None => {
            report.cursor_damaged = true;
            Ok((None, None))
        }
    }
}

/// Every segment with a head, by number.
pub(super) fn find_segments<D: Disk>(
    disk: &D,
    names: &[String],
    unsynced_bytes_max: u64,
    report: &mut OpenReport,
) -> Result<Vec<FoundFile<D::File>>, OpenError> {
    let mut ids: Vec<u64> = names.iter().filter_map(|name| segment_id(name)).collect();
    ids.sort_unstable();
    let mut found = Vec::with_capacity(ids.len());
    let mut headless = Vec::new();
    for id in ids {
        let name = segment_name(id);
        let what = |error| failed(&format!("read {name}"), error);
        let file = Arc::new(disk.open(&name).map_err(what)?);
        let size = file.size().map_err(what)?;
        let mut head = [0; SEGMENT_HEADER_LEN];
        let len = read_up_to(&*file, &mut head, 0).map_err(what)?;
        match SegmentHeader::read(&head[..len]) {
            Ok(header) if header.id == id => found.push(FoundFile { id, header, rebuilt: false, size, file }),
            Err(BadSegment::Version(version)) => return Err(OpenError::Version { file: name, version }),
            Ok(_) | Err(BadSegment::Damaged) => headless.push((id, file, size)),
        }
    }
    for (id, file, size) in headless {
        let name = segment_name(id);
        let what = |error| failed(&format!("read {name}"), error);
        let at = found.partition_point(|other: &FoundFile<D::File>| other.id < id);
        let neighbours = [at.checked_sub(1).and_then(|before| found.get(before)), found.get(at)];
        let mut rebuilt = None;
        for epoch in neighbours.into_iter().flatten().map(|other| other.header.epoch) {
            if let Some((first, received_at)) = first_record(&file, epoch, size).map_err(what)? {
                let header = SegmentHeader {
                    epoch,
                    id,
                    first,
                    created_at: received_at,
                    previous_id: 0,
                    previous_len: 0,
                    previous_end: 0,
                };
                rebuilt = Some(header);
                break;
            }
        }
        if let Some(header) = rebuilt {
            report.heads_rebuilt.push(id);
            found.insert(at, FoundFile { id, header, rebuilt: true, size, file });
        } else if found.get(at).is_none_or(|next| next.header.previous_id != id)
            && (size < (SEGMENT_HEADER_LEN + RECORD_HEADER_LEN) as u64 || is_zero(&*file, size).map_err(what)?)
        {
            disk.remove(&name).map_err(|error| failed("remove an unfinished segment", error))?;
            report.removed.push(name);
        } else if found.get(at).is_some() || size <= unsynced_bytes_max {
            // A later head tells which positions it held. Of a last file the power may have taken the head only before
            // its first sync: what it held then was never durable. Its bytes are kept in any case.
            let aside = format!("{id:016x}.corrupt");
            disk.rename(&name, &aside).map_err(|error| failed("set a segment aside", error))?;
            report.set_aside.push(aside);
        } else {
            return Err(OpenError::Damaged { file: name });
        }
    }
    Ok(found)
}

fn first_record<F: DiskFile>(file: &Arc<F>, epoch: Epoch, size: u64) -> io::Result<Option<(u64, Wall)>> {
    let mut scanner = Scanner::new(Arc::clone(file), epoch, SEGMENT_HEADER_LEN as u64);
    loop {
        match scanner.step(size)? {
            Step::Record { header, .. } => return Ok(Some((header.position, header.received_at))),
            Step::Damaged { .. } => {}
            Step::End { .. } => return Ok(None),
        }
    }
}

fn is_zero<F: DiskFile>(file: &F, size: u64) -> io::Result<bool> {
    let mut window = vec![0; 64 << 10];
    let mut at = 0;
    while at < size {
        let len = read_up_to(file, &mut window, at)?;
        if window[..len].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        if len == 0 {
            break;
        }
        at += len as u64;
    }
    Ok(true)
}
