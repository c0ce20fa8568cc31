//! One TCP connection of the simulator: TLS, bytes owed with marks in them, and what it speaks at the moment.
//!
//! Ciphertext waits in a buffer of ours, not in rustls: so it is known to the byte when a frame has left for the socket, a
//! cut can lose the rest, and a slow reader is noticed.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};

use crate::domain::{Mono, Now};

use super::http::Request;
use super::ledger::Ending;
use super::private::fault::AccountFault;
use super::venue::FrameRecord;
use super::websocket::WebSocketSide;

/// Ciphertext read in one turn, so that one client cannot starve the others.
const READ_PER_TURN_MAX: usize = 256 << 10;
/// Plaintext of the oversize fault handed over at a time.
const FILLER_CHUNK: usize = 64 << 10;

/// Sent bytes in front of the owed ones are dropped from this size on.
const COMPACT_FROM: usize = 1 << 20;

/// What a connection speaks.
pub(super) enum Phase {
    /// TLS handshake, then HTTP requests.
    Http,
    /// After an upgrade.
    WebSocket(Box<WebSocketSide>),
}

/// What stands at a place in the bytes sent.
#[derive(Clone, Debug)]
pub(super) enum Mark {
    /// The end of a price frame.
    Frame(Arc<FrameRecord>),
    /// The end of a price frame whose JSON is unbalanced.
    Unbalanced,
    /// The end of an account's frame.
    Account {
        /// Whose.
        account: usize,
        /// Its number in the account's ledger.
        frame: u64,
    },
}

/// How the connection ends once everything owed is in the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Farewell {
    pub(super) ending: Ending,
    /// With close_notify; a fault leaves without.
    pub(super) polite: bool,
}

/// How a turn of reading ended. What was read before counts in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadEnd {
    /// The socket has nothing more.
    Drained,
    /// It may have more; the bound of a turn was reached.
    More,
    /// Nothing more will come.
    Over(Ending),
}

/// One TCP connection.
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) phase: Phase,
    /// Plaintext of HTTP that is not a whole request yet.
    pub(super) inbox: Vec<u8>,
    /// A slow handshake or a half-open socket: nothing is read or written before this.
    pub(super) asleep_until: Mono,
    /// The fault that made the socket half-open.
    pub(super) half_open: Option<AccountFault>,
    /// Nothing is read before this, though it is written.
    pub(super) deaf_until: Mono,
    /// An upgrade that is answered later.
    pub(super) delayed: Option<Box<Request>>,
    /// It is cut when it gets older.
    pub(super) lives_until: Mono,
    /// For when it is entered in the timers.
    pub(super) timer: Mono,
    /// Frames delivered since the prices were frozen.
    pub(super) frozen_frames: u64,
    /// No data is sent before this: a stall.
    pub(super) stalled_until: Mono,
    /// A whole frame was delivered: faults may come.
    pub(super) is_proven: bool,
    /// Garbage was sent: nothing can follow it.
    pub(super) is_broken: bool,
    /// The connection ends at this time, for this reason.
    pub(super) deadline: (Mono, Ending),
    pub(super) farewell: Option<Farewell>,
    socket: TcpStream,
    tls: ServerConnection,
    out: Vec<u8>,
    out_start: usize,
    queued: u64,
    written: u64,
    marks: VecDeque<(u64, Mark)>,
    filler: u64,
}

impl Connection {
    pub(super) fn new(
        id: u64,
        socket: TcpStream,
        peer: SocketAddr,
        config: &Arc<ServerConfig>,
        deadline: (Mono, Ending),
        lives_until: Mono,
    ) -> Result<Self, rustls::Error> {
        let mut tls = ServerConnection::new(Arc::clone(config))?;
        // The bound on bytes owed is ours, see `owed`.
        tls.set_buffer_limit(None);
        Ok(Connection {
            id,
            peer,
            phase: Phase::Http,
            inbox: Vec::new(),
            asleep_until: Mono::ZERO,
            half_open: None,
            deaf_until: Mono::ZERO,
            delayed: None,
            lives_until,
            timer: Mono::NEVER,
            frozen_frames: 0,
            stalled_until: Mono::ZERO,
            is_proven: false,
            is_broken: false,
            deadline,
            farewell: None,
            socket,
            tls,
            out: Vec::new(),
            out_start: 0,
            queued: 0,
            written: 0,
            marks: VecDeque::new(),
            filler: 0,
        })
    }

