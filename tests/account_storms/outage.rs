//! The host is away for 20 s: every socket is cut, and nobody listens.

use std::collections::BTreeSet;
use std::time::Duration;

use kraite_streams::domain::limits::{KEY_CREATE_SPACING, RECONCILE_THREADS};
use kraite_streams::domain::{Mono, Wall};
use kraite_streams::sim::{AccountsConfig, ConnectLimit, ConnectRefusal, SimConfig, VenueFault, WeightLimit};
use kraite_streams::stream::connect_limiter::{self, ConnectLimiter};

use crate::daemon_process::PATIENCE;
use crate::rig::{Rig, live, wait_long};

const ACCOUNTS: usize = 200;
/// Every seventh: none of the first ones.
const EXPOSED_EVERY: i64 = 7;
const LIMIT: usize = 90;
const WINDOW: Duration = Duration::from_secs(20);
const OUTAGE: Duration = Duration::from_secs(20);

#[test]
fn a_host_that_comes_back_meets_no_herd() {
    let refusal = ConnectRefusal::Status(429);
    let limit = ConnectLimit { attempts: LIMIT, window: WINDOW, refusal };
    let (per_window, window) =
        (format!("net.connects_per_window = {LIMIT}"), format!("net.connect_window_s = {}", WINDOW.as_secs()));
    // At the venue's weight the reconciles of so many take a quarter of an hour.
    let config = SimConfig {
        accounts: AccountsConfig { count: ACCOUNTS, frames_per_second: 0.0, ..AccountsConfig::default() },
        connects: Some(limit),
        weight: WeightLimit { per_minute: 1_000_000, ..WeightLimit::default() },
        ..SimConfig::default()
    };
    let mut rig = Rig::of(config, &[&per_window, &window, "net.rest_weight = 1000000"]);
    let credentials = rig.sim.accounts();
    let ids: Vec<i64> = credentials.iter().map(|account| rig.add(&format!("a{}", account.index), account)).collect();
    let exposed: BTreeSet<i64> = ids.iter().copied().filter(|id| id % EXPOSED_EVERY == 6).collect();
    for (number, id) in exposed.iter().enumerate() {
        // Half of them have a position, the others an order of a position that is closed otherwise.
        let status = if number % 2 == 0 { "active" } else { "closed" };
        rig.sql(&format!(
            "INSERT INTO positions (id, account_id, parsed_trading_pair, status, direction) \
             VALUES ({id}, {id}, 'BTCUSDT', '{status}', 'LONG')"
        ));
        if number % 2 == 1 {
            rig.sql(&format!(
                "INSERT INTO orders (position_id, client_order_id, type, status, exchange_order_id, quantity, price) \
                 VALUES ({id}, 'c{id}', 'LIMIT', 'NEW', '{id}', '1', '1')"
            ));
        }
    }
    let limiter = ConnectLimiter::new(connect_limiter::ConnectLimit::new(LIMIT, WINDOW));
    let everybody = limiter.times_to_all(exposed.len(), ACCOUNTS - exposed.len(), Mono::ZERO).1;
    // The window may be full of the attempts before the outage.
    let bound = (everybody + WINDOW).max(Duration::from_secs(60));

    let mut daemon = rig.start();
    let keys = KEY_CREATE_SPACING * ACCOUNTS as u32;
    let folder = rig.folder.path().to_owned();
    let all_live = |status: &_| live(status) == ACCOUNTS as u64;
    wait_long(&daemon, &folder, "all accounts live", bound + keys + PATIENCE, all_live);
    // What was missed before the first start is not what this is about.
    rig.sql("UPDATE stream_gaps SET outcome = 'before' WHERE reason = 'start'");
    let before = rig.sim.ledger();
    assert_eq!(before.connects_refused, 0, "the start was too quick: {}", before.connects_in_window_max);
    assert!(first_keys_of(&rig, &exposed, &ids), "the exposed got their first keys first");

    rig.sim.inject(VenueFault::Outage { lasts: OUTAGE });
    daemon.wait_status("nobody live", |status| live(status) == 0);
    std::thread::sleep(OUTAGE);
    wait_long(&daemon, &folder, "everybody back", bound + PATIENCE, all_live);

    let after = rig.sim.ledger();
    assert_eq!(after.connects_refused, 0, "{} of {LIMIT} in a window", after.connects_in_window_max);
    let attempts = after.connects_attempted - before.connects_attempted;
    assert_eq!(attempts, ACCOUNTS as u64, "everybody needs one attempt that reaches the venue");
    let mut order: Vec<(Wall, bool)> = Vec::new();
    for (account, id) in ids.iter().enumerate() {
        let ledger = rig.sim.account_ledger(account);
        assert_eq!(ledger.sessions.len(), 2, "account {id}: {:?}", ledger.sessions);
        // Who could not be extended in the outage is asked for by POST, which extends the same key.
        assert!(ledger.posts <= 4, "account {id}: {} keys", ledger.posts);
        order.push((ledger.sessions[1].opened_at, exposed.contains(id)));
    }
    order.sort_unstable();
    let ranks: Vec<usize> =
        order.iter().enumerate().filter(|(_, (_, is_exposed))| *is_exposed).map(|(at, _)| at).collect();
    let median = ranks[ranks.len() / 2];
    assert!(median < ACCOUNTS / 4, "the exposed come first, not at the places {ranks:?}");

    // Everybody has exactly one gap, and those of the exposed are closed first. Half of them is enough to see that.
    let mut gaps = Vec::new();
    crate::rig::until("the gaps of the exposed closed", PATIENCE * 2, || {
        gaps = rig.pairs(
            "SELECT account_id, CAST(coalesce(unixepoch(reconciled_at, 'subsec'), 0) * 1000 AS INTEGER) FROM stream_gaps \
             WHERE reason <> 'start' ORDER BY 2",
        );
        gaps.len() >= ACCOUNTS && gaps.iter().filter(|gap| is_closed(gap, &exposed)).count() >= exposed.len() / 2
    });
    let owners: BTreeSet<i64> = gaps.iter().map(|(id, _)| *id).collect();
    assert!(owners.iter().eq(ids.iter()) && gaps.len() == ACCOUNTS, "{gaps:?}");
    let closed = gaps.iter().filter(|gap| gap.1 > 0);
    let mut left = exposed.len() / 2;
    let ahead = closed.take_while(|(id, _)| {
        left -= usize::from(exposed.contains(id));
        left > 0
    });
    let ahead = ahead.filter(|(id, _)| !exposed.contains(id)).count();
    // A few of the others are live while no exposed one is yet.
    assert!(ahead <= 2 * RECONCILE_THREADS, "{ahead} others were reconciled before half of the exposed");
    let wrong = rig.number(
        "SELECT count(*) FROM stream_gaps WHERE started_at > ended_at OR ended_at > datetime('now', '1 second')",
    );
    assert_eq!(wrong, 0, "bounds");
    let log = daemon.log(crate::rig::FILE);
    assert_eq!(daemon.stop(), 0, "{log}");
}

fn is_closed(gap: &(i64, i64), exposed: &BTreeSet<i64>) -> bool {
    gap.1 > 0 && exposed.contains(&gap.0)
}

/// Whether the exposed were asked for before most others at the start.
fn first_keys_of(rig: &Rig, exposed: &BTreeSet<i64>, ids: &[i64]) -> bool {
    let mut order: Vec<(Wall, i64)> = ids
        .iter()
        .enumerate()
        .map(|(account, id)| (rig.sim.account_ledger(account).sessions[0].opened_at, *id))
        .collect();
    order.sort_unstable();
    let ranks = order.iter().enumerate().filter(|(_, (_, id))| exposed.contains(id)).map(|(rank, _)| rank);
    let ranks: Vec<usize> = ranks.collect();
    ranks[ranks.len() / 2] < ids.len() / 4
}
