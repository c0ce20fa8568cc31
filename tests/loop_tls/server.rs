//! A TLS WebSocket server on loopback whose every connection follows a script, on blocking threads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use kraite_streams::stream::tls::client_config;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, ServerConfig, ServerConnection, StreamOwned};

/// Opcode of a close frame.
pub const CLOSE: u8 = 8;

pub type Tls = StreamOwned<ServerConnection, TcpStream>;

/// A certificate authority of the test's own, with a certificate for loopback.
pub struct Authority {
    pem: String,
    server: Arc<ServerConfig>,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let root = params.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let leaf_key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = rcgen::CertificateParams::new(names).unwrap().signed_by(&leaf_key, &issuer).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der())),
            )
            .unwrap();
        Authority { pem: root.pem(), server: Arc::new(server) }
    }

    /// Its certificate, for another process.
    #[allow(dead_code, reason = "one of the tests that share this file needs it")]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Trusts this authority.
    pub fn client(&self) -> Arc<ClientConfig> {
        client_config(self.pem.as_bytes(), 8).unwrap()
    }
}

/// Serves `script(number of the connection, socket)` on a free port; connections count from 0.
pub fn serve(authority: &Authority, script: impl Fn(usize, Tls) + Send + Sync + 'static) -> SocketAddr {
    let config = Arc::clone(&authority.server);
    serve_tcp(move |number, tcp| {
        script(number, StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), tcp));
    })
}

/// As [`serve`], below TLS.
pub fn serve_tcp(script: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (script, count) = (Arc::new(script), Arc::new(AtomicUsize::new(0)));
    thread::spawn(move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            tcp.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
            tcp.set_nodelay(true).unwrap();
            let script = Arc::clone(&script);
            let number = count.fetch_add(1, Ordering::Relaxed);
            thread::spawn(move || script(number, tcp));
        }
    });
    address
}

/// Reads the upgrade request and answers it, with `glued` bytes in the same write. Returns the path that it asked for, an
/// empty one when the client went away.
pub fn upgrade(tls: &mut Tls, glued: &[u8]) -> String {
    let request = read_request(tls);
    if request.is_empty() {
        return String::new();
    }
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    tls.write_all(&[head.as_bytes(), glued].concat()).unwrap();
    tls.flush().unwrap();
    request.split(' ').nth(1).expect("a path").to_owned()
}

/// The request's head; an empty one when the client went away.
pub fn read_request(tls: &mut Tls) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        match tls.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(request).unwrap()
}

/// One frame of the client, unmasked; `None` at the end of the connection.
pub fn read_frame(tls: &mut Tls) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 6];
    tls.read_exact(&mut head).ok()?;
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    tls.read_exact(&mut payload).ok()?;
    payload.iter_mut().zip(head[2..].iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Some((head[0] & 0x0f, payload))
}

/// A whole text frame.
pub fn text(payload: &[u8]) -> Vec<u8> {
    frame(1, payload)
}

/// A whole frame of a server.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode, 127];
    match u16::try_from(payload.len()) {
        Ok(short @ 0..126) => bytes[1] = short as u8,
        Ok(long) => {
            bytes[1] = 126;
            bytes.extend(long.to_be_bytes());
        }
        Err(_) => bytes.extend((payload.len() as u64).to_be_bytes()),
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// Keeps the connection open until the client ends it, and echoes its goodbye.
pub fn hold(mut tls: Tls) {
    while let Some((opcode, payload)) = read_frame(&mut tls) {
        if opcode == CLOSE {
            // The client may not wait for it.
            let _ = tls.write_all(&frame(CLOSE, &payload));
            let _ = tls.flush();
        }
    }
}
