//! What was pushed is on the queue: once, in order, in one step, in the shape that workers take.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kraite_streams::domain::Mono;
use kraite_streams::queue::{
    HorizonRecords, JobBatch, JobReader, JobSink as _, LossWindow, PushErrorClass, QueueKeys, RedisUrl,
};

use crate::redis_server::RedisServer;
use crate::rig::{self, CLASS, PREFIX, QUEUE, Rig, config, mark, record};

#[path = "../support/json_docs.rs"]
mod json_docs;

#[test]
fn jobs_land_in_order_with_a_token_each() {
    for (options, window) in [
        (&["--appendonly", "no"][..], LossWindow::ToLastAudited),
        (&["--appendonly", "yes", "--appendfsync", "everysec"], LossWindow::Last(Duration::from_secs(2))),
        (&["--appendonly", "yes", "--appendfsync", "always"], LossWindow::Nothing),
    ] {
        let server = RedisServer::start(options);
        let mut rig = Rig::new(&server);
        assert_eq!(rig.producer.acked(), None);
        assert_eq!(rig.producer.push(&JobBatch::new()).unwrap().depth, 0);
        for (jobs, depth) in [(64, 64), (1, 65), (64, 129), (7, 136)] {
            let pushed = rig.push_next(jobs);
            assert_eq!((pushed.depth, pushed.was_there, pushed.forgot, pushed.remark), (depth, false, None, None));
        }
        rig.check(&server);
        let health = rig.producer.health().unwrap();
        assert_eq!((health.depth, health.watermark), (136, mark(136)));
        assert_eq!(health.server.unwrap().loss_window(), window);
    }
}

#[test]
fn a_push_is_one_step() {
    let server = RedisServer::start(&[]);
    let mut rig = Rig::new(&server);
    let (mut client, keys, over) = (server.client(), rig.producer.config().keys.clone(), AtomicBool::new(false));
    let looks = std::thread::scope(|scope| {
        let observer = scope.spawn(|| {
            let mut looks = 0;
            while !over.load(Ordering::Relaxed) {
                let (jobs, tokens): (u64, u64) = redis::pipe()
                    .atomic()
                    .cmd("LLEN")
                    .arg(&keys.queue)
                    .cmd("LLEN")
                    .arg(&keys.notify)
                    .query(&mut client)
                    .unwrap();
                assert_eq!((jobs % 50, jobs), (0, tokens));
                looks += u64::from(jobs > 0);
            }
            looks
        });
        (0..100).for_each(|_| drop(rig.push_next(50)));
        over.store(true, Ordering::Relaxed);
        observer.join().unwrap()
    });
    assert!(looks > 0);
    rig.check(&server);
}

#[test]
fn prefixes_databases_and_hash_tags_are_the_applications() {
    let server = RedisServer::start(&[]);
    let odd = ["", "kraite-database-", "Königs \"app\" {x}*?[a]\\:'\r\n\t\u{0}", "{", "\u{1f600}"];
    for (database, prefix) in odd.into_iter().enumerate() {
        for hash_tag in [false, true] {
            let mut config = config(&format!("{}/{database}", server.url()));
            config.keys = QueueKeys::new(prefix, "a queue:'\"é", hash_tag);
            let mut rig = Rig::with(config);
            rig.push_next(3);
            let mut client = server.client();
            redis::cmd("SELECT").arg(database).exec(&mut client).unwrap();
            rig.check_on(&mut client);
            let tagged = if hash_tag { "{a queue:'\"é}" } else { "a queue:'\"é" };
            let exists: bool =
                redis::cmd("EXISTS").arg(format!("{prefix}queues:{tagged}:notify")).query(&mut client).unwrap();
            assert!(exists, "{prefix:?}");
        }
    }
}

