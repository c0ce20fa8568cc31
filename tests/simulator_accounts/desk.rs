//! Listen keys by REST, request weight, bans.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kraite_streams::sim::{
    AccountFault, AccountsConfig, ExpiryNotice, LifeKind, Missed, SimConfig, VenueFault, WeightLimit,
};
use serde_json::json;

use super::private_client::{
    EVENTS, desk, drain, listed, listen, names, open, post, quiet, request, start, text, wait_account, with,
};

const PATH: &str = "/fapi/v1/listenKey";

#[test]
fn a_key_is_created_kept_and_deleted() {
    let sim = start(quiet());
    assert_eq!(desk(&sim, "PUT", 0).code(), (400, -1125));
    let key = post(&sim, 0);
    assert!(key.len() == 64 && key.starts_with("SYNTHETIClistenKey"));
    assert_eq!((post(&sim, 0), desk(&sim, "PUT", 0).key()), (key.clone(), key.clone()));
    assert_ne!(post(&sim, 1), key);
    let deleted = desk(&sim, "DELETE", 0);
    assert_eq!((deleted.status, deleted.body), (200, json!({})));
    assert_eq!(desk(&sim, "PUT", 0).code(), (400, -1125));
    assert_eq!(desk(&sim, "DELETE", 0).code(), (400, -1125));
    assert_ne!(post(&sim, 0), key);
    let ledger = sim.account_ledger(0);
    assert_eq!((ledger.posts, ledger.puts, ledger.deletes, ledger.key_errors), (3, 1, 1, 3));
}

#[test]
fn credentials_are_told_apart() {
    let sim = start(quiet());
    let known = sim.accounts()[0].api_key.clone();
    let unknown = "A".repeat(64);
    for (method, api_key, code) in [
        ("POST", None, (401, -2014)),
        ("POST", Some("short"), (401, -2014)),
        ("PUT", Some(unknown.as_str()), (401, -2015)),
        ("GET", Some(known.as_str()), (404, 0)),
    ] {
        assert_eq!(request(&sim, method, PATH, api_key).code(), code, "{method} {api_key:?}");
    }
    sim.set_revoked(0, true);
    let refused = desk(&sim, "POST", 0);
    assert_eq!(refused.code(), (401, -2015));
    assert!(refused.body["msg"].as_str().unwrap().ends_with("request ip: 127.0.0.1"));
    sim.set_revoked(0, false);
    post(&sim, 0);
    let added = sim.add_account().unwrap();
    assert_eq!((added.index, sim.accounts().len()), (3, 4));
    post(&sim, 3);
    assert_eq!(sim.secrets().len(), 4 * 2 + 2);
}

#[test]
fn weight_is_counted_then_refused_then_banned() {
    let weight = WeightLimit { per_minute: 30, refusals_before_ban: 2, ban: Duration::from_millis(1_500) };
    let sim = start(SimConfig { weight, ..quiet() });
    // A minute of the clock may end in between; then the count starts again.
    let mut used = 0;
    let refused = loop {
        let answer = desk(&sim, "POST", 0);
        let now = answer.used_weight();
        assert!(now == used + 1 || now == 1, "{used} → {now}");
        used = now;
        if answer.status != 200 {
            break answer;
        }
        assert!(used <= 30);
    };
    assert_eq!(refused.code(), (429, -1003));
    assert!(
        refused.body["msg"].as_str().unwrap().starts_with("Too many requests; current limit of IP(127.0.0.1) is 30")
    );
    let banned = loop {
        let answer = request(&sim, "GET", "/fapi/v1/premiumIndex", None);
        if answer.status == 418 {
            break answer;
        }
        assert!(answer.status == 429 || answer.used_weight() <= 30);
    };
    let msg = banned.body["msg"].as_str().unwrap();
    let until: u128 = msg.split("banned until ").nth(1).unwrap().split('.').next().unwrap().parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    assert!(until > now && until <= now + 1_500, "{msg}");
    let ledger = sim.ledger();
    assert!(ledger.rest_limited >= 1 && ledger.rest_banned == 1 && ledger.weight_in_minute_max > 30);
    // The other venues have budgets of their own.
    assert_eq!(request(&sim, "GET", "/api/v1/contracts/active", None).status, 200);
}

