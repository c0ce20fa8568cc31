//! The text of a price update: chunks of at most 500 rows, each one `UPDATE … SET mark_price = CASE … WHEN … END`.
//!
//! ```sql
//! UPDATE exchange_symbols SET mark_price = CASE id WHEN 1 THEN 27451.20 WHEN 2 THEN 1842.55 END,
//!   mark_price_synced_at = '2026-11-23 07:30:15.123+00' WHERE id IN (1,2)
//! ```
//!
//! CASE is tested row by row, so its cost is linear in the chunk. [`Form::CaseBucketed`] asks 16 ranges first and 32 ids
//! then, and quotes the ids in `IN`, which PostgreSQL reads as bigint at once instead of folding a cast for each:
//! 0.55 of the time (facts/measurements.md §2–3). A statement never mixes frames, because it carries one stamp.
//!
//! Data plane: one preallocated buffer, digits copied, no formatting machinery, no allocation. The buffer's bound is
//! computed from the row and symbol limits ([`StatementText::bytes_max`]), so it never grows.

use std::ops::Range;
use std::str::FromStr;

use super::batch::{Batch, RowPrice};
use super::frame_stamp::{STAMP_TEXT_MAX, StampPrecision, StampText};
use super::price_table::{PriceLiteral, PriceTable};
use crate::domain::Wall;
use crate::domain::limits::{
    CHUNK_ROWS_MAX, PRICE_FRACTION_DIGITS_MAX, PRICE_INTEGER_DIGITS_MAX, ROWS_MAX, SYMBOLS_MAX,
};

/// How one statement is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `CASE id WHEN … THEN … END … WHERE id IN (…)`, plain.
    Case,
    /// The same in nested ranges of [`BUCKET_ROWS`] with quoted ids in `IN`.
    #[default]
    CaseBucketed,
}

impl Form {
    /// The word of the setting `prices.statement`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Form::Case => "case",
            Form::CaseBucketed => "case_bucketed",
        }
    }
}

impl FromStr for Form {
    type Err = UnknownForm;

    fn from_str(text: &str) -> Result<Self, UnknownForm> {
        [Form::Case, Form::CaseBucketed].into_iter().find(|form| form.as_str() == text).ok_or(UnknownForm)
    }
}

/// A word that is no form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown statement form: expected case or case_bucketed")]
pub struct UnknownForm;

/// Where the commits stand in the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transactions {
    /// `BEGIN; UPDATE …; UPDATE …; COMMIT;`: for a table with free space on its pages.
    #[default]
    One,
    /// `BEGIN; UPDATE …; COMMIT; BEGIN; …`: later chunks reuse what earlier ones freed. On a fillfactor-100 table one
    /// transaction is 1.7 times slower and grows the file by 0.8 GB in 1,000 ticks (facts/measurements.md §1).
    PerChunk,
}

/// How the text is laid out; fixed while a writer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The form of a statement.
    pub form: Form,
    /// Where the commits stand.
    pub transactions: Transactions,
    /// Rows of one statement, `1..=`[`CHUNK_ROWS_MAX`].
    pub chunk_rows: usize,
    /// What the stamp column keeps of a second.
    pub precision: StampPrecision,
}

impl Default for Layout {
    fn default() -> Self {
        Layout {
            form: Form::default(),
            transactions: Transactions::default(),
            chunk_rows: CHUNK_ROWS_MAX,
            precision: StampPrecision::default(),
        }
    }
}

/// Rows of one range of [`Form::CaseBucketed`]; anything from 16 to 64 measures the same.
pub const BUCKET_ROWS: usize = 32;

/// One `UPDATE` of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its rows in [`Batch::rows`], in feed order: as many must be affected.
    pub rows: Range<usize>,
    /// Where it stands in the text, without the transaction around it and without the semicolon.
    pub text: Range<usize>,
}