#[test]
fn horizons_records_are_written_first() {
    let server = RedisServer::start(&[]);
    let mut config = config(&server.url());
    let keep_pending = Duration::from_secs(100 * 365 * 86_400);
    config.horizon = Some(HorizonRecords {
        prefix: "kraite_horizon:".to_owned(),
        keep_pending,
        queue: QUEUE.to_owned(),
        job_class: CLASS.to_owned(),
    });
    let mut rig = Rig::with(config);
    let batch = rig.batch(3);
    assert_eq!(rig.push(&batch).remark, None);
    rig.check(&server);
    let mut client = server.client();
    for list in ["recent_jobs", "pending_jobs"] {
        let found: Vec<(String, f64)> = redis::cmd("ZRANGE")
            .arg(format!("kraite_horizon:{list}"))
            .arg(0)
            .arg(-1)
            .arg("WITHSCORES")
            .query(&mut client)
            .unwrap();
        let mut expected: Vec<_> =
            batch.jobs().map(|job| (String::from_utf8(job.uuid.to_vec()).unwrap(), -1_795_420_185.800_1)).collect();
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, expected);
    }
    for job in batch.jobs() {
        let uuid = std::str::from_utf8(job.uuid).unwrap();
        let key = format!("kraite_horizon:{uuid}");
        let fields: HashMap<String, String> = redis::cmd("HGETALL").arg(&key).query(&mut client).unwrap();
        let expected = [
            ("id", uuid),
            ("connection", "redis"),
            ("queue", QUEUE),
            ("name", CLASS),
            ("status", "pending"),
            ("payload", std::str::from_utf8(job.body).unwrap()),
            ("created_at", "1795420185.8001"),
            ("updated_at", "1795420185.8001"),
        ];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let expires: u64 = redis::cmd("EXPIRETIME").arg(&key).query(&mut client).unwrap();
        assert_eq!(expires, 1_795_420_185 + keep_pending.as_secs());
    }
    // A record that cannot be written keeps no job back.
    redis::pipe()
        .cmd("DEL")
        .arg("kraite_horizon:recent_jobs")
        .cmd("SET")
        .arg("kraite_horizon:recent_jobs")
        .arg(1)
        .exec(&mut client)
        .unwrap();
    assert!(rig.push_next(2).remark.unwrap().contains("WRONGTYPE"));
    rig.check(&server);
}

/// Laravel's pop, by its effect (facts/laravel_queue.md §3): the body goes through Lua's cjson.
const POP: &str = "local job = redis.call('lpop', KEYS[1]) \
                   local reserved = cjson.decode(job) \
                   reserved['attempts'] = reserved['attempts'] + 1 \
                   reserved = cjson.encode(reserved) \
                   redis.call('zadd', KEYS[2], ARGV[1], reserved) \
                   redis.call('lpop', KEYS[3]) \
                   return {job, reserved}";

#[test]
fn a_reserved_job_still_holds_its_record() {
    let server = RedisServer::start(&[]);
    let mut rig = Rig::new(&server);
    let mut client = server.client();
    let mut raws: Vec<Vec<u8>> = json_docs::fixtures().into_iter().map(|(_, bytes)| bytes).collect();
    raws.extend([b"\xff\0 no text".to_vec(), b"\0\x01\x1f\x7f".to_vec(), b"7".to_vec(), "\u{2028}😀/".into()]);
    let mut reader = JobReader::new();
    for (at, raw) in raws.iter().enumerate() {
        let record = record(u64::MAX - at as u64, raw);
        let mut batch = JobBatch::new();
        batch.add(&mut rig.writer, &record, None, Mono::ZERO).unwrap();
        rig.producer.push(&batch).unwrap();
        let keys = &rig.producer.config().keys;
        let (job, reserved): (Vec<u8>, Vec<u8>) = redis::cmd("EVAL")
            .arg(POP)
            .arg(3)
            .arg(&[&keys.queue, &keys.reserved, &keys.notify])
            .arg(9)
            .query(&mut client)
            .unwrap();
        assert_eq!(job, batch.jobs().next().unwrap().body);
        for (body, attempts) in [(job, 0), (reserved, 1)] {
            let view = reader.read(&body).unwrap();
            assert_eq!((view.attempts, view.position, view.previous), (attempts, record.position, record.previous));
            assert_eq!((view.epoch, view.received_at, view.raw), (record.epoch, record.received_at, record.raw));
        }
    }
}

