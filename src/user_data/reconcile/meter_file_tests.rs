//! The shared meter by hand: two processes, whose clocks have nothing in common but the machine's, and wall clocks that jump.

use std::fs;

use super::*;
use crate::domain::Random;
use WeightClass::{Keys, Reconcile, SyncOrders};

/// Where the machine's clock of these tests stands when the first process starts.
const UP: Duration = Duration::from_secs(86_400);

fn at(mono_s: u64, wall_s: i64) -> Now {
    Now { mono: Mono::from_nanos(mono_s * 1_000_000_000), wall: Wall::from_millis(wall_s * 1_000) }
}

fn mono(seconds: u64) -> Mono {
    at(seconds, 0).mono
}

/// The other one's monotonic clock is 8,995 s ahead of the first one's.
fn two(folder: &tempfile::TempDir) -> (SharedMeter, SharedMeter) {
    let path = folder.path().join("weight");
    let machine = |at_zero| MachineClock { boot: 7, at_zero };
    let one = SharedMeter::new(Some(path.clone()), 2_400, 1, machine(UP));
    (one, SharedMeter::new(Some(path), 2_400, 2, machine(UP - Duration::from_secs(8_995))))
}

/// A call that is answered at once with nothing that matters.
fn call(meter: &SharedMeter, class: WeightClass, weight: u32, now: Now) -> Result<Call, Mono> {
    match meter.permit(class, weight, now) {
        WeightPermit::Now(call) => {
            meter.handle_answer(call, None, None, now);
            Ok(call)
        }
        WeightPermit::At(at) => Err(at),
    }
}

#[test]
fn processes_share_the_minute() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = two(&folder);
    for _ in 0..12 {
        assert!(call(&one, SyncOrders, 90, at(5, 1_000)).is_ok());
    }
    // The last answer is not in the file yet.
    assert!(call(&one, Keys, 1, at(5, 1_000)).is_ok());
    assert!(call(&other, SyncOrders, 90, at(9_010, 1_010)).is_ok());
    assert_eq!(call(&other, SyncOrders, 90, at(9_010, 1_010)), Err(mono(9_060)));
    assert!(call(&other, Reconcile, 90, at(9_010, 1_010)).is_ok());
    assert!(call(&one, Keys, 1, at(16, 1_011)).is_ok());
    assert_eq!([other.status(at(9_011, 1_011)).used, one.status(at(16, 1_011)).used], [14 * 90 + 1, 14 * 90 + 2]);
    assert_eq!(call(&one, SyncOrders, 200, at(64, 1_059)), Err(mono(65)));
    assert!(call(&one, SyncOrders, 200, at(65, 1_060)).is_ok());
}

#[test]
fn a_wall_clock_that_jumps_hides_no_call() {
    for jump in [3_600, -3_600] {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = two(&folder);
        assert!(call(&one, Reconcile, 1_800, at(5, 10_000)).is_ok());
        assert!(call(&one, Keys, 1, at(5, 10_000)).is_ok());
        let banned = Refusal::Banned { until_ms: None, retry_after: Some(Duration::from_secs(120)) };
        assert_eq!(call(&other, Reconcile, 1, at(9_001, 10_001 + jump)), Err(mono(9_060)));
        let key = call(&other, Keys, 1, at(9_002, 10_002 + jump)).unwrap();
        other.handle_answer(key, None, Some(banned), at(9_002, 10_002 + jump));
        assert_eq!(call(&one, Keys, 1, at(8, 10_003)), Err(mono(127)), "{jump}");
        assert_eq!(call(&one, Keys, 1, at(60, 10_055 + 2 * jump)), Err(mono(127)), "{jump}");
        assert!(call(&one, Keys, 1, at(127, 10_122)).is_ok());
    }
}

#[test]
fn what_was_before_a_boot_goes_by_the_wall_clock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weight");
    let machine = |boot, at_zero| MachineClock { boot, at_zero };
    let before = SharedMeter::new(Some(path.clone()), 2_400, 1, machine(7, UP));
    assert!(call(&before, Reconcile, 1_800, at(5, 10_000)).is_ok());
    let key = call(&before, Keys, 1, at(5, 10_000)).unwrap();
    let banned = Refusal::Banned { until_ms: None, retry_after: Some(Duration::from_secs(500)) };
    before.handle_answer(key, None, Some(banned), at(5, 10_000));
    // The machine is up for two seconds, and the ban goes on.
    let after = SharedMeter::new(Some(path), 2_400, 2, machine(8, Duration::from_secs(2)));
    assert_eq!(call(&after, Keys, 1, at(0, 10_030)), Err(mono(470)));
    assert_eq!(after.status(at(0, 10_030)).used, 1_801);
    assert!(call(&after, Reconcile, 1_800, at(470, 10_500)).is_ok());
}

