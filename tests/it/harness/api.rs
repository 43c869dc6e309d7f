//! What tests say to a node over HTTP, and the example event they say it with.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};

use super::canary::Canary;

pub const EXAMPLE: &str = "strmprivacy/example/1.5.0";
pub const TOKEN_PATH: &str = "/auth/realms/streams/protocol/openid-connect/token";
/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One node's API. Every answer is remembered for the canary, unless its stream opens personal fields.
pub struct Api {
    pub base: String,
    pub admin: String,
    pub http: reqwest::Client,
    pub canary: Arc<Canary>,
}

/// An answer that was read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} {}", self.status, self.text()))
    }

    /// The stable code of a problem document, empty for anything else.
    pub fn code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl Api {
    pub fn new(base: String, admin: String, canary: Arc<Canary>) -> Arc<Api> {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        Arc::new(Api { base, admin, http, canary })
    }

    /// Sends a request; `None` when the connection failed.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Option<Answer> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.ok()?.to_vec();
        Some(Answer { status, headers, body })
    }

    /// Sends a request whose answer may hold nothing personal.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let answer = self.try_send(method.clone(), path, headers, body).await;
        let answer = answer.unwrap_or_else(|| panic!("{method} {path}: the connection failed"));
        self.canary.saw(format!("{method} {path}"), &answer.body);
        self.canary.saw(format!("{method} {path}, headers"), format!("{:?}", answer.headers).as_bytes());
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Vec::new()).await
    }

    /// A call of the control plane with the operator's token.
    pub async fn admin(&self, method: Method, path: &str, body: &Value) -> Answer {
        let authorization = format!("Bearer {}", self.admin);
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(method, path, &[("authorization", &authorization)], body).await
    }

    pub async fn token_request(&self, form: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::POST, TOKEN_PATH, headers, form.as_bytes().to_vec()).await
    }

    /// Makes a stream from the body of its request, and logs in.
    pub async fn make_stream(self: &Arc<Api>, request: Value) -> Stream {
        let answer = self.admin(Method::POST, "/api/v1/streams", &request).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let made = answer.json();
        let credential = &made["credentials"][0];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let stream = Stream {
            name: text(&made["ref"]["name"]),
            client_id: text(&credential["clientId"]),
            client_secret: text(&credential["clientSecret"]),
            token: Arc::default(),
            opens: request.get("derivedFrom").is_some(),
            api: Arc::clone(self),
        };
        stream.log_in().await;
        stream
    }

    pub async fn create_stream(self: &Arc<Api>, name: &str) -> Stream {
        self.make_stream(json!({ "name": name })).await
    }

    pub async fn derive(self: &Arc<Api>, source: &Stream, purposes: &[i32]) -> Stream {
        self.make_stream(json!({ "derivedFrom": source.name, "purposes": purposes })).await
    }

    /// Makes a contract and takes it to ACTIVE.
    pub async fn activate_contract(&self, reference: &str, schema: Option<&Value>, contract: &Value) {
        let request = json!({ "ref": reference, "schema": schema.map(Value::to_string), "contract": contract.to_string() });
        let made = self.admin(Method::POST, "/api/v1/contracts", &request).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let path = format!("/api/v1/contracts/{reference}/activate");
        let active = self.admin(Method::POST, &path, &Value::Null).await;
        assert_eq!(active.status, 200, "{}", active.text());
    }

    /// The value of a counter or gauge in `/metrics` whose line begins with `series`.
    pub async fn metric(&self, series: &str) -> f64 {
        let metrics = self.get("/metrics").await.text();
        let line = metrics.lines().find(|line| line.starts_with(series));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
    }
}

/// A stream and its credentials.
#[derive(Clone)]
pub struct Stream {
    pub name: String,
    pub client_id: String,
    pub client_secret: String,
    token: Arc<Mutex<String>>,
    opens: bool,
    pub api: Arc<Api>,
}

impl Stream {
    /// The same stream for another client.
    pub fn with_credentials(&self, client_id: String, client_secret: String) -> Stream {
        Stream { client_id, client_secret, token: Arc::default(), ..self.clone() }
    }

