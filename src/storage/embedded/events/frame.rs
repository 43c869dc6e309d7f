//! One commit as the journal holds it.
//!
//! ```text
//! frame = "SLJ1" | xxh3 u64 of what follows | length u32 of the whole frame | commit u64 | item*
//! item  = 1 | stream u64 | first u64 | count u32 | stored_ms i64 | length u32 | packed records     chunk
//!       | 4 | stream u64 | first u64 | count u32 | stored_ms i64 | length u32 | at u32     chunk, see below
//!       | 2 | stream u64 | source_seq u64 | derived_end u64                                        hint
//!       | 3 | stream u64 | once 16 | first u64 | end u64 | stored_ms i64                           once
//! ```
//! Derived streams with the same projection append the same bytes: the frame holds them once, at byte `at`.
//! All integers little-endian. Commits are numbered without gaps over all journals.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    clock::Timestamp,
    storage::{Chunk, Hint, OnceKey},
};

pub(super) const MAGIC: [u8; 4] = *b"SLJ1";
const CHECKED_FROM: usize = 12;
const HEAD_BYTES: usize = 24;

/// Something a commit made durable.
pub(in crate::storage::embedded) enum Item {
    Chunk { stream: u64, chunk: Chunk, stored: Timestamp },
    Hint { stream: u64, hint: Hint },
    Once { stream: u64, once: OnceKey, first: u64, end: u64, stored: Timestamp },
}

/// A frame being gathered. Keeps its memory for the next one.
pub(in crate::storage::embedded) struct Frame {
    bytes: Vec<u8>,
    /// The newest distinct chunks and where their records lie. Held, so that an address means one content.
    known: VecDeque<(Bytes, u32)>,
}

/// Chunks looked through for the same bytes: more than there are projections of one batch, as a rule.
const KNOWN_MAX: usize = 8;

impl Frame {
    pub(in crate::storage::embedded) fn new() -> Frame {
        Frame { bytes: vec![0; HEAD_BYTES], known: VecDeque::new() }
    }

    pub(in crate::storage::embedded) fn is_empty(&self) -> bool {
        self.bytes.len() == HEAD_BYTES
    }

    /// Bytes it will take.
    pub(in crate::storage::embedded) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(in crate::storage::embedded) fn chunk(&mut self, stream: u64, chunk: &Chunk, stored: Timestamp) {
        let length = u32::try_from(chunk.bytes.len()).expect("a chunk is below 4 GiB");
        let same = |known: &&(Bytes, u32)| known.0.as_ptr_range() == chunk.bytes.as_ptr_range();
        let at = self.known.iter().find(same).map(|(_, at)| *at);
        self.bytes.push(if at.is_some() { 4 } else { 1 });
        self.u64(stream).u64(chunk.first_seq);
        self.bytes.extend_from_slice(&chunk.count.to_le_bytes());
        self.bytes.extend_from_slice(&stored.0.to_le_bytes());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        if let Some(at) = at {
            self.bytes.extend_from_slice(&at.to_le_bytes());
            return;
        }
        if self.known.len() == KNOWN_MAX {
            self.known.pop_front();
        }
        let at = u32::try_from(self.bytes.len()).expect("a commit is below 4 GiB");
        self.known.push_back((chunk.bytes.clone(), at));
        self.bytes.extend_from_slice(&chunk.bytes);
    }

    pub(in crate::storage::embedded) fn hint(&mut self, stream: u64, hint: Hint) {
        self.bytes.push(2);
        self.u64(stream).u64(hint.source_seq).u64(hint.derived_end);
    }

    pub(in crate::storage::embedded) fn once(
        &mut self,
        stream: u64,
        once: OnceKey,
        (first, end): (u64, u64),
        stored: Timestamp,
    ) {
        self.bytes.push(3);
        self.u64(stream);
        self.bytes.extend_from_slice(&once.0);
        self.u64(first).u64(end);
        self.bytes.extend_from_slice(&stored.0.to_le_bytes());
    }

    fn u64(&mut self, number: u64) -> &mut Frame {
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self
    }

