//! Everything that is refused: by which code and status, with nothing stored, and with the process unimpressed.

use std::{io::Write, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use sluice::{
    clock::{Clock, Timestamp},
    crypto::{Claims, MasterKey, SigningKey, TokenKind},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    drivers::{VISIT, visit_schema},
    harness::{
        Answer, Api, ChildNode, EXAMPLE, Node, Stream, TOKEN_PATH, avro, avro_long, avro_text, canary, event,
        planted,
    },
    reading::container_by_hand,
};

const CLICKSTREAM: &str = "strmprivacy/clickstream/1.0.0";
/// Memory that a node may take beyond what it has at rest, whatever it is sent.
const GROWTH_BYTES_MAX: u64 = 48 << 20;

/// A stream to which bad things are sent, and what it must hold afterwards.
struct Target {
    stream: Stream,
    held: usize,
}

impl Target {
    /// Demands that `answer` refuses with this status and code, and that nothing was stored.
    async fn refused(&self, what: &str, answer: &Answer, status: u16, code: &str) {
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}");
        assert_eq!(self.stream.read().await.len(), self.held, "{what} was stored");
    }

    /// Demands 400 and the code of its row for every body.
    async fn refuses_all(&self, serialization: &str, rows: Vec<(&str, Vec<u8>, &str)>) {
        let declared = [("strm-serialization-type", serialization)];
        let mut others = Vec::new();
        for (what, body, code) in rows {
            let answer = self.stream.post_as(EXAMPLE, body, &declared).await;
            if (answer.status, answer.code().as_str()) != (400, code) {
                others.push(format!("{what}, {code}: {} {}", answer.status, answer.text()));
            }
            assert_eq!(self.stream.read().await.len(), self.held, "{what} was stored");
        }
        assert!(others.is_empty(), "{others:#?}");
    }

    async fn refuses(&self, what: &str, schema: &str, body: impl Into<Vec<u8>>, status: u16, code: &str) {
        let answer = self.stream.post_as(schema, body, &[]).await;
        self.refused(what, &answer, status, code).await;
    }
}

async fn target(api: &std::sync::Arc<Api>) -> Target {
    let stream = api.create_stream("clicks").await;
    stream.accept(&planted(&api.canary, &[1])).await;
    Target { stream, held: 1 }
}

