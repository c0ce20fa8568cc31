//! Servers that stop, die, forget: no job is lost unnoticed, none is pushed twice while the server can tell.

use std::time::{Duration, Instant};

use kraite_streams::domain::{Mono, Random};
use kraite_streams::queue::{JobBatch, JobSink as _, LossWindow, PushErrorClass, Rewind};

use crate::redis_server::{RedisServer, wait_for};
use crate::rig::{ANSWER, Rig, bodies, config, lists, mark, record, set};

#[test]
fn a_stopped_server_is_noticed_and_gets_the_batch_once() {
    let server = RedisServer::start(&[]);
    let mut rig = Rig::new(&server);
    rig.push_next(64);
    let stopped = Instant::now();
    server.freeze();
    let batch = rig.batch(64);
    rig.doubt(&batch, PushErrorClass::Timeout);
    assert!(stopped.elapsed() < 2 * ANSWER, "{:?}", stopped.elapsed());
    // It still stands: the next try does not get as far as the jobs.
    rig.refuse(&batch, PushErrorClass::Timeout);
    std::thread::sleep(Duration::from_secs(3).saturating_sub(stopped.elapsed()));
    server.thaw();
    rig.push_until_done(&batch);
    rig.push_next(64);
    rig.check(&server);
}

#[test]
fn a_straggler_is_the_same_bytes_again() {
    let server = RedisServer::start(&[]);
    // May not kill the connection on which the doubtful push went out, nor ask who the server is.
    let may = ["on", "nopass", "~*", "+multi", "+exec", "+rpush", "+hget", "+hset"];
    redis::cmd("ACL").arg("SETUSER").arg("kraite").arg(&may).exec(&mut server.client()).unwrap();
    let mut rig = Rig::with(config(&format!("redis://kraite:x@127.0.0.1:{}", server.port())));
    for _ in 0..3 {
        rig.push_next(10);
        server.freeze();
        let batch = rig.batch(10);
        rig.doubt(&batch, PushErrorClass::Timeout);
        server.thaw();
        let mut next = batch;
        wait_for("the push", || match rig.producer.push(&next) {
            Ok(pushed) => {
                rig.pushed.extend(bodies(&next));
                match pushed.forgot {
                    // A straggler moved the watermark back: pushed again from there, as after a loss.
                    Some(forgot) => {
                        let from = forgot.kept.unwrap().position + 1;
                        next = rig.batch_of(from..rig.next);
                        false
                    }
                    None => true,
                }
            }
            Err(error) => {
                assert_eq!(error.class, PushErrorClass::Timeout, "{error}");
                false
            }
        });
    }
    let (mut queue, _) = lists(&mut server.client(), &rig.producer.config().keys);
    assert!(queue.len() >= 60);
    let mut first_seen = Vec::new();
    queue.retain(|body| {
        !first_seen.contains(body) && {
            first_seen.push(body.clone());
            true
        }
    });
    let mut expected = Vec::new();
    rig.pushed.iter().for_each(|body| {
        if !expected.contains(body) {
            expected.push(body.clone())
        }
    });
    assert_eq!(queue.len(), 60);
    assert!(queue == expected, "first copies stand in order, and further ones are the same bytes");
}

#[test]
fn connections_killed_at_any_moment_lose_and_double_nothing() {
    let server = RedisServer::start(&[]);
    let mut rig = Rig::new(&server);
    let (mut client, mut random) = (server.client(), Random::from_seed(5));
    let over = std::sync::atomic::AtomicBool::new(false);
    let (mut doubts, mut was_there) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let _: Result<u64, _> = redis::cmd("CLIENT")
                    .arg("KILL")
                    .arg("TYPE")
                    .arg("normal")
                    .arg("SKIPME")
                    .arg("yes")
                    .query(&mut client);
                std::thread::sleep(Duration::from_micros(random.below(3_000)));
            }
        });
        for _ in 0..300 {
            let batch = rig.batch(20);
            loop {
                match rig.producer.push(&batch) {
                    Ok(pushed) => {
                        assert_eq!(pushed.forgot, None);
                        was_there += u32::from(pushed.was_there);
                        break;
                    }
                    Err(error) => {
                        assert_eq!(error.class, PushErrorClass::Down, "{error}");
                        doubts += u32::from(error.doubtful);
                    }
                }
            }
            rig.pushed.extend(bodies(&batch));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    eprintln!("{doubts} doubtful, {was_there} of them had succeeded");
    assert!(doubts > 0);
    rig.check(&server);
}

#[test]
fn a_killed_server_with_its_log_forgets_nothing() {
    for fsync in ["always", "everysec"] {
        let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", fsync]);
        let mut rig = Rig::new(&server);
        rig.push_next(30);
        let before = rig.producer.health().unwrap().server.unwrap();
        server.kill();
        let batch = rig.batch(30);
        rig.doubt(&batch, PushErrorClass::Down);
        rig.refuse(&batch, PushErrorClass::Down);
        server.restart();
        rig.push_until_done(&batch);
        rig.check(&server);
        let after = rig.producer.health().unwrap().server.unwrap();
        assert!(before.run_id.is_some() && before.run_id != after.run_id);
        assert!(before.replication_id != after.replication_id);
    }
}

