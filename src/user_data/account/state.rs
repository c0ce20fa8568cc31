//! What people are told about an account.

use std::time::Duration;

use super::{Account, Phase};
use crate::domain::limits::DEGRADED_AFTER;
use crate::domain::{Now, Wall};
use crate::exchange::binance::private_url::Spelling;
use crate::user_data::handover::HandoverCounts;

/// An account's state, in plain values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountState {
    /// `no_key`, `have_key`, `connecting`, `verifying`, `live` or `stopped`.
    pub phase: &'static str,
    /// Since when it is live.
    pub live_since: Option<Wall>,
    /// The spelling in use.
    pub spelling: Spelling,
    /// The spelling that last delivered.
    pub delivered: Option<Spelling>,
    /// Connections in a row that were not subscribed.
    pub failed_proofs: u32,
    /// The last frame, pings included.
    pub last_frame_at: Option<Wall>,
    /// Whether nobody reads it, because there is no room.
    pub is_held: bool,
    /// A sentence that says why it is not well; `None` if it is.
    pub degraded: Option<String>,
    /// Sockets that took another one's place.
    pub rotation: RotationState,
}

/// What came of second sockets, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RotationState {
    /// Those that took the place of the first.
    pub done: u64,
    /// Those that were given up.
    pub failed: u64,
    /// When the last one took its place.
    pub last_at: Option<Wall>,
    /// How long both were verified before that.
    pub overlap: Option<Duration>,
    /// Frames that both brought, what differed, what was late.
    pub counts: HandoverCounts,
}

impl Account {
    /// What to show.
    #[must_use]
    pub fn state(&self, now: Now) -> AccountState {
        let (phase, live_since) = match self.phase {
            Phase::NoKey => ("no_key", None),
            Phase::HaveKey => ("have_key", None),
            Phase::Connecting => ("connecting", None),
            Phase::Verifying { .. } => ("verifying", None),
            Phase::Live { since } => ("live", Some(since)),
            Phase::Stopped => ("stopped", None),
        };
        AccountState {
            phase,
            live_since,
            spelling: self.spelling(),
            delivered: self.delivered,
            failed_proofs: self.failed_proofs,
            last_frame_at: self.heard.map(|heard| heard.wall),
            is_held: self.held.is_some(),
            degraded: self.degraded(now),
            rotation: self.rotation_state(),
        }
    }

    fn rotation_state(&self) -> RotationState {
        let shown = &self.rotations.shown;
        RotationState {
            done: shown.done,
            failed: shown.failed,
            last_at: shown.last_at,
            overlap: shown.overlap,
            counts: shown.counts,
        }
    }

    fn degraded(&self, now: Now) -> Option<String> {
        let down_for = now.mono.since(self.not_live_since);
        match self.phase {
            Phase::Stopped => None,
            Phase::Live { .. } if self.held.is_some() => Some("not read: there is no room for its frames".to_owned()),
            Phase::Live { .. } if !self.absent.is_empty() => {
                Some(format!("the venue's subscription leaves out {}", self.absent))
            }
            Phase::Live { .. } => self.refused.clone(),
            _ if self.refused.is_some() => self.refused.clone(),
            _ if down_for < DEGRADED_AFTER => None,
            _ if self.failed_proofs > 0 => Some(format!(
                "not live for {} s: {} connections in a row were not subscribed, now trying the spelling {}",
                down_for.as_secs(),
                self.failed_proofs,
                self.spelling(),
            )),
            _ => {
                let why = self.fault.as_deref().unwrap_or("no connection yet");
                Some(format!("not live for {} s: {why}", down_for.as_secs()))
            }
        }
    }
}

/// Neither key nor URL.
impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.config.account)
            .field("phase", &self.phase)
            .field("failed_proofs", &self.failed_proofs)
            .field("heard", &self.heard)
            .finish_non_exhaustive()
    }
}
