//! Lists in pages: every list of the control plane, page by page and by the command line.

use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Node;

async fn make(node: &Node, path: &str, body: Value) {
    let answer = node.admin(Method::POST, path, &body).await;
    assert_eq!(answer.status, 201, "{path}: {}", answer.text());
}

/// A node with some of everything that is listed.
async fn furnished() -> Node {
    let node = Node::start().await;
    node.create_stream("clicks").await;
    make(&node, "/api/v1/projects", json!({ "name": "shop" })).await;
    for number in 0..5 {
        let id = format!("robot-{number}");
        make(&node, "/api/v1/principals", json!({ "id": id, "kind": "service_account" })).await;
        make(&node, "/api/v1/principals/robot-0/tokens", json!({ "name": id })).await;
        make(&node, "/api/v1/streams/clicks/grants", json!({ "principal": id })).await;
        make(&node, "/api/v1/streams/clicks/credentials", json!({})).await;
        make(&node, "/api/v1/projects", json!({ "name": format!("shop-{number}") })).await;
        make(&node, "/api/v1/purposes", json!({ "name": format!("use {number}"), "level": 8 + number }))
            .await;
        let policy = json!({ "name": format!("keep {number}"), "retentionDays": 30 });
        make(&node, "/api/v1/policies", policy).await;
        let member = format!("/api/v1/projects/shop/members/{id}");
        let answer = node.admin(Method::PUT, &member, &json!({ "role": "member" })).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    node
}

/// Path, the name of the list in the answer, and what tells its entries apart.
const LISTS: &[(&str, &str, &str)] = &[
    ("/api/v1/streams/clicks/credentials", "credentials", "clientId"),
    ("/api/v1/streams/clicks/grants", "grants", "principal"),
    ("/api/v1/principals", "principals", "id"),
    ("/api/v1/principals/robot-0/tokens", "tokens", "id"),
    ("/api/v1/projects", "projects", "name"),
    ("/api/v1/projects/shop/members", "members", "id"),
    ("/api/v1/purposes", "purposes", "level"),
    ("/api/v1/policies", "policies", "name"),
];

async fn get(node: &Node, path: &str, query: &str) -> Value {
    let answer = node.admin(Method::GET, &format!("{path}?{query}"), &Value::Null).await;
    assert_eq!(answer.status, 200, "{path}?{query}: {}", answer.text());
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_comes_whole_and_in_the_same_order_page_by_page() {
    let node = furnished().await;
    for (path, key, id) in LISTS {
        let ids = |answer: &Value| -> Vec<Value> {
            answer[key].as_array().unwrap().iter().map(|entry| entry[id].clone()).collect()
        };
        let whole = get(&node, path, "").await;
        assert!(whole.get("nextPageToken").is_none(), "{path}");
        let whole = ids(&whole);
        assert!(whole.len() >= 5 && !whole.contains(&Value::Null), "{path}: {whole:?}");
        let mut query = "limit=2".to_owned();
        let mut paged = Vec::new();
        loop {
            let answer = get(&node, path, &query).await;
            let page = ids(&answer);
            assert!((1..=2).contains(&page.len()), "{path}: {page:?}");
            paged.extend(page);
            let Some(token) = answer["nextPageToken"].as_str() else { break };
            assert!(paged.len() < whole.len(), "{path}: there is no end of pages");
            query = format!("limit=2&pageToken={token}");
        }
        assert_eq!(paged, whole, "{path}");
        for wrong in ["limit=0", "limit=1001", "limit=x", "pageToken=%25", "page=2"] {
            let refused = node.admin(Method::GET, &format!("{path}?{wrong}"), &Value::Null).await;
            assert_eq!(
                (refused.status, refused.code().as_str()),
                (400, "parameter_invalid"),
                "{path}?{wrong}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_puts_pages_together() {
    let node = Node::start().await;
    for number in 0..230 {
        let body = json!({ "id": format!("robot-{number:03}"), "kind": "service_account" });
        make(&node, "/api/v1/principals", body).await;
    }
    make(&node, "/api/v1/principals", json!({ "id": "ann", "kind": "user" })).await;
    let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["list", "service-accounts", "-o", "json"])
        .env("SLUICE_SERVER", node.url())
        .env("SLUICE_TOKEN_FILE", node.data_dir().join("admin.token"))
        .env("SLUICE_HOME", node.data_dir().with_extension("home"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ids: Vec<_> = listed["principals"].as_array().unwrap().iter().map(|p| p["id"].clone()).collect();
    let made: Vec<_> = (0..230).map(|number| json!(format!("robot-{number:03}"))).collect();
    assert_eq!(ids, made);
}
