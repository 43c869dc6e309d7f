//! The janitor's hand on single keys: those whose policy says that they end, and those of streams that were
//! deleted. Each is destroyed through the KeyStore, which leaves a tombstone; its bytes leave the disk when
//! its epoch is closed or destroyed.

use std::collections::HashSet;

use futures_util::future::try_join_all;

use super::{
    inventory_store::GRAVE,
    janitor::{JanitorArgs, JanitorError, PAGE},
};
use crate::{
    audit::KeyEnd,
    domain::StreamName,
    storage::{EpochKind, KeyRecord},
};

impl JanitorArgs {
    /// Destroys keys whose term has ended.
    pub(super) async fn destroy_due(&self) -> Result<(), JanitorError> {
        let mut destroyed = 0;
        for _ in 0..PAGES_MAX {
            let due = self.store.due(self.clock.steady(), PAGE).await?;
            if due.is_empty() {
                break;
            }
            self.announce_keys(KeyEnd::PolicyEnded, &due).await?;
            self.destroy_keys(&due).await?;
            self.meters.keys_destroyed_by_policy.increment(due.len() as u64);
            destroyed += due.len();
        }
        if destroyed > 0 {
            tracing::info!(keys = destroyed, "keys were destroyed: their policy's term has ended");
        }
        Ok(())
    }

    /// Destroys the keys of streams that were deleted. Reads every key of the node when there is one.
    pub(super) async fn destroy_orphans(&self) -> Result<(), JanitorError> {
        let graves = self.registry.list(GRAVE).await?;
        if graves.is_empty() {
            return Ok(());
        }
        let mut epochs = self.store.epochs().await?;
        epochs.retain(|record| record.kind == EpochKind::Sessions);
        epochs.dedup_by_key(|record| record.epoch);
        let mut destroyed = 0;
        for record in epochs {
            let mut after = None;
            loop {
                let (mut page, next) = self.store.scan(record.epoch, after, PAGE).await?;
                // A key is younger than its stream: whose stream is not there now has none.
                let present = self.streams();
                page.retain(|key| !present.contains(&key.stream));
                self.announce_keys(KeyEnd::StreamDeleted, &page).await?;
                self.destroy_keys(&page).await?;
                self.meters.keys_destroyed_with_stream.increment(page.len() as u64);
                destroyed += page.len();
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        for grave in graves {
            self.registry.delete(GRAVE, &grave.name, grave.version).await?;
        }
        if destroyed > 0 {
            tracing::info!(keys = destroyed, "keys were destroyed: their stream was deleted");
        }
        Ok(())
    }

    /// Destroys keys side by side, so that they share commits, and drops what is open of them.
    async fn destroy_keys(&self, keys: &[KeyRecord]) -> Result<(), JanitorError> {
        for batch in keys.chunks(TOGETHER) {
            try_join_all(batch.iter().map(|key| self.store.destroy(key.key_link))).await?;
            for key in batch {
                self.keys.open_keys().forget_link(key.session, key.key_link);
            }
        }
        Ok(())
    }

    fn streams(&self) -> HashSet<StreamName> {
        self.inventory.load().streams().map(|known| known.definition.name.clone()).collect()
    }
}

/// Keys destroyed side by side, and pages of them in one pass: a larger heap is worked off in several.
const TOGETHER: usize = 256;
const PAGES_MAX: usize = 64;
