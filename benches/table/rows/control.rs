//! Ingest with 50 requests a second to the control plane beside it, over ingest without: reads and changes, each
//! change with its entry in the audit log.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::cost;
use crate::{
    load::Requests,
    node::Node,
    report::{Gate, Report},
    workload::Event,
};

const CONNECTIONS: usize = 64;
const SESSIONS: u64 = 1_000;
const PER_SECOND: u32 = 50;
/// People at the control plane: a slow answer to one keeps the others asking.
const LANES: u32 = 5;

/// Node on core 0; the load has the other, so that the requests themselves cost the node only.
pub async fn run(report: &Report) -> Result<()> {
    let node = Node::start(Some(0)).await?;
    node.create(&["stream", "side"]).await?;
    let events = (0..20_000).map(|n| Event::new(n, n % SESSIONS).json());
    let requests = Requests::single(&node.token, events);
    cost(&node.process, &requests, CONNECTIONS, report).await?;
    let mut before = cost(&node.process, &requests, CONNECTIONS, report).await?;
    let (mut rates, mut costs, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..report.legs() {
        let stop = Arc::new(AtomicBool::new(false));
        let mut operators = Vec::new();
        for lane in 0..LANES {
            operators.push(tokio::spawn(operate(Operator::new(&node, lane)?, Arc::clone(&stop))));
        }
        let begun = Instant::now();
        let beside = cost(&node.process, &requests, CONNECTIONS, report).await;
        stop.store(true, Ordering::SeqCst);
        let mut asked = 0;
        for operator in operators {
            asked += operator.await??;
        }
        let (beside, took) = (beside?, begun.elapsed());
        let after = cost(&node.process, &requests, CONNECTIONS, report).await?;
        rates.push(beside.rate / f64::midpoint(before.rate, after.rate));
        costs.push(beside.cpu_us / f64::midpoint(before.cpu_us, after.cpu_us));
        sent.push(asked as f64 / took.as_secs_f64());
        before = after;
    }
    report.row("control plane beside ingest: its requests", &sent, "1/s", Gate::Shown);
    report.row("control plane beside ingest: CPU per event over without", &costs, "x", Gate::Shown);
    report.row("control plane beside ingest: rate of events over without", &rates, "x", Gate::AtLeast(0.95));
    Ok(())
}

/// Somebody at the control plane.
struct Operator {
    http: reqwest::Client,
    base: String,
    token: String,
    /// The stream that it makes and deletes.
    extra: String,
}

impl Operator {
    fn new(node: &Node, lane: u32) -> Result<Operator> {
        let token = std::fs::read_to_string(node.folder.path().join("admin.token"))?.trim().to_owned();
        let (http, base) = (reqwest::Client::new(), node.url("/api/v1"));
        Ok(Operator { http, base, token, extra: format!("extra-{lane}") })
    }

    /// The `n`th request: of eight, five look and three change something.
    async fn ask(&self, n: u64) -> Result<()> {
        let extra = format!("/streams/{}", self.extra);
        let (method, path, body) = match n % 8 {
            0 => (Method::GET, "/streams", Value::Null),
            1 => (Method::PATCH, "/streams/side", json!({ "description": format!("change {n}") })),
            2 => (Method::GET, "/contracts/strmprivacy/example/1.5.0", Value::Null),
            3 => (Method::POST, "/streams", json!({ "name": self.extra })),
            4 => (Method::GET, "/audit/entries?limit=20", Value::Null),
            5 => (Method::GET, "/streams/bench/usage", Value::Null),
            6 => (Method::DELETE, extra.as_str(), Value::Null),
            _ => (Method::GET, "/whoami", Value::Null),
        };
        let request =
            self.http.request(method.clone(), format!("{}{path}", self.base)).bearer_auth(&self.token);
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{method} {path}: {status} {text}");
        Ok(())
    }
}

/// Asks by the clock until it is told to stop; returns how often. Eight at a time in their order, so that a stream
/// is made before it is deleted.
async fn operate(operator: Operator, stop: Arc<AtomicBool>) -> Result<u64> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * LANES / PER_SECOND);
    let mut n = 0;
    while n % 8 != 0 || !stop.load(Ordering::SeqCst) {
        ticks.tick().await;
        operator.ask(n).await.context("a request to the control plane")?;
        n += 1;
    }
    Ok(n)
}
