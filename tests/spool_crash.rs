//! Power loss, kills, failed syncs, full disks and flipped bits against the spool, on a disk of memory: whatever `append`
//! returned for is there when only the process died, whatever was synced is there when the power went, nothing is there
//! twice or under another identity, and nothing is missing without a word.
//!
//! A failure prints the cut that it happened at; the workload is fixed, so the cut repeats it.

#![cfg(feature = "sim")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use kraite_streams::domain::{Mono, Now, Random, Wall};
use kraite_streams::spool::{
    AccountId, AppendError, Appender, Batch, Disk, Entry, Epoch, ExchangeId, Identity, Kind, LivenessEntry, MemDisk,
    OpenReport, Opened, ReadBatch, Reader, SpoolConfig, Survives, SyncMode, Syncer, open,
};

const ACCOUNTS: u64 = 3;
const STEPS: u64 = 16;
const INTERVAL: SyncMode = SyncMode::Interval(Duration::from_millis(5));

fn config(sync: SyncMode) -> SpoolConfig {
    SpoolConfig {
        sync,
        segment_bytes: 900,
        bytes_max: 1 << 20,
        account_bytes_max: 1 << 20,
        free_min: 0,
        reserve_bytes: 1_500,
        retain: Duration::from_secs(100_000),
        tail_bytes_max: 400,
        ..SpoolConfig::default()
    }
}

fn epoch(life: u8) -> Epoch {
    Epoch([life; 16])
}

fn at(step: u64) -> Now {
    let micros = step * 1_000_000;
    Now { mono: Mono::from_nanos(micros * 1_000), wall: Wall::from_micros(1_795_419_000_000_000 + micros as i64) }
}

fn survivals(seed: u64) -> [Survives; 4] {
    [Survives::All, Survives::Synced, Survives::Prefix(seed), Survives::Sectors(seed)]
}

/// What the world outside the spool knows for certain.
#[derive(Clone, Default)]
struct Ledger {
    /// Every frame that was ever tried, by its payload.
    tried: HashMap<Vec<u8>, Tried>,
    /// The highest `synced` and acknowledged positions that were ever stated.
    synced: u64,
    acked: u64,
    /// What was handed out under each position.
    dispatched: HashMap<u64, Identity>,
    serial: u64,
    step: u64,
}

#[derive(Clone, Debug)]
struct Tried {
    account: u64,
    received_at: Wall,
    /// Set once `append` returned.
    accepted: Option<Identity>,
}

/// One life of the process that uses the spool.
struct Life {
    epoch: Epoch,
    appender: Appender<MemDisk>,
    syncer: Syncer<MemDisk>,
    reader: Reader<MemDisk>,
    out: ReadBatch,
    /// What the spool has not taken yet, oldest first.
    waiting: Vec<Batch>,
}

impl Life {
    /// `None` if the open failed: the caller says whether it may.
    fn begin(disk: &MemDisk, life: u8, sync: SyncMode, now: Now) -> Option<(Life, OpenReport)> {
        let Opened { appender, syncer, reader, report } = open(disk.clone(), config(sync), epoch(life), now)
            .inspect_err(|error| eprintln!("the open of life {life} failed: {error}"))
            .ok()?;
        let life = Life { epoch: epoch(life), appender, syncer, reader, out: ReadBatch::new(4), waiting: Vec::new() };
        Some((life, report))
    }

    /// Appends what waits, in order, until the spool refuses.
    fn push(&mut self, ledger: &mut Ledger, now: Now) -> Result<(), AppendError> {
        while let Some(batch) = self.waiting.first_mut() {
            let payloads: Vec<Vec<u8>> = batch.payloads().map(<[u8]>::to_vec).collect();
            let appended = self.appender.append(batch, now)?;
            assert_eq!((appended.written + appended.dropped_marks, appended.held_back), (payloads.len(), 0));
            self.waiting.remove(0);
            let first = self.appender.status().positions.written - appended.written as u64;
            for (n, payload) in payloads.iter().take(appended.written).enumerate() {
                if let Some(tried) = ledger.tried.get_mut(payload) {
                    assert_eq!(tried.accepted, None, "accepted twice");
                    tried.accepted = Some(Identity { epoch: self.epoch, position: first + n as u64 });
                }
            }
            self.note(ledger);
        }
        Ok(())
    }

