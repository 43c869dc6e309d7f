//! Strict HTTP/1 message framing (RFC 9112), followed beside the engine's own parser.
//!
//! The engine parses; this only says *no*, so two readings of one byte sequence end in a refusal, never in
//! two requests. It refuses what the engine lets through: bare LF, a target that is not a path, `Upgrade:
//! websocket` together with a body, padded or overlong chunk sizes, unchecked trailers, and heads over the
//! limit. It allocates only for a line that comes in parts.
//!
//! ```text
//!  Head ──┬─ no body ───────────────────────────► Head
//!         ├─ Content-Length ─► Body(n) ─────────► Head
//!         ├─ chunked ─► ChunkSize ─► ChunkData ─► … ─► Trailers ─► Head
//!         └─ websocket ─► Raw (to the end of the connection)
//! ```

use memchr::{memchr, memchr2};

/// Bytes of a chunk's size line, extension included.
const CHUNK_LINE_BYTES_MAX: usize = 128;
/// Bytes of all trailers of one message.
const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Hexadecimal digits of a chunk size: 2^60 is beyond any body.
const CHUNK_DIGITS_MAX: usize = 15;
/// Decimal digits of a length: below 2^63.
const LENGTH_DIGITS_MAX: usize = 18;

/// The bytes from `at` on (an index into what was fed) are not a well-formed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) at: usize,
}

/// Where in the sequence of messages the connection is.
pub(super) struct Framing {
    state: State,
    head_bytes_max: usize,
    head: Head,
    /// The start of a line whose end has not come yet.
    partial: Vec<u8>,
    /// Bytes of the present head, or of the present trailers.
    section_bytes: usize,
    heads: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Raw,
}

/// What the lines of a head said about the body.
#[derive(Clone, Copy, Default)]
struct Head {
    started: bool,
    http10: bool,
    length: Option<u64>,
    chunked: bool,
    websocket: bool,
}

impl Framing {
    pub(super) fn new(head_bytes_max: usize) -> Framing {
        Framing {
            state: State::Head,
            head_bytes_max,
            head: Head::default(),
            partial: Vec::new(),
            section_bytes: 0,
            heads: 0,
        }
    }

    /// True while a head has begun and not ended.
    pub(super) fn in_head(&self) -> bool {
        self.state == State::Head && self.section_bytes > 0
    }