#[test]
fn bans_limits_and_the_venues_count_are_shared() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = two(&folder);
    let first = call(&one, Reconcile, 40, at(5, 1_000)).unwrap();
    one.handle_answer(first, Some(1_900), Some(Refusal::Limited { retry_after: None }), at(5, 1_000));
    assert_eq!(call(&other, Reconcile, 1, at(9_001, 1_001)), Err(mono(9_060)), "the minute counts as full");
    assert_eq!(other.status(at(9_001, 1_001)).used, 2_400);
    let key = call(&other, Keys, 1, at(9_001, 1_001)).unwrap();
    other.handle_answer(key, None, Some(Refusal::Blocked { status: 451 }), at(9_001, 1_001));
    assert_eq!(call(&one, Reconcile, 1, at(6, 1_001)), Err(mono(306)));
    assert_eq!(one.status(at(6, 1_001)).blocked, Some((451, Duration::from_secs(300))));
    let key = call(&other, Keys, 1, at(9_001, 1_001)).unwrap();
    let banned = Refusal::Banned { until_ms: Some(1_101_000), retry_after: None };
    other.handle_answer(key, None, Some(banned), at(9_001, 1_001));
    assert_eq!(call(&one, Keys, 1, at(6, 1_001)), Err(mono(107)));
    assert_eq!(one.status(at(6, 1_001)).banned_for, Duration::from_secs(101));
    assert!(one.time_for(Reconcile, 90, 1, at(6, 1_001)) >= Duration::from_secs(101));
    assert!(call(&one, Keys, 1, at(107, 1_102)).is_ok());
}

#[test]
fn nonsense_in_the_file_is_left_out_and_a_useless_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weight");
    let (boot, far) = ("0000000000000007", 1_000_000_000_000_000_i64);
    let other = "00000000000000aa";
    let lines = [
        String::new(),
        "\u{0}".to_owned(),
        "1 2 3 4 c".to_owned(),
        format!("{boot} 86465000000 1000000000 {other} c -1"),
        format!("{boot} 86465000000 1000000000 {other} c"),
        format!("{boot} 86465000000 1000000000 {other} x 70000"),
        format!("{boot} {far} 1000000000 {other} b"),
        format!("{boot} {} 1000000000 {other} b", u64::MAX),
        format!("{boot} {far} 1000000000 {other} c 2400"),
        format!("{boot} 0 1000000000 {other} c 2400"),
        format!("{other} 86465000000 {far} {other} c 2400"),
        format!("{other} 86465000000 {} {other} c 2400", i64::MIN),
        format!("{boot} 86465000000 0 {other} c 30"),
    ];
    fs::write(&path, lines.join("\n")).unwrap();
    let machine = MachineClock { boot: 7, at_zero: UP };
    let meter = SharedMeter::new(Some(path), 2_400, 1, machine);
    assert!(call(&meter, Reconcile, 90, at(5, 1_000)).is_ok());
    assert_eq!(meter.status(at(5, 1_000)).used, 120);
    let meter = SharedMeter::new(Some(folder.path().join("no/such/folder")), 200, 1, machine);
    assert!(call(&meter, Reconcile, 90, at(5, 1_000)).is_ok());
    assert!(meter.warning().unwrap().contains("no/such/folder"));
    assert_eq!(call(&meter, Reconcile, 90, at(5, 1_000)), Err(mono(65)));
}

const SECOND: u64 = 1_000_000;

/// What the venue counts: when in µs of its own time, how much, and for what.
#[derive(Default)]
struct Venue {
    counted: Vec<(u64, u32, WeightClass)>,
}

impl Venue {
    /// The most in any 60 s, of these classes.
    fn most(&mut self, classes: &[WeightClass]) -> u32 {
        self.counted.sort_unstable();
        let of = |from: u64| {
            let inside = self.counted.iter().filter(|(at, ..)| (from..from + 60 * SECOND).contains(at));
            inside.filter(|(.., class)| classes.contains(class)).map(|(_, weight, _)| weight).sum()
        };
        self.counted.iter().map(|&(from, ..)| of(from)).max().unwrap_or(0)
    }