/// The buffer that the text is built in.
#[derive(Debug)]
pub struct StatementText {
    table: PriceTable,
    layout: Layout,
    text: Vec<u8>,
    chunks: Vec<Chunk>,
    /// (row id, place in the batch) of the chunk at hand, to be sorted.
    order: Vec<(i64, u32)>,
}

impl StatementText {
    /// A buffer for all rows there can be.
    ///
    /// # Panics
    /// When `layout.chunk_rows` is not in `1..=`[`CHUNK_ROWS_MAX`]; the settings check it.
    #[must_use]
    pub fn new(table: PriceTable, layout: Layout) -> Self {
        assert!((1..=CHUNK_ROWS_MAX).contains(&layout.chunk_rows), "chunk_rows must be 1..=CHUNK_ROWS_MAX");
        StatementText {
            text: Vec::with_capacity(StatementText::text_len_max(&table, layout)),
            chunks: Vec::with_capacity(chunks_max(layout)),
            order: Vec::with_capacity(layout.chunk_rows),
            table,
            layout,
        }
    }

    /// Upper bound of the memory, for the memory plan. It is reserved, not touched: a tick of 2,300 rows uses 80 KB.
    #[must_use]
    pub fn bytes_max(table: &PriceTable, layout: Layout) -> usize {
        StatementText::text_len_max(table, layout)
            + chunks_max(layout) * size_of::<Chunk>()
            + layout.chunk_rows * size_of::<(i64, u32)>()
    }

    /// Builds the message for a whole batch and returns it. [`StatementText::chunks`] tells its statements.
    pub fn build(&mut self, batch: &Batch) -> &str {
        self.begin();
        let one = self.layout.transactions == Transactions::One;
        if one && !batch.is_empty() {
            self.text.extend_from_slice(b"BEGIN; ");
        }
        for group in batch.groups() {
            let mut start = group.rows.start;
            while start < group.rows.end {
                let end = group.rows.end.min(start + self.layout.chunk_rows);
                self.write_chunk(batch, group.received_at, start..end, !one);
                start = end;
            }
        }
        if one && !batch.is_empty() {
            self.text.extend_from_slice(b"COMMIT;");
        }
        self.finish()
    }

    /// Builds one transaction of one statement for a part of a batch: a chunk that failed is halved with it until the
    /// row at fault stands alone.
    ///
    /// # Panics
    /// When `rows` is empty, larger than a chunk, outside the batch, or spans two frames.
    pub fn build_part(&mut self, batch: &Batch, rows: Range<usize>) -> &str {
        assert!(!rows.is_empty() && rows.len() <= self.layout.chunk_rows, "a part holds 1..=chunk_rows rows");
        let group = batch.groups().iter().find(|group| group.rows.start <= rows.start && rows.end <= group.rows.end);
        let received_at = group.expect("a part lies within one frame's rows").received_at;
        self.begin();
        self.write_chunk(batch, received_at, rows, true);
        self.finish()
    }

