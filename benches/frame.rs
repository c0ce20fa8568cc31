//! One private frame of 1 KiB, stage by stage: WebSocket reader → classify → spool batch → spool → read back → job text →
//! Redis, in batches of 1, 16 and 64, beside a memcpy of the same bytes and a serde_json twin; then the same over TLS
//! through the loop, and what an idle account costs.
//!
//! `cargo bench --bench frame`, under 60 s. Medians of interleaved rounds are printed, so that a busy machine disturbs all
//! alike: look at the ratios. Ends with 1 if the way from reader to job text allocates in steady state, if a job is not the
//! twin's, or if a frame is missing at the end of a way.

#![expect(clippy::print_stdout, reason = "a bench speaks on stdout")]

use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kraite_streams::domain::limits::{SPOOL_BUFFERS_KEPT, USER_DATA_MESSAGE_MAX};
use kraite_streams::domain::{Mono, Now, Wall};
use kraite_streams::exchange::binance::user_data::classify;
use kraite_streams::queue::{JobBatch, JobRecord, JobWriter};
use kraite_streams::spool::{
    AccountId, Appender, Batch, Epoch, ExchangeId, FolderDisk, Kind, Opened, ReadBatch, Reader, Record, SpoolConfig,
    Syncer, open,
};

#[path = "../tests/support/counting_alloc.rs"]
mod counting_alloc;
#[path = "support/frame_path.rs"]
mod frame_path;
#[path = "support/median.rs"]
mod median;
#[path = "support/reading.rs"]
mod reading;
#[cfg(feature = "server")]
#[path = "support/redis.rs"]
mod redis_rows;
#[cfg(feature = "server")]
#[path = "../tests/support/redis_server.rs"]
mod redis_server;
#[cfg(feature = "sim")]
#[allow(dead_code, reason = "shared with the tests of the loop, which need more of it")]
#[path = "../tests/loop_tls/server.rs"]
mod server;
#[cfg(feature = "sim")]
#[path = "support/tls_accounts.rs"]
mod tls_accounts;

use counting_alloc::{Allocations, CountingAlloc};
use frame_path::{EXCHANGE, FRAME_LEN, KEY, TwinRecord, frames, is_same_job, shape, twin, wire};
use reading::Reading;

#[global_allocator]
static ALLOCATOR: CountingAlloc = CountingAlloc;

const SIZES: [usize; 3] = [1, 16, 64];
const LARGEST: usize = 64;
/// Different frames, so that no branch predictor learns the digits.
const FRAMES: usize = 8 * LARGEST;
/// Frames measured of each size.
const MEASURED: usize = 320 * LARGEST;
/// Batches before, in which every recycled buffer grows to what this size needs.
const WARM_UP: usize = 3 * SPOOL_BUFFERS_KEPT;
/// What TLS hands over at once.
const TLS_RECORD: usize = 16 << 10;
/// Batches between two syncs, which the syncer's thread does in the daemon: neither timed nor counted here. The spool
/// recycles as many buffers as it keeps; in the daemon, which syncs every 5 ms, that is 12,800 batches a second.
const SYNC_EVERY: usize = SPOOL_BUFFERS_KEPT / 4;

