//! `scripts/bench`: figures as ratios to a yardstick in the same run (`DESIGN` 12). Not every row yet.
#![allow(clippy::print_stdout, reason = "the table is the output")]

mod load;
mod node;

use std::{io::Write, path::Path, sync::Arc, time::Duration, time::Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::{Context, Result};
use serde_json::json;
use sluice::{
    clock::Timestamp,
    crypto::{OpenKey, SessionRoot},
    domain::{KeyLink, Suite},
};

use self::{
    load::{closed, once, open, request},
    node::Process,
};

const ROUND: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--yardstick") {
        return yardstick(args[at + 1].parse()?);
    }
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    println!("load average {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        seal();
        single().await?;
        batch().await?;
        latency().await?;
        sessions().await
    })
}

fn yardstick(port: u16) -> Result<()> {
    let server = HttpServer::new(|| {
        App::new().route("/event", web::post().to(async |_: web::Bytes| HttpResponse::NoContent().finish()))
    });
    Ok(actix_web::rt::System::new().block_on(server.bind(("127.0.0.1", port))?.run())?)
}

fn row(what: &str, measured: f64, unit: &str, gate: f64) {
    let reached = if measured <= gate { "reached" } else { "NOT reached" };
    println!("{what:<58} {measured:>9.2} {unit:<8} gate {gate:<7} {reached}");
}

/// A 630 B event; `n` chooses its session and its consent, which is uniform over the four sets.
fn event(n: usize, sessions: usize) -> Vec<u8> {
    let consent = [json!([]), json!([0]), json!([0, 1]), json!([0, 1, 2])];
    let event = json!({
        "strmMeta": {"eventContractRef": "strmprivacy/example/1.5.0", "consentLevels": consent[n % 4]},
        "uniqueIdentifier": format!("unique-{:010}", n % 5_000),
        "consistentValue": format!("session-{:010}", n % sessions),
        "someSensitiveValue": format!("sensitive-{:010}", n % 7_000),
        "notSensitiveValue": "x".repeat(420),
    });
    event.to_string().into_bytes()
}

/// A stream on a node, and a token for it.
async fn stream(node: &Process, folder: &Path) -> Result<String> {
    let made = node.sluice(folder, &["create", "stream", "bench"])?;
    let credential = &made["credentials"][0];
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        credential["clientId"].as_str().context("no id")?,
        credential["clientSecret"].as_str().context("no secret")?
    );
    let url = format!("http://127.0.0.1:{}/oauth/token", node.port);
    let answer: serde_json::Value = reqwest::Client::new().post(url).body(form).send().await?.json().await?;
    Ok(answer["access_token"].as_str().context("no token")?.to_owned())
}

/// CPU of `process` per answer of a closed loop, microseconds, and answers per second.
async fn cost(process: &Process, requests: &Arc<Vec<Vec<u8>>>, connections: usize) -> Result<(f64, f64)> {
    let (before, begun) = (process.cpu()?, Instant::now());
    let answers = closed(process.port, Arc::clone(requests), connections, ROUND).await?;
    let used = process.cpu()? - before;
    Ok((used.as_secs_f64() * 1e6 / answers as f64, answers as f64 / begun.elapsed().as_secs_f64()))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn seal() {
    let root = SessionRoot::generate();
    let (made, ends) = (Timestamp(0), Timestamp(86_400_000));
    let key = OpenKey::from_root(&root, Suite::XChaCha20Poly1305, KeyLink::random(), 7, made, ends, true);
    let (mut text, mut plain) = (Vec::new(), Vec::new());
    let (mut sealing, mut opening) = (Vec::new(), Vec::new());
    for _ in 0..2_000 {
        let begun = Instant::now();
        for _ in 0..50 {
            text.clear();
            key.seal(b"field", b"twenty bytes, a name", &mut text).expect("seals verify");
        }
        sealing.push(begun.elapsed().as_secs_f64() * 1e6 / 50.0);
        let begun = Instant::now();
        for _ in 0..50 {
            plain.clear();
            key.open(b"field", &text, &mut plain).expect("it was sealed with this key");
        }
        opening.push(begun.elapsed().as_secs_f64() * 1e6 / 50.0);
    }
    row("seal one 20-byte field", median(sealing), "us", 0.7);
    row("open one 20-byte field", median(opening), "us", 0.7);
}

async fn single() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (bare, node) = (Process::yardstick(None).await?, Process::node(folder.path(), None).await?);
    let token = stream(&node, folder.path()).await?;
    let requests: Arc<Vec<_>> =
        Arc::new((0..20_000).map(|n| request("/event", &token, &event(n, 1_000))).collect());
    cost(&node, &requests, 64).await?;
    let (mut ratios, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let yardstick = cost(&bare, &requests, 64).await?;
        let ours = cost(&node, &requests, 64).await?;
        println!("  bare {:.1} us {:.0}/s, node {:.1} us {:.0}/s", yardstick.0, yardstick.1, ours.0, ours.1);
        ratios.push(ours.0 / yardstick.0);
        costs.push(ours.0);
    }
    row("one event per request: CPU over a bare handler's", median(ratios), "x", 2.5);
    let before = median(costs);
    node.sluice(folder.path(), &["create", "stream", "--derived-from", "bench", "--purposes", "1"])?;
    let with = median(vec![
        cost(&node, &requests, 64).await?.0,
        cost(&node, &requests, 64).await?.0,
        cost(&node, &requests, 64).await?.0,
    ]);
    row("one derived stream: CPU per source event", with - before, "us", 3.0);
    Ok(())
}

