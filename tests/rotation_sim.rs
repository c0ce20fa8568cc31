//! Promise: connections of accounts are replaced without a gap, a missing or a doubled frame. The account role as the daemon
//! runs it, on loopback TLS, against the simulator's exact ledgers; ages in seconds instead of hours.

#![cfg(all(feature = "sim", feature = "embedded"))]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kraite_streams::daemon::account_role::AccountRole;
use kraite_streams::daemon::rotation_share::RotationShare;
use kraite_streams::daemon::{account_wiring, wiring};
use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Clock, Random, Wall};
use kraite_streams::ops::key_place::KeyPlace;
use kraite_streams::ops::settings::SecretUrl;
use kraite_streams::ops::status::{AccountStatus, UserDataStatus};
use kraite_streams::ops::{Encrypter, Settings};
use kraite_streams::queue::{InProcessQueue, JobReader, in_process_queue};
use kraite_streams::sim::{AccountFault, AccountsConfig, LifeKind, SimConfig, SimHandle, Simulator, frame_hash};
use kraite_streams::spool::Gap;
use kraite_streams::store::UserDataStore;
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::user_data_rows::{Ciphertext, NewAccount};
use kraite_streams::user_data::key_schedule::Pace;
use parking_lot::Mutex;

const PATIENCE: Duration = Duration::from_secs(60);

/// What one account's jobs held.
#[derive(Clone, Default)]
struct Consumed {
    frames: Vec<Vec<u8>>,
    gaps: Vec<Gap>,
}

type AllConsumed = Arc<Mutex<BTreeMap<u64, Consumed>>>;

struct World {
    sim: SimHandle,
    role: AccountRole,
    clock: Arc<dyn Clock>,
    rows: Vec<u64>,
    consumed: AllConsumed,
    stop: Arc<AtomicBool>,
    consumer: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

fn consume(queue: &InProcessQueue, consumed: &AllConsumed, stop: &AtomicBool) {
    let mut reader = JobReader::new();
    while !stop.load(Ordering::Acquire) {
        let Some(job) = queue.reserve(Duration::from_millis(50)) else { continue };
        let view = reader.read(job.body()).unwrap();
        let mut all = consumed.lock();
        let mine = all.entry(view.account).or_default();
        match view.kind {
            "frame" => mine.frames.push(view.raw.to_vec()),
            "gap" => mine.gaps.push(Gap::read(view.raw).unwrap()),
            other => panic!("{other:?}"),
        }
        drop(all);
        job.ack();
    }
}

fn add_accounts(sim: &SimHandle, settings: &Settings, path: &std::path::Path) -> Vec<u64> {
    let keys = KeyPlace::of(&settings.user_data, Some(path)).load_or_make().unwrap();
    let encrypter = Encrypter::new(keys, settings.user_data.cipher);
    let url = wiring::store_url(settings).unwrap();
    let mut store = UserDataStore::new(&url, &UserDataOptions::new("test")).unwrap();
    let encrypt = |text: &str| Ciphertext::new(encrypter.encrypt(text).unwrap());
    let add = |account: &kraite_streams::sim::AccountCredentials| {
        let (api_key, api_secret) = (encrypt(&account.api_key), encrypt(&account.api_secret));
        let row = NewAccount {
            canonical: "binance",
            name: &format!("account {}", account.index),
            user_id: None,
            uuid: &format!("uuid {}", account.index),
            api_key: &api_key,
            api_secret: &api_secret,
        };
        store.run(|tables| tables.add_account(&row)).unwrap().unwrap() as u64
    };
    sim.accounts().iter().map(add).collect()
}

impl World {
    fn new(sim: SimConfig, rotate_after: Option<Duration>) -> World {
        let sim = Simulator::start(sim).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (ca, path) = (folder.path().join("ca.pem"), folder.path().join("a.sqlite"));
        sim.write_ca(&ca).unwrap();
        let mut settings = Settings::default();
        settings.net.extra_roots = Some(ca);
        settings.net.rest = std::array::from_fn(|_| Some(sim.rest_base()));
        settings.net.connect_file = folder.path().join("connects");
        settings.net.connects_per_window = 3_000;
        // Nobody applies jobs here, so a reconcile would find that nothing was heard.
        settings.user_data.reconcile = false;
        settings.user_data.url = sim.stream_base();
        settings.spool.folder = folder.path().join("spool");
        settings.store.url = SecretUrl::new(format!("sqlite:{}", path.display()));
        let rows = add_accounts(&sim, &settings, &path);
        let (clock, mut random): (Arc<dyn Clock>, _) = (Arc::new(SystemClock::start()), Random::from_seed(7));
        let gate = wiring::connect_gate(&settings, &mut random);
        let mut config = account_wiring::account_role(&settings, "test", gate).unwrap();
        let (sink, queue) = in_process_queue();
        config.sink = Box::new(sink);
        config.host.rotate_after = rotate_after;
        config.host.rotations = RotationShare::of(3_000, Duration::from_secs(300));
        // Quicker than any setting allows, so that a changed key is met soon.
        config.control.pace = Pace { min: Duration::from_secs(1), max: Duration::from_secs(2) };
        let role = AccountRole::start(config, Arc::clone(&clock), random.fork()).unwrap();
        let (consumed, stop) = (AllConsumed::default(), Arc::new(AtomicBool::new(false)));
        let consumer = std::thread::spawn({
            let (consumed, stop) = (Arc::clone(&consumed), Arc::clone(&stop));
            move || consume(&queue, &consumed, &stop)
        });
        World { sim, role, clock, rows, consumed, stop, consumer, _folder: folder }
    }

