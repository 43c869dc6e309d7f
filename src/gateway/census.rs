//! What a stream holds, counted: for those who are about to delete it.

use std::{collections::HashMap, sync::Arc};

use crate::{
    domain::StreamName,
    storage::{EpochKind, EventLog, KeyError, KeyStore, LogError},
};

/// Counts events and keys. Cheap to clone.
#[derive(Clone)]
pub struct Census {
    log: Arc<dyn EventLog>,
    keys: Arc<dyn KeyStore>,
}

/// What one stream holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Events in its log.
    pub events: u64,
    /// Session keys that were made for it and exist.
    pub keys: u64,
}

/// It could not be counted. Retry later.
#[derive(Debug, thiserror::Error)]
#[error("what the streams hold cannot be counted now")]
pub struct CensusError;

impl Census {
    /// Counts in these stores.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>, keys: Arc<dyn KeyStore>) -> Census {
        Census { log, keys }
    }

    /// What `streams` hold, in their order. Reads every key of the node: takes seconds for millions.
    ///
    /// # Errors
    ///
    /// [`CensusError`].
    pub async fn count(&self, streams: &[StreamName]) -> Result<Vec<Holding>, CensusError> {
        let keys = self.count_keys(streams).await.map_err(|error| {
            tracing::error!(%error, "keys cannot be counted");
            CensusError
        })?;
        let mut holdings = Vec::with_capacity(streams.len());
        for stream in streams {
            let events = match self.log.bounds(stream).await {
                Ok(bounds) => bounds.end - bounds.first,
                Err(LogError::UnknownStream) => 0,
                Err(error) => {
                    tracing::error!(%error, "events cannot be counted");
                    return Err(CensusError);
                }
            };
            holdings.push(Holding { events, keys: keys.get(stream).copied().unwrap_or(0) });
        }
        Ok(holdings)
    }

    async fn count_keys(&self, streams: &[StreamName]) -> Result<HashMap<StreamName, u64>, KeyError> {
        let mut counts: HashMap<StreamName, u64> = HashMap::new();
        let mut epochs = self.keys.epochs().await?;
        epochs.retain(|record| record.kind == EpochKind::Sessions);
        // An epoch that is closing has two keys and is scanned once.
        epochs.dedup_by_key(|record| record.epoch);
        for record in epochs {
            let mut after = None;
            loop {
                let (page, next) = self.keys.scan(record.epoch, after, PAGE).await?;
                for key in page.into_iter().filter(|key| streams.contains(&key.stream)) {
                    *counts.entry(key.stream).or_default() += 1;
                }
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(counts)
    }
}

/// Keys read at a time.
const PAGE: usize = 4096;