/// The event with one thing changed.
fn with(event: &Value, change: impl FnOnce(&mut Value)) -> String {
    let mut event = event.clone();
    change(&mut event);
    event.to_string()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table, one row a way to be wrong")]
async fn json_events_that_do_not_follow_their_schema_are_refused() {
    let node = ChildNode::start(&[]).await;
    let target = target(&node).await;
    let good = planted(&node.canary, &[1]);
    let secret = node.canary.plant();
    let text = good.to_string();
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", vec![], "meta_missing"),
        ("half", text.as_bytes()[..text.len() / 2].to_vec(), "json_invalid"),
        ("two", format!("{text}{text}").into_bytes(), "json_invalid"),
        ("no object", b"[]".to_vec(), "meta_missing"),
        ("a comma too many", text.replace("\"}", "\",}").into_bytes(), "json_invalid"),
        (
            "not UTF-8",
            text.replace("not-sensitive", "\u{1}").bytes().map(|b| if b == 1 { 0xff } else { b }).collect(),
            "json_invalid",
        ),
        ("a lone surrogate", text.replace("not-sensitive", "\\ud800").into_bytes(), "json_invalid"),
        (
            "a swapped surrogate pair",
            text.replace("not-sensitive", "\\udc00\\ud800").into_bytes(),
            "json_invalid",
        ),
        ("a control character", text.replace("not-sensitive", "\u{7}").into_bytes(), "json_invalid"),
        ("10,000 deep", format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)).into_bytes(), "meta_missing"),
        (
            "10,000 deep inside",
            text.replace(
                "\"not-sensitive\"",
                &format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000)),
            )
            .into_bytes(),
            "field_type",
        ),
        (
            "a key twice",
            text.replace(
                "\"uniqueIdentifier\"",
                &format!("\"uniqueIdentifier\":\"{secret}\",\"uniqueIdentifier\""),
            )
            .into_bytes(),
            "json_duplicate_key",
        ),
        (
            "an escaped key twice",
            text.replace("\"uniqueIdentifier\"", "\"unique\\u0049dentifier\":null,\"uniqueIdentifier\"")
                .into_bytes(),
            "json_duplicate_key",
        ),
        ("an unknown field", with(&good, |e| e[&secret] = json!(1)).into(), "field_unknown"),
        (
            "no key field",
            with(&good, |e| drop(e.as_object_mut().unwrap().remove("consistentValue"))).into(),
            "field_missing",
        ),
        ("an empty key field", with(&good, |e| e["consistentValue"] = json!("")).into(), "key_field_empty"),
        ("a null key field", with(&good, |e| e["consistentValue"] = json!(null)).into(), "field_type"),
        ("a number for text", with(&good, |e| e["someSensitiveValue"] = json!(7)).into(), "field_type"),
        (
            "text for a list",
            with(&good, |e| e["strmMeta"]["consentLevels"] = json!(secret)).into(),
            "field_type",
        ),
        (
            "a level that is no int",
            with(&good, |e| e["strmMeta"]["consentLevels"] = json!([1.5])).into(),
            "field_type",
        ),
        (
            "a level beyond 32 bits",
            with(&good, |e| e["strmMeta"]["consentLevels"] = json!([1_i64 << 40])).into(),
            "field_type",
        ),
        (
            "too many levels",
            with(&good, |e| e["strmMeta"]["consentLevels"] = json!(vec![1; 51])).into(),
            "consent_too_many",
        ),
        (
            "no meta",
            with(&good, |e| drop(e.as_object_mut().unwrap().remove("strmMeta"))).into(),
            "meta_missing",
        ),
        (
            "no contract",
            with(&good, |e| drop(e["strmMeta"].as_object_mut().unwrap().remove("eventContractRef"))).into(),
            "meta_missing",
        ),
        (
            "a long key",
            with(&good, |e| e["consistentValue"] = json!("x".repeat(70_000))).into(),
            "value_too_long",
        ),
    ];
    target.refuses_all("application/json", rows).await;
    assert_eq!(target.stream.post(&good).await.status, 204, "and a good one is still taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_do_not_follow_their_json_schema_are_refused() {
    let node = ChildNode::start(&[]).await;
    let contract = json!({"keyField": "consistentValue", "piiFields": {
        "uniqueIdentifier": 1, "consistentValue": 2, "someSensitiveValue": 3,
    }});
    node.activate_contract(VISIT, Some(&visit_schema()), &contract).await;
    let stream = node.create_stream("visits").await;
    let good = with(&planted(&node.canary, &[1]), |e| e["strmMeta"]["eventContractRef"] = json!(VISIT));
    let good: Value = serde_json::from_str(&good).unwrap();
    let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let person = node.canary.plant();
    let rows = [
        ("json_too_deep", good.to_string().replace("\"not-sensitive\"", &deep)),
        (
            "json_duplicate_key",
            good.to_string()
                .replace("\"uniqueIdentifier\"", "\"uniqueIdentifier\":null,\"uniqueIdentifier\""),
        ),
        ("key_field_empty", with(&good, |e| e["consistentValue"] = json!(""))),
        ("schema_mismatch", with(&good, |e| e["someSensitiveValue"] = json!([person]))),
        ("schema_mismatch", with(&good, |e| e[&person] = json!(1))),
        ("key_field_empty", with(&good, |e| drop(e.as_object_mut().unwrap().remove("consistentValue")))),
    ];
    for (code, body) in rows {
        let answer = stream.post_as(VISIT, body, &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{}", answer.text());
    }
    assert_eq!(stream.read().await.len(), 0);
    assert_eq!(stream.post_as(VISIT, good.to_string(), &[]).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table, one row a way to be wrong")]
async fn avro_events_that_do_not_follow_their_schema_are_refused() {
    let node = ChildNode::start(&[]).await;
    let target = target(&node).await;
    let (a, b) = (node.canary.plant(), node.canary.plant());
    let good = avro(EXAMPLE, &[1, 2], [Some(&a), Some(&b), None, Some("plain")]);
    let meta = {
        let mut meta = Vec::new();
        avro_text(&mut meta, EXAMPLE);
        meta.extend_from_slice(&[0; 4]);
        meta
    };
    let after_meta = |more: &dyn Fn(&mut Vec<u8>)| {
        let mut body = meta.clone();
        more(&mut body);
        body
    };
    let long = |value| {
        move |body: &mut Vec<u8>| {
            avro_long(body, 0);
            avro_long(body, 1);
            avro_long(body, value);
        }
    };
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a byte too many", [&good[..], b"\0"].concat(), "avro_trailing_bytes"),
        ("twice", [&good[..], &good[..]].concat(), "avro_trailing_bytes"),
        (
            "a union tag of 2",
            after_meta(&|body| {
                avro_long(body, 0);
                avro_long(body, 2)
            }),
            "avro_invalid",
        ),
        (
            "a union tag of -1",
            after_meta(&|body| {
                avro_long(body, 0);
                avro_long(body, -1)
            }),
            "avro_invalid",
        ),
        ("a text of 2^62 bytes", after_meta(&long(1 << 62)), "avro_truncated"),
        ("a text of -1 bytes", after_meta(&long(-1)), "avro_invalid"),
        ("2^62 levels", after_meta(&|body| avro_long(body, 1 << 62)), "avro_truncated"),
        (
            "-2^62 levels",
            after_meta(&|body| {
                avro_long(body, -(1 << 62));
                avro_long(body, 1 << 62)
            }),
            "avro_truncated",
        ),
        ("a number of eleven bytes", after_meta(&|body| body.extend_from_slice(&[0xff; 11])), "avro_invalid"),
        (
            "text that is not UTF-8",
            after_meta(&|body| {
                avro_long(body, 0);
                avro_long(body, 1);
                body.extend_from_slice(&[4, 0xff, 0xfe])
            }),
            "avro_invalid",
        ),
        ("an empty key field", avro(EXAMPLE, &[1], [Some(&a), Some(""), None, None]), "key_field_empty"),
        ("51 levels", avro(EXAMPLE, &[1; 51], [None, Some(&b), None, None]), "consent_too_many"),
    ];
    target.refuses_all("application/x-avro-binary", rows).await;
    for length in 1..good.len() {
        let answer = target.stream.post_as(EXAMPLE, &good[..length], &[]).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "avro_truncated"),
            "cut after {length} bytes"
        );
    }
    assert_eq!(target.stream.read().await.len(), 1);
    assert_eq!(target.stream.post_as(EXAMPLE, good, &[]).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_inactive_schemas_and_contracts_are_refused() {
    let node = ChildNode::start(&[]).await;
    let target = target(&node).await;
    let good = planted(&node.canary, &[1]);
    let naming = |contract: &str| with(&good, |e| e["strmMeta"]["eventContractRef"] = json!(contract));
    for schema in ["no/such/1.0.0", "strmprivacy/example/9.9.9", "nonsense", "a/b/../../c", "\"'<>%00"] {
        target.refuses(schema, schema, good.to_string(), 404, "schema_unknown").await;
    }
    target.refuses("an unknown contract", EXAMPLE, naming("no/such/1.0.0"), 404, "contract_unknown").await;
    target
        .refuses("no reference at all", EXAMPLE, naming(&node.canary.plant()), 404, "contract_unknown")
        .await;

    let schema = include_str!("../data/strmprivacy-example-1.5.0.avsc.json");
    let contract = json!({
        "keyField": "consistentValue",
        "piiFields": {"uniqueIdentifier": 1, "consistentValue": 2, "someSensitiveValue": 3},
    });
    let contract = contract.to_string();
    let request = json!({"ref": "acme/mine/1.0.0", "schema": schema, "contract": contract});
    assert_eq!(node.admin(Method::POST, "/api/v1/contracts", &request).await.status, 201);
    let mine = naming("acme/mine/1.0.0");
    target.refuses("a draft", "acme/mine/1.0.0", mine.clone(), 409, "contract_not_active").await;
    let path = "/api/v1/contracts/acme/mine/1.0.0/activate";
    assert_eq!(node.admin(Method::POST, path, &Value::Null).await.status, 200);
    assert_eq!(target.stream.post_as("acme/mine/1.0.0", mine.clone(), &[]).await.status, 204);
    let path = "/api/v1/contracts/acme/mine/1.0.0/archive";
    assert_eq!(node.admin(Method::POST, path, &Value::Null).await.status, 200);
    let target = Target { held: 2, ..target };
    target.refuses("an archived one", "acme/mine/1.0.0", mine, 409, "contract_not_active").await;
    target
        .refuses("another schema's contract", EXAMPLE, naming(CLICKSTREAM), 400, "contract_schema_unfit")
        .await;

    let authorization = target.stream.authorization();
    let headers = [("authorization", authorization.as_str())];
    let answer = node.send(Method::POST, "/event", &headers, good.to_string().into()).await;
    target.refused("no schema header", &answer, 400, "schema_header_missing").await;
    let answer = target.stream.post_as(EXAMPLE, good.to_string(), &[("strm-schema-ref", EXAMPLE)]).await;
    target.refused("two schema headers", &answer, 400, "header_invalid").await;
    let legacy = [headers[0], ("strm-schema-id", EXAMPLE)];
    assert_eq!(node.send(Method::POST, "/event", &legacy, good.to_string().into()).await.status, 204);
}

/// The original's text, exactly; the value only where it is nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_validation_is_told_in_the_originals_words_and_never_quotes_a_person() {
    let node = ChildNode::start(&[]).await;
    let stream = node.create_stream("clicks").await;
    let click = |url: &str, customer: &str| {
        json!({
            "strmMeta": {"eventContractRef": CLICKSTREAM, "consentLevels": [1]},
            "producerSessionId": node.canary.plant(), "url": url, "eventType": "", "referrer": "",
            "userAgent": "", "conversion": 1, "customer": {"id": customer}, "abTests": [],
        })
    };
    let person = node.canary.plant();
    let answer = stream.post_as(CLICKSTREAM, click("url", &person).to_string(), &[]).await;
    assert_eq!(answer.status, 400);
    assert!(answer.header("content-type").starts_with("text/plain"));
    assert_eq!(
        answer.text(),
        "Field: 'url' in event with schema: 'strmprivacy/clickstream/1.0.0' with value: 'url' doesn't match regex: \
         '^(https?|ftp|file)://[-a-zA-Z0-9+&@#/%?=~_|!:,.;]*[-a-zA-Z0-9+&@#/%=~_|]'"
    );
    let answer = stream.post_as(CLICKSTREAM, click("https://a.b", "").to_string(), &[]).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.text(),
        "Field: 'customer/id' in event with schema: 'strmprivacy/clickstream/1.0.0' doesn't match regex: '^.+$'"
    );
    let two_lines = format!("{}\n{}", node.canary.plant(), node.canary.plant());
    let answer = stream.post_as(CLICKSTREAM, click("https://a.b", &two_lines).to_string(), &[]).await;
    assert_eq!(answer.status, 400, "the whole value must match");
    assert!(!node.canary.is_in(&answer.body), "{}", answer.text());
    assert_eq!(stream.read().await.len(), 0);
    let answer = stream.post_as(CLICKSTREAM, click("https://a.b/c", &person).to_string(), &[]).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// T45 and bodies that are too large, with the memory of the process watched.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_and_compression_bombs_are_refused_in_little_memory() {
    let node = ChildNode::start(&[]).await;
    let target = target(&node).await;
    let before = node.resident_bytes();
    let zeros = vec![b' '; 100 << 20];
    let gzip = |bytes: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    };
    let (bomb, zstd_bomb) = (gzip(&zeros), zstd::encode_all(&zeros[..], 3).unwrap());
    let good = planted(&node.canary, &[1]).to_string();
    let packed = gzip(good.as_bytes());
    let rows: Vec<(&str, &str, Vec<u8>, u16, &str)> = vec![
        ("a gzip bomb", "gzip", bomb.clone(), 413, "body_too_large"),
        ("a zstd bomb", "zstd", zstd_bomb.clone(), 400, "encoding_unknown"),
        ("gzip in gzip", "gzip, gzip", gzip(&bomb), 400, "encoding_unknown"),
        ("many small members", "gzip", gzip(&zeros[..50_000]).repeat(100), 413, "body_too_large"),
        ("brotli", "br", bomb.clone(), 400, "encoding_unknown"),
        ("no gzip", "gzip", good.clone().into_bytes(), 400, "body_badly_packed"),
        ("half a gzip", "gzip", packed[..packed.len() / 2].to_vec(), 400, "body_badly_packed"),
        ("1 MiB and a byte", "identity", zeros[..(1 << 20) + 1].to_vec(), 413, "body_too_large"),
        ("100 MB", "identity", zeros.clone(), 413, "body_too_large"),
    ];
    for (what, encoding, body, status, code) in rows {
        for path in ["/event", "/events"] {
            if path == "/events" && ["many small members", "1 MiB and a byte"].contains(&what) {
                continue;
            }
            // A client that sends on after the refusal may see its connection closed; none may see a success.
            let authorization = target.stream.authorization();
            let headers = [
                ("authorization", authorization.as_str()),
                ("strm-schema-ref", EXAMPLE),
                ("content-encoding", encoding),
            ];
            let answer = node.try_send(Method::POST, path, &headers, body.clone()).await;
            match answer {
                Some(answer) if path == "/event" => target.refused(what, &answer, status, code).await,
                Some(answer) => {
                    assert!((400..500).contains(&answer.status), "{what} at {path}: {}", answer.status)
                }
                None => assert!(body.len() > 10 << 20, "{what}: the connection failed"),
            }
        }
        assert_eq!(target.stream.read().await.len(), 1, "{what}");
        let grown = node.resident_bytes().saturating_sub(before);
        assert!(grown < GROWTH_BYTES_MAX, "{what}: the process grew by {grown} bytes");
    }
    let schema = include_str!("../data/strmprivacy-example-1.5.0.avsc.json");
    for (codec, packed) in [("zstandard", &zstd_bomb), ("deflate", &bomb[10..bomb.len() - 8].to_vec())] {
        let answer = target.stream.post_batch(container_by_hand(schema, codec, 1, packed), "", &[]).await;
        target.refused(codec, &answer, 400, "container_invalid").await;
        let grown = node.resident_bytes().saturating_sub(before);
        assert!(grown < GROWTH_BYTES_MAX, "a {codec} block: the process grew by {grown} bytes");
    }
    endless_body(&target).await;
    let answer = target.stream.post_as(EXAMPLE, packed, &[("content-encoding", "gzip")]).await;
    assert_eq!(answer.status, 204, "a good packed event is taken");
    assert_eq!(node.get("/is-alive").await.status, 200);
}

