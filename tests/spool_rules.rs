//! What the spool does to those who use it: shares, bounds, retention, going back, quarantine, modes, refusals.

#![cfg(feature = "sim")]

use std::time::Duration;

use kraite_streams::domain::{Mono, Now, Wall};
use kraite_streams::spool::format::segment_name;
use kraite_streams::spool::{
    AccountId, AppendError, Appended, Batch, BatchError, Disk, Entry, Epoch, ExchangeId, FullReason, Kind,
    LivenessEntry, MemDisk, OpenError, Opened, ReadBatch, Reader, RewindError, SpoolConfig, Survives, SyncMode, open,
};

/// Header and payload of the frames here: 56 + 100 + 2 bytes.
const FRAME: u64 = 158;

fn config() -> SpoolConfig {
    SpoolConfig {
        segment_bytes: 2_000,
        free_min: 0,
        reserve_bytes: 4_000,
        retain: Duration::from_secs(3_600),
        ..SpoolConfig::default()
    }
}

fn at(second: u64) -> Now {
    let micros = second * 1_000_000;
    Now { mono: Mono::from_nanos(micros * 1_000), wall: Wall::from_micros(micros as i64) }
}

fn begin(disk: &MemDisk, life: u8, config: SpoolConfig, now: Now) -> Opened<MemDisk> {
    open(disk.clone(), config, Epoch([life; 16]), now).unwrap()
}

fn push(batch: &mut Batch, account: u64, serial: u64, second: u64) {
    let payload = format!("{serial:0100}");
    let entry =
        Entry { kind: Kind::Frame, account: AccountId(account), exchange: ExchangeId(1), received_at: at(second).wall };
    batch.push(entry, payload.as_bytes(), b"@E").unwrap();
}

/// One frame in a batch of its own.
fn append(opened: &mut Opened<MemDisk>, account: u64, serial: u64, now: u64) -> Result<Appended, AppendError> {
    let mut batch = opened.appender.batch();
    push(&mut batch, account, serial, now);
    opened.appender.append(&mut batch, at(now))
}

/// (account, serial) of the next frames, acknowledged.
fn take(reader: &mut Reader<MemDisk>, frames_max: usize) -> Vec<(u64, u64)> {
    let (mut out, mut skipped, mut taken) = (ReadBatch::new(1), Vec::new(), Vec::new());
    while taken.len() < frames_max && reader.read(&mut out, &mut skipped).unwrap() > 0 {
        for record in out.iter() {
            if record.kind == Kind::Frame {
                let serial = std::str::from_utf8(record.payload).unwrap().parse().unwrap();
                taken.push((record.account.0, serial));
            }
            reader.ack(record.identity.position + 1);
        }
    }
    taken
}

#[test]
fn over_its_share_only_that_account_waits_and_in_its_order() {
    let disk = MemDisk::new();
    let config = SpoolConfig { account_bytes_max: 4 * FRAME, ..config() };
    let mut opened = begin(&disk, 1, config.clone(), at(0));
    let mut batch = Batch::new();
    for serial in 0..7 {
        push(&mut batch, 1, serial, 1);
        push(&mut batch, 2, 100 + serial / 3, 1);
    }
    // Account 2 has seven frames too: both are over their share after four.
    let appended = opened.appender.append(&mut batch, at(1)).unwrap();
    assert_eq!((appended.written, appended.held_back, batch.records()), (8, 6, 6));
    assert_eq!(appended.full_accounts[..], [AccountId(1), AccountId(2)]);
    assert!(opened.appender.is_held_back(AccountId(1)));
    assert_eq!(append(&mut opened, 3, 7, 1).unwrap().written, 1, "nobody else waits");
    assert_eq!(opened.appender.append(&mut batch, at(2)).unwrap().written, 0, "what waits goes on waiting");

    // A restart counts what is not acknowledged against the share again.
    drop(opened);
    let disk = disk.after_crash(Survives::All);
    let mut opened = begin(&disk, 2, config, at(3));
    assert_eq!(opened.appender.append(&mut batch, at(3)).unwrap().written, 0);
    assert_eq!(take(&mut opened.reader, 3), [(1, 0), (2, 100), (1, 1)]);
    assert_eq!(
        opened.appender.append(&mut batch, at(4)).unwrap().written,
        3,
        "half of 1's share is free, and a quarter of 2's"
    );
    let mut rest = take(&mut opened.reader, 100);
    while !batch.is_empty() {
        assert!(opened.appender.append(&mut batch, at(5)).unwrap().written > 0);
        rest.extend(take(&mut opened.reader, 100));
    }
    let of = |account| rest.iter().filter(|frame| frame.0 == account).map(|frame| frame.1).collect::<Vec<_>>();
    assert_eq!(of(1), [2, 3, 4, 5, 6]);
    assert_eq!(of(2), [100, 100, 101, 101, 101, 102]);
    assert_eq!(of(3), [7]);
}

