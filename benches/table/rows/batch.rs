//! `POST /events`: CPU per event for JSON and Avro, and what sealing costs there.

use std::sync::Arc;

use anyhow::Result;

use super::{cost, single::contract_without_fields};
use crate::{
    load::Requests,
    node::Node,
    report::{Gate, Report},
    workload::{Event, REFERENCE, avro_schema},
};

const CONNECTIONS: usize = 4;
const SESSIONS: u64 = 1_000;
/// Events that all requests of a kind hold together.
const EVENTS: u64 = 40_000;

fn event(n: u64) -> Event {
    Event::new(n, n % SESSIONS)
}

/// NDJSON, `size` events a request.
fn ndjson(token: &str, size: u64, contract: &str) -> Arc<Requests> {
    let line = |n| [event(n).under(contract).json(), b"\n".to_vec()].concat();
    let bodies = (0..EVENTS / size).map(|first| (first * size..(first + 1) * size).flat_map(line).collect());
    Requests::batches(token, "application/x-ndjson", bodies)
}

/// Avro object containers, `size` events a request.
fn containers(token: &str, size: u64) -> Result<Arc<Requests>> {
    let schema = avro_schema()?;
    let mut bodies = Vec::new();
    for first in 0..EVENTS / size {
        let mut writer = apache_avro::Writer::new(&schema, Vec::new())?;
        for n in first * size..(first + 1) * size {
            writer.append_value(event(n).avro_value())?;
        }
        bodies.push(writer.into_inner()?);
    }
    Ok(Requests::batches(token, "application/vnd.apache.avro", bodies.into_iter()))
}

pub async fn run(report: &Report) -> Result<()> {
    let node = Node::start(None).await?;
    let plain = contract_without_fields(&node)?;
    let kinds = [
        (500, ndjson(&node.token, 500, REFERENCE)),
        (100, ndjson(&node.token, 100, REFERENCE)),
        (500, containers(&node.token, 500)?),
        (500, ndjson(&node.token, 500, plain)),
    ];
    let mut costs = [const { Vec::new() }; 4];
    let mut rates = [const { Vec::new() }; 4];
    let mut stored = 0;
    for leg in 0..=report.legs() {
        for (kind, (size, requests)) in kinds.iter().enumerate() {
            let cost = cost(&node.process, requests, CONNECTIONS, report).await?;
            stored += cost.answers * size;
            if leg > 0 {
                costs[kind].push(cost.cpu_us / *size as f64);
                rates[kind].push(cost.rate * *size as f64);
            }
        }
    }
    report.row("POST /events, 500 JSON events: CPU per event", &costs[0], "us", Gate::AtMost(8.0));
    report.row("POST /events, 100 JSON events: CPU per event", &costs[1], "us", Gate::Shown);
    report.row("POST /events, 500 Avro events: CPU per event", &costs[2], "us", Gate::AtMost(5.0));
    report.row("POST /events, 500 JSON events: events per second", &rates[0], "/s", Gate::Shown);
    let sealing: Vec<f64> = rates[0].iter().zip(&rates[3]).map(|(sealed, none)| sealed / none).collect();
    report.row("rate with 3 sealed fields over none, batch", &sealing, "x", Gate::AtLeast(0.7));
    if report.quick { node.holds(stored).await } else { Ok(()) }
}
