//! Client secrets and API tokens: 256 random bits, shown once, stored hashed.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::secret::{Secret, constant_time_eq};

/// A newly made secret, to be shown to its owner once.
pub struct ClientSecret(Zeroizing<String>);

impl ClientSecret {
    /// 256 bits from the operating system.
    #[must_use]
    pub fn generate() -> ClientSecret {
        ClientSecret(Zeroizing::new(URL_SAFE_NO_PAD.encode(Secret::random().bytes())))
    }

    /// The text form: 43 characters of base64url without padding.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What is stored.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        secret_hash(&self.0)
    }
}

/// SHA-256 of `"sluice/v1/client-secret\0" | text`. A slow password hash would add nothing: the secrets
/// are uniformly random and cannot be searched.
#[must_use]
pub fn secret_hash(text: &str) -> [u8; 32] {
    Sha256::new().chain_update(b"sluice/v1/client-secret\0").chain_update(text).finalize().into()
}

/// Whether `text` is the secret whose hash is `stored`. Constant time.
#[must_use]
pub fn verify_secret(text: &str, stored: &[u8; 32]) -> bool {
    constant_time_eq(&secret_hash(text), stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_256_bits_and_only_itself_verifies() {
        let (secret, other) = (ClientSecret::generate(), ClientSecret::generate());
        assert_eq!(secret.text().len(), 43);
        assert_eq!(URL_SAFE_NO_PAD.decode(secret.text()).unwrap().len(), 32);
        assert!(verify_secret(secret.text(), &secret.hash()));
        assert!(!verify_secret(other.text(), &secret.hash()));
        assert!(!verify_secret("", &secret.hash()));
    }
}
