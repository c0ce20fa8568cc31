//! What `check` says about the queue: pure functions from settings and from what a server tells about itself to findings.

use super::job_class::JobClass;
use super::server_facts::{AppendFsync, LossWindow, ServerFacts};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Works, and may not do what was meant.
    Warning,
    /// The daemon does not start with it.
    Refused,
}

/// One sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, and what to do.
    pub text: String,
}

/// The settings that decide where jobs go.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueSettings<'a> {
    /// `queue.job_class`, as it was written.
    pub job_class: Option<&'a str>,
    /// The queue's physical name.
    pub queue: &'a str,
    /// The application's Redis prefix.
    pub prefix: &'a str,
    /// Whether the queue's name is wrapped in braces.
    pub hash_tag: bool,
    /// Horizon's own prefix, where its records are written.
    pub horizon_prefix: Option<&'a str>,
}

/// Looks at the settings of server mode alone.
#[must_use]
pub fn check_settings(settings: &QueueSettings<'_>) -> Vec<Finding> {
    let mut found = Findings::default();
    match settings.job_class.map(JobClass::parse) {
        None => found.refused(
            "queue.job_class is not set: name the PHP class that handles a frame (`kraite-streams print laravel-adapter` \
             prints one)",
        ),
        Some(Err(error)) => found.refused(format!("queue.job_class: {error}")),
        Some(Ok(_)) => {}
    }
    if settings.queue.is_empty() {
        found.refused("the queue has no name");
    }
    if settings.queue.chars().any(|c| c.is_control() || c.is_whitespace()) {
        found.warning("the queue's name holds spaces or control characters; workers name queues on a command line");
    }
    if settings.queue.contains(',') {
        found.refused("the queue's name holds a comma, which separates names in a worker's --queue");
    }
    if settings.prefix.is_empty() {
        found.warning(
            "the Redis prefix is empty; Laravel's default is the application's name and \"_database_\" (12.x) or \
             \"-database-\" (13.x): compare with database.redis.options.prefix",
        );
    }
    if settings.horizon_prefix.is_some_and(str::is_empty) {
        found.warning("Horizon's prefix is empty; compare with horizon.prefix");
    }
    found.0
}

/// Looks at a server that answered.
#[must_use]
pub fn check_server(facts: &ServerFacts, settings: &QueueSettings<'_>) -> Vec<Finding> {
    let mut found = Findings::default();
    if facts.is_replica == Some(true) {
        found.refused(
            "the server is a replica: what is written there is lost or refused; name the primary or the Sentinels",
        );
    }
    check_eviction(facts, &mut found);
    check_persistence(facts, &mut found);
    if facts.is_cluster == Some(true) {
        if !settings.hash_tag && !has_hash_tag(settings.queue) {
            found.refused(
                "the server is a node of a cluster and the queue's name has no {hash tag}: its lists would lie on several \
                 nodes; set queue.hash_tag (Laravel 13 does it by itself, under 12.x the worker's queue name needs the braces)",
            );
        }
        if settings.horizon_prefix.is_some() {
            found.refused("Horizon's records lie on other nodes of the cluster than the queue: switch them off");
        }
    }
    if facts.is_loading == Some(true) {
        found.note("the server is still reading its data");
    }
    if let Some(version) = &facts.version {
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major < 5) {
            found.warning(format!("Redis {version} is older than what Laravel 12 and 13 are tested with"));
        }
    }
    found.0
}

fn check_eviction(facts: &ServerFacts, found: &mut Findings) {
    let unbounded = facts.maxmemory == Some(0);
    match facts.maxmemory_policy.as_deref() {
        Some("noeviction") => {}
        Some(policy) if policy.starts_with("allkeys-") => found.refused(format!(
            "maxmemory-policy is {policy}: a Redis that runs out of memory would delete the whole queue; set noeviction{}",
            if unbounded { " (maxmemory is 0 now, so nothing is deleted until somebody sets it)" } else { "" }
        )),
        Some(policy) if policy.starts_with("volatile-") => found.warning(format!(
            "maxmemory-policy is {policy}: the queue has no expiry and stays, but what shares this Redis may vanish; \
             noeviction is what a queue wants"
        )),
        Some(policy) => found.warning(format!("maxmemory-policy {policy} is not known here; noeviction is what a queue wants")),
        None => found.warning("the server does not tell its maxmemory-policy: make sure that it is noeviction"),
    }
}

fn check_persistence(facts: &ServerFacts, found: &mut Findings) {
    match facts.loss_window() {
        LossWindow::Nothing => found.note("the server syncs each write (appendfsync always): a crash loses nothing"),
        LossWindow::Last(window) => found.note(format!(
            "the server syncs its append-only file {}: a crash loses at most {} s, which is pushed again",
            if facts.append_fsync.is_some() { "once a second" } else { "at an interval it does not tell" },
            window.as_secs()
        )),
        LossWindow::ToLastAudited => {
            let how = match (facts.aof, facts.append_fsync, facts.snapshots) {
                (None, ..) => "the server does not tell how it persists",
                (Some(true), Some(AppendFsync::No), _) => "the append-only file is synced when the system likes",
                (_, _, Some(true)) => "the server takes snapshots only",
                (_, _, Some(false)) => "the server persists nothing",
                (_, _, None) => "the server keeps no append-only file",
            };
            found.warning(format!(
                "{how}: after its crash every job that was not consumed is pushed again from the spool, as far back as \
                 spool.retain reaches; set appendonly yes"
            ));
        }
    }
}

