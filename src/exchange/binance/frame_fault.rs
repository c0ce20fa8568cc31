//! What is wrong with a mark-price frame of which nothing can be used.

/// Why a frame as a whole is refused; no entry was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameFault {
    /// Brackets or quotes do not close, or close what was not open: no entry has certain bounds.
    Unbalanced,
    /// Neither an array nor an object, nor any other JSON value.
    NotJson,
    /// Text behind the end of the document.
    TrailingText,
    /// More than [`FRAME_ENTRIES_MAX`](crate::domain::limits::FRAME_ENTRIES_MAX) entries.
    TooManyEntries,
}

impl FrameFault {
    /// All kinds, for tables of counters; a kind's place is `kind as usize`.
    pub const ALL: [FrameFault; 4] =
        [FrameFault::Unbalanced, FrameFault::NotJson, FrameFault::TrailingText, FrameFault::TooManyEntries];

    /// The word used in logs, metrics and the status file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FrameFault::Unbalanced => "unbalanced",
            FrameFault::NotJson => "not_json",
            FrameFault::TrailingText => "trailing_text",
            FrameFault::TooManyEntries => "too_many_entries",
        }
    }
}
