//! Private sockets: spellings, wrappers, filters, replies, limits.

use std::time::{Duration, Instant};

use kraite_streams::sim::{
    AccountsConfig, ConnectLimit, ConnectRefusal, Ending, LifeKind, Missed, PrivateSpelling, SimConfig, SimHandle,
    SpellingAnswer, Spellings,
};
use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

use super::private_client::{
    EVENTS, Socket, drain, end, listed, listen, names, open, post, quiet, recorded, say, start, text, try_open, wait,
    wait_account, with,
};

const SOON: Duration = Duration::from_millis(150);

fn target(spelling: PrivateSpelling, key: &str) -> String {
    match spelling {
        PrivateSpelling::Path => format!("/private/ws/{key}"),
        PrivateSpelling::Query => format!("/private/ws?listenKey={key}"),
        PrivateSpelling::QueryEvents => format!("/private/ws?listenKey={key}&events={EVENTS}"),
        PrivateSpelling::Stream => format!("/private/stream?streams={key}"),
        PrivateSpelling::StreamEvents => format!("/private/stream?listenKey={key}&events={EVENTS}"),
    }
}

fn fixture(name: &str, key: &str) -> Value {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let synthetic = "SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA";
    assert!(text.contains(synthetic));
    serde_json::from_str(&text.replace(synthetic, key)).unwrap()
}

fn code(message: Option<Message>) -> Option<CloseCode> {
    match message {
        Some(Message::Close(Some(frame))) => Some(frame.code),
        _ => None,
    }
}

fn last(socket: &mut Socket) -> Option<Message> {
    std::iter::from_fn(|| socket.read().ok()).last()
}

#[test]
fn every_spelling_delivers_in_its_own_wrapping() {
    let sim = start(quiet());
    let key = post(&sim, 0);
    let mut sockets: Vec<_> = PrivateSpelling::ALL.into_iter().map(|s| (s, open(&sim, &target(s, &key)))).collect();
    sim.run_life(0, LifeKind::Leverage);
    let mut bare = Vec::new();
    for (spelling, socket) in &mut sockets {
        let frame = text(socket);
        let name = match spelling {
            PrivateSpelling::Stream => Some(key.clone()),
            PrivateSpelling::StreamEvents => Some(format!("{key}@ACCOUNT_CONFIG_UPDATE")),
            _ => None,
        };
        match name {
            Some(name) => assert!(frame.starts_with(&format!("{{\"stream\":\"{name}\",\"data\":{{\"e\":"))),
            None => assert!(frame.starts_with("{\"e\":\"ACCOUNT_CONFIG_UPDATE\"")),
        }
        bare.push(recorded(&frame, &key));
        let reply = match spelling {
            PrivateSpelling::QueryEvents | PrivateSpelling::StreamEvents => "list_subscriptions_reply_key_events.json",
            _ => "list_subscriptions_reply_key.json",
        };
        assert_eq!(json!(listed(socket)), fixture(reply, &key)["result"], "{spelling:?}");
    }
    assert!(bare.iter().all(|one| *one == bare[0]));
    let ledger = wait_account(&sim, 0, "five deliveries", |ledger| ledger.deliveries.len() == 5);
    assert_eq!(ledger.frames.len(), 1);
    assert!(ledger.sessions.iter().map(|session| session.spelling).eq(PrivateSpelling::ALL));
    assert!(ledger.judge([bare[0].as_slice()], &[]).is_clean());
    // A type that nobody knows yet passes where no list of events is given.
    sim.run_life(0, LifeKind::Unknown);
    sim.sync();
    for (spelling, socket) in &mut sockets {
        let filtered = matches!(spelling, PrivateSpelling::QueryEvents | PrivateSpelling::StreamEvents);
        assert_eq!(drain(socket, SOON).len(), usize::from(!filtered), "{spelling:?}");
    }
}

#[test]
fn a_list_of_events_is_a_filter() {
    let sim = start(quiet());
    let key = post(&sim, 0);
    let mut socket = open(&sim, &format!("/private/ws?listenKey={key}&events=TRADE_LITE%2FNO_SUCH_EVENT"));
    assert_eq!(listed(&mut socket), [format!("{key}@TRADE_LITE")]);
    sim.run_life(0, LifeKind::Market);
    assert!(sim.wait_delivered(SOON));
    let texts = drain(&mut socket, SOON);
    assert!(!texts.is_empty() && names(&texts).iter().all(|name| name == "TRADE_LITE"), "{texts:?}");
    let ledger = sim.account_ledger(0);
    assert_eq!(ledger.missed_count(Missed::Filtered), ledger.frames.len() - texts.len());
    let kept: Vec<_> = texts.iter().map(|text| recorded(text, &key)).collect();
    assert!(ledger.judge(kept.iter().map(Vec::as_slice), &[]).is_clean());
    assert_eq!(try_open(&sim, &format!("/private/ws?listenKey={key}&events=TRADE_LITE,ALGO_UPDATE")).err(), Some(400));
}

