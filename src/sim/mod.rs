//! The exchange simulator: Binance's price stream on loopback, with real TLS and real WebSocket, faults on demand and an
//! exact ledger.
//!
//! [`venue`] invents the market and writes its frames, sans-IO and seeded; `server` puts it on a socket: one mio loop
//! on a thread of its own, so that thousands of sockets cost no threads. It shares no protocol code with the client: its
//! WebSocket side is tungstenite for what clients send and framing of its own for what it sends, its HTTP is httparse. So
//! it is an independent check, and a fault is a frame that no library would write.
//!
//! - [`Simulator::start`] gives a [`SimHandle`]: address, root certificate, [`SimHandle::inject`], [`SimHandle::ledger`].
//! - [`fault`] lists what can go wrong; a [`Script`] spreads it over a run. All of it can be written as text ([`vocabulary`]).
//! - [`ledger`] says what reached the socket to the last byte, and so what a table must hold in the end.
//! - `private` is the other half: accounts, listen keys, order lives, and [`AccountLedger`], which knows what became of each
//!   frame of each account.
//! - [`cross_listing`] is the truth about the instruments of the other three venues, served by REST in their own shapes.
//!
//! May import everything but `cli`; imports `domain` only.

mod account_handle;
mod account_injection;
pub mod bot;
mod certificate;
mod connection;
pub mod cross_listing;
mod door;
pub mod fault;
mod fault_text;
mod framing;
mod gate;
mod http;
mod injection;
pub mod ledger;
pub mod listing;
mod pace;
pub mod poison;
pub mod private;
mod rest;
mod routing;
mod server;
mod shipping;
mod tending;
mod timers;
pub mod venue;
#[cfg(test)]
mod venue_tests;
mod websocket;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use mio::Waker;
use parking_lot::{Condvar, Mutex};

use crate::domain::limits::SIM_QUEUE_MAX;

pub use cross_listing::CrossListing;
pub use fault::{FaultKind, Script};
pub use fault_text::{FaultTextError, vocabulary};
pub use gate::{ConnectLimit, ConnectRefusal, WeightLimit};
pub use ledger::{ConnectionLedger, Ending, Ledger};
pub use listing::{Counts, Listed};
pub use poison::{BadEntry, Poisoned};
pub use private::account_ledger::{AccountLedger, Delivery, Fate, FrameEntry, Missed, Verdict, frame_hash};
pub use private::application::{Announcement, Application, PlacedOrder, Purpose, Wish};
pub use private::book::{AccountBook, AlgoTruth, Fill, Movement, OrderTruth, PositionTruth};
pub use private::fault::{AccountFault, ExpiryNotice, Injection, ReadFault, VenueFault};
pub use private::life::LifeKind;
pub use private::reads::ReadRules;
pub use private::sessions::{AccountSession, Break};
pub use private::subscription::{PrivateSpelling, SpellingAnswer, Spellings};
pub use private::{AccountCredentials, AccountsConfig};

/// What to simulate.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Repeats the market, its prices and the random parts of faults.
    pub seed: u64,
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// From one pair of frames to the next; the venue's is a second.
    pub tick: Duration,
    /// How many symbols.
    pub symbols: Counts,
    /// From one server ping to the next; the venue's is three minutes.
    pub ping_interval: Duration,
    /// A ping unanswered for this long ends the connection with 1008; the venue's is ten minutes.
    pub pong_deadline: Duration,
    /// Client messages in a second, pings and unsolicited pongs included; more end the connection with 1008.
    pub messages_per_second: usize,
    /// Bytes owed to one connection before it is dropped as a slow consumer.
    pub queue_max: usize,
    /// Bad prices include one that `numeric(20,8)` rounds to zero. Wider columns take that price, so it is off by default.
    pub narrow_columns: bool,
    /// The private half.
    pub accounts: AccountsConfig,
    /// A connection is cut at this age, without a close frame; the venue's is a day.
    pub connection_lifetime: Duration,
    /// Upgrades of one source address in a window; `None` = as many as it likes.
    pub connects: Option<ConnectLimit>,
    /// REST weight of one source address in a minute.
    pub weight: WeightLimit,
    /// How much the venue's clock is ahead of this machine's, in ms; negative: behind. Every stamp is by the venue's, those of
    /// ledgers too.
    pub clock_ahead_ms: i64,
}

impl Default for SimConfig {
    fn default() -> Self {
        SimConfig {
            seed: 1,
            port: 0,
            tick: Duration::from_secs(1),
            symbols: Counts::default(),
            ping_interval: Duration::from_secs(180),
            pong_deadline: Duration::from_secs(600),
            messages_per_second: 10,
            queue_max: SIM_QUEUE_MAX,
            narrow_columns: false,
            accounts: AccountsConfig::default(),
            connection_lifetime: Duration::from_secs(24 * 3_600),
            connects: Some(ConnectLimit::default()),
            weight: WeightLimit::default(),
            clock_ahead_ms: 0,
        }
    }
}

