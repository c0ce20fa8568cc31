//! Accounts over real TLS on loopback, hosted by one loop, their server in a child process: what an idle one costs in
//! memory, and how many frames a second come through from socket to spool.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Mono, Now, Random, Wall};
use kraite_streams::event_loop::{
    Consumer, LoopConfig, LoopHandle, Received, SessionConfig, Stream, StreamEvent, spawn_empty,
};
use kraite_streams::exchange::binance::user_data::classify;
use kraite_streams::spool::{
    AccountId, Appender, Batch, BatchError, Epoch, ExchangeId, FolderDisk, Opened, SpoolConfig, open,
};
use kraite_streams::stream::StreamUrl;
use kraite_streams::stream::connect_limiter::OpenGate;
use kraite_streams::stream::tls::client_config;
use parking_lot::Mutex;
use rustls::ClientConfig;

use crate::frame_path::{EXCHANGE, FRAME_LEN, KEY, frames, wire};
use crate::server::{Authority, hold, serve, upgrade};

const CHILD: &str = "KRAITE_BENCH_SERVER";
const PATIENCE: Duration = Duration::from_secs(40);
const IDLE: u64 = 2_000;
/// Connected at once: no more than a listening socket's queue holds.
const GROUP: u64 = 100;
/// Buffers, tickets and code that all share.
const WARM: u64 = 50;
const FLOODS: u64 = 4;
const FLOOD_FRAMES: usize = 25_000;

/// In the child: serves until its standard input ends.
pub fn serve_as_child() -> Option<ExitCode> {
    env::var_os(CHILD)?;
    let authority = Authority::new("the bench's");
    let address = serve(&authority, |_, mut tls| {
        if upgrade(&mut tls, b"") == "/flood" {
            let bytes = wire(&frames(256));
            let mut left = FLOOD_FRAMES;
            while left > 0 {
                let count = left.min(256);
                if tls.write_all(&bytes[..count * (FRAME_LEN + 4)]).and_then(|()| tls.flush()).is_err() {
                    return;
                }
                left -= count;
            }
        }
        // Idle for as long as the measurement takes.
        let _ = tls.sock.set_read_timeout(None);
        hold(tls);
    });
    print!("address {address}\n{}end\n", authority.pem());
    let _ = std::io::stdout().flush();
    let _ = std::io::stdin().read_line(&mut String::new());
    Some(ExitCode::SUCCESS)
}

/// Prints the resident memory of an idle account.
pub fn idle() {
    let files = open_files_max();
    let accounts = if files > IDLE + WARM + 100 { IDLE } else { files.saturating_sub(WARM + 100).min(900) };
    if accounts < IDLE {
        println!("idle accounts: {accounts} only, since the limit of open files is {files}");
    }
    let server = Server::start();
    let host = host();
    let live = Arc::new(AtomicUsize::new(0));
    let connect = |keys: Range<u64>| {
        let wanted = live.load(Ordering::Relaxed) + (keys.end - keys.start) as usize;
        for key in keys {
            server.add(&host, key, "/idle", Box::new(Quiet(Arc::clone(&live))));
        }
        wait("idle accounts", || live.load(Ordering::Relaxed) >= wanted);
    };
    connect(0..WARM);
    let (before, begun) = (resident(), Instant::now());
    for first in (WARM..WARM + accounts).step_by(GROUP as usize) {
        connect(first..(first + GROUP).min(WARM + accounts));
    }
    let took = begun.elapsed().as_secs_f64();
    let after = resident();
    println!(
        "{accounts} idle TLS accounts on one loop: {} bytes resident per account; {:.1} MB in all, {took:.1} s to all live",
        after.saturating_sub(before) / accounts,
        after as f64 / 1e6
    );
    host.stop();
    host.join().expect("the loop ends");
    assert_eq!(live.load(Ordering::Relaxed) as u64, WARM + accounts, "no connection was lost and made again");
}

