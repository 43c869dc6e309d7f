//! What streams used: counted once, kept over restarts, shown by windows of time.

use reqwest::Method;
use serde_json::{Value, json};
use sluice::clock::{Clock, DAY_MS, Timestamp};

use crate::harness::{Api, ChildNode, Node, planted, planted_opened};

const NOON: Timestamp = Timestamp(20_000 * DAY_MS + 12 * 3_600_000);

async fn usage(api: &Api, query: &str) -> Value {
    let answer = api.admin(Method::GET, &format!("/api/v1/streams/clicks/usage{query}"), &Value::Null).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn sum(usage: &Value, field: &str) -> u64 {
    usage["windows"].as_array().unwrap().iter().map(|window| window[field].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_counted_once_whoever_asks_and_however_often_the_node_starts() {
    let clock = Clock::manual(NOON);
    let configure = |config: &mut sluice::config::Config| config.tokens.access_s = 2_000_000;
    let mut node = Node::start_with(clock.clone(), configure).await;
    let source = node.create_stream("clicks").await;
    let derived = node.derive(&source, &[1]).await;
    let mut bytes = 0;
    for round in 0..3_u64 {
        for consent in [&[1][..], &[1, 2], &[]] {
            let event = planted_opened(&node.canary, consent);
            bytes += event.to_string().len() as u64;
            source.accept(&event).await;
        }
        assert_eq!(source.post(&json!({"no": "event"})).await.status, 400);
        derived.read_until(usize::try_from(round + 1).unwrap() * 2).await;
        for _ in 0..3 {
            let seen = usage(&node, "?from=-2h&by=15m").await;
            assert_eq!(sum(&seen, "eventsIn"), 3 * (round + 1));
        }
        clock.turn(15 * 60_000);
        node.restart().await;
        node.restart().await;
    }
    let shown = usage(&node, "?from=-2h&by=15m").await;
    assert_eq!(
        (sum(&shown, "eventsIn"), sum(&shown, "bytesIn"), sum(&shown, "eventsRefused")),
        (9, bytes, 3)
    );
    let busy: Vec<&Value> =
        shown["windows"].as_array().unwrap().iter().filter(|window| window["eventsIn"] != 0).collect();
    assert_eq!(busy.len(), 3, "each quarter of an hour by itself: {shown}");
    assert_eq!(busy[0]["from"], "2024-10-04T12:00:00Z");
    let codes: u64 =
        busy[0]["refused"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(codes, 1, "{}", busy[0]);
    let expected = json!([{"stream": "clicks-1", "events": 2, "droppedByConsent": 1, "unreadable": 0}]);
    assert_eq!(busy[0]["derived"], expected);
    let hour = usage(&node, "?from=2024-10-04T12:00:00Z&until=2024-10-04T13:00:00Z&by=1h").await;
    assert_eq!(hour["windows"].as_array().unwrap().len(), 1);
    assert_eq!(sum(&hour, "eventsIn"), 9);
    assert_eq!(sum(&usage(&node, "?from=-5d&until=-1d&by=1h").await, "eventsIn"), 0);

    // A stream made again under the name has used nothing yet.
    clock.turn(3_600_000);
    node.admin(Method::DELETE, "/api/v1/streams/clicks?recursive=true", &Value::Null).await;
    node.create_stream("clicks").await;
    assert_eq!(sum(&usage(&node, "?from=-5h").await, "eventsIn"), 0);
    for wrong in
        ["?by=1s", "?by=x", "?from=yesterday", "?from=-1h&until=-2h", "?from=-3000d&by=1m", "?to=now"]
    {
        let path = format!("/api/v1/streams/clicks/usage{wrong}");
        assert_eq!(node.admin(Method::GET, &path, &Value::Null).await.code(), "parameter_invalid", "{wrong}");
    }
    assert_eq!(
        node.admin(Method::GET, "/api/v1/streams/nobody/usage", &Value::Null).await.code(),
        "stream_unknown"
    );
    let reserved = node.admin(Method::POST, "/api/v1/streams", &json!({"name": "sluice-usage"})).await;
    assert_eq!(reserved.code(), "stream_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_keeps_what_was_written_down_and_counts_nothing_twice() {
    let mut node = ChildNode::start(&[("SLUICE__STREAMS__USAGE_EVERY_S", "1")]).await;
    let source = node.create_stream("clicks").await;
    for round in 1..=3 {
        for _ in 0..10 {
            source.accept(&planted(&node.canary, &[1])).await;
        }
        // One period at least, in which they are written down.
        tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
        node.kill();
        node.start_again().await;
        assert_eq!(sum(&usage(&node, "").await, "eventsIn"), 10 * round);
    }
}
