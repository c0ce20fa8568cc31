//! From settings to what the user-data role takes; every setting that cannot be carried out is said here.

use std::sync::Arc;

use super::account_host::HostConfig;
use super::account_role::AccountRoleConfig;
use super::applied_look::AppliedLook;
use super::control_ports::{BinanceListenKeyRest, LaravelColumns};
use super::reconcile_wiring;
use super::venue_memory::VenueMemory;
use super::wiring::{self, BadSetting, bad};
use crate::domain::Venue;
use crate::domain::limits::{
    LISTEN_KEY_CALL_MAX, SPOOL_IN_FLIGHT_MAX, SPOOL_RESERVE_BYTES, SPOOL_TAIL_BYTES_MAX, SPOOL_UNSYNCED_BYTES_MAX,
};
use crate::event_loop::ConnectGate;
use crate::exchange::binance::private_url::{Spelling, SpellingChoice};
use crate::ops::encrypter::Encrypter;
use crate::ops::key_place::KeyPlace;
use crate::ops::settings::{PrivateSpelling, QueueTarget, SpoolSync};
use crate::ops::{RestClient, Settings};
use crate::queue::{InProcessQueue, JobClass, JobShape, JobSink, Laravel, in_process_queue};
use crate::spool::{Epoch, FolderDisk, OpenReport, SpoolConfig, SyncMode};
use crate::store::user_data::UserDataOptions;
use crate::store::{StoreUrl, UserDataStore, WorkStore};
use crate::stream::{SessionConfig, StreamUrl};
use crate::user_data::control::ControlConfig;
use crate::user_data::key_schedule::Pace;

/// The class name in jobs of the in-process queue, whose consumer reads the member `kraite`.
const IN_PROCESS_CLASS: &str = "Kraite\\Streams\\UserDataEvent";

/// Everything that the role needs.
///
/// # Errors
/// [`BadSetting`], the first one found.
pub fn account_role(
    settings: &Settings,
    command: &str,
    gate: Arc<dyn ConnectGate>,
) -> Result<AccountRoleConfig, BadSetting> {
    let user_data = &settings.user_data;
    let store_url = wiring::store_url(settings)?;
    let base = format!("{}/private", user_data.url.trim_end_matches('/'));
    let url = StreamUrl::parse(&base).map_err(|error| bad("user_data.url", error))?;
    let tls = wiring::account_tls(settings)?;
    let mut session = SessionConfig::user_data(url, Arc::clone(&tls));
    session.connect_deadline = settings.net.connect_deadline;

    let rest =
        BinanceListenKeyRest::new(RestClient::new(tls, LISTEN_KEY_CALL_MAX), &wiring::account_rest_base(settings));

    let embedded = match &store_url {
        StoreUrl::Sqlite(path) => Some(path.as_path()),
        StoreUrl::Postgres(_) => None,
    };
    let keys = KeyPlace::of(user_data, embedded).load().map_err(|error| {
        bad("user_data.app_key", format!("{error}; `kraite-streams accounts add` makes one for the embedded store"))
    })?;
    let cipher = LaravelColumns(Encrypter::new(keys, user_data.cipher));

    let options = UserDataOptions {
        extra_roots_pem: wiring::read_roots("store.extra_roots", settings.store.extra_roots.as_deref())?,
        connect_timeout: settings.store.connect_timeout,
        ..UserDataOptions::new(format!("kraite-streams {command} control (pid {})", std::process::id()))
    };
    let open = || UserDataStore::new(&store_url, &options).map_err(|error| bad("store.url", error.sentence()));
    let looking = WorkStore::new(&store_url, &options).map_err(|error| bad("store.url", error.sentence()))?;
    let disk = FolderDisk::open(&settings.spool.folder)
        .map_err(|error| bad("spool.folder", format!("{}: {error}", settings.spool.folder.display())))?;

    let mut epoch = [0; 16];
    getrandom::fill(&mut epoch)
        .map_err(|error| bad("spool.folder", format!("no random bytes for its epoch: {error}")))?;
    let mut instance = [0; 8];
    instance.copy_from_slice(&epoch[..8]);
    let (sink, shape, queue) = sink(settings, "")?;
    Ok(AccountRoleConfig {
        host: HostConfig {
            base,
            choice: choice(user_data.spelling),
            session,
            gate,
            spool_folder: settings.spool.folder.clone(),
            found: Vec::new(),
            rotate_after: (!user_data.rotate_after.is_zero()).then_some(user_data.rotate_after),
            rotations: wiring::rotation_share(settings),
        },
        threads: user_data.threads,
        control: ControlConfig {
            canonical: Venue::Binance.canonical().to_owned(),
            discovery: user_data.discovery,
            pace: Pace { min: user_data.keep_alive_min, max: user_data.keep_alive_max },
            threads: user_data.control_threads,
        },
        store: open()?,
        venue_store: open()?,
        venue_memory: VenueMemory::beside(&settings.spool.folder, Venue::Binance.canonical()),
        rest: Arc::new(rest),
        cipher: Arc::new(cipher),
        disk,
        spool: spool_config(settings, command),
        epoch: Epoch(epoch),
        mark_every: user_data.liveness_mark,
        sink,
        shape,
        queue,
        audited: Arc::default(),
        applied: Box::new(AppliedLook::new(looking)),
        batch: (settings.queue.batch, settings.queue.age),
        meter: Arc::new(reconcile_wiring::meter(settings, u64::from_le_bytes(instance))),
        reconcile: reconcile_wiring::reconcile_role(settings, command)?,
    })
}

