//! A look at a spool's folder from outside: takes no lock, writes nothing, and may be taken while another process appends.
//!
//! What it finds is what the files hold now. Files may vanish (retention) and grow while it reads: the first are left out, and
//! the unfinished end of the last one is told as such. Nothing is mended, moved or judged lost: that is [`super::open`]'s.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::read_up_to;
use super::format::{
    AccountId, CursorSlot, Identity, Kind, RECORD_HEADER_LEN, RecordHeader, SEGMENT_HEADER_LEN, SegmentHeader,
    segment_id, segment_name,
};
use super::quarantine::is_quarantine;
use super::read::Record;
use super::scan::{Scanner, Step};
use super::segments::RESERVE;
use super::sync::{CURSOR, read_cursor};
use crate::domain::Wall;

/// Bytes of the holder's description that are read.
const HOLDER_LEN_MAX: u64 = 256;

/// A folder, looked at.
#[derive(Clone, Debug)]
pub struct SpoolView {
    folder: PathBuf,
}

/// One segment as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentView {
    /// Its head.
    pub header: SegmentHeader,
    /// Bytes of its file.
    pub bytes: u64,
    /// Records in it that no earlier segment holds.
    pub records: u64,
    /// The position behind its last record.
    pub end: u64,
    /// Bytes between records that are none.
    pub damaged: u64,
    /// Bytes at its end that are no whole record: torn, or being written.
    pub unfinished: u64,
}

/// One account's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountView {
    /// Records of the kind frame.
    pub frames: u64,
    /// Of the kind gap.
    pub gaps: u64,
    /// Of the kind recovered.
    pub recovered: u64,
    /// Of all kinds, those at or behind the durable cursor's `acked`.
    pub unacknowledged: u64,
    /// Bytes of them all.
    pub bytes: u64,
    /// The newest one.
    pub last_position: u64,
    /// When that arrived.
    pub last_received_at: Wall,
}

/// Who has the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// A process, by what it wrote about itself.
    Held(String),
    /// The system does not tell.
    Unknown,
}

/// Everything that the folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolSurvey {
    /// Segments with a sound head, the oldest first.
    pub segments: Vec<SegmentView>,
    /// Segment files whose head cannot be read.
    pub headless: Vec<String>,
    /// The durable cursor; `None` where there is none yet, or none that is whole.
    pub cursor: Option<CursorSlot>,
    /// The position behind the last whole record.
    pub written: u64,
    /// By id.
    pub accounts: BTreeMap<AccountId, AccountView>,
    /// Quarantine files and their bytes.
    pub quarantine: Vec<(String, u64)>,
    /// Bytes that are kept for marks on a full disk.
    pub reserve: Option<u64>,
    /// Who has the folder.
    pub holder: Holder,
}

/// What a folder offers to a spool that is to be kept there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderLook {
    /// The folder, or where it is not there the nearest one above it.
    pub nearest: PathBuf,
    /// Whether this process may write there.
    pub is_writable: bool,
    /// Bytes that an ordinary user may still write.
    pub free: u64,
}

impl FolderLook {
    /// Looks, and makes nothing.
    ///
    /// # Errors
    /// The system's, or what is there is no folder.
    pub fn at(folder: &Path) -> io::Result<FolderLook> {
        let nearest = folder.ancestors().find(|path| path.exists()).filter(|path| !path.as_os_str().is_empty());
        let nearest = nearest.unwrap_or(Path::new("."));
        if !nearest.is_dir() {
            return Err(io::Error::other(format!("{} is no folder", nearest.display())));
        }
        let is_writable =
            rustix::fs::access(nearest, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok();
        let stat = rustix::fs::statvfs(nearest)?;
        Ok(FolderLook { nearest: nearest.to_owned(), is_writable, free: stat.f_bavail.saturating_mul(stat.f_frsize) })
    }
}

struct Segment {
    header: SegmentHeader,
    file: Arc<File>,
    size: u64,
    /// Bytes of it that count, where the segment behind it tells.
    accepted: Option<u64>,
    /// Where everything up to its end ended, where the segment behind it tells.
    end: Option<u64>,
}

impl SpoolView {
    /// A view of an existing folder.
    ///
    /// # Errors
    /// The system's: the folder is not there, or not ours to read.
    pub fn open(folder: &Path) -> io::Result<SpoolView> {
        std::fs::read_dir(folder)?;
        Ok(SpoolView { folder: folder.to_owned() })
    }

