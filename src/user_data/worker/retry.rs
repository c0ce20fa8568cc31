//! What a fault means for a job: whether it is the job's own, and how long its lane waits.
//!
//! A database that is away, busy, read-only or not yet migrated says nothing about a job, so that its jobs wait for as long as
//! it takes and no attempt is spent. Only what one job's own content can cause counts against it.

use std::time::Duration;

use crate::domain::Random;
use crate::domain::limits::{WORK_RETRY_MAX, WORK_RETRY_MIN};
use crate::store::ErrorClass;

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The job's: an attempt is spent.
    Job,
    /// Somebody else's: it is tried again for ever.
    Surroundings,
}

/// Whose fault an error of the database is. An error that nobody knows may be the job's: it must not hold its lane for ever.
#[must_use]
pub const fn blame(class: ErrorClass) -> Blame {
    match class {
        ErrorClass::Data | ErrorClass::Other => Blame::Job,
        ErrorClass::Unreachable
        | ErrorClass::Transient
        | ErrorClass::ReadOnly
        | ErrorClass::MissingTable
        | ErrorClass::MissingColumn
        | ErrorClass::Auth
        | ErrorClass::Held
        | ErrorClass::Refused => Blame::Surroundings,
    }
}

/// The wait after `failures` failures in a row, 1 for the first: doubled each time, capped, half of it jitter.
#[must_use]
pub fn retry_after(failures: u32, random: &mut Random) -> Duration {
    let doubled = WORK_RETRY_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let longest = doubled.min(WORK_RETRY_MAX);
    let half = longest / 2;
    half + Duration::from_micros(random.below(half.as_micros() as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_cap_and_never_to_nothing() {
        let mut random = Random::from_seed(1);
        for failures in [1, 2, 5, 10, 1_000, u32::MAX] {
            let longest = WORK_RETRY_MIN.saturating_mul(1 << (failures - 1).min(16)).min(WORK_RETRY_MAX);
            for _ in 0..100 {
                let wait = retry_after(failures, &mut random);
                assert!(wait >= longest / 2 && wait <= longest, "{failures}: {wait:?}");
            }
        }
    }
}
