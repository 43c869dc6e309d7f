//! The bytes of an HTTP/2 connection on their way to hyper, with a budget for frames that carry nothing.
//!
//! hyper and h2 bound streams, header lists, CONTINUATION frames and resets. What they leave free is work for
//! nothing: endless PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM or empty DATA frames. Each costs one
//! credit; credits come back with time and with bytes the client is sent, so that a reader's window updates
//! pay for themselves. A connection without credit is closed.
//!
//! A HEADERS frame opens a head (RFC 9113, 6.2), which has to be whole within the head deadline.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{ListenerOptions, deadlines::Deadlines, socket::Socket};

/// Bytes of the client's preface, which comes before the first frame.
const PREFACE_BYTES: usize = 24;
/// Bytes of a frame's header: length 3, type 1, flags 1, stream 4.
const FRAME_HEADER_BYTES: usize = 9;
/// Credits of a new connection, and the most it can save up.
const CREDIT_MAX: u64 = 1_000;
/// Credits that come back in a second.
const CREDIT_PER_S: u64 = 100;
/// Bytes sent to the client that earn it one credit.
const BYTES_PER_CREDIT: u64 = 128;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A metered connection.
pub(super) struct H2Io {
    socket: Socket,
    deadlines: Deadlines,
    frames: Frames,
}

impl H2Io {
    pub(super) fn new(socket: Socket, options: &ListenerOptions) -> H2Io {
        let mut deadlines = Deadlines::new(options);
        // After ALPN nothing has been read yet: the preface has to come as fast as a head.
        deadlines.head_began();
        H2Io { socket, deadlines, frames: Frames::new() }
    }

    fn follow(&mut self, fresh: &[u8]) -> io::Result<()> {
        self.frames.feed(fresh)?;
        if self.frames.in_head || self.frames.preface_left > 0 {
            self.deadlines.head_goes_on();
        } else {
            self.deadlines.head_ended();
        }
        Ok(())
    }

    fn after_write(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &wrote {
            self.frames.earned += *bytes as u64;
        }
        self.deadlines.write_blocked(wrote.is_pending());
        match wrote {
            Poll::Pending if self.deadlines.poll_overdue(cx).is_ready() => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            wrote => wrote,
        }
    }
}

impl AsyncRead for H2Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut me.socket).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => Poll::Ready(me.follow(&buf.filled()[before..])),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => me.deadlines.poll_overdue(cx).map(|_| Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl AsyncWrite for H2Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let wrote = Pin::new(&mut me.socket).poll_write(cx, bytes);
        me.after_write(cx, wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let wrote = Pin::new(&mut me.socket).poll_write_vectored(cx, parts);
        me.after_write(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

/// Follows frame headers; never looks at a payload.
struct Frames {
    preface_left: usize,
    header: [u8; FRAME_HEADER_BYTES],
    header_filled: usize,
    payload_left: usize,
    /// A header block has begun and not ended.
    in_head: bool,
    /// The frame under way ends its header block.
    ends_head: bool,
    credit: u64,
    earned: u64,
    refilled: Instant,
}

impl Frames {
    fn new() -> Frames {
        Frames {
            preface_left: PREFACE_BYTES,
            header: [0; FRAME_HEADER_BYTES],
            header_filled: 0,
            payload_left: 0,
            in_head: false,
            ends_head: false,
            credit: CREDIT_MAX,
            earned: 0,
            refilled: Instant::now(),
        }
    }

    /// # Errors
    ///
    /// The connection is out of credit.
    fn feed(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let preface = self.preface_left.min(bytes.len());
        self.preface_left -= preface;
        bytes = &bytes[preface..];
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let step = self.payload_left.min(bytes.len());
                self.payload_left -= step;
                bytes = &bytes[step..];
            } else {
                let step = (FRAME_HEADER_BYTES - self.header_filled).min(bytes.len());
                self.header[self.header_filled..self.header_filled + step].copy_from_slice(&bytes[..step]);
                self.header_filled += step;
                bytes = &bytes[step..];
                if self.header_filled < FRAME_HEADER_BYTES {
                    return Ok(());
                }
                self.header_filled = 0;
                self.frame()?;
            }
            if self.payload_left == 0 && self.ends_head {
                (self.in_head, self.ends_head) = (false, false);
            }
        }
        Ok(())
    }

    fn frame(&mut self) -> io::Result<()> {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.payload_left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let free = match kind {
            HEADERS | CONTINUATION => {
                self.in_head = true;
                self.ends_head = flags & END_HEADERS != 0;
                kind == HEADERS
            }
            DATA => self.payload_left > 0 || flags & END_STREAM != 0,
            _ => false,
        };
        if free { Ok(()) } else { self.pay() }
    }

    fn pay(&mut self) -> io::Result<()> {
        if self.credit == 0 {
            self.refill();
        }
        self.credit = self.credit.checked_sub(1).ok_or(io::ErrorKind::QuotaExceeded)?;
        Ok(())
    }

    /// Only when the credit is used up, so that a frame costs no look at the clock.
    fn refill(&mut self) {
        let now = Instant::now();
        let for_time = (now - self.refilled).as_millis() as u64 * CREDIT_PER_S / 1_000;
        self.credit = (for_time + self.earned / BYTES_PER_CREDIT).min(CREDIT_MAX);
        (self.earned, self.refilled) = (0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, size: usize) -> Vec<u8> {
        let mut bytes = vec![(size >> 16) as u8, (size >> 8) as u8, size as u8, kind, flags, 0, 0, 0, 1];
        bytes.resize(FRAME_HEADER_BYTES + size, 7);
        bytes
    }

    fn opened() -> Frames {
        let mut frames = Frames::new();
        frames.feed(&[b'P'; PREFACE_BYTES]).unwrap();
        frames
    }

    #[tokio::test]
    async fn frames_without_use_run_out_of_credit_and_time_gives_it_back() {
        let mut frames = opened();
        let ping = frame(6, 0, 8);
        for _ in 0..CREDIT_MAX {
            frames.feed(&ping).unwrap();
        }
        assert!(frames.feed(&ping).is_err());
        frames.refilled -= std::time::Duration::from_secs(1);
        frames.payload_left = 0;
        for _ in 0..CREDIT_PER_S {
            frames.feed(&ping).unwrap();
        }
    }

    #[tokio::test]
    async fn window_updates_of_a_reader_are_paid_by_what_it_reads() {
        let mut frames = opened();
        for _ in 0..100_000 {
            frames.earned += 700;
            frames.feed(&frame(8, 0, 4)).unwrap();
            frames.feed(&frame(8, 0, 4)).unwrap();
        }
    }

    #[tokio::test]
    async fn a_head_lasts_from_its_first_frame_to_the_last_byte_that_ends_it() {
        let mut bytes = frame(HEADERS, 0, 20);
        bytes.extend(frame(CONTINUATION, END_HEADERS, 3));
        let mut frames = opened();
        for (index, byte) in bytes.iter().enumerate() {
            assert_eq!(frames.in_head, index >= FRAME_HEADER_BYTES, "at {index}");
            frames.feed(&[*byte]).unwrap();
        }
        assert!(!frames.in_head);
        frames.feed(&frame(DATA, 0, 100)).unwrap();
        assert!(!frames.in_head);
    }
}
