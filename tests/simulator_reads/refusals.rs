//! Signatures, clocks, keys, parameters, and faults on demand.

use std::time::{Duration, Instant};

use kraite_streams::exchange::binance::account_answers::{AnswerError, read_orders, read_positions};
use kraite_streams::exchange::binance::listen_key::Refusal;
use kraite_streams::exchange::binance::signed::AccountRead;
use kraite_streams::sim::{AccountFault, ReadFault, VenueFault};

use super::rig::{now_ms, quiet, start};

#[test]
fn only_the_right_signature_at_the_end_is_taken() {
    let venue = start(quiet());
    let (secret, other) = (venue.secret(0), venue.secret(1));
    let query = format!("recvWindow=5000&timestamp={}", now_ms());
    let right = secret.sign(&query);
    for (target, code) in [
        (format!("{query}&signature={right}"), (200, 0)),
        (format!("{query}&signature={}", right.to_uppercase()), (200, 0)),
        (format!("{query}&signature={}", other.sign(&query)), (400, -1022)),
        (format!("{query}&symbol=BTCUSDT&signature={right}"), (400, -1022)),
        (format!("signature={right}&{query}"), (400, -1022)),
        (format!("{query}&signature={right}&symbol=BTCUSDT"), (400, -1022)),
        (format!("{query}&signature={}", &right[..63]), (400, -1022)),
        (format!("{query}&signature=zz"), (400, -1022)),
        (query.clone(), (400, -1102)),
        (format!("recvWindow=5000&signature={}", secret.sign("recvWindow=5000")), (400, -1102)),
    ] {
        let (status, body) = venue.exactly(0, &format!("/fapi/v1/openOrders?{target}"));
        assert_eq!((status, body["code"].as_i64().unwrap_or(0)), code, "{target}");
    }
    let ledger = venue.sim.account_ledger(0);
    assert_eq!((ledger.reads["openOrders"], ledger.read_errors["openOrders"]), (2, 8));
    assert!(venue.sim.account_ledger(1).reads.is_empty());
}

#[test]
fn the_clock_must_be_near_the_servers() {
    let venue = start(quiet());
    let at = |offset_ms: i64, window: &str| {
        let query = format!("{window}timestamp={}", now_ms() + offset_ms);
        let signature = venue.secret(0).sign(&query);
        let (status, body) = venue.exactly(0, &format!("/fapi/v3/positionRisk?{query}&signature={signature}"));
        (status, body["code"].as_i64().unwrap_or(0))
    };
    for (offset_ms, window, code) in [
        (0, "", (200, 0)),
        (-3_000, "", (200, 0)),
        (-6_000, "", (400, -1021)),
        (-6_000, "recvWindow=60000&", (200, 0)),
        (-2_000, "recvWindow=1000&", (400, -1021)),
        (5_000, "", (400, -1021)),
        (5_000, "recvWindow=60000&", (400, -1021)),
        (0, "recvWindow=60001&", (400, -1131)),
        (0, "recvWindow=x&", (400, -1100)),
    ] {
        assert_eq!(at(offset_ms, window), code, "{offset_ms} ms, {window}");
    }
    let url = AccountRead::Positions.url(&venue.sim.rest_base(), now_ms() - 60_000, &venue.secret(0));
    let answer = venue.fetch(0, &url).unwrap();
    assert_eq!(read_positions(answer.status, &answer.body, None), Err(AnswerError::Refused(Refusal::Clock)));
}

#[test]
fn keys_are_told_apart() {
    let venue = start(quiet());
    let url = AccountRead::OpenOrders.url(&venue.sim.rest_base(), now_ms(), &venue.secret(0));
    let code = |api_key: &str| {
        let answer = venue.fetch_as(api_key, &url).unwrap();
        (answer.status, read_orders(answer.status, &answer.body, None))
    };
    let refused = |code| (401, Err(AnswerError::Refused(Refusal::Credentials { code: Some(code) })));
    assert_eq!(code("short"), refused(-2014));
    assert_eq!(code(&"A".repeat(64)), refused(-2015));
    assert_eq!(code(&venue.accounts[0].api_key), (200, Ok(Vec::new())));
    venue.sim.set_revoked(0, true);
    assert_eq!(code(&venue.accounts[0].api_key), refused(-2015));
    venue.sim.set_revoked(0, false);
    assert_eq!(code(&venue.accounts[0].api_key), (200, Ok(Vec::new())));
    // Another account's key does not go with this secret.
    let answer = venue.fetch_as(&venue.accounts[1].api_key, &url).unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(venue.sim.account_ledger(0).read_errors["openOrders"], 1);
}

