//! One JetStream stream per log; a record's sequence is its message's.

use async_nats::{
    HeaderMap,
    jetstream::{
        self,
        stream::{Config, LastRawMessageErrorKind, State},
    },
};
use async_trait::async_trait;
use futures_util::TryStreamExt;
use tokio::sync::watch;

use super::{
    connection::{BATCH_MAX, ConnectError, Message, Nats, NotStored, Stored, missing, unavailable},
    fetch, message,
    tails::Tails,
};
use crate::{
    clock::Timestamp,
    domain::{RecordBatch, StreamName, record::records},
    storage::{
        AppendError, AppendOptions, Appended, Bounds, Chunk, EventLog, Hint, LogError, Loss, OnceKey,
        ScrubReport, Unavailable,
    },
};

/// The logs of a cluster.
pub(super) struct Logs {
    nats: Nats,
    tails: Tails,
}

impl Logs {
    pub(super) async fn open(nats: Nats, tails: Tails) -> Result<Logs, ConnectError> {
        let config = Config {
            name: HINTS.to_owned(),
            subjects: vec![format!("{HINT_SUBJECT}.*")],
            max_messages_per_subject: 1,
            ..Config::default()
        };
        nats.ensure_stream(config).await?;
        Ok(Logs { nats, tails })
    }

    /// The stream's state, from its leader.
    async fn state(&self, stream: &StreamName) -> Result<(jetstream::stream::Stream, State), LogError> {
        match self.nats.js.get_stream(js_name(stream)).await {
            Ok(found) => {
                let state = found.cached_info().state.clone();
                Ok((found, state))
            }
            Err(error) if missing(&error) => Err(LogError::UnknownStream),
            Err(error) => Err(unavailable(error).into()),
        }
    }

