//! Promise: `accounts` takes secrets from a prompt or a pipe and shows none, stores them so that Laravel reads them, and
//! says in a sentence what is wrong. Everything that a run writes is searched for what was planted.

#![cfg(feature = "embedded")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use kraite_streams::ops::app_key::AppKeys;
use kraite_streams::ops::encrypter::{Cipher, Encrypter};
use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::user_data_rows::AccountRow;
use kraite_streams::store::{StoreUrl, UserDataStore};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

#[path = "support/secret_scan.rs"]
mod secret_scan;
use secret_scan::SecretScan;

const KEY: &str = "PlantedApiKeyvmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14";
const SECRET: &str = "PlantedSecretNhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqq";
/// 32 times `k` and `p`.
const K: &str = "base64:a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
const P: &str = "base64:cHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHA=";
/// `printf %s KEY | sha256sum`, its first four digits.
const FINGERPRINT: &str = "02c8";

fn command(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kraite-streams"));
    command.current_dir(folder).env_clear().args(arguments).envs(variables.iter().copied());
    command
}

fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)], stdin: &str) -> Output {
    let mut command = command(folder, arguments, variables);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses before it reads closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let scan = scan();
    scan.check_bytes("standard output", &output.stdout);
    scan.check_bytes("standard error", &output.stderr);
    output
}

fn scan() -> SecretScan {
    SecretScan::new(&[("API key", KEY), ("API secret", SECRET), ("APP_KEY", K), ("earlier APP_KEY", P)])
}

#[track_caller]
fn check(output: &Output, code: i32, says: &[&str]) -> String {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    let all = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{all}");
    for part in says {
        assert!(all.contains(part), "{part:?} is not in:\n{all}");
    }
    stdout
}

fn add(folder: &Path, name: &str, variables: &[(&str, &str)]) -> Output {
    let arguments = ["accounts", "add", "--exchange", "binance", "--name", name];
    run(folder, &arguments, variables, &format!("{KEY}\n{SECRET}\n"))
}

fn eligible(folder: &Path) -> Vec<AccountRow> {
    let url = StoreUrl::Sqlite(folder.join("kraite-streams.sqlite"));
    let mut store = UserDataStore::new(&url, &UserDataOptions::new("test")).unwrap();
    store.run(|tables| tables.eligible_accounts("binance")).unwrap()
}

#[test]
fn an_embedded_account_from_nothing_to_gone() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    check(&run(here, &["accounts", "list"], &[], ""), 0, &["no accounts; `kraite-streams accounts add"]);
    assert!(!here.join("kraite-streams.sqlite.app-key").exists(), "looking makes no key");

    check(&add(here, "main", &[]), 0, &["account 1 (main, binance) was added", FINGERPRINT, "within 60 s"]);
    let key_file = here.join("kraite-streams.sqlite.app-key");
    assert_eq!(fs::metadata(&key_file).unwrap().permissions().mode() & 0o777, 0o600);
    let made = fs::read_to_string(&key_file).unwrap();
    check(&add(here, "main", &[]), 65, &["there is an account named \"main\" already"]);
    check(&add(here, "second", &[]), 0, &["account 2 (second"]);
    assert_eq!(fs::read_to_string(&key_file).unwrap(), made, "a key is made once");

    // What a daemon reads is what was typed.
    let rows = eligible(here);
    let encrypter = Encrypter::new(AppKeys::parse(&made, "").unwrap(), Cipher::Aes256Cbc);
    assert_eq!(rows.len(), 2);
    assert_eq!(encrypter.decrypt(rows[0].api_key_ciphertext.as_str()).unwrap().expose(), KEY);
    assert_eq!(encrypter.decrypt(rows[0].api_secret_ciphertext.as_str()).unwrap().expose(), SECRET);

    let listed = check(&run(here, &["accounts", "list"], &[], ""), 0, &["not streamed"]);
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["id", "name", "exchange", "state", "key", "stream"]);
    assert_eq!(lines[1], ["1", "main", "binance", "active", FINGERPRINT, "not", "streamed"]);

    check(
        &run(here, &["accounts", "disable", "main", "--reason", "holiday"], &[], ""),
        0,
        &["account 1 (main) is disabled"],
    );
    assert_eq!(eligible(here).len(), 1);
    check(&run(here, &["accounts", "list"], &[], ""), 0, &["disabled"]);
    check(&run(here, &["accounts", "enable", "1"], &[], ""), 0, &["account 1 (main) is enabled"]);
    assert_eq!(eligible(here).len(), 2);
    check(&run(here, &["accounts", "remove", "second"], &[], ""), 0, &["account 2 (second) is removed"]);
    check(&run(here, &["accounts", "remove", "second"], &[], ""), 64, &["no account has the id or name \"second\""]);
    check(&run(here, &["accounts", "enable", "99"], &[], ""), 64, &["\"99\""]);
    assert_eq!(eligible(here).len(), 1);

    // A key file that went missing is missed, not replaced; one that others can read is refused.
    fs::rename(&key_file, here.join("elsewhere")).unwrap();
    check(&add(here, "third", &[]), 66, &["app-key is not there, and 1 account(s) were encrypted"]);
    assert!(!key_file.exists());
    check(&run(here, &["accounts", "list"], &[], ""), 1, &["?", "1 key(s) cannot be read"]);
    fs::rename(here.join("elsewhere"), &key_file).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o644)).unwrap();
    check(&add(here, "third", &[]), 77, &["chmod 600"]);

    scan().check_folder(here);
    SecretScan::new(&[("made key", made.trim())]).except(&key_file).check_folder(here);
}

