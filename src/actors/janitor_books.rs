//! How the janitor writes down what it does, before it does it: retention, and keys that end by the clock.
//!
//! Nothing is done without an entry here either: while the audit log takes none, logs are not trimmed and keys
//! stay, and the next pass tries again.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use super::{AuditError, KnownStream, janitor::JanitorArgs};
use crate::{
    audit::{Action, KeyEnd},
    clock::{DAY_MS, Timestamp},
    domain::{StreamName, Who},
    storage::{Bounds, KeyRecord, LogError},
};

/// What trimming said of each stream since the node started. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Trims(Arc<Mutex<BTreeMap<StreamName, Trim>>>);

/// The last entry about a stream, and what went under it.
#[derive(Clone, Copy)]
struct Trim {
    told: Timestamp,
    retention_days: u32,
    trimmed: u64,
}

/// Why a log was not trimmed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrimError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl JanitorArgs {
    /// Carries out the retention of a stream. A stream that always has something to trim leaves one entry a
    /// day: whether older events are kept is the question, not how often they go.
    pub(super) async fn trim_log(&self, known: &KnownStream, now: Timestamp) -> Result<(), TrimError> {
        let (stream, days) = (&known.definition.name, known.definition.retention_days);
        let older_than = now.plus_ms(-i64::from(days) * DAY_MS);
        let before = self.log.bounds(stream).await?;
        if !self.is_due(stream, before, older_than).await? {
            return Ok(());
        }
        let last = self.trims.0.lock().get(stream).copied();
        // An entry under which nothing went yet still stands.
        let stands = |last: &Trim| last.trimmed == 0 || now.since(last.told) < DAY_MS;
        if !last.is_some_and(|last| last.retention_days == days && stands(&last)) {
            let trimmed = last.map_or(0, |last| last.trimmed);
            let action = Action::EventsTrimmed { stream: stream.clone(), retention_days: days, trimmed };
            let project = known.definition.project.to_string();
            self.auditor.record_in(Some(project), Who::Node, action).await?;
            let told = Trim { told: now, retention_days: days, trimmed: 0 };
            self.trims.0.lock().insert(stream.clone(), told);
        }
        let first = self.log.trim(stream, older_than).await?;
        if let Some(last) = self.trims.0.lock().get_mut(stream) {
            last.trimmed += first.saturating_sub(before.first);
        }
        Ok(())
    }

    /// Forgets the streams that are gone.
    pub(super) fn forget_trims(&self) {
        let inventory = self.inventory.load();
        self.trims.0.lock().retain(|stream, _| inventory.stream(stream).is_some());
    }

    /// Whether the oldest event is older than `older_than`.
    async fn is_due(
        &self,
        stream: &StreamName,
        bounds: Bounds,
        older_than: Timestamp,
    ) -> Result<bool, LogError> {
        if bounds.first == bounds.end {
            return Ok(false);
        }
        let chunks = self.log.read(stream, bounds.first, 1).await?;
        let oldest = chunks.iter().flat_map(|chunk| chunk.records(bounds.first)).find_map(|(_, r)| r.ok());
        Ok(oldest.is_some_and(|record| record.head.accepted < older_than))
    }

    /// Writes down that `keys` are destroyed next.
    pub(super) async fn announce_keys(&self, because: KeyEnd, keys: &[KeyRecord]) -> Result<(), AuditError> {
        let mut counts = BTreeMap::new();
        for key in keys {
            *counts.entry(key.stream.clone()).or_default() += 1;
        }
        if counts.is_empty() {
            return Ok(());
        }
        self.auditor.record(Who::Node, Action::KeysDestroyed { because, keys: counts }).await.map(drop)
    }

    /// Does what `action` says once it is written down, and writes down if it failed.
    pub(super) async fn announced<T, E: From<AuditError>>(
        &self,
        action: Action,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let entry = self.auditor.record(Who::Node, action).await?;
        let done = work.await;
        if done.is_err() {
            self.auditor.not_done(entry).await;
        }
        done
    }
}
