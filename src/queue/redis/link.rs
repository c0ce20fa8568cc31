//! One connection to a Redis: opened, greeted, asked who it is. Every read and write has a deadline, so a stopped server is
//! noticed, and the first silence ends the connection. Only the lookup of a host's name has the system resolver's patience.

use std::time::Duration;

use redis::{Client, Connection, TlsCertificates, Value};

use super::error::{answered, broken, quote};
use super::url::{QueueKeys, RedisUrl};
use crate::queue::server_facts::ServerFacts;
use crate::queue::sink::{PushError, PushErrorClass};

/// Deadlines and trust of every connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    /// For the TCP connection, for each address of a host.
    pub connect: Duration,
    /// For each answer, and for each write.
    pub answer: Duration,
    /// PEM; when there are some, they alone are trusted.
    pub extra_roots: &'a [u8],
}

/// A connection that was greeted.
pub(super) struct Link {
    connection: Connection,
    /// Where it leads.
    pub server: RedisUrl,
    /// What the server said about itself.
    pub facts: ServerFacts,
    /// The server's number of this connection.
    pub client_id: Option<i64>,
}

/// What a failed greeting asks for.
pub(super) struct Refusal {
    pub error: PushError,
    /// The node that has the queue's slot.
    pub moved_to: Option<(String, u16)>,
}

impl From<PushError> for Refusal {
    fn from(error: PushError) -> Self {
        Refusal { error, moved_to: None }
    }
}

impl Link {
    /// Connects and logs in.
    pub fn open(server: &RedisUrl, terms: Terms<'_>) -> Result<Link, PushError> {
        let unreached = |error| broken(&error, server, false);
        let info = server.bare().map_err(unreached)?;
        let client = if server.is_tls() && !terms.extra_roots.is_empty() {
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(terms.extra_roots.to_vec()) };
            Client::build_with_tls(info, certificates)
        } else {
            Client::open(info)
        };
        let connection =
            client.and_then(|client| client.get_connection_with_timeout(terms.connect)).map_err(unreached)?;
        connection.set_read_timeout(Some(terms.answer)).map_err(unreached)?;
        connection.set_write_timeout(Some(terms.answer)).map_err(unreached)?;
        let mut link = Link { connection, server: server.clone(), facts: ServerFacts::default(), client_id: None };
        if let Some(password) = server.password() {
            let mut login = redis::cmd("AUTH");
            if let Some(username) = server.username() {
                login.arg(username);
            }
            link.demand(login.arg(password))?;
        }
        if server.database() != 0 {
            link.demand(redis::cmd("SELECT").arg(server.database()))?;
        }
        Ok(link)
    }

    /// Makes sure that jobs can be pushed here, and asks who the server is. What an access list forbids to ask stays unknown.
    pub fn greet(&mut self, keys: &QueueKeys) -> Result<(), Refusal> {
        if let Value::Int(id) = self.ask(redis::cmd("CLIENT").arg("ID"))? {
            self.client_id = Some(id);
        }
        self.refresh_facts()?;
        for setting in ["appendfsync", "save"] {
            if let Value::Array(pair) = self.ask(redis::cmd("CONFIG").arg("GET").arg(setting))?
                && let [_, value] = pair.as_slice()
                && let Some(value) = text(value)
            {
                self.facts.read_setting(setting, &value);
            }
        }
        self.check_state()?;
        // Without MULTI the commands of a push would run one by one, so it is tried out.
        self.demand(&redis::cmd("MULTI"))?;
        self.demand(&redis::cmd("EXEC"))?;
        // RPUSH on another type fails inside a transaction without undoing its neighbours.
        for (key, expected) in [(&keys.queue, "list"), (&keys.notify, "list"), (&keys.watermarks, "hash")] {
            match self.ask(redis::cmd("TYPE").arg(key))? {
                Value::SimpleString(found) if found != "none" && found != expected => {
                    let text = format!("Redis at {}: the key {key} is a {found}, not a {expected}", self.server);
                    return Err(PushError::refused(PushErrorClass::Other, text).into());
                }
                Value::ServerError(error) if error.code() == "MOVED" => {
                    return Err(Refusal { error: answered(&error, &self.server), moved_to: moved_to(&error) });
                }
                Value::ServerError(error) if error.code() != "NOPERM" => {
                    return Err(answered(&error, &self.server).into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses a server that is reading its data, and a replica.
    pub fn check_state(&self) -> Result<(), PushError> {
        if self.facts.is_loading == Some(true) {
            let text = format!("Redis at {} is reading its data", self.server);
            return Err(PushError::refused(PushErrorClass::Loading, text));
        }
        if self.facts.is_replica == Some(true) {
            let text = format!("Redis at {} is a replica", self.server);
            return Err(PushError::refused(PushErrorClass::ReadOnly, text));
        }
        Ok(())
    }

    /// Reads INFO again.
    pub fn refresh_facts(&mut self) -> Result<(), PushError> {
        if let Some(info) = text(&self.ask(&redis::cmd("INFO"))?) {
            let fresh = ServerFacts::read(&info);
            self.facts =
                ServerFacts { append_fsync: self.facts.append_fsync, snapshots: self.facts.snapshots, ..fresh };
        }
        Ok(())
    }

    /// One command and its answer; an error that the server answers is an answer.
    pub fn ask(&mut self, command: &redis::Cmd) -> Result<Value, PushError> {
        self.send(&command.get_packed_command(), false)?;
        self.receive(false)
    }

    /// One command that must be answered with success.
    pub fn demand(&mut self, command: &redis::Cmd) -> Result<Value, PushError> {
        match self.ask(command)? {
            Value::ServerError(error) => Err(answered(&error, &self.server)),
            value => Ok(value),
        }
    }

    /// Sends bytes; `push` says that jobs are among them.
    pub fn send(&mut self, bytes: &[u8], push: bool) -> Result<(), PushError> {
        self.connection.send_packed_command(bytes).map_err(|error| broken(&error, &self.server, push))
    }

    /// The next answer.
    pub fn receive(&mut self, push: bool) -> Result<Value, PushError> {
        self.connection.recv_response().map_err(|error| broken(&error, &self.server, push))
    }

    /// A sentence about an answer that is not what the command answers.
    pub fn strange(&self, what: &str, value: &Value) -> PushError {
        let found = match value {
            Value::ServerError(error) => quote(error),
            Value::Nil => "nothing".to_owned(),
            Value::Int(number) => number.to_string(),
            Value::SimpleString(_) | Value::BulkString(_) => "a text".to_owned(),
            _ => "another type".to_owned(),
        };
        PushError::refused(PushErrorClass::Other, format!("Redis at {} answers {what} with {found}", self.server))
    }
}

/// `MOVED <slot> <host>:<port>`
pub(super) fn moved_to(error: &redis::ServerError) -> Option<(String, u16)> {
    let (host, port) = error.details()?.split_ascii_whitespace().nth(1)?.rsplit_once(':')?;
    (!host.is_empty()).then_some((host.to_owned(), port.parse().ok()?))
}

/// The text of an answer.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}
