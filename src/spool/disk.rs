//! The byte-level seam under the spool: what it asks of a disk, each call fallible, and the real folder that answers.
//!
//! Tests and the simulator put a disk of memory here that tears writes, fails syncs and runs out of space.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// One folder of files.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Takes the folder for this process until the disk is dropped.
    ///
    /// # Errors
    /// [`LockRefused`] names the holder.
    fn lock(&self, holder: &str) -> Result<(), LockRefused>;
    /// A new file, for reading and writing; fails if it exists.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// An existing file, for reading and writing.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Gives a file another name, replacing what has it. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// All file names.
    ///
    /// # Errors
    /// The system's.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes names durable.
    ///
    /// # Errors
    /// The system's. Not to be taken back by a later success.
    fn sync_dir(&self) -> io::Result<()>;
    /// Bytes that an ordinary user may still write.
    ///
    /// # Errors
    /// The system's.
    fn free_space(&self) -> io::Result<u64>;
}

/// One open file; calls name their offset, so that it may be shared.
pub trait DiskFile: Send + Sync + 'static {
    /// One `pwrite(2)`; may be short.
    ///
    /// # Errors
    /// The system's.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// One `pread(2)`; may be short, 0 at the end.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Bytes of the file.
    ///
    /// # Errors
    /// The system's.
    fn size(&self) -> io::Result<u64>;
    /// Claims space for the first `len` bytes of a new file; they read as zeros.
    ///
    /// # Errors
    /// The system's.
    fn preallocate(&self, len: u64) -> io::Result<()>;
    /// `fdatasync(2)`.
    ///
    /// # Errors
    /// The system's. Not to be taken back by a later success.
    fn sync_data(&self) -> io::Result<()>;
}

/// The folder is another process's.
#[derive(Debug)]
pub enum LockRefused {
    /// What the holder wrote about itself.
    Held(String),
    /// The lock could not be asked for.
    Io(io::Error),
}

/// A folder of the file system: 0700, its files 0600.
#[derive(Debug)]
pub struct FolderDisk {
    path: PathBuf,
    folder: File,
    lock: Mutex<Option<File>>,
}

impl FolderDisk {
    /// Opens the folder, made with its parents if it is absent, closed to others if it was not.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let folder = File::open(path)?;
        let mode = folder.metadata()?.permissions().mode();
        if mode & 0o077 != 0 {
            folder.set_permissions(Permissions::from_mode(0o700))?;
        }
        Ok(FolderDisk { path: path.to_owned(), folder, lock: Mutex::new(None) })
    }
}

impl Disk for FolderDisk {
    type File = File;

    fn lock(&self, holder: &str) -> Result<(), LockRefused> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.join("lock"))
            .map_err(LockRefused::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.take(256).read_to_string(&mut text);
                return Err(LockRefused::Held(text.trim().to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(LockRefused::Io(error)),
        }
        // The name only serves a message: a full disk must not keep the spool from being drained.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
        *self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(file);
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.folder.sync_all()
    }

    fn free_space(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, out, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // File systems without the call are given zeros; most of them then hold the space too.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                let zeros = vec![0; 64 << 10];
                let mut at = 0;
                while at < len {
                    let part = zeros.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
                    write_all_at(self, &zeros[..part], at)?;
                    at += part as u64;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}

/// Writes everything: one call, more only after a short one.
///
/// # Errors
/// The system's; some of the bytes may then be in the file.
pub fn write_all_at<F: DiskFile>(file: &F, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until `out` is full or the file ends; how much it was.
///
/// # Errors
/// The system's.
pub fn read_up_to<F: DiskFile>(file: &F, out: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match file.read_at(&mut out[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether this error says that space ran out, and not that the disk is broken.
#[must_use]
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_private_and_has_one_holder() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("deep/spool");
        let disk = FolderDisk::open(&path).unwrap();
        disk.lock("pid 1, the first").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let file = disk.create("a").unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(disk.create("a").is_err());
        let second = FolderDisk::open(&path).unwrap();
        match second.lock("pid 2") {
            Err(LockRefused::Held(holder)) => assert_eq!(holder, "pid 1, the first"),
            other => panic!("{other:?}"),
        }
        drop(disk);
        second.lock("pid 2").unwrap();
        assert_eq!(second.list().unwrap(), ["a", "lock"]);
        assert!(second.free_space().unwrap() > 0);
    }

    #[test]
    fn preallocated_space_reads_as_zeros_and_a_loose_folder_is_closed() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("loose");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let disk = FolderDisk::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let file = disk.create("reserve").unwrap();
        file.preallocate(100_000).unwrap();
        write_all_at(&file, b"head", 0).unwrap();
        assert_eq!(file.size().unwrap(), 100_000);
        let mut out = [1; 8];
        assert_eq!(read_up_to(&file, &mut out, 0).unwrap(), 8);
        assert_eq!(&out, b"head\0\0\0\0");
        assert_eq!(read_up_to(&file, &mut out, 99_999).unwrap(), 1);
    }
}
