//! A frame's way onto the board: every entry is judged, and what is sound is applied in one short turn.
//!
//! The frame is parsed into a staging list without any lock. Only when it is known to be whole, and it is clear whether
//! our clock or a single entry is wrong, symbols get their slots and values are put on the board together; a frame that
//! turns out broken leaves no trace but a count. A frame is never a snapshot: what it does not name is unchanged.
//!
//! An entry that is not sound touches neither price nor timestamp and is counted by kind (facts/incumbent.md §9, 29).
//! Data plane: nothing is allocated while every symbol is known.

use std::sync::Arc;
use std::time::Duration;

use super::board::{NewPrice, PriceBoard, Slot};
use super::frame_stamp::FrameStamp;
use super::intake_counts::IntakeCounts;
use super::symbol_table::SymbolTable;
use crate::domain::PriceText;
use crate::domain::limits::{EVENT_AHEAD_MAX, FRAME_ENTRIES_MAX, SYMBOLS_MAX};
use crate::exchange::binance::mark_price::{Entry, FrameFault, FrameKind, MarkPriceParser};

/// The loop's side of the board.
pub struct Intake {
    parser: MarkPriceParser,
    board: Arc<PriceBoard>,
    table: SymbolTable,
    history: Vec<History>,
    stage: Stage,
    new_names: Vec<Arc<str>>,
    values: Vec<NewPrice>,
    counts: IntakeCounts,
    frames: u64,
    seq_last: u64,
    refused: Option<Box<str>>,
}

/// What a frame came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameOutcome {
    /// What it was.
    pub verdict: FrameVerdict,
    /// Values put on the board.
    pub accepted: usize,
    /// Symbols never seen before.
    pub new_symbols: usize,
    /// Most entries are more than [`EVENT_AHEAD_MAX`] ahead of our wall clock: the clock is wrong, not they. They were
    /// accepted. An alarm.
    pub clock_behind: bool,
    /// A symbol found the table full for the first time: [`Intake::refused_symbol`] names it. An alarm, once.
    pub table_full: bool,
}

/// What a frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameVerdict {
    /// At least one value is new.
    Prices,
    /// Well-formed, no reply to a request, and not one usable row: an alarm, because that is how a changed envelope
    /// looks (facts/incumbent.md §9, 4).
    NoUsableRow,
    /// The reply to a request.
    Control,
    /// Refused as a whole.
    Fault(FrameFault),
}

/// The last value of a slot, for the loop's own judgement.
#[derive(Clone, Copy, Debug)]
struct History {
    /// `E` of the last value on that connection; [`i64::MIN`] where none was sent.
    event_ms: i64,
    connection: u64,
    /// The frame in which it came, and its place among that frame's values.
    frame: u64,
    at: u32,
}

/// Entries with a sound price, not yet on the board.
struct Stage {
    entries: Vec<Staged>,
    /// Names of symbols without a slot.
    names: String,
}

struct Staged {
    symbol: Place,
    price: PriceText,
    event_ms: Option<i64>,
    ahead: bool,
}

enum Place {
    Known(Slot),
    /// A part of [`Stage::names`].
    New {
        start: u32,
        len: u8,
    },
}

impl Intake {
    /// An intake for `board`; a board has one.
    #[must_use]
    pub fn new(board: Arc<PriceBoard>) -> Self {
        Intake {
            parser: MarkPriceParser::new(),
            board,
            table: SymbolTable::new(),
            history: Vec::with_capacity(SYMBOLS_MAX),
            stage: Stage { entries: Vec::with_capacity(FRAME_ENTRIES_MAX), names: String::new() },
            new_names: Vec::new(),
            values: Vec::with_capacity(SYMBOLS_MAX),
            counts: IntakeCounts::default(),
            frames: 0,
            seq_last: 0,
            refused: None,
        }
    }

    /// Upper bound of the memory, the parser's scratch apart; most of it stays untouched.
    #[must_use]
    pub const fn bytes_max() -> usize {
        SymbolTable::bytes_max()
            + SYMBOLS_MAX * (size_of::<History>() + size_of::<NewPrice>())
            + FRAME_ENTRIES_MAX * (size_of::<Staged>() + crate::domain::limits::SYMBOL_LEN_MAX)
    }

