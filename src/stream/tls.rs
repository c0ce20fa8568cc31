//! TLS over memory: whole records are consumed from the caller's cipher buffer, and their plaintext is appended to a
//! [`PlainBuffer`]. No socket, no buffer of its own.
//!
//! rustls' `UnbufferedClientConnection` decrypts in place and hands out one record at a time; rustls 0.23 allocates once
//! per record, the one allocation between socket and parser (facts/measurements.md §3). Handshake, alerts, key updates and
//! tickets are rustls' work. Certificates are always verified; nothing in here can switch that off.

use std::fmt;
use std::sync::Arc;

use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};

use super::plain::PlainBuffer;
use super::tickets::TicketStore;
pub use super::tls_error::TlsError;
use crate::domain::limits::TLS_RECORD_PLAINTEXT_MAX;

/// Type, version and length of a record (RFC 8446 §5.1).
const RECORD_HEADER: usize = 5;
/// Types of records in the clear (RFC 8446 §5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
/// What encryption adds to a record, in every suite of the ring provider.
const RECORD_OVERHEAD_MAX: usize = RECORD_HEADER + 8 + 1 + 16;

/// The TLS client of one connection.
pub struct TlsClient {
    inner: UnbufferedClientConnection,
    /// A copy of the unconsumed records that hold the beginning of a handshake message. rustls looks at their place in
    /// the buffer whenever it is asked for its state, also when there is something to write. Empty but in that rare case.
    parked: Vec<u8>,
    peer_closed: bool,
    failed: Option<TlsError>,
}

/// What one [`TlsClient::read`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsProgress {
    /// Bytes in front of the cipher buffer that are done with. The caller keeps those behind them, unchanged: they may be
    /// decrypted already.
    pub consumed: usize,
    /// The server said that nothing more will come.
    pub peer_closed: bool,
}

impl TlsClient {
    /// A client that will accept a certificate for `name` only. [`TlsClient::read`] with no bytes starts the handshake.
    ///
    /// # Errors
    /// When the system has no random bytes, or the configuration does not fit.
    pub fn new(config: &Arc<ClientConfig>, name: ServerName<'static>) -> Result<TlsClient, TlsError> {
        let inner = UnbufferedClientConnection::new(Arc::clone(config), name)?;
        Ok(TlsClient { inner, parked: Vec::new(), peer_closed: false, failed: None })
    }

    /// Consumes whole records from the front of `cipher`, appends their plaintext to `plain`, and what has to be sent
    /// (handshake, alerts, key updates) to `out`; the latter also when it fails.
    ///
    /// Stops early when `plain` has no room for one more record: take messages out and call again. The caller's buffer
    /// must hold a handshake message of 64 KiB in records.
    ///
    /// # Errors
    /// When the handshake fails, a record is broken, or the server sends a fatal alert; every later call fails alike. And
    /// [`TlsError::PlainFull`] when `plain` had no room from the start, which can be tried again.
    ///
    /// # Panics
    /// When the bytes that the last call left unconsumed are missing in front of `cipher`.
    pub fn read(
        &mut self,
        cipher: &mut [u8],
        plain: &mut PlainBuffer,
        out: &mut Vec<u8>,
    ) -> Result<TlsProgress, TlsError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let kept = self.parked.len();
        assert!(cipher.len() >= kept, "{kept} unconsumed bytes must stay, {} are here", cipher.len());
        let progress = self.process(cipher, plain, out);
        if let Err(error) = &progress
            && *error != TlsError::PlainFull
        {
            self.failed = Some(error.clone());
        }
        progress
    }

    fn process(
        &mut self,
        cipher: &mut [u8],
        plain: &mut PlainBuffer,
        out: &mut Vec<u8>,
    ) -> Result<TlsProgress, TlsError> {
        let mut consumed = 0;
        loop {
            let unread = &mut cipher[consumed..];
            if !unread.is_empty() && plain.space(TLS_RECORD_PLAINTEXT_MAX).is_err() {
                if consumed == 0 {
                    return Err(TlsError::PlainFull);
                }
                self.parked.clear();
                break;
            }
            let status = self.inner.process_tls_records(unread);
            consumed += status.discard;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        plain.append(record?.payload).map_err(|full| TlsError::Broken(full.to_string()))?;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(record)) => append_record(record, out)?,
                Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
                Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
                Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake) => {
                    self.park(&cipher[consumed..]);
                    break;
                }
                Ok(ConnectionState::Closed) => {
                    self.peer_closed = true;
                    break;
                }
                Ok(other) => return Err(TlsError::Broken(format!("a client cannot be in the state {other:?}"))),
                Err(error) => {
                    self.take_alert(&mut cipher[consumed..], out);
                    return Err(error.into());
                }
            }
        }
        Ok(TlsProgress { consumed, peer_closed: self.peer_closed })
    }

    /// Whether the handshake still runs.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    /// Whether the finished handshake resumed an earlier session.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.inner.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Encrypts `plaintext`, and appends the records to `out`.
    ///
    /// # Errors
    /// Before the end of the handshake, after [`TlsClient::close`], and after an error of [`TlsClient::read`].
    pub fn write(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        self.when_writable(out, |traffic, out| {
            let records = plaintext.len().div_ceil(TLS_RECORD_PLAINTEXT_MAX);
            append_encrypted(plaintext.len() + records * RECORD_OVERHEAD_MAX, out, |room| {
                traffic.encrypt(plaintext, room)
            })
        })
    }

    /// Says goodbye: `close_notify` is appended to `out`, if the connection got that far.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        // A connection that cannot say goodbye needs none.
        let _unwritable = self.when_writable(out, |traffic, out| {
            append_encrypted(RECORD_OVERHEAD_MAX + 2, out, |room| traffic.queue_close_notify(room))
        });
    }

    fn when_writable(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut WriteTraffic<'_>, &mut Vec<u8>) -> Result<(), TlsError>,
    ) -> Result<(), TlsError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        loop {
            match self.inner.process_tls_records(&mut self.parked).state? {
                ConnectionState::WriteTraffic(mut traffic) => return write(&mut traffic, out),
                ConnectionState::EncodeTlsData(record) => append_record(record, out)?,
                ConnectionState::TransmitTlsData(sent) => sent.done(),
                ConnectionState::PeerClosed => self.peer_closed = true,
                _ => return Err(TlsError::NotWritable),
            }
        }
    }

    /// Called when rustls can do nothing more with `rest`. A first record that is complete, and yet not consumed, holds
    /// the beginning of a handshake message.
    fn park(&mut self, rest: &[u8]) {
        self.parked.clear();
        let is_complete = rest.len() >= RECORD_HEADER
            && rest.len() - RECORD_HEADER >= usize::from(u16::from_be_bytes([rest[3], rest[4]]));
        if is_complete && !self.peer_closed {
            self.parked.extend_from_slice(rest);
        }
    }

    /// After an error: the alert that tells the server why. It is the last record that rustls has to send, and rustls must
    /// not be asked again after it; a handshake record in the clear may come before it.
    fn take_alert(&mut self, cipher: &mut [u8], out: &mut Vec<u8>) {
        let mut at = 0;
        loop {
            let status = self.inner.process_tls_records(&mut cipher[at..]);
            at += status.discard;
            let Ok(ConnectionState::EncodeTlsData(record)) = status.state else { return };
            let start = out.len();
            let is_alert = append_record(record, out).is_err()
                || !matches!(out.get(start), Some(&(CHANGE_CIPHER_SPEC | HANDSHAKE)));
            if is_alert {
                return;
            }
        }
    }
}

