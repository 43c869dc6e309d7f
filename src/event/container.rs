//! Avro object container files, walked in bounded pieces.
//!
//! ```text
//! header = "Obj" 0x01 | map of metadata (avro.schema, avro.codec) | 16 bytes sync
//! block  = count long | size long | data | the same 16 bytes
//! ```
//! Codecs: null, deflate (raw), snappy (with big-endian CRC-32 of the plain data), zstandard. A block is
//! refused before it grows past the limit, and what it unpacks to is the caller's to decode: `count` data
//! one behind another (`EventPlan::decode_first`).
//!
//! Source: Apache Avro 1.12 specification, "Object Container Files".

use std::io::Read;

use super::avro::Reader;
use crate::domain::limits;

const MAGIC: &[u8] = b"Obj\x01";
const SYNC_BYTES: usize = 16;
/// Bytes of a header up to which it is tried whenever there is more of it.
const HEADER_EAGER_BYTES: usize = 16 << 10;
/// Largest zstd window that is allocated: 8 MiB, the most the format asks every decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Two numbers of at most 10 bytes.
const BLOCK_HEAD_BYTES_MAX: usize = 20;

/// A container cannot be read further. Fix the file, do not retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    #[error("not an Avro object container")]
    Header,
    #[error("the container's codec is none of null, deflate, snappy and zstandard")]
    Codec,
    #[error("a block of the container is larger than the limit")]
    BlockTooLarge,
    #[error("a block of the container is damaged")]
    Block,
    #[error("the container ends inside its header or a block")]
    Truncated,
}

/// One unpacked block: `count` data in `bytes`.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    pub count: u64,
    pub bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

struct Header {
    schema: String,
    codec: Codec,
    sync: [u8; SYNC_BYTES],
}

/// Takes a container in pieces of any size and gives its blocks. Holds at most one packed block and what
/// was pushed; after an error it yields only that error.
pub struct Container {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are done with.
    done: usize,
    header: Option<Header>,
    failed: Option<ContainerError>,
    /// Bytes of the header when it was last looked at.
    header_tried: usize,
    block_bytes_max: usize,
}

impl Container {
    /// `block_bytes_max`: bytes of one block, packed and unpacked, at most
    /// (default `limits::CONTAINER_BLOCK_BYTES_MAX`).
    #[must_use]
    pub fn new(block_bytes_max: usize) -> Container {
        Container {
            buffer: Vec::new(),
            done: 0,
            header: None,
            header_tried: 0,
            failed: None,
            block_bytes_max,
        }
    }

    /// Says that no more bytes come: a header that waits for more is looked at once again.
    pub fn end(&mut self) {
        self.header_tried = 0;
    }

    /// Bytes that were pushed and are not unpacked yet.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.buffer.len() - self.done
    }

    /// Takes the next bytes of the file. Call `next_block` until None before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.done);
        self.done = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The writer's schema, once the header has been read. Compare with `SchemaPlan::is_written_by`.
    #[must_use]
    pub fn writer_schema(&self) -> Option<&str> {
        self.header.as_ref().map(|header| header.schema.as_str())
    }

    /// The next whole block; None when more bytes are needed.
    ///
    /// # Errors
    ///
    /// The file is not a container, damaged, or a block exceeds the limit.
    pub fn next_block(&mut self) -> Result<Option<Block>, ContainerError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.step().inspect_err(|error| self.failed = Some(*error))
    }

    /// To be called when the file has ended.
    ///
    /// # Errors
    ///
    /// It ended too early.
    pub fn finish(&self) -> Result<(), ContainerError> {
        match (self.failed, &self.header) {
            (Some(error), _) => Err(error),
            (None, Some(_)) if self.done == self.buffer.len() => Ok(()),
            _ => Err(ContainerError::Truncated),
        }
    }

    fn step(&mut self) -> Result<Option<Block>, ContainerError> {
        if self.header.is_none() {
            let rest = &self.buffer[self.done..];
            // A header is read from its start each time, so a long one only when there is twice as much of it.
            if rest.len() > HEADER_EAGER_BYTES
                && rest.len() < self.header_tried * 2
                && rest.len() <= limits::CONTAINER_HEADER_BYTES_MAX
            {
                return Ok(None);
            }
            self.header_tried = rest.len();
            match read_header(rest)? {
                Some((header, length)) => {
                    self.header = Some(header);
                    self.done += length;
                }
                None if rest.len() > limits::CONTAINER_HEADER_BYTES_MAX => {
                    return Err(ContainerError::Header);
                }
                None => return Ok(None),
            }
        }
        let Some(header) = &self.header else { return Ok(None) };
        let mut reader = Reader { body: &self.buffer, pos: self.done };
        let Some((count, size)) = block_head(&mut reader)? else { return Ok(None) };
        let (Ok(count), Ok(size)) = (u64::try_from(count), usize::try_from(size)) else {
            return Err(ContainerError::Block);
        };
        if size > self.block_bytes_max {
            return Err(ContainerError::BlockTooLarge);
        }
        if reader.rest() < size + SYNC_BYTES {
            return Ok(None);
        }
        let data = &self.buffer[reader.pos..reader.pos + size];
        let end = reader.pos + size + SYNC_BYTES;
        if self.buffer[reader.pos + size..end] != header.sync {
            return Err(ContainerError::Block);
        }
        let bytes = unpack(header.codec, data, self.block_bytes_max)?;
        self.done = end;
        Ok(Some(Block { count, bytes }))
    }
}

