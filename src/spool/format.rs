//! Bytes of segment headers, records, liveness entries and cursor slots: `format.md` in code, without I/O.
//!
//! Reading never panics and never trusts a length before its checksum.

use crate::domain::Wall;
use crate::domain::limits::{SPOOL_PAYLOAD_MAX, SPOOL_SUFFIX_MAX};

/// Both copies of the segment header: the offset of the first record.
pub const SEGMENT_HEADER_LEN: usize = 2 * HEADER_COPY_LEN;
/// The fixed part of a record.
pub const RECORD_HEADER_LEN: usize = 56;
/// The largest record.
pub const RECORD_LEN_MAX: usize = RECORD_HEADER_LEN + SPOOL_PAYLOAD_MAX + SPOOL_SUFFIX_MAX;
/// One account in a liveness payload.
pub const LIVENESS_ENTRY_LEN: usize = 24;
/// One cursor slot, and where the two lie: a page apart, so that one torn write harms one.
pub const CURSOR_SLOT_LEN: usize = 64;
/// Offsets of the two slots.
pub const CURSOR_SLOTS: [u64; 2] = [0, 4096];
/// `KREC`.
pub const RECORD_MARKER: [u8; 4] = *b"KREC";

const HEADER_COPY_LEN: usize = 96;
const SEGMENT_MAGIC: [u8; 8] = *b"KRAITESP";
const CURSOR_MAGIC: [u8; 4] = *b"KCUR";
const VERSION: u32 = 1;

/// The life of a spool from one open to the next: 128 random bits, drawn by the caller.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub [u8; 16]);

/// One of our accounts (`accounts.id`); 0 stands for the whole spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub u64);

/// One exchange (`api_systems.id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u32);

/// Which record this is, for ever: the epoch in which it was first written, and its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The life that wrote it.
    pub epoch: Epoch,
    /// Its place in the spool; grows across epochs too.
    pub position: u64,
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The bytes of one event as the exchange sent them.
    Frame,
    /// An account was not live between two instants; the payload is a [`super::Gap`].
    Gap,
    /// When accounts were last known to be alive; entries of [`LIVENESS_ENTRY_LEN`] bytes.
    Liveness,
    /// An event that a reconcile found and no frame told.
    Recovered,
}

impl Kind {
    /// The word for logs and commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Frame => "frame",
            Kind::Gap => "gap",
            Kind::Liveness => "liveness",
            Kind::Recovered => "recovered",
        }
    }

    /// Whether a full spool still takes it: marks are small, and they tell what a full spool costs.
    #[must_use]
    pub const fn is_mark(self) -> bool {
        matches!(self, Kind::Gap | Kind::Liveness)
    }

    const fn code(self) -> u8 {
        match self {
            Kind::Frame => 1,
            Kind::Gap => 2,
            Kind::Liveness => 3,
            Kind::Recovered => 4,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Kind::Frame),
            2 => Some(Kind::Gap),
            3 => Some(Kind::Liveness),
            4 => Some(Kind::Recovered),
            _ => None,
        }
    }
}

/// The fixed part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the payload.
    pub payload_len: u32,
    /// Bytes of the event suffix behind it.
    pub suffix_len: u8,
    /// What it holds.
    pub kind: Kind,
    /// Its place.
    pub position: u64,
    /// Whose it is.
    pub account: AccountId,
    /// The account's record before it; 0 for none.
    pub previous: u64,
    /// When it arrived.
    pub received_at: Wall,
    /// From where.
    pub exchange: ExchangeId,
    /// Checksum of payload and suffix.
    pub body_crc: u32,
}

impl RecordHeader {
    /// The whole record.
    #[must_use]
    pub const fn record_len(&self) -> usize {
        RECORD_HEADER_LEN + self.payload_len as usize + self.suffix_len as usize
    }

    /// Writes the 56 bytes into the front of `out`.
    ///
    /// # Panics
    /// If `out` is shorter: our own mistake.
    pub fn write(&self, epoch: Epoch, out: &mut [u8]) {
        self.write_unsealed(out);
        seal(out, epoch);
    }