fn main() -> ExitCode {
    // First, while this process has no memory at hand that could hide what accounts take.
    #[cfg(feature = "sim")]
    {
        if let Some(code) = tls_accounts::serve_as_child() {
            return code;
        }
        tls_accounts::idle();
    }
    let frames = frames(FRAMES);
    let staged = stage_rows(&frames);
    #[cfg(feature = "server")]
    let pushed = redis_rows::run(&frames);
    #[cfg(not(feature = "server"))]
    let pushed = omitted("Redis rows omitted: built without the feature server");
    #[cfg(feature = "sim")]
    let came = tls_accounts::flood();
    #[cfg(not(feature = "sim"))]
    let came = omitted("TLS rows omitted: built without the feature sim");
    if staged && pushed && came { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(not(all(feature = "server", feature = "sim")))]
fn omitted(why: &str) -> bool {
    println!("\n{why}");
    true
}

/// Prints the stages; false if the path allocated, or wrote another job than the twin.
fn stage_rows(frames: &[Vec<u8>]) -> bool {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut path = FramePath::new(folder.path());
    check_against_twin(&mut path, frames);
    let columns = SIZES.map(|size| measure(&mut path, frames, size));

    println!("\none private frame of {FRAME_LEN} bytes, {MEASURED} frames of each batch size; median ns per frame");
    println!("{:<48}{:>9}{:>9}{:>9}{:>12}", "stage", "of 1", "of 16", "of 64", "x memcpy");
    let names = [
        "memcpy of the same bytes",
        "WebSocket reader (a copy included)",
        "classify",
        "into the spool batch (unwrapped, masked)",
        "whole receive: reader, classify, batch",
        "spool append, one write(2) a batch",
        "read back from the spool's memory",
        "job text, with PHP's serialize",
        "whole path, reader to job text",
        "serde_json twin, frame to job text, no spool",
    ];
    let ns = |column: usize, row: usize| columns[column].rows[row].median().as_secs_f64() * 1e9 / SIZES[column] as f64;
    for (row, name) in names.into_iter().enumerate() {
        let ratio = ns(2, row) / ns(2, 0);
        println!("{name:<48}{:>9.0}{:>9.0}{:>9.0}{ratio:>12.1}", ns(0, row), ns(1, row), ns(2, row));
    }
    println!("whole path in batches of 64: {:.0} frames/s on one thread", 1e9 / ns(2, 8));
    path.read_from_the_files();
    let calls = columns.each_ref().map(|column| column.calls);
    let per_frame = calls.map(|calls| calls as f64 / MEASURED as f64);
    println!("allocations per frame, reader to job text: {} {} {}", per_frame[0], per_frame[1], per_frame[2]);
    println!("allocations per frame of the twin: {:.1}", columns[2].twin_calls as f64 / MEASURED as f64);
    calls.iter().sum::<u64>() == 0
}

/// Every frame once through path and twin.
fn check_against_twin(path: &mut FramePath, frames: &[Vec<u8>]) {
    for group in frames.chunks(LARGEST) {
        path.receive(&wire(group), group.len());
        path.append();
        path.read_back();
        path.write_jobs();
        let jobs: Vec<_> = path.jobs.jobs().collect();
        assert_eq!(jobs.len(), group.len(), "every frame is a job");
        for ((job, record), frame) in jobs.iter().zip(frames_of(&path.out)).zip(group) {
            assert!(!job.body.windows(KEY.len()).any(|part| part == KEY.as_bytes()), "no listen key is in a job");
            assert!(is_same_job(job.body, &twin(frame, &twin_record(&record))), "both write the same job");
        }
        path.acknowledge();
    }
}

struct Column {
    /// In the order of the printed names.
    rows: [median::Samples; 10],
    calls: u64,
    twin_calls: u64,
}

fn measure(path: &mut FramePath, frames: &[Vec<u8>], size: usize) -> Column {
    let groups: Vec<_> = frames.chunks(size).map(|group| (group, wire(group))).collect();
    let rounds = MEASURED / size;
    let mut copy = vec![0; groups[0].1.len()];
    let mut reading = Reading::new(USER_DATA_MESSAGE_MAX, TLS_RECORD);
    let mut scratch = Batch::new();
    let mut column = Column { rows: [(); 10].map(|()| median::Samples::new(rounds)), calls: 0, twin_calls: 0 };
    for round in 0..WARM_UP + rounds {
        let (group, wire) = &groups[round % groups.len()];
        let warm = round < WARM_UP;
        let [memcpy, reader, classified, batched, received, appended, read, text, whole, naive] = &mut column.rows;
        // Every stage finds the bytes in the cache, as they are after decryption.
        copy.copy_from_slice(black_box(wire));
        memcpy.time(warm, || copy.copy_from_slice(black_box(wire)));
        black_box(&copy);
        reader.time(warm, || reading.messages(wire, |payload| _ = black_box(payload.len())));
        classified.time(warm, || {
            for frame in *group {
                assert!(black_box(classify(black_box(frame))).class.is_recorded());
            }
        });
        scratch.clear();
        batched.time(warm, || {
            for frame in *group {
                scratch
                    .push_frame(AccountId(7), ExchangeId(EXCHANGE), path.now.wall, frame, KEY.as_bytes())
                    .expect("the batch has room");
            }
        });

        let before = Allocations::of_this_thread();
        let start = Instant::now();
        received.time(warm, || path.receive(wire, size));
        appended.time(warm, || path.append());
        read.time(warm, || path.read_back());
        text.time(warm, || path.write_jobs());
        whole.push(warm, start.elapsed());
        let made = Allocations::of_this_thread().since(before).calls;
        column.calls += if warm { 0 } else { made };
        assert_eq!(path.jobs.len(), size, "every frame is a job");

        let records: Vec<_> = frames_of(&path.out).map(|record| twin_record(&record)).collect();
        let before = Allocations::of_this_thread();
        naive.time(warm, || {
            for (frame, record) in group.iter().zip(&records) {
                black_box(twin(frame, record));
            }
        });
        column.twin_calls += if warm { 0 } else { Allocations::of_this_thread().since(before).calls };
        path.acknowledge();
    }
    column
}

fn twin_record(record: &Record<'_>) -> TwinRecord {
    TwinRecord {
        account: record.account.0,
        epoch: record.identity.epoch.0,
        position: record.identity.position,
        previous: previous(record),
        received_at_us: record.received_at.as_micros(),
    }
}

fn previous(record: &Record<'_>) -> Option<u64> {
    (record.previous > 0).then_some(record.previous)
}

/// As the dispatcher, which makes no job of the snapshot of accounts at a segment's head.
fn frames_of(records: &ReadBatch) -> impl Iterator<Item = Record<'_>> {
    records.iter().filter(|record| record.kind == Kind::Frame)
}

