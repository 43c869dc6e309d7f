//! Fingerprints: the only form in which a session value, a subject id or an idempotency key is stored.
//!
//! ```text
//! K           = HKDF-SHA256(master key, "sluice/v1/fingerprint")
//! session     = HMAC-SHA256(K, "sluice/v1/session\0" | u32 BE len | stream | value)[..16]
//! subject     = HMAC-SHA256(K, "sluice/v1/subject\0" | value)[..16]
//! K_i         = HKDF-SHA256(master key, "sluice/v1/idempotency")
//! idempotency = HMAC-SHA256(K_i, u32 BE len | stream | key)[..16]
//! request     = HMAC-SHA256(K_i, "sluice/v1/request\0" | u64 BE len | part | u64 BE len | part ...)[..16]
//! ```
//! Without the master key a fingerprint can neither be computed nor searched for.

use super::{mac::Mac, secret::Secret};
use crate::domain::{Fingerprint, StreamName};

/// Makes fingerprints. The keyed state is made once; one call costs two or three SHA-256 blocks.
pub struct Fingerprinter {
    names: Mac,
    idempotency: Mac,
}

impl Fingerprinter {
    pub(super) fn new(names: &Secret, idempotency: &Secret) -> Fingerprinter {
        Fingerprinter { names: Mac::new(names.bytes()), idempotency: Mac::new(idempotency.bytes()) }
    }

    /// Names a session of `stream` by the value of its key field.
    #[must_use]
    pub fn session(&self, stream: &StreamName, value: &[u8]) -> Fingerprint {
        let name = stream.as_str().as_bytes();
        cut(self.names.tag(&[b"sluice/v1/session\0", &length(name), name, value]))
    }

    /// Names a data subject, the same in every stream.
    #[must_use]
    pub fn subject(&self, value: &[u8]) -> Fingerprint {
        cut(self.names.tag(&[b"sluice/v1/subject\0", value]))
    }

    /// Names a request by its `Idempotency-Key`.
    #[must_use]
    pub fn idempotency(&self, stream: &StreamName, key: &[u8]) -> Fingerprint {
        let name = stream.as_str().as_bytes();
        cut(self.idempotency.tag(&[&length(name), name, key]))
    }

    /// Names a request of the control plane, or who sent it, by the parts that make it what it is.
    #[must_use]
    pub fn request(&self, parts: &[&[u8]]) -> Fingerprint {
        let lengths: Vec<_> = parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
        let bound = lengths.iter().zip(parts).flat_map(|(length, part)| [&length[..], part]);
        cut(self.idempotency.tag(&[&b"sluice/v1/request\0"[..]].into_iter().chain(bound).collect::<Vec<_>>()))
    }
}

fn length(name: &[u8]) -> [u8; 4] {
    u32::try_from(name.len()).expect("a stream name has at most 100 bytes").to_be_bytes()
}

fn cut(tag: [u8; 32]) -> Fingerprint {
    Fingerprint(std::array::from_fn(|i| tag[i]))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::crypto::MasterKey;

    #[test]
    fn names_differ_by_what_they_name_and_by_master_key() {
        let (a, b) = (MasterKey::from_bytes(&[1; 32]).fingerprinter(), MasterKey::generate().fingerprinter());
        let (clicks, orders): (StreamName, StreamName) =
            ("clicks".parse().unwrap(), "orders".parse().unwrap());
        let all = [
            a.session(&clicks, b"v"),
            a.session(&orders, b"v"),
            a.session(&clicks, b"w"),
            a.subject(b"v"),
            a.idempotency(&clicks, b"v"),
            a.idempotency(&orders, b"v"),
            b.session(&clicks, b"v"),
            b.subject(b"v"),
        ];
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert_eq!(
            a.session(&clicks, b"v"),
            MasterKey::from_bytes(&[1; 32]).fingerprinter().session(&clicks, b"v")
        );
    }

    #[test]
    fn the_stream_and_the_value_do_not_run_into_each_other() {
        let a = MasterKey::from_bytes(&[1; 32]).fingerprinter();
        let (short, long): (StreamName, StreamName) = ("ab".parse().unwrap(), "abc".parse().unwrap());
        assert_ne!(a.session(&short, b"cd"), a.session(&long, b"d"));
    }
}
