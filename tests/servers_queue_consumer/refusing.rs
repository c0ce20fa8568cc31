//! Servers that refuse: full, read-only, without rights, with keys of another type; clusters and Sentinels. No job is lost.

use std::time::Duration;

use kraite_streams::queue::{JobSource as _, Lease, PushErrorClass, QueueKeys, RedisUrl};

use crate::redis_server::{RedisServer, wait_for};
use crate::rig::{PREFIX, QUEUE, Rig, config, set as set_config};
use crate::side::{Side, check_counts, each, keys, shown};

#[test]
fn a_full_server_is_emptied() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    rig.push_next(30);
    let mut dead = Side::holding(&server);
    assert_eq!(dead.take(5).len(), 5);
    redis::cmd("DEL").arg(keys().lease).exec(&mut client).unwrap();
    set_config(&mut client, "maxmemory", "1");
    let batch = rig.batch(1);
    rig.refuse(&batch, PushErrorClass::Oom);
    // Takes the lease, puts the predecessor's back, reserves, releases, hands back.
    let mut side = Side::holding(&server);
    let jobs = side.take(10);
    assert_eq!(shown(&jobs), [each(1..=5, 2), each(6..=10, 1)].concat());
    side.source.extend().unwrap();
    side.source.release(jobs[9].ticket, Duration::from_secs(60)).unwrap();
    side.source.ack(&jobs[..9].iter().map(|job| job.ticket).collect::<Vec<_>>()).unwrap();
    assert_eq!(side.take(3).len(), 3);
    side.source.hand_back().unwrap();
    check_counts(&mut client, 20, 0);
}

#[test]
fn a_replica_and_a_server_that_takes_no_writes_are_told() {
    let server = RedisServer::start(&[]);
    let replica = RedisServer::replica_of(&server);
    assert_eq!(Side::new(&replica).source.keep_lease().unwrap_err().class, PushErrorClass::ReadOnly);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let mut side = Side::holding(&server);
    rig.push_next(3);
    set_config(&mut client, "min-replicas-to-write", "2");
    let error = side.source.reserve(1, Duration::ZERO, &mut Vec::new()).unwrap_err();
    assert_eq!(error.class, PushErrorClass::ReadOnly, "{error}");
    set_config(&mut client, "min-replicas-to-write", "0");
    // Demoted under an open connection.
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg("1").exec(&mut client).unwrap();
    let error = side.source.reserve(1, Duration::ZERO, &mut Vec::new()).unwrap_err();
    assert_eq!(error.class, PushErrorClass::ReadOnly, "{error}");
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut client).unwrap();
    assert_eq!(shown(&side.take(5)), each(1..=3, 1));
}

#[test]
fn no_right_that_is_missing_costs_a_job() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let user = |client: &mut redis::Connection, rules: &str| {
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg("worker").arg("reset").arg("on").arg(">heimlich").arg("~*").arg("+@all");
        command.arg(rules.split(' ').collect::<Vec<_>>()).exec(client).unwrap();
    };
    let url = |password: &str| format!("redis://worker:{password}@127.0.0.1:{}", server.port());
    user(&mut client, "+@all");
    let mut wrong = Side::with(config(&url("falsch")), Duration::from_secs(600));
    let error = wrong.source.keep_lease().unwrap_err();
    assert_eq!(error.class, PushErrorClass::Auth, "{error}");
    assert!(!error.text.contains("falsch"), "{error}");

    // Without the right to load scripts they go along with each call.
    user(&mut client, "-script");
    let mut side = Side::with(config(&url("heimlich")), Duration::from_secs(600));
    side.hold();
    rig.push_next(2);
    let jobs = side.take(2);
    assert_eq!(shown(&jobs), each(1..=2, 1));
    side.source.ack(&[jobs[0].ticket, jobs[1].ticket]).unwrap();

    for right in
        ["zadd", "ltrim", "lindex", "rpush", "lpush", "zrem", "zscore", "zrangebyscore", "evalsha", "get", "set"]
    {
        redis::cmd("DEL").arg(keys().lease).exec(&mut client).unwrap();
        rig.push_next(2);
        side.source.hand_back().unwrap();
        side.hold();
        user(&mut client, &format!("-{right}"));
        let mut jobs = Vec::new();
        match side.source.reserve(10, Duration::ZERO, &mut jobs) {
            Ok(()) => assert_eq!(jobs.len(), 2, "{right}"),
            Err(error) => assert_eq!(error.class, PushErrorClass::Auth, "{right}: {error}"),
        }
        let _ = side.source.ack(&jobs.iter().map(|job| job.ticket).collect::<Vec<_>>());
        user(&mut client, "+@all");
        // Twice perhaps, but there.
        side.hold();
        let more = side.take(10);
        assert!(jobs.len() + more.len() >= 2, "{right}");
        side.source.ack(&jobs.iter().chain(&more).map(|job| job.ticket).collect::<Vec<_>>()).unwrap();
        assert_eq!(side.take(10), vec![], "{right}");
    }
    check_counts(&mut client, 0, 0);
}

