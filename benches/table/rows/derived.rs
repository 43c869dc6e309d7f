//! What derived streams cost per source event, and how soon a subscriber of one has an event.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use super::cost;
use crate::{
    load::{Requests, open},
    node::Node,
    report::{Gate, Report},
    workload::Event,
};

const SESSIONS: u64 = 1_000;

/// A node whose stream `bench` has derived streams.
struct Deriving {
    node: Node,
    derived: Vec<String>,
    requests: Arc<Requests>,
}

impl Deriving {
    /// `count` derived streams with the distinct projections of `rules`, in turn.
    async fn start(count: usize, rules: &[&str]) -> Result<Deriving> {
        let node = Node::start(None).await?;
        let mut derived = Vec::new();
        for n in 0..count {
            let name = format!("derived-{n}");
            let rule = rules[n % rules.len()];
            node.create(&["stream", &name, "--derived-from", "bench", "--purposes", rule]).await?;
            derived.push(name);
        }
        let line = |n| [Event::new(n, n % SESSIONS).json(), b"\n".to_vec()].concat();
        let bodies = (0..40).map(|first| (first * 500..first * 500 + 500).flat_map(line).collect());
        let requests = Requests::batches(&node.token, "application/x-ndjson", bodies);
        Ok(Deriving { node, derived, requests })
    }

    /// CPU per source event, from the first event to the last derived one.
    async fn cost(&self, report: &Report) -> Result<f64> {
        let before = self.node.process.cpu()?;
        let sent = cost(&self.node.process, &self.requests, 2, report).await?;
        self.node.caught_up(&self.derived).await?;
        let used = self.node.process.cpu()? - before;
        Ok(used.as_secs_f64() * 1e6 / (sent.answers * 500) as f64)
    }
}

pub async fn run(report: &Report) -> Result<()> {
    let none = Deriving::start(0, &[]).await?;
    let one = Deriving::start(1, &["1"]).await?;
    let many = Deriving::start(256, &["1", "1,2", "2"]).await?;
    let (mut single, mut ratios) = (Vec::new(), Vec::new());
    let mut before = none.cost(report).await?;
    for leg in 0..=report.legs() {
        let (with_one, with_many) = (one.cost(report).await?, many.cost(report).await?);
        let after = none.cost(report).await?;
        let without = f64::midpoint(before, after);
        report.note(&format!("none {without:.1} us, one {with_one:.1} us, 256 {with_many:.1} us"));
        if leg > 0 {
            single.push(with_one - without);
            ratios.push((with_many - without) / (with_one - without));
        }
        before = after;
    }
    report.row("one derived stream: CPU per source event", &single, "us", Gate::AtMost(3.0));
    report.row("256 derived streams, 3 projections, over one", &ratios, "x", Gate::AtMost(25.0));
    drop((none, one, many));
    subscriber(report).await
}

/// From when an event was due to be sent to when a subscriber of a derived stream has it, at 1,000/s.
async fn subscriber(report: &Report) -> Result<()> {
    let node = Node::start(None).await?;
    let token = node.create(&["stream", "seen", "--derived-from", "bench", "--purposes", "1"]).await?;
    let total = 1_000 * report.leg().as_secs();
    let begun = Instant::now() + Duration::from_secs(1);
    let events = (0..total).map(|n| Event::new(n, n % SESSIONS).saying(format!("event {n:08} ")).json());
    let requests = Requests::single(&node.token, events);
    let request = reqwest::Client::new()
        .get(node.url("/streams/seen/events?from=earliest"))
        .header("Accept", "application/x-ndjson")
        .bearer_auth(&token);
    let mut answer = request.send().await?.error_for_status()?;
    let port = node.process.port;
    let leg = report.leg();
    let sending = std::thread::spawn(move || {
        std::thread::sleep(begun.saturating_duration_since(Instant::now()));
        (Instant::now(), open(port, &requests, 1_000, leg, 1).map(drop))
    });
    let (mut seen, mut text) = (Vec::new(), Vec::new());
    while let Ok(Some(chunk)) =
        tokio::time::timeout(Duration::from_secs(2), answer.chunk()).await.unwrap_or(Ok(None))
    {
        text.extend_from_slice(&chunk);
        let whole = memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1);
        for line in text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let at = memchr::memmem::find(line, b"\"event ").context("a derived event without its number")?;
            seen.push((std::str::from_utf8(&line[at + 7..at + 15])?.parse::<u64>()?, Instant::now()));
        }
        text.drain(..whole);
    }
    let (sent_from, sent) = sending.join().ok().context("the sender panicked")?;
    sent?;
    let mut latencies = Histogram::<u64>::new(3)?;
    for (n, at) in &seen {
        let due = sent_from + Duration::from_millis(*n);
        latencies.record(u64::try_from(at.saturating_duration_since(due).as_micros())?)?;
    }
    let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
    report.note(&format!("{} of {total} derived events seen, p50 {:.2} ms", seen.len(), ms(0.5)));
    report.row("sent to derived subscriber at 1,000/s: p99", &[ms(0.99)], "ms", Gate::AtMost(10.0));
    Ok(())
}
