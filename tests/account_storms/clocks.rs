//! The user-data role as the daemon runs it, with a clock that the test sets: the wall clock jumps, and the machine sleeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kraite_streams::daemon::account_role::AccountRole;
use kraite_streams::daemon::{account_wiring, wiring};
use kraite_streams::domain::limits::{PING_EVERY, PONG_WITHIN};
use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Clock, Now, Random, Wall};
use kraite_streams::ops::Settings;
use kraite_streams::ops::settings::SecretUrl;
use kraite_streams::ops::status::UserDataStatus;
use kraite_streams::queue::{InProcessQueue, JobReader, in_process_queue};
use kraite_streams::sim::{AccountFault, ConnectLimit, LifeKind};
use kraite_streams::spool::Gap;
use parking_lot::Mutex;

use crate::daemon_process::PATIENCE;
use crate::rig::{Rig, unheard, until};

const HOUR: Duration = Duration::from_secs(3_600);
const ACCOUNTS: usize = 8;

/// The system's clocks, and what the test adds to them.
struct SetClock {
    system: SystemClock,
    mono_s: AtomicU64,
    wall_s: AtomicI64,
}

impl SetClock {
    fn step_wall(&self, seconds: i64) {
        self.wall_s.fetch_add(seconds, Ordering::SeqCst);
    }

    fn sleep(&self, time: Duration) {
        self.mono_s.fetch_add(time.as_secs(), Ordering::SeqCst);
        self.step_wall(time.as_secs() as i64);
    }

    /// What the venue's clock says when ours says `at`, after the steps so far.
    fn true_time(&self, at: Wall) -> Wall {
        Wall::from_micros(at.as_micros() - self.wall_s.load(Ordering::SeqCst) * 1_000_000)
    }
}

impl Clock for SetClock {
    fn now(&self) -> Now {
        let Now { mono, wall } = self.system.now();
        let wall = Wall::from_micros(wall.as_micros() + self.wall_s.load(Ordering::SeqCst) * 1_000_000);
        Now { mono: mono.plus(Duration::from_secs(self.mono_s.load(Ordering::SeqCst))), wall }
    }
}

/// What one account's jobs held: frames, and gaps each with the time at which its record was written.
#[derive(Clone, Default)]
struct Consumed {
    frames: u64,
    gaps: Vec<Gap>,
    positions: Vec<u64>,
    received: Vec<Wall>,
}

type AllConsumed = Arc<Mutex<BTreeMap<u64, Consumed>>>;

struct World {
    rig: Rig,
    role: AccountRole,
    clock: Arc<SetClock>,
    ids: Vec<u64>,
    consumed: AllConsumed,
    stop: Arc<AtomicBool>,
    consumer: JoinHandle<()>,
}

fn consume(queue: &InProcessQueue, consumed: &AllConsumed, stop: &AtomicBool) {
    let mut reader = JobReader::new();
    while !stop.load(Ordering::Acquire) {
        let Some(job) = queue.reserve(Duration::from_millis(50)) else { continue };
        let view = reader.read(job.body()).unwrap();
        let mut all = consumed.lock();
        let mine = all.entry(view.account).or_default();
        mine.positions.push(view.position);
        mine.received.push(view.received_at);
        match view.kind {
            "frame" => mine.frames += 1,
            "gap" => mine.gaps.push(Gap::read(view.raw).unwrap()),
            other => panic!("{other:?}"),
        }
        drop(all);
        job.ack();
    }
}

