//! A stream after it was made: credentials, settings, limits, deletion; and the purpose map.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use sluice::{
    clock::{Clock, DAY_MS, Timestamp},
    domain::KeyLink,
};

use crate::{
    harness::{Answer, EXAMPLE, Node, PATIENCE, Stream, event, planted, planted_opened},
    reading::Socket,
};

const NOON: Timestamp = Timestamp(20_000 * DAY_MS + 12 * 3_600_000);

async fn node_at(clock: &Clock) -> Node {
    Node::start_with(clock.clone(), |config| config.tokens.access_s = 2_000_000).await
}

async fn issue(node: &Node, stream: &Stream, body: &Value) -> Stream {
    let path = format!("/api/v1/streams/{}/credentials", stream.name);
    let answer = node.admin(Method::POST, &path, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let issued = answer.json();
    let text = |name: &str| issued[name].as_str().unwrap().to_owned();
    let other = stream.with_credentials(text("clientId"), text("clientSecret"));
    other.log_in().await;
    other
}

async fn revoke(node: &Node, stream: &Stream) -> Answer {
    let path = format!("/api/v1/streams/{}/credentials/{}", stream.name, stream.client_id);
    node.admin(Method::DELETE, &path, &Value::Null).await
}

async fn patch(node: &Node, stream: &Stream, body: &Value) -> Answer {
    let answer = node.admin(Method::PATCH, &format!("/api/v1/streams/{}", stream.name), body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_credential_ends_at_once_and_the_others_read_on() {
    let node = Node::start().await;
    let first = node.create_stream("clicks").await;
    let second = issue(&node, &first, &json!({})).await;
    first.accept(&planted(&node.canary, &[1])).await;

    let listed = node.admin(Method::GET, "/api/v1/streams/clicks/credentials", &Value::Null).await.json();
    assert_eq!(listed["credentials"].as_array().unwrap().len(), 2);
    assert!(listed["credentials"][0].get("clientSecret").is_none());

    let lines = [("accept", "application/x-ndjson")];
    let mut ended = node.http.get(format!("{}/streams/clicks/events?from=earliest", node.url()));
    ended = ended.header("authorization", first.authorization()).header("accept", "application/x-ndjson");
    let mut ended = ended.send().await.unwrap().bytes_stream();
    assert!(ended.next().await.unwrap().is_ok(), "the stored event");
    let mut lasting = second.follow("?from=earliest", &lines).await;
    lasting.until("\n").await;

    assert_eq!(revoke(&node, &first).await.status, 204);
    // An idle connection is not told by a heartbeat, which comes every 15 s.
    let begun = Instant::now();
    assert!(ended.next().await.is_none_or(|piece| piece.is_err()), "nothing comes any more");
    assert!(begun.elapsed() < Duration::from_secs(5), "it ended after {:?}", begun.elapsed());
    assert_eq!(first.post(&planted(&node.canary, &[1])).await.code(), "token_invalid");
    let (id, secret) = (&first.client_id, &first.client_secret);
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    assert_eq!(node.token_request(&form, &[]).await.status, 401);
    assert_eq!(revoke(&node, &first).await.code(), "credential_unknown");

    second.accept(&planted(&node.canary, &[1])).await;
    lasting.until("\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_closes_web_sockets_and_half_sent_batches() {
    let node = Node::start().await;
    let first = node.create_stream("clicks").await;
    let second = issue(&node, &first, &json!({})).await;
    let (mut ended, mut lasting) =
        (Socket::open(&first, "/ws").await.unwrap(), Socket::open(&second, "/ws").await.unwrap());
    let line = planted(&node.canary, &[1]).to_string() + "\n";
    let (sender, body) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body =
        futures_util::stream::unfold(body, async |mut body| body.recv().await.map(|piece| (piece, body)));
    let request = node.http.post(format!("{}/events", node.url()));
    let request = request.header("authorization", first.authorization()).header("strm-schema-ref", EXAMPLE);
    let answer = tokio::spawn(request.body(reqwest::Body::wrap_stream(body)).send());
    sender.send(Ok(line.clone().into_bytes())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;

    assert_eq!(revoke(&node, &first).await.status, 204);
    let begun = Instant::now();
    assert_eq!(ended.frame().await.0, 8, "a close frame");
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(sender.send(Ok(line.into_bytes())).await);
    drop(sender);
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.status().as_u16(), 401);
    assert!(answer.text().await.unwrap().contains("token_invalid"));
    second.accept(&planted(&node.canary, &[1])).await;
    lasting.event().await;
    assert_eq!(second.read().await.len(), 1, "nothing of the batch is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_credentials_serve_side_by_side_for_the_overlap() {
    let clock = Clock::manual(NOON);
    let node = node_at(&clock).await;
    let old = node.create_stream("clicks").await;
    let other = issue(&node, &old, &json!({})).await;
    let fresh = issue(&node, &old, &json!({"replaces": old.client_id, "overlapS": 600})).await;
    clock.turn(599_999);
    for stream in [&old, &other, &fresh] {
        stream.accept(&planted(&node.canary, &[])).await;
    }
    clock.turn(1);
    assert_eq!(old.post(&planted(&node.canary, &[])).await.code(), "token_invalid");
    fresh.accept(&planted(&node.canary, &[])).await;
    let last = issue(&node, &old, &json!({"replaces": "*"})).await;
    for gone in [&other, &fresh] {
        assert_eq!(gone.post(&planted(&node.canary, &[])).await.code(), "token_invalid");
    }
    last.accept(&planted(&node.canary, &[])).await;
    let path = "/api/v1/streams/clicks/credentials";
    assert_eq!(
        node.admin(Method::GET, path, &Value::Null).await.json()["credentials"].as_array().unwrap().len(),
        1
    );
    for (wrong, code) in [
        (json!({"replaces": "nobody"}), "credential_unknown"),
        (json!({"overlapS": 5}), "body_invalid"),
        (json!({"replaces": "*", "overlapS": 2_592_001}), "body_invalid"),
    ] {
        assert_eq!(node.admin(Method::POST, path, &wrong).await.code(), code, "{wrong}");
    }
    for _ in 1..32 {
        assert_eq!(node.admin(Method::POST, path, &json!({})).await.status, 201);
    }
    assert_eq!(node.admin(Method::POST, path, &json!({})).await.code(), "stream_invalid", "32 at most");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_needs_the_version_that_was_read() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let path = "/api/v1/streams/clicks";
    let read = node.admin(Method::GET, path, &Value::Null).await;
    let etag = read.header("etag").to_owned();
    let authorization = format!("Bearer {}", node.admin);
    let change = async |etag: &str, body: Value| {
        let headers = [("authorization", authorization.as_str()), ("if-match", etag)];
        node.send(Method::PATCH, path, &headers, body.to_string().into_bytes()).await
    };
    let changed = change(&etag, json!({"description": "web", "tags": ["a"], "retentionDays": 3})).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_ne!(changed.header("etag"), etag);
    let shown = changed.json();
    assert_eq!((&shown["description"], &shown["retentionDays"]), (&json!("web"), &json!(3)));
    let refused = change("1", json!({"description": "late"})).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "header_invalid"), "a tag has quotes");
    for stale in [etag.as_str(), "\"0\"", "W/\"1\""] {
        let refused = change(stale, json!({"description": "late"})).await;
        assert_eq!((refused.status, refused.code().as_str()), (412, "precondition_failed"), "{stale}");
    }
    let latest = node.admin(Method::GET, path, &Value::Null).await;
    assert_eq!(latest.json()["description"], "web");
    assert_eq!(latest.header("etag"), changed.header("etag"));
    assert_eq!(change("*", json!({"tags": []})).await.status, 200);
    for (wrong, code) in [
        (json!({"retentionDays": 0}), "stream_invalid"),
        (json!({"name": "other"}), "body_invalid"),
        (json!({"limits": {"eventsPerSecond": 0}}), "stream_invalid"),
        (json!({"limits": {"burst": 5}}), "stream_invalid"),
        (json!({"policy": "nobody"}), "policy_unknown"),
    ] {
        assert_eq!(node.admin(Method::PATCH, path, &wrong).await.code(), code, "{wrong}");
    }
    stream.accept(&planted(&node.canary, &[1])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_stream_stands_still_and_goes_on_exactly_once() {
    let mut node = Node::start().await;
    let source = node.create_stream("clicks").await;
    let derived = node.derive(&source, &[1]).await;
    let send = async |count: usize| {
        for _ in 0..count {
            source.accept(&planted_opened(&node.canary, &[1])).await;
        }
    };
    send(3).await;
    derived.read_until(3).await;
    patch(&node, &derived, &json!({"enabled": false})).await;
    send(5).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(derived.read().await.len(), 3, "a disabled derived stream gets nothing");
    patch(&node, &source, &json!({"enabled": false})).await;
    let refused = source.post(&planted(&node.canary, &[1])).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "stream_disabled"));
    patch(&node, &source, &json!({"enabled": true})).await;
    patch(&node, &derived, &json!({"enabled": true})).await;
    for on in [false, true, false, true] {
        patch(&node, &derived, &json!({"enabled": on})).await;
    }
    send(2).await;
    let events = derived.read_until(10).await;
    let nonces = |events: &[Value]| events.iter().map(|e| e["strmMeta"]["nonce"].clone()).collect::<Vec<_>>();
    assert_eq!(nonces(&events), nonces(&source.read().await));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_listed_in_pages_and_by_tag_and_source() {
    let node = Node::start().await;
    for n in 0..7 {
        let tags = if n % 2 == 0 { json!(["even"]) } else { json!([]) };
        node.make_stream(json!({"name": format!("stream-{n}"), "tags": tags})).await;
    }
    node.make_stream(json!({"derivedFrom": "stream-3", "purposes": [1]})).await;
    let list =
        async |query: &str| node.admin(Method::GET, &format!("/api/v1/streams{query}"), &Value::Null).await;
    let names = |answer: &Answer| -> Vec<String> {
        let streams = answer.json()["streams"].as_array().unwrap().clone();
        streams.iter().map(|stream| stream["ref"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let (mut seen, mut token) = (Vec::new(), String::new());
    for _ in 0..3 {
        let page = list(&format!("?limit=3{token}")).await;
        seen.extend(names(&page));
        token = match page.json()["nextPageToken"].as_str() {
            Some(next) => format!("&pageToken={next}"),
            None => break,
        };
    }
    let all = names(&list("").await);
    assert_eq!((seen.len(), &seen), (8, &all));
    assert_eq!(names(&list("?tag=even").await), ["stream-0", "stream-2", "stream-4", "stream-6"]);
    assert_eq!(names(&list("?source=stream-3").await), ["stream-3-1"]);
    for wrong in ["?limit=0", "?limit=1001", "?pageToken=!", "?colour=red"] {
        assert_eq!(list(wrong).await.code(), "parameter_invalid", "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_its_rate_a_stream_answers_429_and_stores_nothing() {
    let clock = Clock::manual(NOON);
    let mut node = node_at(&clock).await;
    let limits = json!({"eventsPerSecond": 2, "burst": 4});
    let stream = node.make_stream(json!({"name": "clicks", "limits": limits})).await;
    let open = node.create_stream("open").await;
    for _ in 0..4 {
        stream.accept(&planted(&node.canary, &[1])).await;
    }
    let refused = stream.post_as("not/known/1.0.0", "not even an event", &[]).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "stream_rate_exceeded"), "before decoding");
    assert_eq!(refused.header("retry-after"), "1");
    for _ in 0..20 {
        open.accept(&planted(&node.canary, &[1])).await;
    }
    // The settings change; what was counted stays.
    patch(&node, &stream, &json!({"description": "x"})).await;
    assert_eq!(stream.post(&planted(&node.canary, &[1])).await.status, 429);
    clock.turn(500);
    stream.accept(&planted(&node.canary, &[1])).await;
    assert_eq!(stream.post(&planted(&node.canary, &[1])).await.status, 429);
    patch(&node, &stream, &json!({"limits": null})).await;
    for _ in 0..10 {
        stream.accept(&planted(&node.canary, &[1])).await;
    }
    assert_eq!(stream.read().await.len(), 15);
    assert_eq!(
        node.metric("sluice_events_refused_total{stream=\"clicks\",code=\"stream_rate_exceeded\"").await,
        3.0
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_for_the_day_holds_over_a_restart_and_ends_with_the_day() {
    let clock = Clock::manual(NOON);
    let mut node = node_at(&clock).await;
    let stream = node.make_stream(json!({"name": "clicks", "limits": {"eventsMax": 5}})).await;
    for _ in 0..3 {
        stream.accept(&planted(&node.canary, &[1])).await;
    }
    assert_eq!(stream.post_as("not/known/1.0.0", "x", &[]).await.code(), "schema_unknown");
    node.restart().await;
    for _ in 0..2 {
        stream.accept(&planted(&node.canary, &[1])).await;
    }
    let refused = stream.post(&planted(&node.canary, &[1])).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "stream_count_exceeded"));
    assert_eq!(refused.header("retry-after"), (12 * 3600).to_string());
    clock.turn(12 * 3_600_000);
    stream.log_in().await;
    stream.accept(&planted(&node.canary, &[1])).await;
    assert_eq!(stream.read().await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_is_set_later_counts_what_came_before_it() {
    let clock = Clock::manual(NOON);
    let node = node_at(&clock).await;
    let stream = node.create_stream("clicks").await;
    for _ in 0..3 {
        stream.accept(&planted(&node.canary, &[1])).await;
    }
    patch(&node, &stream, &json!({"limits": {"eventsMax": 4, "eventsMaxPer": "HOUR"}})).await;
    stream.accept(&planted(&node.canary, &[1])).await;
    for _ in 0..2 {
        assert_eq!(stream.post(&planted(&node.canary, &[1])).await.code(), "stream_count_exceeded");
        patch(&node, &stream, &json!({"limits": {"eventsMax": 4, "eventsMaxPer": "HOUR"}})).await;
    }
    clock.turn(3_600_000);
    stream.accept(&planted(&node.canary, &[1])).await;
}

fn batch_of(node: &Node, count: usize) -> Vec<u8> {
    let events = (0..count).map(|_| planted(&node.canary, &[1]).to_string() + "\n");
    events.collect::<String>().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_over_the_limit_is_taken_up_to_it_and_an_atomic_one_not_at_all() {
    let clock = Clock::manual(NOON);
    let node = node_at(&clock).await;
    let limits = json!({"eventsPerSecond": 10, "burst": 10});
    let stream = node.make_stream(json!({"name": "clicks", "limits": limits})).await;
    let whole = stream.post_batch(batch_of(&node, 4), "?atomic=true", &[]).await;
    assert_eq!(whole.json()["accepted"], 4, "{}", whole.text());
    let refused = stream.post_batch(batch_of(&node, 7), "?atomic=true", &[]).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "stream_rate_exceeded"));
    assert_eq!(refused.header("retry-after"), "1");

    let part = stream.post_batch(batch_of(&node, 9), "", &[]).await;
    assert_eq!((part.status, part.header("retry-after")), (200, "1"), "{}", part.text());
    let verdicts = part.json();
    assert_eq!(verdicts["accepted"], 6);
    let codes: Vec<_> =
        verdicts["refused"].as_array().unwrap().iter().map(|v| (&v["index"], &v["code"])).collect();
    assert_eq!(codes[0], (&json!(6), &json!("stream_rate_exceeded")));
    assert_eq!(codes.len(), 3);
    assert_eq!(stream.read().await.len(), 10);

    // Far more than the limit: it stops, says what it stored, and when to come again.
    clock.turn(1000);
    let flood = stream.post_batch(batch_of(&node, 1100), "", &[]).await;
    assert_eq!((flood.status, flood.code().as_str()), (429, "batch_refused"));
    assert_eq!((flood.header("retry-after"), &flood.json()["accepted"]), ("1", &json!(10)));
    assert_eq!(stream.read().await.len(), 20);

    // With an idempotency key a group is taken whole or not at all, so that a retry stores each event once.
    clock.turn(500);
    let (body, key) = (batch_of(&node, 8), [("idempotency-key", "k1")]);
    let none = stream.post_batch(body.clone(), "", &key).await.json();
    assert_eq!((&none["accepted"], none["refused"].as_array().unwrap().len()), (&json!(0), 8));
    clock.turn(500);
    for _ in 0..2 {
        let all = stream.post_batch(body.clone(), "", &key).await.json();
        assert_eq!(all["accepted"], 8, "{all}");
        clock.turn(1000);
    }
    assert_eq!(stream.read().await.len(), 28);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_says_first_what_it_will_delete_and_takes_the_keys_along() {
    let node = Node::start().await;
    let source = node.create_stream("clicks").await;
    let other = node.create_stream("other").await;
    let derived = node.derive(&source, &[1]).await;
    for _ in 0..5 {
        source.accept(&planted_opened(&node.canary, &[1])).await;
    }
    source.accept(&planted(&node.canary, &[])).await;
    other.accept(&planted(&node.canary, &[1])).await;
    derived.read_until(5).await;
    let delete = async |query: &str| {
        node.admin(Method::DELETE, &format!("/api/v1/streams/clicks{query}"), &Value::Null).await
    };
    assert_eq!(delete("?dryRun=true").await.code(), "stream_has_dependents");
    let said = delete("?recursive=true&dryRun=true").await;
    let expected = json!({"streams": [
        {"name": "clicks-1", "derivedFrom": "clicks", "events": 5, "keys": 0, "credentials": 1},
        {"name": "clicks", "derivedFrom": null, "events": 6, "keys": 6, "credentials": 1},
    ]});
    assert_eq!((said.status, said.json()), (200, expected));
    let links = source.read().await;
    let stored = async |event: &Value| {
        let link = KeyLink(event["strmMeta"]["keyLink"].as_str().unwrap().parse().unwrap());
        node.server().storage().keys.by_link(link).await.unwrap().found().is_some()
    };
    assert!(stored(&links[0]).await, "a dry run deletes nothing");
    let kept = other.read().await;
    assert_eq!(delete("?recursive=true").await.status, 204);
    let begun = Instant::now();
    while stored(&links[0]).await || stored(&links[5]).await {
        assert!(begun.elapsed() < PATIENCE, "the keys are destroyed");
        node.server().ring_janitor();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert!(stored(&kept[0]).await, "keys of other streams stay");
    assert_eq!(node.metric("sluice_keys_destroyed_total{reason=\"stream_deleted\"}").await, 6.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn purposes_name_levels_and_stay_while_a_stream_opens_them() {
    let node = Node::start().await;
    let post = async |body: Value| node.admin(Method::POST, "/api/v1/purposes", &body).await;
    assert_eq!(post(json!({"name": "Marketing", "description": "ads"})).await.json()["level"], 1);
    assert_eq!(post(json!({"name": "research", "level": 7})).await.json()["level"], 7);
    assert_eq!(post(json!({"name": "support"})).await.json()["level"], 8);
    for (wrong, code) in [
        (json!({"name": "marketing"}), "purpose_exists"),
        (json!({"name": "again", "level": 7}), "purpose_exists"),
        (json!({"name": "12"}), "purpose_invalid"),
        (json!({"name": "too high", "level": 1000}), "purpose_invalid"),
    ] {
        assert_eq!(post(wrong.clone()).await.code(), code, "{wrong}");
    }
    node.create_stream("clicks").await;
    let make = |purposes: Value| json!({"derivedFrom": "clicks", "purposes": purposes});
    let unknown = node.admin(Method::POST, "/api/v1/streams", &make(json!(["nobody"]))).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "purpose_unknown"));
    let derived = node.make_stream(make(json!(["marketing", 3]))).await;
    assert_eq!(derived.name, "clicks-1-3");
    let delete = async |named: &str| {
        node.admin(Method::DELETE, &format!("/api/v1/purposes/{named}"), &Value::Null).await
    };
    assert_eq!(delete("marketing").await.code(), "purpose_in_use");
    assert_eq!(delete("9").await.code(), "purpose_unknown");
    assert_eq!(delete("support").await.status, 204);
    node.admin(Method::DELETE, "/api/v1/streams/clicks-1-3", &Value::Null).await;
    assert_eq!(delete("1").await.status, 204);
    let left = node.admin(Method::GET, "/api/v1/purposes", &Value::Null).await.json();
    assert_eq!(left, json!({"purposes": [{"level": 7, "name": "research", "description": ""}]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_credentials_of_two_clients_is_one_session() {
    let node = Node::start().await;
    let first = node.create_stream("clicks").await;
    let second = issue(&node, &first, &json!({})).await;
    let session = node.canary.plant();
    for stream in [&first, &second] {
        stream.accept(&event(&session, &node.canary.plant(), &node.canary.plant(), &[1])).await;
    }
    let events = first.read_until(2).await;
    assert_eq!(events[0]["strmMeta"]["keyLink"], events[1]["strmMeta"]["keyLink"]);
}
