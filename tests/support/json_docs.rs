//! Documents that a hostile or careless exchange might send: odd numbers, repeated and numeric keys, escapes, deep nesting, and a
//! share of texts that are broken.

#![allow(dead_code, reason = "shared by several test binaries, each of which uses a part")]

use kraite_streams::domain::Random;

/// Every fixture that is one frame, by name.
pub fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut found = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "json") {
                let bytes = std::fs::read(&path).unwrap();
                found.push((path.file_name().unwrap().to_string_lossy().into_owned(), bytes));
            }
        }
    }
    found.sort();
    assert!(found.len() >= 60, "{} fixtures", found.len());
    found
}

/// One document; one in eight is broken somewhere.
pub fn document(random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    let depth = if random.below(40) == 0 { 60 } else { 4 };
    match random.below(8) {
        0 => value(random, depth, &mut out),
        1..=4 => object(random, depth, &mut out),
        _ => list(random, depth, &mut out),
    }
    if random.below(8) == 0 && !out.is_empty() {
        let at = random.below(out.len() as u64) as usize;
        match random.below(4) {
            0 => out.truncate(at),
            1 => out[at] = random.next_u64() as u8,
            2 => out.insert(at, b"\"\\{}[],:0-e. \t\x00\xff"[random.below(16) as usize]),
            _ => drop(out.remove(at)),
        }
    }
    out
}

fn value(random: &mut Random, depth: usize, out: &mut Vec<u8>) {
    space(random, out);
    match random.below(if depth == 0 { 5 } else { 8 }) {
        0 => out.extend_from_slice([&b"null"[..], b"true", b"false"][random.below(3) as usize]),
        1 | 2 => number(random, out),
        3 | 4 => text(random, out),
        5 => list(random, depth - 1, out),
        _ => object(random, depth - 1, out),
    }
    space(random, out);
}

fn list(random: &mut Random, depth: usize, out: &mut Vec<u8>) {
    out.push(b'[');
    for at in 0..random.below(5) {
        if at > 0 {
            out.push(b',');
        }
        value(random, depth, out);
    }
    out.push(b']');
}

fn object(random: &mut Random, depth: usize, out: &mut Vec<u8>) {
    const KEYS: [&str; 20] = [
        "e",
        "E",
        "o",
        "0",
        "1",
        "-1",
        "-0",
        "00",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "1.5",
        "1e3",
        "+1",
        " 1",
        "",
        "é",
        "\\u0030",
        "a\\/b",
        "\\u0000*",
    ];
    out.push(b'{');
    for at in 0..random.below(7) {
        if at > 0 {
            out.push(b',');
        }
        space(random, out);
        if random.below(4) == 0 {
            text(random, out);
        } else {
            out.push(b'"');
            out.extend_from_slice(KEYS[random.below(20) as usize].as_bytes());
            out.push(b'"');
        }
        space(random, out);
        out.push(b':');
        value(random, depth, out);
    }
    out.push(b'}');
}

fn number(random: &mut Random, out: &mut Vec<u8>) {
    const ODD: [&str; 26] = [
        "0",
        "-0",
        "-0.0",
        "0.0",
        "1.0",
        "1e3",
        "1E-7",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "1e999",
        "-1e999",
        "1e-999",
        "5e-324",
        "2.2250738585072011e-308",
        "1.7976931348623157e308",
        "123456789012345678901234567890",
        "1e16",
        "1e17",
        "99999999999999999.0",
        "0.0001",
        "0.00001",
        "8390000000000000001",
        "1795419015123",
    ];
    let text = match random.below(4) {
        0 => ODD[random.below(26) as usize].to_owned(),
        1 => (random.next_u64() as i64 >> random.below(64)).to_string(),
        2 => format!("{:e}", f64::from_bits(random.next_u64())),
        _ => format!("{}.{:0>3}", random.below(200_000), random.below(1_000)),
    };
    out.extend_from_slice(if text == "NaN" || text.contains("inf") { b"1" } else { text.as_bytes() });
}

fn text(random: &mut Random, out: &mut Vec<u8>) {
    const PIECES: [&str; 24] = [
        "BTCUSDT",
        "86450.10",
        "\\n",
        "\\\"",
        "\\\\",
        "\\/",
        "/",
        "\\b\\f\\r\\t",
        "\\u0000",
        "\\u001f",
        "\\u00e9",
        "é",
        "€",
        "\u{2028}",
        "\u{2029}",
        "😀",
        "\\ud83d\\ude00",
        "\\uD83D\\uDE00",
        "我踏马来了",
        "\u{7f}",
        "'",
        "O:8:",
        "<>&",
        "\\uffff",
    ];
    out.push(b'"');
    for _ in 0..random.below(5) {
        out.extend_from_slice(PIECES[random.below(24) as usize].as_bytes());
    }
    if random.below(100) == 0 {
        out.extend_from_slice(
            [&b"\\ud800"[..], b"\\udc00", b"\xed\xa0\x80", b"\xc0\x80", b"\n"][random.below(5) as usize],
        );
    }
    out.push(b'"');
}

fn space(random: &mut Random, out: &mut Vec<u8>) {
    if random.below(12) == 0 {
        out.extend_from_slice([&b" "[..], b"\t", b"\r\n"][random.below(3) as usize]);
    }
}
