//! Many streams on one loop, over real TLS on loopback: whatever happens to one of them, the others see every frame, in
//! order, unharmed; they come and go under load; each obeys its commands.
#![cfg(feature = "sim")]

mod commands;
mod ears;
mod parking;
#[path = "../loop_tls/server.rs"]
mod server;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kraite_streams::domain::Now;
use kraite_streams::domain::limits::USER_DATA_MESSAGE_MAX;
use kraite_streams::event_loop::{Consumer, LoopConfig, Received, Stream, StreamEvent};
use kraite_streams::stream::connect_limiter::OpenGate;
use kraite_streams::stream::{FaultKind, Liveness, StreamUrl};

use ears::{Ears, PATIENCE, add, config, faults, host, stop};
use server::{Authority, Tls, frame, hold, read_frame, serve, serve_tcp, text, upgrade};

fn accounts() -> LoopConfig {
    LoopConfig::user_data(Arc::new(OpenGate))
}

/// Sends `count` numbered frames of many sizes that carry `path`, in bits that leave partial records and frames behind.
fn send_numbered(tls: &mut Tls, path: &str, count: usize) {
    for n in 0..count {
        let message = format!("{path} {n} {}", "x".repeat(n * 37 % 3_000));
        for part in text(message.as_bytes()).chunks(1_017) {
            if tls.write_all(part).and_then(|()| tls.flush()).is_err() {
                return;
            }
        }
        if n % 8 == 0 {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[track_caller]
fn check_numbered(messages: &[String], path: &str, count: usize) {
    let heads: Vec<_> = messages.iter().map(|message| message.trim_end_matches('x')).collect();
    let expected: Vec<_> = (0..count).map(|n| format!("{path} {n} ")).collect();
    assert!(heads == expected, "{path}: {:?}", heads.iter().zip(&expected).find(|(head, expected)| head != expected));
}

/// A consumer that panics on whatever it hears.
struct Panics(Ears);

impl Consumer for Panics {
    fn handle_message(&mut self, _connection: u64, _payload: &mut [u8], _len: usize, _at: Now) -> Received {
        panic!("told to, by a message")
    }

    fn handle_event(&mut self, event: &StreamEvent, at: Now) {
        self.0.handle_event(event, at);
        panic!("told to, by an event")
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        panic!("told to, by its end")
    }
}

#[test]
fn what_happens_to_one_of_fifty_harms_no_other() {
    const FRAMES: usize = 150;
    const OTHERS: u64 = 49;
    let authority = Authority::new("ours");
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    let address = serve(&authority, move |_, mut tls| {
        let path = upgrade(&mut tls, b"");
        match path.as_str() {
            "/flood" => while !is_done.load(Ordering::Relaxed) && tls.write_all(&text(&[b'f'; 60_000])).is_ok() {},
            "/small" => while !is_done.load(Ordering::Relaxed) && tls.write_all(&text(b"f").repeat(5_000)).is_ok() {},
            "/pings" => while !is_done.load(Ordering::Relaxed) && tls.write_all(&frame(9, b"p").repeat(500)).is_ok() {},
            "/garbage" => {
                let _ = tls.write_all(&[0xf1, 0]);
                let _ = read_frame(&mut tls);
            }
            "/tls_garbage" => {
                let _ = tls.sock.write_all(&[&[23, 3, 3, 0, 32][..], &[1; 32]].concat());
                let _ = tls.sock.read(&mut [0; 100]);
            }
            "/oversize" => {
                let _ = tls.write_all(&text(&vec![b'o'; USER_DATA_MESSAGE_MAX + 1]));
                let _ = read_frame(&mut tls);
            }
            "/largest" => {
                let _ = tls.write_all(&text(&vec![b'l'; USER_DATA_MESSAGE_MAX]));
                hold(tls);
            }
            "/panic" => {
                let _ = tls.write_all(&text(b"panic"));
                hold(tls);
            }
            "/silent" => hold(tls),
            path => {
                send_numbered(&mut tls, path, FRAMES);
                hold(tls);
            }
        }
    });
    let slow = serve_tcp(|_, tcp| {
        thread::sleep(Duration::from_secs(15));
        drop(tcp);
    });
    let handle = host(accounts());
    let others: Vec<_> =
        (0..OTHERS).map(|key| add(&handle, key, config(&authority, address, &format!("/{key}")))).collect();
    let mut trouble = 100;
    let mut one = |path: &str| {
        let mut config = config(&authority, if path == "/slow" { slow } else { address }, path);
        config.connect_deadline = Duration::from_secs(3);
        if path == "/silent" {
            config.liveness =
                Liveness::StrictData { silence: Duration::from_millis(500), escalate: Duration::from_secs(100) };
        }
        trouble += 1;
        add(&handle, trouble, config)
    };
    let floods = ["/flood", "/small", "/pings"].map(&mut one);
    let largest = one("/largest");
    let faulty = [
        ("/garbage", FaultKind::Garbage),
        ("/tls_garbage", FaultKind::Garbage),
        ("/oversize", FaultKind::Oversize),
        ("/slow", FaultKind::Timeout),
        ("/silent", FaultKind::Stall),
    ]
    .map(|(path, kind)| (one(path), kind));
    let panics = Ears::default();
    let consumer = Box::new(Panics(panics.clone()));
    handle.control().add(99, Stream { config: config(&authority, address, "/panic"), consumer }).unwrap();

    for (key, ears) in others.iter().enumerate() {
        ears.wait_messages(FRAMES);
        check_numbered(&ears.messages(), &format!("/{key}"), FRAMES);
        assert_eq!(ears.faults(), [], "/{key}");
    }
    for (ears, kind) in &faulty {
        ears.wait_fault(*kind);
        assert!(ears.faults().iter().all(|fault| fault.kind == *kind), "{:?}", ears.faults());
    }
    panics.wait_fault(FaultKind::Panic);
    largest.wait_messages(1);
    assert_eq!((largest.messages()[0].len(), largest.faults().len()), (USER_DATA_MESSAGE_MAX, 0));
    floods[..2].iter().for_each(|ears| ears.wait_messages(1_000));
    floods[2].wait("activity", |heard| heard.activity >= 2);
    assert!(floods.iter().all(|ears| ears.faults().is_empty()));
    // Its end harms nobody, either.
    handle.control().remove(99).unwrap();
    panics.wait("its end", |heard| heard.events.last() == Some(&StreamEvent::Stopped));
    done.store(true, Ordering::Relaxed);
    stop(handle);
    assert!(others.iter().all(|ears| ears.0.lock().unwrap().events.last() == Some(&StreamEvent::Stopped)));
}

#[test]
fn streams_come_and_go_under_load_and_nothing_late_reaches_a_newer_one() {
    const STEADY: u64 = 10;
    const FRAMES: usize = 600;
    const ROUNDS: usize = 40;
    const KEYS: u64 = 6;
    let authority = Authority::new("ours");
    let address = serve(&authority, |_, mut tls| {
        let path = upgrade(&mut tls, b"");
        let count = if path.starts_with("/guest") { usize::MAX } else { FRAMES };
        send_numbered(&mut tls, &path, count);
        hold(tls);
    });
    let handle = host(accounts());
    let steady: Vec<_> =
        (0..STEADY).map(|key| add(&handle, key, config(&authority, address, &format!("/{key}")))).collect();
    let mut guests: Vec<(String, Ears)> = Vec::new();
    for round in 0..ROUNDS {
        for key in 0..KEYS {
            let path = format!("/guest{round}of{key}");
            // Every other round in place of the one before, which nobody removes.
            if round % 2 == 0 {
                handle.control().remove(1_000 + key).unwrap();
            }
            let mut config = config(&authority, address, &path);
            if key == 0 {
                // By name: answers of lookups come late for some.
                config.url = StreamUrl::parse(&format!("wss://localhost:{}{path}", address.port())).unwrap();
            }
            guests.push((path, add(&handle, 1_000 + key, config)));
        }
        thread::sleep(Duration::from_millis([0, 1, 60][round % 3]));
    }
    (0..KEYS).for_each(|key| handle.control().remove(1_000 + key).unwrap());
    for (path, ears) in &guests {
        ears.wait("the end", |heard| heard.events.last() == Some(&StreamEvent::Stopped));
        let heard = ears.0.lock().unwrap();
        assert_eq!(heard.events.iter().filter(|event| **event == StreamEvent::Stopped).count(), 1);
        assert_eq!(faults(&heard).count(), 0, "{:?}", heard.events);
        check_numbered(&heard.messages, path, heard.messages.len());
    }
    assert!(guests.iter().any(|(_, ears)| !ears.messages().is_empty()), "some had time to hear something");
    let until = Instant::now() + PATIENCE;
    for (_, ears) in &guests {
        // The consumer of a stream that has ended is dropped.
        while Arc::strong_count(&ears.0) > 1 {
            assert!(Instant::now() < until, "a consumer outlives its stream");
            thread::sleep(Duration::from_millis(5));
        }
    }
    for (key, ears) in steady.iter().enumerate() {
        ears.wait_messages(FRAMES);
        check_numbered(&ears.messages(), &format!("/{key}"), FRAMES);
        assert_eq!(ears.faults(), []);
    }
    stop(handle);
}
