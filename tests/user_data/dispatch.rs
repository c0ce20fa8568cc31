//! Promises of the dispatcher alone: a server that lost what it had taken is filled again from the record behind the last
//! one that it kept; a record of which no job can be made stops nobody; what the spool can no longer read lies in a gap.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kraite_streams::domain::limits::{FORGET_AFTER, SPOOL_ACCOUNTS_MAX, SPOOLER_IDLE_MAX};
use kraite_streams::domain::{Clock, Mono, Now, Random, Wall};
use kraite_streams::exchange::binance::private_url::SpellingChoice;
use kraite_streams::queue::{
    Forgot, JobBatch, JobClass, JobReader, JobShape, JobSink, JobWriter, Laravel, LossWindow, PushError,
    PushErrorClass, Pushed, ServerFacts, SinkHealth, Watermark,
};
use kraite_streams::spool::{
    AccountId, Batch, Disk, Entry, Epoch, ExchangeId, Gap, Kind, MemDisk, Opened, SpoolConfig, open,
};
use kraite_streams::user_data::account::{Account, AccountConfig};
use kraite_streams::user_data::dispatcher::{DispatchConfig, DispatchParts, DispatchWait, Dispatcher};
use kraite_streams::user_data::gaps::{GapNotice, GapRows};
use kraite_streams::user_data::lane::{Laid, Lane};
use kraite_streams::user_data::registry::{AccountCell, Accounts};
use kraite_streams::user_data::spooler::{Damage, Reading, Spooler};
use parking_lot::Mutex;

const EXCHANGE: ExchangeId = ExchangeId(3);

/// What a Redis server remembers, as far as the dispatcher can tell.
#[derive(Default)]
struct Memory {
    jobs: Vec<u64>,
    texts: Vec<String>,
    watermark: Option<Watermark>,
    /// It was restarted, and has this much.
    lost: Option<Option<Watermark>>,
    is_full: bool,
    pushes: u64,
}

struct Server(Arc<Mutex<Memory>>);

impl JobSink for Server {
    fn push(&mut self, batch: &JobBatch) -> Result<Pushed, PushError> {
        let mut memory = self.0.lock();
        memory.pushes += 1;
        if memory.is_full {
            return Err(PushError::refused(PushErrorClass::Full, "100 jobs wait"));
        }
        if let Some(kept) = memory.lost.take() {
            memory.watermark = kept;
            let forgot = Some(Forgot { kept, window: LossWindow::ToLastAudited });
            return Err(PushError { forgot, ..PushError::refused(PushErrorClass::Forgot, "lost") });
        }
        for job in batch.jobs() {
            memory.jobs.push(job.position);
            memory.texts.push(String::from_utf8(job.body.to_vec()).unwrap());
        }
        memory.watermark = batch.watermark();
        Ok(Pushed { depth: memory.jobs.len() as u64, ..Pushed::default() })
    }

    fn acked(&self) -> Option<u64> {
        self.0.lock().watermark.map(|watermark| watermark.position)
    }

    fn health(&mut self) -> Result<SinkHealth, PushError> {
        let watermark = self.0.lock().watermark;
        Ok(SinkHealth { watermark, server: Some(ServerFacts::default()), ..SinkHealth::default() })
    }
}

struct NoRows;

