//! Commands to a running loop, and what consumers ask of their streams, over real sockets.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use kraite_streams::domain::Now;
use kraite_streams::event_loop::{
    CommandRefused, ConnectClass, ConnectGate as _, Consumer, LoopConfig, Pace, Received, Request, SharedWindow,
    Stream, StreamEvent,
};
use kraite_streams::stream::connect_limiter::ConnectLimit;
use kraite_streams::stream::{FaultKind, Liveness, Sparse};

use crate::ears::{Ears, PATIENCE, add, config, host, stop, url};
use crate::server::{Authority, frame, hold, read_frame, serve, text, upgrade};
use crate::{accounts, check_numbered, send_numbered};

const TEXT: u8 = 1;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Takes `room` messages, then asks for a pause; somebody else makes room.
struct Bounded {
    ears: Ears,
    room: Arc<AtomicUsize>,
    is_full: Arc<AtomicBool>,
    asks: bool,
}

impl Consumer for Bounded {
    fn handle_message(&mut self, connection: u64, payload: &mut [u8], len: usize, at: Now) -> Received {
        let left = self.room.fetch_sub(1, Ordering::SeqCst).checked_sub(1).expect("a message without room");
        if left == 0 {
            self.is_full.store(true, Ordering::SeqCst);
            // A last look, for who makes room may have seen the flag too late.
            self.asks = self.room.load(Ordering::SeqCst) == 0;
        }
        self.ears.handle_message(connection, payload, len, at)
    }

    fn handle_event(&mut self, event: &StreamEvent, at: Now) {
        self.ears.handle_event(event, at);
    }

    fn poll_request(&mut self) -> Option<Request> {
        std::mem::take(&mut self.asks).then_some(Request::Pause)
    }
}

#[test]
fn a_full_consumer_pauses_its_stream_and_loses_nothing() {
    const FRAMES: usize = 2_000;
    let authority = Authority::new("ours");
    let address = serve(&authority, |_, mut tls| {
        let path = upgrade(&mut tls, b"");
        send_numbered(&mut tls, &path, FRAMES);
        hold(tls);
    });
    let handle = host(accounts());
    let (room, is_full) = (Arc::new(AtomicUsize::new(7)), Arc::new(AtomicBool::new(false)));
    let full = Ears::default();
    let consumer =
        Box::new(Bounded { ears: full.clone(), room: Arc::clone(&room), is_full: Arc::clone(&is_full), asks: false });
    handle.control().add(1, Stream { config: config(&authority, address, "/full"), consumer }).unwrap();
    let other = add(&handle, 2, config(&authority, address, "/other"));
    other.wait_messages(FRAMES);
    assert_eq!(full.messages().len(), 7, "the full one waits, the other one does not");
    let until = Instant::now() + PATIENCE;
    let mut step = 0;
    while full.messages().len() < FRAMES {
        assert!(Instant::now() < until, "{} messages", full.messages().len());
        if is_full.swap(false, Ordering::SeqCst) {
            step += 1;
            room.fetch_add([1, 3, 250][step % 3], Ordering::SeqCst);
            handle.control().resume(1).unwrap();
        }
        thread::yield_now();
    }
    check_numbered(&full.messages(), "/full", FRAMES);
    check_numbered(&other.messages(), "/other", FRAMES);
    assert!(full.faults().is_empty());
    stop(handle);
}

