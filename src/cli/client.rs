//! The HTTP API as the command line uses it, and its failures with the step that gets past them.
//!
//! Two ways in: [`Client`] with an API token for `/api/v1`, and [`super::stream_client::StreamClient`] with a
//! stream's own credentials for its events.

use std::{sync::OnceLock, time::Duration};

use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

use super::{
    failure::printable,
    settings::{Server, Settings, Token},
};

/// Patience with a control call.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// Patience with a new connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of an error's body that are read.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// Why a call failed, split by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing was sent. Retryable.
    #[error("cannot reach {server}: {cause}")]
    Unreachable { server: String, cause: String },
    /// The request may or may not have been carried out. Retryable only where that is harmless.
    #[error("the connection to {server} failed before its answer was complete: {cause}")]
    Interrupted { server: String, cause: String },
    /// Over a rate, or the node cannot take it now; nothing was stored. Retryable after the time given.
    #[error("{problem}")]
    Busy { problem: Problem, retry_after: Duration },
    /// The token or the credentials are missing or were not accepted.
    #[error("{problem}; the token or credentials came from {origin}")]
    Unauthorized { problem: Problem, origin: String },
    /// The request has to change before it is sent again.
    #[error("{0}")]
    Refused(Problem),
    /// What answered does not speak Sluice's API.
    #[error("{server} gave an answer that is not Sluice's ({what})")]
    Foreign { server: String, what: String },
}

/// An RFC 9457 problem document, reduced to what a person needs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    pub status: u16,
    pub code: String,
    pub title: String,
    pub detail: String,
    /// The events that a batch was refused for.
    pub refused: Box<[super::stream_client::Refusal]>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = if self.detail.is_empty() { &self.title } else { &self.detail };
        let code = if self.code.is_empty() { String::new() } else { format!(" {}", self.code) };
        write!(f, "{} ({}{code})", printable(text), self.status)
    }
}

impl ClientError {
    /// What to do about it, when there is a plain answer.
    #[must_use]
    pub fn next_step(&self) -> Option<String> {
        let step = match self {
            ClientError::Unreachable { server, .. } if server.starts_with("https:") => {
                "check that the node is up, serves TLS there, and that SSL_CERT_FILE names its authority".into()
            }
            ClientError::Unreachable { .. } => {
                "start one with: sluice serve (or name a running one with --server)".into()
            }
            ClientError::Interrupted { .. } => "look at what was stored before doing it again".into(),
            ClientError::Busy { retry_after, .. } => {
                format!("try again in {} s", retry_after.as_secs().max(1))
            }
            ClientError::Unauthorized { .. } => {
                "give a valid API token with --token-file, or a stream's own --client-id and --client-secret; \
                 this node may not be the one that issued them"
                    .into()
            }
            ClientError::Refused(problem) => return refusal_step(problem),
            ClientError::Foreign { .. } => "check that --server names a Sluice node".into(),
        };
        Some(step)
    }
}

fn refusal_step(problem: &Problem) -> Option<String> {
    let step = match (problem.status, problem.code.as_str()) {
        (404, "credential_unknown") => "see which there are with: sluice list credentials STREAM".into(),
        (404, "purpose_unknown") => "see which purposes there are with: sluice list purposes".into(),
        (404, "policy_unknown") => "see which policies there are with: sluice list policies".into(),
        (409, "policy_not_active") => "activate it with: sluice activate policy NAME".into(),
        (_, "stream_has_dependents") => "add --recursive to delete its derived streams as well".into(),
        (404, code) if code.contains("principal") => {
            "see which there are with: sluice list principals".into()
        }
        (404, code) if code.contains("project") => "see which there are with: sluice list projects".into(),
        (404, code) if code.contains("stream") => "see which streams exist with: sluice list streams".into(),
        (404, code) if code.contains("contract") || code.contains("schema") => {
            "see which contracts exist with: sluice list contracts".into()
        }
        (409, code) if code.contains("active") => "activate it with: sluice activate contract REF".into(),
        (403, _) => "use the stream's own credentials, or a token whose role allows it".into(),
        (413, _) => "send less in one request".into(),
        (_, "") => return None,
        (_, code) => format!("read docs/errors/{}.md", printable(code)),
    };
    Some(step)
}

