//! Each fault of an account on the wire, and that it meets no other account.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use kraite_streams::sim::{AccountFault, Ending, Fate, LifeKind, Missed, Script, SimHandle, VenueFault};
use serde_json::Value;
use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

use super::private_client::{
    EVENTS, PATIENCE, Socket, drain, end, listed, listen, names, open, quiet, recorded, start, text, try_open,
    wait_account,
};

const SOON: Duration = Duration::from_millis(150);

/// A simulator with a client on account 0 and another on account 1, and this fault on account 0.
fn struck(fault: AccountFault) -> (SimHandle, Socket, Socket, String) {
    let sim = start(quiet());
    let (socket, key) = listen(&sim, 0);
    let (other, _) = listen(&sim, 1);
    sim.inject(fault.on(0));
    sim.sync();
    assert_eq!(sim.account_ledger(0).faults.get(fault.as_str()), Some(&1), "it took effect");
    (sim, socket, other, key)
}

/// The connection of account 0 ends with the fault, and account 1 is served as before.
fn ended(sim: &SimHandle, other: &mut Socket, fault: AccountFault) {
    let ledger = wait_account(sim, 0, fault.as_str(), |ledger| ledger.sessions[0].ended.is_some());
    assert_eq!(ledger.sessions[0].ended.unwrap().1, Ending::AccountFault(fault));
    sim.run_life(1, LifeKind::Leverage);
    text(other);
    let other = sim.account_ledger(1);
    assert_eq!((other.sessions[0].ended, other.faults.len()), (None, 0));
}

fn is_broken(error: &Error) -> bool {
    matches!(error, Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))
}

#[test]
fn the_end_of_a_connection() {
    let (sim, mut socket, mut other, _) = struck(AccountFault::Cut);
    assert!(is_broken(&end(&mut socket)));
    ended(&sim, &mut other, AccountFault::Cut);

    let (sim, mut socket, mut other, _) = struck(AccountFault::HalfFrame);
    assert!(is_broken(&end(&mut socket)));
    ended(&sim, &mut other, AccountFault::HalfFrame);
    let ledger = sim.account_ledger(0);
    assert!(ledger.deliveries.is_empty() && ledger.missed_count(Missed::Lost) == ledger.frames.len());

    let (sim, mut socket, mut other, _) = struck(AccountFault::Close);
    let Ok(Message::Close(Some(frame))) = socket.read() else { panic!("a close frame") };
    assert_eq!(frame.code, CloseCode::Away);
    end(&mut socket);
    ended(&sim, &mut other, AccountFault::Close);
}

#[test]
fn garbage_where_a_frame_or_a_record_should_start() {
    let (sim, mut socket, mut other, _) = struck(AccountFault::Garbage);
    assert!(matches!(end(&mut socket), Error::Protocol(ProtocolError::NonZeroReservedBits)));
    sim.run_life(0, LifeKind::Leverage);
    sim.sync();
    assert_eq!(sim.account_ledger(0).missed_count(Missed::Blocked), 1);
    drop(socket);
    ended(&sim, &mut other, AccountFault::Garbage);

    let (sim, mut socket, mut other, _) = struck(AccountFault::TlsGarbage);
    assert!(matches!(end(&mut socket), Error::Io(e) if e.kind() == ErrorKind::InvalidData));
    drop(socket);
    ended(&sim, &mut other, AccountFault::TlsGarbage);
}

#[test]
fn an_oversize_frame_is_more_than_a_mebibyte() {
    let (_sim, mut socket, ..) = struck(AccountFault::Oversize);
    socket.set_config(|config| config.max_frame_size = Some(1 << 20));
    match end(&mut socket) {
        Error::Capacity(CapacityError::MessageTooLong { size, .. }) => assert_eq!(size, 5 << 18),
        other => panic!("{other}"),
    }
}

#[test]
fn a_flood_comes_whole_and_in_order() {
    let (sim, mut socket, mut other, key) = struck(AccountFault::Flood { frames: 3_000 });
    let texts: Vec<_> = (0..3_000).map(|_| recorded(&text(&mut socket), &key)).collect();
    assert!(sim.wait_delivered(PATIENCE));
    assert!(sim.account_ledger(0).judge(texts.iter().map(Vec::as_slice), &[]).is_clean());
    sim.run_life(1, LifeKind::Leverage);
    text(&mut other);

    let (sim, mut socket, ..) = struck(AccountFault::PingFlood);
    for _ in 0..200 {
        assert!(matches!(socket.read(), Ok(Message::Ping(_))));
        socket.flush().unwrap();
    }
    sim.run_life(0, LifeKind::Leverage);
    text(&mut socket);
}

