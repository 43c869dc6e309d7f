//! Who wrote does not approve, who left has no more say, and what is another project's does not show.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    contracts::{draft, schema},
    harness::{Node, people::Somebody, planted},
};

const CONTRACTS: &str = "/api/v1/contracts";

fn text() -> Value {
    schema(&json!([{"name": "session", "type": "string"}]))
}

async fn project(node: &Node, name: &str) {
    let made = node.admin(Method::POST, "/api/v1/projects", &json!({ "name": name })).await;
    assert_eq!(made.status, 201, "{}", made.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_with_two_roles_does_not_approve_what_he_wrote() {
    let node = Node::start().await;
    project(&node, "shop").await;
    let bob = Somebody::new(&node, "bob", "approver").await;
    let put =
        node.admin(Method::PUT, "/api/v1/projects/shop/members/bob", &json!({ "role": "member" })).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let mut body = draft("acme/two/1.0.0", &text(), &json!({"keyField": "session"}));
    body["project"] = json!("shop");
    let made = bob.call(Method::POST, CONTRACTS, &body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let step = async |who: &Somebody, step: &str| {
        who.call(Method::POST, &format!("{CONTRACTS}/acme/two/1.0.0/{step}"), &Value::Null).await
    };
    assert_eq!(step(&bob, "activate").await.code(), "contract_step_forbidden", "no draft goes past a review");
    assert_eq!(step(&bob, "review").await.status, 200);
    assert_eq!(step(&bob, "approve").await.code(), "contract_step_forbidden");
    // Who rewrites it is an author too.
    let carl = Somebody::new(&node, "carl", "approver").await;
    let put =
        node.admin(Method::PUT, "/api/v1/projects/shop/members/carl", &json!({ "role": "member" })).await;
    assert_eq!(put.status, 200);
    assert_eq!(step(&bob, "revise").await.status, 200);
    let put = carl.call(Method::PUT, &format!("{CONTRACTS}/acme/two/1.0.0"), &body).await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(step(&bob, "review").await.status, 200);
    assert_eq!(step(&carl, "approve").await.code(), "contract_step_forbidden");
    let dora = Somebody::new(&node, "dora", "approver").await;
    assert_eq!(step(&dora, "approve").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_author_who_left_the_project_has_no_say_over_its_public_contract() {
    let node = Node::start().await;
    project(&node, "shop").await;
    let xena = Somebody::in_project(&node, "xena", "shop", "member").await;
    let mut body = draft("acme/open/1.0.0", &text(), &json!({"keyField": "session"}));
    (body["project"], body["public"]) = (json!("shop"), json!(true));
    assert_eq!(xena.call(Method::POST, CONTRACTS, &body).await.status, 201);
    for step in ["activate", "archive"] {
        let path = format!("{CONTRACTS}/acme/open/1.0.0/{step}");
        assert_eq!(node.admin(Method::POST, &path, &Value::Null).await.status, 200, "{step}");
    }
    let left = node.admin(Method::DELETE, "/api/v1/projects/shop/members/xena", &Value::Null).await;
    assert!(left.status < 300, "{}", left.text());
    assert_eq!(xena.get(&format!("{CONTRACTS}/acme/open/1.0.0")).await.status, 200, "it is public");
    for step in ["activate", "review", "revise"] {
        let path = format!("{CONTRACTS}/acme/open/1.0.0/{step}");
        let refused = xena.call(Method::POST, &path, &Value::Null).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "contract_step_forbidden"), "{step}");
    }
    let deleted = xena.call(Method::DELETE, &format!("{CONTRACTS}/acme/open/1.0.0"), &Value::Null).await;
    assert_eq!(deleted.status, 403, "{}", deleted.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_of_another_project_shows_nowhere() {
    let node = Node::start().await;
    project(&node, "shop").await;
    let body = json!({"ref": "acme/hidden/1.0.0", "project": "shop", "contract":
        json!({"schemaRef": "strmprivacy/example/1.5.0", "keyField": "consistentValue"}).to_string()});
    let made = node.admin(Method::POST, CONTRACTS, &body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let stream = node.create_stream("clicks").await;
    let mut event = planted(&node.canary, &[1]);
    let mut answers = Vec::new();
    // A draft of another project, an active contract of another project, and one that nobody has.
    for (reference, activate) in
        [("acme/hidden/1.0.0", false), ("acme/hidden/1.0.0", true), ("acme/nobody/1.0.0", false)]
    {
        if activate {
            let path = format!("{CONTRACTS}/acme/hidden/1.0.0/activate");
            assert_eq!(node.admin(Method::POST, &path, &Value::Null).await.status, 200);
        }
        event["strmMeta"]["eventContractRef"] = json!(reference);
        let refused = stream.post(&event).await;
        answers.push((refused.status, refused.code()));
    }
    assert_eq!(answers[0], answers[2]);
    assert_eq!(answers[1], answers[2]);
    let stranger = Somebody::new(&node, "sten", "member").await;
    for path in ["/api/v1/schemas?limit=1000", "/api/v1/schemas/strmprivacy/example/1.5.0"] {
        assert!(
            node.admin(Method::GET, path, &Value::Null).await.text().contains("acme/hidden"),
            "it is there"
        );
        assert!(!stranger.get(path).await.text().contains("acme/hidden"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_revoked_while_its_request_is_coming_in_makes_nothing() {
    let node = Node::start().await;
    let thief = Somebody::new(&node, "ada", "member").await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let parts = futures_util::stream::unfold(receiver, async |mut parts| Some((parts.recv().await?, parts)));
    let request = reqwest::Client::new()
        .post(format!("{}/api/v1/principals/ada/tokens", node.url()))
        .bearer_auth(&thief.token)
        .body(reqwest::Body::wrap_stream(parts.boxed()));
    sender.send(Ok(Bytes::from_static(b"{\"name\":"))).await.unwrap();
    let answer = tokio::spawn(request.send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let revoked = node.admin(Method::DELETE, "/api/v1/principals/ada/tokens", &Value::Null).await;
    assert_eq!(revoked.status, 204);
    sender.send(Ok(Bytes::from_static(b"\"late\"}"))).await.unwrap();
    drop(sender);
    assert_eq!(answer.await.unwrap().unwrap().status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_type_of_every_problem_leads_to_its_page() {
    let node = Node::start().await;
    let problem = node.get("/api/v1/streams").await.json();
    assert_eq!(problem["type"], "/problems/api_token_missing");
    for code in sluice::http::CODES {
        let page = node.get(&format!("/problems/{code}")).await;
        assert_eq!(page.status, 200, "{code}");
        assert!(page.text().contains(code), "{code}");
    }
    assert_eq!(node.get("/problems/no_such_code").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_thousands_of_patterns_is_refused_at_once() {
    let node = Node::start().await;
    let member = Somebody::new(&node, "mia", "member").await;
    let patterns: Vec<Value> = (0..5_000).map(|n| json!({"pattern": format!("[a-c]{{20000}}{n}")})).collect();
    let schema = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
        "properties": {"session": {"type": "string"}, "strmMeta": {"type": "object", "properties": {
            "eventContractRef": {"type": "string"}, "consentLevels": {"type": "array", "items": {"type": "integer"}}}}},
        "anyOf": patterns});
    let body = draft("acme/many/1.0.0", &schema, &json!({"keyField": "session"}));
    let begun = std::time::Instant::now();
    let refused = member.call(Method::POST, "/api/v1/contracts/check", &body).await;
    assert!(refused.text().contains("patterns"), "{}", refused.text());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
