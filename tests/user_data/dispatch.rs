//! Promises of the dispatcher alone: a server that lost what it had taken is filled again from the record behind the last
//! one that it kept; a record of which no job can be made stops nobody; what the spool can no longer read lies in a gap.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kraite_streams::domain::limits::{FORGET_AFTER, SINK_HEALTH_EVERY, SPOOL_ACCOUNTS_MAX, SPOOLER_IDLE_MAX};
use kraite_streams::domain::{Clock, Mono, Now, Random, Wall};
use kraite_streams::exchange::binance::private_url::SpellingChoice;
use kraite_streams::queue::{
    Forgot, JobBatch, JobClass, JobReader, JobShape, JobSink, JobWriter, Laravel, LossWindow, PushError,
    PushErrorClass, Pushed, ServerFacts, SinkHealth, Watermark, job_uuid,
};
use kraite_streams::spool::{
    AccountId, Batch, Disk, Entry, Epoch, ExchangeId, Gap, Identity, Kind, MemDisk, Opened, SpoolConfig, open,
};
use kraite_streams::user_data::account::{Account, AccountConfig};
use kraite_streams::user_data::apply::audit_key;
use kraite_streams::user_data::dispatcher::{
    AppliedEvents, DispatchConfig, DispatchParts, DispatchWait, Dispatcher, EventName,
};
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
    /// It was emptied while the connection stood: the next push is taken, and finds out.
    is_emptied: bool,
    is_vouched: bool,
    is_full: bool,
    pushes: u64,
}

struct Server {
    memory: Arc<Mutex<Memory>>,
    vouches: bool,
}

impl JobSink for Server {
    fn push(&mut self, batch: &JobBatch) -> Result<Pushed, PushError> {
        let mut memory = self.memory.lock();
        memory.pushes += 1;
        if memory.is_full {
            return Err(PushError::refused(PushErrorClass::Full, "100 jobs wait"));
        }
        if let Some(kept) = memory.lost.take() {
            memory.watermark = kept;
            memory.is_vouched &= kept.is_some();
            let forgot = Some(Forgot { kept, window: LossWindow::ToLastAudited });
            return Err(PushError { forgot, ..PushError::refused(PushErrorClass::Forgot, "lost") });
        }
        let is_emptied = std::mem::take(&mut memory.is_emptied);
        if is_emptied {
            memory.jobs.clear();
            memory.is_vouched = false;
        }
        memory.is_vouched |= self.vouches;
        for job in batch.jobs() {
            memory.jobs.push(job.position);
            memory.texts.push(String::from_utf8(job.body.to_vec()).unwrap());
        }
        memory.watermark = batch.watermark();
        let forgot = is_emptied.then_some(Forgot { kept: None, window: LossWindow::Nothing });
        Ok(Pushed { depth: memory.jobs.len() as u64, forgot, ..Pushed::default() })
    }

    fn vouch(&mut self, is_wanted: bool) {
        self.vouches = is_wanted;
    }

    fn acked(&self) -> Option<u64> {
        self.memory.lock().watermark.map(|watermark| watermark.position)
    }

