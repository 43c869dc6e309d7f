//! The audit log as a thing that can be proved: entries, the Merkle tree over them, signed checkpoints.
//!
//! ```text
//! entry        who did what to which stream for which purposes, and its bytes, which are the tree's leaf
//! merkle       RFC 9162 2.1: roots, inclusion and consistency proofs, and their checks
//! checkpoint   a root and its size under the installation's audit key, as a signed note
//! verify       what `sluice audit verify` does with exported files alone
//! query        which entries a question is about
//! exposure     who could read a field in clear, from the entries
//! ```
//! Pure: no storage, no key, no clock. `actors::auditor` keeps the log; `cli::audit` verifies what left it.

mod checkpoint;
mod entry;
mod exposure;
pub mod merkle;
mod query;
mod verify;

pub use self::{
    checkpoint::{Checkpoint, CheckpointError, LogKey},
    entry::{Action, DaySecret, Entry, GrantEnd, KeyEnd, LoginMeans},
    exposure::{Access, Exposure, ExposureQuestion, Exposures, GrantedRead, Present},
    query::Filter,
    verify::{Finding, Verified, verify_consistency, verify_inclusion, verify_log},
};
