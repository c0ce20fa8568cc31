//! Promise: whoever runs `kraite-streams sim` can make happen what a venue does to its clients: by a script, and by lines on
//! standard input; the credentials that it prints are good.
#![cfg(feature = "sim")]

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use kraite_streams::daemon::control_ports::BinanceListenKeyRest;
use kraite_streams::exchange::binance::listen_key::KeyCall;
use kraite_streams::ops::RestClient;
use kraite_streams::stream::tls::client_config;
use kraite_streams::user_data::control::ports::ListenKeyRest as _;
use kraite_streams::user_data::discovery::ApiKey;

const PATIENCE: Duration = Duration::from_secs(60);

struct Sim {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    rest: BinanceListenKeyRest,
    api_keys: Vec<ApiKey>,
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_kraite-streams"))
        .args(["sim", "--listen", "127.0.0.1:0", "--roots", "sim.pem"])
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

impl Sim {
    fn start(folder: &Path, arguments: &[&str]) -> Sim {
        let mut child = spawn(folder, arguments);
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut base, mut api_keys) = (String::new(), Vec::new());
        loop {
            let line = output.next().expect("it says how it is reached").unwrap();
            if let Some(rest) = line.strip_prefix("rest    ") {
                rest.clone_into(&mut base);
            }
            if let Some(account) = line.strip_prefix("account ") {
                api_keys.push(ApiKey::new(account.split(' ').nth(2).unwrap()));
            }
            if line.contains("Ctrl-C") {
                break;
            }
        }
        let roots = std::fs::read(folder.join("sim.pem")).unwrap();
        let client = RestClient::new(client_config(&roots, 4).unwrap(), Duration::from_secs(10));
        let rest = BinanceListenKeyRest::new(client, &base);
        let input = child.stdin.take();
        Sim { child, input, output, rest, api_keys }
    }

    /// Writes a line, and reads the first one of the answer.
    fn say(&mut self, line: &str) -> String {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
        self.output.next().expect("an answer").unwrap()
    }

    /// The status of a request for the account's listen key.
    fn post(&self, account: usize) -> u16 {
        self.rest.ask(KeyCall::Create, &self.api_keys[account]).unwrap().status
    }
}

#[test]
fn lines_of_standard_input_are_faults() {
    let folder = tempfile::tempdir().unwrap();
    let mut sim = Sim::start(folder.path(), &["--accounts", "2", "--frames-per-second", "0"]);
    assert_eq!((sim.api_keys.len(), sim.post(0), sim.post(1)), (2, 200, 200));
    assert_eq!(sim.say("account 1 key_error"), "asked for: account 1 key_error status=503 code=-1008");
    assert_eq!((sim.post(0), sim.post(1), sim.post(1)), (200, 503, 200));
    assert_eq!(sim.say("  venue ban lasts=1h"), "asked for: venue ban lasts=3600s");
    assert_eq!(sim.post(0), 418);
    assert_eq!(sim.say("account 2 cut"), "refused: there are 2 accounts, counted from 0");
    assert!(sim.say("account 0 fall").starts_with("refused: there is no fault \"fall\""));
    assert_eq!(sim.say("help"), "prices cut");
    // The end of standard input is not the end.
    sim.input = None;
    assert_eq!(sim.post(0), 418);
}

#[test]
fn a_script_injects_by_time() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("script"), "# nothing before\n0s account 0 key_error status=500\n1s venue ban\n")
        .unwrap();
    let sim = Sim::start(folder.path(), &["--accounts", "1", "--script", "script"]);
    assert_eq!((sim.post(0), sim.post(0)), (500, 200));
    let deadline = Instant::now() + PATIENCE;
    while sim.post(0) != 418 {
        assert!(Instant::now() < deadline, "the ban did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::fs::write(folder.path().join("wrong"), "1s venue ban\nvenue ban\n").unwrap();
    for (file, code, part) in [("wrong", 64, "--script wrong: line 2: "), ("missing", 66, "--script missing: ")] {
        let output = spawn(folder.path(), &["--script", file]).wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(part), "{told}");
    }
}