    fn note(&self, ledger: &mut Ledger) {
        ledger.synced = ledger.synced.max(self.appender.status().positions.synced);
    }

    fn dispatch(&mut self, ledger: &mut Ledger) {
        let mut skipped = Vec::new();
        if self.reader.read(&mut self.out, &mut skipped).is_err() {
            return;
        }
        assert_eq!(skipped, [], "nothing is damaged here");
        for record in self.out.iter() {
            let before = ledger.dispatched.insert(record.identity.position, record.identity);
            assert!(before.is_none_or(|before| before == record.identity), "a position is given to one record only");
        }
        if let Some(last) = self.out.iter().last().map(|record| record.identity.position)
            && ledger.step.is_multiple_of(2)
        {
            self.reader.ack(last + 1);
            ledger.acked = ledger.acked.max(last + 1);
        }
    }

    /// One step of the scripted workload.
    fn step(&mut self, ledger: &mut Ledger) {
        ledger.step += 1;
        let (step, now) = (ledger.step, at(ledger.step));
        let mut batch = self.appender.batch();
        if step.is_multiple_of(5) {
            push_liveness(now, &mut batch);
        } else {
            for n in 0..=step % 3 {
                let received_at = Wall::from_micros(now.wall.as_micros() + n as i64);
                push_frame(ledger, (step + n) % ACCOUNTS + 1, received_at, &mut batch);
            }
        }
        self.waiting.push(batch);
        let _ = self.push(ledger, now);
        if step.is_multiple_of(3) {
            self.syncer.turn(now);
            self.note(ledger);
        }
        if step.is_multiple_of(4) || step.is_multiple_of(7) {
            self.dispatch(ledger);
        }
    }
}

fn push_frame(ledger: &mut Ledger, account: u64, received_at: Wall, batch: &mut Batch) {
    ledger.serial += 1;
    let payload = format!("frame {} {}", ledger.serial, "x".repeat((ledger.serial % 7 * 9) as usize)).into_bytes();
    let entry = Entry { kind: Kind::Frame, account: AccountId(account), exchange: ExchangeId(1), received_at };
    batch.push(entry, &payload, b"@E").unwrap();
    ledger.tried.insert(payload, Tried { account, received_at, accepted: None });
}

fn push_liveness(now: Now, batch: &mut Batch) {
    let mut payload = Vec::new();
    for account in 1..=ACCOUNTS {
        let entry = LivenessEntry { account: AccountId(account), alive_at: now.wall, last_position: 0 };
        payload.extend_from_slice(&entry.encode());
    }
    let entry = Entry { kind: Kind::Liveness, account: AccountId(0), exchange: ExchangeId(0), received_at: now.wall };
    batch.push(entry, &payload, b"").unwrap();
}

/// Runs the workload until it ends or the disk is dead.
fn run(disk: &MemDisk, sync: SyncMode) -> (Ledger, Option<Life>) {
    let mut ledger = Ledger::default();
    let Some((mut life, _)) = Life::begin(disk, 1, sync, at(0)) else {
        assert!(disk.is_dead());
        return (ledger, None);
    };
    for _ in 0..STEPS {
        life.step(&mut ledger);
        if disk.is_dead() {
            return (ledger, None);
        }
    }
    (ledger, Some(life))
}

#[derive(Clone, Debug, PartialEq)]
struct Kept {
    identity: Identity,
    kind: Kind,
    account: u64,
    previous: u64,
    payload: Vec<u8>,
}

