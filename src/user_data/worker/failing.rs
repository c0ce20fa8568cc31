//! A job that has failed for good: its row in `failed_jobs`, and its account marked for a reconcile.
//!
//! The row comes before the acknowledgement, so that a job is never in neither place. As Laravel writes it: the body as popped,
//! the logical queue without prefix (facts/laravel_queue.md §4).

use super::job::LaneJob;
use crate::domain::Wall;
use crate::domain::limits::FAILED_EXCEPTION_MAX;
use crate::store::work_rows::FailedJob;
use crate::store::{Result, WorkStore};

/// The reason in the row of `stream_gaps` that asks for a reconcile.
pub const FAILED_JOB_REASON: &str = "job_failed";

/// Records it. Doing it again changes nothing.
///
/// # Errors
/// What the database says; the job stays in hand.
pub fn record(
    store: &mut WorkStore,
    job: &LaneJob,
    (connection, queue): (&str, &str),
    exception: &str,
    at: Wall,
) -> Result<()> {
    let payload = String::from_utf8_lossy(&job.body);
    let exception = fitting(exception);
    store.run(|tables| {
        tables.insert_failed_job(&FailedJob {
            uuid: &job.uuid,
            connection,
            queue,
            // A text column of PostgreSQL takes no NUL, and JSON has none but escaped.
            payload: &payload.replace('\0', "\u{fffd}"),
            exception: &exception,
            failed_at: at,
        })?;
        match &job.content {
            Ok(content) => tables.request_reconcile(content.account_id, content.api_system_id, FAILED_JOB_REASON, at),
            Err(_) => Ok(()),
        }
    })
}

fn fitting(exception: &str) -> String {
    let mut end = exception.len().min(FAILED_EXCEPTION_MAX);
    while !exception.is_char_boundary(end) {
        end -= 1;
    }
    exception[..end].replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_fits_its_column() {
        assert_eq!(fitting("a\0b"), "a\u{fffd}b");
        let long = "é".repeat(FAILED_EXCEPTION_MAX);
        let cut = fitting(&format!("x{long}"));
        assert!(cut.len() <= FAILED_EXCEPTION_MAX && cut.ends_with('é'));
    }
}
