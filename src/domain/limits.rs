//! Every upper bound of this program, with its reason and what it costs. Bounds that depend on each other are checked at
//! compile time at the end of the file.

use std::time::Duration;

// ---- prices: text ----

/// Digits before the point. `numeric(38,18)`, the widest column in use, holds 20.
pub const PRICE_INTEGER_DIGITS_MAX: usize = 20;
/// Digits behind the point: as above.
pub const PRICE_FRACTION_DIGITS_MAX: usize = 18;

// ---- exchange: price frames ----

/// Bytes of a symbol. The longest seen is 21 (`我踏马来了USDT` is 19); `exchange_symbols.asset` takes 64 characters.
pub const SYMBOL_LEN_MAX: usize = 64;
/// Entries of one price frame. Binance sends ~750 + ~200 a second (facts/binance.md §5); 4 MiB hold about 24,000.
pub const FRAME_ENTRIES_MAX: usize = 32_768;

// ---- stream: WebSocket ----

/// Payload of one price message. A tick is 120–146 kB today; libraries that default to 64 kB fail.
pub const PRICE_MESSAGE_MAX: usize = 4 << 20;
/// Readable bytes behind a message that simd-json's kernels may look at (`SIMDJSON_PADDING` is 32, one AVX-512 load 64).
pub const FRAME_PADDING: usize = 64;
/// Payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_PAYLOAD_MAX: usize = 125;
/// The HTTP head of the upgrade answer.
pub const UPGRADE_HEAD_MAX: usize = 16 << 10;

// ---- stream: liveness and backoff (DESIGN.md §3) ----

/// From the start of an attempt to the upgraded connection.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// A strict-data stream silent for this long is reconnected.
pub const DATA_SILENCE_MAX: Duration = Duration::from_secs(30);
/// A strict-data stream silent for this long gets a fresh process (`prices`) or a fresh role (`run`).
pub const DATA_SILENCE_EXIT: Duration = Duration::from_secs(300);
/// Exponent cap of the backoff: 2^5 = 32 s.
pub const BACKOFF_EXPONENT_MAX: u32 = 5;
/// A connection that lived this long with answered pings counts as healthy: the attempt counter starts again.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(60);

// ---- event loop ----

/// Ciphertext read from one socket in one turn, so that one flood cannot starve the others.
pub const READ_PER_TURN_MAX: usize = 256 << 10;

// ---- prices: board and writer ----

/// Symbols on the board. ~950 are listed in Nov 2026, 10–30 more a month; each costs about 200 bytes.
pub const SYMBOLS_MAX: usize = 8_192;
/// Rows of one `UPDATE`, the incumbent's chunk; CASE is linear in it (facts/measurements.md §3).
pub const CHUNK_ROWS_MAX: usize = 500;
/// Rows written for all symbols together: four venues and mapped doubles.
pub const ROWS_MAX: usize = 4 * SYMBOLS_MAX;
/// An event time further ahead of our clock than this is a bad entry.
pub const EVENT_AHEAD_MAX: Duration = Duration::from_secs(60);
/// A tracked symbol unseen for this long is reported by name.
pub const SYMBOL_UNSEEN_MAX: Duration = Duration::from_secs(60);

// ---- spool ----