/// Sends chunks without end; the node must say no after its limit.
async fn endless_body(target: &Target) {
    let host = target.stream.api.base.trim_start_matches("http://");
    let mut tcp = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "POST /event HTTP/1.1\r\nHost: {host}\r\nAuthorization: {}\r\nStrm-Schema-Ref: {EXAMPLE}\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        target.stream.authorization()
    );
    tcp.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 1 << 16], b"\r\n".to_vec()].concat();
    let (mut reading, mut writing) = tcp.into_split();
    let sending = tokio::spawn(async move {
        for _ in 0..1600 {
            if writing.write_all(&chunk).await.is_err() {
                return;
            }
        }
    });
    let mut answer = vec![0; 12];
    let read = tokio::time::timeout(Duration::from_secs(30), reading.read_exact(&mut answer)).await;
    assert!(read.is_ok(), "the node answers before the body ends");
    if read.unwrap().is_ok() {
        assert_eq!(answer, b"HTTP/1.1 413");
    }
    sending.abort();
    assert_eq!(target.stream.read().await.len(), target.held);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_the_right_token_are_refused() {
    let clock = Clock::manual(Timestamp(1_790_000_000_000));
    let (node, foreign) = (Node::start_with(clock.clone(), |_| {}).await, Node::start().await);
    let target = target(&node).await;
    let (stream, other) = (&target.stream, node.create_stream("other").await);
    let derived = node.derive(stream, &[7]).await;
    let foreign = foreign.create_stream("clicks").await;
    let good = planted(&node.canary, &[1]).to_string();
    let post = async |authorization: &str| {
        let headers = [("authorization", authorization), ("strm-schema-ref", EXAMPLE)];
        let sent = if authorization.is_empty() { &headers[1..] } else { &headers };
        let answer = node.send(Method::POST, "/event", sent, good.clone().into()).await;
        let batch = node.send(Method::POST, "/events", sent, good.clone().into()).await;
        assert_eq!((answer.status, answer.code()), (batch.status, batch.code()));
        answer
    };
    let user =
        format!("Basic {}", URL_SAFE_NO_PAD.encode(format!("{}:{}", stream.client_id, stream.client_secret)));
    let rows = [
        ("", 401, "token_missing"),
        (user.as_str(), 401, "token_missing"),
        ("Bearer", 401, "token_missing"),
        ("Bearer x", 401, "token_invalid"),
        (&format!("Bearer {}", stream.client_secret), 401, "token_invalid"),
        (&format!("Bearer {}", node.admin), 401, "token_invalid"),
        (&foreign.authorization(), 401, "token_invalid"),
        (&derived.authorization(), 403, "stream_is_derived"),
    ];
    for (authorization, status, code) in rows {
        let answer = post(authorization).await;
        target.refused(code, &answer, status, code).await;
        assert_eq!(answer.header("www-authenticate").is_empty(), status != 401);
    }
    for (reader, path, status, code) in [
        (&other.authorization(), "/streams/clicks/events", 403, "token_for_other_stream"),
        (&derived.authorization(), "/streams/clicks/events", 403, "token_for_other_stream"),
        (&format!("Bearer {}", node.admin), "/streams/clicks/events", 403, "read_grant_missing"),
        (&stream.authorization(), "/streams/nothing/events", 403, "token_for_other_stream"),
        (&stream.authorization(), "/api/v1/streams", 401, "api_token_invalid"),
    ] {
        let answer = node.send(Method::GET, path, &[("authorization", reader)], Vec::new()).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
    }
    let answer = node.send(Method::POST, TOKEN_PATH, &[], b"grant_type=client_credentials".to_vec()).await;
    assert_eq!(answer.status, 400);
    let deleted = node.create_stream("deleted").await;
    assert_eq!(deleted.post_as(EXAMPLE, good.clone(), &[]).await.status, 204);
    node.admin(Method::DELETE, "/api/v1/streams/deleted", &Value::Null).await;
    assert_eq!(
        post(&deleted.authorization()).await.code(),
        "token_invalid",
        "deleting a stream ends its tokens"
    );

    clock.turn(3_600_000 - 1);
    assert_eq!(stream.post_as(EXAMPLE, good.clone(), &[]).await.status, 204);
    clock.turn(1);
    let target = Target { held: 2, ..target };
    let answer = post(&target.stream.authorization()).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "token_expired"));
    target.stream.log_in().await;
    assert_eq!(target.stream.read().await.len(), 2);
}

