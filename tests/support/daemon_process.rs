//! The real binary as a supervisor runs it: a settings file, a folder, signals, its status file and its log.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kraite_streams::ops::status::Status;
use kraite_streams::sim::SimHandle;

/// How long anything may take on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    folder: PathBuf,
}

impl Daemon {
    /// Starts it in `folder` with these lines as its settings, beside those that every test needs.
    pub fn start(folder: &Path, sim: Option<&SimHandle>, settings: &[&str]) -> Daemon {
        Daemon::start_with(folder, "kraite-streams.toml", sim, settings, &[])
    }

    /// As [`Daemon::start`], with its own settings file and environment variables.
    pub fn start_with(
        folder: &Path,
        file: &str,
        sim: Option<&SimHandle>,
        settings: &[&str],
        environment: &[(&str, &str)],
    ) -> Daemon {
        Daemon::start_command("prices", folder, file, sim, settings, environment)
    }

    /// As [`Daemon::start_with`], with another command than `prices`.
    pub fn start_command(
        command: &str,
        folder: &Path,
        file: &str,
        sim: Option<&SimHandle>,
        settings: &[&str],
        environment: &[(&str, &str)],
    ) -> Daemon {
        write_settings(folder, file, sim, settings);
        let log = File::options().create(true).append(true).open(folder.join(format!("{file}.log"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_kraite-streams"))
            .args(["--settings", file, command])
            .current_dir(folder)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Daemon { child, folder: folder.to_owned() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, as `kill` does.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status().unwrap();
        assert!(status.success(), "kill -{name}");
    }

    /// What it wrote to standard error, with the settings file named `file`.
    pub fn log(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(format!("{file}.log"))).unwrap()
    }

    /// Waits until the status file of this very process satisfies `wanted`.
    #[track_caller]
    pub fn wait_status(&mut self, what: &str, mut wanted: impl FnMut(&Status) -> bool) -> Status {
        let deadline = Instant::now() + PATIENCE;
        let path = self.folder.join("status.json");
        loop {
            let status = Status::read(&path).ok().filter(|status| status.pid == self.pid());
            if let Some(status) = status.as_ref().filter(|status| wanted(status)) {
                return status.clone();
            }
            if let Some(exit) = self.child.try_wait().unwrap() {
                panic!("the daemon ended with {exit} while waiting for {what}:\n{}", self.log("kraite-streams.toml"));
            }
            assert!(
                Instant::now() < deadline,
                "{what} did not come; status {status:#?}\nlog:\n{}",
                self.log("kraite-streams.toml")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM, and its exit code.
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        self.signal("TERM");
        self.wait_end().code().expect("it ends by itself")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a settings file that points at the simulator; `lines` are `section.key = value`.
pub fn write_settings(folder: &Path, file: &str, sim: Option<&SimHandle>, lines: &[&str]) {
    let mut all: Vec<String> = vec![
        "ops.status_file = \"status.json\"".to_owned(),
        "ops.status_interval_s = 1".to_owned(),
        "ops.page = \"off\"".to_owned(),
    ];
    if let Some(sim) = sim {
        let roots = folder.join("simulator.pem");
        sim.write_ca(&roots).unwrap();
        all.push(format!("prices.url = \"{}\"", sim.stream_base()));
        all.push(format!("user_data.url = \"{}\"", sim.stream_base()));
        all.push(format!("net.extra_roots = \"{}\"", roots.display()));
        for venue in ["binance", "bybit", "kucoin", "bitget"] {
            all.push(format!("net.rest_{venue} = \"{}\"", sim.rest_base()));
        }
    }
    for line in lines {
        let key = line.split('=').next().unwrap().trim();
        all.retain(|other| other.split('=').next().unwrap().trim() != key);
        all.push((*line).to_owned());
    }
    fs::write(folder.join(file), all.join("\n") + "\n").unwrap();
}

/// Runs a command of the binary to its end, and answers its code and what it printed.
pub fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    run_with_input(folder, arguments, "")
}

/// As [`run`], with a standard input.
pub fn run_with_input(folder: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kraite-streams"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    (
        output.status.code().expect("it ends by itself"),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}
