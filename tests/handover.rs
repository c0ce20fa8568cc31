//! Promise: while an account has two sockets, every frame that one of them brings is recorded, in the venue's order, as many
//! times as the socket that brought it most often brought it; whatever the lags, losses and ends. Sans-IO, in moved time.

use std::collections::BTreeMap;
use std::time::Duration;

use kraite_streams::domain::limits::{
    HANDOVER_DRAIN, HANDOVER_HELD_BYTES_MAX, HANDOVER_HOLD, HANDOVER_MAX, HANDOVER_MUTE_AFTER, HANDOVER_QUIET,
    HANDOVER_TAIL,
};
use kraite_streams::domain::{Mono, Now, Random, Wall};
use kraite_streams::exchange::binance::event_key::event_key;
use kraite_streams::user_data::handover::{Arrival, Handover, Release, Side, Verdict};
use proptest::prelude::*;

fn at(millis: u64) -> Now {
    Now { mono: Mono::from_nanos(millis * 1_000_000), wall: Wall::from_millis(millis as i64) }
}

/// What was recorded: the frame, by which socket, when it came and when it was recorded.
type Recorded = Vec<(String, Side, u64, u64)>;

struct Rig {
    handover: Handover,
    recorded: Recorded,
    now: u64,
    held_max: usize,
}

impl Rig {
    fn new() -> Rig {
        Rig { handover: Handover::new(at(0).mono), recorded: Vec::new(), now: 0, held_max: 0 }
    }

    fn up(&mut self) -> &mut Self {
        self.handover.handle_up(at(self.now).mono);
        self.handover.handle_proven(at(self.now).mono);
        self
    }

    fn frame(&mut self, side: Side, text: &str) -> &mut Self {
        let (now, recorded) = (self.now, &mut self.recorded);
        let key = event_key(text.as_bytes());
        let arrival = Arrival { side, event: text.as_bytes(), frame: text.as_bytes(), key, at: at(now) };
        self.handover.handle_frame(&arrival, &mut |release| note(recorded, &release, now));
        self.held_max = self.held_max.max(self.handover.held_bytes());
        self
    }

    fn old(&mut self, text: &str) -> &mut Self {
        self.frame(Side::Old, text)
    }

    fn new_one(&mut self, text: &str) -> &mut Self {
        self.frame(Side::New, text)
    }

    /// Moves time, with what falls due on the way.
    fn to(&mut self, millis: u64) -> &mut Self {
        while self.handover.deadline() <= at(millis).mono {
            self.now = self.now.max(self.handover.deadline().as_nanos() / 1_000_000);
            self.flush();
        }
        self.now = self.now.max(millis);
        self
    }

    fn flush(&mut self) -> &mut Self {
        let (now, recorded) = (self.now, &mut self.recorded);
        self.handover.flush(at(now).mono, &mut |release| note(recorded, &release, now));
        self
    }

    fn dead(&mut self, side: Side) -> &mut Self {
        self.handover.handle_dead(side, at(self.now).mono);
        self.flush()
    }

    fn verdict(&self, is_borne_out: bool) -> Verdict {
        self.handover.judge(is_borne_out, at(self.now).mono)
    }

    fn texts(&self) -> String {
        self.recorded.iter().map(|(text, ..)| text.as_str()).collect::<Vec<_>>().join(" ")
    }
}

fn note(recorded: &mut Recorded, release: &Release<'_>, now: u64) {
    let text = String::from_utf8(release.frame.to_vec()).unwrap();
    recorded.push((text, release.side, release.at.as_millis() as u64, now));
}

const HOLD: u64 = HANDOVER_HOLD.as_millis() as u64;

fn fill(trade: u32, event_time: u32) -> String {
    format!(
        r#"{{"e":"ORDER_TRADE_UPDATE","T":1,"E":{event_time},"o":{{"s":"A","x":"TRADE","X":"FILLED","i":5,"z":"1","t":{trade}}}}}"#
    )
}

