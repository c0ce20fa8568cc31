//! Jobs from Laravel's Redis queue, with the meaning that Laravel's own workers give it (facts/laravel_queue.md §3, §4), and a
//! lease so that one process at a time reserves. Workers in PHP may reserve beside it; then no order is promised.
//!
//! Every call is one script at the server ([`script`]), which asks first whether the caller still holds the lease. What the
//! holder reserves stands in Laravel's `:reserved` and, in order, in `:kraite-inhand`: a successor puts it back to the head of
//! the queue in the step that takes the lease. A ticket is a job's score there, so an ack names jobs by numbers.
//!
//! An answer that never arrives loses nothing: acks and releases can be said again, and a reserve gives tickets that its caller
//! chose and never chooses again. So the next one finds what was handed out unheard and puts it back uncounted, and a straggler,
//! which arrives after it, is known by its tickets and does nothing.
//!
//! Waiting: reserve first, then `BLPOP` on `:notify`, as Laravel's `block_for` does, then reserve again; the token that woke us
//! counts for the first job. So a push starts a reserve at once, a job without a token is found by the reserve before the
//! wait, a token without a job costs one reserve, and jobs that become due, which get no token by themselves, wait a second at
//! most. Needs Redis 6 or later.

mod holder;
mod script;

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use self::script::Script;
use super::RedisConfig;
use super::error::answered;
use super::link::{Link, moved_to, text};
use super::server::find_server;
use crate::domain::limits::{
    ASIDE_BODIES_MAX, FENCE_MAX, MIGRATE_JOBS_MAX, RESERVE_BYTES_MAX, RESERVE_JOBS_MAX, RESERVE_SLICE_MAX,
};
use crate::domain::{Clock, Random, Wall};
use crate::queue::sink::{PushError, PushErrorClass};
use crate::queue::source::{JobSource, Lease, SourceJob};

/// How long what is taken stays taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Laravel's `retry_after`, in whole seconds; all consumers of a queue should have the same.
    pub retry_after: Duration,
    /// The lease's life without renewal. Renew it three times in that time, and wait in [`JobSource::reserve`] for less.
    pub lease: Duration,
}

/// Reserves from one queue over one connection, which it opens when it needs it.
pub struct RedisSource {
    config: RedisConfig,
    reservation: Reservation,
    clock: Arc<dyn Clock>,
    token: String,
    link: Option<Link>,
    /// A cluster's node that has the queue's slot.
    moved_to: Option<(String, u16)>,
    /// The server's digests of the scripts, in the order of [`Script::ALL`].
    digests: [Option<String>; Script::ALL.len()],
    /// The last one that was held and not lost to another.
    fence: Option<u64>,
    is_held: bool,
    holder: Option<String>,
    floor: u64,
    /// Never given twice, so a ticket of an earlier fence names nothing.
    next_ticket: u64,
    /// The first ticket of the reserves since the last one that was answered.
    unheard_from: Option<u64>,
    put_aside: u64,
    depth: u64,
}

/// What a reserve came back with.
struct Reserved {
    jobs: usize,
    put_aside: u64,
    is_full: bool,
}

impl RedisSource {
    /// A source that is not connected yet; of `config`, what concerns pushes is not looked at.
    #[must_use]
    pub fn new(config: RedisConfig, reservation: Reservation, clock: Arc<dyn Clock>, random: &mut Random) -> Self {
        RedisSource {
            config,
            reservation,
            clock,
            token: holder::token(random),
            link: None,
            moved_to: None,
            digests: Default::default(),
            fence: None,
            is_held: false,
            holder: None,
            floor: 0,
            next_ticket: 1,
            unheard_from: None,
            put_aside: 0,
            depth: 0,
        }
    }

