//! Promise: whatever frames come, the board holds exactly what the rules say. A naive model with hash maps judges random
//! frames, takes, failed writes and reconnects beside the real intake.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kraite_streams::domain::limits::FRAME_PADDING;
use kraite_streams::domain::{Mono, Wall};
use kraite_streams::prices::board::{PriceBoard, Taken};
use kraite_streams::prices::frame_stamp::FrameStamp;
use kraite_streams::prices::intake::{FrameVerdict, Intake};
use proptest::prelude::*;

const NOW: i64 = 1_795_419_015_000;
const SYMBOLS: [&str; 6] = ["BTCUSDT", "币安人生USDT", "ETHUSDT", "1000PEPEUSDT", "ETHBTC", "\\u0041USDT"];
/// Price texts; the first four are sound.
const PRICES: [&str; 10] = ["1", "0.00010000", "86537.10501823", "7.5", "0", "0.000", "-1", "abc", "1e5", ""];

#[derive(Clone, Debug)]
enum Step {
    Frame {
        entries: Vec<Entry>,
        reconnect: bool,
        wrapped: bool,
    },
    Take,
    /// The last write failed.
    PutBack,
    MarkDirty(u32),
}

#[derive(Clone, Debug)]
enum Entry {
    Price { symbol: usize, price: usize, event: Option<i64> },
    CoinM,
    Junk(usize),
}

