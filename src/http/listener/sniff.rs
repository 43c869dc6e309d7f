//! Tells HTTP/1.1 from HTTP/2 with prior knowledge by the first bytes of a clear-text connection.
//!
//! Reads, never `MSG_PEEK`s: a peek reports the same bytes again and again while the rest of a split preface
//! is under way. What was read is replayed to the engine.

use std::io;

use bytes::BytesMut;
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use super::ListenerOptions;

/// What a client of HTTP/2 sends first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for the first read: a usual request, head and body.
const FIRST_READ_BYTES: usize = 4096;

/// The engine a connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Reads until the protocol is certain. The first byte has `first_byte` to come, the rest of a preface
/// `head` more.
///
/// # Errors
///
/// The client closed, failed or was too slow: close the connection.
pub(super) async fn sniff(
    stream: &mut TcpStream,
    options: &ListenerOptions,
) -> io::Result<(Protocol, BytesMut)> {
    let mut read = BytesMut::with_capacity(FIRST_READ_BYTES);
    if timeout(options.first_byte, stream.read_buf(&mut read)).await?? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let rest = async {
        loop {
            if let Some(protocol) = recognise(&read) {
                return Ok::<_, io::Error>(protocol);
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    };
    let protocol = timeout(options.head, rest).await??;
    Ok((protocol, read))
}

/// The protocol of a connection that starts with `read`; `None` while it is still a part of the preface.
fn recognise(read: &[u8]) -> Option<Protocol> {
    let common = read.len().min(PREFACE.len());
    if read[..common] != PREFACE[..common] {
        Some(Protocol::Http1)
    } else {
        (common == PREFACE.len()).then_some(Protocol::Http2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_preface_is_undecided_and_anything_else_is_http1() {
        for end in 0..PREFACE.len() {
            assert_eq!(recognise(&PREFACE[..end]), None);
            let mut other = PREFACE[..end].to_vec();
            other.push(b'!');
            assert_eq!(recognise(&other), Some(Protocol::Http1));
        }
        assert_eq!(recognise(PREFACE), Some(Protocol::Http2));
        assert_eq!(recognise(b"POST /event HTTP/1.1\r\n"), Some(Protocol::Http1));
    }
}
