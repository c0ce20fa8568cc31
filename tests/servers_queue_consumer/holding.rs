//! One reserver a queue: hand-overs, deaths, sleep, lost memory.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use kraite_streams::queue::{JobSource as _, Lease, PushErrorClass};

use crate::redis_server::{PATIENCE, RedisServer, wait_for};
use crate::rig::{Rig, config};
use crate::side::{Side, check_counts, each, keys, lost, shown};

const URL: &str = "CONSUMER_URL";
const LEASE_MS: &str = "CONSUMER_LEASE_MS";

/// The other process: does what it is told, a line at a time. Not a test of its own; without a server it has nothing to do.
#[test]
fn child_does_as_it_is_told() {
    let Ok(url) = std::env::var(URL) else { return };
    let lease = Duration::from_millis(std::env::var(LEASE_MS).unwrap().parse().unwrap());
    let mut side = Side::with(config(&url), lease);
    let mut tickets = Vec::new();
    for line in std::io::stdin().lines() {
        let answer = match line.unwrap().split_once(' ').unwrap() {
            ("hold", _) => side.source.keep_lease().map(|lease| match lease {
                Lease::Held { fence } => fence,
                Lease::Standby => 0,
            }),
            ("take", max) => {
                let mut jobs = Vec::new();
                let taken = side.source.reserve(max.parse().unwrap(), Duration::ZERO, &mut jobs);
                tickets.extend(jobs.iter().map(|job| job.ticket));
                taken.map(|()| jobs.len() as u64)
            }
            ("ack", _) => side.source.ack(&tickets).map(|()| tickets.len() as u64),
            (other, _) => panic!("{other}"),
        };
        // On a line of its own, whatever the test harness has printed before.
        let answer = answer.map_or_else(|error| error.class.to_string(), |number| number.to_string());
        writeln!(std::io::stdout(), "\n> {answer}").unwrap();
    }
}

struct Other {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Other {
    fn start(server: &RedisServer, lease_ms: u64) -> Other {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "holding::child_does_as_it_is_told", "--nocapture"])
            .env(URL, server.url())
            .env(LEASE_MS, lease_ms.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Other { child, stdin, stdout }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        while !line.starts_with("> ") {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the other process ended");
        }
        line[2..].trim().to_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear()
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_killed_holder_is_succeeded_at_once_and_its_jobs_come_first() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let mut other = Other::start(&server, 600_000);
    assert_eq!(other.ask("hold -"), "1");
    for _ in 0..4 {
        rig.push_next(50);
    }
    assert_eq!(other.ask("take 60"), "60");
    assert_eq!(other.ask("take 40"), "40");
    let mut side = Side::new(&server);
    assert_eq!(side.source.keep_lease(), Ok(Lease::Standby));
    assert!(side.source.holder().is_some_and(|holder| holder.contains(&format!("/{}/", other.child.id()))));
    lost(side.source.reserve(1, Duration::ZERO, &mut Vec::new()));

    other.child.kill().unwrap();
    other.child.wait().unwrap();
    let died = Instant::now();
    assert_eq!(side.hold(), 2);
    let first = side.take(1);
    assert!(died.elapsed() < Duration::from_secs(1), "{:?}", died.elapsed());
    let mut jobs = shown(&first);
    jobs.extend(shown(&side.take(120)));
    assert_eq!(jobs, [each(1..=100, 2), each(101..=121, 1)].concat());
    check_counts(&mut client, 79, 121);
}

#[test]
fn a_holder_that_slept_through_its_lease_is_told_so() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    rig.push_next(20);
    let mut other = Other::start(&server, 2_000);
    assert_eq!(other.ask("hold -"), "1");
    assert_eq!(other.ask("take 10"), "10");
    other.signal("-STOP");
    let mut side = Side::new(&server);
    wait_for("the lease", || side.source.keep_lease().unwrap() != Lease::Standby);
    assert_eq!(side.hold(), 2);
    // It works on, as if nothing had been.
    other.say("ack -");
    other.say("take 5");
    other.say("hold -");
    other.signal("-CONT");
    assert_eq!([other.hear(), other.hear(), other.hear()], ["lease_lost", "lease_lost", "0"]);
    let jobs = side.take(20);
    assert_eq!(shown(&jobs), [each(1..=10, 2), each(11..=20, 1)].concat());
    check_counts(&mut client, 0, 20);
    // Nor do its old tickets touch anything later.
    side.source.hand_back().unwrap();
    assert_eq!(other.ask("hold -"), "3");
    assert_eq!(other.ask("ack -"), "10");
    check_counts(&mut client, 20, 0);
}

