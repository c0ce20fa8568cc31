//! What an open found, and why it failed.

use std::io;

use super::format::AccountId;
use crate::domain::Wall;

/// What was found at an open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Segments found.
    pub segments: usize,
    /// Records from the cursor on: they are handed out again.
    pub unacknowledged: u64,
    /// Where new records begin.
    pub next_position: u64,
    /// The cursor was there but no slot of it is whole: everything kept is handed out again.
    pub cursor_damaged: bool,
    /// Ends of files that are no record: a write that did not finish, or that the power took.
    pub torn: Vec<Damage>,
    /// Stretches inside that are no record; their bytes are in quarantine.
    pub damaged: Vec<Damage>,
    /// Positions that were written and are gone.
    pub lost: Vec<Loss>,
    /// Segments whose head was damaged and could be told from their records.
    pub heads_rebuilt: Vec<u64>,
    /// Segments that could not be synced and were copied.
    pub rescued: Vec<u64>,
    /// Files removed: unfinished, or replaced by a newer copy.
    pub removed: Vec<String>,
    /// Segments moved to quarantine: unreadable as a whole. Their positions are in `lost` if they matter.
    pub set_aside: Vec<String>,
    /// Files that are none of ours.
    pub ignored: Vec<String>,
    /// What could not be put into quarantine, and why.
    pub quarantine_failed: Vec<String>,
    /// Every account: when it was last known to be alive, never later than the truth.
    pub accounts: Vec<AccountFound>,
}

/// A stretch of a file that is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub segment: u64,
    /// Where in its file.
    pub offset: u64,
    /// How long.
    pub bytes: u64,
}

/// Positions that are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Which.
    pub positions: std::ops::Range<u64>,
    /// Receive time of the last record before them, if there is one.
    pub after: Option<Wall>,
    /// They were acknowledged already: nothing is missing downstream.
    pub acknowledged: bool,
}

/// One account, as the records tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountFound {
    /// Who.
    pub account: AccountId,
    /// `silent since` of its next gap record; `None` if no record before the first loss tells.
    pub alive_at: Option<Wall>,
    /// Its newest record.
    pub last_position: u64,
}

/// Why a spool does not open.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it.
    Locked {
        /// What it wrote about itself.
        holder: String,
    },
    /// The disk refused.
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// The last segment was synced, cannot be read at all, and nothing tells what it held.
    Damaged {
        /// The file.
        file: String,
    },
    /// A later version of this program wrote it.
    Version {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
}

pub(super) fn failed(what: &str, error: io::Error) -> OpenError {
    OpenError::Io { what: what.to_owned(), error }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Locked { holder } if holder.is_empty() => f.write_str("the spool is another process's"),
            OpenError::Locked { holder } => write!(f, "the spool is another process's: {holder}"),
            OpenError::Io { what, error } => write!(f, "could not {what}: {error}"),
            OpenError::Damaged { file } => write!(
                f,
                "{file} in the spool's folder is damaged beyond reading: its head is gone, no record of its neighbours' \
                 epochs is in it, and no later file tells what it held. Put the file back from a copy; or move it out \
                 of the folder and start again: the accounts' gaps then begin before its records"
            ),
            OpenError::Version { file, version } => write!(
                f,
                "{file} in the spool's folder was written by a later version of this program (format {version}): start \
                 that version, at least until it has handed everything out"
            ),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}
