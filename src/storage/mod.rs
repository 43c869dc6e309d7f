//! Where things are kept: four traits, one `Storage`, and the backends behind them.
//!
//! ```text
//! event_log   appends sealed records, in order, durable on return
//! key_store   wrapped session keys and epoch keys: one winner, tombstones, closing of epochs
//! registry    versioned documents with compare-and-set
//! lease       at most one live holder
//! embedded/   one fjall database, one committer thread
//! jetstream/  what a cluster of nodes shares, on NATS
//! ```
//! Bytes in, bytes out: nothing here ever sees plain text or an open key. Every backend passes the
//! checks in `conformance`, so nothing above can tell them apart.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod embedded;
mod error;
mod event_log;
mod facade;
pub mod jetstream;
mod key_store;
mod lease;
mod registry;

pub use self::{
    error::{Cause, Unavailable},
    event_log::{AppendError, AppendOptions, Appended, Bounds, Chunk, EventLog, Hint, LogError, OnceKey},
    facade::{Loss, OpenError, ScrubReport, Storage},
    key_store::{
        CloseError, Created, Cursor, EpochKind, EpochRecord, KeyError, KeyRecord, KeyStore, Lookup, Place,
    },
    lease::{Grant, Lease, LeaseError},
    registry::{Change, Document, Registry, RegistryError},
};
