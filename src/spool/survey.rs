//! The walk over an opened folder's records: which file holds which positions, and what they say about the accounts.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::disk::Disk;
use super::find::FoundFile;
use super::format::{
    AccountId, Kind, LivenessEntry, RECORD_HEADER_LEN, RecordHeader, SEGMENT_HEADER_LEN, SegmentHeader, segment_name,
};
use super::read::keep_damage;
use super::report::{AccountFound, Damage, OpenError, OpenReport, failed};
use super::scan::{Scanner, Step};
use super::state::Account;
use super::windows::Run;
use crate::domain::limits::SPOOL_ACCOUNTS_MAX;

/// Walks the records from the segment before the cursor's on; older segments are taken at their headers' word.
pub(super) fn scan<D: Disk>(
    disk: &D,
    files: &[FoundFile<D::File>],
    acked: u64,
    fold: &mut Fold,
    report: &mut OpenReport,
) -> Result<(Vec<Run>, Vec<u64>), OpenError> {
    let from = files.iter().rposition(|found| found.header.first <= acked).unwrap_or(0).saturating_sub(1);
    let mut runs = Vec::new();
    let mut scanned = Vec::new();
    for (at, found) in files.iter().enumerate() {
        let next = files.get(at + 1).filter(|next| next.header.previous_id == found.id).map(|next| next.header);
        if at < from
            && !found.rebuilt
            && let Some(next) = next
            && next.previous_len <= found.size
        {
            if next.previous_end > found.header.first {
                runs.push(Run {
                    id: found.id,
                    first: found.header.first,
                    end: next.previous_end,
                    start: SEGMENT_HEADER_LEN as u64,
                    stop: next.previous_len,
                    newest: next.created_at,
                });
            }
            continue;
        }
        scanned.push(found.id);
        let accepted = next.map(|next| next.previous_len).filter(|&len| len <= found.size);
        scan_file(disk, found, accepted, fold, &mut runs, report)
            .map_err(|error| failed(&format!("read {}", segment_name(found.id)), error))?;
    }
    Ok((runs, scanned))
}

fn scan_file<D: Disk>(
    disk: &D,
    found: &FoundFile<D::File>,
    accepted: Option<u64>,
    fold: &mut Fold,
    runs: &mut Vec<Run>,
    report: &mut OpenReport,
) -> io::Result<()> {
    fold.enter(&found.header, found.rebuilt);
    let limit = accepted.unwrap_or(found.size);
    let mut scanner = Scanner::new(Arc::clone(&found.file), found.header.epoch, SEGMENT_HEADER_LEN as u64);
    let mut run: Option<Run> = None;
    let mut expected = found.header.first;
    let mut behind_damage = false;
    loop {
        match scanner.step(limit)? {
            Step::Record { header, at } => {
                if behind_damage && header.position > expected {
                    fold.damage.push(expected..header.position);
                }
                behind_damage = false;
                let stop = at + header.record_len() as u64;
                match &mut run {
                    Some(run) if run.end == header.position => {
                        (run.end, run.stop) = (header.position + 1, stop);
                        run.newest = run.newest.max(header.received_at);
                    }
                    _ => runs.extend(run.replace(Run {
                        id: found.id,
                        first: header.position,
                        end: header.position + 1,
                        start: at,
                        stop,
                        newest: header.received_at,
                    })),
                }
                expected = header.position + 1;
                fold.record(&header, scanner.record());
            }
            Step::Damaged { at, end } => {
                behind_damage = true;
                fold.hole(expected);
                keep(disk, found, at, end, report);
            }
            Step::End { at, torn } => {
                if torn > 0 && accepted.is_some() {
                    keep(disk, found, at, at + torn, report);
                } else if torn > 0 {
                    report.torn.push(Damage { segment: found.id, offset: at, bytes: torn });
                }
                break;
            }
        }
    }
    runs.extend(run);
    Ok(())
}

fn keep<D: Disk>(disk: &D, found: &FoundFile<D::File>, at: u64, end: u64, report: &mut OpenReport) {
    report.damaged.push(Damage { segment: found.id, offset: at, bytes: end - at });
    if let Err(error) = keep_damage(disk, &*found.file, found.id, at, end) {
        // The bytes are still in the segment; a full disk must not keep the rest from being drained.
        report.quarantine_failed.push(format!("{} at {at}: {error}", segment_name(found.id)));
    }
}

/// What the records add up to.
pub(super) struct Fold {
    acked: u64,
    pub accounts: HashMap<AccountId, Account>,
    pub unacknowledged: u64,
    next: u64,
    /// A hole behind the cursor was met: later marks may be of records after frames that are gone.
    frozen: bool,
    /// Positions that lie in damaged stretches.
    pub damage: Vec<std::ops::Range<u64>>,
}

impl Fold {
    pub fn new(acked: u64) -> Self {
        Fold { acked, accounts: HashMap::new(), unacknowledged: 0, next: 0, frozen: false, damage: Vec::new() }
    }

    fn enter(&mut self, header: &SegmentHeader, rebuilt: bool) {
        let promised = if rebuilt { header.first } else { header.previous_end };
        if self.next != 0 && promised > self.next && promised > self.acked {
            self.frozen = true;
        }
        if self.next == 0 {
            self.next = header.first;
        }
    }

    /// Records from `position` on, some or none, are gone.
    fn hole(&mut self, position: u64) {
        self.frozen |= position >= self.acked;
    }

    fn record(&mut self, header: &RecordHeader, record: &[u8]) {
        // A rewritten segment repeats what an older one told.
        if header.position < self.next {
            return;
        }
        self.next = header.position + 1;
        let pending = header.position >= self.acked;
        self.unacknowledged += u64::from(pending);
        if header.kind == Kind::Liveness {
            let payload = &record[RECORD_HEADER_LEN..][..header.payload_len as usize];
            for entry in LivenessEntry::read_all(payload) {
                let account = self.accounts.entry(entry.account).or_default();
                account.last = account.last.max(entry.last_position);
                if !self.frozen {
                    account.alive_at = account.alive_at.max(Some(entry.alive_at));
                }
            }
        }
        if header.account == AccountId(0) {
            return;
        }
        let account = self.accounts.entry(header.account).or_default();
        account.last = account.last.max(header.position);
        if pending && !header.kind.is_mark() {
            account.unacked += record.len() as u64;
        }
        // What was recovered says nothing of the stream.
        if !self.frozen && !matches!(header.kind, Kind::Liveness | Kind::Recovered) {
            account.alive_at = account.alive_at.max(Some(header.received_at));
        }
    }

    /// What the spool goes on with. The segments may tell of more accounts than it remembers, since it forgets those that are
    /// not streamed any more: then the longest silent of those without unacknowledged frames stay out.
    pub fn into_accounts(mut self) -> HashMap<AccountId, Account> {
        let surplus = self.accounts.len().saturating_sub(SPOOL_ACCOUNTS_MAX);
        if surplus > 0 {
            let mut order: Vec<_> =
                self.accounts.iter().map(|(&id, known)| (known.unacked > 0, known.alive_at, id)).collect();
            order.sort_unstable();
            for (_, _, id) in order.into_iter().take(surplus) {
                self.accounts.remove(&id);
            }
        }
        self.accounts
    }

    pub fn found(&self) -> Vec<AccountFound> {
        let mut found: Vec<AccountFound> = self
            .accounts
            .iter()
            .map(|(&account, known)| AccountFound { account, alive_at: known.alive_at, last_position: known.last })
            .collect();
        found.sort_unstable_by_key(|found| found.account);
        found
    }
}
