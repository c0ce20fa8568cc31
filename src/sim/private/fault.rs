//! What can go wrong with one account, and with the venue as a whole.
//!
//! Those that need a live connection wait, in order, until the account has one; then they take effect at once, on all its
//! connections. Those that need a frame make one. What needs neither takes effect when its turn comes. Those at the door and at the listen-key desk wait there.

use std::fmt;
use std::time::Duration;

use crate::sim::fault::FaultKind;

pub use super::event::ExpiryNotice;

/// One fault of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountFault {
    /// TCP ends at once; unsent bytes are lost.
    Cut,
    /// A close frame 1001.
    Close,
    /// Half of a frame, then the end of TCP.
    HalfFrame,
    /// Random bytes where a frame should start.
    Garbage,
    /// Random bytes where a TLS record should start.
    TlsGarbage,
    /// A whole text frame whose JSON is damaged inside the event; the wrapper, if any, is sound. The connection lives on.
    Malformed,
    /// A text frame of more than 1 MiB.
    Oversize,
    /// This many events in one write.
    Flood {
        /// At least so many.
        frames: u32,
    },
    /// 200 pings in one write.
    PingFlood,
    /// Half-open: TCP stays, nothing is read or written any more; after `lasts` the socket is gone.
    Silence {
        /// [`Duration::MAX`] = until the client gives up.
        lasts: Duration,
    },
    /// Pings and control messages are answered, no event comes, for this long. Frames of that time are missed.
    Mute {
        /// [`Duration::MAX`] = as long as these connections live.
        lasts: Duration,
    },
    /// The other half of half-open: events, pings and what was asked before go out, but nothing of the client's is read.
    Deaf {
        /// [`Duration::MAX`] = as long as these connections live.
        lasts: Duration,
    },
    /// Events are held back for this long, then come all at once.
    Stall {
        /// How long.
        lasts: Duration,
    },
    /// The newest connection gets everything this much later, replies behind events as on any wire, for as long as it lives.
    Lag {
        /// How much later.
        delay: Duration,
    },
    /// The next upgrade for this account is answered this much later.
    SlowHandshake {
        /// How much later.
        delay: Duration,
    },
    /// The next upgrade for this account is answered with this status.
    RefuseUpgrade {
        /// HTTP status.
        status: u16,
    },
    /// From now on for so long, every upgrade for this account is answered with this status. Live connections stay.
    RefuseUpgrades {
        /// HTTP status.
        status: u16,
        /// How long.
        lasts: Duration,
    },
    /// The next connection of this account answers everything and delivers nothing.
    MuteNext,
    /// The next connection of this account gets everything this much later.
    LagNext {
        /// How much later.
        delay: Duration,
    },
    /// The listen key dies now.
    ExpireKey {
        /// How the client hears of it.
        notice: ExpiryNotice,
    },
    /// The listen key delivers nothing any more, and nobody says so: PUT extends it, LIST_SUBSCRIPTIONS names it, pings are
    /// answered. The next POST gives another one.
    NumbKey,
    /// The next PUT answers with another key; the one before delivers for `grace` more.
    RotateKey {
        /// How long both deliver.
        grace: Duration,
    },
    /// The next frame comes twice, byte for byte.
    Duplicate,
    /// An earlier frame comes once more, out of place.
    Replay,
    /// Two frames in the wrong order.
    Reorder,
    /// The next listen-key request is answered with this.
    KeyError {
        /// HTTP status.
        status: u16,
        /// The venue's code; 0 = a body that is no JSON.
        code: i32,
    },
    /// The next listen-key request is answered this much later.
    KeyDelay {
        /// How much later.
        delay: Duration,
    },
    /// The next signed read goes wrong.
    Read {
        /// How.
        fault: ReadFault,
        /// The last part of the path, where only one is meant: `userTrades`.
        only: Option<&'static str>,
    },
}

/// What can go wrong with a signed read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFault {
    /// It is answered with this.
    Error {
        /// HTTP status.
        status: u16,
        /// The venue's code; 0 = a body that is no JSON.
        code: i32,
    },
    /// It is answered this much later; [`Duration::MAX`] = never.
    Slow {
        /// How much later.
        delay: Duration,
    },
    /// 200 with a body that is no JSON.
    Garbage,
    /// Half of the body, then the end of TCP.
    Truncated,
    /// The end of TCP without an answer.
    Reset,
}

