//! The OpenAPI document: that it is the committed one, and that it describes the routes there are.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use crate::{
    access_sweep::all_routes,
    harness::{Node, people::Somebody, python},
};

/// The document as the server gives it.
pub async fn served(node: &Node) -> String {
    let answer = node.admin(Method::GET, "/api/v1/openapi.json", &Value::Null).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    answer.text()
}

fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &'_ Value)| -> Vec<(String, String)> {
        item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())).collect()
    };
    let all = paths.iter().flat_map(of);
    all.map(|(method, path)| {
        let operation = &document["paths"][&path][method.to_lowercase()];
        (method, path, operation)
    })
    .collect()
}

/// `SLUICE_RENEW=1 scripts/test --test it openapi::` writes the document anew.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_the_one_that_is_committed() {
    let node = Node::start().await;
    let served = served(&node).await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    if std::env::var_os("SLUICE_RENEW").is_some() {
        std::fs::write(path, &served).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(served == committed, "docs/openapi.json is not what is served: renew it with SLUICE_RENEW=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_described_and_nothing_else_is() {
    let node = Node::start().await;
    let document: Value = serde_json::from_str(&served(&node).await).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let described: BTreeSet<_> =
        operations(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
    let routed: BTreeSet<_> = all_routes().into_iter().collect();
    assert!(routed.len() > 60, "the list of routes could not be read: {routed:?}");
    assert_eq!(described, routed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_says_who_may_call_it_what_it_answers_and_how_it_refuses() {
    let node = Node::start().await;
    let document: Value = serde_json::from_str(&served(&node).await).unwrap();
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{name} twice");
        assert!(operation["summary"].is_string(), "{method} {path} says nothing");
        let holes = path.matches('{').count();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let places = |place: &str| parameters.iter().filter(|p| p["in"] == place).count();
        assert_eq!(places("path"), holes, "{method} {path}: {parameters:?}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.as_str() < "300"), "{method} {path}");
        if path.starts_with("/api/v1/") {
            for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
                let shared = response["$ref"].as_str().unwrap().trim_start_matches('#');
                let response = document.pointer(shared).unwrap();
                let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
            }
            let always = ["400", "401", "429", "503"];
            assert!(always.iter().all(|status| responses.contains_key(*status)), "{method} {path}");
            assert_eq!(
                operation.get("requestBody").is_some(),
                responses.contains_key("413"),
                "{method} {path}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_the_document_refers_to_is_in_it() {
    let node = Node::start().await;
    let text = served(&node).await;
    let document: Value = serde_json::from_str(&text).unwrap();
    let references: BTreeSet<_> =
        text.split("\"$ref\": \"#").skip(1).map(|rest| rest.split('"').next()).collect();
    assert!(references.len() > 50, "{references:?}");
    for reference in references {
        assert!(document.pointer(reference.unwrap()).is_some(), "{reference:?}");
    }
}

/// Schemathesis sends what the document allows and what it forbids, and compares every answer with it. A fixed seed:
/// what is found once is found again. One worker: two of them trip over each other in Hypothesis.
async fn attack(node: &Node, token: &str, phases: &str, examples: u32) {
    let text = served(node).await;
    let document: Value = serde_json::from_str(&text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("openapi.json"), &text).unwrap();
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,\
                  response_schema_conformance,negative_data_rejection";
    let mut attack = std::process::Command::new(python());
    attack
        .current_dir(&folder)
        .env("NO_COLOR", "1")
        .args(["-c", "from schemathesis.cli import schemathesis; schemathesis()", "run", "openapi.json"])
        .args(["--url", &node.base, "-H", &format!("Authorization: Bearer {token}")])
        .args(["--checks", checks, "--phases", phases, "--seed", "7", "--workers", "1", "--no-shrink"])
        .args(["--max-examples", &examples.to_string(), "--request-timeout", "30"])
        .args(["--suppress-health-check", "all", "--continue-on-failure", "--warnings", "off"]);
    let run = tokio::task::spawn_blocking(move || attack.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    let tested = format!("Tested: {}\n", operations(&document).len());
    assert!(said.contains(&tested), "not every operation was tested: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_with_an_admins_token() {
    let node = Node::start().await;
    node.create_stream("clicks").await;
    attack(&node, &node.admin, "coverage,fuzzing", 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_with_a_members_token() {
    let node = Node::start().await;
    node.create_stream("clicks").await;
    let member = Somebody::in_project(&node, "member", "default", "member").await;
    attack(&node, &member.token, "fuzzing", 5).await;
}
