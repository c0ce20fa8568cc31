//! Reads WebSocket frames (RFC 6455 §5) as a client must, where they lie: no buffer of its own, no allocation.
//!
//! **Strict.** Whatever the RFC forbids a server is refused at the first byte that shows it; a message that will pass the
//! limit is refused when its header arrives, before its payload. No extension was offered, so no reserved bit is legal.
//! After a close frame nothing is read any more; after an error the reader stays in it.
//!
//! **Cost.** A header is looked at once per call, a payload never; the payload of a fragment is moved at most once, down to
//! the fragments before it, and that of an unfragmented message not at all. So bytes that trickle in cost O(n).
//!
//! **UTF-8 of text messages is not checked here**: simd-json validates the same bytes again anyhow, and who passes text on
//! without it must check it (2.8 µs per 150 kB, facts/measurements.md §2). The reason of a close frame is checked.

use std::fmt;

pub use super::frame_error::FrameError;
use super::plain::PlainBuffer;
use crate::domain::limits::{CONTROL_PAYLOAD_MAX, FRAME_PADDING};

/// One thing that the server sent, borrowed from the [`PlainBuffer`].
#[derive(Debug)]
pub enum Incoming<'b> {
    /// A whole message, its fragments joined.
    Message {
        /// Text or binary.
        kind: MessageKind,
        /// Its bytes. Those of a text are not checked to be UTF-8.
        payload: Payload<'b>,
    },
    /// To be answered with a pong of the same bytes, at most 125.
    Ping(&'b [u8]),
    /// At most 125 bytes.
    Pong(&'b [u8]),
    /// The server says goodbye; nothing more will be read.
    Close {
        /// `None` when the server gave no code.
        code: Option<u16>,
        /// UTF-8, at most 123 bytes.
        reason: &'b [u8],
    },
}

/// What a message calls itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Opcode 1.
    Text,
    /// Opcode 2.
    Binary,
}

/// The bytes of one message, with [`FRAME_PADDING`] readable bytes behind them.
///
/// The message may be changed in place. The padding may only be read: the next frame can already lie there.
pub struct Payload<'b> {
    padded: &'b mut [u8],
}

impl<'b> Payload<'b> {
    /// Bytes of the message.
    #[must_use]
    pub fn len(&self) -> usize {
        self.padded.len() - FRAME_PADDING
    }

    /// Whether the message is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The message.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.padded[..self.len()]
    }

    /// The message with its padding, and the length of the message.
    #[must_use]
    pub fn into_padded(self) -> (&'b mut [u8], usize) {
        let len = self.len();
        (self.padded, len)
    }
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

/// The frame reader of one connection.
///
/// Between calls it owns the order of the buffer's bytes: `joined` bytes of an unfinished message, `gap` dead ones
/// (headers and control frames that lay between its fragments), then what was not read. Others may only append.
#[derive(Clone, Debug)]
pub struct FrameReader {
    max_message: usize,
    joined: usize,
    gap: usize,
    /// The unfinished message.
    open: Option<Open>,
    ended: Option<Ended>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    kind: MessageKind,
    /// Payload of the current fragment that is still to come; zero between two fragments.
    rest: usize,
    is_last: bool,
}

#[derive(Clone, Copy, Debug)]
enum Ended {
    Closed,
    Failed(FrameError),
}

impl FrameReader {
    /// A reader that refuses messages of more than `max_message` bytes.
    #[must_use]
    pub const fn new(max_message: usize) -> Self {
        FrameReader { max_message, joined: 0, gap: 0, open: None, ended: None }
    }

