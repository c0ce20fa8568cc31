//! The binary as a person or a supervisor meets it: what it prints, where, and with which exit code.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use kraite_streams::domain::Wall;
use kraite_streams::domain::time::{Clock as _, SystemClock};
use kraite_streams::ops::settings::Settings;
use kraite_streams::ops::status::{Status, StreamState, WriterState};

/// Runs the binary in `folder` with nothing of our own environment.
fn run_with(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kraite-streams"));
    command.current_dir(folder).env_clear().args(arguments).envs(variables.iter().copied());
    command.output().unwrap()
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    run_with(folder, arguments, &[])
}

#[track_caller]
fn check(output: &Output, code: i32, on_stdout: &[&str], on_stderr: &[&str]) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout: {stdout}\nstderr: {stderr}");
    for (name, text, expected) in [("stdout", &stdout, on_stdout), ("stderr", &stderr, on_stderr)] {
        for part in expected {
            assert!(text.contains(part), "{name} lacks {part:?}:\n{text}");
        }
        assert!(!expected.is_empty() || text.is_empty(), "{name} is not empty:\n{text}");
        assert!(!text.contains("geheim"), "{name} shows a password:\n{text}");
    }
}

#[test]
fn help_teaches_and_is_asked_for_on_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    check(
        &run(here, &["--help"]),
        0,
        &["migrate", "symbols", "print", "status", "First steps", "78  the settings"],
        &[],
    );
    check(&run(here, &["-h"]), 0, &["migrate", "--settings <FILE>"], &[]);
    check(&run(here, &["--version"]), 0, &[concat!("kraite-streams ", env!("CARGO_PKG_VERSION"))], &[]);
    check(&run(here, &["migrate", "--help"]), 0, &["--plan", "only missing\ncolumns are added"], &[]);
    check(&run(here, &["symbols", "sync", "--help"]), 0, &["--exchange <VENUE>", "never deleted"], &[]);
    check(&run(here, &["status", "--help"]), 0, &["--json", "69: the file is stale"], &[]);
    check(&run(here, &["print", "--help"]), 0, &["settings", "supervisor"], &[]);
    check(&run(here, &["accounts", "--help"]), 0, &["add", "list", "enable", "disable", "remove"], &[]);
    check(&run(here, &["accounts", "add", "--help"]), 0, &["never taken from an\nargument", "APP_KEY"], &[]);
}

#[test]
fn a_wrong_command_line_is_64() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, says) in [
        (&[][..], "Usage"),
        (&["migrat"], "migrate"),
        (&["symbols"], "sync"),
        (&["status", "--jsn"], "--json"),
        (&["symbols", "sync", "--exchange", "nasdaq"], "expected binance, bybit, kucoin or bitget"),
        (&["migrate", "now"], "now"),
    ] {
        check(&run(folder.path(), arguments), 64, &[], &[says]);
    }
}

#[test]
fn printed_settings_are_the_defaults_and_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let printed = run(folder.path(), &["print", "settings"]);
    check(&printed, 0, &["[prices]", "write_interval_ms = 500"], &[]);
    let text = String::from_utf8(printed.stdout).unwrap();
    assert_eq!(Settings::parse(&text, "printed").unwrap(), Settings::default());
    std::fs::write(folder.path().join("kraite-streams.toml"), text).unwrap();
    check(&run(folder.path(), &["migrate", "--plan"]), 0, &["kraite-streams.sqlite is not there"], &[]);
}

