//! T01 over HTTP: the real program is killed at random instants while events come in and derived streams follow.
//!
//! `SLUICE_KILLS` says how often (20), `SLUICE_SEED` repeats a run's random choices.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::harness::{ChildNode, PATIENCE, Stream, event};

const SINGLE_WRITERS: usize = 6;
const BATCH_WRITERS: usize = 3;
const BATCH_EVENTS: usize = 40;
const SESSIONS: usize = 12;
const CONSENTS: [&[i32]; 5] = [&[], &[0], &[1], &[1, 2], &[2, 1, 3]];

/// What the writers were told.
#[derive(Default)]
struct Ledger {
    next: AtomicU64,
    acknowledged: Mutex<Vec<u64>>,
    stop: AtomicBool,
}

/// Who sends what: everything about an event follows from its number.
struct Cast {
    sessions: Vec<String>,
    /// Of events that a derived stream opens, and of the others.
    opened: String,
    sealed: String,
}

impl Cast {
    fn event(&self, number: u64) -> Value {
        let at = usize::try_from(number).unwrap();
        let (session, consent) = (&self.sessions[at % SESSIONS], consent_of(number));
        let value = if consent.contains(&1) { &self.opened } else { &self.sealed };
        let mut event = event(session, &format!("{value}{number}"), value, consent);
        event["notSensitiveValue"] = json!(number.to_string());
        event
    }
}

fn consent_of(number: u64) -> &'static [i32] {
    CONSENTS[usize::try_from(number / 7).unwrap() % CONSENTS.len()]
}

async fn write(stream: Stream, cast: Arc<Cast>, ledger: Arc<Ledger>, batch: usize) {
    while !ledger.stop.load(Ordering::SeqCst) {
        let first = ledger.next.fetch_add(batch as u64, Ordering::SeqCst);
        let numbers: Vec<u64> = (first..first + batch as u64).collect();
        let lines: Vec<String> = numbers.iter().map(|number| cast.event(*number).to_string()).collect();
        let (path, body) =
            if batch == 1 { ("/event", lines[0].clone()) } else { ("/events", lines.join("\n")) };
        let authorization = stream.authorization();
        let headers =
            [("authorization", authorization.as_str()), ("strm-schema-ref", crate::harness::EXAMPLE)];
        match stream.api.try_send(reqwest::Method::POST, path, &headers, body.into_bytes()).await {
            Some(answer) if answer.status == 204 || answer.status == 200 => {
                ledger.acknowledged.lock().extend(numbers);
            }
            Some(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
            // The node is dead or dies; whether the event was stored is open.
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn numbers(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["notSensitiveValue"].as_str().unwrap().parse().unwrap()).collect()
}

/// Everything acknowledged is there once, derived streams hold exactly what passes in the same order, and a
/// session has one key link.
async fn check(source: &Stream, derived: &[(Stream, &[i32])], cast: &Cast, ledger: &Ledger) -> usize {
    let stored = source.read().await;
    let order = numbers(&stored);
    let there: HashSet<u64> = order.iter().copied().collect();
    assert_eq!(there.len(), order.len(), "no event twice");
    let lost: Vec<u64> =
        ledger.acknowledged.lock().iter().copied().filter(|number| !there.contains(number)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let mut links: HashMap<u64, HashSet<&str>> = HashMap::new();
    for (event, number) in stored.iter().zip(&order) {
        let link = event["strmMeta"]["keyLink"].as_str().unwrap();
        links.entry(number % SESSIONS as u64).or_default().insert(link);
    }
    assert!(links.values().all(|links| links.len() == 1), "one key link a session: {links:?}");
    for (derived, purposes) in derived {
        let passes = |number: &&u64| purposes.iter().all(|level| consent_of(**number).contains(level));
        let expected: Vec<u64> = order.iter().filter(passes).copied().collect();
        let begun = std::time::Instant::now();
        let mut events = derived.read().await;
        while events.len() < expected.len() && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
            events = derived.read().await;
        }
        assert!(numbers(&events) == expected, "{} is not what passes, once and in order", derived.name);
        for (event, number) in events.iter().zip(&expected) {
            assert_eq!(event["uniqueIdentifier"], cast.event(*number)["uniqueIdentifier"]);
        }
    }
    order.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_keeps_what_it_acknowledged_and_derives_it_once_in_order() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let kills = number("SLUICE_KILLS").unwrap_or(20);
    let seed = number("SLUICE_SEED").unwrap_or_else(rand::random);
    eprintln!("{kills} kills, SLUICE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut node = ChildNode::start(&[("SLUICE__STREAMS__BATCH_BYTES", "4096")]).await;
    let source = node.create_stream("clicks").await;
    let derived = [
        (node.derive(&source, &[1]).await, &[1][..]),
        (node.derive(&source, &[1, 2]).await, &[1, 2]),
        (node.derive(&source, &[3, 1]).await, &[1, 3]),
    ];
    let cast = Arc::new(Cast {
        sessions: (0..SESSIONS).map(|_| node.canary.plant_opened()).collect(),
        opened: node.canary.plant_opened(),
        sealed: node.canary.plant(),
    });
    let ledger = Arc::new(Ledger::default());
    let mut stored = 0;
    for round in 0..kills {
        ledger.stop.store(false, Ordering::SeqCst);
        let writers: Vec<_> = (0..SINGLE_WRITERS + BATCH_WRITERS)
            .map(|at| {
                let batch = if at < SINGLE_WRITERS { 1 } else { BATCH_EVENTS };
                tokio::spawn(write(source.clone(), Arc::clone(&cast), Arc::clone(&ledger), batch))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(random.random_range(20..500))).await;
        node.kill();
        ledger.stop.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.await.unwrap();
        }
        node.start_again().await;
        // A restart may itself be cut short: half of the time nobody looks before the next kill.
        if random.random_bool(0.5) || round + 1 == kills {
            stored = check(&source, &derived, &cast, &ledger).await;
        }
    }
    let acknowledged = ledger.acknowledged.lock().len();
    eprintln!("{kills} kills: {acknowledged} events acknowledged, {stored} stored, none lost or doubled");
    assert!(acknowledged > usize::try_from(kills).unwrap() * 10, "there was load");
}
