//! Master key: the one secret an operator keeps. Everything stored is wrapped under it in the end.
//!
//! ```text
//! subkey    = HKDF-SHA256(master key, info)     infos: sluice/v1/wrap-epoch-key, sluice/v1/wrap-secret,
//!             sluice/v1/fingerprint, sluice/v1/idempotency, sluice/v1/check-value (16 bytes)
//! epoch key = wrap(wrap-epoch-key, "sluice/v1/epoch-key\0" | epoch u32 BE | generation u32 BE | kind u8)
//! secret    = wrap(wrap-secret, "sluice/v1/secret\0" | u32 BE len | label)
//! key file  = "sluice-master-v1:" | base64, standard alphabet, padded, of the 32 bytes; one line
//! ```

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{
    epoch_key::{EpochKey, EpochKind, place_of_epoch},
    fingerprint::Fingerprinter,
    secret::Secret,
    wrap::{UnwrapError, bind, unwrap, unwrap_secret, wrap},
};
use crate::domain::Epoch;

const TEXT_PREFIX: &str = "sluice-master-v1:";

/// The installation's master key with its wrapping subkeys.
pub struct MasterKey {
    secret: Secret,
    epoch_wrapping: Secret,
    secret_wrapping: Secret,
}

/// A key file or variable does not hold a master key. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyTextError {
    #[error("a master key starts with sluice-master-v1:")]
    Prefix,
    #[error("what follows sluice-master-v1: is not base64 in the standard alphabet with padding")]
    Base64,
    #[error("a master key has 32 bytes, which are 44 characters of base64")]
    Length,
}

