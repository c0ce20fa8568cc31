//! Frames as a server sends them, RFC 6455 §5.2: never masked. Our own, because a fault is a frame that no library writes.

pub(super) const OPCODE_CONTINUATION: u8 = 0x0;
pub(super) const OPCODE_TEXT: u8 = 0x1;
pub(super) const OPCODE_PING: u8 = 0x9;

/// Appends one unmasked frame.
pub(super) fn write_frame(opcode: u8, last: bool, payload: &[u8], out: &mut Vec<u8>) {
    write_frame_head(opcode, last, payload.len() as u64, out);
    out.extend_from_slice(payload);
}

/// Appends the head of an unmasked frame.
pub(super) fn write_frame_head(opcode: u8, last: bool, len: u64, out: &mut Vec<u8>) {
    out.push(u8::from(last) << 7 | opcode);
    match len {
        0..=125 => out.push(len as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use tungstenite::protocol::frame::FrameHeader;

    use super::*;

    #[test]
    fn heads_are_what_tungstenite_reads() {
        for len in [0, 1, 125, 126, 127, 0xffff, 0x1_0000, 5 << 20] {
            for (opcode, last) in [(OPCODE_TEXT, true), (OPCODE_CONTINUATION, false), (OPCODE_PING, true)] {
                let mut out = Vec::new();
                write_frame_head(opcode, last, len, &mut out);
                let (head, payload_len) = FrameHeader::parse(&mut std::io::Cursor::new(&out)).unwrap().unwrap();
                assert_eq!((payload_len, head.is_final, u8::from(head.opcode)), (len, last, opcode));
                assert_eq!((head.rsv1, head.rsv2, head.rsv3, head.mask), (false, false, false, None));
            }
        }
    }
}