impl World {
    /// With all accounts live.
    fn new(frames_per_second: f64) -> World {
        let mut rig = Rig::new(ACCOUNTS, 0.0, Some(ConnectLimit::default()), &[]);
        let credentials = rig.sim.accounts();
        let mut ids = Vec::new();
        for account in &credentials {
            ids.push(rig.add(&format!("account {}", account.index), account) as u64);
        }
        let path = |name: &str| rig.folder.path().join(name);
        rig.sim.write_ca(&path("ca.pem")).unwrap();
        let mut settings = Settings::default();
        settings.net.extra_roots = Some(path("ca.pem"));
        settings.net.rest = std::array::from_fn(|_| Some(rig.sim.rest_base()));
        (settings.net.connect_file, settings.net.weight_file) = (path("connects"), path("weight"));
        settings.user_data.url = rig.sim.stream_base();
        settings.user_data.discovery = Duration::from_secs(5);
        settings.user_data.reconcile = false;
        settings.spool.folder = path("spool");
        settings.store.url = SecretUrl::new(format!("sqlite:{}", path("kraite-streams.sqlite").display()));
        let clock =
            Arc::new(SetClock { system: SystemClock::start(), mono_s: AtomicU64::new(0), wall_s: AtomicI64::new(0) });
        let (shared, mut random): (Arc<dyn Clock>, _) = (Arc::clone(&clock) as _, Random::from_seed(7));
        let gate = wiring::connect_gate(&settings, &mut random);
        let mut config = account_wiring::account_role(&settings, "test", gate, &*clock).unwrap();
        let (sink, queue) = in_process_queue();
        config.sink = Box::new(sink);
        let role = AccountRole::start(config, shared, random.fork()).unwrap();
        let (consumed, stop) = (AllConsumed::default(), Arc::new(AtomicBool::new(false)));
        let consumer = std::thread::spawn({
            let (consumed, stop) = (Arc::clone(&consumed), Arc::clone(&stop));
            move || consume(&queue, &consumed, &stop)
        });
        let world = World { rig, role, clock, ids, consumed, stop, consumer };
        world.all_live();
        world.rig.sim.set_frames_per_second(frames_per_second);
        world
    }

    fn status(&self) -> UserDataStatus {
        self.role.status(self.clock.now())
    }

    #[track_caller]
    fn all_live(&self) {
        until("all accounts live", PATIENCE, || self.status().live == ACCOUNTS as u64);
    }

    fn gaps(&self, account: usize) -> Vec<Gap> {
        self.consumed.lock().get(&self.ids[account]).map(|mine| mine.gaps.clone()).unwrap_or_default()
    }

    fn run_for(&self, seconds: u64) {
        std::thread::sleep(Duration::from_secs(seconds));
    }

    /// Ends the lives, waits until all that was delivered is consumed, and ends the role.
    fn finish(self) -> (Rig, Vec<Consumed>, UserDataStatus) {
        self.rig.sim.set_frames_per_second(0.0);
        assert!(self.rig.sim.wait_delivered(PATIENCE));
        self.run_for(1);
        until("an empty spool", PATIENCE, || {
            let status = self.status();
            status.behind == 0 && status.acked == status.written
        });
        let status = self.status();
        self.stop.store(true, Ordering::Release);
        self.consumer.join().unwrap();
        assert!(self.role.stop(Duration::from_secs(9), &*self.clock));
        let mut consumed = self.consumed.lock();
        let mine = self.ids.iter().map(|id| consumed.remove(id).unwrap_or_default()).collect();
        drop(consumed);
        (self.rig, mine, status)
    }
}

#[test]
fn a_wall_clock_that_jumps_breaks_nothing_and_shortens_no_gap() {
    let world = World::new(80.0);
    let weight = world.rig.sim.ledger().weight_total;
    // There and back, in both directions; in each new time one account of its own breaks.
    for (account, hours) in [(0, 1_i64), (1, -1), (2, -1), (3, 1)] {
        world.run_for(2);
        let gaps = world.gaps(account).len();
        world.clock.step_wall(hours * 3_600);
        world.rig.sim.inject(AccountFault::Cut.on(account));
        until("a gap of it", PATIENCE, || world.gaps(account).len() > gaps);
        let gap = world.gaps(account).pop().unwrap();
        let (since, now) = (gap.silent_since.unwrap(), world.clock.now().wall);
        assert!(since < gap.live_at && gap.live_at <= now, "{since}..{} at {now}", gap.live_at);
        // In the venue's time: everything that was missed lies inside.
        let bounds = (world.clock.true_time(since), world.clock.true_time(gap.live_at));
        let ledger = world.rig.sim.account_ledger(account);
        let broke_at = ledger.sessions.iter().find_map(|session| session.ended).unwrap().0;
        assert!(bounds.0 < broke_at, "it began before the break: {bounds:?}, broken at {broke_at}");
        for frame in unheard(&ledger) {
            assert!(bounds.0 <= frame.generated_at && frame.generated_at <= bounds.1, "{frame:?} outside {bounds:?}");
        }
    }
    world.run_for(3);
    world.all_live();
    let (rig, consumed, status) = world.finish();
    assert_eq!((status.rewinds, status.poisoned), (0, 0));
    for (account, mine) in consumed.iter().enumerate() {
        let ledger = rig.sim.account_ledger(account);
        let breaks = usize::from(account < 4);
        assert_eq!(mine.gaps.len(), 1 + breaks, "account {account}: {:?}", mine.gaps);
        assert_eq!(ledger.sessions.len(), 1 + breaks, "account {account}: {:?}", ledger.sessions);
        assert_eq!(ledger.posts, 1, "account {account}: no key was renewed");
        assert!(breaks > 0 || unheard(&ledger).is_empty(), "account {account}");
        assert_eq!(mine.frames, ledger.deliveries.len() as u64, "account {account}: nothing else is missing");
        assert!(mine.positions.is_sorted_by(|one, other| one < other), "account {account}: in order, once");
        // The stamps are of the clock of their moment: never of a time that no clock showed.
        let (first, last) = (mine.received.iter().min().unwrap(), mine.received.iter().max().unwrap());
        let span = Duration::from_micros((last.as_micros() - first.as_micros()) as u64);
        assert!(span < 2 * HOUR + PATIENCE * 5, "{first} {last}");
        let stream = status.streams.iter().find(|stream| stream.rotations + stream.rotations_failed > 0);
        assert_eq!(stream, None, "no rotation");
    }
    let venue = rig.sim.ledger();
    // A keep-alive a minute and account is the most that the schedule gives.
    assert!(venue.weight_total - weight < 60, "no storm of requests: {}", venue.weight_total - weight);
    assert_eq!((venue.connects_refused, venue.rest_limited), (0, 0));
}

