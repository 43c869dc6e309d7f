//! Leases: at most one live holder per name. They say who works; the logs' expected ends say who may write.

use std::time::Duration;

use async_trait::async_trait;

use super::{Cause, Unavailable};

/// All leases of a node or a cluster.
#[async_trait]
pub trait Lease: Send + Sync + 'static {
    /// Takes the lease, or renews it when `holder` has it. `None` when somebody else has it.
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Grant>, LeaseError>;

    /// Gives the lease back if `holder` has it.
    async fn release(&self, name: &str, holder: &str) -> Result<(), LeaseError>;

    /// Who has the lease now.
    async fn holder(&self, name: &str) -> Result<Option<String>, LeaseError>;
}

/// A lease held. Good until its time is over, counted from before the call that returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Grows each time the lease changes hands; renewing keeps it.
    pub token: u64,
    pub ttl: Duration,
}

/// Why a lease could not be asked for.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Try again later.
    #[error("leases are unavailable")]
    Unavailable(#[from] Unavailable),
    /// Call a person.
    #[error("leases are damaged")]
    Damaged(#[source] Cause),
}
