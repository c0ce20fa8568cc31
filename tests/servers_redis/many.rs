//! Several servers for one queue: a primary with Sentinels, and a cluster.

use kraite_streams::queue::{JobSink as _, PushErrorClass, QueueKeys, RedisUrl};

use crate::redis_server::{RedisServer, wait_for};
use crate::rig::{PREFIX, QUEUE, Rig, bodies, config};

#[test]
fn sentinels_lead_to_the_new_primary() {
    let mut primary = RedisServer::start(&[]);
    let replica = RedisServer::replica_of(&primary);
    let sentinel = RedisServer::sentinel("kraite", &primary);
    wait_for("a replica known to the Sentinel", || sentinel.info("sentinel").contains("slaves=1"));
    let mut config = config("redis://ignored.invalid:1");
    // The first one is gone: the next is asked.
    config.sentinels =
        ["redis://127.0.0.1:1".to_owned(), sentinel.url()].iter().map(|url| RedisUrl::parse(url).unwrap()).collect();
    config.sentinel_master = "kraite".to_owned();
    let mut rig = Rig::with(config.clone());
    rig.push_next(20);
    rig.check(&primary);
    let len =
        || -> u64 { redis::cmd("LLEN").arg(format!("{PREFIX}queues:{QUEUE}")).query(&mut replica.client()).unwrap() };
    wait_for("the replica's copy", || len() == 20);
    primary.kill();
    let batch = rig.batch(20);
    rig.doubt(&batch, PushErrorClass::Down);
    let mut pushed = None;
    wait_for("the new primary", || match rig.producer.push(&batch) {
        Ok(done) => {
            pushed = Some(done);
            true
        }
        Err(error) => {
            eprintln!("{error}");
            assert_eq!(error.forgot, None);
            false
        }
    });
    assert_eq!(pushed.unwrap().forgot, None);
    rig.pushed.extend(bodies(&batch));
    rig.check(&replica);

    config.sentinel_master = "unheard-of".to_owned();
    let mut stranger = Rig::with(config.clone());
    let error = stranger.refuse(&batch, PushErrorClass::Other);
    assert!(error.text.contains("unheard-of"), "{error}");
    drop(sentinel);
    config.sentinels.truncate(1);
    let error = Rig::with(config).refuse(&batch, PushErrorClass::Down);
    assert!(error.text.contains("Sentinel"), "{error}");
}

#[test]
fn a_replica_that_lagged_behind_tells_how_far_it_got() {
    let mut primary = RedisServer::start(&[]);
    let replica = RedisServer::replica_of(&primary);
    let mut rig = Rig::new(&primary);
    rig.push_next(20);
    let keys = rig.producer.config().keys.clone();
    let len = || -> u64 { redis::cmd("LLEN").arg(&keys.queue).query(&mut replica.client()).unwrap() };
    wait_for("the replica's copy", || len() == 20);
    replica.freeze();
    rig.push_next(20);
    primary.kill();
    replica.thaw();
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut replica.client()).unwrap();
    // The replica may have the rest in its socket's buffer: what it has is what it tells.
    let has = len();
    let mut next = Rig::new(&replica);
    assert_eq!(next.producer.health().unwrap().watermark.map(|mark| mark.position), Some(has));
    assert!(has == 20 || has == 40);
}

#[test]
fn a_cluster_takes_a_tagged_queue_on_the_node_that_has_its_slot() {
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
    let mut config = config(&away.url());
    config.keys = keys;
    let mut rig = Rig::with(config.clone());
    let batch = rig.batch(20);
    // Told to go elsewhere once, then there.
    rig.refuse(&batch, PushErrorClass::Cluster);
    rig.push(&batch);
    rig.push_next(20);
    rig.check(home);

    // Without a tag the lists lie in different slots.
    config.keys = QueueKeys::new(PREFIX, QUEUE, false);
    let mut split = Rig::with(config);
    let batch = split.batch(1);
    for _ in 0..3 {
        split.refuse(&batch, PushErrorClass::Cluster);
    }
}
