//! Auditor: the only writer of this node's entries in the audit log.
//!
//! - **Owns** the Merkle tree over the log, and who has been written down lately.
//! - **Born** in `actors::root`, before the registry, whose orders it records.
//! - **Spoken to** through [`AuditorHandle`]: by `registry` before every change, by `http` for grants and
//!   readers. Questions about the past read the log and the tree beside it.
//! - **Fails** by stopping; root restarts it and it reads what it has not seen.
//! - **Bounded**: an order waits at most [`DEADLINE`]; what nobody waits for is counted by client, and at
//!   most [`NOTES_MAX`] such entries wait for a log that takes none.
//!
//! Invariant: `record` returns an index only when the entry is durable, and the effect comes after.
//! The log may have writers on other nodes: an append that finds another end reads their entries first.

use std::{sync::Arc, time::Duration};

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};

use super::{
    ask::{AskError, respond},
    auditor_handle::{AuditorHandle, AuditorShared},
    checkpoint_file::CheckpointFile,
    recent::{Recent, Seen},
};
use crate::{
    audit::{Action, Entry, merkle::leaf_hash},
    clock::Timestamp,
    domain::{KeyLink, Levels, RecordBatch, RecordHead, Serialization, StreamName, Who},
    storage::{AppendError, AppendOptions, LogError},
};

/// Why something was not written down. What it was for must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// Retry later.
    #[error("the audit log takes no entries at this moment, and nothing is done without one")]
    Unavailable,
    /// Ask for another one.
    #[error("the audit log has no such entry or size")]
    OutOfRange,
}

impl From<AskError> for AuditError {
    fn from(_: AskError) -> AuditError {
        AuditError::Unavailable
    }
}

impl From<LogError> for AuditError {
    fn from(error: LogError) -> AuditError {
        tracing::error!(%error, "audit log cannot be read");
        AuditError::Unavailable
    }
}

pub(super) type Reply = RpcReplyPort<Result<u64, AuditError>>;

pub(super) enum AuditorMsg {
    Record {
        who: Who,
        action: Action,
        project: Option<String>,
        reply: Reply,
    },
    Granted {
        client: Arc<str>,
        stream: StreamName,
        purposes: Vec<i32>,
        reply: Reply,
    },
    Attached {
        reader: Who,
        stream: StreamName,
        purposes: Vec<i32>,
        reply: Reply,
    },
    Detached {
        reader: Who,
        stream: StreamName,
    },
    /// Orders that came meanwhile are in the mailbox before it: they share one append.
    Flush,
    /// Time has passed.
    Tick,
    /// Writes what is still only counted. The node stops.
    Close {
        reply: RpcReplyPort<()>,
    },
}

impl std::fmt::Debug for AuditorMsg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuditorMsg")
    }
}

/// An entry that is not durable yet.
struct Waiting {
    who: Who,
    action: Action,
    project: Option<String>,
    seen: Option<Seen>,
    /// None: nobody waits, and it is tried again.
    reply: Option<Reply>,
}

pub(super) struct AuditorActor;

pub(super) struct AuditorState {
    shared: Arc<AuditorShared>,
    waiting: Vec<Waiting>,
    flush_ordered: bool,
    recent: Recent,
    last_at: Timestamp,
    checkpoint_told: Timestamp,
    checkpoint_file: Option<CheckpointFile>,
}

impl AuditorActor {
    pub(super) async fn spawn(
        parent: ActorCell,
        handle: &AuditorHandle,
    ) -> Result<ActorRef<AuditorMsg>, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, AuditorActor, handle.shared(), parent).await?;
        handle.set_actor(actor.clone());
        Ok(actor)
    }
}

impl Actor for AuditorActor {
    type Msg = AuditorMsg;
    type State = AuditorState;
    type Arguments = Arc<AuditorShared>;

