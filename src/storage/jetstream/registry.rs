//! Documents: one message each, changed in atomic batches, and all of them in the memory of every node.
//!
//! A change is decided against this node's memory and stored only if the stream still ends where that
//! memory does; otherwise the node catches up and decides again. A document's version is the sequence of
//! the first message of the batch that wrote it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_nats::{
    HeaderMap,
    jetstream::{
        consumer::{DeliverPolicy, push::OrderedConfig},
        stream::Config,
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::RwLock;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::connection::{BATCH_MAX, ConnectError, Message, Nats, NotStored, unavailable};
use crate::storage::{Change, Document, Registry, RegistryError, Unavailable};

/// The registry of a cluster.
pub(super) struct Documents {
    nats: Nats,
    state: Arc<State>,
    /// Changes of this node queue here instead of refusing one another.
    turn: Mutex<()>,
}

/// The registry in memory.
struct State {
    documents: RwLock<BTreeMap<(String, String), (u64, Bytes)>>,
    /// Highest version given.
    revision: watch::Sender<u64>,
    /// Sequence of the last message that is in `documents`.
    caught_up: watch::Sender<u64>,
}

/// One message, as it goes into memory.
struct Written {
    key: (String, String),
    version: u64,
    body: Option<Bytes>,
    seq: u64,
    more: bool,
}

impl Documents {
    /// Reads every document, and follows changes until `stop`.
    pub(super) async fn open(nats: Nats, stop: CancellationToken) -> Result<Documents, ConnectError> {
        let config = Config {
            name: STREAM.to_owned(),
            subjects: vec![format!("{SUBJECT}.>")],
            max_messages_per_subject: 1,
            ..Config::default()
        };
        nats.ensure_stream(config).await?;
        let state = Arc::new(State {
            documents: RwLock::default(),
            revision: watch::channel(0).0,
            caught_up: watch::channel(0).0,
        });
        let documents = Documents { nats, state, turn: Mutex::default() };
        let end = documents.end().await.map_err(ConnectError::NoAnswer)?;
        tokio::spawn(follow(documents.nats.clone(), Arc::clone(&documents.state), stop));
        documents.catch_up(end).await.map_err(ConnectError::NoAnswer)?;
        Ok(documents)
    }

    /// Sequence of the last message, from the leader.
    async fn end(&self) -> Result<u64, Unavailable> {
        let stream = self.nats.js.get_stream(STREAM).await.map_err(unavailable)?;
        Ok(stream.cached_info().state.last_sequence)
    }

    async fn catch_up(&self, seq: u64) -> Result<(), Unavailable> {
        let mut caught_up = self.state.caught_up.subscribe();
        let arrived = tokio::time::timeout(CATCH_UP_WITHIN, caught_up.wait_for(|at| *at >= seq)).await;
        match arrived {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Unavailable::Stopped),
            Err(late) => Err(unavailable(late)),
        }
    }

    /// Whether the changes may be made now, and the sequence this was decided at.
    fn decide(&self, changes: &[Change]) -> Result<u64, RegistryError> {
        let documents = self.state.documents.read();
        for (index, change) in changes.iter().enumerate() {
            let found = documents.get(&(change.kind.clone(), change.name.clone()));
            let actual = found.map_or(0, |(version, _)| *version);
            if actual != change.expected_version {
                return Err(RegistryError::Conflict { index, actual });
            }
        }
        Ok(*self.state.caught_up.borrow())
    }
}

#[async_trait]
impl Registry for Documents {
    async fn get(&self, kind: &str, name: &str) -> Result<Option<Document>, RegistryError> {
        let documents = self.state.documents.read();
        let found = documents.get(&(kind.to_owned(), name.to_owned()));
        Ok(found.map(|(version, body)| document(name, *version, body)))
    }

    async fn list(&self, kind: &str) -> Result<Vec<Document>, RegistryError> {
        let documents = self.state.documents.read();
        let of_kind = documents.range((kind.to_owned(), String::new())..);
        let of_kind = of_kind.take_while(|((found, _), _)| found == kind);
        Ok(of_kind.map(|((_, name), (version, body))| document(name, *version, body)).collect())
    }

    async fn put(
        &self,
        kind: &str,
        name: &str,
        expected_version: u64,
        body: Bytes,
    ) -> Result<u64, RegistryError> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        self.apply(vec![Change { kind, name, expected_version, body: Some(body) }]).await
    }

    async fn delete(&self, kind: &str, name: &str, expected_version: u64) -> Result<(), RegistryError> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        self.apply(vec![Change { kind, name, expected_version, body: None }]).await.map(drop)
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<u64, RegistryError> {
        let mut seen = HashSet::new();
        let valid = |text: &str| !text.is_empty() && text.len() <= 1024 && !text.contains('\0');
        if changes.len() > BATCH_MAX
            || !changes.iter().all(|change| {
                valid(&change.kind) && valid(&change.name) && seen.insert((&change.kind, &change.name))
            })
        {
            return Err(RegistryError::BadName);
        }
        let _turn = self.turn.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let end = self.decide(&changes)?;
            if changes.is_empty() {
                return Ok(*self.state.revision.borrow());
            }
            match self.nats.store_all(messages(&changes, end)).await {
                Ok(stored) => {
                    self.catch_up(stored.seq).await?;
                    return Ok(end + 1);
                }
                Err(NotStored::WrongSequence) => {
                    let now = self.end().await?;
                    self.catch_up(now).await?;
                    if now == end {
                        // Another node's batch is under way, and may still fail.
                        tokio::time::sleep(AGAIN_AFTER).await;
                    }
                }
                // Whether it was stored shows in memory once that has caught up.
                Err(NotStored::Unknown(error)) => {
                    let now = self.end().await?;
                    self.catch_up(now).await?;
                    return match self.holds(&changes, end + 1) {
                        true => Ok(end + 1),
                        false => Err(error.into()),
                    };
                }
                Err(NotStored::Refused(error)) => return Err(error.into()),
                Err(NotStored::NoStream | NotStored::Duplicate) => {
                    return Err(Unavailable::Backend("the registry's stream is gone".into()).into());
                }
            }
        }
        Err(Unavailable::Backend("others change the registry all the time".into()).into())
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.state.revision.subscribe()
    }
}

