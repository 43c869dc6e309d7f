//! The key that signs checkpoints of the audit log: Ed25519 (RFC 8032), its own, never the token key.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use super::{master::MasterKey, secret::Secret, wrap::UnwrapError};

const LABEL: &str = "audit-signing-key";

/// The installation's audit key.
pub struct AuditKey {
    seed: Secret,
    pair: Ed25519KeyPair,
}

impl AuditKey {
    /// A new random key.
    #[must_use]
    pub fn generate() -> AuditKey {
        AuditKey::with(Secret::random())
    }

    /// Wraps the key for storage.
    #[must_use]
    pub fn wrapped(&self, master: &MasterKey) -> Vec<u8> {
        master.wrap_secret(LABEL, self.seed.bytes())
    }

    /// The key that [`AuditKey::wrapped`] wrapped.
    ///
    /// # Errors
    ///
    /// [`UnwrapError`]: damaged, moved, or another master key.
    pub fn unwrap(master: &MasterKey, wrapped: &[u8]) -> Result<AuditKey, UnwrapError> {
        let seed = master.unwrap_secret(LABEL, wrapped)?;
        Secret::copied_from(&seed).map(AuditKey::with).ok_or(UnwrapError::Malformed)
    }

    /// The public key.
    ///
    /// # Panics
    ///
    /// Never: an Ed25519 public key has 32 bytes.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.pair.public_key().as_ref().try_into().expect("a public key has 32 bytes")
    }

    /// Signs a checkpoint.
    ///
    /// # Panics
    ///
    /// Never: an Ed25519 signature has 64 bytes.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.pair.sign(text).as_ref().try_into().expect("a signature has 64 bytes")
    }

    fn with(seed: Secret) -> AuditKey {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.bytes()).expect("any 32 bytes are a seed");
        AuditKey { seed, pair }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_audit_key_is_the_same_key_and_no_token_key() {
        let (master, key) = (MasterKey::generate(), AuditKey::generate());
        let again = AuditKey::unwrap(&master, &key.wrapped(&master)).unwrap();
        assert_eq!((again.public(), again.sign(b"note")), (key.public(), key.sign(b"note")));
        assert!(super::super::SigningKey::unwrap(&master, &key.wrapped(&master)).is_err());
        assert!(AuditKey::unwrap(&MasterKey::generate(), &key.wrapped(&master)).is_err());
    }
}
