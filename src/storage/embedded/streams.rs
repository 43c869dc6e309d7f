//! One log in memory: its segments, its end, and what is being gathered for it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

use bytes::Bytes;
use fjall::{Guard, Keyspace};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::layout;
use crate::{
    clock::Timestamp,
    domain::{RecordBatch, StreamName},
    storage::{Bounds, Chunk, Hint, LogError},
};

/// A log. The committer alone changes it.
pub(super) struct Stream {
    pub name: StreamName,
    pub id: u64,
    pub segments: RwLock<Vec<Arc<Segment>>>,
    /// The durable end. `None` once deleted.
    pub tail: Mutex<Option<watch::Sender<u64>>>,
    /// The durable end again, for readers.
    pub end: AtomicU64,
    pub gathering: Mutex<Gathering>,
    pub hint: Mutex<Option<Hint>>,
    pub hint_changed: AtomicBool,
}

/// What the committer gathers for a log between two commits.
#[derive(Default)]
pub(super) struct Gathering {
    /// Sequence of the next record, durable or not.
    pub next: u64,
    /// First sequence of `batch`.
    pub first: u64,
    pub batch: RecordBatch,
    /// Bytes added since the last commit.
    pub added: u64,
}

/// A keyspace with the chunks of one span of time.
pub(super) struct Segment {
    pub keyspace: Keyspace,
    pub first: u64,
    pub created: Timestamp,
    pub bytes: AtomicU64,
    /// When the newest record was stored, in milliseconds.
    pub newest: AtomicI64,
    /// What was stored before this sequence may have left memory.
    pub in_memory_from: AtomicU64,
}

impl Stream {
    pub(super) fn new(
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
            tail: Mutex::new(Some(watch::channel(end).0)),
            end: AtomicU64::new(end),
            gathering: Mutex::new(Gathering { next: end, ..Gathering::default() }),
            hint: Mutex::new(hint),
            hint_changed: AtomicBool::new(false),
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Makes everything up to `end` visible to readers.
    pub(super) fn publish(&self, end: u64) {
        self.end.store(end, Ordering::Release);
        if let Some(tail) = &*self.tail.lock() {
            tail.send_replace(end);
        }
    }

    pub(super) fn deleted(&self) -> bool {
        self.tail.lock().is_none()
    }

    pub(super) fn bounds(&self) -> Bounds {
        let end = self.end();
        let segments = self.segments.read();
        let first = segments.first().map_or(end, |segment| segment.first).min(end);
        Bounds {
            first,
            end,
            bytes: segments.iter().map(|segment| segment.bytes.load(Ordering::Relaxed)).sum(),
        }
    }

    /// True when a read from `from` finds everything in memory.
    pub(super) fn is_warm(&self, from: u64) -> bool {
        from >= self.end()
            || self.segments.read().last().is_some_and(|newest| {
                from >= newest.first && from >= newest.in_memory_from.load(Ordering::Relaxed)
            })
    }

    /// See `EventLog::read`.
    pub(super) fn read(&self, from: u64, max_bytes: usize) -> Result<Vec<Chunk>, LogError> {
        // In this order: segments of whatever is published are listed before it is.
        let end = self.end();
        let segments = self.segments.read().clone();
        let first = segments.first().map_or(end, |segment| segment.first).min(end);
        let mut reader =
            Reader { stream: self, from: from.max(first), end, left: max_bytes, chunks: Vec::new() };
        let newest_before = segments.partition_point(|segment| segment.first <= reader.from);
        for segment in &segments[newest_before.saturating_sub(1)..] {
            if reader.done() {
                break;
            }
            reader.read_segment(segment)?;
        }
        if reader.chunks.is_empty() && reader.from < reader.end {
            return Err(self.damaged(reader.from, "records are missing"));
        }
        Ok(reader.chunks)
    }

    /// See `EventLog::last`.
    pub(super) fn last(&self) -> Result<Option<(u64, Chunk)>, LogError> {
        let bounds = self.bounds();
        if bounds.first >= bounds.end {
            return Ok(None);
        }
        let last = bounds.end - 1;
        let chunks = self.read(last, 1)?;
        Ok(chunks.into_iter().next_back().map(|chunk| (last, chunk)))
    }

    pub(super) fn damaged(&self, seq: u64, what: &str) -> LogError {
        LogError::Damaged(format!("stream {} at sequence {seq}: {what}", self.name).into())
    }
}

/// One walk over chunks, in order.
struct Reader<'a> {
    stream: &'a Stream,
    /// Next sequence wanted.
    from: u64,
    end: u64,
    left: usize,
    chunks: Vec<Chunk>,
}

impl Reader<'_> {
    fn done(&self) -> bool {
        self.from >= self.end || (self.left == 0 && !self.chunks.is_empty())
    }

    fn read_segment(&mut self, segment: &Segment) -> Result<(), LogError> {
        let mut walk = segment.keyspace.range(layout::chunk_key(self.from, 0)..);
        let next = walk.next().map(|guard| self.chunk(guard)).transpose()?;
        match next.filter(|chunk| chunk.first_seq == self.from) {
            Some(chunk) => self.push(chunk)?,
            // Sequential readers ask at chunk boundaries; others pay for a second search.
            None => {
                let before = segment.keyspace.range(..layout::chunk_key(self.from, 0)).next_back();
                let Some(chunk) = before.map(|guard| self.chunk(guard)).transpose()? else { return Ok(()) };
                if chunk.end() <= self.from {
                    return Ok(());
                }
                self.push(chunk)?;
                walk = segment.keyspace.range(layout::chunk_key(self.from, 0)..);
            }
        }
        for guard in walk {
            if self.done() {
                break;
            }
            let chunk = self.chunk(guard)?;
            self.push(chunk)?;
        }
        Ok(())
    }

    fn chunk(&self, guard: Guard) -> Result<Chunk, LogError> {
        let (key, value) = guard.into_inner().map_err(|error| LogError::Damaged(error.into()))?;
        let (first_seq, count) = layout::read_chunk_key(&key)
            .ok_or_else(|| self.stream.damaged(self.from, "a chunk has a malformed key"))?;
        Ok(Chunk { first_seq, count, bytes: Bytes::from(value) })
    }

    fn push(&mut self, chunk: Chunk) -> Result<(), LogError> {
        // Written and not yet published.
        if chunk.first_seq >= self.end {
            self.end = self.from;
            return Ok(());
        }
        if chunk.first_seq > self.from || chunk.end() <= self.from || chunk.end() > self.end {
            return Err(self.stream.damaged(self.from, "records are missing"));
        }
        self.from = chunk.end();
        self.left = self.left.saturating_sub(chunk.bytes.len());
        self.chunks.push(chunk);
        Ok(())
    }
}
