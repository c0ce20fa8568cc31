//! Which number the venue has in `api_systems`: part of every job. Asked of the database at each start, and remembered across
//! restarts, so that what is in the spool goes out while the database is away.
//!
//! A small file beside the spool, as that of the spellings: its holder is the only writer. What the database says wins, and
//! both numbers are known then: records carry the one under which they were written.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::thread::spawn;
use crate::spool::ExchangeId;
use crate::store::UserDataStore;

/// Bytes of the file that are read: a name, a number, and more than either needs.
const FILE_LEN_MAX: u64 = 256;
/// Between two questions which number the venue has in `api_systems`.
const RETRY: Duration = Duration::from_secs(2);

/// See the module's documentation.
#[derive(Debug)]
pub struct VenueMemory {
    path: PathBuf,
    canonical: String,
    known: Option<ExchangeId>,
}

impl VenueMemory {
    /// What the file beside `spool_folder` says of the venue; nothing where there is none, or none that can be read.
    #[must_use]
    pub fn beside(spool_folder: &Path, canonical: &str) -> VenueMemory {
        let mut name = spool_folder.as_os_str().to_owned();
        name.push(".venue");
        let path = PathBuf::from(name);
        let mut text = String::new();
        let known = match fs::File::open(&path).and_then(|file| file.take(FILE_LEN_MAX).read_to_string(&mut text)) {
            Ok(_) => read_line(&text, canonical),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("{} cannot be read: {error}", path.display());
                }
                None
            }
        };
        VenueMemory { path, canonical: canonical.to_owned(), known }
    }

    /// The venue's number, as far as it is known.
    #[must_use]
    pub fn known(&self) -> Option<ExchangeId> {
        self.known
    }

    /// The database says that it is this one.
    pub fn note(&mut self, number: ExchangeId) {
        if self.known.replace(number) == Some(number) {
            return;
        }
        if let Err(error) = self.write(number) {
            tracing::warn!("{} cannot be written, so a start without database waits: {error}", self.path.display());
        }
    }

    fn write(&self, number: ExchangeId) -> io::Result<()> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        writeln!(file, "{} {}", self.canonical, number.0)?;
        fs::rename(&beside, &self.path)
    }
}

/// The number in the line of this venue.
fn read_line(text: &str, canonical: &str) -> Option<ExchangeId> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find_map(|(name, number)| Some(ExchangeId(number.parse().ok().filter(|_| name == canonical)?)))
}

/// Asks the database for the venue's number, on a thread of its own, until it says one: a database that stands still holds
/// up nobody else.
///
/// # Errors
/// A system without threads.
pub fn ask_number(
    mut store: UserDataStore,
    canonical: &'static str,
    stop: Arc<AtomicBool>,
) -> io::Result<Receiver<ExchangeId>> {
    let (tell, told) = bounded(1);
    spawn("venue-number", move || {
        let mut is_told = false;
        while !stop.load(Ordering::Acquire) {
            match store.run(|tables| tables.venue_system(canonical)) {
                Ok(Some(system)) => {
                    let _ = tell.send(ExchangeId(u32::try_from(system.id).unwrap_or(u32::MAX)));
                    return;
                }
                Ok(None) if !is_told => tracing::error!("api_systems has no row for {canonical}"),
                Err(error) if !is_told => {
                    tracing::warn!("the database does not say which number {canonical} has: {error}");
                }
                _ => {}
            }
            is_told = true;
            let mut waited = Duration::ZERO;
            while waited < RETRY && !stop.load(Ordering::Acquire) {
                thread::sleep(Duration::from_millis(50));
                waited += Duration::from_millis(50);
            }
        }
    })?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_number_is_remembered_beside_the_spool() {
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path().join("streams.spool");
        let mut memory = VenueMemory::beside(&spool, "binance");
        assert_eq!(memory.known(), None);
        memory.note(ExchangeId(3));
        memory.note(ExchangeId(4));
        assert_eq!(VenueMemory::beside(&spool, "binance").known(), Some(ExchangeId(4)));
        assert_eq!(VenueMemory::beside(&spool, "bybit").known(), None);
        let file = folder.path().join("streams.spool.venue");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // A damaged file is as good as none.
        for text in [&b"binance\n"[..], b"binance -1\n", b"binance 4294967296\n", b"\xff 3\n", b""] {
            fs::write(&file, text).unwrap();
            assert_eq!(VenueMemory::beside(&spool, "binance").known(), None, "{text:?}");
        }
        // A folder that is gone harms nobody.
        let mut nowhere = VenueMemory::beside(&folder.path().join("gone/streams.spool"), "binance");
        nowhere.note(ExchangeId(3));
        assert_eq!(nowhere.known(), Some(ExchangeId(3)));
    }
}