#[test]
fn a_malformed_frame_is_recorded_with_its_bytes_and_the_connection_lives_on() {
    let (sim, mut socket, _, key) = struck(AccountFault::Malformed);
    let texts = drain(&mut socket, SOON);
    assert!(serde_json::from_str::<Value>(&texts[0]).is_err(), "{}", texts[0]);
    let ledger = sim.account_ledger(0);
    let malformed = ledger.frames.iter().find(|frame| frame.event == "malformed").unwrap();
    assert_eq!(malformed.bytes.as_deref(), Some(recorded(&texts[0], &key).as_slice()));
    let kept: Vec<_> = texts.iter().map(|text| recorded(text, &key)).collect();
    assert!(ledger.judge(kept.iter().map(Vec::as_slice), &[]).is_clean());
    assert_eq!(ledger.sessions[0].ended, None);
}

#[test]
fn silence_is_half_open_nothing_is_read_and_nothing_is_written() {
    let fault = AccountFault::Silence { lasts: Duration::MAX };
    let (sim, mut socket, mut other, _) = struck(fault);
    sim.run_life(0, LifeKind::Leverage);
    socket.send(Message::Ping("alive?".into())).unwrap();
    assert_eq!(drain(&mut socket, 2 * SOON), [""; 0]);
    let ledger = sim.account_ledger(0);
    assert_eq!((ledger.missed_count(Missed::HalfOpen), ledger.sessions[0].ended), (1, None));
    drop(socket);
    ended(&sim, &mut other, fault);

    let fault = AccountFault::Silence { lasts: Duration::from_millis(300) };
    let (sim, mut socket, mut other, _) = struck(fault);
    assert!(is_broken(&end(&mut socket)));
    ended(&sim, &mut other, fault);
}

#[test]
fn a_mute_socket_answers_everything_and_delivers_nothing() {
    let (sim, mut socket, ..) = struck(AccountFault::Mute { lasts: Duration::from_millis(1_500) });
    sim.run_life(0, LifeKind::Leverage);
    assert_eq!(listed(&mut socket).len(), 10);
    socket.send(Message::Ping("alive".into())).unwrap();
    assert!(matches!(socket.read(), Ok(Message::Pong(_))));
    std::thread::sleep(Duration::from_millis(1_550));
    sim.run_life(0, LifeKind::Leverage);
    text(&mut socket);
    assert_eq!(sim.account_ledger(0).missed_count(Missed::Mute), 1);

    let sim = start(quiet());
    sim.inject(AccountFault::MuteNext.on(0));
    let (mut mute, _) = listen(&sim, 0);
    assert_eq!(listed(&mut mute).len(), 10);
    let (mut speaking, _) = listen(&sim, 0);
    sim.run_life(0, LifeKind::Leverage);
    text(&mut speaking);
    assert!(drain(&mut mute, SOON).is_empty());
}

#[test]
fn a_stall_holds_events_back_and_loses_none() {
    let lasts = Duration::from_millis(1_500);
    let sim = start(quiet());
    let (mut socket, _) = listen(&sim, 0);
    let started = Instant::now();
    sim.inject(AccountFault::Stall { lasts }.on(0));
    sim.run_life(0, LifeKind::Market);
    sim.sync();
    let held = sim.account_ledger(0);
    assert!(held.in_flight >= 4 && held.frames.iter().all(|frame| frame.fate == Fate::InFlight));
    text(&mut socket);
    assert!(started.elapsed() >= lasts, "{:?}", started.elapsed());
    assert!(sim.wait_delivered(PATIENCE));
    assert_eq!(drain(&mut socket, SOON).len() + 1, held.frames.len());
    // A connection that ends meanwhile takes them with it.
    sim.inject(AccountFault::Stall { lasts: Duration::MAX }.on(0));
    sim.run_life(0, LifeKind::Leverage);
    sim.sync();
    drop(socket);
    wait_account(&sim, 0, "the loss", |ledger| ledger.in_flight == 0 && ledger.missed_count(Missed::Lost) == 1);
}