#[test]
fn wrong_settings_are_78_and_name_place_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    check(&run(here, &["migrate", "--settings", "no.toml"]), 66, &[], &["kraite-streams: cannot read", "no.toml"]);
    check(&run_with(here, &["migrate"], &[("KRAITE_SETTINGS", "no.toml")]), 66, &[], &["no.toml"]);

    std::fs::write(here.join("bad.toml"), "[prices]\nsettle_ms = 9999\n[store]\nurll = \"postgres://a:geheim@b\"\n")
        .unwrap();
    check(
        &run(here, &["--settings", "bad.toml", "migrate"]),
        78,
        &[],
        &[
            "kraite-streams: bad.toml line 2: prices.settle_ms is 9999",
            "kraite-streams: bad.toml line 4: unknown key store.urll: did you mean url?",
        ],
    );
    for url in ["mysql://a:geheim@b/c", "postgres://:geheim@b/c", "postgres://a:geheim@b/c?sslmode=maybe", "geheim"] {
        let output = run_with(here, &["symbols", "sync"], &[("KRAITE_STORE_URL", url)]);
        check(&output, 78, &[], &["store.url"]);
    }
}

#[test]
fn the_supervisor_section_names_this_binary() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().canonicalize().unwrap();
    let output = run(&here, &["print", "supervisor", "--settings", "k.toml", "--user", "kraite"]);
    check(
        &output,
        0,
        &[
            "[program:kraite-streams-prices]",
            &format!("command={} prices --settings {}/k.toml", env!("CARGO_BIN_EXE_kraite-streams"), here.display()),
            &format!("directory={}", here.display()),
            "user=kraite",
            "stopwaitsecs=20",
        ],
        &[],
    );
}

#[test]
fn the_supervisor_section_follows_the_role() {
    let folder = tempfile::tempdir().unwrap();
    for role in ["prices", "user-data", "run"] {
        let section = [format!("[program:kraite-streams-{role}]"), format!(" {role}\n")];
        let output = run(folder.path(), &["print", "supervisor", "--role", role]);
        check(&output, 0, &section.each_ref().map(String::as_str), &[]);
    }
    check(&run(folder.path(), &["print", "supervisor", "--role", "all"]), 64, &[], &["user-data"]);
}

/// Without a database file, the rest of `check` has nothing to mend either.
#[cfg(all(feature = "embedded", feature = "server"))]
#[test]
fn check_looks_at_accounts_spool_and_queue_and_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    check(&run(here, &["check"]), 0, &["user data\n  no account is to be streamed", "prices would run with this"], &[]);
    assert_eq!(std::fs::read_dir(here).unwrap().count(), 0, "check left traces");

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("redis://:geheim@127.0.0.1:{port}/0");
    let with_class = |class: &str| {
        let variables = [("KRAITE_QUEUE_URL", url.as_str()), ("KRAITE_QUEUE_JOB_CLASS", class)];
        run_with(here, &["check"], &variables)
    };
    check(&with_class(""), 78, &[], &["queue.job_class is missing"]);
    // It would take every job and run none.
    let output = with_class(kraite_streams::queue::job_class::STEP_DISPATCHER_CLASS);
    let told = ["!! queue.job_class: ", "0 accounts are to be streamed", "is not there yet", "MiB free"];
    check(&output, 1, &told, &[]);
    check(&with_class("App\\Jobs\\UserDataEvent"), 69, &["queue\n  redis://", "1 to mend"], &[]);
    assert_eq!(std::fs::read_dir(here).unwrap().count(), 0, "check left traces");
}

fn healthy_status() -> Status {
    let now = SystemClock::start().now().wall;
    let mut status = Status::new("prices", now, Duration::from_secs(2));
    // A test may be delayed by a busy machine: fresh must stay fresh.
    status.interval_s = 600;
    (status.stream.state, status.writer.state) = (StreamState::Live, WriterState::Writing);
    status.touch(now);
    status
}

