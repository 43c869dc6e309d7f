//! `[storage]`: the embedded store.

use serde::{Deserialize, Serialize};

use super::{ConfigError, demand};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Bytes of disk that stay free: below it events are refused with 503 until space is made.
    pub reserve_bytes: u64,
    /// Bytes of memory for blocks read from disk.
    pub cache_bytes: u64,
    /// Bytes of memory for what is durable in the journal and not yet in tables.
    pub memtables_bytes: u64,
    /// Bytes after which a log begins a new segment; a segment is what retention removes at a time.
    pub segment_bytes: u64,
}

impl Default for Storage {
    fn default() -> Storage {
        Storage {
            reserve_bytes: 64 << 20,
            cache_bytes: 16 << 20,
            memtables_bytes: 16 << 20,
            segment_bytes: 1 << 30,
        }
    }
}

impl Storage {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        demand(self.cache_bytes >= 1 << 20, "storage.cache_bytes", "must be at least 1048576")?;
        demand(self.memtables_bytes >= 1 << 20, "storage.memtables_bytes", "must be at least 1048576")?;
        demand(self.segment_bytes >= 1 << 20, "storage.segment_bytes", "must be at least 1048576")
    }
}
