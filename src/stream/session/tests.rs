//! What a stream does, told as tables with moved time: real TLS on both ends, no socket, no waiting.

mod rig;
mod time;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use rig::{CLOSE, Connect, MESSAGE_MAX, PING, PONG, Rig, SWITCHING, TEXT, World, frame};

use crate::domain::Layer;
use crate::domain::limits::OUTBOUND_MAX;
use crate::stream::{FaultKind, StreamEvent};

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, last], 443))
}

#[test]
fn a_stream_comes_up_and_messages_flow_in_order() {
    let mut rig = Rig::new();
    let glued = [frame(TEXT, b"glued"), frame(TEXT, b"half of")].concat();
    let (now, part) = glued.split_at(glued.len() - 3);
    rig.world.answer = Some([SWITCHING.as_bytes(), now].concat());
    rig.pass_s(0);
    rig.send_raw(part);
    rig.pass_s(2);
    rig.send(TEXT, &[b'x'; 90_000]);
    let texts: Vec<_> = rig.heard.messages.iter().map(|(_, text, _)| text.len()).collect();
    assert_eq!(texts, [5, 7, 90_000]);
    assert!(rig.heard.messages.iter().all(|(connection, _, _)| *connection == 1));
    assert_eq!(rig.heard.messages[2].2, rig.now);
    assert_eq!(
        rig.heard.events,
        [
            StreamEvent::Live { connection: 1, attempt: 0, peer: address(1) },
            StreamEvent::Recovered { connection: 1, silent: Duration::ZERO },
        ]
    );
    assert_eq!(rig.session.phase(), "live");
}

