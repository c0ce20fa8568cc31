//! What a loop calls one of its streams by. The slot alone would not do: slots are reused, and lookups and places in lines
//! outlive the stream that asked for them.

/// A stream of this loop, for as long as it is hosted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamId {
    pub slot: usize,
    pub generation: u64,
}
