//! Versioned documents: contracts, streams, principals and so on. Bodies are opaque here.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{Cause, Unavailable};

/// All documents of a node or a cluster.
///
/// A document's version is the registry's revision at its last change. It grows with every change
/// and is never used twice, also when a document is deleted and made again.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// The document, if there is one.
    async fn get(&self, kind: &str, name: &str) -> Result<Option<Document>, RegistryError>;

    /// Every document of a kind, by name.
    async fn list(&self, kind: &str) -> Result<Vec<Document>, RegistryError>;

    /// Writes a document if its version is still `expected_version` (0: if there is none). Returns the
    /// new version.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Conflict`] with the present version when it is another.
    async fn put(
        &self,
        kind: &str,
        name: &str,
        expected_version: u64,
        body: Bytes,
    ) -> Result<u64, RegistryError>;

    /// Removes a document if its version is still `expected_version`.
    async fn delete(&self, kind: &str, name: &str, expected_version: u64) -> Result<(), RegistryError>;

    /// Makes several changes in one commit, or none. Returns the revision, which is the new version of
    /// every document written. No document may occur twice.
    async fn apply(&self, changes: Vec<Change>) -> Result<u64, RegistryError>;

    /// Follows the revision: grows after each durable change.
    fn watch(&self) -> watch::Receiver<u64>;
}

/// One stored document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub name: String,
    pub version: u64,
    pub body: Bytes,
}

/// One change of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: String,
    /// 1 to 1024 bytes; neither this nor `kind` holds a zero byte.
    pub name: String,
    /// Version the document has now; 0 for none.
    pub expected_version: u64,
    /// The new body; `None` removes the document.
    pub body: Option<Bytes>,
}

/// Why a registry operation failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Somebody else changed a document: read again. `index` says which of the changes.
    #[error("document has another version")]
    Conflict { index: usize, actual: u64 },
    /// A kind or name that cannot be stored, or a document named twice: fix the request.
    #[error("kind or name cannot be stored")]
    BadName,
    /// Try again later.
    #[error("registry is unavailable")]
    Unavailable(#[from] Unavailable),
    /// Call a person.
    #[error("registry is damaged")]
    Damaged(#[source] Cause),
}
