//! A private PostgreSQL server: its own folder, a free loopback port, an unprivileged user where we are root, gone with the
//! value. Binaries are looked for in `PG_BIN`, in `PATH` and under `/usr/lib/postgresql/*/bin`; a test without them fails.

#![allow(dead_code, reason = "shared by several test binaries, each of which uses a part")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kraite_streams::store::{PostgresUrl, StoreUrl};

/// Holds what passwords must survive: a percent sign, an at sign, a slash, a colon.
pub const PASSWORD: &str = "100%25@/:é";
/// The same in a URL.
pub const PASSWORD_IN_URL: &str = "100%2525%40%2F:%C3%A9";
/// The superuser.
pub const USER: &str = "kraite";

pub struct PostgresServer {
    folder: tempfile::TempDir,
    bin: PathBuf,
    user: Option<(u32, u32)>,
    port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

impl PostgresServer {
    /// Creates a cluster and starts it.
    pub fn start() -> PostgresServer {
        PostgresServer::start_with(|_| Vec::new())
    }

    /// As [`PostgresServer::start`], with settings `name=value` made once the folder is known; files that `prepare` puts
    /// into the folder become the server's.
    pub fn start_with(prepare: impl FnOnce(&Path) -> Vec<String>) -> PostgresServer {
        let bin = find_bin();
        let folder = tempfile::Builder::new().prefix("kraite-postgres-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = fs::metadata(folder.path()).unwrap().uid() == 0;
        let user = root.then(unprivileged);
        let mut server = PostgresServer { folder, bin, user, port: free_port(), options: Vec::new(), child: None };
        let home = server.home();
        fs::create_dir(&home).unwrap();
        server.give(&home);
        let password = home.join("password");
        fs::write(&password, PASSWORD).unwrap();
        server.give(&password);
        let made = server
            .command("initdb")
            .args(["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=scram-sha-256", "-U", USER])
            .arg(format!("--pwfile={}", password.display()))
            .arg("-D")
            .arg(server.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.options = prepare(&home);
        for entry in fs::read_dir(&home).unwrap() {
            server.give(&entry.unwrap().path());
        }
        server.launch();
        server
    }

    /// The URL of a database on this server, with the password.
    pub fn url_text(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn url(&self, database: &str) -> PostgresUrl {
        match StoreUrl::parse(&self.url_text(database)).unwrap() {
            StoreUrl::Postgres(url) => url,
            StoreUrl::Sqlite(_) => unreachable!("the text says postgres"),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A plain connection of the test's own.
    pub fn client(&self, database: &str) -> postgres::Client {
        self.config(database).connect(postgres::NoTls).unwrap()
    }

    fn config(&self, database: &str) -> postgres::Config {
        let mut config = postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user(USER).password(PASSWORD).dbname(database);
        config
    }

    /// No password is asked for any more.
    pub fn trust_everyone(&self) {
        let rules = self.data().join("pg_hba.conf");
        let text = fs::read_to_string(&rules).unwrap();
        fs::write(&rules, text.replace("scram-sha-256", "trust")).unwrap();
        self.client("postgres").batch_execute("SELECT pg_reload_conf()").unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut config = self.config("postgres");
        while config.password("").connect(postgres::NoTls).is_err() {
            assert!(Instant::now() < deadline, "the rules are not read: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// SIGKILL to the postmaster: what a machine that ran out of memory does.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGSTOP to the server and every session: it takes connections and answers nothing.
    pub fn freeze(&self) {
        self.signal_all("-STOP");
    }

    /// SIGCONT to all of them.
    pub fn thaw(&self) {
        self.signal_all("-CONT");
    }

    fn signal_all(&self, signal: &str) {
        let postmaster = self.child.as_ref().expect("the server runs").id().to_string();
        // The postmaster first: it must not start a process that is missed.
        let kill = |pid: &str| Command::new("kill").args([signal, pid]).status().unwrap();
        let _ = kill(&postmaster);
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
        for pid in processes.filter_map(|name| name.into_string().ok()).filter(|name| name.parse::<u32>().is_ok()) {
            // `pid (name) state ppid …`; one that has ended meanwhile needs no signal.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
            if parent == Some(postmaster.as_str()) {
                kill(&pid);
            }
        }
    }

    /// Starts a server that was killed, on the same port and folder.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "the server was killed before");
        self.launch();
    }

    fn launch(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        // The backends of a killed postmaster hold its shared memory for a moment; until then a start fails.
        loop {
            let log = fs::OpenOptions::new().append(true).create(true).open(self.folder.path().join("log")).unwrap();
            let mut command = self.command("postgres");
            command.arg("-D").arg(self.data()).arg("-k").arg(self.home()).args(["-p", &self.port.to_string()]);
            for option in ["listen_addresses=127.0.0.1", "fsync=off", "max_connections=30"] {
                command.args(["-c", option]);
            }
            for option in &self.options {
                command.args(["-c", option]);
            }
            self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
            while self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none()) {
                if self.config("postgres").connect(postgres::NoTls).is_ok() {
                    return;
                }
                assert!(Instant::now() < deadline, "PostgreSQL does not start: {}", self.log());
                std::thread::sleep(Duration::from_millis(50));
            }
            self.child = None;
            assert!(Instant::now() < deadline, "PostgreSQL does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn data(&self) -> PathBuf {
        self.home().join("data")
    }

    fn give(&self, path: &Path) {
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.current_dir(self.folder.path()).env_remove("PGDATA").stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if self.child.is_some() {
            // One that stands still would not end either.
            self.signal_all("-CONT");
        }
        if let Some(mut child) = self.child.take() {
            let _ = self.command("pg_ctl").args(["-s", "-m", "immediate", "stop", "-D"]).arg(self.data()).status();
            let _ = child.wait();
        }
    }
}

fn find_bin() -> PathBuf {
    let holds = |folder: &PathBuf| ["initdb", "postgres", "pg_ctl"].iter().all(|name| folder.join(name).is_file());
    if let Some(folder) = std::env::var_os("PG_BIN").map(PathBuf::from) {
        assert!(holds(&folder), "PG_BIN={} holds no initdb, postgres and pg_ctl", folder.display());
        return folder;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(debian.map(|entry| entry.path().join("bin")));
    folders.into_iter().find(holds).expect(
        "PostgreSQL is not installed: these tests need initdb, postgres and pg_ctl in PG_BIN, PATH or \
         /usr/lib/postgresql/*/bin (on Debian: apt-get install postgresql)",
    )
}

/// PostgreSQL does not run as root: user and group of `postgres`, else of `nobody`.
fn unprivileged() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres").or_else(|| find("nobody")).expect("a user named postgres or nobody")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