impl ReadFault {
    /// The word used in ledgers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ReadFault::Error { .. } => "read_error",
            ReadFault::Slow { .. } => "read_slow",
            ReadFault::Garbage => "read_garbage",
            ReadFault::Truncated => "read_truncated",
            ReadFault::Reset => "read_reset",
        }
    }

    /// Whether the client gets the whole answer in the end.
    pub(in crate::sim) const fn is_answered(self) -> bool {
        matches!(self, ReadFault::Slow { .. })
    }
}

impl AccountFault {
    /// Every kind, with ordinary parameters.
    pub const ALL: [AccountFault; 32] = [
        AccountFault::Cut,
        AccountFault::Close,
        AccountFault::HalfFrame,
        AccountFault::Garbage,
        AccountFault::TlsGarbage,
        AccountFault::Malformed,
        AccountFault::Oversize,
        AccountFault::Flood { frames: 2_000 },
        AccountFault::PingFlood,
        AccountFault::Silence { lasts: Duration::MAX },
        AccountFault::Mute { lasts: Duration::from_secs(5) },
        AccountFault::Deaf { lasts: Duration::from_secs(5) },
        AccountFault::Stall { lasts: Duration::from_secs(2) },
        AccountFault::Lag { delay: Duration::from_millis(100) },
        AccountFault::SlowHandshake { delay: Duration::from_millis(1_500) },
        AccountFault::RefuseUpgrade { status: 503 },
        AccountFault::RefuseUpgrades { status: 503, lasts: Duration::from_millis(500) },
        AccountFault::MuteNext,
        AccountFault::LagNext { delay: Duration::from_millis(100) },
        AccountFault::ExpireKey { notice: ExpiryNotice::Number },
        AccountFault::NumbKey,
        AccountFault::RotateKey { grace: Duration::from_secs(60) },
        AccountFault::Duplicate,
        AccountFault::Replay,
        AccountFault::Reorder,
        AccountFault::KeyError { status: 503, code: -1_008 },
        AccountFault::KeyDelay { delay: Duration::from_millis(1_500) },
        AccountFault::Read { fault: ReadFault::Error { status: 503, code: -1_008 }, only: None },
        AccountFault::Read { fault: ReadFault::Slow { delay: Duration::from_millis(1_500) }, only: None },
        AccountFault::Read { fault: ReadFault::Garbage, only: None },
        AccountFault::Read { fault: ReadFault::Truncated, only: None },
        AccountFault::Read { fault: ReadFault::Reset, only: None },
    ];

    /// The word used in ledgers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            AccountFault::Cut => "cut",
            AccountFault::Close => "close",
            AccountFault::HalfFrame => "half_frame",
            AccountFault::Garbage => "garbage",
            AccountFault::TlsGarbage => "tls_garbage",
            AccountFault::Malformed => "malformed",
            AccountFault::Oversize => "oversize",
            AccountFault::Flood { .. } => "flood",
            AccountFault::PingFlood => "ping_flood",
            AccountFault::Silence { .. } => "silence",
            AccountFault::Mute { .. } => "mute",
            AccountFault::Deaf { .. } => "deaf",
            AccountFault::Stall { .. } => "stall",
            AccountFault::Lag { .. } => "lag",
            AccountFault::SlowHandshake { .. } => "slow_handshake",
            AccountFault::RefuseUpgrade { .. } => "refuse_upgrade",
            AccountFault::RefuseUpgrades { .. } => "refuse_upgrades",
            AccountFault::MuteNext => "mute_next",
            AccountFault::LagNext { .. } => "lag_next",
            AccountFault::ExpireKey { .. } => "expire_key",
            AccountFault::NumbKey => "numb_key",
            AccountFault::RotateKey { .. } => "rotate_key",
            AccountFault::Duplicate => "duplicate",
            AccountFault::Replay => "replay",
            AccountFault::Reorder => "reorder",
            AccountFault::KeyError { .. } => "key_error",
            AccountFault::KeyDelay { .. } => "key_delay",
            AccountFault::Read { fault, .. } => fault.as_str(),
        }
    }

    /// Whether it waits for the next upgrade or request, not for a live connection.
    #[must_use]
    pub const fn waits_at_door(self) -> bool {
        matches!(
            self,
            AccountFault::SlowHandshake { .. }
                | AccountFault::RefuseUpgrade { .. }
                | AccountFault::MuteNext
                | AccountFault::LagNext { .. }
                | AccountFault::RotateKey { .. }
                | AccountFault::KeyError { .. }
                | AccountFault::KeyDelay { .. }
                | AccountFault::Read { .. }
        )
    }

    /// This fault for account `account`.
    #[must_use]
    pub const fn on(self, account: usize) -> Injection {
        Injection::Account { account, fault: self }
    }
}