    /// Who holds the lease, while it is another one: `<host>/<boot>/<pid namespace>/<uid>/<pid>/…`.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        self.holder.as_deref()
    }

    fn connect(&mut self) -> Result<&mut Link, PushError> {
        if self.link.is_none() {
            let server = find_server(&self.config, &mut self.moved_to)?;
            let mut link = Link::open(&server, self.config.terms())?;
            link.refresh_facts()?;
            link.check_state()?;
            for (script, digest) in Script::ALL.into_iter().zip(&mut self.digests) {
                // Where an access list forbids it, the text goes along with every call.
                *digest = text(&link.ask(redis::cmd("SCRIPT").arg("LOAD").arg(script.text()))?);
            }
            self.link = Some(link);
        }
        Ok(self.link.as_mut().expect("connected above"))
    }

    /// Runs a script with what follows the token.
    fn run(&mut self, script: Script, arguments: &[String]) -> Result<Vec<Value>, PushError> {
        let answer = self.ask(script, arguments);
        let answer = self.note_error(answer)?;
        match &answer[..] {
            [word, ..] if text(word).as_deref() == Some("lost") => {
                self.is_held = false;
                Err(self.lease_lost())
            }
            _ => Ok(answer),
        }
    }

    fn ask(&mut self, script: Script, arguments: &[String]) -> Result<Vec<Value>, PushError> {
        self.connect()?;
        let link = self.link.as_mut().expect("connected above");
        let digest = self.digests[script as usize].as_deref();
        let mut answer = link.ask(script.command(digest, &self.config.keys, &self.token).arg(arguments))?;
        if let Value::ServerError(error) = &answer
            && error.code() == "NOSCRIPT"
        {
            answer = link.ask(script.command(None, &self.config.keys, &self.token).arg(arguments))?;
        }
        match answer {
            Value::Array(parts) if !parts.is_empty() => Ok(parts),
            Value::ServerError(error) => {
                if error.code() == "MOVED" {
                    self.moved_to = moved_to(&error);
                }
                Err(answered(&error, &link.server))
            }
            other => Err(link.strange(script.name(), &other)),
        }
    }

    /// Leaves a connection that is not worth keeping. One that only said no is kept, unless it is the wrong server's.
    fn note_error<T>(&mut self, answer: Result<T, PushError>) -> Result<T, PushError> {
        use PushErrorClass::{Auth, Cluster, Down, Loading, Other, ReadOnly, Timeout};
        answer.inspect_err(|error| {
            if matches!(error.class, Down | Timeout | ReadOnly | Loading | Auth | Cluster | Other) {
                self.link = None;
            }
        })
    }

    fn lease_lost(&self) -> PushError {
        let text = format!("the lease of {} is not held", self.config.keys.queue);
        PushError::refused(PushErrorClass::LeaseLost, text)
    }

    fn strange(&mut self, script: Script, answer: &[Value]) -> PushError {
        let link = self.link.take().expect("it answered");
        link.strange(script.name(), answer.first().unwrap_or(&Value::Nil))
    }

    /// Takes, keeps or renews the lease; `dead` is a holder that need not be waited for.
    fn ask_for_lease(&mut self, dead: &str) -> Result<Lease, PushError> {
        let ttl = self.reservation.lease.as_millis().max(1);
        let own = self.fence.unwrap_or(0);
        let arguments =
            [ttl.to_string(), self.floor.to_string(), own.to_string(), dead.to_owned(), self.next_ticket.to_string()];
        let answer = self.run(Script::Lease, &arguments)?;
        let words: Vec<_> = answer.iter().filter_map(text).collect();
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["standby", holder] => {
                (self.is_held, self.fence, self.holder) = (false, None, Some(holder.to_owned()));
                Ok(Lease::Standby)
            }
            ["held", fence] if fence.parse::<u64>().is_ok_and(|fence| fence > 0) => {
                let fence = fence.parse().expect("looked at above");
                (self.is_held, self.fence, self.holder) = (true, Some(fence), None);
                Ok(Lease::Held { fence })
            }
            _ => Err(self.strange(Script::Lease, &answer)),
        }
    }

    fn reserve_now(&mut self, max: usize, tokens: u64, into: &mut Vec<SourceJob>) -> Result<Reserved, PushError> {
        let arguments = [
            seconds(self.clock.now().wall).to_string(),
            self.reservation.retry_after.as_secs().max(1).to_string(),
            max.to_string(),
            RESERVE_BYTES_MAX.to_string(),
            self.next_ticket.to_string(),
            tokens.to_string(),
            MIGRATE_JOBS_MAX.to_string(),
            ASIDE_BODIES_MAX.to_string(),
            self.unheard_from.unwrap_or(self.next_ticket).to_string(),
        ];
        // Whatever comes back but an answer, its tickets are not given again.
        let (first, unheard_from) = (self.next_ticket, self.unheard_from.unwrap_or(self.next_ticket));
        self.next_ticket += max as u64;
        self.unheard_from = Some(unheard_from);
        let mut answer = self.run(Script::Reserve, &arguments)?;
        let [_, Value::Int(depth), Value::Int(put_aside), Value::Int(is_full), jobs @ ..] = &mut answer[..] else {
            return Err(self.strange(Script::Reserve, &answer));
        };
        let well_formed = |pair: &[Value]| matches!(pair, [Value::BulkString(_), Value::Int(attempt)] if *attempt > 0);
        if !jobs.chunks(2).all(well_formed) {
            return Err(self.strange(Script::Reserve, &answer));
        }
        let reserved = Reserved { jobs: jobs.len() / 2, put_aside: put_aside.unsigned_abs(), is_full: *is_full != 0 };
        (self.next_ticket, self.unheard_from) = (first, None);
        self.depth = depth.unsigned_abs();
        self.put_aside += reserved.put_aside;
        for pair in jobs.chunks_mut(2) {
            let [Value::BulkString(body), Value::Int(attempt)] = pair else { unreachable!("looked at above") };
            into.push(SourceJob {
                ticket: self.next_ticket,
                body: std::mem::take(body),
                attempt: attempt.unsigned_abs(),
            });
            self.next_ticket += 1;
        }
        Ok(reserved)
    }

    /// Waits for a push. How many tokens that took: 0 or 1.
    fn wait_for_token(&mut self, wait: Duration) -> Result<u64, PushError> {
        // A wait of 0 would be one without end.
        let millis = wait.as_millis().max(1);
        let seconds = format!("{}.{:03}", millis / 1_000, millis % 1_000);
        let notify = self.config.keys.notify.clone();
        let answer = self.connect().and_then(|link| {
            let answer = link.demand(redis::cmd("BLPOP").arg(notify).arg(seconds))?;
            match answer {
                Value::Array(_) => Ok(1),
                Value::Nil => Ok(0),
                other => Err(link.strange("BLPOP", &other)),
            }
        });
        self.note_error(answer)
    }

    fn aside_is_full(&self) -> PushError {
        let text = format!(
            "{} holds {ASIDE_BODIES_MAX} bodies that are no jobs, and the next on the queue is one more: look at them, \
             delete the list, and find out who pushes them",
            self.config.keys.aside
        );
        PushError::refused(PushErrorClass::Full, text)
    }
}