    /// The socket, for registration.
    pub(super) fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// The WebSocket, after the upgrade.
    pub(super) fn websocket(&mut self) -> Option<&mut WebSocketSide> {
        match &mut self.phase {
            Phase::WebSocket(side) => Some(side),
            Phase::Http => None,
        }
    }

    /// Why the connection is over, when the client left with `ending`: it may have had a reason from us.
    pub(super) fn reason(&self, ending: Ending) -> Ending {
        match (self.farewell, &self.phase, self.deadline) {
            (Some(farewell), ..) => farewell.ending,
            (None, Phase::WebSocket(_), (at, ours)) if at != Mono::NEVER => ours,
            _ => ending,
        }
    }

    /// Bytes that the socket has not taken yet.
    pub(super) fn owed(&self) -> usize {
        let held = match &self.phase {
            Phase::WebSocket(side) => side.held_len(),
            Phase::Http => 0,
        };
        self.out.len() - self.out_start + held
    }

    /// Whether everything that was queued is in the socket.
    pub(super) fn is_flushed(&self) -> bool {
        self.out.len() == self.out_start
    }

    /// Something half-way in, garbage or a farewell is in the way of any frame.
    pub(super) fn is_blocked(&self) -> bool {
        self.filler > 0 || self.is_at_its_end()
    }

    /// Whether no frame can follow any more, whatever the client does.
    pub(super) fn is_at_its_end(&self) -> bool {
        let closing = matches!(&self.phase, Phase::WebSocket(side) if side.is_closing());
        self.is_broken || self.farewell.is_some() || closing
    }

    /// Ciphertext that went into the socket.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether a frame may be sent now: nothing is half-way in, nothing holds data back.
    pub(super) fn takes_data(&self, now: Mono) -> bool {
        self.filler == 0 && !self.is_broken && self.farewell.is_none() && now >= self.stalled_until
    }

    /// When it wants to be looked at.
    pub(super) fn due(&self) -> Mono {
        let mut due = self.deadline.0.min(self.lives_until);
        if self.deaf_until != Mono::ZERO {
            due = due.min(self.deaf_until);
        }
        if self.asleep_until != Mono::ZERO {
            return due.min(self.asleep_until);
        }
        match &self.phase {
            Phase::WebSocket(side) if self.is_blocked() => due.min(side.due()),
            Phase::WebSocket(side) => due.min(side.due()).min(side.held_due()),
            Phase::Http => due,
        }
    }

    /// Queues the held frames whose time has come.
    pub(super) fn release(&mut self, now: Now) {
        while !self.is_blocked()
            && let Some(held) = self.websocket().and_then(|side| side.private_mut()?.poll_held(now.mono))
        {
            self.queue(&held.bytes);
            if let Some((account, frame)) = held.frame {
                self.mark(Mark::Account { account, frame });
            }
        }
    }

    /// Marks that the socket never took, and frames that were held back: both are lost with the connection.
    pub(super) fn take_unsent(&mut self) -> Vec<(usize, u64)> {
        let mut lost: Vec<(usize, u64)> = Vec::new();
        for (_, mark) in self.marks.drain(..) {
            if let Mark::Account { account, frame } = mark {
                lost.push((account, frame));
            }
        }
        while let Some(held) = self.websocket().and_then(|side| side.private_mut()?.poll_held(Mono::NEVER)) {
            lost.extend(held.frame);
        }
        lost
    }

