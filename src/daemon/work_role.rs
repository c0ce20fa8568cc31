//! The worker's role: starts it on the queue of the settings or on the one in this process, turns its policy while it runs, and
//! shows what it does.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::work_wiring::{self, WorkRoleConfig};
use crate::domain::limits::POLICY_EVERY;
use crate::domain::{Clock, Mono, Now, Random, Wall};
use crate::ops::Settings;
use crate::ops::status::{HeldLaneStatus, LatencyUs, RateMeter, WorkStatus, iso};
use crate::user_data::apply::Policy;
use crate::user_data::dispatcher::Latency;
use crate::user_data::worker::job::LaneKey;
use crate::user_data::worker::lanes::{HeldLane, LaneCounts};
use crate::user_data::worker::status::WorkerStatus;
use crate::user_data::worker::{WorkParts, Worker};

/// A lane that does not move for so long needs a person.
const HELD_ALARM_AFTER: Duration = Duration::from_secs(10);

/// The running role.
pub struct WorkRole {
    worker: Worker,
    policy: Policy,
    policy_at: Mono,
    /// Told once, until the settings can be read again.
    policy_fault: Option<String>,
    audited: Option<work_wiring::Audited>,
    rate: RateMeter,
}

impl WorkRole {
    /// Starts everything.
    ///
    /// # Errors
    /// A system without threads.
    pub fn start(config: WorkRoleConfig, clock: Arc<dyn Clock>, mut random: Random) -> io::Result<WorkRole> {
        let WorkRoleConfig { work, source, store, policy, relay, audited } = config;
        let now = clock.now();
        let parts = WorkParts {
            source: source(&clock, &mut random),
            store,
            apply: Arc::new(crate::user_data::apply::apply),
            policy: policy.clone(),
            relay,
            clock,
            random,
        };
        let worker = Worker::start(work, parts)?;
        tell(&policy);
        let policy_at = now.mono.plus(POLICY_EVERY);
        Ok(WorkRole { worker, policy, policy_at, policy_fault: None, audited, rate: RateMeter::default() })
    }

    /// Reads allowlist and switches again where their time has come, or at once: a flip touches no socket and no lease.
    pub fn refresh_policy(&mut self, named: Option<&Path>, at_once: bool, now: Now) {
        if !at_once && now.mono < self.policy_at {
            return;
        }
        self.policy_at = now.mono.plus(POLICY_EVERY);
        let read = Settings::load(named).map_err(|error| error.to_string());
        let read = read.and_then(|(settings, _)| work_wiring::policy(&settings).map_err(|error| error.to_string()));
        match read {
            Ok(policy) => {
                self.policy_fault = None;
                if policy != self.policy {
                    tell(&policy);
                    self.worker.set_policy(policy.clone());
                    self.policy = policy;
                }
            }
            Err(error) => {
                if self.policy_fault.is_none() {
                    tracing::error!("the allowlist stays as it was: {error}");
                }
                self.policy_fault = Some(error);
            }
        }
    }

    /// Whether a thread has ended that nobody stopped.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.worker.is_broken()
    }

    /// What the role shows.
    #[must_use]
    pub fn status(&mut self, now: Now) -> WorkStatus {
        if let Some(audited) = &self.audited {
            audited.refresh();
        }
        let (worker, lanes) = self.worker.status();
        let mut alarms = alarms(&worker, &lanes, now.wall);
        if let Some(fault) = &self.policy_fault {
            alarms.push(format!("the allowlist stays as it was: {fault}"));
        }
        let age_ms = |then: Wall| u64::try_from(now.wall.as_millis().saturating_sub(then.as_millis())).unwrap_or(0);
        WorkStatus {
            lease: worker.lease.as_str().to_owned(),
            allowlist: self.policy.allowlist.words().map(str::to_owned).collect(),
            applied: worker.applied,
            jobs_per_s: self.rate.rate(worker.applied, now.mono),
            duplicates: worker.duplicates,
            gaps: worker.gaps,
            transactions: worker.transactions,
            disorder: worker.disorder,
            retries: worker.retries,
            attempts: worker.attempts,
            failed: worker.failed,
            unreadable: worker.unreadable,
            panics: worker.panics,
            misfits: worker.misfits,
            reconciles: worker.reconciles,
            intents: worker.intents,
            intents_pushed: worker.intents_pushed,
            audit_deleted: worker.deleted,
            intents_deleted: worker.intents_deleted,
            decisions_deleted: worker.decisions_deleted,
            leases_lost: worker.losses,
            in_hand: lanes.jobs as u64,
            in_hand_bytes: lanes.bytes as u64,
            queue_depth: worker.depth,
            put_aside: worker.put_aside,
            oldest_ms: lanes.oldest.map_or(0, age_ms),
            held: lanes.held.iter().map(held).collect(),
            receive_to_commit_us: latency(worker.receive_to_commit),
            reserve_to_commit_us: latency(worker.reserve_to_commit),
            alarms,
        }
    }

    /// Ends everything inside `bound`; says whether that was enough.
    pub fn stop(&mut self, bound: Duration, clock: &dyn Clock) -> bool {
        self.worker.stop(bound, clock)
    }
}

/// Shadow mode looks healthy and does nothing, so it is said loudly.
fn tell(policy: &Policy) {
    if policy.allowlist.is_empty() {
        tracing::warn!(
            "SHADOW MODE: user_data.binance.dispatched_executions is empty: events are audited, and no order, position or \
             intent is written"
        );
    } else {
        tracing::info!("execution types that are applied: {}", policy.allowlist);
    }
}

fn alarms(worker: &WorkerStatus, lanes: &LaneCounts, now: Wall) -> Vec<String> {
    let mut alarms = Vec::new();
    if let Some((text, since)) = &worker.queue_stuck {
        alarms.push(format!("the queue gives no jobs since {since}: {text}"));
    }
    for lane in &lanes.held {
        let micros = u64::try_from(now.as_micros().saturating_sub(lane.since.as_micros())).unwrap_or(0);
        if Duration::from_micros(micros) >= HELD_ALARM_AFTER {
            alarms.push(format!("{} since {}: {} jobs wait: {}", name(lane.lane), lane.since, lane.jobs, lane.why));
        }
    }
    if let Some(why) = &worker.relay_stuck {
        alarms.push(format!("intents wait in the database: {why}"));
    }
    if let Some(why) = &worker.retention_stuck {
        alarms.push(format!("old rows stay: {why}"));
    }
    if worker.put_aside > 0 {
        alarms.push(format!("{} bodies that are no jobs were put aside at the queue", worker.put_aside));
    }
    alarms
}

fn name(lane: LaneKey) -> String {
    match lane {
        LaneKey::Account(account) => format!("account {account} is held"),
        LaneKey::Unreadable => "jobs that are not ours are held".to_owned(),
    }
}

fn held(lane: &HeldLane) -> HeldLaneStatus {
    HeldLaneStatus {
        account: match lane.lane {
            LaneKey::Account(account) => Some(account),
            LaneKey::Unreadable => None,
        },
        since: iso(lane.since),
        why: lane.why.to_string(),
        jobs: lane.jobs as u64,
    }
}

fn latency(latency: Latency) -> Option<LatencyUs> {
    (latency.count > 0).then_some(LatencyUs { p50: latency.p50_us, p99: latency.p99_us, max: latency.max_us })
}