/// Payload of one spooled record: the largest private frame that a session accepts is 1 MiB.
pub const SPOOL_PAYLOAD_MAX: usize = 1 << 20;
/// Bytes of the event suffix of a combined stream's name (`@ORDER_TRADE_UPDATE`); the longest known is 33.
pub const SPOOL_SUFFIX_MAX: usize = 64;
/// A batch that holds this much takes no further record: one `write(2)` of about 64 KiB.
pub const SPOOL_BATCH_BYTES: usize = 64 << 10;
/// Records of one batch.
pub const SPOOL_BATCH_RECORDS_MAX: usize = 1_024;
/// A recycled buffer larger than this is given back to the allocator, so that one giant frame does not stay resident.
pub const SPOOL_BUFFER_KEPT_MAX: usize = 4 * SPOOL_BATCH_BYTES;
/// Recycled batch buffers kept: 64 × 64 KiB = 4 MiB.
pub const SPOOL_BUFFERS_KEPT: usize = 64;
/// Size at which a new segment begins: small enough to be deleted in time, large enough that headers are noise.
pub const SPOOL_SEGMENT_BYTES: u64 = 64 << 20;
/// Default size of the whole spool: 8 GiB hold an hour of 2,000 frames/s of 1.1 KB.
pub const SPOOL_BYTES_MAX: u64 = 8 << 30;
/// Default share of one account's unacknowledged records: an eighth. Over it only that account pauses.
pub const SPOOL_ACCOUNT_BYTES_MAX: u64 = SPOOL_BYTES_MAX / 8;
/// Preallocated for gap and liveness records of a full disk: 4,000 gaps, or one snapshot of every account and 2,000 gaps.
pub const SPOOL_RESERVE_BYTES: u64 = 1 << 20;
/// Free space of the file system below which frames are refused: the database on the same disk lives on.
pub const SPOOL_FREE_MIN: u64 = 64 << 20;
/// Bytes written but not synced, all held in memory so that a failed `fdatasync` loses nothing.
pub const SPOOL_UNSYNCED_BYTES_MAX: usize = 32 << 20;
/// Records written but not synced. Positions leap by twice this at each open, so none that a power cut took is given again.
pub const SPOOL_UNSYNCED_RECORDS_MAX: u64 = 1 << 17;
/// Synced bytes that stay in memory for a dispatcher that keeps up.
pub const SPOOL_TAIL_BYTES_MAX: usize = 8 << 20;
/// Records handed out and not yet acknowledged: 32 bytes each, 2 MiB.
pub const SPOOL_IN_FLIGHT_MAX: usize = 65_536;
/// Accounts the spool remembers. A snapshot of all of them must fit half the reserve: 24 bytes each, 393 KB.
pub const SPOOL_ACCOUNTS_MAX: usize = 16_384;
/// Unsynced records wait at most this long for their group's `fdatasync` (facts/measurements.md §9).
pub const SPOOL_SYNC_INTERVAL: Duration = Duration::from_millis(5);
/// The durable cursor follows the acknowledged position at this pace; a crash repeats at most this much.
pub const SPOOL_CURSOR_INTERVAL: Duration = Duration::from_millis(250);
/// Acknowledged segments are kept this long: an accepted RPUSH is not durable (facts/laravel_queue.md).
pub const SPOOL_RETAIN: Duration = Duration::from_secs(24 * 3600);
/// Between two looks for segments to delete, and between two measurements of free space.
pub const SPOOL_SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Between two attempts on a disk that refused: the first pause, doubled up to the second after repeated failures.
pub const SPOOL_RETRY_MIN: Duration = Duration::from_millis(50);
/// See [`SPOOL_RETRY_MIN`].
pub const SPOOL_RETRY_MAX: Duration = Duration::from_secs(5);
/// Quarantine files kept; a further one is refused, loudly: this many poison records are a bug, not an accident.
pub const SPOOL_QUARANTINE_MAX: usize = 1_000;

// ---- ops ----

/// From SIGTERM to the end of the process.
pub const STOP_MAX: Duration = Duration::from_secs(10);

const _: () = assert!(CHUNK_ROWS_MAX <= ROWS_MAX);
const _: () = assert!(DATA_SILENCE_MAX.as_secs() < DATA_SILENCE_EXIT.as_secs());
const _: () = assert!(FRAME_ENTRIES_MAX >= SYMBOLS_MAX);
const _: () = assert!(SPOOL_BATCH_BYTES <= SPOOL_BUFFER_KEPT_MAX);
const _: () =
    assert!(SPOOL_ACCOUNTS_MAX * 24 <= SPOOL_PAYLOAD_MAX && SPOOL_ACCOUNTS_MAX as u64 * 24 < SPOOL_RESERVE_BYTES / 2);
const _: () =
    assert!(SPOOL_PAYLOAD_MAX as u64 * 2 < SPOOL_SEGMENT_BYTES && SPOOL_PAYLOAD_MAX * 2 < SPOOL_UNSYNCED_BYTES_MAX);
const _: () = assert!(SPOOL_BATCH_RECORDS_MAX as u64 * 2 < SPOOL_UNSYNCED_RECORDS_MAX);
const _: () = assert!(SPOOL_SUFFIX_MAX <= u8::MAX as usize);