    /// Appends a part of a batch: at most what one atomic batch holds.
    async fn append_part(
        &self,
        stream: &StreamName,
        messages: &[(HeaderMap, bytes::Bytes)],
        expected_end: Option<u64>,
        once: Option<(OnceKey, usize)>,
    ) -> Result<Appended, AppendError> {
        let count = messages.len() as u64;
        for attempt in 0.. {
            let mut batch: Vec<Message> = messages
                .iter()
                .map(|(headers, payload)| Message {
                    subject: subject(stream),
                    headers: headers.clone(),
                    payload: payload.clone(),
                })
                .collect();
            if let Some(first) = batch.first_mut() {
                if let Some(end) = expected_end {
                    first.headers.insert("Nats-Expected-Last-Sequence", (end - 1).to_string());
                }
                if let Some((once, total)) = once {
                    first.headers.insert("Nats-Msg-Id", once_id(once));
                    first.headers.insert(COUNT, total.to_string());
                }
            }
            match self.nats.store_all(batch).await {
                Ok(Stored { seq, duplicate: true }) => return self.earlier(stream, seq).await,
                Ok(Stored { seq, .. }) => {
                    return Ok(Appended { first_seq: seq + 1 - count, end: seq + 1, duplicate: false });
                }
                Err(NotStored::Duplicate) => {
                    if let Some(seq) = self.probe(stream, once.map(|(once, _)| once)).await? {
                        return self.earlier(stream, seq).await;
                    }
                }
                Err(NotStored::WrongSequence) => {
                    let actual = self.bounds(stream).await?.end;
                    // Another writer's batch may be under way, and may still fail.
                    if Some(actual) != expected_end {
                        return Err(AppendError::WrongEnd { actual });
                    }
                }
                Err(NotStored::NoStream) => {
                    self.state(stream).await?;
                }
                Err(NotStored::Unknown(error)) => {
                    let Some(end) = expected_end else { return Err(error.into()) };
                    // The leader knows: the writer reads on from where the log ends now.
                    let actual = self.bounds(stream).await?.end;
                    if actual != end {
                        return Err(AppendError::WrongEnd { actual });
                    }
                }
                Err(NotStored::Refused(error)) => return Err(error.into()),
            }
            if attempt >= ATTEMPTS_MAX {
                break;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        Err(Unavailable::Backend("the stream's leader does not decide".into()).into())
    }

    /// Where the batch with this key was stored, if it is still remembered. Stores nothing: the sequence
    /// it asks for does not exist, and ids are looked at first.
    async fn probe(&self, stream: &StreamName, once: Option<OnceKey>) -> Result<Option<u64>, AppendError> {
        let Some(once) = once else { return Ok(None) };
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", once_id(once));
        headers.insert("Nats-Expected-Last-Sequence", (u64::MAX >> 1).to_string());
        let message = Message { subject: subject(stream), headers, payload: bytes::Bytes::new() };
        match self.nats.store(message).await {
            Ok(stored) => Ok(stored.duplicate.then_some(stored.seq)),
            Err(NotStored::WrongSequence | NotStored::Duplicate | NotStored::NoStream) => Ok(None),
            Err(NotStored::Unknown(error) | NotStored::Refused(error)) => Err(error.into()),
        }
    }

    /// The append whose first message has this sequence.
    async fn earlier(&self, stream: &StreamName, seq: u64) -> Result<Appended, AppendError> {
        let found = self.nats.js.get_stream_no_info(js_name(stream)).await.map_err(unavailable)?;
        let message = found.get_raw_message(seq).await;
        let message = message.map_err(|error| AppendError::Unavailable(unavailable(error)))?;
        let count = message.headers.get(COUNT).and_then(|count| count.as_str().parse().ok()).unwrap_or(1);
        Ok(Appended { first_seq: seq, end: seq + count, duplicate: true })
    }
}

#[async_trait]
impl EventLog for Logs {
    async fn create(&self, stream: &StreamName) -> Result<(), LogError> {
        let config = Config {
            name: js_name(stream),
            subjects: vec![subject(stream)],
            duplicate_window: ONCE_WITHIN,
            allow_direct: true,
            ..Config::default()
        };
        self.nats.ensure_stream(config).await.map_err(|error| match error {
            ConnectError::NoAnswer(error) => error,
            other => unavailable(other),
        })?;
        self.tails.tell(stream, 1).await;
        Ok(())
    }

    async fn delete(&self, stream: &StreamName) -> Result<(), LogError> {
        self.nats.remove_stream(&js_name(stream)).await?;
        let hints = self.nats.js.get_stream_no_info(HINTS).await.map_err(unavailable)?;
        hints.purge().filter(hint_subject(stream)).await.map_err(unavailable)?;
        self.tails.forget(stream).await;
        Ok(())
    }

    async fn append(
        &self,
        stream: &StreamName,
        batch: RecordBatch,
        options: AppendOptions,
    ) -> Result<Appended, AppendError> {
        let AppendOptions { mut expected_end, once, hint } = options;
        let mut messages = Vec::with_capacity(batch.count() as usize);
        for record in records(batch.bytes()) {
            let record = record.map_err(|error| AppendError::Damaged(error.into()))?;
            messages.push((message::headers(&record.head), message::payload(&record)));
        }
        let mut once = once.map(|once| (once, messages.len()));
        let mut whole: Option<Appended> = None;
        for part in messages.chunks(BATCH_MAX) {
            let appended = self.append_part(stream, part, expected_end, once.take()).await?;
            self.tails.tell(stream, appended.end).await;
            expected_end = expected_end.map(|_| appended.end);
            let first_seq = whole.map_or(appended.first_seq, |whole| whole.first_seq);
            whole = Some(Appended { first_seq, ..appended });
            if appended.duplicate {
                break;
            }
        }
        let whole = match whole {
            Some(whole) => whole,
            None => {
                let end = self.bounds(stream).await?.end;
                if let Some(actual) = expected_end.is_some_and(|expected| expected != end).then_some(end) {
                    return Err(AppendError::WrongEnd { actual });
                }
                Appended { first_seq: end, end, duplicate: false }
            }
        };
        if let Some(hint) = hint {
            self.put_hint(stream, hint).await?;
        }
        Ok(whole)
    }

    async fn read(&self, stream: &StreamName, from: u64, max_bytes: usize) -> Result<Vec<Chunk>, LogError> {
        let found = fetch::fetch(&self.nats, stream, from.max(1), max_bytes).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        // A replica that lags knows less than the leader.
        let (leader, state) = self.state(stream).await?;
        let first = state.first_sequence.max(from).max(1);
        if state.messages == 0 || first > state.last_sequence {
            return Ok(Vec::new());
        }
        let message = leader.get_raw_message(first).await.map_err(unavailable)?;
        let mut batch = RecordBatch::default();
        message::pack(&message.headers, &message.payload, &mut batch)
            .map_err(|_| damaged(stream, first, "a message is not a record"))?;
        Ok(vec![Chunk { first_seq: first, count: 1, bytes: batch.into_bytes() }])
    }

    async fn bounds(&self, stream: &StreamName) -> Result<Bounds, LogError> {
        let (_, state) = self.state(stream).await?;
        let end = state.last_sequence + 1;
        let first = if state.messages == 0 { end } else { state.first_sequence };
        Ok(Bounds { first, end, bytes: state.bytes })
    }

    async fn last(&self, stream: &StreamName) -> Result<Option<(u64, Chunk)>, LogError> {
        let (leader, _) = self.state(stream).await?;
        let message = match leader.get_last_raw_message_by_subject(&subject(stream)).await {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
            Err(error) => return Err(unavailable(error).into()),
        };
        let mut batch = RecordBatch::default();
        message::pack(&message.headers, &message.payload, &mut batch)
            .map_err(|_| damaged(stream, message.sequence, "a message is not a record"))?;
        let chunk = Chunk { first_seq: message.sequence, count: 1, bytes: batch.into_bytes() };
        Ok(Some((message.sequence, chunk)))
    }

    fn tail(&self, stream: &StreamName) -> watch::Receiver<u64> {
        self.tails.follow(stream)
    }

    async fn trim(&self, stream: &StreamName, older_than: Timestamp) -> Result<u64, LogError> {
        let (leader, state) = self.state(stream).await?;
        if state.messages == 0 {
            return Ok(state.last_sequence + 1);
        }
        let (mut kept, mut end) = (state.first_sequence, state.last_sequence + 1);
        while kept < end {
            let middle = kept + (end - kept) / 2;
            let message = leader.get_raw_message(middle).await.map_err(unavailable)?;
            let stored = message.time.unix_timestamp_nanos() / 1_000_000;
            if stored < i128::from(older_than.0) {
                kept = middle + 1;
            } else {
                end = middle;
            }
        }
        if kept > state.first_sequence {
            leader.purge().sequence(kept).await.map_err(unavailable)?;
        }
        Ok(kept)
    }

    async fn put_hint(&self, derived: &StreamName, hint: Hint) -> Result<(), LogError> {
        let payload = [hint.source_seq.to_le_bytes(), hint.derived_end.to_le_bytes()].concat();
        let message =
            Message { subject: hint_subject(derived), headers: HeaderMap::new(), payload: payload.into() };
        match self.nats.store(message).await {
            // A hint only saves work: the newest one that arrived serves.
            Ok(_) | Err(NotStored::Unknown(_)) => Ok(()),
            Err(NotStored::Refused(error)) => Err(error.into()),
            Err(_) => Err(Unavailable::Backend("the hints' stream is gone".into()).into()),
        }
    }

    async fn hint(&self, derived: &StreamName) -> Result<Option<Hint>, LogError> {
        let hints = self.nats.js.get_stream_no_info(HINTS).await.map_err(unavailable)?;
        let message = match hints.get_last_raw_message_by_subject(&hint_subject(derived)).await {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
            Err(error) => return Err(unavailable(error).into()),
        };
        let hint = message.payload.split_first_chunk::<8>().and_then(|(source, rest)| {
            let derived_end = u64::from_le_bytes(rest.try_into().ok()?);
            Some(Hint { source_seq: u64::from_le_bytes(*source), derived_end })
        });
        Ok(hint)
    }
}

impl From<LogError> for AppendError {
    fn from(error: LogError) -> AppendError {
        match error {
            LogError::UnknownStream => AppendError::UnknownStream,
            LogError::Unavailable(error) => AppendError::Unavailable(error),
            LogError::Damaged(cause) => AppendError::Damaged(cause),
        }
    }
}

pub(super) fn damaged(stream: &StreamName, seq: u64, what: &str) -> LogError {
    LogError::Damaged(format!("stream {stream} at sequence {seq}: {what}").into())
}

pub(super) fn js_name(stream: &StreamName) -> String {
    format!("SLUICE_EV_{stream}")
}

pub(super) fn subject(stream: &StreamName) -> String {
    format!("sluice.ev.{stream}")
}

fn hint_subject(stream: &StreamName) -> String {
    format!("{HINT_SUBJECT}.{stream}")
}

fn once_id(once: OnceKey) -> String {
    uuid::Uuid::from_bytes(once.0).simple().to_string()
}

const HINTS: &str = "SLUICE_HINTS";
const HINT_SUBJECT: &str = "sluice.hint";
/// Messages of an append with a once key, on its first.
const COUNT: &str = "Sluice-Count";
const ONCE_WITHIN: std::time::Duration = std::time::Duration::from_secs(600);
const ATTEMPTS_MAX: u32 = 50;
const AGAIN_AFTER: std::time::Duration = std::time::Duration::from_millis(20);

/// Streams, records and bytes of all logs; a log with gaps is a loss.
pub(super) async fn census(nats: &Nats) -> Result<ScrubReport, LogError> {
    let mut report = ScrubReport::default();
    let mut streams = nats.js.streams();
    while let Some(info) = streams.try_next().await.map_err(unavailable)? {
        let Some(name) = info.config.name.strip_prefix("SLUICE_EV_") else { continue };
        report.streams += 1;
        report.records += info.state.messages;
        report.bytes += info.state.bytes;
        let expected = info.state.last_sequence + 1 - info.state.first_sequence.max(1);
        if info.state.messages != 0 && info.state.messages != expected {
            report.losses.push(Loss {
                stream: name.to_owned(),
                seq: info.state.first_sequence,
                what: "records are missing".to_owned(),
            });
        }
    }
    Ok(report)
}
