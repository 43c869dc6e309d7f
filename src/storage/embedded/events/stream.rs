//! One log in memory: its segments, its fresh chunks, its end, and what is being gathered for it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::{
    fresh::Fresh,
    segment::{ReadError, Segment},
};
use crate::{
    clock::Timestamp,
    domain::{RecordBatch, StreamName},
    storage::{Bounds, Chunk, Hint, LogError},
};

/// A log. The committer adds to it, the keeper moves what was added into segments.
pub(in crate::storage::embedded) struct Stream {
    pub name: StreamName,
    pub id: u64,
    pub segments: RwLock<Vec<Arc<Segment>>>,
    pub(super) fresh: Mutex<Fresh>,
    /// The durable end. `None` once deleted.
    pub tail: Mutex<Option<watch::Sender<u64>>>,
    /// The durable end again, for readers.
    end: AtomicU64,
    pub gathering: Mutex<Gathering>,
    pub hint: Mutex<Option<Hint>>,
    pub hint_changed: AtomicBool,
    /// The keeper knows that there is something to move.
    pub(super) noted: AtomicBool,
    /// The keeper was told to move it.
    pub(super) moving: AtomicBool,
    /// What was stored before this sequence may have left the system's memory.
    pub(super) warm_from: AtomicU64,
}

/// What the committer gathers for a log between two commits.
#[derive(Default)]
pub(in crate::storage::embedded) struct Gathering {
    /// Sequence of the next record, durable or not.
    pub next: u64,
    /// First sequence of `batch`.
    pub first: u64,
    pub batch: RecordBatch,
    /// Bytes added since the last commit.
    pub added: u64,
}

impl Stream {
    pub(in crate::storage::embedded) fn new(
        name: StreamName,
        id: u64,
        end: u64,
        segments: Vec<Arc<Segment>>,
        hint: Option<Hint>,
    ) -> Stream {
        Stream {
            name,
            id,
            segments: RwLock::new(segments),
            fresh: Mutex::default(),
            tail: Mutex::new(Some(watch::channel(end).0)),
            end: AtomicU64::new(end),
            gathering: Mutex::new(Gathering { next: end, ..Gathering::default() }),
            hint: Mutex::new(hint),
            hint_changed: AtomicBool::new(false),
            noted: AtomicBool::new(false),
            moving: AtomicBool::new(false),
            warm_from: AtomicU64::new(end),
        }
    }

    pub(in crate::storage::embedded) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Takes a durable chunk in; readers see it once its end is published. Returns the fresh bytes.
    pub(in crate::storage::embedded) fn add(&self, chunk: Chunk, stored: Timestamp) -> usize {
        let mut fresh = self.fresh.lock();
        fresh.push(chunk, stored);
        fresh.bytes()
    }

    /// Takes in a chunk found in a journal. False when it is known; `None` when it leaves a gap.
    pub(super) fn recover(&self, chunk: Chunk, stored: Timestamp) -> Option<bool> {
        let end = self.end();
        if chunk.end() <= end {
            return Some(false);
        }
        if chunk.first_seq != end {
            return None;
        }
        let end = chunk.end();
        self.gathering.lock().next = end;
        self.add(chunk, stored);
        self.publish(end);
        Some(true)
    }

    /// Makes everything up to `end` visible to readers.
    pub(in crate::storage::embedded) fn publish(&self, end: u64) {
        self.end.store(end, Ordering::Release);
        if let Some(tail) = &*self.tail.lock() {
            tail.send_replace(end);
        }
    }

    pub(in crate::storage::embedded) fn deleted(&self) -> bool {
        self.tail.lock().is_none()
    }

    pub(in crate::storage::embedded) fn bounds(&self) -> Bounds {
        let end = self.end();
        let (fresh_first, fresh_bytes) = {
            let fresh = self.fresh.lock();
            (fresh.first(), fresh.bytes())
        };
        let segments = self.segments.read();
        let first =
            segments.first().map(|segment| segment.first).or(fresh_first).map_or(end, |at| at.min(end));
        let bytes = segments.iter().map(|segment| segment.bytes()).sum::<u64>() + fresh_bytes as u64;
        Bounds { first, end, bytes }
    }

