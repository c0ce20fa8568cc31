//! Promise: our WebSocket reader and tungstenite, which shares no line with it, understand the same bytes alike; and what
//! we write, tungstenite reads as a server. Seeds repeat a failure.

use std::io::{Cursor, ErrorKind};

use kraite_streams::domain::Random;
use kraite_streams::stream::encode;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Error, Message};

#[path = "../fuzz/bodies/frame_reader.rs"]
#[allow(dead_code, reason = "tests/fuzz_corpus.rs uses the rest")]
mod frame_reader;

use frame_reader::{End, Seen, Transcript, compare, cut, read_ours, read_theirs};

const MAX: usize = 300_000;

#[test]
fn random_conversations_are_read_alike() {
    for seed in 0..150 {
        let mut random = Random::from_seed(seed);
        let (wire, sent) = conversation(&mut random);
        let ours = read_ours(&cut(&wire, &mut random), MAX);
        let theirs = read_theirs(&cut(&wire, &mut random), MAX);
        let is_closed = matches!(sent.last(), Some(Seen::Close(..)));
        assert!(ours.seen == sent, "seed {seed}: ours is not what was sent");
        assert!(theirs.seen == sent, "seed {seed}: the twin is not what was sent");
        assert_eq!(ours.end, if is_closed { End::Closed } else { End::Waits }, "seed {seed}");
    }
}

#[test]
fn broken_conversations_are_read_alike_or_refused() {
    let (mut refused, mut accepted) = (0, 0);
    for seed in 0..4_000 {
        let mut random = Random::from_seed(1_000_000 + seed);
        let (mut wire, _) = small_conversation(&mut random);
        for _ in 0..=random.below(3) {
            mutate(&mut wire, &mut random);
        }
        let limit = [100, 300, 100_000][random.below(3) as usize];
        match compare(&wire, limit, &mut random).end {
            End::Failed(_) => refused += 1,
            End::Waits | End::Closed => accepted += 1,
        }
    }
    assert!(refused > 500 && accepted > 500, "{refused} refused and {accepted} accepted test little");
}

#[test]
fn pure_noise_is_read_alike_or_refused() {
    for seed in 0..4_000 {
        let mut random = Random::from_seed(seed);
        let mut wire = vec![0; random.below(64) as usize];
        random.fill(&mut wire);
        // Without this nearly all noise ends at its first byte.
        for byte in &mut wire {
            *byte &= [0xff, 0x8f, 0x7f, 0x0f][random.below(4) as usize];
        }
        compare(&wire, 1_000, &mut random);
    }
}

#[test]
fn a_tick_in_one_byte_pieces_is_read_in_linear_time() {
    let tick = frame(OpCode::Data(Data::Text), true, &vec![b'x'; 250_000]);
    let fragments: Vec<u8> = (0..2_500)
        .flat_map(|n| {
            let opcode = if n == 0 { Data::Text } else { Data::Continue };
            let fragment = frame(OpCode::Data(opcode), n == 2_499, &[b'x'; 100]);
            [fragment, frame(OpCode::Control(Control::Ping), true, b"p")].concat()
        })
        .collect();
    for wire in [tick, fragments] {
        let pieces: Vec<&[u8]> = wire.chunks(1).collect();
        let Transcript { seen, end } = read_ours(&pieces, MAX);
        assert_eq!(end, End::Waits);
        assert!(seen.contains(&Seen::Text(vec![b'x'; 250_000])));
    }
}

#[test]
fn what_we_write_a_server_reads() {
    let mut random = Random::from_seed(11);
    let mut wire = Vec::new();
    let texts: Vec<String> =
        [0, 1, 125, 126, 127, 65_535, 65_536, 100_000].map(|n| "é".repeat(n / 2) + &"x".repeat(n % 2)).into();
    for text in &texts {
        encode::write_text(text, &mut random, &mut wire);
    }
    let payloads = [&b""[..], b"1700000000000", &[0xff; 125]];
    for payload in payloads {
        encode::write_ping(payload, &mut random, &mut wire);
        encode::write_pong(payload, &mut random, &mut wire);
    }
    encode::write_close(Some(1000), "bye — ends", &mut random, &mut wire);

    let mut server = WebSocket::from_raw_socket(Cursor::new(wire), Role::Server, None);
    for text in texts {
        assert_eq!(server.read().unwrap(), Message::Text(text.into()));
    }
    for payload in payloads {
        assert_eq!(server.read().unwrap(), Message::Ping(payload.into()));
        assert_eq!(server.read().unwrap(), Message::Pong(payload.into()));
    }
    let Message::Close(Some(close)) = server.read().unwrap() else { panic!("no close frame") };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1000, "bye — ends"));
    match server.read() {
        Err(Error::ConnectionClosed) => {}
        Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
        other => panic!("{other:?} behind the close frame"),
    }
}

