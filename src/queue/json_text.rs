//! Text as PHP's `json_encode` writes it: the escapes of the two queue drivers, byte for byte (facts/laravel_queue.md §1).
//!
//! `/` is escaped, DEL is not; the plain driver leaves UTF-8 as it is except U+2028 and U+2029, Horizon escapes all of it in
//! lower-case hex, beyond the basic plane as a surrogate pair.

/// Which driver's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escapes {
    /// `Illuminate\Queue\RedisQueue`: `JSON_UNESCAPED_UNICODE`.
    Plain,
    /// `Laravel\Horizon\RedisQueue`: everything beyond ASCII is escaped.
    Horizon,
}

/// Writes `text` as it stands between the quotes of a JSON string.
pub fn write_escaped(text: &str, escapes: Escapes, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let table = match escapes {
        Escapes::Plain => &PLAIN,
        Escapes::Horizon => &HORIZON,
    };
    let mut at = 0;
    while let Some(run) = bytes[at..].iter().position(|&byte| table[usize::from(byte)]) {
        out.extend_from_slice(&bytes[at..at + run]);
        at += run;
        let byte = bytes[at];
        if byte < 0x80 {
            write_ascii(byte, out);
            at += 1;
        } else {
            // A byte that needs a look is the first of its character: continuation bytes are jumped over with it.
            let character = text[at..].chars().next().expect("the position is inside the text");
            if escapes == Escapes::Horizon || matches!(character, '\u{2028}' | '\u{2029}') {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write_unit(*unit, out);
                }
            } else {
                out.extend_from_slice(&bytes[at..at + character.len_utf8()]);
            }
            at += character.len_utf8();
        }
    }
    out.extend_from_slice(&bytes[at..]);
}

fn write_ascii(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' | b'/' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => return write_unit(u16::from(byte), out),
    };
    out.extend_from_slice(&[b'\\', short]);
}

fn write_unit(unit: u16, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |shift: u16| HEX[usize::from(unit >> shift & 15)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// Bytes at which the plain driver's text needs a look: U+2028 and U+2029 begin with 0xe2.
const PLAIN: [bool; 256] = table(Escapes::Plain);
const HORIZON: [bool; 256] = table(Escapes::Horizon);

const fn table(escapes: Escapes) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let special = byte < 0x20 || matches!(byte as u8, b'"' | b'\\' | b'/');
        table[byte] = special
            || match escapes {
                Escapes::Plain => byte == 0xe2,
                Escapes::Horizon => byte >= 0x80,
            };
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Right sides printed by PHP 8.2's `json_encode($text, JSON_UNESCAPED_UNICODE)` and `json_encode($text)`.
    #[test]
    fn text_is_escaped_as_php_does() {
        check("", "", "");
        check("a/b\\c\"d", r#"a\/b\\c\"d"#, r#"a\/b\\c\"d"#);
        check(
            "\u{0}\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1f}\u{7f}",
            "\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u001f\u{7f}",
            "\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u001f\u{7f}",
        );
        check(
            "é\u{2027}\u{2028}\u{2029}\u{202a}€😀我",
            "é\u{2027}\\u2028\\u2029\u{202a}€😀我",
            "\\u00e9\\u2027\\u2028\\u2029\\u202a\\u20ac\\ud83d\\ude00\\u6211",
        );
    }

    #[track_caller]
    fn check(text: &str, plain: &str, horizon: &str) {
        for (escapes, expected) in [(Escapes::Plain, plain), (Escapes::Horizon, horizon)] {
            let mut out = b"head".to_vec();
            write_escaped(text, escapes, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("head{expected}"));
        }
    }
}
