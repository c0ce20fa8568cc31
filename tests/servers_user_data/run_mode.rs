//! Prices and accounts in one process: what befalls the price stream does not touch accounts.

use std::time::{Duration, Instant};

use kraite_streams::sim::FaultKind;

use crate::daemon_process::Daemon;
use crate::redis_server::RedisServer;
use crate::rig::{SETTINGS, assert_ledgers_agree, connections, prepare_with, simulator, wait_live};

#[test]
fn silent_prices_are_rebuilt_beside_accounts_that_stay() {
    let (folder, sim, redis) = (tempfile::tempdir().unwrap(), simulator(3, 40.0), RedisServer::start(&[]));
    let more = ["prices.silence_s = 2", "prices.silence_exit_s = 5"];
    let settings = prepare_with(folder.path(), &sim, &redis, &more);
    let lines: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut daemon = Daemon::start_command("run", folder.path(), SETTINGS, Some(&sim), &lines, &[]);
    wait_live(&mut daemon, 3);
    daemon.wait_status("prices", |status| status.stream.frames > 2);
    let before = connections(&sim);
    // Every connection of prices falls silent until the role has given it up.
    let deadline = Instant::now() + Duration::from_secs(40);
    while !daemon.log(SETTINGS).contains("the price role is rebuilt") {
        assert!(Instant::now() < deadline, "{}", daemon.log(SETTINGS));
        sim.inject(FaultKind::Stall { lasts: Duration::MAX });
        std::thread::sleep(Duration::from_millis(500));
    }
    wait_live(&mut daemon, 3);
    assert_eq!(connections(&sim), before, "accounts were reconnected");
    assert_ledgers_agree(&sim, &redis, &mut daemon);
    let began = Instant::now();
    assert_eq!(daemon.stop(), 0, "{}", daemon.log(SETTINGS));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}
