//! What is read, what is refused, and that our own serializer's text comes back.

use super::*;
use crate::queue::json::DEPTH_MAX;
use crate::queue::json::Document;
use crate::queue::php;

/// A job whose payload has this PHP text.
fn job(payload: &str) -> String {
    format!(
        "O:3:\"Job\":4:{{s:9:\"accountId\";i:7;s:11:\"apiSystemId\";i:1;s:18:\"apiSystemCanonical\";s:7:\"binance\";\
         s:7:\"payload\";{payload}}}"
    )
}

fn read(text: &str) -> Result<String, PhpErrorKind> {
    let mut payload = b"rest".to_vec();
    let command = PhpReader::new().read(text.as_bytes(), &mut payload).map_err(|error| error.kind)?;
    assert_eq!(command, Command { class: "Job", account: 7, api_system: 1, canonical: "binance" });
    Ok(String::from_utf8(payload).unwrap())
}

#[test]
fn payloads_become_json_again() {
    for (php, json) in [
        ("a:0:{}", "[]"),
        ("a:1:{i:0;N;}", "[null]"),
        ("a:2:{i:0;b:1;i:1;b:0;}", "[true,false]"),
        ("a:1:{i:1;i:5;}", r#"{"1":5}"#),
        ("a:2:{i:1;i:5;i:0;i:6;}", r#"{"1":5,"0":6}"#),
        ("a:1:{s:1:\"0\";i:5;}", r#"{"0":5}"#),
        ("a:1:{s:0:\"\";s:0:\"\";}", r#"{"":""}"#),
        ("a:1:{i:-9223372036854775808;i:9223372036854775807;}", r#"{"-9223372036854775808":9223372036854775807}"#),
        ("a:1:{s:1:\"E\";s:7:\"a\"b/\\\n;\";}", r#"{"E":"a\"b\/\\\n;"}"#),
        ("a:1:{i:0;s:6:\"币é\0\";}", "[\"币é\\u0000\"]"),
        (
            "a:6:{i:0;d:1;i:1;d:-0;i:2;d:0.1;i:3;d:1.0E-5;i:4;d:1.2345678901234568E+29;i:5;d:100;}",
            "[1.0,-0.0,0.1,1.0E-5,1.2345678901234568E+29,100.0]",
        ),
        ("a:2:{i:0;d:INF;i:1;d:-INF;}", "[1e999,-1e999]"),
        ("a:2:{i:0;a:1:{i:0;a:0:{}}i:1;a:1:{s:1:\"o\";a:1:{i:0;i:1;}}}", r#"[[[]],{"o":[1]}]"#),
    ] {
        assert_eq!(read(&job(php)).as_deref(), Ok(json), "{php}");
        Document::new().read(json.as_bytes()).unwrap();
    }
}

#[test]
fn other_properties_are_passed_over() {
    let model = "O:45:\"Illuminate\\Contracts\\Database\\ModelIdentifier\":2:{s:2:\"id\";i:4711;s:9:\"relations\";a:1:{i:0;a:0:{}}}";
    let text = job("a:1:{i:0;i:1;}").replace(
        "Job\":4:{",
        &format!("Job\":7:{{s:4:\"step\";{model}s:5:\"queue\";s:2:\"\u{ff}\";s:5:\"delay\";d:NAN;"),
    );
    assert_eq!(read(&text).as_deref(), Ok("[1]"));
    // Promoted constructor properties, protected or private; ids that PHP coerces.
    let text = job("a:0:{}").replace("s:9:\"accountId\"", "s:12:\"\0*\0accountId\"");
    assert_eq!(read(&text).as_deref(), Ok("[]"));
    let text =
        job("a:0:{}").replace("s:7:\"payload\"", "s:12:\"\0Job\0payload\"").replace("i:7;s:11", "s:1:\"7\";s:11");
    assert_eq!(read(&text).as_deref(), Ok("[]"));
}

#[test]
fn what_php_would_not_have_written_is_refused() {
    use PhpErrorKind::*;
    for (from, to, kind) in [
        ("O:3", "a:3", NotAnObject),
        ("O:3:\"Job\"", "O:4:\"Job\"", Unexpected),
        ("O:3:\"Job\"", "O:0:\"\"", Unexpected),
        ("O:3:\"Job\"", "O:03:\"Job\"", Unexpected),
        ("O:3:\"Job\"", "O:-3:\"Job\"", Unexpected),
        ("O:3:\"Job\"", "O:9999999999:\"Job\"", Truncated),
        ("O:3:\"Job\"", "O:99999999999999999999:\"Job\"", Unexpected),
        ("Job\":4:", "Job\":5:", Unexpected),
        ("Job\":4:", "Job\":3:", Unexpected),
        ("i:7;", "i:+7;", Unexpected),
        ("i:7;", "i:07;", Unexpected),
        ("i:7;", "i:-0;", Unexpected),
        ("i:7;", "i:9223372036854775808;", Unexpected),
        ("i:7;", "i:7", Unexpected),
        ("i:7;", "N;", Type("accountId")),
        ("i:7;", "d:7;", Type("accountId")),
        ("i:7;", "s:2:\"07\";", Type("accountId")),
        ("i:1;", "b:1;", Type("apiSystemId")),
        ("i:1;", "b:2;", Unexpected),
        ("s:7:\"binance\";", "i:5;", Type("apiSystemCanonical")),
        ("a:0:{}", "N;", Type("payload")),
        ("a:0:{}", "s:2:\"{}\";", Type("payload")),
        ("a:0:{}", "O:8:\"stdClass\":0:{}", Type("payload")),
        ("a:0:{}", "a:1:{i:0;O:8:\"stdClass\":0:{}}", Unsupported),
        ("a:0:{}", "a:1:{i:0;R:2;}", Unsupported),
        ("a:0:{}", "a:1:{i:0;r:1;}", Unsupported),
        ("a:0:{}", "a:1:{i:0;C:1:\"A\":0:{}}", Unsupported),
        ("a:0:{}", "a:1:{i:0;E:5:\"A:One\";}", Unsupported),
        ("a:0:{}", "a:1:{i:0;d:NAN;}", Unsupported),
        ("a:0:{}", "a:1:{i:0;d:1e5;}", Unexpected),
        ("a:0:{}", "a:1:{i:0;d:.5;}", Unexpected),
        ("a:0:{}", "a:1:{i:0;d:;}", Unexpected),
        ("a:0:{}", "a:1:{i:0;d:05;}", Unexpected),
        ("a:0:{}", "a:1:{b:1;i:0;}", Unexpected),
        ("a:0:{}", "a:1:{}", Unexpected),
        ("a:0:{}", "a:0:{};", Unexpected),
        ("payload", "payloaX", Missing("payload")),
        ("accountId", "accountIX", Missing("accountId")),
        ("s:7:\"payload\";a:0:{}}", "s:7:\"payload\";a:0:{}}N;", Trailing),
        ("s:7:\"payload\";a:0:{}}", "s:7:\"payload\";a:0:{}", Truncated),
        ("s:7:\"payload\";a:0:{}}", "s:7:\"pay", Truncated),
        ("s:7:\"payload\";a:0:{}}", "s:7:\"payload\";i:1234", Truncated),
    ] {
        let text = job("a:0:{}").replace(from, to);
        assert_eq!(read(&text), Err(kind), "{text}");
    }
    let not_utf8 = job("a:1:{i:0;s:2:\"__\";}").into_bytes();
    let at = not_utf8.windows(2).position(|pair| pair == b"__").unwrap();
    let mut broken = not_utf8.clone();
    broken[at] = 0xff;
    let found = PhpReader::new().read(&broken, &mut Vec::new()).unwrap_err();
    assert_eq!(found.kind, BadText);
}

#[test]
fn depth_is_phps() {
    let nested = |depth: usize| "a:1:{i:0;".repeat(depth - 1) + "a:0:{}" + &"}".repeat(depth - 1);
    let json = read(&job(&nested(DEPTH_MAX))).unwrap();
    assert_eq!(json, "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX));
    Document::new().read(json.as_bytes()).unwrap();
    assert_eq!(read(&job(&nested(DEPTH_MAX + 1))), Err(PhpErrorKind::TooDeep));
    assert_eq!(read(&job(&nested(1 << 20))), Err(PhpErrorKind::TooDeep));
}

#[test]
fn every_cut_is_refused() {
    let text = job("a:2:{s:1:\"a\";d:1.5;i:7;a:1:{i:0;b:1;}}");
    for len in 0..text.len() {
        let kind = read(&text[..len]).unwrap_err();
        let expected = if len < 2 { PhpErrorKind::NotAnObject } else { PhpErrorKind::Truncated };
        assert_eq!(kind, expected, "{}", &text[..len]);
    }
}

#[test]
fn our_own_serializer_is_read_back() {
    let mut document = Document::new();
    for json in [
        r#"{"e":"ORDER_TRADE_UPDATE","E":1568879465651,"o":{"s":"BTCUSDT","p":"0.00010","R":false,"i":8886774,"ap":0.1}}"#,
        r#"{"0":1,"1":2,"-0":3,"a":{},"b":[[],[1.0,1e300,-0.0,123456789012345678901]]}"#,
        r#"["\u2028\ud83d\ude00\u0000\"\\/",null,true,false,1e999]"#,
    ] {
        let root = document.read(json.as_bytes()).unwrap();
        let mut first = Vec::new();
        php::write_document(&document, root, &mut first);
        let first = String::from_utf8(first).unwrap();
        let again = read(&job(&first)).unwrap();
        let root = document.read(again.as_bytes()).unwrap();
        let mut second = Vec::new();
        php::write_document(&document, root, &mut second);
        assert_eq!(String::from_utf8(second).unwrap(), first);
    }
}
