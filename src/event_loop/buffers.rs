//! The two buffers that all connections of a loop share, and what is parked beside them.
//!
//! A connection's left-over bytes (a partial record, a partial frame) stay in the shared buffers until *another*
//! connection needs them: only then do they move out. A loop with one price connection therefore never copies, and an
//! idle connection holds no memory. Up to [`PARKING_FREE`] a connection's bytes are copied into small vectors, recycled
//! through a bounded list. Above that the connection takes the plaintext buffer itself along, so that a large message that
//! comes in many pieces is not copied at each; that memory is counted against a pool. When the pool is used up, whoever
//! has most of it loses its bytes and with them its connection: a flood of one account costs that account.

use crate::domain::limits::{CIPHER_BUFFER, PARKING_FREE, PARKING_SPARE_LEN_MAX, PARKING_SPARES_MAX};
use crate::stream::plain::PlainBuffer;

/// See the module's documentation. Slots are those of the loop's slab.
pub(super) struct SharedBuffers {
    cipher: Box<[u8]>,
    cipher_len: usize,
    plain: PlainBuffer,
    /// An empty plaintext buffer, while a connection that took one along has lent it back.
    idle_plain: Option<PlainBuffer>,
    max_message: usize,
    /// Whose bytes lie in the shared buffers.
    owner: Option<usize>,
    parked: Vec<Parked>,
    spares: Vec<Vec<u8>>,
    pool: usize,
    pool_used: usize,
    /// Slots with bytes in the pool.
    pooled: Vec<usize>,
    /// Slots whose bytes were dropped.
    cut: Vec<usize>,
}

/// Left-over bytes of a connection that does not own the shared buffers. Empty vectors hold no memory.
#[derive(Default)]
struct Parked {
    cipher: Vec<u8>,
    plain: Vec<u8>,
    large: Option<Box<Large>>,
    is_cut: bool,
}

/// Left-over plaintext in the buffer in which it came.
struct Large {
    plain: PlainBuffer,
    /// What is counted against the pool.
    counted: usize,
}

impl SharedBuffers {
    /// Buffers for messages up to `max_message` bytes, and a pool of `pool` bytes.
    pub fn new(max_message: usize, pool: usize) -> SharedBuffers {
        SharedBuffers {
            cipher: vec![0; CIPHER_BUFFER].into_boxed_slice(),
            cipher_len: 0,
            plain: PlainBuffer::for_messages(max_message),
            idle_plain: None,
            max_message,
            owner: None,
            parked: Vec::new(),
            spares: Vec::with_capacity(PARKING_SPARES_MAX),
            pool,
            pool_used: 0,
            pooled: Vec::new(),
            cut: Vec::new(),
        }
    }

    /// Makes room for the slot `slot`.
    pub fn add(&mut self, slot: usize) {
        if self.parked.len() <= slot {
            self.parked.resize_with(slot + 1, Parked::default);
        }
    }

    /// Puts `slot`'s left-over bytes in front of the shared buffers. Moves bytes only when another slot owned them. Not for
    /// a slot that [`SharedBuffers::is_cut`].
    pub fn claim(&mut self, slot: usize) {
        if self.owner == Some(slot) {
            return;
        }
        assert!(!self.is_cut(slot), "slot {slot} has lost bytes");
        // Out of the pool before the owner goes in: making room must not cost the bytes that are asked for.
        let Parked { cipher, plain, large, .. } = std::mem::take(&mut self.parked[slot]);
        if let Some(large) = &large {
            self.leave_pool(slot, large.counted);
        }
        if let Some(owner) = self.owner.replace(slot) {
            self.park(owner);
        }
        self.plain.clear();
        self.cipher[..cipher.len()].copy_from_slice(&cipher);
        self.cipher_len = cipher.len();
        if let Some(large) = large {
            self.idle_plain = Some(std::mem::replace(&mut self.plain, large.plain));
        }
        self.plain.append(&plain).expect("parked bytes came out of a buffer of this size");
        self.recycle(cipher);
        self.recycle(plain);
    }

    /// Whether `slot` lost its bytes, so that its connection must end.
    pub fn is_cut(&self, slot: usize) -> bool {
        self.parked[slot].is_cut
    }

