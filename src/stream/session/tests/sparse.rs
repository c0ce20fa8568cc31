//! A stream that may be silent for days: what proves it alive, what does not, and how soon a dead one is found.

use std::time::Duration;

use super::check_fault;
use super::rig::{PING, PONG, Rig, TEXT};
use crate::domain::Layer;
use crate::domain::limits::{CLIENT_MESSAGE_EVERY, HEALTHY_AFTER};
use crate::stream::{FaultKind, Liveness, Sparse, StreamEvent};

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);

/// A live stream of a venue that is known to answer pings, or not.
fn live(ping_answered: bool) -> Rig {
    let mut rig = Rig::with(|config| config.liveness = Liveness::Sparse(Sparse { ping_answered, ..Sparse::default() }));
    rig.pass_s(0);
    assert_eq!(rig.session.phase(), "live");
    rig
}

/// Passes `time` with a server that answers no ping but, up to `replies`, probes. Returns how many came.
fn run_with_replies(rig: &mut Rig, time: Duration, replies: usize) -> usize {
    let until = rig.now.mono.plus(time);
    let mut probes = 0;
    while rig.now.mono < until && rig.heard.faults().is_empty() {
        rig.run(Duration::from_secs(1));
        for (opcode, _) in rig.client_frames() {
            if opcode == TEXT {
                probes += 1;
                if probes <= replies {
                    rig.send(TEXT, b"ack: reply to the probe");
                }
            }
        }
    }
    probes
}

#[test]
fn an_account_that_is_quiet_for_a_day_raises_nothing() {
    for ping_answered in [true, false] {
        let mut rig = live(ping_answered);
        rig.heard.probes = Some(0);
        rig.run(DAY);
        assert!(rig.heard.faults().is_empty() && rig.heard.silences().is_empty(), "{:?}", rig.heard.events);
        assert!(rig.heard.probes.unwrap() <= 1, "once its pong came, probes are not needed");
        let frames = rig.client_frames();
        let pings = frames.iter().filter(|(opcode, _)| *opcode == PING).count();
        assert!((2_600..3_200).contains(&pings), "a ping every 30 s: {pings}");
        let hears = |event: &StreamEvent| matches!(event, StreamEvent::PingAnswered { .. });
        assert_eq!(rig.heard.events.iter().filter(|event| hears(event)).count(), usize::from(!ping_answered));
    }
    // A venue that answers probes alone.
    let mut rig = live(false);
    rig.world.pongs = false;
    rig.heard.probes = Some(0);
    let probes = run_with_replies(&mut rig, DAY / 8, usize::MAX);
    assert!(rig.heard.faults().is_empty() && (200..400).contains(&probes), "{probes}: {:?}", rig.heard.faults());
    assert!(rig.session.poll_ping_answered() == rig.session.is_ping_answered() && !rig.session.is_ping_answered());
}

#[test]
fn a_half_open_socket_is_found_within_a_minute() {
    // Nothing goes out and nothing comes in, from any moment on.
    for alive_s in [0, 1, 29, 59, 1_000] {
        let mut rig = live(true);
        rig.run(Duration::from_secs(alive_s));
        rig.is_writable = false;
        let died = rig.now.mono;
        while rig.heard.faults().is_empty() {
            rig.run(Duration::from_millis(100));
        }
        assert!(rig.now.mono.since(died) < MINUTE - Duration::from_secs(1));
        check_fault(&rig, Layer::Silence, FaultKind::Stall, "did not answer our ping");
    }
    for replies in [0, 1, 20] {
        let mut rig = live(false);
        rig.world.pongs = false;
        rig.heard.probes = Some(0);
        let probes = run_with_replies(&mut rig, DAY, replies);
        assert_eq!(probes, replies + 1);
        check_fault(&rig, Layer::Silence, FaultKind::Stall, "did not answer our question");
        let last = rig.heard.messages.last().map_or(rig.now.mono, |(_, _, at)| at.mono);
        assert!(rig.now.mono.since(last) <= MINUTE);
    }
}

#[test]
fn a_missing_pong_binds_only_once_the_venue_has_answered_one() {
    // Unknown: without a probe, only the backstop is left.
    let mut rig = live(false);
    rig.world.pongs = false;
    rig.run(Duration::from_secs(599));
    assert!(rig.heard.faults().is_empty());
    rig.run(Duration::from_secs(2));
    check_fault(&rig, Layer::Silence, FaultKind::Stall, "sent nothing for 600 s, not even a ping");
    // Anything at all moves the backstop.
    let mut rig = live(false);
    rig.world.pongs = false;
    for _ in 0..10 {
        rig.run(Duration::from_secs(180));
        rig.send(PING, b"alive?");
        rig.send(PONG, b"unasked");
    }
    assert!(rig.heard.faults().is_empty() && !rig.session.is_ping_answered());
    // The first pong binds this stream, and the shell learns it once.
    rig.world.pongs = true;
    rig.run(Duration::from_secs(40));
    assert!(rig.session.poll_ping_answered() && !rig.session.poll_ping_answered());
    rig.world.pongs = false;
    rig.run(MINUTE);
    check_fault(&rig, Layer::Silence, FaultKind::Stall, "did not answer our ping");
    // What another stream found out binds, too; a ping that was asked in the unbound time is asked again.
    let mut rig = live(false);
    rig.world.pongs = false;
    rig.run(Duration::from_secs(50));
    rig.client_frames();
    rig.session.handle_ping_answered(rig.now);
    assert!(rig.session.is_ping_answered() && !rig.session.poll_ping_answered());
    rig.run(Duration::from_millis(14_900));
    assert_eq!(rig.heard.faults().len(), 0);
    assert_eq!(rig.client_frames().len(), 1, "asked again at once");
    rig.run(Duration::from_millis(200));
    check_fault(&rig, Layer::Silence, FaultKind::Stall, "did not answer our ping");
}