/// T49. Tokens that are almost right.
#[tokio::test(flavor = "multi_thread")]
async fn forged_and_twisted_tokens_are_refused_alike() {
    let node = Node::start().await;
    let target = target(&node).await;
    let token = target.stream.token();
    let parts: Vec<&str> = token.split('.').collect();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let decode =
        |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    let (header, claims) = (decode(parts[0]), decode(parts[1]));
    assert_eq!(header["alg"], "EdDSA");
    let mut forged = Vec::new();
    for changed in [
        json!({"alg": "none"}),
        json!({"alg": "None", "typ": "JWT"}),
        json!({"alg": "HS256"}),
        json!({"alg": "RS256"}),
        json!({"alg": "EdDSA", "kid": "../../../../dev/null"}),
        json!({"alg": "EdDSA", "kid": "' or 1=1 --"}),
        json!({"alg": "HS256", "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/"}),
    ] {
        forged.push(format!("{}.{}.", part(changed.clone()), parts[1]));
        forged.push(format!("{}.{}.{}", part(changed), parts[1], parts[2]));
    }
    let jwks = node.get("/auth/realms/streams/protocol/openid-connect/certs").await.json();
    let public = URL_SAFE_NO_PAD.decode(jwks["keys"][0]["x"].as_str().unwrap()).unwrap();
    let signed = format!("{}.{}", part(json!({"alg": "HS256", "kid": header["kid"]})), parts[1]);
    let mac = {
        use hmac::{Hmac, KeyInit, Mac};
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&public).unwrap();
        mac.update(signed.as_bytes());
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    };
    forged.push(format!("{signed}.{mac}"));
    for (name, value) in [("sub", json!("x")), ("stream", json!("other")), ("exp", json!(9_999_999_999_u64))]
    {
        let mut claims = claims.clone();
        claims[name] = value;
        forged.push(format!("{}.{}.{}", parts[0], part(claims), parts[2]));
    }
    for at in (0..parts[2].len()).step_by(5) {
        let mut signature = parts[2].as_bytes().to_vec();
        signature[at] = if signature[at] == b'A' { b'Q' } else { b'A' };
        forged.push(format!("{}.{}.{}", parts[0], parts[1], String::from_utf8(signature).unwrap()));
    }
    for shape in
        [format!("{token}."), format!(".{token}"), format!("{token}.{token}"), token.replace('.', "")]
    {
        forged.push(shape);
    }
    forged.push("a".repeat(20_000));
    forged.extend(signed_with_wrong_claims(&node, &target.stream).await);
    let good = planted(&node.canary, &[1]).to_string();
    for token in forged {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str()), ("strm-schema-ref", EXAMPLE)];
        let answer = node.send(Method::POST, "/event", &headers, good.clone().into()).await;
        let shown = token.chars().take(200).collect::<String>();
        assert_eq!((answer.status, answer.code().as_str()), (401, "token_invalid"), "{shown}");
    }
    assert_eq!(target.stream.read().await.len(), 1);
}

