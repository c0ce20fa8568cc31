//! Promise: the TLS client understands a real TLS server, however the bytes are cut, verifies its certificate, and says in
//! words what is wrong with it. The server is rustls' own buffered one, in memory; the authority is made here.
#![cfg(feature = "sim")]

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;

use kraite_streams::stream::plain::PlainBuffer;
use kraite_streams::stream::tls::{TlsClient, TlsError, client_config, server_name};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, Error, ServerConfig, ServerConnection, SupportedProtocolVersion};

const HOST: &str = "stream.example";

#[test]
fn a_full_handshake_and_then_a_resumed_one() {
    let authority = Authority::new();
    for version in [&TLS13, &TLS12] {
        let (client, server) = (authority.client(8), authority.server(version));
        for is_resumed in [false, true, true] {
            let mut link = Link::new(&client, &server);
            link.settle().unwrap();
            assert!(!link.client.is_handshaking() && !link.server.is_handshaking());
            assert_eq!(link.server.alpn_protocol(), Some(&b"http/1.1"[..]));
            link.echo(b"over and back");
            assert_eq!(link.client.is_resumed(), is_resumed, "{version:?}");
        }
    }
}

#[test]
fn bytes_may_arrive_one_at_a_time() {
    let authority = Authority::new();
    for version in [&TLS13, &TLS12] {
        let mut link = Link::new(&authority.client(8), &authority.server(version));
        link.piece = 1;
        link.settle().unwrap();
        link.echo(&[b'x'; 40_000]);
    }
}

#[test]
fn a_tick_of_150_kb_goes_through_in_one_read() {
    let authority = Authority::new();
    for version in [&TLS13, &TLS12] {
        let mut link = Link::new(&authority.client(8), &authority.server(version));
        link.settle().unwrap();
        let tick: Vec<u8> = (0..150_000_u32).map(|n| (n * 7) as u8).collect();
        link.server_sends(&tick);
        link.settle().unwrap();
        assert_eq!(link.plain.data(), tick);
        assert!(link.cipher.is_empty());
        link.plain.clear();
        link.echo(&tick);
    }
}

#[test]
fn the_keys_may_change_on_the_way() {
    let authority = Authority::new();
    let mut link = Link::new(&authority.client(8), &authority.server(&TLS13));
    link.settle().unwrap();
    for _ in 0..3 {
        link.server.refresh_traffic_keys().unwrap();
        link.echo(b"with new keys");
    }
}

#[test]
fn a_goodbye_of_the_server_comes_after_its_data() {
    let authority = Authority::new();
    for version in [&TLS13, &TLS12] {
        let mut link = Link::new(&authority.client(8), &authority.server(version));
        link.settle().unwrap();
        link.server_sends(b"last words");
        link.server.send_close_notify();
        assert!(!link.peer_closed);
        link.settle().unwrap();
        assert!(link.peer_closed);
        assert_eq!(link.plain.data(), b"last words");
        // What follows a goodbye is not read.
        link.cipher.extend_from_slice(b"\x17\x03\x03\x00\x05noise");
        link.settle().unwrap();
        assert!(link.peer_closed);
        assert_eq!(link.plain.data(), b"last words");
    }
}

#[test]
fn our_goodbye_reaches_the_server_once() {
    let authority = Authority::new();
    for version in [&TLS13, &TLS12] {
        let mut link = Link::new(&authority.client(8), &authority.server(version));
        link.settle().unwrap();
        link.client.write(b"bye", &mut link.out).unwrap();
        link.client.close(&mut link.out);
        let said = link.out.len();
        link.client.close(&mut link.out);
        assert_eq!(link.out.len(), said);
        link.settle().unwrap();
        assert!(link.is_told_goodbye && link.server_reads() == b"bye");
    }
}

#[test]
fn certificates_that_prove_nothing_are_refused_in_words() {
    let (authority, stranger) = (Authority::new(), Authority::named("a stranger"));
    // The name that the certificate asks for, with another key.
    let impostor = Authority::new();
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2024, 2, 29);
    let future = |params: &mut CertificateParams| params.not_before = date_time_ymd(4000, 1, 2);
    for version in [&TLS13, &TLS12] {
        let good = authority.server(version);
        let alert = AlertDescription::UnknownCA;
        check_refused(&stranger.client(8), HOST, &good, "unknown_issuer", "net.extra_roots", alert);
        let text = "a signature is not that of the authority it names";
        check_refused(&impostor.client(8), HOST, &good, "bad_certificate", text, AlertDescription::DecryptError);
        let no_extra = client_config(b"", 8).unwrap();
        check_refused(&no_extra, HOST, &good, "unknown_issuer", "not signed by an authority trusted here", alert);
        let client = authority.client(8);
        let alert = AlertDescription::BadCertificate;
        let text = "is not for other.example, but for DnsName(\"stream.example\")";
        check_refused(&client, "other.example", &good, "wrong_name", text, alert);
        check_refused(&client, "127.0.0.1", &good, "wrong_name", "is not for 127.0.0.1", alert);
        let alert = AlertDescription::CertificateExpired;
        let old = authority.server_with(version, expired);
        check_refused(&client, HOST, &old, "expired", "expired on 2024-02-29", alert);
        let young = authority.server_with(version, future);
        check_refused(&client, HOST, &young, "not_yet_valid", "only from 4000-01-02", alert);
    }
}

