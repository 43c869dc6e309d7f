//! What all four stores share: the open database, the queue, and the way to stop.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use fjall::{Database, Keyspace};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use super::{
    committer::Pen,
    events::{Job, Keeper, Keeping, Stream},
    keys::{EpochState, Vault},
    once::Windows,
    options::EmbeddedOptions,
    queue::{Committing, Op, Queue, Work},
    txn::Txn,
};
use crate::{
    clock::Clock,
    domain::{Epoch, StreamName},
    storage::{Cause, EpochKind, Unavailable},
};

/// The database and what is known of it in memory.
pub(super) struct Open {
    pub db: Database,
    pub catalog: Keyspace,
    pub documents: Keyspace,
    pub streams: RwLock<HashMap<StreamName, Arc<Stream>>>,
    pub next_stream_id: AtomicU64,
    pub epochs: RwLock<BTreeMap<(Epoch, EpochKind), EpochState>>,
    pub once: Mutex<Windows>,
    pub commits: AtomicU64,
    pub revision: Arc<watch::Sender<u64>>,
    pub keeping: Keeping,
    /// Bytes of events that are in no segment yet.
    pub fresh_bytes: AtomicU64,
    /// Streams whose hint waits for a commit to ride with.
    pub hints: Mutex<Vec<Arc<Stream>>>,
    /// What the disk had room for, the reserve included, when it was last asked, less what was written since.
    pub room: Mutex<Option<(Instant, u64)>>,
    pub options: EmbeddedOptions,
    pub clock: Clock,
    pub path: PathBuf,
    pub vault: Vault,
    pub fatal: Fatal,
    /// Keeps other processes out. Released when dropped.
    #[expect(dead_code, reason = "held, never read")]
    pub lock: File,
}

impl Open {
    /// Number of the commit being written. Only the committer asks.
    pub(super) fn next_commit(&self) -> u64 {
        self.commits.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Stops storage for good: what was to be written may or may not be on disk.
    pub(super) fn fail(&self, error: &fjall::Error) {
        self.fatal.raise(&format!("a write failed: {error}"));
    }

    /// Bytes free on the disk beneath; `None` when the system does not say.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.path).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Bytes that may still be written. What is in memory needs its space on disk before the journals give
    /// theirs back, so it is set aside as well as the reserve.
    pub(super) fn room_bytes(&self) -> u64 {
        self.room_beside(self.options.reserve_bytes)
    }

    /// As `room_bytes`, with half of the reserve: for the little that must be written to free space.
    pub(super) fn room_with_reserve_bytes(&self) -> u64 {
        self.room_beside(self.options.reserve_bytes / 2)
    }

    fn room_beside(&self, reserve_bytes: u64) -> u64 {
        if reserve_bytes == 0 {
            return u64::MAX;
        }
        let mut room = self.room.lock();
        if let Some((asked, left)) = *room
            && asked.elapsed() < ROOM_KNOWN_FOR
        {
            return left.saturating_sub(reserve_bytes);
        }
        let held = self.db.write_buffer_size().min(4 * self.options.memtables_bytes)
            + self.fresh_bytes.load(Ordering::Relaxed);
        let left = self.free_bytes().map_or(u64::MAX, |free| free.saturating_sub(held));
        *room = Some((Instant::now(), left));
        left.saturating_sub(reserve_bytes)
    }

    /// Notes that `bytes` of the room are taken.
    pub(super) fn take_room(&self, bytes: usize) {
        if let Some((_, left)) = &mut *self.room.lock() {
            *left = left.saturating_sub(bytes as u64);
        }
    }
}

/// Others fill the disk too: asked again after this long.
const ROOM_KNOWN_FOR: Duration = Duration::from_millis(20);

/// Why storage stopped, seen by everyone.
#[derive(Clone)]
pub(super) struct Fatal(Arc<watch::Sender<Option<String>>>);

impl Fatal {
    pub(super) fn new() -> Fatal {
        Fatal(Arc::new(watch::channel(None).0))
    }

    /// Says that storage must not be used any more. The first reason stays.
    pub(super) fn raise(&self, what: &str) {
        self.0.send_if_modified(|reason| {
            let first = reason.is_none();
            if first {
                tracing::error!(what, "storage has failed and stops");
                *reason = Some(what.to_owned());
            }
            first
        });
    }

