//! Opens readers of logs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::{LogReader, ReadError, Start};
use crate::{actors::Inventory, domain::StreamName, storage::EventLog};

/// Every log of the node, for reading. Cheap to clone.
#[derive(Clone)]
pub struct Library {
    log: Arc<dyn EventLog>,
    inventory: Arc<ArcSwap<Inventory>>,
    closing: CancellationToken,
}

impl Library {
    /// Reads from `log` what `inventory` knows how to read.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>, inventory: Arc<ArcSwap<Inventory>>) -> Library {
        Library { log, inventory, closing: CancellationToken::new() }
    }

    /// Ends every reader, so that a node that stops need not wait for them.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// A reader of `stream` that begins at `start`.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn open(&self, stream: StreamName, start: Start) -> Result<LogReader, ReadError> {
        let (log, inventory) = (Arc::clone(&self.log), Arc::clone(&self.inventory));
        LogReader::open(log, inventory, self.closing.clone(), stream, start).await
    }
}