fn choice(spelling: PrivateSpelling) -> SpellingChoice {
    match spelling {
        PrivateSpelling::Auto => SpellingChoice::Auto,
        PrivateSpelling::Query => SpellingChoice::Only(Spelling::Query),
        PrivateSpelling::Stream => SpellingChoice::Only(Spelling::Stream),
        PrivateSpelling::Path => SpellingChoice::Only(Spelling::Path),
    }
}

fn spool_config(settings: &Settings, command: &str) -> SpoolConfig {
    let spool = &settings.spool;
    SpoolConfig {
        sync: match spool.sync {
            SpoolSync::Interval => SyncMode::Interval(spool.sync_interval),
            SpoolSync::Always => SyncMode::Always,
        },
        segment_bytes: spool.segment_bytes,
        bytes_max: spool.bytes_max,
        account_bytes_max: spool.account_bytes_max(),
        free_min: spool.free_min,
        reserve_bytes: SPOOL_RESERVE_BYTES,
        retain: spool.retain,
        tail_bytes_max: SPOOL_TAIL_BYTES_MAX,
        unsynced_bytes_max: SPOOL_UNSYNCED_BYTES_MAX,
        in_flight_max: SPOOL_IN_FLIGHT_MAX,
        holder: format!("kraite-streams {command}, process {}", std::process::id()),
    }
}

/// The queue for a command (`purpose`) beside the daemon: a producer of its own, so that the daemon's watermark stays.
///
/// # Errors
/// [`BadSetting`], the first one found.
pub fn side_sink(settings: &Settings, purpose: &str) -> Result<(Box<dyn JobSink>, JobShape), BadSetting> {
    sink(settings, &format!(":{purpose}")).map(|(sink, shape, _)| (sink, shape))
}

/// What a queue's settings come to; the consumer's end where it is in this process.
type Queue = (Box<dyn JobSink>, JobShape, Option<InProcessQueue>);

/// Where jobs go, and what they look like.
fn sink(settings: &Settings, producer_suffix: &str) -> Result<Queue, BadSetting> {
    let queue = &settings.queue;
    let class = match (&queue.target, &queue.job_class) {
        (_, Some(class)) => class.clone(),
        (QueueTarget::InProcess, None) => IN_PROCESS_CLASS.to_owned(),
        (QueueTarget::Redis(_), None) => return Err(bad("queue.job_class", "name the PHP class of the job")),
    };
    let job_class = JobClass::parse(&class).map_err(|error| bad("queue.job_class", error))?;
    let laravel = if queue.laravel >= 13 { Laravel::V13 } else { Laravel::V12 };
    let shape = JobShape { job_class, laravel, horizon: queue.horizon };
    match &queue.target {
        QueueTarget::InProcess => {
            let (sink, queue) = in_process_queue();
            Ok((Box::new(sink), shape, Some(queue)))
        }
        QueueTarget::Redis(_) => redis_sink(settings, &class, producer_suffix).map(|sink| (sink, shape, None)),
    }
}

#[cfg(not(feature = "server"))]
fn redis_sink(_: &Settings, _: &str, _: &str) -> Result<Box<dyn JobSink>, BadSetting> {
    Err(bad("queue.url", "this build has no Redis: build with the feature `server`, or set \"in_process\""))
}

#[cfg(feature = "server")]
fn redis_sink(settings: &Settings, class: &str, producer_suffix: &str) -> Result<Box<dyn JobSink>, BadSetting> {
    let config = redis_config(settings, &settings.queue.name, Some(class), producer_suffix)?;
    Ok(Box::new(crate::queue::RedisProducer::new(config)))
}

