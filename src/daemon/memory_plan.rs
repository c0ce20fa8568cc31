//! What each role may hold at most, item by item: printed at start and by `check`, so that nobody guesses.
//!
//! These are upper bounds of what is reserved; most of it stays untouched, so resident memory is far below. Left out is what
//! only a spool that is shut makes accounts keep: one frame each, of up to 1 MiB, while nobody is read.

use std::fmt;

use super::wiring;
use crate::domain::limits::{
    CIPHER_BUFFER, GAP_ROWS_MAX, GAPS_WAITING_MAX, HANDOVER_HELD_BYTES_MAX, HANDOVER_SEEN_MAX, IDLE_ACCOUNT_BYTES,
    IN_PROCESS_BYTES_MAX, JOB_BODY_MAX, JSON_NODES_KEPT_MAX, JSON_TEXT_KEPT_MAX, LANE_BATCHES, PARKING_FREE,
    PARKING_POOL_DEFAULT, PARKING_SPARE_LEN_MAX, PARKING_SPARES_MAX, POISON_KEPT_MAX, PRICE_MESSAGE_MAX,
    PUSH_BYTES_MAX, READ_PER_TURN_MAX, RESERVE_BYTES_MAX, SPOOL_ACCOUNTS_MAX, SPOOL_BATCH_BYTES, SPOOL_BUFFER_KEPT_MAX,
    SPOOL_BUFFERS_KEPT, SPOOL_IN_FLIGHT_MAX, SPOOL_PAYLOAD_MAX, SPOOL_TAIL_BYTES_MAX, SPOOL_UNSYNCED_BYTES_MAX,
    TICKET_BYTES, USER_DATA_MESSAGE_MAX, WORK_AUDIT_AHEAD_BYTES_MAX, WORK_BYTES_MAX, WORK_LANES_KEPT_MAX,
};
use crate::ops::Settings;
use crate::ops::settings::{IntentTarget, QueueTarget};
use crate::prices::batch::Batch;
use crate::prices::board::PriceBoard;
use crate::prices::case_when::{Layout, StatementText, Transactions};
use crate::prices::frame_stamp::StampPrecision;
use crate::prices::intake::Intake;

/// Bytes of what is kept of a record that is out with the queue, of a spooled account, and of a gap without its row.
const IN_FLIGHT_BYTES: usize = 24;
const SPOOL_ACCOUNT_BYTES: usize = 64;
const GAP_ROW_BYTES: usize = 160;
/// An account with two sockets: frames that wait, and 72 bytes for each whose twin may come.
const HANDOVER_BYTES: usize = HANDOVER_HELD_BYTES_MAX + HANDOVER_SEEN_MAX * 72 + IDLE_ACCOUNT_BYTES;
/// Bytes of an idle lane.
const WORK_LANE_BYTES: usize = 200;

/// The sum and its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// What, and how many bytes.
    pub items: Vec<(&'static str, usize)>,
}

impl MemoryPlan {
    /// Of the price role with these settings.
    #[must_use]
    pub fn of_prices(settings: &Settings) -> MemoryPlan {
        let layout = Layout {
            form: wiring::statement_form(settings),
            transactions: Transactions::PerChunk,
            chunk_rows: settings.prices.chunk_rows,
            precision: StampPrecision::of_column(3),
        };
        // The kept tape of simd-json: 24 bytes a node, measured 639 KB for 118 KB of text (facts/measurements.md §1).
        let tape = PRICE_MESSAGE_MAX / 8 * 24 + PRICE_MESSAGE_MAX;
        MemoryPlan {
            items: vec![
                ("loop: ciphertext of one turn", READ_PER_TURN_MAX),
                ("loop: plaintext, one message", PRICE_MESSAGE_MAX + READ_PER_TURN_MAX),
                ("loop: simd-json tape and indexes, largest message", tape),
                ("loop: intake, symbol table and staging", Intake::bytes_max()),
                ("board: newest price of every symbol", PriceBoard::bytes_max()),
                ("writer: batch", Batch::bytes_max()),
                ("writer: statement text", StatementText::bytes_max(&wiring::price_table(settings), layout)),
                (
                    "writer: the database client's copy of the text",
                    StatementText::bytes_max(&wiring::price_table(settings), layout),
                ),
                ("TLS: one record in rustls, per record and freed", 18 << 10),
            ],
        }
    }

