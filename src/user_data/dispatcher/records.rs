//! From the spool's records to the batch at hand: what is read, what is looked at, what becomes a job.

use super::Dispatcher;
use super::poison::Poison;
use crate::domain::Mono;
use crate::domain::limits::{DISPATCH_IDLE_MAX, GAP_ROWS_MAX};
use crate::queue::JobRecord;
use crate::spool::{Disk, ExchangeId, Kind, ReadBatch, Record};
use crate::user_data::gaps::GapNotice;
use crate::user_data::spooler::Damage;

impl<D: Disk> Dispatcher<D> {
    /// All numbers are known now, and this exchange has this one.
    pub fn know_exchange(&mut self, exchange: ExchangeId, canonical: &str) {
        self.config.awaits_more = false;
        if self.canonical(exchange).is_none() {
            self.config.canonicals.push((exchange, canonical.to_owned()));
        }
    }

    fn canonical(&self, exchange: ExchangeId) -> Option<&str> {
        let known = self.config.canonicals.iter().find(|(known, _)| *known == exchange);
        known.map(|(_, canonical)| canonical.as_str())
    }

    /// Reads records and makes jobs of them until the batch is full or nothing more is there. A turn asks once at most what of
    /// them is done.
    pub(super) fn fill(&mut self, now: Mono) {
        self.is_drained = false;
        let mut has_asked = false;
        while !self.is_closed && !self.is_full() && !has_asked {
            if self.at == self.read.len() {
                if !self.read_more() {
                    self.is_drained = true;
                    return;
                }
                has_asked = self.look_for_done();
            }
            let read = std::mem::replace(&mut self.read, ReadBatch::empty());
            let mut must_wait = false;
            for record in read.iter().skip(self.at) {
                must_wait = self.config.awaits_more
                    && record.kind != Kind::Liveness
                    && self.canonical(record.exchange).is_none();
                if must_wait || self.is_full() {
                    break;
                }
                self.handle_record(&record, now);
                self.at += 1;
            }
            self.read = read;
            if must_wait {
                self.is_drained = true;
                if self.batch.is_empty() {
                    self.retry_at = now.plus(DISPATCH_IDLE_MAX);
                }
                return;
            }
        }
    }

    /// Whether there is something more.
    fn read_more(&mut self) -> bool {
        self.at = 0;
        let read = self.parts.reader.read(&mut self.read, &mut self.skipped);
        let count = match read {
            Ok(count) => count,
            Err(error) => {
                tracing::error!("the spool cannot be read, which is tried again: {error}");
                0
            }
        };
        for skipped in self.skipped.drain(..) {
            self.own.damaged += 1;
            tracing::error!(
                segment = skipped.segment,
                offset = skipped.offset,
                "positions {} to {} of the spool are damaged; a gap record covers them",
                skipped.positions.start,
                skipped.positions.end
            );
            if skipped.positions.is_empty() {
                continue;
            }
            let before_it = self.read.iter().take_while(|record| record.identity.position < skipped.positions.start);
            let after = before_it.last().map(|record| record.received_at).or(self.last_received);
            let behind = self.read.iter().find(|record| record.identity.position >= skipped.positions.end);
            let before = behind.map_or_else(|| self.parts.clock.now().wall, |record| record.received_at);
            self.damage.push(Damage { after, before });
        }
        if let Some(last) = self.read.iter().last() {
            self.last_received = Some(last.received_at);
        }
        count > 0
    }

    fn handle_record(&mut self, record: &Record<'_>, now: Mono) {
        let position = record.identity.position;
        match record.kind {
            Kind::Liveness => return self.acks.handle_seen(position),
            Kind::Gap => {
                if let Some(notice) = GapNotice::read(record) {
                    if self.waiting_rows.len() < GAP_ROWS_MAX {
                        self.acks.await_row(position, now);
                        self.waiting_rows.push_back(notice);
                    } else {
                        self.own.let_go += 1;
                        tracing::error!(
                            position,
                            "too many gaps wait for the database: this one gets no row, only a job"
                        );
                    }
                }
            }
            Kind::Frame | Kind::Recovered => {}
        }
        if let Some(replay) = self.replay.as_mut().filter(|replay| replay.is_done(position)) {
            replay.skip();
            self.own.left_out += 1;
            return self.acks.handle_seen(position);
        }
        if let Err(reason) = self.add(record, now) {
            self.own.poisoned += 1;
            tracing::error!(position, account = record.account.0, "no job can be made of a record: {reason}");
            if let Err(error) = self.parts.reader.quarantine(record, &reason) {
                tracing::error!(position, "it could not be put into quarantine, which is tried again: {error}");
                if self.poison.keep(Poison::of(record, reason)) {
                    self.acks.await_quarantine(position, now);
                } else {
                    self.own.let_go += 1;
                }
            }
        }
        self.acks.handle_seen(position);
    }

    fn add(&mut self, record: &Record<'_>, now: Mono) -> Result<(), String> {
        let canonical = self.config.canonicals.iter().find(|(exchange, _)| *exchange == record.exchange);
        let Some((_, canonical)) = canonical else {
            return Err(format!("the exchange {} is not known to this process", record.exchange.0));
        };
        let job = JobRecord {
            account: record.account.0,
            api_system: record.exchange.0,
            canonical,
            epoch: record.identity.epoch.0,
            position: record.identity.position,
            previous: (record.previous != 0).then_some(record.previous),
            received_at: record.received_at,
            kind: record.kind.as_str(),
            raw: record.payload,
        };
        self.batch.add(&mut self.parts.writer, &job, None, now).map_err(|bad| bad.to_string())?;
        self.own.gaps += u64::from(record.kind == Kind::Gap);
        Ok(())
    }
}
