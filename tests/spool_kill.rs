//! SIGKILL against the spool on a real disk: a child process appends as fast as it can and says after each append how far
//! it got; it is killed while it writes, several times over one folder. Everything it said is there, in order, under the
//! identity it had, and a second process is refused while the first one lives.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Clock, Random, Wall};
use kraite_streams::spool::{
    AccountId, Batch, BatchError, Entry, Epoch, ExchangeId, FolderDisk, Kind, OpenError, Opened, ReadBatch,
    SpoolConfig, open,
};

const FOLDER: &str = "SPOOL_KILL_FOLDER";
const LIFE: &str = "SPOOL_KILL_LIFE";

fn config() -> SpoolConfig {
    SpoolConfig { segment_bytes: 300_000, ..SpoolConfig::default() }
}

fn entry(account: u64) -> Entry {
    Entry { kind: Kind::Frame, account: AccountId(account), exchange: ExchangeId(1), received_at: Wall::from_micros(1) }
}

/// The child: appends until it is killed. Not a test of its own; without the folder's name it has nothing to do.
#[test]
fn child_appends_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let life: u8 = std::env::var(LIFE).unwrap().parse().unwrap();
    let clock = SystemClock::start();
    let disk = FolderDisk::open(Path::new(&folder)).unwrap();
    let Opened { mut appender, mut syncer, .. } = open(disk, config(), Epoch([life; 16]), clock.now()).unwrap();
    std::thread::spawn(move || {
        loop {
            let now = clock.now();
            syncer.turn(now);
            syncer.wait(now, Duration::from_millis(5));
        }
    });
    let mut random = Random::from_seed(u64::from(life));
    let mut out = std::io::stdout().lock();
    let mut serial = 0_u64;
    loop {
        let mut batch = appender.batch();
        let first = serial;
        for _ in 0..=random.below(20) {
            let payload = format!("{life}:{serial}:{}", "x".repeat(random.below(1_500) as usize));
            match batch.push(entry(serial % 5 + 1), payload.as_bytes(), b"@EVENT") {
                Ok(()) => serial += 1,
                Err(BatchError::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        if appender.append(&mut batch, clock.now()).is_err() {
            // The disk syncs more slowly than this loop writes.
            serial = first;
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let end = appender.status().positions.written;
        writeln!(out, "\nwrote {first} {serial} {}", end - (serial - first)).unwrap();
    }
}

#[test]
fn a_killed_process_loses_nothing_that_append_returned_for() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("spool");
    let mut said: HashMap<String, u64> = HashMap::new();
    for life in 1..=4_u8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_appends_until_killed", "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, &folder)
            .env(LIFE, life.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut appends = 0;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: &str| {
            let Some(rest) = line.strip_prefix("wrote ") else { return false };
            let numbers: Vec<u64> = rest.split(' ').map_while(|n| n.parse().ok()).collect();
            // The last line may be torn by the kill.
            let [first, end, position] = numbers[..] else { return false };
            for serial in first..end {
                said.insert(format!("{life}:{serial}:"), position + serial - first);
            }
            true
        };
        for line in lines.by_ref() {
            appends += u32::from(note(&line.unwrap()));
            if appends == 100 * u32::from(life) {
                break;
            }
        }
        if life == 1 {
            let disk = FolderDisk::open(&folder).unwrap();
            match open(disk, config(), Epoch([99; 16]), SystemClock::start().now()) {
                Err(OpenError::Locked { holder }) => assert_eq!(holder, format!("process {}", child.id())),
                other => panic!("a second process was let in: {:?}", other.map(|opened| opened.report)),
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said before it died, though nobody had read it yet.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        let whole = rest.len().saturating_sub(1);
        for line in &rest[..whole] {
            note(line);
        }
    }
    assert!(said.len() > 2_000);

    let disk = FolderDisk::open(&folder).unwrap();
    let opened = open(disk, config(), Epoch([100; 16]), SystemClock::start().now()).unwrap();
    assert_eq!((&opened.report.lost, &opened.report.damaged), (&Vec::new(), &Vec::new()));
    let mut reader = opened.reader;
    let (mut out, mut skipped) = (ReadBatch::default(), Vec::new());
    let mut last: HashMap<AccountId, u64> = HashMap::new();
    let mut previous_position = 0;
    while reader.read(&mut out, &mut skipped).unwrap() > 0 {
        for record in out.iter() {
            assert!(record.identity.position > previous_position);
            previous_position = record.identity.position;
            if record.kind != Kind::Frame {
                continue;
            }
            assert_eq!(record.previous, last.insert(record.account, previous_position).unwrap_or(0));
            assert_eq!(record.suffix, b"@EVENT");
            let text = std::str::from_utf8(record.payload).unwrap();
            let name = &text[..=text.rfind(':').unwrap()];
            if let Some(position) = said.remove(name) {
                assert_eq!(
                    (record.identity.position, record.identity.epoch.0[0].to_string()),
                    (position, name[..1].to_owned())
                );
            }
        }
        reader.ack(previous_position + 1);
    }
    assert_eq!(said.len(), 0, "append returned for these, and they are gone");
}

#[test]
fn ten_thousand_frames_go_through_in_order() {
    let temp = tempfile::tempdir().unwrap();
    let clock = SystemClock::start();
    let disk = FolderDisk::open(&temp.path().join("spool")).unwrap();
    let Opened { mut appender, mut syncer, mut reader, .. } =
        open(disk, config(), Epoch([1; 16]), clock.now()).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let syncing = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let now = clock.now();
            let turn = syncer.turn(now);
            assert!(turn.sync_failed.is_none() && turn.cursor_failed.is_none() && turn.sweep_failed.is_none());
            syncer.wait(now, Duration::from_millis(5));
        }
        syncer.finish(clock.now());
        syncer.status()
    });
    let reading = std::thread::spawn(move || {
        let (mut out, mut skipped, mut next) = (ReadBatch::default(), Vec::new(), 0_u64);
        while next < 10_000 {
            if reader.read(&mut out, &mut skipped).unwrap() == 0 {
                reader.wait(Duration::from_millis(50));
                continue;
            }
            let mut end = 0;
            for record in out.iter() {
                end = record.identity.position + 1;
                if record.kind == Kind::Frame {
                    let text = std::str::from_utf8(record.payload).unwrap();
                    assert_eq!(text.split(' ').next().unwrap(), next.to_string());
                    next += 1;
                }
            }
            reader.ack(end);
        }
        assert_eq!(skipped, []);
    });
    let filler = "y".repeat(1_100);
    let mut batch = Batch::new();
    let mut serial = 0;
    while serial < 10_000 {
        let payload = format!("{serial} {filler}");
        match batch.push(entry(serial % 50 + 1), payload.as_bytes(), b"") {
            Ok(()) => serial += 1,
            Err(_) => append(&mut appender, &mut batch, &clock),
        }
    }
    append(&mut appender, &mut batch, &clock);
    reading.join().unwrap();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let status = syncing.join().unwrap();
    assert_eq!(status.positions.written, status.positions.synced);
    assert_eq!(status.positions.cursor, status.positions.acked);
    assert!(status.segments > 20);
}

fn append(appender: &mut kraite_streams::spool::Appender<FolderDisk>, batch: &mut Batch, clock: &SystemClock) {
    while appender.append(batch, clock.now()).is_err() {
        std::thread::sleep(Duration::from_millis(1));
    }
}
