//! What a consumer or the daemon may ask of a stream: texts, a pause, another place, a permit, an end.

use std::time::Duration;

use super::rig::{CLOSE, PING, PONG, Rig, SWITCHING, TEXT, frame};
use super::{check_fault, check_stays_stopped};
use crate::domain::Layer;
use crate::domain::limits::{CLIENT_TEXT_LEN_MAX, CLIENT_TEXTS_MAX, PAUSED_MAX};
use crate::stream::session::Hold;
use crate::stream::{FaultKind, Liveness, Pace, Request, Sparse, StreamEvent, StreamUrl};

fn sparse() -> Rig {
    let mut rig = Rig::with(|config| config.liveness = Liveness::Sparse(Sparse::default()));
    rig.pass_s(0);
    assert_eq!(rig.session.phase(), "live");
    rig
}

fn texts(rig: &Rig) -> Vec<&str> {
    rig.heard.messages.iter().map(|(_, text, _)| text.as_str()).collect()
}

fn url(path: &str) -> StreamUrl {
    StreamUrl::parse(&format!("wss://stream.test{path}")).unwrap()
}

#[test]
fn texts_go_out_in_order_at_four_a_second_behind_pongs() {
    let mut rig = Rig::with(|config| config.liveness = Liveness::Sparse(Sparse::default()));
    // Asked for on Live, so that nothing else was said before.
    rig.heard.on_message = Some(("go", Request::Text("from a message".to_owned())));
    rig.pass_s(0);
    for n in 0..6 {
        rig.session.send_text(n.to_string(), rig.now, &mut rig.heard);
    }
    rig.exchange();
    let mut sent = Vec::new();
    let mut millis = 0;
    while millis < 3_000 {
        for (opcode, payload) in rig.client_frames() {
            sent.push((millis, opcode, String::from_utf8(payload).unwrap()));
        }
        if millis == 600 {
            rig.send(PING, b"alive?");
            rig.send(TEXT, b"go");
        }
        rig.pass(Duration::from_millis(10));
        millis += 10;
    }
    let expected = [
        (0, TEXT, "0"),
        (250, TEXT, "1"),
        (500, TEXT, "2"),
        (610, PONG, "alive?"),
        (850, TEXT, "3"),
        (1_100, TEXT, "4"),
        (1_350, TEXT, "5"),
        (1_600, TEXT, "from a message"),
    ];
    assert_eq!(sent, expected.map(|(millis, opcode, text)| (millis, opcode, text.to_owned())));
}

#[test]
fn a_text_without_room_or_connection_is_dropped_aloud() {
    let dropped = |rig: &Rig| {
        let dropped = rig.heard.events.iter().filter_map(|event| match event {
            StreamEvent::TextDropped { len } => Some(*len),
            _ => None,
        });
        dropped.collect::<Vec<_>>()
    };
    let mut rig = sparse();
    // The first one leaves at once.
    for _ in 0..CLIENT_TEXTS_MAX + 3 {
        rig.session.send_text("text".to_owned(), rig.now, &mut rig.heard);
    }
    rig.session.send_text("x".repeat(CLIENT_TEXT_LEN_MAX + 1), rig.now, &mut rig.heard);
    assert_eq!(dropped(&rig), [4, 4, CLIENT_TEXT_LEN_MAX + 1]);
    // What waited dies with its connection.
    rig.exchange();
    rig.client_frames();
    rig.eof();
    rig.session.send_text("nowhere".to_owned(), rig.now, &mut rig.heard);
    assert_eq!(dropped(&rig).len(), 4);
    rig.run(Duration::from_secs(20));
    assert_eq!((rig.session.phase(), rig.client_frames()), ("live", Vec::new()));
    // A peer that reads nothing gets none, and nothing grows.
    rig.is_writable = false;
    (0..10).for_each(|_| rig.session.send_text("y".repeat(CLIENT_TEXT_LEN_MAX), rig.now, &mut rig.heard));
    rig.run(Duration::from_secs(14));
    assert!(rig.session.transmit().len() < 2 * CLIENT_TEXT_LEN_MAX, "{}", rig.session.transmit().len());
    // No output of ours shows a text: it may hold a key.
    assert_eq!(format!("{:?}", Request::Text("SECRET".to_owned())), "Text(6 bytes)");
}