    /// Of the user-data role with these settings, for so many accounts.
    #[must_use]
    pub fn of_accounts(settings: &Settings, accounts: usize) -> MemoryPlan {
        let loops = settings.user_data.threads.max(1);
        let tickets = (2 * accounts).min(wiring::ACCOUNT_TICKETS);
        // A window is longer than a handover: no more rotate at once than may begin in one.
        let handovers = wiring::rotation_share(settings).limit();
        let mut items = vec![
            ("accounts: idle connections with TLS and state", accounts * IDLE_ACCOUNT_BYTES),
            ("accounts: TLS tickets, two each", tickets * TICKET_BYTES),
            ("accounts: handovers to second sockets", handovers * HANDOVER_BYTES),
            ("accounts: what each may leave behind of an unfinished message", accounts * PARKING_FREE),
            ("loops: pool for larger unfinished messages", loops * PARKING_POOL_DEFAULT),
            ("loops: spare buffers of parked bytes", loops * PARKING_SPARES_MAX * PARKING_SPARE_LEN_MAX),
            ("loops: ciphertext of one turn", loops * CIPHER_BUFFER),
            ("loops: plaintext, one message", loops * (USER_DATA_MESSAGE_MAX + READ_PER_TURN_MAX)),
            ("lanes: batches on their way to the spooler", loops * LANE_BATCHES * SPOOL_BUFFER_KEPT_MAX),
            ("spooler: liveness marks and records of accounts over their share", 2 * SPOOL_PAYLOAD_MAX),
            ("spool: written, not yet synced", SPOOL_UNSYNCED_BYTES_MAX),
            ("spool: recycled buffers", SPOOL_BUFFERS_KEPT * SPOOL_BATCH_BYTES),
            ("spool: synced, for a dispatcher that keeps up", SPOOL_TAIL_BYTES_MAX),
            ("spool: accounts that it knows", SPOOL_ACCOUNTS_MAX * SPOOL_ACCOUNT_BYTES),
            ("dispatcher: records out with the queue", SPOOL_IN_FLIGHT_MAX * IN_FLIGHT_BYTES),
            ("dispatcher: one push, its bodies and its request", 2 * (PUSH_BYTES_MAX + JOB_BODY_MAX)),
            ("dispatcher: JSON of one frame", JSON_NODES_KEPT_MAX * 32 + JSON_TEXT_KEPT_MAX),
            ("dispatcher: poison records without a file", POISON_KEPT_MAX * SPOOL_PAYLOAD_MAX),
            ("control: gaps without a row", (GAP_ROWS_MAX + GAPS_WAITING_MAX) * GAP_ROW_BYTES),
        ];
        if settings.queue.target == QueueTarget::InProcess {
            items.push(("queue: jobs in this process", IN_PROCESS_BYTES_MAX));
        }
        MemoryPlan { items }
    }