/// Count and size of a block; None when they are not there yet.
fn block_head(reader: &mut Reader<'_>) -> Result<Option<(i64, i64)>, ContainerError> {
    let whole = reader.rest() >= BLOCK_HEAD_BYTES_MAX;
    match reader.long().and_then(|count| Ok((count, reader.long()?))) {
        Ok(head) => Ok(Some(head)),
        Err(_) if whole => Err(ContainerError::Block),
        Err(super::DecodeError::AvroTruncated(_)) => Ok(None),
        Err(_) => Err(ContainerError::Block),
    }
}

/// Reads the header; None when it is not all there yet.
fn read_header(bytes: &[u8]) -> Result<Option<(Header, usize)>, ContainerError> {
    if !MAGIC.starts_with(&bytes[..bytes.len().min(MAGIC.len())]) {
        return Err(ContainerError::Header);
    }
    let mut reader = Reader { body: bytes, pos: MAGIC.len().min(bytes.len()) };
    let mut metadata = Metadata::default();
    match metadata.read(&mut reader) {
        Ok(()) => {}
        Err(super::DecodeError::AvroTruncated(_)) => return Ok(None),
        Err(_) => return Err(ContainerError::Header),
    }
    let Ok(sync) = reader.take(SYNC_BYTES) else { return Ok(None) };
    let codec = match metadata.codec {
        None | Some(b"null") => Codec::Null,
        Some(b"deflate") => Codec::Deflate,
        Some(b"snappy") => Codec::Snappy,
        Some(b"zstandard") => Codec::Zstandard,
        Some(_) => return Err(ContainerError::Codec),
    };
    let schema = metadata.schema.and_then(|schema| std::str::from_utf8(schema).ok());
    let Some(schema) = schema.map(str::to_owned) else { return Err(ContainerError::Header) };
    let sync = sync.try_into().expect("16 bytes were taken");
    Ok(Some((Header { schema, codec, sync }, reader.pos)))
}

#[derive(Default)]
struct Metadata<'a> {
    schema: Option<&'a [u8]>,
    codec: Option<&'a [u8]>,
}

impl<'a> Metadata<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), super::DecodeError> {
        loop {
            let count = reader.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                reader.long()?;
            }
            // Every entry takes bytes, so a count that is too large ends as truncated.
            for _ in 0..count.unsigned_abs() {
                let length = reader.length()?;
                let key = reader.take(length)?;
                let length = reader.length()?;
                let value = reader.take(length)?;
                match key {
                    b"avro.schema" => self.schema = Some(value),
                    b"avro.codec" => self.codec = Some(value),
                    _ => {}
                }
            }
        }
    }
}

fn unpack(codec: Codec, data: &[u8], limit: usize) -> Result<Vec<u8>, ContainerError> {
    match codec {
        Codec::Null => Ok(data.to_vec()),
        Codec::Deflate => read_bounded(flate2::read::DeflateDecoder::new(data), limit),
        Codec::Zstandard => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(data).map_err(|_| ContainerError::Block)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| ContainerError::Block)?;
            read_bounded(decoder, limit)
        }
        Codec::Snappy => {
            let Some((packed, sum)) = data.split_last_chunk::<4>() else { return Err(ContainerError::Block) };
            if snap::raw::decompress_len(packed).map_err(|_| ContainerError::Block)? > limit {
                return Err(ContainerError::BlockTooLarge);
            }
            let bytes =
                snap::raw::Decoder::new().decompress_vec(packed).map_err(|_| ContainerError::Block)?;
            let mut crc = flate2::Crc::new();
            crc.update(&bytes);
            if crc.sum() == u32::from_be_bytes(*sum) { Ok(bytes) } else { Err(ContainerError::Block) }
        }
    }
}

/// Unpacks at most one byte more than `limit`.
fn read_bounded(packed: impl Read, limit: usize) -> Result<Vec<u8>, ContainerError> {
    let mut bytes = Vec::new();
    packed.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|_| ContainerError::Block)?;
    if bytes.len() > limit { Err(ContainerError::BlockTooLarge) } else { Ok(bytes) }
}