    /// The message built last.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).expect("the table's name was a str, the rest is ASCII")
    }

    /// The statements of the message built last, in order.
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// One statement of the message built last, without its transaction.
    #[must_use]
    pub fn statement(&self, chunk: &Chunk) -> &str {
        &self.as_str()[chunk.text.clone()]
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &PriceTable {
        &self.table
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Longest text of [`ROWS_MAX`] rows in [`SYMBOLS_MAX`] frames.
    fn text_len_max(table: &PriceTable, layout: Layout) -> usize {
        const ID_LEN_MAX: usize = "-9223372036854775808".len();
        const PRICE_LEN_MAX: usize = PRICE_INTEGER_DIGITS_MAX + 1 + PRICE_FRACTION_DIGITS_MAX;
        let key = table.key().len();
        let row = " WHEN  THEN ''".len() + ID_LEN_MAX + PRICE_LEN_MAX + ",''".len() + ID_LEN_MAX;
        let bucket = " WHEN  <=  THEN CASE  END".len() + 2 * key + ID_LEN_MAX;
        let chunk = "BEGIN; UPDATE  SET mark_price = CASE ELSE END, mark_price_synced_at = '' WHERE  IN (); COMMIT; "
            .len()
            + table.sql().len()
            + key
            + STAMP_TEXT_MAX;
        let chunks = chunks_max(layout);
        let buckets = chunks + ROWS_MAX / BUCKET_ROWS;
        ROWS_MAX * row + buckets * bucket + chunks * chunk + "BEGIN; COMMIT;".len()
    }

    fn begin(&mut self) {
        self.text.clear();
        self.chunks.clear();
    }

    fn finish(&self) -> &str {
        debug_assert!(self.text.len() <= StatementText::text_len_max(&self.table, self.layout), "the bound holds");
        self.as_str()
    }

    fn write_chunk(&mut self, batch: &Batch, received_at: Wall, rows: Range<usize>, own_transaction: bool) {
        let of_chunk = &batch.rows()[rows.clone()];
        self.order.clear();
        self.order.extend(of_chunk.iter().enumerate().map(|(at, row)| (row.row_id, at as u32)));
        self.order.sort_unstable();
        if own_transaction {
            self.text.extend_from_slice(b"BEGIN; ");
        }
        let start = self.text.len();
        let update = Update { table: &self.table, layout: self.layout, rows: of_chunk, order: &self.order };
        update.write(received_at, &mut self.text);
        self.chunks.push(Chunk { rows, text: start..self.text.len() });
        self.text.extend_from_slice(if own_transaction { b"; COMMIT; " } else { b"; " });
    }
}

/// Each frame on the board carries at least one symbol, and each frame's last chunk may be short.
const fn chunks_max(layout: Layout) -> usize {
    SYMBOLS_MAX + ROWS_MAX / layout.chunk_rows
}

/// One statement: its rows, and the order of their ids.
struct Update<'a> {
    table: &'a PriceTable,
    layout: Layout,
    rows: &'a [RowPrice],
    order: &'a [(i64, u32)],
}

impl Update<'_> {
    fn write(&self, received_at: Wall, out: &mut Vec<u8>) {
        let key = self.table.key().as_bytes();
        out.extend_from_slice(b"UPDATE ");
        out.extend_from_slice(self.table.sql().as_bytes());
        out.extend_from_slice(b" SET mark_price = ");
        if self.layout.form == Form::CaseBucketed && self.order.len() > BUCKET_ROWS {
            self.write_buckets(out);
        } else {
            self.write_case(self.order, out);
        }
        out.extend_from_slice(b", mark_price_synced_at = '");
        out.extend_from_slice(StampText::new(received_at, self.layout.precision).as_bytes());
        out.extend_from_slice(b"' WHERE ");
        out.extend_from_slice(key);
        out.extend_from_slice(b" IN (");
        for (at, &(id, _)) in self.order.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            match self.layout.form {
                Form::Case => write_i64(id, out),
                Form::CaseBucketed => {
                    out.push(b'\'');
                    write_i64(id, out);
                    out.push(b'\'');
                }
            }
        }
        out.push(b')');
    }

    /// `CASE WHEN id <= 37 THEN CASE id … END … ELSE CASE id … END END`.
    fn write_buckets(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"CASE");
        let mut buckets = self.order.chunks(BUCKET_ROWS).peekable();
        while let Some(bucket) = buckets.next() {
            match (bucket.last(), buckets.peek()) {
                (Some(&(last, _)), Some(_)) => {
                    out.extend_from_slice(b" WHEN ");
                    out.extend_from_slice(self.table.key().as_bytes());
                    out.extend_from_slice(b" <= ");
                    write_i64(last, out);
                    out.extend_from_slice(b" THEN ");
                }
                _ => out.extend_from_slice(b" ELSE "),
            }
            self.write_case(bucket, out);
        }
        out.extend_from_slice(b" END");
    }

    /// `CASE id WHEN 1 THEN 27451.20 … END`.
    fn write_case(&self, order: &[(i64, u32)], out: &mut Vec<u8>) {
        out.extend_from_slice(b"CASE ");
        out.extend_from_slice(self.table.key().as_bytes());
        for &(id, at) in order {
            out.extend_from_slice(b" WHEN ");
            write_i64(id, out);
            let price = self.rows[at as usize].price;
            match self.table.literal() {
                PriceLiteral::Number => {
                    out.extend_from_slice(b" THEN ");
                    out.extend_from_slice(price.as_bytes());
                }
                PriceLiteral::Text => {
                    out.extend_from_slice(b" THEN '");
                    out.extend_from_slice(price.as_bytes());
                    out.push(b'\'');
                }
            }
        }
        out.extend_from_slice(b" END");
    }
}