impl fmt::Debug for TlsClient {
    /// No keys, no tickets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient")
            .field("version", &self.inner.protocol_version())
            .field("is_handshaking", &self.is_handshaking())
            .field("peer_closed", &self.peer_closed)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

type WriteTraffic<'c> = rustls::unbuffered::WriteTraffic<'c, rustls::client::ClientConnectionData>;

fn append_record(
    mut record: EncodeTlsData<'_, rustls::client::ClientConnectionData>,
    out: &mut Vec<u8>,
) -> Result<(), TlsError> {
    let start = out.len();
    match record.encode(&mut []) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            out.resize(start + required_size, 0);
            let written = record.encode(&mut out[start..]).map_err(|error| TlsError::Broken(error.to_string()))?;
            out.truncate(start + written);
            Ok(())
        }
        Err(error) => Err(TlsError::Broken(error.to_string())),
        Ok(_nothing) => Ok(()),
    }
}

/// Lets `encrypt` write behind `out`'s content, with `guess` bytes of room and then with as many as it asks for.
fn append_encrypted(
    guess: usize,
    out: &mut Vec<u8>,
    mut encrypt: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), TlsError> {
    let start = out.len();
    let mut room = guess;
    loop {
        out.resize(start + room, 0);
        match encrypt(&mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) if required_size > room => {
                room = required_size;
            }
            Err(error) => {
                out.truncate(start);
                return Err(TlsError::Broken(error.to_string()));
            }
        }
    }
}

/// The configuration of every connection: the roots of `webpki-roots` and those of `extra_roots_pem`, no client
/// certificate, ALPN `http/1.1`, TLS 1.2 and 1.3 of the ring provider, and up to `tickets` sessions to resume per server.
///
/// # Errors
/// [`TlsError::BadRoots`] when `extra_roots_pem` is not empty, and not PEM with at least one usable certificate.
pub fn client_config(extra_roots_pem: &[u8], tickets: usize) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    add_roots(&mut roots, extra_roots_pem)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::store(Arc::new(TicketStore::new(tickets)));
    Ok(Arc::new(config))
}

/// The name to verify for `host`: a DNS name, or an IP address (IPv6 with or without brackets).
///
/// # Errors
/// [`TlsError::BadName`] when it is neither.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).map_err(|_invalid| TlsError::BadName(host.to_owned()))
}