#[test]
fn a_sleep_of_hours_is_a_gap_that_is_found_at_once() {
    let world = World::new(0.0);
    world.rig.sim.run_life(0, LifeKind::ALL[0]);
    until("its frames", PATIENCE, || world.status().frames > 0);
    let before: Vec<usize> = (0..ACCOUNTS).map(|account| world.gaps(account).len()).collect();
    let (asleep_at, posts) = (world.clock.now(), world.rig.sim.account_ledger(0).posts);
    let spelled = world.rig.sim.ledger();
    world.clock.sleep(5 * HOUR);
    let woken_at = world.clock.now();
    until("a gap of each", PATIENCE, || (0..ACCOUNTS).all(|account| world.gaps(account).len() > before[account]));
    world.all_live();
    // The next ping would have been due half a minute later; on a busy machine this is no more than a sign.
    let found_in = world.clock.now().mono.since(woken_at.mono);
    assert!(found_in < PING_EVERY + PONG_WITHIN, "{found_in:?}");
    world.run_for(3);
    world.all_live();
    let end = world.clock.now().wall;
    let (rig, consumed, status) = world.finish();
    for (account, mine) in consumed.iter().enumerate() {
        let ledger = rig.sim.account_ledger(account);
        let gaps = &mine.gaps[before[account]..];
        // A dead key is told at once and again when the stream is live; bounds are right each time.
        let first = gaps.iter().map(|gap| gap.silent_since.unwrap()).min().unwrap();
        assert!(first <= asleep_at.wall, "account {account}: the whole sleep is inside: {gaps:?}");
        let earliest = Wall::from_micros(asleep_at.wall.as_micros() - 120_000_000);
        assert!(first >= earliest, "account {account}: and not much more: {gaps:?}");
        for gap in gaps {
            assert!(gap.silent_since.unwrap() <= gap.live_at && gap.live_at <= end, "{gap:?}");
        }
        let last = gaps.iter().map(|gap| gap.live_at).max().unwrap();
        assert!(last >= woken_at.wall, "account {account}: {gaps:?}");
        assert!(gaps.len() <= 3, "account {account}: {gaps:?}");
        // The keys are hours old: each is asked for once more, and each socket made anew.
        assert!(ledger.posts - posts <= 2, "{} keys", ledger.posts);
        assert!((2..=3).contains(&ledger.sessions.len()), "{:?}", ledger.sessions);
    }
    assert_eq!(status.rewinds, 0);
    // None for its age; a key that comes while its account connects makes a second socket.
    assert!(status.streams.iter().all(|stream| stream.rotations <= 1), "{:?}", status.streams);
    let venue = rig.sim.ledger();
    assert!(venue.connects_attempted - spelled.connects_attempted <= 2 * ACCOUNTS as u64);
    assert_eq!((venue.connects_refused, venue.rest_limited), (0, 0));
}
