//! The four stores of one node, opened together and closed together.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Cause, EventLog, KeyStore, Lease, LogError, Registry};

/// Everything a node stores, whatever the backend. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    pub log: Arc<dyn EventLog>,
    pub keys: Arc<dyn KeyStore>,
    pub registry: Arc<dyn Registry>,
    pub leases: Arc<dyn Lease>,
    /// Set once, when storage can no longer keep its promises. The node must stop.
    pub fatal: watch::Receiver<Option<String>>,
    pub(in crate::storage) backend: Arc<dyn Backend>,
}

impl Storage {
    /// Whether appends find space now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.backend.has_room()
    }

    /// Reads every log from first to end and checks it. Takes as long as reading the disk takes.
    pub async fn scrub(&self) -> Result<ScrubReport, LogError> {
        self.backend.scrub().await
    }

    /// Finishes what waits, and closes. Later calls on any clone return `Unavailable`.
    pub async fn close(self) {
        self.backend.close().await;
    }
}

/// What differs between backends and is not one of the four stores.
#[async_trait]
pub(in crate::storage) trait Backend: Send + Sync + 'static {
    fn has_room(&self) -> bool;
    async fn scrub(&self) -> Result<ScrubReport, LogError>;
    async fn close(&self);
}

/// What a scrub found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    pub streams: u64,
    pub records: u64,
    pub bytes: u64,
    /// Empty when all is well.
    pub losses: Vec<Loss>,
}

/// Records that should be there and are missing or unreadable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub stream: String,
    /// First sequence concerned.
    pub seq: u64,
    /// What is wrong, without content.
    pub what: String,
}

/// Why storage could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has this folder.
    #[error("data folder is in use by another process")]
    InUse,
    /// Acknowledged data is missing or unreadable: call a person, restore a backup.
    #[error("stored data is damaged: {what}")]
    Damaged { what: String },
    /// Free some space and start again.
    #[error("no space left on the data folder's disk")]
    NoSpace,
    /// The folder cannot be used: permissions, a missing disk.
    #[error("data folder cannot be used")]
    Io(#[source] Cause),
}