#[test]
fn a_refused_batch_is_as_it_was_even_where_an_account_waits() {
    let disk = MemDisk::new();
    let config = SpoolConfig { account_bytes_max: 2 * FRAME, ..config() };
    let mut opened = begin(&disk, 1, config, at(0));
    let mut batch = Batch::new();
    for serial in 0..4 {
        push(&mut batch, 1, serial, 1);
        push(&mut batch, 2, serial, 1);
    }
    let before: Vec<Vec<u8>> = batch.payloads().map(<[u8]>::to_vec).collect();
    disk.set_capacity(Some(0));
    assert!(matches!(opened.appender.append(&mut batch, at(1)), Err(AppendError::Full(FullReason::Disk))));
    assert_eq!(batch.payloads().collect::<Vec<_>>(), before);
}

#[test]
fn a_full_spool_refuses_frames_takes_marks_and_makes_room_by_acknowledging() {
    let disk = MemDisk::new();
    let config = SpoolConfig { bytes_max: 10_000, ..config() };
    let mut opened = begin(&disk, 1, config, at(0));
    let mut serial = 0;
    let refused = loop {
        match append(&mut opened, 1, serial, 1) {
            Ok(_) => serial += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Full(FullReason::Spool)), "{refused}");
    assert_eq!(opened.appender.status().full, Some(FullReason::Spool));
    assert!(serial > 40);
    let mut mark = Batch::new();
    let entry = Entry { kind: Kind::Gap, account: AccountId(1), exchange: ExchangeId(1), received_at: at(1).wall };
    mark.push(entry, b"gap", b"").unwrap();
    assert_eq!(opened.appender.append(&mut mark, at(1)).unwrap().written, 1);

    assert_eq!(take(&mut opened.reader, 35).len(), 35);
    assert!(append(&mut opened, 1, serial, 2).is_err(), "acknowledged, but a crash would not know it yet");
    opened.syncer.finish(at(2));
    assert_eq!(
        append(&mut opened, 1, serial, 2).unwrap().written,
        1,
        "segments within `retain` go when space is short"
    );
    let status = opened.appender.status();
    assert!(status.retained_early > 0 && status.full.is_none(), "{status:?}");
}

#[test]
fn low_free_space_pauses_frames_before_the_disk_is_full() {
    let disk = MemDisk::new();
    let mut opened = begin(&disk, 1, SpoolConfig { free_min: 50_000, ..config() }, at(0));
    disk.set_capacity(Some(40_000));
    opened.syncer.turn(at(2));
    assert!(matches!(append(&mut opened, 1, 0, 2), Err(AppendError::Full(FullReason::FreeLow))));
    disk.set_capacity(Some(400_000));
    opened.syncer.turn(at(4));
    assert_eq!(append(&mut opened, 1, 0, 4).unwrap().written, 1);
}