#[test]
fn a_killed_server_without_memory_is_filled_again() {
    let mut server = RedisServer::start(&[]);
    let mut rig = Rig::new(&server);
    rig.push_next(30);
    server.kill();
    server.restart();
    let batch = rig.batch(30);
    let forgot = rig.forgot(&batch);
    assert_eq!((forgot.kept, forgot.window, forgot.rewind()), (None, LossWindow::ToLastAudited, Rewind::ToLastAudited));
    rig.pushed.clear();
    let everything = rig.batch_of(1..61);
    rig.push(&everything);
    rig.check(&server);
}

#[test]
fn a_server_that_falls_back_to_a_snapshot_says_how_far() {
    let mut server = RedisServer::start(&[]);
    let mut rig = Rig::new(&server);
    rig.push_next(20);
    rig.push_next(20);
    redis::cmd("SAVE").exec(&mut server.client()).unwrap();
    rig.push_next(20);
    rig.push_next(20);
    server.kill();
    server.restart();
    // The doubtful push in between is lost with the rest.
    let batch = rig.batch(20);
    let forgot = rig.forgot(&batch);
    assert_eq!((forgot.kept, forgot.rewind()), (mark(40), Rewind::Behind(mark(40).unwrap())));
    rig.pushed.truncate(40);
    for from in [41, 61, 81] {
        let again = rig.batch_of(from..from + 20);
        rig.push(&again);
    }
    rig.check(&server);
}

#[test]
fn a_new_process_learns_where_the_last_one_ended() {
    let server = RedisServer::start(&[]);
    let mut rig = Rig::new(&server);
    rig.push_next(20);
    let mut next = Rig::new(&server);
    assert_eq!(next.producer.health().unwrap().watermark, mark(20));
    next.next = 21;
    next.pushed = rig.pushed.clone();
    assert_eq!(next.push_next(5).forgot, None);
    next.check(&server);
    // Another spool on the same queue has a watermark of its own.
    let mut other = config(&server.url());
    other.producer = "host-b".to_owned();
    let mut other = Rig::with(other);
    assert_eq!(other.producer.health().unwrap().watermark, None);
    other.push_next(3);
    assert_eq!(next.producer.health().unwrap().watermark, mark(25));
}

#[test]
fn a_flushed_server_is_noticed_and_a_cleared_queue_is_left_alone() {
    let server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (mut rig, mut client) = (Rig::new(&server), server.client());
    rig.push_next(5);
    let keys = rig.producer.config().keys.clone();
    redis::cmd("DEL").arg(&[&keys.queue, &keys.notify, &keys.reserved, &keys.delayed]).exec(&mut client).unwrap();
    rig.pushed.clear();
    rig.producer.health().unwrap();
    assert_eq!(rig.push_next(5).forgot, None);
    // While the connection stands, the push itself finds out ...
    redis::cmd("FLUSHALL").exec(&mut client).unwrap();
    rig.pushed.clear();
    let forgot = rig.push_next(5).forgot.unwrap();
    assert_eq!((forgot.kept, forgot.window), (None, LossWindow::Nothing));
    assert_eq!(rig.push_next(5).forgot, None);
    rig.check(&server);
    // ... or the question how things are.
    redis::cmd("FLUSHALL").exec(&mut client).unwrap();
    assert_eq!(rig.producer.health().unwrap_err().class, PushErrorClass::Forgot);
    assert_eq!(rig.producer.health().unwrap().watermark, None);
}

#[test]
fn a_replay_is_pushed_beside_and_moves_nothing() {
    let server = RedisServer::start(&[]);
    let mut rig = Rig::new(&server);
    rig.push_next(5);
    let mut batch = JobBatch::new();
    batch.add(&mut rig.writer, &record(2, b"{}"), Some(1), Mono::ZERO).unwrap();
    rig.push(&batch);
    assert_eq!(rig.producer.health().unwrap().watermark, mark(5));
    rig.push_next(5);
    rig.check(&server);
}

#[test]
fn a_queue_that_lost_its_token_list_or_watermark_to_another_type_still_gets_jobs_once() {
    let server = RedisServer::start(&[]);
    let (mut rig, mut client) = (Rig::new(&server), server.client());
    rig.push_next(5);
    let keys = rig.producer.config().keys.clone();
    redis::pipe().cmd("DEL").arg(&keys.notify).cmd("SET").arg(&keys.notify).arg(1).exec(&mut client).unwrap();
    assert!(rig.push_next(5).remark.unwrap().contains("WRONGTYPE"));
    let (queue, _): (Vec<Vec<u8>>, ()) =
        (redis::cmd("LRANGE").arg(&keys.queue).arg(0).arg(-1).query(&mut client).unwrap(), ());
    assert!(queue == rig.pushed);
}

#[test]
fn a_slow_server_is_waited_for() {
    let server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (mut rig, mut client) = (Rig::new(&server), server.client());
    rig.push_next(5);
    set(&mut client, "busy-reply-threshold", "0");
    let slow = std::thread::spawn(move || {
        redis::cmd("DEBUG").arg("SLEEP").arg("0.5").exec(&mut client).unwrap();
    });
    std::thread::sleep(Duration::from_millis(100));
    let started = Instant::now();
    rig.push_next(5);
    slow.join().unwrap();
    assert!(started.elapsed() < ANSWER);
    rig.check(&server);
}
