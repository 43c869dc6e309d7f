//! Dry runs: what would become of an event, and of a stream's traffic under another contract.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, EXAMPLE, Node, avro, planted};

async fn explain(api: &Api, stream: &str, schema: &str, body: Vec<u8>) -> Answer {
    let authorization = format!("Bearer {}", api.admin);
    let headers = [("authorization", authorization.as_str()), ("strm-schema-ref", schema)];
    api.send(Method::POST, &format!("/api/v1/streams/{stream}/explain"), &headers, body).await
}

fn field<'a>(view: &'a Value, path: &str) -> &'a Value {
    view["fields"].as_array().unwrap().iter().find(|field| field["path"] == path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_says_what_each_derived_stream_would_see_and_why() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    for purposes in [&[1][..], &[1, 3], &[7]] {
        node.derive(&stream, purposes).await;
    }
    let masks = json!([{"ref": EXAMPLE, "fields": ["someSensitiveValue", "notSensitiveValue"]}]);
    node.make_stream(json!({"name": "up", "derivedFrom": "clicks", "purposes": [3], "cumulative": true,
        "maskedFields": masks}))
        .await;
    let event = planted(&node.canary, &[1, 2, 3]);
    let said = explain(&node, "clicks", EXAMPLE, event.to_string().into_bytes()).await.json();
    assert_eq!((&said["accepted"], &said["consents"]), (&json!(true), &json!(true)));
    assert_eq!(said["contract"], EXAMPLE);
    let views = said["derived"].as_array().unwrap();
    let names: Vec<_> = views.iter().map(|view| view["stream"].as_str().unwrap()).collect();
    assert_eq!(names, ["clicks-1", "clicks-1-3", "clicks-7", "up"]);
    assert_eq!(views[0]["passes"], true);
    assert_eq!(field(&views[0], "uniqueIdentifier")["shown"], "open");
    let sealed = field(&views[0], "someSensitiveValue");
    assert_eq!((&sealed["shown"], &sealed["whySealed"]), (&json!("sealed"), &json!("level_not_asked")));
    assert_eq!(field(&views[1], "someSensitiveValue")["shown"], "open");
    assert_eq!(views[2]["whyNot"], "consent_missing");
    assert_eq!((&views[2]["levelsMissing"], &views[2]["unknownPurposes"]), (&json!([7]), &json!([7])));
    assert_eq!(field(&views[3], "someSensitiveValue")["shown"], "masked");
    assert_eq!(field(&views[3], "notSensitiveValue")["shown"], "masked");
    assert_eq!(field(&views[3], "uniqueIdentifier")["shown"], "open");

    let none = planted(&node.canary, &[0]);
    let said = explain(&node, "clicks", EXAMPLE, none.to_string().into_bytes()).await.json();
    assert_eq!((&said["accepted"], &said["consents"]), (&json!(true), &json!(false)));
    assert!(said["derived"].as_array().unwrap().iter().all(|view| view["whyNot"] == "no_consent"));

    let binary = avro(EXAMPLE, &[1], [None, Some("session"), None, None]);
    let said = explain(&node, "clicks", EXAMPLE, binary).await.json();
    assert_eq!(field(&said["derived"][0], "uniqueIdentifier")["present"], false);
    assert_eq!(said["derived"][1]["levelsMissing"], json!([3]));

    assert_eq!(stream.read().await.len(), 0, "nothing is stored");
}

/// What is explained is what then happens.
#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_agrees_with_what_happens() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let derived = [node.derive(&stream, &[1]).await, node.derive(&stream, &[2, 3]).await];
    let mut expected = [0, 0];
    for consent in [&[][..], &[0], &[1], &[2, 3], &[1, 2, 3], &[9]] {
        let event = crate::harness::planted_opened(&node.canary, consent);
        let said = explain(&node, "clicks", EXAMPLE, event.to_string().into_bytes()).await.json();
        for (at, count) in expected.iter_mut().enumerate() {
            *count += usize::from(said["derived"][at]["passes"] == true);
        }
        stream.accept(&event).await;
    }
    assert_eq!(expected, [2, 2]);
    for (derived, count) in derived.iter().zip(expected) {
        derived.read_until(count).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_says_which_rule_refuses_an_event_and_no_value_of_it() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let derived = node.derive(&stream, &[1]).await;
    let reference = "acme/strict/1.0.0";
    let schema = crate::contracts::schema(&json!([{"name": "session", "type": "string"},
        {"name": "mail", "type": "string"}]));
    let contract = json!({"keyField": "session", "piiFields": {"mail": 1},
        "validations": [{"field": "mail", "type": "regex", "value": ".+@.+"}]});
    let draft = crate::contracts::draft(reference, &schema, &contract);
    assert_eq!(node.admin(Method::POST, "/api/v1/contracts", &draft).await.status, 201);
    let event = |mail: &str| {
        json!({"strmMeta": {"eventContractRef": reference, "consentLevels": [1]}, "session": node.canary.plant(),
            "mail": mail})
    };
    let refusal = async |name: &str, schema: &str, body: Value| {
        explain(&node, name, schema, body.to_string().into_bytes()).await.json()
    };
    let draft = refusal("clicks", reference, event("a@b")).await;
    assert_eq!(draft["refusal"]["code"], "contract_not_active");
    assert_eq!(draft["derived"][0]["whyNot"], "event_refused");
    node.admin(Method::POST, &format!("/api/v1/contracts/{reference}/activate"), &Value::Null).await;

    let invalid = refusal("clicks", reference, event(&node.canary.plant())).await;
    assert_eq!(invalid["accepted"], false);
    assert_eq!(invalid["refusal"]["code"], "validation_failed");
    assert_eq!(
        (&invalid["refusal"]["field"], &invalid["refusal"]["rule"]),
        (&json!("mail"), &json!("regex .+@.+"))
    );
    let mut more = event("a@b");
    more["extra"] = json!(node.canary.plant());
    assert_eq!(refusal("clicks", reference, more).await["refusal"]["code"], "field_unknown");
    assert_eq!(
        refusal("clicks", "acme/other/1.0.0", event("a@b")).await["refusal"]["code"],
        "schema_unknown"
    );
    assert_eq!(refusal(&derived.name, reference, event("a@b")).await["refusal"]["code"], "stream_is_derived");
    assert_eq!(refusal("nowhere", reference, event("a@b")).await["code"], "stream_unknown");
    let path = "/api/v1/streams/clicks/explain";
    assert_eq!(node.admin(Method::POST, path, &json!({})).await.code(), "schema_header_missing");
    let headers = [("strm-schema-ref", reference)];
    let anonymous = node.send(Method::POST, path, &headers, b"{}".to_vec()).await;
    assert_eq!(anonymous.code(), "admin_token_missing");
}
