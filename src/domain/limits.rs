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

// ---- exchange: private frames and listen keys ----

/// Nesting of a private frame that counts as JSON; real ones have 5 levels. serde_json, by which others read the recorded
/// bytes later, goes no deeper either.
pub const EVENT_DEPTH_MAX: usize = 127;
/// Nesting of a recorded frame that is audited as the JSON it is. PHP's `json_decode`, which reads the column, goes no deeper
/// by default, and a server's stack takes thousands.
pub const AUDIT_JSON_DEPTH_MAX: usize = 512;
/// Bytes of a listen key. Binance's has 64; what is shorter than the minimum is no secret.
pub const LISTEN_KEY_LEN_MIN: usize = 16;
/// See [`LISTEN_KEY_LEN_MIN`]; keys go into URLs and a text column, both of which take more.
pub const LISTEN_KEY_LEN_MAX: usize = 256;
/// Bytes of an API key. Binance's has 64; an HTTP header takes more.
pub const API_KEY_LEN_MAX: usize = 256;
/// The longest ban that is believed (facts/binance.md §3: "2 min growing to 3 days").
pub const BAN_MAX: Duration = Duration::from_secs(3 * 24 * 3_600);

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
/// A ticket with what it needs to be used: a server's chain, mostly.
pub const TICKET_BYTES: usize = 4 << 10;
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
/// From our close frame to the end of the socket when the peer's echo does not come.
pub const CLOSE_ECHO_MAX: Duration = Duration::from_secs(2);
/// Addresses of one host tried in one attempt; they share [`CONNECT_DEADLINE`], so more would leave each too little.
pub const ADDRESSES_TRIED_MAX: usize = 4;
/// A deadline handled this much too late means that this process or machine stood still, not the peer.
pub const STANDSTILL_MIN: Duration = Duration::from_secs(5);
/// Bytes of a stream's URL: 1,024 stream names (facts/binance.md §3) of 25 bytes and the rest.
pub const URL_LEN_MAX: usize = 32 << 10;
/// Unsent ciphertext of one connection above which of further pings only the newest is answered (RFC 6455 §5.5.3).
pub const OUTBOUND_MAX: usize = 16 << 10;
/// Unsent ciphertext of one connection above which it is given up: TLS itself answers a peer that reads nothing.
pub const OUTBOUND_HARD_MAX: usize = 4 * OUTBOUND_MAX;
/// The longest `Retry-After` that is obeyed; a server that asks for more is asked again.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// Characters of a peer's close reason or an error's text that are repeated in a fault.
pub const FAULT_QUOTE_MAX: usize = 300;
/// Payload of one private message. An account update of 1,000 positions is below 200 kB.
pub const USER_DATA_MESSAGE_MAX: usize = 1 << 20;
/// Between two pings of ours on a sparse stream, give or take a fifth ([`JITTER_PART`]): with [`PONG_WITHIN`], a half-open
/// socket is found within 60 s.
pub const PING_EVERY: Duration = Duration::from_secs(30);
/// From our ping to its pong, and from a probe to any sign of the server.
pub const PONG_WITHIN: Duration = Duration::from_secs(15);
/// Between two probes at the most, while it is not known that this venue answers pings: with [`PONG_WITHIN`], a half-open
/// socket is found within 60 s then, too.
pub const PROBE_EVERY: Duration = Duration::from_secs(44);
/// A sparse stream without anything from the server is given up; it pings every 3 min (facts/binance.md §3).
pub const SPARSE_BACKSTOP: Duration = Duration::from_secs(600);
/// Waits of sparse streams are jittered by one part in so many, so that a mass reconnect does not beat in step for ever.
pub const JITTER_PART: u32 = 5;
/// Between two client messages of a connection: 4 a second without a burst, below the 5 that were measured
/// (facts/binance.md §3).
pub const CLIENT_MESSAGE_EVERY: Duration = Duration::from_millis(250);
/// Texts of one connection that wait for their turn: 4 s of them.
pub const CLIENT_TEXTS_MAX: usize = 16;
/// Bytes of a text that we send: one subscription of 600 names.
pub const CLIENT_TEXT_LEN_MAX: usize = 16 << 10;
/// Requests of a consumer obeyed after one call of it; more are a mistake of ours and wait for the next.
pub const CONSUMER_REQUESTS_MAX: usize = 32;
/// A connection that nobody reads from is closed before the venue misses its pongs (10 min, facts/binance.md §3).
pub const PAUSED_MAX: Duration = Duration::from_secs(240);
/// A consumer hears of activity no more often than this per stream.
pub const ACTIVITY_EVERY: Duration = Duration::from_secs(1);
/// Sent ciphertext's buffer is given back when it is larger than this: a pong needs 160 bytes.
pub const OUTBOUND_IDLE_MAX: usize = 256;

// ---- stream: connect limiter ----

