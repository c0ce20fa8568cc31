//! A disk of memory for crash tests: it keeps what was written apart from what would survive a power cut, and it can
//! tear a write at any byte, die at any call, fail any `fdatasync` and run out of space.
//!
//! The model is adversarial where disks are: a failed `fdatasync` drops the pages it was about (they stay readable and
//! never become durable), unsynced writes of different files survive independently, and names survive only up to the
//! last folder sync plus a prefix of what came after.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile, LockRefused};
use crate::domain::Random;

/// A shared disk of memory.
#[derive(Clone, Debug, Default)]
pub struct MemDisk {
    inner: Arc<Mutex<Inner>>,
}

/// A file of a [`MemDisk`].
#[derive(Clone, Debug)]
pub struct MemFile {
    inner: Arc<Mutex<Inner>>,
    inode: usize,
}

/// What is left of unsynced writes and names after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survives {
    /// Everything: the process was killed, the machine lives.
    All,
    /// Nothing: the power went, and the disk had cached nothing.
    Synced,
    /// For each file a random prefix of its writes, the last one torn at a random byte; a random prefix of the names.
    Prefix(u64),
    /// For each 512-byte sector at random the old or the new content; a random prefix of the names.
    Sectors(u64),
}

/// How often each call was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// All calls that change something.
    pub all: u64,
    /// Writes.
    pub writes: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Bytes written.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Inner {
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    name_log: Vec<NameChange>,
    inodes: Vec<Inode>,
    holder: Option<String>,
    calls: Calls,
    dead: bool,
    cut_at_byte: Option<u64>,
    cut_at_call: Option<u64>,
    fail_sync: Option<(u64, u64)>,
    fail_write: Option<u64>,
    capacity: Option<u64>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(String, usize),
    Remove(String),
    // One change: a rename is never seen half.
    Rename(String, String, usize),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

impl MemDisk {
    /// An empty disk without bounds or faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The power goes while the byte with this number is being written: it and all later ones are lost.
    pub fn cut_at_byte(&self, byte: u64) {
        self.inner.lock().cut_at_byte = Some(byte);
    }

    /// The power goes instead of the changing call with this number (from 0).
    pub fn cut_at_call(&self, call: u64) {
        self.inner.lock().cut_at_call = Some(call);
    }

    /// Fails `count` syncs, beginning with the one of this number (from 0).
    pub fn fail_syncs(&self, first: u64, count: u64) {
        self.inner.lock().fail_sync = Some((first, first + count));
    }

    /// Fails the write of this number (from 0) with an input/output error after half its bytes.
    pub fn fail_write(&self, number: u64) {
        self.inner.lock().fail_write = Some(number);
    }

    /// The disk holds this many bytes; `None` for any number.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner.lock().capacity = bytes;
    }

    /// What was called so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.inner.lock().calls
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.inner.lock().dead
    }

    /// The bytes of a file now.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let inner = self.inner.lock();
        inner.names.get(name).map(|&inode| inner.inodes[inode].current.clone())
    }

    /// Replaces the bytes of a file, durably: a test's own damage.
    pub fn overwrite(&self, name: &str, bytes: &[u8]) {
        let mut inner = self.inner.lock();
        let inode = match inner.names.get(name) {
            Some(&inode) => inode,
            None => {
                inner.inodes.push(Inode::default());
                let inode = inner.inodes.len() - 1;
                inner.names.insert(name.to_owned(), inode);
                inner.durable_names.insert(name.to_owned(), inode);
                inode
            }
        };
        inner.inodes[inode] = Inode { current: bytes.to_vec(), durable: bytes.to_vec(), pending: Vec::new() };
    }

    /// The disk as the next process finds it when only the process died: nothing lost, nothing more durable than it was.
    #[must_use]
    pub fn after_kill(&self) -> MemDisk {
        let inner = self.inner.lock();
        let next = Inner {
            names: inner.names.clone(),
            durable_names: inner.durable_names.clone(),
            name_log: inner.name_log.clone(),
            inodes: inner.inodes.clone(),
            capacity: inner.capacity,
            ..Inner::default()
        };
        MemDisk { inner: Arc::new(Mutex::new(next)) }
    }

    /// The disk as the next process finds it: faults and lock gone, and what survives is durable.
    #[must_use]
    pub fn after_crash(&self, survives: Survives) -> MemDisk {
        let inner = self.inner.lock();
        let mut random = match survives {
            Survives::Prefix(seed) | Survives::Sectors(seed) => Random::from_seed(seed),
            Survives::All | Survives::Synced => Random::from_seed(0),
        };
        let mut names = inner.durable_names.clone();
        let kept = match survives {
            Survives::All => inner.name_log.len(),
            Survives::Synced => 0,
            Survives::Prefix(_) | Survives::Sectors(_) => random.below(inner.name_log.len() as u64 + 1) as usize,
        };
        for change in &inner.name_log[..kept] {
            match change {
                NameChange::Add(name, inode) => names.insert(name.clone(), *inode),
                NameChange::Remove(name) => names.remove(name),
                NameChange::Rename(from, to, inode) => {
                    names.remove(from);
                    names.insert(to.clone(), *inode)
                }
            };
        }
        let inodes = inner
            .inodes
            .iter()
            .map(|inode| {
                let bytes = match survives {
                    Survives::All => inode.current.clone(),
                    Survives::Synced => inode.durable.clone(),
                    Survives::Prefix(_) => inode.with_prefix(&mut random),
                    Survives::Sectors(_) => inode.with_sectors(&mut random),
                };
                Inode { current: bytes.clone(), durable: bytes, pending: Vec::new() }
            })
            .collect();
        let next = Inner { durable_names: names.clone(), names, inodes, capacity: inner.capacity, ..Inner::default() };
        MemDisk { inner: Arc::new(Mutex::new(next)) }
    }
}

