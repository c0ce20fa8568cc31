//! The status as Prometheus text (exposition format 0.0.4). Hand-written: two dozen lines that all come from [`Status`]
//! would gain nothing from a registry of their own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::status::{LatencyUs, ReconcileStatus, Status, StreamState, UserDataStatus, WorkStatus, WriterState};

/// The content type of [`render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of `status`.
#[must_use]
pub fn render(status: &Status) -> String {
    let mut text = Exposition(String::with_capacity(4 << 10));
    let Status { stream, writer, .. } = status;
    text.one(
        "kraite_build_info",
        "gauge",
        "Version and role, in the labels.",
        &[("version", &status.version), ("role", &status.role)],
        1.0,
    );
    text.one("kraite_healthy", "gauge", "1 when nothing needs a person.", &[], flag(status.complaints().is_empty()));
    text.one("kraite_alarms", "gauge", "Alarms that stand.", &[], status.alarms.len() as f64);
    text.one("kraite_resident_memory_bytes", "gauge", "Resident memory.", &[], status.rss_bytes as f64);
    text.one(
        "kraite_status_timestamp_seconds",
        "gauge",
        "When the status was taken.",
        &[],
        status.updated_at_ms as f64 / 1e3,
    );
    text.one(
        "kraite_stream_live",
        "gauge",
        "1 when the price stream is upgraded.",
        &[],
        flag(stream.state == StreamState::Live),
    );
    text.one(
        "kraite_stream_attempt",
        "gauge",
        "Attempts since the stream was last healthy.",
        &[],
        stream.attempt as f64,
    );
    text.one("kraite_stream_frames_total", "counter", "Price frames received.", &[], stream.frames as f64);
    text.one("kraite_stream_bytes_total", "counter", "Bytes of those frames.", &[], stream.bytes as f64);
    text.many(
        "kraite_stream_entries_total",
        "Entries of those frames by what became of them.",
        "kind",
        &stream.entries,
    );
    text.many("kraite_stream_faults_total", "Connection faults by layer.", "layer", &status.faults);
    text.many("kraite_stream_fault_kinds_total", "The same faults by kind.", "kind", &status.fault_kinds);
    text.one(
        "kraite_writer_writing",
        "gauge",
        "1 when the database takes prices.",
        &[],
        flag(writer.state == WriterState::Writing),
    );
    text.one("kraite_writer_rows_total", "counter", "Rows updated.", &[], writer.rows_written as f64);
    text.one("kraite_writer_commits_total", "counter", "Transactions committed.", &[], writer.commits as f64);
    text.latency(
        "kraite_tick_to_commit_seconds",
        "From socket readable to commit, over the life of the process.",
        writer.tick_to_commit_us,
    );
    text.one("kraite_map_symbols", "gauge", "Symbols with at least one row.", &[], writer.map.symbols as f64);
    text.one("kraite_map_rows", "gauge", "Rows that take prices.", &[], writer.map.rows as f64);
    text.one("kraite_map_unknown_pairs", "gauge", "Pairs whose ratio cannot be known.", &[], writer.map.unknown as f64);
    text.one(
        "kraite_symbols_unseen",
        "gauge",
        "Symbols that have a row and were not seen for 60 s.",
        &[],
        writer.unseen.len() as f64,
    );
    text.one(
        "kraite_rows_quarantined",
        "gauge",
        "Rows that the database refused.",
        &[],
        writer.quarantined.len() as f64,
    );
    if let Some(user_data) = &status.user_data {
        render_user_data(user_data, &mut text);
    }
    if let Some(work) = &status.work {
        render_work(work, &mut text);
    }
    text.0
}

fn render_user_data(user_data: &UserDataStatus, text: &mut Exposition) {
    for (name, help, value) in [
        ("kraite_accounts", "Accounts that are to be streamed.", user_data.accounts),
        ("kraite_accounts_live", "Of these, subscribed and proven.", user_data.live),
        ("kraite_spool_bytes", "Bytes of the spool.", user_data.spool_bytes),
        ("kraite_spool_records_behind", "Records written and not yet on the queue.", user_data.behind),
    ] {
        text.one(name, "gauge", help, &[], value as f64);
    }
    for (name, help, count) in [
        ("kraite_account_frames_total", "Private frames recorded.", user_data.frames),
        ("kraite_account_gaps_total", "Gap records.", user_data.gaps),
        ("kraite_jobs_total", "Jobs pushed.", user_data.jobs),
        (
            "kraite_queue_rewinds_total",
            "Times that the queue had lost its jobs and was filled again.",
            user_data.rewinds,
        ),
        (
            "kraite_queue_left_out_total",
            "Records that a refill left out: they were applied before.",
            user_data.left_out,
        ),
        ("kraite_spool_poisoned_total", "Records in quarantine: no job can be made of them.", user_data.poisoned),
    ] {
        text.one(name, "counter", help, &[], count as f64);
    }
    if let Some(reconcile) = &user_data.reconcile {
        render_reconcile(reconcile, text);
    }
}

