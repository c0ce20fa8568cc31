//! A session with a real TLS server in memory, and a clock that is moved.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};

use crate::domain::{Now, Random, Wall};
use crate::stream::plain::PlainBuffer;
use crate::stream::tls::client_config;
use crate::stream::{Action, Consumer, Fault, Received, Session, SessionConfig, StreamEvent, StreamUrl};

pub const PING: u8 = 9;
pub const PONG: u8 = 10;
pub const CLOSE: u8 = 8;
pub const TEXT: u8 = 1;
pub const MESSAGE_MAX: usize = 100_000;

struct Authority {
    pem: String,
    server: Arc<ServerConfig>,
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| authority("a test's authority"));

fn authority(name: &str) -> Authority {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let root = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["stream.test".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    Authority { pem: root.pem(), server: Arc::new(server) }
}

/// How the world answers the next attempts.
pub struct World {
    /// `None`: the lookup hangs.
    pub addresses: Option<Result<Vec<SocketAddr>, io::ErrorKind>>,
    /// Per connect, the last one for ever.
    pub connects: VecDeque<Connect>,
    /// What the server answers to the upgrade; `None`: nothing. `{accept}` becomes the key's answer.
    pub answer: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connect {
    Accepted,
    Refused,
    Hangs,
}

pub const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n";

/// What the consumer heard.
#[derive(Default)]
pub struct Heard {
    pub messages: Vec<(u64, String, Now)>,
    pub events: Vec<StreamEvent>,
}

impl Consumer for Heard {
    fn handle_message(&mut self, connection: u64, payload: &mut [u8], len: usize, at: Now) -> Received {
        assert_eq!(payload.len(), len + crate::domain::limits::FRAME_PADDING);
        let text = String::from_utf8_lossy(&payload[..len]).into_owned();
        let received = if text.starts_with("ack") { Received::Other } else { Received::Data };
        self.messages.push((connection, text, at));
        received
    }

    fn handle_event(&mut self, event: &StreamEvent, _at: Now) {
        self.events.push(event.clone());
    }
}

impl Heard {
    pub fn faults(&self) -> Vec<&Fault> {
        let faults = self.events.iter().map(|event| match event {
            StreamEvent::Fault(fault) => Some(fault),
            _ => None,
        });
        faults.flatten().collect()
    }

    pub fn silences(&self) -> Vec<Duration> {
        let silences = self.events.iter().map(|event| match event {
            StreamEvent::DataSilence { silent, .. } => Some(*silent),
            _ => None,
        });
        silences.flatten().collect()
    }

    pub fn lives(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, StreamEvent::Live { .. })).count()
    }
}

/// The server's end of one connection.
pub struct Server {
    pub tls: ServerConnection,
    request: Vec<u8>,
    is_upgraded: bool,
    /// Frames of the client, unmasked: opcode and payload.
    pub frames: Vec<(u8, Vec<u8>)>,
    unread: Vec<u8>,
}

pub struct Rig {
    pub session: Session,
    pub plain: PlainBuffer,
    pub heard: Heard,
    pub now: Now,
    pub world: World,
    pub server: Option<Server>,
    /// The server as it was when the session closed the connection.
    pub parted: Option<Server>,
    pub connected_to: Vec<SocketAddr>,
    /// Whether the socket takes what the session sends.
    pub is_writable: bool,
    pub resolves: Vec<u64>,
    rest: Vec<u8>,
}