    async fn pre_start(
        &self,
        me: ActorRef<AuditorMsg>,
        shared: Arc<AuditorShared>,
    ) -> Result<AuditorState, ActorProcessingErr> {
        shared.log.create(&shared.stream).await?;
        let mut state = AuditorState {
            checkpoint_told: shared.clock.steady(),
            checkpoint_file: shared.checkpoint_file.clone().map(CheckpointFile::new),
            shared,
            waiting: Vec::new(),
            flush_ordered: false,
            recent: Recent::default(),
            last_at: Timestamp(0),
        };
        state.catch_up().await?;
        me.send_interval(TICK, || AuditorMsg::Tick);
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<AuditorMsg>,
        msg: AuditorMsg,
        state: &mut AuditorState,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            AuditorMsg::Record { who, action, project, reply } => {
                state.wait(&me, Waiting { who, action, project, seen: None, reply: Some(reply) });
            }
            AuditorMsg::Granted { client, stream, purposes, reply } => {
                state.on_granted(&me, client, stream, purposes, reply);
            }
            AuditorMsg::Attached { reader, stream, purposes, reply } => {
                state.on_attached(&me, reader, stream, purposes, reply);
            }
            AuditorMsg::Detached { reader, stream } => {
                state.recent.detached(&reader, &stream, state.shared.clock.steady());
            }
            AuditorMsg::Flush => state.on_flush().await,
            AuditorMsg::Tick => state.on_tick(&me).await,
            AuditorMsg::Close { reply } => {
                state.on_close().await;
                respond(reply, ());
            }
        }
        Ok(())
    }
}

impl AuditorState {
    fn wait(&mut self, me: &ActorRef<AuditorMsg>, waiting: Waiting) {
        if waiting.reply.is_none() && self.waiting.len() >= NOTES_MAX {
            tracing::error!(
                action = waiting.action.name(),
                "the audit log is away too long: an entry is lost"
            );
            return;
        }
        self.waiting.push(waiting);
        if !self.flush_ordered {
            self.flush_ordered = me.cast(AuditorMsg::Flush).is_ok();
        }
    }

    fn on_granted(
        &mut self,
        me: &ActorRef<AuditorMsg>,
        client: Arc<str>,
        stream: StreamName,
        purposes: Vec<i32>,
        reply: Reply,
    ) {
        let now = self.shared.clock.steady();
        let repeated = match self.recent.grant(&client, now) {
            Ok(()) => return respond(reply, Ok(self.shared.size())),
            Err(repeated) => repeated,
        };
        let who = Who::Client { id: Arc::clone(&client), stream: stream.clone() };
        let action = Action::TokenGranted { stream, purposes, repeated };
        let seen = Some(Seen::Granted { client, at: now });
        self.wait(me, Waiting { who, action, project: None, seen, reply: Some(reply) });
    }

    fn on_attached(
        &mut self,
        me: &ActorRef<AuditorMsg>,
        reader: Who,
        stream: StreamName,
        purposes: Vec<i32>,
        reply: Reply,
    ) {
        if self.recent.attach(&reader, &stream) {
            if reply.send(Ok(self.shared.size())).is_err() {
                self.recent.detached(&reader, &stream, self.shared.clock.steady());
            }
            return;
        }
        let action = Action::ReaderAttached { stream: stream.clone(), purposes };
        let seen = Some(Seen::Attached { reader: reader.clone(), stream });
        self.wait(me, Waiting { who: reader, action, project: None, seen, reply: Some(reply) });
    }

    async fn on_flush(&mut self) {
        self.flush_ordered = false;
        if self.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let appended = tokio::time::timeout(APPEND_PATIENCE, self.append(&waiting)).await;
        let late = |_| "no answer in time".to_owned();
        match appended.map_err(late).and_then(|appended| appended.map_err(|error| error.to_string())) {
            Ok(first) => {
                for (index, waiting) in (first..).zip(waiting) {
                    self.answer(index, waiting);
                }
            }
            Err(error) => {
                tracing::error!(%error, "the audit log takes no entries");
                for mut waiting in waiting {
                    match waiting.reply.take() {
                        Some(reply) => respond(reply, Err(AuditError::Unavailable)),
                        None => self.waiting.push(waiting),
                    }
                }
            }
        }
    }

    fn answer(&mut self, index: u64, waiting: Waiting) {
        let attached = match &waiting.seen {
            Some(Seen::Attached { reader, stream }) => Some((reader.clone(), stream.clone())),
            _ => None,
        };
        if let Some(seen) = waiting.seen {
            self.recent.saw(seen);
        }
        let left = waiting.reply.is_some_and(|reply| reply.send(Ok(index)).is_err());
        if let Some((reader, stream)) = attached.filter(|_| left) {
            self.recent.detached(&reader, &stream, self.shared.clock.steady());
        }
    }

