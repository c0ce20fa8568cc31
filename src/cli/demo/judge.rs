//! The checks themselves: what the run left behind, held against the simulator's ledger.

use std::collections::BTreeMap;

use super::audit_report::AuditReport;
use super::check::{Check, Verdict};
use super::truth::{Book, Comparison, compare, scaled};
use crate::daemon::telemetry::Snapshot;
use crate::domain::Wall;
use crate::sim::{BadEntry, Ledger, SimHandle};
use crate::store::rows::PricedRow;
use crate::stream::FaultKind;

/// Resident memory may grow by this much after the warm-up: allocator noise, the simulator's ledger, SQLite's cache.
const MEMORY_GROWTH_MAX: u64 = 24 << 20;
/// Frames that may be lost with a connection: those of the tick that was in flight, and of the one after.
const FRAMES_LOST_PER_BREAK: u64 = 4;

/// What the run left behind.
pub struct Evidence<'a> {
    /// The simulator.
    pub sim: &'a SimHandle,
    /// Its ledger, after everything has settled.
    pub ledger: &'a Ledger,
    /// Whether faults were asked for.
    pub with_faults: bool,
    /// The table at the end.
    pub rows: &'a [PricedRow],
    /// Rows that must hold prices.
    pub book: &'a Book,
    /// The client's own counters.
    pub stream: &'a Snapshot,
    /// Bad prices seen in the table at any look while it ran: a sentence each.
    pub sightings: &'a [String],
    /// Stamps seen that were ahead of the clock at that look: a sentence each.
    pub future_stamps: &'a [String],
    /// Frames sent and received between two moments of the quiet end.
    pub quiet_frames: (u64, u64),
    /// What the accounts' frames and orders came to.
    pub audit: &'a AuditReport,
    /// Resident memory after the warm-up and at the end.
    pub rss: (u64, u64),
}

