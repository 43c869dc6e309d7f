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

mod audit_key;
mod client_secret;
mod epoch_key;
mod fingerprint;
mod mac;
mod mask;
mod master;
mod no_consent;
mod open_key;
mod secret;
mod session_root;
mod signing;
mod siv;
mod tink;
mod wrap;
mod xchacha;

pub use self::{
    audit_key::AuditKey,
    client_secret::{ClientSecret, secret_hash, verify_secret},
    epoch_key::{EpochKey, EpochKind},
    fingerprint::Fingerprinter,
    mask::Masker,
    master::{MasterKey, MasterKeyTextError},
    no_consent::{DaySecret, NoConsentKey},
    open_key::{OpenError, OpenKey, SealMismatch},
    session_root::{SessionRoot, random_key_id},
    signing::{Claims, Expected, SigningKey, TokenError, TokenKind},
    tink::keyset_json,
    wrap::UnwrapError,
};