/// Connection attempts per source address in [`CONNECT_WINDOW`]; documented for spot, assumed here (facts/binance.md §3).
pub const CONNECTS_DEFAULT: usize = 300;
/// The largest setting: bounds the window's memory and file (36 bytes an attempt).
pub const CONNECTS_MAX: usize = 10_000;
/// The window of the limit.
pub const CONNECT_WINDOW: Duration = Duration::from_secs(300);
/// One part in so many of the attempts is kept for price streams: one stream that reconnects every 30 s, and its backoff.
pub const CONNECTS_PRICES_PART: usize = 30;
/// One part in so many of the attempts is kept for accounts with open positions.
pub const CONNECTS_EXPOSED_PART: usize = 6;
/// How long nobody connects after a 429 at the upgrade that names no time: a minute's weight is over by then.
pub const CONNECT_HOLD_LIMITED: Duration = Duration::from_secs(60);
/// … and after a 418: the shortest ban (facts/binance.md §3).
pub const CONNECT_HOLD_BANNED: Duration = Duration::from_secs(120);
/// The longest time for which nobody connects, whatever was asked for: then one attempt finds out.
pub const CONNECT_HOLD_MAX: Duration = Duration::from_secs(3_600);
/// After such a time one attempt goes ahead; the others wait so long for what comes of it.
pub const CONNECT_TRIAL: Duration = Duration::from_secs(2);
/// From a busy lock of the shared window to the next try.
pub const CONNECT_LOCK_RETRY: Duration = Duration::from_millis(20);
/// Between two warnings' worth of tries to open a shared window that could not be used.
pub const CONNECT_FILE_RETRY: Duration = Duration::from_secs(30);

// ---- event loop ----

/// Ciphertext read from one socket in one turn, so that one flood cannot starve the others.
pub const READ_PER_TURN_MAX: usize = 256 << 10;
/// The one buffer of ciphertext that all connections of a loop share: one turn's read and a record left over (18 kB).
pub const CIPHER_BUFFER: usize = READ_PER_TURN_MAX + (32 << 10);
/// Readiness events taken from one poll: 16 bytes each.
pub const POLL_EVENTS_MAX: usize = 1_024;
/// Deadlines are looked at no more often than this; a scan of 10,000 costs 5 µs (facts/measurements.md, WebSocket §6).
pub const DEADLINE_SCAN_EVERY: Duration = Duration::from_millis(100);
/// Lookups that run at the same time; a hanging one holds its thread until the system's resolver gives up.
pub const LOOKUPS_MAX: usize = 4;
/// Bytes that a connection may leave behind without asking the pool. A partial record or private frame is smaller.
pub const PARKING_FREE: usize = 64 << 10;
/// Memory of all left-over bytes above [`PARKING_FREE`] together: a dozen of the largest private messages.
pub const PARKING_POOL_DEFAULT: usize = 16 << 20;
/// Commands that wait for the loop: each account's once, when all are added.
pub const LOOP_COMMANDS_MAX: usize = 1_024;
/// How long a caller waits for room among the commands; the loop drains them each turn.
pub const LOOP_COMMAND_WAIT: Duration = Duration::from_secs(2);
/// Permits are not asked for again before this: the gate's answer may lie in the past.
pub const PERMIT_EVERY_MIN: Duration = Duration::from_millis(1);
/// Emptied buffers of parked bytes that are kept for the next connection, and the largest one worth keeping.
pub const PARKING_SPARES_MAX: usize = 64;
/// See [`PARKING_SPARES_MAX`]: together 1 MiB. A partial record or private frame is smaller than this.
pub const PARKING_SPARE_LEN_MAX: usize = 16 << 10;

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
/// Preallocated for gap and liveness records of a full disk: 7,000 gaps, or one snapshot of every account and 4,500 gaps.
pub const SPOOL_RESERVE_BYTES: u64 = 1 << 20;
/// Free space of the file system below which frames are refused: the database on the same disk lives on.
pub const SPOOL_FREE_MIN: u64 = 64 << 20;
/// Bytes written but not synced, all held in memory so that a failed `fdatasync` loses nothing.
pub const SPOOL_UNSYNCED_BYTES_MAX: usize = 32 << 20;
/// Records written but not synced. Positions leap by twice this at each open, so none that a power cut took is given again.
pub const SPOOL_UNSYNCED_RECORDS_MAX: u64 = 1 << 17;
/// Synced bytes that stay in memory for a dispatcher that keeps up.
pub const SPOOL_TAIL_BYTES_MAX: usize = 8 << 20;
/// Records handed out and not yet acknowledged: 24 bytes each, 1.5 MiB.
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

// ---- queue ----

