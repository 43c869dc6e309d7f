//! Merkle tree of RFC 9162 2.1 over the entries, which only grows.
//!
//! ```text
//! leaf = SHA-256(0x00 | entry)          node = SHA-256(0x01 | left | right)
//! a tree of n > 1 leaves splits at k, the largest power of two smaller than n
//! ```
//! Kept is the hash of every complete subtree: 64 bytes an entry, so that a root and every proof are a
//! handful of lookups. Rebuilt from the log at start.

use sha2::{Digest, Sha256};

/// SHA-256.
pub type Hash = [u8; 32];

/// Hash of an entry.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A growing tree.
#[derive(Clone, Default)]
pub struct Tree {
    /// `levels[l][i]` is the subtree over leaves `i << l .. (i + 1) << l`.
    levels: Vec<Vec<Hash>>,
}

/// The tree has no such leaf or never had this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log has no such entry or size")]
pub struct OutOfRange;

impl Tree {
    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Appends a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let nodes = &mut self.levels[level];
            nodes.push(hash);
            if nodes.len() % 2 == 1 {
                return;
            }
            hash = node_hash(&nodes[nodes.len() - 2], &nodes[nodes.len() - 1]);
        }
    }

    /// Root of the first `size` leaves.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`]: there are fewer.
    pub fn root(&self, size: u64) -> Result<Hash, OutOfRange> {
        self.check(size)?;
        Ok(if size == 0 { Sha256::digest([]).into() } else { self.subtree(0, size) })
    }

    /// Hashes that lead from leaf `index` to the root of the first `size` leaves (2.1.3.1).
    ///
    /// # Errors
    ///
    /// [`OutOfRange`].
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, OutOfRange> {
        self.check(size)?;
        if index >= size {
            return Err(OutOfRange);
        }
        let (mut low, mut high, mut path) = (0, size, Vec::new());
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                path.push(self.subtree(middle, high));
                high = middle;
            } else {
                path.push(self.subtree(low, middle));
                low = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// Hashes that show that the first `from` leaves are the beginning of the first `to` (2.1.4.1).
    ///
    /// # Errors
    ///
    /// [`OutOfRange`].
    pub fn consistency(&self, from: u64, to: u64) -> Result<Vec<Hash>, OutOfRange> {
        self.check(to)?;
        if from == 0 || from > to {
            return Err(OutOfRange);
        }
        let (mut low, mut high, mut path) = (0, to, Vec::new());
        while from != high {
            let middle = low + split(high - low);
            if from <= middle {
                path.push(self.subtree(middle, high));
                high = middle;
            } else {
                path.push(self.subtree(low, middle));
                low = middle;
            }
        }
        // The old tree's own root is known to who holds it.
        if low > 0 {
            path.push(self.subtree(low, high));
        }
        path.reverse();
        Ok(path)
    }

    fn check(&self, size: u64) -> Result<(), OutOfRange> {
        if size <= self.size() { Ok(()) } else { Err(OutOfRange) }
    }

    /// Hash over leaves `low..high`, where `low` is a multiple of the power of two that covers them.
    fn subtree(&self, low: u64, high: u64) -> Hash {
        let length = high - low;
        if length.is_power_of_two() {
            let level = length.trailing_zeros();
            let place = usize::try_from(low >> level).expect("what is in memory has an index");
            return self.levels[level as usize][place];
        }
        let middle = low + split(length);
        node_hash(&self.subtree(low, middle), &self.subtree(middle, high))
    }
}

/// Largest power of two smaller than `n`, which is at least 2.
fn split(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// Whether `path` leads from the leaf at `index` to `root` of `size` leaves (2.1.3.2).
#[must_use]
pub fn includes(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `path` shows that `root` of `size` leaves begins with the `old_size` leaves of `old_root` (2.1.4.2).
#[must_use]
pub fn extends(old_size: u64, old_root: &Hash, size: u64, root: &Hash, path: &[Hash]) -> bool {
    if old_size == size {
        return path.is_empty() && old_root == root;
    }
    if old_size == 0 || old_size > size {
        return false;
    }
    let whole = old_size.is_power_of_two().then_some(old_root);
    let mut path = whole.into_iter().chain(path);
    let Some(first) = path.next() else { return false };
    let (mut place, mut last) = (old_size - 1, size - 1);
    while place & 1 == 1 {
        place >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (*first, *first);
    for hash in path {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            old = node_hash(hash, &old);
            new = node_hash(hash, &new);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, hash);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && old == *old_root && new == *root
}

#[cfg(test)]
mod tests;
