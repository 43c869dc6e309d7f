//! Checks of exported files, without a server: nothing here trusts where the files came from.
//!
//! The entries are held against signed checkpoints. The list of leaf hashes, when it is there, only helps
//! to say which entry is bad: it is believed when its own root is the signed one.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{
    Checkpoint,
    merkle::{self, Hash, Tree, leaf_hash},
};

/// An exported log that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub entries: u64,
    pub checkpoints: usize,
}

/// What is wrong with an exported log. Entries are named by their index, from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    #[error("there is no checkpoint to hold the entries against")]
    NoCheckpoint,
    #[error("entry {0} was altered, removed, inserted or moved")]
    BadEntry(u64),
    #[error("entries {from} to {until} are missing: the log was cut", until = .until - 1)]
    Cut { from: u64, until: u64 },
    #[error("entry {0} is after the newest checkpoint: nothing vouches for it")]
    Uncovered(u64),
    #[error("one of the entries {from} to {until} was altered", until = .until - 1)]
    Within { from: u64, until: u64 },
    #[error("the list of hashes was altered; the entries are as they were signed")]
    BadHashes,
    #[error("two checkpoints of size {0} have different roots: the log was forked")]
    Forked(u64),
    #[error("the proof does not hold")]
    BadProof,
}

impl Finding {
    /// The first bad entry, where one can be named.
    #[must_use]
    pub fn entry(&self) -> Option<u64> {
        match self {
            Finding::BadEntry(index) | Finding::Uncovered(index) => Some(*index),
            Finding::Cut { from, .. } => Some(*from),
            _ => None,
        }
    }
}

/// What the beginning of every entry says, whichever release wrote it.
#[derive(Deserialize)]
struct Numbered {
    index: u64,
}

/// Holds exported entries, one a line, against `checkpoints` whose signatures were checked.
///
/// # Errors
///
/// The first [`Finding`].
pub fn verify_log(
    entries: &[u8],
    hashes: Option<&[u8]>,
    checkpoints: &[Checkpoint],
) -> Result<Verified, Finding> {
    let mut checkpoints = checkpoints.to_vec();
    checkpoints.sort_by_key(|checkpoint| checkpoint.size);
    let newest = checkpoints.last().ok_or(Finding::NoCheckpoint)?.size;
    for pair in checkpoints.windows(2) {
        if pair[0].size == pair[1].size && pair[0].root != pair[1].root {
            return Err(Finding::Forked(pair[0].size));
        }
    }
    let whole = entries.is_empty() || entries.ends_with(b"\n");
    let (mut tree, mut leaves, mut misnumbered) = (Tree::default(), Vec::new(), None);
    for (index, line) in (0..).zip(lines(entries)) {
        let hash = leaf_hash(line);
        tree.push(hash);
        leaves.push(hash);
        let numbered = serde_json::from_slice::<Numbered>(line).is_ok_and(|read| read.index == index);
        if !numbered && misnumbered.is_none() {
            misnumbered = Some(index);
        }
    }
    let signed = |tree: &Tree, checkpoint: &Checkpoint| tree.root(checkpoint.size) == Ok(checkpoint.root);
    let listed = hashes.map(read_hashes);
    let trusted = listed.as_ref().and_then(Option::as_ref).filter(|listed| {
        let mut tree = Tree::default();
        listed.iter().for_each(|hash| tree.push(*hash));
        tree.size() == newest && checkpoints.iter().all(|checkpoint| signed(&tree, checkpoint))
    });
    if let Some(listed) = trusted
        && let Some(bad) = leaves.iter().zip(listed).position(|(leaf, listed)| leaf != listed)
    {
        return Err(Finding::BadEntry(bad as u64));
    }
    if let Some(index) = misnumbered {
        return Err(if index < newest { Finding::BadEntry(index) } else { Finding::Uncovered(index) });
    }
    let size = tree.size();
    let mut from = 0;
    for checkpoint in checkpoints.iter().filter(|checkpoint| checkpoint.size <= size) {
        if !signed(&tree, checkpoint) {
            return Err(match checkpoint.size - from {
                1 => Finding::BadEntry(from),
                _ => Finding::Within { from, until: checkpoint.size },
            });
        }
        from = checkpoint.size;
    }
    if size < newest {
        return Err(Finding::Cut { from: size, until: newest });
    }
    if size > newest {
        return Err(Finding::Uncovered(newest));
    }
    if !whole {
        return Err(Finding::BadEntry(size - 1));
    }
    if hashes.is_some() && trusted.is_none() {
        return Err(Finding::BadHashes);
    }
    Ok(Verified { entries: size, checkpoints: checkpoints.len() })
}

/// Whether `entry` is the one at `index` of the log that `checkpoint` signed.
///
/// # Errors
///
/// [`Finding::BadProof`].
pub fn verify_inclusion(
    entry: &[u8],
    index: u64,
    path: &[Hash],
    checkpoint: &Checkpoint,
) -> Result<(), Finding> {
    let numbered = serde_json::from_slice::<Numbered>(entry).is_ok_and(|read| read.index == index);
    let included = merkle::includes(&leaf_hash(entry), index, checkpoint.size, path, &checkpoint.root);
    if numbered && included { Ok(()) } else { Err(Finding::BadProof) }
}

/// Whether the log of `new` begins with the log of `old`.
///
/// # Errors
///
/// [`Finding::BadProof`].
pub fn verify_consistency(old: &Checkpoint, new: &Checkpoint, path: &[Hash]) -> Result<(), Finding> {
    let extends = merkle::extends(old.size, &old.root, new.size, &new.root, path);
    if extends { Ok(()) } else { Err(Finding::BadProof) }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let empty = bytes.is_empty();
    bytes.split(|byte| *byte == b'\n').filter(move |_| !empty)
}

fn read_hashes(text: &[u8]) -> Option<Vec<Hash>> {
    lines(text).map(|line| STANDARD.decode(line).ok()?.try_into().ok()).collect()
}

#[cfg(test)]
mod tests;