    /// Takes one message of the price stream: `buf[..len]`, with [`FRAME_PADDING`](crate::domain::limits::FRAME_PADDING)
    /// readable bytes behind it. The bytes are scratch afterwards.
    ///
    /// # Panics
    /// When `stamp.seq` is not above the one before: frames are numbered by us.
    pub fn handle_frame(&mut self, buf: &mut [u8], len: usize, stamp: FrameStamp) -> FrameOutcome {
        assert!(stamp.seq > self.seq_last, "stamp.seq must grow with each frame");
        self.seq_last = stamp.seq;
        self.frames += 1;
        self.stage.entries.clear();
        self.stage.names.clear();
        let ahead_of = stamp.received_at.as_millis().saturating_add(millis(EVENT_AHEAD_MAX));
        let mut tally = IntakeCounts::one_frame();
        let mut outcome = FrameOutcome {
            verdict: FrameVerdict::NoUsableRow,
            accepted: 0,
            new_symbols: 0,
            clock_behind: false,
            table_full: false,
        };

        let Intake { parser, table, stage, refused, .. } = self;
        let refused_before = refused.is_some();
        let mut after = None;
        let parsed = parser.parse(buf, len, &mut |entry| {
            tally.entries += 1;
            let entry = match entry {
                Entry::Price(entry) => entry,
                Entry::OtherMarket => return tally.other_market += 1,
                Entry::Bad(kind) => return tally.bad_entry[kind as usize] += 1,
            };
            let price = match PriceText::parse(entry.price.as_bytes()) {
                Ok(price) => price,
                Err(kind) => return tally.bad_price[kind as usize] += 1,
            };
            let symbol = match table.find(after, entry.symbol) {
                Some(slot) => {
                    after = Some(slot);
                    Place::Known(slot)
                }
                None if table.is_full() => {
                    refused.get_or_insert_with(|| entry.symbol.into());
                    return tally.table_full += 1;
                }
                None => stage.name(entry.symbol),
            };
            let ahead = entry.event_time_ms.is_some_and(|event_ms| event_ms > ahead_of);
            stage.entries.push(Staged { symbol, price, event_ms: entry.event_time_ms, ahead });
        });

        match parsed {
            Ok(FrameKind::Prices { split, .. }) => {
                tally.split_frames = u64::from(split);
                self.apply(stamp, ahead_of, &mut tally, &mut outcome);
                outcome.table_full = !refused_before && self.refused.is_some();
                if outcome.accepted > 0 {
                    outcome.verdict = FrameVerdict::Prices;
                }
            }
            Ok(FrameKind::Control) => {
                tally = IntakeCounts::one_frame();
                tally.control = 1;
                outcome.verdict = FrameVerdict::Control;
            }
            Ok(FrameKind::Other) => tally = IntakeCounts::one_frame(),
            Err(fault) => {
                tally = IntakeCounts::one_frame();
                tally.frame_faults[fault as usize] = 1;
                outcome.verdict = FrameVerdict::Fault(fault);
            }
        }
        tally.no_usable_row = u64::from(outcome.verdict == FrameVerdict::NoUsableRow);
        self.counts.add(&tally);
        debug_assert_eq!(
            self.counts.entries,
            self.counts.accepted + self.counts.rejected(),
            "each entry is counted once"
        );
        outcome
    }

    /// The counters since the start.
    #[must_use]
    pub fn counts(&self) -> &IntakeCounts {
        &self.counts
    }

