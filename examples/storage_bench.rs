//! Measures embedded storage: `cargo run --release --features testing --example storage_bench [folder]`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sluice::{
    clock::Clock,
    domain::{Fingerprint, RecordBatch},
    storage::{
        AppendOptions, KeyRecord, Storage,
        conformance::{batch, keys, stream},
        embedded::{EmbeddedOptions, open},
    },
};

/// User and system time of this process, in seconds.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit_once(')').unwrap().1;
    let ticks: f64 = after.split(' ').skip(12).take(2).map(|n| n.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

/// Resident memory in MiB, and open files.
fn resident() -> (u64, usize) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    (pages * 4 / 1024, std::fs::read_dir("/proc/self/fd").unwrap().count())
}

async fn appends(storage: &Storage, tasks: usize, per_batch: usize, streams: usize, seconds: u64) {
    for n in 0..streams {
        storage.log.create(&stream(&format!("s-{n}"))).await.unwrap();
    }
    let packed: RecordBatch = batch(vec![vec![b'x'; 620]; per_batch]);
    let (began, cpu) = (Instant::now(), cpu_s());
    let running = (0..tasks).map(|task| {
        let (log, packed, name) =
            (storage.log.clone(), packed.clone(), stream(&format!("s-{}", task % streams)));
        tokio::spawn(async move {
            let (mut count, mut slowest) = (0_u64, Duration::ZERO);
            while began.elapsed() < Duration::from_secs(seconds) {
                let at = Instant::now();
                log.append(&name, packed.clone(), AppendOptions::default()).await.unwrap();
                slowest = slowest.max(at.elapsed());
                count += 1;
            }
            (count, slowest)
        })
    });
    let (mut count, mut slowest) = (0, Duration::ZERO);
    for task in running.collect::<Vec<_>>() {
        let (one, slow) = task.await.unwrap();
        (count, slowest) = (count + one, slowest.max(slow));
    }
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_s() - cpu);
    let events = count as f64 * per_batch as f64;
    println!(
        "{tasks} appenders x {per_batch} records on {streams} streams: {:.0} appends/s, {:.0} events/s, {:.2} us CPU per event, slowest {slowest:?}, rss {:?}",
        count as f64 / wall,
        events / wall,
        cpu * 1e6 / events,
        resident()
    );
}

async fn create_keys(storage: &Storage, total: u128) {
    drop(storage.keys.create_epoch(keys::epoch_key(1)).await.unwrap());
    let (before, began, cpu) = (resident(), Instant::now(), cpu_s());
    let tasks = (0..128_u128).map(|task| {
        let keys = storage.keys.clone();
        tokio::spawn(async move {
            for n in (task..total).step_by(128) {
                let session =
                    Fingerprint((n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_be_bytes());
                let record = KeyRecord { session, ..keys::record(1, 1) };
                keys.create(record).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_s() - cpu);
    println!(
        "{total} keys: {:.0}/s, {:.2} us CPU each, rss {before:?} -> {:?}",
        total as f64 / wall,
        cpu * 1e6 / total as f64,
        resident()
    );
    tokio::time::sleep(Duration::from_secs(12)).await;
    println!("... 12 s later rss {:?}", resident());
}

async fn reads(storage: &Storage) {
    let name = stream("s-0");
    let end = storage.log.bounds(&name).await.unwrap().end;
    let began = Instant::now();
    for _ in 0..10_000 {
        assert!(!storage.log.read(&name, end - 1, 1000).await.unwrap().is_empty());
    }
    println!("read of the last record: {:?}", began.elapsed() / 10_000);
}

fn folder(name: &str) -> PathBuf {
    let base = std::env::args().nth(1).unwrap_or_else(|| "/tmp".to_owned());
    let folder = Path::new(&base).join(format!("sluice-storage-bench-{}-{name}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    folder
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let at = folder("a");
    let storage = open(&at, EmbeddedOptions::default(), Clock::system()).unwrap();
    println!("idle: rss {:?}", resident());
    appends(&storage, 1, 1, 1, 2).await;
    appends(&storage, 32, 1, 1, 4).await;
    appends(&storage, 256, 1, 1, 4).await;
    reads(&storage).await;
    appends(&storage, 8, 500, 1, 5).await;
    appends(&storage, 32, 20, 32, 4).await;
    storage.close().await;
    std::fs::remove_dir_all(&at).unwrap();

    let at = folder("b");
    let clock = Clock::manual(sluice::clock::Timestamp(1_700_000_000_000));
    let storage = open(&at, EmbeddedOptions::default(), clock.clone()).unwrap();
    let before = resident();
    for _ in 0..2 {
        for n in 0..256 {
            let name = stream(&format!("many-{n}"));
            storage.log.create(&name).await.unwrap();
            storage.log.append(&name, batch([vec![7; 600]]), AppendOptions::default()).await.unwrap();
        }
        clock.turn(sluice::clock::DAY_MS);
    }
    println!("256 streams x 2 segments: rss {before:?} -> {:?}", resident());
    storage.close().await;
    let began = Instant::now();
    let storage = open(&at, EmbeddedOptions::default(), clock).unwrap();
    println!("... opened again in {:?}, rss {:?}", began.elapsed(), resident());
    storage.close().await;
    std::fs::remove_dir_all(&at).unwrap();

    let at = folder("c");
    let storage = open(&at, EmbeddedOptions::default(), Clock::system()).unwrap();
    create_keys(&storage, 1_000_000).await;
    storage.close().await;
    let began = Instant::now();
    open(&at, EmbeddedOptions::default(), Clock::system()).unwrap().close().await;
    println!("opened and closed again in {:?}", began.elapsed());
    std::fs::remove_dir_all(&at).unwrap();
}
