//! The journal being written, and the files it is written into.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::frame::Frame;

/// Writes commits. The committer alone has it.
pub(in crate::storage::embedded) struct Journal {
    pool: Arc<Pool>,
    file: File,
    number: u64,
    at: u64,
    /// Number of the last commit.
    commit: u64,
}

/// A journal was filled and the next one begun.
pub(in crate::storage::embedded) struct Turned {
    /// The new journal.
    pub number: u64,
    /// The last commit before it.
    pub commit: u64,
}

impl Journal {
    /// Begins the pool's next journal, behind commit `commit`.
    pub(in crate::storage::embedded) fn begin(pool: Arc<Pool>, commit: u64) -> io::Result<Journal> {
        let (number, file) = pool.take()?;
        Ok(Journal { pool, file, number, at: 0, commit })
    }

    /// Where the journal begins.
    pub(in crate::storage::embedded) fn began(&self) -> Turned {
        Turned { number: self.number, commit: self.commit }
    }

    /// Where the journal after this one will begin.
    pub(in crate::storage::embedded) fn next(&self) -> Turned {
        Turned { number: self.number + 1, commit: self.commit }
    }

    /// Begins the next journal when a frame of so many bytes would overfill this one. On a full disk this
    /// one goes on.
    pub(in crate::storage::embedded) fn turn_for(&mut self, bytes: usize) -> io::Result<Option<Turned>> {
        if self.at == 0 || self.at + bytes as u64 <= self.pool.bytes {
            return Ok(None);
        }
        let (number, file) = match self.pool.take() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(None),
            taken => taken?,
        };
        (self.number, self.file, self.at) = (number, file, 0);
        Ok(Some(self.began()))
    }

    /// Makes a commit durable and empties the frame.
    pub(in crate::storage::embedded) fn write(&mut self, frame: &mut Frame) -> io::Result<()> {
        let bytes = frame.seal(self.commit + 1);
        self.file.write_all_at(bytes, self.at)?;
        self.file.sync_data()?;
        self.at += bytes.len() as u64;
        self.commit += 1;
        frame.clear();
        Ok(())
    }
}

/// Files of journals: those to come and those that may be used again.
pub(in crate::storage::embedded) struct Pool {
    folder: PathBuf,
    /// Size of a journal, in bytes. One larger commit makes a larger one.
    bytes: u64,
    files: Mutex<Files>,
}

struct Files {
    next: u64,
    prepared: Option<File>,
    spare: Vec<PathBuf>,
}

/// Journals kept to be used again.
const SPARE_MAX: usize = 2;

impl Pool {
    /// Files numbered from `next` on.
    pub(in crate::storage::embedded) fn new(folder: PathBuf, bytes: u64, next: u64) -> Pool {
        Pool { folder, bytes, files: Mutex::new(Files { next, prepared: None, spare: Vec::new() }) }
    }

    fn take(&self) -> io::Result<(u64, File)> {
        let mut files = self.files.lock();
        let file = match files.prepared.take() {
            Some(file) => file,
            None => self.make(&mut files)?,
        };
        files.next += 1;
        Ok((files.next - 1, file))
    }

    /// Makes the next journal before it is needed.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let mut files = self.files.lock();
        if files.prepared.is_none() {
            match self.make(&mut files) {
                // There may be room again by then.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
                made => files.prepared = Some(made?),
            }
        }
        Ok(())
    }

    fn make(&self, files: &mut Files) -> io::Result<File> {
        let path = path(&self.folder, files.next);
        if let Some(spare) = files.spare.pop() {
            std::fs::rename(spare, &path)?;
        }
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        if file.metadata()?.len() < self.bytes {
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.bytes) {
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) | Ok(()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        file.sync_all()?;
        File::open(&self.folder)?.sync_all()?;
        Ok(file)
    }

    /// Gives back every journal below `number`: what it holds is in segments.
    pub(super) fn give_back(&self, number: u64) -> io::Result<()> {
        let mut files = self.files.lock();
        for (found, path) in list(&self.folder)? {
            if found >= number || files.spare.contains(&path) {
                continue;
            }
            if files.spare.len() < SPARE_MAX && std::fs::metadata(&path)?.len() == self.bytes {
                files.spare.push(path);
            } else {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.jnl"))
}

/// The journals in `folder`, in order.
pub(super) fn list(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number
            && path.extension().is_some_and(|end| end == "jnl")
        {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}