    /// Of the worker's role with these settings.
    #[must_use]
    pub fn of_work(settings: &Settings) -> MemoryPlan {
        let threads = settings.work.threads.max(1);
        let mut items = vec![
            // What comes with the reserve that fills it is taken too, and its last body may be the longest.
            ("worker: jobs in hand, bodies and recorded bytes", WORK_BYTES_MAX + RESERVE_BYTES_MAX + JOB_BODY_MAX),
            ("worker: one reserve's bodies, as the queue's client reads them", RESERVE_BYTES_MAX + JOB_BODY_MAX),
            ("worker: idle lanes", WORK_LANES_KEPT_MAX * WORK_LANE_BYTES),
            ("worker: JSON of the job that is read", JSON_NODES_KEPT_MAX * 32 + JSON_TEXT_KEPT_MAX),
            // Jobs that are not written together go one after the other; bytes that are no JSON grow by a third in base64.
            (
                "worker: what a statement carries in each thread, and the database client's copy",
                threads * 2 * (WORK_AUDIT_AHEAD_BYTES_MAX.max(SPOOL_PAYLOAD_MAX) * 4 / 3),
            ),
        ];
        if settings.work.intent_target == IntentTarget::Redis {
            items.push(("relay: one push, its bodies and its request", 2 * (PUSH_BYTES_MAX + JOB_BODY_MAX)));
        }
        MemoryPlan { items }
    }

    /// All items together.
    #[must_use]
    pub fn total(&self) -> usize {
        self.items.iter().map(|(_, bytes)| bytes).sum()
    }

    /// One line in the log; `whose` is a role.
    pub fn log(&self, whose: &str) {
        tracing::info!("memory plan of {whose}: at most {:.1} MiB reserved", mib(self.total()));
        for (what, bytes) in &self.items {
            tracing::debug!("memory plan: {:8.2} MiB  {what}", mib(*bytes));
        }
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, bytes) in &self.items {
            writeln!(f, "{:8.2} MiB  {what}", mib(*bytes))?;
        }
        write!(f, "{:8.2} MiB  together, at most", mib(self.total()))
    }
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plan is a promise: a change that raises it has to say so here.
    #[test]
    fn the_plan_stays_below_its_bound() {
        let plan = MemoryPlan::of_prices(&Settings::default());
        assert!(plan.total() < 64 << 20, "{plan}");
        assert!(plan.items.iter().all(|(_, bytes)| *bytes > 0), "{plan}");
    }

    /// What an account costs, and what the role costs without one.
    #[test]
    fn accounts_are_planned_for_one_by_one() {
        let settings = Settings::default();
        let totals = [0, 1, 2_000].map(|accounts| MemoryPlan::of_accounts(&settings, accounts).total());
        assert!(totals[0] < 256 << 20, "{}", MemoryPlan::of_accounts(&settings, 0));
        let each = totals[1] - totals[0];
        assert_eq!(totals[2], totals[0] + 2_000 * each);
        assert!((IDLE_ACCOUNT_BYTES + PARKING_FREE..100 << 10).contains(&each), "{each} bytes an account");
        let mut more = settings.clone();
        more.user_data.threads = 4;
        assert!(MemoryPlan::of_accounts(&more, 0).total() > totals[0] + 3 * PARKING_POOL_DEFAULT);
        assert_eq!(settings.queue.target, QueueTarget::InProcess);
        let has_queue = |plan: &MemoryPlan| plan.items.contains(&("queue: jobs in this process", IN_PROCESS_BYTES_MAX));
        assert!(has_queue(&MemoryPlan::of_accounts(&settings, 0)));
    }
    /// What a thread more costs, and that the relay is counted where there is one.
    #[test]
    fn the_worker_is_planned_for_by_its_threads() {
        let mut settings = Settings::default();
        let total = MemoryPlan::of_work(&settings).total();
        assert!((WORK_BYTES_MAX..160 << 20).contains(&total), "{}", MemoryPlan::of_work(&settings));
        settings.work.threads += 1;
        let more = MemoryPlan::of_work(&settings).total();
        assert!((WORK_AUDIT_AHEAD_BYTES_MAX..8 << 20).contains(&(more - total)), "{}", more - total);
        settings.work.intent_target = IntentTarget::Redis;
        assert_eq!(MemoryPlan::of_work(&settings).total(), more + 2 * (PUSH_BYTES_MAX + JOB_BODY_MAX));
    }
}