    /// The finished bytes.
    pub(super) fn seal(&mut self, commit: u64) -> &[u8] {
        let length = u32::try_from(self.bytes.len()).expect("a commit is below 4 GiB");
        self.bytes[..4].copy_from_slice(&MAGIC);
        self.bytes[12..16].copy_from_slice(&length.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&commit.to_le_bytes());
        let checksum = xxh3_64(&self.bytes[CHECKED_FROM..]);
        self.bytes[4..12].copy_from_slice(&checksum.to_le_bytes());
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.bytes.truncate(HEAD_BYTES);
        self.bytes.shrink_to(KEPT_BYTES);
    }
}

/// Memory a frame keeps between commits.
const KEPT_BYTES: usize = 1 << 20;

/// Number and length of the frame that `bytes` begins with. `None` when it is not whole.
pub(super) fn whole(bytes: &[u8]) -> Option<(u64, usize)> {
    let head = bytes.get(..HEAD_BYTES)?;
    let (magic, mut rest) = head.split_at(4);
    if magic != MAGIC {
        return None;
    }
    let (checksum, length, commit) = (rest.get_u64_le(), rest.get_u32_le() as usize, rest.get_u64_le());
    let checked = bytes.get(CHECKED_FROM..length)?;
    (length >= HEAD_BYTES && xxh3_64(checked) == checksum).then_some((commit, length))
}

/// The items of a whole frame; ends with `None` where they break the format.
pub(super) fn items(frame: &Bytes) -> impl Iterator<Item = Option<Item>> {
    let (frame, mut rest) = (frame.clone(), frame.slice(HEAD_BYTES..));
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let item = item(&frame, &mut rest);
        if item.is_none() {
            rest.clear();
        }
        Some(item)
    })
}

fn item(frame: &Bytes, rest: &mut Bytes) -> Option<Item> {
    let kind = rest.try_get_u8().ok()?;
    let stream = rest.try_get_u64_le().ok()?;
    match kind {
        1 | 4 => {
            let first_seq = rest.try_get_u64_le().ok()?;
            let count = rest.try_get_u32_le().ok()?;
            let stored = Timestamp(rest.try_get_i64_le().ok()?);
            let length = rest.try_get_u32_le().ok()? as usize;
            let bytes = if kind == 1 {
                (rest.len() >= length).then(|| rest.split_to(length))?
            } else {
                let at = rest.try_get_u32_le().ok()? as usize;
                let end = at.checked_add(length).filter(|end| *end <= frame.len())?;
                frame.slice(at..end)
            };
            Some(Item::Chunk { stream, chunk: Chunk { first_seq, count, bytes }, stored })
        }
        2 => {
            let (source_seq, derived_end) = (rest.try_get_u64_le().ok()?, rest.try_get_u64_le().ok()?);
            Some(Item::Hint { stream, hint: Hint { source_seq, derived_end } })
        }
        3 => {
            let mut once = OnceKey([0; 16]);
            rest.try_copy_to_slice(&mut once.0).ok()?;
            let (first, end) = (rest.try_get_u64_le().ok()?, rest.try_get_u64_le().ok()?);
            let stored = Timestamp(rest.try_get_i64_le().ok()?);
            Some(Item::Once { stream, once, first, end, stored })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_written_once_and_read_for_every_stream() {
        let records = Bytes::from(vec![7; 10_000]);
        let chunk = |first_seq, bytes: &Bytes| Chunk { first_seq, count: 3, bytes: bytes.clone() };
        let mut frame = Frame::new();
        frame.chunk(1, &chunk(10, &records), Timestamp(5));
        frame.chunk(2, &chunk(20, &records), Timestamp(5));
        // Equal, and of somebody else.
        frame.chunk(3, &chunk(30, &Bytes::from(vec![7; 10_000])), Timestamp(5));
        frame.hint(2, Hint { source_seq: 8, derived_end: 23 });
        let sealed = Bytes::copy_from_slice(frame.seal(42));
        assert!(sealed.len() > 20_000 && sealed.len() < 20_300);
        assert_eq!(whole(&sealed), Some((42, sealed.len())));
        let mut found = Vec::new();
        for item in items(&sealed) {
            if let Item::Chunk { stream, chunk, stored } = item.unwrap() {
                assert_eq!((chunk.count, stored, &chunk.bytes), (3, Timestamp(5), &records));
                found.push((stream, chunk.first_seq));
            }
        }
        assert_eq!(found, [(1, 10), (2, 20), (3, 30)]);
    }
}
