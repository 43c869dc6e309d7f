//! A file with the records of one log and one span of time.
//!
//! ```text
//! segment = block*
//! block   = "SLS1" | xxh3 u64 of what follows | length u32 of the whole block | count u32 | first u64
//!         | stored_ms i64 of its newest record | packed records        all integers little-endian
//! ```
//! Written by the keeper alone, always behind its end. What lies behind the end that the catalog knows is
//! of a crash and is cut off at opening; the journal has it.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::{clock::Timestamp, storage::Chunk};

const MAGIC: [u8; 4] = *b"SLS1";
const HEAD_BYTES: usize = 36;
const CHECKED_FROM: usize = 12;
/// Bytes read at once, at least and at most.
const READ_BYTES: (u64, u64) = (64 << 10, 1 << 20);
/// Bytes between two places the index knows.
const INDEX_STEP_BYTES: u64 = 128 << 10;

/// A segment.
pub(in crate::storage::embedded) struct Segment {
    path: PathBuf,
    /// Sequence of its first record.
    pub first: u64,
    /// When its first record was stored.
    pub created: Timestamp,
    bytes: AtomicU64,
    /// Sequence after its last record.
    end: AtomicU64,
    newest: AtomicI64,
    /// Sequences and where their blocks begin, in order; as far as anybody has read or written.
    index: Mutex<Vec<(u64, u64)>>,
}

/// How far a segment reaches, as the catalog keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage::embedded) struct Extent {
    pub created: Timestamp,
    pub newest: Timestamp,
    pub bytes: u64,
    pub end: u64,
}

impl Segment {
    /// A segment in `folder` that reaches as far as `extent` says.
    pub(in crate::storage::embedded) fn new(folder: &Path, first: u64, extent: Extent) -> Segment {
        Segment {
            path: folder.join(format!("{first:020}.seg")),
            first,
            created: extent.created,
            bytes: extent.bytes.into(),
            end: extent.end.into(),
            newest: extent.newest.0.into(),
            index: Mutex::default(),
        }
    }

    pub(in crate::storage::embedded) fn extent(&self) -> Extent {
        Extent {
            created: self.created,
            newest: self.newest(),
            bytes: self.bytes(),
            end: self.end.load(Ordering::Acquire),
        }
    }

    /// When the newest record was stored.
    pub(in crate::storage::embedded) fn newest(&self) -> Timestamp {
        Timestamp(self.newest.load(Ordering::Relaxed))
    }

    pub(in crate::storage::embedded) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    pub(in crate::storage::embedded) fn path(&self) -> &Path {
        &self.path
    }

    /// Cuts off what lies behind the extent. `false` when the file does not reach that far.
    pub(in crate::storage::embedded) fn cut(&self) -> io::Result<bool> {
        let file = match File::options().write(true).open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        let length = file.metadata()?.len();
        if length > self.bytes() {
            file.set_len(self.bytes())?;
        }
        Ok(length >= self.bytes())
    }

    /// Opens the file for the keeper, made when there is none.
    pub(super) fn writer(&self) -> io::Result<File> {
        File::options().create(true).truncate(false).write(true).open(&self.path)
    }

    /// Writes `blocks` behind the end; readers see them afterwards. Not yet synced.
    pub(super) fn append(&self, file: &File, blocks: &Blocks) -> io::Result<()> {
        let start = self.bytes();
        file.write_all_at(&blocks.bytes, start)?;
        {
            let mut index = self.index.lock();
            for (seq, at) in &blocks.index {
                let at = start + at;
                if index.last().map_or(at == 0, |(_, known)| at >= known + INDEX_STEP_BYTES) {
                    index.push((*seq, at));
                }
            }
        }
        self.newest.fetch_max(blocks.newest.0, Ordering::Relaxed);
        self.end.store(blocks.end, Ordering::Release);
        self.bytes.store(start + blocks.bytes.len() as u64, Ordering::Release);
        Ok(())
    }