#[test]
fn acknowledged_segments_stay_for_retain_and_can_be_gone_back_to() {
    let disk = MemDisk::new();
    let mut opened = begin(&disk, 1, config(), at(0));
    for serial in 0..50 {
        append(&mut opened, 1, serial, serial).unwrap();
    }
    let (mut out, mut skipped) = (ReadBatch::new(500), Vec::new());
    let mut identities = Vec::new();
    while opened.reader.read(&mut out, &mut skipped).unwrap() > 0 {
        identities.extend(out.iter().filter(|record| record.kind == Kind::Frame).map(|record| record.identity));
    }
    let end = opened.reader.status().positions.dispatched;
    opened.reader.ack(end);
    opened.syncer.finish(at(50));
    opened.syncer.turn(at(3_500));
    assert_eq!(opened.reader.oldest(), 1, "an accepted push is not durable: all of it stays");

    // Back into the acknowledged range, across a crash of the queue: the same records, the same identities.
    opened.reader.rewind(identities[20].position).unwrap();
    let mut again = Vec::new();
    while opened.reader.read(&mut out, &mut skipped).unwrap() > 0 {
        again.extend(out.iter().filter(|record| record.kind == Kind::Frame).map(|record| record.identity));
    }
    assert_eq!(again, identities[20..]);
    assert_eq!(opened.reader.rewind(end + 1), Err(RewindError::Ahead { dispatched: end }));
    // Back within what is in flight.
    opened.reader.rewind(identities[45].position).unwrap();
    opened.reader.read(&mut out, &mut skipped).unwrap();
    assert_eq!(out.iter().next().unwrap().identity, identities[45]);
    assert_eq!(opened.reader.status().positions.acked, identities[20].position);
    // A rewind is durable with the next save: a crash does not undo it.
    opened.syncer.finish(at(3_501));
    let after = disk.after_crash(Survives::Synced);
    assert_eq!(begin(&after, 2, config(), at(3_502)).reader.status().positions.acked, identities[20].position);

    while opened.reader.read(&mut out, &mut skipped).unwrap() > 0 {}
    opened.reader.ack(end);
    opened.syncer.finish(at(3_700));
    let before = opened.reader.status().segments;
    opened.syncer.turn(at(3_640));
    let oldest = opened.reader.oldest();
    assert!(oldest > identities[5].position && oldest <= identities[45].position, "{oldest}");
    assert!(opened.reader.status().segments < before && opened.reader.status().retained_early == 0);
    assert_eq!(opened.reader.rewind(1), Err(RewindError::Gone { oldest }));
    opened.syncer.turn(at(1_000_000));
    assert_eq!(opened.reader.status().segments, 2, "the cursor's segment and the one before it stay");
    assert_eq!(skipped, []);
}

#[test]
fn what_waits_is_counted_in_records_although_positions_leap() {
    let disk = MemDisk::new();
    let mut opened = begin(&disk, 1, SpoolConfig { segment_bytes: 1 << 20, ..config() }, at(0));
    for serial in 0..50 {
        append(&mut opened, 1, serial, serial).unwrap();
    }
    let waiting = |reader: &Reader<MemDisk>| (reader.status().undispatched, reader.status().unacknowledged);
    // One more than the frames: the snapshot at the segment's begin.
    assert_eq!(waiting(&opened.reader), (51, 51));
    let (mut out, mut skipped) = (ReadBatch::new(21), Vec::new());
    opened.reader.read(&mut out, &mut skipped).unwrap();
    assert_eq!(waiting(&opened.reader), (30, 51));
    opened.reader.ack(out.iter().nth(10).unwrap().identity.position + 1);
    assert_eq!(waiting(&opened.reader), (30, 40));
    // Back inside what is in flight, then into what is acknowledged.
    opened.reader.rewind(out.iter().nth(15).unwrap().identity.position).unwrap();
    assert_eq!(waiting(&opened.reader), (36, 40));
    opened.reader.rewind(out.iter().nth(5).unwrap().identity.position).unwrap();
    assert_eq!(waiting(&opened.reader), (46, 46));
    opened.syncer.finish(at(60));
    drop(opened);

    // A life without a frame, then another one: two leaps, two snapshots.
    drop(begin(&disk.after_kill(), 2, config(), at(61)));
    let mut opened = begin(&disk.after_kill().after_kill(), 3, config(), at(62));
    let positions = opened.reader.status().positions;
    assert!(positions.written - positions.acked > 100_000, "{positions:?}");
    let (undispatched, unacknowledged) = waiting(&opened.reader);
    assert_eq!(undispatched, unacknowledged);
    assert!((47..=48).contains(&undispatched), "{undispatched}");
    assert_eq!(take(&mut opened.reader, 1_000).len(), 46);
    assert_eq!(waiting(&opened.reader), (0, 0));
    append(&mut opened, 1, 50, 63).unwrap();
    assert_eq!(waiting(&opened.reader), (1, 1));
    assert_eq!(skipped, []);
}

