//! Name lookups on short-lived threads: the system's resolver blocks, and the loop never does.
//!
//! Each lookup has a thread of its own that ends with it, so no state of a failed one reaches the next: a resolver that
//! wedged once stayed wedged for days (facts/incumbent.md §9.5, §9.42). At most [`LOOKUPS_MAX`] run; the others wait in
//! line, one per stream, and a newer lookup of a stream replaces its waiting one.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;

use super::stream_id::StreamId;
use crate::domain::limits::LOOKUPS_MAX;

/// What to look up, and for whom.
#[derive(Debug)]
pub(super) struct Lookup {
    pub stream: StreamId,
    /// Given back with the answer.
    pub attempt: u64,
    pub host: String,
    pub port: u16,
}

/// The outcome of one lookup.
#[derive(Debug)]
pub(super) struct Answer {
    pub stream: StreamId,
    pub attempt: u64,
    pub outcome: io::Result<Vec<SocketAddr>>,
}

/// Lookups under way and in line.
pub(super) struct Resolver {
    look_up: fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
    waker: Arc<Waker>,
    running: usize,
    waiting: VecDeque<Lookup>,
    sender: Sender<Answer>,
    answers: Receiver<Answer>,
}

impl Resolver {
    /// Wakes `waker` after each answer.
    pub fn new(waker: Arc<Waker>) -> Resolver {
        Resolver::with(waker, |host, port| Ok((host, port).to_socket_addrs()?.collect()))
    }

    fn with(waker: Arc<Waker>, look_up: fn(&str, u16) -> io::Result<Vec<SocketAddr>>) -> Resolver {
        // One place per running lookup: an answer never waits for the loop.
        let (sender, answers) = bounded(LOOKUPS_MAX);
        Resolver { look_up, waker, running: 0, waiting: VecDeque::new(), sender, answers }
    }

    /// Looks up at once or as soon as one of the running lookups ends.
    pub fn request(&mut self, lookup: Lookup) {
        self.waiting.retain(|waiting| waiting.stream != lookup.stream);
        self.waiting.push_back(lookup);
        self.start();
    }

    /// An answer that has come, if any. It may be for an attempt that is over.
    pub fn poll_answer(&mut self) -> Option<Answer> {
        let answer = self.answers.try_recv().ok()?;
        self.running -= 1;
        self.start();
        Some(answer)
    }

    fn start(&mut self) {
        while self.running < LOOKUPS_MAX {
            let Some(Lookup { stream, attempt, host, port }) = self.waiting.pop_front() else { return };
            self.running += 1;
            let (look_up, sender, waker) = (self.look_up, self.sender.clone(), Arc::clone(&self.waker));
            let spawned = thread::Builder::new().name("resolver".to_owned()).spawn(move || {
                let outcome = look_up(&host, port);
                // The loop may have ended meanwhile; nobody misses the answer then.
                let _ = sender.try_send(Answer { stream, attempt, outcome });
                let _ = waker.wake();
            });
            if let Err(error) = spawned {
                let _ = self.sender.try_send(Answer { stream, attempt, outcome: Err(error) });
                let _ = self.waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use super::*;

    static GATE: Mutex<()> = Mutex::new(());

    fn lookup(slot: usize, attempt: u64) -> Lookup {
        let stream = StreamId { slot, generation: 7 };
        Lookup { stream, attempt, host: "somewhere".to_owned(), port: 1 }
    }

    fn answer_within_10_s(resolver: &mut Resolver, poll: &mut mio::Poll) -> Answer {
        let until = Instant::now() + Duration::from_secs(10);
        let mut events = mio::Events::with_capacity(8);
        loop {
            if let Some(answer) = resolver.poll_answer() {
                return answer;
            }
            assert!(Instant::now() < until, "no answer");
            poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
        }
    }

    #[test]
    fn hung_lookups_block_nobody_and_are_few() {
        let mut poll = mio::Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let mut resolver = Resolver::with(waker, |_, port| {
            drop(GATE.lock());
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
        });
        let gate = GATE.lock().unwrap();
        for slot in 0..LOOKUPS_MAX + 2 {
            resolver.request(lookup(slot, 1));
        }
        resolver.request(lookup(LOOKUPS_MAX, 2));
        assert_eq!((resolver.running, resolver.waiting.len()), (LOOKUPS_MAX, 2));
        assert!(resolver.poll_answer().is_none());
        drop(gate);
        let mut answered: Vec<_> = (0..LOOKUPS_MAX + 2)
            .map(|_| answer_within_10_s(&mut resolver, &mut poll))
            .map(|answer| (answer.stream.slot, answer.attempt, answer.outcome.unwrap().len()))
            .collect();
        answered.sort_unstable();
        let mut expected: Vec<_> = (0..LOOKUPS_MAX + 2).map(|slot| (slot, 1, 1)).collect();
        expected[LOOKUPS_MAX].1 = 2;
        assert_eq!(answered, expected);
        assert_eq!(resolver.running, 0);
    }

    #[test]
    fn the_systems_resolver_knows_localhost() {
        let mut poll = mio::Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let mut resolver = Resolver::new(waker);
        resolver.request(Lookup { host: "localhost".to_owned(), ..lookup(3, 9) });
        let answer = answer_within_10_s(&mut resolver, &mut poll);
        assert_eq!((answer.stream.slot, answer.stream.generation, answer.attempt), (3, 7, 9));
        assert!(answer.outcome.unwrap().iter().all(|address| address.ip().is_loopback() && address.port() == 1));
    }
}