    /// The header: what this minute of its clock holds.
    fn used(&self, now: u64) -> u32 {
        let inside = self.counted.iter().filter(|&&(at, ..)| at <= now && at / (60 * SECOND) == now / (60 * SECOND));
        inside.map(|&(_, weight, _)| weight).sum()
    }
}

/// A process at work: its meter, its clock's origin, and its calls under way: (answer's time, header, call).
struct Process {
    meter: SharedMeter,
    origin: u64,
    under_way: Vec<(u64, u64, Call)>,
    keys_at: u64,
}

/// One schedule: two processes and what the machine does to them. How full the share below that of keys became, in percent.
fn live_through(seed: u64, folder: &tempfile::TempDir) -> u32 {
    let mut random = Random::from_seed(seed);
    let path = folder.path().join(format!("weight-{seed}"));
    let limit = 400 + random.below(400) as u32;
    // A sleeping machine's own clock stands still while the venue's goes on.
    let (mut machine, mut asleep) = (100 * SECOND + random.below(60 * SECOND), 0);
    let mut wall_off: i64 = 1_795_419_600_000_000;
    let mut venue = Venue::default();
    let start = |machine: u64, instance: u64| Process {
        meter: SharedMeter::new(
            Some(path.clone()),
            limit,
            instance,
            MachineClock { boot: 7, at_zero: Duration::from_micros(machine) },
        ),
        origin: machine,
        under_way: Vec::new(),
        keys_at: machine,
    };
    let mut processes = [start(machine, 1), start(machine, 2)];
    let mut instances = 2;
    for _ in 0..40 {
        machine += random.below(6 * SECOND);
        match random.below(40) {
            0 => wall_off += 3_600_000_000,
            1 => wall_off -= 3_600_000_000,
            2 => asleep += random.below(7_200 * SECOND),
            3 => {
                // Killed and started anew: its calls under way may be counted all the same.
                instances += 1;
                processes[random.below(2) as usize] = start(machine, instances);
            }
            _ => {}
        }
        let process = &mut processes[random.below(2) as usize];
        let now = |at: u64| Now {
            mono: Mono::from_nanos((at - process.origin) * 1_000),
            wall: Wall::from_micros(at as i64 + wall_off),
        };
        let of_venue = |at: u64| at + asleep;
        let (over, under_way) = process.under_way.iter().partition(|(ends, ..)| *ends <= machine);
        process.under_way = under_way;
        let over: Vec<(u64, u64, Call)> = over;
        for (_, counted_at, call) in over {
            let told = (random.below(3) > 0).then(|| venue.used(counted_at));
            process.meter.handle_answer(call, told, None, now(machine));
        }
        // Keys come at a pace of their own, so that they stay within what is kept for them.
        let (class, weight) = match random.below(3) {
            0 if process.keys_at <= machine => (Keys, 1),
            1 => (SyncOrders, 1 + random.below(60) as u32),
            _ => (Reconcile, 1 + random.below(60) as u32),
        };
        if class == Keys {
            process.keys_at = machine + 2 * SECOND;
        }
        if let WeightPermit::Now(call) = process.meter.permit(class, weight, now(machine)) {
            let takes = random.below(15 * SECOND);
            let counted = random.below(takes + 1);
            venue.counted.push((of_venue(machine + counted), weight, class));
            process.under_way.push((machine + takes, of_venue(machine + counted), call));
        } else {
            assert!(class != Keys, "seed {seed}: a key is never refused");
        }
    }
    let _ = fs::remove_file(path);
    let ceiling = WeightMeter::new(limit).ceiling(Reconcile);
    let (all, below) = (venue.most(&WeightClass::ALL), venue.most(&[Reconcile, SyncOrders]));
    assert!(all <= limit && below <= ceiling, "seed {seed}: {all} of {limit}, of these {below} of {ceiling}");
    assert!(venue.most(&[SyncOrders]) <= WeightMeter::new(limit).ceiling(SyncOrders), "seed {seed}");
    100 * below / ceiling
}

#[test]
fn whatever_clocks_and_processes_do_no_minute_at_the_venue_is_overfull() {
    let folder = tempfile::tempdir().unwrap();
    let full = (0..10_000).filter(|&seed| live_through(seed, &folder) >= 97).count();
    assert!(full >= 300, "few schedules fill a minute: {full}");
}
