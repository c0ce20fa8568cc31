//! The demo's worker: the role that `run` plays, on the in-process queue and the demo's database; and beside it the trading
//! application, which also carries out what the relay pushes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::check::Check;
use super::stage::{database, system};
use super::watched_source::{Commits, WatchedSource};
use crate::cli::exit::{CommandError, Exit};
use crate::daemon::work_role::WorkRole;
use crate::daemon::work_wiring;
use crate::domain::{Clock, Now, Random};
use crate::ops::Settings;
use crate::ops::status::WorkStatus;
use crate::queue::{InProcessQueue, InProcessSource, JobShape, in_process_queue};
use crate::sim::SimHandle;
use crate::sim::bot::{Bot, Counts, Intents};
use crate::user_data::rules::IntentKind;
use crate::user_data::worker::relay::RelayParts;

/// Worker and application, running.
pub struct WorkHalf {
    role: WorkRole,
    bot: Bot,
    queue: InProcessQueue,
    /// When each frame was committed.
    pub commits: Commits,
}

/// What joins the worker to the account role.
pub struct Joint {
    /// The consumer's end of its queue.
    pub queue: InProcessQueue,
    /// What its jobs look like.
    pub shape: JobShape,
    /// How far the worker has committed.
    pub audited: Arc<AtomicU64>,
}

impl WorkHalf {
    /// Starts both; `rows` are the accounts' rows by the exchange's index.
    pub fn start(
        sim: &SimHandle,
        (settings, folder): (&Settings, &Path),
        joint: Joint,
        rows: &[u64],
        clock: &Arc<dyn Clock>,
        random: &mut Random,
        breaks: Option<Check>,
    ) -> Result<WorkHalf, CommandError> {
        let mut settings = settings.clone();
        match breaks {
            Some(Check::OrdersAreTruth) => {
                settings.user_data.binance.dispatched_executions.retain(|word| word != "TRADE");
            }
            Some(Check::IntentsFollow) => {
                settings.work.intents_off = IntentKind::ALL.map(|kind| kind.as_str().to_owned()).to_vec()
            }
            _ => {}
        }
        let Joint { queue, shape, audited } = joint;
        let mut config = work_wiring::work_role(&settings, "demo", Some((queue.clone(), audited)))?;
        let commits = Commits::default();
        let (jobs, watched) = (queue.clone(), Arc::clone(&commits));
        let drops = breaks == Some(Check::FramesAreAudited);
        config.source = Box::new(move |clock, _| {
            let fence = u64::try_from(clock.now().wall.as_millis()).unwrap_or(1);
            let source = InProcessSource::new(jobs, fence, Arc::clone(clock));
            Box::new(WatchedSource::new(source, watched, Arc::clone(clock), drops))
        });
        let relayed = Arc::<Mutex<Vec<InProcessQueue>>>::default();
        let opened = Arc::clone(&relayed);
        config.relay = Some(RelayParts {
            shape_of: Box::new(move |_| shape.clone()),
            open: Box::new(move |_, _| {
                let (sink, queue) = in_process_queue();
                opened.lock().push(queue);
                Box::new(sink)
            }),
        });
        let (application, database) = (sim.application(), database(folder));
        let intents = Intents::Queues(relayed);
        let bot = Bot::start(application, &database, rows, intents, Arc::clone(clock), random.fork());
        let bot = bot.map_err(system)?;
        let role = WorkRole::start(config, Arc::clone(clock), random.fork()).map_err(system)?;
        Ok(WorkHalf { role, bot, queue, commits })
    }

    /// What the worker shows.
    pub fn status(&mut self, now: Now) -> WorkStatus {
        self.role.status(now)
    }

    /// What the application did.
    pub fn counts(&self) -> &Counts {
        self.bot.counts()
    }

    /// What is wrong with either, a sentence each.
    pub fn complaints(&mut self, now: Now) -> Vec<String> {
        let status = self.role.status(now);
        let mut complaints = status.alarms;
        let depth = self.queue.depth();
        if depth > 0 {
            complaints.push(format!("{depth} jobs wait on the queue"));
        }
        if self.role.is_broken() {
            complaints.push("a thread of the worker has ended".to_owned());
        }
        if self.bot.has_ended() {
            complaints.push("the application has ended".to_owned());
        }
        for (count, what) in [
            (status.failed, "jobs failed for good"),
            (status.attempts, "attempts at a job failed"),
            (status.panics, "panics while applying"),
            (status.misfits, "fields fitted no column"),
        ] {
            if count > 0 {
                complaints.push(format!("{count} {what}"));
            }
        }
        let counts = self.bot.counts();
        let (pushed, taken) = (status.intents_pushed, counts.intents.load(Ordering::Relaxed));
        if status.intents != pushed || pushed != taken || taken != counts.workflows.load(Ordering::Relaxed) {
            complaints.push(format!("{} intents were written, {pushed} pushed, {taken} taken", status.intents));
        }
        complaints
    }

    /// Ends both.
    pub fn stop(mut self, bound: std::time::Duration, clock: &dyn Clock) -> Result<(), CommandError> {
        self.role.stop(bound, clock);
        self.bot.stop().map_err(|error| CommandError::new(Exit::Software, error.sentence().to_owned()))
    }
}
