//! Load: closed loop for CPU and rate, open loop for latency. Raw HTTP/1.1, so that it costs little itself.

use std::{
    io::{ErrorKind, Read, Write},
    net,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::workload::REFERENCE;

/// Requests, ready to be written, and what each answer must hold.
pub struct Requests {
    bytes: Vec<Vec<u8>>,
    expect: &'static str,
}

/// A request, ready to be written.
fn request(path: &str, token: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{kind}\
         Strm-Schema-Ref: {REFERENCE}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

impl Requests {
    /// One event a request.
    pub fn single(token: &str, events: impl Iterator<Item = Vec<u8>>) -> Arc<Requests> {
        let bytes = events.map(|body| request("/event", token, "", &body)).collect();
        Arc::new(Requests { bytes, expect: " 204 " })
    }

    /// Many events a request; every one of them must be accepted.
    pub fn batches(token: &str, kind: &str, bodies: impl Iterator<Item = Vec<u8>>) -> Arc<Requests> {
        let kind = format!("Content-Type: {kind}\r\n");
        let bytes = bodies.map(|body| request("/events", token, &kind, &body)).collect();
        Arc::new(Requests { bytes, expect: "\"refused\":[]" })
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Sends requests round robin over `connections` for `time`. Returns the answers, all of them good.
pub async fn closed(port: u16, requests: &Arc<Requests>, connections: usize, time: Duration) -> Result<u64> {
    let until = Instant::now() + time;
    send(port, requests, connections, move |_| Instant::now() < until).await
}

/// Sends every request once.
pub async fn once(port: u16, requests: &Arc<Requests>, connections: usize) -> Result<u64> {
    let count = requests.len() as u64;
    send(port, requests, connections, move |at| at < count).await
}

async fn send(
    port: u16,
    requests: &Arc<Requests>,
    connections: usize,
    goes_on: impl Fn(u64) -> bool + Copy + Send + 'static,
) -> Result<u64> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (requests, next) = (Arc::clone(requests), Arc::clone(&next));
        tasks.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            let (mut answer, mut done) = (vec![0; 64 << 10], 0_u64);
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if !goes_on(at) {
                    return Ok::<_, anyhow::Error>(done);
                }
                stream.write_all(&requests.bytes[usize::try_from(at)? % requests.len()]).await?;
                let mut filled = 0;
                while !is_whole(&answer[..filled], requests.expect)? {
                    let read = stream.read(&mut answer[filled..]).await?;
                    ensure!(read > 0, "the connection was closed");
                    filled += read;
                }
                done += 1;
            }
        }));
    }
    let mut done = 0;
    for task in tasks {
        done += task.await??;
    }
    Ok(done)
}

/// True when `answer` is whole. Fails when it is not what is expected.
fn is_whole(answer: &[u8], expect: &str) -> Result<bool> {
    let Some(head) = memmem::find(answer, b"\r\n\r\n") else { return Ok(false) };
    let text = std::str::from_utf8(&answer[..head])?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    if answer.len() < head + 4 + length.unwrap_or(Ok(0))? {
        return Ok(false);
    }
    ensure!(
        memmem::find(answer, expect.as_bytes()).is_some(),
        "refused: {}",
        String::from_utf8_lossy(answer.get(..400).unwrap_or(answer))
    );
    Ok(true)
}

/// A connection of the open loop, and since when its answer was due.
struct Line {
    stream: net::TcpStream,
    due: Option<Instant>,
    answer: Vec<u8>,
}

/// Sends at `rate` a second whatever the answers do, from one thread on `core`. It never sleeps, unless the
/// rate is low: then it leaves the core to whoever reads what was sent.
/// Latency, in microseconds, counts from when a request was due to when its answer was read.
pub fn open(port: u16, requests: &Requests, rate: u64, time: Duration, core: u32) -> Result<Histogram<u64>> {
    pin_this_thread(core)?;
    let mut lines = Vec::new();
    for _ in 0..LINES {
        let stream = net::TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        lines.push(Line { stream, due: None, answer: Vec::new() });
    }
    let (begun, total) = (Instant::now(), rate * time.as_secs());
    let (mut sent, mut answered) = (0, 0);
    let (mut idle, mut busy): (Vec<usize>, Vec<usize>) = ((0..lines.len()).collect(), Vec::new());
    let mut latencies = Histogram::<u64>::new(3)?;
    while answered < total {
        let due = begun + Duration::from_secs_f64(sent as f64 / rate as f64);
        if sent < total
            && due <= Instant::now()
            && let Some(free) = idle.pop()
        {
            let line = &mut lines[free];
            let written = line.stream.write(&requests.bytes[usize::try_from(sent)? % requests.len()])?;
            ensure!(written == requests.bytes[usize::try_from(sent)? % requests.len()].len(), "cut request");
            (line.due, sent) = (Some(due), sent + 1);
            busy.push(free);
        }
        if rate <= SLEEPING_RATE {
            std::thread::sleep(Duration::from_micros(100));
        }
        let mut at = 0;
        while at < busy.len() {
            if lines[busy[at]].poll(requests.expect)? {
                let since = lines[busy[at]].due.take().context("nothing was sent")?;
                latencies.record(u64::try_from(since.elapsed().as_micros())?)?;
                idle.push(busy.swap_remove(at));
                answered += 1;
            } else {
                at += 1;
            }
        }
    }
    Ok(latencies)
}

const LINES: usize = 256;
const SLEEPING_RATE: u64 = 2_000;

impl Line {
    /// True when the answer is here.
    fn poll(&mut self, expect: &str) -> Result<bool> {
        let mut bytes = [0; 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => anyhow::bail!("the connection was closed"),
            Ok(read) => self.answer.extend_from_slice(&bytes[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let whole = is_whole(&self.answer, expect)?;
        if whole {
            self.answer.clear();
        }
        Ok(whole)
    }
}

fn pin_this_thread(core: u32) -> Result<()> {
    let me = std::fs::read_link("/proc/thread-self")?;
    let id = me.file_name().and_then(|id| id.to_str()).context("no thread id")?.to_owned();
    let pinned =
        Command::new("taskset").args(["-p", "-c", &core.to_string(), &id]).stdout(Stdio::null()).status()?;
    ensure!(pinned.success(), "taskset failed");
    Ok(())
}
