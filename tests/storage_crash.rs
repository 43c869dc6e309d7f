//! T01: a node killed at random instants under load keeps what it acknowledged, and nothing else appears.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use sluice::{
    clock::Clock,
    domain::{Epoch, Fingerprint},
    storage::{
        AppendOptions, Created, KeyRecord, Storage,
        conformance::{batch, keys, log::read_all, stream},
        embedded::{EmbeddedOptions, open},
    },
};

const FOLDER: &str = "SLUICE_CRASH_FOLDER";
const STREAMS: usize = 3;
const WRITERS: usize = 8;

/// Small sizes, so that tables and segments are written and journals used again while the node is killed.
fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        memtable_bytes: 64 << 10,
        memtables_bytes: 128 << 10,
        segment_bytes: 1 << 20,
        journal_bytes: 256 << 10,
        ..Default::default()
    }
}

fn say(line: String) {
    writeln!(std::io::stdout().lock(), "{line}").unwrap();
}

/// Not a test: what the killed process runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test below"]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let storage = open(Path::new(&folder), options(), Clock::system()).unwrap();
    drop(storage.keys.create_epoch(keys::epoch_key(1)).await.unwrap());
    let known = Arc::new(next_numbers(&storage).await);
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        tasks.push(tokio::spawn(write_events(
            storage.clone(),
            writer,
            known.get(&writer).copied().unwrap_or(0),
        )));
    }
    for _ in 0..2 {
        tasks.push(tokio::spawn(write_keys(storage.clone())));
    }
    tasks.push(tokio::spawn(write_documents(storage)));
    for task in tasks {
        task.await.unwrap();
    }
}

async fn write_events(storage: Storage, writer: usize, first: u64) {
    let name = stream(&format!("stream-{}", writer % STREAMS));
    storage.log.create(&name).await.unwrap();
    for n in first.. {
        let body = format!("{writer} {n} {}", "x".repeat(300));
        let appended = storage.log.append(&name, batch([body]), AppendOptions::default()).await.unwrap();
        say(format!("a {writer} {n} {}", appended.first_seq));
    }
}

fn key(n: u128) -> KeyRecord {
    KeyRecord { session: Fingerprint(n.to_be_bytes()), ..keys::record(1, 1) }
}

async fn write_keys(storage: Storage) {
    for n in 0.. {
        let record = key(n);
        let link = record.key_link;
        if storage.keys.create(record).await.unwrap() == Created::Won {
            say(format!("k {n} {}", link.0));
        }
    }
}

async fn write_documents(storage: Storage) {
    loop {
        let version = storage.registry.get("kind", "doc").await.unwrap().map_or(0, |found| found.version);
        let version = storage.registry.put("kind", "doc", version, "body".into()).await.unwrap();
        say(format!("r {version}"));
    }
}

/// Checks that every log is gapless with each writer's numbers in order; returns the next ones.
async fn next_numbers(storage: &Storage) -> HashMap<usize, u64> {
    let mut next = HashMap::new();
    for n in 0..STREAMS {
        let name = stream(&format!("stream-{n}"));
        storage.log.create(&name).await.unwrap();
        let found = read_all(&*storage.log, &name, 1).await;
        assert!(found.iter().map(|(seq, _)| *seq).eq(1..=found.len() as u64), "gap in {name}");
        for (_, body) in found {
            let body = String::from_utf8(body).unwrap();
            let mut words = body.split(' ');
            let writer = words.next().unwrap().parse::<usize>().unwrap();
            let expected = next.entry(writer).or_insert(0);
            assert_eq!(words.next().unwrap().parse(), Ok(*expected), "lost or doubled");
            *expected += 1;
        }
    }
    next
}

#[test]
fn kill_9_loses_nothing_acknowledged_and_adds_nothing() {
    let rounds: u64 = std::env::var("SLUICE_CRASH_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut links, mut total) = (HashMap::new(), 0);
    let (mut acknowledged, mut slowest) = (HashMap::<usize, u64>::new(), Duration::ZERO);
    for round in 0..rounds {
        let mut node = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads", "1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(node.stdout.take().unwrap());
        let reader = std::thread::spawn(move || output.lines().map_while(Result::ok).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(50 + (round * 7_919) % 900));
        node.kill().unwrap();
        node.wait().unwrap();
        let mut version = 0;
        for line in reader.join().unwrap() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["a", writer, n, _] => {
                    acknowledged.insert(writer.parse().unwrap(), n.parse::<u64>().unwrap() + 1);
                    total += 1;
                }
                ["k", n, link] => assert_eq!(links.insert(n.parse::<u128>().unwrap(), link.to_owned()), None),
                ["r", now] => version = now.parse().unwrap(),
                _ => {}
            }
        }
        let began = std::time::Instant::now();
        let storage = open(folder.path(), options(), Clock::system()).unwrap();
        slowest = slowest.max(began.elapsed());
        // What one reopening showed, the next ones show too.
        acknowledged = runtime.block_on(check(&storage, &acknowledged, &links, version));
        runtime.block_on(storage.close());
    }
    println!(
        "{rounds} kills, {total} events and {} keys acknowledged, slowest open {slowest:?}",
        links.len()
    );
    assert!(total > 100, "the node hardly ran");
}

async fn check(
    storage: &Storage,
    acknowledged: &HashMap<usize, u64>,
    links: &HashMap<u128, String>,
    version: u64,
) -> HashMap<usize, u64> {
    let next = next_numbers(storage).await;
    for (writer, acknowledged) in acknowledged {
        let stored = next.get(writer).copied().unwrap_or(0);
        // Each run may store one record per writer that it had no time to acknowledge.
        assert!(stored >= *acknowledged && stored <= *acknowledged + 1, "{stored} of {acknowledged}");
    }
    for (n, link) in links {
        let record = key(*n);
        let found = storage.keys.latest(&record.stream, record.session, Epoch(20_000)).await.unwrap();
        assert_eq!(found.found().unwrap().key_link.0.to_string(), *link, "key {n}");
    }
    let stored = storage.registry.get("kind", "doc").await.unwrap().map_or(0, |found| found.version);
    assert!(stored >= version);
    assert_eq!(storage.scrub().await.unwrap().losses, []);
    next
}
