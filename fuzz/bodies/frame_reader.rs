//! The WebSocket reader against tungstenite's, on bytes that nobody promised anything about.
//!
//! Run by the fuzz target `frame_reader`, and on stable by `tests/fuzz_corpus.rs` and `tests/wire_twin.rs`. The same wire
//! goes through our reader in one piece, through it again cut at random, and through tungstenite as a client: both of our
//! runs agree to the byte, and differ from the twin only where [`compare`] says they may.

use std::io::{self, Read, Write};

use kraite_streams::domain::Random;
use kraite_streams::domain::limits::CONTROL_PAYLOAD_MAX;
use kraite_streams::stream::frame::{FrameError, FrameReader, Incoming, MessageKind};
use kraite_streams::stream::plain::PlainBuffer;
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

/// Message limits that the first byte of an input chooses from.
const LIMITS: [usize; 4] = [1 << 20, 125, 1_000, 70_000];

/// One input: a byte that chooses the message limit, a byte that seeds the cuts, the wire.
pub fn frame_reader(input: &[u8]) {
    if let Some(([limit, seed], wire)) = input.split_first_chunk::<2>() {
        compare(wire, LIMITS[usize::from(*limit) % LIMITS.len()], &mut Random::from_seed(u64::from(*seed)));
    }
}

/// What a reader made of a wire.
#[derive(Debug, PartialEq, Eq)]
pub struct Transcript<E> {
    /// In order of arrival.
    pub seen: Vec<Seen>,
    /// How it ended.
    pub end: End<E>,
}

/// One thing that the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Not checked to be UTF-8 by our reader.
    Text(Vec<u8>),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// Code and reason.
    Close(Option<u16>, Vec<u8>),
}

/// How a transcript ends.
#[derive(Debug, PartialEq, Eq)]
pub enum End<E> {
    /// The reader waits for more bytes.
    Waits,
    /// The server closed.
    Closed,
    /// The server broke the protocol.
    Failed(E),
}

/// Panics when our reader depends on how the wire is cut, or disagrees with tungstenite beyond what is accepted:
///
/// - ours may reject earlier, by a header whose payload has not come;
/// - ours rejects lengths that are not minimal, those of control frames as too long, and close codes that must not be
///   sent (the twin reports 1002 for them);
/// - ours takes 1014, which IANA registered after the RFC (the twin reports 1002);
/// - ours leaves the UTF-8 of text messages to the parser.
pub fn compare(wire: &[u8], max_message: usize, cuts: &mut Random) -> Transcript<FrameError> {
    let ours = read_ours(&[wire], max_message);
    assert_eq!(read_ours(&cut(wire, cuts), max_message), ours, "the cuts matter");
    let theirs = read_theirs(&cut(wire, cuts), max_message);
    let common = ours.seen.iter().zip(&theirs.seen).take_while(|(ours, theirs)| is_same(ours, theirs)).count();
    let took_all_of_theirs = common == theirs.seen.len();
    let next_message = ours.seen[common..].iter().find(|seen| matches!(seen, Seen::Text(_) | Seen::Binary(_)));
    let is_left_to_the_parser = matches!(theirs.end, End::Failed(Error::Utf8(_)))
        && took_all_of_theirs
        && next_message.is_none_or(|seen| matches!(seen, Seen::Text(text) if std::str::from_utf8(text).is_err()));
    let is_same_end = match (&ours.end, &theirs.end) {
        (End::Failed(FrameError::LengthNotMinimal | FrameError::ControlTooLong | FrameError::BadCloseCode(_)), _) => {
            true
        }
        (End::Waits, End::Waits) | (End::Closed, End::Closed) => took_all_of_theirs,
        (End::Failed(_), End::Waits | End::Failed(_)) => took_all_of_theirs,
        _ => false,
    };
    let is_explained = is_left_to_the_parser || (common == ours.seen.len() && is_same_end);
    assert!(is_explained, "{ours:?}\n{theirs:?}");
    ours
}