fn render_reconcile(reconcile: &ReconcileStatus, text: &mut Exposition) {
    for (name, help, value) in [
        ("kraite_reconcile_waiting", "Accounts whose gaps nobody closes at the moment.", reconcile.waiting),
        ("kraite_reconcile_running", "Accounts that are being reconciled.", reconcile.running),
        ("kraite_reconcile_switched_off", "Accounts with gaps that are switched off.", reconcile.switched_off),
        ("kraite_reconcile_degraded", "Accounts whose reconcile could not be finished.", reconcile.degraded),
        ("kraite_sync_orders_left", "Accounts that the safety net's round has not asked for yet.", reconcile.sync_left),
        ("kraite_rest_weight_used", "REST weight of the last minute.", reconcile.weight_used),
        ("kraite_rest_weight_limit", "REST weight that a minute has.", reconcile.weight_limit),
        ("kraite_rest_banned_seconds", "How long the venue has banned this address.", reconcile.banned_s),
        ("kraite_rest_held_seconds", "How long a 429 holds reconciles.", reconcile.held_s),
    ] {
        text.one(name, "gauge", help, &[], value as f64);
    }
    for (name, help, count) in [
        ("kraite_gaps_closed_total", "Gaps that got their outcome.", reconcile.gaps_closed),
        ("kraite_events_recovered_total", "Events that nobody had heard.", reconcile.recovered),
        ("kraite_sync_orders_rounds_total", "Rounds of the safety net.", reconcile.sync_rounds),
        ("kraite_orders_drifted_total", "Local orders found elsewhere than at the venue.", reconcile.drifted),
    ] {
        text.one(name, "counter", help, &[], count as f64);
    }
}

fn render_work(work: &WorkStatus, text: &mut Exposition) {
    for (name, help, on) in [
        ("kraite_work_lease_held", "1 when this process works on the queue.", work.lease == "held"),
        ("kraite_work_shadow_mode", "1 when events are audited and nothing is applied.", work.allowlist.is_empty()),
    ] {
        text.one(name, "gauge", help, &[], flag(on));
    }
    for (name, help, count) in [
        ("kraite_work_jobs_total", "Jobs applied and committed, duplicates included.", work.applied),
        ("kraite_work_duplicates_total", "Events that were in the audit already.", work.duplicates),
        ("kraite_work_transactions_total", "Transactions that carried the jobs.", work.transactions),
        ("kraite_work_disorder_total", "Jobs applied before their predecessor came.", work.disorder),
        ("kraite_work_retries_total", "Attempts in vain for which no job is to blame.", work.retries),
        ("kraite_work_attempts_failed_total", "Attempts in vain that counted against a job.", work.attempts),
        ("kraite_work_failed_jobs_total", "Jobs that went to failed_jobs.", work.failed),
        ("kraite_work_panics_total", "Panics while applying.", work.panics),
        ("kraite_work_misfits_total", "Projected fields that fitted no column.", work.misfits),
        ("kraite_work_intents_total", "Intents written.", work.intents),
        ("kraite_work_intents_pushed_total", "Intents pushed onto the application's queue.", work.intents_pushed),
        ("kraite_work_audit_deleted_total", "Audit rows that retention has deleted.", work.audit_deleted),
        ("kraite_work_intents_deleted_total", "Intents that retention has deleted.", work.intents_deleted),
        ("kraite_work_decisions_deleted_total", "Decisions that retention has deleted.", work.decisions_deleted),
        ("kraite_work_leases_lost_total", "Times that the lease was lost.", work.leases_lost),
        ("kraite_work_put_aside_total", "Bodies that are no jobs, put aside at the queue.", work.put_aside),
    ] {
        text.one(name, "counter", help, &[], count as f64);
    }
    for (name, help, value) in [
        ("kraite_work_in_hand", "Jobs in hand.", work.in_hand as f64),
        ("kraite_work_in_hand_bytes", "Bytes of the jobs in hand.", work.in_hand_bytes as f64),
        ("kraite_work_queue_depth", "Jobs that wait on the queue.", work.queue_depth as f64),
        ("kraite_work_lanes_held", "Accounts whose jobs wait.", work.held.len() as f64),
        ("kraite_work_oldest_seconds", "Age of the oldest job in hand.", work.oldest_ms as f64 / 1e3),
    ] {
        text.one(name, "gauge", help, &[], value);
    }
    text.latency(
        "kraite_receive_to_commit_seconds",
        "From a private frame's arrival to its commit, over the life of the process.",
        work.receive_to_commit_us,
    );
    text.latency(
        "kraite_reserve_to_commit_seconds",
        "From a job's reservation to its commit, over the life of the process.",
        work.reserve_to_commit_us,
    );
}

