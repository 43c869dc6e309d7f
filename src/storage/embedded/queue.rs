//! Who waits to be committed. Many push, one takes all.

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{engine::Open, events::Stream, txn::Txn};
use crate::{
    domain::RecordBatch,
    storage::{AppendError, AppendOptions, Appended, Cause, Unavailable},
};

/// Something to commit.
pub(super) enum Op {
    Append(Append),
    /// Decides inside the commit, and is answered once it is durable.
    Work(Work),
    /// Runs alone between two commits and answers by itself. An error is fatal.
    Manage(Manage),
    /// Ends the committer after everything before it.
    Close,
}

pub(super) struct Append {
    pub stream: std::sync::Arc<Stream>,
    pub batch: RecordBatch,
    pub options: AppendOptions,
    pub reply: oneshot::Sender<Result<Appended, AppendError>>,
}

pub(super) struct Work {
    /// Needs disk, and is refused when that is nearly full.
    pub grows: bool,
    pub decide: Decide,
}

pub(super) type Manage = Box<dyn FnOnce(&mut Committing<'_>) -> fjall::Result<()> + Send>;

/// Gets the commit, or why it is refused a place in it.
pub(super) type Decide = Box<dyn FnOnce(Result<&mut Txn<'_>, Unavailable>) -> fjall::Result<Done> + Send>;

/// Tells whoever asked, once the commit is durable or has failed.
pub(super) type Done = Box<dyn FnOnce(Result<(), Cause>) + Send>;

/// What a managing operation works with.
pub(super) struct Committing<'a> {
    pub open: &'a Open,
    pub budget: &'a mut super::keyspaces::Budget,
}

#[derive(Default)]
struct Waiting {
    ops: Vec<Op>,
    bytes: usize,
    /// Nothing more is taken in.
    stopped: bool,
    /// The committer sleeps and must be woken.
    idle: bool,
}

/// Bounded in bytes.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    bytes_max: usize,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Queue {
        Queue { waiting: Mutex::default(), wake: Condvar::new(), bytes_max }
    }

    /// Adds an operation. `Err` when stopped or too much waits; the operation is dropped.
    pub(super) fn push(&self, op: Op) -> Result<(), Unavailable> {
        let size = op.size_bytes();
        let mut waiting = self.waiting.lock();
        if waiting.stopped {
            return Err(Unavailable::Stopped);
        }
        if size > 0 && waiting.bytes > self.bytes_max {
            return Err(Unavailable::Overloaded);
        }
        waiting.bytes += size;
        waiting.stopped = matches!(op, Op::Close);
        waiting.ops.push(op);
        if waiting.idle {
            waiting.idle = false;
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Waits until there is something, and takes all of it. `ops` must be empty. False when the queue was
    /// stopped by somebody else.
    pub(super) fn take(&self, ops: &mut Vec<Op>) -> bool {
        let mut waiting = self.waiting.lock();
        while waiting.ops.is_empty() {
            if waiting.stopped {
                return false;
            }
            waiting.idle = true;
            self.wake.wait(&mut waiting);
        }
        std::mem::swap(&mut waiting.ops, ops);
        waiting.bytes = 0;
        true
    }

    /// Takes nothing more in and hands out what waited.
    pub(super) fn stop(&self) -> Vec<Op> {
        let mut waiting = self.waiting.lock();
        waiting.stopped = true;
        waiting.bytes = 0;
        self.wake.notify_one();
        std::mem::take(&mut waiting.ops)
    }
}

impl Op {
    fn size_bytes(&self) -> usize {
        match self {
            Op::Append(append) => append.batch.bytes().len() + 128,
            Op::Work(_) => 512,
            Op::Manage(_) | Op::Close => 0,
        }
    }
}
