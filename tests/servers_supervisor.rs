//! Promise: under a real supervisord, with the section that `print supervisor` prints, the daemon is started again after
//! SIGKILL and ends in order, inside its bound, when it is stopped.
#![cfg(all(feature = "servers", feature = "sim"))]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kraite_streams::ops::status::Status;
use kraite_streams::sim::{SimConfig, SimHandle, Simulator};

#[allow(dead_code, reason = "supervisord starts the daemon here")]
#[path = "support/daemon_process.rs"]
mod daemon_process;

use daemon_process::{PATIENCE, run, write_settings};

struct Supervisor {
    child: Child,
    config: std::path::PathBuf,
}

impl Supervisor {
    fn start(folder: &Path) -> Supervisor {
        let (code, section, err) = run(folder, &["--settings", "kraite-streams.toml", "print", "supervisor"]);
        assert_eq!(code, 0, "{err}");
        // The log of the section belongs to a real machine's folder; this test has its own.
        let section = section.replace("/var/log/supervisor/", &format!("{}/", folder.display()));
        let at = folder.display();
        let config = folder.join("supervisord.conf");
        let text = format!(
            "[supervisord]\nnodaemon=true\nlogfile={at}/supervisord.log\npidfile={at}/supervisord.pid\n\
             [unix_http_server]\nfile={at}/s.sock\n[supervisorctl]\nserverurl=unix://{at}/s.sock\n\
             [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
             {section}"
        );
        fs::write(&config, text).unwrap();
        let child = Command::new("supervisord")
            .arg("-c")
            .arg(&config)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("supervisord is installed: tests/run does it");
        Supervisor { child, config }
    }

    fn control(&self, arguments: &[&str]) -> String {
        let output = Command::new("supervisorctl").arg("-c").arg(&self.config).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    fn wait(&self, state: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.control(&["status"]);
            if told.contains(state) {
                return;
            }
            assert!(Instant::now() < deadline, "not {state}: {told}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.control(&["shutdown"]);
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline && self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn simulator() -> SimHandle {
    Simulator::start(SimConfig { tick: Duration::from_millis(200), ..SimConfig::default() }).unwrap()
}

#[track_caller]
fn wait_prices(folder: &Path, not: u32) -> Status {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = Status::read(&folder.join("status.json")).ok();
        if let Some(status) = status.as_ref().filter(|s| s.pid != not && s.writer.rows_written > 1_000) {
            return status.clone();
        }
        assert!(Instant::now() < deadline, "no prices: {status:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn supervisord_starts_it_again_and_stops_it_in_order() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), simulator());
    write_settings(folder.path(), "kraite-streams.toml", Some(&sim), &[]);
    let supervisor = Supervisor::start(folder.path());
    let first = wait_prices(folder.path(), 0);
    supervisor.wait("RUNNING");

    Command::new("kill").args(["-KILL", &first.pid.to_string()]).status().unwrap();
    let second = wait_prices(folder.path(), first.pid);
    supervisor.wait("RUNNING");

    let began = Instant::now();
    supervisor.control(&["stop", "kraite-streams-prices"]);
    assert!(began.elapsed() < Duration::from_secs(10), "stopping took {:?}", began.elapsed());
    supervisor.wait("STOPPED");
    let log = fs::read_to_string(folder.path().join("kraite-streams-prices.log")).unwrap();
    assert!(log.contains("stopped:"), "it ended in order:\n{log}");
    assert!(!Path::new(&format!("/proc/{}", second.pid)).exists(), "nothing is left behind");
}
