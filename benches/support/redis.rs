//! The push: batches of 1, 16 and 64 jobs onto a real Redis.
//!
//! The server is the one that `KRAITE_BENCH_REDIS` names (under keys of our own, deleted afterwards), or a private one that
//! is started from an installed binary and stopped in the end. Without either, one line says so.

use std::process::{Command, Stdio};

use kraite_streams::domain::{Mono, Wall};
use kraite_streams::queue::{
    JobBatch, JobRecord, JobSink as _, JobWriter, QueueKeys, RedisConfig, RedisProducer, RedisUrl,
};
use kraite_streams::spool::intake::read_event;

use crate::counting_alloc::Allocations;
use crate::frame_path::{EXCHANGE, shape};
use crate::median::Samples;
use crate::redis_server::RedisServer;
use crate::{LARGEST, SIZES};

/// Jobs pushed of each size, at most; a push of one is a round trip.
const JOBS: usize = 64 * LARGEST;
const PUSHES_MAX: usize = 1_000;
const WARM_UP: usize = 10;

/// Prints the rows; false if a job is not on the queue that was pushed.
pub fn run(frames: &[Vec<u8>]) -> bool {
    println!();
    if let Ok(url) = std::env::var("KRAITE_BENCH_REDIS") {
        return measure(&url, "the server of KRAITE_BENCH_REDIS", frames);
    }
    let binary = std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
    let is_installed = Command::new(binary).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !is_installed.is_ok_and(|status| status.success()) {
        println!("Redis rows omitted: KRAITE_BENCH_REDIS is not set and no redis-server is installed");
        return true;
    }
    let memory = RedisServer::start(&[]);
    let aof = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    measure(&memory.url(), "a private server in memory", frames)
        & measure(&aof.url(), "a private server, AOF everysec", frames)
}

fn measure(url: &str, name: &str, frames: &[Vec<u8>]) -> bool {
    let prefix = format!("kraite_bench_{}_", std::process::id());
    let keys = QueueKeys::new(&prefix, "frames", false);
    let Ok(parsed) = RedisUrl::parse(url) else {
        // Never the URL: it may hold a password.
        println!("Redis rows failed: the URL is none that the queue takes");
        return false;
    };
    let mut producer = RedisProducer::new(RedisConfig::new(parsed, keys, "bench"));
    let mut writer = JobWriter::new(shape());
    let (mut position, mut depth) = (0, 0);
    let mut line = format!("Redis push, µs per frame, {name}:");
    for size in SIZES {
        let pushes = (JOBS / size).min(PUSHES_MAX);
        let mut samples = Samples::new(pushes);
        let mut batch = JobBatch::new();
        let mut calls = 0;
        for push in 0..WARM_UP + pushes {
            batch.clear();
            for _ in 0..size {
                position += 1;
                let raw = read_event(&frames[position as usize % frames.len()]).bytes;
                batch.add(&mut writer, &record(position, raw), None, Mono::ZERO).expect("a sound record");
            }
            let before = Allocations::of_this_thread();
            let mut pushed = None;
            samples.time(push < WARM_UP, || pushed = Some(producer.push(&batch)));
            match pushed.expect("it was pushed") {
                Ok(pushed) => depth = pushed.depth,
                Err(error) => {
                    println!("Redis rows failed: {}", error.class);
                    return false;
                }
            }
            calls += Allocations::of_this_thread().since(before).calls;
        }
        let micros = samples.median().as_secs_f64() * 1e6 / size as f64;
        line.push_str(&format!("  {micros:.2} of {size}"));
        if size == LARGEST {
            let per_frame = calls as f64 / ((WARM_UP + pushes) * size) as f64;
            line.push_str(&format!("  ({per_frame:.2} allocations per frame, in the client's replies)"));
        }
    }
    println!("{line}");
    let is_right = depth == position;
    if !is_right {
        println!("Redis rows failed: {depth} jobs are on the queue, {position} were pushed");
    }
    is_right & forget(url, &prefix)
}

fn record(position: u64, raw: &[u8]) -> JobRecord<'_> {
    JobRecord {
        account: 7,
        api_system: EXCHANGE,
        canonical: "binance",
        epoch: [1; 16],
        position,
        previous: position.checked_sub(1).filter(|&previous| previous > 0),
        received_at: Wall::from_millis(1_795_420_185_800),
        kind: "frame",
        raw,
    }
}

/// Deletes what the bench wrote.
fn forget(url: &str, prefix: &str) -> bool {
    let forgotten = redis::Client::open(url).and_then(|client| {
        let mut client = client.get_connection()?;
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg(format!("{prefix}*")).query(&mut client)?;
        redis::cmd("DEL").arg(keys).query::<i64>(&mut client)
    });
    if let Err(error) = &forgotten {
        println!("the bench's keys could not be deleted: {:?}", error.kind());
    }
    forgotten.is_ok()
}
