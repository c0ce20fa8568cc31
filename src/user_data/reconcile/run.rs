//! One account's reconcile from the rows that ask for it to their outcome. Blocks: for reconcile threads.

use std::collections::BTreeSet;
use std::time::Duration;

use super::conclusion::{Conclusion, Heard, RecoveredEvent};
use super::drive::{Driver, Unfinished};
use super::meter_file::SharedMeter;
use super::plan::{Plan, Scope, unanswered};
use super::ports::{AccountRest, Credentials};
use super::status::Repair;
use super::venue_clock::VenueClock;
use crate::domain::limits::{
    DRIFT_LOOK_BACK, RECONCILE_EDGE, RECONCILE_FIRST_LOOK_BACK, RECONCILE_GAPS_MAX, RECONCILE_HEARD_MAX,
    RECONCILE_LOOK_BACK_MAX, RECONCILE_ORDERS_MAX, RECONCILE_OVERLAP, RECONCILE_UNPLACED_MAX, RECOVERED_WRITTEN_WITHIN,
    UNPLACED_LOOK_BACK, VENUE_CLOCK_OFF_MAX,
};
use crate::domain::{Clock, Now, Wall};
use crate::exchange::binance::signed::ApiSecret;
use crate::spool::{AccountId, Batch, BatchError, Entry, ExchangeId, Kind};
use crate::store::reconcile::{GapVerdict, LocalOrder};
use crate::store::user_data_rows::GapRow;
use crate::store::{StoreError, WorkStore};
use crate::user_data::control::ports::ColumnCipher;
use crate::user_data::discovery::ApiKey;
use crate::user_data::spooler::{RecoveredLink, Written};
use crate::user_data::weight_meter::WeightClass;

/// Rows of one reading of recorded events.
const HEARD_PAGE: u32 = 5_000;
/// How often a wait for the spool looks whether it is to be broken off.
const SPOOL_LOOK: Duration = Duration::from_millis(50);

/// What a task works with.
pub(super) struct Run<'a> {
    pub(super) account: i64,
    pub(super) canonical: &'a str,
    /// Whether local orders that do not show what was heard are told again.
    pub(super) heals: bool,
    pub(super) store: &'a mut WorkStore,
    pub(super) rest: &'a dyn AccountRest,
    pub(super) cipher: &'a dyn ColumnCipher,
    pub(super) meter: &'a SharedMeter,
    pub(super) clock: &'a dyn Clock,
    pub(super) venue_clock: &'a VenueClock,
    pub(super) goes_on: &'a dyn Fn() -> bool,
}

/// Where recovered events go.
pub(super) struct Outlet<'a> {
    pub(super) link: &'a RecoveredLink,
    /// Up to which position the spool is durable.
    pub(super) synced: &'a dyn Fn() -> u64,
}

/// What a task came to.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) newest_id: i64,
    pub(super) repairs: Vec<Repair>,
    pub(super) conclusion: Conclusion,
    /// The venue was asked, and all of its answer compared.
    pub(super) is_compared: bool,
}

