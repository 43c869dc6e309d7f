//! Creates that are asked for twice with one `Idempotency-Key`, and changes of what another has changed.

use reqwest::Method;
use serde_json::{Value, json};
use sluice::clock::{Clock, DAY_MS, Timestamp};

use crate::harness::{Answer, Api, Node, canary::for_each_file, people::Somebody};

async fn keyed(api: &Api, token: &str, key: &str, path: &str, body: &Value) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", &*authorization), ("idempotency-key", key)];
    api.try_send(Method::POST, path, &headers, body.to_string().into_bytes()).await.expect("an answer")
}

async fn count(node: &Node, path: &str, list: &str) -> usize {
    node.admin(Method::GET, path, &Value::Null).await.json()[list].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_create_gives_its_first_answer_again_and_makes_one_thing() {
    let mut node = Node::start().await;
    Somebody::new(&node, "reader", "member").await;
    node.create_stream("clicks").await;
    let schema = crate::drivers::visit_schema().to_string();
    let contract = json!({ "keyField": "consistentValue" }).to_string();
    let creates = [
        ("/api/v1/streams", json!({ "name": "orders" })),
        ("/api/v1/contracts", json!({ "ref": "acme/visit/1.0.0", "schema": schema, "contract": contract })),
        ("/api/v1/principals", json!({ "id": "robot", "kind": "service_account" })),
        ("/api/v1/principals/reader/tokens", json!({ "name": "laptop" })),
        ("/api/v1/projects", json!({ "name": "alpha" })),
        ("/api/v1/purposes", json!({ "name": "marketing" })),
        ("/api/v1/policies", json!({ "name": "month", "retentionDays": 30 })),
        ("/api/v1/streams/clicks/credentials", json!({})),
        ("/api/v1/streams/clicks/grants", json!({ "principal": "reader" })),
    ];
    let mut first = Vec::new();
    for (path, body) in &creates {
        first.push(keyed(&node, &node.admin, path, path, body).await);
    }
    node.restart().await;
    for ((path, body), first) in creates.iter().zip(&first) {
        assert_eq!(first.status, 201, "{path}: {}", first.text());
        let again = keyed(&node, &node.admin, path, path, body).await;
        assert_eq!((again.status, again.text()), (first.status, first.text()), "{path}");
        for header in ["content-type", "etag", "cache-control"] {
            assert_eq!(again.header(header), first.header(header), "{path}");
        }
        let mut other = body.clone();
        other["name"] = json!("another");
        let other = keyed(&node, &node.admin, path, path, &other).await;
        assert_eq!((other.status, other.code().as_str()), (409, "idempotency_key_reused"), "{path}");
    }
    assert_eq!(count(&node, "/api/v1/streams/clicks/credentials", "credentials").await, 2);
    assert_eq!(count(&node, "/api/v1/principals/reader/tokens", "tokens").await, 2);
    assert_eq!(count(&node, "/api/v1/purposes", "purposes").await, 1);
    // Neither what was told once nor the keys are on the disk.
    let secrets = [&first[0].json()["credentials"][0]["clientSecret"], &first[3].json()["token"]]
        .map(|secret| secret.as_str().unwrap().to_owned());
    node.stop().await;
    for_each_file(node.data_dir(), &mut |path, bytes| {
        for secret in secrets.iter().map(String::as_str).chain(["/api/v1/principals/reader/tokens"]) {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{}", path.display());
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_does_the_work() {
    let node = Node::start().await;
    Somebody::new(&node, "reader", "member").await;
    let path = "/api/v1/principals/reader/tokens";
    let body = json!({ "name": "one" });
    let all = (0..20).map(|_| keyed(&node, &node.admin, "same", path, &body));
    let answers = futures_util::future::join_all(all).await;
    let made: Vec<_> = answers.iter().filter(|answer| answer.status == 201).map(Answer::text).collect();
    assert!(!made.is_empty() && made.iter().all(|text| *text == made[0]), "{made:?}");
    for busy in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!((busy.status, busy.code().as_str()), (409, "idempotency_key_busy"), "{}", busy.text());
        assert_eq!(busy.header("retry-after"), "1");
    }
    assert_eq!(count(&node, path, "tokens").await, 2, "that of the harness and one more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_one_principals_for_a_day_and_free_after_a_refusal() {
    let clock = Clock::manual(Timestamp(1_790_000_000_000));
    let node = Node::start_with(clock.clone(), |_| {}).await;
    let other = Somebody::new(&node, "other", "admin").await;
    let path = "/api/v1/projects";
    let body = json!({ "name": "alpha" });
    assert_eq!(keyed(&node, &node.admin, "k", path, &body).await.status, 201);
    let theirs = keyed(&node, &other.token, "k", path, &body).await;
    assert_eq!((theirs.status, theirs.code().as_str()), (409, "project_exists"), "a key of their own");
    // The refusal kept nothing: with the same key another body may be tried.
    assert_eq!(keyed(&node, &other.token, "k", path, &json!({ "name": "beta" })).await.status, 201);
    let wrong = keyed(&node, &other.token, "w", path, &json!({ "name": "!" })).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "body_invalid"));
    assert_eq!(keyed(&node, &other.token, "w", path, &json!({ "name": "gamma" })).await.status, 201);
    // Another route is another request.
    let elsewhere = keyed(&node, &node.admin, "k", "/api/v1/policies", &body).await;
    assert_eq!(elsewhere.code(), "idempotency_key_reused");
    clock.turn(DAY_MS - 1);
    assert_eq!(keyed(&node, &node.admin, "k", path, &body).await.status, 201, "still the first answer");
    clock.turn(1);
    let late = keyed(&node, &node.admin, "k", path, &body).await;
    assert_eq!((late.status, late.code().as_str()), (409, "project_exists"), "forgotten after a day");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_have_a_form_and_a_number() {
    let clock = Clock::manual(Timestamp(1_790_000_000_000));
    let node = Node::start_with(clock.clone(), |_| {}).await;
    let path = "/api/v1/streams/clicks/grants";
    node.create_stream("clicks").await;
    Somebody::new(&node, "reader", "member").await;
    let body = json!({ "principal": "reader" });
    for wrong in ["", &"k".repeat(256), "a b", "a\tb"] {
        let answer = keyed(&node, &node.admin, wrong, path, &body).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "idempotency_key_invalid"), "{wrong:?}");
    }
    assert_eq!(keyed(&node, &node.admin, &"k".repeat(255), path, &body).await.status, 201);
    for number in 1..1000 {
        assert_eq!(keyed(&node, &node.admin, &format!("{number}"), path, &body).await.status, 201);
    }
    let full = keyed(&node, &node.admin, "one-more", path, &body).await;
    assert_eq!((full.status, full.code().as_str()), (429, "idempotency_keys_full"));
    assert_eq!(keyed(&node, &node.admin, "7", path, &body).await.status, 201, "those there are still answer");
    clock.turn(DAY_MS);
    assert_eq!(
        keyed(&node, &node.admin, "one-more", path, &body).await.status,
        201,
        "a day later there is room"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn principals_projects_and_policies_are_changed_at_the_version_that_was_seen() {
    let node = Node::start().await;
    let made = [
        (
            "/api/v1/principals",
            json!({ "id": "robot", "kind": "service_account" }),
            "/api/v1/principals/robot",
        ),
        ("/api/v1/projects", json!({ "name": "alpha" }), "/api/v1/projects/alpha"),
        ("/api/v1/policies", json!({ "name": "month", "retentionDays": 30 }), "/api/v1/policies/month"),
    ];
    for (list, body, path) in made {
        let made = node.admin(Method::POST, list, &body).await;
        let seen = made.header("etag").to_owned();
        assert!(seen.starts_with('"') && seen.ends_with('"'), "{path}: {seen}");
        assert_eq!(node.admin(Method::GET, path, &Value::Null).await.header("etag"), seen, "{path}");
        let call = async |method: Method, path: &str, body: &Value, tag: &str| {
            let authorization = format!("Bearer {}", node.admin);
            let headers = [("authorization", &*authorization), ("if-match", tag)];
            let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
            node.send(method, path, &headers, body).await
        };
        let (method, target, change) = match path.ends_with("month") {
            true => (Method::POST, format!("{path}/activate"), Value::Null),
            false if path.ends_with("robot") => (Method::PATCH, path.to_owned(), json!({ "name": "Robby" })),
            false => (Method::PATCH, path.to_owned(), json!({ "description": "new" })),
        };
        let changed = call(method.clone(), &target, &change, &seen).await;
        assert_eq!(changed.status, 200, "{}", changed.text());
        let now = changed.header("etag").to_owned();
        assert_ne!(now, seen, "{path}");
        let malformed = call(method.clone(), &target, &change, "7").await;
        assert_eq!((malformed.status, malformed.code().as_str()), (400, "header_invalid"), "{path}");
        if path.ends_with("month") {
            // Only an archived one may go.
            let stale = call(Method::POST, &format!("{path}/archive"), &Value::Null, &seen).await;
            assert_eq!((stale.status, stale.code().as_str()), (412, "precondition_failed"), "{path}");
            assert_eq!(call(Method::POST, &format!("{path}/archive"), &Value::Null, &now).await.status, 200);
        } else {
            let stale = call(method, &target, &change, &seen).await;
            assert_eq!((stale.status, stale.code().as_str()), (412, "precondition_failed"), "{path}");
        }
        let stale = call(Method::DELETE, path, &Value::Null, &format!("W/{now}, {seen}")).await;
        assert_eq!((stale.status, stale.code().as_str()), (412, "precondition_failed"), "{path}");
        assert_eq!(call(Method::DELETE, path, &Value::Null, "*").await.status, 204, "{path}");
    }
}
