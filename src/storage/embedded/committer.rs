//! The one writer: takes everything that waits, writes it as one batch with one fsync, answers everyone.
//!
//! It waits for nobody when idle, and fills by itself under load: what arrives during an fsync is the
//! next commit. Every compare-and-set is decided here, one after the other.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use fjall::Keyspace;
use tokio::sync::oneshot;

use super::{
    engine::Open,
    keyspaces::{Budget, Kind, keyspace},
    layout, once,
    options::{CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX, COMMIT_BYTES_MAX},
    queue::{Append, Committing, Done, Op, Queue},
    streams::{Gathering, Segment, Stream},
    txn::Txn,
};
use crate::{
    clock::Timestamp,
    domain::RecordBatch,
    storage::{AppendError, Appended, Unavailable},
};

/// What an operation takes beside its bytes, generously.
const WORK_BYTES: usize = 4096;

/// The committer's thread.
pub(super) fn run(open: &Open, queue: &Queue) {
    let mut budget = Budget::new(&open.options);
    let mut ops = Vec::new();
    loop {
        queue.take(&mut ops);
        match commit_all(open, &mut budget, &mut ops) {
            Ok(false) => {}
            Ok(true) => return,
            Err(error) => {
                open.fail(&error);
                drop(queue.stop());
                return;
            }
        }
    }
}

/// Commits everything in `ops`. True when asked to close.
///
/// A failure is announced before the replies are dropped, so that whoever finds theirs gone knows why.
fn commit_all(open: &Open, budget: &mut Budget, ops: &mut Vec<Op>) -> fjall::Result<bool> {
    let mut round = Round::new(open, budget);
    for op in ops.drain(..) {
        if round.bytes > COMMIT_BYTES_MAX {
            round = Round::new(open, round.commit()?);
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
                let budget = round.commit()?;
                manage(&mut Committing { open, budget }).inspect_err(|error| open.fail(error))?;
                round = Round::new(open, budget);
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
    now: Timestamp,
    room: Option<u64>,
    bytes: usize,
    touched: Vec<Arc<Stream>>,
    replies: Vec<Reply>,
}

impl<'a> Round<'a> {
    fn new(open: &'a Open, budget: &'a mut Budget) -> Round<'a> {
        let txn = Txn::new(open, budget);
        Round {
            open,
            txn,
            now: open.clock.now(),
            room: None,
            bytes: 0,
            touched: Vec::new(),
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
        options: crate::storage::AppendOptions,
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
        if let Some(once) = options.once
            && let Some((first_seq, end)) =
                self.open.once.lock().find(&self.txn, stream.id, once, self.now)?
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
            self.gather(stream, &mut gathering, batch)?;
        }
        if let Some(once) = options.once {
            let window = self.open.once.lock().current(&self.open.db, self.txn.budget, self.now)?;
            once::note(&mut self.txn, &window, stream.id, once, (first_seq, end), self.now);
        }
        Ok(Ok(Appended { first_seq, end, duplicate: false }))
    }

    /// Puts a batch behind what is already gathered for its stream.
    fn gather(
        &mut self,
        stream: &Arc<Stream>,
        gathering: &mut Gathering,
        batch: RecordBatch,
    ) -> fjall::Result<()> {
        if gathering.added == 0 {
            self.touched.push(stream.clone());
        }
        self.bytes += batch.bytes().len();
        gathering.added += batch.bytes().len() as u64;
        let fits = gathering.batch.bytes().len() + batch.bytes().len() <= CHUNK_BYTES_MAX
            && gathering.batch.count() + batch.count() <= CHUNK_RECORDS_MAX;
        if !fits {
            self.write_gathered(stream, gathering)?;
        }
        if gathering.batch.count() == 0 {
            gathering.first = gathering.next;
            gathering.next += u64::from(batch.count());
            gathering.batch = batch;
        } else {
            gathering.next += u64::from(batch.count());
            gathering.batch.extend(&batch);
        }
        Ok(())
    }

    fn roll_is_due(&self, stream: &Stream) -> bool {
        let options = &self.open.options;
        stream.segments.read().last().is_some_and(|newest| {
            self.now.since(newest.created) >= options.segment_ms
                || newest.bytes.load(Ordering::Relaxed) >= options.segment_bytes
        })
    }

    /// Writes the gathered records as chunks into the newest segment, made first when one is due.
    fn write_gathered(&mut self, stream: &Stream, gathering: &mut Gathering) -> fjall::Result<()> {
        if gathering.batch.count() == 0 {
            return Ok(());
        }
        let segment = self.segment(stream, gathering.first)?;
        let batch = std::mem::take(&mut gathering.batch);
        for (first, count, bytes) in chunks(gathering.first, batch) {
            segment.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            self.txn.put_unread(&segment.keyspace, &layout::chunk_key(first, count), bytes);
        }
        segment.newest.fetch_max(self.now.0, Ordering::Relaxed);
        gathering.first = gathering.next;
        Ok(())
    }

    fn segment(&mut self, stream: &Stream, first: u64) -> fjall::Result<Arc<Segment>> {
        if !self.roll_is_due(stream)
            && let Some(newest) = stream.segments.read().last()
        {
            return Ok(newest.clone());
        }
        let keyspace = keyspace(&self.open.db, &layout::segment_name(stream.id, first), Kind::Log)?;
        let segment = Arc::new(Segment::new(keyspace, first, self.now));
        let row = self.now.0.to_le_bytes().to_vec();
        self.txn.put_unread(&self.open.catalog, &layout::segment_key(stream.id, first), row);
        stream.segments.write().push(segment.clone());
        Ok(segment)
    }

    fn write_hint(&mut self, stream: &Stream) {
        stream.hint_changed.store(false, Ordering::Relaxed);
        if let Some(hint) = *stream.hint.lock() {
            let row = layout::stream_row(hint.source_seq, hint.derived_end);
            self.txn.put_unread(&self.open.catalog, &layout::hint_key(stream.id), row);
        }
    }

    /// Writes, syncs, publishes, answers. Hands the budget back for the next round.
    fn commit(mut self) -> fjall::Result<&'a mut Budget> {
        let touched = std::mem::take(&mut self.touched);
        let mut ends = Vec::with_capacity(touched.len());
        for stream in &touched {
            let mut gathering = stream.gathering.lock();
            self.write_gathered(stream, &mut gathering).inspect_err(|error| self.open.fail(error))?;
            gathering.added = 0;
            ends.push(gathering.next);
        }
        if !self.txn.is_empty() {
            let waiting = std::mem::take(&mut *self.open.hints.lock());
            for stream in waiting.iter().filter(|stream| !stream.deleted()) {
                self.write_hint(stream);
            }
        }
        self.open.take_room(self.bytes);
        let (budget, written_out) = self.txn.commit().inspect_err(|error| self.open.fail(error))?;
        for (stream, end) in touched.iter().zip(ends) {
            stream.publish(end);
        }
        if !written_out.is_empty() {
            self.open.mark_cold(&written_out);
        }
        for reply in self.replies {
            match reply {
                Reply::Append(caller, outcome) => drop(caller.send(outcome)),
                Reply::Work(done) => done(Ok(())),
            }
        }
        Ok(budget)
    }
}

impl Segment {
    pub(super) fn new(keyspace: Keyspace, first: u64, created: Timestamp) -> Segment {
        Segment {
            keyspace,
            first,
            created,
            bytes: 0.into(),
            newest: created.0.into(),
            in_memory_from: first.into(),
        }
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