/// Jobs of one push: 64 values of one RPUSH are 20 times as fast as single ones, 256 are slower again
/// (facts/measurements.md §8).
pub const PUSH_JOBS_MAX: usize = 64;
/// Bytes of one push, after which it takes no further job; 64 jobs of a real account are about 200 kB.
pub const PUSH_BYTES_MAX: usize = 1 << 20;
/// A job waits this long for companions.
pub const PUSH_AGE_MAX: Duration = Duration::from_millis(2);
/// Recorded bytes of one job: the spool's largest payload.
pub const JOB_RAW_MAX: usize = 1 << 20;
/// The largest body of a job: `[0,0,…]` becomes `i:123456;i:0;…` (13 bytes for 2), raw control bytes become `\u0001` (6
/// for 1); no document does both.
pub const JOB_BODY_MAX: usize = 16 * JOB_RAW_MAX + (4 << 10);
/// A JSON text that is read: a frame, or the body of a job, which a PHP worker may have written anew.
pub const JSON_TEXT_MAX: usize = 2 * JOB_BODY_MAX;
/// Values whose memory (32 bytes each) is kept from one document to the next.
pub const JSON_NODES_KEPT_MAX: usize = 32 << 10;
/// Bytes of text whose memory is kept from one document to the next.
pub const JSON_TEXT_KEPT_MAX: usize = 1 << 20;
/// Jobs of the in-process queue that are waiting or being worked on.
pub const IN_PROCESS_JOBS_MAX: usize = 4_096;
/// Bytes of those jobs together.
pub const IN_PROCESS_BYTES_MAX: usize = 64 << 20;
/// From the first packet to an answered greeting.
pub const REDIS_CONNECT_DEFAULT: Duration = Duration::from_secs(5);
/// Silence after a request that makes its outcome doubtful. A Redis that syncs every write (`appendfsync always`) to a slow disk
/// answers within a second or two.
pub const REDIS_ANSWER_DEFAULT: Duration = Duration::from_secs(5);
/// What `appendfsync everysec` may lose: it syncs once a second, and waits one more for a sync that is still running.
pub const REDIS_EVERYSEC_LOSS: Duration = Duration::from_secs(2);
/// Jobs that become due, and jobs that lapsed, which one reserve moves back: 10 ms of a Redis that does nothing else meanwhile.
pub const MIGRATE_JOBS_MAX: usize = 500;
/// Jobs of one reserve: more are no faster.
pub const RESERVE_JOBS_MAX: usize = 1_000;
/// Bytes of one reserve, after which it takes no further job: 300 jobs of a real account.
pub const RESERVE_BYTES_MAX: usize = 1 << 20;
/// An empty queue is looked at this often for jobs that became due, which wake nobody; due times are whole seconds.
pub const RESERVE_SLICE_MAX: Duration = Duration::from_secs(1);
/// Bodies that are no jobs, kept at the server. One more stops the queue, loudly: so many are a bug, not an accident.
pub const ASIDE_BODIES_MAX: usize = 1_000;
/// The largest fence that is taken over: Lua counts on from there in doubles, exactly up to 2⁵³.
pub const FENCE_MAX: u64 = 1 << 52;
/// Bytes of a job class: PHP has no bound, a file name has this one.
pub const JOB_CLASS_LEN_MAX: usize = 255;

const _: () = assert!(JOB_BODY_MAX > PUSH_BYTES_MAX);
const _: () = assert!(JOB_BODY_MAX < IN_PROCESS_BYTES_MAX);
const _: () = assert!(PUSH_JOBS_MAX < IN_PROCESS_JOBS_MAX);
// Places in a document are 32 bits.
const _: () = assert!(JSON_TEXT_MAX < u32::MAX as usize);

// ---- user_data: discovery, listen keys, control threads ----

/// A listen key's life since it was last given out or extended (facts/binance.md §2).
pub const LISTEN_KEY_LIFE: Duration = Duration::from_secs(60 * 60);
/// A key not extended for this long is asked for by POST, which gives out a new one where it has died.
pub const LISTEN_KEY_DOUBT_AFTER: Duration = Duration::from_secs(50 * 60);
/// Somebody's key is extended this often, whoever's: others read MAX(last_keep_alive_at) older than 120 s as "dead".
pub const KEEP_ALIVE_FRESH: Duration = Duration::from_secs(60);
/// After a keep-alive that failed the next account's comes this soon, so that one bad account leaves no hole of two minutes.
pub const KEEP_ALIVE_SECOND_TRY: Duration = Duration::from_secs(5);
/// Between two keep-alives: 600 weight a minute at most, a quarter of the venue's 2,400 (facts/binance.md §3).
pub const KEEP_ALIVE_SPACING: Duration = Duration::from_millis(100);
/// Between two requests for a new key, the incumbent's stagger: 240 weight a minute at most.
pub const KEY_CREATE_SPACING: Duration = Duration::from_millis(250);
/// Used weight of this address above which no new keys are asked for until the minute is over: 80 % of 2,400.
pub const WEIGHT_BUSY: u32 = 1_920;
/// … and above which keep-alives wait too: 95 %. A minute's wait costs a key nothing, a ban does.
pub const WEIGHT_FULL: u32 = 2_280;
/// Between two new keys of one account when keys keep dying young (facts/binance.md §7, go-binance #510); doubles.
pub const RENEWAL_SPACING_MIN: Duration = Duration::from_secs(10);
/// See [`RENEWAL_SPACING_MIN`].
pub const RENEWAL_SPACING_MAX: Duration = Duration::from_secs(300);
/// A key that lived this long did not die young.
pub const RENEWAL_CALM: Duration = Duration::from_secs(600);
/// How long a firewall's refusal (403, 451) stops all calls: longer, and keys that could be extended would die.
pub const BLOCKED_HOLD_MAX: Duration = Duration::from_secs(300);
/// Between two looks at the accounts, however often they are asked for.
pub const DISCOVERY_SPACING_MIN: Duration = Duration::from_secs(5);
/// First pause after a look or a write that failed; doubles.
pub const CONTROL_RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest pause after a look or a write that failed: so late the rows are, at most, once the database is back.
pub const CONTROL_RETRY_MAX: Duration = Duration::from_secs(5);
/// A look or a write that lasts this long is shown as a database that does not answer. A statement is cut after 5 s, and a
/// look has three of them and a login.
pub const DATABASE_SILENCE_SHOWN: Duration = Duration::from_secs(10);
/// `last_frame_at` of one account is written this often at most (facts/incumbent.md §1.2).
pub const FRAME_STAMP_EVERY: Duration = Duration::from_secs(30);
/// Accounts whose rows are written in one go, each with a commit of its own: a gap waits for no more of them.
pub const ROW_BATCH_MAX: usize = 16;
/// Gaps that are written in one go, with one commit: those that a thousand accounts have after a start.
pub const GAP_BATCH_MAX: usize = 1_024;
/// Gaps that wait for the database; a gap more is refused to the dispatcher, which keeps it in the spool.
pub const GAPS_WAITING_MAX: usize = 4_096;
/// Commands on their way to the user-data role; what does not fit stays with the control threads, newest wins.
pub const ACCOUNT_COMMANDS_MAX: usize = 256;
/// One listen-key call, name resolution and answer included.
pub const LISTEN_KEY_CALL_MAX: Duration = Duration::from_secs(10);
/// Answer to a listen-key call: a key and a few words.
pub const LISTEN_KEY_ANSWER_MAX: u64 = 64 << 10;
/// Accounts whose trouble is named in one status.
pub const TROUBLES_NAMED_MAX: usize = 50;
// ---- user data ----

