//! Promise: `spool replay` puts recorded frames onto the queue again as new jobs, and `check` tells what the queue's server is
//! like. Kept with a real Redis.
#![cfg(feature = "servers")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use kraite_streams::domain::{Mono, Now, Wall};
use kraite_streams::queue::JobReader;
use kraite_streams::spool::{AccountId, Epoch, ExchangeId, FolderDisk, SpoolConfig, open};

#[path = "support/redis_server.rs"]
mod redis_server;

use redis_server::RedisServer;

fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kraite-streams"));
    let output = command.current_dir(folder).env_clear().args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn a_replay_is_new_jobs_of_the_same_records() {
    let (folder, redis) = (tempfile::tempdir().unwrap(), RedisServer::start(&[]));
    let here = folder.path();
    let settings = format!("[queue]\nurl = \"{}\"\njob_class = 'App\\Jobs\\UserDataEvent'\n", redis.url());
    std::fs::write(here.join("kraite-streams.toml"), settings).unwrap();
    assert_eq!(run(here, &["migrate"]).0, Some(0));
    let now = Now { mono: Mono::from_nanos(1), wall: Wall::from_micros(1_795_419_015_000_000) };
    let disk = FolderDisk::open(&here.join("kraite-streams.spool")).unwrap();
    let mut opened = open(disk, SpoolConfig::default(), Epoch([5; 16]), now).unwrap();
    for serial in 0..300 {
        let mut batch = opened.appender.batch();
        let frame = format!(r#"{{"e":"ORDER_TRADE_UPDATE","i":{serial}}}"#);
        batch.push_frame(AccountId(1 + serial % 3), ExchangeId(1), now.wall, frame.as_bytes(), b"").unwrap();
        opened.appender.append(&mut batch, now).unwrap();
    }
    for round in 1..3 {
        let (code, text) = run(here, &["spool", "replay", "--from", "0", "--account", "2", "--yes"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("100 jobs were pushed again"), "{text}");
        let key = "laravel_database_queues:user-data-stream";
        let bodies: Vec<Vec<u8>> = redis::cmd("LRANGE").arg(key).arg(0).arg(-1).query(&mut redis.client()).unwrap();
        assert_eq!(bodies.len(), 100 * round);
        let (mut uuids, mut positions, mut reader) = (BTreeSet::new(), BTreeSet::new(), JobReader::new());
        for body in &bodies {
            let json: serde_json::Value = serde_json::from_slice(body).unwrap();
            uuids.insert(json["uuid"].as_str().unwrap().to_owned());
            let job = reader.read(body).unwrap();
            assert_eq!((job.account, job.epoch), (2, [5; 16]));
            positions.insert(job.position);
        }
        assert_eq!((uuids.len(), positions.len()), (100 * round, 100));
    }
    let (_, text) = run(here, &["check"]);
    assert!(text.contains("200 jobs wait") && text.contains("persists nothing"), "{text}");
    let mut client = redis.client();
    let _: () = redis::cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg("allkeys-lru").query(&mut client).unwrap();
    let (code, text) = run(here, &["check"]);
    assert!(code != Some(0) && text.contains("!! maxmemory-policy is allkeys-lru"), "{text}");
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut client).unwrap();
    assert_eq!(keys.len(), 2, "queue and notify list alone, no watermark: {keys:?}");
}
