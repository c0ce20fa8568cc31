//! A server that takes no jobs is understood, and nothing is on the queue that the dispatcher would push again.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Instant;

use kraite_streams::queue::{JobSink as _, PushErrorClass};

use crate::redis_server::RedisServer;
use crate::rig::{ANSWER, Rig, config, lists, set};

#[test]
fn a_full_memory_refuses_the_whole_push() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]);
    let (mut rig, mut client) = (Rig::new(&server), server.client());
    rig.push_next(10);
    set(&mut client, "maxmemory", "1");
    let batch = rig.batch(10);
    let error = rig.refuse(&batch, PushErrorClass::Oom);
    assert!(error.text.contains("maxmemory") && !error.text.contains("ORDER_TRADE_UPDATE"), "{error}");
    rig.refuse(&batch, PushErrorClass::Oom);
    set(&mut client, "maxmemory", "0");
    rig.push(&batch);
    rig.check(&server);
}

#[test]
fn a_replica_refuses() {
    let primary = RedisServer::start(&[]);
    let replica = RedisServer::replica_of(&primary);
    let mut rig = Rig::new(&replica);
    let batch = rig.batch(1);
    rig.refuse(&batch, PushErrorClass::ReadOnly);
    // Even one that would take it: it is lost there at the next resynchronisation.
    set(&mut replica.client(), "replica-read-only", "no");
    rig.refuse(&batch, PushErrorClass::ReadOnly);
    assert_eq!(lists(&mut replica.client(), &rig.producer.config().keys).0.len(), 0);
}

#[test]
fn a_primary_that_becomes_a_replica_refuses() {
    let other = RedisServer::start(&[]);
    let server = RedisServer::start(&[]);
    let mut rig = Rig::new(&server);
    rig.push_next(3);
    let batch = rig.batch(3);
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(other.port()).exec(&mut server.client()).unwrap();
    rig.refuse(&batch, PushErrorClass::ReadOnly);
    rig.refuse(&batch, PushErrorClass::ReadOnly);
}

#[test]
fn too_few_replicas_and_a_failing_snapshot_refuse() {
    let server = RedisServer::start(&["--save", "3600 1", "--dbfilename", "gone.rdb"]);
    let (mut rig, mut client) = (Rig::new(&server), server.client());
    rig.push_next(3);
    let batch = rig.batch(3);
    set(&mut client, "min-replicas-to-write", "1");
    rig.refuse(&batch, PushErrorClass::ReadOnly);
    set(&mut client, "min-replicas-to-write", "0");
    std::fs::create_dir(server.folder().join("gone.rdb")).unwrap();
    std::fs::write(server.folder().join("gone.rdb/full"), "").unwrap();
    redis::cmd("BGSAVE").exec(&mut client).unwrap();
    crate::redis_server::wait_for("a failed snapshot", || {
        server.info("persistence").contains("rdb_last_bgsave_status:err")
    });
    rig.refuse(&batch, PushErrorClass::ReadOnly);
    set(&mut client, "stop-writes-on-bgsave-error", "no");
    rig.push(&batch);
    rig.check(&server);
}

#[test]
fn a_server_that_reads_its_data_refuses() {
    let mut server = RedisServer::start(&[]);
    let mut client = server.client();
    for key in 0..2_000 {
        redis::cmd("SET").arg(key).arg("x".repeat(500)).exec(&mut client).unwrap();
    }
    let mut rig = Rig::new(&server);
    rig.push_next(3);
    redis::cmd("SAVE").exec(&mut client).unwrap();
    server.kill();
    server.restart_with(&["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"]);
    let batch = rig.batch(3);
    let mut seen = Vec::new();
    crate::redis_server::wait_for("the loaded server", || match rig.producer.push(&batch) {
        Ok(_) => true,
        Err(error) => {
            seen.push(error.class);
            false
        }
    });
    assert!(seen.contains(&PushErrorClass::Loading), "{seen:?}");
    rig.pushed.extend(crate::rig::bodies(&batch));
    rig.check(&server);
}

#[test]
fn wrong_passwords_are_told_without_them() {
    let open = RedisServer::start(&[]);
    let closed = RedisServer::start(&["--requirepass", "right-secret"]);
    redis::cmd("CONFIG").arg("GET").arg("port").exec(&mut open.client()).unwrap();
    for url in [
        format!("redis://:wrong-secret@127.0.0.1:{}", closed.port()),
        format!("redis://nobody:wrong-secret@127.0.0.1:{}", closed.port()),
        format!("redis://:wrong-secret@127.0.0.1:{}", open.port()),
        format!("redis://127.0.0.1:{}", closed.port()),
    ] {
        let mut rig = Rig::with(config(&url));
        let batch = rig.batch(1);
        let error = rig.refuse(&batch, PushErrorClass::Auth);
        assert!(!format!("{error:?} {:?}", rig.producer.config()).contains("secret"), "{error:?}");
    }
    let mut rig = Rig::with(config(&format!("redis://:right-secret@127.0.0.1:{}", closed.port())));
    rig.push_next(1);
}

#[test]
fn nobody_and_somebody_else_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("redis://127.0.0.1:{port}");
    let mut rig = Rig::with(config(&url));
    let batch = rig.batch(1);
    // A server that accepts and says nothing.
    let started = Instant::now();
    rig.refuse(&batch, PushErrorClass::Timeout);
    assert!(started.elapsed() < 3 * ANSWER, "{:?}", started.elapsed());
    let answering = std::thread::spawn(move || {
        // The one that timed out waits in the backlog.
        drop(listener.accept().unwrap());
        let (mut peer, _) = listener.accept().unwrap();
        let _ = peer.read(&mut [0; 1_024]).unwrap();
        let _ = peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        drop(listener.accept().unwrap());
    });
    rig.refuse(&batch, PushErrorClass::Other);
    rig.refuse(&batch, PushErrorClass::Down);
    answering.join().unwrap();
    let error = rig.refuse(&batch, PushErrorClass::Down);
    assert!(error.text.contains(&port.to_string()), "{error}");
}

#[test]
fn a_key_of_another_type_stops_the_push_before_it_begins() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let keys = Rig::new(&server).producer.config().keys.clone();
    for key in [&keys.queue, &keys.notify, &keys.watermarks] {
        redis::cmd("SET").arg(key).arg(1).exec(&mut client).unwrap();
        let mut rig = Rig::new(&server);
        let batch = rig.batch(1);
        let error = rig.refuse(&batch, PushErrorClass::Other);
        assert!(error.text.contains(key.as_str()), "{error}");
        redis::cmd("DEL").arg(key).exec(&mut client).unwrap();
        rig.push(&batch);
        rig.check(&server);
        redis::cmd("FLUSHALL").exec(&mut client).unwrap();
    }
}

#[test]
fn a_deep_queue_takes_no_more_until_it_was_worked_on() {
    let server = RedisServer::start(&[]);
    let mut config = config(&server.url());
    config.depth_max = Some(100);
    let (mut rig, mut client) = (Rig::with(config.clone()), server.client());
    rig.push_next(60);
    rig.push_next(60);
    let batch = rig.batch(1);
    let error = rig.refuse(&batch, PushErrorClass::Full);
    assert!(error.text.contains("120"), "{error}");
    redis::cmd("LTRIM").arg(&config.keys.queue).arg(21).arg(-1).exec(&mut client).unwrap();
    assert_eq!(rig.push(&batch).depth, 100);
    // Another process does not know the depth until it has asked or pushed.
    let mut other = Rig::with(config);
    assert_eq!(other.producer.health().unwrap().depth, 100);
    other.refuse(&batch, PushErrorClass::Full);
}