/// The job's fields, as the dispatcher takes them from a record.
fn job_record<'a>(record: &Record<'a>) -> JobRecord<'a> {
    JobRecord {
        account: record.account.0,
        api_system: record.exchange.0,
        canonical: "binance",
        epoch: record.identity.epoch.0,
        position: record.identity.position,
        previous: previous(record),
        received_at: record.received_at,
        kind: "frame",
        raw: record.payload,
    }
}

/// The parts of the way, in one thread.
struct FramePath {
    reading: Reading,
    batch: Batch,
    appender: Appender<FolderDisk>,
    syncer: Syncer<FolderDisk>,
    reader: Reader<FolderDisk>,
    out: ReadBatch,
    writer: JobWriter,
    jobs: JobBatch,
    now: Now,
    frames: u64,
    unsynced: usize,
}

impl FramePath {
    fn new(folder: &Path) -> Self {
        let disk = FolderDisk::open(folder).expect("a folder");
        let now = Now { mono: Mono::from_nanos(0), wall: Wall::from_millis(1_795_420_185_800) };
        // One segment holds the run: turning to the next, once in 64 MiB, is not a frame's cost.
        let config = SpoolConfig { segment_bytes: 1 << 30, ..SpoolConfig::default() };
        let Opened { appender, syncer, reader, .. } = open(disk, config, Epoch([1; 16]), now).expect("a spool");
        FramePath {
            reading: Reading::new(USER_DATA_MESSAGE_MAX, TLS_RECORD),
            batch: appender.batch(),
            appender,
            syncer,
            reader,
            out: ReadBatch::new(LARGEST + 1),
            writer: JobWriter::new(shape()),
            jobs: JobBatch::new(),
            now,
            frames: 0,
            unsynced: 0,
        }
    }

    fn receive(&mut self, wire: &[u8], count: usize) {
        let FramePath { reading, batch, now, frames, .. } = self;
        let first = *frames;
        reading.messages(wire, |payload| {
            let read = classify(payload.bytes());
            if read.class.is_recorded() {
                // As of fifty accounts.
                let account = AccountId(1 + *frames % 50);
                batch
                    .push_frame(account, ExchangeId(EXCHANGE), now.wall, payload.bytes(), KEY.as_bytes())
                    .expect("the batch has room");
                *frames += 1;
            }
        });
        assert_eq!(*frames - first, count as u64, "every frame came through");
    }

    fn append(&mut self) {
        self.appender.append(&mut self.batch, self.now).expect("the disk takes it");
    }

    fn read_back(&mut self) {
        self.reader.read(&mut self.out, &mut Vec::new()).expect("the spool is read");
    }

    fn write_jobs(&mut self) {
        self.jobs.clear();
        for record in frames_of(&self.out) {
            self.jobs.add(&mut self.writer, &job_record(&record), None, self.now.mono).expect("a sound record");
        }
    }

    /// What other threads do, or the dispatcher behind a push.
    fn acknowledge(&mut self) {
        if let Some(last) = self.out.iter().last() {
            self.reader.ack(last.identity.position + 1);
        }
        self.now.mono = self.now.mono.plus(Duration::from_millis(1));
        self.now.wall = Wall::from_micros(self.now.wall.as_micros() + 1_000);
        self.unsynced += 1;
        if self.unsynced == SYNC_EVERY {
            self.unsynced = 0;
            self.syncer.turn(self.now);
        }
    }

    /// As after a rewind: from the files, in the system's cache.
    fn read_from_the_files(&mut self) {
        self.syncer.turn(self.now);
        self.reader.rewind(self.reader.oldest()).expect("nothing was deleted");
        let begun = Instant::now();
        let (mut records, mut skipped) = (0, Vec::new());
        // What is still in memory is left out.
        while records < self.frames / 2 {
            let read = self.reader.read(&mut self.out, &mut skipped).expect("the files are read");
            assert!(read > 0 && skipped.is_empty(), "the files hold what was written");
            records += read as u64;
            let last = self.out.iter().last().expect("something was read");
            self.reader.ack(last.identity.position + 1);
        }
        let ns = begun.elapsed().as_secs_f64() * 1e9 / records as f64;
        println!("read back from the files, as after a rewind: {ns:.0} ns per frame, checksums included");
    }
}