#[test]
fn a_consumer_without_room_gets_not_one_message_more_and_loses_none() {
    let mut rig = sparse();
    rig.heard.on_message = Some(("two", Request::Pause));
    let glued = ["one", "two", "three", "two", "five"].map(|text| frame(TEXT, text.as_bytes())).concat();
    rig.send_raw(&glued);
    assert_eq!(texts(&rig), ["one", "two"]);
    assert!(!rig.session.wants_read());
    rig.run(Duration::from_secs(30));
    rig.resume(Hold::Own);
    assert_eq!(texts(&rig), ["one", "two", "three", "two"]);
    rig.resume(Hold::Own);
    assert_eq!(texts(&rig), ["one", "two", "three", "two", "five"]);
    // The end of the connection does not overtake messages, nor do bytes that no key made.
    for end in [
        |rig: &mut Rig| rig.server.as_mut().unwrap().tls.send_close_notify(),
        |rig: &mut Rig| {
            rig.send_cipher(b"garbage, not TLS");
        },
    ] {
        let mut rig = sparse();
        rig.heard.on_message = Some(("two", Request::Pause));
        rig.hold_back(TEXT, b"two");
        rig.hold_back(TEXT, b"three");
        end(&mut rig);
        rig.exchange();
        if rig.heard.faults().is_empty() {
            assert_eq!(texts(&rig), ["two"]);
            rig.resume(Hold::Own);
            assert_eq!((texts(&rig), rig.heard.faults().len()), (vec!["two", "three"], 1));
        }
        assert_eq!(rig.heard.faults().len(), 1, "{:?}", rig.heard.events);
    }
    // Glued to the upgrade.
    let mut rig = Rig::new();
    rig.world.answer = Some([SWITCHING.as_bytes(), &frame(TEXT, b"first"), &frame(TEXT, b"second")].concat());
    rig.heard.on_message = Some(("first", Request::Pause));
    rig.pass_s(0);
    assert_eq!(texts(&rig), ["first"]);
    rig.resume(Hold::Own);
    assert_eq!(texts(&rig), ["first", "second"]);
}

#[test]
fn nobody_is_called_silent_while_held_and_four_minutes_are_the_end() {
    for rig in [sparse as fn() -> Rig, Rig::flowing] {
        let mut rig = rig();
        rig.session.pause(Hold::Own, rig.now);
        rig.run(PAUSED_MAX - Duration::from_secs(1));
        assert!(rig.heard.faults().is_empty() && rig.heard.silences().is_empty(), "{:?}", rig.heard.events);
        rig.resume(Hold::Own);
        rig.pass_s(20);
        rig.send(TEXT, b"tick");
        rig.pass_s(20);
        assert!(rig.heard.faults().is_empty() && rig.heard.silences().is_empty(), "{:?}", rig.heard.events);

        rig.session.pause(Hold::Own, rig.now);
        rig.run(PAUSED_MAX + Duration::from_millis(1));
        check_fault(&rig, Layer::Silence, FaultKind::Paused, "was not read for 240 s");
        assert!(rig.client_frames().contains(&(CLOSE, b"\x03\xe8".to_vec())));
        let resolves = rig.resolves.len();
        rig.run(Duration::from_secs(10_000));
        assert_eq!((rig.resolves.len(), rig.session.phase()), (resolves, "backoff"), "it waits for the resume");
        assert!(rig.heard.silences().is_empty());
        rig.resume(Hold::Own);
        rig.settle();
        assert_eq!(rig.session.phase(), "live");
        rig.send(TEXT, b"tick");
        assert_eq!(rig.heard.messages.last().unwrap().0, 2);
    }
}

#[test]
fn a_stream_reads_when_nobody_holds_it() {
    let mut rig = sparse();
    for hold in [Hold::Own, Hold::All, Hold::All] {
        rig.session.pause(hold, rig.now);
    }
    rig.hold_back(TEXT, b"waits");
    rig.resume(Hold::All);
    assert!(texts(&rig).is_empty() && !rig.session.wants_read());
    rig.resume(Hold::Own);
    assert_eq!(texts(&rig), ["waits"]);
    rig.resume(Hold::Own);
    // A held stream ends at once, with a goodbye.
    rig.session.pause(Hold::Own, rig.now);
    rig.stop();
    assert_eq!(rig.client_frames(), [(CLOSE, b"\x03\xe8".to_vec())]);
    check_stays_stopped(rig);
}

