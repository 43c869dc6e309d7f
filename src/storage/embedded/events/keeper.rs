//! The keeper: moves what the journal holds into segments, and lets journals and old records go.
//!
//! A thread of its own, so that no append waits for it. What it decides becomes durable through the
//! committer, in this order: blocks written, segments synced, the catalog says so, the journal is free.

use std::{
    collections::HashMap,
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    journal::{Pool, Turned},
    segment::{Blocks, Extent, Segment},
    segments as folder_of,
    stream::Stream,
};
use crate::{
    clock::Timestamp,
    storage::embedded::{
        engine::Open,
        layout,
        options::CHUNK_BYTES_MAX,
        queue::{Committing, Op, Queue},
    },
};

/// What the keeper is told.
pub(in crate::storage::embedded) enum Job {
    /// This log has gathered enough to be moved.
    Move(Arc<Stream>),
    /// Much is fresh in all logs together: all of it is to be moved.
    Relieve,
    /// A journal is full: what is before it is to be moved.
    Turned(Turned),
    /// Drops records of a log that are older. Answers with the first kept sequence.
    Trim(Arc<Stream>, Timestamp, oneshot::Sender<u64>),
    /// The log is deleted.
    Forget(Arc<Stream>),
    Stop,
}

/// Where others leave their jobs, and the logs with something to move.
pub(in crate::storage::embedded) struct Keeping {
    jobs: Sender<Job>,
    noted: Mutex<Vec<Arc<Stream>>>,
    relieving: AtomicBool,
}

/// Fresh bytes of a log that are worth a write of their own.
const MOVE_BYTES: usize = 512 << 10;
/// Bytes written to segments before they are synced, so that a sync never has much to do.
const UNSYNCED_BYTES: u64 = 4 << 20;
/// Files the keeper holds open.
const OPEN_MAX: usize = 128;
/// Bytes behind the end that the system has in memory, surely enough.
const WARM_BYTES: u64 = 4 << 20;
/// Idempotency keys written in one commit.
const ONCE_STEP: usize = 4096;

impl Keeping {
    pub(in crate::storage::embedded) fn new() -> (Keeping, Receiver<Job>) {
        let (jobs, received) = channel();
        (Keeping { jobs, noted: Mutex::default(), relieving: AtomicBool::new(false) }, received)
    }

    /// Leaves a job. The keeper lives as long as the committer, so nobody is left waiting.
    pub(in crate::storage::embedded) fn tell(&self, job: Job) {
        drop(self.jobs.send(job));
    }

    /// Notes that `stream` has `bytes` fresh bytes, or a new hint.
    pub(in crate::storage::embedded) fn note(&self, stream: &Arc<Stream>, bytes: usize) {
        if !stream.noted.swap(true, Ordering::AcqRel) {
            self.noted.lock().push(stream.clone());
        }
        if bytes >= MOVE_BYTES && !stream.moving.swap(true, Ordering::AcqRel) {
            self.tell(Job::Move(stream.clone()));
        }
    }
}

impl Keeping {
    /// Notes how much is fresh in all logs. Many logs may hold much together and little each, and the journal
    /// does not fill when they share their bytes.
    pub(in crate::storage::embedded) fn weigh(&self, fresh_bytes: u64) {
        if fresh_bytes > RELIEVE_BYTES && !self.relieving.swap(true, Ordering::AcqRel) {
            self.tell(Job::Relieve);
        }
    }
}

/// Fresh bytes of all logs together that are moved at once.
const RELIEVE_BYTES: u64 = 48 << 20;

/// The keeper's own state.
pub(in crate::storage::embedded) struct Keeper {
    open: Arc<Open>,
    pool: Arc<Pool>,
    /// Segments written and not yet synced.
    unsynced: HashMap<(u64, u64), (Arc<Segment>, File)>,
    unsynced_bytes: u64,
    /// Logs whose extent or hint is not yet in the catalog.
    changed: HashMap<u64, Arc<Stream>>,
    /// Written since the last warm mark, per log: the next mark, and bytes since.
    written: HashMap<u64, (u64, u64)>,
}