    /// Appends all of `waiting` or none; returns the index of the first.
    async fn append(&mut self, waiting: &[Waiting]) -> Result<u64, AppendError> {
        let mut tries = 0;
        loop {
            let (first, at) = (self.shared.size(), self.shared.clock.now().max(self.last_at));
            let (mut batch, mut leaves) = (RecordBatch::default(), Vec::with_capacity(waiting.len()));
            for (index, waiting) in (first..).zip(waiting) {
                let Waiting { who, action, project, .. } = waiting;
                let (who, action, project) = (who.clone(), action.clone(), project.clone());
                let leaf = Entry { index, at, who, action, project }.encode();
                leaves.push(leaf_hash(&leaf));
                batch.push(&head(at), &leaf);
            }
            let options = AppendOptions { expected_end: Some(first + 1), ..AppendOptions::default() };
            match self.shared.log.append(&self.shared.stream, batch, options).await {
                Ok(_) => {
                    self.last_at = at;
                    let mut tree = self.shared.tree.write();
                    leaves.into_iter().for_each(|leaf| tree.push(leaf));
                    return Ok(first);
                }
                Err(AppendError::WrongEnd { .. }) if tries < TRIES => {
                    tries += 1;
                    self.catch_up().await.map_err(|error| match error {
                        LogError::UnknownStream => AppendError::UnknownStream,
                        LogError::Unavailable(error) => AppendError::Unavailable(error),
                        LogError::Damaged(cause) => AppendError::Damaged(cause),
                    })?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads the entries that the tree does not have.
    async fn catch_up(&mut self) -> Result<(), LogError> {
        let begun = std::time::Instant::now();
        let before = self.shared.size();
        loop {
            let next = self.shared.size() + 1;
            let chunks = self.shared.log.read(&self.shared.stream, next, READ_BYTES).await?;
            if chunks.is_empty() {
                break;
            }
            let mut tree = self.shared.tree.write();
            for (_, record) in chunks.iter().flat_map(|chunk| chunk.records(next)) {
                let record = record.map_err(|damaged| LogError::Damaged(damaged.into()))?;
                self.last_at = self.last_at.max(record.head.accepted);
                tree.push(leaf_hash(record.body));
            }
        }
        let read = self.shared.size() - before;
        if read > 0 {
            tracing::info!(entries = read, ms = begun.elapsed().as_millis(), "audit log read");
        }
        Ok(())
    }

    async fn on_tick(&mut self, me: &ActorRef<AuditorMsg>) {
        let now = self.shared.clock.steady();
        let detached = self.recent.detachments(now, false);
        self.note(me, detached.into_iter().chain(self.shared.failures.due(now, false)));
        if !self.waiting.is_empty() && !self.flush_ordered {
            self.flush_ordered = me.cast(AuditorMsg::Flush).is_ok();
        }
        if now.since(self.checkpoint_told) >= CHECKPOINT_EVERY_MS {
            self.checkpoint_told = now;
            // Where log lines are shipped to, the newest entries cannot be cut unnoticed.
            if let Some((_, checkpoint)) = self.shared.signed() {
                tracing::info!(checkpoint, "audit checkpoint");
            }
        }
        if let Some(file) = &mut self.checkpoint_file {
            file.keep(&self.shared).await;
        }
    }

    fn note(&mut self, me: &ActorRef<AuditorMsg>, actions: impl Iterator<Item = (Who, Action)>) {
        for (who, action) in actions {
            self.wait(me, Waiting { who, action, project: None, seen: None, reply: None });
        }
    }

    async fn on_close(&mut self) {
        let now = self.shared.clock.steady();
        let rest = self.recent.detachments(now, true).into_iter().chain(self.shared.failures.due(now, true));
        let rest = rest.map(|(who, action)| Waiting { who, action, project: None, seen: None, reply: None });
        self.waiting.extend(rest);
        self.on_flush().await;
        if let Some(file) = &mut self.checkpoint_file {
            file.close(&self.shared).await;
        }
    }
}

fn head(at: Timestamp) -> RecordHead<'static> {
    RecordHead {
        serialization: Serialization::Json,
        accepted: at,
        source_seq: 0,
        key_link: KeyLink(uuid::Uuid::nil()),
        schema: "",
        contract: "",
        consent: Levels::Plain(&[]),
    }
}

/// Patience of who waits for an entry. Longer than an append may take, so that the answer is known.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
const APPEND_PATIENCE: Duration = Duration::from_secs(8);
const TICK: Duration = Duration::from_secs(1);
/// Entries nobody waits for, while the log takes none.
const NOTES_MAX: usize = 10_000;
const CHECKPOINT_EVERY_MS: i64 = 60 * 60 * 1000;
const READ_BYTES: usize = 4 << 20;
/// Appends that others overtake, before an order is refused.
const TRIES: u32 = 100;

#[cfg(test)]
mod tests;
