//! One stream's socket: it carries bytes between the kernel and the session, and does what the session asks for.
//!
//! Registered once, edge-triggered, for both directions. A read that fills less than the room it was given has emptied the
//! socket (the next byte is a new edge), which saves the read that would say so; only after the peer's end is it read on
//! until the zero.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::buffers::SharedBuffers;
use super::connect_queue::ConnectQueue;
use super::resolver::{Lookup, Resolver};
use super::stream_id::StreamId;
use crate::domain::Now;
use crate::domain::limits::READ_PER_TURN_MAX;
use crate::stream::{Action, ConnectClass, Consumer, Session};

/// What all connections of a loop share.
pub(super) struct Shared {
    pub registry: Registry,
    pub buffers: SharedBuffers,
    pub resolver: Resolver,
    pub connects: ConnectQueue,
    /// Grows with each socket, so that an event of an earlier one is told from those of the present one.
    pub generation: u32,
}

/// A stream and its socket of the moment.
pub(super) struct Connection {
    pub id: StreamId,
    pub key: u64,
    pub session: Session,
    pub consumer: Box<dyn Consumer>,
    socket: Option<Socket>,
    /// Whether it stands in the loop's ring of the still-ready.
    pub in_ring: bool,
    /// The line in which it has a place to ask for a permit.
    pub queued: Option<ConnectClass>,
}

struct Socket {
    stream: TcpStream,
    token: Token,
    connecting: bool,
    /// The peer has ended: read on until the zero.
    ending: bool,
}

/// The slot that a token names.
pub(super) const fn slot_of(token: Token) -> usize {
    token.0 & u32::MAX as usize
}

const _: () = assert!(usize::BITS == 64, "a token holds slot and generation");

impl Connection {
    pub fn new(id: StreamId, key: u64, session: Session, consumer: Box<dyn Consumer>) -> Connection {
        Connection { id, key, session, consumer, socket: None, in_ring: false, queued: None }
    }

