//! The way out: a log as JSON events, for web socket, SSE and NDJSON.
//!
//! Pull-based: nothing is read before the consumer asks, so a slow one costs one page of memory.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    actors::Inventory,
    domain::{Record, Serialization, StreamName},
    event::{EventPlan, Form, Tape},
    storage::{Chunk, EventLog, LogError},
};

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first event that is kept.
    Earliest,
    /// The next event to come.
    Latest,
    /// This sequence, or the first kept one after it.
    Sequence(u64),
}

/// One event of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadEvent {
    pub sequence: u64,
    /// Plain JSON in schema order; sealed where this log holds it sealed.
    pub json: Bytes,
}

/// Reading cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Retry later, or call a person when it is damaged.
    #[error("log cannot be read")]
    Log(#[from] LogError),
    /// The stream was deleted.
    #[error("stream is gone")]
    Gone,
    /// The node stops. Come back with the last sequence.
    #[error("the node is stopping")]
    Closing,
}

/// Reads one log from a position on.
pub struct LogReader {
    log: Arc<dyn EventLog>,
    inventory: Arc<ArcSwap<Inventory>>,
    stream: StreamName,
    tail: watch::Receiver<u64>,
    closing: CancellationToken,
    next: u64,
    chunks: Vec<Chunk>,
    plans: HashMap<(String, String), Option<Arc<EventPlan>>>,
    tape: Tape,
    skipped: u64,
}

impl LogReader {
    /// A reader of `stream` that begins at `start`.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn open(
        log: Arc<dyn EventLog>,
        inventory: Arc<ArcSwap<Inventory>>,
        closing: CancellationToken,
        stream: StreamName,
        start: Start,
    ) -> Result<LogReader, ReadError> {
        let bounds = log.bounds(&stream).await?;
        let next = match start {
            Start::Earliest => bounds.first,
            Start::Latest => bounds.end,
            Start::Sequence(sequence) => sequence.max(bounds.first),
        };
        let tail = log.tail(&stream);
        Ok(LogReader {
            log,
            inventory,
            stream,
            tail,
            closing,
            next,
            chunks: Vec::new(),
            plans: HashMap::new(),
            tape: Tape::default(),
            skipped: 0,
        })
    }

    /// The sequence the next page begins at.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next events, at least one and about [`PAGE_BYTES`]; empty at the end of the log.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn page(&mut self) -> Result<Vec<ReadEvent>, ReadError> {
        if self.closing.is_cancelled() {
            return Err(ReadError::Closing);
        }
        let mut page = Vec::new();
        while page.is_empty() {
            if self.chunks.is_empty() {
                self.chunks = self.log.read(&self.stream, self.next, PAGE_BYTES).await?;
                self.chunks.reverse();
            }
            let Some(chunk) = self.chunks.last().cloned() else { break };
            let (end, full) = self.render(&chunk, &mut page);
            self.next = self.next.max(end);
            if !full {
                self.chunks.pop();
            }
        }
        Ok(page)
    }

    /// Waits until the log has an event at the reader's position.
    ///
    /// # Errors
    ///
    /// [`ReadError::Gone`]: the stream was deleted.
    pub async fn wait(&mut self) -> Result<(), ReadError> {
        let next = self.next;
        tokio::select! {
            grown = self.tail.wait_for(|end| *end > next) => grown.map(drop).map_err(|_| ReadError::Gone),
            () = self.closing.cancelled() => Err(ReadError::Closing),
        }
    }

    /// Writes events of `chunk` to `page` until it is full. Returns the sequence to go on from.
    fn render(&mut self, chunk: &Chunk, page: &mut Vec<ReadEvent>) -> (u64, bool) {
        let mut bytes = 0;
        let mut end = chunk.first_seq + u64::from(chunk.count);
        for (sequence, record) in chunk.records(self.next) {
            let json = record.ok().and_then(|record| self.json(&record));
            let Some(json) = json else {
                self.skipped += 1;
                tracing::warn!(stream = %self.stream, sequence, "a stored event cannot be read and was left out");
                continue;
            };
            bytes += json.len();
            page.push(ReadEvent { sequence, json });
            if bytes >= PAGE_BYTES {
                end = sequence + 1;
                return (end, end < chunk.first_seq + u64::from(chunk.count));
            }
        }
        end = end.max(self.next);
        (end, false)
    }

    fn json(&mut self, record: &Record<'_>) -> Option<Bytes> {
        let head = &record.head;
        if head.source_seq > 0 && head.serialization == Serialization::Json {
            return Some(Bytes::copy_from_slice(record.body));
        }
        let pair = (head.schema.to_owned(), head.contract.to_owned());
        let plan = match self.plans.get(&pair) {
            Some(plan) => plan.clone(),
            None => {
                let plan = self.inventory.load().reading_plan(head.schema, head.contract, &[]);
                let plan = plan.ok().map(|reading| reading.plan);
                self.plans.insert(pair, plan.clone());
                plan
            }
        }?;
        plan.decode_stored(record.body, head.serialization, &mut self.tape).ok()?;
        let mut json = Vec::with_capacity(record.body.len() * 2);
        plan.encode(record.body, &self.tape, None, &[], Form::Json, &mut json);
        Some(json.into())
    }
}

/// Bytes of JSON a reader holds at a time, about.
pub const PAGE_BYTES: usize = 64 << 10;
