//! Open loop: the node on core 0, a sender on core 1 that never sleeps.

use std::{io::Write, path::Path, time::Instant};

use anyhow::Result;

use super::cost;
use crate::{
    load::{Requests, open},
    node::Node,
    report::{Gate, Report},
    workload::Event,
};

const SESSIONS: u64 = 1_000;

pub async fn run(report: &Report) -> Result<()> {
    let node = Node::start(Some(0)).await?;
    let requests = Requests::single(&node.token, (0..20_000).map(|n| Event::new(n, n % SESSIONS).json()));
    let mut stored = cost(&node.process, &requests, 32, report).await?.answers;
    let (mut tails, mut over) = (Vec::new(), Vec::new());
    for _ in 0..report.legs() {
        let disk_before = fdatasync(node.folder.path())?;
        let cpu = node.process.cpu()?;
        let (port, sent, leg) = (node.process.port, requests.clone(), report.leg());
        let latencies = tokio::task::spawn_blocking(move || open(port, &sent, 10_000, leg, 1)).await??;
        let used = (node.process.cpu()? - cpu).as_secs_f64() / leg.as_secs_f64();
        let disk = f64::midpoint(disk_before, fdatasync(node.folder.path())?);
        stored += latencies.len();
        let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
        report.note(&format!(
            "p50 {:.2}, p99 {:.2}, p99.9 {:.2} ms; disk p99 {disk:.2} ms; node {:.0}% of its core",
            ms(0.5),
            ms(0.99),
            ms(0.999),
            used * 100.0
        ));
        tails.push(ms(0.99));
        over.push(ms(0.99) / disk);
    }
    report.row("open loop 10,000/s on one core: p99", &tails, "ms", Gate::AtMost(1.0));
    report.row("the same over the disk's p99 of fdatasync", &over, "x", Gate::AtMost(5.0));
    node.holds(stored).await
}

/// 99th percentile of appending and syncing 4 KiB beside the node's data, milliseconds.
fn fdatasync(folder: &Path) -> Result<f64> {
    let mut file = std::fs::File::create(folder.join("probe"))?;
    let mut took = Vec::new();
    for _ in 0..2_000 {
        let begun = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok(took[took.len() * 99 / 100])
}
