//! The databases that jobs are applied to, made for the bench, and the queues that they come from.

use std::path::Path;

use kraite_streams::store::user_data::UserDataOptions;
use kraite_streams::store::user_data_rows::{Ciphertext, NewAccount};
use kraite_streams::store::{StoreUrl, UserDataStore, WorkStore};

use crate::ACCOUNTS;
use crate::work_rounds::{From, measure};
use crate::work_stages::take_apart;

/// A migrated database with its accounts, and the bench's own way into it.
pub struct Place {
    pub name: &'static str,
    url: StoreUrl,
    sql: Box<dyn FnMut(&str)>,
    count: Box<dyn FnMut(&str) -> i64>,
    /// Cycles that have begun on every account.
    pub cycles: u64,
}

impl Place {
    fn new(name: &'static str, url: StoreUrl, sql: Box<dyn FnMut(&str)>, count: Box<dyn FnMut(&str) -> i64>) -> Place {
        let mut store = UserDataStore::new(&url, &UserDataOptions::new("bench")).expect("a store");
        let secret = Ciphertext::new("x");
        for account in 1..=ACCOUNTS {
            let name = format!("account {account}");
            let new = NewAccount {
                canonical: "binance",
                name: &name,
                user_id: None,
                uuid: &name,
                api_key: &secret,
                api_secret: &secret,
            };
            let id = store.run(|tables| tables.add_account(&new)).expect("a migrated database");
            assert_eq!(id, Some(account), "the accounts are numbered from 1");
        }
        Place { name, url, sql, count, cycles: 0 }
    }

    pub fn store(&self) -> WorkStore {
        WorkStore::new(&self.url, &UserDataOptions::new("bench")).expect("the first one could be made")
    }

    pub fn url(&self) -> &StoreUrl {
        &self.url
    }

    pub fn sql(&mut self, text: &str) {
        (self.sql)(text);
    }

    pub fn count(&mut self, of: &str) -> i64 {
        (self.count)(&format!("SELECT COUNT(*) FROM {of}"))
    }
}

#[cfg(feature = "embedded")]
pub fn sqlite(folder: &Path) -> bool {
    let path = folder.join("work.sqlite");
    let url = StoreUrl::Sqlite(path.clone());
    // Made and migrated by the first who opens it.
    UserDataStore::new(&url, &UserDataOptions::new("bench"))
        .and_then(|mut store| store.run(|_| Ok(())))
        .expect("a database file");
    let open = move || {
        let connection = rusqlite::Connection::open(&path).expect("the file is there");
        connection.busy_timeout(std::time::Duration::from_secs(10)).expect("a sound setting");
        connection
    };
    let (writer, reader) = (open(), open());
    let sql = Box::new(move |text: &str| {
        writer.execute_batch(&format!("BEGIN IMMEDIATE;{text}COMMIT")).expect("sound statements");
    });
    let count = Box::new(move |query: &str| reader.query_row(query, [], |row| row.get(0)).expect("a count"));
    let mut place = Place::new("SQLite", url, sql, count);
    measure(&mut place, &From::InProcess) & take_apart(&mut place)
}

#[cfg(feature = "server")]
pub fn postgres() -> bool {
    use crate::private_postgres::with_server;
    use crate::redis_server::RedisServer;

    with_server(|url| {
        let mut admin = ::postgres::Client::connect(url, ::postgres::NoTls)?;
        let names = ["a", "b"].map(|which| format!("kraite_bench_{}_{which}", std::process::id()));
        let mut right = true;
        for (at, name) in names.iter().enumerate() {
            admin.batch_execute(&format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"))?;
            let url = with_database(url, name);
            if at == 0 {
                let mut place = postgres_place(&url)?;
                right &= measure(&mut place, &From::InProcess) & take_apart(&mut place);
            } else if is_redis_installed() {
                let redis = RedisServer::start(&[]);
                right &= measure(&mut postgres_place(&url)?, &From::Redis(redis.url()));
            } else {
                println!("Redis rows omitted: no redis-server is installed");
            }
        }
        for name in &names {
            admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))?;
        }
        Ok(right)
    })
}

#[cfg(feature = "server")]
fn postgres_place(url: &str) -> Result<Place, crate::private_postgres::Failed> {
    use std::cell::RefCell;
    use std::rc::Rc;

    use kraite_streams::store::postgres::{PostgresOptions, PostgresStore};

    let parsed = StoreUrl::parse(url)?;
    let StoreUrl::Postgres(server) = &parsed else { return Err("the URL names no PostgreSQL".into()) };
    let mut store = PostgresStore::connect(server, &PostgresOptions::command("bench"))?;
    store.migrate()?;
    store.close();
    let client = Rc::new(RefCell::new(::postgres::Client::connect(url, ::postgres::NoTls)?));
    let reader = Rc::clone(&client);
    let sql = Box::new(move |text: &str| client.borrow_mut().batch_execute(text).expect("sound statements"));
    let count = Box::new(move |query: &str| reader.borrow_mut().query_one(query, &[]).expect("a count").get(0));
    Ok(Place::new("PostgreSQL", parsed, sql, count))
}

/// The same server, another database.
#[cfg(feature = "server")]
fn with_database(url: &str, name: &str) -> String {
    let (address, options) = url.split_once('?').map_or((url, None), |(address, options)| (address, Some(options)));
    let (server, _) = address.rsplit_once('/').unwrap_or((address, ""));
    options.map_or(format!("{server}/{name}"), |options| format!("{server}/{name}?{options}"))
}

#[cfg(feature = "server")]
fn is_redis_installed() -> bool {
    use std::process::{Command, Stdio};

    let binary = std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
    let answer = Command::new(binary).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    answer.is_ok_and(|status| status.success())
}