#[test]
fn paused_streams_hand_over_nothing_until_resumed() {
    const FRAMES: usize = 200;
    let authority = Authority::new("ours");
    let (sender, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let address = serve(&authority, move |number, mut tls| {
        let path = upgrade(&mut tls, b"");
        if number == 0 {
            gate.lock().unwrap().recv().unwrap();
        }
        send_numbered(&mut tls, &path, FRAMES);
        hold(tls);
    });
    let handle = host(accounts());
    let control = handle.control().clone();
    let first = add(&handle, 0, config(&authority, address, "/0"));
    first.wait_live();
    control.pause_all().unwrap();
    control.pause(0).unwrap();
    // One that comes while all are paused waits with them.
    let second = add(&handle, 1, config(&authority, address, "/1"));
    // Commands take effect in their order: once this one is gone, the pauses hold.
    let last = add(&handle, 2, config(&authority, address, "/2"));
    control.remove(2).unwrap();
    last.wait("the end", |heard| heard.events.last() == Some(&StreamEvent::Stopped));
    sender.send(()).unwrap();
    thread::sleep(Duration::from_millis(400));
    assert_eq!((first.messages().len(), second.0.lock().unwrap().events.len()), (0, 0));
    control.resume_all().unwrap();
    second.wait_messages(FRAMES);
    assert_eq!(first.messages().len(), 0, "it is paused for a reason of its own");
    // Commands for nobody do nothing.
    control.resume(77).unwrap();
    control.remove(77).unwrap();
    control.send_text(77, "to nobody".to_owned()).unwrap();
    control.resume(0).unwrap();
    first.wait_messages(FRAMES);
    check_numbered(&first.messages(), "/0", FRAMES);
    check_numbered(&second.messages(), "/1", FRAMES);
    // One that ends while it is paused ends at once.
    control.pause(0).unwrap();
    control.remove(0).unwrap();
    first.wait("the end", |heard| heard.events.last() == Some(&StreamEvent::Stopped));
    stop(handle);
    assert_eq!(control.resume(1), Err(CommandRefused::Ended));
}

#[test]
fn texts_are_answered_and_a_spelling_that_does_not_deliver_is_left() {
    let authority = Authority::new("ours");
    let address = serve(&authority, |_, mut tls| {
        let path = upgrade(&mut tls, b"");
        while let Some((opcode, payload)) = read_frame(&mut tls) {
            let reply = match opcode {
                TEXT if path.contains("/good") => [&b"subscribed: "[..], &payload].concat(),
                TEXT => b"nothing".to_vec(),
                _ => return hold(tls),
            };
            tls.write_all(&text(&reply)).and_then(|()| tls.flush()).unwrap();
        }
    });
    /// Proves its spelling, as the private streams do.
    struct Prover(Ears, Vec<kraite_streams::stream::StreamUrl>);
    impl Consumer for Prover {
        fn handle_message(&mut self, connection: u64, payload: &mut [u8], len: usize, at: Now) -> Received {
            if payload.starts_with(b"nothing") {
                let url = self.1.pop();
                self.0.0.lock().unwrap().requests.push_back(Request::Reconnect { url, pace: Pace::Now });
            }
            self.0.handle_message(connection, payload, len, at)
        }
        fn handle_event(&mut self, event: &StreamEvent, at: Now) {
            if matches!(event, StreamEvent::Live { .. }) {
                self.0.0.lock().unwrap().requests.push_back(Request::Text("LIST_SUBSCRIPTIONS".to_owned()));
            }
            self.0.handle_event(event, at);
        }
        fn poll_request(&mut self) -> Option<Request> {
            self.0.poll_request()
        }
    }
    let handle = host(accounts());
    let ears = Ears::default();
    let consumer = Box::new(Prover(ears.clone(), vec![url(address, "/good"), url(address, "/second")]));
    handle.control().add(5, Stream { config: config(&authority, address, "/first"), consumer }).unwrap();
    ears.wait_messages(3);
    assert_eq!(ears.messages(), ["nothing", "nothing", "subscribed: LIST_SUBSCRIPTIONS"]);
    let left = |event: &&StreamEvent| matches!(event, StreamEvent::Reconnecting { connection: Some(_), .. });
    assert_eq!(ears.0.lock().unwrap().events.iter().filter(left).count(), 2);
    // From outside: another key, and texts at their pace.
    handle.control().replace_url(5, url(address, "/good?listenKey=new")).unwrap();
    ears.wait_messages(4);
    let begun = Instant::now();
    (0..4).for_each(|n| handle.control().send_text(5, n.to_string()).unwrap());
    ears.wait_messages(8);
    assert_eq!(ears.messages()[4..], [0, 1, 2, 3].map(|n| format!("subscribed: {n}")));
    assert!(begun.elapsed() > Duration::from_millis(700), "four a second: {:?}", begun.elapsed());
    assert_eq!(ears.faults(), []);
    stop(handle);
}

#[test]
fn what_one_stream_learns_of_its_venue_binds_all_of_its_streams() {
    let authority = Authority::new("ours");
    let address = serve(&authority, |_, mut tls| {
        let path = upgrade(&mut tls, b"");
        while let Some((opcode, payload)) = read_frame(&mut tls) {
            if opcode == PING && path == "/answers" {
                tls.write_all(&frame(PONG, &payload)).and_then(|()| tls.flush()).unwrap();
            } else if opcode == 8 {
                return;
            }
        }
    });
    let sparse = Sparse {
        ping_every: Duration::from_millis(300),
        reply_within: Duration::from_millis(400),
        healthy_after: Duration::from_millis(900),
        ..Sparse::default()
    };
    let mut silent = config(&authority, address, "/answers_not");
    silent.liveness = Liveness::Sparse(sparse);
    let mut answers = config(&authority, address, "/answers");
    answers.liveness = Liveness::Sparse(sparse);
    let handle = host(accounts());
    let early = add(&handle, 1, silent.clone());
    early.wait_live();
    thread::sleep(Duration::from_millis(1_200));
    assert_eq!(early.faults(), [], "nobody knows that this venue answers pings");
    let knows = add(&handle, 2, answers);
    knows.wait("a pong", |heard| heard.events.iter().any(|event| matches!(event, StreamEvent::PingAnswered { .. })));
    early.wait_fault(FaultKind::Stall);
    let late = add(&handle, 3, silent);
    late.wait_fault(FaultKind::Stall);
    knows.wait("health", |heard| heard.events.iter().any(|event| matches!(event, StreamEvent::Recovered { .. })));
    assert_eq!(knows.faults(), []);
    assert!(knows.0.lock().unwrap().activity >= 1);
    stop(handle);
}

#[test]
fn attempts_keep_to_the_window_and_the_important_go_first() {
    const LIMIT: usize = 8;
    const STREAMS: u64 = 20;
    let window = Duration::from_millis(1_500);
    let authority = Authority::new("ours");
    let arrivals: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let arrived = Arc::clone(&arrivals);
    let address = serve(&authority, move |_, mut tls| {
        arrived.lock().unwrap().push(Instant::now());
        upgrade(&mut tls, b"");
        hold(tls);
    });
    let folder = tempfile::tempdir().unwrap();
    let limit = ConnectLimit::new(LIMIT, window).with_reserved(1, 2);
    let gate = Arc::new(SharedWindow::new(Some(folder.path().join("connects")), limit, 1));
    let handle = host(LoopConfig::user_data(gate.clone()));
    let mut streams = HashMap::new();
    for key in 0..STREAMS {
        streams.insert(key, add(&handle, key, config(&authority, address, &format!("/{key}"))));
    }
    streams[&4].wait_live();
    // The last in line opens a position; another one is a price stream.
    handle.control().set_class(STREAMS - 1, ConnectClass::Exposed).unwrap();
    let mut prices = config(&authority, address, "/prices");
    prices.class = ConnectClass::Prices;
    let prices = add(&handle, 100, prices);
    prices.wait_live();
    streams[&(STREAMS - 1)].wait_live();
    let lives = |ears: &Ears| ears.0.lock().unwrap().events.len();
    assert!((6..STREAMS - 1).all(|key| lives(&streams[&key]) == 0), "nobody else overtook");
    // Removed while it waits.
    handle.control().remove(7).unwrap();
    streams[&7].wait("the end", |heard| heard.events == [StreamEvent::Stopped]);
    streams.remove(&7);
    streams.values().for_each(Ears::wait_live);
    let arrivals = arrivals.lock().unwrap();
    assert_eq!(arrivals.len() as u64, STREAMS);
    for (first, at) in arrivals.iter().enumerate() {
        // A connect may take a while to arrive.
        let inside = arrivals[first..].iter().filter(|later| **later - *at < window - window / 5).count();
        assert!(inside <= LIMIT, "{inside} within a window");
    }
    assert_eq!(gate.warning(), None);
    stop(handle);
}
