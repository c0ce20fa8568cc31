//! Without faults: frames, routes, control messages, pings, limits, REST, ledger.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use kraite_streams::sim::{Ending, SimConfig};
use serde_json::{Value, json};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

use super::client::{self, ALL, Table, end, entries, get, open, prices, quick, start, text, tls, try_open, wait};

#[test]
fn a_tick_is_two_frames_of_the_whole_list_a_millisecond_apart() {
    let sim = start(SimConfig { tick: Duration::from_millis(100), ..SimConfig::default() });
    let mut socket = prices(&sim);
    let first = text(&mut socket);
    assert!((120_000..180_000).contains(&first.len()), "{}", first.len());
    assert!(
        first.starts_with(r#"{"stream":"!markPrice@arr@1s","data":[{"e":"markPriceUpdate","E":"#),
        "{}",
        &first[..80]
    );
    let (ordinary, tradfi) = (client::unwrap(&first), entries(&mut socket));
    assert_eq!((ordinary.len(), tradfi.len()), (750, 200));
    assert_eq!(ordinary.iter().filter(|e| e["st"] == 2).count(), 30);
    let event = |frame: &[Value]| frame[0]["E"].as_i64().unwrap();
    assert!((1..50).contains(&(event(&tradfi) - event(&ordinary))));
    let next = entries(&mut socket);
    assert!(event(&next) > event(&tradfi));
    let changed = ordinary.iter().zip(&next).filter(|(a, b)| a["s"] == b["s"] && a["p"] != b["p"]).count();
    assert!(changed > 600, "{changed}");

    let mut bare = open(&sim, &format!("/market/ws/{ALL}"));
    assert!(text(&mut bare).starts_with(r#"[{"e":"markPriceUpdate""#));
}

#[test]
fn the_wrong_route_connects_and_stays_silent() {
    let sim = start(quick());
    let silent = ["/ws/!markPrice@arr@1s", "/stream?streams=!markPrice@arr@1s", "/public/ws/!markPrice@arr@1s"];
    let mut sockets: Vec<_> = silent.iter().map(|target| open(&sim, target)).collect();
    let ticks = sim.ledger().ticks;
    wait(&sim, "ten ticks", |ledger| ledger.ticks > ticks + 10);
    for socket in &mut sockets {
        let request = json!({"method": "SUBSCRIBE", "params": [ALL], "id": 7}).to_string();
        socket.send(Message::text(request)).unwrap();
        // The acknowledgement is the first thing that ever arrives.
        assert_eq!(text(socket), r#"{"result":null,"id":7}"#);
    }
    assert_eq!(sim.ledger().frames_queued, 0);
    for target in ["/", "/market/nothing", "/v1/ws"] {
        assert_eq!(try_open(&sim, target).err(), Some(404), "{target}");
        assert_eq!(get(&sim, target).0, 404);
    }
    assert_eq!(get(&sim, "/market/ws").0, 400);
}

#[test]
fn control_messages_are_answered_as_the_venue_does() {
    let sim = start(quick());
    let mut socket = open(&sim, "/market/ws");
    for (request, answer) in [
        (json!({"method": "LIST_SUBSCRIPTIONS", "id": 1}), json!({"result": [], "id": 1})),
        (json!({"method": "GET_PROPERTY", "params": ["combined"], "id": 2}), json!({"result": false, "id": 2})),
        (json!({"method": "SUBSCRIBE", "params": ["x"], "id": 3}), json!({"result": null, "id": 3})),
        (json!({"method": "LIST_SUBSCRIPTIONS", "id": 4}), json!({"result": ["x"], "id": 4})),
        (json!({"method": "UNSUBSCRIBE", "params": ["x"], "id": 5}), json!({"result": null, "id": 5})),
        (json!({"method": "LIST_SUBSCRIPTIONS", "id": 6}), json!({"result": [], "id": 6})),
        (json!({"method": "SET_PROPERTY", "params": ["combined", true], "id": 7}), json!({"result": null, "id": 7})),
    ] {
        socket.send(Message::text(request.to_string())).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text(&mut socket)).unwrap(), answer);
    }
    socket.send(Message::text(r#"{"method":"FOO","id":9}"#)).unwrap();
    let error: Value = serde_json::from_str(&text(&mut socket)).unwrap();
    assert_eq!((&error["error"]["code"], &error["id"]), (&json!(2), &json!(9)));
    assert!(error["error"]["msg"].as_str().unwrap().contains("unknown variant `FOO`"));
    socket.send(Message::text("not JSON")).unwrap();
    assert!(text(&mut socket).contains("Invalid JSON"));
    // The wrapper that was switched on is there once something is subscribed.
    socket.send(Message::text(json!({"method": "SUBSCRIBE", "params": [ALL], "id": 8}).to_string())).unwrap();
    assert!(text(&mut socket).contains("\"id\":8"));
    assert!(!entries(&mut socket).is_empty());
}

#[test]
fn server_pings_want_their_echo() {
    let ping_interval = Duration::from_millis(50);
    let sim = start(SimConfig { ping_interval, pong_deadline: Duration::from_millis(700), ..quick() });
    let mut socket = open(&sim, "/private/ws?listenKey=none");
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(900) {
        let Message::Ping(payload) = socket.read().unwrap() else { panic!("only pings here") };
        assert!(!payload.is_empty());
        socket.flush().unwrap();
    }
    let ledger = sim.ledger();
    assert!(ledger.pongs_matched >= 5 && ledger.pongs_unsolicited == 0, "{ledger:?}");
    assert!(ledger.pings_sent >= ledger.pongs_matched);
    // From here on nobody answers: what arrives is read past the library.
    let mut rest = Vec::new();
    let _ = socket.get_mut().read_to_end(&mut rest);
    let close = [&[0x88, 14, 0x03, 0xf0][..], b"Pong timeout"].concat();
    assert!(rest.ends_with(&close), "{}", rest.escape_ascii());
    wait(&sim, "the end", |ledger| ledger.connections[0].ended == Some(Ending::PongTimeout));
}

#[test]
fn a_client_ping_is_echoed_and_a_close_answered() {
    let sim = start(quick());
    let mut socket = open(&sim, "/market/ws");
    socket.send(Message::Ping("abc".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("abc".into()));
    socket.send(Message::Pong("unasked".into())).unwrap();
    socket.close(None).unwrap();
    assert!(matches!(end(&mut socket), Error::ConnectionClosed));
    let ledger = wait(&sim, "the end", |ledger| ledger.connections[0].ended.is_some());
    assert_eq!(ledger.connections[0].ended, Some(Ending::ClientClosed));
    assert_eq!((ledger.client_messages, ledger.pongs_unsolicited), (2, 1));
}

#[test]
fn more_than_ten_messages_a_second_end_with_1008() {
    let sim = start(quick());
    let mut socket = open(&sim, "/market/ws");
    for id in 0..11 {
        socket.send(Message::text(json!({"method": "LIST_SUBSCRIPTIONS", "id": id}).to_string())).unwrap();
    }
    let mut last = None;
    let mut answers = 0;
    while let Ok(message) = socket.read() {
        answers += usize::from(message.is_text());
        last = Some(message);
    }
    assert_eq!((code(last), answers), (Some(CloseCode::Policy), 10));
    wait(&sim, "the end", |ledger| ledger.connections[0].ended == Some(Ending::RateLimited));
}

#[test]
fn a_breach_of_the_protocol_is_told_from_a_lost_client() {
    let sim = start(quick());
    let mut breaching = open(&sim, "/market/ws");
    // An unmasked frame, which no client may send.
    breaching.get_mut().write_all(&[0x81, 0x01, b'x']).unwrap();
    let Ok(message) = breaching.read() else { panic!("a close frame first") };
    assert_eq!(code(Some(message)), Some(CloseCode::Protocol));
    drop(open(&sim, "/market/ws"));
    let ledger = wait(&sim, "both ends", |ledger| ledger.connections.iter().all(|c| c.ended.is_some()));
    assert_eq!(ledger.client_protocol_errors, 1);
    assert_eq!(ledger.connections[0].ended, Some(Ending::ClientProtocol));
    assert_eq!(ledger.connections[1].ended, Some(Ending::ClientGone));
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_others_are_not_delayed() {
    let sim = start(SimConfig { tick: Duration::from_millis(20), queue_max: 1 << 20, ..SimConfig::default() });
    let stuck = prices(&sim);
    let mut socket = prices(&sim);
    let deadline = Instant::now() + client::PATIENCE;
    while sim.ledger().connections[0].ended.is_none() {
        assert!(Instant::now() < deadline);
        entries(&mut socket);
    }
    let ledger = sim.ledger();
    assert_eq!(ledger.connections[0].ended, Some(Ending::SlowConsumer));
    assert!(ledger.connections[0].frames_delivered < ledger.connections[0].frames_queued);
    assert_eq!(ledger.connections[1].ended, None);
    drop(stuck);
}

#[test]
fn rest_serves_the_four_venues_on_one_kept_connection() {
    let sim = start(SimConfig::default());
    let (status, info) = get(&sim, "/fapi/v1/exchangeInfo");
    assert_eq!((status, info["symbols"].as_array().unwrap().len()), (200, 920));
    let mut stream = tls(&sim);
    let paths = [
        "/fapi/v1/time",
        "/fapi/v1/premiumIndex?symbol=BTCUSDT",
        "/v5/market/instruments-info?category=linear&limit=1000",
        "/api/v1/contracts/active",
        "/api/v2/mix/market/contracts?productType=USDT-FUTURES",
        "/nothing",
    ];
    for (path, status) in paths.iter().zip([200, 200, 200, 200, 200, 404]) {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
        let mut body = vec![0; len];
        stream.read_exact(&mut body).unwrap();
        assert!(status == 404 || serde_json::from_slice::<Value>(&body).is_ok(), "{path}");
    }
    assert_eq!(sim.ledger().rest_requests, 7);
}

#[test]
fn the_instruments_served_are_the_cross_listings() {
    let sim = start(SimConfig::default());
    let (_, active) = get(&sim, "/api/v1/contracts/active");
    let served: Vec<&str> = active["data"].as_array().unwrap().iter().map(|c| c["symbol"].as_str().unwrap()).collect();
    let listed: Vec<&str> = sim
        .cross_listings()
        .iter()
        .filter(|c| c.venue == kraite_streams::domain::Venue::Kucoin)
        .map(|c| c.symbol.as_str())
        .collect();
    assert_eq!(served, listed);
}

#[test]
fn the_ledger_is_exact_and_the_truth_is_what_the_client_holds() {
    let sim = start(quick());
    let mut socket = prices(&sim);
    let mut table = Table::default();
    let (mut frames, mut count) = (0, 0);
    let mut read = |socket: &mut client::Socket, table: &mut Table| {
        let frame = entries(socket);
        table.apply(&frame, false);
        frames += 1;
        count += frame.len() as u64;
        frames
    };
    while read(&mut socket, &mut table) < 20 {}
    sim.quiesce();
    let settling = std::thread::scope(|scope| {
        let settled = scope.spawn(|| sim.wait_settled(client::PATIENCE));
        while !settled.is_finished() {
            read(&mut socket, &mut table);
        }
        settled.join().unwrap()
    });
    assert!(settling);
    // Frames go on at the same prices, so reading what is still on its way changes nothing but the count.
    let truth = sim.last_valid_prices();
    let delivered = sim.ledger().frames_delivered;
    while read(&mut socket, &mut table) < delivered {}
    assert_eq!(truth.len(), 140);
    assert_eq!(table.prices(), truth);
    assert_eq!(truth, sim.last_valid_prices());
    drop(socket);
    let ledger = wait(&sim, "the end", |ledger| ledger.connections[0].ended.is_some());
    let one = &ledger.connections[0];
    assert!(frames <= one.frames_delivered && one.frames_delivered <= one.frames_queued);
    assert_eq!((ledger.frames_delivered, ledger.entries_delivered), (one.frames_delivered, one.entries_delivered));
    assert!(count <= ledger.entries_delivered);
    assert_eq!(ledger.entries_delivered, ledger.valid_delivered + ledger.other_market_delivered);
    assert_eq!((ledger.stale_delivered, ledger.bad_total(), ledger.faults_total()), (0, 0, 0));
}

#[test]
fn the_root_is_needed_and_can_be_written_to_a_file() {
    let sim = start(quick());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.pem");
    sim.write_ca(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), sim.ca_pem());
    // A root of another simulator does not vouch for this one.
    let other = start(quick());
    let mut stream = tls(&sim);
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mixed = client::try_tls_with_root(&sim, other.ca_pem()).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n");
    assert!(mixed.unwrap_err().to_string().contains("certificate"));
    wait(&sim, "the alert", |ledger| ledger.tls_failures == 1);
}

fn code(message: Option<Message>) -> Option<CloseCode> {
    match message {
        Some(Message::Close(Some(frame))) => Some(frame.code),
        _ => None,
    }
}
