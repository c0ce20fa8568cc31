//! Each fault's effect on the wire, and that the ledger tells the truth through all of them.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use kraite_streams::sim::{BadEntry, Ending, FaultKind, Script, SimConfig, SimHandle};
use serde_json::Value;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

use super::client::{
    self, ALL, Socket, Table, end, entries, open, prices, quick, start, text, tls, try_open, try_tls, wait,
};

/// A simulator with a client that has had its first frames, and this fault asked for.
fn struck(kind: FaultKind) -> (SimHandle, Socket) {
    let sim = start(quick());
    let mut socket = prices(&sim);
    entries(&mut socket);
    sim.inject(kind);
    (sim, socket)
}

fn took_effect(sim: &SimHandle, kind: FaultKind) {
    wait(sim, kind.as_str(), |ledger| ledger.faults.get(kind.as_str()) == Some(&1) && ledger.faults_waiting == 0);
}

fn ended(sim: &SimHandle, kind: FaultKind) {
    wait(sim, kind.as_str(), |ledger| ledger.connections[0].ended == Some(Ending::Fault(kind)));
}

#[test]
fn cut_ends_tcp_without_a_close_frame() {
    let (sim, mut socket) = struck(FaultKind::Cut);
    match end(&mut socket) {
        Error::Io(e) => assert!(matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{e}"),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {}
        other => panic!("{other}"),
    }
    took_effect(&sim, FaultKind::Cut);
    ended(&sim, FaultKind::Cut);
}

#[test]
fn close_says_1001() {
    let (sim, mut socket) = struck(FaultKind::Close);
    let frame = loop {
        if let Message::Close(frame) = socket.read().unwrap() {
            break frame.unwrap();
        }
    };
    assert_eq!(frame.code, CloseCode::Away);
    end(&mut socket);
    took_effect(&sim, FaultKind::Close);
    ended(&sim, FaultKind::Close);
}

#[test]
fn a_stall_answers_pings_and_sends_nothing_until_it_is_over() {
    let lasts = Duration::from_millis(1_500);
    let (sim, mut socket) = struck(FaultKind::Stall { lasts });
    took_effect(&sim, FaultKind::Stall { lasts });
    let before = sim.ledger();
    socket.send(Message::Ping("alive".into())).unwrap();
    // What is still on its way comes first, and then the pong; no tick in between reached the socket.
    while !matches!(socket.read().unwrap(), Message::Pong(payload) if payload.as_ref() == b"alive") {}
    let after = wait(&sim, "ticks", |ledger| ledger.ticks > before.ticks + 5);
    assert_eq!(after.frames_queued, before.frames_queued);
    entries(&mut socket);
    wait(&sim, "frames again", |ledger| ledger.frames_queued > before.frames_queued);
    assert_eq!(sim.ledger().connections[0].ended, None);
}

#[test]
fn a_stall_without_end_stays_until_the_client_comes_back_or_prices_are_frozen() {
    let kind = FaultKind::Stall { lasts: Duration::MAX };
    let (sim, mut socket) = struck(kind);
    took_effect(&sim, kind);
    let mut second = prices(&sim);
    entries(&mut second);
    assert_eq!(sim.ledger().connections[0].ended, None);
    sim.quiesce();
    while !sim.wait_settled(Duration::ZERO) {
        entries(&mut second);
    }
    let frozen: Vec<_> = (0..4).map(|_| entries(&mut second)).collect();
    let price = |frame: &[Value]| frame[0]["p"].clone();
    assert_eq!(price(&frozen[0]), price(&frozen[2]));
    assert_ne!(frozen[0][0]["E"], frozen[2][0]["E"]);
    drop(second);
    entries(&mut socket);
}

#[test]
fn garbage_is_a_breach_at_once() {
    let (sim, mut socket) = struck(FaultKind::Garbage);
    assert!(matches!(end(&mut socket), Error::Protocol(ProtocolError::NonZeroReservedBits)));
    drop(socket);
    took_effect(&sim, FaultKind::Garbage);
    ended(&sim, FaultKind::Garbage);
}

#[test]
fn tls_garbage_fails_in_tls() {
    let (sim, mut socket) = struck(FaultKind::TlsGarbage);
    match end(&mut socket) {
        Error::Io(e) => assert_eq!(e.kind(), ErrorKind::InvalidData, "{e}"),
        other => panic!("{other}"),
    }
    drop(socket);
    took_effect(&sim, FaultKind::TlsGarbage);
    ended(&sim, FaultKind::TlsGarbage);
}

#[test]
fn unbalanced_is_one_text_frame_whose_json_stops() {
    let (sim, mut socket) = struck(FaultKind::Unbalanced);
    let broken = loop {
        let text = text(&mut socket);
        if serde_json::from_str::<Value>(&text).is_err() {
            break text;
        }
    };
    assert!(broken.starts_with(r#"{"stream":"!markPrice@arr@1s","data":[{"e""#) && broken.ends_with(':'));
    entries(&mut socket);
    took_effect(&sim, FaultKind::Unbalanced);
    let ledger = sim.ledger();
    assert_eq!(ledger.unbalanced_delivered, 1);
    assert!(ledger.frames_queued > ledger.frames_delivered);
}

#[test]
fn bad_prices_come_among_good_ones_and_none_becomes_truth() {
    let sim = start(quick());
    let mut socket = prices(&sim);
    let mut table = Table::default();
    table.apply(&entries(&mut socket), true);
    sim.inject(FaultKind::BadPrices);
    let bad_frame = loop {
        let text = text(&mut socket);
        match serde_json::from_str::<Value>(&text) {
            Ok(_) => table.apply(&client::unwrap(&text), false),
            // The lone surrogate makes the whole document invalid to a strict parser.
            Err(_) => break text,
        }
    };
    for kind in BadEntry::ALWAYS {
        let Some(price) = kind.price_json() else { continue };
        assert_eq!(bad_frame.matches(&format!("\"p\":{price},")).count(), 2, "{}", kind.as_str());
    }
    // Repaired, it is an ordinary frame in which the bad entries fail one by one.
    table.apply(&client::unwrap(&bad_frame.replace("\\ud800", "")), false);
    took_effect(&sim, FaultKind::BadPrices);
    let poisoned = sim.ledger().poisoned;
    assert_eq!(poisoned.len(), 2 * BadEntry::ALWAYS.len());
    sim.quiesce();
    while !sim.wait_settled(Duration::ZERO) {
        table.apply(&entries(&mut socket), false);
    }
    let truth = sim.last_valid_prices();
    for _ in 0..4 {
        let frame = entries(&mut socket);
        for held in poisoned.iter().filter(|p| p.held_back) {
            assert!(frame.iter().all(|entry| entry["s"] != held.symbol.as_str()), "{}", held.symbol);
        }
        table.apply(&frame, false);
    }
    assert_eq!(table.prices(), truth);
    let ledger = sim.ledger();
    assert_eq!(ledger.bad_total(), 24);
    assert!(ledger.bad_delivered.values().all(|&count| count == 2), "{:?}", ledger.bad_delivered);
    assert_eq!(ledger.entries_delivered, ledger.valid_delivered + ledger.other_market_delivered + 24);
}

#[test]
fn narrow_columns_add_a_price_that_would_round_to_zero() {
    let sim = start(SimConfig { narrow_columns: true, ..quick() });
    let mut socket = prices(&sim);
    entries(&mut socket);
    sim.inject(FaultKind::BadPrices);
    while !text(&mut socket).contains("\"p\":\"0.000000001\"") {}
    wait(&sim, "the count", |ledger| ledger.bad_delivered.get("column_rounds") == Some(&2));
}

#[test]
fn oversize_announces_more_than_four_mebibytes_and_streams_it() {
    let sim = start(quick());
    let mut socket = prices(&sim);
    socket.set_config(|config| config.max_frame_size = Some(4 << 20));
    entries(&mut socket);
    sim.inject(FaultKind::Oversize);
    match end(&mut socket) {
        Error::Capacity(tungstenite::error::CapacityError::MessageTooLong { size, .. }) => assert_eq!(size, 5 << 20),
        other => panic!("{other}"),
    }
    took_effect(&sim, FaultKind::Oversize);
    // One that takes it finds the stream go on behind it.
    let mut patient = prices(&sim);
    drop(socket);
    wait(&sim, "the first to end", |ledger| ledger.connections[0].ended.is_some());
    entries(&mut patient);
    sim.inject(FaultKind::Oversize);
    while text(&mut patient).len() != 5 << 20 {}
    entries(&mut patient);
}

#[test]
fn a_ping_flood_is_200_different_pings_and_their_echo_is_no_offence() {
    let (sim, mut socket) = struck(FaultKind::PingFlood);
    let mut pings = Vec::new();
    while pings.len() < 200 {
        if let Message::Ping(payload) = socket.read().unwrap() {
            pings.push(payload);
            socket.flush().unwrap();
        }
    }
    pings.sort();
    pings.dedup();
    assert_eq!(pings.len(), 200);
    let ledger = wait(&sim, "the echoes", |ledger| ledger.pongs_matched > 0);
    assert_eq!((ledger.pongs_unsolicited, ledger.pings_sent), (0, 200));
    entries(&mut socket);
    took_effect(&sim, FaultKind::PingFlood);
}

#[test]
fn glued_frames_come_with_the_101() {
    let (sim, mut socket) = struck(FaultKind::GluedFrames);
    end(&mut socket);
    let mut stream = tls(&sim);
    let request = "GET /market/ws/!markPrice@arr@1s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    // One write is one run of TLS records, so what can be read at once shows what was written together.
    let mut first = vec![0; 16 << 10];
    let len = stream.read(&mut first).unwrap();
    let head_len = first[..len].windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    assert!(first.starts_with(b"HTTP/1.1 101 "));
    assert!(first[..head_len].windows(28).any(|w| w == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(first[head_len..len].starts_with(&[0x81, 126]), "{:?}", &first[head_len..len.min(head_len + 8)]);
    assert!(first[head_len + 4..len].starts_with(br#"[{"e":"markPriceUpdate""#));
    took_effect(&sim, FaultKind::GluedFrames);
    // And a library that copes gets a whole frame of it.
    let (sim, mut socket) = struck(FaultKind::GluedFrames);
    end(&mut socket);
    let mut again = prices(&sim);
    assert_eq!(entries(&mut again).len(), 124);
    took_effect(&sim, FaultKind::GluedFrames);
}

#[test]
fn a_fragmented_message_is_whole_in_the_end_with_pings_between() {
    let (sim, mut socket) = struck(FaultKind::Fragmented);
    let mut pings = 0;
    while pings < 4 {
        match socket.read().unwrap() {
            Message::Ping(payload) => {
                assert!(payload.starts_with(b"between "));
                pings += 1;
            }
            Message::Text(_) => assert_eq!(pings, 0, "a message came to its end between the pings"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(entries(&mut socket).len(), 124);
    took_effect(&sim, FaultKind::Fragmented);
}

#[test]
fn refusals_have_their_status_and_are_over_after_one() {
    for status in [451, 403, 503] {
        let kind = FaultKind::RefuseUpgrade { status };
        let (sim, mut socket) = struck(kind);
        end(&mut socket);
        let target = format!("/market/ws/{ALL}");
        assert_eq!(try_open(&sim, &target).err(), Some(status));
        open(&sim, &target);
        let ledger = sim.ledger();
        assert_eq!((ledger.upgrades, ledger.upgrades_refused, ledger.faults[kind.as_str()]), (2, 1, 1));
    }
}

#[test]
fn a_fault_at_the_door_meets_whoever_comes_next() {
    let sim = start(quick());
    for round in 0..20 {
        sim.inject(FaultKind::RefuseUpgrade { status: 418 });
        assert_eq!(try_open(&sim, "/market/ws").err(), Some(418), "{round}");
    }
    open(&sim, "/market/ws");
}

#[test]
fn a_refused_connect_finds_nobody_and_then_somebody() {
    let kind = FaultKind::RefuseConnect { lasts: Duration::from_millis(1_500) };
    let (sim, mut socket) = struck(kind);
    end(&mut socket);
    let refused = try_tls(&sim).err().map(|e| e.kind());
    assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
    took_effect(&sim, kind);
    let deadline = Instant::now() + client::PATIENCE;
    while try_tls(&sim).is_err() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    entries(&mut prices(&sim));
}

#[test]
fn a_slow_handshake_is_slow_once() {
    let delay = Duration::from_millis(500);
    let kind = FaultKind::SlowHandshake { delay };
    let (sim, mut socket) = struck(kind);
    end(&mut socket);
    let started = Instant::now();
    let mut slow = prices(&sim);
    assert!(started.elapsed() >= delay, "{:?}", started.elapsed());
    entries(&mut slow);
    took_effect(&sim, kind);
}

#[test]
fn half_a_frame_and_then_the_end() {
    let (sim, mut socket) = struck(FaultKind::HalfFrame);
    assert!(matches!(end(&mut socket), Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)));
    took_effect(&sim, FaultKind::HalfFrame);
    ended(&sim, FaultKind::HalfFrame);
    let ledger = sim.ledger();
    assert_eq!(ledger.frames_delivered + 1, ledger.frames_queued);
}

#[test]
fn frames_are_empty_doubled_thinned_or_old() {
    let (sim, mut socket) = struck(FaultKind::EmptyArray);
    while text(&mut socket) != r#"{"stream":"!markPrice@arr@1s","data":[]}"# {}
    sim.inject(FaultKind::DuplicateFrame);
    let mut last = text(&mut socket);
    loop {
        let next = text(&mut socket);
        if next == last {
            break;
        }
        last = next;
    }
    wait(&sim, "the double to be stale", |ledger| ledger.stale_delivered == 120);
    sim.inject(FaultKind::MissingSymbols);
    let thin = loop {
        let frame = entries(&mut socket);
        if !matches!(frame.len(), 20 | 124) {
            break frame;
        }
    };
    assert!((40..110).contains(&thin.len()), "{}", thin.len());
    let stale = sim.ledger().stale_delivered;
    sim.inject(FaultKind::OldFrame);
    let mut newest = 0;
    loop {
        let event_ms = entries(&mut socket)[0]["E"].as_i64().unwrap();
        if event_ms < newest {
            break;
        }
        newest = event_ms;
    }
    let ledger = wait(&sim, "four faults", |ledger| ledger.faults_total() == 4);
    assert!(ledger.stale_delivered > stale);
}

#[test]
fn a_fault_waits_until_somebody_has_had_a_frame() {
    let sim = start(quick());
    sim.inject(FaultKind::Cut);
    sim.inject(FaultKind::EmptyArray);
    wait(&sim, "both to wait", |ledger| ledger.faults_waiting == 2);
    let mut socket = prices(&sim);
    assert!(!entries(&mut socket).is_empty());
    end(&mut socket);
    let mut socket = prices(&sim);
    let mut frames = 0;
    while !entries(&mut socket).is_empty() {
        frames += 1;
    }
    assert!(frames > 0);
    wait(&sim, "none to wait", |ledger| ledger.faults_waiting == 0 && ledger.faults_total() == 2);
}

#[test]
fn a_client_that_reconnects_through_a_whole_script_ends_with_the_truth() {
    let steps = FaultKind::ALL.into_iter().enumerate().map(|(at, kind)| {
        let kind = match kind {
            FaultKind::Stall { .. } => FaultKind::Stall { lasts: Duration::from_millis(300) },
            FaultKind::RefuseConnect { .. } => FaultKind::RefuseConnect { lasts: Duration::from_millis(200) },
            FaultKind::SlowHandshake { .. } => FaultKind::SlowHandshake { delay: Duration::from_millis(200) },
            kind => kind,
        };
        (Duration::from_millis(50 * at as u64), kind)
    });
    let script = Script::new(steps.collect());
    let sim = start(quick());
    sim.run_script(script);
    let mut table = Table::default();
    let deadline = Instant::now() + 3 * client::PATIENCE;
    let mut quiet = false;
    'connections: loop {
        assert!(Instant::now() < deadline, "{:?}", sim.ledger());
        let Ok(stream) = try_tls(&sim) else { continue };
        let url = format!("{}/market/stream?streams={ALL}", sim.stream_base());
        let Ok((mut socket, _)) = tungstenite::client(url, stream) else { continue };
        socket.set_config(|config| config.max_frame_size = Some(4 << 20));
        let mut fresh = 2;
        while let Ok(message) = socket.read() {
            assert!(Instant::now() < deadline, "{:?}", sim.ledger());
            let Message::Text(text) = message else {
                let _ = socket.flush();
                continue;
            };
            let text = text.as_str().replace("\\ud800", "");
            if serde_json::from_str::<Value>(&text).is_err() {
                continue;
            }
            let frame = client::unwrap(&text);
            table.apply(&frame, fresh > 0);
            fresh -= i32::from(fresh > 0);
            let ledger = sim.ledger();
            if !quiet && ledger.faults_total() == FaultKind::ALL.len() as u64 {
                quiet = true;
                sim.quiesce();
            }
            if quiet
                && sim.wait_settled(Duration::ZERO)
                && frame[0]["E"].as_i64() >= ledger.connections.back().unwrap().event_ms_delivered
            {
                break 'connections;
            }
        }
    }
    assert_eq!(table.prices(), sim.last_valid_prices());
    let ledger = sim.ledger();
    for kind in FaultKind::ALL {
        assert_eq!(ledger.faults.get(kind.as_str()), Some(&1), "{kind}");
    }
    sim.stop();
}
