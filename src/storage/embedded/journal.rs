//! Is the engine's journal whole? Asked before the engine opens it.
//!
//! The engine takes the first broken batch for the torn end of a crash and drops everything after it
//! without a word. After a crash that is right; after a flipped bit it would lose acknowledged records.
//! The two are told apart here: every commit carries its number (`layout::WITNESS`), the committer never
//! starts a commit before the one before it is synced, so a crash tears the *last* commit at most.
//! ```text
//! batch = 1 | items u32 | seqno u64, item*, 3 | xxh3 of the items u64 | "FJL" 3
//! item  = 2 | type u8 | compression u8 | keyspace u64 | key length u16 | value length u32
//!       | stored length u32 | key | value                       all integers little-endian
//! ```
//! Noticed: a broken batch in a sealed journal; a broken batch with a later commit behind it; commits
//! missing between batches or between journals; and, when the node was closed in order, a missing last
//! commit. Not noticed: damage to the very last commit before a crash, which looks like a torn one.

use std::{
    fs::{File, OpenOptions},
    hash::Hasher,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3;

use super::layout::{self, WITNESS};
use crate::storage::OpenError;

/// What the journals hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Journals {
    /// Number of the last whole commit, if there is any.
    pub last_commit: Option<u64>,
    /// A torn commit at the end: file, and where it begins.
    pub torn: Option<(PathBuf, u64)>,
}

impl Journals {
    /// Cuts the torn commit off: the engine refuses some kinds of them.
    pub(super) fn cut(&self) -> io::Result<()> {
        if let Some((path, at)) = &self.torn {
            let file = OpenOptions::new().write(true).open(path)?;
            file.set_len(*at)?;
            file.sync_all()?;
        }
        Ok(())
    }
}

/// Reads every journal in `folder`.
pub(super) fn check(folder: &Path) -> Result<Journals, OpenError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unusable)? {
        let path = entry.map_err(unusable)?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let (Some(number), Some("jnl")) = (number, path.extension().and_then(|end| end.to_str())) {
            files.push((number, path));
        }
    }
    files.sort();
    let mut journals = Journals::default();
    let count = files.len();
    for (index, (_, path)) in files.into_iter().enumerate() {
        let mut walk = Walk::open(&path, journals.last_commit).map_err(unusable)?;
        let whole_until = walk.run().map_err(|broken| match broken {
            Broken::Io(error) => unusable(error),
            Broken::Commit { at, what } => damaged(&path, at, what),
        })?;
        journals.last_commit = walk.commit;
        if walk.rest_is_empty(whole_until).map_err(unusable)? {
            continue;
        }
        if index + 1 < count {
            return Err(damaged(&path, whole_until, "a commit is broken"));
        }
        let next = walk.commit.map_or(1, |commit| commit + 1);
        if walk.finds_commit_after(whole_until, next).map_err(unusable)? {
            return Err(damaged(&path, whole_until, "a commit is broken and later ones follow"));
        }
        journals.torn = Some((path, whole_until));
    }
    Ok(journals)
}

fn unusable(error: io::Error) -> OpenError {
    OpenError::Io(error.into())
}

fn damaged(path: &Path, at: u64, what: &str) -> OpenError {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    OpenError::Damaged { what: format!("journal {name} at byte {at}: {what}") }
}

enum Broken {
    Io(io::Error),
    /// A batch is whole and still cannot be right.
    Commit {
        at: u64,
        what: &'static str,
    },
}

/// One journal being read.
struct Walk {
    file: BufReader<File>,
    commit: Option<u64>,
    seqno: Option<u64>,
    item: Vec<u8>,
}

/// Largest plausible step of the engine's sequence between two commits.
const SEQNO_STEP_MAX: u64 = 1 << 20;
const TRAILER: [u8; 4] = *b"FJL\x03";
const ITEM_HEAD: usize = 20;

impl Walk {
    fn open(path: &Path, commit: Option<u64>) -> io::Result<Walk> {
        let file = BufReader::with_capacity(256 << 10, File::open(path)?);
        Ok(Walk { file, commit, seqno: None, item: Vec::new() })
    }

