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
    engine::{Engine, Open, Threads},
    events::Job,
    queue::{Committing, Op, Queue},
};

const NOTE: &str = "clean";

impl Engine {
    /// Finishes what waits and closes the database. Does nothing the second time.
    pub(super) fn close_now(&self) {
        let Some(open) = self.open.write().take() else { return };
        let journal = self.threads.lock().take().and_then(|threads| finish(&open, &self.queue, threads));
        let commits = open.commits.load(Ordering::Relaxed);
        let path = open.path.clone();
        let released = release(open);
        if self.fatal.reason().is_none()
            && released
            && let Some(journal) = journal
            && let Err(error) = write_note(&path, Noted { commits, journal })
        {
            tracing::warn!(%error, "closed in order, but the note of it could not be written");
        }
    }
}

/// Ends both threads and moves everything out of the journals. Returns the journal's last commit; `None`
/// when something failed.
fn finish(open: &Arc<Open>, queue: &Queue, threads: Threads) -> Option<u64> {
    open.keeping.tell(Job::Stop);
    let keeper = threads.keeper.join();
    drop(queue.push(Op::Close));
    let mut pen = threads.committer.join().ok()??;
    let next = pen.journal.next();
    let mut committing = Committing { open, budget: &mut pen.budget };
    match keeper.ok()??.finish(&mut committing, &next) {
        Ok(()) => Some(next.commit),
        Err(error) => {
            open.fail(&error);
            None
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

/// The last commits of the engine and of the events' journal.
#[derive(Clone, Copy)]
pub(super) struct Noted {
    pub commits: u64,
    pub journal: u64,
}

fn write_note(folder: &Path, noted: Noted) -> io::Result<()> {
    let text = format!("commits {} journal {}", noted.commits, noted.journal);
    let mut file = File::create(folder.join(NOTE))?;
    writeln!(file, "{text} {:016x}", xxh3_64(text.as_bytes()))?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

/// Numbers of the last commits, if the folder was closed in order.
pub(super) fn read_note(folder: &Path) -> Option<Noted> {
    let note = std::fs::read_to_string(folder.join(NOTE)).ok()?;
    let (text, checksum) = note.trim_end().rsplit_once(' ')?;
    if u64::from_str_radix(checksum, 16).ok()? != xxh3_64(text.as_bytes()) {
        tracing::warn!("the note of an orderly close is unreadable; checking as after a crash");
        return None;
    }
    let (commits, journal) = text.strip_prefix("commits ")?.split_once(" journal ")?;
    Some(Noted { commits: commits.parse().ok()?, journal: journal.parse().ok()? })
}

/// Forgets that the folder was closed in order, before it changes.
pub(super) fn remove_note(folder: &Path) -> io::Result<()> {
    match std::fs::remove_file(folder.join(NOTE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => File::open(folder)?.sync_all(),
    }
}