#[test]
fn parameters_are_checked() {
    let venue = start(quiet());
    const WEEK_MS: i64 = 7 * 24 * 3_600_000;
    let now = now_ms();
    let span = |length_ms: i64| format!("symbol=BTCUSDT&startTime={}&endTime={now}", now - length_ms);
    for (path, query, code) in [
        ("userTrades", "".to_owned(), (400, -1102)),
        ("userTrades", "symbol=NOSUCHUSDT".to_owned(), (400, -1121)),
        ("openOrders", "symbol=NOSUCHUSDT".to_owned(), (400, -1121)),
        ("openOrders", "symbol=BTCUSDT".to_owned(), (200, 0)),
        ("userTrades", span(WEEK_MS - 1), (200, 0)),
        ("userTrades", span(WEEK_MS), (400, -4166)),
        ("allOrders", span(WEEK_MS), (400, -4166)),
        ("allAlgoOrders", span(2 * WEEK_MS), (400, -4166)),
        ("allOrders", span(-1), (400, -1023)),
        ("userTrades", format!("{}&fromId=1", span(1)), (400, -1128)),
        ("userTrades", "symbol=BTCUSDT&fromId=1".to_owned(), (200, 0)),
        ("userTrades", "symbol=BTCUSDT&fromId=-1".to_owned(), (400, -1100)),
        ("userTrades", "symbol=BTCUSDT&limit=1000".to_owned(), (200, 0)),
        ("userTrades", "symbol=BTCUSDT&limit=1001".to_owned(), (400, -1130)),
        ("allOrders", "symbol=BTCUSDT&limit=0".to_owned(), (400, -1130)),
        ("order", "symbol=BTCUSDT".to_owned(), (400, -1102)),
        ("order", "symbol=BTCUSDT&orderId=1".to_owned(), (400, -2013)),
        ("algoOrder", "".to_owned(), (400, -1102)),
        ("noSuchRead", "".to_owned(), (404, 0)),
    ] {
        assert_eq!(venue.code(0, &format!("/fapi/v1/{path}"), &query), code, "{path}?{query}");
    }
}

#[test]
fn reads_go_wrong_on_demand_for_one_account_and_one_path() {
    let venue = start(quiet());
    let ask = |account, read: &AccountRead<'_>| {
        venue.try_ask(account, read).map(|answer| read_orders(answer.status, &answer.body, None))
    };
    let fault = |fault, only| venue.sim.inject(AccountFault::Read { fault, only }.on(0));
    let overload = Err(AnswerError::Refused(Refusal::Overload { retry_after: None }));
    fault(ReadFault::Error { status: 503, code: -1008 }, Some("openOrders"));
    venue.sim.sync();
    assert_eq!(venue.told(0, &AccountRead::Positions, read_positions), Ok(Vec::new()), "another path is not met");
    assert_eq!(ask(1, &AccountRead::OpenOrders), Ok(Ok(Vec::new())), "another account is not met");
    assert_eq!(ask(0, &AccountRead::OpenOrders), Ok(overload.clone()));
    assert_eq!(ask(0, &AccountRead::OpenOrders), Ok(Ok(Vec::new())), "once only");
    fault(ReadFault::Error { status: 502, code: 0 }, None);
    venue.sim.sync();
    assert_eq!(ask(0, &AccountRead::OpenOrders), Ok(overload));
    fault(ReadFault::Garbage, None);
    venue.sim.sync();
    assert_eq!(ask(0, &AccountRead::OpenOrders), Ok(Err(AnswerError::Shape("JSON"))));
    for broken in [ReadFault::Truncated, ReadFault::Reset] {
        fault(broken, None);
        venue.sim.sync();
        let error = ask(0, &AccountRead::OpenOrders).unwrap_err();
        assert!(error.is_transient(), "{broken:?}: {error}");
        assert_eq!(ask(0, &AccountRead::OpenOrders), Ok(Ok(Vec::new())));
    }
    fault(ReadFault::Slow { delay: Duration::from_millis(400) }, None);
    fault(ReadFault::Slow { delay: Duration::MAX }, None);
    venue.sim.sync();
    let begun = Instant::now();
    assert_eq!(ask(0, &AccountRead::OpenOrders), Ok(Ok(Vec::new())));
    assert!(begun.elapsed() >= Duration::from_millis(400));
    assert!(ask(0, &AccountRead::OpenOrders).unwrap_err().is_transient());
    assert!(begun.elapsed() >= Duration::from_secs(3), "the client's own deadline");
    let ledger = venue.sim.account_ledger(0);
    assert_eq!((ledger.faults["read_error"], ledger.faults["read_slow"], ledger.faults_waiting), (2, 2, 0));
    assert_eq!(
        (ledger.faults["read_garbage"], ledger.faults["read_truncated"], ledger.faults["read_reset"]),
        (1, 1, 1)
    );
}

#[test]
fn reads_go_wrong_for_everybody_for_a_time() {
    let venue = start(quiet());
    let fault = |fault, lasts| {
        venue.sim.inject(VenueFault::Reads { fault, lasts });
        venue.sim.sync();
    };
    fault(ReadFault::Error { status: 503, code: -1008 }, Duration::from_secs(600));
    for account in 0..3 {
        assert_eq!(venue.code(account, "/fapi/v1/openOrders", ""), (503, -1008));
        assert_eq!(venue.exactly(account, "/fapi/v1/time").0, 200, "what is not signed is not met");
    }
    fault(ReadFault::Garbage, Duration::ZERO);
    assert_eq!(venue.code(0, "/fapi/v1/openOrders", ""), (200, 0));
}
