//! The event loop against a real TLS WebSocket server on loopback: whatever a server or a network does to a stream, the
//! stream says it in a sentence, comes back, and stops when told to.
#![cfg(feature = "sim")]

mod server;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use kraite_streams::domain::limits::{OUTBOUND_HARD_MAX, OUTBOUND_MAX, PRICE_MESSAGE_MAX};
use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Layer, Now, Random};
use kraite_streams::event_loop::{Consumer, LoopHandle, Received, SessionConfig, Stream, StreamEvent, spawn};
use kraite_streams::stream::{Fault, FaultKind, Liveness, StreamUrl};

use server::{Authority, CLOSE, Tls, frame, hold, read_frame, read_request, serve, serve_tcp, text, upgrade};

const PATIENCE: Duration = Duration::from_secs(20);
const PING: u8 = 9;
const PONG: u8 = 10;

#[derive(Clone, Debug)]
enum Heard {
    Message { connection: u64, len: usize, first: u8 },
    Event(StreamEvent),
}

/// A consumer that keeps what it heard; panics on the message `panic`.
#[derive(Clone, Default)]
struct Ears(Arc<Mutex<Vec<Heard>>>);

impl Consumer for Ears {
    fn handle_message(&mut self, connection: u64, payload: &mut [u8], len: usize, _at: Now) -> Received {
        assert_ne!(&payload[..len], b"panic", "told to");
        let first = payload[..len].first().copied().unwrap_or_default();
        assert!(payload[..len].iter().all(|&byte| byte == first), "a message that is not of one byte");
        // As a parser does.
        payload[..len].fill(0);
        self.0.lock().unwrap().push(Heard::Message { connection, len, first });
        Received::Data
    }

    fn handle_event(&mut self, event: &StreamEvent, _at: Now) {
        self.0.lock().unwrap().push(Heard::Event(event.clone()));
    }
}

impl Ears {
    fn all(&self) -> Vec<Heard> {
        self.0.lock().unwrap().clone()
    }

