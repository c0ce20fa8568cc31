//! Reserve, ack, release, extend, hand back: in order, once, and where Laravel looks for it.

use std::time::{Duration, Instant};

use kraite_streams::queue::{JobSource as _, PushErrorClass};

use crate::redis_server::{RedisServer, wait_for};
use crate::rig::{Rig, config};
use crate::side::{RETRY_AFTER, Side, SlowRoad, check_counts, each, keys, list, lost, push_raw, set, shown};

#[test]
fn jobs_come_in_order_and_are_gone_when_acked() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let mut side = Side::holding(&server);
    assert_eq!(side.take(10), vec![]);
    rig.push_next(50);
    let before = side.clock.seconds();
    let first = side.take(20);
    assert_eq!(shown(&first), each(1..=20, 1));
    assert_eq!(first.iter().map(|job| &job.body).collect::<Vec<_>>(), rig.pushed[..20].iter().collect::<Vec<_>>());
    assert_eq!(side.source.depth(), 30);
    check_counts(&mut client, 30, 20);
    let second = side.take(100);
    assert_eq!(shown(&second), each(21..=50, 1));
    check_counts(&mut client, 0, 50);
    let after = side.clock.seconds();
    for (_, lapse) in set(&mut client, &keys().reserved) {
        assert!((before..=after).contains(&(lapse - RETRY_AFTER.as_secs() as i64)), "{lapse}");
    }
    // In any order, and again.
    let mut tickets: Vec<_> = first.iter().chain(&second).map(|job| job.ticket).collect();
    tickets.reverse();
    side.source.ack(&tickets[..25]).unwrap();
    check_counts(&mut client, 0, 25);
    side.source.ack(&tickets).unwrap();
    side.source.ack(&[]).unwrap();
    check_counts(&mut client, 0, 0);
    let left: Vec<String> = redis::cmd("KEYS").arg("*queues*").query(&mut client).unwrap();
    assert_eq!(left.len(), 3, "the watermark, the lease and the fence: {left:?}");
}

#[test]
fn a_released_job_comes_when_it_is_due_with_its_attempt_counted() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let mut side = Side::holding(&server);
    rig.push_next(2);
    let jobs = side.take(2);
    let before = side.clock.seconds();
    side.source.release(jobs[0].ticket, Duration::from_millis(59_500)).unwrap();
    let after = side.clock.seconds();
    side.source.release(jobs[0].ticket, Duration::ZERO).unwrap();
    let delayed = set(&mut client, &keys().delayed);
    assert_eq!(delayed.len(), 1);
    assert!((before..=after).contains(&(delayed[0].1 - 60)), "whole seconds, rounded up");
    check_counts(&mut client, 0, 1);
    assert_eq!(side.take(2), vec![]);
    side.clock.advance(Duration::from_secs(60));
    let again = side.take(2);
    assert_eq!(shown(&again), [(1, 2)]);
    side.source.ack(&[again[0].ticket, jobs[1].ticket]).unwrap();
    check_counts(&mut client, 0, 0);
    assert_eq!(set(&mut client, &keys().delayed), []);
}

#[test]
fn a_lapsed_reservation_comes_again_first_and_its_old_ticket_does_nothing() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let mut side = Side::holding(&server);
    rig.push_next(30);
    let old = side.take(20);
    side.clock.advance(RETRY_AFTER - Duration::from_secs(40));
    side.source.extend().unwrap();
    side.clock.advance(RETRY_AFTER - Duration::from_secs(40));
    assert_eq!(shown(&side.take(1)), [(21, 1)], "extended in time, nothing lapses");
    side.clock.advance(Duration::from_secs(40));
    let again = side.take(25);
    assert_eq!(shown(&again), [each(1..=20, 2), each(22..=26, 1)].concat());
    side.source.ack(&old.iter().map(|job| job.ticket).collect::<Vec<_>>()).unwrap();
    check_counts(&mut client, 4, 26);
}

#[test]
fn what_is_handed_back_stands_as_if_it_had_never_been_taken() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let mut side = Side::holding(&server);
    rig.push_next(30);
    let jobs = side.take(20);
    side.source.ack(&[jobs[3].ticket]).unwrap();
    side.source.hand_back().unwrap();
    check_counts(&mut client, 29, 0);
    let fence = Side::new(&server).hold();
    assert_eq!(fence, 2, "nobody waits for a lease that was let go");
    lost(side.source.reserve(1, Duration::ZERO, &mut Vec::new()));
    let mut next = Side::new(&server);
    assert_eq!(redis::cmd("DEL").arg(keys().lease).query(&mut client), Ok(1));
    next.hold();
    let positions = (1..=30).filter(|&position| position != 4);
    assert_eq!(shown(&next.take(100)), each(positions, 1));
    // Again by one that has nothing.
    side.source.hand_back().unwrap();
}