/// The queue `name` on the server of the settings. `class` is the jobs' class, for Horizon's records; a consumer has none.
#[cfg(feature = "server")]
pub(super) fn redis_config(
    settings: &Settings,
    name: &str,
    class: Option<&str>,
    producer_suffix: &str,
) -> Result<crate::queue::RedisConfig, BadSetting> {
    use crate::queue::{HorizonRecords, QueueKeys, RedisConfig, RedisUrl};

    let queue = &settings.queue;
    let QueueTarget::Redis(url) = &queue.target else { return Err(bad("queue.url", "name a Redis server")) };
    let url = url.expose();
    let keys = QueueKeys::new(&queue.prefix, name, queue.hash_tag);
    let parse = |text: &str| RedisUrl::parse(text).map_err(|error| bad("queue.url", error));
    // One name a spool: two spools with one name would take each other's pushes for lost memory.
    let folder = settings.spool.folder.canonicalize().unwrap_or_else(|_| settings.spool.folder.clone());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let producer = format!("{}:{}{producer_suffix}", host.trim(), folder.display());
    let mut config = match sentinels(url) {
        None => RedisConfig::new(parse(url)?, keys, producer),
        Some((urls, service)) => {
            let sentinels = urls.iter().map(|url| parse(url)).collect::<Result<Vec<_>, _>>()?;
            let first = parse(&format!("{}/{}", urls[0], service.1))?;
            let mut config = RedisConfig::new(first, keys, producer);
            config.sentinels = sentinels;
            config.sentinel_master = service.0;
            config
        }
    };
    config.depth_max = (queue.depth_max > 0).then_some(queue.depth_max);
    config.connect_timeout = queue.connect_timeout;
    config.answer_timeout = queue.answer_timeout;
    config.extra_roots = wiring::read_roots("queue.extra_roots", queue.extra_roots.as_deref())?;
    config.horizon = class.filter(|_| queue.horizon).map(|class| HorizonRecords {
        prefix: queue.horizon_prefix.clone(),
        keep_pending: std::time::Duration::from_secs(3_600),
        queue: name.to_owned(),
        job_class: class.to_owned(),
    });
    Ok(config)
}

/// `redis+sentinel://[login@]a:1,b:2/service[/database]` as URLs of the Sentinels, service and database; `None` for another URL.
#[cfg(feature = "server")]
fn sentinels(url: &str) -> Option<(Vec<String>, (String, u32))> {
    let (scheme, rest) = url.split_once("+sentinel://")?;
    let (hosts, path) = rest.split_once('/')?;
    let (login, hosts) = hosts.rsplit_once('@').map_or(("", hosts), |(login, hosts)| (login, hosts));
    let at = if login.is_empty() { String::new() } else { format!("{login}@") };
    let (service, database) = path.split_once('/').unwrap_or((path, "0"));
    let urls = hosts.split(',').map(|host| format!("{scheme}://{at}{host}")).collect();
    Some((urls, (service.to_owned(), database.parse().unwrap_or(0))))
}

/// Says what opening the spool found, and what an operator must know about the queue.
pub fn log_opened(report: &OpenReport, settings: &Settings) {
    tracing::info!(
        "spool {}: {} segments, {} records not yet acknowledged",
        settings.spool.folder.display(),
        report.segments,
        report.unacknowledged
    );
    for (what, count) in [
        ("torn ends of segments", report.torn.len()),
        ("damaged stretches, now in quarantine", report.damaged.len()),
        ("ranges of positions that are gone", report.lost.len()),
        ("segments set aside as unreadable", report.set_aside.len()),
    ] {
        if count > 0 {
            tracing::warn!("spool: {count} {what}");
        }
    }
    if settings.queue.target == QueueTarget::InProcess {
        tracing::info!("queue.url is \"in_process\": this process applies its jobs itself");
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;

    #[test]
    fn a_sentinel_url_names_its_sentinels() {
        let (urls, service) = sentinels("rediss+sentinel://u:p%40@a:26379,b:26380/mymaster/3").unwrap();
        assert_eq!(urls, ["rediss://u:p%40@a:26379", "rediss://u:p%40@b:26380"]);
        assert_eq!(service, ("mymaster".to_owned(), 3));
        assert_eq!(sentinels("redis+sentinel://a:1/m").unwrap().1, ("m".to_owned(), 0));
        assert!(sentinels("redis://a:1/0").is_none());
    }
}