#[test]
fn the_leader_is_recorded_at_once_and_the_follower_waits() {
    let mut rig = Rig::new();
    rig.old("a").up().old("b").new_one("c").new_one("d");
    assert_eq!((rig.texts().as_str(), rig.handover.leader()), ("a b", Side::Old));
    rig.to(HOLD - 1).flush();
    assert_eq!(rig.texts(), "a b");
    rig.to(HOLD);
    assert_eq!((rig.texts().as_str(), rig.handover.counts().late), ("a b c d", 2));
    // The leader's own, when they come after all, are folded: nothing is doubled.
    rig.to(HOLD + 500).old("c");
    assert_eq!((rig.texts().as_str(), rig.handover.leader()), ("a b c d", Side::New), "both have delivered c");
    rig.old("d").new_one("d");
    assert_eq!(rig.texts(), "a b c d d", "the new socket itself brought it twice");
    rig.old("d");
    assert_eq!((rig.texts().as_str(), rig.handover.counts().folded), ("a b c d d", 3));
}

#[test]
fn leadership_moves_at_a_frame_that_both_have_brought() {
    // The new socket is ahead.
    let mut rig = Rig::new();
    rig.up().new_one("a").new_one("b").new_one("c").to(200).old("a");
    assert_eq!((rig.texts().as_str(), rig.handover.leader(), rig.verdict(false)), ("a b c", Side::New, Verdict::Lead));
    rig.new_one("d").old("b").old("c").old("d").to(10_000).flush();
    assert_eq!(rig.texts(), "a b c d");
    // The old one is.
    let mut rig = Rig::new();
    rig.up().old("a").old("b").old("c").to(200).new_one("a");
    assert_eq!((rig.texts().as_str(), rig.handover.leader()), ("a b c", Side::New));
    rig.old("d").new_one("b").new_one("c").new_one("d").new_one("e").to(10_000).flush();
    assert_eq!((rig.texts().as_str(), rig.handover.counts().late), ("a b c d e", 0));
    // Not before the new one is proven.
    let mut rig = Rig::new();
    rig.handover.handle_up(at(0).mono);
    rig.old("a").new_one("a").old("b").new_one("c");
    assert_eq!((rig.texts().as_str(), rig.handover.leader()), ("a b", Side::Old));
    // What the leader skipped stands where the follower has it.
    let mut rig = Rig::new();
    rig.up().new_one("a").new_one("b").new_one("c").old("b");
    assert_eq!(rig.texts(), "a b c");
}

#[test]
fn what_one_socket_brought_twice_is_recorded_twice() {
    let mut rig = Rig::new();
    rig.up().old("a").old("a").new_one("a").new_one("a").new_one("b").old("b").new_one("b");
    assert_eq!((rig.texts().as_str(), rig.handover.counts().folded), ("a a b b", 3));
    let mut rig = Rig::new();
    rig.up().new_one("a").new_one("a").old("a").to(5_000).flush();
    assert_eq!(rig.texts(), "a a");
}

#[test]
fn near_duplicates_are_both_recorded_and_counted() {
    let (one, other) = (fill(9, 1), fill(9, 2));
    for is_leader_first in [true, false] {
        let mut rig = Rig::new();
        rig.up();
        match is_leader_first {
            true => rig.old(&one).new_one(&other),
            false => rig.new_one(&other).old(&one),
        };
        assert_eq!(rig.texts(), format!("{one} {other}"));
        let counts = rig.handover.counts();
        assert_eq!((counts.near_duplicates, counts.folded, counts.late), (1, 0, 0));
        assert_eq!(rig.handover.leader(), Side::New, "the same change came by both");
        // Each one's exact twin is folded still.
        rig.old(&other).new_one(&one);
        assert_eq!((rig.recorded.len(), rig.handover.counts().folded), (2, 2));
    }
    let mut rig = Rig::new();
    rig.up().old(&fill(9, 1)).new_one(&fill(10, 1));
    assert_eq!((rig.recorded.len(), rig.handover.counts().near_duplicates), (1, 0), "another fill is another frame");
}

