//! The plaintext of one connection, contiguous, so that messages are read where they lie.
//!
//! Bytes are appended behind and consumed in front; [`FRAME_PADDING`] readable bytes always lie behind the last one. The
//! buffer doubles up to its bound and then keeps its memory: in steady state nothing is allocated, and because it is
//! emptied by every tick, a tick lands on the same warm pages as the one before. Bytes are moved to the front only when
//! the room behind them runs out, and before the buffer is full only when at least as many bytes are gained as moved.

use std::fmt;

use crate::domain::limits::{
    CONTROL_PAYLOAD_MAX, FRAME_HEADER_MAX, FRAME_PADDING, READ_PER_TURN_MAX, TLS_RECORD_PLAINTEXT_MAX,
};

/// Size of the first allocation.
const FIRST: usize = 16 << 10;

/// Plaintext that was received and not consumed yet.
pub struct PlainBuffer {
    /// All of it is initialised; its length is the capacity, padding included.
    storage: Vec<u8>,
    start: usize,
    end: usize,
    max: usize,
}

impl PlainBuffer {
    /// An empty buffer that will hold at most `max` bytes. Allocates on first use.
    #[must_use]
    pub const fn with_capacity(max: usize) -> Self {
        PlainBuffer { storage: Vec::new(), start: 0, end: 0, max }
    }

    /// A buffer in which a message of `max_message` bytes always fits: together with the frame that is being assembled,
    /// the plaintext of one turn's read ([`READ_PER_TURN_MAX`]), and room for one TLS record.
    #[must_use]
    pub const fn for_messages(max_message: usize) -> Self {
        // What lies behind the joined fragments of a message when all frames are read: a gap no longer than a control
        // frame, and a control frame or header that is not complete.
        let between = 2 * (FRAME_HEADER_MAX + CONTROL_PAYLOAD_MAX);
        Self::with_capacity(max_message + between + READ_PER_TURN_MAX + TLS_RECORD_PLAINTEXT_MAX)
    }

    /// Bytes held.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether no byte is held.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Memory taken now, in bytes, padding included.
    #[must_use]
    pub const fn footprint(&self) -> usize {
        self.storage.len()
    }

    /// At least `want` bytes to write into, behind those held; [`PlainBuffer::filled`] says how many were written.
    ///
    /// # Errors
    /// When the held bytes and `want` together pass the bound. Nothing changes then.
    pub fn space(&mut self, want: usize) -> Result<&mut [u8], BufferFull> {
        if self.capacity() - self.end < want {
            self.make_room(want)?;
        }
        let room = self.capacity();
        Ok(&mut self.storage[self.end..room])
    }

    /// Takes `n` bytes of the last [`PlainBuffer::space`] as received.
    ///
    /// # Panics
    /// When `n` is more than there was space for.
    pub fn filled(&mut self, n: usize) {
        assert!(n <= self.capacity() - self.end, "filled({n}) passes the space that was handed out");
        self.end += n;
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// When they do not fit under the bound; nothing is appended then.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        self.space(bytes.len())?[..bytes.len()].copy_from_slice(bytes);
        self.filled(bytes.len());
        Ok(())
    }

    /// The bytes held.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    /// The bytes held, to change in place.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.end]
    }

    /// Drops `n` bytes in front. They stay readable where they are until [`PlainBuffer::space`] is called.
    ///
    /// # Panics
    /// When fewer than `n` bytes are held.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "consume({n}) of {} bytes", self.len());
        self.start += n;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Drops all bytes; keeps the memory.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Takes the `gap` bytes at offset `at` out, moving what lies behind them forward.
    pub(super) fn cut_out(&mut self, at: usize, gap: usize) {
        assert!(at + gap <= self.len(), "cut_out({at}, {gap}) of {} bytes", self.len());
        let from = self.start + at;
        self.storage.copy_within(from + gap..self.end, from);
        self.end -= gap;
    }

    /// Drops `drop` bytes in front, and hands out the first `len` of them with [`FRAME_PADDING`] bytes behind.
    pub(super) fn take_padded(&mut self, len: usize, drop: usize) -> &mut [u8] {
        assert!(len <= drop, "a payload of {len} bytes in {drop}");
        let from = self.start;
        self.consume(drop);
        &mut self.storage[from..from + len + FRAME_PADDING]
    }

    const fn capacity(&self) -> usize {
        self.storage.len().saturating_sub(FRAME_PADDING)
    }

    fn make_room(&mut self, want: usize) -> Result<(), BufferFull> {
        let (held, capacity) = (self.len(), self.capacity());
        let needed = held.saturating_add(want);
        if needed > self.max {
            return Err(BufferFull { held, want, max: self.max });
        }
        let fits_moved = needed <= capacity;
        if !(fits_moved && (self.start >= held || capacity == self.max)) {
            let grown = needed.max(capacity.saturating_mul(2)).max(FIRST).min(self.max);
            self.storage.resize(grown + FRAME_PADDING, 0);
            if self.capacity() - self.end >= want {
                return Ok(());
            }
        }
        self.storage.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, held);
        Ok(())
    }
}

