//! Many live sessions: memory, rate, and the start after a crash.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    load::{Requests, once},
    node::{Node, Process},
    report::{Gate, Report},
    workload::Event,
};

/// Events of sessions `from..to`, each session `times` in a row of passes, in batches of 500.
fn batches(token: &str, from: u64, to: u64, salt: u64) -> Arc<Requests> {
    let line = |n| [Event::new(n ^ salt, n).json(), b"\n".to_vec()].concat();
    let bodies =
        (from / 500..to / 500).map(move |first| (first * 500..first * 500 + 500).flat_map(line).collect());
    Requests::batches(token, "application/x-ndjson", bodies)
}

pub async fn run(report: &Report) -> Result<()> {
    let sessions: u64 = if report.quick { 100_000 } else { 1_000_000 };
    let node = Node::start(None).await?;
    // As many events of few sessions first, so that buffers and tables are as large before as after.
    let few = (0..50).map(|n| batches(&node.token, 0, 1_000, n << 40)).collect::<Vec<_>>();
    let (mut stored, begun) = (0, Instant::now());
    while stored < sessions {
        for requests in &few {
            stored += once(node.process.port, requests, 4).await? * 500;
        }
    }
    let rate_few = stored as f64 / begun.elapsed().as_secs_f64();
    let before = settled(&node.process).await?;
    let (first, step) = (10_000, 50_000);
    let mut took = Duration::ZERO;
    for from in (first..first + sessions).step_by(step as usize) {
        let requests = batches(&node.token, from, from + step, 0);
        let begun = Instant::now();
        stored += once(node.process.port, &requests, 4).await? * 500;
        took += begun.elapsed();
    }
    report.note(&format!("{:.0} new sessions/s", sessions as f64 / took.as_secs_f64()));
    let each = (settled(&node.process).await? - before) as f64 / sessions as f64;
    report.row(
        &format!("resident memory per live session, of {sessions}"),
        &[each],
        "B",
        Gate::AtMost(200.0),
    );
    let (mut again, mut took) = (0, Duration::ZERO);
    for from in (first..first + sessions).step_by(step as usize) {
        let requests = batches(&node.token, from, from + step, 1 << 50);
        let begun = Instant::now();
        again += once(node.process.port, &requests, 4).await? * 500;
        took += begun.elapsed();
    }
    stored += again;
    let rate_many = again as f64 / took.as_secs_f64();
    let what = format!("rate at {sessions} live sessions over 1,000");
    report.row(&what, &[rate_many / rate_few], "x", Gate::AtLeast(0.75));
    report.note(&format!("{stored} events stored"));
    let Node { process, folder, token } = node;
    drop(process);
    let begun = Instant::now();
    let process = Process::node(folder.path(), None).await?;
    let one = Requests::single(&token, std::iter::once(Event::new(7, first + 7).json()));
    once(process.port, &one, 1).await?;
    let took = begun.elapsed().as_secs_f64();
    report.row(
        &format!("kill -9 with {sessions} live sessions to the first 204"),
        &[took],
        "s",
        Gate::AtMost(3.0),
    );
    Ok(())
}

/// Resident memory once it has stopped to change by more than 1% in two seconds.
async fn settled(process: &Process) -> Result<u64> {
    let mut last = process.resident()?;
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = process.resident()?;
        if now.abs_diff(last) * 100 < last {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