#[test]
fn the_venue_refuses_on_demand() {
    let sim = start(quiet());
    for (fault, code) in [
        (VenueFault::Ban { lasts: Duration::from_secs(600) }, (418, -1003)),
        (VenueFault::Ban { lasts: Duration::ZERO }, (200, 0)),
        (VenueFault::RateLimit { lasts: Duration::from_secs(600) }, (429, -1003)),
        (VenueFault::RateLimit { lasts: Duration::ZERO }, (200, 0)),
        (VenueFault::RestErrors { status: 503, lasts: Duration::from_secs(600) }, (503, -1008)),
        (VenueFault::RestErrors { status: 503, lasts: Duration::ZERO }, (200, 0)),
    ] {
        sim.inject(fault);
        sim.sync();
        assert_eq!(desk(&sim, "POST", 0).code(), code, "{fault:?}");
    }
    sim.inject(AccountFault::KeyError { status: 502, code: 0 }.on(0));
    sim.inject(AccountFault::KeyError { status: 400, code: -1000 }.on(0));
    sim.inject(AccountFault::KeyDelay { delay: Duration::from_millis(400) }.on(0));
    sim.sync();
    assert_eq!(sim.account_ledger(0).faults_waiting, 3);
    let started = Instant::now();
    assert_eq!(desk(&sim, "PUT", 0).code(), (502, 0));
    assert!(started.elapsed() >= Duration::from_millis(400));
    assert_eq!(desk(&sim, "PUT", 1).code(), (400, -1125), "another account is not met");
    assert_eq!(desk(&sim, "PUT", 0).code(), (400, -1000));
    assert_eq!(desk(&sim, "PUT", 0).status, 200);
    let ledger = sim.account_ledger(0);
    assert_eq!((ledger.faults["key_error"], ledger.faults["key_delay"], ledger.faults_waiting), (2, 1, 0));
}

#[test]
fn a_put_may_answer_with_another_key_and_both_deliver_for_a_while() {
    let sim = start(quiet());
    let (mut old, key) = listen(&sim, 0);
    sim.inject(AccountFault::RotateKey { grace: Duration::from_millis(2_500) }.on(0));
    sim.sync();
    let fresh = desk(&sim, "PUT", 0).key();
    assert_ne!(fresh, key);
    assert_eq!(post(&sim, 0), fresh);
    let mut new = open(&sim, &format!("/private/ws/{fresh}"));
    sim.run_life(0, LifeKind::Leverage);
    assert_eq!(text(&mut old), text(&mut new));
    std::thread::sleep(Duration::from_millis(2_600));
    sim.run_life(0, LifeKind::Leverage);
    text(&mut new);
    assert_eq!(drain(&mut old, Duration::from_millis(100)), [""; 0]);
}

#[test]
fn a_key_dies_when_its_time_is_over_and_the_socket_falls_silent() {
    let lifetime = Duration::from_millis(2_400);
    let sim = start(with(|accounts| accounts.listen_key_lifetime = lifetime));
    let (mut socket, key) = listen(&sim, 0);
    for _ in 0..3 {
        std::thread::sleep(lifetime / 3);
        assert_eq!(desk(&sim, "PUT", 0).key(), key, "kept alive");
    }
    let last = text(&mut socket);
    assert!(last.starts_with("{\"e\":\"listenKeyExpired\",\"E\":1") && last.contains(&key), "{last}");
    assert_eq!(desk(&sim, "PUT", 0).code(), (400, -1125));
    sim.run_life(0, LifeKind::Leverage);
    sim.sync();
    let ledger = sim.account_ledger(0);
    assert_eq!((ledger.missed_count(Missed::DeadKey), ledger.deliveries.len()), (1, 1));
    // The socket still answers, and still names the key.
    assert_eq!(listed(&mut socket).len(), 10);
    let (mut again, second) = listen(&sim, 0);
    assert_ne!(second, key);
    sim.run_life(0, LifeKind::Leverage);
    text(&mut again);
}

#[test]
fn a_key_can_die_on_demand_in_every_way_that_was_seen() {
    for (notice, told) in [
        (ExpiryNotice::Silent, 0),
        (ExpiryNotice::Number, 1),
        (ExpiryNotice::TextTime, 1),
        (ExpiryNotice::NoKey, 1),
        (ExpiryNotice::Twice, 2),
    ] {
        let sim = start(quiet());
        let key = post(&sim, 0);
        let mut socket = open(&sim, &format!("/private/stream?listenKey={key}&events={EVENTS}"));
        sim.inject(AccountFault::ExpireKey { notice }.on(0));
        sim.sync();
        let texts = drain(&mut socket, Duration::from_millis(200));
        assert_eq!(names(&texts), vec!["listenKeyExpired"; told], "{notice:?}");
        for text in &texts {
            assert!(text.starts_with(&format!("{{\"stream\":\"{key}@listenKeyExpired\",\"data\":{{")), "{text}");
            assert_eq!(text.contains("\"E\":\""), notice == ExpiryNotice::TextTime);
            assert_eq!(text.contains("\"listenKey\":"), notice != ExpiryNotice::NoKey);
        }
        assert_eq!(desk(&sim, "PUT", 0).code(), (400, -1125));
        wait_account(&sim, 0, "deliveries", |ledger| ledger.deliveries.len() == told);
    }
}

#[test]
fn nothing_happens_by_itself_where_nothing_is_asked_for() {
    let sim = start(SimConfig { accounts: AccountsConfig::default(), ..quiet() });
    assert!(sim.accounts().is_empty() && sim.secrets().is_empty());
    assert!(sim.wait_delivered(Duration::ZERO));
    sim.inject(AccountFault::Cut.on(7));
    sim.run_life(7, LifeKind::Filled);
    sim.sync();
    assert_eq!(sim.add_account().unwrap().index, 0);
}
