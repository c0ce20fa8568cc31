//! Why a server did not agree to speak WebSocket, with what it said: the status is often the only hint that a venue turns a
//! country or an address away.

use std::fmt;
use std::time::Duration;

use crate::domain::limits::UPGRADE_HEAD_MAX;

/// Why the connection does not speak WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// Host, port and path make no URL.
    BadUrl(String),
    /// The head of the answer passes [`UPGRADE_HEAD_MAX`].
    HeadTooLarge,
    /// The server answered with a status that is not 101.
    Refused {
        /// 451 and 403 are a venue's ways to turn a country away, 429 and 418 its rate limits.
        status: u16,
        /// The words behind the status, may be empty.
        reason: String,
        /// Where it sends us, if it does.
        location: Option<String>,
        /// How long it asks us to stay away, if it does; a date is not understood.
        retry_after: Option<Duration>,
    },
    /// The answer was computed from another key than ours: a cache, or somebody else's answer.
    WrongAcceptKey,
    /// The server uses an extension that was not offered.
    UnofferedExtension,
    /// The answer is not one to a WebSocket handshake.
    Malformed(String),
}

impl UpgradeError {
    /// The word used in counters.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            UpgradeError::BadUrl(_) => "bad_url",
            UpgradeError::HeadTooLarge => "head_too_large",
            UpgradeError::Refused { .. } => "refused",
            UpgradeError::WrongAcceptKey => "wrong_accept_key",
            UpgradeError::UnofferedExtension => "unoffered_extension",
            UpgradeError::Malformed(_) => "malformed",
        }
    }
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpgradeError::BadUrl(why) => write!(f, "the stream's URL cannot be used: {why}"),
            UpgradeError::HeadTooLarge => {
                write!(f, "the answer to the WebSocket handshake has a head of more than {UPGRADE_HEAD_MAX} bytes")
            }
            UpgradeError::Refused { status, reason, location, retry_after } => {
                write!(f, "the server answered the WebSocket handshake with {status}")?;
                if !reason.is_empty() {
                    write!(f, " {reason}")?;
                }
                if let Some(location) = location {
                    write!(f, ", sending us to {location}")?;
                }
                if let Some(wait) = retry_after {
                    write!(f, ", asking us to wait {} s", wait.as_secs())?;
                }
                Ok(())
            }
            UpgradeError::WrongAcceptKey => {
                f.write_str("the WebSocket handshake was answered for another key, as a cache in between would")
            }
            UpgradeError::UnofferedExtension => {
                f.write_str("the server uses a WebSocket extension that was not offered")
            }
            UpgradeError::Malformed(why) => write!(f, "the answer to the WebSocket handshake is malformed: {why}"),
        }
    }
}

impl std::error::Error for UpgradeError {}
