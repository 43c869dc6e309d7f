//! The one writer: takes everything that waits, makes it durable at once, answers everyone.
//!
//! It waits for nobody when idle, and fills by itself under load: what arrives during an fsync is the
//! next commit. Every compare-and-set is decided here, one after the other. Events go to the journal, keys
//! and documents to the engine; a commit that has both, syncs both before it answers.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    engine::Open,
    events::{Frame, Gathering, Job, Journal, Stream},
    keyspaces::Budget,
    options::{CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX, COMMIT_BYTES_MAX, FRESH_BYTES_MAX},
    queue::{Append, Committing, Done, Op, Queue},
    txn::Txn,
};
use crate::{
    clock::Timestamp,
    domain::RecordBatch,
    storage::{AppendError, AppendOptions, Appended, Chunk, Unavailable},
};

/// What an operation takes beside its bytes, generously.
const WORK_BYTES: usize = 4096;

/// What the committer writes with.
pub(super) struct Pen {
    pub budget: Budget,
    pub journal: Journal,
    frame: Frame,
}

impl Pen {
    pub(super) fn new(open: &Open, journal: Journal) -> Pen {
        Pen { budget: Budget::new(&open.options), journal, frame: Frame::new() }
    }
}

/// The committer's thread. Hands its pen back when asked to close.
pub(super) fn run(open: &Open, queue: &Queue, mut pen: Pen) -> Option<Pen> {
    let mut ops = Vec::new();
    while queue.take(&mut ops) {
        match commit_all(open, &mut pen, &mut ops) {
            Ok(false) => {}
            Ok(true) => return Some(pen),
            Err(error) => {
                open.fail(&error);
                drop(queue.stop());
            }
        }
    }
    None
}

/// Commits everything in `ops`. True when asked to close.
///
/// A failure is announced before the replies are dropped, so that whoever finds theirs gone knows why.
fn commit_all(open: &Open, pen: &mut Pen, ops: &mut Vec<Op>) -> fjall::Result<bool> {
    let mut round = Round::new(open, pen);
    for op in ops.drain(..) {
        if round.bytes > COMMIT_BYTES_MAX {
            round.commit()?;
            round = Round::new(open, pen);
        }
        match op {
            Op::Append(append) => round.append(append).inspect_err(|error| open.fail(error))?,
            Op::Work(work) => {
                let refused = work.grows && round.is_full(WORK_BYTES);
                let txn = if refused { Err(Unavailable::DiskFull) } else { Ok(&mut round.txn) };
                let done = (work.decide)(txn).inspect_err(|error| open.fail(error))?;
                round.replies.push(Reply::Work(done));
            }
            Op::Manage(manage) => {
                round.commit()?;
                let mut committing = Committing { open, budget: &mut pen.budget };
                manage(&mut committing).inspect_err(|error| open.fail(error))?;
                round = Round::new(open, pen);
            }
            Op::Close => {
                round.commit()?;
                return Ok(true);
            }
        }
    }
    round.commit()?;
    Ok(false)
}

enum Reply {
    Append(oneshot::Sender<Result<Appended, AppendError>>, Result<Appended, AppendError>),
    Work(Done),
}

/// One commit while it is gathered.
struct Round<'a> {
    open: &'a Open,
    txn: Txn<'a>,
    journal: &'a mut Journal,
    frame: &'a mut Frame,
    now: Timestamp,
    room: Option<u64>,
    bytes: usize,
    touched: Vec<Arc<Stream>>,
    /// What lies in the frame.
    chunks: Vec<(Arc<Stream>, Chunk)>,
    replies: Vec<Reply>,
}