    fn health(&mut self) -> Result<SinkHealth, PushError> {
        let mut memory = self.memory.lock();
        memory.is_vouched |= self.vouches && memory.watermark.is_some();
        let (watermark, is_vouched) = (memory.watermark, memory.is_vouched);
        Ok(SinkHealth { watermark, is_vouched, server: Some(ServerFacts::default()), ..SinkHealth::default() })
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

/// The worker's tables, as far as the dispatcher asks them.
#[derive(Default)]
struct Tables {
    progress: Option<Vec<(AccountId, Identity)>>,
    audit_keys: BTreeSet<String>,
    failed_uuids: BTreeSet<String>,
    /// Questions about events that are answered still.
    answers: usize,
    questions: usize,
}

struct Looking(Arc<Mutex<Tables>>);

impl AppliedEvents for Looking {
    fn progress(&mut self) -> Option<Vec<(AccountId, Identity)>> {
        self.0.lock().progress.clone()
    }

    fn done(&mut self, events: Vec<EventName>) -> Option<Vec<bool>> {
        let mut tables = self.0.lock();
        tables.questions += 1;
        tables.answers = tables.answers.checked_sub(1)?;
        let is_done = |event: EventName| {
            tables.audit_keys.contains(&event.audit_key) || tables.failed_uuids.contains(&event.job_uuid)
        };
        Some(events.into_iter().map(is_done).collect())
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
    tables: Arc<Mutex<Tables>>,
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
        Rig::with(disk, memory, false)
    }

    /// `awaits_more`: the database has not said yet which numbers there are.
    fn with(disk: &MemDisk, memory: &Arc<Mutex<Memory>>, awaits_more: bool) -> Rig {
        let clock = Arc::new(Ticks(AtomicU64::new(100_000)));
        let Opened { appender, syncer, reader, .. } =
            open(disk.clone(), SpoolConfig::default(), Epoch([1; 16]), clock.now()).unwrap();
        let lane = Lane::new(crossbeam_channel::bounded(1).0);
        let accounts = Accounts::new();
        accounts.insert(AccountCell::new(account(7, clock.now()), Arc::clone(&lane)));
        let spooler = Spooler::new(appender, vec![Arc::clone(&lane)], Arc::clone(&accounts), Box::new(NoLoop));
        let shape = JobShape { job_class: JobClass::parse("Job").unwrap(), laravel: Laravel::V12, horizon: false };
        let audited = Arc::new(AtomicU64::new(0));
        let tables: Arc<Mutex<Tables>> = Arc::default();
        let parts = DispatchParts {
            reader,
            sink: Box::new(Server { memory: Arc::clone(memory), vouches: false }),
            writer: JobWriter::new(shape),
            rows: Box::new(NoRows),
            damage: spooler.damage_link(),
            audited: Arc::clone(&audited),
            applied: Box::new(Looking(Arc::clone(&tables))),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            random: Random::from_seed(1),
        };
        let mut config = DispatchConfig::new(vec![(EXCHANGE, "binance".to_owned())]);
        config.awaits_more = awaits_more;
        let dispatcher = Dispatcher::new(parts, config);
        Rig { accounts, lane, spooler, dispatcher, syncer, memory: Arc::clone(memory), clock, audited, tables }
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

/// A worker has applied all but the last ten of 200 frames: of those one is lost with the queue, and one has failed for good.
/// The queue forgets everything; what is pushed again.
fn pushed_again(arrange: impl FnOnce(&mut Tables, &[u64])) -> (Vec<usize>, u64, usize) {
    let disk = MemDisk::new();
    write(&disk, 200, EXCHANGE);
    let disk = disk.after_kill();
    let memory = Arc::default();
    let mut rig = Rig::new(&disk, &memory);
    rig.drain();
    let first = rig.jobs();
    {
        let mut tables = rig.tables.lock();
        tables.progress = Some(vec![(AccountId(7), Identity { epoch: Epoch([9; 16]), position: first[189] })]);
        let applied = (0..190).filter(|n| ![50, 60].contains(n));
        tables.audit_keys = applied.map(|n| audit_key(7, 3, format!(r#"{{"n":{n}}}"#).as_bytes())).collect();
        tables.failed_uuids.insert(job_uuid([9; 16], first[60]));
        tables.answers = usize::MAX;
        arrange(&mut tables, &first);
    }
    memory.lock().lost = Some(None);
    write_more(&mut rig, 1);
    rig.drain();
    rig.dispatcher.show_now();
    let again = rig.jobs();
    let frames = again.iter().filter_map(|position| first.binary_search(position).ok()).collect();
    let left_out = rig.dispatcher.status().lock().left_out;
    // Another record, another push: what lies behind the stretch is not asked about.
    let questions = rig.tables.lock().questions;
    write_more(&mut rig, 1);
    rig.drain();
    assert_eq!((rig.jobs().len(), rig.tables.lock().questions), (1, questions));
    (frames, left_out, questions)
}

#[test]
fn what_is_applied_is_left_out_when_a_queue_is_filled_again() {
    let everything: Vec<usize> = (0..200).collect();
    // The one that was lost before a worker had it lies below the account's progress, and comes again.
    let missing: Vec<usize> = [50].into_iter().chain(190..200).collect();
    let (frames, left_out, questions) = pushed_again(|_, _| {});
    assert_eq!((frames, left_out), (missing, 189));
    assert!((3..=5).contains(&questions), "{questions} questions for 200 records");

    // Where nobody says anything, everything comes again.
    let all = (everything.clone(), 0, 0);
    assert_eq!(pushed_again(|tables, _| tables.progress = None), all);
    assert_eq!(pushed_again(|tables, _| tables.progress = Some(Vec::new())), all);
    // Another spool's positions say nothing here, nor those that this folder never had, as after a restored backup.
    let elsewhere = |tables: &mut Tables, epoch, position| {
        tables.progress = Some(vec![(AccountId(7), Identity { epoch: Epoch([epoch; 16]), position })]);
    };
    assert_eq!(pushed_again(|tables, first| elsewhere(tables, 8, first[189])), all);
    assert_eq!(pushed_again(|tables, first| elsewhere(tables, 9, first[199] + 1_000)), all);
    assert_eq!(pushed_again(|tables, _| tables.progress.as_mut().unwrap()[0].0 = AccountId(8)).0, everything);

    // A database that goes away in the middle: what was known is left out, the rest comes again.
    let (frames, left_out, questions) = pushed_again(|tables, _| tables.answers = 1);
    assert_eq!(questions, 2);
    assert_eq!((frames.len() as u64 + left_out, frames.last()), (200, Some(&199)));
    assert!(frames.contains(&50) && frames.is_sorted() && (50..=64).contains(&left_out), "{left_out}");
}

#[test]
fn a_record_of_an_exchange_that_is_not_known_yet_waits() {
    let disk = MemDisk::new();
    write(&disk, 2, EXCHANGE);
    let disk = disk.after_kill();
    write(&disk, 3, ExchangeId(99));
    let disk = disk.after_kill();
    write(&disk, 1, EXCHANGE);
    let disk = disk.after_kill();
    let memory = Arc::default();
    let mut rig = Rig::with(&disk, &memory, true);
    let mut waited = Duration::ZERO;
    for turn in 0..50 {
        if let DispatchWait::Time(wait) = rig.dispatcher.turn().wait {
            waited += wait;
        } else {
            assert!(turn < 10, "it turns without a pause");
        }
    }
    rig.dispatcher.show_now();
    assert_eq!((rig.jobs().len(), rig.dispatcher.status().lock().poisoned), (2, 0));
    assert!(waited > Duration::from_millis(500), "{waited:?}");
    rig.dispatcher.know_exchange(ExchangeId(99), "binance");
    rig.drain();
    rig.dispatcher.show_now();
    assert_eq!((rig.jobs().len(), rig.dispatcher.status().lock().poisoned), (4, 0));
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

/// Of 200 frames that are pushed and acknowledged, and of which a worker has applied the first 190, a server is emptied while the
/// connection stands: the next push finds out. The process is killed after `turns` more of the dispatcher's, with or without the
/// syncer at work. What the next life leaves out, and what is on the queue in the end, by the frames' numbers.
fn killed_while_it_goes_back(turns: usize, syncs: bool) -> (u64, Vec<usize>) {
    let disk = MemDisk::new();
    write(&disk, 200, EXCHANGE);
    let disk = disk.after_kill();
    let memory: Arc<Mutex<Memory>> = Arc::default();
    let mut rig = Rig::new(&disk, &memory);
    rig.drain();
    rig.syncer.finish(rig.clock.now());
    let first = rig.jobs();
    let apply = |rig: &Rig| {
        let mut tables = rig.tables.lock();
        tables.progress = Some(vec![(AccountId(7), Identity { epoch: Epoch([9; 16]), position: first[189] })]);
        tables.audit_keys = (0..190).map(|n| audit_key(7, 3, format!(r#"{{"n":{n}}}"#).as_bytes())).collect();
        tables.answers = usize::MAX;
    };
    apply(&rig);
    assert!(memory.lock().is_vouched, "the first push has said that nothing is owed");
    memory.lock().is_emptied = true;
    write_more(&mut rig, 1);
    while memory.lock().is_emptied {
        rig.dispatcher.turn();
    }
    rig.dispatcher.show_now();
    assert_eq!(
        (memory.lock().jobs.len(), rig.dispatcher.status().lock().rewinds),
        (1, 1),
        "it came too late for the rest"
    );
    for _ in 0..turns {
        if syncs {
            rig.syncer.finish(rig.clock.now());
        }
        rig.dispatcher.turn();
    }
    drop(rig);
    let disk = disk.after_kill();
    let mut rig = Rig::new(&disk, &memory);
    apply(&rig);
    rig.drain();
    rig.dispatcher.show_now();
    let jobs = rig.jobs();
    let mut frames: Vec<usize> = jobs.iter().filter_map(|position| first.binary_search(position).ok()).collect();
    frames.sort_unstable();
    frames.dedup();
    let left_out = rig.dispatcher.status().lock().left_out;
    // And nothing is owed any more, which the server hears as soon as it is asked how it is.
    rig.syncer.finish(rig.clock.now());
    rig.clock.0.fetch_add(SINK_HEALTH_EVERY.as_millis() as u64, Ordering::Relaxed);
    rig.dispatcher.turn();
    drop(rig);
    let mut rig = Rig::new(&disk.after_kill(), &memory);
    rig.drain();
    assert_eq!(rig.jobs(), [0_u64; 0], "a life later nothing comes again");
    (left_out, frames)
}

#[test]
fn a_loss_that_a_push_found_is_made_good_though_the_process_is_killed() {
    let lost: Vec<usize> = (190..200).collect();
    // Before anything of it is on the disk: the server's memory lacks the word, so the next life goes back itself.
    assert_eq!(killed_while_it_goes_back(0, false), (190, lost.clone()));
    // On its way back, with the cursor behind it and with it: what is applied is left out by either life.
    for turns in 1..8 {
        for syncs in [false, true] {
            let (left_out, frames) = killed_while_it_goes_back(turns, syncs);
            assert_eq!(frames, lost, "{turns} turns, {syncs}");
            assert!(syncs || left_out == 190, "{turns} turns: {left_out}");
        }
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
