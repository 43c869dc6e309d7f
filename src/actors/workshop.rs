//! What the registry actor works with, and the one door through which its orders change anything.
//!
//! [`Holdings`] can only be looked at. What changes them is lent as [`Tools`] to the work of an order, once
//! the entries that announce it are durable, and nothing outside this file can make a [`Tools`]: an order
//! that forgets its entry does not compile.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::watch;

use super::{
    AuditorHandle, Inventory,
    inventory_store::{self, LoadError},
    registry::ControlError,
};
use crate::{
    audit::Action,
    clock::Clock,
    crypto::MasterKey,
    domain::{ProjectName, StreamName, Who},
    storage::{Change, Document, EventLog, LogError, Registry, RegistryError},
    telemetry::Meters,
};

/// What the registry works with.
#[derive(Clone)]
pub(super) struct RegistryWorkshop {
    pub holdings: Holdings,
    pub auditor: AuditorHandle,
    pub master: Arc<MasterKey>,
    pub meters: Arc<Meters>,
    pub clock: Clock,
    /// Source: `[streams] retention_days`.
    pub retention_days: u32,
    /// Days an API token lives unless its maker says otherwise, and at most. Source: `[tokens]`.
    pub api_days: (u32, u32),
}

/// The documents and the logs, to look at.
#[derive(Clone)]
pub(super) struct Holdings {
    store: Arc<dyn Registry>,
    log: Arc<dyn EventLog>,
}

/// What changes documents and logs. Made only by [`RegistryWorkshop::announced`].
pub(super) struct Tools(Holdings);

/// What an order writes down: the project it belongs to, and what is done.
pub(super) type Announcement = (Option<ProjectName>, Action);

/// An order in the words of its own file: it changes the store, and answers with what it gives back once
/// the snapshot shows the change.
pub(super) type Order =
    Box<dyn FnOnce(RegistryWorkshop, Arc<Inventory>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send>;

/// Tells who asked what became of it.
pub(super) type Answer = Box<dyn FnOnce() + Send>;

impl Holdings {
    pub(super) fn new(store: Arc<dyn Registry>, log: Arc<dyn EventLog>) -> Holdings {
        Holdings { store, log }
    }

    /// The document, if there is one.
    pub(super) async fn get(&self, kind: &str, name: &str) -> Result<Option<Document>, RegistryError> {
        self.store.get(kind, name).await
    }

    /// A snapshot of all documents.
    pub(super) async fn load(&self, before: &Inventory) -> Result<Inventory, LoadError> {
        inventory_store::load(&*self.store, before).await
    }

    /// Grows with every change, also of another node.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.store.watch()
    }

    /// The sequence that the next event of a stream gets.
    pub(super) async fn end_of(&self, stream: &StreamName) -> Result<u64, LogError> {
        Ok(self.log.bounds(stream).await?.end)
    }
}

impl Tools {
    pub(super) fn store(&self) -> &dyn Registry {
        &*self.0.store
    }

    pub(super) fn log(&self) -> &dyn EventLog {
        &*self.0.log
    }
}

impl RegistryWorkshop {
    /// Does a work that was checked, once every entry that announces it is durable; if it fails then, an
    /// entry more says so for each of them.
    pub(super) async fn announced<T, F>(
        &self,
        by: &Who,
        announcements: Vec<Announcement>,
        work: impl FnOnce(Tools) -> F,
    ) -> Result<T, ControlError>
    where
        F: Future<Output = Result<T, ControlError>>,
    {
        self.announced_as(by, announcements, |tools, _| work(tools)).await
    }

    /// As [`RegistryWorkshop::announced`], for a work that keeps the indices of its entries.
    pub(super) async fn announced_as<T, F>(
        &self,
        by: &Who,
        announcements: Vec<Announcement>,
        work: impl FnOnce(Tools, Vec<u64>) -> F,
    ) -> Result<T, ControlError>
    where
        F: Future<Output = Result<T, ControlError>>,
    {
        // Side by side, so that they share an append: their order is that of the list.
        let records = announcements.into_iter().map(|(project, action)| {
            self.auditor.record_in(project.map(|project| project.to_string()), by.clone(), action)
        });
        let (mut entries, mut refused) = (Vec::new(), None);
        for recorded in join_all(records).await {
            match recorded {
                Ok(entry) => entries.push(entry),
                Err(error) => refused = Some(error),
            }
        }
        let done = match refused {
            Some(error) => Err(error.into()),
            // Nothing is done without an entry.
            None if entries.is_empty() => Err(ControlError::Unavailable),
            None => work(Tools(self.holdings.clone()), entries.clone()).await,
        };
        if done.is_err() {
            for entry in entries {
                self.auditor.not_done(entry).await;
            }
        }
        done
    }

    /// Changes documents in one commit, once the entry is durable.
    pub(super) async fn apply(
        &self,
        by: &Who,
        project: Option<&ProjectName>,
        action: Action,
        changes: Vec<Change>,
    ) -> Result<(), ControlError> {
        self.apply_all(by, vec![(project.cloned(), action)], changes).await
    }

    /// As [`RegistryWorkshop::apply`], for a change that takes several entries.
    pub(super) async fn apply_all(
        &self,
        by: &Who,
        announcements: Vec<Announcement>,
        changes: Vec<Change>,
    ) -> Result<(), ControlError> {
        let work = async |tools: Tools| Ok(tools.store().apply(changes).await.map(drop)?);
        self.announced(by, announcements, work).await
    }
}

/// The body of a registry document.
pub(super) fn document(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).expect("registry documents have string keys").into()
}