/// A connection pool to one node, with or without an API token. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    pub server: Server,
    token: Option<std::sync::Arc<Token>>,
}

impl Client {
    /// A client that presents no token of its own.
    ///
    /// # Errors
    ///
    /// The system's certificate authorities cannot be read (only for `https`).
    pub fn anonymous(server: &Server) -> Result<Client, ClientError> {
        install_crypto_provider();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_DEADLINE)
            .tcp_keepalive(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none());
        if server.is_local() {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| unreachable(server, error))?;
        Ok(Client { http, server: server.clone(), token: None })
    }

    /// A client for the control plane, with the API token the settings lead to.
    ///
    /// # Errors
    ///
    /// There is no token, or [`Client::anonymous`] failed.
    pub fn for_control(settings: &Settings) -> anyhow::Result<Client> {
        let token = std::sync::Arc::new(settings.token()?);
        Ok(Client { token: Some(token), ..Client::anonymous(&settings.server)? })
    }

    /// Calls `/api/v1/<segments>` and returns its JSON answer; null for an answer without a body.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub async fn call(
        &self,
        method: Method,
        segments: &[&str],
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let path = [&["api", "v1"], segments].concat();
        let mut request = self.request(method, &path).timeout(CALL_DEADLINE);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.json(self.send(request).await?).await
    }

    /// Gets `/api/v1/<segments>` with query parameters.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub async fn get<V: AsRef<str>>(
        &self,
        segments: &[&str],
        query: &[(&str, V)],
    ) -> Result<Value, ClientError> {
        self.with_query(Method::GET, segments, query).await
    }

    /// All pages of the list at `/api/v1/<segments>`, put together under `key`.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub async fn list(
        &self,
        segments: &[&str],
        key: &str,
        filters: &[(&str, &str)],
    ) -> Result<Value, ClientError> {
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let page = token.as_deref().map(|token| ("pageToken", token));
            let query: Vec<_> = filters.iter().copied().chain([("limit", "200")]).chain(page).collect();
            let mut answer = self.get(segments, &query).await?;
            if let Some(Value::Array(entries)) = answer.get_mut(key) {
                all.append(entries);
            }
            token = answer.get("nextPageToken").and_then(Value::as_str).map(str::to_owned);
            if token.is_none() {
                return Ok(serde_json::json!({ key: all }));
            }
        }
    }

    /// What deleting a stream would delete.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub async fn deletion_of(&self, stream: &str) -> Result<Value, ClientError> {
        let query = [("recursive", "true"), ("dryRun", "true")];
        self.with_query(Method::DELETE, &["streams", stream], &query).await
    }

    /// Gets `url`, made by [`Server::at`], and returns the bytes of the answer as they came.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub async fn get_bytes(&self, url: reqwest::Url) -> Result<bytes::Bytes, ClientError> {
        let request = self.authorized(self.http.get(url)).timeout(CALL_DEADLINE);
        self.send(request).await?.bytes().await.map_err(|error| self.failed(error))
    }

    async fn with_query<V: AsRef<str>>(
        &self,
        method: Method,
        segments: &[&str],
        query: &[(&str, V)],
    ) -> Result<Value, ClientError> {
        let mut url = self.server.at(&[&["api", "v1"], segments].concat());
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.authorized(self.http.request(method, url)).timeout(CALL_DEADLINE);
        self.json(self.send(request).await?).await
    }

    /// Deletes `/api/v1/<segments>`, and what depends on it when `recursive`.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub async fn delete(&self, segments: &[&str], recursive: bool) -> Result<(), ClientError> {
        let path = [&["api", "v1"], segments].concat();
        let mut url = self.server.at(&path);
        if recursive {
            url.query_pairs_mut().append_pair("recursive", "true");
        }
        let request = self.authorized(self.http.delete(url)).timeout(CALL_DEADLINE);
        self.send(request).await.map(drop)
    }

    /// A request for `path`, with the API token when there is one.
    pub fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.authorized(self.http.request(method, self.server.at(path)))
    }

    /// A request for an address made by [`Server::at`], without a token.
    pub fn bare_request(&self, method: Method, url: reqwest::Url) -> RequestBuilder {
        self.http.request(method, url)
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(&token.text),
            None => request,
        }
    }

    /// Sends `request`; an answer that is not a success becomes the error it stands for.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.failed(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let origin = self.token.as_ref().map_or("nobody", |token| &token.origin);
        Err(self.refusal(response, origin).await)
    }

    /// The JSON body of a success; null when it is empty.
    ///
    /// # Errors
    ///
    /// [`ClientError::Interrupted`] and [`ClientError::Foreign`].
    pub async fn json(&self, response: Response) -> Result<Value, ClientError> {
        let bytes = response.bytes().await.map_err(|error| self.failed(error))?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|_| ClientError::Foreign {
            server: self.server.to_string(),
            what: "a success without JSON".into(),
        })
    }

    /// The error a transport failure stands for. Its text never holds the request's address or headers.
    pub fn failed(&self, error: reqwest::Error) -> ClientError {
        if error.is_connect() || error.is_builder() {
            return unreachable(&self.server, error);
        }
        ClientError::Interrupted { server: self.server.to_string(), cause: root_cause(error) }
    }

    async fn refusal(&self, mut response: Response, origin: &str) -> ClientError {
        let status = response.status();
        let header_text = |name: header::HeaderName| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let retry_after = Duration::from_secs(header_text(header::RETRY_AFTER).parse().unwrap_or(1));
        let is_json = header_text(header::CONTENT_TYPE).contains("json");
        let is_plain = header_text(header::CONTENT_TYPE).starts_with("text/plain");
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > PROBLEM_BYTES_MAX {
                break;
            }
        }
        let problem = match (is_json, is_plain) {
            (true, _) => problem_of(&body),
            // The one refusal whose text is the original's own.
            (_, true) => {
                Some(Problem { detail: String::from_utf8_lossy(&body).into_owned(), ..Problem::default() })
            }
            _ if matches!(status.as_u16(), 401 | 429 | 503) => Some(Problem::default()),
            _ => None,
        };
        let Some(problem) = problem else {
            return ClientError::Foreign {
                server: self.server.to_string(),
                what: format!("status {status}"),
            };
        };
        let reason = status.canonical_reason().unwrap_or("refused").to_lowercase();
        let title = if problem.title.is_empty() { reason } else { problem.title };
        classify(Problem { status: status.as_u16(), title, ..problem }, retry_after, origin)
    }
}

