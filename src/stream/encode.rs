//! Writes the frames that a client sends, with tungstenite's encoder: masked, unfragmented, appended to `out`.
//!
//! Masks come from the [`Random`] that is handed in, so a seed repeats every byte of a run. A mask is no secret; it only
//! has to be beyond the control of who chose the payload (RFC 6455 §10.3), and here nobody else chooses one: we send
//! subscriptions of our own, and echoes of at most 125 bytes. Control plane: allocates.

use tungstenite::Bytes;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

use crate::domain::Random;
use crate::domain::limits::CONTROL_PAYLOAD_MAX;

/// Bytes of a close reason: a control payload without its code.
const CLOSE_REASON_MAX: usize = CONTROL_PAYLOAD_MAX - 2;

/// A text message.
pub fn write_text(text: &str, random: &mut Random, out: &mut Vec<u8>) {
    write_frame(OpCode::Data(Data::Text), Bytes::copy_from_slice(text.as_bytes()), random, out);
}

/// A ping of our own.
///
/// # Panics
/// When `payload` is longer than 125 bytes.
pub fn write_ping(payload: &[u8], random: &mut Random, out: &mut Vec<u8>) {
    write_control(Control::Ping, payload, random, out);
}

/// The answer to a ping: `payload` is the ping's, unchanged.
///
/// # Panics
/// When `payload` is longer than 125 bytes, which no ping of [`super::frame`] is.
pub fn write_pong(payload: &[u8], random: &mut Random, out: &mut Vec<u8>) {
    write_control(Control::Pong, payload, random, out);
}

/// A goodbye, or the answer to one: `None` answers a close frame without a code. A reason that is too long is cut at a
/// character.
///
/// # Panics
/// When there is a `reason` without a `code`.
pub fn write_close(code: Option<u16>, reason: &str, random: &mut Random, out: &mut Vec<u8>) {
    assert!(code.is_some() || reason.is_empty(), "a close reason needs a code");
    let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_MAX)];
    let mut payload = Vec::with_capacity(CONTROL_PAYLOAD_MAX);
    payload.extend(code.iter().flat_map(|code| code.to_be_bytes()));
    payload.extend_from_slice(reason.as_bytes());
    write_control(Control::Close, &payload, random, out);
}

fn write_control(control: Control, payload: &[u8], random: &mut Random, out: &mut Vec<u8>) {
    assert!(payload.len() <= CONTROL_PAYLOAD_MAX, "a control payload of {} bytes", payload.len());
    write_frame(OpCode::Control(control), Bytes::copy_from_slice(payload), random, out);
}

fn write_frame(opcode: OpCode, payload: Bytes, random: &mut Random, out: &mut Vec<u8>) {
    let mut mask = [0; 4];
    random.fill(&mut mask);
    let header = FrameHeader { opcode, mask: Some(mask), ..FrameHeader::default() };
    Frame::from_payload(header, payload).format(out).expect("writing to a Vec cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_masked_and_appended() {
        check(|random, out| write_text("{}", random, out), 0x81, b"{}");
        check(|random, out| write_text(&"x".repeat(70_000), random, out), 0x81, &[b'x'; 70_000]);
        check(|random, out| write_ping(b"", random, out), 0x89, b"");
        check(|random, out| write_pong(&[7; 125], random, out), 0x8a, &[7; 125]);
        check(|random, out| write_close(None, "", random, out), 0x88, b"");
        check(|random, out| write_close(Some(1000), "bye", random, out), 0x88, b"\x03\xe8bye");
        let long = "é".repeat(100);
        check(
            |random, out| write_close(Some(1002), &long, random, out),
            0x88,
            &[b"\x03\xea", &long.as_bytes()[..122]].concat(),
        );
    }

    #[test]
    #[should_panic(expected = "a control payload of 126 bytes")]
    fn a_control_payload_has_a_bound() {
        write_ping(&[0; 126], &mut Random::from_seed(1), &mut Vec::new());
    }

    fn check(write: impl Fn(&mut Random, &mut Vec<u8>), first: u8, payload: &[u8]) {
        let mut out = b"before".to_vec();
        let mut random = Random::from_seed(5);
        write(&mut random, &mut out);
        let frame = out.strip_prefix(b"before").expect("what was there stays");
        assert_eq!((frame[0], frame[1] & 0x80), (first, 0x80));
        let header = match frame[1] & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let (mask, masked) = frame[header..].split_first_chunk::<4>().unwrap();
        let mut expected_mask = [0; 4];
        Random::from_seed(5).fill(&mut expected_mask);
        assert_eq!(*mask, expected_mask);
        let unmasked: Vec<u8> = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        assert_eq!(unmasked, payload);
        let before = out.len();
        write(&mut random, &mut out);
        assert_ne!(out[before..][header..header + 4], expected_mask, "each frame has a mask of its own");
    }
}