    /// Reads batches until one is not whole. Returns where that one begins.
    fn run(&mut self) -> Result<u64, Broken> {
        let mut at = 0;
        loop {
            match self.batch() {
                Ok(Some((seqno, commit, length))) => {
                    let follows = self.commit.is_none_or(|last| commit == last + 1);
                    if !follows {
                        return Err(Broken::Commit { at, what: "commits are missing" });
                    }
                    let steps = self.seqno.is_none_or(|last| seqno > last && seqno - last <= SEQNO_STEP_MAX);
                    if !steps {
                        return Err(Broken::Commit { at, what: "a commit is out of order" });
                    }
                    (self.commit, self.seqno) = (Some(commit), Some(seqno));
                    at += length;
                }
                Ok(None) => return Ok(at),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(at),
                Err(error) => return Err(Broken::Io(error)),
            }
        }
    }

    /// The next batch: sequence, commit number, length in bytes. `None` when it is not whole.
    fn batch(&mut self) -> io::Result<Option<(u64, u64, u64)>> {
        let [1, a, b, c, d, seqno @ ..] = self.array::<13>()? else { return Ok(None) };
        let items = u32::from_le_bytes([a, b, c, d]);
        let mut length = 13;
        let mut hash = Xxh3::new();
        let mut commit = None;
        for _ in 0..items {
            let Some(witnessed) = self.item()? else { return Ok(None) };
            commit = witnessed;
            hash.update(&self.item);
            length += self.item.len() as u64;
        }
        let [3, checksum @ ..] = self.array::<9>()? else { return Ok(None) };
        let whole = u64::from_le_bytes(checksum) == hash.finish() && self.array::<4>()? == TRAILER;
        let Some(commit) = commit.filter(|_| whole) else { return Ok(None) };
        Ok(Some((u64::from_le_bytes(seqno), commit, length + 13)))
    }

    /// Reads one item into `self.item`; the commit number if it is the witness.
    #[expect(clippy::option_option, reason = "outer: is it an item; inner: is it the witness")]
    fn item(&mut self) -> io::Result<Option<Option<u64>>> {
        self.item.resize(ITEM_HEAD + 1, 0);
        self.file.read_exact(&mut self.item)?;
        let head = &self.item[..];
        if head[0] != 2 || head[1] > 4 || head[2] > 1 {
            return Ok(None);
        }
        let key = usize::from(u16::from_le_bytes([head[11], head[12]]));
        let stored = u32::from_le_bytes([head[17], head[18], head[19], head[20]]) as usize;
        // Grows with what is really there, so that a damaged length cannot ask for gigabytes.
        let (start, wanted) = (self.item.len(), (key + stored) as u64);
        let read = (&mut self.file).take(wanted).read_to_end(&mut self.item)?;
        if (read as u64) < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (key, value) = self.item[start..].split_at(key);
        Ok(Some(if key == layout::COMMITS { layout::witnessed(value) } else { None }))
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// True when only zeros, reserved by the engine, follow.
    fn rest_is_empty(&mut self, from: u64) -> io::Result<bool> {
        self.file.seek(SeekFrom::Start(from))?;
        let mut bytes = vec![0; 256 << 10];
        loop {
            match self.file.read(&mut bytes)? {
                0 => return Ok(true),
                read if bytes[..read].iter().any(|byte| *byte != 0) => return Ok(false),
                _ => {}
            }
        }
    }

    /// True when a witness of a commit after `commit` follows.
    fn finds_commit_after(&mut self, from: u64, commit: u64) -> io::Result<bool> {
        self.file.seek(SeekFrom::Start(from))?;
        let mut rest = Vec::new();
        self.file.read_to_end(&mut rest)?;
        let found = memchr::memmem::find_iter(&rest, &WITNESS).any(|at| {
            let number = rest.get(at + WITNESS.len()..at + WITNESS.len() + 8).and_then(layout::read_u64);
            number.is_some_and(|number| number > commit)
        });
        Ok(found)
    }
}