impl Inode {
    fn with_prefix(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let total: usize = self.pending.iter().map(|(_, write)| write.len()).sum();
        let mut left = random.below(total as u64 + 1) as usize;
        for (offset, write) in &self.pending {
            let part = left.min(write.len());
            put(&mut bytes, *offset, &write[..part]);
            left -= part;
        }
        bytes
    }

    fn with_sectors(&self, random: &mut Random) -> Vec<u8> {
        let mut new = self.durable.clone();
        for (offset, write) in &self.pending {
            put(&mut new, *offset, write);
        }
        // The size may have reached the disk without the bytes: sectors that did not are zeros then.
        let mut bytes = self.durable.clone();
        if random.below(2) == 0 {
            bytes.resize(new.len(), 0);
        }
        for (at, sector) in new.chunks(512).enumerate() {
            if random.below(2) == 0 {
                put(&mut bytes, at * 512, sector);
            }
        }
        bytes
    }
}

impl Inner {
    fn step(&mut self) -> io::Result<()> {
        if self.cut_at_call == Some(self.calls.all) {
            self.dead = true;
        }
        self.calls.all += 1;
        self.alive()
    }

    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&inode| self.inodes[inode].current.len() as u64).sum()
    }

    fn room(&self) -> u64 {
        self.capacity.map_or(u64::MAX / 2, |capacity| capacity.saturating_sub(self.used()))
    }
}

impl Disk for MemDisk {
    type File = MemFile;

    fn lock(&self, holder: &str) -> Result<(), LockRefused> {
        let mut inner = self.inner.lock();
        match &inner.holder {
            Some(holder) => Err(LockRefused::Held(holder.clone())),
            None => {
                inner.holder = Some(holder.to_owned());
                Ok(())
            }
        }
    }

    fn create(&self, name: &str) -> io::Result<MemFile> {
        let mut inner = self.inner.lock();
        inner.step()?;
        if inner.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        inner.inodes.push(Inode::default());
        let inode = inner.inodes.len() - 1;
        inner.names.insert(name.to_owned(), inode);
        inner.name_log.push(NameChange::Add(name.to_owned(), inode));
        Ok(MemFile { inner: Arc::clone(&self.inner), inode })
    }

