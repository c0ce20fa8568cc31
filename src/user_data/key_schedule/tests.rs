//! Moves time by hand: which call comes when, after which answer.

use super::*;
use crate::domain::Wall;

const PACE: Pace = Pace { min: Duration::from_secs(60), max: Duration::from_secs(1_500) };
const LANES: [Lane; 2] = [Lane::Create, Lane::KeepAlive];
const OVERLOAD: Answer = Answer::Refused(Refusal::Overload { retry_after: None });
const CREDENTIALS: Answer = Answer::Refused(Refusal::Credentials { code: Some(-2015) });
const GONE: Answer = Answer::Refused(Refusal::KeyGone);

/// A schedule, the time in ms, and what was called when.
struct Rig {
    schedule: KeySchedule,
    ms: u64,
    random: Random,
}

impl Rig {
    fn new(accounts: i64) -> Rig {
        let mut schedule = KeySchedule::new(PACE);
        (1..=accounts).for_each(|account| schedule.add(account, Mono::ZERO));
        Rig { schedule, ms: 0, random: Random::from_seed(9) }
    }

    /// With keys for all, which came at once.
    fn started(accounts: i64) -> Rig {
        let mut rig = Rig::new(accounts);
        for _ in 0..accounts {
            let order = rig.next();
            assert_eq!((order.call, order.lane), (KeyCall::Create, Lane::Create));
            assert_eq!(rig.settle(&order, Answer::Granted), Settled::Granted { is_first: true });
        }
        rig
    }

    fn now(&self) -> Now {
        Now { mono: Mono::ZERO.plus(Duration::from_millis(self.ms)), wall: Wall::from_millis(self.ms as i64) }
    }

    /// Goes to the next deadline of both lanes, where a call must be due.
    fn next(&mut self) -> Order {
        self.next_of(&LANES)
    }

    fn next_of(&mut self, lanes: &[Lane]) -> Order {
        let due = self.schedule.next_deadline(lanes);
        assert_ne!(due, Mono::NEVER, "nothing is due");
        self.ms = self.ms.max(due.as_nanos().div_ceil(1_000_000));
        self.schedule.poll(lanes, self.now().mono).expect("a deadline without a call would be a busy loop")
    }

    fn settle(&mut self, order: &Order, answer: Answer) -> Settled {
        let now = self.now();
        self.schedule.settle(order, answer, now, &mut self.random)
    }

    fn seconds(&self) -> u64 {
        self.ms / 1_000
    }
}

#[test]
fn the_pace_is_the_issues() {
    for (accounts, interval, beat_ms) in [
        (0, 60, 60_000),
        (1, 60, 60_000),
        (2, 120, 60_000),
        (25, 1_500, 60_000),
        (50, 1_500, 30_000),
        (2_000, 1_500, 750),
    ] {
        assert_eq!(PACE.interval(accounts), Duration::from_secs(interval), "{accounts}");
        assert_eq!(PACE.beat(accounts), Duration::from_millis(beat_ms), "{accounts}");
    }
}

#[test]
fn first_keys_are_staggered_and_then_extended_in_turn() {
    let mut rig = Rig::started(3);
    assert_eq!(rig.ms, 500, "three keys, 250 ms apart");
    let mut calls = Vec::new();
    for _ in 0..6 {
        let order = rig.next();
        calls.push((order.account, order.call, rig.seconds()));
        rig.settle(&order, Answer::Granted);
    }
    let put = KeyCall::Extend;
    assert_eq!(calls, [(1, put, 60), (2, put, 120), (3, put, 180), (1, put, 240), (2, put, 300), (3, put, 360)]);
}

