//! Policies and the terms of keys; and the data subjects that keys are registered for.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sluice::{
    clock::{Clock, DAY_MS, Timestamp},
    crypto::MasterKey,
    domain::{Fingerprint, KeyLink},
    storage::KeyRecord,
};

use crate::harness::{Api, Node, PATIENCE, planted, planted_opened};

const MORNING: Timestamp = Timestamp(20_000 * DAY_MS + 10 * HOUR);
const HOUR: i64 = 3_600_000;

async fn node_at(clock: &Clock) -> Node {
    Node::start_with(clock.clone(), |config| config.tokens.access_s = 2_000_000).await
}

async fn policy(node: &Node, name: &str, days: u32) -> Value {
    let body = json!({"name": name, "retentionDays": days, "legalGround": "contract"});
    let made = node.admin(Method::POST, "/api/v1/policies", &body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json()["state"], "DRAFT");
    let path = format!("/api/v1/policies/{}/activate", made.json()["id"].as_str().unwrap());
    let active = node.admin(Method::POST, &path, &Value::Null).await;
    assert_eq!(active.json()["state"], "ACTIVE", "{}", active.text());
    active.json()
}

fn link(event: &Value) -> KeyLink {
    KeyLink(event["strmMeta"]["keyLink"].as_str().unwrap().parse().unwrap())
}

async fn stored(node: &Node, event: &Value) -> Option<KeyRecord> {
    node.server().storage().keys.by_link(link(event)).await.unwrap().found()
}