#[test]
fn a_lease_that_ran_out_and_that_nobody_took_goes_on() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    rig.push_next(20);
    let mut side = Side::with(config(&server.url()), Duration::from_millis(1_500));
    assert_eq!(side.hold(), 1);
    let jobs = side.take(10);
    let is_gone = |client: &mut redis::Connection| redis::cmd("EXISTS").arg(keys().lease).query(client) == Ok(0);
    wait_for("the lease's end", || is_gone(&mut client));
    let tickets: Vec<_> = jobs.iter().map(|job| job.ticket).collect();
    lost(side.source.ack(&tickets));
    lost(side.source.reserve(1, Duration::ZERO, &mut Vec::new()));
    assert_eq!(side.hold(), 1, "nobody came between");
    check_counts(&mut client, 10, 10);
    wait_for("the lease's end", || is_gone(&mut client));
    assert_eq!(side.hold(), 1);
    let mut patient = Side::new(&server);
    wait_for("the lease", || patient.source.keep_lease().unwrap() != Lease::Standby);
    assert_eq!(side.source.keep_lease(), Ok(Lease::Standby));
    assert_eq!(shown(&patient.take(20)), [each(1..=10, 2), each(11..=20, 1)].concat());
}

#[test]
fn the_fence_grows_over_a_server_that_lost_its_memory() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    let mut side = Side::holding(&server);
    assert_eq!((side.hold(), side.hold()), (1, 1));
    // What the database knows is more than what the server knows.
    side.source.set_fence_floor(1);
    assert_eq!(side.hold(), 1, "one's own fence in the database is no news");
    side.source.set_fence_floor(40);
    rig.push_next(5);
    assert_eq!(shown(&side.take(2)), each(1..=2, 1));
    assert_eq!(side.hold(), 41);
    assert_eq!(
        shown(&side.take(5)),
        [each(1..=2, 2), each(3..=5, 1)].concat(),
        "what was in hand is the queue's again"
    );

    redis::cmd("FLUSHALL").exec(&mut client).unwrap();
    lost(side.source.extend());
    assert_eq!(side.hold(), 41 + 1, "its own last fence counts, though the floor is older");
    side.source.set_fence_floor(3);
    redis::cmd("FLUSHALL").exec(&mut client).unwrap();
    let mut next = Side::new(&server);
    next.source.set_fence_floor(42);
    assert_eq!(next.hold(), 43);
    let mut unlimited = Side::new(&server);
    redis::cmd("FLUSHALL").exec(&mut client).unwrap();
    unlimited.source.set_fence_floor(u64::MAX);
    assert_eq!(unlimited.hold(), (1 << 52) + 1);
    redis::cmd("DEL").arg(keys().lease).exec(&mut client).unwrap();
    assert_eq!(Side::new(&server).hold(), (1 << 52) + 2);
}

#[test]
fn many_that_want_the_lease_get_it_one_after_another() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut rig = Rig::new(&server);
    const JOBS: u64 = 400;
    for _ in 0..JOBS / 50 {
        rig.push_next(50);
    }
    let url = server.url();
    let takers: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            std::thread::spawn(move || {
                let mut done = Vec::new();
                let mut side = Side::with(config(&url), Duration::from_secs(600));
                let deadline = Instant::now() + PATIENCE;
                while Instant::now() < deadline {
                    let Lease::Held { fence } = side.source.keep_lease().unwrap() else {
                        std::thread::sleep(Duration::from_millis(1));
                        continue;
                    };
                    let jobs = side.take(7);
                    let acked: Vec<_> = jobs.iter().take(5).map(|job| job.ticket).collect();
                    side.source.ack(&acked).unwrap();
                    done.extend(
                        shown(&jobs[..acked.len()]).into_iter().map(|(position, attempt)| (fence, position, attempt)),
                    );
                    side.source.hand_back().unwrap();
                    if jobs.is_empty() {
                        break;
                    }
                }
                done
            })
        })
        .collect();
    let mut done: Vec<_> = takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect();
    done.sort_unstable();
    let positions: Vec<_> = done.iter().map(|&(_, position, _)| position).collect();
    assert_eq!(positions, (1..=JOBS).collect::<Vec<_>>(), "each once, in the order of the fences");
    assert!(done.iter().all(|&(_, _, attempt)| attempt == 1), "what is handed back was never tried");
    check_counts(&mut client, 0, 0);
}