impl Run<'_> {
    /// Closes the account's gaps.
    ///
    /// # Errors
    /// [`Unfinished`]; the gaps stay outstanding, and say why.
    pub(super) fn close_gaps(&mut self, outlet: &Outlet<'_>) -> Result<Found, Unfinished> {
        let account = self.account;
        let gaps = self.store.run(|tables| tables.waiting_gaps_of(account, RECONCILE_GAPS_MAX)).map_err(database)?;
        let Some(newest) = gaps.last() else { return Ok(Found { newest_id: i64::MAX, ..Found::default() }) };
        let newest_id = newest.id;
        let ids: Vec<i64> = gaps.iter().map(|gap| gap.id).collect();
        let now = self.clock.now().wall;
        self.store.run(|tables| tables.gaps_taken_up(&ids, now)).map_err(database)?;
        let outcome =
            self.compare(WeightClass::Reconcile, span_of(&gaps, now), true).and_then(|(conclusion, system)| {
                self.spool(&conclusion.events, system, outlet)?;
                Ok(conclusion)
            });
        match outcome {
            Ok(conclusion) => {
                let repairs = self.settle(&gaps, &conclusion)?;
                Ok(Found { newest_id, repairs, conclusion, is_compared: true })
            }
            Err(unfinished) => {
                if let Some(sentence) = unfinished.sentence() {
                    let verdict = GapVerdict { outcome: None, note: sentence, recovered: 0, at: now };
                    // The status says it too; the row is for those who look later.
                    let _ = self.store.run(|tables| tables.settle_gap(newest_id, &verdict));
                }
                Err(unfinished)
            }
        }
    }

    /// The safety net: what has drifted, told anew through `outlet` where there is one.
    ///
    /// # Errors
    /// [`Unfinished`].
    pub(super) fn sync_orders(&mut self, outlet: Option<&Outlet<'_>>) -> Result<Found, Unfinished> {
        let now = self.clock.now().wall;
        let (conclusion, system) =
            self.compare(WeightClass::SyncOrders, (before(now, DRIFT_LOOK_BACK), None), false)?;
        if let Some(outlet) = outlet {
            self.spool(&conclusion.events, system, outlet)?;
        }
        Ok(Found { conclusion, is_compared: true, ..Found::default() })
    }

    /// Notes that the account was asked, so that whoever plays the safety net knows who is stale. One whose answer never came for
    /// the address's sake was not.
    ///
    /// # Errors
    /// The database's.
    pub(super) fn note_asked(&mut self, found: &Result<Found, Unfinished>) -> Result<(), StoreError> {
        let is_compared = match found {
            Ok(found) if found.is_compared => true,
            Err(Unfinished::Failed(_)) => false,
            Ok(_) | Err(Unfinished::Interrupted | Unfinished::Address(_) | Unfinished::Database(_)) => return Ok(()),
        };
        let (account, now) = (self.account, self.clock.now().wall);
        self.store.run(|tables| tables.note_asked(account, now, is_compared))
    }

    /// Reads the venue and the database, and compares; with `api_system_id`.
    pub(super) fn compare(
        &mut self,
        class: WeightClass,
        (since, until): (Wall, Option<Wall>),
        asks_income: bool,
    ) -> Result<(Conclusion, i64), Unfinished> {
        let (account, canonical) = (self.account, self.canonical);
        let mut orders = self.local_orders()?;
        let (row, opened) = self
            .store
            .run(|tables| Ok((tables.account_row(canonical, account)?, tables.opened_symbols(account)?)))
            .map_err(database)?;
        let Some(row) = row else { return Err(Unfinished::because("the account is not to be streamed")) };
        if orders.len() == RECONCILE_ORDERS_MAX as usize {
            let sentence = format!("the account has more than {RECONCILE_ORDERS_MAX} local orders that are not over");
            return Err(Unfinished::because(sentence));
        }
        bound_unplaced(&mut orders);
        let open = |text| self.cipher.open(text).map_err(Unfinished::because);
        let credentials = Credentials {
            api_key: ApiKey::new(&open(&row.api_key_ciphertext)?),
            secret: ApiSecret::new(open(&row.api_secret_ciphertext)?),
        };
        let mut symbols: BTreeSet<String> = opened.into_iter().collect();
        let (_, heard_of) = self.heard(since)?;
        symbols.extend(heard_of);
        let driver = Driver {
            rest: self.rest,
            credentials: &credentials,
            meter: self.meter,
            class,
            clock: self.clock,
            venue_clock: self.venue_clock,
            goes_on: self.goes_on,
        };
        if self.venue_clock.is_due(self.clock.now()) {
            // Without it ours will do, unless the venue says that it does not.
            if let Err(sentence) = driver.ask_clock()? {
                tracing::warn!(account, "{sentence}");
            }
        }
        // The gap's bounds are of our clock, what happened in it is told by the venue's.
        let ahead_ms = self.ahead_ms(self.clock.now());
        let at_venue = |at: Wall| at.as_millis().saturating_add(ahead_ms);
        let mut plan =
            Plan::new(Scope { since_ms: at_venue(since), until_ms: until.map(at_venue), asks_income, orders, symbols });
        driver.run(&mut plan)?;
        if self.ahead_ms(self.clock.now()).abs_diff(ahead_ms) > VENUE_CLOCK_OFF_MAX.as_millis() as u64 {
            return Err(Unfinished::because("a clock was set while the account was read: it is read again"));
        }
        // Read last, so that what was under way meanwhile counts as heard.
        let (heard, _) = self.heard(since)?;
        let local = self.local_orders()?;
        Ok((plan.conclude(&heard, &local, self.heals, self.clock.now().wall), row.api_system_id))
    }

    fn ahead_ms(&self, now: Now) -> i64 {
        self.venue_clock.ahead_ms(now).unwrap_or(0)
    }

    fn local_orders(&mut self) -> Result<Vec<LocalOrder>, Unfinished> {
        let account = self.account;
        let unplaced_since = before(self.clock.now().wall, UNPLACED_LOOK_BACK);
        self.store.run(|tables| tables.working_orders(account, unplaced_since, RECONCILE_ORDERS_MAX)).map_err(database)
    }

    /// The events that were recorded since, and their symbols.
    fn heard(&mut self, since: Wall) -> Result<(Heard, BTreeSet<String>), Unfinished> {
        let account = self.account;
        let since = before(since, RECONCILE_OVERLAP);
        let (mut heard, mut symbols, mut after, mut count) = (Heard::default(), BTreeSet::new(), 0, 0);
        loop {
            let page = self.store.run(|tables| tables.events_since(account, since, after, HEARD_PAGE));
            let page = page.map_err(database)?;
            count += page.len();
            for (id, text) in &page {
                symbols.extend(heard.add(text.as_bytes()));
                after = *id;
            }
            if page.len() < HEARD_PAGE as usize {
                return Ok((heard, symbols));
            }
            if count > RECONCILE_HEARD_MAX {
                let sentence = format!("more than {RECONCILE_HEARD_MAX} events were recorded since the gap began");
                return Err(Unfinished::because(sentence));
            }
        }
    }

    /// Hands the events over, and waits until a power cut cannot take them back.
    fn spool(&self, events: &[RecoveredEvent], system: i64, outlet: &Outlet<'_>) -> Result<(), Unfinished> {
        let exchange = ExchangeId(u32::try_from(system).unwrap_or(u32::MAX));
        let account = AccountId(self.account.unsigned_abs());
        let entry = Entry { kind: Kind::Recovered, account, exchange, received_at: self.clock.now().wall };
        let mut batches = Vec::new();
        for event in events {
            let text = event.text.as_bytes();
            if batches.is_empty() {
                batches.push(Batch::new());
            }
            let last = batches.last_mut().expect("there is one");
            match last.push(entry, text, &[]) {
                Ok(()) => {}
                Err(BatchError::Full) => {
                    let mut next = Batch::new();
                    next.push(entry, text, &[]).expect("an empty batch takes an event of a kilobyte");
                    batches.push(next);
                }
                Err(BatchError::TooLarge(len)) => {
                    return Err(Unfinished::because(format!("an event of {len} bytes fits no record")));
                }
            }
        }
        let until = self.clock.now().mono.plus(RECOVERED_WRITTEN_WITHIN);
        let in_time = || -> Result<(), Unfinished> {
            match (self.clock.now().mono < until, (self.goes_on)()) {
                (true, true) => Ok(()),
                (_, false) => Err(Unfinished::Interrupted),
                (false, _) => Err(Unfinished::because("the spool does not take what was recovered")),
            }
        };
        for mut batch in batches {
            let written = loop {
                match outlet.link.send(batch) {
                    Ok(written) => break written,
                    Err(back) => batch = back,
                }
                in_time()?;
                std::thread::sleep(SPOOL_LOOK);
            };
            let position = wait_written(&written, &in_time)?;
            while (outlet.synced)() < position {
                in_time()?;
                std::thread::sleep(SPOOL_LOOK);
            }
        }
        Ok(())
    }

    fn settle(&mut self, gaps: &[GapRow], conclusion: &Conclusion) -> Result<Vec<Repair>, Unfinished> {
        let ahead_ms = self.ahead_ms(self.clock.now());
        let now = self.clock.now().wall;
        let mut counts = vec![0_u64; gaps.len()];
        for event in conclusion.events.iter().filter(|event| event.is_missed) {
            let at = Wall::from_millis(event.at_ms.saturating_sub(ahead_ms));
            let is_in = |gap: &GapRow| {
                gap.started_at.is_none_or(|start| start <= at)
                    && at.as_micros() <= gap.ended_at.as_micros() + micros(RECONCILE_EDGE)
            };
            let place = gaps.iter().position(is_in).unwrap_or(gaps.len() - 1);
            counts[place] += 1;
        }
        let healed = conclusion.events.len() - conclusion.missed();
        self.store
            .run(|tables| {
                for (gap, &recovered) in gaps.iter().zip(&counts) {
                    let outcome = if recovered == 0 { "nothing_missed" } else { "recovered" };
                    let note = note(recovered, healed, conclusion);
                    let verdict = GapVerdict { outcome: Some(outcome), note: &note, recovered, at: now };
                    tables.settle_gap(gap.id, &verdict)?;
                }
                Ok(())
            })
            .map_err(database)?;
        let repairs = gaps.iter().zip(&counts).map(|(gap, &recovered)| Repair {
            account: gap.account_id,
            started_at: gap.started_at,
            ended_at: gap.ended_at,
            reason: gap.reason.clone(),
            recovered,
            closed_at: now,
        });
        Ok(repairs.collect())
    }
}

