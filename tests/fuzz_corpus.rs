//! The bodies of the fuzz targets, on stable, over every file of the committed corpus.

use std::fs;
use std::path::Path;

use kraite_streams::domain::Random;

#[path = "../fuzz/bodies/envelope.rs"]
mod envelope;

#[path = "../fuzz/bodies/frame_reader.rs"]
#[allow(dead_code, reason = "tests/wire_twin.rs uses the rest")]
mod frame_reader;

#[path = "../fuzz/bodies/mark_price.rs"]
#[allow(dead_code, reason = "tests/mark_price_twin.rs uses the rest")]
mod mark_price;

#[cfg(feature = "sim")]
#[path = "../fuzz/bodies/spool_open.rs"]
mod spool_open;

#[cfg(feature = "sim")]
#[test]
fn a_damaged_spool_opens_or_says_why_on_the_corpus() {
    check("spool_open", 40, spool_open::spool_open);
}

#[test]
fn envelope_holds_its_promises_on_the_corpus() {
    check("envelope", 20, envelope::envelope);
}

#[test]
fn php_serializer_agrees_with_its_twin_on_the_corpus() {
    check("php_serializer", 30, envelope::php_serializer::php_serializer);
}

#[path = "../fuzz/bodies/php_read.rs"]
mod php_read;

#[test]
fn php_read_holds_its_promises_on_the_corpus() {
    check("php_read", 30, php_read::php_read);
}

#[test]
fn php_read_holds_its_promises_on_mutants_of_the_corpus() {
    check("php_read", 30, |input| {
        let mut random = Random::from_seed(input.len() as u64);
        for _ in 0..300 {
            let mut mutant = input.to_vec();
            for _ in 0..=random.below(3) {
                if mutant.is_empty() {
                    break;
                }
                let at = random.below(mutant.len() as u64) as usize;
                match random.below(4) {
                    0 => mutant[at] = random.next_u64() as u8,
                    1 => mutant[at] = b"aOsidbN:;{}\"0123456789.E+-"[random.below(26) as usize],
                    2 => drop(mutant.remove(at)),
                    _ => mutant.extend_from_within(at..mutant.len().min(at + 20)),
                }
            }
            php_read::php_read(&mutant);
        }
    });
}

#[path = "../fuzz/bodies/user_data_frame.rs"]
#[allow(dead_code, reason = "tests/user_data_twin.rs uses the rest")]
mod user_data_frame;

#[path = "../fuzz/bodies/control_reply.rs"]
#[allow(dead_code, reason = "tests/user_data_twin.rs uses the rest")]
mod control_reply;

#[path = "../fuzz/bodies/encrypter.rs"]
mod encrypter;

#[path = "../fuzz/bodies/projection.rs"]
#[allow(dead_code, reason = "tests/projection_twin.rs uses the rest")]
mod projection;

#[test]
fn projection_agrees_with_its_twin_on_the_corpus() {
    check("projection", 60, projection::projection);
}

#[test]
fn user_data_frame_agrees_with_its_twin_on_the_corpus() {
    check("user_data_frame", 40, user_data_frame::user_data_frame);
}

#[test]
fn control_reply_agrees_with_its_twin_on_the_corpus() {
    check("control_reply", 20, control_reply::control_reply);
}

#[test]
fn encrypter_holds_on_the_corpus() {
    check("encrypter", 15, encrypter::encrypter);
}

#[test]
fn mark_price_agrees_with_its_twin_on_the_corpus() {
    check("mark_price", 40, mark_price::mark_price);
}

#[test]
fn frame_reader_agrees_with_its_twin_on_the_corpus() {
    check("frame_reader", 20, frame_reader::frame_reader);
}

/// Runs `body` over the corpus of `target`, which holds at least `at_least` files.
fn check(target: &str, at_least: usize, body: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= at_least, "{} has {} files", folder.display(), files.len());
    for file in files {
        let input = fs::read(&file).unwrap();
        eprintln!("{}", file.display());
        body(&input);
    }
}