#[test]
fn what_is_no_job_is_put_aside() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut side = Side::holding(&server);
    let strange: Vec<&[u8]> = vec![
        b"",
        b"no JSON",
        b"\xff\0",
        b"7",
        b"null",
        b"[]",
        b"[{\"attempts\":0}]",
        b"{}",
        b"{\"attempts\":null}",
        b"{\"attempts\":\"x\"}",
        b"{\"attempts\":true}",
        b"{\"attempts\":-1}",
        b"{\"attempts\":0.5}",
        b"{\"attempts\":1e300}",
        b"{\"attempts\":\"nan\"}",
        b"{\"attempts\":0,\"infinite\":1e999}",
    ];
    for body in &strange {
        push_raw(&mut client, body);
    }
    push_raw(&mut client, b"{\"attempts\":\"4\"}");
    let jobs = side.take(100);
    assert_eq!(
        jobs.iter().map(|job| (&job.body[..], job.attempt)).collect::<Vec<_>>(),
        [(&b"{\"attempts\":\"4\"}"[..], 5)]
    );
    assert_eq!(side.source.put_aside(), strange.len() as u64);
    assert_eq!(list(&mut client, &keys().aside), strange);
    check_counts(&mut client, 0, 1);

    // More of them than one reserve takes do not look like an empty queue.
    for _ in 0..7 {
        push_raw(&mut client, b"more");
    }
    push_raw(&mut client, b"{\"attempts\":1}");
    assert_eq!(side.take(3).len(), 1);
}

#[test]
fn a_full_list_aside_stops_the_queue_and_loses_nothing() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut side = Side::holding(&server);
    for _ in 0..1_000 {
        push_raw(&mut client, b"no job");
    }
    push_raw(&mut client, b"{\"attempts\":0}");
    push_raw(&mut client, b"one too many");
    push_raw(&mut client, b"{\"attempts\":1}");
    assert_eq!(side.take(2_000).len(), 1);
    for _ in 0..2 {
        let error = side.source.reserve(10, Duration::from_secs(60), &mut Vec::new()).unwrap_err();
        assert_eq!(error.class, PushErrorClass::Full);
        assert!(error.text.contains(&keys().aside), "{error}");
    }
    check_counts(&mut client, 2, 1);
    assert_eq!(list(&mut client, &keys().queue)[0], b"one too many");
    redis::cmd("DEL").arg(keys().aside).exec(&mut client).unwrap();
    assert_eq!(side.take(10).len(), 1);
    assert_eq!(side.source.put_aside(), 1_001);
}

/// The server executes a reserve whose answer nobody hears.
#[test]
fn a_reserve_without_an_answer_costs_neither_job_nor_attempt_nor_order() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let mut side = Side::holding(&server);
    rig.push_next(30);
    let kept = side.take(5);
    server.freeze();
    let error = side.source.reserve(10, Duration::ZERO, &mut Vec::new()).unwrap_err();
    assert_eq!(error.class, PushErrorClass::Timeout);
    server.thaw();
    wait_for("the reserve", || set(&mut client, &keys().in_hand).len() == 15);
    assert_eq!(shown(&side.take(20)), each(6..=25, 1));
    check_counts(&mut client, 5, 25);
    side.source.ack(&kept.iter().map(|job| job.ticket).collect::<Vec<_>>()).unwrap();
    check_counts(&mut client, 5, 20);
}

/// The server executes it after the next one: on connections of their own, requests overtake each other.
#[test]
fn a_reserve_that_arrives_late_does_nothing() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let road = SlowRoad::to(&server);
    let mut side = Side::with(config(&road.url()), Duration::from_secs(600));
    side.hold();
    let calls = || {
        let stats = server.info("commandstats");
        let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap().to_owned();
        line.split(['=', ',']).nth(1).unwrap().parse::<u64>().unwrap()
    };
    rig.push_next(30);
    assert_eq!(shown(&side.take(5)), each(1..=5, 1));
    let mut next = 6;
    // The one that overtakes finds jobs, or none.
    for found in [25, 0] {
        road.hold();
        let error = side.source.reserve(7, Duration::ZERO, &mut Vec::new()).unwrap_err();
        assert_eq!(error.class, PushErrorClass::Timeout);
        assert_eq!(shown(&side.take(25)), each(next..next + found, 1));
        rig.push_next(3);
        let before = calls();
        road.release();
        wait_for("the straggler", || calls() > before);
        next += found;
        check_counts(&mut client, 3, next as usize - 1);
        assert_eq!(shown(&side.take(25)), each(next..next + 3, 1));
        next += 3;
    }
    check_counts(&mut client, 0, 36);
}

#[test]
fn a_waiting_reserve_takes_what_is_pushed_and_what_becomes_due() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let mut side = Side::holding(&server);
    let started = Instant::now();
    assert_eq!(side.take(1), vec![]);
    let mut jobs = Vec::new();
    side.source.reserve(1, Duration::from_millis(200), &mut jobs).unwrap();
    assert!(jobs.is_empty() && started.elapsed() >= Duration::from_millis(200));

    // A token without a job does not end the wait, and is not left behind.
    redis::cmd("RPUSH").arg(keys().notify).arg("1").exec(&mut client).unwrap();
    let pusher = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        rig.push_next(3);
        rig
    });
    side.source.reserve(10, Duration::from_secs(60), &mut jobs).unwrap();
    let mut rig = pusher.join().unwrap();
    while jobs.len() < 3 {
        side.source.reserve(10, Duration::from_secs(60), &mut jobs).unwrap();
    }
    assert_eq!(shown(&jobs), each(1..=3, 1));
    check_counts(&mut client, 0, 3);

    // A job without a token is found at once, a delayed one within its second.
    let body = rig.batch(1);
    let body = body.jobs().next().unwrap().body;
    redis::cmd("RPUSH").arg(keys().queue).arg(body).exec(&mut client).unwrap();
    assert_eq!(side.take(1).len(), 1);
    side.source.release(jobs[0].ticket, Duration::from_secs(1)).unwrap();
    jobs.clear();
    side.source.reserve(10, Duration::from_secs(60), &mut jobs).unwrap();
    assert_eq!(shown(&jobs), [(1, 2)]);
}