#[test]
fn an_acl_user_needs_little() {
    let server = RedisServer::start(&[]);
    let keys = format!("~{PREFIX}queues:{QUEUE}*");
    let allowed = ["+multi", "+exec", "+rpush", "+hget", "+hset", "+llen"];
    let mut client = server.client();
    redis::cmd("ACL")
        .arg("SETUSER")
        .arg("kraite")
        .arg(&["on", ">pass/word@é", &keys])
        .arg(&allowed)
        .exec(&mut client)
        .unwrap();
    let url = format!("redis://kraite:pass%2Fword%40%C3%A9@127.0.0.1:{}", server.port());
    let mut rig = Rig::with(config(&url));
    rig.push_next(5);
    rig.check(&server);
    let health = rig.producer.health().unwrap();
    assert_eq!((health.depth, health.watermark), (5, mark(5)));
    assert_eq!(health.server.unwrap().run_id, None);
    for missing in allowed {
        let error = {
            redis::cmd("ACL").arg("SETUSER").arg("kraite").arg(missing.replace('+', "-")).exec(&mut client).unwrap();
            let mut other = Rig::with(config(&url));
            let batch = other.batch(1);
            let error = match missing {
                "+llen" => other.producer.health().unwrap_err(),
                _ => other.producer.push(&batch).unwrap_err(),
            };
            redis::cmd("ACL").arg("SETUSER").arg("kraite").arg(missing).exec(&mut client).unwrap();
            error
        };
        assert_eq!((error.class, error.doubtful), (PushErrorClass::Auth, false), "{missing}: {error}");
        assert!(!error.text.contains("pass/word"), "{error}");
    }
    rig.check(&server);
}

#[cfg(feature = "sim")]
#[test]
fn tls_is_spoken_and_verified() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let path = |name: &str, text: String| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).display().to_string()
    };
    let (cert_file, key_file) = (path("cert.pem", certificate.pem()), path("key.pem", key.serialize_pem()));
    let tls_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = RedisServer::start(&[
        "--tls-port",
        &tls_port.to_string(),
        "--tls-cert-file",
        &cert_file,
        "--tls-key-file",
        &key_file,
        "--tls-ca-cert-file",
        &cert_file,
        "--tls-auth-clients",
        "no",
        "--requirepass",
        "secret",
    ]);
    let mut config = config(&format!("rediss://:secret@localhost:{tls_port}"));
    config.extra_roots = certificate.pem().into_bytes();
    let mut rig = Rig::with(config.clone());
    rig.push_next(64);
    let mut client = server.client();
    redis::cmd("AUTH").arg("secret").exec(&mut client).unwrap();
    rig.check_on(&mut client);
    let batch = rig.batch(1);
    server.freeze();
    rig.doubt(&batch, PushErrorClass::Timeout);
    server.thaw();
    rig.push_until_done(&batch);
    rig.check_on(&mut client);

    // Not signed by whom we trust; for another name; not TLS at all.
    config.extra_roots.clear();
    let error = Rig::with(config.clone()).refuse(&batch, PushErrorClass::Other);
    assert!(error.text.contains("certificate"), "{error}");
    config.extra_roots = certificate.pem().into_bytes();
    config.url = RedisUrl::parse(&format!("rediss://:secret@127.0.0.1:{tls_port}")).unwrap();
    let error = Rig::with(config.clone()).refuse(&batch, PushErrorClass::Other);
    assert!(error.text.contains("certificate"), "{error}");
    config.url = RedisUrl::parse(&format!("rediss://:secret@localhost:{}", server.port())).unwrap();
    assert!(!Rig::with(config).producer.push(&batch).unwrap_err().text.contains("secret"));
    rig.check_on(&mut client);
}

#[test]
fn a_unix_socket_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redis.sock").display().to_string();
    let server = RedisServer::start(&["--unixsocket", &path]);
    let mut rig = Rig::with(config(&format!("unix://{path}")));
    rig.push_next(3);
    rig.check(&server);
    assert_eq!(rig::lists(&mut server.client(), &rig.producer.config().keys).0.len(), 3);
}
