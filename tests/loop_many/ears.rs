//! A consumer that keeps what it heard, and the streams of a test.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Now, Random};
use kraite_streams::event_loop::{
    Consumer, LoopConfig, LoopHandle, Received, Request, SessionConfig, Stream, StreamEvent, spawn_empty,
};
use kraite_streams::stream::{Fault, FaultKind, StreamUrl};

use crate::server::Authority;

pub const PATIENCE: Duration = Duration::from_secs(120);

/// What one stream heard: shared with the test.
#[derive(Default)]
pub struct Heard {
    pub messages: Vec<String>,
    pub events: Vec<StreamEvent>,
    pub activity: usize,
    pub requests: VecDeque<Request>,
}

/// See the module's documentation.
#[derive(Clone, Default)]
pub struct Ears(pub Arc<Mutex<Heard>>);

impl Consumer for Ears {
    fn handle_message(&mut self, _connection: u64, payload: &mut [u8], len: usize, _at: Now) -> Received {
        let text = String::from_utf8_lossy(&payload[..len]).into_owned();
        // As a parser does.
        payload[..len].fill(0);
        self.0.lock().unwrap().messages.push(text);
        Received::Data
    }

    fn handle_event(&mut self, event: &StreamEvent, _at: Now) {
        self.0.lock().unwrap().events.push(event.clone());
    }

    fn handle_activity(&mut self, _at: Now) {
        self.0.lock().unwrap().activity += 1;
    }

    fn poll_request(&mut self) -> Option<Request> {
        self.0.lock().unwrap().requests.pop_front()
    }
}

impl Ears {
    #[track_caller]
    pub fn wait(&self, what: &str, found: impl Fn(&Heard) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !found(&self.0.lock().unwrap()) {
            assert!(Instant::now() < until, "{what} did not come: {:?}", self.0.lock().unwrap().events);
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    pub fn wait_messages(&self, count: usize) {
        self.wait(&format!("message {count}"), |heard| heard.messages.len() >= count);
    }

    #[track_caller]
    pub fn wait_live(&self) {
        self.wait("the upgrade", |heard| heard.events.iter().any(|event| matches!(event, StreamEvent::Live { .. })));
    }

    #[track_caller]
    pub fn wait_fault(&self, kind: FaultKind) {
        self.wait(kind.as_str(), |heard| faults(heard).any(|fault| fault.kind == kind));
    }

    pub fn messages(&self) -> Vec<String> {
        self.0.lock().unwrap().messages.clone()
    }

    pub fn faults(&self) -> Vec<Fault> {
        faults(&self.0.lock().unwrap()).cloned().collect()
    }
}

pub fn faults(heard: &Heard) -> impl Iterator<Item = &Fault> {
    heard.events.iter().filter_map(|event| match event {
        StreamEvent::Fault(fault) => Some(fault),
        _ => None,
    })
}

pub fn url(address: SocketAddr, path: &str) -> StreamUrl {
    StreamUrl::parse(&format!("wss://{address}{path}")).unwrap()
}

/// A private stream.
pub fn config(authority: &Authority, address: SocketAddr, path: &str) -> SessionConfig {
    SessionConfig::user_data(url(address, path), authority.client())
}

pub fn add(handle: &LoopHandle, key: u64, config: SessionConfig) -> Ears {
    let ears = Ears::default();
    handle.control().add(key, Stream { config, consumer: Box::new(ears.clone()) }).unwrap();
    ears
}

pub fn host(config: LoopConfig) -> LoopHandle {
    spawn_empty(config, Arc::new(SystemClock::start()), Random::from_seed(1)).unwrap()
}

#[track_caller]
pub fn stop(handle: LoopHandle) {
    let begun = Instant::now();
    handle.stop();
    handle.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "stopping took {:?}", begun.elapsed());
}
