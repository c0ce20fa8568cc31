//! The two buffers that all connections of a loop share, and what is parked beside them.
//!
//! A connection's left-over bytes (a partial record, a partial frame) stay in the shared buffers until *another*
//! connection needs them: only then are they copied into small owned ones. A loop with one price connection therefore
//! never copies, and an idle connection holds no memory. Owned buffers are recycled through a bounded pool.

use crate::domain::limits::{CIPHER_BUFFER, PARKING_SPARE_LEN_MAX, PARKING_SPARES_MAX};
use crate::stream::plain::PlainBuffer;

/// See the module's documentation. Slots are those of the loop's slab.
pub(super) struct SharedBuffers {
    cipher: Box<[u8]>,
    cipher_len: usize,
    plain: PlainBuffer,
    /// Whose bytes lie in the shared buffers.
    owner: Option<usize>,
    parked: Vec<Parked>,
    spares: Vec<Vec<u8>>,
}

/// Left-over bytes of a connection that does not own the shared buffers. Empty vectors hold no memory.
#[derive(Default)]
struct Parked {
    cipher: Vec<u8>,
    plain: Vec<u8>,
}

impl SharedBuffers {
    /// Buffers for messages up to `max_message` bytes.
    pub fn new(max_message: usize) -> SharedBuffers {
        SharedBuffers {
            cipher: vec![0; CIPHER_BUFFER].into_boxed_slice(),
            cipher_len: 0,
            plain: PlainBuffer::for_messages(max_message),
            owner: None,
            parked: Vec::new(),
            spares: Vec::with_capacity(PARKING_SPARES_MAX),
        }
    }

    /// Makes room for the slot `slot`.
    pub fn add(&mut self, slot: usize) {
        if self.parked.len() <= slot {
            self.parked.resize_with(slot + 1, Parked::default);
        }
    }

    /// Puts `slot`'s left-over bytes in front of the shared buffers. Copies only when another slot owned them.
    pub fn claim(&mut self, slot: usize) {
        if self.owner == Some(slot) {
            return;
        }
        if let Some(owner) = self.owner.replace(slot) {
            let cipher = self.park(self.cipher_len, |shared| &shared.cipher[..shared.cipher_len]);
            let plain = self.park(self.plain.len(), |shared| shared.plain.data());
            self.parked[owner] = Parked { cipher, plain };
        }
        self.plain.clear();
        let Parked { cipher, plain } = std::mem::take(&mut self.parked[slot]);
        self.cipher[..cipher.len()].copy_from_slice(&cipher);
        self.cipher_len = cipher.len();
        self.plain.append(&plain).expect("parked bytes came out of a buffer of this size");
        self.recycle(cipher);
        self.recycle(plain);
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
        let Parked { cipher, plain } = std::mem::take(&mut self.parked[slot]);
        self.recycle(cipher);
        self.recycle(plain);
    }

    fn park(&mut self, len: usize, bytes: impl Fn(&Self) -> &[u8]) -> Vec<u8> {
        if len == 0 {
            return Vec::new();
        }
        let mut parked = self.spares.pop().unwrap_or_default();
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

    #[track_caller]
    fn check(buffers: &mut SharedBuffers, slot: usize, cipher: &[u8], plain: &[u8]) {
        buffers.claim(slot);
        let (held_cipher, held_plain) = buffers.parts();
        assert_eq!((&*held_cipher, held_plain.data()), (cipher, plain), "slot {slot}");
    }

    fn fill(buffers: &mut SharedBuffers, slot: usize, cipher: &[u8], plain: &[u8]) {
        buffers.claim(slot);
        buffers.cipher_space()[..cipher.len()].copy_from_slice(cipher);
        buffers.filled(cipher.len());
        buffers.parts().1.append(plain).unwrap();
    }

    #[test]
    fn left_over_bytes_follow_their_connection() {
        let mut buffers = SharedBuffers::new(1 << 20);
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
        let mut buffers = SharedBuffers::new(1 << 20);
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
}
