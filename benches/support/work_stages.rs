//! The same work taken apart on one thread, without a queue: what reading, projecting, the audit row, the rules and the commit
//! of a job take.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kraite_streams::domain::time::SystemClock;
use kraite_streams::domain::{Clock, Wall};
use kraite_streams::exchange::binance::project;
use kraite_streams::queue::{JobBatch, JobReader, SourceJob};
use kraite_streams::store::WorkStore;
use kraite_streams::store::work::End;
use kraite_streams::store::work_rows::{Progress, audit_payload};
use kraite_streams::user_data::apply::{JobEvent, apply, audit_ahead, audit_key};
use kraite_streams::user_data::worker::job::LaneJob;

use crate::median::Samples;
use crate::work_places::Place;
use crate::work_rounds::{Dispatch, EPOCH, lives, policy};
use crate::{ACCOUNTS, PIECES, order_lives};

const WARM_UP: usize = 5;
/// Fences of the rounds before are below.
const FENCE: u64 = 1 << 40;

/// Prints microseconds per job of each stage; false where the rules wrote other than they should.
pub fn take_apart(place: &mut Place) -> bool {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let frames = lives(place, 1);
    let [mut read, mut projected, mut keyed] = [(); 3].map(|()| Samples::new(frames.len()));
    let mut dispatch = Dispatch::new(1 << 40, Arc::clone(&clock));
    let mut reader = JobReader::new();
    for (at, (account, raw)) in frames.iter().enumerate() {
        let warm = at < WARM_UP * order_lives::FRAMES;
        let mut batch = JobBatch::new();
        dispatch.add(&mut batch, *account, raw);
        let body = batch.jobs().next().expect("it was added").body.to_vec();
        let job = SourceJob { ticket: 1, body, attempt: 1 };
        read.time(warm, || assert!(black_box(LaneJob::read(&mut reader, job, Wall::from_millis(1))).content.is_ok()));
        projected.time(warm, || _ = black_box(project(black_box(raw.as_bytes()))));
        keyed.time(warm, || {
            black_box(audit_key(*account, 1, black_box(raw.as_bytes())));
            black_box(audit_payload(black_box(raw.as_bytes())));
        });
    }
    let mut store = place.store();
    let intents = place.count("workflow_intents");
    let mut columns = Vec::new();
    let mut position = 1 << 41;
    for piece in PIECES {
        let mut column = Column([(); 2].map(|()| [(); 3].map(|()| Samples::new(ACCOUNTS as usize))));
        for is_shadow in [true, false] {
            // Enough of them that each account fills a piece of 64.
            let frames = lives(place, 64_usize.div_ceil(order_lives::FRAMES) as u64);
            for account in 1..=ACCOUNTS {
                let own: Vec<_> = frames.iter().filter(|(whose, _)| *whose == account).map(|(_, raw)| raw).collect();
                let mut times = [Duration::ZERO; 3];
                for piece in own.chunks(piece) {
                    let took = transact(&mut store, (account, piece), is_shadow, &mut position, &*clock);
                    times.iter_mut().zip(took).for_each(|(sum, took)| *sum += took);
                }
                let warm = (account as usize) <= WARM_UP;
                for (samples, time) in column.0[usize::from(!is_shadow)].iter_mut().zip(times) {
                    samples.push(warm, time.div_f64(own.len() as f64));
                }
            }
        }
        columns.push(column);
    }
    println!("\n{}, one thread, µs per job; medians", place.name);
    println!("{:<52}{:>9}{:>9}{:>9}", "stage, in transactions of", "1", "16", "64");
    let micros = |samples: &Samples| samples.median().as_secs_f64() * 1e6;
    for (name, samples) in [("read the job", &read), ("project", &projected), ("audit key and payload", &keyed)] {
        println!("{name:<52}{0:>9.1}{0:>9.1}{0:>9.1}", micros(samples));
    }
    let line = |name: &str, of: &dyn Fn(&Column) -> f64| {
        println!("{name:<52}{:>9.1}{:>9.1}{:>9.1}", of(&columns[0]), of(&columns[1]), of(&columns[2]));
    };
    line("begin, lock the account's progress", &|column| micros(&column.0[0][0]));
    line("project, key, insert the audit row", &|column| micros(&column.0[0][1]));
    line("rules: find, lock, decide, write, intents", &|column| micros(&column.0[1][1]) - micros(&column.0[0][1]));
    line("progress, commit", &|column| micros(&column.0[0][2]));
    line("progress, commit, where rules have written", &|column| micros(&column.0[1][2]));
    let cycles = PIECES.len() * 64_usize.div_ceil(order_lives::FRAMES) * ACCOUNTS as usize;
    place.count("workflow_intents") - intents == (cycles * order_lives::INTENTS) as i64
}

/// Times per job in transactions of one size, each the mean over an account's cycles: in shadow mode, and with the
/// allowlist.
struct Column([[Samples; 3]; 2]);

/// As the worker does it; what begin, jobs and end took.
fn transact(
    store: &mut WorkStore,
    (account, piece): (i64, &[&String]),
    is_shadow: bool,
    position: &mut u64,
    clock: &dyn Clock,
) -> [Duration; 3] {
    let policy = policy(is_shadow);
    let events: Vec<_> = piece
        .iter()
        .map(|raw| {
            *position += 1;
            JobEvent {
                account_id: account,
                api_system_id: 1,
                canonical: "binance",
                kind: "frame",
                uuid: "a job of the bench",
                epoch: EPOCH,
                position: *position,
                previous: None,
                received_at: clock.now().wall,
                reserved_at: clock.now().wall,
                raw: raw.as_bytes(),
            }
        })
        .collect();
    let start = Instant::now();
    let (mut begun, mut applied) = (start, start);
    store
        .run(|tables| {
            tables.transaction(&mut |tx| {
                tx.lock_progress(account)?;
                begun = Instant::now();
                audit_ahead(tx, &events)?;
                for event in &events {
                    apply(tx, event, &policy, clock.now().wall)?;
                }
                applied = Instant::now();
                tx.set_progress(account, &Progress { epoch: EPOCH, position: *position, fence: FENCE })?;
                Ok(End::Commit)
            })
        })
        .expect("the jobs are applied");
    let ended = Instant::now();
    [begun - start, applied - begun, ended - applied]
}