    fn status(&self) -> UserDataStatus {
        self.role.status(self.clock.now())
    }

    fn stream(&self, account: usize) -> AccountStatus {
        let row = self.rows[account];
        self.status().streams.into_iter().find(|stream| stream.id == row).unwrap_or_default()
    }

    #[track_caller]
    fn until(&self, what: &str, mut is_so: impl FnMut(&World) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what} did not come: {:?}", self.status());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn live(&self) {
        self.until("all accounts live", |world| world.status().live == world.rows.len() as u64);
    }

    fn gaps(&self, account: usize) -> Vec<Gap> {
        self.consumed.lock().get(&self.rows[account]).map(|mine| mine.gaps.clone()).unwrap_or_default()
    }

    /// Ends the lives, waits until all that was delivered is consumed, and ends the role.
    fn finish(self) -> (SimHandle, Vec<Consumed>, UserDataStatus) {
        self.sim.set_frames_per_second(0.0);
        assert!(self.sim.wait_delivered(PATIENCE), "frames of the exchange are still under way");
        // What went into a socket last is read, and what waits for its twin has its time.
        std::thread::sleep(Duration::from_secs(1));
        self.until("an empty spool", |world| {
            let status = world.status();
            status.behind == 0 && status.acked == status.written
        });
        let status = self.status();
        self.stop.store(true, Ordering::Release);
        self.consumer.join().unwrap();
        assert!(self.role.stop(Duration::from_secs(9), &*self.clock));
        let mut consumed = self.consumed.lock();
        let mine = self.rows.iter().map(|row| consumed.remove(row).unwrap_or_default()).collect();
        drop(consumed);
        (self.sim, mine, status)
    }
}