    /// As [`RecordHeader::write`], the checksum left for [`seal`].
    pub(super) fn write_unsealed(&self, out: &mut [u8]) {
        let out = &mut out[..RECORD_HEADER_LEN];
        out[0..4].copy_from_slice(&RECORD_MARKER);
        out[4..8].copy_from_slice(&self.payload_len.to_le_bytes());
        out[8..16].copy_from_slice(&self.position.to_le_bytes());
        out[16..24].copy_from_slice(&self.account.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.previous.to_le_bytes());
        out[32..40].copy_from_slice(&self.received_at.as_micros().to_le_bytes());
        out[40..44].copy_from_slice(&self.exchange.0.to_le_bytes());
        out[44] = self.kind.code();
        out[45] = self.suffix_len;
        out[46..48].fill(0);
        out[48..52].copy_from_slice(&self.body_crc.to_le_bytes());
    }

    /// Reads a header whose checksum holds, of a record of `epoch`.
    #[must_use]
    pub fn read(epoch: Epoch, bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..RECORD_HEADER_LEN)?;
        if bytes[0..4] != RECORD_MARKER || u32_at(bytes, 52) != header_crc(epoch, &bytes[..52]) {
            return None;
        }
        Self::read_fields(bytes)
    }

    /// Reads a header that this process built and whose checksum is not filled in yet.
    ///
    /// # Panics
    /// If the bytes are no such header: our own mistake.
    pub(super) fn read_unsealed(bytes: &[u8]) -> Self {
        Self::read_fields(&bytes[..RECORD_HEADER_LEN]).expect("a batch is built of whole records by `Batch::push`")
    }

    fn read_fields(bytes: &[u8]) -> Option<Self> {
        let header = RecordHeader {
            payload_len: u32_at(bytes, 4),
            suffix_len: bytes[45],
            kind: Kind::from_code(bytes[44])?,
            position: u64_at(bytes, 8),
            account: AccountId(u64_at(bytes, 16)),
            previous: u64_at(bytes, 24),
            received_at: Wall::from_micros(u64_at(bytes, 32).cast_signed()),
            exchange: ExchangeId(u32_at(bytes, 40)),
            body_crc: u32_at(bytes, 48),
        };
        let sane =
            header.payload_len as usize <= SPOOL_PAYLOAD_MAX && usize::from(header.suffix_len) <= SPOOL_SUFFIX_MAX;
        sane.then_some(header)
    }
}

/// Fills in what only the appender knows: the record's place and its account's record before it.
pub(super) fn place(record: &mut [u8], position: u64, previous: u64) {
    record[8..16].copy_from_slice(&position.to_le_bytes());
    record[24..32].copy_from_slice(&previous.to_le_bytes());
}

/// Fills in the header's checksum, after [`place`].
pub(super) fn seal(record: &mut [u8], epoch: Epoch) {
    let crc = header_crc(epoch, &record[..52]);
    record[52..56].copy_from_slice(&crc.to_le_bytes());
}

/// The checksum of payload and suffix.
pub(super) fn body_crc(payload: &[u8], suffix: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(payload);
    hasher.update(suffix);
    hasher.finalize()
}

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The epoch of its records.
    pub epoch: Epoch,
    /// Its number.
    pub id: u64,
    /// The position of its first record.
    pub first: u64,
    /// When it was begun.
    pub created_at: Wall,
    /// The segment before it; 0 for none.
    pub previous_id: u64,
    /// Accepted bytes of that segment.
    pub previous_len: u64,
    /// Where everything written before ended.
    pub previous_end: u64,
}

