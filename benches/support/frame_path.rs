//! Private frames of 1 KiB as a combined stream sends them, and the naive twin of the way from frame to job.

use std::fmt::Write as _;

use kraite_streams::domain::Random;
use kraite_streams::queue::{JobClass, JobShape, Laravel};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Bytes of a frame, its wrapper included.
pub const FRAME_LEN: usize = 1_024;
/// Synthetic, and as long as a real one.
pub const KEY: &str = "SYNTHETIClistenKeyA0000000000000000000000000000000000000000000AA";
pub const CLASS: &str = r"App\Jobs\StoreUserDataEvent";
pub const EXCHANGE: u32 = 1;

/// What a job is made as.
pub fn shape() -> JobShape {
    JobShape { job_class: JobClass::parse(CLASS).expect("a class"), laravel: Laravel::V12, horizon: false }
}

/// `count` different account updates of exactly [`FRAME_LEN`] bytes; every one names the listen key outside, every eighth
/// inside, too.
pub fn frames(count: usize) -> Vec<Vec<u8>> {
    let mut random = Random::from_seed(20_261_124);
    (0..count).map(|at| frame(at, &mut random)).collect()
}

fn frame(at: usize, random: &mut Random) -> Vec<u8> {
    let key = if at % 8 == 7 { format!(r#","listenKey":"{KEY}""#) } else { String::new() };
    let time = 1_795_419_020_324 + at as u64;
    let mut text = format!(
        r#"{{"stream":"{KEY}@ACCOUNT_UPDATE","data":{{"e":"ACCOUNT_UPDATE","T":{time},"E":{}{key},"a":{{"m":"ORDER","P":["#,
        time + 1
    );
    for (n, symbol) in ["BTCUSDT", "ETHUSDT", "1000PEPEUSDT"].into_iter().enumerate() {
        let (amount, price, profit) = (random.below(1_000), 10_000 + random.below(89_999), random.below(100_000_000));
        let comma = if n > 0 { "," } else { "" };
        let _ = write!(
            text,
            r#"{comma}{{"s":"{symbol}","pa":"-0.{amount:03}","ep":"{price}.1","cr":"1532.40170000","up":"3.{profit:08}","mt":"cross","iw":"0","ps":"BOTH","ma":"USDT","bep":"{price}.39002"}}"#
        );
    }
    text.push_str(r#"],"B":["#);
    let rest = |text: &str| FRAME_LEN - text.len();
    let mut balances = 0;
    // A last one takes what is left as decimals.
    while rest(&text) > 2 * 82 {
        let wallet = random.below(100_000_000);
        let _ = write!(text, r#"{{"a":"USDT","wb":"25341.{wallet:08}","cw":"25341.{wallet:08}","bc":"0"}},"#);
        balances += 1;
    }
    assert!(balances > 0, "the frame has room for balances");
    text.push_str(r#"{"a":"BNB","wb":"1.25","cw":"1.25","bc":"0."#);
    let end = r#""}]}}}"#;
    let digits = FRAME_LEN - text.len() - end.len();
    text.extend((0..digits).map(|_| char::from(b'1' + random.below(9) as u8)));
    text.push_str(end);
    assert_eq!(text.len(), FRAME_LEN);
    text.into_bytes()
}

/// The frames as WebSocket messages, one behind the other.
pub fn wire(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.extend_from_slice(&[0x81, 126]);
        bytes.extend_from_slice(&(frame.len() as u16).to_be_bytes());
        bytes.extend_from_slice(frame);
    }
    bytes
}

/// What the twin's job says beside the frame.
pub struct TwinRecord {
    pub account: u64,
    pub epoch: [u8; 16],
    pub position: u64,
    pub previous: Option<u64>,
    pub received_at_us: i64,
}

/// Frame to job as one writes it first: serde_json's values, `format!`, PHP's text by recursion. No spool lies between.
pub fn twin(frame: &[u8], record: &TwinRecord) -> String {
    let mut event: Value = serde_json::from_slice(frame).expect("the frame is JSON");
    if event.get("stream").is_some() {
        event = event["data"].clone();
    }
    mask(&mut event);
    let mut payload = String::new();
    php(&event, &mut payload);
    let command = format!(
        "O:{}:\"{CLASS}\":4:{{s:9:\"accountId\";i:{};s:11:\"apiSystemId\";i:{EXCHANGE};s:18:\"apiSystemCanonical\";\
         s:7:\"binance\";s:7:\"payload\";{payload}}}",
        CLASS.len(),
        record.account
    );
    let epoch: String = record.epoch.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut hash = Sha256::new();
    hash.update(b"kraite-streams job 1\n");
    hash.update(record.epoch);
    hash.update(record.position.to_be_bytes());
    let mut hash = hash.finalize();
    hash[6] = hash[6] & 0x0f | 0x40;
    hash[8] = hash[8] & 0x3f | 0x80;
    let hex: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let uuid = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    json!({
        "uuid": uuid, "displayName": CLASS, "job": "Illuminate\\Queue\\CallQueuedHandler@call",
        "maxTries": null, "maxExceptions": null, "failOnTimeout": false, "backoff": null, "timeout": null,
        "retryUntil": null,
        "data": {"commandName": CLASS, "command": command, "batchId": null},
        "createdAt": record.received_at_us / 1_000_000, "id": uuid, "attempts": 0, "delay": null,
        "kraite": {
            "v": 1, "kind": "frame", "account": record.account.to_string(), "exchange": EXCHANGE, "epoch": epoch,
            "position": record.position.to_string(), "previous": record.previous.map(|position| position.to_string()),
            "received_at_us": record.received_at_us.to_string(), "raw": event.to_string(),
        },
    })
    .to_string()
}

/// Whether the twin wrote the same job: equal members; the event's members, which serde_json sorts, in any order.
pub fn is_same_job(body: &[u8], twin: &str) -> bool {
    let [mut ours, mut theirs] =
        [body, twin.as_bytes()].map(|text| serde_json::from_slice::<Value>(text).expect("JSON"));
    for job in [&mut ours, &mut theirs] {
        let raw: Value = serde_json::from_str(job["kraite"]["raw"].as_str().expect("text")).expect("JSON");
        job["kraite"]["raw"] = raw;
        let mut command = job["data"]["command"].as_str().expect("text").as_bytes().to_vec();
        command.sort_unstable();
        job["data"]["command"] = String::from_utf8(command).expect("ASCII").into();
    }
    ours == theirs
}

fn mask(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == "listenKey" => *text = "*".repeat(text.len()),
                    _ => mask(value),
                }
            }
        }
        _ => {}
    }
}

fn php(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("N;"),
        Value::Bool(value) => *out += &format!("b:{};", u8::from(*value)),
        Value::Number(number) => *out += &format!("i:{number};"),
        Value::String(text) => *out += &format!("s:{}:\"{text}\";", text.len()),
        Value::Array(items) => {
            *out += &format!("a:{}:{{", items.len());
            for (at, item) in items.iter().enumerate() {
                *out += &format!("i:{at};");
                php(item, out);
            }
            out.push('}');
        }
        Value::Object(members) => {
            *out += &format!("a:{}:{{", members.len());
            for (name, value) in members {
                *out += &format!("s:{}:\"{name}\";", name.len());
                php(value, out);
            }
            out.push('}');
        }
    }
}
