//! How fast it is: an idle queue's latency, and the throughput of a full one. Printed; held to bounds that only a mistake misses.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use kraite_streams::queue::{JobSink as _, JobSource as _};

use crate::redis_server::RedisServer;
use crate::rig::{Rig, config};
use crate::side::{Side, check_counts};

#[test]
fn a_push_onto_an_idle_queue_is_in_hand_at_once() {
    let server = RedisServer::start(&[]);
    let mut rig = Rig::new(&server);
    let mut side = Side::holding(&server);
    let (tell, told) = mpsc::channel();
    let consumer = std::thread::spawn(move || {
        let mut jobs = Vec::new();
        for _ in 0..200 {
            jobs.clear();
            while jobs.is_empty() {
                side.source.reserve(1, Duration::from_secs(1), &mut jobs).unwrap();
            }
            tell.send(Instant::now()).unwrap();
            side.source.ack(&[jobs[0].ticket]).unwrap();
        }
    });
    let mut latencies: Vec<_> = (0..200)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(3));
            let batch = rig.batch(1);
            let started = Instant::now();
            rig.producer.push(&batch).unwrap();
            told.recv().unwrap().saturating_duration_since(started)
        })
        .collect();
    consumer.join().unwrap();
    latencies.sort_unstable();
    eprintln!("push to hand on an idle queue: p50 {:?}, p99 {:?}", latencies[100], latencies[198]);
    assert!(latencies[100] < Duration::from_millis(20), "{:?}", latencies[100]);
}

#[test]
fn ten_thousand_jobs_go_through() {
    const JOBS: usize = 10_000;
    let server = RedisServer::start(&[]);
    let mut rig = Rig::with(config(&server.url()));
    for _ in 0..JOBS / 50 {
        rig.push_next(50);
    }
    let mut side = Side::holding(&server);
    let started = Instant::now();
    let (mut jobs, mut done) = (Vec::new(), 0);
    while done < JOBS {
        jobs.clear();
        side.source.reserve(64, Duration::ZERO, &mut jobs).unwrap();
        assert!(jobs.iter().map(|job| &job.body).eq(&rig.pushed[done..done + jobs.len()]), "another order");
        done += jobs.len();
        side.source.ack(&jobs.iter().map(|job| job.ticket).collect::<Vec<_>>()).unwrap();
    }
    let took = started.elapsed();
    eprintln!("{JOBS} jobs reserved and acked in batches of 64 in {took:?}: {:.0}/s", JOBS as f64 / took.as_secs_f64());
    check_counts(&mut server.client(), 0, 0);
    assert!(took < Duration::from_secs(60), "{took:?}");
}
