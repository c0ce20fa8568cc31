//! The opening handshake of WebSocket (RFC 6455 §4) over memory, by tungstenite.
//!
//! tungstenite swallows whatever it reads, so it is fed the head only, up to and including the empty line: frames that are
//! glued to the answer stay in the [`PlainBuffer`] for the frame reader. The key comes from the [`Random`] that is handed
//! in. No extension and no subprotocol is offered, and an answer that uses one is refused.
//!
//! Two limits of tungstenite: lines must end in CRLF, and `Connection` must be `Upgrade` alone.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

use tungstenite::error::{Error, ProtocolError};
use tungstenite::handshake::client::{ClientHandshake, Request, Response};
use tungstenite::handshake::{HandshakeError, MidHandshake};
use tungstenite::protocol::WebSocketConfig;

use super::plain::PlainBuffer;
pub use super::upgrade_error::UpgradeError;
use crate::domain::Random;
use crate::domain::limits::UPGRADE_HEAD_MAX;

const USER_AGENT: &str = concat!("kraite-streams/", env!("CARGO_PKG_VERSION"));
const HTTPS_PORT: u16 = 443;
const HEAD_END: &[u8] = b"\r\n\r\n";
/// Characters of a server's own words that are repeated in an error.
const QUOTE_MAX: usize = 200;

/// One opening handshake.
pub struct Upgrade {
    /// `None` when it is over.
    handshake: Option<MidHandshake<ClientHandshake<Memory>>>,
    /// Bytes in which the end of the head was looked for already.
    searched: usize,
}

/// The connection speaks WebSocket now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// Bytes of the answer's head, which were consumed.
    pub head_len: usize,
}

impl Upgrade {
    /// Prepares the request for `wss://host:port/path_and_query`. The port is part of the `Host` header when it is not 443.
    ///
    /// # Errors
    /// [`UpgradeError::BadUrl`] when these are not parts of a URL.
    pub fn new(host: &str, port: u16, path_and_query: &str, random: &mut Random) -> Result<Upgrade, UpgradeError> {
        let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        let authority = if port == HTTPS_PORT { host } else { format!("{host}:{port}") };
        let request = Request::builder()
            .uri(format!("wss://{authority}{path_and_query}"))
            .header("Host", &authority)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", key(random))
            .header("User-Agent", USER_AGENT)
            .body(())
            .map_err(|error| UpgradeError::BadUrl(error.to_string()))?;
        // tungstenite's session is dropped when the handshake is done: it needs no buffer.
        let config = WebSocketConfig::default().read_buffer_size(0).write_buffer_size(0);
        let started = ClientHandshake::start(Memory::default(), request, Some(config))
            .map_err(|error| UpgradeError::BadUrl(error.to_string()))?;
        match started.handshake() {
            Err(HandshakeError::Interrupted(handshake)) => Ok(Upgrade { handshake: Some(handshake), searched: 0 }),
            Err(HandshakeError::Failure(error)) => Err(UpgradeError::BadUrl(error.to_string())),
            Ok(_) => Err(UpgradeError::Malformed("the handshake ended before it began".into())),
        }
    }

    /// Appends the request to `out`; once, a second call appends nothing.
    pub fn write_request(&mut self, out: &mut Vec<u8>) {
        if let Some(handshake) = &mut self.handshake {
            out.append(&mut handshake.get_mut().get_mut().outgoing);
        }
    }

    /// Looks for the answer in `plain`, and consumes its head; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the server did not agree to speak WebSocket with us.
    ///
    /// # Panics
    /// When the handshake is over.
    pub fn feed(&mut self, plain: &mut PlainBuffer) -> Result<Option<Upgraded>, UpgradeError> {
        assert!(self.handshake.is_some(), "feed() after the end of the handshake");
        let data = plain.data();
        let from = self.searched.saturating_sub(HEAD_END.len() - 1).min(data.len());
        let found = data[from..].windows(HEAD_END.len()).position(|window| window == HEAD_END);
        let Some(head_len) = found.map(|at| from + at + HEAD_END.len()) else {
            self.searched = data.len();
            return if data.len() < UPGRADE_HEAD_MAX { Ok(None) } else { Err(UpgradeError::HeadTooLarge) };
        };
        if head_len > UPGRADE_HEAD_MAX {
            return Err(UpgradeError::HeadTooLarge);
        }
        let mut handshake = self.handshake.take().expect("asserted above");
        let head = data[..head_len].to_vec();
        handshake.get_mut().get_mut().incoming = io::Cursor::new(head.clone());
        plain.consume(head_len);
        match handshake.handshake() {
            Ok((_session, response)) if response.headers().contains_key("Sec-WebSocket-Extensions") => {
                Err(UpgradeError::UnofferedExtension)
            }
            Ok(_) => Ok(Some(Upgraded { head_len })),
            Err(HandshakeError::Failure(Error::Http(response))) => Err(refused(&response, &head)),
            Err(HandshakeError::Failure(Error::Protocol(ProtocolError::SecWebSocketAcceptKeyMismatch))) => {
                Err(UpgradeError::WrongAcceptKey)
            }
            Err(HandshakeError::Failure(error)) => Err(UpgradeError::Malformed(error.to_string())),
            Err(HandshakeError::Interrupted(_)) => Err(UpgradeError::Malformed("the head ends too early".into())),
        }
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").field("is_over", &self.handshake.is_none()).finish_non_exhaustive()
    }
}