impl Rig {
    pub fn new() -> Rig {
        Rig::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut SessionConfig)) -> Rig {
        let url = StreamUrl::parse("wss://stream.test/market/stream?streams=!markPrice@arr@1s").unwrap();
        let mut config = SessionConfig::new(url, client_config(AUTHORITY.pem.as_bytes(), 8).unwrap());
        config.max_message = MESSAGE_MAX;
        change(&mut config);
        let now =
            Now { mono: crate::domain::Mono::from_nanos(50_000_000_000), wall: Wall::from_millis(1_795_419_015_000) };
        Rig {
            session: Session::new(config, Random::from_seed(7), now.mono),
            plain: PlainBuffer::for_messages(MESSAGE_MAX),
            heard: Heard::default(),
            now,
            world: World {
                addresses: Some(Ok(vec![SocketAddr::from(([127, 0, 0, 1], 443))])),
                connects: VecDeque::from([Connect::Accepted]),
                answer: Some(SWITCHING.as_bytes().to_vec()),
            },
            server: None,
            parted: None,
            connected_to: Vec::new(),
            is_writable: true,
            resolves: Vec::new(),
            rest: Vec::new(),
        }
    }

    /// A rig whose stream is live and has had data.
    pub fn flowing() -> Rig {
        let mut rig = Rig::new();
        rig.pass(Duration::ZERO);
        rig.send(TEXT, b"tick");
        assert_eq!(rig.heard.messages.len(), 1, "{:?}", rig.heard.events);
        rig
    }

    /// Another authority than the one that is trusted.
    pub fn untrusted() -> Rig {
        let stranger = authority("a stranger");
        Rig::with(|config| config.tls = client_config(stranger.pem.as_bytes(), 8).unwrap())
    }

    /// Moves the clock, then lets everything happen that happens at once.
    pub fn pass(&mut self, time: Duration) {
        self.jump(time);
        self.settle();
    }

    pub fn pass_s(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// Passes `seconds` in steps of a second.
    pub fn pass_each_s(&mut self, seconds: u64) {
        (0..seconds).for_each(|_| self.pass_s(1));
    }

    pub fn jump(&mut self, time: Duration) {
        self.now.mono = self.now.mono.plus(time);
        self.now.wall = Wall::from_micros(self.now.wall.as_micros() + time.as_micros() as i64);
    }

    pub fn settle(&mut self) {
        self.session.handle_deadline(self.now, &mut self.heard);
        self.exchange();
    }

    /// Carries bytes and actions until nothing moves.
    pub fn exchange(&mut self) {
        loop {
            let sent = self.transmit();
            let acted = self.act();
            let received = self.receive();
            if !(sent || acted || received) {
                return;
            }
        }
    }

    /// The server sends one frame, and it arrives.
    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.send_raw(&frame(opcode, payload));
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let server = self.server.as_mut().expect("a connection");
            let n = server.tls.writer().write(bytes).unwrap();
            bytes = &bytes[n..];
            self.receive();
        }
        self.exchange();
    }

    /// A frame that arrives together with the next ciphertext.
    pub fn hold_back(&mut self, opcode: u8, payload: &[u8]) {
        let server = self.server.as_mut().expect("a connection");
        server.tls.writer().write_all(&frame(opcode, payload)).unwrap();
        server.tls.write_tls(&mut self.rest).unwrap();
    }

    /// Ciphertext that no key made.
    pub fn send_cipher(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        self.feed();
        self.exchange();
    }

    pub fn stop(&mut self) {
        self.session.stop(self.now, &mut self.heard);
        self.exchange();
    }

    pub fn eof(&mut self) {
        self.session.handle_eof(self.now, &mut self.heard);
        self.exchange();
    }

    pub fn io_error(&mut self, kind: io::ErrorKind) {
        self.session.handle_io_error(&io::Error::from(kind), self.now, &mut self.heard);
        self.exchange();
    }

    pub fn client_frames(&mut self) -> Vec<(u8, Vec<u8>)> {
        let server = self.server.as_mut().or(self.parted.as_mut());
        server.map(|server| std::mem::take(&mut server.frames)).unwrap_or_default()
    }

    pub fn transmit(&mut self) -> bool {
        if self.session.transmit().is_empty() || !self.is_writable {
            return false;
        }
        let Some(server) = &mut self.server else { return false };
        let mut bytes = self.session.transmit();
        let n = bytes.len();
        while !bytes.is_empty() {
            server.tls.read_tls(&mut bytes).unwrap();
            // A fatal alert of the client's is an error here and a fact to the test.
            let _ = server.tls.process_new_packets();
        }
        server.think(self.world.answer.as_deref());
        self.session.handle_sent(n, self.now, &mut self.heard);
        true
    }

    fn act(&mut self) -> bool {
        let Some(action) = self.session.poll_action() else { return false };
        if action == Action::Close {
            self.transmit();
        }
        if let Some(server) = self.server.take() {
            self.parted = Some(server);
        }
        self.rest.clear();
        self.plain.clear();
        match action {
            Action::Close => {}
            Action::Resolve { attempt } => {
                self.resolves.push(attempt);
                if let Some(outcome) = &self.world.addresses {
                    let outcome = outcome.clone().map_err(io::Error::from);
                    self.session.handle_resolved(attempt, outcome, self.now, &mut self.heard);
                }
            }
            Action::Connect(address) => {
                self.connected_to.push(address);
                let connects = &mut self.world.connects;
                match if connects.len() > 1 { connects.pop_front().unwrap() } else { connects[0] } {
                    Connect::Hangs => {}
                    Connect::Refused => {
                        let error = io::Error::from(io::ErrorKind::ConnectionRefused);
                        self.session.handle_io_error(&error, self.now, &mut self.heard);
                    }
                    Connect::Accepted => {
                        let tls = ServerConnection::new(Arc::clone(&AUTHORITY.server)).unwrap();
                        let (request, frames, unread) = (Vec::new(), Vec::new(), Vec::new());
                        self.server = Some(Server { tls, request, is_upgraded: false, frames, unread });
                        self.session.handle_connected(&mut self.plain, self.now, &mut self.heard);
                    }
                }
            }
        }
        true
    }

    fn receive(&mut self) -> bool {
        let Some(server) = &mut self.server else { return false };
        let before = self.rest.len();
        while server.tls.wants_write() {
            server.tls.write_tls(&mut self.rest).unwrap();
        }
        self.rest.len() > before && self.feed()
    }

    fn feed(&mut self) -> bool {
        let done = self.session.handle_bytes(&mut self.rest, &mut self.plain, self.now, &mut self.heard);
        self.rest.drain(..done);
        true
    }
}

