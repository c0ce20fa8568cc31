//! Opening a spool whose files hold anything: no panic, nothing invented, and what one open made of it the next one keeps.
//!
//! Run by the fuzz target `spool_open`, and on stable by `tests/fuzz_corpus.rs`. An input either is a list of edits to the
//! files of a real spool, or the bytes of one of its files.

use std::collections::BTreeMap;
use std::time::Duration;

use kraite_streams::domain::{Mono, Now, Wall};
use kraite_streams::spool::{
    AccountId, Disk, Entry, Epoch, ExchangeId, Identity, Kind, MemDisk, Opened, ReadBatch, Reader, SpoolConfig,
    Survives, SyncMode, open,
};

/// One input. First byte odd: the second one chooses a file, the rest is its content. Even: edits of five bytes follow, each
/// a file, an offset (two bytes, modulo the length), what to do, and a byte to do it with.
pub fn spool_open(input: &[u8]) {
    let disk = a_spool();
    let written = drain(&disk.after_crash(Survives::All), 2).expect("an undamaged spool opens");
    let names: Vec<String> = disk.list().expect("the disk has power");
    let Some((&mode, rest)) = input.split_first() else { return };
    if mode % 2 == 1 {
        let Some((&file, content)) = rest.split_first() else { return };
        disk.overwrite(&names[usize::from(file) % names.len()], content);
    } else {
        for edit in rest.chunks_exact(5) {
            let name = &names[usize::from(edit[0]) % names.len()];
            let mut bytes = disk.contents(name).expect("a listed file");
            if bytes.is_empty() {
                continue;
            }
            let at = usize::from(u16::from_le_bytes([edit[1], edit[2]])) % bytes.len();
            match edit[3] % 4 {
                0 => bytes[at] ^= edit[4],
                1 => bytes.truncate(at),
                2 => drop(bytes.drain(at..(at + usize::from(edit[4])).min(bytes.len()))),
                _ => {
                    let end = (at + usize::from(edit[4])).min(bytes.len());
                    bytes.extend_from_within(at..end);
                }
            }
            disk.overwrite(name, &bytes);
        }
    }
    let disk = disk.after_crash(Survives::All);
    let Some(found) = drain(&disk, 3) else { return };
    // A whole file of the input's own may hold records with good checksums; edits cannot make one.
    if mode % 2 == 0 {
        for (identity, payload) in &found {
            assert_eq!(written.get(identity), Some(payload), "damage made a frame");
        }
    }
    let again = drain(&disk.after_crash(Survives::All), 4).expect("what an open left opens");
    for (identity, payload) in &found {
        assert_eq!(again.get(identity), Some(payload), "a frame went between two opens");
    }
}

/// A few segments, some of it acknowledged.
fn a_spool() -> MemDisk {
    let disk = MemDisk::new();
    let mut opened = open(disk.clone(), config(), Epoch([1; 16]), now()).expect("a new spool opens");
    for serial in 0..24_u64 {
        let mut batch = opened.appender.batch();
        let payload = format!("frame {serial} {}", "x".repeat((serial % 5 * 20) as usize));
        let (kind, account) = (Kind::Frame, AccountId(serial % 3 + 1));
        let entry = Entry { kind, account, exchange: ExchangeId(1), received_at: Wall::from_micros(serial as i64) };
        batch.push(entry, payload.as_bytes(), b"@E").expect("a small frame fits");
        opened.appender.append(&mut batch, now()).expect("the disk is well");
    }
    let (mut out, mut skipped) = (ReadBatch::new(8), Vec::new());
    opened.reader.read(&mut out, &mut skipped).expect("the disk is well");
    let end = opened.reader.status().positions.dispatched;
    opened.reader.ack(end);
    opened.syncer.finish(now());
    drop(opened);
    disk.after_crash(Survives::All)
}

/// Opens, and reads every frame there is; `None` if it does not open.
fn drain(disk: &MemDisk, life: u8) -> Option<BTreeMap<Identity, Vec<u8>>> {
    let Opened { mut reader, .. } = open(disk.clone(), config(), Epoch([life; 16]), now()).ok()?;
    let oldest = reader.oldest();
    if oldest < reader.status().positions.dispatched {
        reader.rewind(oldest).expect("the oldest position is there");
    }
    Some(frames(&mut reader))
}

fn frames(reader: &mut Reader<MemDisk>) -> BTreeMap<Identity, Vec<u8>> {
    let (mut out, mut skipped, mut found, mut last) = (ReadBatch::new(5), Vec::new(), BTreeMap::new(), 0);
    while reader.read(&mut out, &mut skipped).expect("the disk has power") > 0 {
        for record in out.iter() {
            assert!(record.identity.position > last, "records come in order");
            last = record.identity.position;
            if record.kind == Kind::Frame {
                found.insert(record.identity, record.payload.to_vec());
            }
        }
        reader.ack(last + 1);
    }
    found
}

fn config() -> SpoolConfig {
    SpoolConfig {
        sync: SyncMode::Interval(Duration::ZERO),
        segment_bytes: 1_000,
        reserve_bytes: 1_000,
        free_min: 0,
        retain: Duration::from_secs(1_000),
        ..SpoolConfig::default()
    }
}

fn now() -> Now {
    Now { mono: Mono::ZERO, wall: Wall::from_micros(1_795_419_000_000_000) }
}