/// The problem in `body`: a problem document, or the token endpoint's `{"error", "error_description"}`.
fn problem_of(body: &[u8]) -> Option<Problem> {
    let value: Value = serde_json::from_slice(body).ok()?;
    if let Some(code) = value.get("error").and_then(Value::as_str) {
        let detail = super::output::text_at(&value, "/error_description");
        return Some(Problem { code: code.into(), title: code.into(), detail, ..Problem::default() });
    }
    serde_json::from_value(value).ok()
}

/// Sorts a problem by what the caller does next.
pub fn classify(problem: Problem, retry_after: Duration, origin: &str) -> ClientError {
    match problem.status {
        401 => ClientError::Unauthorized { problem, origin: origin.to_owned() },
        400 if problem.code == "invalid_client" => {
            ClientError::Unauthorized { problem, origin: origin.to_owned() }
        }
        429 | 503 => ClientError::Busy { problem, retry_after },
        _ => ClientError::Refused(problem),
    }
}

/// Whether a request may simply be sent again: it was not carried out.
pub fn is_retryable(error: &ClientError) -> bool {
    matches!(error, ClientError::Unreachable { .. } | ClientError::Busy { .. })
}

/// Whether `status` says that a token has run out.
pub fn is_unauthorized(error: &ClientError) -> bool {
    matches!(error, ClientError::Unauthorized { problem, .. }
        if problem.status == StatusCode::UNAUTHORIZED.as_u16())
}

fn unreachable(server: &Server, error: reqwest::Error) -> ClientError {
    ClientError::Unreachable { server: server.to_string(), cause: root_cause(error) }
}

fn root_cause(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    printable(&cause.to_string()).to_lowercase()
}

/// Reqwest is built without a provider of its own: two in one process end in a panic.
fn install_crypto_provider() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // An error says that one is installed already, which is what is wanted.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    });
}

#[cfg(test)]
mod tests;
