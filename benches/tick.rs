//! One tick of the price stream, stage by stage: WebSocket reader → parse → board → rows → SQL text, beside a memcpy of
//! the same bytes and a serde_json + `format!` twin; then the write itself, on SQLite and on PostgreSQL where there is one.
//!
//! `cargo bench --bench tick`, well under 90 s. Variants run in turn within each round and medians are printed, so that a
//! busy machine disturbs all alike: look at the ratios. Ends with 1 if the price path allocates in steady state, or if a
//! database does not hold the digits that it was sent.

#![expect(clippy::print_stdout, reason = "a bench speaks on stdout")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kraite_streams::domain::limits::PRICE_MESSAGE_MAX;
use kraite_streams::exchange::binance::mark_price::MarkPriceParser;
use kraite_streams::prices::case_when::{Form, Layout};
use kraite_streams::prices::price_table::PriceTable;

#[path = "../tests/support/counting_alloc.rs"]
mod counting_alloc;
#[path = "support/median.rs"]
mod median;
#[cfg(feature = "server")]
#[path = "support/postgres.rs"]
mod postgres_rows;
#[path = "../tests/support/price_path.rs"]
mod price_path;
#[cfg(feature = "server")]
#[path = "support/private_postgres.rs"]
mod private_postgres;
#[path = "support/reading.rs"]
mod reading;
#[cfg(feature = "embedded")]
#[path = "support/sqlite.rs"]
mod sqlite_rows;

use counting_alloc::{Allocations, CountingAlloc};
use price_path::{PricePath, RECORD, SYMBOLS, Tick, Twin, ticks};
use reading::Reading;

#[global_allocator]
static ALLOCATOR: CountingAlloc = CountingAlloc;

/// Different ticks, so that no branch predictor learns the digits.
const TICKS: usize = 64;
const ROUNDS: usize = 640;
const WARM_UP: usize = 2 * TICKS;

