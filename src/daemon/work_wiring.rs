//! From settings to what the worker's role takes; every setting that cannot be carried out is said here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[cfg(feature = "server")]
use super::account_wiring;
use super::wiring::{self, BadSetting, bad};
use crate::domain::{Clock, Random, Venue};
use crate::ops::Settings;
use crate::ops::settings::{IntentTarget, QueueTarget};
use crate::queue::{InProcessQueue, InProcessSource, JobSource};
use crate::store::WorkStore;
use crate::store::user_data::UserDataOptions;
use crate::user_data::apply::Policy;
use crate::user_data::rules::{Allowlist, IntentSwitches};
use crate::user_data::worker::WorkConfig;
use crate::user_data::worker::relay::RelayParts;

/// Opens the queue, once clock and randomness are there.
pub type OpenSource = Box<dyn FnOnce(&Arc<dyn Clock>, &mut Random) -> Box<dyn JobSource>>;

/// Everything that the role needs.
pub struct WorkRoleConfig {
    /// How it works.
    pub work: WorkConfig,
    /// The queue.
    pub source: OpenSource,
    /// Makes a database session's owner.
    pub store: Box<dyn FnMut() -> WorkStore>,
    /// What jobs may do at first.
    pub policy: Policy,
    /// Where intents go.
    pub relay: Option<RelayParts>,
    /// In embedded mode: where the dispatcher reads how far its consumer has committed.
    pub audited: Option<Audited>,
}

/// How far the worker in this process has committed the spool's positions.
pub struct Audited {
    queue: InProcessQueue,
    position: Arc<AtomicU64>,
}

impl Audited {
    /// From the queue to whoever reads the number.
    pub fn refresh(&self) {
        if let Some(acked) = self.queue.acked() {
            self.position.fetch_max(acked, Ordering::AcqRel);
        }
    }
}

/// The worker of this process. `embedded` is the consumer's end of the queue in this process, with the place for
/// [`Audited`]; without it jobs come from Redis.
///
/// # Errors
/// [`BadSetting`], the first one found.
pub fn work_role(
    settings: &Settings,
    command: &str,
    embedded: Option<(InProcessQueue, Arc<AtomicU64>)>,
) -> Result<WorkRoleConfig, BadSetting> {
    let work = &settings.work;
    let store_url = wiring::store_url(settings)?;
    let options = UserDataOptions {
        extra_roots_pem: wiring::read_roots("store.extra_roots", settings.store.extra_roots.as_deref())?,
        connect_timeout: settings.store.connect_timeout,
        ..UserDataOptions::new(format!("kraite-streams {command} worker (pid {})", std::process::id()))
    };
    let store = WorkStore::new(&store_url, &options).map_err(|error| bad("store.url", error.sentence()))?;
    // One is made already; that the others can be made is then certain.
    let mut first = Some(store);
    let store = move || {
        first.take().unwrap_or_else(|| WorkStore::new(&store_url, &options).expect("the first one could be made"))
    };
    let audited =
        embedded.as_ref().map(|(queue, position)| Audited { queue: queue.clone(), position: Arc::clone(position) });
    let source: OpenSource = match (embedded, &settings.queue.target) {
        (Some((queue, _)), _) => Box::new(|clock, _| {
            // Greater than that of every process before this one: the time of its start.
            let fence = u64::try_from(clock.now().wall.as_millis()).unwrap_or(1);
            Box::new(InProcessSource::new(queue, fence, Arc::clone(clock)))
        }),
        (None, QueueTarget::InProcess) => {
            return Err(bad(
                "queue.url",
                "\"in_process\": jobs then never leave `kraite-streams user-data` or `run`, which apply them themselves; name a \
                 Redis server to have a worker of its own",
            ));
        }
        (None, QueueTarget::Redis(_)) => redis_source(settings)?,
    };
    Ok(WorkRoleConfig {
        work: WorkConfig {
            threads: work.threads,
            batch: work.batch,
            reserve: work.reserve,
            tries: work.tries,
            backoff: work.backoff.clone(),
            disorder_wait: work.disorder_wait,
            lease: work.lease,
            retry_after: work.retry_after,
            connection: work.failed_connection.clone(),
            queue: settings.queue.name.clone(),
            canonical: Venue::Binance.canonical().to_owned(),
            audit_keep: work.audit_retain_days.map(|days| Duration::from_secs(u64::from(days) * 86_400)),
        },
        source,
        store: Box::new(store),
        policy: policy(settings)?,
        relay: relay(settings)?,
        audited,
    })
}