    /// Reads chunks from the one that holds `from` on, about `max_bytes` bytes of them, at least one.
    pub(super) fn read(&self, from: u64, max_bytes: usize) -> Result<Vec<Chunk>, ReadError> {
        let length = self.bytes();
        let file = File::open(&self.path)?;
        let mut at = self.find(&file, from, length)?;
        let mut chunks = Vec::new();
        let mut left = max_bytes as u64;
        while at < length && (left > 0 || chunks.is_empty()) {
            let wanted = (left + HEAD_BYTES as u64).clamp(READ_BYTES.0, READ_BYTES.1).min(length - at);
            let mut bytes = read_at(&file, at, wanted)?;
            let head = Head::read(&bytes).ok_or(ReadError::Broken)?;
            if head.length > wanted {
                if head.length > length - at {
                    return Err(ReadError::Broken);
                }
                bytes = read_at(&file, at, head.length)?;
            }
            let read_before = at;
            while let Some(head) = Head::read(&bytes)
                && head.length <= bytes.len() as u64
                && (left > 0 || chunks.is_empty())
            {
                let block = bytes.split_to(usize::try_from(head.length).map_err(|_| ReadError::Broken)?);
                if xxh3_64(&block[CHECKED_FROM..]) != head.checksum {
                    return Err(ReadError::Broken);
                }
                at += head.length;
                if head.end() > from {
                    left = left.saturating_sub(head.length);
                    let bytes = block.slice(HEAD_BYTES..);
                    chunks.push(Chunk { first_seq: head.first, count: head.count, bytes });
                }
            }
            if at == read_before {
                return Err(ReadError::Broken);
            }
        }
        Ok(chunks)
    }

    /// Where the block that holds `from` begins, by hopping over the heads from the nearest known place.
    fn find(&self, file: &File, from: u64, length: u64) -> Result<u64, ReadError> {
        let mut index = self.index.lock();
        if index.is_empty() {
            index.push((self.first, 0));
        }
        let mut near = index.partition_point(|(seq, _)| *seq <= from).saturating_sub(1);
        let mut at = index[near].1;
        let mut head = [0; HEAD_BYTES];
        loop {
            if at >= length {
                return Ok(length);
            }
            file.read_exact_at(&mut head, at)?;
            let head = Head::read(&head).ok_or(ReadError::Broken)?;
            if at >= index[near].1 + INDEX_STEP_BYTES {
                near += 1;
                index.insert(near, (head.first, at));
            }
            if head.end() > from {
                return Ok(at);
            }
            at += head.length;
        }
    }

    /// Removes the file; readers that have it open go on.
    pub(super) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn read_at(file: &File, at: u64, length: u64) -> Result<Bytes, ReadError> {
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| ReadError::Broken)?];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes.into())
}

/// Why a segment could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// Trimmed or deleted meanwhile.
    Gone,
    Broken,
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        match error.kind() {
            io::ErrorKind::NotFound => ReadError::Gone,
            io::ErrorKind::UnexpectedEof => ReadError::Broken,
            _ => ReadError::Io(error),
        }
    }
}

struct Head {
    checksum: u64,
    length: u64,
    count: u32,
    first: u64,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Head> {
        let (magic, mut rest) = bytes.get(..HEAD_BYTES)?.split_at(4);
        let checksum = rest.get_u64_le();
        let length = u64::from(rest.get_u32_le());
        let (count, first) = (rest.get_u32_le(), rest.get_u64_le());
        let sound =
            magic == MAGIC && length >= HEAD_BYTES as u64 && first.checked_add(count.into()).is_some();
        sound.then_some(Head { checksum, length, count, first })
    }

    fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// Blocks gathered to be written at once.
#[derive(Default)]
pub(super) struct Blocks {
    bytes: Vec<u8>,
    index: Vec<(u64, u64)>,
    newest: Timestamp,
    end: u64,
    /// The block being filled: where it begins, its first sequence, its records.
    open: Option<(usize, u64, u32)>,
}

impl Blocks {
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Puts a chunk behind the others, in the same block while that is small.
    pub(super) fn push(&mut self, chunk: &Chunk, stored: Timestamp, block_bytes: usize) {
        if let Some((start, ..)) = self.open
            && self.bytes.len() - start + chunk.bytes.len() > block_bytes
        {
            self.close();
        }
        self.newest = self.newest.max(stored);
        let (_, _, count) = self.open.get_or_insert_with(|| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(&[0; HEAD_BYTES]);
            self.index.push((chunk.first_seq, start as u64));
            (start, chunk.first_seq, 0)
        });
        *count += chunk.count;
        self.bytes.extend_from_slice(&chunk.bytes);
        self.end = chunk.end();
    }

    /// Finishes the last block.
    pub(super) fn close(&mut self) {
        let Some((start, first, count)) = self.open.take() else { return };
        let block = &mut self.bytes[start..];
        let length = u32::try_from(block.len()).expect("a block is below 4 GiB");
        block[..4].copy_from_slice(&MAGIC);
        block[12..16].copy_from_slice(&length.to_le_bytes());
        block[16..20].copy_from_slice(&count.to_le_bytes());
        block[20..28].copy_from_slice(&first.to_le_bytes());
        block[28..36].copy_from_slice(&self.newest.0.to_le_bytes());
        let checksum = xxh3_64(&block[CHECKED_FROM..]);
        block[4..12].copy_from_slice(&checksum.to_le_bytes());
    }
}