#[test]
fn status_tells_by_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let file = here.join("kraite-streams.status.json");
    check(&run(here, &["status"]), 66, &[], &["kraite-streams.status.json is not there"]);
    std::fs::write(&file, "{\"half\":").unwrap();
    check(&run(here, &["status"]), 65, &[], &["is no status file"]);

    let healthy = healthy_status();
    healthy.replace(&file).unwrap();
    check(&run(here, &["status"]), 0, &["prices", "healthy; version", "tick to commit"], &[]);
    let output = run(here, &["status", "--json"]);
    check(&output, 0, &["\"healthy\":true"], &[]);
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["status"]["pid"], std::process::id());
    assert_eq!(object["complaints"], serde_json::json!([]));

    let sick = Status { alarms: vec!["the clock is off".to_owned()], ..healthy.clone() };
    sick.replace(&file).unwrap();
    check(&run(here, &["status"]), 1, &["needs a look", "! the clock is off"], &[]);
    check(&run(here, &["status", "--json"]), 1, &["\"healthy\":false", "the clock is off"], &[]);

    let mut stale = healthy.clone();
    stale.touch(Wall::from_millis(healthy.updated_at_ms - 1_801_000));
    stale.replace(&here.join("elsewhere.json")).unwrap();
    check(&run(here, &["status", "--file", "elsewhere.json"]), 69, &["not running", "! the file is 18"], &[]);

    // Beyond the largest process id that Linux gives.
    let dead = Status { pid: 4_194_305, ..healthy };
    dead.replace(&file).unwrap();
    check(&run(here, &["status"]), 69, &["! process 4194305 is gone"], &[]);
}

#[cfg(feature = "server")]
#[test]
fn an_absent_postgresql_is_69_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://kraite:geheim@127.0.0.1:{port}/kraite");
    for arguments in [&["migrate"][..], &["migrate", "--plan"], &["symbols", "sync", "--exchange", "binance"]] {
        let output = run_with(folder.path(), arguments, &[("KRAITE_STORE_URL", &url)]);
        check(&output, 69, &[], &[&format!("127.0.0.1:{port}")]);
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
    }
}

#[cfg(feature = "embedded")]
#[test]
fn migrate_creates_the_embedded_store_once() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    check(&run(here, &["migrate", "--plan"]), 0, &["is not there"], &[]);
    assert_eq!(std::fs::read_dir(here).unwrap().count(), 0, "a plan left traces");
    check(&run(here, &["migrate"]), 0, &["sqlite:kraite-streams.sqlite\n", "0001_", "table created"], &[]);
    let again = run(here, &["migrate"]);
    check(&again, 0, &["applied before"], &[]);
    assert!(!String::from_utf8_lossy(&again.stdout).contains("created"));
    check(&run(here, &["migrate", "--plan"]), 0, &["nothing was changed", "applied before"], &[]);
    check(
        &run_with(here, &["migrate"], &[("KRAITE_STORE_URL", "sqlite:no/such.sqlite")]),
        69,
        &[],
        &["no/such.sqlite"],
    );
}

#[cfg(feature = "embedded")]
mod sync {
    use std::io::{BufRead as _, BufReader, Write as _};

    use super::*;

