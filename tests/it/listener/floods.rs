//! Work for nothing, sent as raw HTTP/2 frames: each flood ends, and the server serves on.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use hyper::Method;
use sluice::http::listener::ListenerOptions;
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use super::{
    http2::{client, request},
    served::{Served, connect, eventually, options, start, until_closed, write},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `:method GET`, `:scheme https`, `:path /`, `:authority a`, in HPACK's static table.
const GET: &[u8] = &[0x82, 0x87, 0x84, 0x41, 0x01, b'a'];
/// The same for `:path /hang`.
const GET_HANG: &[u8] = &[0x82, 0x87, 0x04, 0x05, b'/', b'h', b'a', b'n', b'g', 0x41, 0x01, b'a'];

pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub fn get(stream: u32) -> Vec<u8> {
    frame(1, 5, stream, GET)
}

/// Reads frames up to one that `last` picks, or the end of the connection.
pub async fn frames_until(stream: &mut TcpStream, last: impl Fn(&Frame) -> bool) -> Vec<Frame> {
    let mut frames = Vec::new();
    let read = async {
        loop {
            let mut header = [0; 9];
            if stream.read_exact(&mut header).await.is_err() {
                return;
            }
            let size = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let mut payload = vec![0; size as usize];
            if stream.read_exact(&mut payload).await.is_err() {
                return;
            }
            let id = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
            frames.push(Frame { kind: header[3], stream: id, payload });
            if last(&frames[frames.len() - 1]) {
                return;
            }
        }
    };
    timeout(Duration::from_secs(5), read).await.expect("neither the frame nor the end came");
    frames
}

async fn open(served: &Served) -> TcpStream {
    let mut stream = connect(served).await;
    write(&mut stream, &[PREFACE, &frame(4, 0, 0, &[])].concat()).await;
    stream
}

/// Sends `unit(0), unit(1), ...` and expects to be cut off before the `count`th.
async fn flood(served: &Served, mut stream: TcpStream, count: u32, unit: impl Fn(u32) -> Vec<u8>) {
    let (mut reader, mut writer) = stream.split();
    let mut part = vec![0; 65_536];
    let drain = async { while let Ok(1..) = reader.read(&mut part).await {} };
    let send = async {
        for batch in 0..count / 100 {
            let bytes: Vec<u8> = (0..100).flat_map(|index| unit(batch * 100 + index)).collect();
            if tokio::io::AsyncWriteExt::write_all(&mut writer, &bytes).await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    timeout(Duration::from_secs(5), async {
        tokio::select! { () = drain => {}, () = send => {} }
    })
    .await
    .expect("the flood was not cut off");
    serves_on(served).await;
}

async fn serves_on(served: &Served) {
    let mut client = client(served).await;
    let began = Instant::now();
    assert_eq!(client.send_request(request(Method::GET, "/"), true).unwrap().0.await.unwrap().status(), 204);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn the_limits_are_announced_and_streams_beyond_them_refused() {
    let served = start(ListenerOptions { h2_streams_max: 8, ..options() });
    let mut stream = open(&served).await;
    let settings = frames_until(&mut stream, |frame| frame.kind == 4).await.pop().unwrap().payload;
    let of = |id: u8| {
        let entry = settings.chunks(6).find(|entry| entry[1] == id).unwrap();
        u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]])
    };
    assert_eq!((of(3), of(4), of(6)), (8, 512 * 1024, 32 * 1024));
    for index in 0..20 {
        write(&mut stream, &frame(1, 5, index * 2 + 1, GET_HANG)).await;
    }
    let refused = frames_until(&mut stream, |frame| frame.kind == 3 && frame.stream == 39).await;
    assert_eq!(refused.iter().filter(|frame| frame.kind == 3 && frame.payload == [0, 0, 0, 7]).count(), 12);
    eventually(|| served.hanging.load(Ordering::SeqCst) == 8).await;
}

#[tokio::test]
async fn a_header_bomb_is_refused() {
    let served = start(options());
    let mut stream = open(&served).await;
    // One field of 4,000 bytes goes into the table, then is named 4,000 times: 16 MiB out of 8 KiB.
    let mut block = GET.to_vec();
    block.extend([0x40, 0x01, b'x', 0x7f, 0xa1, 0x1e]);
    block.extend([b'y'; 4000]);
    block.extend([0xbe; 4000]);
    write(&mut stream, &frame(1, 5, 1, &block)).await;
    let frames = frames_until(&mut stream, |frame| matches!(frame.kind, 1 | 3 | 7)).await;
    let last = frames.last().unwrap();
    // 431 is `:status` by name 8 with a literal value; 0x89 would be 204.
    assert!(last.kind != 1 || last.payload[0] != 0x89, "accepted: {:?}", last.payload);
    serves_on(&served).await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let served = start(options());
    let mut stream = open(&served).await;
    write(&mut stream, &frame(1, 1, 1, GET)).await;
    flood(&served, stream, 10_000, |_| frame(9, 0, 1, &[0x00, 0x01, b'x', 0x01, b'y'])).await;
    let mut stream = open(&served).await;
    write(&mut stream, &frame(1, 1, 1, GET)).await;
    assert!(until_closed(&mut stream, Duration::from_secs(2)).await.is_some(), "slow head");
    let mut stream = open(&served).await;
    write(&mut stream, &get(1)[..12]).await;
    assert!(until_closed(&mut stream, Duration::from_secs(2)).await.is_some(), "slow head in one frame");
}

#[tokio::test]
async fn rapid_resets_are_cut_off_and_leave_no_handler() {
    let served = start(options());
    let stream = open(&served).await;
    let unit = |index: u32| {
        let id = index * 2 + 1;
        [frame(1, 5, id, GET_HANG), frame(3, 0, id, &[0, 0, 0, 8])].concat()
    };
    flood(&served, stream, 10_000, unit).await;
    eventually(|| served.hanging.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn frames_that_carry_nothing_are_cut_off() {
    let served = start(options());
    flood(&served, open(&served).await, 10_000, |_| frame(6, 0, 0, &[0; 8])).await;
    flood(&served, open(&served).await, 10_000, |_| frame(4, 0, 0, &[0, 4, 0, 0, 255, 255])).await;
    flood(&served, open(&served).await, 10_000, |_| frame(2, 0, 1, &[0, 0, 0, 0, 1])).await;
    flood(&served, open(&served).await, 10_000, |_| frame(8, 0, 0, &[0, 0, 0, 1])).await;
    let mut stream = open(&served).await;
    let post = [0x83, 0x87, 0x04, 0x04, b'/', b'l', b'e', b'n', 0x41, 0x01, b'a'];
    write(&mut stream, &frame(1, 4, 1, &post)).await;
    flood(&served, stream, 10_000, |_| frame(0, 0, 1, &[])).await;
}