#[test]
fn a_key_of_another_type_is_told_and_costs_nothing() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let mut side = Side::holding(&server);
    rig.push_next(5);
    let keys = keys();
    for key in [&keys.reserved, &keys.delayed, &keys.in_hand, &keys.aside] {
        redis::cmd("SET").arg(key).arg("a text").exec(&mut client).unwrap();
        let error = side.source.reserve(5, Duration::ZERO, &mut Vec::new()).unwrap_err();
        assert_eq!(error.class, PushErrorClass::Other, "{error}");
        assert!(error.text.contains("WRONGTYPE"), "{error}");
        redis::cmd("DEL").arg(key).exec(&mut client).unwrap();
    }
    check_counts(&mut client, 5, 0);
    assert_eq!(shown(&side.take(5)), each(1..=5, 1));
}

#[test]
fn a_server_that_forgot_the_scripts_is_given_them_again() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let mut side = Side::holding(&server);
    rig.push_next(4);
    for position in 1..=4 {
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut client).unwrap();
        assert_eq!(shown(&side.take(1)), [(position, 1)]);
    }
}

#[test]
fn a_cluster_is_followed_to_the_node_that_has_the_queue() {
    let [a, b] = [(); 2].map(|()| RedisServer::start(&["--cluster-enabled", "yes"]));
    let mut clients = [a.client(), b.client()];
    redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(8_191).exec(&mut clients[0]).unwrap();
    redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(8_192).arg(16_383).exec(&mut clients[1]).unwrap();
    redis::cmd("CLUSTER").arg("MEET").arg("127.0.0.1").arg(b.port()).exec(&mut clients[0]).unwrap();
    for client in &mut clients {
        wait_for("the cluster", || {
            redis::cmd("CLUSTER").arg("INFO").query::<String>(client).unwrap().contains("cluster_state:ok")
        });
    }
    let keys = QueueKeys::new(PREFIX, QUEUE, true);
    let slot: u16 = redis::cmd("CLUSTER").arg("KEYSLOT").arg(&keys.queue).query(&mut clients[0]).unwrap();
    let (home, away) = if slot < 8_192 { (&a, &b) } else { (&b, &a) };
    let mut at_home = config(&home.url());
    at_home.keys = keys.clone();
    let mut rig = Rig::with(at_home);
    rig.push_next(7);
    let mut elsewhere = config(&away.url());
    elsewhere.keys = keys;
    let mut side = Side::with(elsewhere.clone(), Duration::from_secs(600));
    assert_eq!(side.source.keep_lease().unwrap_err().class, PushErrorClass::Cluster);
    assert_eq!(side.hold(), 1);
    let jobs = side.take(10);
    assert_eq!(shown(&jobs), each(1..=7, 1));
    side.source.release(jobs[0].ticket, Duration::ZERO).unwrap();
    side.source.ack(&[jobs[1].ticket]).unwrap();
    side.source.hand_back().unwrap();

    elsewhere.keys = QueueKeys::new(PREFIX, QUEUE, false);
    let mut split = Side::with(elsewhere, Duration::from_secs(600));
    for _ in 0..2 {
        assert_eq!(split.source.keep_lease().unwrap_err().class, PushErrorClass::Cluster);
    }
}

#[test]
fn sentinels_lead_to_the_new_primary() {
    let mut primary = RedisServer::start(&[]);
    let replica = RedisServer::replica_of(&primary);
    let sentinel = RedisServer::sentinel("kraite", &primary);
    wait_for("a replica known to the Sentinel", || sentinel.info("sentinel").contains("slaves=1"));
    let mut rig = Rig::new(&primary);
    rig.push_next(20);
    let mut config = config("redis://ignored.invalid:1");
    config.sentinels = vec![RedisUrl::parse(&sentinel.url()).unwrap()];
    config.sentinel_master = "kraite".to_owned();
    let mut side = Side::with(config, Duration::from_secs(600));
    assert_eq!(side.hold(), 1);
    let jobs = side.take(10);
    let has_them = || redis::cmd("ZCARD").arg(keys().in_hand).query(&mut replica.client()) == Ok(10);
    wait_for("the replica's copy", has_them);
    primary.kill();
    wait_for("the new primary", || matches!(side.source.keep_lease(), Ok(Lease::Held { fence: 1 })));
    side.source.ack(&jobs.iter().map(|job| job.ticket).collect::<Vec<_>>()).unwrap();
    assert_eq!(shown(&side.take(20)), each(11..=20, 1));
    check_counts(&mut replica.client(), 0, 10);
}