fn add_roots(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), TlsError> {
    let known = roots.len();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let bad = |why: String| TlsError::BadRoots(format!("certificate {} is {why}", index + 1));
        let certificate = certificate.map_err(|_content| bad("not valid PEM".into()))?;
        roots.add(certificate).map_err(|error| bad(format!("not usable as a root: {error}")))?;
    }
    if roots.len() == known && !pem.trim_ascii().is_empty() {
        return Err(TlsError::BadRoots("there is no PEM certificate in it".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Random;

    #[test]
    fn roots_are_read_or_refused_in_words() {
        check(b"", Ok(()));
        check(b" \n", Ok(()));
        check(b"not a certificate", Err("there is no PEM certificate in it"));
        check(b"-----BEGIN CERTIFICATE-----\nAAAA\n", Err("certificate 1 is not valid PEM"));
        check(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", Err("certificate 1 is not valid PEM"));
        check(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", Err("certificate 1 is not usable"));
        check(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", Err("no PEM certificate"));
    }

    #[test]
    fn names_are_dns_names_or_addresses() {
        for good in ["fstream.binance.com", "localhost", "127.0.0.1", "::1", "[::1]"] {
            assert!(server_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "host:443", "[", "[::1"] {
            assert_eq!(server_name(bad), Err(TlsError::BadName(bad.to_owned())));
        }
    }

    #[test]
    fn the_handshake_starts_without_bytes_and_nothing_is_written_before_it_ends() {
        let config = client_config(b"", 4).unwrap();
        let mut client = TlsClient::new(&config, server_name("example.com").unwrap()).unwrap();
        let (mut plain, mut out) = (PlainBuffer::for_messages(1_000), b"kept".to_vec());
        let progress = client.read(&mut [], &mut plain, &mut out).unwrap();
        assert_eq!(progress, TlsProgress { consumed: 0, peer_closed: false });
        assert!(out.starts_with(b"kept\x16\x03\x01") && client.is_handshaking());
        let hello = out.len();
        assert_eq!(client.write(b"early", &mut out), Err(TlsError::NotWritable));
        client.close(&mut out);
        assert_eq!(out.len(), hello);
    }

    #[test]
    fn a_server_without_tls_is_named_as_such() {
        let config = client_config(b"", 0).unwrap();
        let mut client = TlsClient::new(&config, server_name("example.com").unwrap()).unwrap();
        let (mut plain, mut out) = (PlainBuffer::for_messages(1_000), Vec::new());
        client.read(&mut [], &mut plain, &mut out).unwrap();
        out.clear();
        let answer = client.read(&mut b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), &mut plain, &mut out);
        assert_eq!(answer, Err(TlsError::NotTls));
        assert_eq!(out, [21, 3, 3, 0, 2, 2, 50], "a fatal decode_error alert");
        assert_eq!(client.read(&mut [], &mut plain, &mut out), Err(TlsError::NotTls));
        assert_eq!(client.write(b"late", &mut out), Err(TlsError::NotTls));
    }

    #[test]
    fn an_error_inside_a_split_handshake_message_is_only_an_error() {
        let config = client_config(b"", 0).unwrap();
        let (mut plain, mut out) = (PlainBuffer::for_messages(1_000), Vec::new());
        let mut client = TlsClient::new(&config, server_name("example.com").unwrap()).unwrap();
        let begun = b"\x16\x03\x03\x00\x04\x02\x00\x00\x50".to_vec();
        let mut cipher = begun.clone();
        let progress = client.read(&mut cipher, &mut plain, &mut out).unwrap();
        assert_eq!(progress.consumed, 0, "the beginning stays with the caller");
        assert_eq!(client.write(b"early", &mut out), Err(TlsError::NotWritable));
        cipher.extend_from_slice(b"\x17\x03\x03\x00\x01\x00");
        let error = client.read(&mut cipher, &mut plain, &mut out).unwrap_err();
        assert!(error.to_string().contains("Interleaved"), "{error}");
    }

    #[test]
    fn no_bytes_of_a_server_can_make_it_panic() {
        let config = client_config(b"", 2).unwrap();
        for seed in 0..3_000 {
            let mut random = Random::from_seed(seed);
            let mut client = TlsClient::new(&config, server_name("example.com").unwrap()).unwrap();
            let (mut plain, mut out, mut cipher) = (PlainBuffer::for_messages(1_000), Vec::new(), Vec::new());
            client.read(&mut [], &mut plain, &mut out).unwrap();
            for _ in 0..6 {
                let len = random.below(40);
                cipher.extend([20 + random.below(5) as u8, 3, 3, 0, len as u8]);
                cipher.extend((0..len).map(|_| [0, 1, 2, 4, random.below(256) as u8][random.below(5) as usize]));
                let Ok(progress) = client.read(&mut cipher, &mut plain, &mut out) else { break };
                cipher.drain(..progress.consumed);
                let _refused = client.write(b"x", &mut out);
            }
            client.close(&mut out);
            assert!(plain.is_empty(), "plaintext without a handshake");
        }
    }

    fn check(pem: &[u8], expected: Result<(), &str>) {
        let result = client_config(pem, 1).map(|_config| ()).map_err(|error| error.to_string());
        match (result, expected) {
            (Ok(()), Ok(())) => {}
            (Err(text), Err(part)) => assert!(text.contains(part), "{text:?} does not say {part:?}"),
            (result, expected) => panic!("{result:?} instead of {expected:?}"),
        }
    }
}
