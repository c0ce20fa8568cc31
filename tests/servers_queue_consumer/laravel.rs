//! Workers in PHP beside ours. php-redis is not everywhere, so they are here by what they send: the effects of Laravel's own
//! scripts (facts/laravel_queue.md §3).

use std::time::Duration;

use kraite_streams::queue::JobSource as _;

use crate::redis_server::RedisServer;
use crate::rig::Rig;
use crate::side::{RETRY_AFTER, Side, check_counts, each, keys, list, push_raw, set, shown};

const POP: &str = "local job = redis.call('lpop', KEYS[1])
local reserved = false
if job ~= false then
  reserved = cjson.decode(job)
  reserved['attempts'] = reserved['attempts'] + 1
  reserved = cjson.encode(reserved)
  redis.call('zadd', KEYS[2], ARGV[1], reserved)
  redis.call('lpop', KEYS[3])
end
return {job, reserved}";

const MIGRATE: &str = "local val = redis.call('zrangebyscore', KEYS[1], '-inf', ARGV[1])
if next(val) ~= nil then
  redis.call('zremrangebyrank', KEYS[1], 0, #val - 1)
  for i = 1, #val do
    redis.call('rpush', KEYS[2], val[i])
    redis.call('rpush', KEYS[3], 1)
  end
end
return #val";

/// A worker's pop: the body and the reserved copy.
pub fn pop(client: &mut redis::Connection, lapse: i64) -> Option<(Vec<u8>, Vec<u8>)> {
    let keys = keys();
    let (body, copy): (Option<Vec<u8>>, Option<Vec<u8>>) = redis::cmd("EVAL")
        .arg(POP)
        .arg(3)
        .arg(&[&keys.queue, &keys.reserved, &keys.notify])
        .arg(lapse)
        .query(client)
        .unwrap();
    body.zip(copy)
}

pub fn migrate(client: &mut redis::Connection, now: i64) -> usize {
    let keys = keys();
    redis::cmd("EVAL")
        .arg(MIGRATE)
        .arg(3)
        .arg(&[&keys.reserved, &keys.queue, &keys.notify])
        .arg(now)
        .query(client)
        .unwrap()
}

pub fn ack(client: &mut redis::Connection, copy: &[u8]) -> usize {
    redis::cmd("ZREM").arg(keys().reserved).arg(copy).query(client).unwrap()
}

#[test]
fn the_reserved_copy_is_laravels_byte_for_byte() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let mut side = Side::holding(&server);
    let batch = rig.batch(20);
    let mut bodies: Vec<Vec<u8>> = batch.jobs().map(|job| job.body.to_vec()).collect();
    for body in [
        r#"{"attempts":0,"createdAt":1795420185800150,"tags":[],"o":{},"n":null,"f":0.1,"s":"a\/b\u00e9\u0000é"}"#,
        r#"{"attempts":"7","deep":[[[{"a":[1,2,{"b":false}]}]]],"1":"x"}"#,
        r#"{"z":1,"attempts":3,"a":2,"attempts":4}"#,
    ] {
        bodies.push(body.as_bytes().to_vec());
    }
    for body in bodies {
        push_raw(&mut client, &body);
        let (popped, copy) = pop(&mut client, 1).unwrap();
        assert_eq!(popped, body);
        assert_eq!(ack(&mut client, &copy), 1);
        push_raw(&mut client, &body);
        let jobs = side.take(1);
        assert_eq!(jobs[0].body, body);
        let reserved: Vec<_> = set(&mut client, &keys().reserved).into_iter().map(|(member, _)| member).collect();
        assert!(reserved == [copy.clone()], "{} instead of {}", show(&reserved[0]), show(&copy));
        side.source.ack(&[jobs[0].ticket]).unwrap();
        check_counts(&mut client, 0, 0);
    }
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn php_workers_take_and_keep_their_own() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let mut side = Side::holding(&server);
    rig.push_next(60);
    let lapse = side.clock.seconds() + RETRY_AFTER.as_secs() as i64;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        ours.extend(side.take(2));
        theirs.extend(pop(&mut client, lapse));
    }
    assert_eq!(set(&mut client, &keys().reserved).len(), 30);
    assert_eq!(set(&mut client, &keys().in_hand).len(), 20);
    assert_eq!(list(&mut client, &keys().notify).len(), 30, "a token for each that waits");

    // Our successor takes over what was ours, and leaves theirs alone.
    redis::cmd("DEL").arg(keys().lease).exec(&mut client).unwrap();
    let mut next = Side::holding(&server);
    next.clock.advance(Duration::from_secs(5));
    let again = next.take(20);
    assert_eq!(shown(&again), shown(&ours).into_iter().map(|(position, _)| (position, 2)).collect::<Vec<_>>());
    for (_, copy) in &theirs[1..] {
        assert_eq!(ack(&mut client, copy), 1);
    }
    // One of theirs died: whoever looks next puts it back, at the tail, as Laravel does.
    next.clock.advance(RETRY_AFTER);
    next.source.extend().unwrap();
    let rest = next.take(100);
    assert_eq!(shown(&rest), [each(31..=60, 1), vec![(3, 2)]].concat());
    let tickets: Vec<_> = again.iter().chain(&rest).map(|job| job.ticket).collect();
    next.source.ack(&tickets).unwrap();
    check_counts(&mut client, 0, 0);
}

#[test]
fn what_php_moved_back_is_not_ours_any_more() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let mut side = Side::holding(&server);
    rig.push_next(3);
    let jobs = side.take(3);
    let later = side.clock.seconds() + RETRY_AFTER.as_secs() as i64 + 5;
    assert_eq!(migrate(&mut client, later), 3);
    let (body, copy) = pop(&mut client, later + 90).unwrap();
    // Neither extended, nor released, nor acked, nor put back a second time.
    side.source.extend().unwrap();
    side.source.release(jobs[1].ticket, Duration::ZERO).unwrap();
    side.source.ack(&[jobs[0].ticket]).unwrap();
    side.source.hand_back().unwrap();
    assert_eq!(list(&mut client, &keys().queue).len(), 2);
    assert_eq!(set(&mut client, &keys().delayed), []);
    assert_eq!(ack(&mut client, &copy), 1);
    assert!(body.windows(12).any(|part| part == b"\"attempts\":1"));
    let mut next = Side::holding(&server);
    assert_eq!(shown(&next.take(10)).iter().map(|job| job.1).collect::<Vec<_>>(), [2, 2]);
    check_counts(&mut client, 0, 2);
}
