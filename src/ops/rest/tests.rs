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

/// Answers one connection with `answer` and gives what was asked.
fn serve_once(answer: String) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let head = read_head(&mut stream);
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(head).unwrap()
    });
    (address, asked)
}

#[test]
fn a_request_with_a_header_gives_status_headers_and_body() {
    let body = r#"{"code":-1125,"msg":"PLANTED-body"}"#;
    for (method, word, status) in [(Method::Post, "POST", 200), (Method::Put, "PUT", 400), (Method::Put, "PUT", 418)] {
        let answer = format!(
            "HTTP/1.1 {status} x\r\nRetry-After: 7\r\nX-MBX-USED-WEIGHT-1M: 12\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (address, asked) = serve_once(answer);
        let url = format!("http://{address}/fapi/v1/listenKey");
        let answer = client(Duration::from_secs(5)).send(method, &url, ("X-MBX-APIKEY", "PLANTED-key"), 1_000).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (status, body.as_bytes()));
        assert_eq!((answer.header("retry-after"), answer.header("x-mbx-used-weight-1m")), (Some("7"), Some("12")));
        assert!(!format!("{answer:?}").contains("PLANTED"), "{answer:?}");
        let asked = asked.join().unwrap().to_ascii_lowercase();
        let word = word.to_ascii_lowercase();
        assert!(asked.starts_with(&format!("{word} /fapi/v1/listenkey http/1.1\r\n")), "{asked}");
        assert!(asked.contains("\r\nx-mbx-apikey: planted-key\r\n"), "{asked}");
    }
}

#[test]
fn a_secret_follows_no_redirect_and_is_in_no_error() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let location = elsewhere.local_addr().unwrap();
    let answer = format!("HTTP/1.1 307 x\r\nLocation: http://{location}/\r\nContent-Length: 0\r\n\r\n");
    let (address, asked) = serve_once(answer);
    let send = |url: &str, value: &str, max| {
        client(Duration::from_millis(500)).send(Method::Post, url, ("X-MBX-APIKEY", value), max)
    };
    assert_eq!(send(&format!("http://{address}/"), "PLANTED-key", 100).unwrap().status, 307);
    asked.join().unwrap();
    assert!(elsewhere.accept().is_err(), "the key went elsewhere");

    let (large, _asked) = serve_once(format!("HTTP/1.1 200 x\r\nContent-Length: 101\r\n\r\n{}", "x".repeat(101)));
    let silent = serve(b"");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, value) in [
        (format!("http://{large}/?PLANTED-url"), "PLANTED-key"),
        (format!("http://{silent}/?PLANTED-url"), "PLANTED-key"),
        (format!("http://{closed}/?PLANTED-url"), "PLANTED-key"),
        (format!("http://{closed}/?PLANTED-url"), "PLANTED\r\nHost: x"),
        ("/PLANTED-url".to_owned(), "PLANTED-key"),
        ("http://[PLANTED-url".to_owned(), "PLANTED-key"),
    ] {
        let error = send(&url, value, 100).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("PLANTED"), "{error:?}");
    }
}