/// Tokens with the node's own signature that are for something else.
async fn signed_with_wrong_claims(node: &Node, stream: &Stream) -> Vec<String> {
    let master = std::fs::read_to_string(node.data_dir().join("master.key")).unwrap();
    let stored = node.server().storage().registry.get("secret", "token-signing").await.unwrap().unwrap();
    let signing = SigningKey::unwrap(&MasterKey::from_text(&master).unwrap(), &stored.body).unwrap();
    let now = Clock::system().now().0 / 1000;
    let right = || Claims {
        iss: node.config().tokens.issuer.clone(),
        aud: "sluice".to_owned(),
        sub: stream.client_id.clone(),
        client_id: stream.client_id.clone(),
        typ: TokenKind::Bearer,
        iat: now,
        nbf: now,
        exp: now + 1000,
        jti: "x".to_owned(),
        stream: Some(stream.name.clone()),
    };
    let answer = stream.read_as("?from=latest&follow=false", &[]).await;
    assert_eq!(answer.status, 200);
    let good = signing.sign(&right());
    let headers = [("authorization", &*format!("Bearer {good}"))];
    let answer = node.send(Method::GET, "/streams/clicks/events?follow=false", &headers, Vec::new()).await;
    assert_eq!(answer.status, 200, "the claims are right before they are changed");
    [
        Claims { iss: "somebody/else".to_owned(), ..right() },
        Claims { aud: "another".to_owned(), ..right() },
        Claims { client_id: "stream-unknown".to_owned(), ..right() },
        Claims { typ: TokenKind::Refresh, ..right() },
        Claims { nbf: now + 900, ..right() },
    ]
    .iter()
    .map(|claims| signing.sign(claims))
    .collect()
}