/// From the upgrade to the reply that names the subscription; 46–120 ms were measured (facts/binance.md §1.3).
pub const PROOF_WITHIN: Duration = Duration::from_secs(5);
/// A gap begins this much before the last sign of life: the venue's clock, and what was under way.
pub const GAP_MARGIN: Duration = Duration::from_secs(2);
/// A stream that nobody read for this long had frames waiting that are older than [`GAP_MARGIN`] allows for.
pub const HOLD_GAP_MIN: Duration = Duration::from_secs(1);
/// An event of the venue's books that a live connection has not brought for this long is one that it will not bring: the
/// venue's own delays are below a second, and the books are read twice within [`RECONCILE_CONFIRM_AFTER`].
pub const MUTE_AFTER: Duration = Duration::from_secs(10);
/// Frames recorded on a connection that is not proven, after which it is left: each costs a gap record.
pub const UNPROVEN_FRAMES_MAX: u32 = 16;
/// A loop is asked again after this when it has not taken up a reconnect.
pub const NUDGE_EVERY: Duration = Duration::from_secs(1);
/// An account that is not live for this long is shown as degraded: a reconnect of its own pace is none.
pub const DEGRADED_AFTER: Duration = Duration::from_secs(30);
/// Batches between a loop and the spooler: 32 × 64 KiB = 2 MiB a loop, a second of 2,000 frames of 1 KB.
pub const LANE_BATCHES: usize = 32;
/// Between two durable liveness marks: a gap's start after a crash is early by this at most.
pub const LIVENESS_MARK_EVERY: Duration = Duration::from_secs(10);
/// The spooler looks after what needs no frame (marks, held accounts, a refusing disk) at this pace.
pub const SPOOLER_IDLE_MAX: Duration = Duration::from_millis(200);
/// Damaged stretches of the spool that wait for their gap records.
pub const SPOOLER_DAMAGE_MAX: usize = 64;
/// An account that is not hosted any more is forgotten by the spool after this: its socket and lane are long empty then.
pub const FORGET_AFTER: Duration = Duration::from_secs(10);
/// The dispatcher looks after what needs no record (acknowledgements, the server's memory) at this pace.
pub const DISPATCH_IDLE_MAX: Duration = Duration::from_millis(100);
/// First pause after a refused push, doubled up to [`PUSH_RETRY_MAX`].
pub const PUSH_RETRY_MIN: Duration = Duration::from_millis(20);
/// See [`PUSH_RETRY_MIN`].
pub const PUSH_RETRY_MAX: Duration = Duration::from_secs(5);
/// Pause while the queue is full: it empties at its workers' pace.
pub const PUSH_FULL_RETRY: Duration = Duration::from_millis(100);
/// An idle queue server is asked this often whether it still has what it took.
pub const SINK_HEALTH_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for the first answer about what is applied, the login included, while a rewound stretch is read again.
pub const REPLAY_ANSWER_FIRST: Duration = Duration::from_secs(5);
/// … and for each answer after it. A lookup of [`PUSH_JOBS_MAX`] keys takes a millisecond or two.
pub const REPLAY_ANSWER_MAX: Duration = Duration::from_secs(1);
/// All those waits of one rewind together: three million records at a pace of 2 ms. Then pushing is as good.
pub const REPLAY_LOOK_MAX: Duration = Duration::from_secs(120);
/// A record's acknowledgement waits this long for its row in the database or its file in quarantine.
pub const ACK_HOLD_MAX: Duration = Duration::from_secs(60);
/// Gaps that wait for their row: 100 bytes each.
pub const GAP_ROWS_MAX: usize = 32_768;
/// Poison records whose quarantine file could not be written yet, kept in memory.
pub const POISON_KEPT_MAX: usize = 8;

/// Resident memory of an idle account with TLS, session and state: 6.3 KB were measured with 2,000 (facts/measurements.md).
pub const IDLE_ACCOUNT_BYTES: usize = 6_500;

// ---- user data: two sockets of one account ----

