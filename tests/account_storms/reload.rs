//! Settings that are read again and again, broken ones among them.

use std::time::{Duration, Instant};

use crate::daemon_process::PATIENCE;
use crate::rig::{FILE, Rig, live, unheard, until};

const ACCOUNTS: usize = 10;

#[test]
fn reloads_reconnect_nobody_and_broken_settings_change_nothing() {
    let mut rig = Rig::new(ACCOUNTS, 40.0, None, &["user_data.reconcile = \"off\""]);
    for account in rig.sim.accounts() {
        rig.add(&format!("a{}", account.index), &account);
    }
    let mut daemon = rig.start();
    daemon.wait_status("all live", |status| live(status) == ACCOUNTS as u64);
    let good = std::fs::read_to_string(rig.folder.path().join(FILE)).unwrap();
    let begun = Instant::now();
    let mut reloads = 0;
    while begun.elapsed() < Duration::from_secs(15) {
        let text = match reloads % 4 {
            0 => good.clone(),
            1 => format!("{good}user_data.nonsense = 7\n"),
            2 => "this is no settings file [".to_owned(),
            _ => good.replace("status_interval_s = 1", "status_interval_s = 1000000000"),
        };
        std::fs::write(rig.folder.path().join(FILE), text).unwrap();
        daemon.signal("HUP");
        reloads += 1;
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(reloads > 30, "{reloads}");
    // A good file at the end is taken over, as far as a running process takes settings over, and the rest is named.
    rig.write_settings(&["ops.summary_interval_s = 30", "user_data.threads = 2"]);
    until("it is taken over", PATIENCE, || {
        daemon.signal("HUP");
        let log = daemon.log(FILE);
        log.contains("taken over: ops.summary_interval_s")
            && log.contains("need a restart to take effect: user_data.threads")
    });
    let log = daemon.log(FILE);
    for sentence in ["the settings stay as they were", "user_data.nonsense", "ops.status_interval_s"] {
        assert!(log.contains(sentence), "{sentence}:\n{log}");
    }
    rig.sim.quiesce();
    assert!(rig.sim.wait_delivered(PATIENCE));
    let sent: u64 = (0..ACCOUNTS).map(|account| rig.sim.account_ledger(account).deliveries.len() as u64).sum();
    let status = daemon.wait_status("all that was sent recorded", |status| {
        status.user_data.as_ref().is_some_and(|user_data| user_data.frames == sent)
    });
    let user_data = status.user_data.unwrap();
    assert_eq!((user_data.live, user_data.gaps), (ACCOUNTS as u64, ACCOUNTS as u64), "the start's and no other");
    for account in 0..ACCOUNTS {
        let ledger = rig.sim.account_ledger(account);
        assert_eq!((ledger.sessions.len(), ledger.posts, unheard(&ledger)), (1, 1, vec![]), "account {account}");
    }
    let venue = rig.sim.ledger();
    assert!(venue.weight_total < 200, "no storm of requests: {}", venue.weight_total);
    assert_eq!(daemon.stop(), 0, "{log}");
}
