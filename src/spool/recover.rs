//! Opening a spool: what is there, what of it is whole, what is gone; then the first segment of a new epoch.
//!
//! Control plane. Nothing is dropped silently: whatever cannot be handed on stands in the [`OpenReport`].

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::append::{Appender, RESERVE};
use super::disk::{Disk, DiskFile, LockRefused, read_up_to, write_all_at};
use super::format::{
    AccountId, BadSegment, CursorSlot, Epoch, Kind, LivenessEntry, RECORD_HEADER_LEN, RecordHeader, SEGMENT_HEADER_LEN,
    SegmentHeader, segment_id, segment_name,
};
use super::quarantine::is_quarantine;
use super::read::{Reader, keep_damage};
use super::scan::{Scanner, Step};
use super::state::{Account, Core, Positions, Segment, SpoolConfig, State};
use super::sync::{CURSOR, Syncer, read_cursor};
use super::windows::{Run, Window, holes, resolve};
use crate::domain::limits::SPOOL_UNSYNCED_RECORDS_MAX;
use crate::domain::{Now, Wall};

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

/// What was found at an open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Segments found.
    pub segments: usize,
    /// Records from the cursor on: they are handed out again.
    pub unacknowledged: u64,
    /// Where new records begin.
    pub next_position: u64,
    /// The cursor was there but no slot of it is whole: everything kept is handed out again.
    pub cursor_damaged: bool,
    /// Ends of files that are no record: a write that did not finish, or that the power took.
    pub torn: Vec<Damage>,
    /// Stretches inside that are no record; their bytes are in quarantine.
    pub damaged: Vec<Damage>,
    /// Positions that were written and are gone.
    pub lost: Vec<Loss>,
    /// Segments whose head was damaged and could be told from their records.
    pub heads_rebuilt: Vec<u64>,
    /// Segments that could not be synced and were copied.
    pub rescued: Vec<u64>,
    /// Files removed: unfinished, or replaced by a newer copy.
    pub removed: Vec<String>,
    /// Segments moved to quarantine: unreadable as a whole. Their positions are in `lost` if they matter.
    pub set_aside: Vec<String>,
    /// Files that are none of ours.
    pub ignored: Vec<String>,
    /// What could not be put into quarantine, and why.
    pub quarantine_failed: Vec<String>,
    /// Every account: when it was last known to be alive, never later than the truth.
    pub accounts: Vec<AccountFound>,
}

/// A stretch of a file that is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub segment: u64,
    /// Where in its file.
    pub offset: u64,
    /// How long.
    pub bytes: u64,
}

/// Positions that are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Which.
    pub positions: std::ops::Range<u64>,
    /// Receive time of the last record before them, if there is one.
    pub after: Option<Wall>,
    /// They were acknowledged already: nothing is missing downstream.
    pub acknowledged: bool,
}

/// One account, as the records tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountFound {
    /// Who.
    pub account: AccountId,
    /// `silent since` of its next gap record; `None` if no record before the first loss tells.
    pub alive_at: Option<Wall>,
    /// Its newest record.
    pub last_position: u64,
}

/// Why a spool does not open.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it.
    Locked {
        /// What it wrote about itself.
        holder: String,
    },
    /// The disk refused.
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// The last segment was synced, cannot be read at all, and nothing tells what it held.
    Damaged {
        /// The file.
        file: String,
    },
    /// A later version of this program wrote it.
    Version {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
}

