//! What a connection still has to send: ciphertext in order, and the newest ping that found no room.
//!
//! A pong is encrypted in the turn of its ping. When the peer pings but does not read, the ciphertext stops growing at
//! [`OUTBOUND_MAX`] and only the newest ping is remembered (RFC 6455 §5.5.3 allows answering only that one); it goes out
//! ahead of anything else as soon as there is room.

use super::encode;
use super::tls::TlsClient;
use super::tls_error::TlsError;
use crate::domain::Random;
use crate::domain::limits::{CONTROL_PAYLOAD_MAX, OUTBOUND_HARD_MAX, OUTBOUND_MAX};

/// The unsent bytes of one connection.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    cipher: Vec<u8>,
    sent: usize,
    waiting: Option<Pong>,
    /// Plaintext of the frame that is being encrypted.
    frame: Vec<u8>,
}

#[derive(Debug)]
struct Pong {
    payload: [u8; CONTROL_PAYLOAD_MAX],
    len: usize,
}

impl Outbound {
    /// What the socket takes next.
    pub fn unsent(&self) -> &[u8] {
        &self.cipher[self.sent..]
    }

    /// The socket took `n` bytes.
    pub fn handle_sent(&mut self, n: usize) {
        self.sent += n;
        assert!(self.sent <= self.cipher.len(), "handle_sent({n}) passes what there was to send");
        if self.sent == self.cipher.len() {
            self.cipher.clear();
            self.sent = 0;
        }
    }

    /// Where TLS puts what it has to say.
    pub fn cipher(&mut self) -> &mut Vec<u8> {
        if self.sent >= OUTBOUND_MAX {
            self.cipher.drain(..self.sent);
            self.sent = 0;
        }
        &mut self.cipher
    }

    /// Whether a peer that reads nothing has driven this to its hard bound.
    pub fn is_stuck(&self) -> bool {
        self.unsent().len() > OUTBOUND_HARD_MAX
    }

    /// A new connection begins.
    pub fn clear(&mut self) {
        self.cipher.clear();
        self.sent = 0;
        self.waiting = None;
    }

    /// Answers a ping with the identical payload: now when there is room, else once there is.
    pub fn answer_ping(&mut self, payload: &[u8], tls: &mut TlsClient, random: &mut Random) -> Result<(), TlsError> {
        let mut pong = Pong { payload: [0; CONTROL_PAYLOAD_MAX], len: payload.len().min(CONTROL_PAYLOAD_MAX) };
        pong.payload[..pong.len].copy_from_slice(&payload[..pong.len]);
        self.waiting = Some(pong);
        self.flush_pong(tls, random)
    }

    /// Encrypts the pong that waits for room, if there is room.
    pub fn flush_pong(&mut self, tls: &mut TlsClient, random: &mut Random) -> Result<(), TlsError> {
        if self.unsent().len() >= OUTBOUND_MAX {
            return Ok(());
        }
        let Some(pong) = self.waiting.take() else { return Ok(()) };
        self.frame.clear();
        encode::write_pong(&pong.payload[..pong.len], random, &mut self.frame);
        self.encrypt_frame(tls)
    }

    /// Sends a close frame, behind a pong that waits.
    pub fn close(&mut self, code: Option<u16>, tls: &mut TlsClient, random: &mut Random) -> Result<(), TlsError> {
        self.flush_pong(tls, random)?;
        self.waiting = None;
        self.frame.clear();
        encode::write_close(code, "", random, &mut self.frame);
        self.encrypt_frame(tls)
    }

    /// Sends plaintext that is no frame: the upgrade request.
    pub fn send(&mut self, plaintext: &[u8], tls: &mut TlsClient) -> Result<(), TlsError> {
        tls.write(plaintext, self.cipher())
    }

    fn encrypt_frame(&mut self, tls: &mut TlsClient) -> Result<(), TlsError> {
        let frame = std::mem::take(&mut self.frame);
        let outcome = tls.write(&frame, self.cipher());
        self.frame = frame;
        outcome
    }
}