impl JobSource for RedisSource {
    fn keep_lease(&mut self) -> Result<Lease, PushError> {
        match self.ask_for_lease("")? {
            Lease::Standby => match self.holder.take() {
                Some(holder) if holder::is_gone(&holder) => self.ask_for_lease(&holder),
                holder => {
                    self.holder = holder;
                    Ok(Lease::Standby)
                }
            },
            held @ Lease::Held { .. } => Ok(held),
        }
    }

    fn set_fence_floor(&mut self, floor: u64) {
        self.floor = self.floor.max(floor.min(FENCE_MAX));
    }

    fn reserve(&mut self, max: usize, wait: Duration, into: &mut Vec<SourceJob>) -> Result<(), PushError> {
        if !self.is_held {
            return Err(self.lease_lost());
        }
        if max == 0 {
            return Ok(());
        }
        let max = max.min(RESERVE_JOBS_MAX);
        let deadline = self.clock.now().mono.plus(wait);
        // A connection is given up when it is silent for longer than an answer may take.
        let slice = RESERVE_SLICE_MAX.min(self.config.answer_timeout / 2);
        let mut tokens = 0;
        loop {
            let reserved = self.reserve_now(max, tokens, into)?;
            if reserved.jobs > 0 {
                return Ok(());
            }
            if reserved.is_full {
                return Err(self.aside_is_full());
            }
            tokens = 0;
            if reserved.put_aside == 0 {
                let left = deadline.since(self.clock.now().mono);
                if left.is_zero() {
                    return Ok(());
                }
                tokens = self.wait_for_token(left.min(slice))?;
            }
        }
    }

    fn ack(&mut self, tickets: &[u64]) -> Result<(), PushError> {
        if tickets.is_empty() {
            return Ok(());
        }
        let tickets: Vec<_> = tickets.iter().map(u64::to_string).collect();
        self.run(Script::Ack, &tickets).map(drop)
    }

    fn release(&mut self, ticket: u64, delay: Duration) -> Result<(), PushError> {
        let whole = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        let due = seconds(self.clock.now().wall).saturating_add_unsigned(whole);
        self.run(Script::Release, &[due.to_string(), ticket.to_string()]).map(drop)
    }

    fn extend(&mut self) -> Result<(), PushError> {
        let retry_after = self.reservation.retry_after.as_secs().max(1);
        let lapse = seconds(self.clock.now().wall).saturating_add_unsigned(retry_after);
        self.run(Script::Extend, &[lapse.to_string()]).map(drop)
    }

    fn hand_back(&mut self) -> Result<(), PushError> {
        match self.run(Script::HandBack, &[]) {
            // Somebody else has it, or it ran out: what was in hand is the next holder's.
            Err(error) if error.class == PushErrorClass::LeaseLost => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        (self.is_held, self.fence) = (false, None);
        Ok(())
    }

    fn put_aside(&self) -> u64 {
        self.put_aside
    }

    fn depth(&self) -> u64 {
        self.depth
    }
}

/// The clock of all consumers: whole seconds, as Laravel's.
fn seconds(wall: Wall) -> i64 {
    wall.as_micros().div_euclid(1_000_000)
}