#[test]
fn a_quiet_account_outlives_the_segments_that_told_of_it() {
    let disk = MemDisk::new();
    let mut opened = begin(&disk, 1, config(), at(0));
    append(&mut opened, 7, 0, 5).unwrap();
    let entry = LivenessEntry { account: AccountId(8), alive_at: at(6).wall, last_position: 0 };
    let mut mark = Batch::new();
    let of_all =
        Entry { kind: Kind::Liveness, account: AccountId(0), exchange: ExchangeId(0), received_at: at(6).wall };
    mark.push(of_all, &entry.encode(), b"").unwrap();
    opened.appender.append(&mut mark, at(6)).unwrap();
    for serial in 1..60 {
        append(&mut opened, 1, serial, serial + 10).unwrap();
    }
    take(&mut opened.reader, 60);
    opened.syncer.finish(at(80));
    opened.syncer.turn(at(100_000));
    assert!(disk.contents(&segment_name(1)).is_none());
    drop(opened);
    let opened = begin(&disk.after_crash(Survives::Synced), 2, config(), at(100_001));
    let found = &opened.report.accounts;
    let of = |account| found.iter().find(|found| found.account == AccountId(account)).unwrap();
    assert_eq!((of(7).alive_at, of(7).last_position), (Some(at(5).wall), 2));
    assert_eq!((of(8).alive_at, of(8).last_position), (Some(at(6).wall), 0));
    assert_eq!(of(1).alive_at, Some(at(69).wall));
    assert_eq!(opened.appender.alive_at(AccountId(7)), Some(at(5).wall));
}

#[test]
fn what_was_recovered_is_no_sign_of_life() {
    let disk = MemDisk::new();
    let mut opened = begin(&disk, 1, config(), at(0));
    append(&mut opened, 7, 0, 5).unwrap();
    let mut batch = Batch::new();
    let (account, received_at) = (AccountId(7), at(9).wall);
    let entry = Entry { kind: Kind::Recovered, account, exchange: ExchangeId(0), received_at };
    batch.push(entry, b"{}", b"").unwrap();
    opened.appender.append(&mut batch, at(9)).unwrap();
    assert_eq!(opened.appender.alive_at(account), Some(at(5).wall));
    opened.syncer.finish(at(10));
    drop(opened);
    let opened = begin(&disk.after_crash(Survives::Synced), 2, config(), at(11));
    assert_eq!(opened.report.accounts[0].alive_at, Some(at(5).wall));
}

#[test]
fn always_hands_nothing_out_before_its_sync() {
    let disk = MemDisk::new();
    let mut opened = begin(&disk, 1, SpoolConfig { sync: SyncMode::Always, ..config() }, at(0));
    append(&mut opened, 1, 0, 1).unwrap();
    assert_eq!(take(&mut opened.reader, 9), []);
    assert!(opened.syncer.turn(at(1)).synced);
    assert_eq!(take(&mut opened.reader, 9), [(1, 0)]);
}

