//! Requests to real loopback servers, plain and TLS, that answer well, badly, too much or not at all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Instant;

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;

use super::*;

fn trusting(roots: RootCertStore) -> Arc<rustls::ClientConfig> {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn client(deadline: Duration) -> RestClient {
    RestClient::new(trusting(RootCertStore::empty()), deadline)
}

/// Answers each connection with `answer` once a head has arrived; keeps silent for an empty one.
fn serve(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            read_head(&mut stream);
            let _ = stream.write_all(answer);
            if answer.is_empty() {
                kept.push(stream);
            }
        }
    });
    address
}

/// Answers before anything was asked, as a server without TLS does to a TLS greeting.
fn serve_plain_text() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    address
}

fn read_head(stream: &mut impl Read) -> Vec<u8> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    head
}

fn fault(url: &str) -> RestError {
    client(Duration::from_secs(20)).get(url).unwrap_err()
}

#[test]
fn answers_and_refusals() {
    let good = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]");
    assert_eq!(client(Duration::from_secs(20)).get(&format!("http://{good}/x?y=z")).unwrap(), b"[]");

    for (answer, text, transient) in [
        (
            &b"HTTP/1.1 451 No\r\nContent-Length: 12\r\n\r\n{\"code\":\x1b[1}"[..],
            "127.0.0.1 answered HTTP 451 (it refuses this address or country): {\"code\": [1}",
            false,
        ),
        (
            b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n",
            "127.0.0.1 answered HTTP 429 (too many requests from this address: wait some minutes)",
            true,
        ),
        (b"HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n", "127.0.0.1 answered HTTP 503", true),
    ] {
        let error = fault(&format!("http://{}/secret?signature=geheim", serve(answer)));
        assert_eq!(error.to_string(), text);
        assert_eq!(error.is_transient(), transient, "{text}");
    }
    let broken = fault(&format!("http://{}/", serve(b"nonsense\r\n\r\n")));
    assert!(matches!(broken.fault, Fault::Connection { layer: Layer::Protocol, .. }), "{broken}");
    assert_eq!(fault("not a url").fault, Fault::BadUrl);
}

#[test]
fn the_layer_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, layer) in [
        (format!("http://{closed}/"), Layer::Connect),
        // A label of 70 characters is no name: the resolver refuses it without asking anybody.
        (format!("http://{}.invalid/", "x".repeat(70)), Layer::Resolve),
        (format!("https://{}/", serve_plain_text()), Layer::Tls),
    ] {
        let error = fault(&url);
        match &error.fault {
            Fault::Connection { layer: found, .. } => assert_eq!(*found, layer, "{error}"),
            other => panic!("{url}: {other:?}"),
        }
    }
}

#[test]
fn an_endless_answer_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b' '; 64 << 10]).is_ok() {}
    });
    let error = fault(&format!("http://{address}/"));
    assert_eq!(error.to_string(), "127.0.0.1 answered with more than 16 MiB");
    assert!(!error.is_transient());
}

#[test]
fn silence_ends_within_the_deadline() {
    let started = Instant::now();
    let error = client(Duration::from_millis(300)).get(&format!("http://{}/", serve(b""))).unwrap_err();
    assert!(matches!(error.fault, Fault::Connection { layer: Layer::Silence, .. }), "{error}");
    assert!(error.is_transient());
    assert!(started.elapsed() < Duration::from_secs(10));
}