#[test]
fn spellings_that_do_not_deliver_are_silent_each_in_its_way() {
    let only = Spellings::only(&[PrivateSpelling::Stream], SpellingAnswer::Silent)
        .with(PrivateSpelling::Query, SpellingAnswer::Acknowledges)
        .with(PrivateSpelling::StreamEvents, SpellingAnswer::Refused(400));
    let sim = start(with(|accounts| accounts.spellings = only));
    let key = post(&sim, 0);
    let open = |spelling| open(&sim, &target(spelling, &key));
    let (mut silent, mut acknowledged) = (open(PrivateSpelling::Path), open(PrivateSpelling::Query));
    assert_eq!(listed(&mut silent), [""; 0]);
    assert_eq!(listed(&mut acknowledged), [key.as_str()]);
    assert_eq!(try_open(&sim, &target(PrivateSpelling::StreamEvents, &key)).err(), Some(400));
    sim.run_life(0, LifeKind::Leverage);
    sim.sync();
    assert_eq!(sim.account_ledger(0).missed_count(Missed::SilentSpelling), 1);
    let mut delivering = open(PrivateSpelling::Stream);
    sim.run_life(0, LifeKind::Leverage);
    text(&mut delivering);
    assert!(drain(&mut silent, SOON).is_empty() && drain(&mut acknowledged, SOON).is_empty());
    sim.set_spellings(Spellings::default());
    sim.run_life(0, LifeKind::Leverage);
    assert_eq!(text(&mut silent), text(&mut acknowledged));
}

#[test]
fn bogus_keys_connect_and_deliver_nothing() {
    for lists in [false, true] {
        let sim = start(with(|accounts| accounts.lists_unknown_keys = lists));
        let mut socket = open(&sim, "/private/ws/NOBODYSKEY");
        let mut legacy = open(&sim, &format!("/ws/{}", post(&sim, 0)));
        assert_eq!(listed(&mut socket), vec!["NOBODYSKEY"; usize::from(lists)]);
        sim.run_life(0, LifeKind::Leverage);
        sim.sync();
        assert!(drain(&mut socket, SOON).is_empty() && drain(&mut legacy, SOON).is_empty());
        assert_eq!(sim.account_ledger(0).missed_count(Missed::NobodyListened), 1);
        let shown = format!("{:?}", sim.ledger());
        assert!(!sim.secrets().iter().any(|secret| shown.contains(secret.as_str())), "{shown}");
    }
}

