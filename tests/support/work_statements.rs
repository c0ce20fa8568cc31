//! What a job costs in statements, counted where they are carried out: the same numbers on every machine, so that a change
//! that makes jobs dearer has to say so. `work_statements.rs` and `servers_work_statements.rs` run it.

use kraite_streams::domain::Wall;
use kraite_streams::store::WorkStore;
use kraite_streams::store::work::End;
use kraite_streams::store::work_rows::Progress;
use kraite_streams::user_data::apply::{AuditOutcome, JobEvent, Policy, apply, audit_ahead};
use kraite_streams::user_data::rules::{Allowlist, IntentSwitches};

use crate::order_lives;

const AT: Wall = Wall::from_micros(1_795_419_015_123_000);
const EPOCH: [u8; 16] = *b"one life's epoch";

/// Statements of a cycle of [`order_lives::FRAMES`] jobs, `BEGIN` and `COMMIT` included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Shadow mode, one job a transaction.
    pub shadow_alone: u64,
    /// Shadow mode, all in one.
    pub shadow_together: u64,
    /// Production's allowlist, one job a transaction.
    pub applied_alone: u64,
    /// The same, all in one.
    pub applied_together: u64,
    /// All of them once more, in one: nothing is new.
    pub again: u64,
}

/// Runs a cycle each way in a new account, which `sql` makes.
pub fn measure(store: &mut WorkStore, mut sql: impl FnMut(&str)) -> Cost {
    sql("INSERT INTO accounts (id, uuid, name, api_system_id, is_active) \
         VALUES (7, 'costs', 'costs', (SELECT id FROM api_systems WHERE canonical = 'binance'), '1')");
    let mut cycle = 0;
    let mut run = |store: &mut WorkStore, list: &str, piece: usize, audit: AuditOutcome| {
        if audit == AuditOutcome::Inserted {
            cycle += 1;
            sql(&order_lives::rows(7, cycle));
        }
        let frames = order_lives::frames(7, cycle);
        let before = store.statements();
        let mut intents = 0;
        for (at, frames) in frames.chunks(piece).enumerate() {
            intents += transact(store, cycle * 100 + (at * piece) as u64, frames, list, audit);
        }
        let wanted = list.is_empty() || audit == AuditOutcome::Duplicate;
        assert_eq!(intents, if wanted { 0 } else { order_lives::INTENTS });
        store.statements() - before
    };
    let all = order_lives::FRAMES;
    // The account's row of progress is made by its first job.
    run(store, "", 1, AuditOutcome::Inserted);
    let list = order_lives::ALLOWLIST;
    Cost {
        shadow_alone: run(store, "", 1, AuditOutcome::Inserted),
        shadow_together: run(store, "", all, AuditOutcome::Inserted),
        applied_alone: run(store, list, 1, AuditOutcome::Inserted),
        applied_together: run(store, list, all, AuditOutcome::Inserted),
        again: run(store, list, all, AuditOutcome::Duplicate),
    }
}

/// As the worker does it; how many intents were written.
fn transact(store: &mut WorkStore, position: u64, frames: &[String], list: &str, audit: AuditOutcome) -> usize {
    let policy = Policy {
        allowlist: Allowlist::of_comma_list(list),
        intents: IntentSwitches::default(),
        live_for: std::time::Duration::from_secs(900),
    };
    let mut intents = 0;
    let ended = store.run(|tables| {
        tables.transaction(&mut |tx| {
            tx.lock_progress(7)?;
            let system = tx.account(7)?.unwrap().api_system_id;
            let events: Vec<_> = (position..)
                .zip(frames)
                .map(|(position, raw)| JobEvent {
                    account_id: 7,
                    api_system_id: system,
                    canonical: "binance",
                    kind: "frame",
                    uuid: "a job",
                    epoch: EPOCH,
                    position,
                    previous: None,
                    received_at: AT,
                    reserved_at: AT,
                    raw: raw.as_bytes(),
                })
                .collect();
            audit_ahead(tx, &events)?;
            for event in &events {
                let outcome = apply(tx, event, &policy, AT)?;
                assert_eq!(outcome.audit, audit);
                intents += outcome.intents.len();
            }
            tx.set_progress(7, &Progress { epoch: EPOCH, position, fence: 1 })?;
            Ok(End::Commit)
        })
    });
    assert_eq!(ended.unwrap(), End::Commit);
    intents
}
