//! What names a session and its key without naming the person: fingerprints, key links, epochs.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::{DAY_MS, Timestamp};

/// Keyed fingerprint of a session value or a subject id (`crypto::Fingerprinter`), 16 bytes.
/// The only form in which either is ever stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 16]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Uuid::from_bytes(self.0).simple())
    }
}

/// Public name of a session key (UUIDv4). Travels in `strmMeta.keyLink`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyLink(pub Uuid);

impl KeyLink {
    /// A new random link.
    #[must_use]
    pub fn random() -> KeyLink {
        KeyLink(Uuid::new_v4())
    }
}

impl fmt::Debug for KeyLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The UTC day a key was made, counted from 1970-01-01. Keys of one epoch are wrapped together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch that `now` falls in.
    #[must_use]
    pub fn of(now: Timestamp) -> Epoch {
        Epoch(u32::try_from(now.0.div_euclid(DAY_MS).max(0)).unwrap_or(u32::MAX))
    }

    /// First instant of this epoch.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0) * DAY_MS)
    }

    /// The day before. Saturates at 0.
    #[must_use]
    pub fn previous(self) -> Epoch {
        Epoch(self.0.saturating_sub(1))
    }
}
