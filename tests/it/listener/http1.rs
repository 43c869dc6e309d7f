//! HTTP/1.1: keep-alive, deadlines of every head, WebSocket.

use std::time::{Duration, Instant};

use tokio::{io::AsyncReadExt, time::sleep};

use super::served::{answer, connect, options, start, until_closed, write};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn a_connection_serves_many_requests_and_is_closed_when_idle() {
    let served = start(options());
    let mut stream = connect(&served).await;
    for _ in 0..3 {
        write(&mut stream, GET).await;
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 204"));
        sleep(Duration::from_millis(600)).await;
    }
    write(&mut stream, &[GET, GET, GET].concat()).await;
    for _ in 0..3 {
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 204"));
    }
    let idle = Instant::now();
    assert_eq!(until_closed(&mut stream, Duration::from_secs(4)).await.as_deref(), Some(b"".as_slice()));
    assert!(idle.elapsed() >= Duration::from_millis(900));
}

#[tokio::test]
async fn bodies_of_both_kinds_arrive_and_come_back() {
    let served = start(options());
    let mut stream = connect(&served).await;
    let chunked = b"POST /len HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let sized = b"POST /len HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nabcdefg";
    write(&mut stream, &[chunked.as_slice(), sized, GET].concat()).await;
    assert!(answer(&mut stream).await.ends_with("\r\n\r\n5"));
    assert!(answer(&mut stream).await.ends_with("\r\n\r\n7"));
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 204"));
    write(&mut stream, b"POST /len HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n").await;
    write(&mut stream, &vec![b'x'; 3_000_000]).await;
    assert!(answer(&mut stream).await.ends_with("\r\n\r\n3000000"));
    write(&mut stream, b"GET /peer HTTP/1.1\r\nHost: here\r\n\r\n").await;
    let peer = format!("{} here", stream.local_addr().unwrap());
    assert!(answer(&mut stream).await.ends_with(&peer));
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let served = start(options());
    let mut stream = connect(&served).await;
    let began = Instant::now();
    assert!(until_closed(&mut stream, Duration::from_secs(2)).await.is_some());
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_slow_head_is_closed_at_the_first_request_and_at_any_later_one() {
    let served = start(options());
    for before in 0..3 {
        let mut stream = connect(&served).await;
        for _ in 0..before {
            write(&mut stream, GET).await;
            answer(&mut stream).await;
        }
        let began = Instant::now();
        write(&mut stream, b"GET / HTTP/1.1\r\nHost: a\r\n").await;
        let mut dribbled = 0;
        while write(&mut stream, b"x: y\r\n").await && began.elapsed() < Duration::from_secs(5) {
            dribbled += 1;
            sleep(Duration::from_millis(100)).await;
        }
        assert!(dribbled < 20, "after {before} requests a dribbled head lasted {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_partial_head_behind_a_pipelined_request_is_closed() {
    let served = start(options());
    let mut stream = connect(&served).await;
    write(&mut stream, &[GET, b"GET / HT"].concat()).await;
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 204"));
    assert!(until_closed(&mut stream, Duration::from_secs(2)).await.is_some());
}

#[tokio::test]
async fn a_head_may_be_as_large_as_the_limit_and_no_larger() {
    let served = start(options());
    for (size, accepted) in [(31 * 1024, true), (33 * 1024, false), (200 * 1024, false)] {
        let mut stream = connect(&served).await;
        let head =
            format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\nConnection: close\r\n\r\n", "x".repeat(size));
        write(&mut stream, head.as_bytes()).await;
        let said = until_closed(&mut stream, Duration::from_secs(3)).await.unwrap();
        assert_eq!(said.starts_with(b"HTTP/1.1 204"), accepted, "{size}");
    }
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_closed() {
    let served = start(sluice::http::listener::ListenerOptions {
        write_stall: Duration::from_millis(500),
        ..options()
    });
    let mut stream = connect(&served).await;
    write(&mut stream, b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n").await;
    let began = Instant::now();
    let chunk = vec![b'x'; 64 * 1024];
    while tokio::time::timeout(Duration::from_secs(5), write(&mut stream, &chunk)).await.unwrap() {}
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn web_sockets_upgrade_and_carry_text_both_ways() {
    let served = start(options());
    let mut stream = connect(&served).await;
    let upgrade = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    write(&mut stream, upgrade).await;
    let head = answer(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    // Longer than any deadline of a request: a web socket has none.
    sleep(Duration::from_millis(1000)).await;
    write(&mut stream, &[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await;
    let mut frame = [0; 4];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"\x81\x02hi");
}
