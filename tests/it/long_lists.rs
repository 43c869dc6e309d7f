//! Lists of a million entries in the documents of the control plane: refused with a code, soon, in little memory.

use std::{time::Duration, time::Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, ChildNode};

/// Memory may grow by this while such a list is refused: the body itself, four times over.
const GROWTH_BYTES: u64 = 160 << 20;

fn million(entry: &str) -> String {
    format!("[{}{entry}]", format!("{entry},").repeat(999_999))
}

async fn send(node: &ChildNode, method: Method, path: &str, body: String) -> Answer {
    let authorization = format!("Bearer {}", node.admin);
    let headers = [("authorization", &*authorization)];
    node.try_send(method, path, &headers, body.into_bytes())
        .await
        .expect("an answer, and not a cut connection")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_a_million_entries_is_refused_with_a_code_soon_and_in_little_memory() {
    let node = ChildNode::start(&[]).await;
    let schema = crate::drivers::visit_schema().to_string();
    let made = send(&node, Method::POST, "/api/v1/streams", json!({ "name": "clicks" }).to_string()).await;
    assert_eq!(made.status, 201);
    let contract = |list: &str, entry: &str| {
        let contract = format!(r#"{{"keyField":"consistentValue","{list}":{}}}"#, million(entry));
        json!({ "ref": "acme/visit/1.0.0", "schema": schema, "contract": contract }).to_string()
    };
    let fields = million(r#"{"name":"a","type":"string"}"#);
    let wide = format!(r#"{{"type":"record","name":"A","fields":{fields}}}"#);
    let wide =
        json!({ "ref": "acme/wide/1.0.0", "schema": wide, "contract": r#"{"keyField":"a"}"# }).to_string();
    let streams = "/api/v1/streams";
    let derived = |more: String| format!(r#"{{"name":"some","derivedFrom":"clicks",{more}}}"#);
    let masks = format!(r#""purposes":[1],"maskedFields":{}"#, million(r#"{"ref":"a/b/1.0.0","fields":[]}"#));
    let masked = format!(
        r#""purposes":[1],"maskedFields":[{{"ref":"acme/visit/1.0.0","fields":{}}}]"#,
        million(r#""a""#)
    );
    let bodies = [
        (Method::POST, streams, format!(r#"{{"name":"some","tags":{}}}"#, million(r#""a""#))),
        (Method::PATCH, "/api/v1/streams/clicks", format!(r#"{{"tags":{}}}"#, million(r#""a""#))),
        (Method::POST, streams, derived(format!(r#""purposes":{}"#, million("1")))),
        (Method::POST, streams, derived(format!(r#""purposes":{}"#, million(r#""ads""#)))),
        (Method::POST, streams, derived(masks)),
        (Method::POST, streams, derived(masked)),
        (Method::POST, "/api/v1/contracts", contract("piiFields", "1")),
        (Method::POST, "/api/v1/contracts", contract("validations", "1")),
        (Method::POST, "/api/v1/contracts/check", contract("otherSchemaRefs", r#""a/b/1""#)),
        (Method::POST, "/api/v1/contracts", wide),
        (
            Method::POST,
            "/api/v1/principals",
            format!(r#"{{"id":"a1","kind":"user","role":{}}}"#, million(r#""admin""#)),
        ),
        (Method::POST, "/api/v1/projects", format!(r#"{{"name":"alpha","members":{}}}"#, million(r#""a""#))),
        (
            Method::PUT,
            "/api/v1/projects/default/members/somebody",
            format!(r#"{{"role":{}}}"#, million(r#""member""#)),
        ),
        (Method::POST, "/api/v1/purposes", million("1")),
        (Method::POST, "/api/v1/policies", format!(r#"{{"name":"p","retentionDays":{}}}"#, million("1"))),
    ];
    let before = node.resident_bytes();
    for (method, path, body) in bodies {
        let (begun, bytes) = (Instant::now(), body.len());
        let answer = send(&node, method.clone(), path, body).await;
        let told: Value = answer.json();
        assert!((400..500).contains(&answer.status), "{method} {path}: {told}");
        assert!(
            !answer.code().is_empty() && answer.body.len() < 2000,
            "{method} {path}: {} bytes",
            answer.body.len()
        );
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{method} {path}, {bytes} bytes: {:?}",
            begun.elapsed()
        );
    }
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES, "{grown} bytes");
    assert_eq!(
        send(&node, Method::GET, "/api/v1/streams", String::new()).await.json()["streams"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn very_long_names_are_refused_with_a_code() {
    let node = ChildNode::start(&[]).await;
    for long in ["a".repeat(101), "a".repeat(4000), "%2e".repeat(1000), "é".repeat(500)] {
        for route in ["streams", "principals", "projects", "policies"] {
            let answer = send(&node, Method::GET, &format!("/api/v1/{route}/{long}"), String::new()).await;
            assert_eq!(answer.status, 404, "{route}: {}", answer.text());
            assert!(!answer.code().is_empty());
        }
        let made = send(&node, Method::POST, "/api/v1/streams", json!({ "name": long }).to_string()).await;
        assert_eq!((made.status, made.code().as_str()), (400, "body_invalid"));
    }
}