#[test]
fn keys_of_a_laravel_application_are_used_and_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    check(&add(here, "old", &[("APP_KEY", P)]), 0, &["account 1"]);
    check(&add(here, "new", &[("APP_KEY", K), ("KRAITE_USER_DATA_CIPHER", "AES-256-GCM")]), 0, &["account 2"]);
    assert!(!here.join("kraite-streams.sqlite.app-key").exists(), "no key is made where one is set");
    let list = |variables: &[(&str, &str)]| run(here, &["accounts", "list"], variables, "");
    check(&list(&[("APP_KEY", K), ("APP_PREVIOUS_KEYS", P)]), 0, &[FINGERPRINT]);
    check(&list(&[("APP_KEY", K)]), 1, &[FINGERPRINT, "?", "1 key(s) cannot be read", "app_previous_keys"]);
    check(&add(here, "x", &[("APP_KEY", "base64:x")]), 78, &["APP_KEY is no base64"]);
    scan().check_folder(here);
}

#[test]
fn what_cannot_be_an_account_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let add = |exchange: &str, name: &str, stdin: &str| {
        run(here, &["accounts", "add", "--exchange", exchange, "--name", name], &[], stdin)
    };
    let good = format!("{KEY}\n{SECRET}\n");
    for (exchange, name, stdin, code, says) in [
        ("bybit", "a", good.as_str(), 64, "private streams of Bybit are not read yet"),
        ("nasdaq", "a", &good, 64, "nasdaq"),
        ("binance", " ", &good, 64, "--name must be"),
        ("binance", "a\u{1b}[2J", &good, 64, "--name must be"),
        ("binance", "a", "", 65, "ended early"),
        ("binance", "a", KEY, 65, "ended early"),
        ("binance", "a", &format!("{good}{SECRET}"), 65, "more than two lines"),
        ("binance", "a", &format!("{KEY}\n{SECRET} x\n"), 65, "the API secret must be"),
    ] {
        check(&add(exchange, name, stdin), code, &[says]);
    }
    // A secret in an argument is no option that exists.
    let output = run(here, &["accounts", "add", "--exchange", "binance", "--name", "a", "--key", "x"], &[], "");
    check(&output, 64, &["--key"]);
    assert_eq!(eligible(here), []);
    scan().check_folder(here);
}

#[test]
fn a_terminal_shows_nothing_and_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    for (second_line, code, accounts) in [(format!("{SECRET}x\x7f\r"), 0, 1), ("half\x03".to_owned(), 64, 1)] {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        // Held open, so that the terminal outlives the child.
        let slave = fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
        assert!(tcgetattr(&slave).unwrap().local_modes.contains(LocalModes::ECHO));
        let account = format!("main {code}");
        let mut child = command(folder.path(), &["accounts", "add", "--exchange", "binance", "--name", &account], &[])
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave.try_clone().unwrap())
            .spawn()
            .unwrap();
        let mut terminal = fs::File::from(terminal);
        // A read of a terminal has no deadline, a channel has.
        let mut reader = terminal.try_clone().unwrap();
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(read) = reader.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut shown = Vec::new();
        for (prompt, line) in [("API key (not shown): ", format!("{KEY}\r")), ("API secret (not shown): ", second_line)]
        {
            wait_for(&screen, &mut shown, prompt);
            terminal.write_all(line.as_bytes()).unwrap();
        }
        wait_for(&screen, &mut shown, if code == 0 { "was added" } else { "given up" });
        assert_eq!(child.wait().unwrap().code(), Some(code), "{}", String::from_utf8_lossy(&shown));
        scan().check_bytes("the terminal", &shown);
        assert!(!shown.windows(4).any(|window| window == b"half"));
        let modes = tcgetattr(&slave).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG), "{modes:?}");
        assert_eq!(eligible(folder.path()).len(), accounts);
    }
    scan().check_folder(folder.path());
}

/// Takes what the terminal shows until it has shown `text`.
fn wait_for(screen: &Receiver<Vec<u8>>, shown: &mut Vec<u8>, text: &str) {
    while !shown.windows(text.len()).any(|window| window == text.as_bytes()) {
        let more = screen.recv_timeout(Duration::from_secs(60));
        shown.extend(more.unwrap_or_else(|_| panic!("{text:?} does not come: {}", String::from_utf8_lossy(shown))));
    }
}