/// Whether Redis Cluster hashes only a part of the name: a brace, something, a closing brace.
#[must_use]
pub fn has_hash_tag(name: &str) -> bool {
    let Some((_, behind)) = name.split_once('{') else { return false };
    behind.split_once('}').is_some_and(|(inside, _)| !inside.is_empty())
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn refused(&mut self, text: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Refused, text: text.into() });
    }

    fn warning(&mut self, text: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Warning, text: text.into() });
    }

    fn note(&mut self, text: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Note, text: text.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: QueueSettings<'static> = QueueSettings {
        job_class: Some(r"App\Jobs\StoreUserDataEvent"),
        queue: "kraite-user-data-stream",
        prefix: "kraite_database_",
        hash_tag: false,
        horizon_prefix: None,
    };

    #[test]
    fn settings_are_looked_at() {
        use Severity::{Refused, Warning};
        let step = crate::queue::job_class::STEP_DISPATCHER_CLASS;
        check(check_settings(&SETTINGS), &[]);
        let with = |change: fn(&mut QueueSettings<'static>)| {
            let mut settings = SETTINGS;
            change(&mut settings);
            check_settings(&settings)
        };
        check(with(|s| s.job_class = None), &[(Refused, "job_class is not set")]);
        check(with(|s| s.job_class = Some("")), &[(Refused, "no job class is named")]);
        check(with(|s| s.job_class = Some("App/Jobs")), &[(Refused, "not a PHP class name")]);
        let mut settings = SETTINGS;
        settings.job_class = Some(step);
        check(check_settings(&settings), &[(Refused, "step-dispatcher job")]);
        check(with(|s| s.queue = ""), &[(Refused, "no name")]);
        check(with(|s| s.queue = "a,b"), &[(Refused, "comma")]);
        check(with(|s| s.queue = "a b"), &[(Warning, "spaces")]);
        check(with(|s| s.prefix = ""), &[(Warning, "prefix is empty")]);
        check(with(|s| s.horizon_prefix = Some("")), &[(Warning, "Horizon's prefix")]);
    }

    #[test]
    fn servers_are_looked_at() {
        use Severity::{Note, Refused, Warning};
        let good = "role:master\naof_enabled:1\nmaxmemory:0\nmaxmemory_policy:noeviction\ncluster_enabled:0\nloading:0\n\
                    redis_version:7.0.15\n";
        let always = (Note, "loses nothing");
        let server = |from: &str, to: &str, fsync: &str, settings: &QueueSettings<'_>| {
            assert!(good.contains(from), "{from}");
            let mut facts = ServerFacts::read(&good.replace(from, to));
            facts.read_setting("appendfsync", fsync);
            check_server(&facts, settings)
        };
        check(server("", "", "always", &SETTINGS), &[always]);
        check(server("", "", "everysec", &SETTINGS), &[(Note, "once a second: a crash loses at most 2 s")]);
        check(server("", "", "", &SETTINGS), &[(Note, "does not tell: a crash loses at most 2 s")]);
        check(server("", "", "no", &SETTINGS), &[(Warning, "when the system likes")]);
        check(server("aof_enabled:1", "aof_enabled:0", "", &SETTINGS), &[(Warning, "keeps no append-only file")]);
        check(server("aof_enabled:1\n", "", "", &SETTINGS), &[(Warning, "does not tell how it persists")]);
        check(server("role:master", "role:slave", "always", &SETTINGS), &[(Refused, "replica"), always]);
        for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random"] {
            check(server("noeviction", policy, "always", &SETTINGS), &[(Refused, policy), always]);
        }
        check(server("noeviction", "volatile-ttl", "always", &SETTINGS), &[(Warning, "volatile-ttl"), always]);
        check(server("noeviction", "future", "always", &SETTINGS), &[(Warning, "not known"), always]);
        check(server("maxmemory_policy:noeviction\n", "", "always", &SETTINGS), &[(Warning, "does not tell"), always]);
        let cluster = ("cluster_enabled:0", "cluster_enabled:1");
        check(server(cluster.0, cluster.1, "always", &SETTINGS), &[always, (Refused, "hash tag")]);
        let tagged = QueueSettings { hash_tag: true, ..SETTINGS };
        check(server(cluster.0, cluster.1, "always", &tagged), &[always]);
        let named = QueueSettings { queue: "{user-data}", horizon_prefix: Some("h:"), ..SETTINGS };
        check(server(cluster.0, cluster.1, "always", &named), &[always, (Refused, "Horizon's records")]);
        check(server("loading:0", "loading:1", "always", &SETTINGS), &[always, (Note, "still reading")]);
        check(server("7.0.15", "4.0.9", "always", &SETTINGS), &[always, (Warning, "4.0.9")]);
        let mut none = ServerFacts::read(&good.replace("aof_enabled:1", "aof_enabled:0"));
        none.read_setting("save", "");
        check(check_server(&none, &SETTINGS), &[(Warning, "persists nothing")]);
        none.read_setting("save", "3600 1");
        check(check_server(&none, &SETTINGS), &[(Warning, "snapshots only")]);
    }

    #[test]
    fn a_hash_tag_has_something_inside() {
        for (name, has) in
            [("q", false), ("{q}", true), ("a{q}b", true), ("{}", false), ("{}{q}", false), ("}q{", false)]
        {
            assert_eq!(has_hash_tag(name), has, "{name}");
        }
    }

    #[track_caller]
    fn check(found: Vec<Finding>, expected: &[(Severity, &str)]) {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, (severity, part)) in found.iter().zip(expected) {
            assert_eq!(finding.severity, *severity, "{finding:?}");
            assert!(finding.text.contains(part), "{finding:?} does not say {part:?}");
        }
    }
}
