//! What every handler shares: the doors, the meters and the bounds. Cheap to clone.

use std::sync::Arc;

use super::Admission;
use crate::{
    actors::{AuditorHandle, Erasures, RegistryHandle, UsageHandle},
    config,
    gateway::{Access, Census, Intake, Library, Readiness, Repeats},
    telemetry::Meters,
};

/// Shared by all handlers of all workers.
#[derive(Clone)]
pub struct Doors {
    pub access: Access,
    pub intake: Intake,
    pub library: Library,
    pub census: Census,
    pub registry: RegistryHandle,
    pub usage: UsageHandle,
    pub erasures: Erasures,
    /// Milliseconds to which usage is exact.
    pub usage_period_ms: i64,
    pub auditor: AuditorHandle,
    pub meters: Arc<Meters>,
    pub admission: Admission,
    pub limits: Arc<config::Http>,
    pub readiness: Readiness,
    pub repeats: Repeats,
}
