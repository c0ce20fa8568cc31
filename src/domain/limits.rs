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

// ---- ops ----

/// From SIGTERM to the end of the process.
pub const STOP_MAX: Duration = Duration::from_secs(10);

// ---- sim ----

/// Connections of the simulator; an idle one costs about 15 kB with its TLS state (measured with 1,500).
pub const SIM_CONNECTIONS_MAX: usize = 16_384;
/// Bytes owed to one connection of the simulator before it is dropped: about a minute of ticks.
pub const SIM_QUEUE_MAX: usize = 8 << 20;
/// HTTP head of a request to the simulator.
pub const SIM_REQUEST_HEAD_MAX: usize = 16 << 10;
/// Body of a request to the simulator.
pub const SIM_REQUEST_BODY_MAX: usize = 64 << 10;
/// Connections that the simulator's ledger remembers one by one; a record is below 200 bytes.
pub const SIM_CONNECTION_HISTORY_MAX: usize = 4_096;
/// Bad entries that the simulator's ledger remembers one by one: 400 faults of 24.
pub const SIM_POISONED_MAX: usize = 9_600;
/// Faults that wait for a connection.
pub const SIM_FAULTS_WAITING_MAX: usize = 1_024;
/// Streams of one connection of the simulator (facts/binance.md §3).
pub const SIM_STREAMS_MAX: usize = 1_024;
/// Payload that the oversize fault streams: more than [`PRICE_MESSAGE_MAX`].
pub const SIM_OVERSIZE_LEN: u64 = 5 << 20;

const _: () = assert!(SIM_OVERSIZE_LEN > PRICE_MESSAGE_MAX as u64);
const _: () = assert!(CHUNK_ROWS_MAX <= ROWS_MAX);
const _: () = assert!(DATA_SILENCE_MAX.as_secs() < DATA_SILENCE_EXIT.as_secs());
const _: () = assert!(FRAME_ENTRIES_MAX >= SYMBOLS_MAX);