#[test]
fn one_of_two_sockets_lags() {
    let delay = Duration::from_millis(500);
    let sim = start(quiet());
    let (mut prompt, _) = listen(&sim, 0);
    let (mut lagging, _) = listen(&sim, 0);
    sim.inject(AccountFault::Lag { delay }.on(0));
    for _ in 0..3 {
        let started = Instant::now();
        sim.run_life(0, LifeKind::Leverage);
        let first = text(&mut prompt);
        let ahead = started.elapsed();
        assert_eq!(text(&mut lagging), first);
        assert!(started.elapsed() >= delay && ahead < delay, "{ahead:?}");
    }
}

#[test]
fn the_next_upgrade_of_an_account_is_slow_or_refused() {
    let sim = start(quiet());
    let delay = Duration::from_millis(500);
    sim.inject(AccountFault::SlowHandshake { delay }.on(0));
    sim.inject(AccountFault::RefuseUpgrade { status: 503 }.on(0));
    let started = Instant::now();
    let (_other, _) = listen(&sim, 1);
    assert!(started.elapsed() < delay, "another account is not met");
    let key = super::private_client::post(&sim, 0);
    let target = format!("/private/ws?listenKey={key}&events={EVENTS}");
    assert_eq!(try_open(&sim, &target).err(), Some(503));
    let started = Instant::now();
    let mut slow = open(&sim, &target);
    assert!(started.elapsed() >= delay);
    sim.run_life(0, LifeKind::Leverage);
    text(&mut slow);
    assert_eq!(sim.ledger().connects_attempted, 3, "an upgrade that is answered late is one attempt");
}

#[test]
fn frames_come_twice_late_or_in_the_wrong_order() {
    for fault in [AccountFault::Duplicate, AccountFault::Replay, AccountFault::Reorder] {
        let sim = start(quiet());
        let (mut socket, key) = listen(&sim, 0);
        sim.run_life(0, LifeKind::Market);
        sim.inject(fault.on(0));
        assert!(sim.wait_delivered(PATIENCE));
        let texts: Vec<_> = drain(&mut socket, SOON).iter().map(|text| recorded(text, &key)).collect();
        let ledger = sim.account_ledger(0);
        let verdict = ledger.judge(texts.iter().map(Vec::as_slice), &[]);
        // The recorder has what was sent, as it was sent.
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!(verdict.repeated, u64::from(fault != AccountFault::Reorder));
        assert_eq!(texts.len(), ledger.deliveries.len());
        let numbers: Vec<_> = ledger.deliveries.iter().map(|delivery| delivery.frame).collect();
        assert_eq!(numbers.is_sorted(), fault == AccountFault::Duplicate, "{numbers:?}");
    }
}

#[test]
fn the_venue_goes_away_for_everybody() {
    let sim = start(quiet());
    let (mut one, _) = listen(&sim, 0);
    let (mut two, _) = listen(&sim, 1);
    sim.inject(VenueFault::RefuseConnects { lasts: Duration::from_millis(600) });
    sim.sync();
    let refused = super::client::try_tls(&sim).err().map(|e| e.kind());
    assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
    sim.run_life(0, LifeKind::Leverage);
    text(&mut one);
    sim.inject(VenueFault::Outage { lasts: Duration::from_millis(600) });
    assert!(is_broken(&end(&mut one)) && is_broken(&end(&mut two)));
    let deadline = Instant::now() + PATIENCE;
    while super::client::try_tls(&sim).is_err() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    let (mut again, _) = listen(&sim, 0);
    sim.run_life(0, LifeKind::Leverage);
    text(&mut again);
    assert_eq!(sim.ledger().faults["outage"], 1);
}

