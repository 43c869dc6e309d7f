//! Reading a body: under a deadline, a size, and the admission of the whole node.
//!
//! `Content-Encoding` may be gzip, once. Packed bytes are unpacked in slices so small that even
//! the densest bomb makes little at a time, and the bound is on what comes out.

use std::{io::Write, time::Duration};

use actix_web::{
    HttpRequest,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH},
    web::{Bytes, Payload},
};
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::{ApiError, Doors, admission::Admitted};

/// A body as it arrives: unpacked, admitted, and over by its deadline.
pub(super) struct Body {
    payload: Payload,
    /// Arrived, not yet unpacked.
    packed: Bytes,
    unpack: Unpack,
    admitted: Admitted,
    reserved: Admitted,
    deadline: Instant,
    /// What the deadline may be put off to while we work.
    last_deadline: Instant,
    left: usize,
}

enum Unpack {
    Nothing,
    Gzip(Box<flate2::write::MultiGzDecoder<Vec<u8>>>),
}

impl Body {
    /// Prepares to read the body of `request`, at most `bytes_max` bytes unpacked.
    ///
    /// # Errors
    ///
    /// [`ApiError`]: the announced length or encoding is refused before a byte is read.
    pub(super) fn open(
        request: &HttpRequest,
        payload: Payload,
        doors: &Doors,
        bytes_max: usize,
    ) -> Result<Body, ApiError> {
        let announced =
            request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > bytes_max) {
            return Err(ApiError::BodyTooLarge);
        }
        let now = Instant::now();
        Ok(Body {
            payload,
            packed: Bytes::new(),
            unpack: Unpack::of(request)?,
            admitted: doors.admission.enter(),
            reserved: doors.admission.enter(),
            deadline: now + Duration::from_secs(doors.limits.body_s),
            last_deadline: now + Duration::from_secs(PATIENCE * doors.limits.body_s),
            left: bytes_max,
        })
    }

    /// The whole body.
    ///
    /// # Errors
    ///
    /// [`ApiError`]: too large, too slow, cut off, badly packed, or the node is full.
    pub(super) async fn whole(mut self) -> Result<WholeBody, ApiError> {
        let Some(first) = self.next().await? else {
            return Ok(WholeBody { bytes: Bytes::new(), _admitted: self.admitted });
        };
        let Some(second) = self.next().await? else {
            return Ok(WholeBody { bytes: first, _admitted: self.admitted });
        };
        let mut bytes = [&first[..], &second[..]].concat();
        while let Some(more) = self.next().await? {
            bytes.extend_from_slice(&more);
        }
        Ok(WholeBody { bytes: bytes.into(), _admitted: self.admitted })
    }

    /// The next bytes, unpacked; none at the end.
    ///
    /// # Errors
    ///
    /// As [`Body::whole`].
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            if self.packed.is_empty() {
                let Some(chunk) = self.arrived().await? else { return self.end() };
                self.packed = chunk;
            }
            let bytes = self.unpack.take(&mut self.packed, self.left)?;
            self.left = self.left.checked_sub(bytes.len()).ok_or(ApiError::BodyTooLarge)?;
            self.admitted.hold(bytes.len())?;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// The next bytes of the network. A timer is set only for what has to be waited for.
    async fn arrived(&mut self) -> Result<Option<Bytes>, ApiError> {
        let chunk = match self.payload.next().now_or_never() {
            Some(chunk) => chunk,
            None if Instant::now() >= self.deadline => return Err(ApiError::BodyTooSlow),
            None => {
                let waited = timeout_at(self.deadline, self.payload.next()).await;
                waited.map_err(|_| ApiError::BodyTooSlow)?
            }
        };
        chunk.transpose().map_err(|_| ApiError::BodyCutOff)
    }

    /// Says that of the bytes handed out so far only `held` are still held, and that `working` was spent on
    /// them: the client's deadline does not count the time it waited for us.
    pub(super) fn worked_off(&mut self, held: usize, working: Duration) -> Result<(), ApiError> {
        self.deadline = (self.deadline + working).min(self.last_deadline);
        self.admitted.release();
        self.admitted.hold(held)
    }

    /// Holds `bytes` for as long as the body lives, beside what it holds of itself.
    pub(super) fn reserve(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.reserved.hold(bytes)
    }

    fn end(&mut self) -> Result<Option<Bytes>, ApiError> {
        let bytes = std::mem::replace(&mut self.unpack, Unpack::Nothing).finish(self.left)?;
        self.left = self.left.checked_sub(bytes.len()).ok_or(ApiError::BodyTooLarge)?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }
}

/// A body that was read to its end, with the memory it holds.
pub(super) struct WholeBody {
    pub bytes: Bytes,
    _admitted: Admitted,
}

impl Unpack {
    fn of(request: &HttpRequest) -> Result<Unpack, ApiError> {
        let mut encodings = request.headers().get_all(CONTENT_ENCODING);
        let (first, second) = (encodings.next(), encodings.next());
        if second.is_some() {
            return Err(ApiError::EncodingUnknown);
        }
        match first.map(|value| value.as_bytes()) {
            None | Some(b"" | b"identity") => Ok(Unpack::Nothing),
            Some(b"gzip" | b"x-gzip") => {
                Ok(Unpack::Gzip(Box::new(flate2::write::MultiGzDecoder::new(Vec::new()))))
            }
            Some(_) => Err(ApiError::EncodingUnknown),
        }
    }

    /// Unpacks from the front of `waiting` until there is a piece: a chunk of the network may hold a
    /// hundred megabytes, and they must be admitted before they exist.
    fn take(&mut self, waiting: &mut Bytes, left: usize) -> Result<Bytes, ApiError> {
        let Unpack::Gzip(decoder) = self else { return Ok(std::mem::take(waiting)) };
        let mut out = Vec::new();
        while !waiting.is_empty() && out.len() < PIECE {
            let packed = waiting.split_to(GZIP_SLICE.min(waiting.len()));
            decoder.write_all(&packed).map_err(|_| ApiError::BodyBadlyPacked)?;
            out.append(decoder.get_mut());
            if out.len() > left {
                return Err(ApiError::BodyTooLarge);
            }
        }
        Ok(out.into())
    }

    fn finish(self, left: usize) -> Result<Bytes, ApiError> {
        let Unpack::Gzip(decoder) = self else { return Ok(Bytes::new()) };
        let out = decoder.finish().map_err(|_| ApiError::BodyBadlyPacked)?;
        if out.len() > left { Err(ApiError::BodyTooLarge) } else { Ok(out.into()) }
    }
}

/// A body's deadline is put off by the time we worked on it, up to this many times.
const PATIENCE: u64 = 4;
/// Unpacked bytes that are handed on together, about.
const PIECE: usize = 256 << 10;
/// Packed bytes unpacked at a time: deflate makes at most 1,032 bytes of one.
const GZIP_SLICE: usize = 1024;
