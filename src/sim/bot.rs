//! The trading application that stands beside the program, played for the demo: it writes positions and orders, sends them to
//! the simulated venue, and carries out the workflows that intents ask for.
//!
//! An order's row is written before the venue can say anything about it. Often the row is whole by then; otherwise it has
//! only the client id, and the venue's own id comes when the venue has answered, perhaps behind the first frames. Cancels of
//! its own are written down before they are sent, so that their echo is no news. What other people do on the account it does
//! not write.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::{Clock, Mono, Random};
use crate::queue::{InProcessQueue, Reserved};
use crate::store::sqlite::{PlacedRow, SqliteStore};
use crate::store::{ErrorClass, Result, StoreError};

use super::{Announcement, Application, PlacedOrder, Purpose, Wish};

/// How long it waits for the venue before it looks at everything else.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The longest that an answer of the venue is under way, and a workflow takes.
const DEED_MAX_MS: u64 = 30;
/// How often a busy file is tried again; each try waits as long as the store does.
const BUSY_TRIES: u32 = 20;
/// Where no queue brings intents, the table is asked this often.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Where intents come from.
pub enum Intents {
    /// The queues that the relay fills; it may open further ones.
    Queues(Arc<Mutex<Vec<InProcessQueue>>>),
    /// The table, asked again and again.
    Table,
}

/// The running application.
pub struct Bot {
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

/// What it did.
#[derive(Debug, Default)]
pub struct Counts {
    /// Orders written and sent.
    pub placed: AtomicU64,
    /// Of those: sent before the venue's id was in the row.
    pub raced: AtomicU64,
    /// Cancels sent.
    pub canceled: AtomicU64,
    /// Workflows ended.
    pub workflows: AtomicU64,
    /// Intents that came from the queue.
    pub intents: AtomicU64,
}

impl Bot {
    /// Starts it on the file `database`; `rows` are the accounts' ids by the venue's index.
    ///
    /// # Errors
    /// A file that cannot be opened, a system without threads.
    pub fn start(
        application: Application,
        database: &Path,
        rows: &[u64],
        intents: Intents,
        clock: Arc<dyn Clock>,
        random: Random,
    ) -> io::Result<Bot> {
        let store = SqliteStore::open(database).map_err(io::Error::other)?;
        let (counts, stop) = (Arc::<Counts>::default(), Arc::<AtomicBool>::default());
        let work = Work {
            application,
            store,
            rows: rows.iter().map(|row| i64::try_from(*row).unwrap_or(i64::MAX)).collect(),
            intents,
            deeds: BTreeMap::new(),
            next: 0,
            asked_at: Mono::ZERO,
            clock,
            random,
            counts: Arc::clone(&counts),
            stop: Arc::clone(&stop),
        };
        let thread = thread::Builder::new().name("demo-bot".to_owned()).spawn(move || work.run())?;
        Ok(Bot { counts, stop, thread })
    }

    /// What it did so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it; what is under way is done first.
    ///
    /// # Errors
    /// What ended it before.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        let panicked = |_| Err(StoreError::new(ErrorClass::Other, "the application's thread panicked".to_owned()));
        self.thread.join().unwrap_or_else(panicked)
    }
}

/// What is to be done at its time.
enum Deed {
    Acknowledge { client_id: String, id: u64 },
    Finish { intent: i64, job: Option<Reserved> },
}