#[test]
fn the_dead_hand_over_what_waits() {
    let mut rig = Rig::new();
    rig.up().old("a").new_one("b").new_one("c").dead(Side::Old);
    assert_eq!((rig.texts().as_str(), rig.handover.leader(), rig.now), ("a b c", Side::New, 0));
    rig.new_one("a").new_one("d");
    assert_eq!(rig.texts(), "a b c d");
    // The follower's last frames have their time still.
    let mut rig = Rig::new();
    rig.up().new_one("a").new_one("b").dead(Side::New);
    assert_eq!((rig.texts().as_str(), rig.verdict(true)), ("", Verdict::Wait));
    rig.to(100).old("a").to(1_000);
    assert_eq!((rig.texts().as_str(), rig.handover.leader()), ("a b", Side::Old));
    assert!(!rig.handover.is_over(at(1_000).mono));
    assert!(rig.handover.is_over(at(HANDOVER_TAIL.as_millis() as u64).mono));
    // Both.
    let mut rig = Rig::new();
    rig.up().new_one("a").dead(Side::New).dead(Side::Old).to(HOLD);
    assert_eq!(rig.texts(), "a");
}

#[test]
fn quiet_mute_and_endless_overlaps_come_to_an_end() {
    let (quiet, mute) = (HANDOVER_QUIET.as_millis() as u64, HANDOVER_MUTE_AFTER.as_millis() as u64);
    let mut rig = Rig::new();
    rig.up().to(quiet - 1);
    assert_eq!(rig.verdict(true), Verdict::Wait);
    rig.to(quiet);
    assert_eq!((rig.verdict(true), rig.verdict(false)), (Verdict::Lead, Verdict::Wait), "only what is borne out");
    rig.to(HANDOVER_MAX.as_millis() as u64);
    assert_eq!(rig.verdict(false), Verdict::NewIsUseless);

    let mut rig = Rig::new();
    rig.old("before").up().to(500).old("a").to(mute).old("b").to(500 + mute - 1);
    assert_eq!(rig.verdict(true), Verdict::Wait);
    rig.to(500 + mute);
    assert_eq!(rig.verdict(true), Verdict::NewIsUseless);

    let mut rig = Rig::new();
    rig.up().to(500).new_one("a").to(500 + mute);
    assert_eq!((rig.verdict(true), rig.texts().as_str()), (Verdict::OldIsMute, "a"));
    rig.old("b");
    assert_eq!(rig.verdict(true), Verdict::Wait, "it is not mute");
    rig.to(500 + 2 * mute);
    assert_eq!(rig.verdict(true), Verdict::NewIsUseless, "they deliver different things");

    let mut rig = Rig::new();
    rig.to(90_000);
    assert_eq!(rig.verdict(true), Verdict::Wait, "nothing is judged before the new one is proven");
}

#[test]
fn what_waits_is_bounded() {
    let mut rig = Rig::new();
    rig.up();
    let frame = |n: usize| format!("{n:06}{}", "x".repeat(50_000));
    for n in 0..60 {
        rig.new_one(&frame(n));
    }
    assert!(rig.held_max <= HANDOVER_HELD_BYTES_MAX && rig.held_max > HANDOVER_HELD_BYTES_MAX - 60_000);
    assert!(rig.recorded.len() >= 60 - 21 && rig.handover.counts().late == rig.recorded.len() as u64);
    for n in 0..60 {
        rig.old(&frame(n));
    }
    let numbers: Vec<usize> = rig.recorded.iter().map(|(text, ..)| text[..6].parse().unwrap()).collect();
    assert_eq!(numbers, (0..60).collect::<Vec<_>>(), "each once, in order");
    // The largest message alone.
    let mut rig = Rig::new();
    rig.up().new_one(&"y".repeat(HANDOVER_HELD_BYTES_MAX));
    assert_eq!((rig.recorded.len(), rig.handover.held_bytes()), (1, 0));
}

/// One run of a venue, two sockets and an account that leaves the old one when it may.
#[derive(Clone, Debug)]
struct Script {
    seed: u64,
    frames: u64,
    /// Mean milliseconds from one frame to the next.
    pace: u64,
    lags: [u64; 2],
    jitter: u64,
    /// One in so many frames is lost on a socket, comes twice on it, or comes once more from the venue; 0 is never.
    losses: u64,
    doubles: u64,
    replays: u64,
    /// When the new socket is subscribed, and until its proof.
    opened: u64,
    proof: u64,
    deaths: [Option<u64>; 2],
}

