//! HTTP/2: prior knowledge, bodies both ways, back-pressure, cancelled requests.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use h2::client::SendRequest;
use hyper::{Method, Request};
use tokio::time::{sleep, timeout};

use super::served::{Served, connect, eventually, options, start, until_closed, write};

pub async fn client(served: &Served) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(connect(served).await).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

pub fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("https://here{path}")).body(()).unwrap()
}

async fn text(mut body: h2::RecvStream) -> String {
    let mut all = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        all.extend_from_slice(&chunk);
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn prior_knowledge_serves_many_requests_at_once_whatever_the_scheme_says() {
    let served = start(options());
    let mut client = client(&served).await;
    let mut answers = Vec::new();
    for _ in 0..50 {
        client = client.ready().await.unwrap();
        answers.push(client.send_request(request(Method::GET, "/"), true).unwrap().0);
    }
    for answer in answers {
        assert_eq!(answer.await.unwrap().status(), 204);
    }
    let (answer, _) = client.send_request(request(Method::GET, "/peer"), true).unwrap();
    let answer = text(answer.await.unwrap().into_body()).await;
    assert!(answer.starts_with("127.0.0.1:") && answer.ends_with(" here"), "{answer}");
    let (answer, _) = client.send_request(request(Method::HEAD, "/absent"), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_body_streams_in_while_the_answer_streams_out() {
    let served = start(options());
    let mut client = client(&served).await;
    let (answer, mut body) = client.send_request(request(Method::POST, "/echo"), false).unwrap();
    body.send_data(Bytes::from_static(b"first"), false).unwrap();
    let mut back = answer.await.unwrap().into_body();
    assert_eq!(back.data().await.unwrap().unwrap(), "first");
    body.send_data(Bytes::from_static(b"second"), true).unwrap();
    assert_eq!(back.data().await.unwrap().unwrap(), "second");
    assert_eq!(text(back).await, "");
}

#[tokio::test]
async fn a_handler_that_does_not_read_stops_its_client_at_the_window() {
    const SIZE: usize = 3 << 20;
    let served = start(options());
    let mut client = client(&served).await;
    let (answer, mut body) = client.send_request(request(Method::POST, "/late"), false).unwrap();
    let (mut sent, mut stalled) = (0, 0);
    while sent < SIZE {
        body.reserve_capacity((SIZE - sent).min(64 * 1024));
        let granted = std::future::poll_fn(|cx| body.poll_capacity(cx));
        match timeout(Duration::from_millis(300), granted).await {
            Err(_) => stalled = stalled.max(sent),
            Ok(granted) => {
                let size = granted.unwrap().unwrap();
                body.send_data(Bytes::from(vec![b'x'; size]), false).unwrap();
                sent += size;
            }
        }
    }
    body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(text(answer.await.unwrap().into_body()).await, SIZE.to_string());
    assert_eq!(stalled, 512 * 1024, "what the client could send before the handler read");
}

#[tokio::test]
async fn a_reset_stream_or_a_lost_connection_drops_the_handler() {
    let served = start(options());
    let mut first = client(&served).await;
    let (answer, mut body) = first.send_request(request(Method::GET, "/hang"), true).unwrap();
    eventually(|| served.hanging.load(Ordering::SeqCst) == 1).await;
    body.send_reset(h2::Reason::CANCEL);
    drop(answer);
    eventually(|| served.hanging.load(Ordering::SeqCst) == 0).await;

    let stream = connect(&served).await;
    let (mut second, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let _answer = second.send_request(request(Method::GET, "/hang"), true).unwrap();
    eventually(|| served.hanging.load(Ordering::SeqCst) == 1).await;
    connection.abort();
    eventually(|| served.hanging.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn two_different_hosts_and_connect_are_refused() {
    let served = start(options());
    let mut client = client(&served).await;
    let mut other = request(Method::GET, "/");
    other.headers_mut().insert("host", "there".parse().unwrap());
    assert_eq!(client.send_request(other, true).unwrap().0.await.unwrap().status(), 400);
    let connect = Request::builder().method(Method::CONNECT).uri("here:443").body(()).unwrap();
    assert_eq!(client.send_request(connect, true).unwrap().0.await.unwrap().status(), 400);
}

#[tokio::test]
async fn a_preface_may_come_byte_by_byte_but_not_slowly() {
    let served = start(options());
    let mut stream = connect(&served).await;
    let opening =
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &super::floods::frame(4, 0, 0, &[])].concat();
    for byte in &opening {
        write(&mut stream, &[*byte]).await;
        sleep(Duration::from_millis(2)).await;
    }
    write(&mut stream, &super::floods::get(1)).await;
    let frames = super::floods::frames_until(&mut stream, |frame| frame.kind == 1).await;
    assert_eq!(frames.last().map(|frame| frame.stream), Some(1));

    for (part, pause_ms) in [(10, 10_000), (1, 100)] {
        let mut stream = connect(&served).await;
        write(&mut stream, &opening[..part]).await;
        let dribble = async {
            for byte in &opening[part..] {
                sleep(Duration::from_millis(pause_ms)).await;
                if !write(&mut stream, &[*byte]).await {
                    return;
                }
            }
            until_closed(&mut stream, Duration::from_secs(20)).await;
        };
        if pause_ms == 100 {
            timeout(Duration::from_secs(2), dribble).await.unwrap();
        } else {
            drop(dribble);
            assert!(until_closed(&mut stream, Duration::from_secs(2)).await.is_some());
        }
    }
}

#[tokio::test]
async fn an_idle_connection_is_told_to_go_and_closed() {
    let served = start(options());
    let (_client, connection) = h2::client::handshake(connect(&served).await).await.unwrap();
    timeout(Duration::from_secs(4), connection).await.unwrap().unwrap();
}
