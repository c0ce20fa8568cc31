//! Frames that a database might refuse, or give back otherwise than they came: run against both.

use base64::Engine as _;
use kraite_streams::store::WorkStore;
use kraite_streams::store::work_rows::{AuditRow, audit_payload};

use crate::work_tables::{AT, Rig, columns, commit, system};

/// What becomes of a recorded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// Its own bytes.
    AsIs,
    /// `{"raw_base64":"…"}`.
    Encoded,
}

fn nested(depth: usize) -> Vec<u8> {
    [b"[".repeat(depth), b"]".repeat(depth)].concat()
}

/// Name, bytes and what becomes of them.
fn cases() -> Vec<(&'static str, Vec<u8>, Kept)> {
    use Kept::{AsIs, Encoded};
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("an object", text(r#"{"e":"ORDER_TRADE_UPDATE","o":{"i":18446744073709551615}}"#), AsIs),
        ("space all around", text(" \t\r\n { \"a\" : [ 1 , 2 ] } \r\n"), AsIs),
        ("duplicate keys", text(r#"{"b":1,"a":2,"b":3}"#), AsIs),
        ("keys out of order", text(r#"{"zz":1,"a":2}"#), AsIs),
        ("escaped NUL", text(r#"{"a":"x\u0000y","\u0000":1}"#), AsIs),
        ("a lone high surrogate", text(r#"{"a":"\ud800"}"#), AsIs),
        ("a lone low surrogate", text(r#"{"a":"\udc00x"}"#), AsIs),
        ("surrogates the wrong way round", text(r#"{"a":"\udc00\ud800"}"#), AsIs),
        ("high twice", text(r#"{"a":"\ud800\ud800"}"#), AsIs),
        ("a pair", text(r#"{"a":"\ud83d\ude80"}"#), AsIs),
        ("every escape", text(r#"["\" \\ \/ \b \f \n \r \t \u00e9 \uABCD"]"#), AsIs),
        ("symbols of the exchange", text(r#"{"s":"我踏马来了USDT","c":"🚀"}"#), AsIs),
        ("the last character", text("\"\u{10ffff}\u{feff}\u{fffe}\u{7f}\u{2028}\""), AsIs),
        ("a huge number", [b"1".repeat(70_000), b".5e-99999".to_vec()].concat(), AsIs),
        ("a number past every float", text(r#"{"a":1e999999999,"b":-1E+400,"c":1e-999999999}"#), AsIs),
        ("minus zero", text("-0"), AsIs),
        ("scalars", text("true"), AsIs),
        ("an empty text", text("\"\""), AsIs),
        ("depth 512", nested(512), AsIs),
        ("brackets in a text", [b"\"".to_vec(), b"[".repeat(2_000), b"\\\"".to_vec(), b"[\"".to_vec()].concat(), AsIs),
        ("1 MiB", [b"{\"a\":\"".to_vec(), b"x".repeat(1 << 20), b"\"}".to_vec()].concat(), AsIs),
        ("depth 513", nested(513), Encoded),
        ("depth 10,000", nested(10_000), Encoded),
        ("depth 10,000 of objects", [b"{\"a\":".repeat(10_000), b"1".to_vec(), b"}".repeat(10_000)].concat(), Encoded),
        ("1 MiB of brackets", b"[".repeat(1 << 20), Encoded),
        ("1 MiB that is no JSON", vec![0xff; 1 << 20], Encoded),
        ("nothing", Vec::new(), Encoded),
        ("space only", text(" \n"), Encoded),
        ("a raw NUL in a text", b"{\"a\":\"x\0y\"}".to_vec(), Encoded),
        ("a raw NUL behind it", b"{}\0".to_vec(), Encoded),
        ("a raw newline in a text", text("\"a\nb\""), Encoded),
        ("a byte order mark", text("\u{feff}{}"), Encoded),
        ("invalid UTF-8", b"{\"a\":\"\xff\xfe\"}".to_vec(), Encoded),
        ("an encoded surrogate", b"{\"a\":\"\xed\xa0\x80\"}".to_vec(), Encoded),
        ("UTF-8 longer than it needs to be", b"\"\xc0\xaf\"".to_vec(), Encoded),
        ("cut off", text(r#"{"a":"#), Encoded),
        ("two values", text("{} {}"), Encoded),
        ("a comma too many", text("[1,]"), Encoded),
        ("a leading zero", text("[01]"), Encoded),
        ("no digit behind the point", text("[1.]"), Encoded),
        ("a plus", text("[+1]"), Encoded),
        ("NaN", text("NaN"), Encoded),
        ("hexadecimal", text("[0x10]"), Encoded),
        ("a bad escape", text(r#"["\x"]"#), Encoded),
        ("a short escape", text(r#"["\u12"]"#), Encoded),
        ("single quotes", text("{'a':1}"), Encoded),
        ("a space of another kind", text("\u{a0}{}"), Encoded),
        ("a vertical tab", text("\u{b}{}"), Encoded),
    ]
}

/// Every case goes into the column and comes out again.
pub fn hold(store: &mut WorkStore, rig: &mut dyn Rig) {
    let binance = system(rig, "binance");
    for (at, (name, raw, kept)) in cases().into_iter().enumerate() {
        let payload = audit_payload(&raw);
        let expected = match kept {
            Kept::AsIs => raw.clone(),
            Kept::Encoded => {
                let engine = base64::engine::general_purpose::STANDARD;
                format!("{{\"raw_base64\":\"{}\"}}", engine.encode(&raw)).into_bytes()
            }
        };
        assert!(payload.as_bytes() == expected, "{name}: {:.80}", payload);
        let (event, id) = (columns(&format!("payload {at}"), "c"), format!("payload {at}"));
        let row = AuditRow {
            account_id: 101,
            api_system_id: binance,
            columns: &event,
            received_at: AT,
            raw_payload: &payload,
            idempotency_key: &id,
        };
        assert!(commit(store, |tx| tx.insert_audit(&row)), "{name}");
        let found = store.run(|tables| tables.audit_of_order(&id, None, 1)).unwrap();
        assert!(found[0].raw_payload == *payload, "{name}");
    }
}
