//! The key store: one keyspace per (epoch, place), so that removing a place deletes its files.
//!
//! The engine's journal keeps copies of recent rows until it is written out (at most a few times 64 MiB of
//! later writes); what a removed place leaves there is wrapped by an epoch key, which lies in no journal
//! (`vault`) and is destroyed with the place.

mod closing;
mod epochs;
mod rows;
mod store;
mod vault;

pub(super) use self::{epochs::EpochState, store::Keys, vault::Vault};