/// What tungstenite takes for a socket.
#[derive(Debug, Default)]
struct Memory {
    incoming: io::Cursor<Vec<u8>>,
    outgoing: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.incoming.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sixteen random bytes in base64 (RFC 6455 §4.1).
fn key(random: &mut Random) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut nonce = [0; 18];
    random.fill(&mut nonce[..16]);
    let mut key = String::with_capacity(24);
    for three in nonce.chunks(3) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for shift in [18, 12, 6, 0] {
            key.push(char::from(ALPHABET[(bits >> shift) as usize & 63]));
        }
    }
    // The last group holds one byte of the sixteen: two characters of it count.
    key.truncate(22);
    key.push_str("==");
    key
}

fn refused(response: &Response, head: &[u8]) -> UpgradeError {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let status_line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let reason = status_line.splitn(3, |&byte| byte == b' ').nth(2).unwrap_or_default();
    UpgradeError::Refused {
        status: response.status().as_u16(),
        reason: quote(&String::from_utf8_lossy(reason)),
        location: header("Location").map(quote),
        retry_after: header("Retry-After").and_then(|value| value.trim().parse().ok()).map(Duration::from_secs),
    }
}

/// A server's words, fit for a log line: printable and short.
fn quote(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(QUOTE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::handshake::derive_accept_key;

    #[test]
    fn the_request_offers_a_web_socket_and_nothing_else() {
        let (_, request) = start("fstream.binance.com", 443, "/market/stream?streams=!markPrice@arr@1s");
        let lines: Vec<&str> = request.split("\r\n").collect();
        assert_eq!(lines[0], "GET /market/stream?streams=!markPrice@arr@1s HTTP/1.1");
        for header in
            ["Host: fstream.binance.com", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        {
            assert!(lines.contains(&header), "{header} in {request}");
        }
        assert!(lines.contains(&format!("user-agent: {USER_AGENT}").as_str()));
        assert!(!request.to_ascii_lowercase().contains("extensions"));
        assert_eq!(lines.len(), 9, "{request}");
        assert!(request.ends_with("\r\n\r\n"));
    }

    #[test]
    fn the_host_header_names_a_port_that_is_not_443() {
        for (host, port, expected) in [
            ("localhost", 8443, "Host: localhost:8443\r\n"),
            ("127.0.0.1", 443, "Host: 127.0.0.1\r\n"),
            ("::1", 9443, "Host: [::1]:9443\r\n"),
            ("[::1]", 443, "Host: [::1]\r\n"),
        ] {
            let (_, request) = start(host, port, "/ws");
            assert!(request.contains(expected), "{request}");
        }
        for (host, path) in [("a b", "/"), ("", "/"), ("host", "/a b"), ("host", "/\r\nX: y"), ("host\r\n", "/")] {
            let made = Upgrade::new(host, 443, path, &mut Random::from_seed(1));
            assert!(matches!(made, Err(UpgradeError::BadUrl(_))), "{host:?} {path:?}");
        }
    }

    #[test]
    fn the_key_is_sixteen_bytes_of_the_injected_source() {
        let (_, first) = start("h", 443, "/");
        let (_, again) = start("h", 443, "/");
        assert_eq!(first, again, "a seed repeats the request");
        let mut random = Random::from_seed(9);
        let keys: Vec<String> = (0..100).map(|_| key(&mut random)).collect();
        assert!(keys.iter().all(|key| key.len() == 24 && key.ends_with("==")));
        let mut bytes = [0; 16];
        Random::from_seed(9).fill(&mut bytes);
        let decoded = keys[0].bytes().take(22).fold((Vec::new(), 0_u32, 0), |(mut out, bits, n), char| {
            let value = match char {
                b'A'..=b'Z' => char - b'A',
                b'a'..=b'z' => char - b'a' + 26,
                b'0'..=b'9' => char - b'0' + 52,
                b'+' => 62,
                _ => 63,
            };
            let (bits, n) = (bits << 6 | u32::from(value), n + 6);
            if n >= 8 {
                out.push((bits >> (n - 8)) as u8);
            }
            (out, bits, n % 8)
        });
        assert_eq!(decoded.0, bytes);
    }

    #[test]
    fn bytes_behind_the_head_stay_for_the_frame_reader() {
        for piece in [1, 7, usize::MAX] {
            let (mut upgrade, request) = start("localhost", 8443, "/");
            let head = answer(&request, "");
            let wire = [head.as_bytes(), b"\x81\x02hi\x89"].concat();
            let mut plain = PlainBuffer::with_capacity(10_000);
            let mut upgraded = None;
            for bytes in wire.chunks(piece.min(wire.len())) {
                plain.append(bytes).unwrap();
                if upgraded.is_none() {
                    upgraded = upgrade.feed(&mut plain).unwrap();
                }
            }
            assert_eq!(upgraded, Some(Upgraded { head_len: head.len() }));
            assert_eq!(plain.data(), b"\x81\x02hi\x89");
        }
    }

    #[test]
    fn refusals_keep_what_the_server_said() {
        let refused = |status, reason: &str, location: Option<&str>, retry_after| UpgradeError::Refused {
            status,
            reason: reason.into(),
            location: location.map(Into::into),
            retry_after: retry_after_secs(retry_after),
        };
        check(
            |_| "HTTP/1.1 451 Unavailable For Legal Reasons\r\n\r\n".into(),
            refused(451, "Unavailable For Legal Reasons", None, 0),
        );
        check(|_| "HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\n\r\n".into(), refused(429, "Too Many", None, 7));
        check(
            |_| "HTTP/1.1 302 Found\r\nLocation: https://x.example/\r\n\r\nbody".into(),
            refused(302, "Found", Some("https://x.example/"), 0),
        );
        check(
            |_| "HTTP/1.1 503\r\nRetry-After: Mon, 01 Jan 2029 00:00:00 GMT\r\n\r\n".into(),
            refused(503, "", None, 0),
        );
        check(|_| "HTTP/1.1 200 OK\r\n\r\n".into(), refused(200, "OK", None, 0));
        let text = refused(451, "Unavailable", None, 3).to_string();
        assert_eq!(text, "the server answered the WebSocket handshake with 451 Unavailable, asking us to wait 3 s");
    }

    #[test]
    fn answers_that_are_no_upgrade_are_refused() {
        let malformed = |part: &str| UpgradeError::Malformed(part.into());
        check(|request| answer(request, "").replace("Accept: ", "Accept: A"), UpgradeError::WrongAcceptKey);
        check(
            |request| answer(request, "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
            UpgradeError::UnofferedExtension,
        );
        check(|request| answer(request, "Sec-WebSocket-Protocol: soap\r\n"), malformed("subprotocol"));
        check(|request| answer(request, "").replace("websocket", "h2c"), malformed("websocket"));
        check(|request| answer(request, "").replace("Connection: Upgrade", "Connection: close"), malformed("upgrade"));
        check(|_| "ICY 200 OK\r\n\r\n".into(), malformed("version"));
        check(|_| "\r\n\r\n".into(), malformed("early"));
        check(|_| "HTTP/1.1 101 X\r\nno colon\r\n\r\n".into(), malformed("header"));
        check(|request| answer(request, &"X: y\r\n".repeat(200)), malformed("header"));
        check(
            |request| answer(request, &format!("X: {}\r\n", "y".repeat(UPGRADE_HEAD_MAX))),
            UpgradeError::HeadTooLarge,
        );
        check(|_| "x".repeat(UPGRADE_HEAD_MAX), UpgradeError::HeadTooLarge);
    }

    #[test]
    fn a_large_head_within_the_bound_is_accepted() {
        let (mut upgrade, request) = start("localhost", 8443, "/");
        let bare = answer(&request, "").len();
        let filler = "y".repeat(UPGRADE_HEAD_MAX - bare - "X: \r\n".len());
        let head = answer(&request, &format!("X: {filler}\r\n"));
        let mut plain = PlainBuffer::with_capacity(2 * UPGRADE_HEAD_MAX);
        plain.append(head.as_bytes()).unwrap();
        assert_eq!(upgrade.feed(&mut plain), Ok(Some(Upgraded { head_len: UPGRADE_HEAD_MAX })));
    }

    fn retry_after_secs(secs: u64) -> Option<Duration> {
        (secs > 0).then(|| Duration::from_secs(secs))
    }

    fn start(host: &str, port: u16, path: &str) -> (Upgrade, String) {
        let mut upgrade = Upgrade::new(host, port, path, &mut Random::from_seed(3)).unwrap();
        let mut out = b"kept".to_vec();
        upgrade.write_request(&mut out);
        upgrade.write_request(&mut out);
        (upgrade, String::from_utf8(out).unwrap().strip_prefix("kept").unwrap().to_owned())
    }

    fn answer(request: &str, more: &str) -> String {
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let accept = derive_accept_key(key.as_bytes());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
        )
    }

    /// A malformed answer need only contain the words given, in any case.
    fn check(answer: impl Fn(&str) -> String, expected: UpgradeError) {
        let (mut upgrade, request) = start("localhost", 8443, "/");
        let mut plain = PlainBuffer::with_capacity(4 * UPGRADE_HEAD_MAX);
        plain.append(answer(&request).as_bytes()).unwrap();
        let error = upgrade.feed(&mut plain).unwrap_err();
        match (&error, &expected) {
            (UpgradeError::Malformed(text), UpgradeError::Malformed(part)) => {
                assert!(text.to_ascii_lowercase().contains(part), "{text:?} does not say {part:?}");
            }
            _ => assert_eq!(error, expected),
        }
    }
}