/// What jobs may do, by these settings.
///
/// # Errors
/// [`BadSetting`] for a name that is no kind of intent.
pub fn policy(settings: &Settings) -> Result<Policy, BadSetting> {
    let work = &settings.work;
    Ok(Policy {
        allowlist: Allowlist::new(&settings.user_data.binance.dispatched_executions),
        intents: IntentSwitches::without(&work.intents_off).map_err(|error| bad("work.intents_off", error))?,
        live_for: work.intent_live,
    })
}

/// Settings that a running worker takes over, by their full names.
#[must_use]
pub fn is_live(key: &str) -> bool {
    matches!(key, "user_data.binance.dispatched_executions" | "work.intents_off" | "work.intent_live_s")
}

#[cfg(not(feature = "server"))]
fn redis_source(_: &Settings) -> Result<OpenSource, BadSetting> {
    Err(bad("queue.url", "this build has no Redis: build with the feature `server`, or set \"in_process\""))
}

#[cfg(feature = "server")]
fn redis_source(settings: &Settings) -> Result<OpenSource, BadSetting> {
    use crate::queue::{RedisSource, Reservation};

    let config = account_wiring::redis_config(settings, &settings.queue.name, None, ":worker")?;
    let reservation = Reservation { retry_after: settings.work.retry_after, lease: settings.work.lease };
    Ok(Box::new(move |clock, random| Box::new(RedisSource::new(config, reservation, Arc::clone(clock), random))))
}

#[cfg(not(feature = "server"))]
fn relay(settings: &Settings) -> Result<Option<RelayParts>, BadSetting> {
    match settings.work.intent_target {
        IntentTarget::Store => Ok(None),
        IntentTarget::Redis => {
            Err(bad("work.intent_target", "this build has no Redis: build with the feature `server`"))
        }
    }
}

#[cfg(feature = "server")]
fn relay(settings: &Settings) -> Result<Option<RelayParts>, BadSetting> {
    use crate::ops::settings::{INTENT_QUEUES, WORKFLOWS};
    use crate::queue::{JobClass, JobShape, Laravel, RedisProducer};

    let (work, queue) = (&settings.work, &settings.queue);
    if work.intent_target == IntentTarget::Store {
        return Ok(None);
    }
    let laravel = if queue.laravel >= 13 { Laravel::V13 } else { Laravel::V12 };
    let class_of = |workflow: &str| {
        let class = work.intent_class.class(workflow).unwrap_or_default();
        JobClass::parse(&class).map_err(|error| bad("work.intent_class", format!("{workflow}: {error}")))
    };
    let mut shapes = Vec::new();
    for workflow in WORKFLOWS {
        shapes.push((workflow, JobShape { job_class: class_of(workflow)?, laravel, horizon: queue.horizon }));
    }
    // Whatever can be wrong with the queue's settings is found here; what is opened later is the same.
    for logical in INTENT_QUEUES {
        account_wiring::redis_config(settings, &work.intent_queue.name(logical), None, ":intents")?;
    }
    let settings = settings.clone();
    Ok(Some(RelayParts {
        shape_of: Box::new(move |workflow| {
            let found = shapes.iter().find(|(known, _)| *known == workflow).or(shapes.first());
            found.expect("there are workflows").1.clone()
        }),
        open: Box::new(move |logical, shape| {
            let name = settings.work.intent_queue.name(logical);
            let class = Some(shape.job_class.as_str());
            let config = account_wiring::redis_config(&settings, &name, class, ":intents");
            let mut config = config.expect("the settings were tried at the start");
            config.depth_max = None;
            Box::new(RedisProducer::new(config))
        }),
    }))
}
