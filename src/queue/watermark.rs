//! How far a queue has come in the spool.

/// The last record of a push, kept on the server beside the queue and written in the same transaction: what the server
/// remembers of it is what it remembers of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The epoch in which the record was first written.
    pub epoch: [u8; 16],
    /// Its place in the spool.
    pub position: u64,
}
