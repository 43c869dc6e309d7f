//! Masks: one-way codes that stay joinable, applied to fields readable in a derived stream.
//!
//! ```text
//! HMAC_SHA256 = lower-case hex of HMAC-SHA256(seed, value)[..16]                       32 characters
//! MURMUR3     = hex(h1) | hex(h2) of MurmurHash3_x64_128(seed 0, mask seed | value)    the original's
//! ```
//! `MURMUR3` prints each half without leading zeros, as the original did, and is no protection against
//! somebody who can guess values: it exists for joining with old data.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::{mac::Mac, secret::Secret};
use crate::domain::mask::MaskHash;

/// Masks values under one seed.
pub struct Masker(Keyed);

enum Keyed {
    HmacSha256(Box<Mac>),
    Murmur3(Zeroizing<Vec<u8>>),
}

impl Masker {
    /// A masker for `seed`, which is secret.
    #[must_use]
    pub fn new(hash: MaskHash, seed: &[u8]) -> Masker {
        Masker(match hash {
            MaskHash::HmacSha256 => Keyed::HmacSha256(Box::new(Mac::new(seed))),
            MaskHash::Murmur3 => Keyed::Murmur3(Zeroizing::new(seed.to_vec())),
        })
    }

    /// A seed for when none is given: 256 bits as 43 characters.
    #[must_use]
    pub fn generate_seed() -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(Secret::random().bytes()))
    }

    /// Appends the code of `value` to `out`: 32 hexadecimal digits, up to 30 fewer under `MURMUR3`.
    pub fn mask(&self, value: &[u8], out: &mut Vec<u8>) {
        match &self.0 {
            Keyed::HmacSha256(mac) => {
                let tag = mac.tag(&[value]);
                push_hex(tag[..16].iter().flat_map(|byte| [byte >> 4, byte & 15]), out);
            }
            Keyed::Murmur3(seed) => {
                let mut input: &mut dyn std::io::Read = &mut std::io::Read::chain(&seed[..], value);
                let whole = murmur3::murmur3_x64_128(&mut input, 0).expect("reading memory does not fail");
                for half in [whole as u64, (whole >> 64) as u64] {
                    let digits = (64 - half.leading_zeros()).div_ceil(4).max(1);
                    push_hex((0..digits).rev().map(|i| (half >> (4 * i)) as u8 & 15), out);
                }
            }
        }
    }
}

fn push_hex(nibbles: impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    out.extend(nibbles.map(|nibble| b"0123456789abcdef"[usize::from(nibble)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(masker: &Masker, value: &str) -> String {
        let mut out = b"kept".to_vec();
        masker.mask(value.as_bytes(), &mut out);
        String::from_utf8(out.split_off(4)).unwrap()
    }

    #[test]
    fn murmur3_codes_are_the_originals() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/data/golden-vectors.json")).unwrap();
        let golden = &golden["mask_function"];
        let masker = Masker::new(MaskHash::Murmur3, golden["mask_seed"].as_str().unwrap().as_bytes());
        for pair in golden["vectors"].as_array().unwrap() {
            assert_eq!(masked(&masker, pair[0].as_str().unwrap()), pair[1].as_str().unwrap());
        }
    }

    #[test]
    fn hmac_codes_are_rfc_4231_case_2_cut_to_16_bytes() {
        let masker = Masker::new(MaskHash::HmacSha256, b"Jefe");
        assert_eq!(masked(&masker, "what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c7");
    }

    #[test]
    fn codes_differ_by_seed_and_value() {
        let (seed, other) = (Masker::generate_seed(), Masker::generate_seed());
        for hash in [MaskHash::HmacSha256, MaskHash::Murmur3] {
            let masker = Masker::new(hash, seed.as_bytes());
            assert_eq!(masked(&masker, "a"), masked(&masker, "a"));
            assert_ne!(masked(&masker, "a"), masked(&masker, "b"));
            assert_ne!(masked(&masker, "a"), masked(&Masker::new(hash, other.as_bytes()), "a"));
        }
    }
}
