//! What the registry actor works with, and what the files of its orders share.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;

use super::{AuditorHandle, Inventory};
use crate::{
    clock::Clock,
    crypto::MasterKey,
    storage::{EventLog, Registry},
    telemetry::Meters,
};

/// What the registry works with.
#[derive(Clone)]
pub(super) struct RegistryWorkshop {
    pub store: Arc<dyn Registry>,
    pub log: Arc<dyn EventLog>,
    pub auditor: AuditorHandle,
    pub master: Arc<MasterKey>,
    pub meters: Arc<Meters>,
    pub clock: Clock,
    /// Source: `[streams] retention_days`.
    pub retention_days: u32,
    /// Days an API token lives unless its maker says otherwise, and at most. Source: `[tokens]`.
    pub api_days: (u32, u32),
}

/// An order in the words of its own file: it changes the store, and answers with what it gives back once
/// the snapshot shows the change.
pub(super) type Order =
    Box<dyn FnOnce(RegistryWorkshop, Arc<Inventory>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send>;

/// Tells who asked what became of it.
pub(super) type Answer = Box<dyn FnOnce() + Send>;

/// The body of a registry document.
pub(super) fn document(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).expect("registry documents have string keys").into()
}
