//! A stored event: its envelope and its sealed body, and how several lie behind one another.
//!
//! ```text
//! frame     = u32 LE length of what follows | head | body
//! head      = 0x01 | serialization u8 | accepted_ms i64 LE | source_seq u64 LE | key_link 16
//!           | u8 len, schema ref | u8 len, contract ref | u8 count, levels i32 LE each
//! batch     = frame*
//! ```
//! The envelope holds nothing personal. The body is already sealed when it gets here.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{KeyLink, limits};
use crate::clock::Timestamp;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Serialization {
    /// Bare Avro binary datum.
    AvroBinary = 0,
    /// Avro JSON: unions are tagged.
    AvroJson = 1,
    /// Plain JSON: unions untagged.
    Json = 2,
}

/// What stands beside a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead<'a> {
    pub serialization: Serialization,
    pub accepted: Timestamp,
    /// Sequence in the source log this record was derived from; 0 in a source log.
    pub source_seq: u64,
    pub key_link: KeyLink,
    pub schema: &'a str,
    pub contract: &'a str,
    pub consent: Levels<'a>,
}

/// Consent levels, borrowed from an event or from a stored record.
#[derive(Clone, Copy, Debug)]
pub enum Levels<'a> {
    Plain(&'a [i32]),
    Stored(&'a [u8]),
}

impl Levels<'_> {
    /// The levels, in the order the producer gave them.
    pub fn iter(&self) -> impl Iterator<Item = i32> + '_ {
        let (plain, stored): (&[i32], &[u8]) = match self {
            Levels::Plain(levels) => (levels, &[]),
            Levels::Stored(bytes) => (&[], bytes),
        };
        let stored = stored.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        plain.iter().copied().chain(stored)
    }
}

impl PartialEq for Levels<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}
impl Eq for Levels<'_> {}

/// One record as read from a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub head: RecordHead<'a>,
    pub body: &'a [u8],
}

/// The stored bytes do not follow the format above: damaged, or written by a newer Sluice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stored record is damaged")]
pub struct RecordDamaged;

/// Records packed behind one another, ready to be appended. At most 4 GiB.
#[derive(Clone, Debug, Default)]
pub struct RecordBatch {
    packed: Packed,
    count: u32,
}

/// Bytes of one owner that grow, or of several that do not.
#[derive(Clone, Debug)]
enum Packed {
    Own(Vec<u8>),
    Shared(Bytes),
}

impl RecordBatch {
    /// Packs one record.
    ///
    /// # Panics
    ///
    /// When the head breaks `domain::limits` (references over 255 bytes, over 50 levels): checked
    /// before an event gets here.
    pub fn push(&mut self, head: &RecordHead<'_>, body: &[u8]) {
        let bytes = self.packed.own();
        let start = bytes.len();
        bytes.reserve(4 + 80 + head.schema.len() + head.contract.len() + body.len());
        bytes.extend_from_slice(&[0; 4]);
        write_head(head, bytes);
        bytes.extend_from_slice(body);
        let length = u32::try_from(bytes.len() - start - 4).expect("a body is at most 64 MiB");
        bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
    }

    /// Appends all records of `other`.
    pub fn extend(&mut self, other: &RecordBatch) {
        self.packed.own().extend_from_slice(other.bytes());
        self.count += other.count;
    }

    /// Makes clones share the bytes instead of copying them, until one of them grows.
    pub fn share(&mut self) {
        if let Packed::Own(bytes) = &mut self.packed {
            self.packed = Packed::Shared(std::mem::take(bytes).into());
        }
    }

    /// Number of records.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The packed bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.packed {
            Packed::Own(bytes) => bytes,
            Packed::Shared(bytes) => bytes,
        }
    }

    /// The packed bytes, taken out.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.packed {
            Packed::Own(bytes) => bytes.into(),
            Packed::Shared(bytes) => bytes,
        }
    }
}

impl Packed {
    fn own(&mut self) -> &mut Vec<u8> {
        if let Packed::Shared(bytes) = self {
            *self = Packed::Own(bytes.to_vec());
        }
        match self {
            Packed::Own(bytes) => bytes,
            Packed::Shared(_) => unreachable!("made its own above"),
        }
    }
}

