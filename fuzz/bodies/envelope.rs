//! A job's body, whatever the record holds: it is JSON, PHP finds the document in it, our reader finds the record.
//!
//! `envelope` is the fuzz target's body; the tests use it too.

use kraite_streams::domain::Wall;
use kraite_streams::queue::{JobClass, JobReader, JobRecord, JobShape, JobView, JobWriter, Laravel};
use serde_json::Value;

#[path = "php_serializer.rs"]
#[allow(dead_code, reason = "its own target uses the rest")]
mod php_serializer;

use php_serializer::{Key, Php, assert_same, is_limit_of_the_twin, read_php, twin};

const CLASS: &str = r"App\Jobs\StoreUserDataEvent";

/// The first two bytes choose shape and record, the others are the recorded bytes.
pub fn envelope(input: &[u8]) {
    let (choice, raw) = input.split_at(input.len().min(2));
    let choice = choice.iter().fold(0_u64, |all, &byte| all << 8 | u64::from(byte));
    let shape = JobShape {
        job_class: JobClass::parse(CLASS).unwrap(),
        laravel: if choice & 1 == 0 { Laravel::V12 } else { Laravel::V13 },
        horizon: choice & 2 != 0,
    };
    let record = JobRecord {
        account: [0, 7, 99_999_999_999_999, i64::MAX as u64][(choice >> 2 & 3) as usize],
        api_system: [1, u32::MAX][(choice >> 4 & 1) as usize],
        canonical: ["binance", "b\"\\/é\u{2028}😀"][(choice >> 5 & 1) as usize],
        epoch: [choice as u8; 16],
        position: if choice & 64 == 0 { choice } else { u64::MAX - choice },
        previous: (choice & 128 != 0).then_some(u64::MAX / 3),
        received_at: Wall::from_micros(1_795_420_185_800_150 + choice as i64),
        kind: "frame",
        raw,
    };
    check(&shape, &record);
}

/// Holds the body of `record` to everything that it promises.
#[track_caller]
pub fn check(shape: &JobShape, record: &JobRecord<'_>) {
    let mut writer = JobWriter::new(shape.clone());
    let mut body = Vec::new();
    writer.write_job(record, None, &mut body).unwrap();
    let mut again = b"before".to_vec();
    writer.write_job(record, None, &mut again).unwrap();
    assert_eq!(again.strip_prefix(b"before"), Some(&body[..]), "a body repeats itself");

    let text = std::str::from_utf8(&body).unwrap();
    assert!(!text.chars().any(|c| c < ' ') && !text.contains(['\u{2028}', '\u{2029}']), "{text}");
    assert!(text.is_ascii() || !shape.horizon, "Horizon escapes everything");
    let value: Value = serde_json::from_slice(&body).unwrap();
    assert_no_long_number(&value);
    check_command(shape, record, value["data"]["command"].as_str().unwrap());
    assert_eq!(value["attempts"], 0);
    assert_eq!(value["displayName"], shape.job_class.as_str());
    assert_eq!(value["data"]["commandName"], shape.job_class.as_str());
    assert_eq!(value["createdAt"], record.received_at.as_micros().div_euclid(1_000_000));
    let uuid = value["uuid"].as_str().unwrap();
    assert_eq!(value["id"], uuid);

    let mut reader = JobReader::new();
    let view = JobView {
        uuid,
        attempts: 0,
        kind: record.kind,
        account: record.account,
        exchange: record.api_system,
        epoch: record.epoch,
        position: record.position,
        previous: record.previous,
        received_at: record.received_at,
        raw: record.raw,
    };
    assert_eq!(reader.read(&body), Ok(view));
    // What Lua's cjson and Laravel may make of it: another order, other escapes.
    let rewritten = serde_json::to_vec(&value).unwrap();
    assert_eq!(reader.read(&rewritten), Ok(view));

    let mut replayed = Vec::new();
    writer.write_job(record, Some(1), &mut replayed).unwrap();
    let replay: Value = serde_json::from_slice(&replayed).unwrap();
    let new = replay["uuid"].as_str().unwrap();
    assert_ne!(new, uuid);
    assert_eq!(String::from_utf8(replayed.clone()).unwrap().replace(new, uuid), text, "a replay differs in its names only");
}

fn check_command(shape: &JobShape, record: &JobRecord<'_>, command: &str) {
    let Php::Object(class, properties) = read_php(command.as_bytes()) else { panic!("{command}") };
    assert_eq!(class, shape.job_class.as_str().as_bytes());
    let property = |name: &str| {
        let found = properties.iter().find(|(key, _)| *key == Key::Text(name.as_bytes().to_vec()));
        &found.unwrap_or_else(|| panic!("{name}: {command}")).1
    };
    assert_eq!(properties.len(), 4);
    assert_eq!(*property("accountId"), Php::Int(record.account as i64));
    assert_eq!(*property("apiSystemId"), Php::Int(i64::from(record.api_system)));
    assert_eq!(*property("apiSystemCanonical"), Php::Text(record.canonical.as_bytes().to_vec()));
    let payload = property("payload");
    match serde_json::from_slice::<Value>(record.raw) {
        Ok(value @ (Value::Array(_) | Value::Object(_))) => assert_same(payload, &twin(&value)),
        Err(error) if is_limit_of_the_twin(&error) => assert!(matches!(payload, Php::Array(_))),
        Ok(_) | Err(_) => {
            let Php::Array(members) = payload else { panic!("{payload:?}") };
            let [(key, Php::Text(text))] = &members[..] else { panic!("{payload:?}") };
            assert_eq!(*key, Key::Text(b"raw_base64".to_vec()));
            assert_eq!(decode(text), record.raw);
        }
    }
}

/// Lua's cjson keeps 14 digits.
fn assert_no_long_number(value: &Value) {
    match value {
        Value::Number(number) => assert!(number.as_i64().is_some_and(|number| number.abs() < 100_000_000_000_000)),
        Value::Array(list) => list.iter().for_each(assert_no_long_number),
        Value::Object(map) => map.values().for_each(assert_no_long_number),
        _ => {}
    }
}

fn decode(text: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    assert_eq!(text.len() % 4, 0);
    let mut bytes = Vec::new();
    for group in text.chunks(4) {
        let digits: Vec<u32> = group
            .iter()
            .take_while(|&&digit| digit != b'=')
            .map(|digit| DIGITS.iter().position(|known| known == digit).unwrap() as u32)
            .collect();
        let bits = digits.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - digits.len()));
        bytes.extend(&bits.to_be_bytes()[1..digits.len()]);
    }
    bytes
}