#[test]
fn an_empty_close_is_read_by_a_server() {
    let mut wire = Vec::new();
    encode::write_close(None, "", &mut Random::from_seed(1), &mut wire);
    let mut server = WebSocket::from_raw_socket(Cursor::new(wire), Role::Server, None);
    assert_eq!(server.read().unwrap(), Message::Close(None));
}

/// A legal conversation of a server, encoded by tungstenite, and what it says.
fn conversation(random: &mut Random) -> (Vec<u8>, Vec<Seen>) {
    let sizes: &[usize] = &[0, 1, 124, 125, 126, 127, 1_000, 65_535, 65_536, 65_537, 150_000];
    talk(random, sizes, 12)
}

fn small_conversation(random: &mut Random) -> (Vec<u8>, Vec<Seen>) {
    talk(random, &[0, 1, 2, 10, 125, 126, 200], 6)
}

fn talk(random: &mut Random, sizes: &[usize], turns: u64) -> (Vec<u8>, Vec<Seen>) {
    let (mut wire, mut sent) = (Vec::new(), Vec::new());
    for _ in 0..=random.below(turns) {
        let size = sizes[random.below(sizes.len() as u64) as usize];
        match random.below(8) {
            0..=2 => {
                let payload = text(random, size);
                send(&mut wire, &mut sent, Data::Text, &payload, random);
                sent.push(Seen::Text(payload));
            }
            3..=5 => {
                let mut payload = vec![0; size];
                random.fill(&mut payload);
                send(&mut wire, &mut sent, Data::Binary, &payload, random);
                sent.push(Seen::Binary(payload));
            }
            _ => control(&mut wire, &mut sent, random),
        }
    }
    if random.below(4) == 0 {
        let code = [1000_u16, 1001, 1008, 3000, 4999][random.below(5) as usize];
        let size = random.below(60) as usize;
        let reason = text(random, size);
        wire.extend(frame(OpCode::Control(Control::Close), true, &[&code.to_be_bytes()[..], &reason].concat()));
        sent.push(Seen::Close(Some(code), reason));
        // Nobody reads what comes after the goodbye.
        wire.extend(frame(OpCode::Data(Data::Text), true, b"late"));
    }
    (wire, sent)
}

/// One message, half of the time in up to nine fragments with control frames between them.
fn send(wire: &mut Vec<u8>, sent: &mut Vec<Seen>, kind: Data, mut payload: &[u8], random: &mut Random) {
    let mut opcode = kind;
    for _ in 0..random.below(2) * random.below(9) {
        let (fragment, rest) = payload.split_at(random.below(payload.len() as u64 + 1) as usize);
        wire.extend(frame(OpCode::Data(opcode), false, fragment));
        (opcode, payload) = (Data::Continue, rest);
        if random.below(3) == 0 {
            control(wire, sent, random);
        }
    }
    wire.extend(frame(OpCode::Data(opcode), true, payload));
}

fn control(wire: &mut Vec<u8>, sent: &mut Vec<Seen>, random: &mut Random) {
    let mut payload = vec![0; random.below(126) as usize];
    random.fill(&mut payload);
    if random.below(2) == 0 {
        wire.extend(frame(OpCode::Control(Control::Ping), true, &payload));
        sent.push(Seen::Ping(payload));
    } else {
        wire.extend(frame(OpCode::Control(Control::Pong), true, &payload));
        sent.push(Seen::Pong(payload));
    }
}

/// Text of `size` bytes with characters of one to four.
fn text(random: &mut Random, size: usize) -> Vec<u8> {
    let mut text = String::with_capacity(size);
    while text.len() < size {
        let char = ['a', '"', 'é', '币', '🦀'][random.below(5) as usize];
        text.push(if text.len() + char.len_utf8() <= size { char } else { 'x' });
    }
    text.into_bytes()
}

fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { is_final, opcode, ..FrameHeader::default() };
    let mut out = Vec::new();
    Frame::from_payload(header, payload.to_vec().into()).format(&mut out).unwrap();
    out
}

fn mutate(wire: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(wire.len() as u64) as usize;
    match random.below(5) {
        0 | 1 => wire[at] ^= 1 << random.below(8),
        2 => wire[at] = random.next_u64() as u8,
        3 => wire.insert(at, random.next_u64() as u8),
        _ if wire.len() > 1 => drop(wire.remove(at)),
        _ => {}
    }
}