impl Default for Packed {
    fn default() -> Packed {
        Packed::Own(Vec::new())
    }
}

impl PartialEq for RecordBatch {
    fn eq(&self, other: &RecordBatch) -> bool {
        self.count == other.count && self.bytes() == other.bytes()
    }
}

impl Eq for RecordBatch {}

/// Walks packed records. Yields one error and ends when the bytes are damaged.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = Result<Record<'_>, RecordDamaged>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let record = take_frame(&mut rest).and_then(read_record);
        if record.is_none() {
            rest = &[];
        }
        Some(record.ok_or(RecordDamaged))
    })
}

fn write_head(head: &RecordHead<'_>, out: &mut Vec<u8>) {
    out.push(1);
    out.push(head.serialization as u8);
    out.extend_from_slice(&head.accepted.0.to_le_bytes());
    out.extend_from_slice(&head.source_seq.to_le_bytes());
    out.extend_from_slice(head.key_link.0.as_bytes());
    for reference in [head.schema, head.contract] {
        out.push(u8::try_from(reference.len()).expect("a reference is at most 255 bytes"));
        out.extend_from_slice(reference.as_bytes());
    }
    let at = out.len();
    out.push(0);
    let mut count = 0_u8;
    for level in head.consent.iter().take(limits::CONSENT_LEVELS_MAX) {
        out.extend_from_slice(&level.to_le_bytes());
        count += 1;
    }
    out[at] = count;
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    take(rest, N)?.try_into().ok()
}

fn take_frame<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take_array(rest)?);
    take(rest, length as usize)
}

fn take_ref<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let [length] = take_array(rest)?;
    std::str::from_utf8(take(rest, length.into())?).ok()
}

fn read_record(mut rest: &[u8]) -> Option<Record<'_>> {
    let rest = &mut rest;
    let [1] = take_array(rest)? else { return None };
    let serialization = match take_array(rest)? {
        [0] => Serialization::AvroBinary,
        [1] => Serialization::AvroJson,
        [2] => Serialization::Json,
        _ => return None,
    };
    let accepted = Timestamp(i64::from_le_bytes(take_array(rest)?));
    let source_seq = u64::from_le_bytes(take_array(rest)?);
    let key_link = KeyLink(Uuid::from_bytes(take_array(rest)?));
    let schema = take_ref(rest)?;
    let contract = take_ref(rest)?;
    let [levels] = take_array(rest)?;
    let consent = Levels::Stored(take(rest, usize::from(levels) * 4)?);
    Some(Record {
        head: RecordHead { serialization, accepted, source_seq, key_link, schema, contract, consent },
        body: rest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head<'a>(levels: &'a [i32]) -> RecordHead<'a> {
        RecordHead {
            serialization: Serialization::AvroBinary,
            accepted: Timestamp(1_700_000_000_000),
            source_seq: 7,
            key_link: KeyLink(Uuid::from_u128(9)),
            schema: "acme/click/1.0.0",
            contract: "acme/click/1.0.1",
            consent: Levels::Plain(levels),
        }
    }

    #[test]
    fn packed_records_come_back_as_they_went_in() {
        let mut batch = RecordBatch::default();
        batch.push(&head(&[0, 1, -3]), b"one");
        batch.push(&head(&[]), b"");
        let read: Vec<_> = records(batch.bytes()).map(Result::unwrap).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].head, read[0].body), (head(&[0, 1, -3]), b"one".as_slice()));
        assert_eq!((read[1].head, read[1].body), (head(&[]), b"".as_slice()));
    }

    #[test]
    fn cut_bytes_yield_an_error_and_never_a_record_that_was_not_written() {
        let mut batch = RecordBatch::default();
        batch.push(&head(&[1]), b"body");
        for end in 1..batch.bytes().len() {
            assert_eq!(
                records(&batch.bytes()[..end]).collect::<Vec<_>>(),
                [Err(RecordDamaged)],
                "cut at {end}"
            );
        }
    }
}
