//! Jobs onto Laravel's Redis queue (facts/laravel_queue.md §2, §3; form of the push: facts/measurements.md §8).
//!
//! A push is one MULTI: the queue's RPUSH and the notify list's, with all jobs of the batch, and the producer's watermark (see
//! [`crate::queue::sink::Watermark`]) in a hash beside the queue. The watermark is read before the first push of every
//! connection and inside each push, and answers three questions:
//!
//! - *Did the push with the doubtful outcome succeed?* Before it is read, the connection that the push went out on is killed at
//!   the server, so nothing of it can still arrive. Where an access list forbids that, a straggler may arrive late: the same bytes
//!   again, known to workers by their identity.
//! - *Does the server still have what it took?* A server that lost its memory (crash, failover, FLUSHALL) lost a suffix of it, and
//!   the watermark that is left tells which. A `run_id` that changed alone says only that it was restarted. An operator's
//!   `queue:clear` deletes the four keys of Laravel and leaves the watermark: what was cleared is not pushed again.
//! - *Where did the life of this process before this one end?* See `health()`. A push may find the memory gone only when its own
//!   watermark is written already; a process that ends right then would not be able to tell. So a second field, the producer's
//!   word that the spool owes the server nothing, is written once and again only when a rewind is durable in the spool: a
//!   watermark without it tells the next life that nobody went back.
//!
//! What happens to the queue otherwise cannot be told from a worker's work: a list that grew shorter was consumed.

mod consumer;
mod error;
mod link;
mod request;
mod server;
mod url;

use std::time::{Duration, Instant};

use redis::Value;

pub use self::consumer::{RedisSource, Reservation};
pub use self::request::HorizonRecords;
pub use self::url::{BadRedisUrl, QueueKeys, RedisUrl};

use self::error::{answered, quote};
use self::link::{Link, Terms, moved_to};
use self::request::{Answers, read_watermark, vouched_field, write_push};
use self::server::find_server;
use super::batch::JobBatch;
use super::sink::{Forgot, JobSink, PushError, PushErrorClass, Pushed, SinkHealth, Watermark};
use crate::domain::limits::{PUSH_BYTES_MAX, REDIS_ANSWER_DEFAULT, REDIS_CONNECT_DEFAULT};

/// Where the queue is and what it is called.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// The server; with Sentinels only its user, password, database and TLS count.
    pub url: RedisUrl,
    /// Sentinels, in the order in which they are asked; each with its own user, password and TLS.
    pub sentinels: Vec<RedisUrl>,
    /// The name under which the Sentinels know the primary.
    pub sentinel_master: String,
    /// The queue's keys.
    pub keys: QueueKeys,
    /// The name of this spool among all that push to this queue: the field of its watermark. Two spools with one name would take
    /// each other's pushes for lost memory.
    pub producer: String,
    /// Horizon's records, when they are wanted.
    pub horizon: Option<HorizonRecords>,
    /// No push while this many jobs wait.
    pub depth_max: Option<u64>,
    /// For each address of the host.
    pub connect_timeout: Duration,
    /// For each answer.
    pub answer_timeout: Duration,
    /// PEM of the authorities that are trusted for `rediss://` in place of the public ones; may be empty.
    pub extra_roots: Vec<u8>,
}

impl RedisConfig {
    /// One server, one queue, everything else at its default.
    #[must_use]
    pub fn new(url: RedisUrl, keys: QueueKeys, producer: impl Into<String>) -> Self {
        RedisConfig {
            url,
            sentinels: Vec::new(),
            sentinel_master: String::new(),
            keys,
            producer: producer.into(),
            horizon: None,
            depth_max: None,
            connect_timeout: REDIS_CONNECT_DEFAULT,
            answer_timeout: REDIS_ANSWER_DEFAULT,
            extra_roots: Vec::new(),
        }
    }

    fn terms(&self) -> Terms<'_> {
        Terms { connect: self.connect_timeout, answer: self.answer_timeout, extra_roots: &self.extra_roots }
    }
}

