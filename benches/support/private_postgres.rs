//! The PostgreSQL that a bench writes to: the one that `KRAITE_BENCH_PG` names, or a private one that is started from an
//! installed binary on a free loopback port and stopped in the end. Without either, one line says so.

use std::error::Error;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};

pub type Failed = Box<dyn Error>;

/// What `measure` says of the server at this URL; true without a server.
pub fn with_server(measure: impl FnOnce(&str) -> Result<bool, Failed>) -> bool {
    let measured = match std::env::var("KRAITE_BENCH_PG") {
        Ok(url) => measure(&url),
        Err(_) => match Server::start() {
            Ok(Some(server)) => measure(&server.url),
            Ok(None) => {
                println!("PostgreSQL rows omitted: KRAITE_BENCH_PG is not set and no server is installed");
                return true;
            }
            Err(error) => {
                println!("PostgreSQL rows omitted: the installed server does not start: {error}");
                return true;
            }
        },
    };
    measured.unwrap_or_else(|error| {
        // Never the URL: it may hold a password.
        println!("PostgreSQL rows failed: {error}");
        false
    })
}

/// A private server in a temporary folder, stopped and removed when dropped.
struct Server {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Server {
    /// `None` when none is installed.
    fn start() -> Result<Option<Server>, Failed> {
        let Some(binaries) = binaries() else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        let owner = unprivileged_user(folder.path())?;
        let cluster = folder.path().join("cluster");
        let run = |program: &str| {
            let mut command = Command::new(binaries.join(program));
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let made = run("initdb").arg("-D").arg(&cluster).args(["-U", "bench", "-A", "trust", "--no-sync"]).status()?;
        if !made.success() {
            return Err("initdb failed".into());
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = run("postgres");
        server.arg("-D").arg(&cluster).arg("-k").arg(folder.path()).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        let url = format!("postgres://bench@127.0.0.1:{port}/postgres");
        let server = Server { process: server.spawn()?, url, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(20);
        while Client::connect(&server.url, NoTls).is_err() {
            if Instant::now() > deadline {
                return Err("it does not answer within 20 s".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Some(server))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT = fast shutdown; SIGKILL only when nobody can send it.
        let asked = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// The folder of `initdb` and `postgres`: on the path, or where Debian keeps them.
fn binaries() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut debian: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    debian.sort();
    let complete = |folder: &PathBuf| ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file());
    debian.into_iter().rev().chain(on_path.unwrap_or_default()).find(complete)
}

/// PostgreSQL refuses to run as root: then the folder is given to `postgres` or `nobody`.
fn unprivileged_user(folder: &Path) -> Result<Option<(u32, u32)>, Failed> {
    let id = |args: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(args).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return Ok(None);
    }
    for user in ["postgres", "nobody"] {
        if let (Some(uid), Some(gid)) = (id(&["-u", user]), id(&["-g", user])) {
            std::os::unix::fs::chown(folder, Some(uid), Some(gid))?;
            return Ok(Some((uid, gid)));
        }
    }
    Err("running as root, and there is neither a user postgres nor nobody".into())
}
