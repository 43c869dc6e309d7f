//! What the audit log says of those who were refused, of grants that end with something else, of the janitor, and
//! the file that keeps its checkpoint.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use sluice::clock::{Clock, DAY_MS, Timestamp};

use crate::{
    audit::{Terminal, TroubledLog, entries, get, until},
    harness::{
        EXAMPLE, Node, PATIENCE,
        people::{Somebody, call},
        planted, planted_opened,
    },
};

const MORNING: Timestamp = Timestamp(20_000 * DAY_MS + 10 * HOUR);
const HOUR: i64 = 3_600_000;
const WHOAMI: &str = "/api/v1/whoami";

/// Sums of the counts of `login_failed` by means and principal, and the number of entries.
async fn failures(node: &Node) -> (BTreeMap<String, u64>, usize) {
    let mut sums = BTreeMap::new();
    let found = entries(node, "action=login_failed").await;
    for entry in &found {
        let action = &entry["action"];
        let word = |name: &str| action[name].as_str().unwrap_or("-").to_owned();
        *sums.entry(format!("{} {}", word("with"), word("principal"))).or_default() +=
            action["count"].as_u64().unwrap();
    }
    (sums, found.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_tokens_are_counted_by_whose_they_are_and_a_flood_leaves_few_entries() {
    let clock = Clock::manual(MORNING);
    let node = Node::start_with(clock.clone(), |_| {}).await;
    let stream = node.create_stream("clicks").await;
    let ada = Somebody::new(&node, "ada", "member").await;
    let off = Somebody::new(&node, "off", "member").await;
    let disabled = node.admin(Method::PATCH, "/api/v1/principals/off", &json!({ "disabled": true })).await;
    assert_eq!(disabled.status, 200);
    let mut forged = ada.token.clone();
    forged.replace_range(forged.len() - 4.., "AAAA");
    let strangers = ["slt_0123456789abcdef_none", "no token of anybody", "a.b.c"];
    let try_as = async |token: &str| call(&node, token, Method::GET, WHOAMI, &Value::Null).await.status;
    for _ in 0..200 {
        assert_eq!(try_as(&forged).await, 401);
        assert_eq!(try_as(&off.token).await, 401);
        for stranger in strangers {
            assert_eq!(try_as(stranger).await, 401);
        }
    }
    assert_eq!(call(&node, "", Method::GET, WHOAMI, &Value::Null).await.status, 401, "no token is no login");
    stream.accept(&planted(&node.canary, &[1])).await;
    until(&node, "action=login_failed", 3).await;
    clock.turn(61_000);
    let begun = Instant::now();
    let wanted: BTreeMap<String, u64> =
        [("api_token ada", 200), ("api_token off", 200), ("api_token -", 600)]
            .map(|(name, count)| (name.to_owned(), count))
            .into();
    loop {
        let (sums, count) = failures(&node).await;
        if sums == wanted {
            assert!(count <= 6, "1,000 refusals left {count} entries");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{sums:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let expired =
        node.admin(Method::POST, "/api/v1/principals/ada/tokens", &json!({"expiresInDays": 1})).await;
    clock.turn(DAY_MS);
    assert_eq!(try_as(expired.json()["token"].as_str().unwrap()).await, 401);
    let of_ada = until(&node, "action=login_failed&who=ada", 2).await;
    assert_eq!(of_ada[0]["who"], json!({"kind": "principal", "id": "ada"}));
    let text = get(&node, "entries?limit=1000").await.text();
    for token in [&ada.token, &forged, &off.token].into_iter().map(String::as_str).chain(strangers) {
        assert!(!text.contains(token), "{token} is in the log");
        assert!(
            !text.contains(&token[token.len() / 2..]) || token.len() < 8,
            "half of {token} is in the log"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_forbids_is_refused_and_written_down_with_its_number() {
    let clock = Clock::manual(MORNING);
    let node = Node::start_with(clock.clone(), |_| {}).await;
    assert_eq!(node.admin(Method::POST, "/api/v1/projects", &json!({"name": "shop"})).await.status, 201);
    node.make_stream(json!({"name": "clicks", "project": "shop"})).await;
    let mia = Somebody::in_project(&node, "mia", "shop", "member").await;
    let raise = json!({"role": "admin"});
    for _ in 0..3 {
        let refused = mia.call(Method::PATCH, "/api/v1/principals/mia", &raise).await;
        assert_eq!(refused.code(), "role_forbids");
        let own =
            mia.call(Method::PUT, "/api/v1/projects/shop/members/mia", &json!({"role": "approver"})).await;
        assert_eq!(own.code(), "role_forbids");
        assert_eq!(mia.get("/streams/clicks/events?follow=false").await.code(), "read_grant_missing");
    }
    // Nobody approves what is his own.
    let draft = json!({
        "ref": "shop/visit/1.0.0", "project": "shop", "schema": crate::drivers::visit_schema().to_string(),
        "contract": json!({"keyField": "consistentValue"}).to_string(),
    });
    assert_eq!(mia.call(Method::POST, "/api/v1/contracts", &draft).await.status, 201);
    let step = |step: &str| format!("/api/v1/contracts/shop/visit/1.0.0/{step}");
    assert_eq!(mia.call(Method::POST, &step("review"), &Value::Null).await.status, 200);
    let own = mia.call(Method::POST, &step("approve"), &Value::Null).await;
    assert_eq!(own.code(), "contract_step_forbidden");
    until(&node, "action=access_denied", 4).await;
    clock.turn(61_000);
    let sums = async || {
        let mut sums = BTreeMap::new();
        for entry in entries(&node, "action=access_denied&who=mia").await {
            let (to, count) = (entry["action"]["to"].as_str().unwrap().to_owned(), &entry["action"]["count"]);
            *sums.entry(to).or_insert(0) += count.as_u64().unwrap();
        }
        sums
    };
    let wanted: BTreeMap<String, u64> =
        [("manage_principals", 3), ("manage_members", 3), ("read_events", 3), ("contract_step", 1)]
            .map(|(name, count)| (name.to_owned(), count))
            .into();
    let begun = Instant::now();
    while sums().await != wanted {
        assert!(begun.elapsed() < PATIENCE, "{:?}", sums().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn grant(node: &Node, stream: &str, principal: &str, expires: Value) {
    let path = format!("/api/v1/streams/{stream}/grants");
    let made = node.admin(Method::POST, &path, &json!({"principal": principal, "expires": expires})).await;
    assert_eq!(made.status, 201, "{}", made.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_or_membership_that_goes_with_something_else_has_its_own_entry() {
    let node = Node::start().await;
    node.create_stream("clicks").await;
    node.create_stream("views").await;
    for id in ["ada", "bob"] {
        Somebody::in_project(&node, id, "default", "member").await;
        grant(&node, "clicks", id, Value::Null).await;
        grant(&node, "views", id, Value::Null).await;
    }
    let said = |entries: &[Value]| -> Vec<String> {
        let word = |action: &Value, name: &str| action[name].as_str().unwrap_or_default().to_owned();
        let say = |entry: &Value| {
            let action = &entry["action"];
            let words = ["type", "stream", "principal", "because", "name", "change", "detail"];
            let words: Vec<_> =
                words.iter().map(|name| word(action, name)).filter(|w| !w.is_empty()).collect();
            words.join(" ")
        };
        entries.iter().map(say).collect()
    };
    let before = entries(&node, "").await.len();
    assert_eq!(node.admin(Method::DELETE, "/api/v1/streams/clicks", &Value::Null).await.status, 204);
    assert_eq!(
        said(&entries(&node, &format!("from={before}")).await),
        [
            "read_revoked clicks ada stream_deleted",
            "read_revoked clicks bob stream_deleted",
            "stream_deleted clicks",
        ]
    );
    assert_eq!(node.admin(Method::DELETE, "/api/v1/principals/ada", &Value::Null).await.status, 204);
    assert_eq!(
        said(&entries(&node, &format!("from={}", before + 3)).await),
        [
            "changed default no longer member ada",
            "read_revoked views ada principal_deleted",
            "changed ada deleted",
        ]
    );
    let of_stream = entries(&node, "stream=views&action=read_revoked").await;
    assert_eq!((of_stream.len(), &of_stream[0]["project"]), (1, &json!("default")));
}

#[tokio::test(flavor = "multi_thread")]
async fn exposure_lists_the_principals_that_were_granted_a_stream_and_until_when() {
    let clock = Clock::manual(MORNING);
    let node = Node::start_with(clock.clone(), |config| config.tokens.access_s = 2_000_000).await;
    let clicks = node.create_stream("clicks").await;
    let known = node.admin(Method::GET, &format!("/api/v1/contracts/{EXAMPLE}"), &Value::Null).await.json();
    let field = &known["personalFields"][0];
    let (path, level) = (field["path"].as_str().unwrap(), field["level"].as_i64().unwrap());
    let derived = node.derive(&clicks, &[i32::try_from(level).unwrap()]).await;
    let mut people = Vec::new();
    for id in ["ada", "bob", "cleo", "dan"] {
        people.push(Somebody::new(&node, id, "member").await);
    }
    grant(&node, "clicks", "ada", Value::Null).await;
    clock.turn(1_000);
    grant(&node, &derived.name, "ada", Value::Null).await;
    grant(&node, &derived.name, "bob", json!(MORNING.0 + 10_000)).await;
    grant(&node, &derived.name, "cleo", Value::Null).await;
    grant(&node, &derived.name, "dan", json!(MORNING.0 + 900_000)).await;
    clock.turn(1_000);
    let events = format!("/streams/{}/events?from=earliest&follow=false", derived.name);
    assert_eq!(people[0].get(&events).await.status, 200);
    clock.turn(1_000);
    let path_of = |id: &str| format!("/api/v1/streams/{}/grants/{id}", derived.name);
    assert_eq!(node.admin(Method::DELETE, &path_of("ada"), &Value::Null).await.status, 204);
    clock.turn(1_000);
    assert_eq!(node.admin(Method::DELETE, "/api/v1/principals/cleo", &Value::Null).await.status, 204);
    clock.turn(10_000);
    let ask = async || {
        let answer = get(&node, &format!("exposure?field={EXAMPLE}:{path}")).await.json();
        let rows = answer["exposures"].as_array().unwrap().iter();
        let one = rows.filter(|row| row["stream"] == derived.name).collect::<Vec<_>>();
        assert_eq!(
            (one.len(), answer["exposures"].as_array().unwrap().len()),
            (1, 1),
            "a source opens nothing"
        );
        one[0]["grants"].as_array().unwrap().clone()
    };
    let shape = |grant: &Value| {
        let at = |name: &str| grant[name].as_i64().map(|ms| ms - MORNING.0);
        let id = grant["principal"].as_str().unwrap().to_owned();
        (id, at("since").unwrap(), at("until"), at("expires"), at("firstAttached"))
    };
    let id = |id: &str| id.to_owned();
    assert_eq!(
        ask().await.iter().map(shape).collect::<Vec<_>>(),
        [
            (id("ada"), 1_000, Some(3_000), None, Some(2_000)),
            (id("bob"), 1_000, Some(10_000), Some(10_000), None),
            (id("cleo"), 1_000, Some(4_000), None, None),
            (id("dan"), 1_000, None, Some(900_000), None),
        ]
    );
    assert_eq!(ask().await[0]["grantedBy"], json!({"kind": "principal", "id": "admin"}));
    let table = Terminal::of(&node).ok(&format!("audit exposure --field {EXAMPLE}:{path}"));
    let row = |who: &str| table.lines().filter(|line| line.contains(who)).count();
    assert_eq!((row("bob"), row(&derived.client_id)), (1, 1), "{table}");
    assert!(table.contains("principal") && table.contains("client"), "{table}");
    assert_eq!(
        node.admin(Method::DELETE, &format!("/api/v1/streams/{}", derived.name), &Value::Null).await.status,
        204
    );
    let ended: Vec<_> =
        ask().await.iter().map(|grant| grant["until"].as_i64().unwrap() - MORNING.0).collect();
    assert_eq!(ended, [3_000, 10_000, 4_000, 14_000]);
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
async fn what_the_janitor_does_is_written_down_as_the_nodes_own() {
    let clock = Clock::manual(MORNING);
    let node = Node::start_with(clock.clone(), |config| {
        config.tokens.access_s = 2_000_000;
        config.consent.separate_no_consent_keys = true;
    })
    .await;
    let policy = json!({"name": "day", "retentionDays": 1, "legalGround": "law"});
    assert_eq!(node.admin(Method::POST, "/api/v1/policies", &policy).await.status, 201);
    assert_eq!(node.admin(Method::POST, "/api/v1/policies/day/activate", &Value::Null).await.status, 200);
    let brief = node.make_stream(json!({"name": "brief", "policy": "day", "retentionDays": 3})).await;
    let plain = node.make_stream(json!({"name": "plain", "retentionDays": 3})).await;
    let gone = node.make_stream(json!({"name": "gone", "retentionDays": 3})).await;
    for _ in 0..2 {
        brief.accept(&planted_opened(&node.canary, &[1])).await;
    }
    plain.accept(&planted_opened(&node.canary, &[1])).await;
    plain.accept(&planted(&node.canary, &[])).await;
    gone.accept(&planted(&node.canary, &[1])).await;
    node.server().ring_janitor();
    let acts = async || -> Vec<Value> {
        entries(&node, "who=node").await.into_iter().map(|entry| entry["action"].clone()).collect()
    };
    let has = async |action: Value| acts().await.contains(&action);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(acts().await, [] as [Value; 0], "a pass that does nothing says nothing");

    assert_eq!(node.admin(Method::DELETE, "/api/v1/streams/gone", &Value::Null).await.status, 204);
    let orphans = json!({"type": "keys_destroyed", "because": "stream_deleted", "keys": {"gone": 1}});
    ring_until(&node, "keys of a deleted stream", async || has(orphans.clone()).await).await;
    clock.turn(i32::try_from(DAY_MS).unwrap());
    let ended = json!({"type": "keys_destroyed", "because": "policy_ended", "keys": {"brief": 2}});
    ring_until(&node, "keys whose term ended", async || has(ended.clone()).await).await;
    assert_eq!(entries(&node, "stream=brief&action=keys_destroyed").await.len(), 1, "found by its stream");
    let day = MORNING.0 / DAY_MS;
    let secret = json!({"type": "epoch_destroyed", "day": day, "secret": "no_consent"});
    ring_until(&node, "the day's secret", async || has(secret.clone()).await).await;
    clock.turn(i32::try_from(DAY_MS).unwrap());
    let closed = json!({"type": "epoch_closed", "day": day, "carried": 1});
    ring_until(&node, "the epoch", async || has(closed.clone()).await).await;
    clock.turn(i32::try_from(2 * DAY_MS).unwrap());
    for stream in ["brief", "plain"] {
        let trimmed = json!({"type": "events_trimmed", "stream": stream, "retentionDays": 3, "trimmed": 0});
        ring_until(&node, "retention", async || has(trimmed.clone()).await).await;
    }
    let over = json!({"type": "epoch_destroyed", "day": day, "secret": "sessions"});
    clock.turn(i32::try_from(2 * DAY_MS).unwrap());
    ring_until(&node, "the end of the epoch", async || has(over.clone()).await).await;
    // What comes later under the same retention says how many went under the entry before it.
    let quiet = acts().await.len();
    node.server().ring_janitor();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(acts().await.len(), quiet, "what is done is not done again");
    plain.accept(&planted(&node.canary, &[1])).await;
    clock.turn(i32::try_from(4 * DAY_MS).unwrap());
    let later = json!({"type": "events_trimmed", "stream": "plain", "retentionDays": 3, "trimmed": 2});
    ring_until(&node, "retention again", async || has(later.clone()).await).await;
    assert!(plain.read().await.is_empty());
    assert!(!acts().await.iter().any(|action| action["type"] == "not_done"), "{:?}", acts().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_audit_log_takes_no_entries_nothing_is_trimmed_and_no_key_is_destroyed() {
    let clock = Clock::manual(MORNING);
    let fails = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&fails);
    let node = Node::start_around_at(clock.clone(), move |mut storage| {
        storage.log = TroubledLog::failing(&storage.log, &switch);
        storage
    })
    .await;
    let stream = node.make_stream(json!({"name": "clicks", "retentionDays": 3})).await;
    stream.accept(&planted(&node.canary, &[])).await;
    let kept = async || {
        let storage = node.server().storage();
        let bounds = storage.log.bounds(&"clicks".parse().unwrap()).await.unwrap();
        (bounds.end - bounds.first, storage.keys.epochs().await.unwrap().len())
    };
    assert_eq!(kept().await, (1, 1));
    fails.store(true, Ordering::SeqCst);
    clock.turn(i32::try_from(9 * DAY_MS).unwrap());
    for _ in 0..5 {
        node.server().ring_janitor();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(kept().await, (1, 1), "nothing is done without an entry");
    }
    fails.store(false, Ordering::SeqCst);
    ring_until(&node, "it is done once there can be an entry", async || kept().await == (0, 0)).await;
    assert_eq!(entries(&node, "action=events_trimmed").await.len(), 1);
}

fn copy(from: &Path, to: &Path) {
    drop(std::fs::remove_dir_all(to));
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

async fn file_says(path: &Path, entries: usize) -> String {
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text.lines().nth(1) == Some(&entries.to_string()) {
            return text;
        }
        assert!(begun.elapsed() < PATIENCE, "{entries} entries: {text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checkpoint_file_follows_the_log_and_finds_the_newest_entries_cut() {
    let elsewhere = tempfile::tempdir().unwrap();
    let witness = elsewhere.path().join("audit.checkpoint");
    let mut node = Node::start_with(Clock::system(), |config| {
        config.audit.checkpoint_file = Some(witness.clone());
    })
    .await;
    node.create_stream("clicks").await;
    file_says(&witness, 2).await;
    let terminal = Terminal::of(&node);
    terminal.ok("audit export --out cut");
    for name in ["one", "two", "three"] {
        node.create_stream(name).await;
    }
    let note = file_says(&witness, 8).await;
    assert_eq!(
        note,
        get(&node, "checkpoint").await.json()["checkpoint"],
        "it is the checkpoint the node tells"
    );
    terminal.ok("audit export --out whole");
    let verify = |folder: &str| format!("audit verify {folder} --checkpoint {}", witness.display());
    assert!(terminal.ok(&verify("whole")).contains("8 entries are as they were signed"));
    // A log that was cut is a good log of its own: entries, hashes, key and a signed checkpoint. Only what was
    // kept elsewhere tells.
    terminal.ok("audit verify cut");
    assert!(
        terminal.fails(&verify("cut")).contains("entries 2 to 7 are missing"),
        "{}",
        terminal.fails(&verify("cut"))
    );

    // The whole node is put back to where it was: the file stays, and the log says so.
    node.stop().await;
    let backup = elsewhere.path().join("backup");
    copy(node.data_dir(), &backup);
    node.restart().await;
    node.create_stream("four").await;
    let newest = file_says(&witness, 10).await;
    node.stop().await;
    copy(&backup, node.data_dir());
    node.restart().await;
    node.create_stream("five").await;
    assert_eq!(entries(&node, "").await.len(), 10, "as many entries, and others");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(std::fs::read_to_string(&witness).unwrap(), newest, "it is not written over");
    let logs = crate::harness::canary::captured_logs();
    assert!(memchr::memmem::find(&logs, b"entries are missing or altered").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_file_that_cannot_be_written_holds_up_no_order() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("later").join("audit.checkpoint");
    let other = folder.path().join("other");
    std::fs::write(&other, "somebody's notes").unwrap();
    for file in [&missing, &other] {
        let node = Node::start_with(Clock::system(), |config| {
            config.audit.checkpoint_file = Some(file.clone());
        })
        .await;
        node.create_stream("clicks").await;
        if file == &missing {
            std::fs::create_dir(missing.parent().unwrap()).unwrap();
            file_says(&missing, 2).await;
        }
    }
    assert_eq!(std::fs::read_to_string(other).unwrap(), "somebody's notes", "what is no checkpoint stays");
}
