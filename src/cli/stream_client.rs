//! A stream's events over HTTP, with the stream's own credentials: send, and read its log. Or read it by a grant,
//! with the API token of a principal.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::{Method, RequestBuilder, Response, header};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{
    client::{Client, ClientError, Problem, classify, is_unauthorized},
    credentials::Found,
    settings::Token,
};
use crate::domain::StreamName;

/// Patience with one request that carries events.
const EVENTS_DEADLINE: Duration = Duration::from_secs(120);
/// How long before its end a token is replaced.
const TOKEN_MARGIN: Duration = Duration::from_secs(60);
/// The realm of stream credentials, as the original's drivers spell it.
const TOKEN_PATH: [&str; 6] = ["auth", "realms", "streams", "protocol", "openid-connect", "token"];

/// One stream of one node. Cheap to clone; clones share the token.
#[derive(Clone)]
pub struct StreamClient {
    client: Client,
    means: Arc<Means>,
    token: Arc<Mutex<Option<AccessToken>>>,
}

/// What is shown to the node.
enum Means {
    Credentials(Found),
    /// Of a principal that was granted the stream's events.
    ApiToken(Token),
}

impl Means {
    fn origin(&self) -> &str {
        match self {
            Means::Credentials(found) => &found.origin,
            Means::ApiToken(token) => &token.origin,
        }
    }
}

#[derive(Clone)]
struct AccessToken {
    text: Arc<str>,
    renew_at: Instant,
}

/// What became of the events of one request.
#[derive(Deserialize)]
pub struct Verdict {
    pub accepted: u64,
    #[serde(default)]
    pub refused: Vec<Refusal>,
}

/// Why one event of a request was refused.
#[derive(Debug, Deserialize)]
pub struct Refusal {
    /// Its place in the request, from 0.
    pub index: usize,
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub detail: String,
}

/// What to read of a log.
pub struct ReadFrom<'a> {
    /// `earliest`, `latest` or a sequence.
    pub from: &'a str,
    pub limit: Option<u64>,
    /// Whether to wait for events to come at the end of the log.
    pub follow: bool,
    /// Id of the last event seen on a connection that was lost.
    pub last_event_id: Option<&'a str>,
}

impl StreamClient {
    /// A client that has signed in.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`]; `Unauthorized` when the credentials are not known to this node.
    pub async fn connect(client: Client, found: Found) -> Result<StreamClient, ClientError> {
        let means = Arc::new(Means::Credentials(found));
        let stream = StreamClient { client, means, token: Arc::default() };
        stream.access_token().await?;
        Ok(stream)
    }

    /// A client that reads by a grant; whether there is one shows when it reads.
    #[must_use]
    pub fn by_grant(client: Client, token: Token) -> StreamClient {
        StreamClient { client, means: Arc::new(Means::ApiToken(token)), token: Arc::default() }
    }