    /// Reads everything once.
    ///
    /// # Errors
    /// The system's.
    pub fn survey(&self) -> io::Result<SpoolSurvey> {
        let cursor = self.cursor()?;
        let acked = cursor.map_or(0, |cursor| cursor.acked);
        let mut accounts: BTreeMap<AccountId, AccountView> = BTreeMap::new();
        let mut views = Vec::new();
        let (segments, headless) = self.segments()?;
        let mut written = cursor.map_or(0, |cursor| cursor.synced);
        let mut next = 0;
        for segment in &segments {
            let mut view = SegmentView {
                header: segment.header,
                bytes: segment.size,
                records: 0,
                end: segment.header.first,
                damaged: 0,
                unfinished: 0,
            };
            let walked = segment.walk(|header, _| {
                view.end = header.position + 1;
                if header.position >= next {
                    view.records += 1;
                    next = header.position + 1;
                    count(&mut accounts, header, acked);
                }
                ControlFlow::Continue(())
            })?;
            (view.damaged, view.unfinished) = walked;
            written = written.max(view.end);
            views.push(view);
        }
        let names = self.names()?;
        let size = |name: &str| std::fs::metadata(self.folder.join(name)).map(|file| file.len());
        let quarantine = names.iter().filter(|name| is_quarantine(name));
        let quarantine = quarantine.filter_map(|name| Some((name.clone(), size(name).ok()?))).collect();
        let holder = self.holder();
        Ok(SpoolSurvey {
            segments: views,
            headless,
            cursor,
            written,
            accounts,
            quarantine,
            reserve: size(RESERVE).ok(),
            holder,
        })
    }

    /// Hands out the records from position `from` on, in order and each position once, until `each` breaks.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&self, from: u64, mut each: impl FnMut(&Record<'_>) -> ControlFlow<()>) -> io::Result<()> {
        let mut next = from;
        let mut is_done = false;
        for segment in self.segments()?.0 {
            if is_done || segment.end.is_some_and(|end| end <= from) {
                continue;
            }
            segment.walk(|header, bytes| {
                if header.position < next {
                    return ControlFlow::Continue(());
                }
                next = header.position + 1;
                let (payload, suffix) = bytes[RECORD_HEADER_LEN..].split_at(header.payload_len as usize);
                let flow = each(&Record {
                    identity: Identity { epoch: segment.header.epoch, position: header.position },
                    kind: header.kind,
                    account: header.account,
                    exchange: header.exchange,
                    previous: header.previous,
                    received_at: header.received_at,
                    payload,
                    suffix,
                });
                is_done = flow.is_break();
                flow
            })?;
        }
        Ok(())
    }