    /// A slot that lost its bytes and has not been released since, once.
    pub fn poll_cut(&mut self) -> Option<usize> {
        while let Some(slot) = self.cut.pop() {
            if self.is_cut(slot) {
                return Some(slot);
            }
        }
        None
    }

    /// Where the owner's next bytes from the socket go; never empty unless a record longer than TLS allows is kept.
    pub fn cipher_space(&mut self) -> &mut [u8] {
        &mut self.cipher[self.cipher_len..]
    }

    /// The socket gave `n` bytes.
    pub fn filled(&mut self, n: usize) {
        self.cipher_len += n;
        assert!(self.cipher_len <= self.cipher.len(), "filled({n}) passes the cipher buffer");
    }

    /// The owner's ciphertext, and its plaintext.
    pub fn parts(&mut self) -> (&mut [u8], &mut PlainBuffer) {
        (&mut self.cipher[..self.cipher_len], &mut self.plain)
    }

    /// The first `n` bytes of ciphertext are done with; what is left, less than a record, moves to the front.
    pub fn consume_cipher(&mut self, n: usize) {
        self.cipher.copy_within(n..self.cipher_len, 0);
        self.cipher_len -= n;
    }

    /// `slot`'s connection is gone: so are its bytes.
    pub fn release(&mut self, slot: usize) {
        if self.owner == Some(slot) {
            self.owner = None;
            self.cipher_len = 0;
            self.plain.clear();
        }
        self.drop_parked(slot);
    }

    fn drop_parked(&mut self, slot: usize) {
        let Parked { cipher, plain, large, .. } = std::mem::take(&mut self.parked[slot]);
        if let Some(large) = large {
            self.leave_pool(slot, large.counted);
        }
        self.recycle(cipher);
        self.recycle(plain);
    }

    /// Moves the owner's bytes out of the shared buffers.
    fn park(&mut self, owner: usize) {
        let cipher = self.park_small(self.cipher_len, |shared| &shared.cipher[..shared.cipher_len]);
        if self.cipher_len + self.plain.len() <= PARKING_FREE {
            let plain = self.park_small(self.plain.len(), |shared| shared.plain.data());
            self.parked[owner] = Parked { cipher, plain, ..Parked::default() };
            return;
        }
        let plain = self.take_plain();
        let counted = cipher.len() + plain.footprint();
        self.parked[owner] = Parked { cipher, large: Some(Box::new(Large { plain, counted })), ..Parked::default() };
        self.pool_used += counted;
        self.pooled.push(owner);
        while self.pool_used > self.pool {
            self.cut_largest();
        }
    }

    /// The owner's plaintext in a buffer that is not much larger than it: the shared one, unless that has grown for others.
    fn take_plain(&mut self) -> PlainBuffer {
        if self.plain.footprint() > 2 * self.plain.len() + PARKING_FREE {
            let mut fitting = PlainBuffer::for_messages(self.max_message);
            fitting.append(self.plain.data()).expect("it came out of a buffer of this size");
            return fitting;
        }
        let empty = self.idle_plain.take().unwrap_or_else(|| PlainBuffer::for_messages(self.max_message));
        std::mem::replace(&mut self.plain, empty)
    }

    /// The one that came last loses only when it is larger than all before it.
    fn cut_largest(&mut self) {
        let counted = |slot: usize| self.parked[slot].large.as_ref().map_or(0, |large| large.counted);
        let largest = self.pooled.iter().copied().rev().max_by_key(|&slot| counted(slot));
        let slot = largest.expect("bytes of somebody fill the pool");
        self.drop_parked(slot);
        self.parked[slot].is_cut = true;
        self.cut.push(slot);
    }

    fn leave_pool(&mut self, slot: usize, counted: usize) {
        self.pool_used -= counted;
        self.pooled.retain(|&pooled| pooled != slot);
    }

    fn park_small(&mut self, len: usize, bytes: impl Fn(&Self) -> &[u8]) -> Vec<u8> {
        if len == 0 {
            return Vec::new();
        }
        let mut parked = self.spares.pop().unwrap_or_default();
        parked.reserve_exact(len);
        parked.extend_from_slice(bytes(self));
        parked
    }