    /// Sends one event as plain JSON. It is durable when this returns.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub async fn post_event(&self, schema: &str, event: Vec<u8>) -> Result<(), ClientError> {
        let event = Bytes::from(event);
        let build = |client: &Client| {
            let request = client.request(Method::POST, &["event"]).timeout(EVENTS_DEADLINE);
            request
                .header("Strm-Schema-Ref", schema)
                .header(header::CONTENT_TYPE, "application/json")
                .body(event.clone())
        };
        self.send(build).await.map(drop)
    }

    /// Sends many events in one request. Those accepted are durable when this returns. A request that is
    /// repeated with the same `once` stores its events once.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`]; a refused event is no error, it is in the verdict.
    pub async fn post_events(
        &self,
        schema: &str,
        content_type: &'static str,
        events: Bytes,
        atomic: bool,
        once: Uuid,
    ) -> Result<Verdict, ClientError> {
        let mut url = self.client.server.at(&["events"]);
        if atomic {
            url.query_pairs_mut().append_pair("atomic", "true");
        }
        let build = |client: &Client| {
            let request = client.bare_request(Method::POST, url.clone()).timeout(EVENTS_DEADLINE);
            request
                .header("Strm-Schema-Ref", schema)
                .header("Idempotency-Key", once.simple().to_string())
                .header(header::CONTENT_TYPE, content_type)
                .body(events.clone())
        };
        let response = match self.send(build).await {
            // All or nothing, and it was nothing: that is a verdict too.
            Err(ClientError::Refused(problem)) if atomic && problem.code == "batch_refused" => {
                return Ok(Verdict { accepted: 0, refused: problem.refused.into_vec() });
            }
            sent => sent?,
        };
        let answer = self.client.json(response).await?;
        serde_json::from_value(answer).map_err(|_| ClientError::Foreign {
            server: self.client.server.to_string(),
            what: "a verdict without a count".into(),
        })
    }

    /// Opens the log of `stream`, as NDJSON or as server-sent events.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub async fn read(
        &self,
        stream: &StreamName,
        what: &ReadFrom<'_>,
        accept: &'static str,
    ) -> Result<Response, ClientError> {
        let mut url = self.client.server.at(&["streams", stream.as_str(), "events"]);
        url.query_pairs_mut().append_pair("from", what.from).append_pair("follow", &what.follow.to_string());
        if let Some(limit) = what.limit {
            url.query_pairs_mut().append_pair("limit", &limit.to_string());
        }
        self.send(|client| {
            let request = client.bare_request(Method::GET, url.clone()).header(header::ACCEPT, accept);
            match what.last_event_id {
                Some(id) => request.header("Last-Event-ID", id),
                None => request,
            }
        })
        .await
    }

    /// The error a failure while reading a response stands for.
    pub fn failed(&self, error: reqwest::Error) -> ClientError {
        self.client.failed(error)
    }

    /// Sends with a token; once more with a new one when it turns out to have run out.
    async fn send(&self, build: impl Fn(&Client) -> RequestBuilder) -> Result<Response, ClientError> {
        let token = self.access_token().await?;
        match self.client.send(build(&self.client).bearer_auth(&token)).await {
            Err(error) if is_unauthorized(&error) => {
                *self.token.lock() = None;
                let token = self.access_token().await?;
                let answer = self.client.send(build(&self.client).bearer_auth(&token)).await;
                answer.map_err(|error| self.name_origin(error))
            }
            other => other,
        }
    }

    async fn access_token(&self) -> Result<Arc<str>, ClientError> {
        let held = self.token.lock().clone().filter(|token| Instant::now() < token.renew_at);
        if let Some(token) = held {
            return Ok(token.text);
        }
        let credentials = match &*self.means {
            Means::Credentials(found) => &found.credentials,
            Means::ApiToken(token) => return Ok(token.text.as_str().into()),
        };
        // A URL's query has the encoding of a form body.
        let mut form = self.client.server.at(&TOKEN_PATH);
        form.query_pairs_mut()
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &credentials.client_id)
            .append_pair("client_secret", &credentials.client_secret);
        let request = self
            .client
            .bare_request(Method::POST, self.client.server.at(&TOKEN_PATH))
            .timeout(EVENTS_DEADLINE)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.query().unwrap_or_default().to_owned());
        let response = self.client.send(request).await.map_err(|error| self.name_origin(error))?;
        let answer = self.client.json(response).await?;
        let Some(text) = answer.get("access_token").and_then(Value::as_str) else {
            let what = "a token answer without a token".into();
            return Err(ClientError::Foreign { server: self.client.server.to_string(), what });
        };
        let lives = Duration::from_secs(answer.get("expires_in").and_then(Value::as_u64).unwrap_or(300));
        let renew_at = Instant::now() + lives.saturating_sub(TOKEN_MARGIN).max(lives / 2);
        let text: Arc<str> = text.into();
        *self.token.lock() = Some(AccessToken { text: text.clone(), renew_at });
        Ok(text)
    }

    /// Says which credentials were meant: the client below knows only of API tokens.
    fn name_origin(&self, error: ClientError) -> ClientError {
        match error {
            ClientError::Unauthorized { problem, .. } => {
                ClientError::Unauthorized { problem, origin: self.means.origin().to_owned() }
            }
            // Some token servers answer bad credentials with 400.
            ClientError::Refused(problem @ Problem { status: 400, .. })
                if problem.code == "unauthorized_client" =>
            {
                classify(Problem { status: 401, ..problem }, Duration::ZERO, self.means.origin())
            }
            other => other,
        }
    }
}