impl SegmentHeader {
    /// Both copies.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut copy = [0; HEADER_COPY_LEN];
        copy[0..8].copy_from_slice(&SEGMENT_MAGIC);
        copy[8..12].copy_from_slice(&VERSION.to_le_bytes());
        copy[16..32].copy_from_slice(&self.epoch.0);
        copy[32..40].copy_from_slice(&self.id.to_le_bytes());
        copy[40..48].copy_from_slice(&self.first.to_le_bytes());
        copy[48..56].copy_from_slice(&self.created_at.as_micros().to_le_bytes());
        copy[56..64].copy_from_slice(&self.previous_id.to_le_bytes());
        copy[64..72].copy_from_slice(&self.previous_len.to_le_bytes());
        copy[72..80].copy_from_slice(&self.previous_end.to_le_bytes());
        let crc = crc32fast::hash(&copy[..92]);
        copy[92..96].copy_from_slice(&crc.to_le_bytes());
        let mut out = [0; SEGMENT_HEADER_LEN];
        out[..HEADER_COPY_LEN].copy_from_slice(&copy);
        out[HEADER_COPY_LEN..].copy_from_slice(&copy);
        out
    }

    /// Reads the first whole copy.
    ///
    /// # Errors
    /// [`BadSegment`]: no copy is whole, or a later version wrote it.
    pub fn read(bytes: &[u8]) -> Result<Self, BadSegment> {
        for copy in bytes.chunks_exact(HEADER_COPY_LEN).take(2) {
            if copy[0..8] != SEGMENT_MAGIC || u32_at(copy, 92) != crc32fast::hash(&copy[..92]) {
                continue;
            }
            let version = u32_at(copy, 8);
            if version != VERSION {
                return Err(BadSegment::Version(version));
            }
            let mut epoch = [0; 16];
            epoch.copy_from_slice(&copy[16..32]);
            return Ok(SegmentHeader {
                epoch: Epoch(epoch),
                id: u64_at(copy, 32),
                first: u64_at(copy, 40),
                created_at: Wall::from_micros(u64_at(copy, 48).cast_signed()),
                previous_id: u64_at(copy, 56),
                previous_len: u64_at(copy, 64),
                previous_end: u64_at(copy, 72),
            });
        }
        Err(BadSegment::Damaged)
    }
}

/// Why a segment's head cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSegment {
    /// Neither copy holds its checksum.
    Damaged,
    /// A version that this program does not know.
    Version(u32),
}

/// One account in a liveness payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivenessEntry {
    /// Who.
    pub account: AccountId,
    /// When something last arrived from the exchange for it.
    pub alive_at: Wall,
    /// Its newest record; 0 for none or unknown.
    pub last_position: u64,
}

impl LivenessEntry {
    /// The 24 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; LIVENESS_ENTRY_LEN] {
        let mut out = [0; LIVENESS_ENTRY_LEN];
        out[0..8].copy_from_slice(&self.account.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.alive_at.as_micros().to_le_bytes());
        out[16..24].copy_from_slice(&self.last_position.to_le_bytes());
        out
    }

    /// All whole entries of a payload.
    pub fn read_all(payload: &[u8]) -> impl Iterator<Item = LivenessEntry> + '_ {
        payload.chunks_exact(LIVENESS_ENTRY_LEN).map(|entry| LivenessEntry {
            account: AccountId(u64_at(entry, 0)),
            alive_at: Wall::from_micros(u64_at(entry, 8).cast_signed()),
            last_position: u64_at(entry, 16),
        })
    }
}

/// What a cursor slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorSlot {
    /// Grows with each save.
    pub sequence: u64,
    /// Every record below is acknowledged.
    pub acked: u64,
    /// Every record below was synced when this was saved.
    pub synced: u64,
    /// The life that saved it.
    pub epoch: Epoch,
    /// When.
    pub saved_at: Wall,
    /// Records below were handed out before a rewind, and come a second time; 0 where none do.
    pub refill_until: u64,
}

impl CursorSlot {
    /// The 64 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; CURSOR_SLOT_LEN] {
        let mut out = [0; CURSOR_SLOT_LEN];
        out[0..4].copy_from_slice(&CURSOR_MAGIC);
        out[4..12].copy_from_slice(&self.sequence.to_le_bytes());
        out[12..20].copy_from_slice(&self.acked.to_le_bytes());
        out[20..28].copy_from_slice(&self.synced.to_le_bytes());
        out[28..44].copy_from_slice(&self.epoch.0);
        out[44..52].copy_from_slice(&self.saved_at.as_micros().to_le_bytes());
        out[52..60].copy_from_slice(&self.refill_until.to_le_bytes());
        let crc = crc32fast::hash(&out[..60]);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a whole slot.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..CURSOR_SLOT_LEN)?;
        if bytes[0..4] != CURSOR_MAGIC || u32_at(bytes, 60) != crc32fast::hash(&bytes[..60]) {
            return None;
        }
        let mut epoch = [0; 16];
        epoch.copy_from_slice(&bytes[28..44]);
        Some(CursorSlot {
            sequence: u64_at(bytes, 4),
            acked: u64_at(bytes, 12),
            synced: u64_at(bytes, 20),
            epoch: Epoch(epoch),
            saved_at: Wall::from_micros(u64_at(bytes, 44).cast_signed()),
            refill_until: u64_at(bytes, 52),
        })
    }
}

