//! What every storage error is made of.

/// What lies beneath an error. Never holds stored bytes.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why storage cannot serve right now. All are worth a later retry except `Stopped`.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// Less space is free than the reserve. Accepts again by itself once space is freed.
    #[error("disk is nearly full")]
    DiskFull,
    /// Too many bytes wait to be committed.
    #[error("too much is waiting to be committed")]
    Overloaded,
    /// The backend is closing, or has stopped for good after a failed write.
    #[error("storage has stopped")]
    Stopped,
    /// The backend cannot be reached, or has no quorum.
    #[error("storage backend does not answer")]
    Backend(#[source] Cause),
}
