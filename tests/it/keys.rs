//! Session keys over their whole life: made once and durably, rotated, kept or destroyed; and the master key.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sluice::{
    clock::{Clock, DAY_MS, Timestamp},
    crypto::{self, MasterKey},
    domain::{Epoch, KeyLink},
    server::Server,
    storage::{EpochKind, KeyRecord, Lookup},
};

use crate::harness::{Node, PATIENCE, canary, event, planted, planted_opened};

/// 10:00 UTC of some day.
const MORNING: Timestamp = Timestamp(20_000 * DAY_MS + 10 * HOUR);
const HOUR: i64 = 60 * 60 * 1000;

async fn node_at(clock: &Clock) -> Node {
    Node::start_with(clock.clone(), |config| config.tokens.access_s = 2_000_000).await
}

async fn strict_node_at(clock: &Clock) -> Node {
    let configure = |config: &mut sluice::config::Config| {
        config.tokens.access_s = 2_000_000;
        config.consent.separate_no_consent_keys = true;
    };
    Node::start_with(clock.clone(), configure).await
}

fn turn(clock: &Clock, ms: i64) {
    clock.turn(u32::try_from(ms).unwrap());
}

fn links(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["strmMeta"]["keyLink"].as_str().unwrap().to_owned()).collect()
}

fn link(event: &Value) -> KeyLink {
    KeyLink(event["strmMeta"]["keyLink"].as_str().unwrap().parse().unwrap())
}

async fn stored_key(node: &Node, event: &Value) -> Option<KeyRecord> {
    node.server().storage().keys.by_link(link(event)).await.unwrap().found()
}