/// kill -9 of a server that keeps a log, in the middle.
#[test]
fn a_killed_server_goes_on_where_it_was() {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut rig = Rig::new(&server);
    rig.push_next(30);
    let mut side = Side::holding(&server);
    let jobs = side.take(10);
    side.source.ack(&[jobs[0].ticket, jobs[4].ticket]).unwrap();
    server.kill();
    assert_eq!(side.source.ack(&[jobs[1].ticket]).unwrap_err().class, PushErrorClass::Down);
    assert_eq!(side.source.extend().unwrap_err().class, PushErrorClass::Down);
    server.restart();
    wait_for("the server", || side.source.extend().is_ok());
    assert_eq!(side.hold(), 1, "the lease was kept too");
    let acked: Vec<_> = jobs.iter().map(|job| job.ticket).collect();
    side.source.ack(&acked).unwrap();
    assert_eq!(shown(&side.take(100)), each(11..=30, 1));
    check_counts(&mut server.client(), 0, 20);

    // A server that forgot everything: what the spool pushes again comes again, under a greater fence.
    let mut server = RedisServer::start(&[]);
    let mut rig = Rig::new(&server);
    let mut side = Side::holding(&server);
    rig.push_next(5);
    let jobs = side.take(5);
    server.kill();
    assert!(side.source.reserve(1, Duration::ZERO, &mut Vec::new()).is_err());
    server.restart();
    wait_for(
        "the server",
        || matches!(side.source.ack(&[jobs[0].ticket]), Err(error) if error.class == PushErrorClass::LeaseLost),
    );
    assert_eq!(side.hold(), 2);
    side.source.ack(&[jobs[0].ticket]).unwrap();
    check_counts(&mut server.client(), 0, 0);
}

/// The same under load: killed between any two bytes, a server that syncs each write forgets nothing that it answered.
#[test]
fn kills_in_the_middle_repeat_what_was_not_answered_and_lose_nothing() {
    const JOBS: u64 = 1_500;
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut rig = Rig::new(&server);
    for _ in 0..JOBS / 50 {
        rig.push_next(50);
    }
    let mut side = Side::new(&server);
    let consumer = std::thread::spawn(move || {
        let (mut acked, mut failures) = (BTreeSet::new(), 0);
        let deadline = Instant::now() + PATIENCE;
        let mut jobs = Vec::new();
        while (acked.len() as u64) < JOBS {
            assert!(Instant::now() < deadline, "{} of {JOBS} acked", acked.len());
            jobs.clear();
            let taken = side.source.keep_lease().and_then(|_| side.source.reserve(3, Duration::ZERO, &mut jobs));
            if taken.is_err() {
                failures += 1;
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            let tickets: Vec<_> = jobs.iter().map(|job| job.ticket).collect();
            let deadline = Instant::now() + PATIENCE;
            // Said again until it is answered, as the worker does.
            while let Err(error) = side.source.ack(&tickets) {
                assert!(Instant::now() < deadline, "{error}");
                let _ = side.source.keep_lease();
                failures += 1;
            }
            for (position, attempt) in shown(&jobs) {
                assert!(acked.insert(position), "{position} came again after its ack was answered");
                assert_eq!(attempt, 1, "what was handed out unheard counts as never tried");
            }
        }
        (acked, failures)
    });
    for pause in [40, 90, 170] {
        std::thread::sleep(Duration::from_millis(pause));
        server.kill();
        server.restart();
    }
    let (acked, failures) = consumer.join().unwrap();
    assert!(acked.into_iter().eq(1..=JOBS));
    eprintln!("{failures} calls met a dead server");
    check_counts(&mut server.client(), 0, 0);
}
