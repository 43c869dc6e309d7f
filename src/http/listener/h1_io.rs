//! The bytes of an HTTP/1 connection on their way to actix-http, refused where they are not well-formed.
//!
//! A refusal is told in the engine's own words: the offending bytes are replaced by a NUL, which its parser
//! answers with `400` after the answers still due, then by the end of the stream. So no answer is ever
//! written from here, and none can end up in the middle of another.
//!
//! actix-http's own head deadline is switched off: it covers a connection's first request only, and by a clock
//! that is up to half a second late. The one here covers each request. A client that sent nothing at all is
//! closed without a word, because it would take an answer for that of its next request.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    ListenerOptions,
    deadlines::{Deadlines, Overdue},
    h1_framing::Framing,
    socket::Socket,
};

/// In no message, anywhere.
const POISON: &[u8] = b"\0";

/// A checked connection.
pub(super) struct H1Io {
    socket: Socket,
    framing: Framing,
    deadlines: Deadlines,
    refused: bool,
}

impl H1Io {
    pub(super) fn new(socket: Socket, options: &ListenerOptions) -> H1Io {
        let mut deadlines = Deadlines::new(options);
        // In clear text the first byte is here already; after a TLS handshake it has to come in this time.
        deadlines.head_began();
        H1Io { socket, framing: Framing::new(options.h1_head_bytes), deadlines, refused: false }
    }

    fn follow(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let heads = self.framing.heads();
        if let Err(refused) = self.framing.feed(&buf.filled()[before..]) {
            buf.set_filled(before + refused.at);
            return self.refuse(buf);
        }
        match (self.framing.in_head(), self.framing.heads() != heads) {
            (false, _) => self.deadlines.head_ended(),
            (true, true) => self.deadlines.head_began(),
            (true, false) => self.deadlines.head_goes_on(),
        }
        Ok(())
    }

    fn refuse(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        self.refused = true;
        self.deadlines.head_ended();
        if buf.remaining() == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        buf.put_slice(POISON);
        Ok(())
    }

    fn after_write<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.deadlines.write_blocked(wrote.is_pending());
        match wrote {
            Poll::Pending => match self.deadlines.poll_overdue(cx) {
                Poll::Ready(Overdue::Write) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                _ => Poll::Pending,
            },
            ready => ready,
        }
    }
}

impl AsyncRead for H1Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if me.refused {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut me.socket).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => Poll::Ready(me.follow(buf, before)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => match me.deadlines.poll_overdue(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Overdue::Head) if me.framing.in_head() => Poll::Ready(me.refuse(buf)),
                Poll::Ready(Overdue::Head) => {
                    me.refused = true;
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Overdue::Write) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            },
        }
    }
}

impl AsyncWrite for H1Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let wrote = Pin::new(&mut me.socket).poll_write(cx, bytes);
        me.after_write(cx, wrote)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let flushed = Pin::new(&mut me.socket).poll_flush(cx);
        if flushed.is_pending() { me.after_write(cx, flushed) } else { flushed }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