#[test]
fn a_failed_extension_is_tried_again_by_post_and_another_account_steps_in() {
    let mut rig = Rig::started(3);
    let failed = rig.next();
    assert_eq!((failed.account, rig.seconds()), (1, 60));
    let mut pauses = Vec::new();
    rig.settle(&failed, OVERLOAD);
    let mut others = Vec::new();
    while pauses.len() < 8 {
        let before = rig.ms;
        let order = rig.next();
        if order.account == 1 {
            assert_eq!(order.call, KeyCall::Create, "on doubt the key is asked for by POST");
            let Settled::Failed { retry_in } = rig.settle(&order, OVERLOAD) else { panic!() };
            pauses.push(retry_in.as_secs_f64());
        } else {
            others.push(rig.ms);
            rig.settle(&order, Answer::Granted);
        }
        assert!(rig.ms > before, "a call without a pause");
    }
    assert_eq!(others[0], 65_000, "somebody else's keep-alive comes soon, so that one is fresh");
    for (pause, expected) in pauses.iter().zip([2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]) {
        assert!((expected * 0.75..=expected * 1.25).contains(pause), "{pauses:?}");
    }
    loop {
        let order = rig.next();
        let is_healed = order.account == 1;
        assert_eq!(rig.settle(&order, Answer::Granted), Settled::Granted { is_first: false });
        if is_healed {
            break;
        }
    }
    assert_eq!(rig.schedule.healthy(), 3);
}

#[test]
fn a_key_that_is_gone_is_asked_for_at_once_but_not_again_and_again() {
    let mut rig = Rig::started(1);
    let order = rig.next();
    rig.ms += 700_000;
    assert_eq!(rig.settle(&order, GONE), Settled::KeyGone);
    let mut renewed = vec![rig.seconds()];
    for _ in 0..8 {
        let order = rig.next();
        assert_eq!((order.call, order.lane), (KeyCall::Create, Lane::Create));
        renewed.push(rig.seconds());
        assert_eq!(rig.settle(&order, Answer::Granted), Settled::Granted { is_first: true });
        // It dies young, every time, and is said to be dead twice.
        rig.ms += 1_000;
        let now = rig.now().mono;
        rig.schedule.renew(1, now);
        rig.schedule.renew(1, now);
    }
    let pauses: Vec<u64> = renewed.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 300, 300]);
}

#[test]
fn bad_credentials_back_off_to_minutes_and_hold_up_nobody() {
    let mut rig = Rig::new(2);
    let mut tries = Vec::new();
    while rig.seconds() < 7_200 {
        let order = rig.next();
        if order.account == 1 {
            tries.push(rig.seconds());
            rig.settle(&order, CREDENTIALS);
        } else {
            rig.settle(&order, Answer::Granted);
        }
    }
    assert!((9..=13).contains(&tries.len()), "{tries:?}");
    assert!(tries.windows(2).all(|pair| pair[1] - pair[0] >= 45), "{tries:?}");
}

#[test]
fn while_the_spool_is_shut_keys_are_extended_and_none_is_new() {
    let mut rig = Rig::started(2);
    rig.schedule.hold_creates(true);
    rig.schedule.add(3, rig.now().mono);
    for _ in 0..10 {
        let order = rig.next();
        assert_eq!((order.call, order.lane), (KeyCall::Extend, Lane::KeepAlive));
        rig.settle(&order, Answer::Granted);
    }
    rig.schedule.hold_creates(false);
    let held = rig.ms;
    let order = rig.next();
    assert_eq!((order.account, order.lane, rig.ms), (3, Lane::Create, held));
}

