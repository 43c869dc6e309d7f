//! Keys of events without consent, in the strict reading (`[consent] separate_no_consent_keys`).
//!
//! ```text
//! E        = 32 random bytes for one UTC day, stored only wrapped, destroyed with its epoch key
//! place    = u32 BE len | stream | session fingerprint 16
//! S        = HKDF-SHA256(E, "sluice/v1/level0|root|"     | place)    32 bytes
//! key link = HKDF-SHA256(E, "sluice/v1/level0|key-link|" | place)    16 bytes, shaped as a UUIDv4
//! key id   = HKDF-SHA256(E, "sluice/v1/level0|key-id|"   | place)    u32 BE; 1 when it is 0
//! ```
//! Every node derives the same keys; none is ever stored per session or used to open anything.

use uuid::Builder;

use super::{secret::Secret, session_root::SessionRoot};
use crate::domain::{Fingerprint, KeyLink, StreamName};

/// The secret of one UTC day.
pub struct DaySecret(pub(super) Secret);

/// What a session without consent is sealed with on that day.
pub struct NoConsentKey {
    pub root: SessionRoot,
    pub key_link: KeyLink,
    pub key_id: u32,
}

impl DaySecret {
    /// A new random secret.
    #[must_use]
    pub fn generate() -> DaySecret {
        DaySecret(Secret::random())
    }

    /// The key of one session of `stream`.
    #[must_use]
    pub fn session(&self, stream: &StreamName, session: Fingerprint) -> NoConsentKey {
        let name = stream.as_str().as_bytes();
        let length = u32::try_from(name.len()).expect("a stream name has at most 100 bytes").to_be_bytes();
        let root = self.0.derive(&[b"sluice/v1/level0|root|", &length, name, &session.0]);
        let (mut link, mut id) = ([0; 16], [0; 4]);
        self.0.derive_into(&[b"sluice/v1/level0|key-link|", &length, name, &session.0], &mut link);
        self.0.derive_into(&[b"sluice/v1/level0|key-id|", &length, name, &session.0], &mut id);
        NoConsentKey {
            root: SessionRoot(root),
            key_link: KeyLink(Builder::from_random_bytes(link).into_uuid()),
            key_id: u32::from_be_bytes(id).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_one_key_per_stream_and_day_on_every_node() {
        let (day, next) = (DaySecret::generate(), DaySecret::generate());
        let other_node = DaySecret(Secret::copied_from(day.0.bytes()).unwrap());
        let (clicks, orders): (StreamName, StreamName) =
            ("clicks".parse().unwrap(), "orders".parse().unwrap());
        let key = day.session(&clicks, Fingerprint([1; 16]));
        let same = other_node.session(&clicks, Fingerprint([1; 16]));
        assert_eq!((key.key_link, key.key_id), (same.key_link, same.key_id));
        assert_eq!(key.root.0.bytes(), same.root.0.bytes());
        for other in [
            day.session(&clicks, Fingerprint([2; 16])),
            day.session(&orders, Fingerprint([1; 16])),
            next.session(&clicks, Fingerprint([1; 16])),
        ] {
            assert_ne!(key.key_link, other.key_link);
            assert_ne!(key.root.0.bytes(), other.root.0.bytes());
        }
        assert_eq!(key.key_link.0.get_version_num(), 4);
        assert_ne!(key.key_id, 0);
    }
}