/// Prints the rate from socket to spool; false if a frame is missing.
pub fn flood() -> bool {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let disk = FolderDisk::open(folder.path()).expect("a folder");
    let now = Now { mono: Mono::ZERO, wall: Wall::from_millis(1_795_420_185_800) };
    let Opened { appender, mut syncer, .. } = open(disk, SpoolConfig::default(), Epoch([1; 16]), now).expect("a spool");
    let written = Arc::new(AtomicUsize::new(0));
    let batch = appender.batch();
    let spool = Arc::new(Mutex::new(Spooling { appender, batch, begun: None, written: Arc::clone(&written) }));
    let server = Server::start();
    let host = host();
    for key in 0..FLOODS {
        server.add(
            &host,
            key,
            "/flood",
            Box::new(Recording { account: AccountId(1 + key), spool: Arc::clone(&spool) }),
        );
    }
    let (frames, begun) = (FLOODS as usize * FLOOD_FRAMES, Instant::now());
    let mut at = now;
    while written.load(Ordering::Relaxed) < frames && begun.elapsed() < PATIENCE {
        at.mono = now.mono.plus(begun.elapsed());
        syncer.turn(at);
        thread::sleep(Duration::from_millis(2));
    }
    let took = spool.lock().begun.map(|begun| begun.elapsed().as_secs_f64()).unwrap_or(f64::INFINITY);
    let came = written.load(Ordering::Relaxed);
    host.stop();
    host.join().expect("the loop ends");
    println!(
        "\nTLS → loop → classify → batch → spool, {FLOODS} accounts on one loop, the server on the same machine: {:.0} \
         frames/s, {:.0} MB/s ({came} of {frames} frames in {took:.2} s, synced meanwhile)",
        came as f64 / took,
        (came * FRAME_LEN) as f64 / took / 1e6
    );
    came == frames
}

fn host() -> LoopHandle {
    let clock = Arc::new(SystemClock::start());
    spawn_empty(LoopConfig::user_data(Arc::new(OpenGate)), clock, Random::from_seed(1)).expect("a loop")
}

fn wait(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what} did not come");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
}

fn open_files_max() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").expect("Linux");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a process has limits");
    line.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(u64::MAX)
}

/// The child.
struct Server {
    child: Child,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Server {
    fn start() -> Server {
        let mut child = Command::new(env::current_exe().expect("a path"))
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let said: Vec<_> = lines.take_while(|line| line != "end").collect();
        let address = said[0].strip_prefix("address ").and_then(|text| text.parse().ok()).expect("an address");
        let tls = client_config(said[1..].join("\n").as_bytes(), IDLE as usize).expect("a certificate");
        Server { child, address, tls }
    }

    fn add(&self, host: &LoopHandle, key: u64, path: &str, consumer: Box<dyn Consumer>) {
        let url = StreamUrl::parse(&format!("wss://{}{path}", self.address)).expect("a URL");
        let config = SessionConfig::user_data(url, Arc::clone(&self.tls));
        host.control().add(key, Stream { config, consumer }).expect("the loop takes it");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts connections that became live.
struct Quiet(Arc<AtomicUsize>);

impl Consumer for Quiet {
    fn handle_message(&mut self, _connection: u64, _payload: &mut [u8], _len: usize, _at: Now) -> Received {
        Received::Data
    }

    fn handle_event(&mut self, event: &StreamEvent, _at: Now) {
        if matches!(event, StreamEvent::Live { .. }) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The spooler's part, done at once on the loop's thread.
struct Spooling {
    appender: Appender<FolderDisk>,
    batch: Batch,
    begun: Option<Instant>,
    written: Arc<AtomicUsize>,
}

impl Spooling {
    fn append(&mut self, at: Now) {
        // A disk that is behind takes it a little later.
        while !self.batch.is_empty() {
            match self.appender.append(&mut self.batch, at) {
                Ok(appended) => _ = self.written.fetch_add(appended.written, Ordering::Relaxed),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

struct Recording {
    account: AccountId,
    spool: Arc<Mutex<Spooling>>,
}

impl Consumer for Recording {
    fn handle_message(&mut self, _connection: u64, payload: &mut [u8], len: usize, at: Now) -> Received {
        let mut spool = self.spool.lock();
        spool.begun.get_or_insert_with(Instant::now);
        let frame = &payload[..len];
        if classify(frame).class.is_recorded() {
            let exchange = ExchangeId(EXCHANGE);
            while let Err(error) = spool.batch.push_frame(self.account, exchange, at.wall, frame, KEY.as_bytes()) {
                assert_eq!(error, BatchError::Full, "a batch takes frames of this size");
                spool.append(at);
            }
            // All accounts send as many, so the end falls on a batch of the last ones.
            let waiting = spool.batch.records();
            if spool.written.load(Ordering::Relaxed) + waiting == FLOODS as usize * FLOOD_FRAMES {
                spool.append(at);
            }
        }
        Received::Data
    }

    fn handle_event(&mut self, _event: &StreamEvent, _at: Now) {}
}