#[test]
fn an_operator_who_mended_a_key_does_not_wait_and_a_storm_of_wishes_is_none() {
    let mut rig = Rig::new(3);
    // Refused until the pauses are minutes; account 3 is well.
    while rig.seconds() < 1_800 {
        let order = rig.next();
        rig.settle(&order, if order.account < 3 { CREDENTIALS } else { Answer::Granted });
    }
    let asked = rig.ms;
    (0..50).for_each(|_| rig.schedule.retry_failed(rig.now().mono));
    let calls: Vec<(u64, i64)> = (0..2)
        .map(|_| {
            let order = rig.next_of(&[Lane::Create]);
            rig.settle(&order, CREDENTIALS);
            (rig.ms - asked, order.account)
        })
        .collect();
    let spacing = KEY_CREATE_SPACING.as_millis() as u64;
    assert!(calls[0].0 == 0 && (spacing..=spacing + 1).contains(&calls[1].0), "{calls:?}");
    assert_ne!(calls[0].1, calls[1].1);
    // Wishes that follow are one more round, after a while.
    (0..50).for_each(|_| rig.schedule.retry_failed(rig.now().mono));
    let order = rig.next_of(&[Lane::Create]);
    let later = DISCOVERY_SPACING_MIN.as_millis() as u64;
    assert!((later..later + 100).contains(&(rig.ms - asked)), "{} ms", rig.ms - asked);
    rig.settle(&order, Answer::Granted);
    // A refusal that comes again is paid for as before: with minutes.
    let order = rig.next_of(&[Lane::Create]);
    let refused = rig.seconds();
    assert!(matches!(rig.settle(&order, CREDENTIALS), Settled::Failed { retry_in } if retry_in.as_secs() > 600));
    rig.next_of(&[Lane::Create]);
    assert!(rig.seconds() - refused > 600);
    // Nobody is called on while the address is held.
    let order = rig.next_of(&[Lane::KeepAlive]);
    rig.settle(&order, Answer::Refused(Refusal::Blocked { status: 403 }));
    let held = rig.seconds();
    rig.schedule.retry_failed(rig.now().mono);
    rig.next();
    assert!(rig.seconds() - held >= 300);
}

#[test]
fn a_refusal_of_the_address_stops_all_and_one_call_goes_ahead_afterwards() {
    for (refusal, least, most) in [
        (Refusal::Banned { until_ms: Some(1_000_000), retry_after: None }, 1_001, 1_004),
        (Refusal::Banned { until_ms: None, retry_after: Some(Duration::from_secs(500)) }, 560, 563),
        (Refusal::Limited { retry_after: None }, 120, 123),
        (Refusal::Blocked { status: 403 }, 360, 363),
    ] {
        let mut rig = Rig::started(3);
        let order = rig.next();
        assert_eq!(rig.seconds(), 60);
        rig.schedule.add(4, rig.now().mono);
        assert!(matches!(rig.settle(&order, Answer::Refused(refusal)), Settled::Failed { .. }));
        assert!(rig.schedule.address_held_until(rig.now()).is_some());
        let first = rig.next();
        assert!((least..=most).contains(&rig.seconds()), "{refusal:?}: {} s", rig.seconds());
        rig.ms += 10_000;
        assert_eq!(rig.schedule.poll(&LANES, rig.now().mono), None, "the others wait for its answer");
        assert_eq!(rig.schedule.next_deadline(&[Lane::Create]).max(rig.now().mono), rig.schedule.next_deadline(&LANES));
        rig.settle(&first, Answer::Granted);
        let rest: Vec<i64> = (0..2).map(|_| rig.next().account).collect();
        assert!(!rest.contains(&first.account), "then all go on: {rest:?}");
    }
}

#[test]
fn a_ban_that_is_renewed_by_the_first_call_is_obeyed_again() {
    let mut rig = Rig::started(2);
    let order = rig.next();
    let limited = Answer::Refused(Refusal::Limited { retry_after: None });
    rig.settle(&order, limited);
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let before = rig.seconds();
        let order = rig.next();
        pauses.push(rig.seconds() - before);
        rig.settle(&order, limited);
    }
    for (pause, expected) in pauses.iter().zip([60, 120, 240, 480, 600]) {
        assert!((expected..=expected + 3).contains(pause), "{pauses:?}");
    }
    // Nobody answers the call that goes ahead, or its account goes: neither opens the way nor closes it for ever.
    let order = rig.next();
    rig.settle(&order, Answer::Nothing);
    let order = rig.next();
    rig.schedule.remove(order.account);
    assert_eq!(rig.settle(&order, Answer::Granted), Settled::Stale);
    let order = rig.next();
    assert_eq!(rig.settle(&order, Answer::Granted), Settled::Granted { is_first: false });
}

#[test]
fn calls_that_were_out_together_are_one_refusal() {
    let mut rig = Rig::new(5);
    let orders: Vec<Order> = (0..5).map(|_| rig.next()).collect();
    let until = Refusal::Limited { retry_after: None };
    orders.iter().for_each(|order| {
        rig.settle(order, Answer::Refused(until));
    });
    let before = rig.seconds();
    rig.next();
    assert!((59..=64).contains(&(rig.seconds() - before)), "{} s", rig.seconds() - before);
}