const fn flag(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}

struct Exposition(String);

impl Exposition {
    fn one(&mut self, name: &str, kind: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.head(name, kind, help);
        self.sample(name, labels, value);
    }

    fn latency(&mut self, name: &str, help: &str, latency: Option<LatencyUs>) {
        let Some(us) = latency else { return };
        self.head(name, "gauge", help);
        for (quantile, micros) in [("0.5", us.p50), ("0.99", us.p99), ("1", us.max)] {
            self.sample(name, &[("quantile", quantile)], micros as f64 / 1e6);
        }
    }

    fn many(&mut self, name: &str, help: &str, label: &str, counts: &BTreeMap<String, u64>) {
        if counts.is_empty() {
            return;
        }
        self.head(name, "counter", help);
        for (value, count) in counts {
            self.sample(name, &[(label, value)], *count as f64);
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if at == 0 { '{' } else { ',' });
            for character in text.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_sample_with_its_head() {
        let mut status = Status::default();
        status.stream.entries.insert("accepted".to_owned(), 12_345_678);
        status.fault_kinds.insert("oversized".to_owned(), 3);
        status.writer.tick_to_commit_us = Some(LatencyUs { p50: 31_000, p99: 60_000, max: 1_250_000 });
        status.work = Some(WorkStatus { failed: 2, oldest_ms: 1_500, intents_deleted: 4, ..WorkStatus::default() });
        let reconcile =
            ReconcileStatus { gaps_closed: 3, recovered: 14, weight_used: 480, ..ReconcileStatus::default() };
        status.user_data =
            Some(UserDataStatus { left_out: 6, reconcile: Some(reconcile), ..UserDataStatus::default() });
        let text = render(&status);
        let (mut name, mut heads) = ("", 0);
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# HELP ") {
                name = head.split(' ').next().unwrap();
                assert!(head.len() > name.len() + 5, "{line}");
                heads += 1;
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let counter = name.ends_with("_total");
                assert_eq!(kind, format!("{name} {}", if counter { "counter" } else { "gauge" }));
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert_eq!(series.split('{').next().unwrap(), name, "a sample stands below another's head");
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert_eq!(heads, 67);
        for line in [
            "kraite_stream_entries_total{kind=\"accepted\"} 12345678",
            "kraite_tick_to_commit_seconds{quantile=\"0.99\"} 0.06",
            "kraite_stream_faults_total{layer=\"tls\"} 0",
            "kraite_stream_fault_kinds_total{kind=\"oversized\"} 3",
            "kraite_stream_live 0",
            "kraite_work_failed_jobs_total 2",
            "kraite_work_intents_deleted_total 4",
            "kraite_work_decisions_deleted_total 0",
            "kraite_queue_left_out_total 6",
            "kraite_gaps_closed_total 3",
            "kraite_events_recovered_total 14",
            "kraite_rest_weight_used 480",
            "kraite_work_oldest_seconds 1.5",
            "kraite_work_shadow_mode 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}");
        }
    }

    #[test]
    fn labels_are_escaped() {
        let mut text = Exposition(String::new());
        text.sample("x", &[("a", "q\"b\\n\nü"), ("b", "")], 0.5);
        assert_eq!(text.0, "x{a=\"q\\\"b\\\\n\\nü\",b=\"\"} 0.5\n");
    }
}
