//! What a stream makes of time that passes: silence, waits, jumps of a clock, standstills of the machine.

use std::io::ErrorKind;
use std::time::Duration;

use super::rig::{Connect, PING, Rig, TEXT, World};
use super::{check_fault, hang_over};
use crate::domain::limits::{CONNECT_HOLD_BANNED, CONNECT_HOLD_LIMITED, CONNECT_HOLD_MAX, RETRY_AFTER_MAX};
use crate::domain::{Layer, Wall};
use crate::stream::backoff::Backoff;
use crate::stream::{FaultKind, StreamEvent};

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn only_data_keeps_a_connection_alive() {
    let mut rig = Rig::flowing();
    for _ in 0..29 {
        rig.pass_s(1);
        rig.send(PING, b"alive?");
        rig.send(TEXT, b"ack: subscribed");
    }
    assert_eq!(rig.heard.faults().len(), 0);
    rig.pass_s(1);
    check_fault(&rig, Layer::Silence, FaultKind::Stall, "sent no data for 30 s");
    // A tick a second keeps it for ever.
    let mut rig = Rig::flowing();
    for _ in 0..1_000 {
        rig.pass_s(1);
        rig.send(TEXT, b"tick");
    }
    assert_eq!(rig.heard.faults().len() + rig.heard.silences().len(), 0);
}

#[test]
fn silence_across_reconnects_escalates_once_per_300_s() {
    // Live again and again, never with data.
    let mut rig = Rig::new();
    rig.pass_each_s(299);
    assert!(rig.heard.lives() > 3 && rig.heard.silences().is_empty());
    rig.pass_each_s(700);
    assert_eq!(rig.heard.silences(), [300, 600, 900].map(Duration::from_secs));
    // Never even connected; data ends it.
    let mut rig = Rig::new();
    rig.world.connects = [Connect::Refused].into();
    rig.pass_each_s(650);
    assert_eq!(rig.heard.silences(), [300, 600].map(Duration::from_secs));
    rig.world.connects = [Connect::Accepted].into();
    while rig.server.is_none() {
        rig.pass_s(1);
    }
    rig.send(TEXT, b"tick");
    for _ in 0..400 {
        rig.pass_s(1);
        rig.send(TEXT, b"tick");
    }
    assert_eq!(rig.heard.silences().len(), 2);
}

#[test]
fn only_data_resets_the_backoff() {
    let mut rig = Rig::new();
    for attempt in 1..=12 {
        while rig.server.is_none() {
            rig.pass(Duration::from_millis(100));
        }
        rig.eof();
        let fault = rig.heard.faults().pop().unwrap().clone();
        assert_eq!(fault.attempt, attempt);
        assert!(fault.retry_in <= Backoff::ceiling(attempt - 1));
    }
    while rig.server.is_none() {
        rig.pass(Duration::from_millis(100));
    }
    rig.send(TEXT, b"ack");
    rig.send(TEXT, b"tick");
    assert!(matches!(rig.heard.events.last(), Some(StreamEvent::Recovered { connection: 13, .. })));
    rig.eof();
    assert_eq!(rig.heard.faults().last().unwrap().attempt, 1);
}

#[test]
fn it_retries_for_ever_and_never_in_a_storm() {
    let mut rig = Rig::new();
    rig.world.addresses = Some(Err(ErrorKind::TimedOut));
    rig.pass_each_s(14 * 3_600);
    let attempts = rig.resolves.len();
    assert!((2_000..5_000).contains(&attempts), "{attempts} attempts in 14 hours");
}

#[test]
fn a_wait_that_the_server_asks_for_is_kept() {
    for (header, wait) in
        [("Retry-After: 120\r\n", Duration::from_secs(120)), ("Retry-After: 99999\r\n", RETRY_AFTER_MAX)]
    {
        let mut rig = Rig::new();
        rig.world.answer = Some(format!("HTTP/1.1 429 Too Many Requests\r\n{header}\r\n").into_bytes());
        rig.pass_s(0);
        let fault = rig.heard.faults()[0];
        assert_eq!((fault.status, fault.retry_in), (Some(429), wait));
    }
}

#[test]
fn a_venue_that_turns_the_address_away_is_told_once() {
    for (answer, pause) in [
        ("429 Too Many Requests\r\n", Some(CONNECT_HOLD_LIMITED)),
        ("418 I'm a teapot\r\n", Some(CONNECT_HOLD_BANNED)),
        ("429 Too Many Requests\r\nRetry-After: 7\r\n", Some(Duration::from_secs(7))),
        ("418 I'm a teapot\r\nRetry-After: 999999\r\n", Some(CONNECT_HOLD_MAX)),
        ("503 Service Unavailable\r\nRetry-After: 7\r\n", None),
        ("403 Forbidden\r\n", None),
    ] {
        let mut rig = Rig::new();
        rig.world.answer = Some(format!("HTTP/1.1 {answer}\r\n").into_bytes());
        rig.pass_s(0);
        assert_eq!(rig.heard.faults().len(), 1, "{answer}");
        assert_eq!((rig.session.poll_turned_away(), rig.session.poll_turned_away()), (pause, None), "{answer}");
    }
}

#[test]
fn a_wall_clock_jump_changes_nothing() {
    for hours in [-1, 1, 24] {
        let mut rig = Rig::flowing();
        rig.now.wall = Wall::from_millis(rig.now.wall.as_millis() + hours * 3_600_000);
        rig.pass_s(1);
        rig.send(TEXT, b"tick");
        assert_eq!((rig.heard.faults().len(), rig.heard.silences().len(), rig.heard.messages.len()), (0, 0, 2));
    }
}

#[test]
fn a_standstill_costs_one_reconnect_at_most_and_no_verdict() {
    // Data that waited in the socket is seen first: nothing happens at all.
    let mut rig = Rig::flowing();
    rig.jump(HOUR);
    rig.send(TEXT, b"tick");
    rig.settle();
    assert_eq!((rig.heard.faults().len(), rig.heard.silences().len()), (0, 0));
    // A ping that waited is no data.
    let mut rig = Rig::flowing();
    rig.jump(HOUR);
    rig.send(PING, b"alive?");
    check_standstill(rig, 1);
    let mut rig = Rig::flowing();
    rig.jump(HOUR);
    check_standstill(rig, 1);
    for hang in [
        |world: &mut World| world.addresses = None,
        |world: &mut World| world.connects = [Connect::Hangs].into(),
        |world: &mut World| world.answer = None,
    ] {
        let mut rig = Rig::new();
        hang(&mut rig.world);
        rig.pass_s(0);
        hang_over(&mut rig.world);
        rig.jump(HOUR);
        check_standstill(rig, 1);
    }
    let mut rig = Rig::new();
    rig.world.connects = [Connect::Refused, Connect::Accepted].into();
    rig.pass_s(0);
    rig.jump(HOUR);
    check_standstill(rig, 1);
}

/// After the standstill that has just ended: `faults` in all, back to live within two seconds, no escalation.
#[track_caller]
fn check_standstill(mut rig: Rig, faults: usize) {
    rig.settle();
    rig.pass_s(1);
    rig.pass_s(1);
    assert_eq!(rig.session.phase(), "live", "{:?}", rig.heard.events);
    assert_eq!(rig.heard.faults().len(), faults, "{:?}", rig.heard.events);
    assert!(rig.heard.silences().is_empty());
}