    /// Who has the folder, without asking for its lock: a daemon that starts in this moment must not find it taken.
    #[must_use]
    pub fn holder(&self) -> Holder {
        let path = self.folder.join("lock");
        let Ok(file) = File::open(&path) else { return Holder::Nobody };
        let (Ok(meta), Ok(locks)) = (file.metadata(), std::fs::read_to_string("/proc/locks")) else {
            return Holder::Unknown;
        };
        if !locks.lines().any(|line| is_lock_of(line, meta.ino())) {
            return Holder::Nobody;
        }
        let mut text = Vec::new();
        let _ = file.take(HOLDER_LEN_MAX).read_to_end(&mut text);
        Holder::Held(String::from_utf8_lossy(&text).trim().to_owned())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn cursor(&self) -> io::Result<Option<CursorSlot>> {
        match File::open(self.folder.join(CURSOR)) {
            Ok(file) => read_cursor(&file),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Segments by number, and the names of those without a sound head.
    fn segments(&self) -> io::Result<(Vec<Segment>, Vec<String>)> {
        let mut ids: Vec<u64> = self.names()?.iter().filter_map(|name| segment_id(name)).collect();
        ids.sort_unstable();
        let (mut segments, mut headless) = (Vec::<Segment>::new(), Vec::new());
        for id in ids {
            let name = segment_name(id);
            let file = match File::open(self.folder.join(&name)) {
                Ok(file) => file,
                // Its records were acknowledged and its time is over.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let mut head = [0; SEGMENT_HEADER_LEN];
            let len = read_up_to(&file, &mut head, 0)?;
            let Some(header) = SegmentHeader::read(&head[..len]).ok().filter(|header| header.id == id) else {
                headless.push(name);
                continue;
            };
            if let Some(before) = segments.last_mut().filter(|before| before.header.id == header.previous_id) {
                before.accepted = Some(header.previous_len);
                before.end = Some(header.previous_end);
            }
            let size = file.metadata()?.len();
            segments.push(Segment { header, file: Arc::new(file), size, accepted: None, end: None });
        }
        Ok((segments, headless))
    }
}

impl Segment {
    /// Calls `each` for every whole record; bytes that are damaged, and that are unfinished.
    fn walk(&self, mut each: impl FnMut(&RecordHeader, &[u8]) -> ControlFlow<()>) -> io::Result<(u64, u64)> {
        let limit = self.accepted.filter(|&len| len <= self.size).unwrap_or(self.size);
        let mut scanner = Scanner::new(Arc::clone(&self.file), self.header.epoch, SEGMENT_HEADER_LEN as u64);
        let mut damaged = 0;
        loop {
            match scanner.step(limit)? {
                Step::Record { header, .. } => {
                    if each(&header, scanner.record()).is_break() {
                        return Ok((damaged, 0));
                    }
                }
                Step::Damaged { at, end } => damaged += end - at,
                Step::End { torn, .. } => return Ok((damaged, torn)),
            }
        }
    }
}

fn count(accounts: &mut BTreeMap<AccountId, AccountView>, header: &RecordHeader, acked: u64) {
    // Records of the whole spool: liveness marks.
    if header.account == AccountId(0) {
        return;
    }
    let account = accounts.entry(header.account).or_default();
    match header.kind {
        Kind::Frame => account.frames += 1,
        Kind::Gap => account.gaps += 1,
        Kind::Recovered => account.recovered += 1,
        Kind::Liveness => {}
    }
    account.unacknowledged += u64::from(header.position >= acked);
    account.bytes += header.record_len() as u64;
    account.last_position = header.position;
    account.last_received_at = header.received_at;
}

/// Whether a line of `/proc/locks` is a `flock(2)` on the file with this inode (`man 5 proc_locks`). Device numbers are not
/// compared: on some file systems those of `stat(2)` are others.
fn is_lock_of(line: &str, inode: u64) -> bool {
    let mut words = line.split_whitespace().skip_while(|&word| word != "FLOCK").skip(2);
    let mode = words.next();
    let file = words.nth(1).and_then(|file| file.rsplit(':').next()).and_then(|inode| inode.parse::<u64>().ok());
    mode == Some("WRITE") && file == Some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_locks_are_read() {
        for (line, expected) in [
            ("1: FLOCK  ADVISORY  WRITE 28579 fe:00:42 0 EOF", true),
            ("1: FLOCK  ADVISORY  WRITE 28579 fe:00:421 0 EOF", false),
            ("1: FLOCK  ADVISORY  READ 28579 fe:00:42 0 EOF", false),
            // Somebody waits for it.
            ("1: -> FLOCK  ADVISORY  WRITE 28579 fe:00:42 0 EOF", true),
            ("2: POSIX  ADVISORY  WRITE 28579 fe:00:42 0 EOF", false),
            ("", false),
        ] {
            assert_eq!(is_lock_of(line, 42), expected, "{line}");
        }
    }
}
