//! The plain client: tungstenite over rustls over a blocking socket with a read timeout.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kraite_streams::sim::{Counts, Ledger, SimConfig, SimHandle, Simulator};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use tungstenite::{Error, Message, WebSocket};

pub const ALL: &str = "!markPrice@arr@1s";
pub const PATIENCE: Duration = Duration::from_secs(20);

pub type Tls = StreamOwned<ClientConnection, TcpStream>;
pub type Socket = WebSocket<Tls>;

/// A small market that ticks twenty times a second.
pub fn quick() -> SimConfig {
    SimConfig {
        tick: Duration::from_millis(50),
        symbols: Counts { ordinary: 120, coin_m: 4, tradfi: 20 },
        ..SimConfig::default()
    }
}

pub fn start(config: SimConfig) -> SimHandle {
    Simulator::start(config).expect("the simulator starts")
}

pub fn try_tls(sim: &SimHandle) -> io::Result<Tls> {
    try_tls_with_root(sim, sim.ca_pem())
}

pub fn try_tls_with_root(sim: &SimHandle, pem: &str) -> io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(sim.addr())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    let session = ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap();
    Ok(StreamOwned::new(session, socket))
}

pub fn tls(sim: &SimHandle) -> Tls {
    try_tls(sim).expect("the simulator accepts")
}

/// Opens a WebSocket; the status where it is refused.
pub fn try_open(sim: &SimHandle, target: &str) -> Result<Socket, u16> {
    let url = format!("{}{target}", sim.stream_base());
    match tungstenite::client(url, tls(sim)) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
        Err(error) => panic!("{target}: {error}"),
    }
}

pub fn open(sim: &SimHandle, target: &str) -> Socket {
    try_open(sim, target).unwrap_or_else(|status| panic!("{target} refused with {status}"))
}

pub fn prices(sim: &SimHandle) -> Socket {
    open(sim, &format!("/market/stream?streams={ALL}"))
}

/// The next text message.
pub fn text(socket: &mut Socket) -> String {
    loop {
        match socket.read().expect("a message") {
            Message::Text(text) => return text.as_str().to_owned(),
            Message::Ping(_) => socket.flush().expect("the pong goes out"),
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// The next price frame of a wrapped connection, as an array of entries.
pub fn entries(socket: &mut Socket) -> Vec<Value> {
    unwrap(&text(socket))
}

pub fn unwrap(text: &str) -> Vec<Value> {
    let frame: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(frame["stream"], ALL);
    frame["data"].as_array().expect("an array").clone()
}

/// Reads until the connection ends; the error that ends it.
pub fn end(socket: &mut Socket) -> Error {
    loop {
        if let Err(error) = socket.read() {
            return error;
        }
    }
}

/// Polls the ledger until `done`.
#[track_caller]
pub fn wait(sim: &SimHandle, what: &str, done: impl Fn(&Ledger) -> bool) -> Ledger {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ledger = sim.ledger();
        if done(&ledger) {
            return ledger;
        }
        assert!(Instant::now() < deadline, "{what}: {ledger:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One GET on a connection of its own: status and body.
pub fn get(sim: &SimHandle, target: &str) -> (u16, Value) {
    let mut stream = tls(sim);
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head_len = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
    let head = std::str::from_utf8(&answer[..head_len]).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_slice(&answer[head_len..]).unwrap_or(Value::Null))
}

/// What a client that follows the rules holds: newest `E` per symbol, good USDⓈ-M prices only.
#[derive(Default)]
pub struct Table {
    rows: BTreeMap<String, (i64, String)>,
}

impl Table {
    /// Applies a frame of good entries; a new connection starts with `fresh`.
    pub fn apply(&mut self, entries: &[Value], fresh: bool) {
        for entry in entries {
            let (Some(price), Some(event_ms)) = (entry["p"].as_str(), entry["E"].as_i64()) else { continue };
            let good = kraite_streams::domain::PriceText::parse(price.as_bytes()).is_ok();
            let ahead = event_ms > now_ms() + 60_000;
            if entry["st"] != 1 || !good || ahead {
                continue;
            }
            let row = self.rows.entry(entry["s"].as_str().unwrap().to_owned()).or_default();
            if fresh || event_ms > row.0 {
                *row = (event_ms, price.to_owned());
            }
        }
    }

    pub fn prices(&self) -> BTreeMap<String, String> {
        self.rows.iter().map(|(symbol, (_, price))| (symbol.clone(), price.clone())).collect()
    }
}

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}
