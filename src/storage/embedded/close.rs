//! Closing in order, and the note that says so.
//!
//! The note (`clean`) holds the number of the last commit. A node that finds it knows that nothing may be
//! torn: whatever is missing was lost. It is removed before the first commit after opening.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    engine::{Engine, Open},
    queue::Op,
};

const NOTE: &str = "clean";

impl Engine {
    /// Finishes what waits and closes the database. Does nothing the second time.
    pub(super) fn close_now(&self) {
        drop(self.queue.push(Op::Close));
        for thread in self.threads.lock().drain(..) {
            drop(thread.join());
        }
        let Some(open) = self.open.write().take() else { return };
        let commits = open.commits.load(Ordering::Relaxed);
        let path = open.path.clone();
        let released = release(open);
        if self.fatal.reason().is_none()
            && released
            && let Err(error) = write_note(&path, commits)
        {
            tracing::warn!(%error, "closed in order, but the note of it could not be written");
        }
    }
}

/// Waits for reads that still run, then lets the database go. False when they take too long.
fn release(mut open: Arc<Open>) -> bool {
    for _ in 0..500 {
        match Arc::try_unwrap(open) {
            Ok(last) => {
                drop(last);
                return true;
            }
            Err(shared) => open = shared,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn write_note(folder: &Path, commits: u64) -> io::Result<()> {
    let text = format!("commits {commits}");
    let mut file = File::create(folder.join(NOTE))?;
    writeln!(file, "{text} {:016x}", xxh3_64(text.as_bytes()))?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

/// Number of the last commit, if the folder was closed in order.
pub(super) fn read_note(folder: &Path) -> Option<u64> {
    let note = std::fs::read_to_string(folder.join(NOTE)).ok()?;
    let (text, checksum) = note.trim_end().rsplit_once(' ')?;
    if u64::from_str_radix(checksum, 16).ok()? != xxh3_64(text.as_bytes()) {
        tracing::warn!("the note of an orderly close is unreadable; checking as after a crash");
        return None;
    }
    text.strip_prefix("commits ")?.parse().ok()
}

/// Forgets that the folder was closed in order, before it changes.
pub(super) fn remove_note(folder: &Path) -> io::Result<()> {
    match std::fs::remove_file(folder.join(NOTE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => File::open(folder)?.sync_all(),
    }
}