#[test]
fn every_layer_names_itself_before_the_stream_is_up() {
    check_attempt(Layer::Resolve, FaultKind::Unresolved, "stream.test has no address", |world| {
        world.addresses = Some(Err(ErrorKind::HostUnreachable));
    });
    check_attempt(Layer::Resolve, FaultKind::Unresolved, "the answer is empty", |world| {
        world.addresses = Some(Ok(Vec::new()));
    });
    check_attempt(Layer::Resolve, FaultKind::Timeout, "was not up after 10 s: the name's lookup", |world| {
        world.addresses = None;
    });
    check_attempt(Layer::Connect, FaultKind::Unreachable, "connection: connection refused", |world| {
        world.connects = [Connect::Refused].into();
    });
    check_attempt(Layer::Connect, FaultKind::Unreachable, "none of 2 addresses", |world| {
        world.addresses = Some(Ok(vec![address(1), address(2)]));
        world.connects = [Connect::Refused].into();
    });
    check_attempt(Layer::Connect, FaultKind::Timeout, "no answer to the TCP connect", |world| {
        world.connects = [Connect::Hangs].into();
    });
    check_attempt(Layer::Upgrade, FaultKind::Timeout, "(127.0.0.1:443) was not up after 10 s", |world| {
        world.answer = None;
    });
    for (status, text) in [
        ("451 Unavailable For Legal Reasons", "stream.test answered HTTP 451: it does not serve this country"),
        ("403 Forbidden", "HTTP 403: its firewall"),
        ("404 Not Found", "check the stream's URL"),
        ("302 Found", "the stream has moved"),
        ("503 Service Unavailable", "trouble on its side"),
        ("200 OK", "not the 101"),
    ] {
        check_attempt(Layer::Upgrade, FaultKind::Refused, text, |world| {
            world.answer = Some(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes());
        });
    }
    for (answer, text) in [
        ("SSH-2.0-OpenSSH_9.9\r\n\r\n", "malformed"),
        (&SWITCHING.replace("{accept}", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="), "another key"),
        (&format!("HTTP/1.1 101 Switching Protocols\r\nX: {}", "y".repeat(20_000)), "more than"),
    ] {
        check_attempt(Layer::Upgrade, FaultKind::Refused, text, |world| world.answer = Some(answer.into()));
    }
}

#[test]
fn tls_faults_name_the_handshake() {
    let mut rig = Rig::untrusted();
    rig.pass_s(0);
    check_fault(&rig, Layer::Tls, FaultKind::Untrusted, "not signed by an authority trusted here");
    for (bytes, text) in
        [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "stream.test"), (&[21, 3, 3, 0, 2, 2, 40], "stream.test")]
    {
        let mut rig = begin_tls();
        rig.send_cipher(bytes);
        check_fault(&rig, Layer::Tls, FaultKind::Untrusted, text);
    }
    let mut rig = begin_tls();
    rig.eof();
    check_fault(&rig, Layer::Tls, FaultKind::Cut, "during the TLS handshake");
    let mut rig = begin_tls();
    rig.pass_s(10);
    check_fault(&rig, Layer::Tls, FaultKind::Timeout, "the TLS handshake did not end");
}

#[test]
fn a_live_connection_breaks_in_words() {
    check_live(Layer::Connect, FaultKind::Cut, "ended the connection without a close frame", None, Rig::eof);
    check_live(Layer::Connect, FaultKind::Cut, "connection reset", None, |rig| {
        rig.io_error(ErrorKind::ConnectionReset)
    });
    check_live(Layer::Protocol, FaultKind::Closed, "1008, policy", Some(1008), |rig| {
        rig.send(CLOSE, b"\x03\xf0Too many requests");
    });
    check_live(Layer::Protocol, FaultKind::Closed, "without a code", None, |rig| rig.send(CLOSE, b""));
    check_live(Layer::Protocol, FaultKind::Garbage, "masked", Some(1002), |rig| {
        rig.send_raw(&[0x81, 0x81, 0, 0, 0, 0, 65])
    });
    check_live(Layer::Protocol, FaultKind::Garbage, "opcode", Some(1002), |rig| rig.send_raw(&[0x83, 0]));
    check_live(Layer::Protocol, FaultKind::Garbage, "UTF-8", Some(1007), |rig| rig.send(CLOSE, b"\x03\xe8\xff"));
    check_live(Layer::Protocol, FaultKind::Oversize, "above our limit", Some(1009), |rig| {
        rig.send_raw(&frame(TEXT, &vec![b'x'; MESSAGE_MAX + 1])[..14]);
    });
    // A record that no key of this connection made, and an alert in the clear.
    check_live(Layer::Tls, FaultKind::Garbage, "stream.test", None, |rig| {
        rig.send_cipher(&[&[23, 3, 3, 0, 40][..], &[9; 40]].concat());
    });
    check_live(Layer::Tls, FaultKind::Garbage, "stream.test", None, |rig| rig.send_cipher(b"garbage without end"));
    check_live(Layer::Connect, FaultKind::Cut, "ended the connection", None, |rig| {
        rig.server.as_mut().unwrap().tls.send_close_notify();
        rig.exchange();
    });
}

#[test]
fn what_was_decrypted_before_a_break_still_counts() {
    let mut rig = Rig::flowing();
    rig.hold_back(TEXT, b"last tick");
    rig.send_cipher(&[&[23, 3, 3, 0, 40][..], &[9; 40]].concat());
    assert_eq!(rig.heard.messages.last().unwrap().1, "last tick");
    check_fault(&rig, Layer::Tls, FaultKind::Garbage, "stream.test");
    let mut rig = Rig::flowing();
    rig.hold_back(CLOSE, b"\x03\xe9");
    rig.send_cipher(b"garbage, not TLS");
    check_fault(&rig, Layer::Protocol, FaultKind::Closed, "1001");
}

#[test]
fn no_input_after_the_handshake_panics() {
    let mut random = crate::domain::Random::from_seed(99);
    for _ in 0..300 {
        let mut rig = Rig::flowing();
        let mut bytes = vec![0; random.below(300) as usize + 1];
        random.fill(&mut bytes);
        if random.below(2) == 0 {
            rig.send_raw(&bytes)
        } else {
            rig.send_cipher(&bytes)
        }
        rig.pass_s(31);
        assert_eq!(rig.heard.faults().len(), 1, "{:?}", rig.heard.events);
    }
}

#[test]
fn a_ping_is_answered_with_the_same_bytes_in_the_same_turn() {
    let mut rig = Rig::flowing();
    for payload in [&b""[..], b"1795419015000", &[0xff; 125]] {
        rig.send(PING, payload);
        assert_eq!(rig.client_frames(), [(PONG, payload.to_vec())]);
    }
    rig.send(PONG, b"unasked");
    assert_eq!(rig.client_frames(), []);
    // Between the fragments of a message, too.
    rig.send_raw(&[&[0x01, 2, b'a', b'b'][..], &frame(PING, b"inside"), &[0x80, 1, b'c']].concat());
    assert_eq!(rig.client_frames(), [(PONG, b"inside".to_vec())]);
    assert_eq!(rig.heard.messages.last().unwrap().1, "abc");
}

#[test]
fn a_ping_flood_on_a_blocked_writer_costs_bounded_memory_and_ends_in_the_newest_pong() {
    let mut rig = Rig::flowing();
    rig.is_writable = false;
    for n in 0..5_000_u32 {
        rig.send(PING, &[&n.to_be_bytes()[..], &[7; 100]].concat());
    }
    assert!(rig.session.transmit().len() < OUTBOUND_MAX + 200, "{}", rig.session.transmit().len());
    rig.is_writable = true;
    rig.exchange();
    let frames = rig.client_frames();
    assert!(frames.len() > 50 && frames.len() < 500, "{}", frames.len());
    assert!(frames.iter().all(|(opcode, payload)| *opcode == PONG && payload.len() == 104));
    assert_eq!(frames[0].1[..4], 0_u32.to_be_bytes());
    assert_eq!(frames.last().unwrap().1[..4], 4_999_u32.to_be_bytes());
    rig.send(PING, b"afterwards");
    assert_eq!(rig.client_frames(), [(PONG, b"afterwards".to_vec())]);
    assert!(rig.heard.faults().is_empty());
}

#[test]
fn a_pong_goes_ahead_of_our_goodbye() {
    let mut rig = Rig::flowing();
    rig.is_writable = false;
    (0..400).for_each(|_| rig.send(PING, &[1; 125]));
    rig.send(PING, b"newest");
    // The socket takes some of it, then we say goodbye.
    rig.is_writable = true;
    rig.transmit();
    rig.stop();
    let frames = rig.client_frames();
    let [.., (PONG, newest), (CLOSE, code)] = &frames[..] else { panic!("{:?}", frames.last()) };
    assert_eq!((&newest[..], &code[..]), (&b"newest"[..], &b"\x03\xe8"[..]));
}

#[test]
fn addresses_are_tried_in_turn_and_share_the_time() {
    let mut rig = Rig::new();
    rig.world.addresses = Some(Ok((1..=6).map(address).collect()));
    rig.world.connects = [Connect::Refused, Connect::Hangs, Connect::Accepted].into();
    rig.pass_s(0);
    assert_eq!(rig.connected_to, [address(1), address(2)]);
    rig.pass_s(4);
    assert_eq!(rig.connected_to, [address(1), address(2), address(3)]);
    assert_eq!(rig.session.phase(), "live");
    // The next attempt begins one further; one attempt tries four at most.
    rig.world.connects = [Connect::Refused].into();
    rig.eof();
    rig.pass_s(1);
    assert_eq!(rig.connected_to[3..], [2, 3, 4, 5].map(address));
}

#[test]
fn an_answer_to_an_earlier_attempt_changes_nothing() {
    let mut rig = Rig::new();
    rig.world.addresses = None;
    rig.pass_s(0);
    rig.pass_s(10);
    rig.pass_s(32);
    assert_eq!((&rig.resolves[..], rig.session.phase()), (&[1, 2][..], "resolving"));
    rig.session.handle_resolved(1, Ok(vec![address(9)]), rig.now, &mut rig.heard);
    assert_eq!(rig.session.poll_action(), None);
    rig.session.handle_resolved(2, Ok(vec![address(1)]), rig.now, &mut rig.heard);
    rig.session.handle_resolved(2, Ok(vec![address(9)]), rig.now, &mut rig.heard);
    rig.exchange();
    assert_eq!((&rig.connected_to[..], rig.session.phase()), (&[address(1)][..], "live"));
}

#[test]
fn a_live_stream_says_goodbye_when_stopped() {
    let mut rig = Rig::flowing();
    rig.stop();
    assert_eq!(rig.client_frames(), [(CLOSE, b"\x03\xe8".to_vec())]);
    assert_eq!(rig.session.phase(), "closing");
    // What is under way still arrives; pings are not answered behind our close frame.
    rig.send(TEXT, b"last tick");
    rig.send(PING, b"alive?");
    assert_eq!(rig.heard.messages.last().unwrap().1, "last tick");
    rig.send(CLOSE, b"\x03\xe8");
    assert!(rig.session.is_stopped() && rig.client_frames().is_empty());
    check_stays_stopped(rig);

    let mut rig = Rig::flowing();
    rig.stop();
    rig.pass(Duration::from_millis(1_999));
    assert!(!rig.session.is_stopped());
    rig.pass(Duration::from_millis(1));
    check_stays_stopped(rig);
}

#[test]
fn stopping_wins_every_race() {
    check_stop(|_| ());
    check_stop(|rig| {
        rig.world.addresses = None;
        rig.pass_s(0);
    });
    check_stop(|rig| {
        rig.world.connects = [Connect::Hangs].into();
        rig.pass_s(0);
    });
    check_stop(|rig| {
        rig.world.answer = None;
        rig.pass_s(0);
    });
    check_stop(|rig| {
        rig.world.connects = [Connect::Refused].into();
        rig.pass_s(0);
    });
    for end in
        [Rig::eof, |rig: &mut Rig| rig.send_cipher(b"garbage, not TLS"), |rig: &mut Rig| rig.send_raw(&[0x83, 0])]
    {
        let mut rig = Rig::flowing();
        rig.stop();
        end(&mut rig);
        check_stays_stopped(rig);
    }
}

#[test]
fn a_panic_costs_the_connection_only() {
    let mut rig = Rig::flowing();
    rig.session.handle_panic(rig.now, &mut rig.heard);
    rig.exchange();
    check_fault(&rig, Layer::Protocol, FaultKind::Panic, "a mistake of this program");
    rig.pass_s(1);
    assert_eq!(rig.session.phase(), "live");
    rig.stop();
    rig.session.handle_panic(rig.now, &mut rig.heard);
    check_stays_stopped(rig);
}

#[test]
fn no_sentence_shows_path_or_query() {
    let mut rig = Rig::new();
    rig.world.answer = Some(b"HTTP/1.1 403 Forbidden\r\nLocation: /?listenKey=SECRET\r\n\r\n".to_vec());
    rig.pass_s(0);
    let text = format!("{:?} {:?}", rig.heard.events, rig.session.url());
    assert!(!text.contains("SECRET") && !text.contains("/market"), "{text}");
}

fn hang_over(world: &mut World) {
    world.addresses = Some(Ok(vec![address(1)]));
    world.connects = [Connect::Accepted].into();
    world.answer = Some(SWITCHING.as_bytes().to_vec());
}

fn begin_tls() -> Rig {
    let mut rig = Rig::new();
    rig.is_writable = false;
    rig.pass_s(0);
    assert_eq!(rig.session.phase(), "tls");
    rig
}

/// An attempt in `world` fails at `layer`, at once or after its ten seconds, and the next one is due within a second.
#[track_caller]
fn check_attempt(layer: Layer, kind: FaultKind, text: &str, world: impl FnOnce(&mut World)) {
    let mut rig = Rig::new();
    world(&mut rig.world);
    rig.pass_s(0);
    if kind == FaultKind::Timeout {
        rig.pass(Duration::from_millis(9_999));
        assert_eq!(rig.heard.faults().len(), 0);
        rig.pass(Duration::from_millis(1));
    }
    check_fault(&rig, layer, kind, text);
    hang_over(&mut rig.world);
    rig.pass_s(1);
    assert_eq!(rig.session.phase(), "live", "{:?}", rig.heard.events);
}

/// A live stream is broken by `what`, says goodbye with `code`, and comes up again.
#[track_caller]
fn check_live(layer: Layer, kind: FaultKind, text: &str, code: Option<u16>, what: impl FnOnce(&mut Rig)) {
    let mut rig = Rig::flowing();
    what(&mut rig);
    check_fault(&rig, layer, kind, text);
    let said = rig.client_frames();
    match code {
        Some(code) => assert_eq!(said, [(CLOSE, code.to_be_bytes().to_vec())]),
        None => assert!(said.iter().all(|(_, payload)| payload.is_empty()), "{said:?}"),
    }
    rig.pass_s(1);
    rig.send(TEXT, b"tick");
    assert_eq!(rig.heard.messages.last().unwrap().0, 2, "{:?}", rig.heard.events);
}

#[track_caller]
fn check_fault(rig: &Rig, layer: Layer, kind: FaultKind, text: &str) {
    let faults = rig.heard.faults();
    let [fault] = faults[..] else { panic!("not one fault: {:?}", rig.heard.events) };
    assert_eq!((fault.layer, fault.kind), (layer, kind), "{fault:?}");
    assert!(fault.text.contains(text) && fault.text.starts_with(layer.as_str()), "{:?} lacks {text:?}", fault.text);
    assert!(fault.text.contains("stream.test"), "{:?} names no host", fault.text);
}

#[track_caller]
fn check_stop(before: impl FnOnce(&mut Rig)) {
    let mut rig = Rig::new();
    before(&mut rig);
    rig.stop();
    assert!(rig.session.is_stopped());
    check_stays_stopped(rig);
}

#[track_caller]
fn check_stays_stopped(mut rig: Rig) {
    assert!(rig.session.is_stopped(), "{}", rig.session.phase());
    let (resolves, connects) = (rig.resolves.len(), rig.connected_to.len());
    rig.stop();
    for attempt in 0..=rig.resolves.len() as u64 {
        rig.session.handle_resolved(attempt, Ok(vec![address(9)]), rig.now, &mut rig.heard);
    }
    rig.session.handle_connected(&mut rig.plain, rig.now, &mut rig.heard);
    rig.session.handle_io_error(&ErrorKind::ConnectionReset.into(), rig.now, &mut rig.heard);
    rig.eof();
    rig.pass_each_s(400);
    assert_eq!((rig.resolves.len(), rig.connected_to.len()), (resolves, connects));
    assert_eq!(rig.heard.events.iter().filter(|event| **event == StreamEvent::Stopped).count(), 1);
    assert_eq!(rig.heard.events.last(), Some(&StreamEvent::Stopped));
}