/// Everything that the spool holds, from its oldest record on.
fn read_all(reader: &mut Reader<MemDisk>) -> BTreeMap<u64, Kept> {
    let oldest = reader.oldest();
    if oldest < reader.status().positions.dispatched {
        reader.rewind(oldest).unwrap();
    }
    let (mut all, mut out, mut skipped, mut last) = (BTreeMap::new(), ReadBatch::new(3), Vec::new(), 0);
    while reader.read(&mut out, &mut skipped).unwrap() > 0 {
        for record in out.iter() {
            assert!(record.identity.position > last, "records come in order");
            last = record.identity.position;
            let kept = Kept {
                identity: record.identity,
                kind: record.kind,
                account: record.account.0,
                previous: record.previous,
                payload: record.payload.to_vec(),
            };
            all.insert(last, kept);
        }
        reader.ack(last + 1);
    }
    assert_eq!(skipped, [], "an open reports damage first");
    all
}

/// Opens what a crash left, and holds everything that the spool promises about it.
fn check_recovered(disk: &MemDisk, ledger: &Ledger, survives: Survives, sync: SyncMode) {
    let mut ledger = ledger.clone();
    let (mut next, report) = Life::begin(disk, 100, sync, at(1_000)).expect("a disk with power opens");
    let start = next.reader.status().positions;
    assert!(start.cursor <= ledger.synced.max(1) && start.acked <= ledger.acked.max(1), "the cursor passed: {start:?}");
    let lost = |position: u64| report.lost.iter().any(|loss| loss.positions.contains(&position));

    let all = read_all(&mut next.reader);
    let mut seen: HashSet<&[u8]> = HashSet::new();
    let mut chain: HashMap<u64, u64> = HashMap::new();
    for (position, kept) in &all {
        if let Some(handed_out) = ledger.dispatched.get(position) {
            assert_eq!(*handed_out, kept.identity, "a position that was handed out is another record's now");
        }
        if kept.account != 0 {
            let before = chain.insert(kept.account, *position).unwrap_or(0);
            assert!(before == kept.previous || lost(kept.previous), "the chain of {kept:?} breaks");
        }
        if kept.kind == Kind::Frame {
            assert!(seen.insert(&kept.payload), "a frame is there twice: {kept:?}");
            let tried = ledger.tried.get(&kept.payload).expect("only what was written can be read");
            assert!(tried.accepted.is_none_or(|accepted| accepted == kept.identity), "{kept:?} changed its identity");
        }
    }
    let last_of =
        |epoch| all.values().map(|kept| kept.identity).filter(|id| id.epoch == epoch).map(|id| id.position).max();
    for (payload, tried) in ledger.tried.iter().filter(|(payload, _)| !seen.contains(&payload[..])) {
        if let Some(accepted) = tried.accepted {
            assert_ne!(survives, Survives::All, "a killed process lost {accepted:?}");
            assert!(accepted.position >= ledger.synced, "{accepted:?} was synced ({}) and is gone", ledger.synced);
            let told = last_of(accepted.epoch).is_none_or(|last| accepted.position > last) || lost(accepted.position);
            assert!(told, "{accepted:?} is missing without a word: {report:?}");
        }
        for found in report.accounts.iter().filter(|found| found.account.0 == tried.account) {
            let late = found.alive_at.is_some_and(|alive_at| alive_at > tried.received_at);
            assert!(!late, "the gap of {found:?} begins after a lost frame: {}", String::from_utf8_lossy(payload));
        }
    }
    assert!(ledger.dispatched.keys().all(|&position| position < report.next_position));

    // What recovery left is itself a spool: work on, and open once more.
    for _ in 0..4 {
        next.step(&mut ledger);
    }
    assert!(next.waiting.is_empty() || next.appender.status().full.is_some());
    drop(next);
    let kept = disk.after_crash(Survives::All);
    let (mut last, second) = Life::begin(&kept, 101, sync, at(2_000)).expect("a disk with power opens");
    assert!(second.lost.iter().all(|loss| report.lost.iter().any(|l| l.positions == loss.positions)), "{second:?}");
    let again = read_all(&mut last.reader);
    for (position, kept) in &all {
        assert_eq!(again.get(position), Some(kept), "a record went between two opens");
    }
    let frames: HashSet<&[u8]> = again.values().map(|kept| &kept.payload[..]).collect();
    for (payload, tried) in &ledger.tried {
        if tried.accepted.is_some_and(|accepted| accepted.epoch == epoch(100)) {
            assert!(frames.contains(&payload[..]), "what was written after a recovery is gone");
        }
    }
}