fn main() -> ExitCode {
    let ticks = ticks(TICKS, usize::MAX);
    let allocations = price_path_rows(&ticks);

    println!("\nwriting those rows, median of {} rounds", rows::ROUNDS);
    let mut right = true;
    #[cfg(feature = "embedded")]
    {
        right &= sqlite_rows::run(&ticks);
    }
    #[cfg(not(feature = "embedded"))]
    println!("SQLite rows omitted: built without the feature embedded");
    #[cfg(feature = "server")]
    {
        right &= postgres_rows::run(&ticks);
    }
    #[cfg(not(feature = "server"))]
    println!("PostgreSQL rows omitted: built without the feature server");

    if allocations == 0 && right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the stages; returns the allocations of all measured ticks.
fn price_path_rows(ticks: &[Tick]) -> u64 {
    let table = || PriceTable::parse("exchange_symbols").expect("a known table");
    let mut path = PricePath::new(table(), Layout::default());
    let mut plain_case = PricePath::new(table(), Layout { form: Form::Case, ..Layout::default() });
    let mut twin = Twin::new(&path.map);
    for tick in ticks {
        assert_eq!(plain_case.tick(&tick.wire), twin.tick(&tick.payloads), "both write the same text");
    }

    let mut copy = vec![0; ticks.iter().map(|tick| tick.wire.len()).max().unwrap_or(0)];
    let mut read = Reading::new(PRICE_MESSAGE_MAX, RECORD);
    let mut parse = Reading::new(PRICE_MESSAGE_MAX, RECORD);
    let mut parser = MarkPriceParser::new();
    let [mut memcpy, mut reader, mut parsed, mut received, mut taken, mut text, mut case, mut whole, mut naive] =
        [(); 9].map(|()| median::Samples::new(ROUNDS));
    let (mut path_calls, mut twin_calls) = (0, 0);

    for round in 0..WARM_UP + ROUNDS {
        let tick = &ticks[round % ticks.len()];
        let warm = round < WARM_UP;
        let wire = &tick.wire;
        // Every stage finds the bytes in the cache, as they are after decryption.
        copy[..wire.len()].copy_from_slice(black_box(wire));
        memcpy.time(warm, || copy[..wire.len()].copy_from_slice(black_box(wire)));
        black_box(&copy);
        reader.time(warm, || read.messages(wire, |payload| _ = black_box(payload.len())));
        parsed.time(warm, || {
            parse.messages(wire, |payload| {
                let (bytes, len) = payload.into_padded();
                let mut entries = 0;
                let outcome = parser.parse(bytes, len, &mut |entry| {
                    black_box(entry);
                    entries += 1;
                });
                assert!(outcome.is_ok() && entries > 0);
            });
        });

        let before = Allocations::of_this_thread();
        let start = Instant::now();
        received.time(warm, || path.receive(wire, |outcome| assert!(outcome.accepted > 0)));
        taken.time(warm, || path.take());
        text.time(warm, || _ = black_box(path.build().len()));
        whole.push(warm, start.elapsed());
        let made = Allocations::of_this_thread().since(before).calls;
        path_calls += if warm { 0 } else { made };

        plain_case.receive(wire, |_| ());
        plain_case.take();
        case.time(warm, || _ = black_box(plain_case.build().len()));

        let before = Allocations::of_this_thread();
        naive.time(warm, || _ = black_box(twin.tick(&tick.payloads).len()));
        twin_calls += if warm { 0 } else { Allocations::of_this_thread().since(before).calls };
    }

    let bytes = ticks[0].wire.len();
    let (rows, text_len) = (path.batch.rows().len(), path.text.as_str().len());
    println!(
        "one tick: 2 frames, {} kB, 891 entries, {SYMBOLS} symbols, {rows} rows, {} kB of SQL; median of {ROUNDS}",
        bytes / 1_000,
        text_len / 1_000
    );
    println!("{:<42}{:>10}{:>10}{:>12}", "stage", "µs/tick", "MB/s", "x memcpy");
    let floor = memcpy.median();
    let line = |name: &str, time: Duration| {
        let micros = time.as_secs_f64() * 1e6;
        let ratio = time.as_secs_f64() / floor.as_secs_f64();
        println!("{name:<42}{micros:>10.1}{:>10.0}{ratio:>12.1}", bytes as f64 / micros);
    };
    line("memcpy of the same bytes", floor);
    line("WebSocket reader (a copy included)", reader.median());
    line("parse (simd-json tape)", parsed.median().saturating_sub(reader.median()));
    line("board (validate, symbol → slot, apply)", received.median().saturating_sub(parsed.median()));
    line("rows (take, map, shift)", taken.median());
    line("SQL text, case_bucketed", text.median());
    line("SQL text, case", case.median());
    line("whole path", whole.median());
    line("serde_json + format! twin", naive.median());
    let per_second = SYMBOLS as f64 / whole.median().as_secs_f64();
    println!(
        "whole path: {:.2} million symbols/s, {:.1} times as fast as the twin",
        per_second / 1e6,
        naive.median().as_secs_f64() / whole.median().as_secs_f64()
    );
    println!("allocations per tick: {}", path_calls.div_ceil(ROUNDS as u64));
    println!("allocations per tick of the twin: {}", twin_calls / ROUNDS as u64);
    path_calls
}

/// Lines of the database rows.
mod rows {
    use super::Duration;
    use super::median::Samples;

    /// Rounds of them.
    pub const ROUNDS: usize = 60;

    /// A line for one way of writing.
    pub fn print(name: &str, samples: &Samples, floor: Duration, rows: usize) {
        let time = samples.median().as_secs_f64();
        println!(
            "{name:<56}{:>10.2} ms/tick{:>10.2} x{:>12.0} rows/s",
            time * 1e3,
            time / floor.as_secs_f64(),
            rows as f64 / time
        );
    }
}
