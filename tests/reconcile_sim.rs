//! Promise: whatever breaks while orders go on, the daemon finds out what it missed: every fill is audited once, every gap gets
//! an outcome, and local orders are where the exchange's are.
#![cfg(all(feature = "embedded", feature = "sim"))]

#[path = "reconcile_sim/breaks.rs"]
mod breaks;
#[allow(dead_code, reason = "the daemon serves several promises")]
#[path = "support/daemon_process.rs"]
mod daemon_process;
#[allow(dead_code, reason = "the rig serves several promises")]
#[path = "reconcile_sim/rig.rs"]
mod rig;
#[path = "reconcile_sim/seeded.rs"]
mod seeded;

use std::time::Duration;

use daemon_process::run;
use kraite_streams::domain::Random;
use kraite_streams::sim::{AccountFault, Injection, LifeKind};
use rig::{FILE, Rig};

/// Seeded, but for the threads' own timing.
const SEED: u64 = 5;
const ACCOUNTS: usize = 6;

#[test]
fn what_is_missed_while_sockets_are_cut_is_recovered_once() {
    let mut rig = Rig::start(ACCOUNTS, SEED, 40.0, &["user_data.sync_orders_s = 0"]);
    let mut random = Random::from_seed(SEED);
    for _ in 0..16 {
        let account = random.below(ACCOUNTS as u64) as usize;
        // The upgrade after a break is refused now and then, so that gaps are of all lengths.
        for _ in 0..random.below(2) {
            let refused = AccountFault::RefuseUpgrade { status: 503 };
            rig.sim.inject(Injection::Account { account, fault: refused });
        }
        let fault = match random.below(3) {
            0 => AccountFault::Silence { lasts: Duration::from_secs(1 + random.below(4)) },
            1 => AccountFault::Close,
            _ => AccountFault::Cut,
        };
        rig.sim.inject(Injection::Account { account, fault });
        rig.place_for(Duration::from_millis(300 + random.below(900)));
    }
    rig.sim.quiesce();
    rig.place_for(Duration::from_millis(500));
    rig.wait_reconciled();
    rig.wait_for("every fill audited once, and all that was missed inside a gap", Rig::complaints);
    // A socket that was silent until now had no gap yet when it was asked first.
    rig.wait_reconciled();
    let (gaps, recovered) = rig.gaps();
    assert!(gaps.iter().all(|gap| gap.outcome.is_some()), "{gaps:#?}");
    assert!(recovered > 0, "{gaps:#?}");

    // Rows that the application wrote behind the exchange's events are the safety net's to find.
    let arguments = ["--settings", FILE, "sync-orders", "--json"];
    let (code, out, err) = run(rig.folder(), &["--settings", FILE, "sync-orders", "--dry-run", "--json"]);
    assert_eq!(code, 0, "{out}{err}");
    let looked: serde_json::Value = serde_json::from_str(&out).unwrap();
    let drifted = |report: &serde_json::Value| -> usize {
        report["accounts"].as_array().unwrap().iter().map(|account| account["drift"].as_array().unwrap().len()).sum()
    };
    let (code, out, err) = run(rig.folder(), &arguments);
    assert_eq!(code, 0, "{out}{err}");
    let applied: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((drifted(&looked), looked["dry_run"].as_bool()), (drifted(&applied), Some(true)));
    rig.wait_for("local orders where the exchange's are", Rig::drift);
    let (_, out, _) = run(rig.folder(), &arguments);
    assert_eq!(drifted(&serde_json::from_str(&out).unwrap()), 0, "{out}");
    rig.wait_for("every fill still audited once", Rig::complaints);
    assert_eq!(rig.daemon.stop(), 0, "{}", rig.log());
}

#[test]
fn an_order_that_ends_while_nobody_listens_is_brought_to_its_end() {
    let mut rig = Rig::start(1, 7, 0.0, &["user_data.sync_orders_s = 0"]);
    // Orders whose whole life passes while the socket is dead: every kind, whether local rows know of it or not.
    let fault = AccountFault::Silence { lasts: Duration::from_secs(4) };
    rig.sim.inject(Injection::Account { account: 0, fault });
    rig.sim.sync();
    for kind in [
        LifeKind::Filled,
        LifeKind::Canceled,
        LifeKind::Market,
        LifeKind::ClosePosition,
        LifeKind::ExpiredGtd,
        LifeKind::AlgoTriggered,
        LifeKind::AlgoCanceled,
    ] {
        rig.sim.run_life(0, kind);
    }
    rig.sim.sync();
    rig.place();
    rig.wait_reconciled();
    rig.wait_for("every fill audited once, and all that was missed inside a gap", Rig::complaints);
    rig.wait_for("local orders where the exchange's are", Rig::drift);
    // A socket that was silent until now had no gap yet when it was asked first.
    rig.wait_reconciled();
    let (gaps, recovered) = rig.gaps();
    assert!(recovered >= 7 && gaps.iter().all(|gap| gap.outcome.is_some()), "{gaps:#?}");
    assert_eq!(rig.daemon.stop(), 0, "{}", rig.log());
}

#[test]
fn a_reconcile_that_cannot_finish_is_visible_and_goes_on_when_it_can() {
    let mut rig = Rig::start(1, 9, 0.0, &["user_data.sync_orders_s = 0"]);
    rig.wait_reconciled();
    // The venue takes the API key no more, while the stream lives on.
    rig.sim.set_revoked(0, true);
    rig.sim.inject(Injection::Account { account: 0, fault: AccountFault::Cut });
    rig.daemon.wait_status("the account degraded", |status| {
        let user_data = status.user_data.as_ref();
        user_data.and_then(|user_data| user_data.reconcile.as_ref()).is_some_and(|reconcile| reconcile.degraded == 1)
            && status.alarms.iter().any(|alarm| alarm.contains("not reconciled"))
    });
    let (gaps, _) = rig.gaps();
    assert!(gaps.iter().any(|gap| gap.outcome.is_none() && gap.note.contains("API key")), "{gaps:#?}");
    rig.sim.set_revoked(0, false);
    rig.wait_reconciled();
    assert!(rig.gaps().0.iter().all(|gap| gap.outcome.is_some()));
    assert_eq!(rig.daemon.stop(), 0, "{}", rig.log());
}

#[test]
fn the_daemon_plays_the_safety_net_under_its_lease() {
    let mut rig = Rig::start(1, 11, 0.0, &["user_data.sync_orders_s = 3"]);
    rig.sim.run_life(0, LifeKind::Filled);
    rig.sim.sync();
    rig.wait_reconciled();
    // The application's row comes when all its events are long applied.
    rig.place();
    rig.wait_for("local orders where the exchange's are", Rig::drift);
    let status = rig.daemon.wait_status("a round of the safety net", |status| {
        let user_data = status.user_data.as_ref();
        user_data.and_then(|user_data| user_data.reconcile.as_ref()).is_some_and(|reconcile| reconcile.sync_rounds > 0)
    });
    let reconcile = status.user_data.unwrap().reconcile.unwrap();
    assert!(reconcile.drifted > 0 && reconcile.weight_used >= 90, "{reconcile:?}");
    let (code, _, err) = run(rig.folder(), &["--settings", FILE, "sync-orders"]);
    let holder = format!("kraite-streams user-data safety net (pid {})", rig.daemon.pid());
    assert_eq!((code, err.contains(&holder)), (75, true), "{err}");
    rig.wait_for("every fill audited once", Rig::complaints);
    assert_eq!(rig.daemon.stop(), 0, "{}", rig.log());
}