impl Documents {
    /// Whether memory shows exactly these changes under this version.
    fn holds(&self, changes: &[Change], version: u64) -> bool {
        let documents = self.state.documents.read();
        changes.iter().all(|change| {
            let found = documents.get(&(change.kind.clone(), change.name.clone()));
            match &change.body {
                Some(body) => found.is_some_and(|found| found == &(version, body.clone())),
                None => found.is_none(),
            }
        })
    }
}

/// The messages of a change, if the stream still ends at `end`.
fn messages(changes: &[Change], end: u64) -> Vec<Message> {
    let version = (end + 1).to_string();
    let numbered = changes.iter().enumerate();
    let made = numbered.map(|(index, change)| {
        let mut headers = HeaderMap::new();
        if index == 0 {
            headers.insert("Nats-Expected-Last-Sequence", end.to_string());
        }
        headers.insert(VERSION, version.as_str());
        if index + 1 < changes.len() {
            headers.insert(MORE, "1");
        }
        if change.body.is_none() {
            headers.insert(REMOVED, "1");
        }
        let subject = format!("{SUBJECT}.{}.{}", hex(&change.kind), hex(&change.name));
        Message { subject, headers, payload: change.body.clone().unwrap_or_default() }
    });
    made.collect()
}

/// Brings messages into memory, batch by batch, until told to stop. Begins anew after an error.
async fn follow(nats: Nats, state: Arc<State>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            failed = follow_once(&nats, &state) => {
                if let Err(error) = failed {
                    tracing::warn!(%error, "the registry is not followed at the moment");
                }
            }
        }
        tokio::time::sleep(FOLLOW_AGAIN_AFTER).await;
    }
}

async fn follow_once(nats: &Nats, state: &State) -> Result<(), Unavailable> {
    let stream = nats.js.get_stream(STREAM).await.map_err(unavailable)?;
    let config = OrderedConfig {
        deliver_subject: nats.client.new_inbox(),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: *state.caught_up.borrow() + 1 },
        ..OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(unavailable)?;
    let mut arriving = consumer.messages().await.map_err(unavailable)?;
    let mut waiting: Vec<Written> = Vec::new();
    while let Some(message) = arriving.next().await {
        let message = message.map_err(unavailable)?;
        let Some(written) = read(&message) else { continue };
        // Of an old batch later changes may have replaced the rest.
        if waiting.first().is_some_and(|first| first.version != written.version) {
            state.take(std::mem::take(&mut waiting));
        }
        let more = written.more;
        waiting.push(written);
        if !more {
            state.take(std::mem::take(&mut waiting));
        }
    }
    Ok(())
}

fn read(message: &async_nats::jetstream::Message) -> Option<Written> {
    let headers = message.headers.as_ref()?;
    let mut names = message.subject.strip_prefix(SUBJECT)?.split('.').skip(1);
    let key = (unhex(names.next()?)?, unhex(names.next()?)?);
    let version = headers.get(VERSION)?.as_str().parse().ok()?;
    let body = headers.get(REMOVED).is_none().then(|| message.payload.clone());
    let seq = message.info().ok()?.stream_sequence;
    Some(Written { key, version, body, seq, more: headers.get(MORE).is_some() })
}

impl State {
    fn take(&self, written: Vec<Written>) {
        let Some(last) = written.last().map(|last| last.seq) else { return };
        let version = written.iter().map(|one| one.version).max().unwrap_or(0);
        let mut documents = self.documents.write();
        for one in written {
            match one.body {
                Some(body) => documents.insert(one.key, (one.version, body)),
                None => documents.remove(&one.key),
            };
        }
        // Under the lock: whoever decides sees documents and their end together.
        self.caught_up.send_replace(last);
        drop(documents);
        self.revision.send_if_modified(|known| {
            let grew = version > *known;
            *known = version.max(*known);
            grew
        });
    }
}

fn document(name: &str, version: u64, body: &Bytes) -> Document {
    Document { name: name.to_owned(), version, body: body.clone() }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<String> {
    let bytes =
        text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

const STREAM: &str = "SLUICE_REGISTRY";
const SUBJECT: &str = "sluice.registry";
const VERSION: &str = "Sluice-Version";
const MORE: &str = "Sluice-More";
const REMOVED: &str = "Sluice-Removed";
const ATTEMPTS_MAX: u32 = 100;
const AGAIN_AFTER: Duration = Duration::from_millis(20);
const FOLLOW_AGAIN_AFTER: Duration = Duration::from_millis(200);
const CATCH_UP_WITHIN: Duration = Duration::from_secs(10);
