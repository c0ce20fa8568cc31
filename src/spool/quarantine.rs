//! Files for what the spool cannot hand on: a few lines that say what and why, an empty line, the bytes as they are.
//!
//! Writing the same find twice writes one file, so that damage met at each open is kept once.

use std::io;

use super::disk::{Disk, write_all_at};
use super::read::Record;
use crate::domain::limits::SPOOL_QUARANTINE_MAX;

const NEW: &str = "quarantine.tmp";

/// The name for a stretch of a segment that holds no record.
pub(super) fn corrupt_name(segment: u64, offset: u64) -> String {
    format!("{segment:016x}-{offset:010x}.corrupt")
}

/// The name for a record that its consumer cannot take.
pub(super) fn poison_name(record: &Record<'_>) -> String {
    let epoch = record.identity.epoch.to_string();
    format!("{}-{:016x}.poison", &epoch[..8], record.identity.position)
}

/// The lines above a poison record. One line each, whatever the reason holds.
pub(super) fn poison_head(record: &Record<'_>, reason: &str) -> String {
    let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    format!(
        "reason: {reason}\nepoch: {}\nposition: {}\nprevious: {}\nkind: {}\naccount: {}\nexchange: {}\nreceived: {}\nsuffix: {}\n",
        record.identity.epoch,
        record.identity.position,
        record.previous,
        record.kind.as_str(),
        record.account.0,
        record.exchange.0,
        record.received_at,
        String::from_utf8_lossy(record.suffix),
    )
}

/// Writes `head`, an empty line and `bytes`, durably. `false` if the file was there already.
pub(super) fn save<D: Disk>(disk: &D, name: &str, head: &str, bytes: &[u8]) -> io::Result<bool> {
    let names = disk.list()?;
    if names.iter().any(|other| other == name) {
        return Ok(false);
    }
    if names.iter().filter(|name| is_quarantine(name)).count() >= SPOOL_QUARANTINE_MAX {
        return Err(io::Error::other(format!(
            "the spool's quarantine holds {SPOOL_QUARANTINE_MAX} files: look at them, then move them away"
        )));
    }
    let _ = disk.remove(NEW);
    let file = disk.create(NEW)?;
    let mut text = Vec::with_capacity(head.len() + 1 + bytes.len());
    text.extend_from_slice(head.as_bytes());
    text.push(b'\n');
    text.extend_from_slice(bytes);
    let written = write_all_at(&file, &text, 0)
        .and_then(|()| super::disk::DiskFile::sync_data(&file))
        .and_then(|()| disk.rename(NEW, name))
        .and_then(|()| disk.sync_dir());
    if written.is_err() {
        let _ = disk.remove(NEW);
    }
    written.map(|()| true)
}

/// Whether a file of the folder belongs to the quarantine.
#[must_use]
pub fn is_quarantine(name: &str) -> bool {
    name.ends_with(".poison") || name.ends_with(".corrupt")
}