/// Pushes batches to one queue over one connection, which it opens when it needs it.
pub struct RedisProducer {
    config: RedisConfig,
    link: Option<Link>,
    /// A cluster's node that has the queue's slot.
    moved_to: Option<(String, u16)>,
    /// The watermark that the server must have; unknown until it was read once.
    expected: Option<Option<Watermark>>,
    doubt: Option<Doubt>,
    /// The doubtful push that turned out to have succeeded.
    landed: Option<Watermark>,
    acked: Option<u64>,
    vouches: bool,
    depth: u64,
    request: Vec<u8>,
}

/// A push without an answer.
struct Doubt {
    watermark: Option<Watermark>,
    run_id: Option<String>,
    client_id: Option<i64>,
}

impl RedisProducer {
    /// A producer that is not connected yet.
    #[must_use]
    pub fn new(config: RedisConfig) -> Self {
        RedisProducer {
            config,
            link: None,
            moved_to: None,
            expected: None,
            doubt: None,
            landed: None,
            acked: None,
            vouches: false,
            depth: 0,
            request: Vec::new(),
        }
    }

    /// The settings it was made of.
    #[must_use]
    pub fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// Closes the connection; the next push opens another.
    pub fn disconnect(&mut self) {
        self.link = None;
    }

    /// Opens a connection unless there is one; settles doubt, and notices lost memory, before anything is pushed on it.
    fn connect(&mut self) -> Result<(), PushError> {
        if self.link.is_some() {
            return Ok(());
        }
        let server = find_server(&self.config, &mut self.moved_to)?;
        let mut link = Link::open(&server, self.config.terms())?;
        link.greet(&self.config.keys).map_err(|refusal| {
            self.moved_to = refusal.moved_to;
            refusal.error
        })?;
        if let Some(Doubt { run_id: Some(run_id), client_id: Some(client_id), .. }) = &self.doubt
            && link.facts.run_id.as_ref() == Some(run_id)
        {
            // Whether it was there, is gone already, or we may not: all the same from here on.
            link.ask(redis::cmd("CLIENT").arg("KILL").arg("ID").arg(*client_id))?;
        }
        let found = self.read_watermark(&mut link)?;
        let forgot = self.compare(found, link.facts.loss_window());
        self.link = Some(link);
        forgot
    }

    /// Holds the server's watermark against the one it must have.
    fn compare(&mut self, found: Option<Watermark>, window: super::LossWindow) -> Result<(), PushError> {
        let doubt = self.doubt.take();
        let Some(expected) = self.expected.replace(found) else { return Ok(()) };
        if found == expected {
            return Ok(());
        }
        if let Some(pushed) = doubt.and_then(|doubt| doubt.watermark)
            && found == Some(pushed)
        {
            self.landed = found;
            return Ok(());
        }
        let Some(kept) = what_is_left(expected, found) else { return Ok(()) };
        self.landed = None;
        let text = match kept {
            Some(kept) => format!("Redis lost jobs that it had taken: it has them up to position {}", kept.position),
            None => "Redis lost everything that it had taken".to_owned(),
        };
        let forgot = Some(Forgot { kept, window });
        Err(PushError { class: PushErrorClass::Forgot, doubtful: false, text, forgot })
    }

    fn read_watermark(&self, link: &mut Link) -> Result<Option<Watermark>, PushError> {
        let answer = link.demand(redis::cmd("HGET").arg(&self.config.keys.watermarks).arg(&self.config.producer))?;
        watermark_of(&answer).ok_or_else(|| link.strange("HGET of the watermark", &answer))
    }

    fn read_vouched(&self, link: &mut Link) -> Result<bool, PushError> {
        let field = vouched_field(&self.config.producer);
        let answer = link.demand(redis::cmd("HGET").arg(&self.config.keys.watermarks).arg(field))?;
        Ok(!matches!(answer, Value::Nil))
    }

    /// Gives the word where no push comes to carry it. Whether it is there now.
    fn write_vouched(&mut self) -> Result<bool, PushError> {
        if !self.vouches {
            return Ok(false);
        }
        let field = vouched_field(&self.config.producer);
        let link = self.link.as_mut().expect("the caller connects first");
        link.demand(redis::cmd("HSET").arg(&self.config.keys.watermarks).arg(field).arg(1))?;
        Ok(true)
    }