/// A connection is replaced at this age, an hour before the venue cuts it (facts/binance.md §3); official connectors do too.
pub const ROTATE_AFTER: Duration = Duration::from_secs(23 * 3_600);
/// Hours of `user_data.rotate_h`: 0 is never; above 23 the venue's cut may come first.
pub const ROTATE_HOURS_MAX: u64 = 23;
/// A rotation is due this much earlier or later than its setting, in parts of it: 30 minutes of 23 hours.
pub const ROTATE_JITTER_PART: u32 = 46;
/// Of the connection attempts of a window that an ordinary account may count on, what rotations may use.
pub const ROTATIONS_PERCENT: usize = 10;
/// A frame of the socket that follows waits this long for its twin; with [`HANDOVER_TURN_EVERY`] a quarter of a second. Two
/// sockets of one host were never seen further apart.
pub const HANDOVER_HOLD: Duration = Duration::from_millis(230);
/// An account with two sockets is looked after at this pace.
pub const HANDOVER_TURN_EVERY: Duration = Duration::from_millis(20);
/// Frames that wait for their twin, of one account, in bytes: one message of the largest size, or a second of 1,000 frames.
pub const HANDOVER_HELD_BYTES_MAX: usize = 1 << 20;
/// What the bookkeeping of one waiting frame counts in addition to its bytes.
pub const HANDOVER_FRAME_COST: usize = 128;
/// Recorded frames whose twin may still come on the other socket: 64 bytes each, 256 KiB an account for some seconds.
pub const HANDOVER_SEEN_MAX: usize = 4_096;
/// A recorded frame's twin is awaited this long; a socket that lags further behind is of no use.
pub const HANDOVER_RECALL: Duration = Duration::from_secs(60);
/// As long as the new socket is not up, what was recorded is remembered this long: what was under way when it came up.
pub const HANDOVER_RECALL_ALONE: Duration = Duration::from_secs(10);
/// After the leadership has moved, late frames of the other socket are folded this long.
pub const HANDOVER_TAIL: Duration = Duration::from_secs(10);
/// A socket that has lost the lead is read for so long still: what it alone brings is recorded. There is such a frame only if
/// the venue repeated an old one byte for byte at the very time, and that was taken for the one that both have brought.
pub const HANDOVER_DRAIN: Duration = Duration::from_secs(3);
/// The old socket is asked whether it lives so long after the new one was verified: whatever lags less has arrived then.
pub const HANDOVER_ASK_AFTER: Duration = Duration::from_secs(1);
/// … and again after this without an answer.
pub const HANDOVER_ASK_EVERY: Duration = Duration::from_secs(5);
/// Without a frame on either socket for this long, leadership moves without one.
pub const HANDOVER_QUIET: Duration = Duration::from_secs(10);
/// A socket that has delivered nothing of what the other one did for this long delivers nothing at all.
pub const HANDOVER_MUTE_AFTER: Duration = Duration::from_secs(10);
/// Two verified sockets that come to no decision: the new one is given up.
pub const HANDOVER_MAX: Duration = Duration::from_secs(120);
/// First pause after a handover that failed, doubled up to [`HANDOVER_RETRY_MAX`].
pub const HANDOVER_RETRY_MIN: Duration = Duration::from_secs(5);
/// See [`HANDOVER_RETRY_MIN`]: some tries fit between a rotation's time and the venue's cut.
pub const HANDOVER_RETRY_MAX: Duration = Duration::from_secs(600);
/// Handovers to a new key that fail in a row, before the old socket is left without one: its key may be dead.
pub const HANDOVER_KEY_TRIES: u32 = 3;

// ---- ops ----

/// Text of one encrypted value. A column holds an API key or secret of some hundred bytes.
pub const ENCRYPTED_LEN_MAX: usize = 64 << 10;
/// Keys that are tried on one value: the current and the previous ones. Laravel knows no bound; a rotation keeps one or two.
pub const APP_KEYS_MAX: usize = 16;
/// The file that holds the application's key: a key alone, or a `.env` of some kilobytes.
pub const APP_KEY_FILE_MAX: u64 = 64 << 10;
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
/// Distinct frames that the simulator's account ledgers record, all accounts together: 2,000 a second for 8 minutes. One
/// costs about 160 bytes with its delivery.
pub const SIM_FRAMES_RECORDED_MAX: usize = 1 << 20;
/// Bytes of frames that the simulator's account ledgers keep, all accounts together.
pub const SIM_FRAME_BYTES_KEPT_MAX: usize = 256 << 20;
/// Connections that one account's ledger remembers.
pub const SIM_SESSIONS_KEPT_MAX: usize = 1_024;
/// Orders, and algo orders, that one simulated account remembers: about 300 bytes each.
pub const SIM_ORDERS_KEPT_MAX: usize = 1 << 17;
/// Fills that one simulated account remembers: about 150 bytes each.
pub const SIM_FILLS_KEPT_MAX: usize = 1 << 18;
/// Funding and transfers that one simulated account remembers: about 60 bytes each.
pub const SIM_MOVEMENTS_KEPT_MAX: usize = 1 << 14;
/// Earlier states of one simulated account that late reads may show: a few kB each.
pub const SIM_EARLIER_STATES_MAX: usize = 1_024;
/// Frames of one account that a replay may bring back.
pub const SIM_REPLAY_FRAMES: usize = 8;
/// Announcements that wait for the simulated application: eight an account, so many accounts keep up without waiting.
pub const SIM_ANNOUNCEMENTS_MAX: usize = 1_024;
/// Accounts of the simulator.
pub const SIM_ACCOUNTS_MAX: usize = 16_384;
/// Source addresses whose connects and weight the simulator counts.
pub const SIM_SOURCES_MAX: usize = 4_096;
/// Payload that the oversize fault streams to an account: more than the 1 MiB of a private message.
pub const SIM_ACCOUNT_OVERSIZE_LEN: u64 = 5 << 18;
/// Payload that the oversize fault streams: more than [`PRICE_MESSAGE_MAX`].
pub const SIM_OVERSIZE_LEN: u64 = 5 << 20;

// The worker.

