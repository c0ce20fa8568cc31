//! Drives a [`Plan`] to its end: each read behind the weight meter, refusals as what they are.
//!
//! A refusal about the address goes into the meter, which then says when to go on; one about the clock has the venue's asked; a busy venue and a broken connection are
//! tried again; everything else ends the reconcile with a sentence, to be tried again later. Blocks: for reconcile threads.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::meter_file::SharedMeter;
use super::plan::{Next, Plan, PlanError};
use super::ports::{AccountRest, Credentials};
use super::venue_clock::VenueClock;
use crate::domain::limits::{RECONCILE_METER_WAIT_MAX, RECONCILE_TRIES};
use crate::domain::{Clock, Mono, Now};
use crate::exchange::binance::account_answers::AnswerError;
use crate::exchange::binance::listen_key::Refusal;
use crate::exchange::binance::server_time::{SERVER_TIME_WEIGHT, read_server_time};
use crate::user_data::weight_meter::{Call, WeightClass, WeightPermit};

/// How often a wait looks whether it is to be broken off.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why a reconcile was not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// The stream broke, or the process ends: nobody is at fault, and it begins anew when the stream is live.
    Interrupted,
    /// The address has no weight left, or is banned: no other account can be asked now. A sentence for people.
    Address(Arc<str>),
    /// The database does not answer: it begins anew when that does. A sentence for people.
    Database(Arc<str>),
    /// A sentence for people.
    Failed(Arc<str>),
}

impl Unfinished {
    /// With this sentence.
    #[must_use]
    pub fn because(sentence: impl std::fmt::Display) -> Unfinished {
        Unfinished::Failed(sentence.to_string().into())
    }

    /// What people are told; nothing of what was broken off on purpose.
    #[must_use]
    pub fn sentence(&self) -> Option<&Arc<str>> {
        match self {
            Unfinished::Interrupted => None,
            Unfinished::Address(sentence) | Unfinished::Database(sentence) | Unfinished::Failed(sentence) => {
                Some(sentence)
            }
        }
    }
}

/// What reads are made with.
pub struct Driver<'a> {
    /// Asks.
    pub rest: &'a dyn AccountRest,
    /// As this account.
    pub credentials: &'a Credentials,
    /// Behind this meter.
    pub meter: &'a SharedMeter,
    /// In this class.
    pub class: WeightClass,
    /// By this clock.
    pub clock: &'a dyn Clock,
    /// And, towards the venue, by its own.
    pub venue_clock: &'a VenueClock,
    /// Whether to go on.
    pub goes_on: &'a dyn Fn() -> bool,
}

