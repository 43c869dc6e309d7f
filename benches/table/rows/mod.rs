//! The rows of the table, in groups that can be run alone.

mod batch;
mod control;
mod crypto;
mod derived;
mod latency;
mod sessions;
mod single;

use std::{sync::Arc, time::Instant};

use anyhow::{Result, bail};

use super::{
    load::{Requests, closed},
    node::Process,
    report::Report,
};

/// The groups.
pub const NAMES: [&str; 7] = ["crypto", "single", "batch", "derived", "latency", "sessions", "control"];

/// Runs a group.
pub async fn run(name: &str, report: &mut Report) -> Result<()> {
    match name {
        "crypto" => crypto::run(report),
        "single" => single::run(report).await,
        "batch" => batch::run(report).await,
        "derived" => derived::run(report).await,
        "latency" => latency::run(report).await,
        "sessions" => sessions::run(report).await,
        "control" => control::run(report).await,
        other => bail!("no rows named {other}"),
    }
}

/// What a closed loop cost.
struct Cost {
    answers: u64,
    /// CPU of the process per answer, microseconds.
    cpu_us: f64,
    /// Answers per second.
    rate: f64,
}

async fn cost(
    process: &Process,
    requests: &Arc<Requests>,
    connections: usize,
    report: &Report,
) -> Result<Cost> {
    let (before, begun) = (process.cpu()?, Instant::now());
    let answers = closed(process.port, requests, connections, report.leg()).await?;
    let (used, took) = (process.cpu()? - before, begun.elapsed());
    let cpu_us = used.as_secs_f64() * 1e6 / answers as f64;
    Ok(Cost { answers, cpu_us, rate: answers as f64 / took.as_secs_f64() })
}