#[test]
fn faults_wait_for_a_connection_and_come_one_by_one() {
    let sim = start(quiet());
    sim.run_script(Script::new(vec![
        (Duration::ZERO, AccountFault::Cut.on(0)),
        (Duration::ZERO, AccountFault::Cut.on(0)),
        (Duration::from_millis(1), AccountFault::Close.on(0)),
    ]));
    wait_account(&sim, 0, "three to wait", |ledger| ledger.faults_waiting == 3);
    for _ in 0..3 {
        let (mut socket, _) = listen(&sim, 0);
        end(&mut socket);
    }
    let ledger = wait_account(&sim, 0, "none to wait", |ledger| ledger.faults_waiting == 0);
    assert_eq!((ledger.faults["cut"], ledger.faults["close"]), (2, 1));
    let (mut socket, _) = listen(&sim, 0);
    sim.run_life(0, LifeKind::Filled);
    assert!(names(&[text(&mut socket)])[0].starts_with("ORDER"));
}

#[test]
fn a_deaf_connection_delivers_and_reads_nothing() {
    let fault = AccountFault::Deaf { lasts: Duration::from_millis(1_500) };
    let (sim, mut socket, ..) = struck(fault);
    let started = Instant::now();
    socket.send(Message::Ping("heard?".into())).unwrap();
    sim.run_life(0, LifeKind::Leverage);
    assert!(text(&mut socket).contains("ACCOUNT_CONFIG_UPDATE"));
    assert!(matches!(socket.read(), Ok(Message::Pong(_))));
    assert!(started.elapsed() >= Duration::from_millis(1_200), "{:?}", started.elapsed());
    // A client that gives up is not waited for.
    let (sim, socket, ..) = struck(AccountFault::Deaf { lasts: Duration::MAX });
    drop(socket);
    wait_account(&sim, 0, "its end", |ledger| ledger.sessions[0].ended.is_some());
}

#[test]
fn on_a_lagging_connection_replies_come_behind_the_events_before_them() {
    let delay = Duration::from_millis(700);
    let sim = start(quiet());
    let (mut socket, _) = listen(&sim, 0);
    sim.inject(AccountFault::Lag { delay }.on(0));
    sim.sync();
    let started = Instant::now();
    sim.run_life(0, LifeKind::Leverage);
    sim.sync();
    socket.send(Message::Text(r#"{"method":"LIST_SUBSCRIPTIONS","id":9}"#.into())).unwrap();
    socket.send(Message::Ping("late".into())).unwrap();
    assert!(text(&mut socket).contains("ACCOUNT_CONFIG_UPDATE"));
    assert!(text(&mut socket).contains("\"id\":9"));
    assert!(matches!(socket.read(), Ok(Message::Pong(_))));
    assert!(started.elapsed() >= delay);
}

#[test]
fn a_numb_key_is_in_order_in_all_but_events() {
    let sim = start(quiet());
    let (mut socket, key) = listen(&sim, 0);
    sim.inject(AccountFault::NumbKey.on(0));
    sim.run_life(0, LifeKind::Leverage);
    assert_eq!(listed(&mut socket).len(), 10);
    let api_key = &sim.accounts()[0].api_key;
    let put = super::private_client::request(&sim, "PUT", "/fapi/v1/listenKey", Some(api_key));
    assert_eq!(put.key(), key);
    let (mut other, fresh) = listen(&sim, 0);
    assert_ne!(fresh, key);
    sim.run_life(0, LifeKind::Leverage);
    text(&mut other);
    assert!(drain(&mut socket, SOON).is_empty());
    assert_eq!(sim.account_ledger(0).missed_count(Missed::DeadKey), 1);
}

#[test]
fn a_key_that_is_changed_without_grace_is_unknown_at_once() {
    for lists_dead_keys in [true, false] {
        let sim = start(super::private_client::with(|accounts| accounts.lists_dead_keys = lists_dead_keys));
        let (mut socket, key) = listen(&sim, 0);
        sim.inject(AccountFault::RotateKey { grace: Duration::ZERO }.on(0));
        let api_key = &sim.accounts()[0].api_key;
        let put = super::private_client::request(&sim, "PUT", "/fapi/v1/listenKey", Some(api_key));
        assert_ne!(put.key(), key);
        // What was asked for while it lived is a matter of the setting; what is asked for now is not.
        assert_eq!(!listed(&mut socket).is_empty(), lists_dead_keys);
        let mut late = open(&sim, &format!("/private/ws?listenKey={key}&events={EVENTS}"));
        assert_eq!(listed(&mut late), [""; 0]);
        sim.run_life(0, LifeKind::Leverage);
        assert!(drain(&mut socket, SOON).is_empty());
    }
}