/// Nothing missing, foreign or out of order, and of each frame as many as one socket was sent at most.
#[track_caller]
fn assert_exact(sim: &SimHandle, account: usize, mine: &Consumed, gaps: &[(Wall, Wall)], is_late: bool) {
    let ledger = sim.account_ledger(account);
    let mut verdict = ledger.judge(mine.frames.iter().map(Vec::as_slice), gaps);
    // The order that counts is the venue's; first deliveries may differ from it where one of two sockets lags.
    let numbers: BTreeMap<u128, u64> = ledger.frames.iter().map(|frame| (frame.hash, frame.number)).collect();
    let mut seen = BTreeSet::new();
    let firsts = mine.frames.iter().map(|frame| numbers[&frame_hash(frame)]).filter(|number| seen.insert(*number));
    assert!(is_late || firsts.is_sorted(), "account {account}: out of order");
    verdict.disordered = 0;
    assert!(!gaps.is_empty() || verdict.covered == 0);
    assert!(verdict.is_clean() && ledger.unrecorded == 0, "account {account}: {verdict:?}");
    let mut sent: BTreeMap<u128, BTreeMap<u64, usize>> = BTreeMap::new();
    for delivery in &ledger.deliveries {
        let hash = ledger.frames[delivery.frame as usize - 1].hash;
        *sent.entry(hash).or_default().entry(delivery.connection).or_default() += 1;
    }
    let mut recorded: BTreeMap<u128, usize> = BTreeMap::new();
    mine.frames.iter().for_each(|frame| *recorded.entry(frame_hash(frame)).or_default() += 1);
    for (hash, count) in &recorded {
        let most = sent[hash].values().copied().max().unwrap_or_default();
        assert_eq!(*count, most, "account {account}: {:?}", sent[hash]);
    }
}

fn config(accounts: usize, frames_per_second: f64) -> SimConfig {
    let accounts = AccountsConfig { count: accounts, frames_per_second, ..AccountsConfig::default() };
    SimConfig { accounts, connects: None, tick: Duration::from_secs(5), ..SimConfig::default() }
}

#[test]
fn fifty_accounts_rotate_under_load_with_one_socket_lagging() {
    const ACCOUNTS: usize = 50;
    let lag = Duration::from_millis(150);
    let world = World::new(config(ACCOUNTS, 0.0), Some(Duration::from_secs(5)));
    world.live();
    for account in 0..ACCOUNTS {
        match account % 3 {
            // The old one lags, the new one, none.
            0 => world.sim.inject(AccountFault::Lag { delay: lag }.on(account)),
            1 => world.sim.inject(AccountFault::LagNext { delay: lag }.on(account)),
            _ => {}
        }
    }
    world.sim.set_frames_per_second(600.0);
    world.until("two rotations of each", |world| world.status().streams.iter().all(|stream| stream.rotations >= 2));
    let rows = world.rows.clone();
    let (sim, consumed, status) = world.finish();
    assert_eq!(status.streams.len(), ACCOUNTS);
    let (mut folded, mut frames, mut in_time) = (0, 0, 0);
    for (account, mine) in consumed.iter().enumerate() {
        assert_eq!(mine.gaps.len(), 1, "account {account}: the start's and no other: {:?}", mine.gaps);
        let stream = status.streams.iter().find(|stream| stream.id == rows[account]).unwrap();
        // On a machine that stood still a frame may have waited longer than the bound: that is counted, and only then may
        // the order differ.
        let is_late = stream.late_frames > 0;
        in_time += usize::from(!is_late);
        assert_exact(&sim, account, mine, &[], is_late);
        frames += mine.frames.len();
        assert!(sim.account_ledger(account).sessions.len() >= 3);
        folded += stream.folded;
        assert_eq!((stream.near_duplicates, stream.gaps), (0, 1), "{stream:?}");
        assert!(stream.last_rotation_at.is_some() && stream.overlap_ms.is_some());
    }
    assert!(in_time >= ACCOUNTS / 2, "only {in_time} accounts had no late frame");
    assert!(folded >= 2 * ACCOUNTS as u64 && frames > 2_000, "{folded} were folded of {frames}");
}

#[test]
fn a_changed_key_costs_no_gap_while_the_old_one_delivers() {
    let world = World::new(config(6, 120.0), None);
    world.live();
    for account in 0..6 {
        world.sim.inject(AccountFault::RotateKey { grace: Duration::from_secs(60) }.on(account));
        if account % 2 == 0 {
            world.sim.inject(AccountFault::LagNext { delay: Duration::from_millis(100) }.on(account));
        }
    }
    world.until("a rotation of each", |world| world.status().streams.iter().all(|stream| stream.rotations == 1));
    world.until("an end of the old ones", |world| {
        let ended =
            |account| world.sim.account_ledger(account).sessions.iter().filter(|one| one.ended.is_some()).count();
        (0..6).all(|account| ended(account) == 1)
    });
    let (sim, consumed, _) = world.finish();
    for (account, mine) in consumed.iter().enumerate() {
        assert_eq!(mine.gaps.len(), 1, "account {account}: {:?}", mine.gaps);
        assert_exact(&sim, account, mine, &[], false);
    }
}