    fn recycle(&mut self, mut spare: Vec<u8>) {
        if (1..=PARKING_SPARE_LEN_MAX).contains(&spare.capacity()) && self.spares.len() < PARKING_SPARES_MAX {
            spare.clear();
            self.spares.push(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Random;
    use crate::domain::limits::PARKING_POOL_DEFAULT;

    #[track_caller]
    fn check(buffers: &mut SharedBuffers, slot: usize, cipher: &[u8], plain: &[u8]) {
        buffers.claim(slot);
        let (held_cipher, held_plain) = buffers.parts();
        assert!(*held_cipher == *cipher && held_plain.data() == plain, "slot {slot}");
    }

    fn fill(buffers: &mut SharedBuffers, slot: usize, cipher: &[u8], plain: &[u8]) {
        buffers.claim(slot);
        buffers.cipher_space()[..cipher.len()].copy_from_slice(cipher);
        buffers.filled(cipher.len());
        buffers.parts().1.append(plain).unwrap();
    }

    #[test]
    fn left_over_bytes_follow_their_connection() {
        let mut buffers = SharedBuffers::new(1 << 20, PARKING_POOL_DEFAULT);
        (0..3).for_each(|slot| buffers.add(slot));
        fill(&mut buffers, 0, b"record of zero", b"frame of zero");
        fill(&mut buffers, 1, b"one", b"");
        fill(&mut buffers, 2, b"", b"two");
        for _ in 0..3 {
            check(&mut buffers, 0, b"record of zero", b"frame of zero");
            check(&mut buffers, 2, b"", b"two");
            check(&mut buffers, 1, b"one", b"");
        }
        check(&mut buffers, 0, b"record of zero", b"frame of zero");
        buffers.consume_cipher(7);
        check(&mut buffers, 0, b"of zero", b"frame of zero");
        buffers.release(1);
        check(&mut buffers, 1, b"", b"");
        check(&mut buffers, 0, b"of zero", b"frame of zero");
        buffers.release(0);
        check(&mut buffers, 0, b"", b"");
        check(&mut buffers, 2, b"", b"two");
    }

    #[test]
    fn an_idle_connection_holds_nothing_and_the_pool_is_bounded() {
        let mut buffers = SharedBuffers::new(1 << 20, PARKING_POOL_DEFAULT);
        let slots = PARKING_SPARES_MAX + 10;
        (0..slots).for_each(|slot| buffers.add(slot));
        (0..slots).for_each(|slot| fill(&mut buffers, slot, b"partial", b"partial"));
        (0..slots).for_each(|slot| buffers.release(slot));
        assert_eq!(buffers.spares.len(), PARKING_SPARES_MAX);
        assert!(buffers.parked.iter().all(|parked| parked.cipher.capacity() + parked.plain.capacity() == 0));
        // A large one is not kept.
        fill(&mut buffers, 0, b"", &vec![0; PARKING_SPARE_LEN_MAX + 1]);
        buffers.claim(1);
        let spares = buffers.spares.len();
        buffers.release(0);
        assert!(buffers.spares.len() <= spares);
    }

    #[test]
    fn a_large_message_in_pieces_moves_without_being_copied() {
        let mut buffers = SharedBuffers::new(1 << 20, PARKING_POOL_DEFAULT);
        (0..2).for_each(|slot| buffers.add(slot));
        let mut expected = vec![7; PARKING_FREE];
        fill(&mut buffers, 0, b"", &expected);
        for piece in 0..100 {
            fill(&mut buffers, 0, b"", &[piece; 1_000]);
            expected.extend_from_slice(&[piece; 1_000]);
            let place = buffers.parts().1.data().as_ptr();
            fill(&mut buffers, 1, b"", b"other");
            assert!(buffers.pool_used > PARKING_FREE);
            check(&mut buffers, 0, b"", &expected);
            assert_eq!((buffers.parts().1.data().as_ptr(), buffers.pool_used), (place, 0));
            check(&mut buffers, 1, b"", &b"other".repeat(usize::from(piece) + 1));
        }
    }

    #[test]
    fn the_largest_parker_is_cut_and_not_the_newcomer() {
        let mut buffers = SharedBuffers::new(1 << 20, 1 << 20);
        (0..10).for_each(|slot| buffers.add(slot));
        let sizes = [100_000, 600_000, 100_000, 100_000];
        for (slot, size) in sizes.into_iter().enumerate() {
            fill(&mut buffers, slot, b"", &vec![slot as u8; size]);
            buffers.claim(9);
        }
        let mut next = sizes.len();
        let cut = loop {
            if let Some(cut) = buffers.poll_cut() {
                break cut;
            }
            fill(&mut buffers, next, b"", &vec![next as u8; 100_000]);
            buffers.claim(9);
            next += 1;
        };
        assert_eq!((cut, buffers.is_cut(1), buffers.poll_cut()), (1, true, None));
        for slot in (0..next).filter(|&slot| slot != 1) {
            check(&mut buffers, slot, b"", &vec![slot as u8; 100_000]);
        }
        buffers.release(1);
        check(&mut buffers, 1, b"", b"");
        // A newcomer larger than all before it is the largest.
        buffers.claim(9);
        fill(&mut buffers, 1, b"", &vec![1; 1 << 20]);
        buffers.claim(9);
        assert_eq!((buffers.poll_cut(), buffers.poll_cut()), (Some(1), None));
    }

    /// Random fills, claims, consumption and releases of ten slots against vectors as the twin, in a pool that is too
    /// small for them.
    #[test]
    fn it_behaves_like_a_buffer_for_each() {
        for seed in 0..8 {
            let mut random = Random::from_seed(seed);
            let (pool, slots) = (700_000, 10);
            let mut buffers = SharedBuffers::new(1 << 18, pool);
            let mut twins = vec![(Vec::new(), Vec::new()); slots];
            (0..slots).for_each(|slot| buffers.add(slot));
            let (mut cuts, mut large) = (0, 0);
            for step in 0..3_000_u32 {
                let slot = random.below(slots as u64) as usize;
                buffers.claim(slot);
                let twin: &mut (Vec<u8>, Vec<u8>) = &mut twins[slot];
                let n = random.below(if step % 3 == 0 { 90_000 } else { 900 }) as usize;
                match random.below(6) {
                    0 if n <= 10_000 && twin.0.len() < 20_000 => {
                        buffers.cipher_space()[..n].fill(step as u8);
                        buffers.filled(n);
                        twin.0.extend(vec![step as u8; n]);
                    }
                    1 => {
                        let n = n.min(twin.0.len());
                        buffers.consume_cipher(n);
                        twin.0.drain(..n);
                    }
                    2 => {
                        let n = (3 * n).min(twin.1.len());
                        buffers.parts().1.consume(n);
                        twin.1.drain(..n);
                    }
                    3 if step % 50 == 0 => {
                        buffers.release(slot);
                        *twin = (Vec::new(), Vec::new());
                    }
                    _ => {
                        if buffers.parts().1.append(&vec![step as u8; n]).is_ok() {
                            twin.1.extend(vec![step as u8; n]);
                        }
                    }
                }
                if buffers.owner == Some(slot) {
                    let (cipher, plain) = buffers.parts();
                    let is_same = *cipher == twin.0[..] && plain.data() == &twin.1[..];
                    assert!(is_same, "seed {seed}, step {step}");
                }
                while let Some(cut) = buffers.poll_cut() {
                    cuts += 1;
                    buffers.release(cut);
                    twins[cut] = (Vec::new(), Vec::new());
                }
                large += buffers.pooled.len();
                let counted = |parked: &Parked| parked.large.as_ref().map_or(0, |large| large.counted);
                assert_eq!(buffers.pool_used, buffers.parked.iter().map(counted).sum::<usize>());
                assert!(
                    buffers.pool_used <= pool && buffers.parked.iter().all(|parked| parked.plain.len() <= PARKING_FREE)
                );
            }
            assert!(cuts > 3 && large > 100, "seed {seed}: {cuts} cuts, {large} large ones");
        }
    }
}