const JUNK: [&str; 6] = ["7", "null", "{}", r#"{"s":"BTCUSDT"}"#, r#"{"p":"1"}"#, r#"{"s":"BTCUSDT","p":1.5}"#];

fn entry() -> impl Strategy<Value = Entry> {
    let event = prop_oneof![
        1 => Just(None),
        8 => (-3i64..4).prop_map(Some),
        1 => Just(Some(60_000)),
        2 => Just(Some(60_001)),
    ];
    let price = prop_oneof![4 => 0usize..4, 1 => 4usize..PRICES.len()];
    prop_oneof![
        12 => (0..SYMBOLS.len(), price, event).prop_map(|(symbol, price, event)| Entry::Price { symbol, price, event }),
        1 => Just(Entry::CoinM),
        1 => (0..JUNK.len()).prop_map(Entry::Junk),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let frame = (prop::collection::vec(entry(), 0..8), prop::bool::weighted(0.1), any::<bool>());
    prop_oneof![
        6 => frame.prop_map(|(entries, reconnect, wrapped)| Step::Frame { entries, reconnect, wrapped }),
        2 => Just(Step::Take),
        1 => Just(Step::PutBack),
        1 => (0u32..8).prop_map(Step::MarkDirty),
    ]
}

/// The rules, as plainly as they can be written.
#[derive(Default)]
struct Model {
    cells: HashMap<String, Cell>,
    conflated: u64,
}

struct Cell {
    price: &'static str,
    seq: u64,
    dirty: bool,
    connection: u64,
    event: Option<i64>,
}

impl Model {
    /// Returns the number of accepted values.
    fn frame(&mut self, seq: u64, connection: u64, entries: &[Entry]) -> usize {
        let sound: Vec<_> = entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Price { symbol, price, event } if *price < 4 => Some((SYMBOLS[*symbol], PRICES[*price], *event)),
                _ => None,
            })
            .collect();
        let ahead = |event: Option<i64>| event.is_some_and(|event| event > 60_000);
        let clock_behind = 2 * sound.iter().filter(|entry| ahead(entry.2)).count() > sound.len();
        let mut accepted = 0;
        for (symbol, price, event) in sound {
            if ahead(event) && !clock_behind {
                continue;
            }
            let symbol = symbol.replace("\\u0041", "A");
            let known = event.map(|event| event.min(60_000));
            match self.cells.get_mut(&symbol) {
                None => {
                    accepted += 1;
                    self.cells.insert(symbol, Cell { price, seq, dirty: true, connection, event: known });
                }
                Some(cell) => {
                    let again = cell.seq == seq;
                    if !again {
                        if cell.connection != connection {
                            (cell.connection, cell.event) = (connection, None);
                        }
                        if event.zip(cell.event).is_some_and(|(event, last)| event < last) {
                            continue;
                        }
                        accepted += 1;
                        self.conflated += u64::from(cell.dirty);
                    }
                    (cell.price, cell.seq, cell.dirty) = (price, seq, true);
                    cell.event = known.or(cell.event);
                }
            }
        }
        accepted
    }

    fn take(&mut self) -> BTreeMap<String, (&'static str, u64)> {
        let dirty = self.cells.iter().filter(|(_, cell)| cell.dirty);
        let taken = dirty.map(|(symbol, cell)| (symbol.clone(), (cell.price, cell.seq))).collect();
        self.cells.values_mut().for_each(|cell| cell.dirty = false);
        taken
    }

    fn put_back(&mut self, failed: &BTreeMap<String, (&'static str, u64)>) {
        for (symbol, (_, seq)) in failed {
            let cell = self.cells.get_mut(symbol).expect("what was taken is known");
            cell.dirty |= cell.seq == *seq;
        }
    }
}

fn json(entries: &[Entry], wrapped: bool) -> String {
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| match entry {
            Entry::Price { symbol, price, event } => {
                let event = event.map_or_else(String::new, |event| format!(r#""E":{},"#, NOW + event));
                format!(
                    r#"{{"e":"markPriceUpdate",{event}"s":"{}","p":"{}","st":1}}"#,
                    SYMBOLS[*symbol], PRICES[*price]
                )
            }
            Entry::CoinM => r#"{"e":"markPriceUpdate","s":"BTCUSD_PERP","p":"5","st":2}"#.to_owned(),
            Entry::Junk(at) => JUNK[*at].to_owned(),
        })
        .collect();
    let array = format!("[{}]", entries.join(","));
    if wrapped { format!(r#"{{"stream":"!markPrice@arr@1s","data":{array}}}"#) } else { array }
}

fn run(steps: &[Step]) {
    let board = Arc::new(PriceBoard::new());
    let mut intake = Intake::new(Arc::clone(&board));
    let mut model = Model::default();
    let (mut seq, mut connection) = (0, 1);
    let mut taken: Vec<Taken> = Vec::new();
    let mut expected = BTreeMap::new();
    for step in steps.iter().chain([&Step::Take]) {
        let mut names = Vec::new();
        board.names_since(0, &mut names);
        match step {
            Step::Frame { entries, reconnect, wrapped } => {
                seq += 1;
                connection += u64::from(*reconnect);
                let text = json(entries, *wrapped);
                let mut buf = [text.as_bytes(), &[b'"'; FRAME_PADDING]].concat();
                let received_at = Wall::from_millis(NOW);
                let stamp = FrameStamp { seq, received_at, readable_at: Mono::from_nanos(seq), connection };
                let outcome = intake.handle_frame(&mut buf, text.len(), stamp);
                assert_eq!(outcome.accepted, model.frame(seq, connection, entries), "{text}");
                let verdict = if outcome.accepted > 0 { FrameVerdict::Prices } else { FrameVerdict::NoUsableRow };
                assert_eq!(outcome.verdict, verdict, "{text}");
            }
            Step::Take => {
                taken.clear();
                board.take_dirty(&mut taken);
                assert!(taken.is_sorted_by_key(|value| value.stamp.seq), "frames stand together, in order");
                expected = model.take();
                let found: BTreeMap<_, _> = taken
                    .iter()
                    .map(|value| (names[value.slot.index()].to_string(), (value.price.to_string(), value.stamp.seq)))
                    .collect();
                assert_eq!(found.len(), taken.len(), "a slot is taken once");
                let naive: BTreeMap<_, _> = expected
                    .iter()
                    .map(|(symbol, (price, seq))| (symbol.clone(), ((*price).to_owned(), *seq)))
                    .collect();
                assert_eq!(found, naive);
            }
            Step::PutBack => {
                board.put_back(&taken);
                model.put_back(&expected);
            }
            Step::MarkDirty(slot) => {
                board.mark_dirty(kraite_streams::prices::board::Slot(*slot));
                if let Some(name) = names.get(*slot as usize) {
                    model.cells.get_mut(&**name).expect("a name has a value").dirty = true;
                }
            }
        }
        let counts = board.counts();
        assert_eq!(counts.conflated, model.conflated);
        assert_eq!(counts.dirty, model.cells.values().filter(|cell| cell.dirty).count());
        assert_eq!(board.has_dirty(), counts.dirty > 0);
    }
    let counts = intake.counts();
    assert_eq!(counts.entries, counts.accepted + counts.rejected());
    assert_eq!((counts.accepted, counts.conflated), (board.counts().applied, model.conflated));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_board_is_what_the_rules_say(steps in prop::collection::vec(step(), 1..40)) {
        run(&steps);
    }
}