#[test]
fn a_key_that_is_dead_at_once_is_left_with_a_gap() {
    let world = World::new(config(2, 40.0), None);
    world.live();
    world.until("frames", |world| world.status().frames > 40);
    world.sim.inject(AccountFault::RotateKey { grace: Duration::ZERO }.on(0));
    world.until("the new key's socket", |world| world.stream(0).rotations == 1);
    world.until("its gap", |world| world.gaps(0).len() > 1);
    let (sim, consumed, _) = world.finish();
    assert!(consumed[0].gaps[1..].iter().all(|gap| gap.reason == "key"), "{:?}", consumed[0].gaps);
    for (account, mine) in consumed.iter().enumerate() {
        let gaps: Vec<_> = mine.gaps[1..].iter().map(|gap| (gap.silent_since.unwrap(), gap.live_at)).collect();
        assert_exact(&sim, account, mine, &gaps, false);
    }
    assert_eq!(consumed[1].gaps.len(), 1, "the other account has no part in it");
}

#[test]
fn an_old_socket_that_dies_in_a_quiet_overlap_leaves_no_gap() {
    // The venue cuts at nine seconds, in the middle of an overlap that only quiet could end.
    let sim = SimConfig { connection_lifetime: Duration::from_secs(9), ..config(1, 0.0) };
    let world = World::new(sim, Some(Duration::from_secs(5)));
    world.live();
    world.sim.run_life(0, LifeKind::ALL[0]);
    world.until("the cut", |world| world.stream(0).rotations == 1);
    let ledger = world.sim.account_ledger(0);
    assert_eq!((ledger.sessions.len(), ledger.sessions[0].ended.is_some()), (2, true), "{:?}", ledger.sessions);
    world.sim.run_life(0, LifeKind::ALL[0]);
    let stream = world.stream(0);
    assert_eq!((stream.phase.as_str(), stream.gaps), ("live", 1), "{stream:?}");
    assert!(stream.overlap_ms.is_some_and(|overlap| (1_000..9_000).contains(&overlap)), "{stream:?}");
    let (sim, consumed, _) = world.finish();
    assert_eq!(consumed[0].gaps.len(), 1, "{:?}", consumed[0].gaps);
    assert_exact(&sim, 0, &consumed[0], &[], false);
}

#[test]
fn a_cut_before_our_rotation_is_an_ordinary_break_with_a_gap() {
    let sim = SimConfig { connection_lifetime: Duration::from_secs(4), ..config(2, 60.0) };
    let world = World::new(sim, Some(Duration::from_secs(3_600)));
    world.live();
    world.until("a gap of each", |world| (0..2).all(|account| world.gaps(account).len() > 1));
    let (sim, consumed, _) = world.finish();
    for (account, mine) in consumed.iter().enumerate() {
        assert!(mine.gaps[1..].iter().all(|gap| gap.reason == "reconnect"), "{:?}", mine.gaps);
        let gaps: Vec<_> = mine.gaps[1..].iter().map(|gap| (gap.silent_since.unwrap(), gap.live_at)).collect();
        assert_exact(&sim, account, mine, &gaps, false);
    }
}

#[test]
fn a_new_socket_that_delivers_nothing_is_given_up_and_the_old_one_goes_on() {
    let world = World::new(config(1, 20.0), Some(Duration::from_secs(3)));
    world.live();
    world.sim.inject(AccountFault::MuteNext.on(0));
    world.until("a failure", |world| world.stream(0).rotations_failed == 1);
    assert_eq!((world.stream(0).rotations, world.stream(0).phase.as_str()), (0, "live"));
    world.until("another try", |world| world.stream(0).rotations == 1);
    let (sim, consumed, _) = world.finish();
    assert_eq!(consumed[0].gaps.len(), 1, "{:?}", consumed[0].gaps);
    assert_exact(&sim, 0, &consumed[0], &[], false);
}