/// Rings the janitor until `done`, which must be soon.
async fn ring_until(node: &Node, what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !done().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        node.server().ring_janitor();
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_first_events_of_a_session_at_once_share_one_durable_key() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let session = node.canary.plant();
    let posts = (0..64).map(|at| {
        let event = event(&session, &node.canary.plant(), &node.canary.plant(), &[at % 4]);
        let stream = stream.clone();
        tokio::spawn(async move { stream.post(&event).await.status })
    });
    for post in posts.collect::<Vec<_>>() {
        assert_eq!(post.await.unwrap(), 204);
    }
    let events = stream.read_until(64).await;
    assert_eq!(links(&events).iter().collect::<HashSet<_>>().len(), 1);
    let values: HashSet<_> = events.iter().map(|event| event["consistentValue"].as_str().unwrap()).collect();
    assert_eq!(values.len(), 1, "one session, one key, one ciphertext");
    let key = stored_key(&node, &events[0]).await.expect("the key is stored");
    assert!(key.consented);
    assert_eq!(key.expires.since(key.created), DAY_MS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_used_for_24_hours_from_its_creation_and_the_next_one_stays() {
    let clock = Clock::manual(MORNING);
    let node = node_at(&clock).await;
    let (stream, event) = (node.create_stream("clicks").await, planted(&node.canary, &[1]));
    // T32: around the edge nothing flaps back.
    for step in [0, 12 * HOUR, 12 * HOUR - 1, 1, 0, 5 * 60_000, 20 * HOUR] {
        turn(&clock, step);
        stream.accept(&event).await;
    }
    let events = stream.read_until(7).await;
    let links = links(&events);
    assert!(links[..3].iter().all(|link| *link == links[0]), "{links:?}");
    assert!(links[3..].iter().all(|link| *link == links[3]) && links[3] != links[0], "{links:?}");
    assert_eq!(events[0]["consistentValue"], events[2]["consistentValue"]);
    assert_ne!(events[2]["consistentValue"], events[3]["consistentValue"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_neither_stretches_a_key_nor_brings_an_old_one_back() {
    let clock = Clock::manual(MORNING);
    let mut node = node_at(&clock).await;
    let (stream, event) = (node.create_stream("clicks").await, planted(&node.canary, &[1]));
    stream.accept(&event).await;
    clock.jump(-HOUR);
    stream.log_in().await;
    turn(&clock, 24 * HOUR - 1);
    stream.accept(&event).await;
    turn(&clock, 1);
    stream.accept(&event).await;
    clock.jump(25 * HOUR);
    stream.accept(&event).await;
    clock.jump(-25 * HOUR);
    stream.log_in().await;
    stream.accept(&event).await;
    node.restart_at(Clock::manual(clock.now())).await;
    stream.accept(&event).await;
    let links = links(&stream.read_until(6).await);
    assert_eq!(links[0], links[1], "a wall clock that steps back does not end a key");
    assert_ne!(links[1], links[2], "24 hours that passed end it, whatever the wall says");
    assert_ne!(links[2], links[3], "a jump over the edge ends it early");
    assert_eq!(links[3], links[4], "and stepping back revives nothing");
    assert_ne!(links[5], links[0]);
    assert_ne!(links[5], links[2], "nor does a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_goes_on_with_the_same_keys_and_ciphertexts() {
    let clock = Clock::manual(MORNING);
    let mut node = node_at(&clock).await;
    let (stream, event) = (node.create_stream("clicks").await, planted_opened(&node.canary, &[1]));
    let derived = node.derive(&stream, &[1]).await;
    stream.accept(&event).await;
    for _ in 0..2 {
        turn(&clock, HOUR);
        node.restart().await;
        stream.accept(&event).await;
    }
    let events = stream.read_until(3).await;
    for field in ["uniqueIdentifier", "consistentValue", "someSensitiveValue"] {
        assert!(events.iter().all(|other| other[field] == events[0][field]), "{field}");
    }
    assert_eq!(links(&events).iter().collect::<HashSet<_>>().len(), 1);
    for opened in derived.read_until(3).await {
        assert_eq!(opened["uniqueIdentifier"], event["uniqueIdentifier"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_one_key_whatever_the_consent_unless_the_strict_form_is_chosen() {
    for strict in [false, true] {
        let clock = Clock::manual(MORNING);
        let node = if strict { strict_node_at(&clock).await } else { node_at(&clock).await };
        let stream = node.create_stream("clicks").await;
        let mut event = planted(&node.canary, &[1]);
        for consent in [json!([]), json!([0]), json!([1]), json!([])] {
            event["strmMeta"]["consentLevels"] = consent;
            stream.accept(&event).await;
        }
        let events = stream.read_until(4).await;
        let links = links(&events);
        assert_eq!(links[0], links[1]);
        assert_eq!(links[0], links[3]);
        assert_eq!(links[0] != links[2], strict);
        assert_eq!(stored_key(&node, &events[0]).await.is_none(), strict, "a strict key is stored nowhere");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_day_without_consent_is_gone_after_the_day() {
    let clock = Clock::manual(MORNING);
    let mut node = strict_node_at(&clock).await;
    let (stream, event) = (node.create_stream("clicks").await, planted(&node.canary, &[]));
    stream.accept(&event).await;
    node.restart().await;
    stream.accept(&event).await;
    let day = Epoch::of(MORNING);
    let secret = async |node: &Node| {
        node.server().storage().keys.epoch(day, EpochKind::NoConsent).await.unwrap().found()
    };
    assert!(secret(&node).await.is_some(), "the day has its secret");
    node.server().ring_janitor();
    turn(&clock, 14 * HOUR + HOUR);
    ring_until(&node, "the day's secret is destroyed", async || secret(&node).await.is_none()).await;
    let keys = &node.server().storage().keys;
    assert!(matches!(keys.epoch(day, EpochKind::NoConsent).await.unwrap(), Lookup::Destroyed { .. }));
    stream.accept(&event).await;
    let links = links(&stream.read_until(3).await);
    assert_eq!(links[0], links[1], "a session keeps its key for the day, also across a restart");
    assert_ne!(links[0], links[2]);
}

/// The files that hold `bytes`.
pub(crate) fn files_with(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    canary::for_each_file(folder, &mut |path, content| {
        if memchr::memmem::find(content, bytes).is_some() {
            found.push(path.to_owned());
        }
    });
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_an_epoch_keeps_consented_keys_openable_and_destroys_the_others() {
    let clock = Clock::manual(MORNING);
    let mut node = node_at(&clock).await;
    let stream = node.create_stream("clicks").await;
    let derived = node.derive(&stream, &[1]).await;
    let (yes, no) = (planted_opened(&node.canary, &[1]), planted(&node.canary, &[0]));
    stream.accept(&no).await;
    stream.accept(&yes).await;
    let events = stream.read_until(2).await;
    derived.read_until(1).await;
    let (lost, kept) =
        (stored_key(&node, &events[0]).await.unwrap(), stored_key(&node, &events[1]).await.unwrap());
    assert!(!lost.consented && kept.consented);

    // Keys of this day end at the latest a day after it; the epoch is closed an hour later.
    turn(&clock, 38 * HOUR + HOUR + 1);
    ring_until(&node, "the epoch is closed", async || stored_key(&node, &events[0]).await.is_none()).await;
    let moved = stored_key(&node, &events[1]).await.expect("a key with consent survives");
    assert_eq!((moved.place, kept.place), (2, 1));
    assert_ne!(moved.wrapped, kept.wrapped);

    node.restart().await;
    let opened = open_again(&node, &moved).await;
    let sealed = events[1]["uniqueIdentifier"].as_str().unwrap();
    let mut plain = Vec::new();
    opened.open(b"uniqueIdentifier", sealed.as_bytes(), &mut plain).expect("the key that was moved opens");
    assert_eq!(plain, yes["uniqueIdentifier"].as_str().unwrap().as_bytes());
}

/// `DESIGN` 5 and 9: closing an epoch makes destruction physical, the old place leaves the disk.
#[tokio::test(flavor = "multi_thread")]
async fn wrapped_keys_that_were_destroyed_leave_the_disk() {
    let clock = Clock::manual(MORNING);
    let mut node = strict_node_at(&clock).await;
    let stream = node.create_stream("clicks").await;
    stream.accept(&planted(&node.canary, &[])).await;
    stream.accept(&planted(&node.canary, &[1])).await;
    let keys = std::sync::Arc::clone(&node.server().storage().keys);
    let before: Vec<_> = keys.epochs().await.unwrap().into_iter().map(|epoch| epoch.wrapped).collect();
    assert_eq!(before.len(), 2, "the day's sessions and the day's secret");
    turn(&clock, 38 * HOUR + HOUR + 1);
    let closed = async || {
        let now = keys.epochs().await.unwrap();
        before.iter().all(|old| now.iter().all(|epoch| epoch.wrapped != *old))
    };
    ring_until(&node, "the day is closed", closed).await;
    drop(keys);
    node.stop().await;
    for wrapped in before {
        assert_eq!(files_with(node.data_dir(), &wrapped), [] as [PathBuf; 0]);
    }
}

/// Unwraps a stored key as a node does, with the master key of its folder.
async fn open_again(node: &Node, record: &KeyRecord) -> std::sync::Arc<crypto::OpenKey> {
    let text = std::fs::read_to_string(node.data_dir().join("master.key")).unwrap();
    let master = MasterKey::from_text(&text).unwrap();
    let epochs = node.server().storage().keys.epochs().await.unwrap();
    let epoch = epochs
        .iter()
        .find(|epoch| {
            (epoch.epoch, epoch.generation, epoch.kind) == (record.epoch, record.place, EpochKind::Sessions)
        })
        .unwrap();
    let key = master
        .unwrap_epoch(epoch.epoch, epoch.generation, crypto::EpochKind::Sessions, &epoch.wrapped)
        .unwrap();
    let root = key.unwrap_root(&record.stream, record.key_link, &record.wrapped).unwrap();
    crypto::OpenKey::from_root(
        &root,
        sluice::domain::Suite::XChaCha20Poly1305,
        record.key_link,
        record.key_id,
        record.created,
        record.expires,
        record.consented,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_start_with_a_wrong_missing_or_cut_off_master_key() {
    let mut node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    stream.accept(&planted(&node.canary, &[1])).await;
    node.stop().await;
    let path = node.data_dir().join("master.key");
    let right = std::fs::read(&path).unwrap();
    let wrong = format!("{}\n", MasterKey::generate().to_text().as_str()).into_bytes();
    let cases: [(&str, Option<&[u8]>); 4] = [
        ("is not the master key", Some(&wrong)),
        ("is missing", None),
        ("master key", Some(&right[..right.len() / 2])),
        ("master key", Some(b"")),
    ];
    for (said, content) in cases {
        match content {
            Some(content) => std::fs::write(&path, content).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let started = Server::start(node.config().clone(), Clock::system()).await;
        let error = format!("{:#}", started.err().expect("the node does not start"));
        assert!(error.contains(said), "{error}");
        assert_eq!(path.exists(), content.is_some(), "no new key is made for old data");
    }
    std::fs::write(&path, &right).unwrap();
    node.restart().await;
    stream.accept(&planted(&node.canary, &[1])).await;
    assert_eq!(stream.read().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_on_the_same_folder_does_not_start_and_the_first_goes_on() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let mut config = node.config().clone();
    config.http.listen = "127.0.0.1:0".parse().unwrap();
    let started = Server::start(config, Clock::system()).await;
    let error = format!("{:#}", started.err().expect("the second node does not start"));
    assert!(error.contains("in use by another process"), "{error}");
    stream.accept(&planted(&node.canary, &[1])).await;
}

/// T34. The canary searches the folder for every personal value when the node is dropped; here also for the
/// keys, and for a value that may be there, so that finding nothing means something.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_disk_holds_neither_personal_values_nor_keys_outside_the_master_key_file() {
    let mut node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let harmless = canary::random_text(20);
    let mut event = planted(&node.canary, &[1]);
    event["notSensitiveValue"] = json!(harmless);
    stream.accept(&event).await;
    let stored = stream.read_until(1).await;
    let record = stored_key(&node, &stored[0]).await.unwrap();
    let key = open_again(&node, &record).await;
    let keyset: Value = serde_json::from_str(&crypto::keyset_json(&key)).unwrap();
    let value = keyset["key"][0]["keyData"]["value"].as_str().unwrap();
    let exported = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, value).unwrap();
    let master_file = node.data_dir().join("master.key");
    let master = std::fs::read_to_string(&master_file).unwrap();
    node.stop().await;
    std::fs::remove_file(&master_file).unwrap();
    assert!(!files_with(node.data_dir(), harmless.as_bytes()).is_empty(), "the search finds what is there");
    let secret = &exported[exported.len() - 32..];
    for form in canary::forms(secret).iter().chain([&master.trim().as_bytes().to_vec()]) {
        assert_eq!(files_with(node.data_dir(), form), [] as [PathBuf; 0]);
    }
    for secret in [&stream.client_secret, &stream.token()] {
        assert!(files_with(node.data_dir(), secret.as_bytes()).is_empty(), "credentials are stored hashed");
    }
}