impl Keeper {
    pub(in crate::storage::embedded) fn new(open: Arc<Open>, pool: Arc<Pool>) -> Keeper {
        Keeper {
            open,
            pool,
            unsynced: HashMap::new(),
            unsynced_bytes: 0,
            changed: HashMap::new(),
            written: HashMap::new(),
        }
    }

    /// The keeper's thread. Hands the keeper back for the last turn, unless storage failed.
    pub(in crate::storage::embedded) fn run(mut self, jobs: &Receiver<Job>, queue: &Queue) -> Option<Keeper> {
        while let Ok(job) = jobs.recv() {
            let done = match job {
                Job::Move(stream) => self.move_fresh(&stream),
                Job::Relieve => {
                    self.open.keeping.relieving.store(false, Ordering::Release);
                    self.move_all()
                }
                Job::Turned(turned) => self.turn(&turned, queue),
                Job::Trim(stream, older_than, reply) => self.trim(&stream, older_than, queue).map(|first| {
                    // Nobody waits for it any more, perhaps.
                    reply.send(first).ok();
                }),
                Job::Forget(stream) => self.forget(&stream),
                Job::Stop => return Some(self),
            };
            match done {
                Ok(()) => {}
                Err(error) => {
                    self.open.fatal.raise(&format!("a write failed: {error}"));
                    drop(queue.stop());
                    return None;
                }
            }
        }
        None
    }

    /// Moves the fresh chunks of a log into its newest segment, or into new ones when they are due.
    fn move_fresh(&mut self, stream: &Arc<Stream>) -> io::Result<()> {
        stream.moving.store(false, Ordering::Release);
        let chunks = stream.fresh.lock().copy();
        let (Some((first, _)), Some((last, _))) = (chunks.first(), chunks.last()) else { return Ok(()) };
        let (first, end) = (first.first_seq, last.end());
        let mut newest = stream.segments.read().last().cloned();
        let mut blocks = Blocks::default();
        for (chunk, stored) in &chunks {
            if let Some(segment) = newest.take_if(|segment| self.roll_is_due(segment, &blocks, *stored)) {
                self.write(stream, &segment, std::mem::take(&mut blocks))?;
            }
            let segment = match &newest {
                Some(segment) => segment,
                None => newest.insert(self.begin_segment(stream, chunk.first_seq, *stored)?),
            };
            blocks.push(chunk, *stored, CHUNK_BYTES_MAX);
            if blocks.len() >= UNSYNCED_BYTES {
                self.write(stream, segment, std::mem::take(&mut blocks))?;
            }
        }
        if let Some(segment) = newest {
            self.write(stream, &segment, blocks)?;
        }
        self.warm(stream, first);
        self.changed.insert(stream.id, stream.clone());
        let moved = stream.fresh.lock().forget_below(end);
        self.open.fresh_bytes.fetch_sub(moved as u64, Ordering::Relaxed);
        if self.unsynced_bytes >= UNSYNCED_BYTES || self.unsynced.len() >= OPEN_MAX {
            self.sync()?;
        }
        Ok(())
    }

    fn roll_is_due(&self, segment: &Segment, blocks: &Blocks, stored: Timestamp) -> bool {
        let options = &self.open.options;
        stored.since(segment.created) >= options.segment_ms
            || segment.bytes() + blocks.len() >= options.segment_bytes
    }

