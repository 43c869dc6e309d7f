//! Sluice, a privacy event gateway: events with personal data in over HTTP, sealed streams out.
//!
//! ```text
//! domain, clock      the words of the field, pure
//! event   crypto     bytes <-> event by compiled plans; keys, sealing, tokens
//! storage            log, keys, registry, leases; bytes in, bytes out
//! audit              entries, the Merkle tree over them, checkpoints, verification
//! schema_code        classes to send with, made from a schema
//! actors             who decides: session keys, streams, consent filters, registry, auditor, janitor
//! gateway            the doors that http may call
//! http               connections, routes, answers
//! server   cli       a node put together; the command line, a client of the API
//! config   telemetry settings; metrics, log lines, the fatal switch
//! ```
//!
//! **Follow one event.** `http::ingest` authenticates and reads it; `gateway::intake` decodes it with a plan of
//! [`event`], checks it, gets the session's key from `actors::session_keys`, seals its personal fields with
//! `crypto::OpenKey`, and appends it through `storage::EventLog`. The answer is 204 when it is durable.
//! `actors::stream` reads it again, `actors::projection` decides what each derived stream sees, and
//! `actors::consent_filter` appends that. `http::egress` reads either log for a consumer.
//!
//! `docs/ARCHITECTURE.md` walks the same way in more words.

pub mod actors;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod domain;
pub mod event;
pub mod gateway;
pub mod http;
pub mod schema_code;
pub mod server;
pub mod storage;
pub mod telemetry;