    /// The first symbol that found the table full.
    #[must_use]
    pub fn refused_symbol(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Puts the staged entries on the board.
    fn apply(&mut self, stamp: FrameStamp, ahead_of: i64, tally: &mut IntakeCounts, outcome: &mut FrameOutcome) {
        let ahead = self.stage.entries.iter().filter(|entry| entry.ahead).count();
        outcome.clock_behind = ahead * 2 > self.stage.entries.len();
        tally.clock_behind_frames = u64::from(outcome.clock_behind);
        self.values.clear();
        self.new_names.clear();
        let stage = std::mem::take(&mut self.stage.entries);
        for entry in &stage {
            if entry.ahead && !outcome.clock_behind {
                tally.ahead += 1;
                continue;
            }
            let Some(slot) = self.slot(&entry.symbol) else {
                tally.table_full += 1;
                continue;
            };
            let history = &mut self.history[slot.index()];
            if history.frame == self.frames {
                // The same symbol again: the last one in the frame counts.
                self.values[history.at as usize].price = entry.price;
                tally.repeated += 1;
            } else {
                let resumed = history.frame == 0 || history.connection != stamp.connection;
                if resumed {
                    history.event_ms = i64::MIN;
                } else if entry.event_ms.is_some_and(|event_ms| event_ms < history.event_ms) {
                    tally.stale += 1;
                    continue;
                }
                (history.connection, history.frame, history.at) =
                    (stamp.connection, self.frames, self.values.len() as u32);
                self.values.push(NewPrice { slot, price: entry.price });
            }
            if let Some(event_ms) = entry.event_ms {
                // What was accepted only because our clock is behind must not outlaw what comes once it is right again.
                history.event_ms = event_ms.min(ahead_of);
            }
        }
        self.stage.entries = stage;
        outcome.accepted = self.values.len();
        outcome.new_symbols = self.new_names.len();
        tally.accepted = self.values.len() as u64;
        tally.new_symbols = self.new_names.len() as u64;
        if !self.values.is_empty() {
            tally.conflated = self.board.apply(stamp, &mut self.new_names, &self.values);
        }
    }

    /// The slot of a staged symbol, a fresh one if need be; `None` when the table is full.
    fn slot(&mut self, symbol: &Place) -> Option<Slot> {
        let name = match *symbol {
            Place::Known(slot) => return Some(slot),
            Place::New { start, len } => &self.stage.names[start as usize..start as usize + usize::from(len)],
        };
        if let Some(slot) = self.table.lookup(name) {
            return Some(slot);
        }
        let Some((slot, name)) = self.table.insert(name) else {
            self.refused.get_or_insert_with(|| name.into());
            return None;
        };
        self.new_names.push(name);
        self.history.push(History { event_ms: i64::MIN, connection: 0, frame: 0, at: 0 });
        debug_assert_eq!(self.history.len(), self.table.len(), "each slot has a history");
        Some(slot)
    }
}

impl Stage {
    fn name(&mut self, name: &str) -> Place {
        let start = self.names.len() as u32;
        self.names.push_str(name);
        Place::New { start, len: name.len() as u8 }
    }
}

const fn millis(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limits::FRAME_PADDING;
    use crate::domain::{Mono, Wall};

    /// 2026-11-23 07:30:15 UTC: our clock in these tests.
    const NOW: i64 = 1_795_419_015_000;

    struct Bench {
        board: Arc<PriceBoard>,
        intake: Intake,
        seq: u64,
        connection: u64,
    }

    impl Bench {
        fn new() -> Self {
            let board = Arc::new(PriceBoard::new());
            Bench { intake: Intake::new(Arc::clone(&board)), board, seq: 0, connection: 1 }
        }

        fn frame(&mut self, json: &str) -> FrameOutcome {
            self.seq += 1;
            let stamp = FrameStamp {
                seq: self.seq,
                received_at: Wall::from_millis(NOW),
                readable_at: Mono::from_nanos(self.seq),
                connection: self.connection,
            };
            let mut buf = json.as_bytes().to_vec();
            buf.resize(json.len() + FRAME_PADDING, b'x');
            self.intake.handle_frame(&mut buf, json.len(), stamp)
        }

        /// A frame of `(symbol, price, E - NOW)`.
        fn prices(&mut self, entries: &[(&str, &str, i64)]) -> FrameOutcome {
            let entries: Vec<_> = entries
                .iter()
                .map(|(s, p, e)| {
                    format!(r#"{{"e":"markPriceUpdate","E":{},"s":"{s}","p":"{p}","T":0,"st":1}}"#, NOW + e)
                })
                .collect();
            self.frame(&format!("[{}]", entries.join(",")))
        }

        /// What the writer would be given.
        #[track_caller]
        fn check(&self, expected: &[(&str, &str)]) {
            let (mut taken, mut names) = (Vec::new(), Vec::new());
            self.board.take_dirty(&mut taken);
            self.board.names_since(0, &mut names);
            let found: Vec<_> = taken.iter().map(|t| (&*names[t.slot.index()], t.price.as_str())).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_bad_price_touches_nothing_and_hides_nobody() {
        let mut bench = Bench::new();
        bench.prices(&[("A", "50000.12345678", 0), ("B", "3000.00000000", 0)]);
        bench.check(&[("A", "50000.12345678"), ("B", "3000.00000000")]);
        let outcome = bench.prices(&[
            ("B", "0", 1),
            ("B", "-1", 1),
            ("B", "abc", 1),
            ("B", "", 1),
            ("B", "0.0000000000000000001", 1),
            ("B", "100000000000000000000", 1),
            ("C", "NaN", 1),
            ("A", "50001", 1),
        ]);
        assert_eq!((outcome.verdict, outcome.accepted, outcome.new_symbols), (FrameVerdict::Prices, 1, 0));
        bench.check(&[("A", "50001")]);
        let latest = bench.board.latest(Slot(1)).unwrap();
        assert_eq!((latest.price.as_str(), latest.stamp.seq), ("3000.00000000", 1));
        let counts = bench.intake.counts();
        let rejected: Vec<_> = counts.rejected_by_kind().filter(|&(_, n)| n > 0).collect();
        assert_eq!(rejected, [("not_decimal", 4), ("not_positive", 1), ("too_large", 1), ("too_fine", 1)]);
        assert_eq!((counts.entries, counts.accepted, counts.frames), (10, 3, 2));
    }

    #[test]
    fn a_frame_without_a_usable_row_is_an_alarm_and_a_reply_is_not() {
        for (json, verdict) in [
            ("[]", FrameVerdict::NoUsableRow),
            ("{}", FrameVerdict::NoUsableRow),
            ("[1,null,{}]", FrameVerdict::NoUsableRow),
            (r#"[{"e":"markPriceUpdate","s":"A","p":"0"}]"#, FrameVerdict::NoUsableRow),
            (r#"[{"e":"markPriceUpdate","s":"BTCUSD_PERP","p":"5","st":2}]"#, FrameVerdict::NoUsableRow),
            (r#"{"payload":[{"e":"markPriceUpdate","s":"A","p":"5"}]}"#, FrameVerdict::NoUsableRow),
            (r#"{"result":null,"id":1}"#, FrameVerdict::Control),
            (r#"{"e":"markPriceUpdate","s":"A","p":"5"}"#, FrameVerdict::Prices),
            (
                r#"{"stream":"!markPrice@arr@1s","data":[{"e":"markPriceUpdate","s":"A","p":"5"}]}"#,
                FrameVerdict::Prices,
            ),
        ] {
            let mut bench = Bench::new();
            let outcome = bench.frame(json);
            assert_eq!(outcome.verdict, verdict, "{json}");
            let alarm = u64::from(verdict == FrameVerdict::NoUsableRow);
            assert_eq!(bench.intake.counts().no_usable_row, alarm, "{json}");
        }
    }

    #[test]
    fn a_broken_frame_leaves_no_trace() {
        let mut bench = Bench::new();
        let outcome = bench.frame(r#"[{"s":"A","p":"5"},{"s":"B","p":"6""#);
        assert!(matches!(outcome.verdict, FrameVerdict::Fault(_)), "{outcome:?}");
        let counts = bench.intake.counts();
        assert_eq!((counts.entries, counts.frame_faults_by_kind().map(|(_, n)| n).sum::<u64>()), (0, 1));
        assert_eq!(bench.board.counts().symbols, 0);
        bench.check(&[]);
    }

    #[test]
    fn an_event_time_ahead_is_a_bad_entry_unless_most_are() {
        let mut bench = Bench::new();
        let outcome = bench.prices(&[("A", "1", 60_000), ("B", "2", 60_001), ("C", "3", 0)]);
        assert!(!outcome.clock_behind);
        bench.check(&[("A", "1"), ("C", "3")]);
        assert_eq!((bench.intake.counts().ahead, bench.board.counts().symbols), (1, 2));
        // Half is not most.
        let outcome = bench.prices(&[("A", "2", 3_600_000), ("C", "4", 1)]);
        assert!(!outcome.clock_behind);
        bench.check(&[("C", "4")]);
        // Most: the clock is wrong, the prices are taken.
        let outcome = bench.prices(&[("A", "5", 3_600_000), ("B", "6", 3_600_000), ("C", "7", 2)]);
        assert!(outcome.clock_behind);
        bench.check(&[("A", "5"), ("B", "6"), ("C", "7")]);
        assert_eq!(bench.intake.counts().clock_behind_frames, 1);
        // Once the clocks agree again, what came meanwhile does not count as the future for longer than a minute.
        bench.prices(&[("A", "8", 60_000), ("B", "9", 59_999), ("C", "10", 3)]);
        bench.check(&[("A", "8"), ("C", "10")]);
        assert_eq!(bench.intake.counts().stale, 1);
    }

    #[test]
    fn an_older_event_is_stale_until_the_connection_changes() {
        let mut bench = Bench::new();
        bench.prices(&[("A", "1", 0), ("B", "1", 0)]);
        bench.prices(&[("A", "2", -1), ("B", "2", 0)]);
        bench.check(&[("A", "1"), ("B", "2")]);
        assert_eq!((bench.intake.counts().stale, bench.intake.counts().conflated), (1, 1));
        bench.connection = 2;
        bench.prices(&[("A", "3", -30_000)]);
        bench.check(&[("A", "3")]);
        bench.prices(&[("A", "4", -30_001)]);
        bench.check(&[]);
        // An entry without E cannot be judged and is taken; it does not reset what is known.
        bench.frame(r#"[{"s":"A","p":"5"}]"#);
        bench.check(&[("A", "5")]);
        bench.prices(&[("A", "6", -30_001), ("B", "7", -60_000)]);
        bench.check(&[("B", "7")]);
    }

    #[test]
    fn the_last_of_a_frame_counts() {
        let mut bench = Bench::new();
        let outcome = bench.prices(&[("A", "1", 5), ("B", "2", 0), ("A", "3", 0), ("A", "0", 0)]);
        assert_eq!(outcome.accepted, 2);
        bench.check(&[("A", "3"), ("B", "2")]);
        assert_eq!((bench.intake.counts().repeated, bench.intake.counts().conflated), (1, 0));
    }

    #[test]
    fn a_frame_is_never_a_snapshot() {
        let mut bench = Bench::new();
        bench.prices(&[("A", "1", 0), ("B", "2", 0)]);
        bench.prices(&[("C", "3", 0)]);
        bench.check(&[("A", "1"), ("B", "2"), ("C", "3")]);
        assert_eq!(bench.board.latest(Slot(0)).unwrap().price.as_str(), "1");
    }

    #[test]
    fn symbols_beyond_the_bound_are_counted_and_named_once() {
        let mut bench = Bench::new();
        let names: Vec<_> = (0..SYMBOLS_MAX + 2).map(|n| format!("S{n}")).collect();
        let entries: Vec<_> = names.iter().map(|name| (name.as_str(), "1", 0)).collect();
        let outcome = bench.prices(&entries);
        assert_eq!((outcome.accepted, outcome.table_full), (SYMBOLS_MAX, true));
        let first = format!("S{SYMBOLS_MAX}");
        assert_eq!(bench.intake.refused_symbol(), Some(&*first));
        let outcome = bench.prices(&[("X", "1", 0), ("S0", "2", 0)]);
        assert_eq!((outcome.accepted, outcome.table_full), (1, false));
        assert_eq!((bench.intake.refused_symbol(), bench.intake.counts().table_full), (Some(&*first), 3));
    }

    #[test]
    #[should_panic(expected = "seq must grow")]
    fn frames_are_numbered() {
        let mut bench = Bench::new();
        bench.frame("[]");
        bench.seq -= 1;
        bench.frame("[]");
    }
}
