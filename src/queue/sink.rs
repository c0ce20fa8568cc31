//! Where jobs go: Redis, or a worker in this process. The dispatcher knows only this.
//!
//! A push answers in one of three ways. *Done*: the jobs are on the queue, all of them, in order. *Refused*: none of them is.
//! *Doubtful* ([`PushError::doubtful`]): the request left and no answer came; the dispatcher keeps the batch and pushes the same
//! bytes again, and the sink finds out whether that is needed.

use std::fmt;
use std::time::Duration;

use super::batch::JobBatch;
use super::server_facts::{LossWindow, ServerFacts};
pub use super::watermark::Watermark;

/// A push that is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Jobs that wait on the queue now.
    pub depth: u64,
    /// The jobs were there already: the doubtful push before this one had succeeded.
    pub was_there: bool,
    /// The server lost jobs that were pushed before, while the connection stood. This batch is there, what lies between is not.
    pub forgot: Option<Forgot>,
    /// What belongs to the jobs and could not be written: Horizon's records, tokens. The jobs are on the queue.
    pub remark: Option<String>,
}

/// The server no longer has what was pushed: it was restarted without its memory, a replica that lagged behind took over, or it
/// was flushed. Jobs that were done come again, and are known by their identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgot {
    /// The last record that it still had; none: nothing of what was pushed.
    pub kept: Option<Watermark>,
    /// What the server may lose at a crash, by its own settings.
    pub window: LossWindow,
}

/// From where the spool is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewind {
    /// The first record behind this one; where the spool does not know its epoch, as [`Rewind::ToLastAudited`].
    Behind(Watermark),
    /// The first record that no consumer is known to have committed; without an audit, the oldest that is retained.
    ToLastAudited,
}

impl Forgot {
    /// The server's memory is a prefix of what it was told (its log and its replication are in order, and a transaction is one
    /// entry of them), so the watermark that is left tells exactly where it ends.
    #[must_use]
    pub fn rewind(&self) -> Rewind {
        match self.kept {
            Some(watermark) => Rewind::Behind(watermark),
            None => Rewind::ToLastAudited,
        }
    }
}

/// What kept a push from being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PushErrorClass {
    /// Nobody there, or the connection broke.
    Down,
    /// No answer in time.
    Timeout,
    /// The server's memory is full (`maxmemory`).
    Oom,
    /// The server takes no writes: a replica, too few replicas (`min-replicas-to-write`), a failing snapshot (MISCONF).
    ReadOnly,
    /// The server is reading its data.
    Loading,
    /// Wrong password or user, or a command or key that the user may not touch.
    Auth,
    /// The queue's slot lives on another node, or the cluster is down.
    Cluster,
    /// The queue holds as many jobs as the settings allow.
    Full,
    /// See [`Forgot`].
    Forgot,
    /// The lease is another one's, or ran out: nothing was done (consumers only).
    LeaseLost,
    /// Anything else.
    Other,
}

impl PushErrorClass {
    /// The word for logs, metrics and the status page.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PushErrorClass::Down => "down",
            PushErrorClass::Timeout => "timeout",
            PushErrorClass::Oom => "out_of_memory",
            PushErrorClass::ReadOnly => "read_only",
            PushErrorClass::Loading => "loading",
            PushErrorClass::Auth => "auth",
            PushErrorClass::Cluster => "cluster",
            PushErrorClass::Full => "full",
            PushErrorClass::Forgot => "forgot",
            PushErrorClass::LeaseLost => "lease_lost",
            PushErrorClass::Other => "other",
        }
    }
}

impl fmt::Display for PushErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A push that is not done. None of its errors is final: positions wait, and the dispatcher tries again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushError {
    /// What happened.
    pub class: PushErrorClass,
    /// Whether the jobs may be on the queue all the same.
    pub doubtful: bool,
    /// A sentence for people, without secrets and without the jobs' contents.
    pub text: String,
    /// With [`PushErrorClass::Forgot`]: nothing was pushed; the dispatcher rewinds first.
    pub forgot: Option<Forgot>,
}

impl PushError {
    /// An error after which it is certain that nothing was pushed.
    #[must_use]
    pub fn refused(class: PushErrorClass, text: impl Into<String>) -> Self {
        PushError { class, doubtful: false, text: text.into(), forgot: None }
    }
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for PushError {}

/// How the sink is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkHealth {
    /// Jobs that wait.
    pub depth: u64,
    /// The last record that the server has of this spool.
    pub watermark: Option<Watermark>,
    /// Whether [`JobSink::vouch`]'s word is there. Without it, a watermark was written by a push that found the server's memory
    /// gone, and the process ended before it had gone back.
    pub is_vouched: bool,
    /// What the server says about itself; none in process.
    pub server: Option<ServerFacts>,
    /// How long the question took.
    pub answered_in: Duration,
}

/// Takes batches of jobs, in order.
pub trait JobSink: Send {
    /// Puts the batch on the queue, as a whole. An empty one is done at once.
    ///
    /// # Errors
    /// [`PushError`]. The batch is kept by the caller, who pushes it again unchanged.
    fn push(&mut self, batch: &JobBatch) -> Result<Pushed, PushError>;

    /// Whether the next push, or the next question how things are, says to the server that the spool durably owes it nothing that was pushed before: what is not on
    /// the queue, and not done, will be handed out again. A server that loses its memory loses that word with it, so that its
    /// absence beside a watermark tells of a loss that nobody has gone back for yet ([`SinkHealth::is_vouched`]).
    fn vouch(&mut self, _is_wanted: bool) {}

    /// The position up to which everything pushed is acknowledged: taken by the server, or committed by the consumer in this
    /// process. None before the first.
    fn acked(&self) -> Option<u64>;

    /// Asks how things are, and notices what was forgotten.
    ///
    /// # Errors
    /// As [`JobSink::push`].
    fn health(&mut self) -> Result<SinkHealth, PushError>;
}
