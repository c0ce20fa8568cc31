//! The spool: a durable log of private frames. It is the queue; what lies behind it, Redis or a worker in this process,
//! only moves positions.
//!
//! It promises:
//!
//! - after [`Appender::append`] returns, a killed process loses nothing of the batch; a power cut takes at most what was
//!   not synced, in order per file, and what it took is reported at the next [`open`];
//! - an [`Identity`] means one record for ever, however often it is handed out or its file rewritten;
//! - `acked ≤ dispatched ≤ written`, `synced ≤ written`, and the durable cursor never passes `synced`;
//! - a failed `fdatasync` loses nothing while the process lives: unsynced records are in memory, and are written anew;
//! - a full disk or spool refuses frames, with an error that leaves them with the caller; gap and liveness records still go.
//!
//! Three parts, each for a thread of its own: [`Appender`] (the spooler), [`Syncer`], [`Reader`] (the dispatcher). They
//! share one mutex that is never held across a call to the disk. A frame is copied once: into a [`Batch`], whose buffer is
//! written, kept as the tail in memory, and recycled.
//!
//! Absent on purpose: compaction, per-account files, compression, mmap.
//!
//! May import `domain`.
//!
//! # Format
//!
#![doc = include_str!("format.md")]

pub mod append;
pub mod batch;
pub mod disk;
mod find;
pub mod format;
pub mod gap;
pub mod intake;
#[cfg(any(test, feature = "sim", fuzzing))]
pub mod mem_disk;
mod mend;
pub mod quarantine;
pub mod read;
pub mod recover;
pub mod report;
mod scan;
mod segments;
mod state;
mod survey;
pub mod sync;
pub mod view;
mod windows;

pub use append::{AppendError, Appended, Appender};
pub use batch::{Batch, BatchError, Entry};
pub use disk::{Disk, DiskFile, FolderDisk};
pub use format::{AccountId, Epoch, ExchangeId, Identity, Kind, LivenessEntry};
pub use gap::Gap;
#[cfg(any(test, feature = "sim", fuzzing))]
pub use mem_disk::{MemDisk, Survives};
pub use read::{ReadBatch, Reader, Record, RewindError, Skipped};
pub use recover::{Opened, open};
pub use report::{AccountFound, Damage, Loss, OpenError, OpenReport};
pub use state::{FullReason, Positions, SpoolConfig, SpoolStatus, SyncMode};
pub use sync::{SyncTurn, Syncer};
pub use view::{AccountView, FolderLook, Holder, SegmentView, SpoolSurvey, SpoolView};
