//! The whole price path without socket and database: WebSocket bytes → frames → parse → board → rows → SQL text.
//!
//! Real parts only, fed with the recorded frames of 700 and 191 entries, four rows for a symbol as on four venues. Shared
//! by the allocation tests and the bench, together with a twin of the naive kind that must produce the same text.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use kraite_streams::domain::limits::PRICE_MESSAGE_MAX;
use kraite_streams::domain::{ColumnScale, Mono, PriceText, Random, Wall};
use kraite_streams::prices::batch::{Batch, RowPrice};
use kraite_streams::prices::board::{PriceBoard, Taken};
use kraite_streams::prices::case_when::{Layout, StatementText};
use kraite_streams::prices::frame_stamp::{FrameStamp, StampPrecision, StampText};
use kraite_streams::prices::intake::{FrameOutcome, Intake};
use kraite_streams::prices::price_table::PriceTable;
use kraite_streams::prices::symbol_map::SymbolMap;
use kraite_streams::store::rows::{ApiSystem, MapRows, SymbolRow, TokenMapper};
use kraite_streams::stream::frame::{FrameReader, Incoming};
use kraite_streams::stream::plain::PlainBuffer;

/// The event time of the recorded frames.
pub const EVENT_MS: i64 = 1_795_419_015_000;
/// Symbols of both frames that are USDⓈ-M.
pub const SYMBOLS: usize = 673 + 191;
/// What TLS hands over at once.
pub const RECORD: usize = 16 << 10;

const CRYPTO: &str = include_str!("../fixtures/mark_price_arr.json");
const TRADFI: &str = include_str!("../fixtures/mark_price_arr_tradfi.json");

/// The bytes of one second, as they come out of TLS, and the two payloads in them.
pub struct Tick {
    pub wire: Vec<u8>,
    pub payloads: [Vec<u8>; 2],
}

/// `count` different seconds: the last five digits of every price differ. Each message comes in fragments of at most
/// `fragment` bytes.
pub fn ticks(count: usize, fragment: usize) -> Vec<Tick> {
    thin_ticks(count, fragment, 1)
}

/// The same with every `share`-th entry only.
pub fn thin_ticks(count: usize, fragment: usize, share: usize) -> Vec<Tick> {
    let mut random = Random::from_seed(20_261_123);
    let frames = [CRYPTO, TRADFI].map(|frame| {
        let entries = frame.trim_start_matches("[{").trim_end_matches("}]").split("},{");
        format!("[{{{}}}]", entries.step_by(share).collect::<Vec<_>>().join("},{"))
    });
    let one = |random: &mut Random| {
        let payloads = [&frames[0], &frames[1]].map(|frame| with_new_prices(frame, random));
        let mut wire = Vec::new();
        for payload in &payloads {
            write_message(payload, fragment, &mut wire);
        }
        Tick { wire, payloads }
    };
    (0..count).map(|_| one(&mut random)).collect()
}

