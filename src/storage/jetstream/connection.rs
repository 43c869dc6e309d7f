//! The connection to NATS: what is demanded of the server, streams of our own, publishing with conditions.

use std::{path::PathBuf, time::Duration};

use async_nats::{
    Client, ConnectOptions, HeaderMap, Request,
    client::RequestErrorKind,
    jetstream::{
        self,
        context::{CreateStreamErrorKind, GetStreamErrorKind},
        stream::{Config, StorageType},
    },
};
use bytes::Bytes;
use serde::Deserialize;

use crate::storage::Unavailable;

/// How to reach the servers, and what to ask of them.
#[derive(Clone, Debug)]
pub struct JetStreamOptions {
    /// `nats://host:port`, several with commas.
    pub url: String,
    /// A `.creds` file.
    pub credentials: Option<PathBuf>,
    /// Certificates to trust, PEM; connections are then encrypted.
    pub ca_certificate: Option<PathBuf>,
    /// Copies of every stream: 1, 3 or 5.
    pub replicas: usize,
    /// Largest event, in bytes; the server must take messages that hold one.
    pub event_bytes_max: usize,
}

/// Why JetStream cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("credentials file {0} cannot be used")]
    Credentials(PathBuf, #[source] std::io::Error),
    #[error("no NATS server can be reached, or it refuses the credentials")]
    Unreachable(#[source] async_nats::ConnectError),
    #[error("NATS server has version {0}: 2.12 or newer is needed")]
    TooOld(String),
    #[error("NATS server takes messages of at most {got} bytes: set its max_payload to {wanted} or more")]
    SmallPayload { got: usize, wanted: usize },
    #[error("JetStream is not enabled for this account: enable it on the server")]
    NoJetStream(#[source] jetstream::context::AccountError),
    #[error("stream {0} exists and was not made by Sluice: remove it or use another account")]
    Foreign(String),
    #[error("stream {name} cannot be made with {replicas} replicas")]
    Stream { name: String, replicas: usize, source: jetstream::context::CreateStreamError },
    #[error("JetStream does not answer")]
    NoAnswer(#[from] Unavailable),
}

/// A connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct Nats {
    pub client: Client,
    pub js: jetstream::Context,
    replicas: usize,
}

/// Where a message went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub seq: u64,
    pub duplicate: bool,
}

/// Why a message was not stored.
#[derive(Debug)]
pub(super) enum NotStored {
    /// A condition on the last sequence does not hold. Nothing was stored.
    WrongSequence,
    /// The message id is known, or under way. Nothing was stored.
    Duplicate,
    /// Nobody listens on the subject. Nothing was stored.
    NoStream,
    /// No answer: whether it was stored shows by asking the leader.
    Unknown(Unavailable),
    /// The server refuses it. Nothing was stored.
    Refused(Unavailable),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<ApiError>,
}

#[derive(Debug, Deserialize, thiserror::Error)]
#[error("JetStream says {err_code}: {description}")]
struct ApiError {
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// One message of a batch.
pub(super) struct Message {
    pub subject: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
}

impl Nats {
    pub(super) async fn connect(options: &JetStreamOptions) -> Result<Nats, ConnectError> {
        let mut connect = ConnectOptions::new()
            .name("sluice")
            .no_echo()
            .connection_timeout(CONNECT_WITHIN)
            .request_timeout(Some(ANSWER_WITHIN))
            .ping_interval(Duration::from_secs(2));
        if let Some(path) = &options.credentials {
            let failed = |error| ConnectError::Credentials(path.clone(), error);
            let text = std::fs::read_to_string(path).map_err(failed)?;
            connect = connect.credentials(&text).map_err(failed)?;
        }
        if let Some(path) = &options.ca_certificate {
            connect = connect.add_root_certificates(path.clone()).require_tls(true);
        }
        let urls: Vec<&str> = options.url.split(',').map(str::trim).collect();
        let client = connect.connect(urls).await.map_err(ConnectError::Unreachable)?;
        let server = client.server_info();
        if version(&server.version) < Some(VERSION_MIN) {
            return Err(ConnectError::TooOld(server.version));
        }
        let wanted = options.event_bytes_max + HEADERS_BYTES_MAX;
        if server.max_payload < wanted {
            return Err(ConnectError::SmallPayload { got: server.max_payload, wanted });
        }
        let js = jetstream::ContextBuilder::new().timeout(ANSWER_WITHIN).build(client.clone());
        js.query_account().await.map_err(ConnectError::NoJetStream)?;
        Ok(Nats { client, js, replicas: options.replicas })
    }

    /// Makes a stream unless there is one that Sluice made.
    pub(super) async fn ensure_stream(&self, config: Config) -> Result<(), ConnectError> {
        let name = config.name.clone();
        let mut config = Config {
            storage: StorageType::File,
            num_replicas: self.replicas,
            allow_atomic_publish: true,
            ..config
        };
        config.metadata.insert(OURS.0.to_owned(), OURS.1.to_owned());
        match self.js.create_stream(config).await {
            Ok(_) => Ok(()),
            Err(error) => match (self.is_ours(&name).await?, error.kind()) {
                (Some(true), _) => Ok(()),
                (Some(false), _) => Err(ConnectError::Foreign(name)),
                (None, CreateStreamErrorKind::TimedOut) => Err(unavailable(error).into()),
                (None, _) => Err(ConnectError::Stream { name, replicas: self.replicas, source: error }),
            },
        }
    }

    /// Whether Sluice made this stream; none when there is no such stream.
    async fn is_ours(&self, name: &str) -> Result<Option<bool>, Unavailable> {
        match self.js.get_stream(name).await {
            Ok(stream) => {
                let found = stream.cached_info().config.metadata.get(OURS.0);
                Ok(Some(found.is_some_and(|found| found == OURS.1)))
            }
            Err(error) if missing(&error) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Removes a stream if there is one.
    pub(super) async fn remove_stream(&self, name: &str) -> Result<(), Unavailable> {
        match self.js.delete_stream(name).await {
            Ok(_) => Ok(()),
            Err(error) => match self.is_ours(name).await? {
                None => Ok(()),
                Some(_) => Err(unavailable(error)),
            },
        }
    }

    /// Stores one message, and returns once the leader says that a quorum has it.
    pub(super) async fn store(&self, message: Message) -> Result<Stored, NotStored> {
        let request = Request::new().headers(message.headers).payload(message.payload);
        let answer = self.client.send_request(message.subject, request).await;
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => NotStored::NoStream,
            RequestErrorKind::TimedOut | RequestErrorKind::Other => NotStored::Unknown(unavailable(error)),
            _ => NotStored::Refused(unavailable(error)),
        })?;
        read_answer(&answer.payload)
    }

    /// Stores all messages behind one another, or none. At most [`BATCH_MAX`].
    pub(super) async fn store_all(&self, mut messages: Vec<Message>) -> Result<Stored, NotStored> {
        let Some(mut last) = messages.pop() else {
            return Err(NotStored::Refused(unavailable(std::io::Error::other("an empty batch"))));
        };
        if messages.is_empty() {
            return self.store(last).await;
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        let count = messages.len();
        for (index, mut message) in messages.into_iter().enumerate() {
            message.headers.insert("Nats-Batch-Id", id.as_str());
            message.headers.insert("Nats-Batch-Sequence", (index + 1).to_string().as_str());
            if index == 0 {
                // Answered with an empty message once the server gathers the batch.
                let request = Request::new().headers(message.headers).payload(message.payload);
                let answer = self.client.send_request(message.subject, request).await;
                let answer = answer.map_err(|error| match error.kind() {
                    RequestErrorKind::NoResponders => NotStored::NoStream,
                    _ => NotStored::Refused(unavailable(error)),
                })?;
                if !answer.payload.is_empty() {
                    read_answer(&answer.payload)?;
                }
            } else {
                let sent =
                    self.client.publish_with_headers(message.subject, message.headers, message.payload);
                sent.await.map_err(|error| NotStored::Refused(unavailable(error)))?;
            }
        }
        last.headers.insert("Nats-Batch-Id", id.as_str());
        last.headers.insert("Nats-Batch-Sequence", (count + 1).to_string().as_str());
        last.headers.insert("Nats-Batch-Commit", "1");
        self.store(last).await
    }
}

fn read_answer(payload: &[u8]) -> Result<Stored, NotStored> {
    let answer: Answer =
        serde_json::from_slice(payload).map_err(|error| NotStored::Unknown(unavailable(error)))?;
    match answer.error {
        None => Ok(Stored { seq: answer.seq, duplicate: answer.duplicate }),
        Some(error) => Err(match error.err_code {
            10_071 | 10_164 => NotStored::WrongSequence,
            10_158 | 10_201 => NotStored::Duplicate,
            10_059 => NotStored::NoStream,
            _ => NotStored::Refused(unavailable(error)),
        }),
    }
}

/// What the backend says of an error beneath.
pub(super) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Unavailable {
    Unavailable::Backend(Box::new(error))
}

/// Whether the error says that there is no such stream.
pub(super) fn missing(error: &jetstream::context::GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error)
        if error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND)
}

/// Major and minor version of "2.15.1" or "2.12.0-preview".
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Messages of one atomic batch; the servers' default limit.
pub(super) const BATCH_MAX: usize = 1000;
/// Older servers let two writers win a compare-and-set.
const VERSION_MIN: (u32, u32) = (2, 12);
/// Envelope of an event as headers, at most.
const HEADERS_BYTES_MAX: usize = 4096;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Mark on streams that Sluice made.
const OURS: (&str, &str) = ("sluice", "1");