#[test]
fn answered_questions_prove_health_after_a_minute_and_data_at_once() {
    let mut rig = live(true);
    for attempt in 1..=4 {
        rig.run(Duration::from_secs(50));
        rig.eof();
        assert_eq!(rig.heard.faults().last().unwrap().attempt, attempt, "a connection that lives 50 s proves nothing");
        while rig.server.is_none() {
            rig.pass_s(1);
        }
    }
    rig.run(HEALTHY_AFTER + Duration::from_secs(40));
    let recovered = |event: &&StreamEvent| matches!(event, StreamEvent::Recovered { .. });
    assert_eq!(rig.heard.events.iter().filter(recovered).count(), 1);
    rig.eof();
    assert_eq!(rig.heard.faults().last().unwrap().attempt, 1);
    // Data does at once.
    while rig.server.is_none() {
        rig.pass_s(1);
    }
    rig.send(TEXT, b"event");
    assert_eq!(rig.heard.events.iter().filter(recovered).count(), 2);
    // So do a minute's replies to probes.
    let mut rig = live(false);
    rig.world.pongs = false;
    rig.heard.probes = Some(0);
    run_with_replies(&mut rig, 3 * MINUTE, usize::MAX);
    assert_eq!(rig.heard.events.iter().filter(recovered).count(), 1);
}

#[test]
fn a_standstill_of_ours_is_no_silence_of_theirs() {
    // The pong may wait in the socket behind more than one turn reads: it is asked for again, not judged.
    let mut rig = live(true);
    rig.world.pongs = false;
    while rig.client_frames().is_empty() {
        rig.run(Duration::from_secs(1));
    }
    rig.jump(Duration::from_secs(300));
    rig.settle();
    rig.run(Duration::from_secs(14));
    assert!(rig.heard.faults().is_empty(), "{:?}", rig.heard.events);
    assert_eq!(rig.client_frames().len(), 1);
    rig.run(Duration::from_secs(2));
    assert_eq!(rig.heard.faults().len(), 1, "then it is");
    let mut rig = live(true);
    rig.jump(Duration::from_secs(300));
    rig.settle();
    rig.run(MINUTE);
    assert!(rig.heard.faults().is_empty(), "{:?}", rig.heard.events);
    // A peer that is gone after it is found as soon as ever.
    rig.is_writable = false;
    rig.jump(Duration::from_secs(300));
    rig.settle();
    let woken = rig.now.mono;
    while rig.heard.faults().is_empty() {
        rig.run(Duration::from_millis(100));
    }
    assert!(rig.now.mono.since(woken) < MINUTE);
}

#[test]
fn a_sleep_of_hours_is_found_at_once() {
    for hours in [1, 30] {
        let mut rig = live(true);
        rig.jump(Duration::from_secs(hours * 3_600));
        let (woken, lives) = (rig.now, rig.heard.lives());
        assert_eq!(rig.session.deadline().max(woken.mono), woken.mono, "nothing is waited for");
        rig.settle();
        let faults = rig.heard.faults();
        assert_eq!((faults.len(), faults[0].kind), (1, FaultKind::Stall), "{:?}", rig.heard.events);
        assert!(faults[0].text.contains("stood still for"), "{}", faults[0].text);
        assert!(faults[0].retry_in <= Duration::from_secs(1), "as after any first fault");
        rig.run(MINUTE);
        assert_eq!((rig.heard.faults().len(), rig.heard.lives()), (1, lives + 1), "{:?}", rig.heard.events);
    }
}

#[test]
fn activity_is_told_at_most_once_a_second_whatever_comes() {
    let mut rig = live(true);
    let begun = rig.now.mono;
    for n in 0..1_000_u32 {
        rig.pass(Duration::from_millis(10));
        match n % 3 {
            0 => rig.send(PING, b"alive?"),
            1 => rig.send(TEXT, b"event"),
            _ => rig.send(PONG, b"unasked"),
        }
    }
    let told = &rig.heard.activity;
    assert_eq!(told[0].mono.since(begun), Duration::from_millis(10), "the first frame at once");
    assert!(told.windows(2).all(|pair| pair[1].mono.since(pair[0].mono) >= Duration::from_secs(1)));
    assert_eq!(told.len(), 10);
    // A day of pongs: each of them.
    let mut rig = live(true);
    rig.run(DAY / 24);
    assert!(rig.heard.activity.len() >= 100, "{}", rig.heard.activity.len());
}

#[test]
fn our_own_pings_keep_the_pace() {
    let mut rig = live(true);
    let mut last = rig.now.mono;
    let mut sent = 0;
    for _ in 0..12_000 {
        rig.pass(Duration::from_millis(10));
        for (opcode, _) in rig.client_frames() {
            assert_eq!(opcode, PING);
            assert!(rig.now.mono.since(last) >= CLIENT_MESSAGE_EVERY);
            last = rig.now.mono;
            sent += 1;
        }
    }
    assert!((3..=5).contains(&sent), "{sent}");
}
