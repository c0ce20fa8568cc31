//! What `check` says about coming back, against asking the limiters one by one.

use std::time::Duration;

use kraite_streams::daemon::machine_clock::machine_clock;
use kraite_streams::domain::limits::{
    KEY_CREATE_SPACING, RECONCILE_WEIGHT_USUAL, SYNC_WEIGHT_USUAL, WEIGHT_RECONCILE_PERCENT, WEIGHT_SYNC_PERCENT,
    WEIGHT_WINDOW,
};
use kraite_streams::domain::{Clock as _, Mono, time::SystemClock};
use kraite_streams::stream::connect_limiter::{self, Attempt, ConnectClass, ConnectLimiter, Permit};

use kraite_streams::user_data::reconcile::meter_file::SharedMeter;
use kraite_streams::user_data::weight_meter::{WeightClass, WeightPermit};

use crate::daemon_process::run;
use crate::rig::{FILE, Rig};

const WINDOW: Duration = Duration::from_secs(600);
/// Weight that another process has just used.
const USED: u32 = 1_200;
const AGE: Duration = Duration::from_secs(100);

#[test]
fn check_says_how_long_coming_back_takes() {
    for (accounts, exposed, limit, used) in [(3, 1, 30, 0), (50, 4, 30, 0), (50, 20, 30, 25), (12, 12, 10, 10)] {
        let lines = [
            format!("net.connects_per_window = {limit}"),
            format!("net.connect_window_s = {}", WINDOW.as_secs()),
            "net.rest_weight = 2400".to_owned(),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut rig = Rig::new(accounts, 0.0, None, &lines);
        rig.write_settings(&[]);
        for account in rig.sim.accounts() {
            let id = rig.add(&format!("a{}", account.index), &account);
            if account.index < exposed {
                rig.sql(&format!(
                    "INSERT INTO positions (account_id, parsed_trading_pair, status) VALUES ({id}, 'BTCUSDT', 'active')"
                ));
            }
        }
        // Attempts of another process, and half a minute's weight.
        let wall = SystemClock::start().now().wall.as_micros() - AGE.as_micros() as i64;
        let attempts = format!("{wall} 00000000000000aa o\n").repeat(used);
        std::fs::write(rig.folder.path().join("kraite-streams.connects"), attempts).unwrap();
        let clock = SystemClock::start();
        let file = Some(rig.folder.path().join("kraite-streams.weight"));
        let other = SharedMeter::new(file, 2_400, 0xaa, machine_clock(&clock));
        let WeightPermit::Now(call) = other.permit(WeightClass::Reconcile, USED, clock.now()) else {
            panic!("nobody has used anything")
        };
        other.handle_answer(call, None, None, clock.now());

        let (of_exposed, of_all) = asked(accounts, exposed, limit, used);
        let (_, text, err) = run(rig.folder.path(), &["--settings", FILE, "check"]);
        let line = |needle: &str| -> Vec<u64> {
            let line = text.lines().find(|line| line.contains(needle));
            let line = line.unwrap_or_else(|| panic!("{needle}:\n{text}\n{err}"));
            line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
        };
        let near = |told: u64, expected: Duration| expected.as_secs().abs_diff(told) <= if used == 0 { 0 } else { 30 };
        let told = line("attempts to connect per");
        assert_eq!(
            (told[0], told[1], told[2], told[4]),
            (limit as u64, WINDOW.as_secs(), accounts as u64, exposed as u64)
        );
        let told_all = told[3];
        assert!(near(told[3], of_all) && near(told[5], of_exposed), "{told:?}, but asked {of_all:?} {of_exposed:?}");
        assert_eq!(line("listen keys have died"), [(KEY_CREATE_SPACING * accounts as u32).as_secs()]);
        // Of a minute reconciles have a share, the safety net a smaller one.
        let windows = |ceiling: u64, weight: u32| {
            let free = (ceiling - u64::from(USED).min(ceiling)) / u64::from(weight);
            let left = (accounts as u64).saturating_sub(free);
            WEIGHT_WINDOW * left.div_ceil(ceiling / u64::from(weight)) as u32
        };
        let told = line("REST weight a minute");
        let ceiling = |percent: u32| u64::from(2_400 * percent / 100);
        let all = windows(ceiling(WEIGHT_RECONCILE_PERCENT), RECONCILE_WEIGHT_USUAL);
        let round = windows(ceiling(WEIGHT_SYNC_PERCENT), SYNC_WEIGHT_USUAL);
        assert_eq!((told[0], told[1]), (2_400, u64::from(USED)), "{text}");
        // Some of the minute has passed when `check` looks.
        let passed = Duration::from_secs(30);
        let just = |told: u64, expected: Duration| {
            (expected.saturating_sub(passed)..=expected).contains(&Duration::from_secs(told))
        };
        assert!(just(told[2], Duration::from_secs(told_all) + all), "{told:?}: {told_all} and {all:?}");
        assert!(just(told[3], round), "{told:?}: {round:?}");
    }
}

/// Exposed accounts first, then the others, each as soon as it may.
fn asked(accounts: usize, exposed: usize, limit: usize, used: usize) -> (Duration, Duration) {
    let mut limiter = ConnectLimiter::new(connect_limiter::ConnectLimit::new(limit, WINDOW));
    let begun = Mono::ZERO.plus(AGE);
    (0..used).for_each(|_| limiter.record(Attempt { at: Mono::ZERO, class: ConnectClass::Ordinary }));
    let mut at = begun;
    let mut ask = |class: ConnectClass, count: usize| {
        for _ in 0..count {
            while let Permit::At(later) = limiter.permit(class, at) {
                at = later;
            }
        }
        at.since(begun)
    };
    let of_exposed = ask(ConnectClass::Exposed, exposed);
    (of_exposed, ask(ConnectClass::Ordinary, accounts - exposed))
}
