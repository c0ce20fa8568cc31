//! Promise: whatever goes wrong with a private stream, the daemon finds it within its bound, records what it may have missed,
//! asks for it, and leaves the other accounts alone. Each fault on an account of its own, all side by side in one daemon.
//!
//! The bounds: a broken connection at once, a half-open one within 60 s (`PING_EVERY` + `PONG_WITHIN`), a dead key with its
//! next keep-alive (`user_data.keep_alive_max_s`), a connection that brings nothing with the next round of the safety net that
//! sees an event it did not bring (`user_data.sync_orders_s`, and `MUTE_AFTER`).
#![cfg(all(feature = "embedded", feature = "sim"))]

#[allow(dead_code, reason = "the daemon serves several promises")]
#[path = "support/daemon_process.rs"]
mod daemon_process;
#[allow(dead_code, reason = "the rig serves several promises")]
#[path = "reconcile_sim/rig.rs"]
mod rig;

use std::time::{Duration, Instant};

use kraite_streams::domain::Wall;
use kraite_streams::sim::{
    AccountFault, AccountLedger, AccountsConfig, ExpiryNotice, PrivateSpelling, SimConfig, SpellingAnswer, Spellings,
    VenueFault,
};
use rig::{GapRow, Rig};

/// For the slowest bound, with the time that a busy machine adds.
const FOUND_WITHIN: Duration = Duration::from_secs(240);
/// How much earlier than its fault a gap may begin: the margin of a gap, and the last event before it.
const EARLY_MAX: Duration = Duration::from_secs(25);
const FOREVER: Duration = Duration::MAX;

