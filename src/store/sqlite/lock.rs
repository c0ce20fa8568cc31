//! The single-writer lock of a database file: `<file>.lock`, locked for as long as the writer lives.
//!
//! The system frees it when the process ends, however it ends, so there is no stale lock; the text inside only tells who.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::store::error::{ErrorClass, Result, StoreError};

/// Bytes of the holder's description that are read back.
const HOLDER_LEN_MAX: u64 = 512;

/// A held lock; dropping it gives it back.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// Takes the lock beside `database` in the name of `holder`; `None` where another has it.
    ///
    /// # Errors
    /// A lock file that cannot be created or written.
    pub fn try_take(database: &Path, holder: &str) -> Result<Option<FileLock>> {
        let path = lock_path(database);
        let fault = |error: std::io::Error| {
            StoreError::new(ErrorClass::Unreachable, format!("cannot use the lock file {}: {error}", path.display()))
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).map_err(fault)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(fault(error)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{holder}")
        };
        write(&mut file).map_err(fault)?;
        Ok(Some(FileLock { file }))
    }

    /// Who holds the lock now, by the name in it; `None` when nobody does. Takes nothing and creates nothing.
    #[must_use]
    pub fn current_holder(database: &Path) -> Option<String> {
        let file = File::open(lock_path(database)).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(FileLock::holder(database)),
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }

    /// Who wrote their name into the lock file.
    #[must_use]
    pub fn holder(database: &Path) -> String {
        let mut text = Vec::new();
        let read = File::open(lock_path(database)).and_then(|file| file.take(HOLDER_LEN_MAX).read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        if read.is_err() || text.is_empty() { "a process that did not leave its name".to_owned() } else { text }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing the file frees the lock as well; the name is taken out so that nobody reads an old one.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.sqlite");
        let first = FileLock::try_take(&database, "prices on host, process 7").unwrap().unwrap();
        assert!(FileLock::try_take(&database, "second").unwrap().is_none());
        assert_eq!(FileLock::holder(&database), "prices on host, process 7");
        assert_eq!(FileLock::current_holder(&database).as_deref(), Some("prices on host, process 7"));
        drop(first);
        assert_eq!(FileLock::current_holder(&database), None);
        assert!(FileLock::try_take(&database, "second").unwrap().is_some());
        let missing = FileLock::try_take(&folder.path().join("no/a.sqlite"), "x").unwrap_err();
        assert_eq!(missing.class(), ErrorClass::Unreachable);
    }
}
