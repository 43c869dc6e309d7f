//! Reading a body: under a deadline, a size, and the admission of the whole node.
//!
//! `Content-Encoding` may be gzip or zstd, once. Packed bytes are unpacked in slices so small that even
//! the densest bomb makes little at a time, and the bound is on what comes out.

use std::{io::Write, pin::pin, time::Duration};

use actix_web::{
    HttpRequest,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH},
    web::{Bytes, Payload},
};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::{ApiError, Doors, admission::Admitted};

/// A body as it arrives: unpacked, admitted, and over by its deadline.
pub(super) struct Body {
    payload: Payload,
    /// Arrived, not yet unpacked.
    packed: Bytes,
    unpack: Unpack,
    admitted: Admitted,
    deadline: Instant,
    left: usize,
}

enum Unpack {
    Nothing,
    Gzip(Box<flate2::write::MultiGzDecoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
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
        Ok(Body {
            payload,
            packed: Bytes::new(),
            unpack: Unpack::of(request)?,
            admitted: doors.admission.enter(),
            deadline: Instant::now() + Duration::from_secs(doors.limits.body_s),
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
                let mut payload = pin!(&mut self.payload);
                let chunk = timeout_at(self.deadline, payload.next()).await;
                let Some(chunk) = chunk.map_err(|_| ApiError::BodyTooSlow)? else { return self.end() };
                self.packed = chunk.map_err(|_| ApiError::BodyCutOff)?;
            }
            let bytes = self.unpack.take(&mut self.packed, self.left)?;
            self.left = self.left.checked_sub(bytes.len()).ok_or(ApiError::BodyTooLarge)?;
            self.admitted.hold(bytes.len())?;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// Says that of the bytes handed out so far only `held` are still held, and that `working` was spent on
    /// them: the client's deadline does not count the time it waited for us.
    pub(super) fn worked_off(&mut self, held: usize, working: Duration) -> Result<(), ApiError> {
        self.deadline += working;
        self.admitted.release();
        self.admitted.hold(held)
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
            Some(b"zstd") => {
                let mut decoder =
                    zstd::stream::write::Decoder::new(Vec::new()).map_err(|_| ApiError::EncodingUnknown)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| ApiError::EncodingUnknown)?;
                Ok(Unpack::Zstd(Box::new(decoder)))
            }
            Some(_) => Err(ApiError::EncodingUnknown),
        }
    }

    /// Unpacks from the front of `waiting` until there is a piece: a chunk of the network may hold a
    /// hundred megabytes, and they must be admitted before they exist.
    fn take(&mut self, waiting: &mut Bytes, left: usize) -> Result<Bytes, ApiError> {
        let mut out = Vec::new();
        let slice = match self {
            Unpack::Nothing => return Ok(std::mem::take(waiting)),
            Unpack::Gzip(_) => GZIP_SLICE,
            Unpack::Zstd(_) => ZSTD_SLICE,
        };
        while !waiting.is_empty() && out.len() < PIECE {
            let packed = &waiting.split_to(slice.min(waiting.len()))[..];
            let unpacked = match self {
                Unpack::Gzip(decoder) => {
                    decoder.write_all(packed).map_err(|_| ApiError::BodyBadlyPacked)?;
                    decoder.get_mut()
                }
                Unpack::Zstd(decoder) => {
                    decoder.write_all(packed).map_err(|_| ApiError::BodyBadlyPacked)?;
                    decoder.get_mut()
                }
                Unpack::Nothing => break,
            };
            out.append(unpacked);
            if out.len() > left {
                return Err(ApiError::BodyTooLarge);
            }
        }
        Ok(out.into())
    }

    fn finish(self, left: usize) -> Result<Bytes, ApiError> {
        let out = match self {
            Unpack::Nothing => Vec::new(),
            Unpack::Gzip(decoder) => decoder.finish().map_err(|_| ApiError::BodyBadlyPacked)?,
            Unpack::Zstd(mut decoder) => {
                decoder.flush().map_err(|_| ApiError::BodyBadlyPacked)?;
                decoder.into_inner()
            }
        };
        if out.len() > left { Err(ApiError::BodyTooLarge) } else { Ok(out.into()) }
    }
}

/// Unpacked bytes that are handed on together, about.
const PIECE: usize = 256 << 10;
/// Packed bytes unpacked at a time: deflate makes at most 1,032 bytes of one, a zstd block 128 KiB of four.
const GZIP_SLICE: usize = 1024;
const ZSTD_SLICE: usize = 32;
/// Largest zstd window that is allocated: 8 MiB, the most the format asks every decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
