//! Opening and closing.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    connection::{ConnectError, JetStreamOptions, Nats},
    keys::Keys,
    lease::Leases,
    log::Logs,
    registry::Documents,
    tails::Tails,
};
use crate::storage::{LogError, ScrubReport, Storage, facade::Backend};

/// Connects, and makes what is shared by all nodes unless it is there.
///
/// # Errors
///
/// See [`ConnectError`]: the message says what to do.
pub async fn open(options: JetStreamOptions) -> Result<Storage, ConnectError> {
    let nats = Nats::connect(&options).await?;
    let stop = CancellationToken::new();
    let registry = Arc::new(Documents::open(nats.clone(), stop.clone()).await?);
    let tails = Tails::open(nats.clone(), stop.clone()).await?;
    let log = Logs::open(nats.clone(), tails).await?;
    let leases = Leases::open(nats.clone()).await?;
    let keys = Keys { nats: nats.clone(), registry: Arc::clone(&registry) };
    Ok(Storage {
        log: Arc::new(log),
        keys: Arc::new(keys),
        registry,
        leases: Arc::new(leases),
        // The servers keep what is acknowledged: nothing here has to stop a node.
        fatal: watch::channel(None).1,
        backend: Arc::new(Servers { nats, stop }),
    })
}

/// The servers, as the facade sees them.
struct Servers {
    nats: Nats,
    stop: CancellationToken,
}

#[async_trait]
impl Backend for Servers {
    fn has_room(&self) -> bool {
        self.nats.client.connection_state() == async_nats::connection::State::Connected
    }

    /// The servers check what they read; here is only counted.
    async fn scrub(&self) -> Result<ScrubReport, LogError> {
        super::log::census(&self.nats).await
    }

    async fn close(&self) {
        self.stop.cancel();
        drop(self.nats.client.drain().await);
    }
}
