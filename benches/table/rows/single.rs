//! One event per request, HTTP/1.1, synced before 204: CPU and rate over a bare handler's, and what sealing costs.

use std::sync::Arc;

use anyhow::Result;

use super::cost;
use crate::{
    load::Requests,
    node::{Node, Process},
    report::{Gate, Report},
    workload::Event,
};

const CONNECTIONS: usize = 64;
const SESSIONS: u64 = 1_000;

fn events(token: &str, contract: &'static str) -> Arc<Requests> {
    Requests::single(token, (0..20_000).map(|n| Event::new(n, n % SESSIONS).under(contract).json()))
}

pub async fn run(report: &Report) -> Result<()> {
    cpu(report).await?;
    on_one_core(report).await
}

async fn cpu(report: &Report) -> Result<()> {
    let (bare, node) = (Process::yardstick(None).await?, Node::start(None).await?);
    let requests = events(&node.token, crate::workload::REFERENCE);
    let mut stored = cost(&node.process, &requests, CONNECTIONS, report).await?.answers;
    let mut before = cost(&bare, &requests, CONNECTIONS, report).await?;
    let (mut ratios, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..report.legs() {
        let ours = cost(&node.process, &requests, CONNECTIONS, report).await?;
        let after = cost(&bare, &requests, CONNECTIONS, report).await?;
        let yardstick = f64::midpoint(before.cpu_us, after.cpu_us);
        report.note(&format!(
            "bare {yardstick:.1} us, {:.0}/s; node {:.1} us, {:.0}/s",
            after.rate, ours.cpu_us, ours.rate
        ));
        ratios.push(ours.cpu_us / yardstick);
        costs.push(ours.cpu_us);
        stored += ours.answers;
        before = after;
    }
    report.row("one event per request: CPU per event", &costs, "us", Gate::Shown);
    report.row("one event per request: CPU over a bare handler's", &ratios, "x", Gate::AtMost(2.5));
    node.holds(stored).await
}

/// Server on core 0; the load has the other.
async fn on_one_core(report: &Report) -> Result<()> {
    let (bare, node) = (Process::yardstick(Some(0)).await?, Node::start(Some(0)).await?);
    let plain = contract_without_fields(&node)?;
    let (sealed, open) = (events(&node.token, crate::workload::REFERENCE), events(&node.token, plain));
    cost(&node.process, &sealed, CONNECTIONS, report).await?;
    cost(&node.process, &open, CONNECTIONS, report).await?;
    let mut before = cost(&bare, &sealed, CONNECTIONS, report).await?;
    let (mut ratios, mut sealing) = (Vec::new(), Vec::new());
    for _ in 0..report.legs() {
        let first = cost(&node.process, &open, CONNECTIONS, report).await?;
        let ours = cost(&node.process, &sealed, CONNECTIONS, report).await?;
        let second = cost(&node.process, &open, CONNECTIONS, report).await?;
        let after = cost(&bare, &sealed, CONNECTIONS, report).await?;
        ratios.push(ours.rate / f64::midpoint(before.rate, after.rate));
        sealing.push(ours.rate / f64::midpoint(first.rate, second.rate));
        before = after;
    }
    report.row("on one core: rate over a bare handler's", &ratios, "x", Gate::AtLeast(0.4));
    report.row(
        "on one core: rate with 3 sealed fields over none, single",
        &sealing,
        "x",
        Gate::AtLeast(0.88),
    );
    Ok(())
}

/// A contract on the same schema without personal fields.
pub fn contract_without_fields(node: &Node) -> Result<&'static str> {
    let file = node.folder.path().join("plain.json");
    std::fs::write(
        &file,
        r#"{"schemaRef": "strmprivacy/example/1.5.0", "keyField": "consistentValue", "fieldMetadata": [],
            "validations": [{"field": "consistentValue", "type": "regex", "value": "^.+$"}]}"#,
    )?;
    let path = file.to_string_lossy().into_owned();
    node.sluice(&["create", "contract", PLAIN, "--contract", &path])?;
    node.sluice(&["activate", "contract", PLAIN])?;
    Ok(PLAIN)
}

const PLAIN: &str = "bench/plain/1.0.0";