    fn begin_segment(&self, stream: &Stream, first: u64, stored: Timestamp) -> io::Result<Arc<Segment>> {
        let folder = folder_of(&self.open.path, stream.id);
        if !folder.try_exists()? {
            std::fs::create_dir_all(&folder)?;
            File::open(super::folder(&self.open.path))?.sync_all()?;
        }
        let extent = Extent { created: stored, newest: stored, bytes: 0, end: first };
        let segment = Arc::new(Segment::new(&folder, first, extent));
        drop(segment.writer()?);
        File::open(&folder)?.sync_all()?;
        stream.segments.write().push(segment.clone());
        Ok(segment)
    }

    fn write(&mut self, stream: &Stream, segment: &Arc<Segment>, mut blocks: Blocks) -> io::Result<()> {
        blocks.close();
        if blocks.len() == 0 {
            return Ok(());
        }
        let (_, file) = match self.unsynced.entry((stream.id, segment.first)) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert((segment.clone(), segment.writer()?))
            }
        };
        segment.append(file, &blocks)?;
        self.unsynced_bytes += blocks.len();
        self.written.entry(stream.id).or_default().1 += blocks.len();
        Ok(())
    }

    /// Moves the mark behind which reads may have to wait for the disk.
    fn warm(&mut self, stream: &Stream, first: u64) {
        if let Some((mark, bytes)) = self.written.get_mut(&stream.id)
            && *bytes >= WARM_BYTES
        {
            stream.warm_from.fetch_max(*mark, Ordering::Relaxed);
            (*mark, *bytes) = (first, 0);
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        for (_, (_, file)) in self.unsynced.drain() {
            file.sync_data()?;
        }
        self.unsynced_bytes = 0;
        Ok(())
    }

    /// Moves and syncs everything that journals hold.
    fn move_all(&mut self) -> io::Result<()> {
        let noted = std::mem::take(&mut *self.open.keeping.noted.lock());
        for stream in noted {
            stream.noted.store(false, Ordering::Release);
            self.changed.insert(stream.id, stream.clone());
            if !stream.deleted() {
                self.move_fresh(&stream)?;
            }
        }
        self.sync()
    }

    /// Moves what is before a journal, and gives the journals before it back.
    fn turn(&mut self, turned: &Turned, queue: &Queue) -> io::Result<()> {
        self.pool.prepare()?;
        self.move_all()?;
        while self.through(queue, write_once)? == Some(ONCE_STEP) {}
        let changed: Vec<_> = self.changed.drain().map(|(_, stream)| stream).collect();
        let (number, commit) = (turned.number, turned.commit);
        if self.through(queue, move |committing| record(committing, &changed, number, commit))?.is_some() {
            self.pool.give_back(number)?;
        }
        Ok(())
    }

    /// The last turn, when nobody else writes any more: nothing is left in journals.
    pub(in crate::storage::embedded) fn finish(
        mut self,
        committing: &mut Committing<'_>,
        next: &Turned,
    ) -> fjall::Result<()> {
        self.move_all()?;
        while write_once(committing)? == ONCE_STEP {}
        let changed: Vec<_> = self.changed.into_values().collect();
        record(committing, &changed, next.number, next.commit)?;
        Ok(self.pool.give_back(next.number)?)
    }

    fn trim(&mut self, stream: &Arc<Stream>, older_than: Timestamp, queue: &Queue) -> io::Result<u64> {
        self.move_fresh(stream)?;
        let kept = stream.segments.read().clone();
        let due = kept.iter().take_while(|segment| segment.newest() < older_than).count();
        let dropped = kept[..due].to_vec();
        let Some(last) = dropped.last() else { return Ok(stream.bounds().first) };
        let floor = kept.get(due).map_or(last.extent().end, |segment| segment.first);
        let (trimmed, firsts) = (stream.clone(), dropped.iter().map(|segment| segment.first).collect());
        let drop_rows = move |committing: &mut Committing<'_>| drop_rows(committing, &trimmed, firsts, floor);
        if self.through(queue, drop_rows)?.is_some() {
            stream.segments.write().drain(..due);
            for segment in dropped {
                self.unsynced.remove(&(stream.id, segment.first));
                segment.remove()?;
            }
        }
        Ok(stream.bounds().first)
    }

    fn forget(&mut self, stream: &Stream) -> io::Result<()> {
        self.unsynced.retain(|(id, _), _| *id != stream.id);
        self.changed.remove(&stream.id);
        self.written.remove(&stream.id);
        let gone = stream.fresh.lock().forget_below(u64::MAX);
        self.open.fresh_bytes.fetch_sub(gone as u64, Ordering::Relaxed);
        stream.segments.write().clear();
        match std::fs::remove_dir_all(folder_of(&self.open.path, stream.id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Runs `change` alone between two commits. `None` when storage stops.
    fn through<T: Send + 'static>(
        &self,
        queue: &Queue,
        change: impl FnOnce(&mut Committing<'_>) -> fjall::Result<T> + Send + 'static,
    ) -> io::Result<Option<T>> {
        let (reply, answer) = channel();
        let run = move |committing: &mut Committing<'_>| {
            drop(reply.send(change(committing)?));
            Ok(())
        };
        Ok(match queue.push(Op::Manage(Box::new(run))) {
            Ok(()) => answer.recv().ok(),
            Err(_) => None,
        })
    }
}

/// Writes the extents and hints of `changed`, and at which journal and behind which commit to begin.
fn record(
    committing: &mut Committing<'_>,
    changed: &[Arc<Stream>],
    journal: u64,
    commit: u64,
) -> fjall::Result<()> {
    let open = committing.open;
    let mut txn = committing.txn();
    for stream in changed.iter().filter(|stream| !stream.deleted()) {
        let segments = stream.segments.read();
        // Only the newest ones grow. Two, because one may have become full since the last time.
        let unchanged = |segment: &Arc<Segment>| {
            txn.get(&open.catalog, &layout::segment_key(stream.id, segment.first))
                .is_ok_and(|row| row.as_deref() == Some(&layout::segment_row(segment.extent())[..]))
        };
        let kept = segments.iter().rev().position(unchanged).unwrap_or(segments.len());
        for segment in segments.iter().rev().take(kept) {
            let row = layout::segment_row(segment.extent());
            txn.put_unread(&open.catalog, &layout::segment_key(stream.id, segment.first), row);
        }
        if let Some(hint) = *stream.hint.lock() {
            let row = layout::stream_row(hint.source_seq, hint.derived_end);
            txn.put_unread(&open.catalog, &layout::hint_key(stream.id), row);
        }
    }
    txn.put_unread(&open.catalog, layout::JOURNAL, layout::stream_row(journal, commit));
    txn.commit()?;
    Ok(())
}

/// Writes some of the new idempotency keys to their window. Returns how many.
fn write_once(committing: &mut Committing<'_>) -> fjall::Result<usize> {
    let open = committing.open;
    let mut once = open.once.lock();
    let fresh = once.take_fresh(ONCE_STEP);
    if fresh.is_empty() {
        return Ok(0);
    }
    let window = once.current(&open.db, committing.budget, open.clock.now())?;
    let mut txn = committing.txn();
    for (key, row) in &fresh {
        txn.put_unread(&window, key, row.clone());
    }
    txn.commit()?;
    Ok(fresh.len())
}

fn drop_rows(
    committing: &mut Committing<'_>,
    stream: &Stream,
    firsts: Vec<u64>,
    floor: u64,
) -> fjall::Result<()> {
    let open = committing.open;
    if stream.deleted() {
        return Ok(());
    }
    let mut txn = committing.txn();
    for first in firsts {
        txn.remove(&open.catalog, layout::segment_key(stream.id, first));
    }
    // An emptied log goes on where it was, and so does one whose next segment has no row yet.
    let row = layout::stream_row(stream.id, floor);
    txn.put_unread(&open.catalog, &layout::stream_key(stream.name.as_str()), row);
    txn.commit()?;
    Ok(())
}
