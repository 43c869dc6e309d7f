//! Keys and what is done with them. Synchronous, no I/O; imports `domain` and `clock` only.
//!
//! ```text
//! MasterKey ── wraps ── EpochKey (one UTC day) ── wraps ── SessionRoot ── derives ── OpenKey
//!     │                     └── wraps ── DaySecret ── derives ── OpenKey of sessions without consent
//!     ├── wraps small secrets: the signing key, mask seeds
//!     └── derives the Fingerprinter, the check value, the idempotency-key hash
//! ```
//! `open_key` seals and opens fields; `xchacha` and `siv` are its two suites. `wrap` is the one format
//! of everything that is stored wrapped. Plain keys are zeroed on drop and have no Debug, Clone or Serialize.

mod open_key;
mod secret;
mod session_root;
mod siv;
mod xchacha;

pub use self::{
    open_key::{OpenError, OpenKey, SealMismatch},
    session_root::{SessionRoot, random_key_id},
};
