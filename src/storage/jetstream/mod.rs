//! The JetStream backend: what a cluster of nodes shares, on NATS servers 2.12 or newer.
//!
//! ```text
//! connection  what is demanded of the servers; storing with conditions, in atomic batches
//! log         SLUICE_EV_<stream>, a record's sequence is its message's      message   record <-> message
//! fetch       many records with one request      tails     ends, told and asked for
//! registry    SLUICE_REGISTRY, in the memory of every node
//! keys/       SLUICE_KEYS_<epoch>_<kind>_<place>, removed as a whole
//! lease       SLUICE_LEASES
//! ```

mod connection;
mod fetch;
mod keys;
mod lease;
mod log;
mod message;
mod open;
mod registry;
mod tails;

pub use self::{
    connection::{ConnectError, JetStreamOptions},
    open::open,
};