impl Server {
    fn think(&mut self, answer: Option<&[u8]>) {
        let mut read = Vec::new();
        // "Would block" once everything is read.
        let _ = self.tls.reader().read_to_end(&mut read);
        if self.is_upgraded {
            self.unread.extend(read);
            return self.read_frames();
        }
        self.request.extend(read);
        if !self.request.ends_with(b"\r\n\r\n") {
            return;
        }
        let request = String::from_utf8(std::mem::take(&mut self.request)).unwrap();
        assert!(request.starts_with("GET /market/stream?streams=!markPrice@arr@1s HTTP/1.1\r\n"), "{request}");
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        self.is_upgraded = true;
        if let Some(answer) = answer {
            let at = answer.windows(8).position(|window| window == b"{accept}");
            let mut bytes = answer.to_vec();
            if let Some(at) = at {
                bytes.splice(at..at + 8, accept.bytes());
            }
            self.tls.writer().write_all(&bytes).unwrap();
        }
    }

    fn read_frames(&mut self) {
        while self.unread.len() >= 6 {
            let len = usize::from(self.unread[1] & 0x7f);
            assert!(self.unread[1] & 0x80 != 0 && len < 126, "a short masked frame");
            if self.unread.len() < 6 + len {
                return;
            }
            let frame: Vec<_> = self.unread.drain(..6 + len).collect();
            let payload = frame[6..].iter().zip(frame[2..6].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            self.frames.push((frame[0] & 0x0f, payload));
        }
    }
}

/// A whole frame of a server.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => bytes.push(short as u8),
        long @ 126..65_536 => {
            bytes.push(126);
            bytes.extend((long as u16).to_be_bytes());
        }
        longer => {
            bytes.push(127);
            bytes.extend((longer as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}