#[test]
fn subscriptions_come_and_go_on_a_stream_connection() {
    let sim = start(quiet());
    let (a, b) = (post(&sim, 0), post(&sim, 1));
    let mut socket = open(&sim, "/private/stream");
    say(&mut socket, &json!({"method": "SUBSCRIBE", "params": [a, format!("{b}@ACCOUNT_CONFIG_UPDATE")], "id": 1}));
    assert_eq!(text(&mut socket), r#"{"result":null,"id":1}"#);
    assert_eq!(listed(&mut socket), [a.clone(), format!("{b}@ACCOUNT_CONFIG_UPDATE")]);
    sim.run_life(0, LifeKind::Leverage);
    sim.run_life(1, LifeKind::Leverage);
    let streams = [text(&mut socket), text(&mut socket)].map(|text| {
        let value: Value = serde_json::from_str(&text).unwrap();
        value["stream"].as_str().unwrap().to_owned()
    });
    assert_eq!(streams, [a.clone(), format!("{b}@ACCOUNT_CONFIG_UPDATE")]);
    say(&mut socket, &json!({"method": "UNSUBSCRIBE", "params": [a], "id": 2}));
    assert_eq!(text(&mut socket), r#"{"result":null,"id":2}"#);
    sim.run_life(0, LifeKind::Leverage);
    sim.run_life(1, LifeKind::Leverage);
    assert!(text(&mut socket).contains(&b));
    assert_eq!(sim.account_ledger(0).missed_count(Missed::NobodyListened), 1);
    // Two keys in one query.
    let query = format!("listenKey={a}&events=TRADE_LITE&listenKey={b}&events=ALGO_UPDATE");
    let mut both = open(&sim, &format!("/private/stream?{query}"));
    assert_eq!(listed(&mut both), [format!("{a}@TRADE_LITE"), format!("{b}@ALGO_UPDATE")]);
}

#[test]
fn two_sockets_on_one_key_both_receive_every_event() {
    let sim = start(quiet());
    let (mut one, key) = listen(&sim, 0);
    let (mut two, same) = listen(&sim, 0);
    assert_eq!(key, same);
    sim.run_life(0, LifeKind::AlgoTriggered);
    assert!(sim.wait_delivered(SOON));
    let (from_one, from_two) = (drain(&mut one, SOON), drain(&mut two, SOON));
    assert_eq!(from_one, from_two);
    assert_eq!(
        names(&from_one),
        [
            "ALGO_UPDATE",
            "ALGO_UPDATE",
            "ALGO_UPDATE",
            "ORDER_TRADE_UPDATE",
            "TRADE_LITE",
            "ACCOUNT_UPDATE",
            "ORDER_TRADE_UPDATE",
            "ALGO_UPDATE"
        ]
    );
    let last: Value = serde_json::from_str(&from_one[7]).unwrap();
    let order: u64 = last["o"]["ai"].as_str().unwrap().parse().unwrap();
    let book = sim.account_book(0);
    assert_eq!((book.orders[&order].status, last["o"]["X"].as_str()), ("FILLED", Some("FINISHED")));
    assert_eq!(book.orders[&order].algo_id, last["o"]["aid"].as_u64());
}

#[test]
fn more_than_five_messages_in_a_second_end_with_1008() {
    let sim = start(quiet());
    let (mut socket, _) = listen(&sim, 0);
    for id in 0..6 {
        say(&mut socket, &json!({"method": "LIST_SUBSCRIPTIONS", "id": id}));
    }
    assert_eq!(code(last(&mut socket)), Some(CloseCode::Policy));
    let ledger = wait_account(&sim, 0, "the end", |ledger| ledger.sessions[0].ended.is_some());
    assert_eq!(ledger.sessions[0].ended.unwrap().1, Ending::RateLimited);
    // Spread out, as many are welcome.
    let (mut socket, _) = listen(&sim, 0);
    for _ in 0..6 {
        listed(&mut socket);
        std::thread::sleep(Duration::from_millis(250));
    }
}

#[test]
fn one_connect_too_many_is_refused_as_configured() {
    let limited = |refusal| {
        let limit = ConnectLimit { attempts: 2, window: Duration::from_millis(3_000), refusal };
        start(SimConfig { connects: Some(limit), ..quiet() })
    };
    let full = |sim: &SimHandle| {
        let sockets = [open(sim, "/private/ws/A"), open(sim, "/market/ws")];
        assert_eq!(sim.ledger().connects_in_window_max, 2);
        sockets
    };
    let sim = limited(ConnectRefusal::Status(429));
    let _kept = full(&sim);
    let started = Instant::now();
    assert_eq!(try_open(&sim, "/private/ws/A").err(), Some(429));
    // A client that waits is let in.
    std::thread::sleep(Duration::from_millis(3_100).saturating_sub(started.elapsed()));
    open(&sim, "/private/ws/A");
    let ledger = sim.ledger();
    assert_eq!((ledger.connects_attempted, ledger.connects_refused), (4, 1));
    let sim = limited(ConnectRefusal::Close1008);
    let _kept = full(&sim);
    let mut socket = open(&sim, "/private/ws/A");
    assert_eq!(code(last(&mut socket)), Some(CloseCode::Policy));
    wait(&sim, "the end", |ledger| ledger.connections.back().unwrap().ended == Some(Ending::ConnectLimit));
    let sim = limited(ConnectRefusal::Hangup);
    let _kept = full(&sim);
    let url = format!("{}/private/ws/A", sim.stream_base());
    assert!(tungstenite::client(url, super::client::tls(&sim)).is_err());
    assert_eq!(sim.ledger().connects_refused, 1);
}

#[test]
fn a_connection_is_cut_at_the_end_of_its_life() {
    let sim = start(SimConfig { connection_lifetime: Duration::from_millis(1_000), ..quiet() });
    let started = Instant::now();
    let (mut socket, _) = listen(&sim, 0);
    assert!(matches!(end(&mut socket), tungstenite::Error::Io(_) | tungstenite::Error::Protocol(_)));
    assert!(started.elapsed() >= Duration::from_millis(1_000), "{:?}", started.elapsed());
    let ledger = wait_account(&sim, 0, "the end", |ledger| ledger.sessions[0].ended.is_some());
    assert_eq!(ledger.sessions[0].ended.unwrap().1, Ending::Lifetime);
}

#[test]
fn hundreds_of_idle_sockets_do_not_slow_one_that_is_busy() {
    let accounts = AccountsConfig { count: 400, ..AccountsConfig::default() };
    let sim = start(SimConfig { accounts, connects: None, ..quiet() });
    let keys: Vec<_> = (0..400).map(|account| post(&sim, account)).collect();
    let mut idle: Vec<_> = keys[1..].iter().map(|key| open(&sim, &target(PrivateSpelling::QueryEvents, key))).collect();
    assert_eq!(listed(&mut idle[398]).len(), 10);
    let mut busy = open(&sim, &target(PrivateSpelling::Path, &keys[0]));
    let started = Instant::now();
    for _ in 0..200 {
        sim.run_life(0, LifeKind::Leverage);
        text(&mut busy);
    }
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    wait_account(&sim, 0, "all of them", |ledger| ledger.deliveries.len() == 200);
    assert_eq!(sim.account_ledger(399).sessions.len(), 1);
}
