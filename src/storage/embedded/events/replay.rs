//! Reading the journals after a crash, and telling a torn commit from a damaged one.
//!
//! The committer never begins a commit before the one before it is synced, so a crash tears the *last*
//! commit at most. Noticed: a broken commit with a later one behind it, in the same journal or the next;
//! missing commits; and, when the node was closed in order, a missing last commit. Not noticed: damage to
//! the very last commit before a crash, which looks like a torn one.

use std::path::Path;

use bytes::Bytes;

use super::{
    frame::{self, Item, MAGIC},
    journal::list,
};
use crate::storage::OpenError;

/// What reading the journals found.
pub(super) struct Replayed {
    /// Number of the last commit.
    pub commit: u64,
    /// Number that no journal has yet.
    pub next: u64,
}

/// Applies every item of every commit after `commit`, beginning with journal `from`.
pub(super) fn replay(
    folder: &Path,
    from: u64,
    commit: u64,
    mut apply: impl FnMut(Item) -> Result<(), OpenError>,
) -> Result<Replayed, OpenError> {
    let mut replayed = Replayed { commit, next: from };
    for (number, path) in list(folder).map_err(unusable)? {
        replayed.next = replayed.next.max(number + 1);
        if number < from {
            continue;
        }
        let bytes = Bytes::from(std::fs::read(&path).map_err(unusable)?);
        let damaged = |at: usize, what: &str| OpenError::Damaged {
            what: format!("journal {number} of the events at byte {at}: {what}"),
        };
        let mut at = 0;
        while let Some((commit, length)) = frame::whole(&bytes[at..]) {
            // An earlier use of the file.
            if commit <= replayed.commit {
                break;
            }
            if commit > replayed.commit + 1 {
                return Err(damaged(at, "commits are missing"));
            }
            for item in frame::items(&bytes.slice(at..at + length)) {
                apply(item.ok_or_else(|| damaged(at, "a commit breaks the format"))?)?;
            }
            (replayed.commit, at) = (commit, at + length);
        }
        if later_commit(&bytes[at..], replayed.commit) {
            return Err(damaged(at, "a commit is broken and later ones follow"));
        }
    }
    Ok(replayed)
}

/// True when a whole commit after `commit` lies somewhere in `bytes`.
fn later_commit(bytes: &[u8], commit: u64) -> bool {
    memchr::memmem::find_iter(bytes, &MAGIC)
        .any(|at| frame::whole(&bytes[at..]).is_some_and(|(found, _)| found > commit))
}

fn unusable(error: std::io::Error) -> OpenError {
    OpenError::Io(error.into())
}