    /// When the oldest record that no segment holds yet was stored.
    pub(in crate::storage::embedded) fn oldest_fresh(&self) -> Option<Timestamp> {
        self.fresh.lock().oldest()
    }

    /// True when a read from `from` finds everything in memory, in all likelihood.
    pub(in crate::storage::embedded) fn is_warm(&self, from: u64) -> bool {
        from >= self.end() || from >= self.warm_from.load(Ordering::Relaxed)
    }

    /// See `EventLog::read`.
    pub(in crate::storage::embedded) fn read(
        &self,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<Chunk>, LogError> {
        let mut reader = Reader { from, end: self.end(), left: max_bytes, chunks: Vec::new() };
        while !reader.done() {
            // In this order: what leaves the fresh chunks is in a segment before.
            let fresh_from = self.read_fresh(&mut reader);
            if reader.done() {
                break;
            }
            let segments = self.segments.read().clone();
            let first = segments.first().map(|segment| segment.first).or(fresh_from).unwrap_or(reader.end);
            if reader.from < first {
                // Trimmed, perhaps meanwhile. A reader never sees a gap in what it was given.
                if !reader.chunks.is_empty() || first >= reader.end {
                    break;
                }
                reader.from = first;
                continue;
            }
            let at = segments.partition_point(|segment| segment.first <= reader.from).saturating_sub(1);
            let Some(segment) = segments.get(at) else {
                return Err(self.damaged(reader.from, "records are missing"));
            };
            match segment.read(reader.from, reader.left) {
                // It goes on in memory, or there is a hole.
                Ok(chunks) if chunks.is_empty() && fresh_from == Some(reader.from) => {}
                Ok(chunks) if chunks.is_empty() => {
                    return Err(self.damaged(reader.from, "records are missing"));
                }
                Ok(chunks) => {
                    for chunk in chunks {
                        reader.push(chunk).ok_or_else(|| self.damaged(reader.from, "records are missing"))?;
                    }
                }
                Err(ReadError::Gone) if !self.lists(segment) => {}
                Err(ReadError::Io(error)) => return Err(LogError::Damaged(error.into())),
                Err(ReadError::Gone | ReadError::Broken) => {
                    return Err(self.damaged(reader.from, "the segment is damaged"));
                }
            }
        }
        Ok(reader.chunks)
    }

    /// Reads what is in memory. Returns where that begins when it begins behind the reader.
    fn read_fresh(&self, reader: &mut Reader) -> Option<u64> {
        let fresh = self.fresh.lock();
        let first = fresh.first()?;
        if first > reader.from {
            return Some(first);
        }
        for chunk in fresh.from(reader.from) {
            if reader.done() || reader.push(chunk.clone()).is_none() {
                break;
            }
        }
        None
    }

    fn lists(&self, segment: &Arc<Segment>) -> bool {
        self.segments.read().iter().any(|listed| Arc::ptr_eq(listed, segment))
    }

    /// See `EventLog::last`.
    pub(in crate::storage::embedded) fn last(&self) -> Result<Option<(u64, Chunk)>, LogError> {
        let bounds = self.bounds();
        if bounds.first >= bounds.end {
            return Ok(None);
        }
        let last = bounds.end - 1;
        let chunks = self.read(last, 1)?;
        Ok(chunks.into_iter().next_back().map(|chunk| (last, chunk)))
    }

    pub(in crate::storage::embedded) fn damaged(&self, seq: u64, what: &str) -> LogError {
        LogError::Damaged(format!("stream {} at sequence {seq}: {what}", self.name).into())
    }
}

/// One walk over chunks, in order.
struct Reader {
    /// Next sequence wanted.
    from: u64,
    end: u64,
    left: usize,
    chunks: Vec<Chunk>,
}

impl Reader {
    fn done(&self) -> bool {
        self.from >= self.end || (self.left == 0 && !self.chunks.is_empty())
    }

    /// Takes the next chunk. `None` when it is not the next one.
    fn push(&mut self, chunk: Chunk) -> Option<()> {
        // Written and not yet published.
        if chunk.first_seq >= self.end {
            self.end = self.from;
            return Some(());
        }
        if chunk.first_seq > self.from || chunk.end() <= self.from {
            return None;
        }
        self.from = chunk.end();
        self.left = self.left.saturating_sub(chunk.bytes.len());
        self.chunks.push(chunk);
        Some(())
    }
}