#[test]
fn a_server_that_speaks_no_http_1_refuses_us() {
    let authority = Authority::new();
    let mut server = ServerConfig::clone(&authority.server(&TLS13));
    server.alpn_protocols = vec![b"h2".to_vec()];
    let mut link = Link::new(&authority.client(8), &Arc::new(server));
    assert_eq!(link.settle(), Err(TlsError::Refused("NoApplicationProtocol".into())));
}

#[test]
fn a_record_that_was_tampered_with_ends_the_connection() {
    let authority = Authority::new();
    let mut link = Link::new(&authority.client(8), &authority.server(&TLS13));
    link.settle().unwrap();
    link.server_sends(b"one");
    link.receive();
    let last = link.cipher.len() - 1;
    link.cipher[last] ^= 1;
    let error = link.deliver().unwrap_err();
    assert_eq!(error.as_str(), "broken");
    assert!(!link.out.is_empty(), "the alert");
    assert_eq!(link.deliver(), Err(error.clone()));
    assert_eq!(link.client.write(b"late", &mut link.out), Err(error));
    assert!(link.plain.is_empty());
}

#[test]
fn a_full_plaintext_buffer_holds_the_rest_back() {
    let authority = Authority::new();
    let mut link = Link::new(&authority.client(8), &authority.server(&TLS13));
    link.plain = PlainBuffer::with_capacity(40_000);
    link.settle().unwrap();
    let tick: Vec<u8> = (0..150_000_u32).map(|n| (n / 5) as u8).collect();
    link.server_sends(&tick);
    link.receive();
    let mut read = Vec::new();
    while read.len() < tick.len() {
        link.deliver().unwrap();
        assert!(!link.plain.is_empty(), "no progress");
        if read.is_empty() {
            assert_eq!(link.deliver(), Err(TlsError::PlainFull));
            link.client.write(b"still writes", &mut link.out).unwrap();
        }
        read.extend_from_slice(link.plain.data());
        link.plain.clear();
    }
    assert!(read == tick && link.cipher.is_empty());
    link.settle().unwrap();
    assert_eq!(link.server_reads(), b"still writes");
}

/// Handshake messages in records of 32 bytes: rustls looks at the beginnings again, in the caller's buffer, whenever it is
/// asked for its state; also when there is something to write.
#[test]
fn writing_is_possible_while_a_ticket_is_half_here() {
    let authority = Authority::new();
    let mut server = ServerConfig::clone(&authority.server(&TLS13));
    server.max_fragment_size = Some(48);
    // Tickets that carry the session itself are longer than one such record.
    server.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    let mut link = Link::new(&authority.client(8), &Arc::new(server));
    let mut written = Vec::new();
    for _ in 0..10 {
        link.send();
        let kept = link.cipher.len();
        link.receive();
        for byte in link.cipher.split_off(kept) {
            link.cipher.push(byte);
            link.deliver().unwrap();
            if !link.client.is_handshaking() {
                link.client.write(b"x", &mut link.out).unwrap();
                written.push(b'x');
            }
        }
    }
    link.settle().unwrap();
    assert!(written.len() > 100, "{} writes", written.len());
    assert_eq!(link.server_reads(), written);
    link.echo(b"and back");
}