    fn fixture(path: &str) -> Option<&'static str> {
        Some(match path {
            "/fapi/v1/exchangeInfo" => include_str!("fixtures/rest/binance_instruments.json"),
            "/api/v1/contracts/active" => include_str!("fixtures/rest/kucoin_instruments.json"),
            "/api/v2/mix/market/contracts?productType=USDT-FUTURES" => {
                include_str!("fixtures/rest/bitget_instruments_usdt.json")
            }
            "/api/v2/mix/market/contracts?productType=USDC-FUTURES" => {
                include_str!("fixtures/rest/bitget_instruments_usdc.json")
            }
            "/v5/market/instruments-info?category=linear&limit=1000" => {
                include_str!("fixtures/rest/bybit_instruments_page1.json")
            }
            _ => return None,
        })
    }

    /// Serves the recorded lists of all venues on one port; KuCoin's is refused where `refuse` says so.
    fn serve(refuse: bool) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = lines.next().unwrap().unwrap();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let path = first.split(' ').nth(1).unwrap();
                let second_page = path.starts_with("/v5/") && path.contains("cursor=");
                let body = if second_page {
                    include_str!("fixtures/rest/bybit_instruments_page2.json")
                } else {
                    fixture(path).unwrap_or("no such path")
                };
                let is_refused = refuse && path.starts_with("/api/v1/") || body == "no such path";
                let (status, body) = if is_refused { ("451 No", "not from\there") } else { ("200 OK", body) };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
            }
        });
        port
    }

    fn settings(folder: &Path, port: u16) {
        let text: String = ["binance", "bybit", "kucoin", "bitget"]
            .map(|venue| format!("rest_{venue} = \"http://127.0.0.1:{port}\"\n"))
            .concat();
        std::fs::write(folder.join("kraite-streams.toml"), format!("[net]\n{text}")).unwrap();
    }

    #[test]
    fn the_lists_of_all_venues_arrive_and_a_second_time_nothing_changes() {
        let folder = tempfile::tempdir().unwrap();
        settings(folder.path(), serve(false));
        let first = run(folder.path(), &["symbols", "sync"]);
        check(&first, 0, &["Binance: ", "Bybit: ", "KuCoin: ", "Bitget: ", " 0 changed, 0 unchanged"], &[]);
        let second = run(folder.path(), &["symbols", "sync"]);
        check(&second, 0, &["listed: 0 new, 0 changed"], &[]);
        let (first, second) = (String::from_utf8(first.stdout).unwrap(), String::from_utf8(second.stdout).unwrap());
        for (first, second) in first.lines().zip(second.lines()) {
            let count = |line: &str, word: &str| -> u64 {
                let words: Vec<&str> = line.split(' ').collect();
                let at = words.iter().position(|found| found.trim_end_matches([',', ';']) == word).unwrap();
                words[at - 1].parse().unwrap()
            };
            assert!(count(first, "new") > 0, "{first}");
            assert_eq!(count(second, "unchanged"), count(first, "new"), "{second}");
            assert_eq!(count(second, "new"), 0, "{second}");
        }
    }

    #[test]
    fn a_venue_that_fails_does_not_stop_the_others() {
        let folder = tempfile::tempdir().unwrap();
        settings(folder.path(), serve(true));
        let output = run(folder.path(), &["symbols", "sync"]);
        check(
            &output,
            69,
            &["Binance: ", "Bybit: ", "Bitget: "],
            &[
                "kraite-streams: KuCoin: 127.0.0.1 answered HTTP 451 (it refuses this address or country): not from here",
                "net.rest_kucoin",
            ],
        );
        let output = run(folder.path(), &["symbols", "sync", "--exchange", "bitget,binance"]);
        check(&output, 0, &["Binance: ", "Bitget: "], &[]);
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);
    }

    /// Binance's list over TLS, with a certificate that only `roots.pem` vouches for.
    #[cfg(feature = "sim")]
    fn serve_tls(roots: &Path) -> u16 {
        use std::sync::Arc;

        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(roots, certified.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
                let mut lines = BufReader::new(&mut stream).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let body = fixture("/fapi/v1/exchangeInfo").unwrap();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
                let _ = stream.flush();
            }
        });
        port
    }

    #[cfg(feature = "sim")]
    #[test]
    fn tls_trusts_the_extra_roots_and_nothing_without_them() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let base = format!("https://localhost:{}", serve_tls(&here.join("roots.pem")));
        let ask = |roots: &str| {
            let variables = [("KRAITE_NET_REST_BINANCE", base.as_str()), ("KRAITE_NET_EXTRA_ROOTS", roots)];
            run_with(here, &["symbols", "sync", "--exchange", "binance"], &variables)
        };
        check(&ask("roots.pem"), 0, &["Binance: "], &[]);
        check(&ask(""), 69, &[], &["Binance: localhost: tls: invalid peer certificate"]);
        check(&ask("missing.pem"), 66, &[], &["missing.pem (setting net.extra_roots)"]);
        std::fs::write(here.join("empty.pem"), "no certificate").unwrap();
        check(&ask("empty.pem"), 78, &[], &["net.extra_roots: "]);
    }
}