/// Bytes of a decimal's text; the longest that venues send have 26, a `decimal(36,18)` has 38.
pub const DECIMAL_TEXT_MAX: usize = 64;
/// Characters of `failed_jobs.uuid`: the column is a `varchar(255)`.
pub const FAILED_UUID_LEN_MAX: usize = 255;
/// Bytes of `failed_jobs.exception`: a sentence and what the database said, with room.
pub const FAILED_EXCEPTION_MAX: usize = 4 << 10;
/// First wait of a lane after a failure for which no job is to blame, doubled up to [`WORK_RETRY_MAX`].
pub const WORK_RETRY_MIN: Duration = Duration::from_millis(50);
/// See [`WORK_RETRY_MIN`]: a database that comes back is used again within seconds.
pub const WORK_RETRY_MAX: Duration = Duration::from_secs(5);
/// Idle lanes are forgotten beyond this many accounts; 200 bytes each.
pub const WORK_LANES_KEPT_MAX: usize = 16_384;
/// Bytes of jobs in hand: bodies and recorded bytes.
pub const WORK_BYTES_MAX: usize = 64 << 20;
/// Jobs asked for in one reserve: what a round trip is worth.
pub const WORK_RESERVE_AT_ONCE: usize = 256;
/// Tickets of one acknowledgement.
pub const WORK_ACK_AT_ONCE: usize = 512;
/// Recorded bytes of the jobs whose audit rows go in one statement, which the database's client copies.
pub const WORK_AUDIT_AHEAD_BYTES_MAX: usize = 1 << 20;
/// Longest wait of the reserver for a job while nothing is in hand; a stop is noticed within it.
pub const WORK_IDLE_MAX: Duration = Duration::from_millis(500);
/// The same while jobs are in hand, which want to be acknowledged.
pub const WORK_BUSY_WAIT: Duration = Duration::from_millis(10);
/// From one look of a hot standby at the lease to the next, and of a worker at a queue that is away.
pub const WORK_STANDBY_POLL: Duration = Duration::from_millis(500);
/// From one reading of allowlist and switches to the next: a flip takes effect within it, without a signal.
pub const POLICY_EVERY: Duration = Duration::from_secs(3);
/// Held lanes that status and page name.
pub const WORK_HELD_NAMED_MAX: usize = 50;
/// Intents of one push by the relay.
pub const RELAY_BATCH_MAX: u32 = 64;
/// Pushes of one turn of the relay, each of intents for one queue and class: then it looks again whether it still has the lease.
pub const RELAY_RUNS_MAX: usize = 8;
/// From one look of the relay for intents to the next.
pub const RELAY_EVERY: Duration = Duration::from_millis(250);
/// Rows that retention deletes in one transaction: short locks, and room for autovacuum between.
pub const RETENTION_ROWS_MAX: u32 = 500;
/// Between two such transactions.
pub const RETENTION_PAUSE: Duration = Duration::from_millis(200);
/// From one look of retention for old rows to the next, once there were none.
pub const RETENTION_EVERY: Duration = Duration::from_secs(60);
/// Of [`STOP_MAX`]: how long transactions in hand have to end, before acknowledgements and the hand-back.
pub const WORK_STOP_DRAIN: Duration = Duration::from_secs(6);
/// Audit rows that `allowlist preview` reads at once.
pub const PREVIEW_PAGE_ROWS: u32 = 500;
/// Changes of one account that it keeps, about 200 bytes each: what nobody would read further.
pub const PREVIEW_CHANGES_MAX: usize = 50_000;
/// Events that `trace` shows; an order has a few dozen.
pub const TRACE_EVENTS_MAX: u32 = 1_000;
/// Intents of an order or its position that it looks at.
pub const TRACE_INTENTS_MAX: u32 = 1_000;
/// Digits of `api_data_stream`'s `decimal(20,8)` columns.
pub const PRICE_PRECISION: usize = 20;
/// … of which these stand behind the point.
pub const PRICE_SCALE: usize = 8;
/// Characters of `api_data_stream.raw_event_type`; the venue's longest name has 32.
pub const EVENT_NAME_CHARS_MAX: usize = 64;
/// Characters of the columns of order ids; the venue's have 20 digits at most, client ids 36 characters.
pub const ORDER_ID_CHARS_MAX: usize = 64;
/// Characters of `api_data_stream.symbol`.
pub const EVENT_SYMBOL_CHARS_MAX: usize = 40;
/// Characters of `api_data_stream.status`, and of an execution type, which the venue makes of the same words.
pub const EVENT_STATUS_CHARS_MAX: usize = 40;
/// The last millisecond of the year 9999: later times have no form that both databases compare as text.
pub const EVENT_TIME_MS_MAX: i64 = 253_402_300_799_999;
/// Positions of one account update. The venue lists fewer than 1,000 contracts, of two sides each.
pub const EVENT_POSITIONS_MAX: usize = 4_096;
/// Characters of `stream_decisions.note`; what is longer is cut.
pub const DECISION_NOTE_CHARS_MAX: usize = 255;

// Reconcile.

/// How far apart this machine's clock and the venue's may be where recorded events are looked for by both; a difference
/// like that is an alarm long before.
pub const CLOCKS_APART_MAX: Duration = Duration::from_secs(3_600);
/// Rows of one REST page; the venue's largest.
pub const REST_PAGE_ROWS: u32 = 1_000;
/// `recvWindow` of a signed request: the venue's default.
pub const REST_RECV_WINDOW: Duration = Duration::from_secs(5);