impl<'a> Round<'a> {
    fn new(open: &'a Open, pen: &'a mut Pen) -> Round<'a> {
        Round {
            open,
            txn: Txn::new(open, &mut pen.budget),
            journal: &mut pen.journal,
            frame: &mut pen.frame,
            now: open.clock.now(),
            room: None,
            bytes: 0,
            touched: Vec::new(),
            chunks: Vec::new(),
            replies: Vec::new(),
        }
    }

    /// True when `wanted` more bytes do not fit. The disk is asked now and then, and only for those
    /// who need space.
    fn is_full(&mut self, wanted: usize) -> bool {
        let open = self.open;
        let room = *self.room.get_or_insert_with(|| open.room_bytes());
        room < (self.bytes + wanted) as u64
    }

    fn append(&mut self, append: Append) -> fjall::Result<()> {
        let Append { stream, batch, options, reply } = append;
        let outcome = self.decide(&stream, batch, options)?;
        self.replies.push(Reply::Append(reply, outcome));
        Ok(())
    }

    fn decide(
        &mut self,
        stream: &Arc<Stream>,
        batch: RecordBatch,
        options: AppendOptions,
    ) -> fjall::Result<Result<Appended, AppendError>> {
        if stream.deleted() {
            return Ok(Err(AppendError::UnknownStream));
        }
        let wanted = batch.bytes().len() + WORK_BYTES;
        // Without an audit entry nothing can be deleted either, and that is how an operator makes space.
        let full = if stream.name.is_internal() {
            self.open.room_with_reserve_bytes() < (self.bytes + wanted) as u64
        } else {
            self.is_full(wanted)
        };
        if full {
            return Ok(Err(Unavailable::DiskFull.into()));
        }
        // A filter tries again by itself; who sends events is held up last.
        let fresh_max = if options.hint.is_some() { FRESH_BYTES_MAX / 2 } else { FRESH_BYTES_MAX };
        if self.open.fresh_bytes.load(Ordering::Relaxed) > fresh_max {
            return Ok(Err(Unavailable::Overloaded.into()));
        }
        if let Some(once) = options.once
            && let Some((first_seq, end)) = self.open.once.lock().find(stream.id, once, self.now)?
        {
            return Ok(Ok(Appended { first_seq, end, duplicate: true }));
        }
        let mut gathering = stream.gathering.lock();
        let first_seq = gathering.next;
        if options.expected_end.is_some_and(|expected| expected != first_seq) {
            return Ok(Err(AppendError::WrongEnd { actual: first_seq }));
        }
        if let Some(hint) = options.hint {
            *stream.hint.lock() = Some(hint);
            self.write_hint(stream);
        }
        let end = first_seq + u64::from(batch.count());
        if batch.count() > 0 {
            self.gather(stream, &mut gathering, batch);
        }
        if let Some(once) = options.once {
            self.frame.once(stream.id, once, (first_seq, end), self.now);
            self.open.once.lock().note(stream.id, once, (first_seq, end), self.now);
        }
        Ok(Ok(Appended { first_seq, end, duplicate: false }))
    }

    /// Puts a batch behind what is already gathered for its stream.
    fn gather(&mut self, stream: &Arc<Stream>, gathering: &mut Gathering, batch: RecordBatch) {
        if gathering.added == 0 {
            self.touched.push(stream.clone());
        }
        self.bytes += batch.bytes().len();
        gathering.added += batch.bytes().len() as u64;
        let fits = gathering.batch.bytes().len() + batch.bytes().len() <= CHUNK_BYTES_MAX
            && gathering.batch.count() + batch.count() <= CHUNK_RECORDS_MAX;
        if !fits {
            self.write_gathered(stream, gathering);
        }
        if gathering.batch.count() == 0 {
            gathering.first = gathering.next;
            gathering.next += u64::from(batch.count());
            gathering.batch = batch;
        } else {
            gathering.next += u64::from(batch.count());
            gathering.batch.extend(&batch);
        }
    }

    /// Puts the gathered records into the frame, as chunks.
    fn write_gathered(&mut self, stream: &Arc<Stream>, gathering: &mut Gathering) {
        if gathering.batch.count() == 0 {
            return;
        }
        let batch = std::mem::take(&mut gathering.batch);
        for (first_seq, count, bytes) in chunks(gathering.first, batch) {
            let chunk = Chunk { first_seq, count, bytes };
            self.frame.chunk(stream.id, &chunk, self.now);
            self.chunks.push((stream.clone(), chunk));
        }
        gathering.first = gathering.next;
    }

    fn write_hint(&mut self, stream: &Arc<Stream>) {
        stream.hint_changed.store(false, Ordering::Relaxed);
        if let Some(hint) = *stream.hint.lock() {
            self.frame.hint(stream.id, hint);
            self.open.keeping.note(stream, 0);
        }
    }

    /// Writes, syncs, publishes, answers.
    fn commit(mut self) -> fjall::Result<()> {
        let touched = std::mem::take(&mut self.touched);
        let mut ends = Vec::with_capacity(touched.len());
        for stream in &touched {
            let mut gathering = stream.gathering.lock();
            self.write_gathered(stream, &mut gathering);
            gathering.added = 0;
            ends.push(gathering.next);
        }
        self.open.take_room(self.bytes);
        let open = self.open;
        self.write_frame().map_err(fjall::Error::Io).inspect_err(|error| open.fail(error))?;
        self.txn.commit().inspect_err(|error| open.fail(error))?;
        let before = open.fresh_bytes.fetch_add(self.bytes as u64, Ordering::Relaxed);
        open.keeping.weigh(before + self.bytes as u64);
        for (stream, chunk) in self.chunks {
            let bytes = stream.add(chunk, self.now);
            open.keeping.note(&stream, bytes);
        }
        for (stream, end) in touched.iter().zip(ends) {
            stream.publish(end);
        }
        for reply in self.replies {
            match reply {
                Reply::Append(caller, outcome) => drop(caller.send(outcome)),
                Reply::Work(done) => done(Ok(())),
            }
        }
        Ok(())
    }

    /// Makes the frame durable, when it holds anything. Hints that wait ride along.
    fn write_frame(&mut self) -> std::io::Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut *self.open.hints.lock());
        for stream in waiting.iter().filter(|stream| !stream.deleted()) {
            self.write_hint(stream);
        }
        if let Some(turned) = self.journal.turn_for(self.frame.len())? {
            self.open.keeping.tell(Job::Turned(turned));
        }
        self.journal.write(self.frame)
    }
}

/// Cuts a batch into chunks no larger than allowed, at record boundaries, without copying.
fn chunks(first: u64, batch: RecordBatch) -> Vec<(u64, u32, Bytes)> {
    let (total, bytes) = (batch.count(), batch.into_bytes());
    if bytes.len() <= CHUNK_BYTES_MAX && total <= CHUNK_RECORDS_MAX {
        return vec![(first, total, bytes)];
    }
    let mut cut = Vec::new();
    let (mut first, mut count, mut start, mut at) = (first, 0_u32, 0, 0);
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_le_bytes(length.try_into().expect("four bytes were taken")) as usize;
        let end = at + 4 + length;
        if count > 0 && (end - start > CHUNK_BYTES_MAX || count == CHUNK_RECORDS_MAX) {
            cut.push((first, count, bytes.slice(start..at)));
            (first, count, start) = (first + u64::from(count), 0, at);
        }
        (count, at) = (count + 1, end);
    }
    cut.push((first, count, bytes.slice(start..)));
    cut
}
