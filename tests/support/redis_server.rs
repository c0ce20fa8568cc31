//! A private Redis server: its own folder, a free loopback port, gone with the value. The binary is `REDIS_SERVER`, else
//! `redis-server` in PATH; a test without it fails.

#![allow(dead_code, reason = "shared by several test binaries, each of which uses a part")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that happens at once on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct RedisServer {
    folder: tempfile::TempDir,
    port: u16,
    options: Vec<String>,
    sentinel: bool,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server with options as on its command line: `["--appendonly", "yes"]`. Without any it persists nothing.
    pub fn start(options: &[&str]) -> RedisServer {
        let mut server = RedisServer::new(options);
        server.launch();
        server.wait_until_it_answers();
        server
    }

    /// A server that follows `primary`.
    pub fn replica_of(primary: &RedisServer) -> RedisServer {
        let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
        wait_for("the replica's link", || replica.info("replication").contains("master_link_status:up"));
        replica
    }

    /// A Sentinel that watches `primary` under the name `name`, alone.
    pub fn sentinel(name: &str, primary: &RedisServer) -> RedisServer {
        let mut server = RedisServer::new(&[]);
        server.sentinel = true;
        let config = format!(
            "sentinel monitor {name} 127.0.0.1 {} 1\nsentinel down-after-milliseconds {name} 500\n\
             sentinel failover-timeout {name} 3000\n",
            primary.port
        );
        fs::write(server.folder.path().join("sentinel.conf"), config).unwrap();
        server.launch();
        server.wait_until_it_answers();
        server
    }

    fn new(options: &[&str]) -> RedisServer {
        RedisServer {
            folder: tempfile::Builder::new().prefix("kraite-redis-").tempdir().unwrap(),
            port: free_port(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            sentinel: false,
            child: None,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own, as the default user.
    pub fn client(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection_with_timeout(PATIENCE).unwrap()
    }

    pub fn info(&self, section: &str) -> String {
        redis::cmd("INFO").arg(section).query(&mut self.client()).unwrap()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts a killed server on the same port and folder, with further options.
    pub fn restart_with(&mut self, options: &[&str]) {
        self.options.extend(options.iter().map(|&option| option.to_owned()));
        self.launch();
    }

    /// As [`RedisServer::restart_with`] without any, and waits until it answers.
    pub fn restart(&mut self) {
        self.restart_with(&[]);
        self.wait_until_it_answers();
    }

    /// SIGSTOP: the server stands still, its sockets stay open.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("the server runs").id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn launch(&mut self) {
        assert!(self.child.is_none(), "the server was killed before");
        let binary = std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let log = fs::OpenOptions::new().append(true).create(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(&binary);
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        if self.sentinel {
            command.args(["sentinel.conf", "--sentinel"]);
        } else {
            command.args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--enable-debug-command",
                "yes",
                "--repl-diskless-sync-delay",
                "0",
            ]);
        }
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string()]).args(&self.options);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "{} does not start ({error}): these tests need Redis (on Debian: apt-get install redis-server, or set \
                 REDIS_SERVER)",
                binary.display()
            )
        });
        self.child = Some(child);
    }

    fn wait_until_it_answers(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let url = self.url();
        loop {
            let connected = redis::Client::open(&url[..]).unwrap().get_connection_with_timeout(PATIENCE);
            // Any answer will do: a server may want a password first.
            if let Ok(mut client) = connected
                && redis::cmd("PING")
                    .query::<String>(&mut client)
                    .map_or_else(|error| error.code() == Some("NOAUTH"), |_| true)
            {
                return;
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap().is_some();
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(!ended && Instant::now() < deadline, "Redis does not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Asks until it is so.
#[track_caller]
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
