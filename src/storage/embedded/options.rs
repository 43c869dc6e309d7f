//! What an operator or a test may change of the embedded backend.

use crate::clock::DAY_MS;

/// Sizes in bytes. The defaults keep an idle node small and a busy one quick.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// Space kept free: with less, appends and new keys are refused until there is more again.
    /// What lies in memory and must still be written is kept free on top. 0: never looked at.
    pub reserve_bytes: u64,
    /// Memory of one keyspace before it is written out as a table.
    pub memtable_bytes: u64,
    /// The same over all keyspaces.
    pub memtables_bytes: u64,
    /// Blocks kept in memory for reads.
    pub cache_bytes: u64,
    /// Time after which a log begins a new segment: retention is this exact.
    pub segment_ms: i64,
    /// Size at which a log begins a new segment.
    pub segment_bytes: u64,
    /// Size of a file of the events' journal.
    pub journal_bytes: u64,
    /// Bytes that may wait for the committer.
    pub queue_bytes: usize,
}

impl Default for EmbeddedOptions {
    fn default() -> EmbeddedOptions {
        EmbeddedOptions {
            reserve_bytes: 64 << 20,
            memtable_bytes: 8 << 20,
            memtables_bytes: 16 << 20,
            cache_bytes: 16 << 20,
            segment_ms: 7 * DAY_MS / 8,
            segment_bytes: 1 << 30,
            journal_bytes: 16 << 20,
            queue_bytes: 256 << 20,
        }
    }
}

/// Journals kept before the engine writes out whoever pins the oldest; its smallest allowed value.
pub(super) const JOURNALS_BYTES: u64 = 64 << 20;
/// Bytes and records of one stored chunk, at most (one larger record makes a larger chunk).
pub(super) const CHUNK_BYTES_MAX: usize = 256 << 10;
pub(super) const CHUNK_RECORDS_MAX: u32 = 4096;
/// Bytes gathered into one commit before it is written.
pub(super) const COMMIT_BYTES_MAX: usize = 32 << 20;
/// How long a `once` key is remembered.
pub(super) const ONCE_MS: i64 = 10 * 60 * 1000;
/// Bytes of events that may wait in memory for their segments before appends are refused.
pub(super) const FRESH_BYTES_MAX: u64 = 256 << 20;
/// Subjects of one key.
pub(super) const SUBJECTS_PER_KEY_MAX: usize = 255;