    /// Sends the batch and reads its answers. An error of the connection is doubtful from the first byte on.
    fn transact(&mut self, batch: &JobBatch) -> Result<Pushed, PushError> {
        let config = &self.config;
        let answers =
            write_push(&config.keys, &config.producer, self.vouches, config.horizon.as_ref(), batch, &mut self.request);
        let link = self.link.as_mut().expect("`push` connects first");
        link.send(&self.request, true)?;
        let Answers { horizon, queued, has_watermark } = answers;
        let mut pushed = Pushed::default();
        for _ in 0..horizon {
            if let Value::ServerError(error) = link.receive(true)? {
                pushed.remark.get_or_insert_with(|| format!("Horizon's record: {}", quote(&error)));
            }
        }
        let mut refused: Option<PushError> = None;
        // MULTI and what it queues.
        for _ in 0..=queued {
            if let Value::ServerError(error) = link.receive(true)? {
                if error.code() == "MOVED" {
                    self.moved_to = moved_to(&error);
                }
                refused.get_or_insert_with(|| answered(&error, &link.server));
            }
        }
        let outcome = link.receive(true)?;
        let results = match (refused, &outcome) {
            (Some(error), _) => return Err(error),
            (None, Value::ServerError(error)) => return Err(answered(error, &link.server)),
            (None, Value::Array(results)) if results.len() == queued => results,
            (None, _) => return Err(PushError { doubtful: true, ..link.strange("EXEC", &outcome) }),
        };
        match (watermark_of(&results[0]), &results[1]) {
            (_, Value::ServerError(error)) => return Err(answered(error, &link.server)),
            (Some(found), Value::Int(depth)) => {
                pushed.depth = depth.unsigned_abs();
                let left = self.expected.and_then(|expected| what_is_left(expected, found));
                pushed.forgot = left.map(|kept| Forgot { kept, window: link.facts.loss_window() });
                self.expected = Some(if has_watermark { batch.watermark() } else { found });
            }
            _ => return Err(PushError { doubtful: true, ..link.strange("a push", &outcome) }),
        }
        // A transaction is not undone: the jobs are on the queue, whatever became of what belongs to them.
        for (result, what) in results[2..].iter().zip(["the notify list", "the watermark", "the word for it"]) {
            if let Value::ServerError(error) = result {
                pushed.remark.get_or_insert_with(|| format!("{what}: {}", quote(error)));
                // The next push reads what the server has, and an error that stays is seen when the connection is opened.
                self.expected = None;
            }
        }
        Ok(pushed)
    }

    /// Refuses while too many jobs wait. The length is asked for only when the last one known is too large.
    fn look_at_depth(&mut self) -> Result<(), PushError> {
        let Some(depth_max) = self.config.depth_max.filter(|&depth_max| self.depth >= depth_max) else { return Ok(()) };
        self.depth = self.ask_depth()?;
        if self.depth < depth_max {
            return Ok(());
        }
        let text = format!("{} jobs wait on {}, {depth_max} are allowed", self.depth, self.config.keys.queue);
        Err(PushError::refused(PushErrorClass::Full, text))
    }

    fn ask_depth(&mut self) -> Result<u64, PushError> {
        let link = self.link.as_mut().expect("the caller connects first");
        match link.demand(redis::cmd("LLEN").arg(&self.config.keys.queue))? {
            Value::Int(depth) => Ok(depth.unsigned_abs()),
            answer => Err(link.strange("LLEN", &answer)),
        }
    }

    fn settle(&mut self, batch: &JobBatch, pushed: &Pushed) {
        self.depth = pushed.depth;
        if let Some(watermark) = batch.watermark() {
            self.acked = Some(watermark.position);
        }
    }

