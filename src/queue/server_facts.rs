//! What a Redis server says about itself: the text of `INFO`, and two settings where we may read them.

use std::time::Duration;

use crate::domain::limits::REDIS_EVERYSEC_LOSS;

/// A server, as far as the queue is concerned. Unknown where the server or its access list does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// `7.0.15`
    pub version: Option<String>,
    /// Drawn at each start of the server.
    pub run_id: Option<String>,
    /// The history of its data: a replica that takes over starts another.
    pub replication_id: Option<String>,
    /// Whether it follows another server.
    pub is_replica: Option<bool>,
    /// Replicas that follow it.
    pub replicas: Option<u64>,
    /// Whether it is one node of a cluster.
    pub is_cluster: Option<bool>,
    /// Whether it is still reading its data.
    pub is_loading: Option<bool>,
    /// Whether it keeps an append-only file.
    pub aof: Option<bool>,
    /// `appendfsync`: not part of INFO.
    pub append_fsync: Option<AppendFsync>,
    /// Whether it takes snapshots by itself: not part of INFO.
    pub snapshots: Option<bool>,
    /// Bytes; 0 is no bound.
    pub maxmemory: Option<u64>,
    /// `noeviction`, `allkeys-lru`, …
    pub maxmemory_policy: Option<String>,
    /// Bytes.
    pub used_memory: Option<u64>,
}

/// When an append-only file is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFsync {
    /// Before each answer.
    Always,
    /// Once a second.
    EverySecond,
    /// When the system likes: about half a minute.
    No,
}

/// What the server may lose of what it said it had taken, when it or its machine dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LossWindow {
    /// Nothing.
    Nothing,
    /// What it took during this time.
    Last(Duration),
    /// Everything since it was last known to be consumed.
    #[default]
    ToLastAudited,
}

impl ServerFacts {
    /// Reads the text of `INFO`; unknown lines are passed over.
    #[must_use]
    pub fn read(info: &str) -> Self {
        let mut facts = ServerFacts::default();
        for line in info.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim_end();
            let flag = || Some(value == "1");
            match name {
                "redis_version" => facts.version = Some(value.to_owned()),
                "run_id" => facts.run_id = Some(value.to_owned()),
                "master_replid" => facts.replication_id = Some(value.to_owned()),
                "role" => facts.is_replica = Some(value != "master"),
                "connected_slaves" => facts.replicas = value.parse().ok(),
                "cluster_enabled" => facts.is_cluster = flag(),
                "loading" => facts.is_loading = flag(),
                "aof_enabled" => facts.aof = flag(),
                "maxmemory" => facts.maxmemory = value.parse().ok(),
                "maxmemory_policy" => facts.maxmemory_policy = Some(value.to_owned()),
                "used_memory" => facts.used_memory = value.parse().ok(),
                _ => {}
            }
        }
        facts
    }

    /// Takes one answer of `CONFIG GET`.
    pub fn read_setting(&mut self, name: &str, value: &str) {
        match name {
            "appendfsync" => {
                self.append_fsync = match value {
                    "always" => Some(AppendFsync::Always),
                    "everysec" => Some(AppendFsync::EverySecond),
                    "no" => Some(AppendFsync::No),
                    _ => None,
                };
            }
            "save" => self.snapshots = Some(!value.trim().is_empty()),
            _ => {}
        }
    }

    /// What it may lose. An append-only file whose policy we may not read is taken for `everysec`, its default.
    #[must_use]
    pub fn loss_window(&self) -> LossWindow {
        match (self.aof, self.append_fsync) {
            (Some(true), Some(AppendFsync::Always)) => LossWindow::Nothing,
            (Some(true), Some(AppendFsync::EverySecond) | None) => LossWindow::Last(REDIS_EVERYSEC_LOSS),
            (Some(true), Some(AppendFsync::No)) | (Some(false) | None, _) => LossWindow::ToLastAudited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read() {
        let facts = ServerFacts::read(
            "# Server\r\nredis_version:7.0.15\r\nrun_id:ab12\r\n\r\n# Replication\r\nrole:slave\r\nmaster_replid:cd:34\r\n\
             connected_slaves:2\r\naof_enabled:1\r\nloading:0\r\nmaxmemory:1048576\r\nmaxmemory_policy:noeviction\r\n\
             cluster_enabled:0\r\nused_memory:9\r\nunheard_of:1\r\nno colon\r\n",
        );
        let expected = ServerFacts {
            version: Some("7.0.15".to_owned()),
            run_id: Some("ab12".to_owned()),
            replication_id: Some("cd:34".to_owned()),
            is_replica: Some(true),
            replicas: Some(2),
            is_cluster: Some(false),
            is_loading: Some(false),
            aof: Some(true),
            maxmemory: Some(1_048_576),
            maxmemory_policy: Some("noeviction".to_owned()),
            used_memory: Some(9),
            ..ServerFacts::default()
        };
        assert_eq!(facts, expected);
        assert_eq!(ServerFacts::read(""), ServerFacts::default());
    }

    #[test]
    fn the_loss_window_follows_the_persistence() {
        let two_seconds = LossWindow::Last(REDIS_EVERYSEC_LOSS);
        for (aof, fsync, window) in [
            (Some(true), Some("always"), LossWindow::Nothing),
            (Some(true), Some("everysec"), two_seconds),
            (Some(true), None, two_seconds),
            (Some(true), Some("new word"), two_seconds),
            (Some(true), Some("no"), LossWindow::ToLastAudited),
            (Some(false), Some("always"), LossWindow::ToLastAudited),
            (None, None, LossWindow::ToLastAudited),
        ] {
            let mut facts = ServerFacts { aof, ..ServerFacts::default() };
            if let Some(fsync) = fsync {
                facts.read_setting("appendfsync", fsync);
            }
            assert_eq!(facts.loss_window(), window, "{aof:?} {fsync:?}");
        }
    }
}