struct Work {
    application: Application,
    store: SqliteStore,
    rows: Vec<i64>,
    intents: Intents,
    deeds: BTreeMap<(Mono, u64), Deed>,
    next: u64,
    asked_at: Mono,
    clock: Arc<dyn Clock>,
    random: Random,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn run(mut self) -> Result<()> {
        while !self.stop.load(Ordering::Acquire) || !self.deeds.is_empty() {
            if let Some(announcement) = self.application.next(LOOK_EVERY) {
                self.carry_out(&announcement)?;
            }
            self.take_intents()?;
            while let Some(first) = self.deeds.first_entry()
                && first.key().0 <= self.clock.now().mono
            {
                let deed = first.remove();
                self.perform(deed)?;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, announcement: &Announcement) -> Result<()> {
        let Some(&account_id) = self.rows.get(announcement.account) else { return Ok(()) };
        match &announcement.wish {
            Wish::Place(order) => {
                let is_whole = self.random.below(3) > 0;
                self.write_order(account_id, order, is_whole)?;
                self.application.send(announcement);
                self.counts.placed.fetch_add(1, Ordering::Relaxed);
                if !is_whole {
                    self.counts.raced.fetch_add(1, Ordering::Relaxed);
                    self.later(Deed::Acknowledge { client_id: order.client_id.clone(), id: order.id });
                }
            }
            Wish::Cancel { client_id } => {
                self.write(|store, _| store.intend_cancel(client_id))?;
                self.application.send(announcement);
                self.counts.canceled.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn write_order(&mut self, account_id: i64, order: &PlacedOrder, is_whole: bool) -> Result<()> {
        let id = order.id.to_string();
        let row = PlacedRow {
            account_id,
            symbol: &order.symbol,
            direction: if order.is_long { "LONG" } else { "SHORT" },
            kind: match order.purpose {
                Purpose::Entry => "MARKET",
                Purpose::Rung => "LIMIT",
                Purpose::TakeProfit => "PROFIT-LIMIT",
                Purpose::Stop => "STOP-MARKET",
            },
            side: order.side,
            position_side: order.position_side,
            client_order_id: &order.client_id,
            exchange_order_id: is_whole.then_some(id.as_str()),
            quantity: &order.quantity,
            price: &order.price,
            is_algo: order.is_algo,
        };
        match self.write(|store, clock| store.place_order(&row, clock.now().wall))? {
            true => Ok(()),
            false => Err(StoreError::new(ErrorClass::Data, format!("{} was placed before", order.client_id))),
        }
    }

    /// Takes up the workflows that are asked for.
    fn take_intents(&mut self) -> Result<()> {
        match &self.intents {
            Intents::Queues(queues) => {
                let job = queues.lock().iter().find_map(|queue| queue.reserve(Duration::ZERO));
                let Some(job) = job else { return Ok(()) };
                let body: serde_json::Value = serde_json::from_slice(job.body()).unwrap_or_default();
                let intent = body["kraite_intent"]["id"].as_str().and_then(|id| id.parse().ok());
                let Some(intent) = intent else {
                    let text = "a job of the relay names no intent".to_owned();
                    return Err(StoreError::new(ErrorClass::Data, text));
                };
                self.counts.intents.fetch_add(1, Ordering::Relaxed);
                self.later(Deed::Finish { intent, job: Some(job) });
            }
            Intents::Table => {
                let now = self.clock.now().mono;
                if now.since(self.asked_at) < ASK_EVERY {
                    return Ok(());
                }
                self.asked_at = now;
                for intent in self.write(|store, _| store.unfinished_intents())? {
                    self.perform(Deed::Finish { intent, job: None })?;
                }
            }
        }
        Ok(())
    }

    fn later(&mut self, deed: Deed) {
        let wait = Duration::from_millis(self.random.below(DEED_MAX_MS + 1));
        self.next += 1;
        self.deeds.insert((self.clock.now().mono.plus(wait), self.next), deed);
    }

    fn perform(&mut self, deed: Deed) -> Result<()> {
        match deed {
            Deed::Acknowledge { client_id, id } => {
                let id = id.to_string();
                self.write(|store, _| store.acknowledge_order(&client_id, &id))
            }
            Deed::Finish { intent, job } => {
                if self.write(|store, clock| store.finish_intent(intent, clock.now().wall))? {
                    self.counts.workflows.fetch_add(1, Ordering::Relaxed);
                }
                job.into_iter().for_each(Reserved::ack);
                Ok(())
            }
        }
    }

    /// The file is shared with the program: one that is busy is tried again.
    fn write<T>(&mut self, mut work: impl FnMut(&mut SqliteStore, &dyn Clock) -> Result<T>) -> Result<T> {
        let mut tries = 0;
        loop {
            match work(&mut self.store, &*self.clock) {
                Err(error) if error.class() == ErrorClass::Transient && tries < BUSY_TRIES => tries += 1,
                answer => return answer,
            }
        }
    }
}
