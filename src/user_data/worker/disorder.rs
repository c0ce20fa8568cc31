//! Where a job stands to what its account has applied, and how far the account is afterwards. Pure.
//!
//! Each job names the position of the account's record before it. One reserver and one lane keep the queue's order, so a gap
//! means that somebody else took a job, or that one comes back later: it is waited for, for a bounded time, and counted.

use crate::store::work_rows::Progress;

/// A job's place in its spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The epoch in which the record was first written.
    pub epoch: [u8; 16],
    /// Its position; grows through all epochs of one spool.
    pub position: u64,
    /// The position of the account's record before it.
    pub previous: Option<u64>,
}

/// Whether the job's turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Its predecessor is applied, or nobody can tell.
    Now,
    /// It was applied before, or something behind it was.
    Again,
    /// The record at this position is missing.
    Missing(u64),
}

/// Holds `place` against `progress`. `passed` is the position that the lane has last let go, applied or failed for good.
#[must_use]
pub fn turn(progress: Option<&Progress>, passed: Option<u64>, place: &Place) -> Turn {
    let Some(progress) = progress else { return Turn::Now };
    if place.position <= progress.position {
        // Of another epoch it may be the beginning of another spool, which the audit tells from a duplicate.
        return if place.epoch == progress.epoch { Turn::Again } else { Turn::Now };
    }
    match place.previous {
        Some(previous) if previous > progress.position && passed.is_none_or(|passed| previous > passed) => {
            Turn::Missing(previous)
        }
        _ => Turn::Now,
    }
}

/// How far the account is once the job is applied. Duplicates never move it back; the first record of another spool, whose
/// positions begin anew, does. `is_new`: the event was not in the audit before.
#[must_use]
pub fn advance(progress: Option<&Progress>, place: &Place, is_new: bool, fence: u64) -> Progress {
    let here = Progress { epoch: place.epoch, position: place.position, fence };
    match progress {
        None => here,
        Some(progress) if place.position > progress.position => here,
        Some(progress) if place.epoch != progress.epoch && place.previous.is_none() && is_new => here,
        Some(progress) => Progress { fence, ..*progress },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 16] = [1; 16];
    const B: [u8; 16] = [2; 16];

    fn place(epoch: [u8; 16], position: u64, previous: Option<u64>) -> Place {
        Place { epoch, position, previous }
    }

    #[test]
    fn the_predecessor_decides() {
        let at = |position| Progress { epoch: A, position, fence: 1 };
        for (progress, passed, job, expected) in [
            (None, None, place(A, 7, Some(3)), Turn::Now),
            (Some(at(3)), None, place(A, 7, Some(3)), Turn::Now),
            (Some(at(3)), None, place(A, 7, Some(5)), Turn::Missing(5)),
            // The record at 5 has failed for good.
            (Some(at(3)), Some(5), place(A, 7, Some(5)), Turn::Now),
            (Some(at(3)), Some(4), place(A, 7, Some(5)), Turn::Missing(5)),
            (Some(at(7)), None, place(A, 7, Some(5)), Turn::Again),
            (Some(at(9)), None, place(A, 7, Some(5)), Turn::Again),
            (Some(at(7)), None, place(A, 9, None), Turn::Now),
            // A start in between: another epoch of the same spool.
            (Some(at(7)), None, place(B, 9, Some(7)), Turn::Now),
            (Some(at(7)), None, place(B, 9, Some(8)), Turn::Missing(8)),
            (Some(at(7)), None, place(B, 1, None), Turn::Now),
            (Some(at(7)), None, place(B, 5, Some(4)), Turn::Now),
        ] {
            assert_eq!(turn(progress.as_ref(), passed, &job), expected, "{progress:?} {passed:?} {job:?}");
        }
    }

    #[test]
    fn duplicates_move_nothing_back() {
        let at = |epoch, position| Progress { epoch, position, fence: 1 };
        for (progress, job, is_new, expected) in [
            (None, place(A, 3, None), true, (A, 3)),
            (Some(at(A, 3)), place(A, 5, Some(3)), true, (A, 5)),
            (Some(at(A, 5)), place(A, 3, None), false, (A, 5)),
            (Some(at(A, 5)), place(A, 3, None), true, (A, 5)),
            (Some(at(A, 5)), place(B, 7, Some(5)), true, (B, 7)),
            (Some(at(B, 7)), place(A, 3, Some(1)), false, (B, 7)),
            (Some(at(B, 7)), place(A, 3, Some(1)), true, (B, 7)),
            // Another spool.
            (Some(at(A, 5)), place(B, 1, None), true, (B, 1)),
            (Some(at(A, 5)), place(B, 1, None), false, (A, 5)),
        ] {
            let found = advance(progress.as_ref(), &job, is_new, 9);
            assert_eq!((found.epoch, found.position, found.fence), (expected.0, expected.1, 9), "{job:?}");
        }
    }
}
