//! The private URL's spelling that delivered is known after a restart, also after one that nobody asked for.

use std::os::unix::fs::PermissionsExt as _;

use kraite_streams::sim::{PrivateSpelling, SpellingAnswer, Spellings};

use crate::redis_server::RedisServer;
use crate::rig::{assert_ledgers_agree, prepare, simulator, start, wait_live};

#[test]
fn a_restart_goes_straight_to_the_spelling_that_delivered() {
    let (folder, sim, redis) = (tempfile::tempdir().unwrap(), simulator(2, 60.0), RedisServer::start(&[]));
    // The last one that `auto` tries; the others connect and are subscribed to nothing.
    sim.set_spellings(Spellings::only(&[PrivateSpelling::Path], SpellingAnswer::Silent));
    let settings = prepare(folder.path(), &sim, &redis);
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 2);
    let tried = |account: usize| -> Vec<PrivateSpelling> {
        sim.account_ledger(account).sessions.iter().map(|session| session.spelling).collect()
    };
    let before = [tried(0), tried(1)];
    assert!(before.iter().all(|mine| mine.len() >= 3 && mine.last() == Some(&PrivateSpelling::Path)), "{before:?}");
    std::thread::sleep(std::time::Duration::from_secs(1));
    daemon.signal("KILL");
    daemon.wait_end();
    let mut daemon = start(folder.path(), &sim, &settings);
    wait_live(&mut daemon, 2);
    for account in [0, 1] {
        assert_eq!(tried(account)[before[account].len()..], [PrivateSpelling::Path]);
    }
    let file = std::fs::metadata(folder.path().join("kraite-streams.spool.spellings")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    assert_eq!(daemon.stop(), 0);
}