#[test]
fn tickets_are_kept_up_to_the_number_asked_for() {
    let authority = Authority::new();
    for (tickets, expected) in [(0, 0), (1, 1), (3, 3), (100, 4)] {
        let client = authority.client(tickets);
        let mut server = ServerConfig::clone(&authority.server(&TLS13));
        server.send_tls13_tickets = 4;
        let server = Arc::new(server);
        Link::new(&client, &server).settle().unwrap();
        // A ticket is taken when a client is made, and given back by none of these before all are made.
        let mut links: Vec<Link> = (0..6).map(|_| Link::new(&client, &server)).collect();
        let resumed = links.iter_mut().filter_map(|link| {
            link.settle().unwrap();
            link.client.is_resumed().then_some(())
        });
        assert_eq!(resumed.count(), expected, "{tickets} tickets");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let authority = Authority::new();
    let client = authority.client(8);
    let mut link = Link::new(&client, &authority.server(&TLS13));
    link.settle().unwrap();
    link.server_sends(b"plaintext");
    link.settle().unwrap();
    let printed = format!("{:?} {:?} {:?}", link.client, link.plain, client.resumption);
    assert!(printed.contains("TLSv1_3") && printed.contains("held: 9"), "{printed}");
    assert!(printed.len() < 500, "{printed}");
}

/// Both ends of one connection, and the wires between them.
struct Link {
    client: TlsClient,
    server: ServerConnection,
    plain: PlainBuffer,
    /// To the client; what it left unconsumed stays in front.
    cipher: Vec<u8>,
    /// To the server.
    out: Vec<u8>,
    /// Bytes that the client is given at a time.
    piece: usize,
    peer_closed: bool,
    /// What the server decrypted, and its own verdict.
    arrived: Vec<u8>,
    is_told_goodbye: bool,
    server_error: Option<Error>,
}

impl Link {
    fn new(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Link {
        Link::to(HOST, client, server)
    }

    fn to(host: &str, client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Link {
        let mut client = TlsClient::new(client, server_name(host).unwrap()).unwrap();
        let (mut plain, mut out) = (PlainBuffer::for_messages(1 << 20), Vec::new());
        client.read(&mut [], &mut plain, &mut out).unwrap();
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        server.set_buffer_limit(None);
        Link {
            client,
            server,
            plain,
            cipher: Vec::new(),
            out,
            piece: usize::MAX,
            peer_closed: false,
            arrived: Vec::new(),
            is_told_goodbye: false,
            server_error: None,
        }
    }

    /// Carries bytes until both ends are quiet.
    fn settle(&mut self) -> Result<(), TlsError> {
        loop {
            self.send();
            let before = self.cipher.len();
            self.receive();
            let arrived = self.cipher.split_off(before);
            let result = self.deliver_pieces(&arrived);
            if result.is_err() {
                self.send();
                return result;
            }
            if arrived.is_empty() && self.out.is_empty() {
                return Ok(());
            }
        }
    }

    fn send(&mut self) {
        let mut out = &self.out[..];
        while !out.is_empty() && self.server_error.is_none() {
            self.server.read_tls(&mut out).unwrap();
            self.server_error = self.server.process_new_packets().err();
            match self.server.reader().read_to_end(&mut self.arrived) {
                Ok(_) => self.is_told_goodbye = true,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        self.out.clear();
    }

    /// Takes the server's bytes off the wire.
    fn receive(&mut self) {
        while self.server.wants_write() {
            self.server.write_tls(&mut self.cipher).unwrap();
        }
    }

    fn deliver_pieces(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        let piece = self.piece.min(bytes.len()).max(1);
        for bytes in bytes.chunks(piece) {
            self.cipher.extend_from_slice(bytes);
            self.deliver()?;
        }
        Ok(())
    }

    /// Gives the client what is in `cipher`.
    fn deliver(&mut self) -> Result<(), TlsError> {
        let progress = self.client.read(&mut self.cipher, &mut self.plain, &mut self.out)?;
        self.cipher.drain(..progress.consumed);
        self.peer_closed = progress.peer_closed;
        Ok(())
    }

    fn server_sends(&mut self, bytes: &[u8]) {
        self.server.writer().write_all(bytes).unwrap();
    }

    /// What arrived at the server and was not read yet.
    fn server_reads(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.arrived)
    }

    /// Client to server, and the same bytes back.
    fn echo(&mut self, bytes: &[u8]) {
        let kept = b"kept".to_vec();
        let mut out = kept.clone();
        self.client.write(bytes, &mut out).unwrap();
        self.out.extend_from_slice(out.strip_prefix(&kept[..]).expect("what was there stays"));
        self.settle().unwrap();
        let arrived = self.server_reads();
        assert!(arrived == bytes, "{} bytes of {} reached the server", arrived.len(), bytes.len());
        self.server_sends(&arrived);
        self.settle().unwrap();
        assert!(self.plain.data() == bytes, "{:?} of {} came back", self.plain, bytes.len());
        self.plain.clear();
    }
}

/// A certificate authority of its own.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        Authority::named("an authority")
    }

    fn named(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// A client that trusts this authority.
    fn client(&self, tickets: usize) -> Arc<ClientConfig> {
        client_config(self.issuer.pem().as_bytes(), tickets).unwrap()
    }

    /// A server with a good certificate for [`HOST`].
    fn server(&self, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
        self.server_with(version, |_params| {})
    }

    fn server_with(
        &self,
        version: &'static SupportedProtocolVersion,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        change(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

fn check_refused(
    client: &Arc<ClientConfig>,
    host: &str,
    server: &Arc<ServerConfig>,
    word: &str,
    text: &str,
    alert: AlertDescription,
) {
    for piece in [usize::MAX, 1] {
        let mut link = Link::to(host, client, server);
        link.piece = piece;
        let error = link.settle().expect_err("a bad certificate was accepted");
        assert_eq!(error.as_str(), word);
        assert!(error.to_string().contains(text), "{error} does not say {text:?}");
        assert!(link.client.write(b"secret", &mut link.out).is_err());
        assert_eq!(link.server_error, Some(Error::AlertReceived(alert)), "the server is told");
    }
}