    /// Reads what the socket has, up to a bound, into `plain`. What TLS has to say about it is queued.
    pub(super) fn read(&mut self, plain: &mut Vec<u8>) -> ReadEnd {
        let mut total = 0;
        loop {
            match self.tls.read_tls(&mut self.socket) {
                Ok(0) => return ReadEnd::Over(Ending::ClientGone),
                Ok(n) => total += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return ReadEnd::Drained,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return ReadEnd::Over(Ending::ClientGone),
            }
            let state = self.tls.process_new_packets();
            self.collect();
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    tracing::debug!(connection = self.id, %error, "TLS failed");
                    return ReadEnd::Over(Ending::Tls);
                }
            };
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            if self.tls.reader().read_exact(&mut plain[start..]).is_err() {
                plain.truncate(start);
            }
            if state.peer_has_closed() {
                return ReadEnd::Over(Ending::ClientGone);
            }
            if total >= READ_PER_TURN_MAX {
                return ReadEnd::More;
            }
        }
    }

    /// Encrypts `plaintext` behind what is owed already.
    pub(super) fn queue(&mut self, plaintext: &[u8]) {
        // Writing to memory without a limit does not fail.
        let _ = self.tls.writer().write_all(plaintext);
        self.collect();
    }

    /// Notes that `mark` ends where the bytes queued so far end.
    pub(super) fn mark(&mut self, mark: Mark) {
        self.marks.push_back((self.queued, mark));
    }

    /// Queues bytes that are no TLS record.
    pub(super) fn queue_raw(&mut self, bytes: &[u8]) {
        self.queued += bytes.len() as u64;
        self.out.extend_from_slice(bytes);
    }

    /// Ends with `farewell` once everything owed is in the socket; nothing more is queued by others.
    pub(super) fn leave(&mut self, farewell: Farewell) {
        if farewell.polite {
            self.pump(Mono::NEVER);
            self.filler = 0;
            self.tls.send_close_notify();
            self.collect();
        }
        self.farewell.get_or_insert(farewell);
    }

    /// Streams `len` bytes of blanks from now on, as the socket takes them.
    pub(super) fn stream_filler(&mut self, len: u64) {
        self.filler = len;
    }

    /// Queues what the WebSocket has to say, unless a frame is half-way in. On a connection that lags it waits like events.
    pub(super) fn pump(&mut self, now: Mono) {
        if self.filler > 0 || self.is_broken || self.farewell.is_some() {
            return;
        }
        if let Phase::WebSocket(side) = &mut self.phase {
            let bytes = side.take_outbox();
            if bytes.is_empty() {
                return;
            }
            let is_closing = side.is_closing();
            if !is_closing
                && let Some(private) = side.private_mut()
                && let Some(due) = private.holds_words_until(now)
            {
                return private.hold(due, None, bytes);
            }
            self.queue(&bytes);
        }
    }

    /// Writes what the socket takes. Marks that went in to the last byte are passed to `delivered`.
    ///
    /// # Errors
    /// When the socket is broken.
    pub(super) fn write(&mut self, now: Mono, delivered: &mut Vec<(u64, Mark)>) -> Result<(), Ending> {
        loop {
            if self.is_flushed() {
                self.out.clear();
                self.out_start = 0;
                if self.out.capacity() > FILLER_CHUNK {
                    // An idle connection holds no buffer of the size of a tick.
                    self.out.shrink_to(4 << 10);
                }
                if self.filler == 0 {
                    return Ok(());
                }
                let len = self.filler.min(FILLER_CHUNK as u64);
                self.filler -= len;
                self.queue(&[b' '; FILLER_CHUNK][..len as usize]);
                if self.filler == 0 {
                    self.pump(now);
                }
            }
            match self.socket.write(&self.out[self.out_start..]) {
                Ok(n) => {
                    self.out_start += n;
                    self.written += n as u64;
                    if self.out_start >= COMPACT_FROM {
                        self.out.drain(..self.out_start);
                        self.out_start = 0;
                    }
                    while self.marks.front().is_some_and(|(end, _)| *end <= self.written) {
                        if let Some((_, mark)) = self.marks.pop_front() {
                            delivered.push((self.id, mark));
                        }
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Ending::ClientGone),
            }
        }
    }

    /// Moves ciphertext out of rustls.
    fn collect(&mut self) {
        let before = self.out.len();
        while self.tls.wants_write() {
            if self.tls.write_tls(&mut self.out).is_err() {
                break;
            }
        }
        self.queued += (self.out.len() - before) as u64;
    }
}
