//! An append-only log per stream. Positions are called *sequences*; the first record has sequence 1.
//!
//! ```text
//!         trimmed        kept                        not yet written
//!   1 ............ | first ............ end-1 | end ...
//! ```
//! `end` never moves back, also when everything is trimmed.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{Cause, Unavailable};
use crate::{
    clock::Timestamp,
    domain::{Record, RecordBatch, RecordDamaged, StreamName, record::records},
};

/// All logs of a node or a cluster. Methods are cancel-safe: a dropped `append` may still happen.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Makes an empty log. Does nothing when it exists.
    async fn create(&self, stream: &StreamName) -> Result<(), LogError>;

    /// Removes a log and frees its disk. Does nothing when there is none. A log made later under the
    /// same name starts at sequence 1.
    async fn delete(&self, stream: &StreamName) -> Result<(), LogError>;

    /// Appends all records of `batch` behind one another, or none. JetStream does so up to 1,000 records:
    /// a larger batch goes in parts, in order, and an error may leave the first parts stored.
    ///
    /// Returns once they survive a crash. An empty batch returns the end and writes nothing but the hint.
    ///
    /// # Errors
    ///
    /// - [`AppendError::WrongEnd`]: somebody else wrote. Read again.
    /// - [`AppendError::Unavailable`]: nothing was written. Retry later. After `Unavailable::Backend` it is
    ///   not known, unless an expected end or a once key makes the retry safe.
    /// - [`AppendError::Damaged`]: call a person. Whether it was written is not known.
    async fn append(
        &self,
        stream: &StreamName,
        batch: RecordBatch,
        options: AppendOptions,
    ) -> Result<Appended, AppendError>;

    /// Reads from sequence `from` on: gapless, in order, about `max_bytes` bytes but at least one chunk
    /// when there is a record at or after `from`. The first chunk may begin before `from` (see
    /// [`Chunk::records`]); after trimming the first kept record comes first. Empty at the end.
    async fn read(&self, stream: &StreamName, from: u64, max_bytes: usize) -> Result<Vec<Chunk>, LogError>;

    /// Where the log begins and ends.
    async fn bounds(&self, stream: &StreamName) -> Result<Bounds, LogError>;

    /// The newest kept record: its sequence, and the chunk that ends with it.
    async fn last(&self, stream: &StreamName) -> Result<Option<(u64, Chunk)>, LogError>;

    /// Follows the end of a log: the value is `end`, set after each durable append. For an unknown
    /// stream, or once it is deleted, the sender is gone.
    fn tail(&self, stream: &StreamName) -> watch::Receiver<u64>;

    /// Drops old records, cheaply and therefore roughly: what is newer than `older_than` stays, what is
    /// older goes as soon as everything stored beside it is older too. Returns the first kept sequence.
    async fn trim(&self, stream: &StreamName, older_than: Timestamp) -> Result<u64, LogError>;

    /// Remembers how far the filter of `derived` has read. Not durable by itself: rides with the next
    /// commit.
    async fn put_hint(&self, derived: &StreamName, hint: Hint) -> Result<(), LogError>;

    /// The newest remembered hint.
    async fn hint(&self, derived: &StreamName) -> Result<Option<Hint>, LogError>;
}

/// Conditions and companions of an append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendOptions {
    /// Append only if the log still ends here.
    pub expected_end: Option<u64>,
    /// Store only if nothing was stored under this key within the last 10 minutes.
    pub once: Option<OnceKey>,
    /// Remember this hint for the stream in the same commit.
    pub hint: Option<Hint>,
}

/// Hash of an idempotency key; the caller binds it to the stream and the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OnceKey(pub [u8; 16]);

/// Source records up to and including `source_seq` are dealt with when the derived log ends at
/// `derived_end`. Saves reading long runs of dropped events again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    pub source_seq: u64,
    pub derived_end: u64,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Sequence of the batch's first record.
    pub first_seq: u64,
    /// Sequence after the batch's last record.
    pub end: u64,
    /// The `once` key was known: nothing was stored now, and the sequences are the first append's.
    pub duplicate: bool,
}

/// Extent of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Sequence of the first kept record; equals `end` when none is kept.
    pub first: u64,
    /// Sequence the next record will get.
    pub end: u64,
    /// Bytes of the kept records, roughly.
    pub bytes: u64,
}

/// Records stored together. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub first_seq: u64,
    pub count: u32,
    /// Packed records (`domain::record`).
    pub bytes: Bytes,
}

impl Chunk {
    /// Sequence after the last record.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first_seq + u64::from(self.count)
    }

    /// The records from sequence `from` on, with their sequences.
    pub fn records(&self, from: u64) -> impl Iterator<Item = (u64, Result<Record<'_>, RecordDamaged>)> {
        (self.first_seq..).zip(records(&self.bytes)).filter(move |(seq, _)| *seq >= from)
    }
}

/// Why a log could not be read or managed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no such log: fix the request.
    #[error("stream is unknown")]
    UnknownStream,
    /// Try again later.
    #[error("log is unavailable")]
    Unavailable(#[from] Unavailable),
    /// Call a person. The cause names the stream and the sequence where known.
    #[error("log is damaged")]
    Damaged(#[source] Cause),
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// There is no such log: fix the request.
    #[error("stream is unknown")]
    UnknownStream,
    /// The log does not end where the writer believes. Read again.
    #[error("log ends elsewhere")]
    WrongEnd { actual: u64 },
    /// Nothing was written, or with `Unavailable::Backend` nobody knows. Try again later.
    #[error("log is unavailable")]
    Unavailable(#[from] Unavailable),
    /// A write failed and the node must stop. Whether this batch was written shows after a restart.
    #[error("log is damaged")]
    Damaged(#[source] Cause),
}
