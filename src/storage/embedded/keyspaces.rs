//! How keyspaces are tuned, and the memory budget of those being written.

use std::collections::HashMap;

use fjall::{
    Database, Keyspace, KeyspaceCreateOptions,
    config::{BlockSizePolicy, CompressionPolicy, PinningPolicy},
};

use super::options::EmbeddedOptions;

/// Opens a keyspace, made first when there is none.
pub(super) fn keyspace(db: &Database, name: &str) -> fjall::Result<Keyspace> {
    db.keyspace(name, || {
        // Small rows, read by point. Wrapped keys do not compress. Tables are written when `Budget` says so.
        KeyspaceCreateOptions::default()
            .max_memtable_size(u64::MAX)
            .data_block_size_policy(BlockSizePolicy::all(4 << 10))
            .data_block_compression_policy(CompressionPolicy::disabled())
            .index_block_compression_policy(CompressionPolicy::disabled())
            .index_block_pinning_policy(PinningPolicy::all(false))
            .filter_block_pinning_policy(PinningPolicy::all(false))
    })
}

/// Bytes each keyspace holds in memory. Writes the largest out when one or all hold too much.
pub(super) struct Budget {
    one: usize,
    all: usize,
    total: usize,
    held: HashMap<u64, (Keyspace, usize)>,
}

/// What an entry costs in memory beside its bytes.
const ENTRY_BYTES: usize = 160;

impl Budget {
    pub(super) fn new(options: &EmbeddedOptions) -> Budget {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let (one, all) = (size(options.memtable_bytes), size(options.memtables_bytes));
        Budget { one, all, total: 0, held: HashMap::new() }
    }

    /// Notes an entry written to `keyspace`.
    pub(super) fn note(&mut self, keyspace: &Keyspace, bytes: usize) {
        let bytes = bytes + ENTRY_BYTES;
        self.total += bytes;
        self.held.entry(keyspace.id()).or_insert_with(|| (keyspace.clone(), 0)).1 += bytes;
    }

    /// Forgets a keyspace that is about to be deleted, so that its files can go.
    pub(super) fn forget(&mut self, keyspace: &Keyspace) {
        if let Some((_, bytes)) = self.held.remove(&keyspace.id()) {
            self.total -= bytes;
        }
    }

    /// Starts to write out what is too much. The engine's worker does the writing.
    pub(super) fn settle(&mut self) -> fjall::Result<()> {
        if self.total <= self.one {
            return Ok(());
        }
        while self.total > self.all || self.held.values().any(|(_, bytes)| *bytes > self.one) {
            let Some(largest) = self.held.iter().max_by_key(|(_, (_, bytes))| *bytes).map(|(id, _)| *id)
            else {
                break;
            };
            if let Some((keyspace, bytes)) = self.held.remove(&largest) {
                self.total -= bytes;
                keyspace.rotate_memtable()?;
            }
        }
        Ok(())
    }
}