/// T53. Whatever is put into fields, headers, paths and names, a log line is a log line.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_a_client_sends_forges_a_log_line_or_a_header() {
    for format in ["text", "json"] {
        let settings = [("SLUICE__LOG__FORMAT", format), ("SLUICE__LOG__LEVEL", "trace")];
        let node = ChildNode::start(&settings).await;
        let target = target(&node).await;
        let injections = [
            "a\r\nFORGED line",
            "a\nFORGED line",
            "\u{1b}[2K\u{1b}[31mFORGED",
            "\u{202e}FORGED\u{2066}",
            "${jndi:ldap://127.0.0.1/FORGED}",
            "a\0FORGED",
        ];
        for text in injections {
            for field in ["uniqueIdentifier", "consistentValue", "someSensitiveValue", "notSensitiveValue"] {
                let mut event = event("session", "unique", "sensitive", &[1]);
                event[field] = json!(text);
                // A line end in the key field breaks its rule; everything else is a fine value.
                assert!([204, 400].contains(&target.stream.post(&event).await.status));
            }
            let mut event = event("session", "unique", "sensitive", &[1]);
            event[text] = json!(1);
            assert_eq!(target.stream.post(&event).await.status, 400);
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            node.get(&format!("/{encoded}")).await;
            node.get(&format!("/streams/{encoded}/events")).await;
            let form = format!("grant_type={encoded}&client_id={encoded}&client_secret={encoded}");
            node.token_request(&form, &[]).await;
            let form = format!("grant_type=client_credentials&client_id={encoded}&client_secret={encoded}");
            assert_eq!(node.token_request(&form, &[]).await.status, 401);
            let request = json!({"name": text});
            assert_eq!(node.admin(Method::POST, "/api/v1/streams", &request).await.status, 400);
            let name = canary::random_text(8);
            let request = json!({"name": name, "description": text, "tags": [text]});
            let made = node.admin(Method::POST, "/api/v1/streams", &request).await;
            assert!([201, 400].contains(&made.status), "{}", made.text());
            let header: String = text.chars().filter(|c| !['\r', '\n', '\0', '\u{1b}'].contains(c)).collect();
            let headers =
                [("strm-schema-ref", header.as_str()), ("user-agent", &header), ("idempotency-key", &header)];
            let answer = target.stream.post_as(&header, "{}", &headers[1..]).await;
            assert!([400, 404].contains(&answer.status));
            assert!(answer.headers.keys().all(|name| !name.as_str().contains("forged")));
        }
        let log = String::from_utf8(node.log()).expect("the log is text");
        for line in log.lines() {
            assert!(!line.starts_with("FORGED") && !line.contains(['\u{1b}', '\u{202e}', '\0']), "{line:?}");
            if format == "json" {
                assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "{line:?}");
            }
        }
    }
}