fn wait_written(written: &Written, in_time: &dyn Fn() -> Result<(), Unfinished>) -> Result<u64, Unfinished> {
    loop {
        match written.wait(SPOOL_LOOK) {
            Ok(Some(position)) => return Ok(position),
            Ok(None) => in_time()?,
            Err(_) => return Err(Unfinished::Interrupted),
        }
    }
}

fn note(recovered: u64, healed: usize, conclusion: &Conclusion) -> String {
    let Conclusion { unknown, unplaced, .. } = conclusion;
    let mut note = match recovered {
        0 => "nothing was missed".to_owned(),
        1 => "one event was recovered".to_owned(),
        count => format!("{count} events were recovered"),
    };
    if healed > 0 {
        note.push_str(&format!("; {healed} that were heard are told again, since local orders do not show them"));
    }
    if !unknown.is_empty() {
        note.push_str(&format!("; the venue does not know these local orders any more: {}", unknown.join(", ")));
    }
    if !unplaced.is_empty() {
        note.push_str(&format!("; the venue never had these local orders: {}", unplaced.join(", ")));
    }
    note
}

/// Of the orders that only their client's id can find the newest, [`RECONCILE_UNPLACED_MAX`] at most.
fn bound_unplaced(orders: &mut Vec<LocalOrder>) {
    let count = orders.iter().filter(|local| unanswered(local).is_some()).count();
    let mut surplus = count.saturating_sub(RECONCILE_UNPLACED_MAX);
    orders.retain(|local| {
        let goes = surplus > 0 && unanswered(local).is_some();
        surplus -= usize::from(goes);
        !goes
    });
}