/// The file name of a segment.
#[must_use]
pub fn segment_name(id: u64) -> String {
    format!("{id:016x}.seg")
}

/// The number in a segment's file name.
#[must_use]
pub fn segment_id(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let id = u64::from_str_radix(digits, 16).ok()?;
    (segment_name(id) == name).then_some(id)
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

fn header_crc(epoch: Epoch, fields: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&epoch.0);
    hasher.update(fields);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch([7; 16]);

    #[test]
    fn a_record_header_survives_and_any_flipped_bit_is_seen() {
        for kind in [Kind::Frame, Kind::Gap, Kind::Liveness, Kind::Recovered] {
            let header = RecordHeader {
                payload_len: 1_000,
                suffix_len: 19,
                kind,
                position: 1 << 40,
                account: AccountId(42),
                previous: 17,
                received_at: Wall::from_micros(-5),
                exchange: ExchangeId(3),
                body_crc: 0xdead_beef,
            };
            let mut bytes = [0; RECORD_HEADER_LEN];
            header.write(EPOCH, &mut bytes);
            assert_eq!(RecordHeader::read(EPOCH, &bytes), Some(header));
            assert_eq!(RecordHeader::read(Epoch([8; 16]), &bytes), None, "another epoch's record is none of ours");
            for bit in 0..RECORD_HEADER_LEN * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(RecordHeader::read(EPOCH, &bytes), None, "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn a_segment_header_survives_the_loss_of_either_copy() {
        let header = SegmentHeader {
            epoch: EPOCH,
            id: 9,
            first: 77,
            created_at: Wall::from_micros(1),
            previous_id: 8,
            previous_len: 4_096,
            previous_end: 70,
        };
        let whole = header.encode();
        assert_eq!(SegmentHeader::read(&whole), Ok(header));
        for bit in 0..HEADER_COPY_LEN * 8 {
            let mut bytes = whole;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::read(&bytes), Ok(header), "bit {bit}");
            bytes[HEADER_COPY_LEN + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::read(&bytes), Err(BadSegment::Damaged), "bit {bit} twice");
        }
        assert_eq!(SegmentHeader::read(&whole[..HEADER_COPY_LEN]), Ok(header));
        assert_eq!(SegmentHeader::read(&[]), Err(BadSegment::Damaged));
    }

    #[test]
    fn a_cursor_slot_and_liveness_entries_survive() {
        let slot = CursorSlot {
            sequence: 5,
            acked: 6,
            synced: 7,
            epoch: EPOCH,
            saved_at: Wall::from_micros(1_795_419_015_123_999),
            refill_until: 9,
        };
        let mut bytes = slot.encode();
        assert_eq!(CursorSlot::read(&bytes), Some(slot));
        for bit in 0..CURSOR_SLOT_LEN * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(CursorSlot::read(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let entry = LivenessEntry { account: AccountId(1), alive_at: Wall::from_micros(2), last_position: 3 };
        let mut payload = entry.encode().to_vec();
        payload.extend_from_slice(b"torn");
        assert_eq!(LivenessEntry::read_all(&payload).collect::<Vec<_>>(), [entry]);
    }

    #[test]
    fn names_are_numbers() {
        for id in [0, 1, 0xabc, u64::MAX] {
            assert_eq!(segment_id(&segment_name(id)), Some(id));
        }
        for name in ["1.seg", "000000000000000G.seg", "000000000000000A.seg", "cursor", ".seg", "+000000000000001.seg"]
        {
            assert_eq!(segment_id(name), None, "{name}");
        }
    }
}
