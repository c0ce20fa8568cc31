//! The job and the queue it stands on: the Laravel contract, PHP's `serialize()`, Redis, and a queue in this process.
//!
//! It promises:
//!
//! - a body is a pure function of the spooled record and the settings, so whatever is pushed twice is the same bytes twice;
//! - PHP finds in `payload` what `json_decode` makes of the recorded bytes, and those bytes as text beside it;
//! - a push is one step at the server, in order, and its outcome is done, refused, or doubtful and then found out;
//! - a server that lost what it had taken is noticed before the next push, with the place from which to push again;
//! - jobs are handed out by one consumer at a time, whose fence grows with every change of hands, and a dead one's come first.
//!
//! A spooled record becomes a body by [`job::JobWriter`], bodies go into a [`batch::JobBatch`], batches to a [`sink::JobSink`];
//! a [`source::JobSource`] hands them out again, and [`job_view::JobReader`] reads them back, an application's too.
//!
//! May import `domain`.

pub mod batch;
pub mod check;
mod digits;
pub mod in_process;
pub mod in_process_source;
pub mod intent_job;
pub mod job;
pub mod job_class;
pub mod job_view;
pub mod json;
pub mod json_text;
pub mod php;
pub mod php_read;
#[cfg(feature = "server")]
pub mod redis;
pub mod server_facts;
pub mod sink;
pub mod source;
mod watermark;

pub use batch::{BatchJob, JobBatch};
pub use in_process::{InProcessQueue, InProcessSink, Reserved, in_process_queue};
pub use in_process_source::InProcessSource;
pub use intent_job::{IntentJob, IntentJobWriter};
pub use job::{BadRecord, JobRecord, JobShape, JobWriter, Laravel, job_uuid};
pub use job_class::{BadJobClass, JobClass};
pub use job_view::{AnyJob, BadJob, JobReader, JobView, PhpJob};
#[cfg(feature = "server")]
pub use redis::{
    BadRedisUrl, HorizonRecords, QueueKeys, RedisConfig, RedisProducer, RedisSource, RedisUrl, Reservation,
};
pub use server_facts::{LossWindow, ServerFacts};
pub use sink::{Forgot, JobSink, PushError, PushErrorClass, Pushed, Rewind, SinkHealth, Watermark};
pub use source::{JobSource, Lease, SourceJob};

/// The thin PHP job that `print laravel-adapter` prints.
pub const LARAVEL_ADAPTER: &str = include_str!("laravel_adapter.php");
/// The thin PHP job of an intent, as `print laravel-adapter --intents` prints it.
pub const LARAVEL_INTENT_ADAPTER: &str = include_str!("laravel_intent_adapter.php");