/// From when on the account is read, and until when something may be missing.
fn span_of(gaps: &[GapRow], now: Wall) -> (Wall, Option<Wall>) {
    let start = |gap: &GapRow| match (gap.started_at, gap.identity) {
        // Somebody asks for a reconcile because a job failed: when its event happened nobody says.
        (_, None) => before(gap.ended_at, DRIFT_LOOK_BACK),
        (Some(start), Some(_)) => before(start, RECONCILE_OVERLAP),
        (None, Some(_)) => before(gap.ended_at, RECONCILE_FIRST_LOOK_BACK),
    };
    let since = gaps.iter().map(start).min().unwrap_or(now);
    let is_bounded = gaps.iter().all(|gap| gap.identity.is_some());
    let end = gaps.iter().map(|gap| gap.ended_at).max().unwrap_or(now);
    let until = Wall::from_micros(end.as_micros() + micros(RECONCILE_EDGE));
    (since.max(before(now, RECONCILE_LOOK_BACK_MAX)), is_bounded.then_some(until))
}

fn before(at: Wall, span: Duration) -> Wall {
    Wall::from_micros(at.as_micros().saturating_sub(micros(span)))
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

fn database(error: StoreError) -> Unfinished {
    Unfinished::Database(format!("the database: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(started_s: Option<i64>, ended_s: i64, is_recorded: bool) -> GapRow {
        GapRow {
            id: 1,
            account_id: 1,
            api_system_id: 1,
            started_at: started_s.map(|at| Wall::from_millis(at * 1_000)),
            ended_at: Wall::from_millis(ended_s * 1_000),
            reason: "reconnect".to_owned(),
            identity: is_recorded.then_some(([0; 16], 1)),
            opened_at: None,
            outcome: None,
        }
    }

    #[test]
    fn the_span_covers_all_gaps_generously() {
        let now = 10_000_000;
        for (gaps, since, until) in [
            (vec![gap(Some(now - 100), now - 50, true)], now - 160, Some(now - 48)),
            (vec![gap(Some(now - 100), now - 50, true), gap(Some(now - 9), now - 5, true)], now - 160, Some(now - 3)),
            (vec![gap(None, now - 5, true)], now - 5 - 86_400, Some(now - 3)),
            (vec![gap(Some(now - 5), now - 5, false)], now - 905, None),
            (vec![gap(Some(0), now - 5, true)], now - 90 * 86_400, Some(now - 3)),
        ] {
            let wall = |s: i64| Wall::from_millis(s * 1_000);
            assert_eq!(span_of(&gaps, wall(now)), (wall(since), until.map(wall)), "{gaps:?}");
        }
    }

    #[test]
    fn notes_are_sentences() {
        assert_eq!(note(0, 0, &Conclusion::default()), "nothing was missed");
        assert_eq!(
            note(
                2,
                1,
                &Conclusion {
                    unknown: vec!["7".to_owned(), "9".to_owned()],
                    unplaced: vec!["x".to_owned()],
                    ..Conclusion::default()
                }
            ),
            "2 events were recovered; 1 that were heard are told again, since local orders do not show them; the venue does \
             not know these local orders any more: 7, 9; the venue never had these local orders: x"
        );
    }
}