impl fmt::Debug for PlainBuffer {
    /// Sizes only: plaintext belongs into no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainBuffer")
            .field("held", &self.len())
            .field("footprint", &self.footprint())
            .field("max", &self.max)
            .finish()
    }
}

/// The bound of a [`PlainBuffer`] would be passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferFull {
    /// Bytes held.
    pub held: usize,
    /// Bytes asked for on top.
    pub want: usize,
    /// The bound.
    pub max: usize,
}

impl fmt::Display for BufferFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes held and {} more pass the buffer's bound of {}", self.held, self.want, self.max)
    }
}

impl std::error::Error for BufferFull {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Random;

    #[test]
    fn behaves_like_a_queue_of_bytes_at_every_bound() {
        for max in [1, 100, FIRST, 3 * FIRST, 40 * FIRST] {
            check(max, 7);
            check(max, 8);
        }
    }

    #[test]
    fn keeps_its_memory_once_warm() {
        let mut plain = PlainBuffer::for_messages(1 << 20);
        let tick = vec![b'x'; 150_000];
        plain.append(&tick).unwrap();
        plain.consume(tick.len());
        let warm = plain.footprint();
        for _ in 0..100 {
            plain.append(&tick).unwrap();
            plain.consume(tick.len());
        }
        assert_eq!(plain.footprint(), warm);
        assert!(warm <= 2 * tick.len() + FRAME_PADDING);
    }

    #[test]
    fn refuses_past_its_bound_and_stays_as_it_was() {
        let mut plain = PlainBuffer::with_capacity(10);
        plain.append(b"12345678").unwrap();
        assert_eq!(plain.append(b"abc"), Err(BufferFull { held: 8, want: 3, max: 10 }));
        assert_eq!(plain.data(), b"12345678");
        plain.consume(1);
        plain.append(b"abc").unwrap();
        assert_eq!(plain.data(), b"2345678abc");
        assert!(plain.space(usize::MAX).is_err());
    }

    #[test]
    fn padding_is_readable_behind_the_very_last_byte() {
        let mut plain = PlainBuffer::with_capacity(3);
        plain.append(b"abc").unwrap();
        let padded = plain.take_padded(2, 3);
        assert_eq!((padded.len(), &padded[..3]), (2 + FRAME_PADDING, &b"abc"[..]));
        assert!(plain.is_empty());
    }

    /// Random appends, consumes and cuts against a `Vec` as the twin.
    fn check(max: usize, seed: u64) {
        let mut random = Random::from_seed(seed);
        let (mut plain, mut twin) = (PlainBuffer::with_capacity(max), Vec::new());
        for step in 0..2_000_u32 {
            let n = random.below(max as u64 / 2 + 2) as usize;
            match random.below(5) {
                0 | 1 => {
                    let bytes = vec![step as u8; n];
                    let fits = twin.len() + n <= max;
                    assert_eq!(plain.append(&bytes).is_ok(), fits);
                    twin.extend_from_slice(if fits { &bytes } else { &[] });
                }
                2 | 3 => {
                    let n = n.min(twin.len());
                    plain.consume(n);
                    twin.drain(..n);
                }
                _ => {
                    let at = random.below(twin.len() as u64 + 1) as usize;
                    let gap = n.min(twin.len() - at);
                    plain.cut_out(at, gap);
                    twin.drain(at..at + gap);
                }
            }
            assert_eq!(plain.data(), twin);
            assert_eq!(plain.len(), twin.len());
            assert!(plain.footprint() <= max + FRAME_PADDING);
        }
    }
}