#[test]
fn a_cut_at_every_byte_loses_nothing_that_was_promised() {
    let whole = MemDisk::new();
    run(&whole, INTERVAL).1.expect("nothing fails");
    for byte in 0..=whole.calls().bytes {
        let disk = MemDisk::new();
        disk.cut_at_byte(byte);
        let (ledger, _) = run(&disk, INTERVAL);
        // The random ones take turns: what differs between neighbouring bytes is the torn record.
        let random = if byte.is_multiple_of(2) { Survives::Prefix(byte) } else { Survives::Sectors(byte) };
        for survives in [Survives::All, Survives::Synced, random] {
            cut(&format!("byte {byte}, {survives:?}"), || {
                check_recovered(&disk.after_crash(survives), &ledger, survives, INTERVAL);
            });
        }
    }
}

#[test]
fn a_cut_at_every_call_loses_nothing_that_was_promised() {
    for sync in [INTERVAL, SyncMode::Always] {
        let whole = MemDisk::new();
        run(&whole, sync).1.expect("nothing fails");
        for call in 0..=whole.calls().all {
            let disk = MemDisk::new();
            disk.cut_at_call(call);
            let (ledger, _) = run(&disk, sync);
            let many = (0..12).flat_map(|n| [Survives::Prefix(call * 12 + n), Survives::Sectors(call * 12 + n)]);
            for survives in [Survives::All, Survives::Synced].into_iter().chain(many) {
                cut(&format!("call {call}, {sync:?}, {survives:?}"), || {
                    check_recovered(&disk.after_crash(survives), &ledger, survives, sync);
                });
            }
        }
    }
}

#[test]
fn a_cut_while_opening_loses_nothing_that_was_promised() {
    let first = MemDisk::new();
    let (mut ledger, life) = run(&first, INTERVAL);
    drop(life);
    // Everything is on the disk before the open that is cut.
    let accepted = ledger.tried.values().filter_map(|tried| tried.accepted);
    ledger.synced = accepted.map(|identity| identity.position + 1).max().unwrap();
    let base = first.after_crash(Survives::All);
    let probe = base.after_crash(Survives::All);
    Life::begin(&probe, 50, INTERVAL, at(500)).unwrap();
    for call in 0..probe.calls().all {
        for survives in survivals(call) {
            let disk = base.after_crash(Survives::All);
            disk.cut_at_call(call);
            // The last calls save the cursor and may fail without the open failing.
            drop(Life::begin(&disk, 50, INTERVAL, at(500)));
            assert!(disk.is_dead());
            cut(&format!("call {call}, {survives:?}"), || {
                check_recovered(&disk.after_crash(survives), &ledger, survives, INTERVAL);
            });
        }
    }
}

#[test]
fn an_open_makes_durable_what_it_found_or_copies_it() {
    // One more step each time, so that the kill meets every state of the syncs.
    for steps in 0..STEPS {
        let disk = MemDisk::new();
        let (mut life, _) = Life::begin(&disk, 1, INTERVAL, at(0)).unwrap();
        let mut ledger = Ledger::default();
        for _ in 0..steps {
            life.step(&mut ledger);
        }
        let accepted = ledger.tried.values().filter_map(|tried| tried.accepted);
        let end = accepted.map(|identity| identity.position + 1).max().unwrap_or(0);
        drop(life);
        for failing in [None, Some(0), Some(1), Some(2)] {
            let disk = disk.after_kill();
            if let Some(number) = failing {
                disk.fail_syncs(number, 1);
            }
            let Some((_, report)) = Life::begin(&disk, 50, INTERVAL, at(500)) else { continue };
            assert!(failing != Some(0) || steps < 3 || !report.rescued.is_empty());
            let ledger = Ledger { synced: ledger.synced.max(end), ..ledger.clone() };
            for survives in survivals(steps) {
                cut(&format!("{steps} steps, {failing:?}, {survives:?}"), || {
                    check_recovered(&disk.after_crash(survives), &ledger, survives, INTERVAL);
                });
            }
        }
    }
}