    /// Leaves a connection that is not worth keeping. One that only said no is kept, unless it is the wrong server's.
    fn note_error(&mut self, error: &PushError, batch: Option<&JobBatch>) {
        use PushErrorClass::{Auth, Cluster, Down, Loading, Other, ReadOnly, Timeout};
        if let (true, Some(batch), Some(link)) = (error.doubtful, batch, &self.link) {
            self.doubt = Some(Doubt {
                watermark: batch.watermark(),
                run_id: link.facts.run_id.clone(),
                client_id: link.client_id,
            });
        }
        if error.doubtful || matches!(error.class, Down | Timeout | ReadOnly | Loading | Auth | Cluster | Other) {
            self.link = None;
        }
    }
}

impl JobSink for RedisProducer {
    fn push(&mut self, batch: &JobBatch) -> Result<Pushed, PushError> {
        if batch.is_empty() {
            return Ok(Pushed { depth: self.depth, ..Pushed::default() });
        }
        self.connect().and_then(|()| self.look_at_depth()).inspect_err(|error| self.note_error(error, None))?;
        if let Some(landed) = self.landed.take()
            && batch.watermark() == Some(landed)
        {
            let pushed = Pushed { depth: self.depth, was_there: true, ..Pushed::default() };
            self.settle(batch, &pushed);
            return Ok(pushed);
        }
        let pushed = self.transact(batch).inspect_err(|error| self.note_error(error, Some(batch)))?;
        self.settle(batch, &pushed);
        self.request.clear();
        self.request.shrink_to(4 * PUSH_BYTES_MAX);
        Ok(pushed)
    }

    fn vouch(&mut self, is_wanted: bool) {
        self.vouches = is_wanted;
    }

    fn acked(&self) -> Option<u64> {
        self.acked
    }

    fn health(&mut self) -> Result<SinkHealth, PushError> {
        let started = Instant::now();
        let asked = self.connect().and_then(|()| {
            let depth = self.ask_depth()?;
            let mut link = self.link.take().expect("connected above");
            let found = link.refresh_facts().and_then(|()| {
                let found = self.read_watermark(&mut link)?;
                Ok((found, self.read_vouched(&mut link)?))
            });
            let facts = link.facts.clone();
            self.link = Some(link);
            let (found, is_vouched) = found?;
            self.compare(found, facts.loss_window())?;
            self.depth = depth;
            let is_vouched = is_vouched || (found.is_some() && self.write_vouched()?);
            let answered_in = started.elapsed();
            Ok(SinkHealth { depth, watermark: found, is_vouched, server: Some(facts), answered_in })
        });
        asked.inspect_err(|error| self.note_error(error, None))
    }
}

/// What a server that must have `expected` still has when it says `found`; none when it lost nothing.
///
/// A watermark ahead of the expected one is a straggler's, or of the time before a rewind: what lies below it was pushed to this
/// server all the same. Ahead in another epoch it is another spool's, which says nothing of this one.
fn what_is_left(expected: Option<Watermark>, found: Option<Watermark>) -> Option<Option<Watermark>> {
    let expected = expected?;
    match found {
        Some(found) if found == expected => None,
        Some(found) if found.position > expected.position => (found.epoch != expected.epoch).then_some(None),
        kept => Some(kept),
    }
}

/// The watermark in an answer of HGET; none when it is no such answer. A text that is not ours counts as no watermark.
fn watermark_of(answer: &Value) -> Option<Option<Watermark>> {
    match answer {
        Value::Nil => Some(None),
        Value::BulkString(text) => Some(read_watermark(text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_suffix_is_told_from_a_straggler() {
        let mark = |epoch: u8, position| Some(Watermark { epoch: [epoch; 16], position });
        for (expected, found, left) in [
            (None, None, None),
            (None, mark(1, 5), None),
            (mark(1, 5), mark(1, 5), None),
            (mark(1, 5), mark(1, 3), Some(mark(1, 3))),
            (mark(2, 5), mark(1, 3), Some(mark(1, 3))),
            (mark(1, 5), None, Some(None)),
            (mark(1, 5), mark(1, 9), None),
            (mark(2, 5), mark(1, 9), Some(None)),
            (mark(2, 5), mark(1, 5), Some(mark(1, 5))),
        ] {
            assert_eq!(what_is_left(expected, found), left, "{expected:?} {found:?}");
        }
    }
}
