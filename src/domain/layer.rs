//! Where a connection broke. Every fault names its layer, because "cannot connect" sends an operator to the wrong place.

use std::fmt;

/// The layer at which an attempt or a connection failed, from the outside in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// The host name did not resolve.
    Resolve,
    /// TCP did not connect, or broke.
    Connect,
    /// TLS: handshake, certificate, record.
    Tls,
    /// The HTTP upgrade was refused or malformed.
    Upgrade,
    /// The peer broke RFC 6455, or sent what no frame may hold.
    Protocol,
    /// Nothing arrived in time.
    Silence,
}

impl Layer {
    /// All layers, for tables of counters.
    pub const ALL: [Layer; 6] =
        [Layer::Resolve, Layer::Connect, Layer::Tls, Layer::Upgrade, Layer::Protocol, Layer::Silence];

    /// The word used in logs, metrics and the status file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Layer::Resolve => "resolve",
            Layer::Connect => "connect",
            Layer::Tls => "tls",
            Layer::Upgrade => "upgrade",
            Layer::Protocol => "protocol",
            Layer::Silence => "silence",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