#[test]
fn a_failed_sync_at_every_call_loses_nothing() {
    for sync in [INTERVAL, SyncMode::Always] {
        let whole = MemDisk::new();
        run(&whole, sync).1.expect("nothing fails");
        for number in 0..whole.calls().syncs + 2 {
            for count in [1, 2, 5] {
                let disk = MemDisk::new();
                disk.fail_syncs(number, count);
                cut(&format!("{count} syncs from {number}, {sync:?}"), || check_failed_syncs(&disk, number, sync));
            }
        }
    }
}

fn check_failed_syncs(disk: &MemDisk, number: u64, sync: SyncMode) {
    let Some((mut life, _)) = Life::begin(disk, 1, sync, at(0)) else {
        assert!(number < 3, "only the syncs of the reserve and of the first head fail an open");
        return;
    };
    let mut ledger = Ledger::default();
    for n in 0..2 * STEPS {
        life.step(&mut ledger);
        if n % 5 == 0 {
            for survives in survivals(n) {
                check_recovered(&disk.after_crash(survives), &ledger, survives, sync);
            }
        }
    }
    // The pauses between attempts are bounded: a while later everything is durable.
    for later in 1..20 {
        let now = at(ledger.step + 10 * later);
        let _ = life.appender.turn(now);
        let _ = life.push(&mut ledger, now);
        life.syncer.turn(now);
        life.note(&mut ledger);
    }
    let positions = life.appender.status().positions;
    assert_eq!(positions.synced, positions.written);
    assert!(life.waiting.is_empty());
    for survives in survivals(number) {
        check_recovered(&disk.after_crash(survives), &ledger, survives, sync);
    }
}

#[test]
fn a_failed_write_at_every_call_loses_nothing_and_repeats_nothing() {
    let whole = MemDisk::new();
    run(&whole, INTERVAL).1.expect("nothing fails");
    for number in 0..whole.calls().writes {
        let disk = MemDisk::new();
        disk.fail_write(number);
        let Some((mut life, _)) = Life::begin(&disk, 1, INTERVAL, at(0)) else {
            assert!(number < 2, "only the writes of the first head and snapshot fail an open");
            continue;
        };
        let mut ledger = Ledger::default();
        for _ in 0..STEPS + 4 {
            life.step(&mut ledger);
        }
        assert!(life.waiting.is_empty(), "write {number}");
        for survives in survivals(number) {
            cut(&format!("write {number}, {survives:?}"), || {
                check_recovered(&disk.after_crash(survives), &ledger, survives, INTERVAL);
            });
        }
    }
}

#[test]
fn a_full_disk_takes_marks_refuses_frames_and_recovers() {
    let mut refusals = 0;
    for capacity in (1_700..6_000).step_by(23) {
        let disk = MemDisk::new();
        disk.set_capacity(Some(capacity));
        let (mut life, _) = Life::begin(&disk, 1, INTERVAL, at(0)).unwrap();
        let mut ledger = Ledger::default();
        for _ in 0..2 * STEPS {
            life.step(&mut ledger);
        }
        if !life.waiting.is_empty() {
            refusals += 1;
            let mut mark = life.appender.batch();
            let (kind, received_at) = (Kind::Gap, at(ledger.step).wall);
            let entry = Entry { kind, account: AccountId(9), exchange: ExchangeId(1), received_at };
            mark.push(entry, b"gap", b"").unwrap();
            let appended = life.appender.append(&mut mark, at(ledger.step));
            assert_eq!(appended.unwrap().written, 1, "capacity {capacity}");
            assert!(life.appender.status().full.is_some());
        }
        cut(&format!("capacity {capacity}"), || {
            check_recovered(&disk.after_crash(Survives::All), &ledger, Survives::All, INTERVAL);
        });
        disk.set_capacity(None);
        for _ in 0..3 {
            life.step(&mut ledger);
        }
        assert!(life.waiting.is_empty(), "room is back, and the frames go");
        assert_eq!(life.appender.status().full, None);
        cut(&format!("after capacity {capacity}"), || {
            check_recovered(&disk.after_crash(Survives::All), &ledger, Survives::All, INTERVAL);
        });
    }
    assert!(refusals > 50);
}