fn with_new_prices(frame: &str, random: &mut Random) -> Vec<u8> {
    let mut bytes = frame.as_bytes().to_vec();
    let marks: Vec<_> = frame.match_indices(r#""p":""#).map(|(at, key)| at + key.len()).collect();
    for at in marks {
        let end = at + bytes[at..].iter().position(|&b| b == b'"').expect("a price is closed");
        for digit in &mut bytes[end - 5..end] {
            *digit = b'1' + random.below(9) as u8;
        }
    }
    bytes
}

/// A text message as a server sends it, in fragments of at most `piece` bytes.
fn write_message(payload: &[u8], piece: usize, out: &mut Vec<u8>) {
    let pieces = payload.chunks(piece.min(payload.len())).collect::<Vec<_>>();
    for (at, bytes) in pieces.iter().enumerate() {
        let fin = if at + 1 == pieces.len() { 0x80 } else { 0 };
        let opcode = if at == 0 { 1 } else { 0 };
        out.push(fin | opcode);
        match bytes.len() {
            n @ 0..=125 => out.push(n as u8),
            n @ 126..=0xffff => {
                out.push(126);
                out.extend_from_slice(&(n as u16).to_be_bytes());
            }
            n => {
                out.push(127);
                out.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(bytes);
    }
}

/// Rows as four venues would have them: the Binance row of each symbol, and three more of equal token, but for the
/// thousands, which KuCoin sells by ten thousands under a mapper.
pub fn map_rows() -> MapRows {
    let mut rows = MapRows::default();
    for (id, canonical) in [(1, "binance"), (2, "bybit"), (3, "kucoin"), (4, "bitget")] {
        rows.systems.push(ApiSystem { id, canonical: canonical.to_owned(), is_active: true });
    }
    let mut id = 100;
    for frame in [CRYPTO, TRADFI] {
        let entries: Vec<serde_json::Value> = serde_json::from_str(frame).expect("the fixture is JSON");
        for entry in entries.iter().filter(|entry| entry["st"] == 1) {
            let symbol = entry["s"].as_str().expect("a symbol is text");
            let (pair, dated) = symbol.split_once('_').map_or((symbol, false), |(pair, _)| (pair, true));
            let quote = ["USDT", "USDC", "BTC"].into_iter().find(|quote| pair.ends_with(quote)).expect("a known quote");
            let token = &pair[..pair.len() - quote.len()];
            for system in 1..=if dated { 1 } else { 4 } {
                let lot = token.strip_prefix("1000").filter(|rest| system == 3 && !rest.starts_with('0'));
                let named = lot.map_or_else(|| token.to_owned(), |rest| format!("10000{rest}"));
                if lot.is_some() && quote == "USDT" {
                    rows.mappers.push(TokenMapper {
                        binance_token: token.to_owned(),
                        other_token: named.clone(),
                        other_api_system_id: system,
                        price_ratio: None,
                    });
                }
                rows.symbols.push(SymbolRow {
                    id,
                    api_system_id: system,
                    token: named,
                    quote: quote.to_owned(),
                    asset: Some(symbol.to_owned()),
                    parsed_trading_pair: (system == 1).then(|| symbol.to_owned()),
                    is_price_aligned: true,
                });
                // With gaps, as in a table that has lived.
                id += 1 + id % 3;
            }
        }
    }
    rows
}

/// The path, warm or cold.
pub struct PricePath {
    pub plain: PlainBuffer,
    pub reader: FrameReader,
    pub intake: Intake,
    pub board: Arc<PriceBoard>,
    pub map: SymbolMap,
    pub taken: Vec<Taken>,
    pub batch: Batch,
    pub text: StatementText,
    names: Vec<Arc<str>>,
    seq: u64,
}

impl PricePath {
    pub fn new(table: PriceTable, layout: Layout) -> Self {
        let board = Arc::new(PriceBoard::new());
        let (map, report) = SymbolMap::build(&map_rows());
        assert_eq!(map.symbols().count(), SYMBOLS);
        assert!(report.contested.is_empty() && report.unknown_ratio.is_empty() && !report.shifted.is_empty());
        PricePath {
            plain: PlainBuffer::for_messages(PRICE_MESSAGE_MAX),
            reader: FrameReader::new(PRICE_MESSAGE_MAX),
            intake: Intake::new(Arc::clone(&board)),
            board,
            map,
            taken: Vec::new(),
            batch: Batch::new(),
            text: StatementText::new(table, layout),
            names: Vec::new(),
            seq: 0,
        }
    }

    /// When the `seq`-th frame is said to have been received.
    pub fn received_at(seq: u64) -> Wall {
        Wall::from_micros(EVENT_MS * 1_000 + seq as i64 * 1_234)
    }

    /// Decrypted bytes → board, record by record.
    pub fn receive(&mut self, wire: &[u8], mut each: impl FnMut(FrameOutcome)) {
        for record in wire.chunks(RECORD) {
            self.plain.append(record).expect("the buffer holds a message");
            while let Some(incoming) = self.reader.next(&mut self.plain).expect("the frames are sound") {
                let Incoming::Message { payload, .. } = incoming else { panic!("only messages were sent") };
                self.seq += 1;
                let stamp = FrameStamp {
                    seq: self.seq,
                    received_at: PricePath::received_at(self.seq),
                    readable_at: Mono::from_nanos(self.seq),
                    connection: 1,
                };
                let (bytes, len) = payload.into_padded();
                each(self.intake.handle_frame(bytes, len, stamp));
            }
        }
    }

    /// Board → rows.
    pub fn take(&mut self) {
        self.taken.clear();
        self.board.take_dirty(&mut self.taken);
        if self.board.counts().symbols > self.map.bound() {
            self.names.clear();
            self.board.names_since(self.map.bound(), &mut self.names);
            self.map.bind(&self.names);
        }
        self.batch.clear();
        for taken in &self.taken {
            for target in self.map.targets_of(taken.slot) {
                let price = target.price(&taken.price, ColumnScale::UNBOUNDED).expect("the fixture's prices are small");
                self.batch.push(&taken.stamp, RowPrice { row_id: target.row_id, slot: taken.slot, price });
            }
        }
    }

    /// Rows → text.
    pub fn build(&mut self) -> &str {
        self.text.build(&self.batch)
    }

    /// One whole tick.
    pub fn tick(&mut self, wire: &[u8]) -> &str {
        self.receive(wire, |_| ());
        self.take();
        self.build()
    }
}

/// The same work as code is usually written: serde structs, a hash map, `format!` and `join`.
pub struct Twin {
    rows: HashMap<String, Vec<(i64, i8)>>,
    board: HashMap<String, String>,
    seq: u64,
}

#[derive(serde::Deserialize)]
struct TwinEntry {
    s: String,
    p: String,
    st: Option<u8>,
}

impl Twin {
    pub fn new(map: &SymbolMap) -> Self {
        let rows = map.symbols().map(|(symbol, targets)| {
            (symbol.to_owned(), targets.iter().map(|target| (target.row_id, target.shift)).collect())
        });
        Twin { rows: rows.collect(), board: HashMap::new(), seq: 0 }
    }

    /// The text in [`Form::Case`](kraite_streams::prices::case_when::Form::Case), one transaction.
    pub fn tick(&mut self, payloads: &[Vec<u8>; 2]) -> String {
        let mut statements = String::new();
        for payload in payloads {
            self.seq += 1;
            let entries: Vec<TwinEntry> = serde_json::from_slice(payload).expect("the fixture is JSON");
            let mut updates = Vec::new();
            for entry in entries.into_iter().filter(|entry| entry.st != Some(2)) {
                if entry.p.parse::<f64>().is_ok_and(|price| price > 0.0) {
                    for &(id, shift) in self.rows.get(&entry.s).into_iter().flatten() {
                        let price = PriceText::parse(entry.p.as_bytes()).and_then(|price| price.shifted(shift));
                        updates.push((id, price.expect("the fixture's prices are small").to_string()));
                    }
                    self.board.insert(entry.s, entry.p);
                }
            }
            let stamp = StampText::new(PricePath::received_at(self.seq), StampPrecision::Millis);
            for chunk in updates.chunks_mut(500) {
                chunk.sort();
                let whens: Vec<_> = chunk.iter().map(|(id, price)| format!("WHEN {id} THEN {price}")).collect();
                let ids: Vec<_> = chunk.iter().map(|(id, _)| id.to_string()).collect();
                let _ = write!(
                    statements,
                    "UPDATE exchange_symbols SET mark_price = CASE id {} END, mark_price_synced_at = '{}' WHERE id IN ({}); ",
                    whens.join(" "),
                    stamp.as_str(),
                    ids.join(",")
                );
            }
        }
        format!("BEGIN; {statements}COMMIT;")
    }
}
