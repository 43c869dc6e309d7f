//! Documents in one keyspace; the committer decides every compare-and-set.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use fjall::Slice;
use tokio::sync::watch;

use super::{
    engine::{Engine, Failure},
    layout,
    txn::Txn,
};
use crate::storage::{Change, Document, Registry, RegistryError};

/// The registry of one node.
pub(super) struct Documents(pub Arc<Engine>);

#[async_trait]
impl Registry for Documents {
    async fn get(&self, kind: &str, name: &str) -> Result<Option<Document>, RegistryError> {
        let open = self.0.open()?;
        let row = open.documents.get(row_key(kind, name)).map_err(Failure::from)?;
        row.map(|row| document(name, row)).transpose()
    }

    async fn list(&self, kind: &str) -> Result<Vec<Document>, RegistryError> {
        let open = self.0.open()?;
        let prefix = row_key(kind, "");
        let rows = self.0.blocking(move || {
            let rows = open.documents.prefix(&prefix);
            rows.map(|row| row.into_inner().map(|(key, value)| (key.slice(prefix.len()..), value))).collect()
        });
        let rows: Vec<(Slice, Slice)> = rows.await?;
        rows.into_iter().map(|(name, row)| document(&String::from_utf8_lossy(&name), row)).collect()
    }

    async fn put(
        &self,
        kind: &str,
        name: &str,
        expected_version: u64,
        body: Bytes,
    ) -> Result<u64, RegistryError> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        self.apply(vec![Change { kind, name, expected_version, body: Some(body) }]).await
    }

    async fn delete(&self, kind: &str, name: &str, expected_version: u64) -> Result<(), RegistryError> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        self.apply(vec![Change { kind, name, expected_version, body: None }]).await.map(drop)
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<u64, RegistryError> {
        let mut seen = HashSet::new();
        let valid = |text: &str| !text.is_empty() && text.len() <= 1024 && !text.contains('\0');
        if !changes.iter().all(|change| {
            valid(&change.kind) && valid(&change.name) && seen.insert((&change.kind, &change.name))
        }) {
            return Err(RegistryError::BadName);
        }
        // What deletes something makes room, also where it leaves a note of that.
        let grows = changes.iter().all(|change| change.body.is_some());
        self.0.work(grows, move |txn| decide(txn, changes)).await?
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.0.revision.subscribe()
    }
}

fn decide(txn: &mut Txn<'_>, changes: Vec<Change>) -> fjall::Result<Result<u64, RegistryError>> {
    let documents = txn.open.documents.clone();
    for (index, change) in changes.iter().enumerate() {
        let row = txn.get(&documents, &row_key(&change.kind, &change.name))?;
        let actual = row.as_deref().and_then(|row| layout::read_u64(row.get(..8)?)).unwrap_or(0);
        if actual != change.expected_version {
            return Ok(Err(RegistryError::Conflict { index, actual }));
        }
    }
    let present = txn.revision.unwrap_or_else(|| *txn.open.revision.borrow());
    if changes.is_empty() {
        return Ok(Ok(present));
    }
    let revision = present + 1;
    txn.revision = Some(revision);
    for change in changes {
        let key = row_key(&change.kind, &change.name);
        match change.body {
            Some(body) => txn.put(&documents, key, [&revision.to_le_bytes()[..], &body].concat()),
            None => txn.remove(&documents, key),
        }
    }
    Ok(Ok(revision))
}

fn row_key(kind: &str, name: &str) -> Vec<u8> {
    [kind.as_bytes(), b"\0", name.as_bytes()].concat()
}

fn document(name: &str, row: Slice) -> Result<Document, RegistryError> {
    let version = row.get(..8).and_then(layout::read_u64);
    let version = version.ok_or_else(|| RegistryError::Damaged("a document's row is malformed".into()))?;
    Ok(Document { name: name.to_owned(), version, body: Bytes::from(row).slice(8..) })
}
