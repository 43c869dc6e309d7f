//! Ways in and out beside single events: batches, idempotency keys, web socket, SSE, NDJSON, health, metrics.

use apache_avro::{Codec, DeflateSettings, Schema, Writer, types::Record};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{EXAMPLE, Node, PATIENCE, Stream, avro, avro_long, avro_text, lines, planted};

/// A web socket client of RFC 6455 that only listens.
pub struct Socket(TcpStream);

impl Socket {
    /// Shakes hands as the original's Node driver does.
    pub async fn open(stream: &Stream, path: &str) -> Result<Socket, String> {
        let host = stream.api.base.trim_start_matches("http://");
        let mut tcp = TcpStream::connect(host).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: {}\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nHost: {host}\r\n\r\n",
            stream.authorization()
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await.map_err(|error| error.to_string())?);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        if !head.starts_with("http/1.1 101") {
            return Err(head);
        }
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        Ok(Socket(tcp))
    }

    /// The next frame: opcode and payload.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let first = self.0.read_u8().await.unwrap();
            assert_eq!(first & 0xf0, 0x80, "whole and not compressed");
            let length = match self.0.read_u8().await.unwrap() {
                126 => u64::from(self.0.read_u16().await.unwrap()),
                127 => self.0.read_u64().await.unwrap(),
                short => u64::from(short),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).await.unwrap();
            (first & 0x0f, payload)
        };
        tokio::time::timeout(PATIENCE, read).await.expect("a frame")
    }

    /// The next text frame as JSON.
    pub async fn event(&mut self) -> Value {
        loop {
            match self.frame().await {
                (1, text) => return serde_json::from_slice(&text).unwrap(),
                (9, _) => {}
                (opcode, _) => panic!("opcode {opcode}"),
            }
        }
    }

    async fn ping(&mut self) {
        self.0.write_all(&[0x89, 0x82, 0, 0, 0, 0, b'h', b'i']).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_shows_new_events_of_its_stream_as_text_frames() {
    let mut node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    stream.accept(&planted(&node.canary, &[1])).await;
    let mut socket = Socket::open(&stream, "/ws?asJson=true").await.unwrap();
    let mut second = Socket::open(&stream, "/ws").await.unwrap();
    for _ in 0..3 {
        stream.accept(&planted(&node.canary, &[2])).await;
    }
    let stored = stream.read_until(4).await;
    for event in &stored[1..] {
        let shown = socket.event().await;
        assert_eq!(shown, *event);
        assert_eq!(second.event().await, *event);
        assert_eq!(shown.as_object().unwrap().keys().next().unwrap(), "strmMeta");
        node.canary.saw("/ws".to_owned(), shown.to_string().as_bytes());
    }
    socket.ping().await;
    loop {
        match socket.frame().await {
            (9, _) => {}
            pong => break assert_eq!(pong, (10, b"hi".to_vec())),
        }
    }
    // A stop says goodbye instead of cutting the line.
    node.stop().await;
    loop {
        match socket.frame().await {
            (9, _) => {}
            (opcode, _) => break assert_eq!(opcode, 8),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_needs_a_token_and_a_handshake() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let authorization = stream.authorization();
    let headers = [("authorization", authorization.as_str())];
    let plain = node.send(reqwest::Method::GET, "/ws", &headers, Vec::new()).await;
    assert_eq!(plain.code(), "not_a_web_socket");
    assert_eq!(node.get("/ws").await.code(), "token_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_sent_events_go_on_after_the_last_event_id() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    for _ in 0..5 {
        stream.accept(&planted(&node.canary, &[1])).await;
    }
    let stored = stream.read_until(5).await;
    let mut reader = stream.follow("?from=earliest", &[]).await;
    for (at, event) in stored.iter().enumerate() {
        assert_eq!(reader.until("\n\n").await, format!("id: {}\ndata: {event}", at + 1));
    }
    drop(reader);
    let mut reader = stream.follow("?from=earliest", &[("last-event-id", "3")]).await;
    assert!(reader.until("\n\n").await.starts_with("id: 4\n"));
    assert!(reader.until("\n\n").await.starts_with("id: 5\n"));
    stream.accept(&planted(&node.canary, &[1])).await;
    assert!(reader.until("\n\n").await.starts_with("id: 6\n"), "and lives on");
    let refused = stream.read_as("?from=earliest", &[("last-event-id", "three")]).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "parameter_invalid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ndjson_reads_from_where_it_is_told_up_to_its_limit_or_the_end() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let body: Vec<String> = (0..2500).map(|_| planted(&node.canary, &[1]).to_string()).collect();
    assert_eq!(stream.post_batch(body.join("\n").into_bytes(), "", &[]).await.json()["accepted"], 2500);
    let stored = stream.read().await;
    let ndjson = [("accept", "application/x-ndjson")];
    let cases = [
        ("?from=earliest&follow=false", 0..2500),
        ("?from=earliest&limit=7", 0..7),
        ("?from=2499", 2498..2500),
        ("?from=11&limit=2000", 10..2010),
        ("?from=0&limit=1", 0..1),
        ("?from=latest&follow=false", 0..0),
        ("?follow=false", 0..0),
        ("?from=99999&follow=false", 0..0),
        ("?from=earliest&limit=0", 0..0),
    ];
    for (query, expected) in cases {
        let query = if query == "?from=2499" { "?from=2499&follow=false" } else { query };
        let answer = stream.read_as(query, &ndjson).await;
        assert_eq!(answer.header("content-type"), "application/x-ndjson");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(lines(&answer.text()) == stored[expected], "{query}");
    }
    for query in ["?from=yesterday", "?from=-1", "?limit=x", "?follow=maybe", "?unknown=1"] {
        assert_eq!(stream.read_as(query, &ndjson).await.status, 400, "{query}");
    }
    let mut reader = stream.follow("?from=latest", &ndjson).await;
    stream.accept(&planted(&node.canary, &[1])).await;
    let event: Value = serde_json::from_str(&reader.until("\n").await).unwrap();
    assert!(event["strmMeta"]["keyLink"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_stores_its_good_events_in_order_and_says_why_others_were_refused() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let numbered = |at: usize| {
        let mut event = planted(&node.canary, &[1]);
        event["notSensitiveValue"] = json!(at.to_string());
        event.to_string()
    };
    let mut body: Vec<String> = (0..1000).map(numbered).collect();
    body[10] = "{".to_owned();
    body[500] = numbered(500).replace("consistentValue", "other");
    let batch = |query: &'static str| stream.post_batch(body.join("\r\n").into_bytes(), query, &[]);
    let atomic = batch("?atomic=true").await;
    assert_eq!((atomic.status, atomic.code().as_str()), (400, "batch_refused"));
    assert_eq!(atomic.json()["accepted"], 0);
    assert_eq!(stream.read().await.len(), 0, "all or nothing was nothing");

    let answer = batch("").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let verdict = answer.json();
    assert_eq!(verdict["accepted"], 998);
    let refused: Vec<_> = verdict["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["index"].clone(), it["code"].clone()))
        .collect();
    assert_eq!(refused, [(json!(10), json!("json_invalid")), (json!(500), json!("field_unknown"))]);
    let numbers: Vec<usize> = stream
        .read()
        .await
        .iter()
        .map(|event| event["notSensitiveValue"].as_str().unwrap().parse().unwrap())
        .collect();
    let expected: Vec<usize> = (0..1000).filter(|at| ![10, 500].contains(at)).collect();
    assert_eq!(numbers, expected);
    assert_eq!(stream.post_batch(Vec::new(), "", &[]).await.code(), "batch_empty");
}

/// The example schema as apache-avro reads it.
fn example_schema() -> Schema {
    Schema::parse_str(include_str!("../data/strmprivacy-example-1.5.0.avsc.json")).unwrap()
}

fn container(node: &Node, schema: &Schema, codec: Codec, count: usize) -> Vec<u8> {
    use apache_avro::types::Value as Avro;
    let null = || Avro::Union(0, Box::new(Avro::Null));
    let text = |text: String| Avro::Union(1, Box::new(Avro::String(text)));
    let mut writer = Writer::with_codec(schema, Vec::new(), codec).unwrap();
    for at in 0..count {
        let meta = vec![
            ("eventContractRef".to_owned(), Avro::String(EXAMPLE.to_owned())),
            ("nonce".to_owned(), null()),
            ("timestamp".to_owned(), null()),
            ("keyLink".to_owned(), null()),
            ("billingId".to_owned(), null()),
            ("consentLevels".to_owned(), Avro::Array(vec![Avro::Int(1)])),
        ];
        let mut record = Record::new(schema).unwrap();
        record.put("strmMeta", Avro::Record(meta));
        record.put("uniqueIdentifier", text(node.canary.plant()));
        record.put("consistentValue", Avro::String(node.canary.plant()));
        record.put("someSensitiveValue", null());
        record.put("notSensitiveValue", text(at.to_string()));
        writer.append_value(record).unwrap();
    }
    writer.into_inner().unwrap()
}

/// A container of one block, written by hand for the codecs that apache-avro is built without here.
pub fn container_by_hand(schema: &str, codec: &str, count: i64, packed: &[u8]) -> Vec<u8> {
    let mut file = b"Obj\x01".to_vec();
    avro_long(&mut file, 2);
    for (name, value) in [("avro.schema", schema), ("avro.codec", codec)] {
        avro_text(&mut file, name);
        avro_text(&mut file, value);
    }
    avro_long(&mut file, 0);
    file.extend_from_slice(b"0123456789abcdef");
    avro_long(&mut file, count);
    avro_long(&mut file, i64::try_from(packed.len()).unwrap());
    [&file[..], packed, b"0123456789abcdef"].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn avro_containers_are_taken_with_every_codec() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    let schema = example_schema();
    let mut files: Vec<Vec<u8>> = [Codec::Null, Codec::Deflate(DeflateSettings::default())]
        .into_iter()
        .map(|codec| container(&node, &schema, codec, 200))
        .collect();
    let data: Vec<u8> = (0..200)
        .flat_map(|at: usize| {
            let (a, b, n) = (node.canary.plant(), node.canary.plant(), at.to_string());
            avro(EXAMPLE, &[1], [Some(&a), Some(&b), None, Some(&n)])
        })
        .collect();
    let text = include_str!("../data/strmprivacy-example-1.5.0.avsc.json");
    let mut snappy = snap::raw::Encoder::new().compress_vec(&data).unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(&data);
    snappy.extend_from_slice(&crc.sum().to_be_bytes());
    files.push(container_by_hand(text, "snappy", 200, &snappy));
    files.push(container_by_hand(text, "zstandard", 200, &zstd::encode_all(&data[..], 3).unwrap()));
    for (at, file) in files.iter().enumerate() {
        let answer = stream.post_batch(file.clone(), "", &[]).await;
        assert_eq!(answer.status, 200, "file {at}: {}", answer.text());
        assert_eq!(answer.json(), json!({"accepted": 200, "refused": []}));
        let stored = stream.read_until(200 * (at + 1)).await;
        let numbers =
            stored[200 * at..].iter().map(|event| event["notSensitiveValue"].as_str().unwrap().to_owned());
        assert!(numbers.eq((0..200).map(|at| at.to_string())));
    }
    let other = Schema::parse_str(include_str!("../data/strmprivacy-demo-1.0.2.avsc.json")).unwrap();
    let demo = container(&node, &other, Codec::Null, 1);
    // The schemas differ in their namespace only, which is part of what a file was written with.
    assert_eq!(stream.post_batch(demo, "", &[]).await.code(), "container_schema");
    for (code, file) in [
        ("container_invalid", container_by_hand(text, "bzip2", 1, &data)),
        ("container_invalid", files[0][..files[0].len() - 1].to_vec()),
        ("container_invalid", [&files[0][..files[0].len() - 1], b"x"].concat()),
        ("container_invalid", container_by_hand(text, "zstandard", 200, &[7; 100])),
    ] {
        assert_eq!(stream.post_batch(file, "?atomic=true", &[]).await.code(), code);
    }
    assert_eq!(stream.read().await.len(), 800);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_stores_once_also_across_a_restart() {
    let mut node = Node::start().await;
    let (stream, other) = (node.create_stream("clicks").await, node.create_stream("other").await);
    let event = planted(&node.canary, &[1]).to_string();
    let batch: Vec<String> = (0..1200).map(|_| planted(&node.canary, &[1]).to_string()).collect();
    let batch = batch.join("\n").into_bytes();
    for round in 0..4 {
        if round == 2 {
            node.restart().await;
        }
        let once = [("idempotency-key", "order-1")];
        assert_eq!(stream.post_as(EXAMPLE, event.clone(), &once).await.status, 204);
        let once = [("idempotency-key", "batch-1")];
        assert_eq!(stream.post_batch(batch.clone(), "", &once).await.status, 200);
        let once = [("idempotency-key", "batch-2")];
        assert_eq!(stream.post_batch(batch.clone(), "?atomic=true", &once).await.status, 200);
    }
    assert_eq!(stream.read().await.len(), 1 + 1200 + 1200);
    let again = other.post_as(EXAMPLE, event.clone(), &[("idempotency-key", "order-1")]).await;
    assert_eq!((again.status, other.read().await.len()), (204, 1), "another stream's keys are its own");
    let at_once = (0..32).map(|_| {
        let (stream, event) = (stream.clone(), event.clone());
        tokio::spawn(
            async move { stream.post_as(EXAMPLE, event, &[("idempotency-key", "order-2")]).await.status },
        )
    });
    for status in at_once.collect::<Vec<_>>() {
        assert_eq!(status.await.unwrap(), 204);
    }
    assert_eq!(stream.read().await.len(), 2402, "32 at once are one");
    for key in [String::new(), "x".repeat(256)] {
        let refused = stream.post_as(EXAMPLE, event.clone(), &[("idempotency-key", &key)]).await;
        assert_eq!(refused.code(), "idempotency_key_invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_open_and_count_every_event_once() {
    let node = Node::start().await;
    let stream = node.create_stream("clicks").await;
    node.derive(&stream, &[1]).await;
    assert_eq!((node.get("/is-alive").await.status, node.get("/ready").await.status), (200, 200));
    for consent in [&[1][..], &[2], &[]] {
        let mut event = planted(&node.canary, consent);
        event["uniqueIdentifier"] = json!("opened");
        stream.accept(&event).await;
    }
    assert_eq!(stream.post(&json!({})).await.status, 400);
    node.derive(&stream, &[2]).await;
    let begun = std::time::Instant::now();
    while node.metric("sluice_events_dropped_total{stream=\"clicks-1\"}").await < 2.0
        && begun.elapsed() < PATIENCE
    {}
    assert_eq!(node.metric("sluice_events_accepted_total{stream=\"clicks\"}").await, 3.0);
    assert_eq!(node.metric("sluice_events_derived_total{stream=\"clicks-1\"}").await, 1.0);
    assert_eq!(node.metric("sluice_events_dropped_total{stream=\"clicks-1\"}").await, 2.0);
    let refused = node.metric("sluice_events_refused_total{stream=\"clicks\"").await;
    assert_eq!(refused, 1.0);
    let metrics = node.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
}
