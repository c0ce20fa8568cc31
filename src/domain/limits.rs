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
/// A price frame above this is cut into its entries before it is parsed, so that no frame can make the kept tape grow
/// beyond 12 MiB (24 bytes for each structural character). Four times today's larger frame.
pub const FRAME_WHOLE_MAX: usize = 512 << 10;
/// Nesting of a price frame. Real ones have 3 levels; 64 is one bit a level in one machine word.
pub const JSON_DEPTH_MAX: usize = 64;
/// Pages of one instrument list. Bybit needs one or two of 1,000, Bitget two; a venue that never ends is refused.
pub const INSTRUMENT_PAGES_MAX: usize = 32;

// ---- stream: WebSocket ----

/// Payload of one price message. A tick is 120–146 kB today; libraries that default to 64 kB fail.
pub const PRICE_MESSAGE_MAX: usize = 4 << 20;
/// Readable bytes behind a message that simd-json's kernels may look at (`SIMDJSON_PADDING` is 32, one AVX-512 load 64).
pub const FRAME_PADDING: usize = 64;
/// Payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_PAYLOAD_MAX: usize = 125;
/// The HTTP head of the upgrade answer.
pub const UPGRADE_HEAD_MAX: usize = 16 << 10;
/// Header of one frame from a server: two bytes, and eight of a 64-bit length (RFC 6455 §5.2; servers do not mask).
pub const FRAME_HEADER_MAX: usize = 10;
/// Plaintext of one TLS record (RFC 8446 §5.1).
pub const TLS_RECORD_PLAINTEXT_MAX: usize = 16 << 10;
/// Server names whose TLS tickets are kept: the venues' hosts and their fallbacks. A ticket holds its server's chain, so
/// it costs about 4 kB.
pub const TLS_SERVER_NAMES_MAX: usize = 16;

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
/// From the first dirty symbol to the write: the second frame of a tick arrives within it.
pub const SETTLE_DEFAULT: Duration = Duration::from_millis(25);
/// From the start of a write to the start of the next.
pub const WRITE_INTERVAL_DEFAULT: Duration = Duration::from_millis(500);
/// Shorter would be more work for nobody: the stream ticks once a second.
pub const WRITE_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Between two loads of the symbol map, as the incumbent.
pub const MAP_RELOAD_DEFAULT: Duration = Duration::from_secs(300);
/// A second writer waits this long for the lock at its start: a restart overlaps for seconds. A ghost's lock lives longer
/// (45 s); the supervisor's next start finds it gone.
pub const LOCK_WAIT_DEFAULT: Duration = Duration::from_secs(10);
/// First pause after a fault at the database; doubles.
pub const STORE_RETRY_MIN: Duration = Duration::from_millis(250);
/// Longest pause after a fault at the database: so late the newest price is, at most, once it is back.
pub const STORE_RETRY_MAX: Duration = Duration::from_secs(5);
/// Between two looks for symbols that went quiet.
pub const UNSEEN_EVERY: Duration = Duration::from_secs(10);
/// Names in one report of rows or symbols; the rest is a number.
pub const BAD_ROWS_NAMED_MAX: usize = 20;

// ---- ops ----

/// From SIGTERM to the end of the process.
pub const STOP_MAX: Duration = Duration::from_secs(10);

const _: () = assert!(CHUNK_ROWS_MAX <= ROWS_MAX);
const _: () = assert!(DATA_SILENCE_MAX.as_secs() < DATA_SILENCE_EXIT.as_secs());
const _: () = assert!(FRAME_ENTRIES_MAX >= SYMBOLS_MAX);
const _: () = assert!(FRAME_WHOLE_MAX < PRICE_MESSAGE_MAX);
