//! The one format of everything stored wrapped: XChaCha20-Poly1305 with a random nonce.
//!
//! ```text
//! wrapped = 0x01 | nonce 24 | ciphertext | tag 16
//! aad     = purpose, NUL-terminated | identity, fixed width or length-prefixed
//! ```
//! The associated data says what the wrapped bytes are for and whose they are, so that a record moved to
//! another place does not unwrap there.

use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305};
use zeroize::Zeroizing;

use super::secret::{Secret, fill_random};

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// Why wrapped bytes did not unwrap. Neither is worth a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// Damaged, or written by a newer Sluice.
    #[error("the wrapped key has an unknown form")]
    Malformed,
    /// Wrapped by another key, altered, or moved from another place.
    #[error("the wrapped key does not belong here or its wrapping key is another")]
    Refused,
}

/// Wraps `plain` under `key`, bound to `aad`. 41 bytes longer than `plain`.
pub(super) fn wrap(key: &Secret, aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut nonce = [0; NONCE_BYTES];
    fill_random(&mut nonce);
    let mut wrapped = Vec::with_capacity(1 + NONCE_BYTES + plain.len() + TAG_BYTES);
    wrapped.push(VERSION);
    wrapped.extend_from_slice(&nonce);
    wrapped.extend_from_slice(plain);
    let text = &mut wrapped[1 + NONCE_BYTES..];
    let tag = XChaCha20Poly1305::new(key.bytes().into())
        .encrypt_inout_detached(&nonce.into(), aad, text.into())
        .expect("a key is shorter than 256 GiB");
    wrapped.extend_from_slice(&tag);
    wrapped
}

/// The bytes that [`wrap`] wrapped under the same key and `aad`.
pub(super) fn unwrap(key: &Secret, aad: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
    let [VERSION, rest @ ..] = wrapped else { return Err(UnwrapError::Malformed) };
    let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(UnwrapError::Malformed)?;
    let (text, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(UnwrapError::Malformed)?;
    let mut plain = Zeroizing::new(text.to_vec());
    XChaCha20Poly1305::new(key.bytes().into())
        .decrypt_inout_detached(nonce.into(), aad, plain.as_mut_slice().into(), tag.into())
        .map_err(|_| UnwrapError::Refused)?;
    Ok(plain)
}

/// [`unwrap`] for a 256-bit key.
pub(super) fn unwrap_secret(key: &Secret, aad: &[u8], wrapped: &[u8]) -> Result<Secret, UnwrapError> {
    Secret::copied_from(&unwrap(key, aad, wrapped)?).ok_or(UnwrapError::Malformed)
}

/// Associated data from parts that vary in length: `purpose | (u32 BE length | part)*`.
pub(super) fn bind(purpose: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut aad = purpose.to_vec();
    for part in parts {
        let length = u32::try_from(part.len()).expect("an identity is shorter than 4 GiB");
        aad.extend_from_slice(&length.to_be_bytes());
        aad.extend_from_slice(part);
    }
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_bytes_unwrap_under_the_same_key_and_place_only() {
        let (key, other) = (Secret::random(), Secret::random());
        let wrapped = wrap(&key, b"here", b"seed");
        assert_eq!(wrapped.len(), 4 + 41);
        assert_eq!(unwrap(&key, b"here", &wrapped).unwrap().as_slice(), b"seed");
        assert_eq!(unwrap(&key, b"there", &wrapped), Err(UnwrapError::Refused));
        assert_eq!(unwrap(&other, b"here", &wrapped), Err(UnwrapError::Refused));
        assert_ne!(wrap(&key, b"here", b"seed"), wrapped, "the nonce is random");
    }

    #[test]
    fn every_bit_and_every_length_of_the_wrapped_form_counts() {
        let key = Secret::random();
        let wrapped = wrap(&key, b"", &[7; 32]);
        for bit in 0..wrapped.len() * 8 {
            let mut flipped = wrapped.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unwrap(&key, b"", &flipped).is_err(), "bit {bit}");
        }
        for end in 0..wrapped.len() {
            assert!(unwrap(&key, b"", &wrapped[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn identities_of_different_parts_never_read_the_same() {
        assert_ne!(bind(b"p\0", &[b"ab", b"c"]), bind(b"p\0", &[b"a", b"bc"]));
        assert_ne!(bind(b"p\0", &[b"ab"]), bind(b"p\0", &[b"ab", b""]));
    }
}