    fn open(&self, name: &str) -> io::Result<MemFile> {
        let inner = self.inner.lock();
        inner.alive()?;
        let inode = *inner.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(MemFile { inner: Arc::clone(&self.inner), inode })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.step()?;
        let inode = inner.names.remove(from).ok_or(ErrorKind::NotFound)?;
        inner.names.insert(to.to_owned(), inode);
        inner.name_log.push(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.step()?;
        inner.names.remove(name).ok_or(ErrorKind::NotFound)?;
        inner.name_log.push(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let inner = self.inner.lock();
        inner.alive()?;
        Ok(inner.names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.step()?;
        inner.durable_names = inner.names.clone();
        inner.name_log.clear();
        Ok(())
    }

    fn free_space(&self) -> io::Result<u64> {
        let inner = self.inner.lock();
        inner.alive()?;
        Ok(inner.room())
    }
}

impl DiskFile for MemFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut inner = self.inner.lock();
        inner.step()?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut take = bytes.len();
        let grows = (offset + take).saturating_sub(inner.inodes[self.inode].current.len()) as u64;
        let over = usize::try_from(grows.saturating_sub(inner.room())).map_err(io::Error::other)?;
        take = take.saturating_sub(over);
        let failing = inner.fail_write == Some(inner.calls.writes);
        inner.calls.writes += 1;
        if failing {
            take = bytes.len() / 2;
        }
        if let Some(cut) = inner.cut_at_byte {
            let left = cut.saturating_sub(inner.calls.bytes);
            if (take as u64) > left {
                take = left as usize;
                inner.dead = true;
            }
        }
        inner.calls.bytes += take as u64;
        if take > 0 {
            let inode = &mut inner.inodes[self.inode];
            put(&mut inode.current, offset, &bytes[..take]);
            inode.pending.push((offset, bytes[..take].to_vec()));
        }
        inner.alive()?;
        if failing {
            return Err(io::Error::other("input/output error"));
        }
        if take == 0 && !bytes.is_empty() {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(take)
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.inner.lock();
        inner.alive()?;
        let current = &inner.inodes[self.inode].current;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(current.len());
        let part = out.len().min(current.len() - from);
        out[..part].copy_from_slice(&current[from..from + part]);
        Ok(part)
    }

    fn size(&self) -> io::Result<u64> {
        let inner = self.inner.lock();
        inner.alive()?;
        Ok(inner.inodes[self.inode].current.len() as u64)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.step()?;
        let grows = len.saturating_sub(inner.inodes[self.inode].current.len() as u64);
        if grows > inner.room() {
            return Err(ErrorKind::StorageFull.into());
        }
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let inode = &mut inner.inodes[self.inode];
        let zeros = vec![0; len.saturating_sub(inode.current.len())];
        let at = inode.current.len();
        put(&mut inode.current, at, &zeros);
        inode.pending.push((at, zeros));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.step()?;
        let number = inner.calls.syncs;
        inner.calls.syncs += 1;
        let failing = inner.fail_sync.is_some_and(|(first, end)| (first..end).contains(&number));
        let inode = &mut inner.inodes[self.inode];
        let pending = std::mem::take(&mut inode.pending);
        if failing {
            return Err(io::Error::other("input/output error"));
        }
        for (offset, write) in pending {
            put(&mut inode.durable, offset, &write);
        }
        Ok(())
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, write: &[u8]) {
    if write.is_empty() {
        return;
    }
    if bytes.len() < offset + write.len() {
        bytes.resize(offset + write.len(), 0);
    }
    bytes[offset..offset + write.len()].copy_from_slice(write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_takes_what_was_not_synced() {
        let disk = MemDisk::new();
        let file = disk.create("a").unwrap();
        file.write_at(b"synced", 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir().unwrap();
        file.write_at(b" not", 6).unwrap();
        disk.create("b").unwrap();
        let after = disk.after_crash(Survives::Synced);
        assert_eq!(after.contents("a").unwrap(), b"synced");
        assert_eq!(after.list().unwrap(), ["a"]);
        let after = disk.after_crash(Survives::All);
        assert_eq!(after.contents("a").unwrap(), b"synced not");
        assert_eq!(after.list().unwrap(), ["a", "b"]);
        for seed in 0..50 {
            let left = disk.after_crash(Survives::Prefix(seed)).contents("a").unwrap();
            assert!(b"synced not".starts_with(&left) && left.len() >= 6, "{left:?}");
        }
    }

    #[test]
    fn a_failed_sync_is_never_made_good() {
        let disk = MemDisk::new();
        let file = disk.create("a").unwrap();
        disk.sync_dir().unwrap();
        disk.fail_syncs(0, 1);
        file.write_at(b"lost", 0).unwrap();
        assert!(file.sync_data().is_err());
        file.write_at(b"kept", 4).unwrap();
        file.sync_data().unwrap();
        assert_eq!(disk.contents("a").unwrap(), b"lostkept");
        assert_eq!(disk.after_crash(Survives::Synced).contents("a").unwrap(), b"\0\0\0\0kept");
    }

    #[test]
    fn a_cut_tears_a_write_and_a_full_disk_takes_a_part() {
        let disk = MemDisk::new();
        let file = disk.create("a").unwrap();
        disk.set_capacity(Some(6));
        assert_eq!(file.write_at(b"12345678", 0).unwrap(), 6);
        assert_eq!(file.write_at(b"78", 6).unwrap_err().kind(), ErrorKind::StorageFull);
        disk.set_capacity(None);
        disk.cut_at_byte(8);
        assert!(file.write_at(b"78xx", 6).is_err());
        assert!(disk.is_dead() && file.sync_data().is_err());
        assert_eq!(disk.after_crash(Survives::All).contents("a").unwrap(), b"12345678");
    }
}
