//! Splitting a file of events into requests: NDJSON between lines, an Avro container between blocks.
//!
//! ```text
//! "Obj\x01"  metadata map  sync (16 bytes) │ count size data sync │ count size data sync …
//! └──────────── header ──────────────────┘   └───── block ─────┘
//! ```
//! A chunk of a container is the header and whole blocks, so it is a container again.
//! Source: Avro 1.12 specification, "Object Container Files".

use std::io::{self, BufRead, Read};

/// Bytes of one request's body, at most (the node's own bound).
pub const REQUEST_BYTES_MAX: usize = 64 << 20;
/// Bytes a request is filled up to when the file is larger: small enough to see progress.
pub const CHUNK_BYTES: usize = 8 << 20;

/// Media types of the two kinds of file.
pub const LINES_TYPE: &str = "application/x-ndjson";
pub const CONTAINER_TYPE: &str = "application/avro";

const MAGIC: &[u8; 4] = b"Obj\x01";
const SYNC_BYTES: usize = 16;
/// Bytes of a container's header, at most: the schema is bounded to 1 MiB.
const HEADER_BYTES_MAX: usize = 4 << 20;

/// Why a file cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    #[error("cannot read the file: {0}")]
    Read(#[from] io::Error),
    #[error("line {0} alone is larger than a request may be (64 MiB)")]
    LineTooLarge(u64),
    #[error("the block with event {0} alone is larger than a request may be (64 MiB); write smaller blocks")]
    BlockTooLarge(u64),
    #[error("the Avro container is damaged near event {0}")]
    Container(u64),
    #[error("the file is larger than one request may be (64 MiB), so it cannot be sent with --atomic")]
    NotAtomic,
}

/// One request's body and where its events stood in the file.
pub struct Chunk {
    pub body: Vec<u8>,
    places: Places,
    /// Events, as far as the file tells.
    pub events: u64,
}

enum Places {
    /// Line number of each event.
    Lines(Vec<u64>),
    /// Number of the first event, from 1.
    Events(u64),
}

impl Chunk {
    /// Where the event with `index` in this request stood: `line 7` or `event 7`, both from 1.
    #[must_use]
    pub fn place(&self, index: usize) -> String {
        match &self.places {
            Places::Lines(lines) => lines.get(index).map_or("an event".into(), |line| format!("line {line}")),
            Places::Events(first) => format!("event {}", first.saturating_add(index as u64)),
        }
    }
}

/// A file of events, read chunk by chunk.
pub struct Chunks {
    source: Box<dyn BufRead + Send>,
    kind: Kind,
    chunk_bytes: usize,
    /// What was read and did not fit the chunk before, and the number of events in it.
    left: Option<(Vec<u8>, u64)>,
    /// Lines or events read so far, including what is left.
    read: u64,
}

enum Kind {
    Lines,
    Container { header: Vec<u8> },
}

impl Chunks {
    /// Looks at the first bytes of `source` to see what it is.
    ///
    /// # Errors
    ///
    /// It cannot be read, or its container header is damaged.
    pub fn open(source: impl BufRead + Send + 'static, chunk_bytes: usize) -> Result<Chunks, ChunkError> {
        let mut source: Box<dyn BufRead + Send> = Box::new(source);
        let mut start = Vec::new();
        source.by_ref().take(MAGIC.len() as u64).read_to_end(&mut start)?;
        if start != MAGIC {
            let source = Box::new(io::Cursor::new(start).chain(source));
            return Ok(Chunks { source, kind: Kind::Lines, chunk_bytes, left: None, read: 0 });
        }
        let header = read_header(&mut source, start)?;
        Ok(Chunks { source, kind: Kind::Container { header }, chunk_bytes, left: None, read: 0 })
    }

