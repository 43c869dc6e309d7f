//! Who does what, one actor per file. ractor for what outlives a connection, actix for what dies with it.
//!
//! ```text
//! root ─┬─ auditor             the audit log: nothing is changed without an entry
//!       ├─ registry            contracts and streams; publishes the inventory
//!       ├─ session_keys ── session_key        on demand, passivated when it has decided
//!       ├─ streams ─────── stream ── consent_filter, one per derived stream
//!       ├─ bookkeeper      writes down what streams used
//!       └─ janitor         retention, expiry, closing of epochs
//! subscription                  actix: one per live reader, in the worker of its connection
//! ```
//! Beside them lie what several share: `inventory` (the snapshot), `open_keys` and `epoch_keys` (what is
//! open in memory), `projection` (what a derived stream sees), `ask` (question and answer).
//! Nothing here knows HTTP. Mailboxes are unbounded in ractor: each file says what bounds its own.

mod api_tokens;
mod ask;
mod audited;
mod auditor;
mod auditor_handle;
mod bookkeeper;
mod checkpoint_file;
mod consent_filter;
mod contract_orders;
mod epoch_keys;
mod erasure_orders;
mod erasures;
mod inventory;
mod inventory_store;
mod janitor;
mod janitor_books;
mod key_destruction;
mod live_stream;
mod open_keys;
mod order_error;
mod policies;
mod principal_orders;
mod project_orders;
mod projection;
mod purposes;
mod read_grants;
mod recent;
mod registry;
mod root;
mod session_key;
mod session_keys;
mod settlement;
mod stream;
mod stream_life;
mod stream_orders;
mod streams;
mod workshop;

pub use self::{
    api_tokens::{CreatedToken, NewToken, TokenChoice},
    auditor::AuditError,
    auditor_handle::{
        AuditPage, AuditorHandle, ConsistencyProof, InclusionProof, ReaderSeat, SignedCheckpoint,
    },
    bookkeeper::{UsageError, UsageHandle, UsageWindows},
    contract_orders::{Expected, NewContract, fitting_schema},
    erasure_orders::KnownErased,
    erasures::{ErasureError, Erasures, KnownSubject, Outcome, SubjectKey},
    inventory::{
        Inventory, KnownContract, KnownGrant, KnownPrincipal, KnownProject, KnownSchema, KnownStream,
        PlanError, ReadingPlan,
    },
    live_stream::{LiveStream, OverLimit},
    order_error::OrderError,
    policies::{KnownPolicy, NewPolicy},
    principal_orders::{NewPrincipal, PrincipalChange, PrincipalOrderError},
    project_orders::{ProjectChange, ProjectOrderError},
    projection::open_fields,
    purposes::{KnownPurpose, NewPurpose},
    registry::{ControlError, RegistryHandle},
    root::{Actors, RootArgs, start},
    session_key::{KeyRequest, SessionKeyError},
    session_keys::SessionKeys,
    stream::StreamError,
    stream_life::{IssuedCredential, Replacement, StreamPatch},
    stream_orders::{CreatedStream, NewDerivation, NewMasks, NewStream, StreamOrderError},
};