#[test]
fn only_so_much_is_in_flight_or_unsynced() {
    let disk = MemDisk::new();
    let config = SpoolConfig { in_flight_max: 5, unsynced_bytes_max: 3_000, ..config() };
    let mut opened = begin(&disk, 1, config, at(0));
    let mut serial = 0;
    let refused = loop {
        match append(&mut opened, 1, serial, 1) {
            Ok(_) => serial += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::SyncBehind) && serial > 10, "{refused}");
    opened.syncer.finish(at(2));
    append(&mut opened, 1, serial, 2).unwrap();
    let (mut out, mut skipped) = (ReadBatch::new(3), Vec::new());
    let mut reads = || opened.reader.read(&mut out, &mut skipped).unwrap();
    assert_eq!([reads(), reads(), reads()], [3, 2, 0]);
    opened.reader.ack(2);
    assert_eq!(opened.reader.read(&mut out, &mut skipped).unwrap(), 1);
}

#[test]
fn poison_is_kept_with_its_reason_once() {
    let disk = MemDisk::new();
    let mut opened = begin(&disk, 1, config(), at(0));
    append(&mut opened, 3, 42, 1).unwrap();
    let (mut out, mut skipped) = (ReadBatch::new(9), Vec::new());
    opened.reader.read(&mut out, &mut skipped).unwrap();
    let record = out.iter().find(|record| record.kind == Kind::Frame).unwrap();
    opened.reader.quarantine(&record, "no such class\nor so").unwrap();
    opened.reader.quarantine(&record, "again").unwrap();
    let text = String::from_utf8(disk.contents("01010101-0000000000000002.poison").unwrap()).unwrap();
    let (head, body) = text.split_once("\n\n").unwrap();
    assert!(head.starts_with("reason: no such class or so\n") && head.contains("\naccount: 3\n"), "{head}");
    assert_eq!(body.as_bytes(), record.payload);
    let after = disk.after_crash(Survives::Synced);
    assert!(after.contents("01010101-0000000000000002.poison").is_some(), "durable before it is acknowledged");
    assert!(begin(&after, 2, config(), at(2)).report.ignored.is_empty());
}

#[test]
fn what_cannot_be_opened_says_what_where_and_what_to_do() {
    let disk = MemDisk::new();
    let opened = begin(&disk, 1, SpoolConfig { holder: "the first".to_owned(), ..config() }, at(0));
    let refused = open(disk.clone(), config(), Epoch([2; 16]), at(0)).err().unwrap();
    assert_eq!(refused.to_string(), "the spool is another process's: the first");
    drop(opened);

    let later = disk.after_crash(Survives::All);
    let mut bytes = later.contents(&segment_name(1)).unwrap();
    for copy in [0, 96] {
        bytes[copy + 8] = 2;
        let crc = crc32fast::hash(&bytes[copy..copy + 92]).to_le_bytes();
        bytes[copy + 92..copy + 96].copy_from_slice(&crc);
    }
    later.overwrite(&segment_name(1), &bytes);
    let refused = open(later, config(), Epoch([2; 16]), at(0)).err().unwrap();
    assert!(matches!(refused, OpenError::Version { version: 2, .. }));
    assert!(
        refused.to_string().starts_with("0000000000000001.seg in the spool's folder was written by a later version")
    );

    let headless = disk.after_crash(Survives::All);
    headless.overwrite(&segment_name(9), &vec![7; 5_000]);
    let small = SpoolConfig { unsynced_bytes_max: 4_000, ..config() };
    let refused = open(headless, small, Epoch([2; 16]), at(0)).err().unwrap();
    assert!(matches!(&refused, OpenError::Damaged { file } if *file == segment_name(9)), "{refused}");

    let stranger = disk.after_crash(Survives::All);
    stranger.overwrite("notes.txt", b"mine");
    assert_eq!(begin(&stranger, 2, config(), at(1)).report.ignored, ["notes.txt"]);
    assert!(stranger.list().unwrap().contains(&"notes.txt".to_owned()));
}