    pub async fn log_in(&self) {
        let (id, secret) = (&self.client_id, &self.client_secret);
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
        let answer = self.api.token_request(&form, &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        *self.token.lock().unwrap() = answer.json()["access_token"].as_str().unwrap().to_owned();
    }

    pub fn token(&self) -> String {
        self.token.lock().unwrap().clone()
    }

    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.token())
    }

    /// Sends one JSON event of the example schema.
    pub async fn post(&self, event: &Value) -> Answer {
        self.post_as(EXAMPLE, event.to_string(), &[]).await
    }

    pub async fn post_as(&self, schema: &str, body: impl Into<Vec<u8>>, more: &[(&str, &str)]) -> Answer {
        let authorization = self.authorization();
        let headers =
            [&[("authorization", authorization.as_str()), ("strm-schema-ref", schema)], more].concat();
        self.api.send(Method::POST, "/event", &headers, body.into()).await
    }

    /// Sends one JSON event of the example schema, which must be taken.
    #[track_caller]
    pub fn accept(&self, event: &Value) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let answer = self.post(event).await;
            assert_eq!(answer.status, 204, "at {at}: {}", answer.text());
        }
    }

    /// Sends many events of the example schema. `query` is empty or begins with `?`.
    pub async fn post_batch(&self, body: Vec<u8>, query: &str, more: &[(&str, &str)]) -> Answer {
        let authorization = self.authorization();
        let headers =
            [&[("authorization", authorization.as_str()), ("strm-schema-ref", EXAMPLE)], more].concat();
        self.api.send(Method::POST, &format!("/events{query}"), &headers, body).await
    }

    /// Asks for events of this stream. Remembered for the canary unless the stream opens fields.
    pub async fn read_as(&self, query: &str, more: &[(&str, &str)]) -> Answer {
        let path = format!("/streams/{}/events{query}", self.name);
        let authorization = self.authorization();
        let headers = [&[("authorization", authorization.as_str())], more].concat();
        let answer = self.api.try_send(Method::GET, &path, &headers, Vec::new()).await.expect("an answer");
        if !self.opens {
            self.api.canary.saw(format!("GET {path}"), &answer.body);
        }
        answer
    }

    /// The whole log as text, one JSON event a line.
    pub async fn read_text(&self) -> String {
        let ndjson = [("accept", "application/x-ndjson")];
        let answer = self.read_as("?from=earliest&follow=false", &ndjson).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// The whole log.
    pub async fn read(&self) -> Vec<Value> {
        lines(&self.read_text().await)
    }

    /// The log once it has `count` events, which must be soon; and no more than that.
    #[track_caller]
    pub fn read_until(&self, count: usize) -> impl Future<Output = Vec<Value>> {
        let at = std::panic::Location::caller();
        async move {
            let begun = Instant::now();
            loop {
                let events = self.read().await;
                if events.len() >= count || begun.elapsed() > PATIENCE {
                    assert_eq!(events.len(), count, "events in {} at {at}", self.name);
                    return events;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Opens a body that goes on, and gives its pieces.
    pub async fn follow(&self, query: &str, more: &[(&str, &str)]) -> Following {
        let url = format!("{}/streams/{}/events{query}", self.api.base, self.name);
        let mut request = self.api.http.get(url).header("authorization", self.authorization());
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        Following { bytes: Box::pin(response.bytes_stream()), text: String::new() }
    }
}

type Pieces = std::pin::Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>;

/// A body that goes on.
pub struct Following {
    bytes: Pieces,
    text: String,
}

impl Following {
    /// The next text up to and including `end`, without it.
    #[track_caller]
    pub fn until(&mut self, end: &str) -> impl Future<Output = String> {
        let at = std::panic::Location::caller();
        async move {
            loop {
                if let Some((piece, rest)) = self.text.split_once(end) {
                    let (piece, rest) = (piece.to_owned(), rest.to_owned());
                    self.text = rest;
                    return piece;
                }
                let next = tokio::time::timeout(PATIENCE, self.bytes.next()).await;
                let next = next.unwrap_or_else(|_| panic!("nothing came at {at}"));
                self.text += std::str::from_utf8(&next.expect("more to come").unwrap()).unwrap();
            }
        }
    }
}

pub fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// An event of the example schema.
pub fn event(session: &str, unique: &str, sensitive: &str, consent: &[i32]) -> Value {
    json!({
        "strmMeta": {"eventContractRef": EXAMPLE, "consentLevels": consent},
        "uniqueIdentifier": unique,
        "consistentValue": session,
        "someSensitiveValue": sensitive,
        "notSensitiveValue": "not-sensitive",
    })
}

/// An event of the example schema whose personal values are all planted.
pub fn planted(canary: &Canary, consent: &[i32]) -> Value {
    event(&canary.plant(), &canary.plant(), &canary.plant(), consent)
}

/// The same for events that a derived stream opens: which fields it opens is not asked, all may be on disk.
pub fn planted_opened(canary: &Canary, consent: &[i32]) -> Value {
    event(&canary.plant_opened(), &canary.plant_opened(), &canary.plant_opened(), consent)
}

/// An event of the example schema as a bare Avro datum. Absent texts are null.
pub fn avro(contract: &str, consent: &[i32], fields: [Option<&str>; 4]) -> Vec<u8> {
    let mut out = Vec::new();
    avro_text(&mut out, contract);
    out.extend_from_slice(&[0; 4]);
    if !consent.is_empty() {
        avro_long(&mut out, consent.len() as i64);
        consent.iter().for_each(|level| avro_long(&mut out, i64::from(*level)));
    }
    avro_long(&mut out, 0);
    for (at, field) in fields.into_iter().enumerate() {
        let optional = at != 1;
        match field {
            Some(text) => {
                if optional {
                    avro_long(&mut out, 1);
                }
                avro_text(&mut out, text);
            }
            None => avro_long(&mut out, 0),
        }
    }
    out
}

pub fn avro_text(out: &mut Vec<u8>, text: &str) {
    avro_long(out, text.len() as i64);
    out.extend_from_slice(text.as_bytes());
}

pub fn avro_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
