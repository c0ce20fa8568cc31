//! The plain client's private side: listen-key requests, and frames as a recorder keeps them.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use kraite_streams::sim::{AccountLedger, AccountsConfig, Counts, SimConfig, SimHandle};
use serde_json::Value;
use tungstenite::{Error, Message};

pub use super::client::{PATIENCE, Socket, end, open, start, text, tls, try_open, wait};

pub const EVENTS: &str = "ORDER_TRADE_UPDATE/ACCOUNT_UPDATE/ALGO_UPDATE/TRADE_LITE/MARGIN_CALL/ACCOUNT_CONFIG_UPDATE/\
    STRATEGY_UPDATE/GRID_UPDATE/CONDITIONAL_ORDER_TRIGGER_REJECT/listenKeyExpired";

/// Three accounts that do nothing by themselves, on a quiet market.
pub fn quiet() -> SimConfig {
    SimConfig {
        symbols: Counts { ordinary: 60, coin_m: 2, tradfi: 2 },
        accounts: AccountsConfig { count: 3, duplicate_one_in: 0, ..AccountsConfig::default() },
        ..SimConfig::default()
    }
}

/// The same with other settings of the accounts.
pub fn with(change: impl FnOnce(&mut AccountsConfig)) -> SimConfig {
    let mut config = quiet();
    change(&mut config.accounts);
    config
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

impl Answer {
    pub fn code(&self) -> (u16, i64) {
        (self.status, self.body["code"].as_i64().unwrap_or(0))
    }

    pub fn key(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body["listenKey"].as_str().expect("a listen key").to_owned()
    }

    pub fn used_weight(&self) -> u32 {
        let header = self.head.lines().find_map(|line| line.strip_prefix("x-mbx-used-weight-1m: "));
        header.expect("the weight header").parse().unwrap()
    }
}

/// One request on a connection of its own.
pub fn request(sim: &SimHandle, method: &str, path: &str, api_key: Option<&str>) -> Answer {
    let mut stream = tls(sim);
    let header = api_key.map(|key| format!("X-MBX-APIKEY: {key}\r\n")).unwrap_or_default();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{header}Connection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head_len = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
    let head = std::str::from_utf8(&answer[..head_len]).unwrap().to_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: serde_json::from_slice(&answer[head_len..]).unwrap_or(Value::Null) }
}

/// A listen-key request of an account.
pub fn desk(sim: &SimHandle, method: &str, account: usize) -> Answer {
    request(sim, method, "/fapi/v1/listenKey", Some(&sim.accounts()[account].api_key))
}

pub fn post(sim: &SimHandle, account: usize) -> String {
    desk(sim, "POST", account).key()
}

/// A live connection of an account in the spelling with the full list of events.
pub fn listen(sim: &SimHandle, account: usize) -> (Socket, String) {
    let key = post(sim, account);
    (open(sim, &format!("/private/ws?listenKey={key}&events={EVENTS}")), key)
}

pub fn say(socket: &mut Socket, message: &Value) {
    socket.send(Message::text(message.to_string())).unwrap();
}

/// What LIST_SUBSCRIPTIONS names; events on the way are dropped.
pub fn listed(socket: &mut Socket) -> Vec<String> {
    say(socket, &serde_json::json!({"method": "LIST_SUBSCRIPTIONS", "id": 77}));
    loop {
        let reply: Value = serde_json::from_str(&text(socket)).unwrap();
        if reply["id"] == 77 {
            return serde_json::from_value(reply["result"].clone()).unwrap();
        }
    }
}

/// Every text message until the connection has been silent for `quiet` or ends; the rest of a burst that is on its way.
pub fn drain(socket: &mut Socket, quiet: Duration) -> Vec<String> {
    drain_for(socket, quiet, PATIENCE)
}

/// The same of a stream that may never be quiet: for so long at most.
pub fn drain_for(socket: &mut Socket, quiet: Duration, longest: Duration) -> Vec<String> {
    let until = Instant::now() + longest;
    socket.get_ref().sock.set_read_timeout(Some(quiet)).unwrap();
    let mut texts = Vec::new();
    while Instant::now() < until {
        match socket.read() {
            Ok(Message::Text(text)) => texts.push(text.as_str().to_owned()),
            Ok(_) => {}
            Err(Error::Io(e)) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(_) => break,
        }
    }
    socket.get_ref().sock.set_read_timeout(Some(PATIENCE)).unwrap();
    texts
}

/// The frame as a recorder keeps it: without its wrapper, the key overwritten.
pub fn recorded(text: &str, key: &str) -> Vec<u8> {
    let event = match text.strip_prefix("{\"stream\":\"") {
        Some(rest) => rest.split_once("\",\"data\":").unwrap().1.strip_suffix('}').unwrap(),
        None => text,
    };
    event.replace(key, &"*".repeat(key.len())).into_bytes()
}

/// `e` of each frame.
pub fn names(texts: &[String]) -> Vec<String> {
    let name = |text: &String| {
        let value: Value = serde_json::from_str(text).unwrap();
        let event = if value["data"].is_object() { &value["data"] } else { &value };
        event["e"].as_str().unwrap().to_owned()
    };
    texts.iter().map(name).collect()
}

/// Polls an account's ledger until `done`.
#[track_caller]
pub fn wait_account(
    sim: &SimHandle,
    account: usize,
    what: &str,
    done: impl Fn(&AccountLedger) -> bool,
) -> AccountLedger {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ledger = sim.account_ledger(account);
        if done(&ledger) {
            return ledger;
        }
        assert!(Instant::now() < deadline, "{what}: {ledger:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