struct Outcome {
    sent: Vec<String>,
    /// Per text and socket, how often it came.
    came: BTreeMap<String, [usize; 2]>,
    recorded: Recorded,
    /// Nothing lies in a gap.
    is_whole: bool,
    leads: Side,
    late: u64,
    held_max: usize,
    /// The venue sent something to both sockets.
    has_common: bool,
}

fn run(script: &Script) -> Outcome {
    let mut random = Random::from_seed(script.seed);
    let chance = |random: &mut Random, one_in: u64| one_in > 0 && random.below(one_in) == 0;
    let (mut sent, mut clock) = (Vec::new(), 0);
    for n in 0..script.frames {
        clock += random.below(2 * script.pace + 1);
        let text = match sent.len() {
            len if len > 0 && chance(&mut random, script.replays) => {
                let (_, text): &(u64, String) = &sent[random.below(len as u64) as usize];
                text.clone()
            }
            _ => format!("f{n}"),
        };
        sent.push((clock, text));
    }
    // Arrivals: each socket in order.
    let mut arrivals: Vec<(u64, Side, String)> = Vec::new();
    for side in [Side::Old, Side::New] {
        let mut last = 0;
        for (time, text) in &sent {
            if side == Side::New && *time < script.opened {
                continue;
            }
            let lag = script.lags[side as usize] + random.below(script.jitter + 1);
            last = last.max(time + lag);
            let times = match () {
                () if chance(&mut random, script.losses) => 0,
                () if chance(&mut random, script.doubles) => 2,
                () => 1,
            };
            (0..times).for_each(|_| arrivals.push((last, side, text.clone())));
        }
    }
    arrivals.sort_by_key(|(time, ..)| *time);
    let (up_at, proven_at) = (script.opened + 1, script.opened + 1 + script.proof);
    let borne_at = proven_at + 1_000 + 2 * script.lags[0];
    let mut rig = Rig::new();
    let (mut came, mut is_whole): (BTreeMap<String, [usize; 2]>, _) = (BTreeMap::new(), true);
    let (mut dead, mut is_up, mut is_proven, mut closed_at) = ([false; 2], false, false, None);
    let end = arrivals.last().map_or(0, |(time, ..)| *time).max(proven_at) + 30_000;
    let mut next = arrivals.into_iter().peekable();
    let mut step = 0;
    while rig.now < end {
        step += 10;
        // Everything of these ten milliseconds, in its order.
        while let Some((time, side, text)) = next.next_if(|(time, ..)| *time <= step) {
            if dead[side as usize] || (side == Side::Old && closed_at.is_some_and(|closed| closed <= time)) {
                continue;
            }
            if script.deaths[side as usize].is_some_and(|death| death < time) {
                continue;
            }
            if side == Side::New && !is_up {
                (is_up, _) = (true, rig.handover.handle_up(at(time.max(rig.now)).mono));
            }
            rig.to(time.max(rig.now));
            came.entry(text.clone()).or_default()[side as usize] += 1;
            rig.frame(side, &text);
        }
        rig.to(step);
        if !is_up && up_at <= step && !dead[1] {
            is_up = true;
            rig.handover.handle_up(at(step).mono);
        }
        if is_up && !is_proven && proven_at <= step && !dead[1] {
            is_proven = true;
            rig.handover.handle_proven(at(step).mono);
        }
        for side in [Side::Old, Side::New] {
            let is_due = script.deaths[side as usize].is_some_and(|death| death <= step);
            if is_due && !std::mem::replace(&mut dead[side as usize], true) {
                // As the account does: a gap unless the other one was proven and the dead one borne out since.
                let was_needed = rig.handover.leader() == side;
                let is_covered = side == Side::Old && is_proven && !dead[1] && borne_at <= step;
                is_whole &= !was_needed || is_covered;
                rig.dead(side);
            }
        }
        let was_led = rig.handover.leader() == Side::New;
        match rig.verdict(borne_at <= step && !dead[0]) {
            Verdict::Lead if closed_at.is_none() => {
                if !was_led {
                    rig.handover.lead(Side::New, at(step).mono);
                    rig.flush();
                }
                closed_at = Some(step + HANDOVER_DRAIN.as_millis() as u64);
            }
            Verdict::OldIsMute => {
                is_whole = false;
                rig.handover.lead(Side::New, at(step).mono);
                rig.flush();
            }
            Verdict::NewIsUseless if !dead[1] => {
                dead[1] = true;
                rig.dead(Side::New);
            }
            _ => {}
        }
    }
    Outcome {
        has_common: sent.iter().any(|(time, _)| *time > script.opened + script.proof),
        sent: sent.into_iter().map(|(_, text)| text).collect(),
        came,
        leads: rig.handover.leader(),
        late: rig.handover.counts().late,
        recorded: rig.recorded,
        is_whole,
        held_max: rig.held_max,
    }
}

