//! One place: the stream that holds the keys of an epoch under one epoch key.

use async_nats::{
    HeaderMap,
    jetstream::{
        consumer::{DeliverPolicy, push::OrderedConfig},
        stream::{Config, LastRawMessageErrorKind, Stream},
    },
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};

use super::rows::KeyRow;
use crate::{
    domain::Epoch,
    storage::{
        EpochKind, KeyError, Unavailable,
        jetstream::connection::{ConnectError, Message, Nats, NotStored, unavailable},
    },
};

/// A place, by its numbers.
#[derive(Clone)]
pub(super) struct PlaceStream {
    pub nats: Nats,
    pub epoch: Epoch,
    pub kind: EpochKind,
    pub generation: u32,
}

/// Outcome of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    Done,
    /// A condition does not hold: nothing was written.
    Refused,
    /// The place is gone: nothing was written.
    Gone,
}

/// A message to write, and what must hold.
pub(super) struct Write {
    pub key: String,
    pub payload: Bytes,
    /// Sequence of the last message of `key` (or of the other subject given); 0 for none.
    pub expected: Option<(u64, Option<String>)>,
}

impl PlaceStream {
    fn name(&self) -> String {
        format!("SLUICE_KEYS_{}_{}_{}", self.epoch.0, self.kind as u8, self.generation)
    }

    fn prefix(&self) -> String {
        format!("sluice.keys.{}.{}.{}.", self.epoch.0, self.kind as u8, self.generation)
    }

    pub(super) async fn make(&self) -> Result<(), KeyError> {
        let config = Config {
            name: self.name(),
            subjects: vec![format!("{}>", self.prefix())],
            max_messages_per_subject: 1,
            ..Config::default()
        };
        self.nats.ensure_stream(config).await.map_err(|error| match error {
            ConnectError::NoAnswer(error) => error.into(),
            other => KeyError::Unavailable(unavailable(other)),
        })
    }

    pub(super) async fn remove(&self) -> Result<(), KeyError> {
        Ok(self.nats.remove_stream(&self.name()).await?)
    }

    async fn stream(&self) -> Result<Stream<()>, KeyError> {
        Ok(self.nats.js.get_stream_no_info(self.name()).await.map_err(unavailable)?)
    }

    /// The last message of `key`, from the leader; none also when the place is gone.
    pub(super) async fn get(&self, key: &str) -> Result<Option<(u64, Bytes)>, KeyError> {
        let subject = format!("{}{key}", self.prefix());
        match self.stream().await?.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(Some((message.sequence, message.payload))),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(found)
                    if found.error_code() == async_nats::jetstream::ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(unavailable(error).into()),
            },
        }
    }

    /// A key's row and its sequence.
    pub(super) async fn row(&self, key: &str) -> Result<Option<(u64, KeyRow)>, KeyError> {
        let Some((seq, payload)) = self.get(key).await? else { return Ok(None) };
        Ok(Some((seq, decode(&payload)?)))
    }

    /// Writes everything, or nothing when a condition does not hold.
    pub(super) async fn write(&self, writes: Vec<Write>) -> Result<Wrote, KeyError> {
        let prefix = self.prefix();
        let messages = writes.into_iter().map(|write| {
            let mut headers = HeaderMap::new();
            if let Some((seq, other)) = write.expected {
                headers.insert("Nats-Expected-Last-Subject-Sequence", seq.to_string());
                if let Some(other) = other {
                    let subject = format!("{prefix}{other}");
                    headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", subject);
                }
            }
            Message { subject: format!("{prefix}{}", write.key), headers, payload: write.payload }
        });
        match self.nats.store_all(messages.collect()).await {
            Ok(_) => Ok(Wrote::Done),
            Err(NotStored::WrongSequence | NotStored::Duplicate) => Ok(Wrote::Refused),
            Err(NotStored::NoStream) => Ok(Wrote::Gone),
            Err(NotStored::Unknown(error) | NotStored::Refused(error)) => Err(error.into()),
        }
    }

    /// Removes the messages of these keys.
    pub(super) async fn purge(&self, keys: &[String]) -> Result<(), KeyError> {
        for key in keys {
            let filter = format!("{}{key}", self.prefix());
            self.stream().await?.purge().filter(filter).await.map_err(unavailable)?;
        }
        Ok(())
    }

    /// Keys that match `filter`, in order; none when the place is gone.
    pub(super) async fn list(&self, filter: &str) -> Result<Vec<String>, KeyError> {
        let prefix = self.prefix();
        let stream = self.stream().await?;
        let Ok(subjects) = stream.info_with_subjects(format!("{prefix}{filter}")).await else {
            return match self.nats.js.get_stream(self.name()).await {
                Err(error) if super::super::connection::missing(&error) => Ok(Vec::new()),
                Err(error) => Err(unavailable(error).into()),
                Ok(_) => Err(Unavailable::Backend("subjects cannot be listed".into()).into()),
            };
        };
        let subjects: Vec<(String, usize)> = subjects.try_collect().await.map_err(unavailable)?;
        let mut keys: Vec<String> = subjects
            .into_iter()
            .filter_map(|(subject, _)| subject.strip_prefix(&prefix).map(str::to_owned))
            .collect();
        keys.sort();
        Ok(keys)
    }

    /// Every key row of the place, by key.
    pub(super) async fn rows(&self) -> Result<Vec<(String, KeyRow)>, KeyError> {
        if self.list("K.>").await?.is_empty() {
            return Ok(Vec::new());
        }
        let prefix = self.prefix();
        let config = OrderedConfig {
            deliver_subject: self.nats.client.new_inbox(),
            deliver_policy: DeliverPolicy::LastPerSubject,
            filter_subject: format!("{prefix}K.>"),
            ..OrderedConfig::default()
        };
        let stream = self.nats.js.get_stream(self.name()).await.map_err(unavailable)?;
        let consumer = stream.create_consumer(config).await.map_err(unavailable)?;
        let mut messages = consumer.messages().await.map_err(unavailable)?;
        let mut rows = Vec::new();
        while let Some(message) = messages.next().await {
            let message = message.map_err(unavailable)?;
            if let Some(key) = message.subject.strip_prefix(&prefix) {
                rows.push((key.to_owned(), decode(&message.payload)?));
            }
            if message.info().map_err(KeyError::Damaged)?.pending == 0 {
                break;
            }
        }
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(rows)
    }
}

impl Write {
    pub(super) fn plain(key: impl Into<String>, payload: impl Into<Bytes>) -> Write {
        Write { key: key.into(), payload: payload.into(), expected: None }
    }

    /// Only if the last message of the key still has this sequence.
    pub(super) fn guarded(key: impl Into<String>, payload: impl Into<Bytes>, expected: u64) -> Write {
        Write { expected: Some((expected, None)), ..Write::plain(key, payload) }
    }

    /// Only if the gate still has this sequence.
    pub(super) fn behind_gate(mut self, gate: u64) -> Write {
        self.expected = Some((gate, Some("G".to_owned())));
        self
    }
}

pub(super) fn encode(row: &KeyRow) -> Result<Bytes, KeyError> {
    serde_json::to_vec(row).map(Bytes::from).map_err(|error| KeyError::Damaged(error.into()))
}

/// Parser errors quote input: they do not travel.
fn decode(payload: &[u8]) -> Result<KeyRow, KeyError> {
    serde_json::from_slice(payload).map_err(|_| malformed())
}

pub(super) fn malformed() -> KeyError {
    KeyError::Damaged("a key's row is malformed".into())
}