#[test]
fn a_lost_cursor_hands_everything_out_again_under_its_identities() {
    let disk = MemDisk::new();
    let mut opened = begin(&disk, 1, config(), at(0));
    for serial in 0..30 {
        append(&mut opened, 1, serial, 1).unwrap();
    }
    take(&mut opened.reader, 30);
    opened.syncer.finish(at(2));
    let disk = disk.after_crash(Survives::All);
    disk.overwrite("cursor", &[0; 5_000]);
    let mut opened = begin(&disk, 2, config(), at(3));
    assert!(opened.report.cursor_damaged);
    assert_eq!(take(&mut opened.reader, 99), (0..30).map(|serial| (1, serial)).collect::<Vec<_>>());
}

#[test]
fn a_batch_is_bounded_and_takes_the_largest_frame() {
    let mut batch = Batch::new();
    let entry = Entry { kind: Kind::Frame, account: AccountId(1), exchange: ExchangeId(1), received_at: at(1).wall };
    assert_eq!(batch.push(entry, &vec![b'x'; (1 << 20) + 1], b""), Err(BatchError::TooLarge((1 << 20) + 1)));
    batch.push(entry, &vec![b'x'; 1 << 20], b"").unwrap();
    assert_eq!(batch.push(entry, b"x", b""), Err(BatchError::Full));
    let disk = MemDisk::new();
    let mut opened = begin(&disk, 1, config(), at(0));
    opened.appender.append(&mut batch, at(1)).unwrap();
    let (mut out, mut skipped) = (ReadBatch::new(1), Vec::new());
    let mut longest = 0;
    while opened.reader.read(&mut out, &mut skipped).unwrap() > 0 {
        longest = out.iter().map(|record| record.payload.len()).fold(longest, usize::max);
    }
    assert_eq!(longest, 1 << 20);
    for _ in 0..1_024 {
        batch.push(entry, b"", b"").unwrap();
    }
    assert_eq!(batch.push(entry, b"", b""), Err(BatchError::Full));
}

#[test]
fn a_listen_key_never_reaches_the_disk() {
    let key = "SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA";
    let disk = MemDisk::new();
    let mut opened = begin(&disk, 1, config(), at(0));
    let mut batch = Batch::new();
    let frames = [
        format!(r#"{{"stream":"{key}@ORDER_TRADE_UPDATE","data":{{"e":"ORDER_TRADE_UPDATE","E":1}}}}"#),
        format!(r#"{{"e":"listenKeyExpired","E":1,"listenKey":"{key}"}}"#),
        format!(r#"{{"stream":"{key}@listenKeyExpired","data":{{"e":"listenKeyExpired","listenKey":"{key}"}}}}"#),
        format!(r#"{{"stream":"{key}","data":{{}},"new":"{key}"}}"#),
        format!(r#"{{"stream":"{key}","data":{{"#),
        format!("{key} and no JSON"),
    ];
    for frame in &frames {
        batch.push_frame(AccountId(1), ExchangeId(1), at(1).wall, frame.as_bytes(), key.as_bytes()).unwrap();
    }
    let recorded: Vec<String> = batch.payloads().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect();
    assert_eq!(recorded[0], r#"{"e":"ORDER_TRADE_UPDATE","E":1}"#);
    assert_eq!(recorded[1], frames[1].replace(key, &"*".repeat(64)));
    opened.appender.append(&mut batch, at(1)).unwrap();
    let (mut out, mut skipped) = (ReadBatch::new(9), Vec::new());
    opened.reader.read(&mut out, &mut skipped).unwrap();
    let frames = out.iter().filter(|record| record.kind == Kind::Frame);
    let suffixes: Vec<&[u8]> = frames.map(|record| record.suffix).collect();
    assert_eq!(suffixes, [&b"@ORDER_TRADE_UPDATE"[..], b"", b"@listenKeyExpired", b"", b"", b""]);
    for record in out.iter() {
        opened.reader.quarantine(&record, "looked at").unwrap();
    }
    for name in disk.list().unwrap() {
        let bytes = disk.contents(&name).unwrap();
        assert!(!bytes.windows(key.len()).any(|window| window == key.as_bytes()), "{name}");
    }
}