/// The longest span of a history that one request takes.
pub const REST_SPAN_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Reads of what was absent or still open come again this long after the first ones: pushes and reads lag each other by a
/// second or two, positions longer (facts/incumbent.md §9, 19, 25).
pub const RECONCILE_CONFIRM_AFTER: Duration = Duration::from_secs(3);
/// A list in which a position is missing counts this long after the position's newest fill: under bursts positions lag the
/// fills by 5 to 20 s (facts/incumbent.md §9, 25). Earlier only where the balance shows that the fill is in it.
pub const RECONCILE_FLAT_AFTER: Duration = Duration::from_secs(20);
/// Further readings of balances and positions for that: one that is late enough, and one more where the list has just changed.
pub const RECONCILE_FLAT_ROUNDS_MAX: u32 = 2;
/// Between two readings of an order and fills that do not agree.
pub const RECONCILE_AGREE_AFTER: Duration = Duration::from_secs(1);
/// Readings after which an order and its fills must agree.
pub const RECONCILE_ROUNDS_MAX: u32 = 5;
/// Orders and fills of one reconcile: 20 MB. A busy account has 10,000 a day.
pub const RECONCILE_ROWS_MAX: usize = 50_000;

/// The file of the weight meter is asked for again after this, where another process holds its lock.
pub const METER_LOCK_RETRY: Duration = Duration::from_millis(20);
/// … and after this, where it is of no use.
pub const METER_FILE_RETRY: Duration = Duration::from_secs(10);

/// Batches of recovered events on their way to the spooler: 64 KiB each.
pub const RECOVERED_LANE_BATCHES: usize = 16;
/// Threads that reconcile: the weight of the address allows for 15 accounts a minute, so a few are enough.
pub const RECONCILE_THREADS: usize = 4;
/// Added before a gap's start: what the venue's clock, its history's lag and ours may differ by.
pub const RECONCILE_OVERLAP: Duration = Duration::from_secs(60);
/// Added behind a gap's end: what was on its way when the stream became live.
pub const RECONCILE_EDGE: Duration = Duration::from_secs(2);
/// How far back an account is read that was never heard before.
pub const RECONCILE_FIRST_LOOK_BACK: Duration = Duration::from_secs(24 * 3_600);
/// How far back any account is read: the venue keeps orders for 90 days (facts/binance.md §6).
pub const RECONCILE_LOOK_BACK_MAX: Duration = Duration::from_secs(90 * 24 * 3_600);
/// How far back an account is read whose jobs failed, and by the safety net.
pub const DRIFT_LOOK_BACK: Duration = Duration::from_secs(15 * 60);
/// First pause after a reconcile that could not be finished; doubles.
pub const RECONCILE_RETRY_MIN: Duration = Duration::from_secs(2);
/// See [`RECONCILE_RETRY_MIN`].
pub const RECONCILE_RETRY_MAX: Duration = Duration::from_secs(300);
/// Tries of one read that nobody answered, or that the venue was too busy for.
pub const RECONCILE_TRIES: u32 = 4;
/// A reconcile waits no longer than this for the meter: behind a ban it is put back, so that people see why.
pub const RECONCILE_METER_WAIT_MAX: Duration = Duration::from_secs(90);
/// How long recovered events may take into the spool before the reconcile is put back.
pub const RECOVERED_WRITTEN_WITHIN: Duration = Duration::from_secs(30);
/// Outstanding gaps are looked for this often, though nobody told of one: jobs that failed ask for a reconcile by a row.
pub const RECONCILE_LOOK_EVERY: Duration = Duration::from_secs(10);
/// Gaps of one account that one reconcile closes.
pub const RECONCILE_GAPS_MAX: u32 = 10_000;
/// Local orders of one reconcile.
pub const RECONCILE_ORDERS_MAX: u32 = 5_000;
/// Local orders of one reconcile that only their client's id can find: a weight of 2 each.
pub const RECONCILE_UNPLACED_MAX: usize = 50;
/// Local orders without the exchange's id are looked for this long after they were made: the venue forgets canceled orders
/// without a fill as fast (facts/binance.md §6).
pub const UNPLACED_LOOK_BACK: Duration = Duration::from_secs(3 * 24 * 3_600);
/// The venue's clock is asked for again after this: two quartzes drift apart by less than half a second meanwhile.
pub const VENUE_CLOCK_KEPT: Duration = Duration::from_secs(3_600);
/// Off by more than this, this machine's clock is an alarm: the venue refuses stamps that are a second ahead of its own, and
/// a gap's bounds are our clock's.
pub const VENUE_CLOCK_OFF_MAX: Duration = Duration::from_secs(1);
/// Recorded events that are compared with what the venue says: half an hour of 20 a second.
pub const RECONCILE_HEARD_MAX: usize = 200_000;
/// From one start of the safety net's round to the next (facts/incumbent.md §6).
pub const SYNC_ORDERS_EVERY: Duration = Duration::from_secs(300);
/// One signed read, name resolution and answer included.
pub const ACCOUNT_READ_MAX: Duration = Duration::from_secs(15);
/// Answer to a signed read: a page of 1,000 orders has 600 KB.
pub const ACCOUNT_ANSWER_MAX: u64 = 8 << 20;
/// Drifted orders that are named in one status.
pub const DRIFT_NAMED_MAX: usize = 50;
/// Closed gaps that are named in one status: what somebody who looks wants to know of is the newest.
pub const REPAIRS_NAMED_MAX: usize = 20;

