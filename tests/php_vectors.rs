//! Promise: a job's body is what PHP would have written. Bytes printed by PHP 8.2, a naive twin over documents of every kind, and
//! no allocation once the writer is warm. `servers_php.rs` asks a real PHP.

use kraite_streams::domain::{Mono, Random, Wall};
use kraite_streams::queue::{JobBatch, JobClass, JobReader, JobRecord, JobShape, JobWriter, Laravel};

#[path = "support/counting_alloc.rs"]
mod counting_alloc;

#[path = "../fuzz/bodies/envelope.rs"]
mod envelope;

#[path = "support/json_docs.rs"]
mod json_docs;

#[global_allocator]
static ALLOCATOR: counting_alloc::CountingAlloc = counting_alloc::CountingAlloc;

/// Each line: the recorded bytes in hex, two digits for Laravel 13 and Horizon, the body. Made by
/// `tests/support/make_vectors.php`.
const BODIES: &str = include_str!("fixtures/php/bodies.txt");

#[test]
fn bodies_are_phps_bytes() {
    let mut count = 0;
    for line in BODIES.lines() {
        let (hex, line) = line.split_once(' ').unwrap();
        let (flags, body) = line.split_once(' ').unwrap();
        let raw: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let (v13, horizon) = (flags.starts_with('1'), flags.ends_with('1'));
        let mut writer = writer(if v13 { Laravel::V13 } else { Laravel::V12 }, horizon);
        let record = JobRecord { previous: v13.then_some(11), ..record(&raw) };
        let mut out = Vec::new();
        writer.write_job(&record, horizon.then_some(3), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), body);
        count += 1;
    }
    assert_eq!(count, 16);
}

#[test]
fn every_fixture_agrees_with_the_twin() {
    for (name, bytes) in json_docs::fixtures() {
        eprintln!("{name}");
        envelope::php_serializer::php_serializer(&bytes);
        for choice in 0..4 {
            envelope::envelope(&[&[0, choice][..], &bytes].concat());
        }
    }
}

#[test]
fn fuzzed_documents_agree_with_the_twin() {
    let mut random = Random::from_seed(11);
    for _ in 0..4_000 {
        let document = json_docs::document(&mut random);
        envelope::php_serializer::php_serializer(&document);
        envelope::envelope(&[&random.next_u64().to_le_bytes()[..2], &document].concat());
    }
}

#[test]
fn any_bytes_make_a_job() {
    let mut random = Random::from_seed(12);
    for _ in 0..2_000 {
        let mut bytes = vec![0; random.below(60) as usize];
        random.fill(&mut bytes);
        envelope::envelope(&bytes);
    }
}

#[test]
fn a_warm_writer_allocates_nothing() {
    let frames: Vec<_> =
        json_docs::fixtures().into_iter().filter(|(name, _)| !name.starts_with("mark_price")).collect();
    assert!(frames.len() > 50);
    let odd = [&b"\xff\0 no text"[..], b"no JSON", b"[1.5e300,0.1,123456789012345.67]"];
    let mut writer = writer(Laravel::V12, true);
    let mut batch = JobBatch::new();
    let mut reader = JobReader::new();
    let mut jobs = 0;
    let mut pass = |jobs: &mut usize| {
        for raw in frames.iter().map(|(_, bytes)| &bytes[..]).chain(odd) {
            if batch.is_full() {
                batch.clear();
            }
            batch.add(&mut writer, &record(raw), None, Mono::ZERO).unwrap();
            let body = batch.jobs().last().unwrap().body;
            assert_eq!(reader.read(body).unwrap().raw, raw);
            *jobs += 1;
        }
    };
    // Often enough that every buffer has met its largest batch.
    (0..20).for_each(|_| pass(&mut 0));
    let (allocations, ()) = counting_alloc::allocations_in(|| (0..50).for_each(|_| pass(&mut jobs)));
    assert_eq!((allocations, jobs), (0, 50 * (frames.len() + odd.len())));
}

fn writer(laravel: Laravel, horizon: bool) -> JobWriter {
    let job_class = JobClass::parse(r"App\Jobs\StoreUserDataEvent").unwrap();
    JobWriter::new(JobShape { job_class, laravel, horizon })
}

fn record(raw: &[u8]) -> JobRecord<'_> {
    JobRecord {
        account: 7,
        api_system: 1,
        canonical: "binance",
        epoch: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        position: (1 << 60) + 1,
        previous: None,
        received_at: Wall::from_micros(1_795_420_185_800_150),
        kind: "frame",
        raw,
    }
}
