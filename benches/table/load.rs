//! Load: closed loop for CPU and rate, open loop for latency. Raw HTTP/1.1, so that it costs little itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A request, ready to be written.
pub fn request(path: &str, token: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Strm-Schema-Ref: strmprivacy/example/1.5.0\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Sends `requests` round robin over `connections` for `time`. Returns the answers with status 2xx.
pub async fn closed(
    port: u16,
    requests: Arc<Vec<Vec<u8>>>,
    connections: usize,
    time: Duration,
) -> Result<u64> {
    let done = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + time;
    let mut tasks = Vec::new();
    for first in 0..connections {
        let (requests, done) = (Arc::clone(&requests), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            let mut stream = connect(port).await?;
            let mut answer = vec![0; 64 << 10];
            for at in (first..).step_by(connections) {
                if Instant::now() >= until {
                    break;
                }
                stream.write_all(&requests[at % requests.len()]).await?;
                read_answer(&mut stream, &mut answer).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, anyhow::Error>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(done.load(Ordering::Relaxed))
}

/// Sends every request once, over `connections`.
pub async fn once(port: u16, requests: Vec<Vec<u8>>, connections: usize) -> Result<()> {
    let (requests, next) = (Arc::new(requests), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (requests, next) = (Arc::clone(&requests), Arc::clone(&next));
        tasks.push(tokio::spawn(async move {
            let mut stream = connect(port).await?;
            let mut answer = vec![0; 64 << 10];
            while let Some(request) = requests.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed))?) {
                stream.write_all(request).await?;
                read_answer(&mut stream, &mut answer).await?;
            }
            Ok::<_, anyhow::Error>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Sends at `rate` a second whatever the answers do. Latency counts from when a request was due.
pub async fn open(
    port: u16,
    requests: Arc<Vec<Vec<u8>>>,
    rate: u64,
    time: Duration,
) -> Result<Histogram<u64>> {
    let connections = 32_u64;
    let begun = Instant::now() + Duration::from_millis(100);
    let mut tasks = Vec::new();
    for first in 0..connections {
        let requests = Arc::clone(&requests);
        tasks.push(tokio::spawn(async move {
            let mut latencies = Histogram::<u64>::new(3)?;
            let mut stream = connect(port).await?;
            let mut answer = vec![0; 64 << 10];
            for n in (first..).step_by(usize::try_from(connections)?) {
                let due = begun + Duration::from_secs_f64(n as f64 / rate as f64);
                if due >= begun + time {
                    break;
                }
                tokio::time::sleep_until(due.into()).await;
                let at = usize::try_from(n)? % requests.len();
                stream.write_all(&requests[at]).await?;
                read_answer(&mut stream, &mut answer).await?;
                latencies.record(u64::try_from(due.elapsed().as_micros())?)?;
            }
            Ok::<_, anyhow::Error>(latencies)
        }));
    }
    let mut all = Histogram::<u64>::new(3)?;
    for task in tasks {
        all.add(task.await??)?;
    }
    Ok(all)
}

async fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn read_answer(stream: &mut TcpStream, answer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut answer[filled..]).await?;
        ensure!(read > 0, "the connection was closed");
        filled += read;
        let Some(head) = answer[..filled].windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&answer[..head])?.to_ascii_lowercase();
        ensure!(text.starts_with("http/1.1 2"), "refused: {}", text.lines().next().context("empty")?);
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let length: usize = length.map_or(Ok(0), str::parse)?;
        if filled >= head + 4 + length {
            return Ok(());
        }
    }
}