impl fmt::Display for AccountFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One fault of the venue towards everybody. It takes effect at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VenueFault {
    /// For this long nobody listens on the port; live connections stay.
    RefuseConnects {
        /// How long.
        lasts: Duration,
    },
    /// Every connection is cut, and for this long nobody listens.
    Outage {
        /// How long.
        lasts: Duration,
    },
    /// REST answers 418 with the time at which the ban ends.
    Ban {
        /// How long.
        lasts: Duration,
    },
    /// REST answers 429.
    RateLimit {
        /// How long.
        lasts: Duration,
    },
    /// REST answers with this status and `-1008`.
    RestErrors {
        /// HTTP status.
        status: u16,
        /// How long.
        lasts: Duration,
    },
    /// Every signed read of every account goes wrong.
    Reads {
        /// How.
        fault: ReadFault,
        /// How long.
        lasts: Duration,
    },
    /// From now on reads show the state of so long ago: a push comes before the read that knows of it. Zero ends it.
    StaleReads {
        /// [`ReadRules::lag`](super::reads::ReadRules::lag).
        lag: Duration,
    },
}

impl VenueFault {
    /// Every kind, with ordinary parameters.
    pub const ALL: [VenueFault; 11] = [
        VenueFault::RefuseConnects { lasts: Duration::from_secs(10) },
        VenueFault::Outage { lasts: Duration::from_secs(10) },
        VenueFault::Ban { lasts: Duration::from_secs(120) },
        VenueFault::RateLimit { lasts: Duration::from_secs(60) },
        VenueFault::RestErrors { status: 503, lasts: Duration::from_secs(10) },
        VenueFault::Reads { fault: ReadFault::Error { status: 503, code: -1_008 }, lasts: Duration::from_secs(10) },
        VenueFault::Reads {
            fault: ReadFault::Slow { delay: Duration::from_millis(1_500) },
            lasts: Duration::from_secs(10),
        },
        VenueFault::Reads { fault: ReadFault::Garbage, lasts: Duration::from_secs(10) },
        VenueFault::Reads { fault: ReadFault::Truncated, lasts: Duration::from_secs(10) },
        VenueFault::Reads { fault: ReadFault::Reset, lasts: Duration::from_secs(10) },
        VenueFault::StaleReads { lag: Duration::from_secs(2) },
    ];

    /// The word used in ledgers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            VenueFault::RefuseConnects { .. } => "refuse_connects",
            VenueFault::Outage { .. } => "outage",
            VenueFault::Ban { .. } => "ban",
            VenueFault::RateLimit { .. } => "rate_limit",
            VenueFault::RestErrors { .. } => "rest_errors",
            VenueFault::Reads { fault, .. } => fault.as_str(),
            VenueFault::StaleReads { .. } => "stale_reads",
        }
    }
}

/// A fault and whom it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// The price connections.
    Prices(FaultKind),
    /// One account.
    Account {
        /// Its index.
        account: usize,
        /// What goes wrong.
        fault: AccountFault,
    },
    /// Everybody.
    Venue(VenueFault),
}

impl Injection {
    /// The word used in ledgers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Injection::Prices(kind) => kind.as_str(),
            Injection::Account { fault, .. } => fault.as_str(),
            Injection::Venue(fault) => fault.as_str(),
        }
    }
}

impl From<FaultKind> for Injection {
    fn from(kind: FaultKind) -> Self {
        Injection::Prices(kind)
    }
}

impl From<VenueFault> for Injection {
    fn from(fault: VenueFault) -> Self {
        Injection::Venue(fault)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names: HashSet<_> = AccountFault::ALL.iter().map(|fault| fault.as_str()).collect();
        assert_eq!(names.len(), AccountFault::ALL.len());
        let names: HashSet<_> = VenueFault::ALL.iter().map(|fault| fault.as_str()).collect();
        assert_eq!(names.len(), VenueFault::ALL.len());
        assert_eq!(AccountFault::Cut.on(3).as_str(), "cut");
    }
}
