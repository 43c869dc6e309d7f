//! Whether the node would take an event now: what a load balancer asks.

use crate::{storage::Storage, telemetry::FatalSwitch};

/// Asks the stores. Cheap to clone.
#[derive(Clone)]
pub struct Readiness {
    storage: Storage,
    fatal: FatalSwitch,
}

/// Why a node takes no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// It is about to stop, for a reason in its log lines.
    Stopping,
    /// Its disk is full but for the reserve; it takes events again when there is space.
    DiskFull,
}

impl Readiness {
    /// Asks `storage`, and `fatal` whether the node stops.
    #[must_use]
    pub fn new(storage: Storage, fatal: FatalSwitch) -> Readiness {
        Readiness { storage, fatal }
    }

    /// Why no event would be taken; none when one would.
    #[must_use]
    pub fn obstacle(&self) -> Option<NotReady> {
        if self.fatal.reason().is_some() {
            return Some(NotReady::Stopping);
        }
        (!self.storage.has_room()).then_some(NotReady::DiskFull)
    }
}
