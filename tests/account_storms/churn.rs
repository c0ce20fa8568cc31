//! Accounts that come, go and change, far more than a hundred a minute, beside others that stay.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kraite_streams::domain::Random;
use kraite_streams::sim::{ConnectLimit, ConnectRefusal};

use crate::daemon_process::PATIENCE;
use crate::rig::{FILE, Rig, count_of, live, unheard, until};

const STEADY: usize = 20;
const COMING: usize = 60;
const CHURN: Duration = Duration::from_secs(40);
const EACH: Duration = Duration::from_millis(200);
/// Descriptors and threads of idle connections to REST and database, which come and go by themselves.
const SLACK: usize = 12;

#[test]
fn accounts_that_come_and_go_touch_nobody_else() {
    let limit = ConnectLimit { attempts: 300, window: Duration::from_secs(60), refusal: ConnectRefusal::Status(429) };
    let mut rig = Rig::new(
        STEADY + COMING,
        80.0,
        Some(limit),
        &["net.connects_per_window = 300", "net.connect_window_s = 60", "user_data.reconcile = \"off\""],
    );
    let credentials = rig.sim.accounts();
    let steady: Vec<i64> =
        credentials[..STEADY].iter().map(|account| rig.add(&format!("s{}", account.index), account)).collect();
    let mut daemon = rig.start();
    daemon.wait_status("the steady ones live", |status| live(status) == STEADY as u64);
    let before = (count_of(&daemon, "fd"), count_of(&daemon, "task"));

    let mut random = Random::from_seed(100);
    let mut coming: Vec<(i64, usize)> = Vec::new();
    let mut deaf: BTreeSet<i64> = BTreeSet::new();
    let (until_at, mut changes, mut next) = (Instant::now() + CHURN, 0, STEADY);
    while Instant::now() < until_at {
        changes += 1;
        if next < credentials.len() && (coming.len() < 5 || random.below(3) == 0) {
            let id = rig.add(&format!("c{next}"), &credentials[next]);
            if next % 10 == 9 {
                // A key that the venue has never seen.
                deaf.insert(id);
                re_key(&rig, id, &"x".repeat(64));
            }
            coming.push((id, next));
            next += 1;
        } else {
            let (id, account) = coming[random.below(coming.len() as u64) as usize];
            match random.below(5) {
                0 => rig.sql(&format!("UPDATE accounts SET is_active = 0 WHERE id = {id}")),
                1 | 2 => rig.sql(&format!("UPDATE accounts SET is_active = 1, deleted_at = NULL WHERE id = {id}")),
                3 => rig.sql(&format!("UPDATE accounts SET deleted_at = datetime('now') WHERE id = {id}")),
                // To another one's key and back: its stream is then another one's, too.
                _ if deaf.contains(&id) => re_key(&rig, id, &"y".repeat(64)),
                _ => {
                    let other = STEADY + random.below(COMING as u64) as usize;
                    let other = if random.below(2) == 0 { account } else { other };
                    re_key(&rig, id, &credentials[other].api_key);
                }
            }
        }
        std::thread::sleep(EACH);
    }
    assert!(changes >= 100 && next > STEADY + 10, "{changes} changes, {} accounts", next - STEADY);
    let lives = rig.number("SELECT count(*) FROM accounts WHERE is_active = 1 AND deleted_at IS NULL");
    assert!(lives > STEADY as i64, "some of them are there in the end");
    rig.sql(&format!("UPDATE accounts SET is_active = 0 WHERE id > {}", steady[STEADY - 1]));
    daemon.wait_status("only the steady ones", |status| {
        let user_data = status.user_data.as_ref().unwrap();
        (user_data.accounts, user_data.streams.len(), user_data.live) == (STEADY as u64, STEADY, STEADY as u64)
    });
    rig.sim.quiesce();
    assert!(rig.sim.wait_delivered(PATIENCE));
    let ledgers: Vec<_> = (0..STEADY).map(|account| rig.sim.account_ledger(account)).collect();
    let status = daemon.wait_status("all that was sent to them recorded", |status| {
        let streams = &status.user_data.as_ref().unwrap().streams;
        steady.iter().zip(&ledgers).all(|(id, ledger)| {
            streams.iter().any(|stream| stream.id as i64 == *id && stream.frames == ledger.deliveries.len() as u64)
        })
    });
    let user_data = status.user_data.unwrap();
    for (id, ledger) in steady.iter().zip(&ledgers) {
        let stream = user_data.streams.iter().find(|stream| stream.id as i64 == *id).unwrap();
        assert_eq!((stream.gaps, &stream.degraded), (1, &None), "{stream:?}");
        assert_eq!((ledger.sessions.len(), unheard(ledger)), (1, vec![]), "account {id}");
        assert!(ledger.frames.len() > 20 && ledger.unrecorded == 0);
        // A first key, and once more where somebody else's change made it doubtful: never a storm.
        assert!(ledger.posts + ledger.puts <= 4, "{} and {}", ledger.posts, ledger.puts);
    }
    assert!(user_data.alarms.is_empty(), "{:?}", user_data.alarms);

    let venue = rig.sim.ledger();
    assert_eq!((venue.connects_refused, venue.rest_limited, venue.rest_banned), (0, 0, 0));
    assert!(venue.weight_in_minute_max < 2_400 / 4, "{}", venue.weight_in_minute_max);
    // The venue ends keys by itself; a key may be another process's, so none is ever ended by us.
    assert!((0..credentials.len()).all(|account| rig.sim.account_ledger(account).deletes == 0));
    until("rows of listen keys of the steady ones only", PATIENCE, || {
        rig.number("SELECT count(*) FROM binance_listen_keys") == STEADY as i64
            && rig
                .pairs("SELECT account_id, 0 FROM binance_listen_keys ORDER BY 1")
                .iter()
                .map(|row| row.0)
                .eq(steady.clone())
    });
    let gaps = rig.pairs("SELECT account_id, count(*) FROM stream_gaps GROUP BY 1");
    assert!(!deaf.is_empty() && gaps.iter().all(|(id, _)| !deaf.contains(id)), "never live, so no gap: {gaps:?}");
    assert_eq!(rig.number("SELECT count(*) FROM stream_gaps WHERE started_at > ended_at"), 0);
    until("no more descriptors and threads than before", PATIENCE, || {
        let after = (count_of(&daemon, "fd"), count_of(&daemon, "task"));
        after.0 <= before.0 + SLACK && after.1 <= before.1 + SLACK
    });
    let log = daemon.log(FILE);
    assert_eq!(daemon.stop(), 0, "{log}");
}

fn re_key(rig: &Rig, id: i64, api_key: &str) {
    let text = rig.encrypt(api_key);
    rig.database.execute("UPDATE accounts SET binance_api_key = ?1 WHERE id = ?2", (text.as_str(), id)).unwrap();
}