    /// The next thing in `plain`, consumed from it; `None` when more bytes are needed, and for ever after a close frame.
    ///
    /// # Errors
    /// When the server broke the protocol. Every later call returns the same error.
    pub fn next<'b>(&mut self, plain: &'b mut PlainBuffer) -> Result<Option<Incoming<'b>>, FrameError> {
        match self.ended {
            None => {}
            Some(Ended::Failed(error)) => return Err(error),
            Some(Ended::Closed) => {
                plain.clear();
                return Ok(None);
            }
        }
        match self.step(plain) {
            Err(error) => {
                self.ended = Some(Ended::Failed(error));
                Err(error)
            }
            incoming => incoming,
        }
    }

    fn step<'b>(&mut self, plain: &'b mut PlainBuffer) -> Result<Option<Incoming<'b>>, FrameError> {
        loop {
            if let Some(open) = self.join_arrived(plain) {
                if open.rest > 0 {
                    return Ok(None);
                }
                if open.is_last {
                    let (len, drop) = (self.joined, self.joined + self.gap);
                    (self.joined, self.gap, self.open) = (0, 0, None);
                    let payload = Payload { padded: plain.take_padded(len, drop) };
                    return Ok(Some(Incoming::Message { kind: open.kind, payload }));
                }
            }
            let unread = &plain.data()[self.joined + self.gap..];
            let Some(header) = self.read_header(unread)? else {
                self.close_gap(plain);
                return Ok(None);
            };
            match header.opcode {
                Opcode::Data(kind) => {
                    self.open = Some(Open { kind, rest: header.payload, is_last: header.is_final });
                    self.skip(plain, header.len);
                }
                Opcode::Control(control) => {
                    let len = header.len + header.payload;
                    if unread.len() < len {
                        self.close_gap(plain);
                        return Ok(None);
                    }
                    let frame = self.skip(plain, len);
                    let payload = &frame[header.len..];
                    return Ok(Some(match control {
                        Control::Ping => Incoming::Ping(payload),
                        Control::Pong => Incoming::Pong(payload),
                        Control::Close => {
                            let (code, reason) = read_close(payload)?;
                            self.ended = Some(Ended::Closed);
                            Incoming::Close { code, reason }
                        }
                    }));
                }
            }
        }
    }

    /// Moves what arrived of the current fragment down to the joined bytes.
    fn join_arrived(&mut self, plain: &mut PlainBuffer) -> Option<Open> {
        let open = self.open.as_mut()?;
        let unread = self.joined + self.gap;
        let take = open.rest.min(plain.len() - unread);
        if self.gap > 0 {
            plain.data_mut().copy_within(unread..unread + take, self.joined);
        }
        self.joined += take;
        open.rest -= take;
        if open.rest > 0 {
            // Nothing lies behind the gap, so the rest of the payload can arrive right where it belongs.
            plain.cut_out(self.joined, self.gap);
            self.gap = 0;
        }
        Some(*open)
    }

    /// Passes over the next `n` bytes, which are returned: dropped in front, or added to the gap behind joined bytes.
    fn skip<'b>(&mut self, plain: &'b mut PlainBuffer, n: usize) -> &'b [u8] {
        if self.joined == 0 {
            return &plain.take_padded(n, n)[..n];
        }
        let at = self.joined + self.gap;
        self.gap += n;
        &plain.data()[at..at + n]
    }

    /// Before waiting for more: the gap is closed where that moves no more bytes than it frees, so that neither pings
    /// between fragments fill the buffer nor bytes that trickle in are moved over and over.
    fn close_gap(&mut self, plain: &mut PlainBuffer) {
        let behind = plain.len() - self.joined - self.gap;
        if behind <= self.gap {
            plain.cut_out(self.joined, self.gap);
            self.gap = 0;
        }
    }

    /// Checks as much of the header as is there; `None` when it is not complete.
    fn read_header(&self, bytes: &[u8]) -> Result<Option<Header>, FrameError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(FrameError::ReservedBits);
        }
        let is_final = first & 0x80 != 0;
        let opcode = match (first & 0x0f, self.open) {
            (0, None) => return Err(FrameError::UnexpectedContinuation),
            (1 | 2, Some(_)) => return Err(FrameError::ExpectedContinuation),
            (0, Some(open)) => Opcode::Data(open.kind),
            (1, None) => Opcode::Data(MessageKind::Text),
            (2, None) => Opcode::Data(MessageKind::Binary),
            (8..=10, _) if !is_final => return Err(FrameError::ControlFragmented),
            (8, _) => Opcode::Control(Control::Close),
            (9, _) => Opcode::Control(Control::Ping),
            (10, _) => Opcode::Control(Control::Pong),
            (unknown, _) => return Err(FrameError::BadOpcode(unknown)),
        };
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if second & 0x80 != 0 {
            return Err(FrameError::Masked);
        }
        let short = usize::from(second);
        if let Opcode::Control(_) = opcode {
            let fits = short <= CONTROL_PAYLOAD_MAX;
            return if fits {
                Ok(Some(Header { opcode, is_final, len: 2, payload: short }))
            } else {
                Err(FrameError::ControlTooLong)
            };
        }
        let (len, payload) = match short {
            126 => {
                let Some(long) = bytes[2..].first_chunk() else { return Ok(None) };
                (4, u64::from(u16::from_be_bytes(*long)))
            }
            127 => {
                if bytes.get(2).is_some_and(|byte| byte & 0x80 != 0) {
                    return Err(FrameError::LengthTopBit);
                }
                let Some(long) = bytes[2..].first_chunk() else { return Ok(None) };
                (10, u64::from_be_bytes(*long))
            }
            _ => (2, short as u64),
        };
        if (len == 4 && payload < 126) || (len == 10 && payload <= u64::from(u16::MAX)) {
            return Err(FrameError::LengthNotMinimal);
        }
        // Both terms are below 2⁶³.
        let length = self.joined as u64 + payload;
        if length > self.max_message as u64 {
            return Err(FrameError::Oversize { length });
        }
        Ok(Some(Header { opcode, is_final, len, payload: payload as usize }))
    }
}