    /// The media type of every chunk's body.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self.kind {
            Kind::Lines => LINES_TYPE,
            Kind::Container { .. } => CONTAINER_TYPE,
        }
    }

    /// The next chunk, in file order; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`ChunkError`]; chunks returned before are whole.
    pub fn next(&mut self) -> Result<Option<Chunk>, ChunkError> {
        let (mut body, mut places) = match &self.kind {
            Kind::Lines => (Vec::new(), Places::Lines(Vec::new())),
            Kind::Container { header } => (header.clone(), Places::Events(0)),
        };
        let overhead = body.len();
        let mut events = 0;
        while let Some((piece, count)) = self.next_piece()? {
            let fits = body.len() + piece.len() <= self.chunk_bytes;
            if !fits && body.len() > overhead {
                self.left = Some((piece, count));
                break;
            }
            if body.len() + piece.len() > REQUEST_BYTES_MAX {
                return Err(self.too_large(count));
            }
            body.extend_from_slice(&piece);
            match &mut places {
                Places::Lines(lines) => lines.push(self.read),
                Places::Events(first @ 0) => *first = self.read - count + 1,
                Places::Events(_) => {}
            }
            events += count;
        }
        Ok((body.len() > overhead).then_some(Chunk { body, places, events }))
    }

    fn too_large(&self, count: u64) -> ChunkError {
        match self.kind {
            Kind::Lines => ChunkError::LineTooLarge(self.read),
            Kind::Container { .. } => ChunkError::BlockTooLarge(self.read - count + 1),
        }
    }

    /// The next line with its end, or the next block, and the events in it.
    fn next_piece(&mut self) -> Result<Option<(Vec<u8>, u64)>, ChunkError> {
        if let Some(left) = self.left.take() {
            return Ok(Some(left));
        }
        let piece = match &self.kind {
            Kind::Lines => self.next_line()?.map(|line| (line, 1)),
            Kind::Container { header } => {
                let sync: [u8; SYNC_BYTES] =
                    header[header.len() - SYNC_BYTES..].try_into().expect("16 bytes");
                let block = next_block(&mut self.source, &sync, self.read)?;
                self.read += block.as_ref().map_or(0, |(_, count)| *count);
                block
            }
        };
        Ok(piece)
    }

    /// The next line that is not blank. Counts blank ones, so that line numbers are the file's.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, ChunkError> {
        loop {
            let mut line = Vec::new();
            let bound = REQUEST_BYTES_MAX as u64 + 1;
            if self.source.by_ref().take(bound).read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            self.read += 1;
            if line.len() > REQUEST_BYTES_MAX {
                return Err(ChunkError::LineTooLarge(self.read));
            }
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(line));
            }
        }
    }
}

/// The header: magic (already in `header`), metadata map, sync marker.
fn read_header(source: &mut impl Read, mut header: Vec<u8>) -> Result<Vec<u8>, ChunkError> {
    let damaged = || ChunkError::Container(0);
    loop {
        let count = read_long(source, &mut header)?.ok_or_else(damaged)?;
        if count == 0 {
            break;
        }
        // A negative count is followed by the block's size in bytes.
        if count < 0 {
            read_long(source, &mut header)?.ok_or_else(damaged)?;
        }
        // Each entry is a key and a value, both a length and that many bytes.
        for _ in 0..count.unsigned_abs().saturating_mul(2) {
            let length = read_long(source, &mut header)?.ok_or_else(damaged)?;
            let length = usize::try_from(length).map_err(|_| damaged())?;
            if header.len().saturating_add(length) > HEADER_BYTES_MAX {
                return Err(damaged());
            }
            read_bytes(source, &mut header, length, 0)?;
        }
    }
    read_bytes(source, &mut header, SYNC_BYTES, 0)?;
    Ok(header)
}

/// The next block with its framing, and its count of events; `None` at the end of the file.
fn next_block(
    source: &mut impl Read,
    sync: &[u8; SYNC_BYTES],
    read: u64,
) -> Result<Option<(Vec<u8>, u64)>, ChunkError> {
    let damaged = || ChunkError::Container(read + 1);
    let mut block = Vec::new();
    let Some(count) = read_long(source, &mut block)? else {
        return if block.is_empty() { Ok(None) } else { Err(damaged()) };
    };
    let size = read_long(source, &mut block)?.ok_or_else(damaged)?;
    let count = u64::try_from(count).map_err(|_| damaged())?;
    let size = usize::try_from(size).map_err(|_| damaged())?;
    if size > REQUEST_BYTES_MAX {
        return Err(ChunkError::BlockTooLarge(read + 1));
    }
    read_bytes(source, &mut block, size + SYNC_BYTES, read + 1)?;
    if !block.ends_with(sync) {
        return Err(damaged());
    }
    Ok(Some((block, count)))
}

/// Reads exactly `length` bytes onto `into`.
fn read_bytes(
    source: &mut impl Read,
    into: &mut Vec<u8>,
    length: usize,
    near: u64,
) -> Result<(), ChunkError> {
    let got = source.by_ref().take(length as u64).read_to_end(into)?;
    if got == length { Ok(()) } else { Err(ChunkError::Container(near)) }
}

/// Reads one zigzag varint onto `into`; `None` when the source ends before or inside it.
fn read_long(source: &mut impl Read, into: &mut Vec<u8>) -> Result<Option<i64>, ChunkError> {
    let mut value: u64 = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        if source.read(&mut byte)? == 0 {
            return Ok(None);
        }
        into.push(byte[0]);
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            #[expect(clippy::cast_possible_wrap, reason = "zigzag decoding is defined on the bits")]
            let decoded = (value >> 1) as i64 ^ -((value & 1) as i64);
            return Ok(Some(decoded));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