impl Driver<'_> {
    /// Asks until the plan is finished and of one piece.
    ///
    /// # Errors
    /// [`Unfinished`].
    pub fn run(&self, plan: &mut Plan) -> Result<(), Unfinished> {
        let mut tries = 0;
        loop {
            let ask = match plan.poll(self.venue_now()) {
                Next::Ask(ask) => ask,
                Next::Wait(until) => {
                    self.wait_until(until)?;
                    continue;
                }
                Next::Finished => return plan.check().map_err(Unfinished::because),
            };
            let read = ask.read();
            let call = self.wait_for_weight(read.weight())?;
            let answer = self.rest.read(&read, self.credentials, self.venue_now().wall);
            let now = self.clock.now();
            let refusal = match &answer {
                Err(sentence) => Err(sentence.clone()),
                Ok(answer) => {
                    let retry_after = answer.retry_after.as_deref();
                    let taken = plan.handle_answer(answer.status, &answer.body, retry_after, self.venue_clock.at(now));
                    let refusal = match &taken {
                        Err(PlanError::Answer(AnswerError::Refused(refusal))) => Some(*refusal),
                        _ => None,
                    };
                    self.meter.handle_answer(call, answer.used_weight, refusal, now);
                    match (taken, refusal) {
                        (Ok(()), _) => {
                            tries = 0;
                            continue;
                        }
                        (Err(_), Some(refusal)) => Ok(refusal),
                        (Err(error), None) => return Err(Unfinished::because(error)),
                    }
                }
            };
            tries += 1;
            let pause = match &refusal {
                // Whether it goes on is the meter's to say.
                Ok(refusal) if refusal.concerns_address() && tries < RECONCILE_TRIES => Duration::ZERO,
                Ok(refusal @ Refusal::Overload { .. }) if tries < RECONCILE_TRIES => {
                    refusal.pause(tries, now.wall.as_millis())
                }
                Ok(Refusal::Clock) if tries < RECONCILE_TRIES => {
                    self.ask_clock()?.map_err(Unfinished::because)?;
                    Duration::ZERO
                }
                Err(_) if tries < RECONCILE_TRIES => Duration::from_secs(1 << tries.min(4)),
                Ok(refusal) if refusal.concerns_address() => {
                    return Err(Unfinished::Address(sentence(*refusal).into()));
                }
                Ok(refusal) => return Err(Unfinished::because(sentence(*refusal))),
                Err(sentence) => return Err(Unfinished::because(format!("the venue does not answer: {sentence}"))),
            };
            self.wait_until(now.mono.plus(pause))?;
        }
    }

    fn venue_now(&self) -> Now {
        self.venue_clock.at(self.clock.now())
    }

    /// Asks the venue for its clock; a sentence where it does not tell.
    ///
    /// # Errors
    /// [`Unfinished`]: there is no weight, or nothing more is to be asked.
    pub fn ask_clock(&self) -> Result<Result<(), String>, Unfinished> {
        let call = self.wait_for_weight(SERVER_TIME_WEIGHT)?;
        let asked = self.clock.now();
        let answer = match self.rest.server_time() {
            Ok(answer) => answer,
            Err(sentence) => return Ok(Err(format!("the venue does not tell its clock: {sentence}"))),
        };
        let now = self.clock.now();
        let told = read_server_time(answer.status, &answer.body, answer.retry_after.as_deref());
        let refusal = match &told {
            Err(AnswerError::Refused(refusal)) => Some(*refusal),
            _ => None,
        };
        self.meter.handle_answer(call, answer.used_weight, refusal, now);
        Ok(match told {
            Ok(time_ms) => {
                self.venue_clock.handle_told(time_ms, asked.mono, now.mono);
                Ok(())
            }
            Err(error) => Err(format!("the venue does not tell its clock: {error}")),
        })
    }

    fn wait_for_weight(&self, weight: u32) -> Result<Call, Unfinished> {
        let from = self.clock.now().mono;
        loop {
            let now = self.clock.now();
            match self.meter.permit(self.class, weight, now) {
                WeightPermit::Now(call) => return Ok(call),
                WeightPermit::At(at) if at.since(from) > RECONCILE_METER_WAIT_MAX => {
                    let status = self.meter.status(now);
                    let seconds = |left: Duration| left.as_secs() + 1;
                    let sentence = match status.blocked {
                        _ if !status.banned_for.is_zero() => {
                            format!("the venue has banned this address for {} s", seconds(status.banned_for))
                        }
                        Some((http, left)) => {
                            format!("{}; tried again in {} s", Refusal::Blocked { status: http }, seconds(left))
                        }
                        None if !status.reconcile_held_for.is_zero() => {
                            let left = seconds(status.reconcile_held_for);
                            format!("the venue said that this address asks too much: reconciles wait for {left} s")
                        }
                        None => format!("no REST weight is left: {} of {} are used", status.used, status.limit),
                    };
                    return Err(Unfinished::Address(sentence.into()));
                }
                WeightPermit::At(at) => self.wait_until(at)?,
            }
        }
    }

    /// Waits, unless it is to be broken off.
    ///
    /// # Errors
    /// [`Unfinished::Interrupted`].
    pub fn wait_until(&self, until: Mono) -> Result<(), Unfinished> {
        loop {
            if !(self.goes_on)() {
                return Err(Unfinished::Interrupted);
            }
            let left = until.since(self.clock.now().mono);
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(LOOK_EVERY));
        }
    }
}

fn sentence(refusal: Refusal) -> String {
    let what = match refusal {
        Refusal::Credentials { .. } => "it does not take the API key and secret for reading, from this address",
        Refusal::Clock => "this machine's clock is off: synchronise it",
        Refusal::Banned { .. } => "it has banned this address",
        Refusal::Limited { .. } => "this address has used its REST weight",
        Refusal::Blocked { .. } => "it lets nobody in from this address",
        Refusal::Overload { .. } => "it is too busy",
        Refusal::KeyGone | Refusal::Shape | Refusal::Other { .. } => "for a reason that is not known here",
    };
    let code = match refusal {
        Refusal::Credentials { code: Some(code) } | Refusal::Other { code: Some(code), .. } => {
            format!(" (code {code})")
        }
        _ => String::new(),
    };
    format!("the venue refuses an account's reads: {what}{code}")
}
