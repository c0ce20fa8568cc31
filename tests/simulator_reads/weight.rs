//! Weight of one source address, shared by all its accounts and calls: told on every answer, refused above the limit, then
//! banned, each ban longer than the one before.

use std::time::Duration;

use kraite_streams::exchange::binance::account_answers::{AnswerError, read_orders};
use kraite_streams::exchange::binance::listen_key::Refusal;
use kraite_streams::exchange::binance::signed::{AccountRead, From};
use kraite_streams::sim::{SimConfig, WeightLimit};

use super::rig::{now_ms, quiet, start, used_weight};

#[test]
fn every_read_weighs_what_the_client_counts_and_all_accounts_share() {
    let venue = start(quiet());
    let span = From::Span { start_ms: now_ms() - 1_000, end_ms: now_ms() };
    let reads = [
        AccountRead::OpenOrders,
        AccountRead::OpenAlgoOrders,
        AccountRead::Positions,
        AccountRead::Balances,
        AccountRead::Order { symbol: "BTCUSDT", order_id: 1 },
        AccountRead::AlgoOrder { algo_id: 1 },
        AccountRead::AllOrders { symbol: "BTCUSDT", from: span },
        AccountRead::AllAlgoOrders { symbol: "BTCUSDT", from: span },
        AccountRead::Trades { symbol: "BTCUSDT", from: span },
        AccountRead::Income { start_ms: now_ms() - 1_000, end_ms: now_ms() },
    ];
    let mut used = 0;
    let mut sum = 0;
    for (at, read) in reads.iter().chain(&reads).enumerate() {
        let told = used_weight(&venue.ask(at % 3, read));
        // A minute of the clock may begin in between; then the count does too.
        assert!(told == used + read.weight() || told == read.weight(), "{read:?}: {used} → {told}");
        used = told;
        sum += u64::from(read.weight());
    }
    assert_eq!(venue.sim.ledger().weight_total, sum);
    let filtered = venue.fetch(0, &format!("{}/fapi/v1/openOrders?symbol=BTCUSDT", venue.sim.rest_base())).unwrap();
    assert!([used + 1, 1].contains(&used_weight(&filtered)), "refused for its signature, and weighed all the same");
}

#[test]
fn above_the_limit_come_refusals_and_then_bans_that_grow() {
    let ban = Duration::from_millis(400);
    let weight = WeightLimit { per_minute: 100, refusals_before_ban: 2, ban };
    let venue = start(SimConfig { weight, ..quiet() });
    let mut account = 0;
    let mut ask = || {
        account += 1;
        let asked = now_ms();
        let answer = venue.ask(account % 3, &AccountRead::OpenOrders);
        (read_orders(answer.status, &answer.body, None), used_weight(&answer), asked)
    };
    let (mut refused, mut bans) = (0, Vec::new());
    while bans.len() < 3 {
        match ask() {
            (Ok(_), used, _) => assert!(used <= 100, "{used}"),
            (Err(AnswerError::Refused(Refusal::Limited { .. })), used, _) => {
                assert!(used > 100);
                refused += 1;
            }
            (Err(AnswerError::Refused(Refusal::Banned { until_ms, .. })), ..) => {
                let until_ms = until_ms.expect("the end is named");
                let left_ms = until_ms - now_ms();
                if bans.last() != Some(&until_ms) {
                    assert!(left_ms <= 400 << bans.len(), "ban {}: {left_ms} ms", bans.len());
                    // The first ban is over before the second begins.
                    assert!(bans.last().is_none_or(|last| until_ms - last > 400 << bans.len()), "{bans:?}, {until_ms}");
                    bans.push(until_ms);
                }
                std::thread::sleep(Duration::from_millis(u64::try_from(left_ms).unwrap_or(0) + 20));
            }
            other => panic!("{other:?}"),
        }
    }
    let ledger = venue.sim.ledger();
    assert!(refused >= 2 && ledger.rest_limited == refused, "{refused}, {}", ledger.rest_limited);
    assert!(ledger.rest_banned >= 3 && ledger.weight_in_minute_max > 100);
}

#[test]
fn a_client_that_budgets_is_never_refused_and_the_ledger_says_so() {
    let venue = start(SimConfig { weight: WeightLimit { per_minute: 400, ..WeightLimit::default() }, ..quiet() });
    let mut used = 0;
    for at in 0..40 {
        let read = if at % 2 == 0 { AccountRead::OpenOrders } else { AccountRead::Balances };
        if used + read.weight() > 400 {
            break;
        }
        let answer = venue.ask(at % 3, &read);
        assert_eq!(answer.status, 200);
        used = used_weight(&answer);
    }
    let ledger = venue.sim.ledger();
    assert!((200..=400).contains(&ledger.weight_in_minute_max), "{}", ledger.weight_in_minute_max);
    assert_eq!((ledger.rest_limited, ledger.rest_banned), (0, 0));
}