impl Evidence<'_> {
    /// All checks.
    pub fn judge(&self) -> Vec<Verdict> {
        let comparison = compare(self.rows, self.book, &self.sim.last_valid_prices());
        Check::ALL
            .into_iter()
            .map(|check| {
                let (ok, detail) = match check {
                    Check::TableIsTruth => self.table_is_truth(&comparison),
                    Check::RatioIsExact => self.ratio_is_exact(&comparison),
                    Check::NothingFromBadEntries => self.nothing_from_bad_entries(),
                    Check::CoinMLeftOut => self.coin_m_left_out(),
                    Check::StampsAreReceiveTimes => self.stamps_are_receive_times(),
                    Check::EveryFrameAccounted => self.every_frame_accounted(),
                    Check::FaultsSurvived => self.faults_survived(),
                    Check::FramesAreAudited => self.audit.frames_are_audited(),
                    Check::GapsRepaired => self.audit.gaps_are_repaired(self.with_faults),
                    Check::OrdersAreTruth => self.audit.orders_are_truth(),
                    Check::IntentsFollow => self.audit.intents_follow(),
                    Check::MemoryIsFlat => self.memory_is_flat(),
                };
                Verdict { check, ok, detail }
            })
            .collect()
    }

    fn table_is_truth(&self, comparison: &Comparison) -> (bool, String) {
        let right: usize = comparison.right.values().sum();
        let by_exchange: Vec<String> =
            comparison.right.iter().map(|(exchange, count)| format!("{exchange} {count}")).collect();
        let every_exchange = comparison.right.len() == 4;
        let ok = comparison.wrong.is_empty() && every_exchange;
        let mut detail = format!("{right} rows hold the exchange's last valid price ({})", by_exchange.join(", "));
        if let Some(first) = comparison.wrong.first() {
            detail = format!("{} rows differ, the first: {first}; {detail}", comparison.wrong.len());
        }
        (ok, detail)
    }

    fn ratio_is_exact(&self, comparison: &Comparison) -> (bool, String) {
        let ok = comparison.wrong_shifted.is_empty() && comparison.right_shifted > 0;
        let mut detail = format!("{} rows with another contract size are shifted exactly", comparison.right_shifted);
        if let Some(first) = comparison.wrong_shifted.first() {
            detail = format!("{} rows differ, the first: {first}; {detail}", comparison.wrong_shifted.len());
        }
        (ok, detail)
    }

    /// The values themselves never in the table; and where a symbol turned bad for good, its last sound price is kept with
    /// its time.
    fn nothing_from_bad_entries(&self) -> (bool, String) {
        if let Some(first) = self.sightings.first() {
            return (false, format!("{} sightings, the first: {first}", self.sightings.len()));
        }
        let truth = self.sim.last_valid_prices();
        let mut kept = 0;
        for bad in self.ledger.poisoned.iter().filter(|bad| bad.held_back) {
            let row = self.rows.iter().find(|row| row.exchange == "binance" && row.symbol == bad.symbol);
            let Some(row) = row else { continue };
            let price = row.price.as_deref().and_then(scaled);
            if price != truth.get(&bad.symbol).and_then(|price| scaled(price)) {
                return (false, format!("{} turned {} and lost its last sound price", bad.symbol, bad.kind.as_str()));
            }
            let frame = Wall::from_millis(bad.frame_event_ms).to_string();
            if row.synced_at.as_deref().is_some_and(|stamp| stamp.get(..frame.len()).unwrap_or(stamp) >= &frame[..]) {
                return (false, format!("{} turned {} and got a fresh time", bad.symbol, bad.kind.as_str()));
            }
            kept += 1;
        }
        let total = self.ledger.bad_total();
        let ok = !self.with_faults || (total > 0 && kept > 0);
        (ok, format!("{total} bad entries sent, none applied; {kept} symbols kept their last sound price and its time"))
    }

    fn coin_m_left_out(&self) -> (bool, String) {
        let coin_m: Vec<&str> =
            self.sim.listed().iter().filter(|l| l.contract.is_coin_m()).map(|l| l.symbol.as_str()).collect();
        let found = self.rows.iter().find(|row| row.exchange == "binance" && coin_m.contains(&row.symbol.as_str()));
        if let Some(row) = found {
            return (false, format!("{} has a row, with price {:?}", row.symbol, row.price));
        }
        let seen = self.stream.counts.other_market;
        (seen > 0, format!("{seen} entries of {} COIN-M symbols dropped, none has a row", coin_m.len()))
    }

    fn stamps_are_receive_times(&self) -> (bool, String) {
        if let Some(first) = self.future_stamps.first() {
            return (false, format!("{} stamps ahead of the clock, the first: {first}", self.future_stamps.len()));
        }
        let priced = self.rows.iter().filter(|row| row.price.is_some());
        let (count, unstamped) =
            priced.fold((0, 0), |(n, none), row| (n + 1, none + usize::from(row.synced_at.is_none())));
        let ok = count > 0 && unstamped == 0;
        (ok, format!("{count} rows carry the receive time of their frame, none ahead of the clock"))
    }

    fn every_frame_accounted(&self) -> (bool, String) {
        let counts = &self.stream.counts;
        let refused: u64 = counts.frame_faults_by_kind().map(|(_, count)| count).sum();
        let received = counts.frames - counts.control;
        let sent = self.ledger.frames_delivered + self.ledger.unbalanced_delivered;
        let breaks: u64 = self.stream.faults_by_kind.iter().sum();
        let slack = breaks * FRAMES_LOST_PER_BREAK;
        let entries_add_up = counts.entries == counts.accepted + counts.rejected();
        let (quiet_sent, quiet_received) = self.quiet_frames;
        let ok = entries_add_up
            && received <= sent + slack
            && sent <= received + slack
            && quiet_sent > 0
            && quiet_sent == quiet_received;
        let detail = format!(
            "{received} of {sent} frames received over {breaks} breaks, {refused} refused; {quiet_received} of {quiet_sent} in the \
             quiet end; {} entries = {} accepted + {} rejected",
            counts.entries,
            counts.accepted,
            counts.rejected()
        );
        (ok, detail)
    }

    fn faults_survived(&self) -> (bool, String) {
        let named = |kinds: &[FaultKind]| -> u64 {
            FaultKind::ALL
                .iter()
                .zip(self.stream.faults_by_kind)
                .filter(|(kind, _)| kinds.contains(kind))
                .map(|(_, count)| count)
                .sum()
        };
        let counts = &self.stream.counts;
        let injected = |kinds: &[&str]| -> u64 { kinds.iter().filter_map(|kind| self.ledger.faults.get(kind)).sum() };
        let refused: u64 = counts.frame_faults_by_kind().map(|(_, count)| count).sum();
        // What the simulator calls it, what the client must call it, and how often the client did.
        let expected: [(&[&str], &str, u64); 9] = [
            (&["cut", "half_frame", "glued_frames", "slow_handshake"], "cut", named(&[FaultKind::Cut])),
            (&["close"], "closed", named(&[FaultKind::Closed])),
            (&["stall"], "stall", named(&[FaultKind::Stall])),
            (&["garbage", "tls_garbage"], "garbage", named(&[FaultKind::Garbage])),
            (&["oversize"], "oversize", named(&[FaultKind::Oversize])),
            (&["refuse_upgrade"], "refused", named(&[FaultKind::Refused])),
            (&["refuse_connect"], "unreachable", named(&[FaultKind::Unreachable])),
            (&["unbalanced"], "a refused message", refused),
            (&["bad_prices"], "rejected entries", counts.rejected() - counts.other_market),
        ];
        let mut missed = Vec::new();
        for (kinds, name, seen) in expected {
            let wanted = injected(kinds);
            if seen < wanted {
                missed.push(format!("{} injected {wanted} times, named as {name} {seen} times", kinds.join("/")));
            }
        }
        let live = self.stream.state == crate::ops::status::StreamState::Live;
        let total = self.ledger.faults_total();
        let waiting = self.ledger.faults_waiting;
        let ok = missed.is_empty() && live && (!self.with_faults || total > 0);
        let mut detail = format!("{total} faults injected, each named for what it was; the stream is live again");
        if !live {
            detail = format!("{total} faults injected; the stream is not live at the end");
        }
        if let Some(first) = missed.first() {
            detail = format!("{} kinds missed, the first: {first}", missed.len());
        }
        if waiting > 0 {
            detail.push_str(&format!("; {waiting} had no time to happen"));
        }
        (ok, detail)
    }

    fn memory_is_flat(&self) -> (bool, String) {
        let (warm, end) = self.rss;
        let ok = end <= warm + MEMORY_GROWTH_MAX;
        (ok, format!("{:.1} MB after the warm-up, {:.1} MB at the end", warm as f64 / 1e6, end as f64 / 1e6))
    }
}

/// Bad prices that stand in the table now, and stamps ahead of the clock.
pub fn look(rows: &[PricedRow], now: Wall, sightings: &mut Vec<String>, future: &mut Vec<String>) {
    const KEPT: usize = 100;
    let bad: BTreeMap<u128, &str> = BadEntry::ALWAYS
        .into_iter()
        .filter_map(|kind| {
            let text = kind.price_json()?.trim_matches('"');
            Some((scaled(text)?, kind.as_str()))
        })
        .collect();
    let clock = now.to_string();
    for row in rows {
        let Some(price) = row.price.as_deref() else { continue };
        let units = scaled(price);
        let kind = units.map_or(Some("not a decimal"), |units| bad.get(&units).copied());
        if let Some(kind) = kind
            && sightings.len() < KEPT
        {
            sightings.push(format!("{} {} holds {price} ({kind})", row.exchange, row.symbol));
        }
        if let Some(stamp) = row.synced_at.as_deref()
            && stamp.get(..clock.len()).unwrap_or(stamp) > &clock[..]
            && future.len() < KEPT
        {
            future.push(format!("{} {} is stamped {stamp} at {clock}", row.exchange, row.symbol));
        }
    }
}
