//! One commit being gathered. Reads see what was written to it before.

use std::collections::HashMap;

use fjall::{Keyspace, OwnedWriteBatch, PersistMode, Slice};

use super::{engine::Open, keyspaces::Budget, layout};

/// Everything that will become durable with one fsync, or not at all.
pub(super) struct Txn<'a> {
    pub open: &'a Open,
    batch: OwnedWriteBatch,
    overlay: HashMap<(u64, Vec<u8>), Option<Slice>>,
    pub budget: &'a mut Budget,
    /// The registry's revision after this commit, when it changes.
    pub revision: Option<u64>,
}

impl<'a> Txn<'a> {
    pub(super) fn new(open: &'a Open, budget: &'a mut Budget) -> Txn<'a> {
        let batch = open.db.batch().durability(Some(PersistMode::SyncData));
        Txn { open, batch, overlay: HashMap::new(), budget, revision: None }
    }

    pub(super) fn get(&self, keyspace: &Keyspace, key: &[u8]) -> fjall::Result<Option<Slice>> {
        if !self.overlay.is_empty()
            && let Some(pending) = self.overlay.get(&(keyspace.id(), key.to_vec()))
        {
            return Ok(pending.clone());
        }
        keyspace.get(key)
    }

    pub(super) fn put(&mut self, keyspace: &Keyspace, key: Vec<u8>, value: Vec<u8>) {
        let value = Slice::from(value);
        self.budget.note(keyspace, key.len() + value.len());
        self.overlay.insert((keyspace.id(), key.clone()), Some(value.clone()));
        self.batch.insert(keyspace, key, value);
    }

    pub(super) fn remove(&mut self, keyspace: &Keyspace, key: Vec<u8>) {
        self.budget.note(keyspace, key.len());
        self.overlay.insert((keyspace.id(), key.clone()), None);
        self.batch.remove(keyspace, key);
    }

    /// Writes what no decision of this commit reads again.
    pub(super) fn put_unread(&mut self, keyspace: &Keyspace, key: &[u8], value: impl Into<Slice>) {
        let value = value.into();
        self.budget.note(keyspace, key.len() + value.len());
        self.batch.insert(keyspace, key, value);
    }

    /// Writes and syncs everything; does nothing when there is nothing. An error is
    /// fatal. Hands the budget back.
    pub(super) fn commit(mut self) -> fjall::Result<&'a mut Budget> {
        if self.batch.is_empty() {
            return Ok(self.budget);
        }
        let commit = self.open.next_commit();
        let catalog = self.open.catalog.clone();
        if let Some(revision) = self.revision {
            self.put_unread(&catalog, layout::REVISION, revision.to_le_bytes().to_vec());
        }
        self.put_unread(&catalog, layout::COMMITS, layout::witness(commit));
        self.batch.commit()?;
        self.budget.settle()?;
        if let Some(revision) = self.revision {
            self.open.revision.send_replace(revision);
        }
        Ok(self.budget)
    }
}