/// Cuts `wire` at random places; a third of the pieces is one byte long.
pub fn cut<'w>(mut wire: &'w [u8], random: &mut Random) -> Vec<&'w [u8]> {
    let mut pieces = Vec::new();
    while !wire.is_empty() {
        let longest = [1, 20, 20_000][random.below(3) as usize];
        let (piece, rest) = wire.split_at((1 + random.below(longest) as usize).min(wire.len()));
        pieces.push(piece);
        wire = rest;
    }
    pieces
}

/// Reads `pieces` with our reader, and checks its bounds on the way.
pub fn read_ours(pieces: &[&[u8]], max_message: usize) -> Transcript<FrameError> {
    let mut plain = PlainBuffer::for_messages(max_message);
    let mut reader = FrameReader::new(max_message);
    let mut seen = Vec::new();
    for piece in pieces.iter().flat_map(|piece| piece.chunks(200_000)) {
        plain.append(piece).expect("a message under the limit fits");
        loop {
            seen.push(match reader.next(&mut plain) {
                Ok(None) => break,
                Err(error) => return Transcript { seen, end: End::Failed(error) },
                Ok(Some(Incoming::Message { kind, payload })) => {
                    assert!(payload.len() <= max_message);
                    let bytes = payload.bytes().to_vec();
                    if kind == MessageKind::Text { Seen::Text(bytes) } else { Seen::Binary(bytes) }
                }
                Ok(Some(Incoming::Ping(payload))) => Seen::Ping(payload.to_vec()),
                Ok(Some(Incoming::Pong(payload))) => Seen::Pong(payload.to_vec()),
                Ok(Some(Incoming::Close { code, reason })) => {
                    seen.push(Seen::Close(code, reason.to_vec()));
                    return Transcript { seen, end: End::Closed };
                }
            });
        }
        assert!(plain.len() <= max_message + 2 * (10 + CONTROL_PAYLOAD_MAX), "{plain:?} keeps too much");
    }
    Transcript { seen, end: End::Waits }
}

/// Reads `pieces` with tungstenite in the role of a client.
pub fn read_theirs(pieces: &[&[u8]], max_message: usize) -> Transcript<Error> {
    let config = WebSocketConfig::default()
        .read_buffer_size(4_096)
        .max_message_size(Some(max_message))
        // The twin's limit of a frame covers control frames as well.
        .max_frame_size(Some(max_message.max(CONTROL_PAYLOAD_MAX)));
    let wire = Pieces { pieces: pieces.iter().map(|piece| piece.to_vec()).rev().collect() };
    let mut socket = WebSocket::from_raw_socket(wire, Role::Client, Some(config));
    let mut seen = Vec::new();
    loop {
        seen.push(match socket.read() {
            Ok(Message::Text(text)) => Seen::Text(text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => Seen::Binary(bytes.to_vec()),
            Ok(Message::Ping(payload)) => Seen::Ping(payload.to_vec()),
            Ok(Message::Pong(payload)) => Seen::Pong(payload.to_vec()),
            Ok(Message::Close(frame)) => {
                let (code, reason) = frame.map_or((None, Vec::new()), |frame| {
                    (Some(u16::from(frame.code)), frame.reason.as_bytes().to_vec())
                });
                seen.push(Seen::Close(code, reason));
                return Transcript { seen, end: End::Closed };
            }
            Ok(Message::Frame(_)) => unreachable!("reading gives no raw frames"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Transcript { seen, end: End::Waits };
            }
            Err(error) => return Transcript { seen, end: End::Failed(error) },
        });
    }
}

fn is_same(ours: &Seen, theirs: &Seen) -> bool {
    let is_1014 = matches!(ours, Seen::Close(Some(1014), _)) && matches!(theirs, Seen::Close(Some(1002), _));
    ours == theirs || is_1014
}

/// A socket from which one piece is read at a time; what is written to it is lost.
struct Pieces {
    /// The next one last.
    pieces: Vec<Vec<u8>>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(mut piece) = self.pieces.pop() else { return Err(io::ErrorKind::WouldBlock.into()) };
        let n = piece.len().min(buffer.len());
        buffer[..n].copy_from_slice(&piece[..n]);
        if n < piece.len() {
            self.pieces.push(piece.split_off(n));
        }
        Ok(n)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
