//! The page over real loopback sockets, asked by a client that may be slow, wrong or hostile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::*;
use crate::ops::status::{StreamState, WriterState};

struct Fixed {
    healthy: bool,
}

impl PageSource for Fixed {
    fn status(&self) -> Status {
        let mut status = Status { role: "prices".to_owned(), ..Status::default() };
        if self.healthy {
            status.stream.state = StreamState::Live;
            status.writer.state = WriterState::Writing;
        }
        status.writer.unseen = vec!["<b>\"我踏马来了USDT\"\n".to_owned()];
        status
    }

    fn prices(&self, limit: usize) -> Vec<PriceRow> {
        let row = |n| PriceRow { symbol: format!("我{n}\"<"), price: "0.10".to_owned(), at: "t".to_owned() };
        (0..limit.min(3)).map(row).collect()
    }
}

fn page(healthy: bool) -> Page {
    Page::start(([127, 0, 0, 1], 0).into(), Arc::new(Fixed { healthy })).unwrap()
}

fn connect(page: &Page) -> TcpStream {
    let stream = TcpStream::connect(page.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Sends `request` as it is and reads until the page closes.
fn ask_raw(page: &Page, request: &[u8]) -> String {
    let mut stream = connect(page);
    // The page may close before it has read all of a request that is too large.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(n) = stream.read(&mut chunk) {
        if n == 0 {
            break;
        }
        answer.extend_from_slice(&chunk[..n]);
    }
    String::from_utf8(answer).unwrap()
}

fn ask(page: &Page, method: &str, path: &str) -> (u16, String, String) {
    let answer = ask_raw(page, format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn every_route_answers_with_its_kind_and_its_guards() {
    let page = page(true);
    for (method, path, status, kind, holds) in [
        ("GET", "/", 200, "text/html; charset=utf-8", "<title>kraite-streams"),
        ("GET", "/?x=1", 200, "text/html; charset=utf-8", "page.js"),
        ("GET", "/page.css", 200, "text/css; charset=utf-8", "prefers-color-scheme"),
        ("GET", "/page.js", 200, "text/javascript; charset=utf-8", "textContent"),
        ("GET", "/status.json", 200, "application/json", r#""role":"prices""#),
        ("GET", "/status.json", 200, "application/json", r#"["<b>\"我踏马来了USDT\"\n"]"#),
        ("GET", "/prices.json", 200, "application/json", r#"{"symbol":"我2\"<","price":"0.10","at":"t"}]"#),
        ("GET", "/prices.json?limit=1", 200, "application/json", r#"[{"symbol":"我0\"<","price":"0.10","at":"t"}]"#),
        ("GET", "/prices.json?limit=0", 400, "text/plain; charset=utf-8", "limit"),
        ("GET", "/prices.json?limit=1001", 400, "text/plain; charset=utf-8", "limit"),
        ("GET", "/prices.json?limit=-1", 400, "text/plain; charset=utf-8", "limit"),
        ("GET", "/prices.json?other=1", 400, "text/plain; charset=utf-8", "limit"),
        ("GET", "/healthz", 200, "text/plain; charset=utf-8", "ok\n"),
        ("GET", "/metrics", 200, "text/plain; version=0.0.4; charset=utf-8", "kraite_healthy 1\n"),
        ("HEAD", "/status.json", 200, "application/json", ""),
        ("GET", "/nothing", 404, "text/plain; charset=utf-8", "/metrics"),
        ("GET", "/../etc/passwd", 404, "text/plain; charset=utf-8", ""),
        ("POST", "/status.json", 405, "text/plain; charset=utf-8", "only GET"),
        ("DELETE", "/", 405, "text/plain; charset=utf-8", "only GET"),
    ] {
        let (found, head, body) = ask(&page, method, path);
        assert_eq!(found, status, "{method} {path}");
        assert!(head.contains(&format!("content-type: {kind}")), "{method} {path}: {head}");
        assert!(body.contains(holds), "{method} {path}: {body}");
        assert_eq!(body.is_empty(), method == "HEAD", "{method} {path}");
        assert_eq!(head.contains("allow: get, head"), status == 405, "{method} {path}");
        for guard in ["nosniff", "x-frame-options: deny", "no-store", "default-src 'none'", "connection: close"] {
            assert!(head.contains(guard), "{method} {path} lacks {guard}");
        }
    }
}

#[test]
fn an_unhealthy_daemon_says_why() {
    let page = page(false);
    let (status, _, body) = ask(&page, "GET", "/healthz");
    assert_eq!((status, body.as_str()), (503, "the stream has not started yet\nthe writer has not connected yet\n"));
    assert!(ask(&page, "GET", "/metrics").2.contains("kraite_healthy 0\n"));
}

#[test]
fn a_foreign_name_is_refused_on_loopback() {
    let page = page(true);
    for (host, status) in [
        ("127.0.0.1:1", "200"),
        ("localhost", "200"),
        ("LOCALHOST:80", "200"),
        ("[::1]:80", "200"),
        ("evil.example", "421"),
        ("127.0.0.1.evil.example", "421"),
        ("10.0.0.1", "421"),
        ("", "421"),
    ] {
        let answer = ask_raw(&page, format!("GET /status.json HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(&answer[9..12], status, "{host:?}");
        assert_eq!(answer.contains("prices"), status == "200", "{host:?}");
    }
}

#[test]
fn what_is_not_http_or_too_large_ends_quickly() {
    let page = page(true);
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(64 << 10));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
    for request in
        [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"hello\r\n\r\n", long_path.as_bytes(), many_headers.as_bytes()]
    {
        let answer = ask_raw(&page, request);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(ask(&page, "GET", "/healthz").0, 200);
}

#[test]
fn slow_clients_lose_their_place_and_hurt_nobody() {
    let page = page(true);
    let started = Instant::now();
    let mut slow: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| connect(&page)).collect();
    for stream in &mut slow {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
    }
    // All places are taken until the heads are overdue; then there is room again.
    let served = loop {
        let answer = ask_raw(&page, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        if answer.starts_with("HTTP/1.1 200") {
            break started.elapsed();
        }
        assert!(started.elapsed() < Duration::from_secs(30), "no place became free");
        thread::sleep(Duration::from_millis(20));
    };
    assert!(served >= HEAD_MAX, "the bound on connections did not hold: {served:?}");
    for mut stream in slow {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "an unfinished request was answered");
    }
}

#[test]
fn the_page_stops_and_a_taken_port_is_an_error() {
    let page = page(true);
    let address = page.address();
    assert!(Page::start(address, Arc::new(Fixed { healthy: true })).is_err());
    drop(page);
    assert!(TcpStream::connect(address).is_err());
}

struct Panics;

impl PageSource for Panics {
    fn status(&self) -> Status {
        panic!("a source that breaks")
    }

    fn prices(&self, _: usize) -> Vec<PriceRow> {
        Vec::new()
    }
}

#[test]
fn a_source_that_panics_costs_its_connection_only() {
    let page = Page::start(([127, 0, 0, 1], 0).into(), Arc::new(Panics)).unwrap();
    assert_eq!(ask_raw(&page, b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n"), "");
    assert_eq!(ask(&page, "GET", "/prices.json").0, 200);
}