/// Weight of a usual reconcile: the lists (90), income (30), one symbol's histories, read twice in part (20), balances and
/// positions again (10).
pub const RECONCILE_WEIGHT_USUAL: u32 = 150;
/// How long the safety net is at a usual account: the second look at what was open, and a dozen reads.
pub const SYNC_ACCOUNT_TIME_USUAL: Duration = Duration::from_secs(4);
/// Weight of the safety net for a usual account: the same without income.
pub const SYNC_WEIGHT_USUAL: u32 = 120;
/// Weight of a listen-key call (facts/binance.md §2).
pub const LISTEN_KEY_WEIGHT: u32 = 1;

/// REST weight of an address and minute at Binance USDⓈ-M and COIN-M together (facts/binance.md §3).
pub const WEIGHT_LIMIT: u32 = 2_400;
/// The span over which weight is summed.
pub const WEIGHT_WINDOW: Duration = Duration::from_secs(60);
/// Of the limit, what reconciles may fill up to: the rest is for listen keys.
pub const WEIGHT_RECONCILE_PERCENT: u32 = 80;
/// Of the limit, what the safety net may fill up to: the rest is for reconciles and keys.
pub const WEIGHT_SYNC_PERCENT: u32 = 50;
/// A 429's pause is believed up to here: a day's would be a mistake of ours.
pub const WEIGHT_HOLD_MAX: Duration = Duration::from_secs(3_600);
/// Calls of a window that are counted one by one: every call of weight 1 that fits.
pub const WEIGHTS_COUNTED_MAX: usize = WEIGHT_LIMIT as usize;

const _: () = assert!(SIM_OVERSIZE_LEN > PRICE_MESSAGE_MAX as u64);
const _: () = assert!(CHUNK_ROWS_MAX <= ROWS_MAX);
const _: () = assert!(DATA_SILENCE_MAX.as_secs() < DATA_SILENCE_EXIT.as_secs());
const _: () = assert!(FRAME_ENTRIES_MAX >= SYMBOLS_MAX);
const _: () = assert!(CLOSE_ECHO_MAX.as_secs() < STOP_MAX.as_secs());
const _: () = assert!(STANDSTILL_MIN.as_secs() < DATA_SILENCE_MAX.as_secs());
const _: () = assert!(FRAME_WHOLE_MAX < PRICE_MESSAGE_MAX);
const _: () = assert!(HOLD_GAP_MIN.as_millis() < GAP_MARGIN.as_millis());
const _: () = assert!(HANDOVER_HOLD.as_millis() + HANDOVER_TURN_EVERY.as_millis() <= 250);
const _: () = assert!(
    HANDOVER_MUTE_AFTER.as_secs() < HANDOVER_MAX.as_secs() && HANDOVER_QUIET.as_secs() < HANDOVER_MAX.as_secs()
);
const _: () =
    assert!(HANDOVER_DRAIN.as_secs() < HANDOVER_TAIL.as_secs() && HANDOVER_TAIL.as_secs() <= HANDOVER_RECALL.as_secs());
const _: () = assert!(SPOOL_BATCH_BYTES <= SPOOL_BUFFER_KEPT_MAX);
const _: () =
    assert!(SPOOL_ACCOUNTS_MAX * 24 <= SPOOL_PAYLOAD_MAX && SPOOL_ACCOUNTS_MAX as u64 * 24 < SPOOL_RESERVE_BYTES / 2);
const _: () =
    assert!(SPOOL_PAYLOAD_MAX as u64 * 2 < SPOOL_SEGMENT_BYTES && SPOOL_PAYLOAD_MAX * 2 < SPOOL_UNSYNCED_BYTES_MAX);
const _: () = assert!(SPOOL_BATCH_RECORDS_MAX as u64 * 2 < SPOOL_UNSYNCED_RECORDS_MAX);
const _: () = assert!(SPOOL_SUFFIX_MAX <= u8::MAX as usize);
const _: () = assert!(PING_EVERY.as_secs() + PING_EVERY.as_secs() / JITTER_PART as u64 + PONG_WITHIN.as_secs() < 60);
const _: () = assert!(PROBE_EVERY.as_secs() + PONG_WITHIN.as_secs() < 60);
const _: () = assert!(PAUSED_MAX.as_secs() < SPARSE_BACKSTOP.as_secs());
const _: () = assert!(CLIENT_TEXT_LEN_MAX <= OUTBOUND_MAX && 2 * OUTBOUND_MAX < OUTBOUND_HARD_MAX);
const _: () = assert!(USER_DATA_MESSAGE_MAX * 8 <= PARKING_POOL_DEFAULT);
const _: () = assert!(LISTEN_KEY_DOUBT_AFTER.as_secs() < LISTEN_KEY_LIFE.as_secs() && WEIGHT_BUSY < WEIGHT_FULL);
const _: () = assert!(BLOCKED_HOLD_MAX.as_secs() * 4 < LISTEN_KEY_LIFE.as_secs());

const _: () = assert!(WORK_STOP_DRAIN.as_secs() < STOP_MAX.as_secs() && WORK_IDLE_MAX.as_secs() < 1);
const _: () = assert!(JOB_BODY_MAX <= WORK_BYTES_MAX && RELAY_BATCH_MAX as usize <= PUSH_JOBS_MAX);
const _: () = assert!(EVENT_DEPTH_MAX < u128::BITS as usize);
const _: () = assert!(LISTEN_KEY_LEN_MIN < LISTEN_KEY_LEN_MAX && LISTEN_KEY_LEN_MAX < URL_LEN_MAX / 8);
