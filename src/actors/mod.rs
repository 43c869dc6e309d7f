//! Who does what, one actor per file. ractor for what outlives a connection, actix for what dies with it.
//!
//! ```text
//! root ─┬─ registry            contracts and streams; publishes the inventory
//!       ├─ session_keys ── session_key        on demand, passivated when it has decided
//!       ├─ streams ─────── stream ── consent_filter, one per derived stream
//!       └─ janitor         retention, expiry, closing of epochs
//! subscription                  actix: one per live reader, in the worker of its connection
//! ```
//! Beside them lie what several share: `inventory` (the snapshot), `open_keys` and `epoch_keys` (what is
//! open in memory), `projection` (what a derived stream sees), `ask` (question and answer).
//! Nothing here knows HTTP. Mailboxes are unbounded in ractor: each file says what bounds its own.

mod ask;
mod consent_filter;
mod contract_orders;
mod epoch_keys;
mod inventory;
mod inventory_store;
mod janitor;
mod open_keys;
mod projection;
mod registry;
mod root;
mod session_key;
mod session_keys;
mod stream;
mod stream_orders;
mod streams;

pub use self::{
    contract_orders::{Expected, NewContract, fitting_schema},
    inventory::{Inventory, KnownContract, KnownSchema, KnownStream, PlanError, ReadingPlan},
    projection::open_fields,
    registry::{ControlError, RegistryHandle},
    root::{Actors, RootArgs, start},
    session_key::{KeyRequest, SessionKeyError},
    session_keys::SessionKeys,
    stream::StreamError,
    stream_orders::{CreatedStream, NewDerivation, NewMasks, NewStream, StreamOrderError},
};