struct FoundFile<F> {
    id: u64,
    header: SegmentHeader,
    rebuilt: bool,
    size: u64,
    file: Arc<F>,
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
    let state = State::new(positions, segments, fold.accounts);
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

fn failed(what: &str, error: io::Error) -> OpenError {
    OpenError::Io { what: what.to_owned(), error }
}

/// Removes what never became whole, and gives a reserve that was in use its name as a segment.
fn tidy<D: Disk>(disk: &D, report: &mut OpenReport) -> Result<Vec<String>, OpenError> {
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

type CursorFound<F> = (Option<F>, Option<CursorSlot>);

fn open_cursor<D: Disk>(
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
fn find_segments<D: Disk>(
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

/// Walks the records from the segment before the cursor's on; older segments are taken at their headers' word.
fn scan<D: Disk>(
    disk: &D,
    files: &[FoundFile<D::File>],
    acked: u64,
    fold: &mut Fold,
    report: &mut OpenReport,
) -> Result<(Vec<Run>, Vec<u64>), OpenError> {
    let from = files.iter().rposition(|found| found.header.first <= acked).unwrap_or(0).saturating_sub(1);
    let mut runs = Vec::new();
    let mut scanned = Vec::new();
    for (at, found) in files.iter().enumerate() {
        let next = files.get(at + 1).filter(|next| next.header.previous_id == found.id).map(|next| next.header);
        if at < from
            && !found.rebuilt
            && let Some(next) = next
            && next.previous_len <= found.size
        {
            if next.previous_end > found.header.first {
                runs.push(Run {
                    id: found.id,
                    first: found.header.first,
                    end: next.previous_end,
                    start: SEGMENT_HEADER_LEN as u64,
                    stop: next.previous_len,
                    newest: next.created_at,
                });
            }
            continue;
        }
        scanned.push(found.id);
        let accepted = next.map(|next| next.previous_len).filter(|&len| len <= found.size);
        scan_file(disk, found, accepted, fold, &mut runs, report)
            .map_err(|error| failed(&format!("read {}", segment_name(found.id)), error))?;
    }
    Ok((runs, scanned))
}

fn scan_file<D: Disk>(
    disk: &D,
    found: &FoundFile<D::File>,
    accepted: Option<u64>,
    fold: &mut Fold,
    runs: &mut Vec<Run>,
    report: &mut OpenReport,
) -> io::Result<()> {
    fold.enter(&found.header, found.rebuilt);
    let limit = accepted.unwrap_or(found.size);
    let mut scanner = Scanner::new(Arc::clone(&found.file), found.header.epoch, SEGMENT_HEADER_LEN as u64);
    let mut run: Option<Run> = None;
    let mut expected = found.header.first;
    let mut behind_damage = false;
    loop {
        match scanner.step(limit)? {
            Step::Record { header, at } => {
                if behind_damage && header.position > expected {
                    fold.damage.push(expected..header.position);
                }
                behind_damage = false;
                let stop = at + header.record_len() as u64;
                match &mut run {
                    Some(run) if run.end == header.position => {
                        (run.end, run.stop) = (header.position + 1, stop);
                        run.newest = run.newest.max(header.received_at);
                    }
                    _ => runs.extend(run.replace(Run {
                        id: found.id,
                        first: header.position,
                        end: header.position + 1,
                        start: at,
                        stop,
                        newest: header.received_at,
                    })),
                }
                expected = header.position + 1;
                fold.record(&header, scanner.record());
            }
            Step::Damaged { at, end } => {
                behind_damage = true;
                fold.hole(expected);
                keep(disk, found, at, end, report);
            }
            Step::End { at, torn } => {
                if torn > 0 && accepted.is_some() {
                    keep(disk, found, at, at + torn, report);
                } else if torn > 0 {
                    report.torn.push(Damage { segment: found.id, offset: at, bytes: torn });
                }
                break;
            }
        }
    }
    runs.extend(run);
    Ok(())
}

fn keep<D: Disk>(disk: &D, found: &FoundFile<D::File>, at: u64, end: u64, report: &mut OpenReport) {
    report.damaged.push(Damage { segment: found.id, offset: at, bytes: end - at });
    if let Err(error) = keep_damage(disk, &*found.file, found.id, at, end) {
        // The bytes are still in the segment; a full disk must not keep the rest from being drained.
        report.quarantine_failed.push(format!("{} at {at}: {error}", segment_name(found.id)));
    }
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

/// What the records add up to.
struct Fold {
    acked: u64,
    accounts: HashMap<AccountId, Account>,
    unacknowledged: u64,
    next: u64,
    /// A hole behind the cursor was met: later marks may be of records after frames that are gone.
    frozen: bool,
    /// Positions that lie in damaged stretches.
    damage: Vec<std::ops::Range<u64>>,
}

impl Fold {
    fn new(acked: u64) -> Self {
        Fold { acked, accounts: HashMap::new(), unacknowledged: 0, next: 0, frozen: false, damage: Vec::new() }
    }

    fn enter(&mut self, header: &SegmentHeader, rebuilt: bool) {
        let promised = if rebuilt { header.first } else { header.previous_end };
        if self.next != 0 && promised > self.next && promised > self.acked {
            self.frozen = true;
        }
        if self.next == 0 {
            self.next = header.first;
        }
    }

    /// Records from `position` on, some or none, are gone.
    fn hole(&mut self, position: u64) {
        self.frozen |= position >= self.acked;
    }

    fn record(&mut self, header: &RecordHeader, record: &[u8]) {
        // A rewritten segment repeats what an older one told.
        if header.position < self.next {
            return;
        }
        self.next = header.position + 1;
        let pending = header.position >= self.acked;
        self.unacknowledged += u64::from(pending);
        if header.kind == Kind::Liveness {
            let payload = &record[RECORD_HEADER_LEN..][..header.payload_len as usize];
            for entry in LivenessEntry::read_all(payload) {
                let account = self.accounts.entry(entry.account).or_default();
                account.last = account.last.max(entry.last_position);
                if !self.frozen {
                    account.alive_at = account.alive_at.max(Some(entry.alive_at));
                }
            }
        }
        if header.account == AccountId(0) {
            return;
        }
        let account = self.accounts.entry(header.account).or_default();
        account.last = account.last.max(header.position);
        if pending && !header.kind.is_mark() {
            account.unacked += record.len() as u64;
        }
        if !self.frozen && header.kind != Kind::Liveness {
            account.alive_at = account.alive_at.max(Some(header.received_at));
        }
    }

    fn found(&self) -> Vec<AccountFound> {
        let mut found: Vec<AccountFound> = self
            .accounts
            .iter()
            .map(|(&account, known)| AccountFound { account, alive_at: known.alive_at, last_position: known.last })
            .collect();
        found.sort_unstable_by_key(|found| found.account);
        found
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Locked { holder } if holder.is_empty() => f.write_str("the spool is another process's"),
            OpenError::Locked { holder } => write!(f, "the spool is another process's: {holder}"),
            OpenError::Io { what, error } => write!(f, "could not {what}: {error}"),
            OpenError::Damaged { file } => write!(
                f,
                "{file} in the spool's folder is damaged beyond reading: its head is gone, no record of its neighbours' \
                 epochs is in it, and no later file tells what it held. Put the file back from a copy; or move it out \
                 of the folder and start again: the accounts' gaps then begin before its records"
            ),
            OpenError::Version { file, version } => write!(
                f,
                "{file} in the spool's folder was written by a later version of this program (format {version}): start \
                 that version, at least until it has handed everything out"
            ),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}