/// The way in.
#[derive(Clone, Copy, Debug)]
pub struct Simulator;

impl Simulator {
    /// Starts a simulator on a thread of its own; it listens when this returns.
    ///
    /// # Errors
    /// When the port cannot be bound, keys cannot be made or the thread cannot be started; `InvalidInput` for a zero tick.
    pub fn start(config: SimConfig) -> io::Result<SimHandle> {
        if config.tick.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the simulator's tick must be longer than nothing",
            ));
        }
        let (tls, ca_pem) = certificate::issue()?;
        let (commands, inbox) = crossbeam_channel::bounded(1_024);
        let server = server::Server::bind(config, tls, inbox)?;
        let (addr, shared, waker) = (server.addr(), server.shared(), server.waker());
        let (listed, cross) = (server.listed().into(), server.cross().into());
        let thread = std::thread::Builder::new().name("simulator".into()).spawn(move || server.run())?;
        tracing::info!(%addr, "the simulator listens");
        Ok(SimHandle { addr, ca_pem, listed, cross, shared, commands, waker, thread: Some(thread) })
    }
}

/// A running simulator; it stops when this is dropped.
pub struct SimHandle {
    addr: SocketAddr,
    ca_pem: String,
    listed: Arc<[Listed]>,
    cross: Arc<[CrossListing]>,
    shared: Arc<Shared>,
    commands: Sender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

/// What the handle and the loop share.
pub(in crate::sim) struct Shared {
    ledger: Mutex<Ledger>,
    settled: Condvar,
    accounts: Mutex<private::Accounts>,
    /// Frames of accounts went into sockets, or were lost.
    delivered: Condvar,
}

/// What the handle asks of the loop.
pub(in crate::sim) enum Command {
    Inject(Injection),
    Script(Script),
    Life(usize, LifeKind),
    Pace(f64),
    Spellings(Spellings),
    Sync(Sender<()>),
    Quiesce,
    Stop,
}

impl SimHandle {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `wss://127.0.0.1:PORT`.
    #[must_use]
    pub fn stream_base(&self) -> String {
        format!("wss://{}", self.addr)
    }

    /// The whole URL of the mark-price stream, spelled as the venue's default.
    #[must_use]
    pub fn stream_url(&self) -> String {
        format!("wss://{}/market/stream?streams={}", self.addr, websocket::ALL_EACH_SECOND)
    }

    /// `https://127.0.0.1:PORT`: the REST root of all four venues.
    #[must_use]
    pub fn rest_base(&self) -> String {
        format!("https://{}", self.addr)
    }

    /// The root certificate that a client has to trust, in PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Writes the root certificate to a file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_ca(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, &self.ca_pem)
    }

    /// Binance's list, COIN-M included.
    #[must_use]
    pub fn listed(&self) -> &[Listed] {
        &self.listed
    }

    /// What the other venues list, and from which Binance symbol each price comes.
    #[must_use]
    pub fn cross_listings(&self) -> &[CrossListing] {
        &self.cross
    }

    /// Asks for one fault of the price connections ([`FaultKind`]), of an account ([`AccountFault::on`]) or of the whole
    /// venue ([`VenueFault`]); see [`fault`] and [`private::fault`] for when it takes effect.
    pub fn inject(&self, fault: impl Into<Injection>) {
        self.command(Command::Inject(fault.into()));
    }

    /// Runs a script from now on, in the place of one that is running.
    pub fn run_script(&self, script: Script) {
        self.command(Command::Script(script));
    }

    /// Freezes all prices, drops faults that wait, ends stalls. Frames go on every tick with the same prices, so that
    /// nothing falls silent while a checker compares. Order lives stop: accounts get no more frames.
    pub fn quiesce(&self) {
        self.command(Command::Quiesce);
    }

    /// Waits until a live connection has had the whole list at its frozen prices; false after `timeout`.
    #[must_use]
    pub fn wait_settled(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut ledger = self.shared.ledger.lock();
        while !ledger.settled {
            if self.shared.settled.wait_until(&mut ledger, deadline).timed_out() {
                return ledger.settled;
            }
        }
        true
    }

    /// A snapshot of what was counted.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger.lock().clone()
    }

    /// USDⓈ-M symbol → the text of its newest good price that reached a socket to the last byte: what a client must hold
    /// in the end. After [`SimHandle::quiesce`] and [`SimHandle::wait_settled`] it does not change any more.
    #[must_use]
    pub fn last_valid_prices(&self) -> BTreeMap<String, String> {
        self.shared.ledger.lock().prices(&self.listed)
    }

    /// Stops, and waits for the thread. Dropping does the same.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn command(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            let _ = self.waker.wake();
        }
    }

    fn shut_down(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.command(Command::Stop);
            if thread.join().is_err() {
                tracing::error!("the simulator's thread panicked");
            }
        }
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.shut_down();
    }
}
