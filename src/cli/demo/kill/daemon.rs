//! The daemon that `demo --kill` kills: `kraite-streams run` as a process of its own, with settings as an operator writes them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::cli::demo::orders::ALLOWLIST;
use crate::ops::{Settings, Status};

const SETTINGS: &str = "kraite-streams.toml";

/// The daemon's process; killed when dropped.
pub(super) struct Daemon {
    child: Child,
    folder: PathBuf,
}

impl Daemon {
    pub(super) fn start(folder: &Path) -> io::Result<Daemon> {
        let log = File::options().create(true).append(true).open(folder.join("log"))?;
        let child = Command::new(std::env::current_exe()?)
            .args(["--settings", SETTINGS, "run"])
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Daemon { child, folder: folder.to_owned() })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What this very process wrote into its status file last.
    pub(super) fn status(&self) -> Option<Status> {
        Status::read(&self.folder.join("status.json")).ok().filter(|status| status.pid == self.child.id())
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// SIGKILL, and its end.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that is dead already is what was wanted.
        let _ = self.kill();
    }
}

/// The settings that differ from the defaults, as an operator writes them.
pub(super) fn write_settings(folder: &Path, settings: &Settings) -> io::Result<()> {
    let text = |path: &Path| format!("{:?}", path.display().to_string());
    let mut lines = vec![
        "ops.status_file = \"status.json\"".to_owned(),
        "ops.status_interval_s = 1".to_owned(),
        "ops.page = \"off\"".to_owned(),
        format!("store.url = {:?}", settings.store.url.expose()),
        format!("prices.url = {:?}", settings.prices.url),
        format!("user_data.url = {:?}", settings.user_data.url),
        format!("user_data.discovery_s = {}", settings.user_data.discovery.as_secs()),
        format!("user_data.liveness_mark_s = {}", settings.user_data.liveness_mark.as_secs()),
        format!("user_data.binance.dispatched_executions = {:?}", ALLOWLIST.join(", ")),
        format!("work.threads = {}", settings.work.threads),
        format!("spool.folder = {}", text(&settings.spool.folder)),
        format!("net.connect_file = {}", text(&settings.net.connect_file)),
        format!("net.weight_file = {}", text(&settings.net.weight_file)),
        format!("net.rest_weight = {}", settings.net.rest_weight),
        format!("user_data.reconcile = {:?}", if settings.user_data.reconcile { "on" } else { "off" }),
    ];
    lines.extend(settings.net.extra_roots.as_deref().map(|roots| format!("net.extra_roots = {}", text(roots))));
    for venue in crate::domain::Venue::ALL {
        let base = settings.net.rest_base(venue).unwrap_or_default();
        lines.push(format!("net.rest_{} = {base:?}", venue.canonical()));
    }
    fs::write(folder.join(SETTINGS), lines.join("\n") + "\n")
}