async fn batch() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let node = Process::node(folder.path(), None).await?;
    let token = stream(&node, folder.path()).await?;
    let body = |first: usize| -> Vec<u8> {
        (first..first + 500).flat_map(|n| [event(n, 1_000), b"\n".to_vec()].concat()).collect()
    };
    let requests: Arc<Vec<_>> =
        Arc::new((0..40).map(|n| request("/events", &token, &body(n * 500))).collect());
    cost(&node, &requests, 4).await?;
    let (per_request, rate) = cost(&node, &requests, 4).await?;
    println!("  {:.0} events/s", rate * 500.0);
    row("POST /events, 500 JSON events: CPU per event", per_request / 500.0, "us", 8.0);
    Ok(())
}

async fn latency() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let node = Process::node(folder.path(), Some(0)).await?;
    let token = stream(&node, folder.path()).await?;
    let requests: Arc<Vec<_>> =
        Arc::new((0..20_000).map(|n| request("/event", &token, &event(n, 1_000))).collect());
    cost(&node, &requests, 32).await?;
    let disk = fdatasync(folder.path())?;
    let latencies = open(node.port, requests, 10_000, ROUND).await?;
    let p99 = latencies.value_at_quantile(0.99) as f64 / 1e3;
    println!(
        "  p50 {:.2} ms, p99.9 {:.2} ms, disk p99 {disk:.2} ms",
        latencies.value_at_quantile(0.5) as f64 / 1e3,
        latencies.value_at_quantile(0.999) as f64 / 1e3
    );
    row("open loop 10,000/s on one core: p99", p99, "ms", 1.0);
    row("the same over the disk's p99 of fdatasync", p99 / disk, "x", 5.0);
    Ok(())
}

/// 99th percentile of writing and syncing 4 KiB beside the node's data, milliseconds.
fn fdatasync(folder: &Path) -> Result<f64> {
    let mut file = std::fs::File::create(folder.join("probe"))?;
    let mut took = Vec::new();
    for _ in 0..1_000 {
        let begun = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok(took[990])
}

async fn sessions() -> Result<()> {
    const SESSIONS: usize = 1_000_000;
    let folder = tempfile::tempdir()?;
    let node = Process::node(folder.path(), None).await?;
    let token = stream(&node, folder.path()).await?;
    let batches = |range: std::ops::Range<usize>| -> Vec<Vec<u8>> {
        let body = |n: usize| -> Vec<u8> {
            (n * 500..n * 500 + 500)
                .flat_map(|n| [event(n * 4 + 3, SESSIONS * 4), b"\n".to_vec()].concat())
                .collect()
        };
        range.map(|n| request("/events", &token, &body(n))).collect()
    };
    once(node.port, batches(0..20), 4).await?;
    let before = node.resident()?;
    let begun = Instant::now();
    for part in 0..20 {
        once(node.port, batches(part * 100..part * 100 + 100), 4).await?;
    }
    println!("  {:.0} new sessions/s", SESSIONS as f64 / begun.elapsed().as_secs_f64());
    let per_session = (node.resident()? - before) as f64 / SESSIONS as f64;
    row("resident memory per live session, of 1,000,000", per_session, "B", 200.0);
    drop(node);
    let begun = Instant::now();
    let node = Process::node(folder.path(), None).await?;
    once(node.port, vec![request("/event", &token, &event(7, SESSIONS))], 1).await?;
    row("restart with 1,000,000 live sessions to the first 204", begun.elapsed().as_secs_f64(), "s", 3.0);
    Ok(())
}