    #[track_caller]
    fn wait(&self, what: &str, found: impl Fn(&[Heard]) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !found(&self.0.lock().unwrap()) {
            assert!(Instant::now() < until, "{what} did not come: {:?}", self.all());
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn wait_messages(&self, count: usize) {
        self.wait("messages", |heard| {
            heard.iter().filter(|heard| matches!(heard, Heard::Message { .. })).count() >= count
        });
    }

    #[track_caller]
    fn wait_fault(&self) -> Fault {
        self.wait("a fault", |heard| faults(heard).next().is_some());
        faults(&self.all()).next().unwrap().clone()
    }
}

fn faults(heard: &[Heard]) -> impl Iterator<Item = &Fault> {
    heard.iter().filter_map(|heard| match heard {
        Heard::Event(StreamEvent::Fault(fault)) => Some(fault),
        _ => None,
    })
}

fn config(authority: &Authority, address: SocketAddr) -> SessionConfig {
    let url = StreamUrl::parse(&format!("wss://localhost:{}/ws/x", address.port())).unwrap();
    SessionConfig::new(url, authority.client())
}

fn listen(configs: Vec<SessionConfig>) -> (Vec<Ears>, LoopHandle) {
    let ears: Vec<_> = configs.iter().map(|_| Ears::default()).collect();
    let streams = configs.into_iter().zip(&ears);
    let streams = streams.map(|(config, ears)| Stream { config, consumer: Box::new(ears.clone()) }).collect();
    (ears, spawn(streams, Arc::new(SystemClock::start()), Random::from_seed(1)).unwrap())
}

fn listen_to(config: SessionConfig) -> (Ears, LoopHandle) {
    let (mut ears, handle) = listen(vec![config]);
    (ears.remove(0), handle)
}

#[track_caller]
fn stop(handle: LoopHandle) {
    let begun = Instant::now();
    handle.stop();
    handle.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "stopping took {:?}", begun.elapsed());
}

#[test]
fn bytes_glued_to_the_upgrade_and_large_messages_arrive() {
    let authority = Authority::new("ours");
    let address = serve(&authority, |_, mut tls| {
        upgrade(&mut tls, &[text(b"ggg"), text(b"hh")].concat());
        tls.write_all(&text(&[b'b'; 150_000])).unwrap();
        tls.write_all(&text(&vec![b'm'; PRICE_MESSAGE_MAX])).unwrap();
        hold(tls);
    });
    let (ears, handle) = listen_to(config(&authority, address));
    ears.wait_messages(4);
    let messages: Vec<_> = ears
        .all()
        .iter()
        .filter_map(|heard| match heard {
            Heard::Message { connection, len, first } => Some((*connection, *len, *first)),
            Heard::Event(_) => None,
        })
        .collect();
    assert_eq!(messages, [(1, 3, b'g'), (1, 2, b'h'), (1, 150_000, b'b'), (1, PRICE_MESSAGE_MAX, b'm')]);
    stop(handle);
    assert!(matches!(ears.all().last(), Some(Heard::Event(StreamEvent::Stopped))));
}

#[test]
fn a_ping_flood_that_reads_nothing_ends_in_the_newest_pong() {
    const PINGS: u32 = 200_000;
    let authority = Authority::new("ours");
    let (sender, pongs) = mpsc::channel();
    let address = serve(&authority, move |_, mut tls| {
        upgrade(&mut tls, &text(b"t"));
        let mut flood = Vec::new();
        for n in 0..PINGS {
            flood.extend(frame(PING, &[&n.to_be_bytes()[..], &[5; 60]].concat()));
        }
        tls.write_all(&flood).unwrap();
        tls.write_all(&text(b"e")).unwrap();
        tls.flush().unwrap();
        let mut read = Vec::new();
        while read.last() != Some(&(PINGS - 1)) {
            let (opcode, payload) = read_frame(&mut tls).expect("a pong");
            assert_eq!((opcode, payload.len(), &payload[4..]), (PONG, 64, &[5; 60][..]));
            read.push(u32::from_be_bytes(*payload.first_chunk().unwrap()));
        }
        sender.send(read).unwrap();
        hold(tls);
    });
    let (ears, handle) = listen_to(config(&authority, address));
    ears.wait_messages(2);
    let read = pongs.recv_timeout(PATIENCE).unwrap();
    assert!(read.is_sorted() && read[0] == 0, "pongs in the order of their pings");
    // What the kernel took and what we kept is far less than what was asked: the rest was rightly left out.
    assert!(read.len() < PINGS as usize && OUTBOUND_MAX < OUTBOUND_HARD_MAX, "{} pongs", read.len());
    assert_eq!(faults(&ears.all()).count(), 0);
    stop(handle);
}

#[test]
fn silence_is_a_fault_and_the_stream_comes_back() {
    let authority = Authority::new("ours");
    let address = serve(&authority, |number, mut tls| {
        upgrade(&mut tls, &text(b"t"));
        for n in 0..1_000_u32 {
            // The first connection pings but sends no data any more.
            let bytes =
                if number == 0 { frame(PING, &n.to_be_bytes()) } else { text(b"tick".map(|_| b't').as_slice()) };
            if tls.write_all(&bytes).and_then(|()| tls.flush()).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let mut config = config(&authority, address);
    config.liveness =
        Liveness::StrictData { silence: Duration::from_millis(700), escalate: Duration::from_millis(300) };
    let (ears, handle) = listen_to(config);
    let fault = ears.wait_fault();
    assert_eq!((fault.layer, fault.kind), (Layer::Silence, FaultKind::Stall));
    assert!(fault.text.contains("pings do not count"), "{}", fault.text);
    ears.wait("data of the second connection", |heard| {
        heard.iter().any(|heard| matches!(heard, Heard::Message { connection: 2, .. }))
    });
    let silences = |heard: &Heard| matches!(heard, Heard::Event(StreamEvent::DataSilence { .. }));
    assert!((1..=30).contains(&ears.all().iter().filter(|heard| silences(heard)).count()));
    stop(handle);
}

#[test]
fn what_breaks_a_live_stream_is_named_and_healed() {
    check_live(FaultKind::Cut, "without a close frame", |mut tls: Tls| {
        tls.flush().unwrap();
        let _ = tls.sock.shutdown(std::net::Shutdown::Both);
    });
    check_live(FaultKind::Closed, "1001, going away", |mut tls: Tls| {
        tls.write_all(&frame(CLOSE, b"\x03\xe9")).unwrap();
        assert_eq!(read_frame(&mut tls), Some((CLOSE, b"\x03\xe9".to_vec())), "the echo");
    });
    check_live(FaultKind::Garbage, "reserved bit", |mut tls: Tls| {
        tls.write_all(&[0xf1, 0]).unwrap();
        assert_eq!(read_frame(&mut tls), Some((CLOSE, 1002_u16.to_be_bytes().to_vec())));
    });
    check_live(FaultKind::Garbage, "tls: localhost", |mut tls: Tls| {
        tls.flush().unwrap();
        tls.sock.write_all(&[&[23, 3, 3, 0, 32][..], &[1; 32]].concat()).unwrap();
        let _ = tls.sock.read(&mut [0; 100]);
    });
    check_live(FaultKind::Oversize, "above our limit", |mut tls: Tls| {
        let head = [&[0x81, 127][..], &(PRICE_MESSAGE_MAX as u64 + 1).to_be_bytes()].concat();
        tls.write_all(&head).unwrap();
        assert_eq!(read_frame(&mut tls), Some((CLOSE, 1009_u16.to_be_bytes().to_vec())));
    });
    check_live(FaultKind::Panic, "mistake of this program", |mut tls: Tls| {
        tls.write_all(&text(b"panic")).unwrap();
        hold(tls);
    });
}

/// The first connection sends one message and does `what`; the second one lives.
#[track_caller]
fn check_live(kind: FaultKind, says: &str, what: fn(Tls)) {
    let authority = Authority::new("ours");
    let address = serve(&authority, move |number, mut tls| {
        upgrade(&mut tls, &text(b"t"));
        if number == 0 { what(tls) } else { hold(tls) }
    });
    let (ears, handle) = listen_to(config(&authority, address));
    let fault = ears.wait_fault();
    assert_eq!((fault.kind, fault.attempt), (kind, 1), "{}", fault.text);
    assert!(fault.text.contains(says) && fault.text.contains("localhost"), "{:?} lacks {says:?}", fault.text);
    ears.wait_messages(2);
    assert_eq!(faults(&ears.all()).count(), 1, "{:?}", ears.all());
    stop(handle);
}

#[test]
fn a_refused_upgrade_names_host_status_and_meaning() {
    let authority = Authority::new("ours");
    let address = serve(&authority, |_, mut tls| {
        read_request(&mut tls);
        // The client may be gone already.
        let _ = tls.write_all(b"HTTP/1.1 451 Unavailable For Legal Reasons\r\nContent-Length: 0\r\n\r\n");
        let _ = tls.flush();
    });
    let (ears, handle) = listen_to(config(&authority, address));
    let fault = ears.wait_fault();
    assert_eq!((fault.layer, fault.kind, fault.status), (Layer::Upgrade, FaultKind::Refused, Some(451)));
    let expected = format!("upgrade: localhost:{} answered HTTP 451: it does not serve this country", address.port());
    assert!(fault.text.starts_with(&expected), "{}", fault.text);
    stop(handle);
}

#[test]
fn a_refused_connection_is_named() {
    let authority = Authority::new("ours");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut config = config(&authority, address);
    config.url = StreamUrl::parse(&format!("wss://{address}/")).unwrap();
    let (ears, handle) = listen_to(config);
    let fault = ears.wait_fault();
    assert_eq!((fault.layer, fault.kind), (Layer::Connect, FaultKind::Unreachable));
    assert!(fault.text.contains(&address.to_string()) && fault.text.contains("refused"), "{}", fault.text);
    // It goes on trying.
    ears.wait("three attempts", |heard| faults(heard).count() >= 3);
    stop(handle);
}

#[test]
fn an_unknown_authority_is_refused_and_named() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("a stranger"));
    let address = serve(&authority, |_, tls| hold(tls));
    let (ears, handle) = listen_to(config(&stranger, address));
    let fault = ears.wait_fault();
    assert_eq!((fault.layer, fault.kind), (Layer::Tls, FaultKind::Untrusted));
    assert!(fault.text.contains("not signed by an authority trusted here"), "{}", fault.text);
    stop(handle);
}

#[test]
fn a_name_without_address_is_named() {
    let authority = Authority::new("ours");
    let mut config = config(&authority, SocketAddr::from(([127, 0, 0, 1], 9)));
    config.url = StreamUrl::parse("wss://host.invalid/").unwrap();
    let (ears, handle) = listen_to(config);
    let fault = ears.wait_fault();
    assert_eq!(fault.layer, Layer::Resolve, "{}", fault.text);
    assert!(fault.text.contains("host.invalid"), "{}", fault.text);
    stop(handle);
}

#[test]
fn an_attempt_that_hangs_ends_at_its_deadline() {
    let authority = Authority::new("ours");
    let address = serve_tcp(|_, tcp| {
        thread::sleep(Duration::from_secs(5));
        drop(tcp);
    });
    let mut config = config(&authority, address);
    config.connect_deadline = Duration::from_millis(400);
    let (ears, handle) = listen_to(config);
    let fault = ears.wait_fault();
    assert_eq!((fault.layer, fault.kind), (Layer::Tls, FaultKind::Timeout), "{}", fault.text);
    stop(handle);
}

#[test]
fn stopping_says_goodbye_and_does_not_wait_for_ever() {
    let authority = Authority::new("ours");
    let (sender, goodbyes) = mpsc::channel();
    let address = serve(&authority, move |_, mut tls| {
        upgrade(&mut tls, &text(b"t"));
        sender.send(read_frame(&mut tls)).unwrap();
        // No echo.
        while read_frame(&mut tls).is_some() {}
    });
    let (ears, handle) = listen_to(config(&authority, address));
    ears.wait_messages(1);
    stop(handle);
    assert_eq!(goodbyes.recv_timeout(PATIENCE).unwrap(), Some((CLOSE, 1000_u16.to_be_bytes().to_vec())));
    assert!(matches!(ears.all().last(), Some(Heard::Event(StreamEvent::Stopped))));
}

#[test]
fn many_streams_share_one_loop_and_one_misbehaving_harms_no_other() {
    const STREAMS: usize = 20;
    const ROUNDS: usize = 50;
    let authority = Authority::new("ours");
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    let flood = serve(&authority, move |_, mut tls| {
        upgrade(&mut tls, b"");
        while !is_done.load(Ordering::Relaxed) && tls.write_all(&text(&[b'f'; 60_000])).is_ok() {}
    });
    // Frames in bits, so that every turn leaves a partial record and a partial frame to park.
    let trickle = serve(&authority, |number, mut tls| {
        upgrade(&mut tls, b"");
        for round in 0..ROUNDS {
            for part in text(&vec![b'a' + (number % 26) as u8; 700 + round]).chunks(97) {
                tls.write_all(part).unwrap();
                tls.flush().unwrap();
            }
            thread::sleep(Duration::from_millis(1));
        }
        hold(tls);
    });
    let mut configs = vec![config(&authority, flood)];
    configs.resize_with(STREAMS + 1, || config(&authority, trickle));
    let (ears, handle) = listen(configs);
    for ears in &ears[1..] {
        ears.wait_messages(ROUNDS);
        let lens: Vec<_> = ears
            .all()
            .iter()
            .filter_map(|heard| match heard {
                Heard::Message { len, .. } => Some(*len),
                Heard::Event(_) => None,
            })
            .collect();
        assert_eq!(lens, (700..700 + ROUNDS).collect::<Vec<_>>());
    }
    ears[0].wait_messages(10);
    assert!(ears.iter().all(|ears| faults(&ears.all()).count() == 0));
    done.store(true, Ordering::Relaxed);
    stop(handle);
}