    /// Heads ended so far.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// Follows the next bytes of the connection. After a refusal nothing more may be fed.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let mut at = 0;
        while at < bytes.len() {
            let left = (bytes.len() - at) as u64;
            match self.state {
                State::Raw => return Ok(()),
                State::Body(size) => {
                    let step = size.min(left);
                    at += step as usize;
                    self.state = if step == size { State::Head } else { State::Body(size - step) };
                }
                State::ChunkData(size) => {
                    let step = size.min(left);
                    at += step as usize;
                    self.state = if step == size { State::ChunkEnd } else { State::ChunkData(size - step) };
                }
                _ => at += self.line(&bytes[at..]).map_err(|()| Refused { at })?,
            }
        }
        Ok(())
    }

    /// Takes one line, or the part of it that is there, and returns how many bytes that was.
    fn line(&mut self, bytes: &[u8]) -> Result<usize, ()> {
        let half_ended = self.partial.last() == Some(&b'\r');
        let end = match if half_ended { Some(0) } else { memchr2(b'\r', b'\n', bytes) } {
            None => return self.keep(bytes).map(|()| bytes.len()),
            Some(end) if half_ended => end,
            Some(end) if bytes[end] == b'\n' => return Err(()),
            Some(end) if end + 1 == bytes.len() => return self.keep(bytes).map(|()| bytes.len()),
            Some(end) => end + 1,
        };
        if bytes[end] != b'\n' {
            return Err(());
        }
        let used = end + 1;
        self.section_bytes += used;
        self.bounded()?;
        if self.partial.is_empty() {
            self.whole_line(&bytes[..used - 2])?;
        } else {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&bytes[..used]);
            self.whole_line(&line[..line.len() - 2])?;
            line.clear();
            if line.capacity() <= CHUNK_LINE_BYTES_MAX {
                self.partial = line;
            }
        }
        Ok(used)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.section_bytes += bytes.len();
        self.bounded()?;
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn bounded(&self) -> Result<(), ()> {
        let most = match self.state {
            State::Head => self.head_bytes_max,
            State::Trailers => TRAILER_BYTES_MAX,
            _ => CHUNK_LINE_BYTES_MAX,
        };
        if self.section_bytes <= most { Ok(()) } else { Err(()) }
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<(), ()> {
        match self.state {
            State::Head if !self.head.started => {
                // An empty line before a request is skipped (RFC 9112, 2.2).
                if !line.is_empty() {
                    self.head.started = true;
                    self.head.http10 = request_line(line)?;
                }
                Ok(())
            }
            State::Head if line.is_empty() => self.head_end(),
            State::Head => self.head.field(line),
            State::ChunkSize => {
                let size = chunk_size(line)?;
                self.next(if size == 0 { State::Trailers } else { State::ChunkData(size) });
                Ok(())
            }
            State::ChunkEnd if line.is_empty() => {
                self.next(State::ChunkSize);
                Ok(())
            }
            State::Trailers if line.is_empty() => {
                self.next(State::Head);
                Ok(())
            }
            State::Trailers => field(line).map(|_| ()),
            _ => Err(()),
        }
    }

    fn head_end(&mut self) -> Result<(), ()> {
        let head = std::mem::take(&mut self.head);
        self.heads += 1;
        let length = head.length.unwrap_or(0);
        let two_readings = (head.chunked && (head.length.is_some() || head.http10))
            || (head.websocket && (head.chunked || length > 0));
        if two_readings {
            return Err(());
        }
        self.next(match head {
            Head { websocket: true, .. } => State::Raw,
            Head { chunked: true, .. } => State::ChunkSize,
            _ if length > 0 => State::Body(length),
            _ => State::Head,
        });
        Ok(())
    }

    fn next(&mut self, state: State) {
        self.state = state;
        self.section_bytes = 0;
    }
}

impl Head {
    fn field(&mut self, line: &[u8]) -> Result<(), ()> {
        let (name, value) = field(line)?;
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.websocket |= value.eq_ignore_ascii_case(b"websocket");
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let earlier = self.length.replace(length(value)?);
                earlier.map_or(Ok(()), |_| Err(()))?;
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(());
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Checks method, target and version apart from one another; true for HTTP/1.0.
///
/// The target is a path, or `*`: Sluice is nobody's proxy, so `CONNECT` and absolute targets are refused.
fn request_line(line: &[u8]) -> Result<bool, ()> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let path = target.is_some_and(|target| target.starts_with(b"/") || target == b"*");
    match version {
        _ if !path || method == Some(b"CONNECT".as_slice()) || parts.next().is_some() => Err(()),
        Some(b"HTTP/1.1") => Ok(false),
        Some(b"HTTP/1.0") => Ok(true),
        _ => Err(()),
    }
}

/// Name and trimmed value of a field line; no folding, no space before the colon.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), ()> {
    let colon = memchr(b':', line).ok_or(())?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || name[0] <= b' ' || name[colon - 1] <= b' ' {
        return Err(());
    }
    Ok((name, trim(value)))
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn length(value: &[u8]) -> Result<u64, ()> {
    if value.is_empty() || value.len() > LENGTH_DIGITS_MAX {
        return Err(());
    }
    value.iter().try_fold(0, |sum: u64, byte| match byte {
        b'0'..=b'9' => Ok(sum * 10 + u64::from(byte - b'0')),
        _ => Err(()),
    })
}

fn chunk_size(line: &[u8]) -> Result<u64, ()> {
    let digits = memchr(b';', line).map_or(line, |end| &line[..end]);
    if digits.is_empty() || digits.len() > CHUNK_DIGITS_MAX {
        return Err(());
    }
    digits.iter().try_fold(0, |sum: u64, byte| {
        let digit = char::from(*byte).to_digit(16).ok_or(())?;
        Ok(sum * 16 + u64::from(digit))
    })
}

#[cfg(test)]
mod tests;
