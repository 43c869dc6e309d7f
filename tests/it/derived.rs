//! Derived streams: who gets which event, which fields are open there, and that nothing holds them up.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice::{
    clock::{Clock, Timestamp},
    domain::{KeyLink, Levels, RecordBatch, RecordHead, Serialization, StreamName},
    storage::{AppendOptions, embedded::EmbeddedOptions},
};

use crate::harness::{EXAMPLE, Node, PATIENCE, Stream, avro, event, planted, planted_opened};

const FIELDS: [(&str, i32); 3] = [("uniqueIdentifier", 1), ("consistentValue", 2), ("someSensitiveValue", 3)];
const CONSENTS: [&[i32]; 9] = [&[], &[0], &[1], &[2], &[3], &[1, 3], &[0, 1, 2, 3], &[2, 7], &[9]];

/// Sends one event for every consent and returns what was sent; the plain field numbers them.
async fn send_all(node: &Node, stream: &Stream) -> Vec<Value> {
    let mut sent = Vec::new();
    for (at, consent) in CONSENTS.iter().enumerate() {
        let mut event = planted_opened(&node.canary, consent);
        event["notSensitiveValue"] = json!(at.to_string());
        stream.accept(&event).await;
        sent.push(event);
    }
    sent
}

/// Checks that `derived` holds exactly the passing events in order, with exactly the open fields.
async fn check(
    derived: &Stream,
    sent: &[Value],
    stored: &[Value],
    passes: impl Fn(&[i32]) -> bool,
    opens: impl Fn(i32) -> bool,
) {
    let passing: Vec<usize> = (0..sent.len()).filter(|at| passes(CONSENTS[*at])).collect();
    let got = derived.read_until(passing.len()).await;
    for (event, at) in got.iter().zip(passing) {
        assert_eq!(event["notSensitiveValue"], at.to_string(), "{}", derived.name);
        assert_eq!(event["strmMeta"], stored[at]["strmMeta"]);
        for (field, level) in FIELDS {
            let from = if opens(level) { &sent[at] } else { &stored[at] };
            assert_eq!(event[field], from[field], "{field} of {} in {}", CONSENTS[at].len(), derived.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granular_stream_gets_events_with_all_its_purposes_and_opens_only_those() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let requests: [&[i32]; 4] = [&[1], &[3, 1], &[1, 2, 3], &[7]];
    let mut derived = Vec::new();
    for request in requests {
        derived.push(node.derive(&stream, request).await);
    }
    let names: Vec<&str> = derived.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, ["clicks-1", "clicks-1-3", "clicks-1-2-3", "clicks-7"]);
    let sent = send_all(&node, &stream).await;
    let stored = stream.read_until(sent.len()).await;
    for (derived, request) in derived.iter().zip(requests) {
        let passes = |consent: &[i32]| request.iter().all(|level| consent.contains(level));
        check(derived, &sent, &stored, passes, |level| request.contains(&level)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cumulative_stream_gets_events_up_to_their_highest_level_and_opens_what_is_below_its_own() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let mut derived = Vec::new();
    for level in [1, 2, 3, 8] {
        let name = format!("up-to-{level}");
        let request = json!({"name": name, "derivedFrom": "clicks", "purposes": [level], "cumulative": true});
        derived.push((node.make_stream(request).await, level));
    }
    let sent = send_all(&node, &stream).await;
    let stored = stream.read_until(sent.len()).await;
    for (derived, request) in derived {
        let passes = |consent: &[i32]| consent.iter().max().is_some_and(|highest| *highest >= request);
        check(&derived, &sent, &stored, passes, |level| level <= request).await;
    }
}

/// What the original calls level 0, in the two readings a node can be given.
#[tokio::test(flavor = "multi_thread")]
async fn level_zero_alone_is_no_consent_unless_the_original_reading_is_chosen() {
    for original in [false, true] {
        let node =
            Node::start_with(Clock::system(), |config| config.consent.zero_is_a_purpose = original).await;
        let stream = node.create_stream("clicks").await;
        let request = json!({"name": "zero", "derivedFrom": "clicks", "purposes": [0], "cumulative": true});
        let zero = node.make_stream(request).await;
        stream.accept(&planted_opened(&node.canary, &[])).await;
        stream.accept(&planted_opened(&node.canary, &[0])).await;
        stream.accept(&planted_opened(&node.canary, &[0, 1])).await;
        zero.read_until(if original { 2 } else { 1 }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn masks_code_what_is_readable_with_the_originals_hash_and_with_hmac() {
    let node = Node::start().await;
    let stream = node.create_stream("example").await;
    let golden: Value = serde_json::from_str(include_str!("../data/golden-vectors.json")).unwrap();
    let vectors = &golden["mask_function"]["vectors"];
    let masked = |fields: Value, hash: &str| {
        json!({
            "derivedFrom": "example", "purposes": [3], "maskSeed": "hi-there", "hashType": hash,
            "maskedFields": [{"ref": EXAMPLE, "fields": fields}],
        })
    };
    let all = json!(["uniqueIdentifier", "someSensitiveValue", "notSensitiveValue"]);
    let murmur = node.make_stream(masked(all.clone(), "MURMUR3")).await;
    assert_eq!(murmur.name, "example-M3");
    let mut request = masked(all, "HMAC_SHA256");
    request["name"] = json!("hmac");
    let hmac = node.make_stream(request).await;
    // The golden values are the original's own and not planted: sensitive-0 and not-sensitive-6.
    let mut sent = event("session-273", "unique-5", "sensitive-0", &[3]);
    sent["notSensitiveValue"] = json!("not-sensitive-6");
    stream.accept(&sent).await;
    let stored = stream.read_until(1).await.remove(0);
    let event = murmur.read_until(1).await.remove(0);
    assert_eq!(event["someSensitiveValue"], vectors[2][1]);
    assert_eq!(event["notSensitiveValue"], vectors[3][1]);
    assert_eq!(event["uniqueIdentifier"], stored["uniqueIdentifier"], "what is not readable stays sealed");
    let event = hmac.read_until(1).await.remove(0);
    // printf 'sensitive-0' | openssl dgst -sha256 -hmac hi-there, first 32 digits; the same for the other.
    assert_eq!(event["someSensitiveValue"], hmac_of("sensitive-0"));
    assert_eq!(event["notSensitiveValue"], hmac_of("not-sensitive-6"));
    let shown = node.admin(reqwest::Method::GET, "/api/v1/streams/example-M3", &Value::Null).await;
    assert!(!shown.text().contains("hi-there"), "a seed is never shown");
}

fn hmac_of(value: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"hi-there").unwrap();
    mac.update(value.as_bytes());
    mac.finalize().into_bytes()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// T24. What cannot be decoded, names an unknown contract, or was sealed under an unknown key.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_cannot_be_read_stay_out_once_and_hold_up_nobody() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let derived = node.derive(&stream, &[1]).await;
    stream.accept(&planted_opened(&node.canary, &[1])).await;
    derived.read_until(1).await;
    let good = avro(EXAMPLE, &[1], [None, Some("s"), None, None]);
    let sealed = avro(EXAMPLE, &[1], [Some("bm90IHNlYWxlZA=="), Some("s"), None, None]);
    let poison: [(&str, &str, &[u8]); 4] = [
        (EXAMPLE, EXAMPLE, b"\xff\xff\xff\xff\xff"),
        ("no/such/1.0.0", EXAMPLE, &good),
        (EXAMPLE, "no/such/1.0.0", &good),
        (EXAMPLE, EXAMPLE, &sealed),
    ];
    let name: StreamName = stream.name.parse().unwrap();
    for (schema, contract, body) in poison {
        let mut batch = RecordBatch::default();
        let head = RecordHead {
            serialization: Serialization::AvroBinary,
            accepted: Timestamp(1_790_000_000_000),
            source_seq: 0,
            key_link: KeyLink::random(),
            schema,
            contract,
            consent: Levels::Plain(&[1]),
        };
        batch.push(&head, body);
        node.server().storage().log.append(&name, batch, AppendOptions::default()).await.unwrap();
        stream.accept(&planted_opened(&node.canary, &[1])).await;
    }
    // Of the four one has only a field that no key opens: it goes on with that field shut.
    let events = derived.read_until(6).await;
    let shut = events.iter().filter(|event| event["uniqueIdentifier"] == "bm90IHNlYWxlZA==").count();
    assert_eq!(shut, 1);
    assert_eq!(node.metric("sluice_events_unreadable_total{stream=\"clicks-1\"}").await, 3.0);
    assert_eq!(node.metric("sluice_fields_unopened_total{stream=\"clicks-1\"}").await, 1.0);
}

/// T25, T26. The same source always gives the same derived log, however it is cut into batches.
#[tokio::test(flavor = "multi_thread")]
async fn derived_logs_are_the_same_bytes_whatever_the_batch_size() {
    let mut node = Node::start_with(Clock::system(), |config| config.streams.batch_bytes = 1 << 10).await;
    let stream = node.create_stream("clicks").await;
    for purposes in [&[1][..], &[1, 3], &[2]] {
        node.derive(&stream, purposes).await;
    }
    fill(&node, &stream).await;
    wait_for_logs(&node).await;
    let first = all_logs(&node).await;
    assert!(first.iter().all(|log| log.len() > 10_000));
    for batch_bytes in [8 << 10, 512 << 10] {
        node.stop().await;
        empty_derived_logs(&node).await;
        node.restart_with(|config| config.streams.batch_bytes = batch_bytes).await;
        wait_for_logs(&node).await;
        assert!(all_logs(&node).await == first, "batches of {batch_bytes} bytes");
    }
}

const DERIVED: [(&str, &[i32]); 3] = [("clicks-1", &[1]), ("clicks-1-3", &[1, 3]), ("clicks-2", &[2])];

/// Empties the derived logs of a stopped node, so that it makes them again.
async fn empty_derived_logs(node: &Node) {
    let path = node.data_dir().join("store");
    let storage =
        sluice::storage::embedded::open(&path, EmbeddedOptions::default(), Clock::system()).unwrap();
    for (name, _) in DERIVED {
        storage.log.delete(&name.parse().unwrap()).await.unwrap();
        storage.log.create(&name.parse().unwrap()).await.unwrap();
    }
    storage.close().await;
}

async fn fill(node: &Node, stream: &Stream) {
    let lines: Vec<String> =
        (0..600).map(|at| planted_opened(&node.canary, CONSENTS[at % CONSENTS.len()]).to_string()).collect();
    for group in lines.chunks(200) {
        let answer = stream.post_batch(group.join("\n").into_bytes(), "", &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

async fn wait_for_logs(node: &Node) {
    for (name, purposes) in DERIVED {
        let passes = |at: &usize| purposes.iter().all(|level| CONSENTS[at % CONSENTS.len()].contains(level));
        let count = (0..600).filter(passes).count() as u64;
        let mut tail = node.server().storage().log.tail(&name.parse().unwrap());
        let reached = tokio::time::timeout(PATIENCE, tail.wait_for(|end| *end == count + 1)).await;
        reached.expect("the derived log is filled").unwrap();
    }
}

/// The records of all derived logs as bytes.
async fn all_logs(node: &Node) -> Vec<Vec<u8>> {
    let mut logs = Vec::new();
    for (name, _) in DERIVED {
        let name: StreamName = name.parse().unwrap();
        let (mut bytes, mut from) = (Vec::new(), 1);
        loop {
            let chunks = node.server().storage().log.read(&name, from, 1 << 20).await.unwrap();
            let Some(last) = chunks.last() else { break };
            from = last.end();
            chunks.iter().for_each(|chunk| bytes.extend_from_slice(&chunk.bytes));
        }
        logs.push(bytes);
    }
    logs
}

/// T27, small: a reader that takes nothing, and a derived stream whose log takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_reader_and_a_stuck_derived_stream_hold_up_nobody() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let (stuck, fine) = (node.derive(&stream, &[1]).await, node.derive(&stream, &[1, 2]).await);
    // Readers that never read their sockets.
    let mut held = Vec::new();
    for reader in [&stream, &fine, &stream] {
        held.push(reader.follow("?from=earliest", &[]).await);
    }
    let before = median_answer(&node, &stream).await;
    // Its log is gone beneath it: every append of its filter fails.
    node.server().storage().log.delete(&stuck.name.parse().unwrap()).await.unwrap();
    let value = "x".repeat(100_000);
    for at in 0..100 {
        let mut event = planted_opened(&node.canary, &[1, 2]);
        event["notSensitiveValue"] = json!(format!("{at} {value}"));
        let begun = Instant::now();
        stream.accept(&event).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "event {at} waited for a reader");
    }
    fine.read_until(100).await;
    stream.read_until(300).await;
    let after = median_answer(&node, &stream).await;
    assert!(after < 2 * before + Duration::from_millis(5), "{before:?} before, {after:?} beside them");
    drop(held);
}

/// How long one of 200 events takes to be answered.
async fn median_answer(node: &Node, stream: &Stream) -> Duration {
    let mut took = Vec::new();
    for _ in 0..200 {
        let event = planted(&node.canary, &[]);
        let begun = Instant::now();
        stream.accept(&event).await;
        took.push(begun.elapsed());
    }
    took.sort();
    took[took.len() / 2]
}

/// T25, live. Consent is the event's own: from the first event that carries less, no purpose it lost gets more.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_after_consent_was_withdrawn_reaches_no_purpose_that_lost_it() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let (one, both) = (node.derive(&stream, &[1]).await, node.derive(&stream, &[1, 3]).await);
    // One session all the while: its key opens what came before and seals what comes after.
    let mut event = planted_opened(&node.canary, &[1, 3]);
    let phases: [(&[i32], u64); 5] = [(&[1, 3], 40), (&[1], 30), (&[], 30), (&[0], 20), (&[1], 10)];
    for (number, (levels, count)) in phases.into_iter().enumerate() {
        event["strmMeta"]["consentLevels"] = json!(levels);
        event["notSensitiveValue"] = json!(format!("phase {number}"));
        for _ in 0..count {
            stream.accept(&event).await;
        }
    }
    stream.read_until(130).await;
    let phases_of = |events: &[Value]| -> Vec<(String, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for event in events {
            *counts.entry(event["notSensitiveValue"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
        counts.into_iter().collect()
    };
    let seen = |phases: &[(u32, usize)]| -> Vec<(String, usize)> {
        phases.iter().map(|(number, count)| (format!("phase {number}"), *count)).collect()
    };
    assert_eq!(phases_of(&one.read_until(80).await), seen(&[(0, 40), (1, 30), (4, 10)]));
    // The other stream's filter has seen the last event too.
    let filtered = || node.metric("sluice_events_dropped_total{stream=\"clicks-1-3\"}");
    let begun = Instant::now();
    while filtered().await < 90.0 {
        assert!(begun.elapsed() < PATIENCE, "the filter does not catch up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(phases_of(&both.read_until(40).await), seen(&[(0, 40)]));
}