impl GapRows for NoRows {
    fn offer(&self, _: &GapNotice) -> Option<u64> {
        Some(0)
    }
    fn settled(&self) -> u64 {
        0
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

struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn now(&self) -> Now {
        let millis = self.0.fetch_add(1, Ordering::Relaxed);
        Now { mono: Mono::from_nanos(millis * 1_000_000), wall: Wall::from_millis(millis as i64) }
    }
}

struct Rig {
    accounts: Arc<Accounts>,
    lane: Arc<Lane>,
    spooler: Spooler<MemDisk>,
    dispatcher: Dispatcher<MemDisk>,
    syncer: kraite_streams::spool::Syncer<MemDisk>,
    memory: Arc<Mutex<Memory>>,
    clock: Arc<Ticks>,
    audited: Arc<AtomicU64>,
}

/// Writes `frames` frames of account 7 into a spool, in a life of its own, and gives their positions.
fn write(disk: &MemDisk, frames: u64, exchange: ExchangeId) -> Vec<u64> {
    let now = Now::default();
    let Opened { mut appender, mut syncer, .. } =
        open(disk.clone(), SpoolConfig::default(), Epoch([9; 16]), now).unwrap();
    let first = appender.status().positions.written;
    for n in 0..frames {
        let mut batch = Batch::new();
        let received_at = Wall::from_millis(10_000 + n as i64);
        let entry = Entry { kind: Kind::Frame, account: AccountId(7), exchange, received_at };
        batch.push(entry, format!(r#"{{"n":{n}}}"#).as_bytes(), b"").unwrap();
        appender.append(&mut batch, now).unwrap();
    }
    syncer.finish(now);
    let end = appender.status().positions.written;
    (first..end).collect()
}

fn account(id: u64, now: Now) -> Account {
    let config = AccountConfig {
        account: AccountId(id),
        exchange: EXCHANGE,
        base: "wss://venue.test/private".to_owned(),
        choice: SpellingChoice::Auto,
        delivered: None,
        alive_at: None,
    };
    Account::new(config, now)
}

impl Rig {
    fn new(disk: &MemDisk, memory: &Arc<Mutex<Memory>>) -> Rig {
        let clock = Arc::new(Ticks(AtomicU64::new(100_000)));
        let Opened { appender, syncer, reader, .. } =
            open(disk.clone(), SpoolConfig::default(), Epoch([1; 16]), clock.now()).unwrap();
        let lane = Lane::new(crossbeam_channel::bounded(1).0);
        let accounts = Accounts::new();
        accounts.insert(AccountCell::new(account(7, clock.now()), Arc::clone(&lane)));
        let spooler = Spooler::new(appender, vec![Arc::clone(&lane)], Arc::clone(&accounts), Box::new(NoLoop));
        let shape = JobShape { job_class: JobClass::parse("Job").unwrap(), laravel: Laravel::V12, horizon: false };
        let audited = Arc::new(AtomicU64::new(0));
        let parts = DispatchParts {
            reader,
            sink: Box::new(Server(Arc::clone(memory))),
            writer: JobWriter::new(shape),
            rows: Box::new(NoRows),
            damage: spooler.damage_link(),
            audited: Arc::clone(&audited),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            random: Random::from_seed(1),
        };
        let dispatcher = Dispatcher::new(parts, DispatchConfig::new(vec![(EXCHANGE, "binance".to_owned())]));
        Rig { accounts, lane, spooler, dispatcher, syncer, memory: Arc::clone(memory), clock, audited }
    }

    /// Until everything is pushed and acknowledged.
    fn drain(&mut self) {
        for _ in 0..2_000 {
            self.spooler.turn(self.clock.now());
            self.syncer.turn(self.clock.now());
            self.dispatcher.turn();
            if self.dispatcher.is_done() {
                return;
            }
        }
        panic!("not drained: {:?}", self.dispatcher.reader().status());
    }

    fn jobs(&self) -> Vec<u64> {
        std::mem::take(&mut self.memory.lock().jobs)
    }
}

fn mark(position: u64) -> Watermark {
    Watermark { epoch: [9; 16], position }
}

#[test]
fn a_server_that_forgets_is_filled_again_from_behind_what_it_kept() {
    let disk = MemDisk::new();
    let frames = write(&disk, 200, EXCHANGE);
    let disk = disk.after_kill();
    let memory = Arc::default();
    let mut rig = Rig::new(&disk, &memory);
    rig.drain();
    let first = rig.jobs();
    assert!(frames.ends_with(&first) && first.len() == 200);

    // While the connection stood: the next push finds out.
    let kept = first[120];
    memory.lock().lost = Some(Some(mark(kept)));
    write_more(&mut rig, 1);
    rig.drain();
    let again = rig.jobs();
    assert_eq!(again[..79], first[121..], "all behind what it kept, in order");
    assert_eq!(again.len(), 80);

    // Everything is gone: from the last that consumers committed, else from the oldest that is retained.
    rig.audited.store(first[150], Ordering::Release);
    memory.lock().lost = Some(None);
    write_more(&mut rig, 1);
    rig.drain();
    assert_eq!(rig.jobs()[..49], first[151..]);
    rig.audited.store(0, Ordering::Release);
    memory.lock().lost = Some(None);
    write_more(&mut rig, 1);
    rig.drain();
    assert_eq!(rig.jobs()[..200], first);
    rig.dispatcher.show_now();
    assert_eq!(rig.dispatcher.status().lock().rewinds, 3);
}

/// Another record in the spool, so that there is another push to make.
fn write_more(rig: &mut Rig, frames: u64) {
    for _ in 0..frames {
        let damage = Damage { after: None, before: rig.clock.now().wall };
        assert!(rig.spooler.damage_link().tell(damage));
        rig.spooler.turn(rig.clock.now());
    }
}

#[test]
fn what_an_earlier_life_pushed_is_held_against_what_the_server_has() {
    for (watermark, expected_from) in [(Some(199), None), (Some(120), Some(121)), (None, Some(0))] {
        let disk = MemDisk::new();
        write(&disk, 200, EXCHANGE);
        let disk = disk.after_kill();
        let memory: Arc<Mutex<Memory>> = Arc::default();
        let mut rig = Rig::new(&disk, &memory);
        rig.drain();
        let first = rig.jobs();
        rig.syncer.finish(rig.clock.now());
        drop(rig);
        memory.lock().watermark = watermark.map(|at: usize| mark(first[at]));
        let mut rig = Rig::new(&disk.after_kill(), &memory);
        rig.drain();
        let expected = expected_from.map_or(&[][..], |from: usize| &first[from..]);
        assert_eq!(rig.jobs(), expected, "{watermark:?}");
    }
}

#[test]
fn a_poison_record_goes_into_quarantine_and_stops_nobody() {
    let disk = MemDisk::new();
    write(&disk, 3, EXCHANGE);
    let disk = disk.after_kill();
    write(&disk, 2, ExchangeId(99));
    let disk = disk.after_kill();
    write(&disk, 3, EXCHANGE);
    let disk = disk.after_kill();
    let memory = Arc::default();
    let mut rig = Rig::new(&disk, &memory);
    rig.drain();
    rig.dispatcher.show_now();
    assert_eq!((rig.jobs().len(), rig.dispatcher.status().lock().poisoned), (6, 2));
    let kept: Vec<String> = disk.list().unwrap().into_iter().filter(|name| name.ends_with(".poison")).collect();
    assert_eq!(kept.len(), 2);
    let text = String::from_utf8(disk.contents(&kept[0]).unwrap()).unwrap();
    assert!(text.contains("the exchange 99 is not known") && text.ends_with(r#"{"n":0}"#), "{text}");
}

#[test]
fn what_cannot_be_read_lies_in_a_gap() {
    let disk = MemDisk::new();
    write(&disk, 100, EXCHANGE);
    let disk = disk.after_kill();
    let memory = Arc::default();
    let mut rig = Rig::new(&disk, &memory);
    // Rot after the open: three records of the file that is about to be read.
    let name = disk.list().unwrap().into_iter().find(|name| name.ends_with(".seg")).unwrap();
    let mut bytes = disk.contents(&name).unwrap();
    let at = bytes.windows(8).position(|window| window == br#"{"n":50}"#).unwrap();
    bytes[at..at + 2 * 65].fill(0xee);
    disk.overwrite(&name, &bytes);
    rig.drain();
    let texts = std::mem::take(&mut memory.lock().texts);
    let mut reader = JobReader::new();
    let (mut frames, mut gaps) = (0, Vec::new());
    for text in &texts {
        let view = reader.read(text.as_bytes()).unwrap();
        match view.kind {
            "gap" => gaps.push(Gap::read(view.raw).unwrap()),
            _ => frames += 1,
        }
    }
    assert!((96..=98).contains(&frames), "{frames}");
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].reason, "damage");
    assert!(gaps[0].silent_since <= Some(Wall::from_millis(10_050)) && gaps[0].live_at >= Wall::from_millis(10_051));
    rig.dispatcher.show_now();
    assert_eq!(rig.dispatcher.status().lock().damaged, 1);
}

#[test]
fn what_waits_for_the_queue_is_told_in_records() {
    let disk = MemDisk::new();
    write(&disk, 100, EXCHANGE);
    let disk = disk.after_kill();
    let memory: Arc<Mutex<Memory>> = Arc::default();
    memory.lock().is_full = true;
    let mut rig = Rig::new(&disk, &memory);
    for _ in 0..200 {
        rig.dispatcher.turn();
    }
    rig.dispatcher.show_now();
    let status = rig.dispatcher.status().lock().clone();
    // The snapshot in front of the frames was looked at; the one of this life is behind them, and positions leapt between.
    assert_eq!((status.jobs, status.behind, status.unacknowledged), (0, 101, 101));
    memory.lock().is_full = false;
    rig.drain();
    rig.dispatcher.show_now();
    let status = rig.dispatcher.status().lock().clone();
    assert_eq!((status.jobs, status.behind, status.unacknowledged), (100, 0, 0));
}

/// Accounts that come, bring frames and go, more of them than a spool remembers at a time.
#[test]
fn accounts_come_and_go_for_ever() {
    let disk = MemDisk::new();
    let memory = Arc::default();
    let mut rig = Rig::new(&disk, &memory);
    let wave = SPOOL_ACCOUNTS_MAX as u64 / 4;
    let mut jobs = 0;
    for first in (1_000..).step_by(wave as usize).take(6) {
        for id in first..first + wave {
            let now = rig.clock.now();
            rig.accounts.insert(AccountCell::new(account(id, now), Arc::clone(&rig.lane)));
            let entry = Entry { kind: Kind::Frame, account: AccountId(id), exchange: EXCHANGE, received_at: now.wall };
            let laid = rig.lane.lay(AccountId(id), |batch| batch.push(entry, b"{}", b"")).unwrap();
            assert_eq!(laid, Laid::Sent);
            rig.lane.hear(AccountId(id), now.wall);
            if id % 256 == 0 {
                rig.drain();
            }
        }
        rig.drain();
        (first..first + wave).for_each(|id| drop(rig.accounts.remove(AccountId(id))));
        // One that comes back at once stays known.
        rig.accounts.insert(AccountCell::new(account(first, rig.clock.now()), Arc::clone(&rig.lane)));
        for wait in [SPOOLER_IDLE_MAX, FORGET_AFTER] {
            rig.clock.0.fetch_add(wait.as_millis() as u64, Ordering::Relaxed);
            rig.spooler.turn(rig.clock.now());
        }
        let known = rig.dispatcher.reader().status().accounts;
        assert!(known < 16, "{known} accounts are remembered, of which one is hosted of each wave");
        jobs += wave as usize;
        assert_eq!(rig.jobs().len(), std::mem::take(&mut jobs));
        assert_eq!(rig.spooler.status().lock().shuts, 0, "{:?}", rig.spooler.status().lock().shut);
    }
    rig.drain();
    drop(rig);
    // The segments tell of more accounts than are remembered: the next life opens and takes new ones all the same.
    let mut rig = Rig::new(&disk.after_kill(), &memory);
    for id in 1..wave {
        let entry = Entry {
            kind: Kind::Gap,
            account: AccountId(900_000 + id),
            exchange: EXCHANGE,
            received_at: Wall::default(),
        };
        let gap = br#"{"silent_since_us":null,"live_at_us":1,"reason":"start"}"#;
        rig.lane.lay(AccountId(900_000 + id), |batch| batch.push(entry, gap, b"")).unwrap();
        if id % 256 == 0 {
            rig.drain();
        }
    }
    rig.drain();
    assert_eq!(rig.spooler.status().lock().shuts, 0, "{:?}", rig.spooler.status().lock().shut);
}

#[test]
fn a_full_queue_is_asked_again_at_its_own_pace() {
    let disk = MemDisk::new();
    write(&disk, 5, EXCHANGE);
    let disk = disk.after_kill();
    let memory: Arc<Mutex<Memory>> = Arc::default();
    memory.lock().is_full = true;
    let mut rig = Rig::new(&disk, &memory);
    let mut waited = Duration::ZERO;
    for _ in 0..100 {
        match rig.dispatcher.turn().wait {
            DispatchWait::Time(wait) | DispatchWait::Record(wait) => {
                waited += wait;
                rig.clock.0.fetch_add(wait.as_millis() as u64, Ordering::Relaxed);
            }
            DispatchWait::Nothing => {}
        }
    }
    assert!(waited > Duration::from_secs(2) && memory.lock().pushes < 100, "{waited:?}");
    rig.dispatcher.show_now();
    assert_eq!(rig.dispatcher.status().lock().stuck.as_ref().unwrap().class, PushErrorClass::Full);
    memory.lock().is_full = false;
    rig.drain();
    rig.dispatcher.show_now();
    assert_eq!((rig.jobs().len(), rig.dispatcher.status().lock().stuck.clone()), (5, None));
}