async fn ring_until(node: &Node, what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !done().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        node.server().ring_janitor();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_goes_from_draft_to_active_to_archived_and_not_while_a_stream_has_it() {
    let node = Node::start().await;
    let call = async |method: Method, path: &str| {
        node.admin(method, &format!("/api/v1/policies{path}"), &Value::Null).await
    };
    let draft = json!({"name": "7 years", "retentionDays": 2556, "afterErasure": "REFUSE"});
    let made = node.admin(Method::POST, "/api/v1/policies", &draft).await;
    assert_eq!(made.json()["afterErasure"], "REFUSE");
    let stream = json!({"name": "clicks", "policy": "7 years"});
    let early = node.admin(Method::POST, "/api/v1/streams", &stream).await;
    assert_eq!((early.status, early.code().as_str()), (409, "policy_not_active"));
    assert_eq!(call(Method::POST, "/7%20years/archive").await.code(), "policy_state");
    assert_eq!(call(Method::POST, "/7%20years/activate").await.json()["state"], "ACTIVE");
    assert_eq!(call(Method::POST, "/7%20years/activate").await.code(), "policy_state");
    assert_eq!(call(Method::DELETE, "/7%20years").await.code(), "policy_state");
    let source = node.make_stream(stream).await;
    let shown = node.admin(Method::GET, "/api/v1/streams/clicks", &Value::Null).await.json();
    assert_eq!(shown["policy"]["name"], "7 years");
    assert_eq!(call(Method::POST, "/7%20years/archive").await.code(), "policy_in_use");
    let derived = json!({"derivedFrom": source.name, "purposes": [1], "policy": "7 years"});
    assert_eq!(node.admin(Method::POST, "/api/v1/streams", &derived).await.code(), "stream_invalid");
    let none = node.admin(Method::PATCH, "/api/v1/streams/clicks", &json!({"policy": null})).await;
    assert_eq!(none.json()["policy"], Value::Null, "{}", none.text());
    assert_eq!(call(Method::POST, "/7%20years/archive").await.json()["state"], "ARCHIVED");
    let late = node.admin(Method::PATCH, "/api/v1/streams/clicks", &json!({"policy": "7 years"})).await;
    assert_eq!(late.code(), "policy_not_active");
    assert_eq!(call(Method::DELETE, "/7%20years").await.status, 204);
    assert_eq!(call(Method::GET, "/7%20years").await.code(), "policy_unknown");
    for (wrong, code) in [
        (json!({"name": "", "retentionDays": 1}), "policy_invalid"),
        (json!({"name": "none", "retentionDays": 0}), "policy_invalid"),
        (json!({"name": "67e55044-10b1-426f-9247-bb680e5fe0c8", "retentionDays": 1}), "policy_exists"),
    ] {
        assert_eq!(node.admin(Method::POST, "/api/v1/policies", &wrong).await.code(), code, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_under_a_short_policy_is_gone_when_it_ends_and_one_under_a_long_policy_survives() {
    let clock = Clock::manual(MORNING);
    let mut node = node_at(&clock).await;
    let short = policy(&node, "one day", 1).await;
    policy(&node, "long", 30).await;
    let stream = |name: &str, policy: Value| json!({"name": name, "policy": policy, "retentionDays": 5});
    let brief = node.make_stream(stream("brief", json!("one day"))).await;
    let long = node.make_stream(stream("long", json!("long"))).await;
    let plain = node.make_stream(stream("plain", Value::Null)).await;
    for stream in [&brief, &long, &plain] {
        stream.accept(&planted_opened(&node.canary, &[1])).await;
    }
    let (brief_event, long_event) = (brief.read().await.remove(0), long.read().await.remove(0));
    let plain_event = plain.read().await.remove(0);
    let term = stored(&node, &brief_event).await.unwrap().term.unwrap();
    assert_eq!(term.policy.0.to_string(), short["id"].as_str().unwrap());
    assert_eq!(term.ends, MORNING.plus_ms(DAY_MS));
    assert!(stored(&node, &plain_event).await.unwrap().term.is_none());

    clock.turn(i32::try_from(DAY_MS - 1).unwrap());
    node.server().ring_janitor();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(stored(&node, &brief_event).await.is_some(), "not before its time");
    clock.turn(1);
    ring_until(&node, "the key is destroyed", async || stored(&node, &brief_event).await.is_none()).await;
    assert!(stored(&node, &long_event).await.is_some());
    assert!(stored(&node, &plain_event).await.is_some());
    assert_eq!(node.metric("sluice_keys_destroyed_total{reason=\"policy\"}").await, 1.0);

    // A derived stream that meets it leaves it sealed, counts it, and goes on.
    let new = planted_opened(&node.canary, &[1]);
    brief.log_in().await;
    brief.accept(&new).await;
    assert_ne!(link(&brief.read().await[1]), link(&brief_event), "a new key, under the policy again");

    // After the streams' retention the epoch goes, and only what its policy keeps is carried over.
    clock.turn(i32::try_from(8 * DAY_MS).unwrap());
    ring_until(&node, "the plain key is gone", async || stored(&node, &plain_event).await.is_none()).await;
    assert!(stored(&node, &long_event).await.is_some(), "its policy says 30 days");
    node.restart().await;
    for _ in 0..5 {
        node.server().ring_janitor();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(stored(&node, &long_event).await.is_some());
    clock.turn(i32::try_from(20 * DAY_MS).unwrap());
    clock.turn(i32::try_from(2 * DAY_MS).unwrap());
    ring_until(&node, "the long key is gone", async || stored(&node, &long_event).await.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_derived_stream_leaves_events_of_a_destroyed_key_sealed_and_counts_them() {
    let clock = Clock::manual(MORNING);
    let node = node_at(&clock).await;
    policy(&node, "one day", 1).await;
    let source = node.make_stream(json!({"name": "clicks", "policy": "one day", "retentionDays": 9})).await;
    let derived = node.derive(&source, &[1]).await;
    let disable = async |on: bool| {
        let path = format!("/api/v1/streams/{}", derived.name);
        node.admin(Method::PATCH, &path, &json!({"enabled": on})).await
    };
    assert_eq!(disable(false).await.status, 200);
    source.accept(&planted(&node.canary, &[1])).await;
    let event = source.read().await.remove(0);
    clock.turn(i32::try_from(DAY_MS).unwrap());
    ring_until(&node, "the key is destroyed", async || stored(&node, &event).await.is_none()).await;
    source.log_in().await;
    let later = planted_opened(&node.canary, &[1]);
    source.accept(&later).await;
    assert_eq!(disable(true).await.status, 200);
    derived.log_in().await;
    let events = derived.read_until(2).await;
    assert_eq!(events[0]["uniqueIdentifier"], event["uniqueIdentifier"], "still sealed");
    assert_eq!(events[1]["uniqueIdentifier"], later["uniqueIdentifier"]);
    let series = format!("sluice_fields_unopened_total{{stream=\"{}\"}}", derived.name);
    assert!(node.metric(&series).await >= 1.0);
}

pub(crate) const VISIT: &str = "acme/visit/1.0.0";

pub(crate) async fn visit_contract(node: &Api) {
    let field = |name: &str| json!({"name": name, "type": "string"});
    let meta = json!({"name": "strmMeta", "type": {"type": "record", "name": "StrmMeta", "fields": [
        {"name": "eventContractRef", "type": "string"},
        {"name": "nonce", "type": ["null", "int"], "default": null},
        {"name": "timestamp", "type": ["null", "long"], "default": null},
        {"name": "keyLink", "type": ["null", "string"], "default": null},
        {"name": "billingId", "type": ["null", "string"], "default": null},
        {"name": "consentLevels", "type": {"type": "array", "items": "int"}},
    ]}});
    let schema = json!({"type": "record", "name": "Visit", "namespace": "acme",
        "fields": [meta, field("session"), field("person")]});
    let contract = json!({"keyField": "session", "dataSubjectField": "person", "piiFields": {"person": 1}});
    node.activate_contract(VISIT, Some(&schema), &contract).await;
}

pub(crate) fn subject(node: &Node, value: &str) -> Fingerprint {
    let path = node.data_dir().join("master.key");
    let master = MasterKey::from_text(std::fs::read_to_string(path).unwrap().trim()).unwrap();
    master.fingerprinter().subject(value.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_subject_of_a_session_is_registered_for_its_key() {
    let mut node = Node::start().await;
    visit_contract(&node).await;
    let stream = node.create_stream("visits").await;
    let people: Vec<String> = (0..4).map(|_| node.canary.plant()).collect();
    let visit = |person: &str| {
        let meta = json!({"eventContractRef": VISIT, "consentLevels": [1]});
        json!({"strmMeta": meta, "session": "kiosk", "person": person})
    };
    for person in [&people[0], &people[1], &people[0], &people[1]] {
        let answer = stream.post_as(VISIT, visit(person).to_string(), &[]).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    let links: Vec<_> = stream.read().await.iter().map(link).collect();
    assert!(links.iter().all(|other| *other == links[0]), "one session, one key");
    let of = async |node: &Node, person: &str| {
        node.server().storage().keys.by_subject(subject(node, person), None, 10).await.unwrap()
    };
    for person in &people[..2] {
        assert_eq!(of(&node, person).await, [links[0]], "registered before the event was acknowledged");
    }
    assert_eq!(of(&node, &people[2]).await, []);
    // By a batch, and after a restart that forgot what was registered.
    node.restart().await;
    let body = [visit(&people[2]).to_string(), visit(&people[0]).to_string(), visit(&people[3]).to_string()];
    let authorization = stream.authorization();
    let headers = [("authorization", authorization.as_str()), ("strm-schema-ref", VISIT)];
    let answer = node.send(Method::POST, "/events", &headers, body.join("\n").into_bytes()).await;
    assert_eq!(answer.json()["accepted"], 3, "{}", answer.text());
    for person in &people {
        assert_eq!(of(&node, person).await, [links[0]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_more_subjects_than_a_key_holds_gets_another_key() {
    let node = Node::start().await;
    visit_contract(&node).await;
    let stream = node.create_stream("visits").await;
    let people: Vec<String> = (0..300).map(|n| format!("{}-{n}", node.canary.plant())).collect();
    let meta = json!({"eventContractRef": VISIT, "consentLevels": [1]});
    let events = people
        .iter()
        .map(|person| json!({"strmMeta": meta, "session": "station", "person": person}).to_string() + "\n");
    let authorization = stream.authorization();
    let headers = [("authorization", authorization.as_str()), ("strm-schema-ref", VISIT)];
    let body = events.collect::<String>().into_bytes();
    let answer = node.send(Method::POST, "/events", &headers, body).await;
    assert_eq!(answer.json()["accepted"], 300, "{}", answer.text());
    for (person, event) in people.iter().zip(stream.read().await) {
        let links = node.server().storage().keys.by_subject(subject(&node, person), None, 10).await.unwrap();
        assert!(links.contains(&link(&event)), "the subject finds the key its event was sealed under");
    }
}