    pub(super) fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }
}

/// Held by the four stores; the last one to go closes the database.
pub(super) struct Engine {
    pub open: RwLock<Option<Arc<Open>>>,
    pub queue: Arc<Queue>,
    pub fatal: Fatal,
    pub threads: Mutex<Option<Threads>>,
    pub revision: Arc<watch::Sender<u64>>,
}

/// The committer and the keeper. Each hands back what is needed to close in order, unless it failed.
pub(super) struct Threads {
    pub committer: JoinHandle<Option<Pen>>,
    pub keeper: JoinHandle<Option<Keeper>>,
}

impl Engine {
    /// The open database.
    pub(super) fn open(&self) -> Result<Arc<Open>, Unavailable> {
        self.open.read().clone().ok_or(Unavailable::Stopped)
    }

    /// Puts an operation into the queue. A failed storage says why.
    pub(super) fn push(&self, op: Op) -> Result<(), Failure> {
        self.queue.push(op).map_err(|refused| match refused {
            Unavailable::Stopped => self.dropped(),
            refused => refused.into(),
        })
    }

    /// Gives the keeper a job.
    pub(super) fn tell_keeper(&self, job: Job) -> Result<(), Unavailable> {
        self.open()?.keeping.tell(job);
        Ok(())
    }

    /// Runs `decide` inside a commit; returns its answer once that is durable.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        grows: bool,
        decide: impl FnOnce(&mut Txn<'_>) -> fjall::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let decide = move |txn: Result<&mut Txn<'_>, Unavailable>| {
            let decided = match txn {
                Ok(txn) => Ok(decide(txn)?),
                Err(refused) => Err(Failure::Unavailable(refused)),
            };
            let done: super::queue::Done = Box::new(move |committed| {
                let outcome = match committed {
                    Ok(()) => decided,
                    Err(cause) => Err(Failure::Damaged(cause)),
                };
                drop(reply.send(outcome));
            });
            Ok(done)
        };
        self.push(Op::Work(Work { grows, decide: Box::new(decide) }))?;
        answer.await.unwrap_or_else(|_| Err(self.dropped()))
    }

    /// Runs `manage` alone between two commits.
    pub(super) async fn manage<T: Send + 'static>(
        &self,
        manage: impl FnOnce(&mut Committing<'_>) -> fjall::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let run = move |committing: &mut Committing<'_>| {
            let outcome = manage(committing)?;
            drop(reply.send(outcome));
            Ok(())
        };
        self.push(Op::Manage(Box::new(run)))?;
        answer.await.map_err(|_| self.dropped())
    }

    /// Why an operation was dropped unanswered.
    pub(super) fn dropped(&self) -> Failure {
        match self.fatal.reason() {
            Some(what) => Failure::Damaged(what.into()),
            None => Failure::Unavailable(Unavailable::Stopped),
        }
    }

    /// Runs a read that may wait for the disk.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, fjall::Error> + Send + 'static,
    ) -> Result<T, Failure> {
        match tokio::task::spawn_blocking(read).await {
            Ok(outcome) => outcome.map_err(Failure::from),
            Err(panic) => Err(Failure::Damaged(panic.into())),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close_now();
    }
}

/// Why an operation failed, before it gets the name its caller knows.
pub(super) enum Failure {
    Unavailable(Unavailable),
    Damaged(Cause),
}

impl From<Unavailable> for Failure {
    fn from(unavailable: Unavailable) -> Failure {
        Failure::Unavailable(unavailable)
    }
}

impl From<fjall::Error> for Failure {
    fn from(error: fjall::Error) -> Failure {
        Failure::Damaged(error.into())
    }
}

/// Gives a failure the names one of the stores uses.
macro_rules! failure_into {
    ($($error:ty),*) => { $(
        impl From<Failure> for $error {
            fn from(failure: Failure) -> $error {
                match failure {
                    Failure::Unavailable(unavailable) => <$error>::Unavailable(unavailable),
                    Failure::Damaged(cause) => <$error>::Damaged(cause),
                }
            }
        }
    )* };
}
failure_into!(
    crate::storage::LogError,
    crate::storage::AppendError,
    crate::storage::KeyError,
    crate::storage::RegistryError
);