/// Decimal digits of `n`, two at a time.
fn write_i64(n: i64, out: &mut Vec<u8>) {
    const PAIRS: [[u8; 2]; 100] = {
        let mut pairs = [[0; 2]; 100];
        let mut n = 0;
        while n < 100 {
            pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
            n += 1;
        }
        pairs
    };
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = n.unsigned_abs();
    while rest >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    if rest > 0 || n == 0 {
        at -= 1;
        digits[at] = b'0' + rest as u8;
    }
    if n < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Mono, PriceText};
    use crate::prices::board::Slot;
    use crate::prices::frame_stamp::FrameStamp;

    fn stamp(seq: u64) -> FrameStamp {
        let received_at = Wall::from_micros(1_795_419_015_123_999);
        FrameStamp { seq, received_at, readable_at: Mono::ZERO, connection: 1 }
    }

    fn batch(frames: &[&[(i64, &str)]]) -> Batch {
        let mut batch = Batch::new();
        for (seq, rows) in frames.iter().enumerate() {
            for &(row_id, price) in *rows {
                let price = PriceText::parse(price.as_bytes()).unwrap();
                batch.push(&stamp(seq as u64), RowPrice { row_id, slot: Slot(0), price });
            }
        }
        batch
    }

    fn text(table: &str, layout: Layout, batch: &Batch) -> String {
        StatementText::new(PriceTable::parse(table).unwrap(), layout).build(batch).to_owned()
    }

    #[test]
    fn the_plain_form_is_the_owners_text() {
        let batch = batch(&[&[(7, "1842.55"), (3, "0.00010000")]]);
        let plain = Layout { form: Form::Case, ..Layout::default() };
        assert_eq!(
            text("exchange_symbols", plain, &batch),
            "BEGIN; UPDATE exchange_symbols SET mark_price = CASE id WHEN 3 THEN 0.00010000 WHEN 7 THEN 1842.55 END, \
             mark_price_synced_at = '2026-11-23 07:30:15.123+00' WHERE id IN (3,7); COMMIT;"
        );
        let seconds = Layout { precision: StampPrecision::Seconds, transactions: Transactions::PerChunk, ..plain };
        assert_eq!(
            text("app.exchange_symbol_prices", seconds, &batch).trim_end(),
            "BEGIN; UPDATE \"app\".exchange_symbol_prices SET mark_price = CASE exchange_symbol_id WHEN 3 THEN 0.00010000 \
             WHEN 7 THEN 1842.55 END, mark_price_synced_at = '2026-11-23 07:30:15+00' WHERE exchange_symbol_id IN (3,7); \
             COMMIT;"
        );
    }

    #[test]
    fn buckets_ask_ranges_first() {
        let rows: Vec<_> = (1..=70).rev().map(|id| (id, "5")).collect();
        let case = |ids: std::ops::RangeInclusive<i64>| {
            let whens: String = ids.map(|id| format!(" WHEN {id} THEN 5")).collect();
            format!("CASE id{whens} END")
        };
        let ids: Vec<_> = (1..=70).map(|id| format!("'{id}'")).collect();
        assert_eq!(
            text("exchange_symbols", Layout::default(), &batch(&[&rows])),
            format!(
                "BEGIN; UPDATE exchange_symbols SET mark_price = CASE WHEN id <= 32 THEN {} WHEN id <= 64 THEN {} ELSE {} \
                 END, mark_price_synced_at = '2026-11-23 07:30:15.123+00' WHERE id IN ({}); COMMIT;",
                case(1..=32),
                case(33..=64),
                case(65..=70),
                ids.join(",")
            )
        );
    }

    #[test]
    fn chunks_follow_the_feed_and_never_mix_frames() {
        let batch = batch(&[&[(9, "1"), (8, "2"), (7, "3")], &[(1, "4")], &[(6, "5"), (5, "6")]]);
        for transactions in [Transactions::One, Transactions::PerChunk] {
            let layout = Layout { transactions, chunk_rows: 2, form: Form::Case, ..Layout::default() };
            let mut text = StatementText::new(PriceTable::parse("exchange_symbols").unwrap(), layout);
            let message = text.build(&batch).to_owned();
            let rows: Vec<_> = text.chunks().iter().map(|chunk| chunk.rows.clone()).collect();
            assert_eq!(rows, [0..2, 2..3, 3..4, 4..6]);
            let commits = if transactions == Transactions::One { 1 } else { 4 };
            assert_eq!(message.matches("BEGIN; ").count(), commits);
            assert_eq!(message.matches("COMMIT;").count(), commits);
            let first = text.statement(&text.chunks()[0].clone()).to_owned();
            assert!(first.starts_with("UPDATE ") && first.ends_with(" IN (8,9)"), "{first}");
            let part = text.build_part(&batch, 5..6).to_owned();
            assert!(part.contains("CASE id WHEN 5 THEN 6 END") && part.ends_with("IN (5); COMMIT; "), "{part}");
            assert_eq!(text.chunks().len(), 1);
        }
        assert_eq!(text("exchange_symbols", Layout::default(), &Batch::new()), "");
    }

    #[test]
    #[should_panic(expected = "one frame")]
    fn a_part_of_two_frames_is_our_own_mistake() {
        let batch = batch(&[&[(1, "1")], &[(2, "2")]]);
        StatementText::new(PriceTable::parse("exchange_symbols").unwrap(), Layout::default()).build_part(&batch, 0..2);
    }

    #[test]
    fn the_largest_batch_fits_the_buffer() {
        let price = PriceText::parse(b"99999999999999999999.999999999999999999").unwrap();
        let mut batch = Batch::new();
        for at in 0..ROWS_MAX {
            let row_id = i64::MIN + at as i64;
            batch.push(&stamp(at.min(SYMBOLS_MAX - 1) as u64), RowPrice { row_id, slot: Slot(0), price });
        }
        for chunk_rows in [1, 33, CHUNK_ROWS_MAX] {
            for form in [Form::Case, Form::CaseBucketed] {
                let layout = Layout { form, chunk_rows, transactions: Transactions::PerChunk, ..Layout::default() };
                let table = PriceTable::parse("exchange_symbol_prices").unwrap().with_literal(PriceLiteral::Text);
                let mut text = StatementText::new(table, layout);
                let room = (text.text.capacity(), text.chunks.capacity(), text.order.capacity());
                text.build(&batch);
                assert!(text.text.len() <= room.0);
                assert_eq!(room, (text.text.capacity(), text.chunks.capacity(), text.order.capacity()));
            }
        }
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        let mut random = crate::domain::Random::from_seed(3);
        let small = (-1_100..1_100).chain([i64::MIN, i64::MAX]);
        for n in small.chain((0..10_000).map(|_| random.next_u64() as i64 >> random.below(63))) {
            let mut out = Vec::new();
            write_i64(n, &mut out);
            assert_eq!(out, n.to_string().as_bytes());
        }
    }
}