#[test]
fn a_disk_without_a_byte_left_still_opens_and_drains() {
    let disk = MemDisk::new();
    let (ledger, life) = run(&disk, INTERVAL);
    drop(life);
    let full = disk.after_crash(Survives::All);
    full.remove("reserve").unwrap();
    full.set_capacity(Some(0));
    let (mut life, _) = Life::begin(&full, 2, INTERVAL, at(100)).unwrap();
    let all = read_all(&mut life.reader);
    let frames: HashSet<&[u8]> = all.values().map(|kept| &kept.payload[..]).collect();
    assert!(ledger.tried.iter().all(|(payload, tried)| tried.accepted.is_none() || frames.contains(&payload[..])));
}

#[test]
fn damage_never_panics_and_never_passes_unreported() {
    let disk = MemDisk::new();
    let (ledger, life) = run(&disk, INTERVAL);
    drop(life);
    let mut random = Random::from_seed(3);
    for round in 0..3_000 {
        let disk = disk.after_crash(Survives::All);
        let names: Vec<String> =
            disk.list().unwrap().into_iter().filter(|name| name.ends_with(".seg") || name == "cursor").collect();
        for _ in 0..=random.below(3) {
            let name = &names[random.below(names.len() as u64) as usize];
            let mut bytes = disk.contents(name).unwrap();
            if bytes.is_empty() {
                continue;
            }
            let at = random.below(bytes.len() as u64) as usize;
            match random.below(4) {
                0 => bytes.truncate(at),
                1 => {
                    let end = (at + random.below(200) as usize).min(bytes.len());
                    random.fill(&mut bytes[at..end]);
                }
                _ => bytes[at] ^= 1 << random.below(8),
            }
            disk.overwrite(name, &bytes);
        }
        cut(&format!("round {round}"), || check_damaged(&disk, &ledger));
    }
}

fn check_damaged(disk: &MemDisk, ledger: &Ledger) {
    let Ok(Opened { mut reader, report, .. }) = open(disk.clone(), config(INTERVAL), epoch(2), at(100)) else { return };
    let oldest = reader.oldest();
    if oldest < reader.status().positions.dispatched {
        reader.rewind(oldest).unwrap();
    }
    let (mut out, mut skipped, mut seen) = (ReadBatch::new(5), Vec::new(), HashMap::new());
    while reader.read(&mut out, &mut skipped).unwrap() > 0 {
        for record in out.iter().filter(|record| record.kind == Kind::Frame) {
            let tried = ledger.tried.get(record.payload).expect("damage makes no frames");
            assert_eq!(tried.accepted, Some(record.identity));
            seen.insert(record.payload.to_vec(), record.identity.position);
        }
        let last = out.iter().last().map(|record| record.identity.position).unwrap();
        reader.ack(last + 1);
    }
    let last = seen.values().copied().max().unwrap_or(0);
    for (payload, tried) in &ledger.tried {
        let Some(accepted) = tried.accepted.filter(|_| !seen.contains_key(payload)) else { continue };
        let mut told = report.lost.iter().map(|loss| &loss.positions).chain(skipped.iter().map(|s| &s.positions));
        // Nothing stands behind the last file that could say where it ended: its torn bytes are reported, and a file
        // cut between two records looks as if it had never been longer.
        // Where a file without a head began, only its damaged bytes tell.
        let quiet = accepted.position > last
            || !report.set_aside.is_empty()
            || report.damaged.iter().any(|damage| report.heads_rebuilt.contains(&damage.segment));
        assert!(told.any(|gone| gone.contains(&accepted.position)) || quiet, "{accepted:?} is missing: {report:?}");
    }
}

/// Runs a check; a failure says at which cut.
fn cut(name: &str, check: impl FnOnce()) {
    if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)) {
        eprintln!("at this cut: {name}");
        std::panic::resume_unwind(panic);
    }
}