/// What a fault comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// The connection lives on, nothing was missed.
    Same,
    /// Another one took its place, and both delivered meanwhile: nothing was missed.
    Replaced,
    /// It was broken: exactly one gap, with this reason.
    Gap(&'static str),
    /// It seemed to be alive: the gap is told when that is found out, and goes on until another connection is live.
    Late(&'static str),
}

struct Case {
    name: &'static str,
    faults: &'static [AccountFault],
    outcome: Outcome,
    /// The listen key that was in use must not be used any more.
    needs_new_key: bool,
}

const fn case(name: &'static str, faults: &'static [AccountFault], outcome: Outcome) -> Case {
    Case { name, faults, outcome, needs_new_key: false }
}

const fn key_case(name: &'static str, faults: &'static [AccountFault], outcome: Outcome) -> Case {
    Case { name, faults, outcome, needs_new_key: true }
}

const CASES: &[Case] = &[
    case("nothing at all", &[], Outcome::Same),
    case("the end of TCP, as at 24 h", &[AccountFault::Cut], Outcome::Gap("reconnect")),
    case("a close frame", &[AccountFault::Close], Outcome::Gap("reconnect")),
    case("half of a frame", &[AccountFault::HalfFrame], Outcome::Gap("reconnect")),
    // Pings that nobody answers or the safety net, whichever comes first.
    case("half-open, nothing either way", &[AccountFault::Silence { lasts: FOREVER }], Outcome::Late("")),
    case("half-open, we are not heard", &[AccountFault::Deaf { lasts: FOREVER }], Outcome::Gap("reconnect")),
    case(
        "an upgrade refused on the way back",
        &[AccountFault::RefuseUpgrade { status: 503 }, AccountFault::Cut],
        Outcome::Gap("reconnect"),
    ),
    case("alive in all but events", &[AccountFault::Mute { lasts: FOREVER }], Outcome::Late("mute")),
    case("new and subscribed, and no events", &[AccountFault::MuteNext, AccountFault::Cut], Outcome::Late("mute")),
    key_case("a key that delivers nothing, and is extended", &[AccountFault::NumbKey], Outcome::Late("mute")),
    key_case(
        "a key that dies and says so",
        &[AccountFault::ExpireKey { notice: ExpiryNotice::TextTime }],
        Outcome::Late("key"),
    ),
    key_case(
        "a key that dies in silence",
        &[AccountFault::ExpireKey { notice: ExpiryNotice::Silent }],
        // Whichever finds it first, keep-alive or safety net.
        Outcome::Late(""),
    ),
    key_case(
        "a key that is changed, with grace",
        &[AccountFault::RotateKey { grace: Duration::from_secs(300) }],
        Outcome::Replaced,
    ),
    // The keep-alive itself brings the new one.
    case("a key that is changed, without", &[AccountFault::RotateKey { grace: Duration::ZERO }], Outcome::Late("")),
    case("a frame twice", &[AccountFault::Duplicate, AccountFault::Duplicate], Outcome::Same),
    case("an old frame again", &[AccountFault::Replay, AccountFault::Replay], Outcome::Same),
    case("frames in the wrong order", &[AccountFault::Reorder, AccountFault::Reorder], Outcome::Same),
    case("a frame that is no JSON", &[AccountFault::Malformed], Outcome::Same),
    case("many frames at once", &[AccountFault::Flood { frames: 600 }], Outcome::Same),
    case("events late, all at once", &[AccountFault::Stall { lasts: Duration::from_secs(4) }], Outcome::Same),
    case("everything late", &[AccountFault::Lag { delay: Duration::from_millis(400) }], Outcome::Same),
    case(
        "a keep-alive that fails",
        &[
            AccountFault::KeyError { status: 503, code: -1008 },
            AccountFault::KeyDelay { delay: Duration::from_secs(2) },
        ],
        Outcome::Same,
    ),
];

/// Gaps of an account but the start's.
fn later_gaps(rig: &Rig, account: usize) -> Vec<GapRow> {
    let of = |gap: &GapRow| gap.account == account as i64 + 1;
    rig.gaps().0.into_iter().filter(of).skip(1).collect()
}

/// Whether the fault has come to what it must come to; else why not.
fn still_missing(case: &Case, ledger: &AccountLedger, gaps: &[GapRow], posts: u64) -> Option<String> {
    if ledger.faults_waiting > 0 {
        return Some(format!("{} faults wait", ledger.faults_waiting));
    }
    let live = ledger.sessions.iter().filter(|session| session.ended.is_none()).count();
    let is_new = ledger.sessions.len() > 1;
    let is_done = match case.outcome {
        Outcome::Same => true,
        Outcome::Replaced => is_new && live == 1,
        Outcome::Gap(_) | Outcome::Late(_) => is_new && live == 1 && !gaps.is_empty(),
    };
    let is_mute_told = case.outcome != Outcome::Late("mute") || gaps.iter().any(|gap| gap.reason == "mute");
    let has_key = !case.needs_new_key || case.outcome == Outcome::Replaced || ledger.posts > posts;
    (!is_done || !is_mute_told || !has_key).then(|| {
        format!(
            "{} sessions, {live} live, {} posts before, {} now, {gaps:?}",
            ledger.sessions.len(),
            posts,
            ledger.posts
        )
    })
}

/// Whether an account's sessions and gaps are what its case says; else why not.
fn judge(rig: &Rig, account: usize, case: &Case, struck_at: Wall) -> Vec<String> {
    let (ledger, gaps) = (rig.sim.account_ledger(account), later_gaps(rig, account));
    let reasons: Vec<&str> = gaps.iter().map(|gap| gap.reason.as_str()).collect();
    let earliest = struck_at.as_millis() - EARLY_MAX.as_millis() as i64;
    // What is told in pieces is of one piece; two faults one after the other are two.
    let is_whole = gaps.windows(2).all(|pair| pair[1].bounds.0 <= pair[0].bounds.1)
        || case.faults.contains(&AccountFault::MuteNext);
    let sessions = ledger.sessions.len();
    let is_as_said = match case.outcome {
        Outcome::Same => (sessions, gaps.len()) == (1, 0),
        Outcome::Replaced => (sessions, gaps.len()) == (2, 0),
        Outcome::Gap(reason) => reasons == [reason],
        Outcome::Late(reason) => !gaps.is_empty() && is_whole && (reason.is_empty() || reasons.contains(&reason)),
    };
    let checks = [
        (case.faults.iter().all(|fault| ledger.faults.contains_key(fault.as_str())), "a fault did not come"),
        (gaps.iter().all(|gap| gap.outcome.is_some()), "a gap has no outcome"),
        (gaps.iter().all(|gap| gap.bounds.0.as_millis() >= earliest), "a gap begins long before the fault"),
        (is_as_said, "not what it should come to"),
    ];
    let wrong = checks.iter().filter(|(is_right, _)| !is_right);
    wrong
        .map(|(_, what)| format!("{} (account {}): {what}: {sessions} sessions, {gaps:?}", case.name, account + 1))
        .collect()
}

fn run(cases: &[Case], seed: u64, sync_orders_s: u32) {
    let accounts = AccountsConfig {
        count: cases.len(),
        frames_per_second: 50.0,
        trades_unheard: true,
        ..AccountsConfig::default()
    };
    let sync_orders = format!("user_data.sync_orders_s = {sync_orders_s}");
    let settings =
        ["user_data.keep_alive_min_s = 10", "user_data.keep_alive_max_s = 60", &sync_orders, "user_data.rotate_h = 0"];
    let mut rig = Rig::start_on(SimConfig { seed, accounts, ..SimConfig::default() }, &settings);
    rig.wait_first_gaps();
    // Reads are behind the pushes all the while.
    rig.sim.inject(VenueFault::StaleReads { lag: Duration::from_millis(700) });
    rig.place_for(Duration::from_secs(3));
    let posts: Vec<u64> = (0..cases.len()).map(|account| rig.sim.account_ledger(account).posts).collect();
    let struck_at = Wall::from_millis(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64,
    );
    for (account, case) in cases.iter().enumerate() {
        for fault in case.faults {
            rig.sim.inject(fault.on(account));
        }
    }
    let deadline = Instant::now() + FOUND_WITHIN;
    loop {
        rig.place_for(Duration::from_secs(1));
        let missing: Vec<String> = cases
            .iter()
            .enumerate()
            .filter_map(|(account, case)| {
                let ledger = rig.sim.account_ledger(account);
                let why = still_missing(case, &ledger, &later_gaps(&rig, account), posts[account])?;
                Some(format!("{}: {why}", case.name))
            })
            .collect();
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "not found:\n{}\n{}", missing.join("\n"), rig.log());
    }
    rig.sim.quiesce();
    rig.place_for(Duration::from_millis(500));
    rig.wait_reconciled();
    rig.wait_for("every fill audited once, and all that was missed inside a gap", Rig::complaints);
    if sync_orders_s > 0 {
        // Rows that the application wrote behind the exchange's events are the safety net's to find.
        rig.wait_for("local orders where the exchange's are", Rig::drift);
    }
    rig.wait_reconciled();
    let wrong: Vec<String> =
        cases.iter().enumerate().flat_map(|(account, case)| judge(&rig, account, case, struck_at)).collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), rig.log());
    assert_eq!(rig.daemon.stop(), 0, "{}", rig.log());
}