impl MasterKey {
    /// Takes the key from its 32 bytes; the caller zeroes its copy.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> MasterKey {
        MasterKey::with(Secret::copied_from(bytes).expect("32 bytes"))
    }

    /// A new random key.
    #[must_use]
    pub fn generate() -> MasterKey {
        MasterKey::with(Secret::random())
    }

    fn with(secret: Secret) -> MasterKey {
        let epoch_wrapping = secret.derive(&[b"sluice/v1/wrap-epoch-key"]);
        let secret_wrapping = secret.derive(&[b"sluice/v1/wrap-secret"]);
        MasterKey { secret, epoch_wrapping, secret_wrapping }
    }

    /// Reads the text form; white space around it is ignored.
    ///
    /// # Errors
    ///
    /// [`MasterKeyTextError`]: an operator has to correct the file or variable.
    pub fn from_text(text: &str) -> Result<MasterKey, MasterKeyTextError> {
        let encoded = text.trim().strip_prefix(TEXT_PREFIX).ok_or(MasterKeyTextError::Prefix)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| MasterKeyTextError::Base64)?);
        Secret::copied_from(&bytes).map(MasterKey::with).ok_or(MasterKeyTextError::Length)
    }

    /// The text form for the key file, without a line end.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(STANDARD.encode(self.secret.bytes()));
        Zeroizing::new([TEXT_PREFIX, &encoded].concat())
    }

    /// Stored openly, to recognise a wrong master key before anything is read or written with it.
    #[must_use]
    pub fn check_value(&self) -> [u8; 16] {
        let mut check = [0; 16];
        self.secret.derive_into(&[b"sluice/v1/check-value"], &mut check);
        check
    }

    /// The maker of fingerprints under this key.
    #[must_use]
    pub fn fingerprinter(&self) -> Fingerprinter {
        Fingerprinter::new(
            &self.secret.derive(&[b"sluice/v1/fingerprint"]),
            &self.secret.derive(&[b"sluice/v1/idempotency"]),
        )
    }

    /// Wraps an epoch key for storage: 73 bytes, bound to its epoch, generation and kind.
    #[must_use]
    pub fn wrap_epoch(&self, key: &EpochKey) -> Vec<u8> {
        let place = place_of_epoch(key.epoch(), key.generation(), key.kind());
        wrap(&self.epoch_wrapping, &[b"sluice/v1/epoch-key\0", &place[..]].concat(), key.secret.bytes())
    }

    /// The epoch key that [`MasterKey::wrap_epoch`] wrapped for the same place.
    ///
    /// # Errors
    ///
    /// [`UnwrapError`]: damaged, moved, or another master key.
    pub fn unwrap_epoch(
        &self,
        epoch: Epoch,
        generation: u32,
        kind: EpochKind,
        wrapped: &[u8],
    ) -> Result<EpochKey, UnwrapError> {
        let place = place_of_epoch(epoch, generation, kind);
        let secret =
            unwrap_secret(&self.epoch_wrapping, &[b"sluice/v1/epoch-key\0", &place[..]].concat(), wrapped)?;
        Ok(EpochKey::with(secret, epoch, generation, kind))
    }

    /// Wraps a small secret (a signing key, a mask seed) that lives at the place `label` names.
    #[must_use]
    pub fn wrap_secret(&self, label: &str, bytes: &[u8]) -> Vec<u8> {
        wrap(&self.secret_wrapping, &bind(b"sluice/v1/secret\0", &[label.as_bytes()]), bytes)
    }

    /// The bytes that [`MasterKey::wrap_secret`] wrapped under the same `label`.
    ///
    /// # Errors
    ///
    /// [`UnwrapError`]: damaged, moved, or another master key.
    pub fn unwrap_secret(&self, label: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        unwrap(&self.secret_wrapping, &bind(b"sluice/v1/secret\0", &[label.as_bytes()]), wrapped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_reads_back_and_foreign_texts_are_refused_without_quoting_them() {
        let key = MasterKey::generate();
        let text = key.to_text();
        assert_eq!(text.len(), TEXT_PREFIX.len() + 44);
        let back = MasterKey::from_text(&format!("  {}\r\n", *text)).unwrap();
        assert_eq!(back.check_value(), key.check_value());
        let cases = [
            ("", MasterKeyTextError::Prefix),
            ("sluice-master-v2:AAAA", MasterKeyTextError::Prefix),
            ("sluice-master-v1:***", MasterKeyTextError::Base64),
            ("sluice-master-v1:AA A", MasterKeyTextError::Base64),
            ("sluice-master-v1:c2VjcmV0", MasterKeyTextError::Length),
            ("sluice-master-v1:", MasterKeyTextError::Length),
        ];
        for (text, error) in cases {
            assert_eq!(MasterKey::from_text(text).err(), Some(error));
            assert!(!error.to_string().contains("c2VjcmV0"));
        }
    }

    #[test]
    fn an_epoch_key_unwraps_in_its_own_place_under_its_own_master_key() {
        let (master, other) = (MasterKey::generate(), MasterKey::generate());
        assert_ne!(master.check_value(), other.check_value());
        let key = EpochKey::generate(Epoch(20_000), 3, EpochKind::Sessions);
        let wrapped = master.wrap_epoch(&key);
        let back = master.unwrap_epoch(Epoch(20_000), 3, EpochKind::Sessions, &wrapped).unwrap();
        assert_eq!(back.secret.bytes(), key.secret.bytes());
        assert_eq!((back.epoch(), back.generation(), back.kind()), (Epoch(20_000), 3, EpochKind::Sessions));
        let refused = |master: &MasterKey, epoch, generation, kind| {
            master.unwrap_epoch(Epoch(epoch), generation, kind, &wrapped).err() == Some(UnwrapError::Refused)
        };
        assert!(refused(&other, 20_000, 3, EpochKind::Sessions));
        assert!(refused(&master, 20_001, 3, EpochKind::Sessions));
        assert!(refused(&master, 20_000, 4, EpochKind::Sessions));
        assert!(refused(&master, 20_000, 3, EpochKind::NoConsent));
    }

    #[test]
    fn a_small_secret_unwraps_under_its_own_label_only() {
        let master = MasterKey::generate();
        let wrapped = master.wrap_secret("mask/clicks", b"seed");
        assert_eq!(master.unwrap_secret("mask/clicks", &wrapped).unwrap().as_slice(), b"seed");
        assert_eq!(master.unwrap_secret("mask/orders", &wrapped), Err(UnwrapError::Refused));
        assert_eq!(MasterKey::generate().unwrap_secret("mask/clicks", &wrapped), Err(UnwrapError::Refused));
    }

    #[test]
    fn a_day_secret_goes_through_its_epoch_key() {
        let key = EpochKey::generate(Epoch(20_000), 0, EpochKind::NoConsent);
        let day = crate::crypto::DaySecret::generate();
        let back = key.unwrap_day_secret(&key.wrap_day_secret(&day)).unwrap();
        assert_eq!(back.0.bytes(), day.0.bytes());
    }
}
