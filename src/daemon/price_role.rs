//! The price role: loop and writer around one board. Starts them, shows what they do, stops them in order.
//!
//! Stopping: the loop first (close frame, at most [`CLOSE_ECHO_MAX`](crate::domain::limits::CLOSE_ECHO_MAX)), so that the
//! writer's last write has the last price; then the writer, with what is left of the bound.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Clock, Now, Random};
use crate::event_loop::{self, ConnectGate, LoopHandle, Stream};
use crate::ops::PriceRow;
use crate::ops::status::{self, LatencyUs, MapStatus, RateMeter, Status, WriterState, WriterStatus};
use crate::prices::board::{PriceBoard, Slot};
use crate::prices::map_report::MapReport;
use crate::prices::sink::PriceSink;
use crate::prices::writer::{Writer, WriterSettings};
use crate::prices::writer_status::{self, Names};
use crate::prices::writer_thread::{self, WriterHandle};
use crate::stream::SessionConfig;
use crate::stream::{Consumer, FaultKind};

use super::price_consumer::PriceConsumer;
use super::telemetry::{Snapshot, StreamTelemetry};

/// What the role needs.
pub struct PriceRoleConfig {
    /// The stream.
    pub session: SessionConfig,
    /// The database.
    pub sink: Box<dyn PriceSink>,
    /// When to write.
    pub writer: WriterSettings,
    /// Whom each connect asks.
    pub gate: Arc<dyn ConnectGate>,
}

/// The running role.
pub struct PriceRole {
    board: Arc<PriceBoard>,
    telemetry: Arc<StreamTelemetry>,
    event_loop: Option<LoopHandle>,
    writer: WriterHandle,
    host: String,
    silence: Duration,
    started: Now,
    prices: RateMeter,
    rows: RateMeter,
}

impl PriceRole {
    /// Starts loop and writer. `wrap` may put something between the loop and the consumer; the demo's checks do.
    ///
    /// # Errors
    /// What the system says when it has no thread or no epoll instance left.
    pub fn start(
        config: PriceRoleConfig,
        clock: Arc<dyn Clock>,
        random: Random,
        wrap: impl FnOnce(PriceConsumer) -> Box<dyn Consumer>,
    ) -> io::Result<PriceRole> {
        let board = Arc::new(PriceBoard::new());
        let telemetry = Arc::new(StreamTelemetry::default());
        let host = config.session.url.to_string();
        let silence = config.session.liveness.silence();
        let writer = Writer::new(Arc::clone(&board), config.sink, Arc::clone(&clock), config.writer);
        let mut writer = writer_thread::spawn(writer, Arc::clone(&board), Arc::clone(&clock))?;
        let consumer = wrap(PriceConsumer::new(Arc::clone(&board), Arc::clone(&telemetry)));
        let streams = vec![Stream { config: config.session, consumer }];
        let started = clock.now();
        let event_loop = match event_loop::spawn_behind(config.gate, streams, clock, random) {
            Ok(event_loop) => event_loop,
            Err(error) => {
                writer.stop(Duration::from_secs(1));
                return Err(error);
            }
        };
        Ok(PriceRole {
            board,
            telemetry,
            event_loop: Some(event_loop),
            writer,
            host,
            silence,
            started,
            prices: RateMeter::default(),
            rows: RateMeter::default(),
        })
    }

    /// What the loop tells.
    #[must_use]
    pub fn stream(&self) -> Snapshot {
        self.telemetry.snapshot()
    }

    /// What the writer tells.
    #[must_use]
    pub fn writer(&self) -> writer_status::WriterStatus {
        self.writer.status()
    }

    /// What the symbol map, as last loaded, tells about itself.
    #[must_use]
    pub fn map_report(&self) -> Arc<MapReport> {
        self.writer.map_report()
    }

    /// Symbols on the board and prices that wait for the writer.
    #[must_use]
    pub fn dirty(&self) -> usize {
        self.board.counts().dirty
    }

    /// Asks for the symbol map to be loaded again.
    pub fn reload_map(&self) {
        self.writer.reload();
    }

