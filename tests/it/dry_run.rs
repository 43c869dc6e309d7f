//! Dry runs: what would become of an event, and of a stream's traffic under another contract.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sluice::clock::{Clock, DAY_MS, Timestamp};

use crate::harness::{Answer, Api, EXAMPLE, Node, PATIENCE, avro, planted, planted_opened};

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
    assert_eq!(anonymous.code(), "api_token_missing");
}

const CHECK: &str = "/api/v1/contracts/check";

fn example_schema() -> Value {
    serde_json::from_str(include_str!("../../catalogue/schemas/strmprivacy-example-1.5.0.json")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_is_checked_as_its_creation_would_and_nothing_is_made() {
    let node = Node::start().await;
    let check = async |contract: Value| {
        let body = json!({"ref": "acme/xx/1.0.0", "schema": example_schema().to_string(),
            "contract": contract.to_string()});
        node.admin(Method::POST, CHECK, &body).await
    };
    let good = check(json!({"keyField": "consistentValue",
        "validations": [{"field": "consistentValue", "type": "regex", "value": "^(yes|no)$"}],
        "piiFields": {"consistentValue": 1, "uniqueIdentifier": 2}}))
    .await;
    assert_eq!((good.status, &good.json()["valid"]), (200, &json!(true)), "{}", good.text());
    let warnings = good.json()["warnings"].to_string();
    assert!(warnings.contains("consistentValue: takes only a few different values"), "{warnings}");
    assert!(warnings.contains("share one"), "{warnings}");
    let quiet = check(json!({"keyField": "consistentValue", "piiFields": {"consistentValue": 1}})).await;
    assert_eq!(quiet.json()["warnings"], json!([]));
    let siv = check(json!({"keyField": "consistentValue", "cipherSuite": "AES256_SIV",
        "piiFields": {"consistentValue": 1, "uniqueIdentifier": 1}}))
    .await;
    assert!(siv.json()["warnings"].to_string().contains("empty equality class"), "{}", siv.text());
    assert_eq!(check(json!({"keyField": "nowhere"})).await.code(), "contract_invalid");
    assert_eq!(check(json!({"keyField": "consistentValue", "what": 1})).await.code(), "contract_invalid");
    let listed = node.admin(Method::GET, "/api/v1/contracts?handle=acme", &Value::Null).await.json();
    assert_eq!(listed["contracts"], json!([]));
    assert_eq!(node.admin(Method::GET, "/api/v1/schemas/acme/xx/1.0.0", &Value::Null).await.status, 404);
    let body = json!({"contract": "{}", "last_s": 0});
    assert_eq!(node.admin(Method::POST, CHECK, &body).await.code(), "parameter_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_counts_what_recent_traffic_would_have_been_refused_for() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let derived = node.derive(&stream, &[1]).await;
    let masks = json!([{"ref": EXAMPLE, "fields": ["notSensitiveValue"]}]);
    node.make_stream(
        json!({"name": "masked", "derivedFrom": "clicks", "purposes": [2], "maskedFields": masks}),
    )
    .await;
    let marker = node.canary.plant_opened();
    let events: [(&[i32], &str); 6] = [
        (&[1], "short"),
        (&[1, 2], &marker),
        (&[2], "short"),
        (&[1], &marker),
        (&[0], "short"),
        (&[], &marker),
    ];
    for (consent, sensitive) in events {
        let mut event = crate::harness::planted_opened(&node.canary, consent);
        event["someSensitiveValue"] = json!(sensitive);
        stream.accept(&event).await;
    }
    derived.read_until(3).await;
    let check = async |contract: Value, more: Value| {
        let mut body = json!({"schema": example_schema().to_string(), "contract": contract.to_string(),
            "against": "clicks"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        node.admin(Method::POST, CHECK, &body).await
    };
    // The value is sealed in the log: that "short" is told from the marker shows that it was opened.
    let strict = json!({"keyField": "consistentValue", "piiFields": {"someSensitiveValue": 3},
        "validations": [{"field": "someSensitiveValue", "type": "regex", "value": ".{6,}"}]});
    let answer = check(strict.clone(), json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let traffic = &answer.json()["traffic"];
    assert_eq!(
        (&traffic["events"], &traffic["checked"], &traffic["wouldRefuse"]),
        (&json!(6), &json!(4), &json!(2))
    );
    assert_eq!(traffic["notChecked"]["noConsent"], 2, "no key opens what nobody consented to");
    assert_eq!(
        traffic["refusals"],
        json!([{"rule": "regex .{6,}", "field": "someSensitiveValue", "count": 2}])
    );
    assert_eq!(
        traffic["derived"],
        json!([
            {"stream": "clicks-1", "gained": 0, "lost": 1, "unmasked": 0},
            {"stream": "masked", "gained": 0, "lost": 1, "unmasked": 1}
        ])
    );

    // Another schema, without one of the fields: every event has a value for it.
    let mut fields = example_schema();
    fields["fields"].as_array_mut().unwrap().retain(|field| field["name"] != "notSensitiveValue");
    let narrow = json!({"keyField": "consistentValue"});
    let answer = check(narrow.clone(), json!({"schema": fields.to_string()})).await;
    let traffic = &answer.json()["traffic"];
    assert_eq!(
        (&traffic["refusals"][0]["rule"], &traffic["wouldRefuse"]),
        (&json!("field_unknown"), &json!(4))
    );

    let other = check(narrow.clone(), json!({"ref": "acme/other/1.0.0"})).await.json();
    assert_eq!(other["traffic"]["notChecked"]["otherContract"], 6);
    let audited = node.admin(Method::GET, "/api/v1/audit/entries?action=traffic_checked", &Value::Null).await;
    let audited = audited.json();
    assert_eq!(audited["entries"].as_array().unwrap().len(), 3, "one before each look at the traffic");
    assert_eq!(audited["entries"][0]["action"]["stream"], "clicks");
    assert_eq!(check(narrow.clone(), json!({"against": "clicks-1"})).await.code(), "stream_is_derived");
    assert_eq!(check(narrow, json!({"against": "nowhere"})).await.code(), "stream_unknown");
    assert!(!answer.text().contains(&marker));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_looks_back_no_further_than_asked() {
    let clock = sluice::clock::Clock::manual(sluice::clock::Timestamp(1_800_000_000_000));
    let node = Node::start_with(clock.clone(), |_| {}).await;
    let stream = node.create_stream("clicks").await;
    for _ in 0..5 {
        stream.accept(&planted(&node.canary, &[1])).await;
        clock.turn(600_000);
    }
    let contract = json!({"keyField": "consistentValue"}).to_string();
    for (last_s, events) in [(601, 1), (1300, 2), (86_400, 5)] {
        let body = json!({"schema": example_schema().to_string(), "contract": contract, "against": "clicks",
            "last_s": last_s});
        let answer = node.admin(Method::POST, CHECK, &body).await;
        assert_eq!(answer.json()["traffic"]["events"], events, "{}", answer.text());
    }
}

/// A check whose contract looks at a sealed field.
fn strict(last_s: u32) -> Value {
    let contract = json!({"keyField": "consistentValue", "piiFields": {"someSensitiveValue": 3},
        "validations": [{"field": "someSensitiveValue", "type": "regex", "value": ".{6,}"}]});
    json!({"schema": example_schema().to_string(), "contract": contract.to_string(), "against": "clicks",
        "last_s": last_s})
}

const WEEK_S: u32 = 604_800;

#[tokio::test(flavor = "multi_thread")]
async fn a_check_counts_events_whose_key_is_destroyed_and_goes_on_with_the_others() {
    let clock = Clock::manual(Timestamp(20_000 * DAY_MS + 36_000_000));
    let node = Node::start_with(clock.clone(), |config| config.tokens.access_s = 2_000_000).await;
    let policy = json!({"name": "day", "retentionDays": 1, "legalGround": "law"});
    assert_eq!(node.admin(Method::POST, "/api/v1/policies", &policy).await.status, 201);
    assert_eq!(node.admin(Method::POST, "/api/v1/policies/day/activate", &Value::Null).await.status, 200);
    let stream = node.make_stream(json!({"name": "clicks", "policy": "day", "retentionDays": 7})).await;
    for _ in 0..3 {
        stream.accept(&planted(&node.canary, &[1])).await;
    }
    let check = async || node.admin(Method::POST, CHECK, &strict(WEEK_S)).await.json()["traffic"].clone();
    let before = check().await;
    assert_eq!((&before["checked"], &before["notChecked"]["keyGone"]), (&json!(3), &json!(0)));
    clock.turn(DAY_MS + 1);
    let begun = Instant::now();
    let destroyed = "/api/v1/audit/entries?action=keys_destroyed";
    while node.admin(Method::GET, destroyed, &Value::Null).await.json()["entries"] == json!([]) {
        assert!(begun.elapsed() < PATIENCE);
        node.server().ring_janitor();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..2 {
        stream.accept(&planted(&node.canary, &[1])).await;
    }
    let begun = Instant::now();
    let after = loop {
        let after = check().await;
        if after["notChecked"]["keyGone"] == 3 || begun.elapsed() > PATIENCE {
            break after;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(
        (&after["events"], &after["checked"], &after["notChecked"]["keyGone"]),
        (&json!(5), &json!(2), &json!(3)),
        "{after}"
    );
}

/// Six events of 400 kB: three pages of a check.
async fn large(node: &Node, stream: &crate::harness::Stream) {
    for _ in 0..6 {
        let mut event = planted(&node.canary, &[1]);
        event["notSensitiveValue"] = json!("x".repeat(400_000));
        stream.accept(&event).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_keeps_to_its_bounds_and_says_that_it_saw_a_part() {
    let slow = Duration::from_millis(1_200);
    let node = Node::start_tuned(
        |config| {
            config.streams.check_events_max = 4;
            config.streams.check_s = 1;
        },
        move |mut storage| {
            storage.log = crate::audit::TroubledLog::slow(&storage.log, slow);
            storage
        },
    )
    .await;
    let stream = node.create_stream("clicks").await;
    large(&node, &stream).await;
    for (last_s, status) in [(0, 400), (WEEK_S + 1, 400), (WEEK_S, 200)] {
        let answer = node.admin(Method::POST, CHECK, &strict(last_s)).await;
        assert_eq!(answer.status, status, "{last_s}: {}", answer.text());
    }
    let begun = Instant::now();
    let report = node.admin(Method::POST, CHECK, &strict(60)).await.json()["traffic"].clone();
    assert_eq!(report["partial"], true, "{report}");
    let events = report["events"].as_u64().unwrap();
    assert!((1..4).contains(&events), "four are the most, and the time was over before: {report}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(stream.read().await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_run_one_after_another_and_events_are_taken_meanwhile() {
    let slow = Duration::from_millis(6_500);
    let node = Node::start_tuned(
        |_| {},
        move |mut storage| {
            storage.log = crate::audit::TroubledLog::slow(&storage.log, slow);
            storage
        },
    )
    .await;
    let stream = node.create_stream("clicks").await;
    let derived = node.derive(&stream, &[1]).await;
    stream.accept(&planted_opened(&node.canary, &[1])).await;
    let check = || {
        let api = std::sync::Arc::clone(&node);
        tokio::spawn(async move { api.admin(Method::POST, CHECK, &strict(60)).await })
    };
    let (one, other) = (check(), check());
    let (mut slowest, mut taken) = (Duration::ZERO, 1);
    while !(one.is_finished() && other.is_finished()) {
        let begun = Instant::now();
        stream.accept(&planted_opened(&node.canary, &[1])).await;
        (slowest, taken) = (slowest.max(begun.elapsed()), taken + 1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(taken > 50 && slowest < Duration::from_secs(3), "{taken} events, the slowest took {slowest:?}");
    derived.read_until(taken).await;
    let mut answers = [one.await.unwrap(), other.await.unwrap()];
    answers.sort_by_key(|answer| answer.status);
    assert_eq!(answers[0].status, 200, "{}", answers[0].text());
    assert_eq!((answers[1].status, answers[1].code().as_str()), (503, "overloaded"), "{}", answers[1].text());
    assert_eq!(answers[1].header("retry-after"), "5");
}
