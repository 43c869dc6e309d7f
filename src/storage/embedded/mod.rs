//! The embedded backend: one fjall database, one committer thread, one fsync for all who wait.
//!
//! ```text
//! open        opening, recovery, orphans          journal     is the engine's journal whole?
//! manifest    are the engine's lists of tables whole?
//! queue       who waits to be committed           committer   takes all of it, one batch, one fsync
//! txn         one commit being gathered           streams     segments of a log, in memory
//! log, keys, registry, lease                      the four stores: reads here, writes through the queue
//! scrub       reads everything                    layout      names and rows on disk
//! ```
//! Keyspaces: `catalog` (streams, segments, epochs, hints, the commit counter), `registry`, one per
//! (stream, time segment), one per (epoch, place), one per idempotency window. What is dropped as a whole
//! is a keyspace of its own, so that dropping it deletes files.

mod close;
mod committer;
mod engine;
mod journal;
mod keys;
mod keyspaces;
mod layout;
mod lease;
mod log;
mod manifest;
mod once;
mod open;
mod options;
mod queue;
mod registry;
mod scrub;
mod streams;
mod txn;

pub use self::{open::open, options::EmbeddedOptions};
