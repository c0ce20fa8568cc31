//! Numbers, hex and UUID text, written without the formatting machinery.

/// The digits of `value`.
pub(super) fn write_int(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    write_uint(value.unsigned_abs(), out);
}

/// The digits of `value`.
pub(super) fn write_uint(value: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Two lower-case digits a byte.
pub(super) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// What [`write_hex`] wrote of 16 bytes.
pub(super) fn read_hex16(text: &[u8]) -> Option<[u8; 16]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 16];
    if text.len() != 32 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// What [`write_uint`] wrote: no sign, no leading zero.
pub(super) fn read_uint(text: &[u8]) -> Option<u64> {
    let canonical = matches!(text, [b'0'] | [b'1'..=b'9', ..]) && text.iter().all(u8::is_ascii_digit);
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_hex_come_back() {
        for value in [0, 1, 9, 10, 99, 12_345, u64::MAX] {
            let mut out = Vec::new();
            write_uint(value, &mut out);
            assert_eq!(out, value.to_string().as_bytes());
            assert_eq!(read_uint(&out), Some(value));
        }
        for value in [0, -1, i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            write_int(value, &mut out);
            assert_eq!(out, value.to_string().as_bytes());
        }
        for text in ["", "00", "01", "+1", "-1", "1.0", " 1", "18446744073709551616", "1e3"] {
            assert_eq!(read_uint(text.as_bytes()), None, "{text}");
        }
        let bytes = *b"\x00\x01\xfe\xff0123456789ab";
        let mut out = Vec::new();
        write_hex(&bytes, &mut out);
        assert_eq!(out, b"0001feff303132333435363738396162");
        assert_eq!(read_hex16(&out), Some(bytes));
        for text in ["", "0001", "0001FEFF303132333435363738396162", "0001feff30313233343536373839616g"] {
            assert_eq!(read_hex16(text.as_bytes()), None, "{text}");
        }
    }
}
