//! Forgetting data subjects: what an erasure leaves, on the streams, in the books and on the disk (reliability T37).

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sluice::{
    clock::{Clock, DAY_MS, Timestamp},
    crypto::{self, MasterKey},
    domain::{Erased, Erasure, KeyLink, SubjectHolding, erasure::pseudonym},
    storage::{EpochKind, KeyRecord},
};

use crate::{
    audit::{Terminal, entries},
    harness::{Answer, Api, ChildNode, Node, PATIENCE, Stream},
    keys::files_with,
    policies::{VISIT, subject, visit_contract},
};

const MORNING: Timestamp = Timestamp(20_000 * DAY_MS + 10 * HOUR);
const HOUR: i64 = 3_600_000;
const WITHIN_MS: i64 = 600_000;

async fn node_at(clock: &Clock) -> Node {
    let node = Node::start_with(clock.clone(), |config| config.tokens.access_s = 2_000_000).await;
    visit_contract(&node).await;
    node
}

fn visit(session: &str, person: &str, consent: &[i32]) -> String {
    let meta = json!({"eventContractRef": VISIT, "consentLevels": consent});
    json!({"strmMeta": meta, "session": session, "person": person}).to_string()
}

async fn accept(stream: &Stream, session: &str, person: &str, consent: &[i32]) {
    let answer = stream.post_as(VISIT, visit(session, person, consent), &[]).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

async fn erase(api: &Api, body: &Value) -> Answer {
    api.admin(Method::POST, "/api/v1/erasures", body).await
}

async fn erasures(api: &Api) -> Vec<Value> {
    let answer = api.admin(Method::GET, "/api/v1/erasures", &Value::Null).await;
    answer.json()["erasures"].as_array().unwrap().clone()
}

async fn enable(api: &Api, stream: &Stream, on: bool) {
    let path = format!("/api/v1/streams/{}", stream.name);
    assert_eq!(api.admin(Method::PATCH, &path, &json!({"enabled": on})).await.status, 200);
}

fn link(event: &Value) -> KeyLink {
    KeyLink(event["strmMeta"]["keyLink"].as_str().unwrap().parse().unwrap())
}

async fn stored(node: &Node, link: KeyLink) -> Option<KeyRecord> {
    node.server().storage().keys.by_link(link).await.unwrap().found()
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !done().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Whether any epoch key that the node still has opens a wrapped session key.
async fn opens(node: &Node, record: &KeyRecord) -> bool {
    let text = std::fs::read_to_string(node.data_dir().join("master.key")).unwrap();
    let master = MasterKey::from_text(&text).unwrap();
    let epochs = node.server().storage().keys.epochs().await.unwrap();
    let sessions = epochs.iter().filter(|epoch| epoch.kind == EpochKind::Sessions);
    let mut keys = sessions.map(|epoch| {
        let kind = crypto::EpochKind::Sessions;
        master.unwrap_epoch(epoch.epoch, epoch.generation, kind, &epoch.wrapped).unwrap()
    });
    keys.any(|key| key.unwrap_root(&record.stream, record.key_link, &record.wrapped).is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_subject_stays_sealed_and_every_other_subject_opens_as_before() {
    let clock = Clock::manual(MORNING);
    let mut node = node_at(&clock).await;
    let source = node.create_stream("visits").await;
    let derived = node.derive(&source, &[1]).await;
    let (ada, bob) = (node.canary.plant(), node.canary.plant_opened());
    enable(&node, &derived, false).await;
    for (session, person) in [("a1", &ada), ("b1", &bob), ("a2", &ada)] {
        accept(&source, session, person, &[1]).await;
    }
    let before = source.read_until(3).await;
    let done = erase(&node, &json!({"subject": ada})).await;
    assert_eq!(done.status, 201, "{}", done.text());
    let done = done.json();
    assert_eq!(
        (&done["state"], &done["keys"], &done["sessions"]),
        (&json!("COMPLETED"), &json!(2), &json!(2))
    );
    for (at, there) in [(0, false), (1, true), (2, false)] {
        assert_eq!(stored(&node, link(&before[at])).await.is_some(), there, "event {at}");
    }
    // A derived stream that meets destroyed keys leaves the fields sealed, counts them, and goes on.
    enable(&node, &derived, true).await;
    derived.log_in().await;
    let seen = derived.read_until(3).await;
    assert_eq!(seen[0]["person"], before[0]["person"], "sealed");
    assert_eq!((&seen[1]["person"], &seen[2]["person"]), (&json!(bob), &before[2]["person"]));
    let series = format!("sluice_fields_unopened_total{{stream=\"{}\"}}", derived.name);
    assert_eq!(node.metric(&series).await, 2.0);
    assert_eq!(node.metric("sluice_keys_destroyed_total{reason=\"erasure\"}").await, 2.0);
    // The subject's next event has another key, the other's the same one; the source log is as it was.
    accept(&source, "a1", &ada, &[]).await;
    accept(&source, "b1", &bob, &[1]).await;
    node.restart().await;
    let after = source.read_until(5).await;
    assert_eq!(after[..3], before[..]);
    assert!(link(&after[3]) != link(&before[0]) && link(&after[4]) == link(&before[1]));
    assert_eq!(derived.read_until(4).await[3]["person"], json!(bob));
    let again = erase(&node, &json!({"subject": ada})).await.json();
    assert_eq!((&again["keys"], &again["repeated"]), (&json!(1), &json!(false)), "of what came since");
    assert!(stored(&node, link(&after[3])).await.is_none());
    assert_eq!(erasures(&node).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn within_the_stated_time_no_key_on_the_disk_opens_what_was_erased() {
    let clock = Clock::manual(MORNING);
    let mut node = node_at(&clock).await;
    let source = node.create_stream("visits").await;
    let derived = node.derive(&source, &[1]).await;
    let (ada, cy) = (node.canary.plant(), node.canary.plant());
    let bob = node.canary.plant_opened();
    accept(&source, "a", &ada, &[]).await;
    accept(&source, "b", &bob, &[1]).await;
    accept(&source, "c", &cy, &[]).await;
    let events = source.read_until(3).await;
    derived.read_until(1).await;
    let mut keys = Vec::new();
    for event in &events {
        keys.push(stored(&node, link(event)).await.unwrap());
    }
    let epoch = node.server().storage().keys.epochs().await.unwrap().remove(0);
    assert!(opens(&node, &keys[0]).await, "what is looked for could be found");
    assert_eq!(erase(&node, &json!({"subject": ada})).await.status, 201);
    assert!(opens(&node, &keys[0]).await, "its bytes open with the epoch's key until that is destroyed");
    clock.turn(WITHIN_MS);
    let settled = async |node: &Node| {
        node.server().ring_janitor();
        erasures(node).await[0]["state"] == "SETTLED"
    };
    until("the erasure is settled", async || settled(&node).await).await;
    assert!(!opens(&node, &keys[0]).await, "no epoch key is left that opens it");
    for (at, key) in keys.iter().enumerate().skip(1) {
        let moved = stored(&node, key.key_link).await.expect("the others were carried over, consent or not");
        assert_eq!(moved.place, 2, "key {at}");
        assert!(opens(&node, &moved).await);
    }
    node.stop().await;
    assert_eq!(files_with(node.data_dir(), &epoch.wrapped), [] as [std::path::PathBuf; 0]);
    assert_eq!(files_with(node.data_dir(), ada.as_bytes()), [] as [std::path::PathBuf; 0]);
    node.restart().await;
    accept(&source, "b", &bob, &[1]).await;
    assert_eq!(derived.read_until(2).await[1]["person"], json!(bob));
    assert_eq!(link(&source.read_until(4).await[3]), keys[1].key_link);
    // The day is closed in the ordinary way all the same: keys that never consented go, the others stay.
    clock.turn(38 * HOUR + HOUR + 1);
    let gone = async || {
        node.server().ring_janitor();
        stored(&node, keys[2].key_link).await.is_none()
    };
    until("the key that never consented goes with its day", gone).await;
    let kept = stored(&node, keys[1].key_link).await.expect("a key with consent survives");
    assert_eq!(kept.place, 3);
    for _ in 0..3 {
        node.server().ring_janitor();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(stored(&node, keys[1].key_link).await.unwrap().place, 3, "and the day is closed once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_was_broken_off_is_completed_when_the_node_starts() {
    let clock = Clock::manual(MORNING);
    let mut node = node_at(&clock).await;
    let source = node.create_stream("visits").await;
    let (ada, bob) = (node.canary.plant(), node.canary.plant());
    accept(&source, "a", &ada, &[1]).await;
    accept(&source, "b", &bob, &[1]).await;
    let events = source.read_until(2).await;
    // As a node leaves it that is killed between the order and the first destroyed key.
    let forgotten = subject(&node, &ada);
    let open = Erasure {
        id: uuid::Uuid::new_v4(),
        held: SubjectHolding { keys: 1, sessions: 1, streams: 1, days: vec![20_000] },
        ordered: MORNING,
        ordered_entry: 0,
        completed: None,
        places: Vec::new(),
        settled: None,
    };
    let ledger = serde_json::to_vec(&Erased { subject: forgotten, erasures: vec![open] }).unwrap();
    let registry = std::sync::Arc::clone(&node.server().storage().registry);
    registry.put("erased", &pseudonym(forgotten), 0, ledger.into()).await.unwrap();
    drop(registry);
    // And between the beginning of the move and its end: the day is being closed already.
    let store = std::sync::Arc::clone(&node.server().storage().keys);
    let text = std::fs::read_to_string(node.data_dir().join("master.key")).unwrap();
    let master = MasterKey::from_text(&text).unwrap();
    let day = events.first().map(link).unwrap();
    let day = store.by_link(day).await.unwrap().found().unwrap().epoch;
    let key = crypto::EpochKey::generate(day, 2, crypto::EpochKind::Sessions);
    let wrapped = master.wrap_epoch(&key);
    let begun =
        sluice::storage::EpochRecord { epoch: day, kind: EpochKind::Sessions, generation: 2, wrapped };
    store.begin_close(begun).await.unwrap();
    drop(store);
    node.restart().await;
    until("it is completed", async || erasures(&node).await[0]["state"] == "COMPLETED").await;
    assert!(stored(&node, link(&events[0])).await.is_none());
    clock.turn(WITHIN_MS);
    let settled = async || {
        node.server().ring_janitor();
        erasures(&node).await[0]["state"] == "SETTLED"
    };
    until("it is settled", settled).await;
    let kept = stored(&node, link(&events[1])).await.expect("the other key survives");
    assert!(kept.place > 2 && opens(&node, &kept).await, "the place that was being made had to go as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_during_an_erasure_leaves_all_of_it_or_nothing() {
    let mut node = ChildNode::start(&[]).await;
    visit_contract(&node).await;
    let source = node.create_stream("visits").await;
    let (ada, bob) = (node.canary.plant(), node.canary.plant());
    for delay_ms in [3, 12, 30] {
        let before = erasures(&node).await.len();
        let visits: Vec<_> = (0..800).map(|at| visit(&format!("{delay_ms}-{at}"), &ada, &[1])).collect();
        let authorization = source.authorization();
        let headers = [("authorization", authorization.as_str()), ("strm-schema-ref", VISIT)];
        let sent = node.send(Method::POST, "/events", &headers, visits.join("\n").into_bytes()).await;
        assert_eq!(sent.json()["accepted"], 800, "{}", sent.text());
        accept(&source, "b", &bob, &[1]).await;
        let (api, body) = (std::sync::Arc::clone(&*node), json!({"subject": ada}).to_string().into_bytes());
        let order = tokio::spawn(async move {
            let authorization = format!("Bearer {}", api.admin);
            let headers = [("authorization", authorization.as_str())];
            api.try_send(Method::POST, "/api/v1/erasures", &headers, body).await.map(|answer| answer.status)
        });
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        node.kill();
        let told = order.await.unwrap();
        node.start_again().await;
        let held = async || {
            let dry = erase(&node, &json!({"subject": ada, "dryRun": true})).await;
            if dry.status == 404 { 0 } else { dry.json()["keys"].as_u64().unwrap() }
        };
        if erasures(&node).await.len() == before {
            assert_eq!(told, None, "what was answered is in the ledger");
            assert!(held().await >= 800, "nothing was begun");
        } else {
            let all = async || erasures(&node).await.iter().all(|erasure| erasure["state"] == "COMPLETED");
            until("it is completed at the start", all).await;
            assert_eq!(held().await, 0);
        }
    }
    let done = erase(&node, &json!({"subject": ada})).await;
    assert!(matches!(done.status, 200 | 201), "{}", done.text());
    let bobs = erase(&node, &json!({"subject": bob, "dryRun": true})).await.json();
    assert_eq!(bobs["keys"], 1, "nobody else's key went");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_refuses_the_erased_refuses_them_and_nobody_else() {
    let clock = Clock::manual(MORNING);
    let node = node_at(&clock).await;
    let body = json!({"name": "once", "retentionDays": 30, "afterErasure": "REFUSE"});
    assert_eq!(node.admin(Method::POST, "/api/v1/policies", &body).await.status, 201);
    let active = node.admin(Method::POST, "/api/v1/policies/once/activate", &Value::Null).await;
    assert_eq!(active.status, 200);
    let strict = node.make_stream(json!({"name": "strict", "policy": "once"})).await;
    let mild = node.create_stream("mild").await;
    let (ada, bob) = (node.canary.plant(), node.canary.plant());
    accept(&strict, "a", &ada, &[1]).await;
    assert_eq!(erase(&node, &json!({"subject": ada})).await.status, 201);
    let refused = strict.post_as(VISIT, visit("a", &ada, &[1]), &[]).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "subject_erased"));
    accept(&strict, "a", &bob, &[1]).await;
    accept(&mild, "a", &ada, &[1]).await;
    assert_eq!(strict.read().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_erasing_and_the_receipt_go_through_the_program_and_leave_entries() {
    let clock = Clock::manual(MORNING);
    let node = node_at(&clock).await;
    let (source, other) = (node.create_stream("visits").await, node.create_stream("other").await);
    let (ada, bob, nobody) = (node.canary.plant(), node.canary.plant(), node.canary.plant());
    accept(&source, "a", &ada, &[1]).await;
    accept(&other, "a", &ada, &[1]).await;
    accept(&other, "b", &bob, &[1]).await;
    let first = link(&source.read().await[0]).0.to_string();
    let terminal = Terminal::of(&node);
    let before = entries(&node, "").await.len();
    let named = |person: &str| pseudonym(subject(&node, person));
    let listed = terminal.ok("subjects list -o plain");
    let mut expected = [format!("{}\t2\n", named(&ada)), format!("{}\t1\n", named(&bob))];
    expected.sort();
    assert_eq!(listed, expected.concat());
    assert_eq!(terminal.ok("subjects list --stream visits -o plain"), format!("{}\t1\n", named(&ada)));
    let links = terminal.ok(&format!("subjects keylinks {ada} -o plain"));
    assert_eq!(links.lines().count(), 2, "{links}");
    assert!(links.contains(&first));
    let dry = serde_json::from_str::<Value>(&terminal.ok(&format!("erase {ada} --dry-run -o json"))).unwrap();
    let counts = ["keys", "sessions", "streams"].map(|name| dry[name].as_u64().unwrap());
    assert_eq!((counts, &dry["days"], &dry["state"]), ([2, 2, 2], &json!([20_000]), &json!("NOTHING")));
    assert_eq!(terminal.ok("subjects list -o plain"), listed, "a dry run destroys nothing");
    terminal.ok(&format!("erase {ada} --receipt early"));
    let said: Vec<_> = entries(&node, &format!("from={before}")).await;
    let kinds: Vec<_> = said.iter().map(|entry| entry["action"]["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["subject_viewed", "subject_viewed", "erasure_ordered", "erasure_completed"]);
    assert_eq!(said[2]["action"]["subject"], named(&ada));
    assert_eq!(said[2]["who"], json!({"kind": "principal", "id": "admin"}));
    // Who is not known, was erased already, or cannot be.
    assert!(terminal.fails(&format!("erase {nobody}")).contains("subject_unknown"));
    assert!(terminal.fails(&format!("subjects keylinks {ada}")).contains("subject_unknown"));
    let repeated = erase(&node, &json!({"subject": ada})).await;
    assert_eq!((repeated.status, &repeated.json()["repeated"]), (200, &json!(true)));
    for (subject, status, code) in [
        (String::new(), 400, "subject_invalid"),
        ("x".repeat(70_000), 400, "subject_invalid"),
        ("x".repeat(10 << 20), 413, "body_too_large"),
    ] {
        let refused = erase(&node, &json!({ "subject": subject })).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{} bytes", subject.len());
    }
    assert_eq!(entries(&node, "").await.len(), before + 4, "what is refused or was done leaves no entry");
    // The receipt, before and after the disk is clean, without the node.
    clock.turn(WITHIN_MS);
    let settled = async || {
        node.server().ring_janitor();
        erasures(&node).await[0]["state"] == "SETTLED"
    };
    until("the erasure is settled", settled).await;
    terminal.ok(&format!("erase {ada} --receipt late"));
    terminal.ok("audit export --out exported");
    let away = Terminal { server: "http://127.0.0.1:9".to_owned(), token: String::new(), ..terminal };
    let verified = |file: &str| {
        let said = away.ok(&format!("audit verify --receipt {file} --key exported/key -o json"));
        serde_json::from_str::<Value>(&said).unwrap()
    };
    assert_eq!(verified("early")["state"], "COMPLETED");
    let late = verified("late");
    assert_eq!((&late["state"], &late["keys"], &late["grade"]), (&json!("SETTLED"), &json!(2), &json!(1)));
    assert_eq!((late["subject"].as_str().unwrap(), &late["days"]), (named(&ada).as_str(), &json!([20_000])));
    let text = std::fs::read_to_string(away.path("late")).unwrap();
    assert!(!text.contains(&ada), "no personal data");
    for (from, to) in [("\\\"keys\\\":2", "\\\"keys\\\":9"), ("erasure_settled", "erasure_ordered")] {
        assert!(text.contains(from), "{text}");
        std::fs::write(away.path("forged"), text.replace(from, to)).unwrap();
        away.fails("audit verify --receipt forged --key exported/key");
    }
}
