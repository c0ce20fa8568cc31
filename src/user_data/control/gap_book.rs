//! Gaps on their way into `stream_gaps`. The spool's gap record is the truth; this is the row that people and the reconcile
//! read, so a gap is held until the database has it, and one too many is refused to whoever brings it.

use std::collections::VecDeque;

use crate::domain::Wall;
use crate::domain::limits::GAPS_WAITING_MAX;
use crate::store::user_data_rows::NewGap;
use crate::user_data::gaps::GapNotice;

/// A gap that waits for its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingGap {
    /// `accounts.id`.
    pub account: i64,
    /// `accounts.api_system_id`.
    pub api_system_id: i64,
    /// When the stream was last known alive; `None`: never before.
    pub started_at: Option<Wall>,
    /// When it was live again.
    pub ended_at: Wall,
    /// A word: `start`, `reconnect`, `key`, ….
    pub reason: String,
    /// Epoch and position of the spool's record; a second row with the same is not written.
    pub identity: Option<([u8; 16], u64)>,
}

impl WaitingGap {
    /// A gap record as the dispatcher met it; `None` for an id that no database has.
    #[must_use]
    pub fn of_notice(notice: &GapNotice) -> Option<WaitingGap> {
        Some(WaitingGap {
            account: i64::try_from(notice.account.0).ok()?,
            api_system_id: i64::from(notice.exchange.0),
            started_at: notice.gap.silent_since,
            ended_at: notice.gap.live_at,
            reason: notice.gap.reason.clone(),
            identity: Some((notice.identity.epoch.0, notice.identity.position)),
        })
    }

    /// As the store takes it.
    #[must_use]
    pub fn row(&self) -> NewGap<'_> {
        NewGap {
            account_id: self.account,
            api_system_id: self.api_system_id,
            started_at: self.started_at,
            ended_at: self.ended_at,
            reason: &self.reason,
            identity: self.identity,
        }
    }
}

/// Too many gaps wait for the database: bring this one again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{GAPS_WAITING_MAX} gaps wait for the database already")]
pub struct GapsFull;

/// Gaps in the order in which they came, numbered from 1; they are settled in that order too.
#[derive(Debug, Default)]
pub struct GapBook {
    waiting: VecDeque<WaitingGap>,
    /// Gaps that ever came.
    offered: u64,
    /// Taken by [`GapBook::take`] and not yet settled.
    out: usize,
}

impl GapBook {
    /// Takes a gap in; its number.
    ///
    /// # Errors
    /// [`GapsFull`].
    pub fn offer(&mut self, gap: WaitingGap) -> Result<u64, GapsFull> {
        if self.len() >= GAPS_WAITING_MAX {
            return Err(GapsFull);
        }
        self.waiting.push_back(gap);
        self.offered += 1;
        Ok(self.offered)
    }

    /// The number up to which every gap has its row, or is one that the database will never take.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.offered - self.len() as u64
    }

    /// Gaps without a row, those on their way included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len() + self.out
    }

    /// Whether every gap has its row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether some wait to be taken.
    #[must_use]
    pub fn is_due(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The oldest ones, `max` at most; [`GapBook::settle`] follows.
    pub fn take(&mut self, max: usize) -> Vec<WaitingGap> {
        let taken: Vec<WaitingGap> = self.waiting.drain(..max.min(self.waiting.len())).collect();
        self.out += taken.len();
        taken
    }

    /// Of those taken, the ones in `left` have no row yet.
    pub fn settle(&mut self, left: Vec<WaitingGap>) {
        self.out = 0;
        for gap in left.into_iter().rev() {
            self.waiting.push_front(gap);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(account: i64) -> WaitingGap {
        let ended_at = Wall::from_millis(account);
        WaitingGap { account, api_system_id: 1, started_at: None, ended_at, reason: "start".to_owned(), identity: None }
    }

    #[test]
    fn gaps_are_bounded_and_keep_their_order() {
        let mut book = GapBook::default();
        let bound = GAPS_WAITING_MAX as i64;
        (0..bound).for_each(|account| assert_eq!(book.offer(gap(account)), Ok(account as u64 + 1)));
        let taken = book.take(3);
        assert_eq!(book.settled(), 0);
        assert_eq!(book.offer(gap(bound)), Err(GapsFull), "those on their way count");
        book.settle(taken[1..].to_vec());
        assert_eq!((book.settled(), book.len()), (1, GAPS_WAITING_MAX - 1));
        assert_eq!(book.offer(gap(bound)), Ok(bound as u64 + 1), "a refused one has no number");
        let order: Vec<i64> = book.take(usize::MAX).iter().map(|gap| gap.account).collect();
        assert!(order.into_iter().eq(1..=bound));
        assert!(!book.is_due() && !book.is_empty());
        book.settle(Vec::new());
        assert!(book.is_empty());
        assert_eq!(book.settled(), bound as u64 + 1);
    }
}