    /// The poll named this socket. Returns whether there is something to read.
    pub fn handle_event(&mut self, event: &Event, shared: &mut Shared, now: Now) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        if socket.token != event.token() {
            return false;
        }
        socket.ending |= event.is_read_closed() || event.is_error();
        if socket.connecting {
            match connect_outcome(&socket.stream) {
                None => return false,
                Some(Ok(())) => {
                    socket.connecting = false;
                    shared.buffers.claim(self.id.slot);
                    self.session.handle_connected(shared.buffers.parts().1, now, &mut *self.consumer);
                }
                Some(Err(error)) => self.session.handle_io_error(&error, now, &mut *self.consumer),
            }
        }
        self.flush(now);
        event.is_readable() || event.is_read_closed() || event.is_error()
    }

    /// Reading is taken up again: first come the bytes that are here already. Returns whether there may be more, which
    /// nobody will be told again: the edge is past.
    pub fn resume(&mut self, shared: &mut Shared, now: Now) -> bool {
        let is_connected = self.socket.as_ref().is_some_and(|socket| !socket.connecting);
        if !is_connected || !self.session.wants_read() || shared.buffers.is_cut(self.id.slot) {
            return false;
        }
        shared.buffers.claim(self.id.slot);
        let (cipher, plain) = shared.buffers.parts();
        let done = self.session.handle_bytes(cipher, plain, now, &mut *self.consumer);
        shared.buffers.consume_cipher(done);
        true
    }

    /// Reads up to one turn's share. Returns whether more is there.
    pub fn read(&mut self, shared: &mut Shared, now: Now) -> bool {
        let mut budget = READ_PER_TURN_MAX;
        while let Some(socket) = &mut self.socket {
            if socket.connecting || !self.session.wants_read() || shared.buffers.is_cut(self.id.slot) {
                return false;
            }
            if budget == 0 {
                return true;
            }
            shared.buffers.claim(self.id.slot);
            let space = shared.buffers.cipher_space();
            let room = space.len().min(budget);
            let outcome = match socket.stream.read(&mut space[..room]) {
                Ok(0) if room > 0 => Ok(0),
                Ok(n) if n > 0 => Ok(n),
                Ok(_) => Err(io::Error::new(ErrorKind::InvalidData, "a TLS record that never ends")),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_drained = matches!(outcome, Ok(n) if n < room) && !socket.ending;
            match outcome {
                Ok(0) => self.session.handle_eof(now, &mut *self.consumer),
                Ok(n) => {
                    budget -= n;
                    shared.buffers.filled(n);
                    let (cipher, plain) = shared.buffers.parts();
                    let done = self.session.handle_bytes(cipher, plain, now, &mut *self.consumer);
                    shared.buffers.consume_cipher(done);
                }
                Err(error) => self.session.handle_io_error(&error, now, &mut *self.consumer),
            }
            self.flush(now);
            self.act(shared, now);
            if is_drained {
                return false;
            }
        }
        false
    }

    /// Sends what the session holds, as far as the socket takes it.
    pub fn flush(&mut self, now: Now) {
        let Some(socket) = &mut self.socket else { return };
        if socket.connecting {
            return;
        }
        while !self.session.transmit().is_empty() {
            match socket.stream.write(self.session.transmit()) {
                Ok(0) => return,
                Ok(n) => self.session.handle_sent(n, now, &mut *self.consumer),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return self.session.handle_io_error(&error, now, &mut *self.consumer),
            }
        }
    }

    /// Does what the session asks for, until it asks for nothing more. After [`Connection::flush`], so that a close frame or
    /// an alert has been sent as far as the socket takes it at once: nobody waits for it.
    pub fn act(&mut self, shared: &mut Shared, now: Now) {
        while let Some(action) = self.session.poll_action() {
            self.close(shared);
            match action {
                Action::Close => {}
                Action::Permit => self.queue_up(shared),
                Action::Connect(address) => {
                    if let Err(error) = self.open(address, shared) {
                        self.session.handle_io_error(&error, now, &mut *self.consumer);
                    }
                }
                Action::Resolve { attempt } => {
                    let url = self.session.url();
                    let (host, port) = (url.host().to_owned(), url.port());
                    shared.resolver.request(Lookup { stream: self.id, attempt, host, port });
                }
            }
        }
    }

    /// Drops the socket and every byte of its connection.
    pub fn close(&mut self, shared: &mut Shared) {
        if let Some(mut socket) = self.socket.take() {
            // Closing the descriptor takes it out of the poll in any case.
            let _ = shared.registry.deregister(&mut socket.stream);
        }
        shared.buffers.release(self.id.slot);
    }

    /// Takes a place in the line of its class, if it waits for a permit and has none there.
    pub fn queue_up(&mut self, shared: &mut Shared) {
        let class = self.session.class();
        if self.session.awaits_permit() && self.queued.replace(class) != Some(class) {
            shared.connects.push(class, self.id);
        }
    }

    fn open(&mut self, address: SocketAddr, shared: &mut Shared) -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        // A pong waits for nobody.
        stream.set_nodelay(true)?;
        shared.generation = shared.generation.wrapping_add(1);
        let token = Token((shared.generation as usize) << 32 | self.id.slot);
        shared.registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.socket = Some(Socket { stream, token, connecting: true, ending: false });
        Ok(())
    }
}

/// How a connect ended, `None` while it has not (mio's documentation of `TcpStream::connect`).
fn connect_outcome(stream: &TcpStream) -> Option<io::Result<()>> {
    match stream.take_error() {
        Ok(None) => {}
        Ok(Some(error)) | Err(error) => return Some(Err(error)),
    }
    match stream.peer_addr() {
        Ok(_) => Some(Ok(())),
        Err(error) if error.kind() == ErrorKind::NotConnected => None,
        Err(error) => Some(Err(error)),
    }
}
