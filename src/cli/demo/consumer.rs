//! The demo's consumer of jobs: what an application's worker does with the in-process queue.
//!
//! It reserves jobs, writes them to a file of its own, makes that durable, and only then acknowledges. The file is what the
//! demo holds against the exchange's ledgers in the end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::domain::Wall;
use crate::queue::{InProcessQueue, JobReader, Reserved};
use crate::spool::{Gap, Kind};

/// Jobs of one commit.
const JOBS_PER_COMMIT: usize = 64;
/// How long it waits for a job before it looks whether it is to stop.
const WAIT: Duration = Duration::from_millis(100);
/// Under `--break frames_are_jobs`, one in so many frames is acknowledged and thrown away.
const DROPPED_ONE_IN: u64 = 10;
/// Account, kind and length before the bytes of a job.
const HEAD_LEN: usize = 13;

/// What an account has on the consumer's side.
#[derive(Debug, Default)]
pub struct Consumed {
    /// Its frames, in order.
    pub frames: Vec<Vec<u8>>,
    /// From the last moment of surely listening to the first of surely listening again.
    pub gaps: Vec<(Wall, Wall)>,
}

impl Consumed {
    /// Adds a gap record; one of an account that was never heard before begins with time itself.
    pub fn push_gap(&mut self, raw: &[u8]) -> io::Result<()> {
        let gap = Gap::read(raw).ok_or_else(|| io::Error::other("a gap record does not hold a gap"))?;
        self.gaps.push((gap.silent_since.unwrap_or(Wall::from_micros(i64::MIN)), gap.live_at));
        Ok(())
    }
}

/// The running consumer.
pub struct Consumer {
    queue: InProcessQueue,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    path: PathBuf,
    thread: JoinHandle<io::Result<()>>,
}

/// What was acknowledged.
#[derive(Debug, Default)]
pub struct Counts {
    /// Frames.
    pub frames: AtomicU64,
    /// Gaps.
    pub gaps: AtomicU64,
}

impl Consumer {
    /// Starts it; jobs go to the file `path`, which is made.
    pub fn start(queue: InProcessQueue, path: &Path, drops: bool) -> io::Result<Consumer> {
        let (counts, stop) = (Arc::<Counts>::default(), Arc::<AtomicBool>::default());
        let work = Work {
            queue: queue.clone(),
            file: BufWriter::new(File::create(path)?),
            counts: Arc::clone(&counts),
            stop: Arc::clone(&stop),
            drops,
            seen: 0,
        };
        let thread = std::thread::Builder::new().name("demo-consumer".to_owned()).spawn(move || work.run())?;
        Ok(Consumer { queue, counts, stop, path: path.to_owned(), thread })
    }

    /// What was acknowledged so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Jobs that are not acknowledged yet.
    pub fn depth(&self) -> usize {
        self.queue.depth()
    }

    /// Everything that it has committed, by the account's row.
    pub fn consumed(&self) -> io::Result<BTreeMap<u64, Consumed>> {
        let mut file = BufReader::new(File::open(&self.path)?);
        let mut all: BTreeMap<u64, Consumed> = BTreeMap::new();
        let mut head = [0; HEAD_LEN];
        // What ends within a job has not been committed yet.
        while file.read_exact(&mut head).is_ok() {
            let [a0, a1, a2, a3, a4, a5, a6, a7, kind, l0, l1, l2, l3] = head;
            let mut raw = vec![0; u32::from_le_bytes([l0, l1, l2, l3]) as usize];
            if file.read_exact(&mut raw).is_err() {
                break;
            }
            let account = all.entry(u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7])).or_default();
            if kind == 0 {
                account.frames.push(raw);
            } else {
                account.push_gap(&raw)?;
            }
        }
        Ok(all)
    }

    /// Ends it. Jobs on the queue stay there.
    pub fn stop(self) -> io::Result<()> {
        self.stop.store(true, Ordering::Release);
        self.queue.close();
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the consumer's thread panicked")))
    }
}

struct Work {
    queue: InProcessQueue,
    file: BufWriter<File>,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    drops: bool,
    seen: u64,
}

impl Work {
    fn run(mut self) -> io::Result<()> {
        let (mut reader, mut jobs) = (JobReader::new(), Vec::with_capacity(JOBS_PER_COMMIT));
        while !self.stop.load(Ordering::Acquire) {
            jobs.extend(self.queue.reserve(WAIT));
            while !jobs.is_empty() && jobs.len() < JOBS_PER_COMMIT {
                let Some(job) = self.queue.reserve(Duration::ZERO) else { break };
                jobs.push(job);
            }
            if !jobs.is_empty() {
                self.commit(&mut reader, &mut jobs)?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, reader: &mut JobReader, jobs: &mut Vec<Reserved>) -> io::Result<()> {
        let (mut frames, mut gaps) = (0, 0);
        for job in &*jobs {
            let view = reader.read(job.body()).map_err(io::Error::other)?;
            let is_frame = view.kind == Kind::Frame.as_str();
            if !is_frame && view.kind != Kind::Gap.as_str() {
                continue;
            }
            (frames, gaps) = (frames + u64::from(is_frame), gaps + u64::from(!is_frame));
            self.seen += u64::from(is_frame);
            if self.drops && is_frame && self.seen.is_multiple_of(DROPPED_ONE_IN) {
                continue;
            }
            let len = u32::try_from(view.raw.len()).map_err(io::Error::other)?;
            self.file.write_all(&view.account.to_le_bytes())?;
            self.file.write_all(&[u8::from(!is_frame)])?;
            self.file.write_all(&len.to_le_bytes())?;
            self.file.write_all(view.raw)?;
        }
        self.file.flush()?;
        self.file.get_ref().sync_data()?;
        jobs.drain(..).for_each(Reserved::ack);
        self.counts.frames.fetch_add(frames, Ordering::Relaxed);
        self.counts.gaps.fetch_add(gaps, Ordering::Relaxed);
        Ok(())
    }
}