struct Header {
    opcode: Opcode,
    is_final: bool,
    /// Bytes of the header.
    len: usize,
    /// Bytes of the payload.
    payload: usize,
}

enum Opcode {
    /// A fragment of a message of this kind.
    Data(MessageKind),
    Control(Control),
}

enum Control {
    Close,
    Ping,
    Pong,
}

/// RFC 6455 §5.5.1 and §7.4.
fn read_close(payload: &[u8]) -> Result<(Option<u16>, &[u8]), FrameError> {
    match payload {
        [] => Ok((None, payload)),
        [_] => Err(FrameError::CloseTruncated),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            // 1012–1014 are registered with IANA; 1004–1006 and 1015 must not be sent; 1016–2999 mean nothing yet.
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(FrameError::BadCloseCode(code));
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(FrameError::CloseReasonNotUtf8);
            }
            Ok((Some(code), reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1_000;

    #[test]
    fn whole_messages_and_control_frames() {
        check(b"\x81\x02hi", "T:hi");
        check(b"\x81\x00", "T:");
        check(b"\x82\x01\xff\x81\x01a", "B:\u{fffd} T:a");
        check(b"\x89\x00\x8a\x03abc\x89\x01x", "ping: pong:abc ping:x");
        check(b"\x89\x7d", "");
        check(b"\x81\x01a\x81\x02b", "T:a");
        check(&frame(0x82, &[b'x'; 126]), &format!("B:{}", "x".repeat(126)));
        check(&frame(0x81, &[b'x'; MAX]), &format!("T:{}", "x".repeat(MAX)));
    }

    #[test]
    fn fragments_are_joined_around_control_frames() {
        check(b"\x01\x02ab\x00\x01c\x80\x02de", "T:abcde");
        check(b"\x02\x00\x00\x00\x80\x00", "B:");
        check(b"\x01\x01a\x89\x02pp\x00\x01b\x8a\x01q\x80\x01c\x81\x01z", "ping:pp pong:q T:abc T:z");
        check(b"\x01\x00\x89\x01p\x80\x03xyz", "ping:p T:xyz");
        check(b"\x01\x01a\x88\x02\x03\xe8\x80\x01b", "close:1000");
        let halves = [frame(0x01, &[b'a'; 300]), frame(0x89, &[b'p'; 125]), frame(0x80, &[b'b'; 700])].concat();
        check(&halves, &format!("ping:{} T:{}{}", "p".repeat(125), "a".repeat(300), "b".repeat(700)));
    }

    #[test]
    fn whatever_a_server_must_not_send_is_refused() {
        check(b"\xc1\x00", "!reserved_bits");
        check(b"\xa1", "!reserved_bits");
        check(b"\x99", "!reserved_bits");
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            check(&[0x80 | opcode], "!bad_opcode");
        }
        check(b"\x81\x80", "!masked");
        check(b"\x89\x81", "!masked");
        check(b"\x09", "!control_fragmented");
        check(b"\x08\x00", "!control_fragmented");
        check(b"\x89\x7e", "!control_too_long");
        check(b"\x8a\x7f", "!control_too_long");
        check(b"\x80\x00", "!unexpected_continuation");
        check(b"\x81\x01a\x00", "T:a !unexpected_continuation");
        check(b"\x01\x00\x81", "!expected_continuation");
        check(b"\x02\x01a\x02", "!expected_continuation");
        check(b"\x81\x7e\x00\x7d", "!length_not_minimal");
        check(b"\x81\x7f\x00\x00\x00\x00\x00\x00\xff\xff", "!length_not_minimal");
        check(b"\x81\x7f\x80", "!length_top_bit");
    }

    #[test]
    fn a_message_above_the_limit_is_refused_by_its_header() {
        check(b"\x81\x7e\x03\xe9", "!oversize");
        check(b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", "!oversize");
        check(b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", "!oversize");
        check(&[&frame(0x01, &[0; MAX])[..], b"\x00\x01"].concat(), "!oversize");
        check(&[&frame(0x01, &[b'x'; MAX])[..], b"\x80\x00"].concat(), &format!("T:{}", "x".repeat(MAX)));
        let mut plain = PlainBuffer::with_capacity(100);
        plain.append(b"\x81\x7e\x03\xe9").unwrap();
        let error = FrameReader::new(MAX).next(&mut plain).unwrap_err();
        assert_eq!((error, error.close_code()), (FrameError::Oversize { length: 1_001 }, 1009));
    }

    #[test]
    fn close_frames() {
        check(b"\x88\x00", "close:");
        check(b"\x88\x05\x03\xe8bye", "close:1000 bye");
        check(b"\x88\x02\x0f\xa0\x81\x01a", "close:4000");
        check(b"\x88\x01\x03", "!close_truncated");
        check(b"\x88\x04\x03\xe8\xc3\x28", "!close_reason_not_utf8");
        let legal = [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999];
        let illegal = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535];
        for (codes, is_legal) in [(&legal[..], true), (&illegal[..], false)] {
            for code in codes {
                let expected = if is_legal { format!("close:{code}") } else { "!bad_close_code".to_owned() };
                check(&frame(0x88, &u16::to_be_bytes(*code)), &expected);
            }
        }
    }

    #[test]
    fn pings_between_fragments_do_not_fill_the_buffer() {
        let mut plain = PlainBuffer::for_messages(MAX);
        let mut reader = FrameReader::new(MAX);
        plain.append(&frame(0x01, &[b'a'; 500])).unwrap();
        assert!(reader.next(&mut plain).unwrap().is_none());
        let ping = frame(0x89, &[b'p'; 125]);
        for _ in 0..10_000 {
            plain.append(&ping).unwrap();
            assert!(matches!(reader.next(&mut plain), Ok(Some(Incoming::Ping(_)))));
            assert!(reader.next(&mut plain).unwrap().is_none());
            assert!(plain.len() <= 500 + ping.len());
        }
        plain.append(b"\x80\x02y").unwrap();
        assert!(reader.next(&mut plain).unwrap().is_none());
        assert_eq!(plain.len(), 501, "the last byte will arrive where it belongs");
        plain.append(b"z").unwrap();
        let Ok(Some(Incoming::Message { payload, .. })) = reader.next(&mut plain) else { panic!("no message") };
        assert_eq!(payload.bytes(), [&[b'a'; 500][..], b"yz"].concat());
    }

    #[test]
    fn a_payload_can_be_changed_and_has_padding() {
        let mut plain = PlainBuffer::with_capacity(10);
        plain.append(b"\x81\x03abc\x81\x03def").unwrap();
        let mut reader = FrameReader::new(MAX);
        for expected in [b"abc", b"def"] {
            let Ok(Some(Incoming::Message { payload, .. })) = reader.next(&mut plain) else { panic!("no message") };
            assert_eq!((payload.bytes(), payload.is_empty()), (&expected[..], false));
            let (padded, len) = payload.into_padded();
            assert_eq!(padded.len(), len + FRAME_PADDING);
            padded[..len].fill(b'!');
        }
        assert!(plain.is_empty());
    }

    #[test]
    fn errors_are_small() {
        assert!(size_of::<FrameError>() <= 16);
        assert!(size_of::<Result<Option<Incoming<'_>>, FrameError>>() <= 40);
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let len = payload.len();
        let mut frame = vec![first];
        match len {
            0..126 => frame.push(len as u8),
            126..65_536 => frame.extend([&[126], &(len as u16).to_be_bytes()[..]].concat()),
            _ => frame.extend([&[127], &(len as u64).to_be_bytes()[..]].concat()),
        }
        [&frame[..], payload].concat()
    }

    /// Reads `wire` in one piece, and byte by byte; both must give `expected`: what came in, and the error if there is one.
    fn check(wire: &[u8], expected: &str) {
        for piece in [wire.len(), 1] {
            let mut plain = PlainBuffer::for_messages(MAX);
            let mut reader = FrameReader::new(MAX);
            let mut seen = Vec::new();
            for bytes in wire.chunks(piece) {
                plain.append(bytes).unwrap();
                read_all(&mut reader, &mut plain, &mut seen);
            }
            assert_eq!(seen.join(" "), expected, "{wire:x?} in pieces of {piece}");
        }
    }

    fn read_all(reader: &mut FrameReader, plain: &mut PlainBuffer, seen: &mut Vec<String>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        loop {
            seen.push(match reader.next(plain) {
                Ok(None) => return,
                Ok(Some(Incoming::Message { kind: MessageKind::Text, payload })) => {
                    format!("T:{}", text(payload.bytes()))
                }
                Ok(Some(Incoming::Message { payload, .. })) => format!("B:{}", text(payload.bytes())),
                Ok(Some(Incoming::Ping(payload))) => format!("ping:{}", text(payload)),
                Ok(Some(Incoming::Pong(payload))) => format!("pong:{}", text(payload)),
                Ok(Some(Incoming::Close { code, reason })) => {
                    let code = code.map(|code| code.to_string()).unwrap_or_default();
                    format!("close:{code} {}", text(reason)).trim_end().to_owned()
                }
                Err(error) => {
                    assert_eq!(reader.next(plain).unwrap_err(), error, "an error is the end");
                    let word = format!("!{}", error.as_str());
                    if seen.last() != Some(&word) {
                        seen.push(word);
                    }
                    return;
                }
            });
        }
    }
}