#[test]
fn used_weight_holds_back_new_keys_first() {
    for (used, creates_at, keeps_at) in [(2_280, 10, 10), (2_281, 61, 10), (2_339, 61, 10), (2_340, 61, 61)] {
        let mut rig = Rig::started(1);
        rig.ms = 10_000;
        let now = rig.now();
        rig.schedule.add(2, now.mono);
        rig.schedule.doubt(1, now.mono);
        rig.schedule.note_used_weight(used, now);
        let seconds = |lane| rig.schedule.next_deadline(&[lane]).as_nanos() / 1_000_000_000;
        assert_eq!((seconds(Lane::Create), seconds(Lane::KeepAlive)), (creates_at, keeps_at), "{used}");
    }
}

#[test]
fn keep_alives_do_not_queue_behind_new_keys() {
    let mut rig = Rig::started(1);
    rig.ms = 59_000;
    let now = rig.now().mono;
    (2..1_000).for_each(|account| rig.schedule.add(account, now));
    let mut created = 0;
    loop {
        let order = rig.next();
        if order.lane == Lane::KeepAlive {
            break;
        }
        created += 1;
    }
    assert!(rig.ms <= 60_250 && created <= 7, "{} ms, {created} before it", rig.ms);
    assert_eq!(rig.next_of(&[Lane::Create]).lane, Lane::Create);
}

#[test]
fn what_nobody_extends_for_an_hour_is_lost_and_asked_for_anew() {
    let mut rig = Rig::started(1);
    let mut lost_at = None;
    while rig.seconds() < 4_000 {
        let now = rig.now().mono;
        if rig.schedule.poll_lost(now) == Some(1) {
            assert_eq!(lost_at.replace(rig.seconds()), None, "said once");
        }
        let due = rig.schedule.next_deadline(&LANES);
        rig.ms = rig.ms.max(due.as_nanos().div_ceil(1_000_000));
        let Some(order) = rig.schedule.poll(&LANES, rig.now().mono) else { continue };
        assert_eq!(order.lane == Lane::Create, lost_at.is_some());
        rig.settle(&order, Answer::Nothing);
    }
    assert_eq!(lost_at, Some(3_600));
    let order = rig.next();
    assert_eq!(rig.settle(&order, Answer::Granted), Settled::Granted { is_first: true });
}

#[test]
fn after_a_standstill_old_keys_are_asked_for_by_post() {
    for (asleep, expected) in [(2_000, KeyCall::Extend), (2_999, KeyCall::Extend), (3_001, KeyCall::Create)] {
        let mut rig = Rig::started(1);
        rig.ms = asleep * 1_000;
        let order = rig.next();
        assert_eq!((order.call, order.lane), (expected, Lane::KeepAlive), "{asleep}");
    }
}

#[test]
fn an_answer_to_an_earlier_life_is_stale() {
    type Deed = fn(&mut KeySchedule, Mono);
    let deeds: [Deed; 4] = [
        |schedule, _| schedule.remove(1),
        |schedule, now| schedule.add(1, now),
        |schedule, now| schedule.renew(1, now),
        |schedule, now| schedule.start_over(1, now),
    ];
    for deed in deeds {
        let mut rig = Rig::started(1);
        let order = rig.next();
        let now = rig.now().mono;
        deed(&mut rig.schedule, now);
        assert_eq!(rig.settle(&order, Answer::Granted), Settled::Stale);
    }
}

#[test]
fn new_keys_of_the_preferred_come_first() {
    let mut schedule = KeySchedule::new(PACE);
    (1..=20).for_each(|account| schedule.add(account, Mono::ZERO));
    schedule.prefer(Arc::new(BTreeSet::from([7, 19, 99])));
    let (mut asked, mut now) = (Vec::new(), Mono::ZERO);
    while let Some(order) = schedule.poll(&[Lane::Create], now) {
        asked.push(order.account);
        now = now.plus(KEY_CREATE_SPACING);
    }
    let others = (1..=20).filter(|account| ![7, 19].contains(account));
    assert_eq!(asked, [7, 19].into_iter().chain(others).collect::<Vec<_>>());
}