#[test]
fn another_place_is_taken_at_once_or_after_the_wait() {
    let reconnecting = |rig: &Rig| match rig.heard.events.last() {
        Some(StreamEvent::Reconnecting { connection, retry_in }) => Some((*connection, *retry_in)),
        _ => None,
    };
    // A new key, told from outside.
    let mut rig = sparse();
    rig.world.path = "/private/ws?listenKey=NEW";
    rig.session.reconnect(Some(url(rig.world.path)), Pace::Now, rig.now, &mut rig.heard);
    assert_eq!(reconnecting(&rig), Some((Some(1), Duration::ZERO)));
    rig.exchange();
    assert_eq!(rig.client_frames(), [(CLOSE, b"\x03\xe8".to_vec())]);
    rig.pass_s(0);
    rig.send(TEXT, b"event");
    assert_eq!((rig.heard.messages.last().unwrap().0, rig.heard.faults().len()), (2, 0));
    // Another spelling, asked for by the consumer: counted, so that three that do not work end in no storm.
    rig.heard.on_message = Some(("ack: nothing", Request::Reconnect { url: Some(url("/x")), pace: Pace::Backoff }));
    rig.world.path = "/x";
    let mut waits = Duration::ZERO;
    for _ in 0..200 {
        while rig.server.is_none() {
            rig.pass(Duration::from_millis(100));
        }
        rig.send(TEXT, b"ack: nothing");
        waits += reconnecting(&rig).expect("it left").1;
    }
    assert!(waits > Duration::from_secs(200 * 10), "{waits:?}");
    // In a wait, the URL changes and the wait stays; an event would be a lie.
    let events = rig.heard.events.len();
    let deadline = rig.session.deadline();
    rig.world.path = "/y";
    rig.session.reconnect(Some(url("/y")), Pace::Now, rig.now, &mut rig.heard);
    assert_eq!((rig.heard.events.len(), rig.session.deadline()), (events, deadline));
    while rig.server.is_none() {
        rig.pass(Duration::from_millis(100));
    }
    // An attempt that is under way goes elsewhere, too, without a goodbye that nobody could read.
    let mut rig = Rig::new();
    rig.world.answer = None;
    rig.pass_s(0);
    rig.session.reconnect(None, Pace::Now, rig.now, &mut rig.heard);
    assert_eq!(reconnecting(&rig), Some((None, Duration::ZERO)));
    rig.world.answer = Some(SWITCHING.as_bytes().to_vec());
    rig.exchange();
    rig.pass_s(0);
    assert_eq!(rig.session.phase(), "live");
    assert!(!format!("{:?}", rig.heard.events).contains("NEW"));
}

#[test]
fn a_consumer_may_end_its_stream_even_when_it_asks_for_ever() {
    let mut rig = sparse();
    rig.heard.on_message = Some(("end", Request::Close));
    rig.send(TEXT, b"end");
    assert_eq!(rig.session.phase(), "closing");
    rig.send(CLOSE, b"\x03\xe8");
    check_stays_stopped(rig);
    let mut rig = sparse();
    rig.heard.requests.extend((0..10_000).map(|_| Request::Pause));
    rig.send(TEXT, b"event");
    assert!(!rig.session.wants_read() && rig.heard.requests.len() > 9_000, "{}", rig.heard.requests.len());
}

#[test]
fn an_attempt_waits_for_its_permit_and_its_time_begins_then() {
    let mut rig = Rig::with(|config| config.liveness = Liveness::Sparse(Sparse::default()));
    rig.world.permits = false;
    rig.pass_s(0);
    rig.run(Duration::from_secs(1_000));
    assert!(rig.session.awaits_permit() && rig.heard.events.is_empty() && rig.resolves.is_empty());
    // Held while it waits: it asks again afterwards, and a permit that comes too late is not used.
    rig.session.pause(Hold::All, rig.now);
    assert!(!rig.session.awaits_permit());
    rig.session.handle_permit(rig.now, &mut rig.heard);
    assert!(rig.resolves.is_empty());
    rig.resume(Hold::All);
    rig.settle();
    assert!(rig.session.awaits_permit());
    rig.session.handle_permit(rig.now, &mut rig.heard);
    rig.exchange();
    assert_eq!((rig.session.phase(), rig.resolves.len()), ("live", 1));
    // Stopped while it waits.
    let mut rig = Rig::new();
    rig.world.permits = false;
    rig.pass_s(0);
    rig.stop();
    rig.session.handle_permit(rig.now, &mut rig.heard);
    check_stays_stopped(rig);
}

#[test]
fn parked_bytes_that_were_dropped_cost_the_connection() {
    let mut rig = sparse();
    rig.session.handle_overflow(rig.now, &mut rig.heard);
    rig.exchange();
    check_fault(&rig, Layer::Protocol, FaultKind::Overflow, "the memory for those was used up");
    rig.session.handle_overflow(rig.now, &mut rig.heard);
    assert_eq!(rig.heard.faults().len(), 1);
}