#[test]
fn each_fault_is_found_recorded_and_repaired_and_meets_nobody_else() {
    run(CASES, 23, 5);
}

#[test]
fn what_is_dead_in_silence_is_found_without_the_safety_net() {
    let cases = [
        case("nothing at all", &[], Outcome::Same),
        case("half-open, nothing either way", &[AccountFault::Silence { lasts: FOREVER }], Outcome::Gap("reconnect")),
        case("half-open, we are not heard", &[AccountFault::Deaf { lasts: FOREVER }], Outcome::Gap("reconnect")),
        key_case(
            "a key that dies in silence",
            &[AccountFault::ExpireKey { notice: ExpiryNotice::Silent }],
            Outcome::Late("key"),
        ),
    ];
    run(&cases, 37, 0);
}

#[test]
fn a_spelling_that_is_acknowledged_and_silent_is_left_for_one_that_delivers() {
    let accounts = AccountsConfig {
        count: 2,
        frames_per_second: 8.0,
        trades_unheard: true,
        // The first that `auto` tries is listed and delivers nothing (facts/binance.md §1.3).
        spellings: Spellings::default().with(PrivateSpelling::QueryEvents, SpellingAnswer::Acknowledges),
        ..AccountsConfig::default()
    };
    let mut rig =
        Rig::start_on(SimConfig { seed: 29, accounts, ..SimConfig::default() }, &["user_data.sync_orders_s = 5"]);
    let deadline = Instant::now() + FOUND_WITHIN;
    let delivers = |rig: &Rig, account: usize| {
        let ledger = rig.sim.account_ledger(account);
        ledger
            .sessions
            .iter()
            .any(|session| session.spelling == PrivateSpelling::Stream && session.frames_delivered > 0)
    };
    while !(0..2).all(|account| delivers(&rig, account)) {
        rig.place_for(Duration::from_millis(500));
        assert!(Instant::now() < deadline, "the spelling was not left\n{}", rig.log());
    }
    rig.sim.quiesce();
    rig.place_for(Duration::from_millis(500));
    rig.wait_reconciled();
    rig.wait_for("every fill audited once, and all that was missed inside a gap", Rig::complaints);
    rig.wait_for("local orders where the exchange's are", Rig::drift);
    for account in 0..2 {
        let gaps = later_gaps(&rig, account);
        assert!(gaps.iter().any(|gap| gap.reason == "mute"), "{gaps:#?}");
    }
    assert_eq!(rig.daemon.stop(), 0, "{}", rig.log());
}

#[test]
fn without_rotation_the_venues_cut_at_24_hours_is_an_ordinary_gap() {
    let accounts =
        AccountsConfig { count: 2, frames_per_second: 10.0, trades_unheard: true, ..AccountsConfig::default() };
    // A day is twelve seconds.
    let config = SimConfig { seed: 31, accounts, connection_lifetime: Duration::from_secs(12), ..SimConfig::default() };
    let mut rig = Rig::start_on(config, &["user_data.rotate_h = 0", "user_data.sync_orders_s = 0"]);
    let deadline = Instant::now() + FOUND_WITHIN;
    while !(0..2).all(|account| later_gaps(&rig, account).len() >= 2) {
        rig.place_for(Duration::from_millis(500));
        assert!(Instant::now() < deadline, "two cuts of each did not come\n{}", rig.log());
    }
    rig.sim.quiesce();
    rig.place_for(Duration::from_millis(500));
    rig.wait_for("every fill audited once, and all that was missed inside a gap", Rig::complaints);
    for account in 0..2 {
        let gaps = later_gaps(&rig, account);
        assert!(gaps.iter().all(|gap| gap.reason == "reconnect"), "{gaps:#?}");
        // One for each cut; the newest may be under way.
        let ledger = rig.sim.account_ledger(account);
        let cuts = ledger.sessions.iter().filter(|session| session.ended.is_some()).count();
        assert!((gaps.len()..=gaps.len() + 1).contains(&cuts), "{cuts} cuts: {gaps:#?}");
    }
    assert_eq!(rig.daemon.stop(), 0, "{}", rig.log());
}
