//! What an idle account costs: 500 TLS connections in this process, which does nothing else, their servers in a child.
#![cfg(feature = "sim")]

#[allow(dead_code, reason = "shared with the tests of many streams, which need more of it")]
#[path = "loop_many/ears.rs"]
mod ears;
#[allow(dead_code, reason = "shared with the other tests of the loop, which need more of it")]
#[path = "loop_tls/server.rs"]
mod server;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs, io};

use kraite_streams::event_loop::{LoopConfig, SessionConfig};
use kraite_streams::stream::connect_limiter::OpenGate;
use kraite_streams::stream::tls::client_config;

use ears::{PATIENCE, add, host, stop, url};
use server::{Authority, hold, serve, upgrade};

const ACCOUNTS: u64 = 500;
/// Measured: below 12 KiB in a debug build. Twice that is a regression.
const RSS_MAX: usize = 24 << 10;
const CHILD: &str = "KRAITE_TEST_IDLE_SERVER";

fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

/// The child: prints its address and certificate, and serves until its standard input ends.
fn serve_idle() {
    let authority = Authority::new("the child's");
    let address = serve(&authority, |_, mut tls| {
        upgrade(&mut tls, b"");
        hold(tls);
    });
    let said = format!("\naddress {address}\n{}end\n", authority.pem());
    io::stdout().write_all(said.as_bytes()).unwrap();
    io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn an_idle_account_costs_little_memory() {
    if env::var_os(CHILD).is_some() {
        return serve_idle();
    }
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "an_idle_account_costs_little_memory", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said: Vec<_> = lines.by_ref().take_while(|line| line != "end").collect();
    let at = said.iter().position(|line| line.starts_with("address ")).expect("the child's address");
    let address: SocketAddr = said[at]["address ".len()..].parse().unwrap();
    let tls = client_config(said[at + 1..].join("\n").as_bytes(), 1_000).unwrap();

    let handle = host(LoopConfig::user_data(Arc::new(OpenGate)));
    let open = |keys: std::ops::Range<u64>| {
        let config = || SessionConfig::user_data(url(address, "/idle"), Arc::clone(&tls));
        let ears: Vec<_> = keys.map(|key| add(&handle, key, config())).collect();
        ears.iter().for_each(|ears| ears.wait_live());
        ears
    };
    // Buffers, tickets and code that all share.
    let warm = open(0..50);
    let before = resident();
    let begun = Instant::now();
    let idle = open(1_000..1_000 + ACCOUNTS);
    let per_account = resident().saturating_sub(before) / ACCOUNTS as usize;
    let took = begun.elapsed().as_millis();
    let said = format!("an idle account: {per_account} bytes resident; {ACCOUNTS} were up in {took} ms\n");
    io::stdout().write_all(said.as_bytes()).unwrap();
    assert!(per_account > 0 && per_account < RSS_MAX, "{per_account} bytes");
    assert!(warm.iter().chain(&idle).all(|ears| ears.faults().is_empty()));
    stop(handle);
    drop(child.stdin.take());
    lines.for_each(drop);
    let until = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "the child does not end");
        std::thread::yield_now();
    }
}
