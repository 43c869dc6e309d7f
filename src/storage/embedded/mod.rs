//! The embedded backend: an event log in files, a fjall database, one committer thread for all who wait.
//!
//! ```text
//! open        opening, recovery, orphans          catalog     what there is
//! journal     is the engine's journal whole?      manifest    are its lists of tables?
//! queue       who waits to be committed           committer   takes all of it, makes it durable at once
//! txn         rows of one commit                  events      the log: its journal, segments and keeper
//! log, keys, registry, lease                      the four stores: reads here, writes through the queue
//! scrub       reads everything                    layout      names and rows on disk
//! ```
//! Events lie in files of their own, everything else in the engine. Keyspaces: `catalog` (streams, segments,
//! epochs, hints, the commit counter), `registry`, one per (epoch, place), one per idempotency window. What
//! is dropped as a whole is a keyspace of its own, so that dropping it deletes files.

mod catalog;
mod close;
mod committer;
mod engine;
mod events;
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
mod txn;

pub use self::{open::open, options::EmbeddedOptions};
