//! The phases of a stream, each holding exactly what exists then.
//!
//! Backoff → Resolving → Connecting → Tls → Upgrading → Live, and from any of them back to Backoff or on to Stopped; by
//! way of Closing when a live connection is stopped. Timers are fields of the phase, so none outlives its connection.

use std::net::SocketAddr;

use super::frame::FrameReader;
use super::handshake::Upgrade;
use super::tls::TlsClient;
use crate::domain::{Layer, Mono};

/// Where a stream is.
pub(super) enum Phase {
    /// Until the next attempt.
    Backoff { until: Mono },
    /// The name is being looked up.
    Resolving { deadline: Mono },
    /// TCP is being connected to `addresses[next - 1]`.
    Connecting { deadline: Mono, address_deadline: Mono, addresses: Vec<SocketAddr>, next: usize, last: String },
    /// The TLS handshake is under way.
    Tls { deadline: Mono, link: Box<Link> },
    /// The HTTP upgrade was asked for.
    Upgrading { deadline: Mono, link: Box<Link>, upgrade: Box<Upgrade> },
    /// Messages flow, or should.
    Live { link: Box<Link>, frames: FrameReader, since: Mono, proven: bool },
    /// Our close frame is out, the echo is not in.
    Closing { link: Box<Link>, frames: FrameReader, until: Mono },
    /// The end.
    Stopped,
}

/// A TCP connection, seen from above.
pub(super) struct Link {
    pub peer: SocketAddr,
    pub tls: TlsClient,
}

impl Phase {
    pub fn link(&self) -> Option<&Link> {
        match self {
            Phase::Tls { link, .. }
            | Phase::Upgrading { link, .. }
            | Phase::Live { link, .. }
            | Phase::Closing { link, .. } => Some(link),
            Phase::Backoff { .. } | Phase::Resolving { .. } | Phase::Connecting { .. } | Phase::Stopped => None,
        }
    }

    pub fn link_mut(&mut self) -> Option<&mut Link> {
        match self {
            Phase::Tls { link, .. }
            | Phase::Upgrading { link, .. }
            | Phase::Live { link, .. }
            | Phase::Closing { link, .. } => Some(link),
            Phase::Backoff { .. } | Phase::Resolving { .. } | Phase::Connecting { .. } | Phase::Stopped => None,
        }
    }

    /// The layer that a TCP failure or a missed deadline belongs to now.
    pub fn layer(&self) -> Layer {
        match self {
            Phase::Backoff { .. } | Phase::Resolving { .. } | Phase::Stopped => Layer::Resolve,
            Phase::Tls { .. } => Layer::Tls,
            Phase::Upgrading { .. } => Layer::Upgrade,
            Phase::Connecting { .. } | Phase::Live { .. } | Phase::Closing { .. } => Layer::Connect,
        }
    }

    /// The word for people.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Phase::Backoff { .. } => "backoff",
            Phase::Resolving { .. } => "resolving",
            Phase::Connecting { .. } => "connecting",
            Phase::Tls { .. } => "tls",
            Phase::Upgrading { .. } => "upgrading",
            Phase::Live { .. } => "live",
            Phase::Closing { .. } => "closing",
            Phase::Stopped => "stopped",
        }
    }
}