    /// Whether a thread has ended that nobody stopped: the loop's polling failed, or one of our own mistakes.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.event_loop.as_ref().is_none_or(LoopHandle::is_finished) || self.writer.is_done()
    }

    /// The newest prices, by symbol, at most `limit`: what the page shows.
    #[must_use]
    pub fn newest(&self, limit: usize) -> Vec<PriceRow> {
        newest(&self.board, limit)
    }

    /// A reader of newest prices for the page's thread.
    pub fn newest_reader(&self) -> impl Fn(usize) -> Vec<PriceRow> + Send + Sync + 'static {
        let board = Arc::clone(&self.board);
        move |limit| newest(&board, limit)
    }

    /// Fills in what the role knows: stream, writer, faults, alarms.
    pub fn fill(&mut self, status: &mut Status, now: Now) {
        let snapshot = self.telemetry.snapshot();
        let writer = self.writer.status();
        let prices_per_s = self.prices.rate(snapshot.counts.accepted, now.mono);
        let rows_per_s = self.rows.rate(writer.rows_written, now.mono);
        status.stream = snapshot.stream_status(&self.host, prices_per_s);
        status.faults = crate::domain::Layer::ALL
            .into_iter()
            .zip(snapshot.faults_by_layer)
            .map(|(layer, count)| (layer.as_str().to_owned(), count))
            .collect();
        status.fault_kinds = faults_by_kind(&snapshot).map(|(kind, count)| (kind.to_owned(), count)).collect();
        status.alarms = snapshot.alarms(now.mono, self.started.mono, self.silence);
        status.alarms.extend(writer_alarms(&writer));
        status.writer = writer_to_status(writer, &self.writer.map_report(), rows_per_s);
        status.touch(now.wall);
    }

    /// Ends both threads inside `bound`; says whether the writer's last write was done.
    pub fn stop(mut self, bound: Duration, clock: &dyn Clock) -> bool {
        let until = clock.now().mono.plus(bound);
        if let Some(event_loop) = self.event_loop.take() {
            event_loop.stop();
            if let Err(error) = event_loop.join() {
                tracing::error!("the loop ended badly: {error}");
            }
        }
        self.writer.stop(until.since(clock.now().mono))
    }
}

fn newest(board: &PriceBoard, limit: usize) -> Vec<PriceRow> {
    let mut names = Vec::new();
    board.names_since(0, &mut names);
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_unstable_by(|&a, &b| names[a].cmp(&names[b]));
    let row = |at: usize| {
        let newest = board.latest(Slot(at as u32))?;
        let at_wall = status::iso(newest.stamp.received_at);
        Some(PriceRow { symbol: names[at].to_string(), price: newest.price.to_string(), at: at_wall })
    };
    order.into_iter().filter_map(row).take(limit).collect()
}

fn names_of(names: &Names) -> Vec<String> {
    let mut list = names.first.clone();
    if names.count > list.len() {
        list.push(format!("and {} more", names.count - list.len()));
    }
    list
}

fn writer_to_status(writer: writer_status::WriterStatus, map: &MapReport, rows_per_s: f64) -> WriterStatus {
    let state = match writer.state {
        writer_status::WriterState::Starting => WriterState::Starting,
        writer_status::WriterState::Writing => WriterState::Writing,
        writer_status::WriterState::WaitingForLock => WriterState::WaitingForLock,
        writer_status::WriterState::Away(_) => WriterState::StoreAway,
        writer_status::WriterState::Refused | writer_status::WriterState::Stopped => WriterState::Stopped,
    };
    let latency = writer.tick_to_commit_us;
    WriterStatus {
        state,
        rows_written: writer.rows_written,
        commits: writer.commits,
        tick_to_commit_us: (latency.count > 0).then_some(LatencyUs {
            p50: latency.p50,
            p99: latency.p99,
            max: latency.max,
        }),
        map: MapStatus {
            symbols: writer.symbols_mapped as u64,
            rows: writer.rows_mapped as u64,
            shifted: map.shifted.len() as u64,
            unknown: map.unknown_ratio.len() as u64,
        },
        unseen: names_of(&writer.unseen),
        quarantined: names_of(&writer.quarantined),
        last_error: (!writer.sentence.is_empty()).then_some(writer.sentence),
        rows_per_s,
    }
}

fn writer_alarms(writer: &writer_status::WriterStatus) -> Vec<String> {
    let mut alarms = Vec::new();
    if let writer_status::WriterState::Away(_) = writer.state {
        alarms.push(format!("prices are not written since {}: {}", writer.state_since, writer.sentence));
    }
    for (names, what) in [
        (&writer.missing, "rows of the symbol map are not in the price table"),
        (&writer.quarantined, "rows were refused by the database"),
        (&writer.unseen, "tracked symbols were not seen for 60 s"),
    ] {
        if names.count > 0 {
            alarms.push(format!("{} {what}: {names}", names.count));
        }
    }
    alarms
}

/// Faults by kind, as ledgers have them; kinds that did not occur are left out.
pub fn faults_by_kind(snapshot: &Snapshot) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    FaultKind::ALL.iter().zip(snapshot.faults_by_kind).filter(|(_, count)| *count > 0).map(|(k, n)| (k.as_str(), n))
}