fn script() -> impl Strategy<Value = Script> {
    let one_in = |least: u64| prop_oneof![3 => Just(0), 1 => least..40];
    let death = || prop_oneof![2 => Just(None), 1 => (0_u64..6_000).prop_map(Some)];
    let lag = || prop_oneof![4 => 0_u64..200, 1 => 200_u64..3_000];
    (
        (any::<u64>(), 0_u64..120, prop_oneof![1_u64..20, 20_u64..3_000], [lag(), lag()], 0_u64..80),
        (one_in(2), one_in(2), one_in(2), 0_u64..4_000, 0_u64..400, [death(), death()]),
    )
        .prop_map(|((seed, frames, pace, lags, jitter), (losses, doubles, replays, opened, proof, deaths))| {
            Script { seed, frames, pace, lags, jitter, losses, doubles, replays, opened, proof, deaths }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_missing_nothing_is_doubled_and_order_is_kept(script in script()) {
        let outcome = run(&script);
        let mut recorded: BTreeMap<&str, usize> = BTreeMap::new();
        outcome.recorded.iter().for_each(|(text, ..)| *recorded.entry(text).or_default() += 1);
        for (text, [old, new]) in &outcome.came {
            let count = recorded.get(text.as_str()).copied().unwrap_or_default();
            // What the venue repeats much later may be no twin of the first.
            let most = if script.replays == 0 { *old.max(new) } else { old + new };
            let is_right = *old.max(new) <= count && count <= most;
            prop_assert!(is_right, "{} came {} times and {} times, {} are recorded", text, old, new, count);
        }
        prop_assert_eq!(recorded.len(), outcome.came.len());
        prop_assert!(outcome.held_max <= HANDOVER_HELD_BYTES_MAX);
        for (text, _, came, at) in &outcome.recorded {
            prop_assert!(at - came <= HOLD, "{} waited {} ms", text, at - came);
        }
        let lasts = outcome.is_whole && script.losses == 0;
        // A repetition may be taken for what both have brought: then the old socket's drain is the bound.
        let is_drained = u128::from(script.lags[0] + script.jitter) < HANDOVER_DRAIN.as_millis();
        if lasts && (script.replays == 0 || is_drained) {
            for text in &outcome.sent {
                prop_assert!(recorded.contains_key(text.as_str()), "{} is missing, without a gap", text);
            }
        }
        // Twins are never further apart than the bound: the venue's order.
        let is_close = script.lags[0].abs_diff(script.lags[1]) + script.jitter < HOLD;
        if lasts && is_close && script.replays == 0 {
            let mut seen = std::collections::BTreeSet::new();
            let order: Vec<&str> =
                outcome.recorded.iter().map(|(text, ..)| text.as_str()).filter(|text| seen.insert(*text)).collect();
            let expected: Vec<&str> = outcome.sent.iter().map(String::as_str).collect();
            prop_assert_eq!(order, expected);
        }
        // With something on two sockets that live, the new one leads in the end.
        let is_sound = script.deaths == [None, None] && script.losses == 0 && is_close && outcome.has_common;
        if is_sound {
            prop_assert_eq!(outcome.leads, Side::New);
            prop_assert!(script.doubles > 0 || script.replays > 0 || outcome.late == 0, "{} were late", outcome.late);
        }
    }
}

#[test]
fn the_hold_is_shorter_than_a_quarter_of_a_second() {
    assert!(HANDOVER_HOLD <= Duration::from_millis(250));
}
