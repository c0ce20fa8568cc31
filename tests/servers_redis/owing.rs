//! A server that is emptied while the connection stands, and a process that is killed right after the push that found out.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Clock, Random, Wall};
use kraite_streams::queue::{JobClass, JobReader, JobShape, JobWriter, Laravel, RedisProducer};
use kraite_streams::spool::{
    AccountId, Appender, Batch, Entry, Epoch, ExchangeId, FolderDisk, Identity, Kind, MemDisk, Opened, SpoolConfig,
    Syncer, open,
};
use kraite_streams::user_data::dispatcher::{AppliedEvents, DispatchConfig, DispatchParts, Dispatcher, EventName};
use kraite_streams::user_data::gaps::{GapNotice, GapRows};
use kraite_streams::user_data::registry::Accounts;
use kraite_streams::user_data::spooler::{DamageLink, Reading, Spooler};

use crate::redis_server::RedisServer;
use crate::rig::{CLASS, config, lists};

const EXCHANGE: ExchangeId = ExchangeId(3);

struct NoRows;

impl GapRows for NoRows {
    fn offer(&self, _: &GapNotice) -> Option<u64> {
        Some(0)
    }
    fn settled(&self) -> u64 {
        0
    }
}

/// Consumers in PHP: nobody says what they have applied.
struct NoTables;

impl AppliedEvents for NoTables {
    fn progress(&mut self) -> Option<Vec<(AccountId, Identity)>> {
        None
    }
    fn done(&mut self, _: Vec<EventName>) -> Option<Vec<bool>> {
        None
    }
}

struct NoLoop;

impl Reading for NoLoop {
    fn pause(&self, _: AccountId) -> bool {
        true
    }
    fn resume(&self, _: AccountId) -> bool {
        true
    }
    fn pause_all(&self) -> bool {
        true
    }
    fn resume_all(&self) -> bool {
        true
    }
}

/// The link of a spooler that is gone: this disk keeps what it is given.
fn nobody_is_told_of_damage() -> DamageLink {
    let Opened { appender, .. } =
        open(MemDisk::new(), SpoolConfig::default(), Epoch([0; 16]), SystemClock::start().now()).unwrap();
    Spooler::new(appender, Vec::new(), Accounts::new(), Box::new(NoLoop)).damage_link()
}

/// One life of a spool's owner. Dropped, it leaves behind what a killed process would: nothing is saved at the end.
struct Life {
    appender: Appender<FolderDisk>,
    syncer: Syncer<FolderDisk>,
    dispatcher: Dispatcher<FolderDisk>,
    clock: Arc<SystemClock>,
}

impl Life {
    fn begin(folder: &Path, server: &RedisServer, epoch: u8) -> Life {
        let clock = Arc::new(SystemClock::start());
        let disk = FolderDisk::open(folder).unwrap();
        let Opened { appender, syncer, reader, .. } =
            open(disk, SpoolConfig::default(), Epoch([epoch; 16]), clock.now()).unwrap();
        let shape = JobShape { job_class: JobClass::parse(CLASS).unwrap(), laravel: Laravel::V12, horizon: false };
        let parts = DispatchParts {
            reader,
            sink: Box::new(RedisProducer::new(config(&server.url()))),
            writer: JobWriter::new(shape),
            rows: Box::new(NoRows),
            damage: nobody_is_told_of_damage(),
            audited: Arc::new(AtomicU64::new(0)),
            applied: Box::new(NoTables),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            random: Random::from_seed(1),
        };
        let dispatcher = Dispatcher::new(parts, DispatchConfig::new(vec![(EXCHANGE, "binance".to_owned())]));
        Life { appender, syncer, dispatcher, clock }
    }

    fn write(&mut self, frames: std::ops::Range<u64>) {
        for n in frames {
            let mut batch = Batch::new();
            let received_at = Wall::from_millis(n as i64);
            let entry = Entry { kind: Kind::Frame, account: AccountId(7), exchange: EXCHANGE, received_at };
            batch.push(entry, format!(r#"{{"n":{n}}}"#).as_bytes(), b"").unwrap();
            self.appender.append(&mut batch, self.clock.now()).unwrap();
        }
    }

    /// Turns until it is so; `syncs`: with the syncer at work.
    fn turn_until(&mut self, syncs: bool, mut is_so: impl FnMut(&Dispatcher<FolderDisk>) -> bool) {
        crate::redis_server::wait_for("the dispatcher", || {
            if syncs {
                self.syncer.turn(self.clock.now());
            }
            self.dispatcher.turn();
            self.dispatcher.show_now();
            is_so(&self.dispatcher)
        });
    }
}

/// The numbers of the frames on the queue.
fn queued(server: &RedisServer) -> Vec<String> {
    let (queue, _) = lists(&mut server.client(), &config(&server.url()).keys);
    let mut reader = JobReader::new();
    queue.iter().map(|body| String::from_utf8(reader.read(body).unwrap().raw.to_vec()).unwrap()).collect()
}

#[test]
fn what_an_emptied_server_lost_comes_again_though_the_process_is_killed_as_it_finds_out() {
    let (server, folder) = (RedisServer::start(&[]), tempfile::tempdir().unwrap());
    let folder = folder.path().join("spool");
    let mut life = Life::begin(&folder, &server, 1);
    life.write(0..200);
    life.turn_until(true, Dispatcher::is_done);
    let end = life.dispatcher.reader().status().positions.acked;
    life.syncer.finish(life.clock.now());
    assert_eq!((queued(&server).len(), life.dispatcher.reader().status().positions.cursor), (200, end));
    redis::cmd("FLUSHALL").exec(&mut server.client()).unwrap();
    life.write(200..201);
    // Killed between the push that found out and whatever would have come next.
    life.turn_until(false, |dispatcher| dispatcher.status().lock().rewinds == 1);
    assert_eq!(queued(&server), [r#"{"n":200}"#]);
    drop(life);

    let mut life = Life::begin(&folder, &server, 2);
    life.turn_until(true, Dispatcher::is_done);
    // The push behind a saved cursor carries the word that nothing is owed any more.
    life.syncer.finish(life.clock.now());
    life.write(201..202);
    life.turn_until(true, Dispatcher::is_done);
    let queue = queued(&server);
    for n in 0..=201 {
        assert!(queue.contains(&format!(r#"{{"n":{n}}}"#)), "{n} is not on the queue");
    }
    life.syncer.finish(life.clock.now());
    drop(life);

    // Another life pushes nothing a second time.
    let mut life = Life::begin(&folder, &server, 3);
    life.turn_until(true, Dispatcher::is_done);
    assert_eq!(queued(&server).len(), queue.len());
    assert_eq!(life.dispatcher.status().lock().rewinds, 0);
}
