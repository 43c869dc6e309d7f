//! What the framing accepts and refuses, whole and byte by byte.

use super::*;

const HEAD_MAX: usize = 512;

/// Feeds all bytes at once and one at a time; both must agree.
fn feed(bytes: &[u8]) -> Result<u64, ()> {
    let mut whole = Framing::new(HEAD_MAX);
    let at_once = whole.feed(bytes).map(|()| whole.heads()).map_err(|_| ());
    let mut split = Framing::new(HEAD_MAX);
    let by_byte =
        bytes.iter().try_for_each(|byte| split.feed(&[*byte])).map(|()| split.heads()).map_err(|_| ());
    assert_eq!(at_once, by_byte, "{}", String::from_utf8_lossy(bytes));
    at_once
}

#[test]
fn whole_messages_are_followed_one_after_the_other() {
    let get = "GET /is-alive HTTP/1.1\r\nHost: a\r\n\r\n";
    let sized = "POST /event HTTP/1.1\r\nhost: a\r\nCONTENT-length:  5 \r\n\r\nhello";
    let chunked = "POST /event HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
                   5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n";
    let old = "GET / HTTP/1.0\r\n\r\n";
    for one in [get, sized, chunked, old] {
        assert_eq!(feed(one.as_bytes()), Ok(1), "{one}");
    }
    let all = [get, sized, get, chunked, sized, chunked, get, old].concat();
    assert_eq!(feed(all.as_bytes()), Ok(8));
    assert_eq!(feed(format!("\r\n{get}\r\n\r\n{get}").as_bytes()), Ok(2));
}

#[test]
fn bytes_after_a_web_socket_head_are_free() {
    let upgrade =
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n\x81\x02\n\0";
    assert_eq!(feed(upgrade), Ok(1));
}

#[test]
fn a_head_is_open_from_its_first_byte_to_its_empty_line() {
    let mut framing = Framing::new(HEAD_MAX);
    assert!(!framing.in_head());
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\n\r" {
        framing.feed(&[*byte]).unwrap();
        assert!(framing.in_head());
    }
    framing.feed(b"\n").unwrap();
    assert!(!framing.in_head());
}

#[test]
fn a_head_over_the_limit_is_refused_wherever_it_is_cut() {
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(HEAD_MAX));
    assert_eq!(feed(long.as_bytes()), Err(()));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(HEAD_MAX / 4));
    assert_eq!(feed(many.as_bytes()), Err(()));
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let refused = [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET /\r\n\r\n",
        "GET http://other/ HTTP/1.1\r\n\r\n",
        "CONNECT other:443 HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n",
    ];
    for one in refused {
        assert_eq!(feed(one.as_bytes()), Err(()), "{one:?}");
    }
}

#[test]
fn chunks_that_are_not_exact_are_refused() {
    let bodies = [
        "5 \r\nhello\r\n",
        "-1\r\n",
        "0x5\r\nhello\r\n",
        "\r\n",
        ";x\r\n",
        "5\nhello\r\n",
        "5\r\nhelloX\r\n",
        "5\r\nhello\n",
        "1000000000000000\r\n",
        "0\r\nx\r\n\r\n",
        "0\r\nx: y\n\r\n",
    ];
    for body in bodies {
        let message = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert_eq!(feed(message.as_bytes()), Err(()), "{body:?}");
    }
    let extension = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;{}\r\n", "x".repeat(200));
    assert_eq!(feed(extension.as_bytes()), Err(()));
}
