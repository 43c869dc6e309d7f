//! Consent filter: the one writer of a derived stream.
//!
//! - **Owns** the position of its derived stream in the source, which it reads from the derived log itself.
//! - **Born** in `actors::stream`, its supervisor, one per derived stream.
//! - **Spoken to** by its stream only, which hands it what its projection made of the source.
//! - **Fails** by stopping; the stream spawns it again and it goes on after the newest derived record.
//! - **Bounded**: one batch in flight; it asks for the next when the last one is durable.
//!
//! Invariant: a derived record is appended only if the derived log still ends where this filter believes,
//! so that of two filters for one stream one makes progress and the other reads again. Nothing is
//! doubled, lost or out of order whoever dies when.

use std::{sync::Arc, time::Duration};

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};

use super::{projection::Projected, stream::StreamMsg};
use crate::{
    domain::StreamName,
    storage::{AppendError, AppendOptions, EventLog, Hint, LogError},
    telemetry::StreamMeters,
};

/// A projected batch of source records `from..next`.
pub(super) struct ProjectedBatch {
    pub from: u64,
    pub next: u64,
    pub projected: Arc<Projected>,
}

pub(super) enum ConsentFilterMsg {
    Append(ProjectedBatch),
    Retry,
}

impl std::fmt::Debug for ConsentFilterMsg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ConsentFilterMsg::Append(_) => "ConsentFilterMsg::Append",
            ConsentFilterMsg::Retry => "ConsentFilterMsg::Retry",
        })
    }
}

/// What a filter is born with.
pub(super) struct ConsentFilterArgs {
    pub name: StreamName,
    /// First source sequence this derived stream ever sees.
    pub begins_at: u64,
    pub log: Arc<dyn EventLog>,
    pub stream: ActorRef<StreamMsg>,
    pub meters: Arc<StreamMeters>,
}

pub(super) struct ConsentFilterActor;

pub(super) struct ConsentFilterState {
    args: ConsentFilterArgs,
    /// Next source sequence to deal with, and where the derived log ends.
    position: u64,
    end: u64,
    pending: Option<ProjectedBatch>,
    backoff: Duration,
}

impl ConsentFilterActor {
    pub(super) async fn spawn(
        parent: ActorCell,
        args: ConsentFilterArgs,
    ) -> Result<ActorRef<ConsentFilterMsg>, SpawnErr> {
        Ok(Actor::spawn_linked(None, ConsentFilterActor, args, parent).await?.0)
    }
}

impl Actor for ConsentFilterActor {
    type Msg = ConsentFilterMsg;
    type State = ConsentFilterState;
    type Arguments = ConsentFilterArgs;

    async fn pre_start(
        &self,
        _me: ActorRef<ConsentFilterMsg>,
        args: ConsentFilterArgs,
    ) -> Result<ConsentFilterState, ActorProcessingErr> {
        let (position, end) = read_position(&args).await?;
        Ok(ConsentFilterState { args, position, end, pending: None, backoff: BACKOFF_MIN })
    }

    async fn post_start(
        &self,
        _me: ActorRef<ConsentFilterMsg>,
        state: &mut ConsentFilterState,
    ) -> Result<(), ActorProcessingErr> {
        state.ask_for_more()
    }

    async fn handle(
        &self,
        me: ActorRef<ConsentFilterMsg>,
        msg: ConsentFilterMsg,
        state: &mut ConsentFilterState,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            ConsentFilterMsg::Append(batch) => state.on_append(&me, batch).await,
            ConsentFilterMsg::Retry => state.on_retry(&me).await,
        }
    }
}

impl ConsentFilterState {
    async fn on_append(
        &mut self,
        me: &ActorRef<ConsentFilterMsg>,
        batch: ProjectedBatch,
    ) -> Result<(), ActorProcessingErr> {
        if batch.from != self.position {
            return self.ask_for_more();
        }
        let hint = Hint {
            source_seq: batch.next - 1,
            derived_end: self.end + u64::from(batch.projected.records.count()),
        };
        if batch.projected.records.count() == 0 {
            self.args.log.put_hint(&self.args.name, hint).await?;
            return self.advance(&batch);
        }
        let options = AppendOptions { expected_end: Some(self.end), hint: Some(hint), once: None };
        let records = batch.projected.records.clone();
        match self.args.log.append(&self.args.name, records, options).await {
            Ok(appended) => {
                self.end = appended.end;
                self.advance(&batch)
            }
            Err(AppendError::WrongEnd { .. }) => {
                tracing::warn!(stream = %self.args.name, "another writer was here: reading the position again");
                (self.position, self.end) = read_position(&self.args).await?;
                self.ask_for_more()
            }
            Err(AppendError::Unavailable(reason)) => {
                tracing::warn!(stream = %self.args.name, %reason, "derived log takes nothing: trying again");
                self.pending = Some(batch);
                me.send_after(self.backoff, || ConsentFilterMsg::Retry);
                self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn on_retry(&mut self, me: &ActorRef<ConsentFilterMsg>) -> Result<(), ActorProcessingErr> {
        match self.pending.take() {
            Some(batch) => self.on_append(me, batch).await,
            None => Ok(()),
        }
    }

    fn advance(&mut self, batch: &ProjectedBatch) -> Result<(), ActorProcessingErr> {
        self.backoff = BACKOFF_MIN;
        self.position = batch.next;
        let projected = &batch.projected;
        let meters = &self.args.meters;
        meters.derived.increment(u64::from(projected.records.count()));
        meters.dropped.increment(projected.dropped);
        meters.unreadable.increment(projected.unreadable);
        meters.unopened.increment(projected.unopened);
        self.ask_for_more()
    }

    fn ask_for_more(&self) -> Result<(), ActorProcessingErr> {
        let derived = self.args.name.clone();
        Ok(self.args.stream.cast(StreamMsg::Ready { derived, from: self.position })?)
    }
}

/// Where to go on: after the newest derived record, or after the events that were dropped since.
async fn read_position(args: &ConsentFilterArgs) -> Result<(u64, u64), ActorProcessingErr> {
    let log = &args.log;
    let end = log.bounds(&args.name).await?.end;
    let hint = log.hint(&args.name).await?.filter(|hint| hint.derived_end == end);
    let newest = match log.last(&args.name).await? {
        Some((sequence, chunk)) => chunk
            .records(sequence)
            .find_map(|(at, record)| (at == sequence).then(|| record.map(|r| r.head.source_seq)))
            .transpose()?,
        None => None,
    };
    let position = match (newest, hint) {
        (newest, Some(hint)) => newest.unwrap_or(0).max(hint.source_seq) + 1,
        (Some(newest), None) => newest + 1,
        (None, None) if end == 1 => args.begins_at,
        // Everything was trimmed and nothing says how far the source was read: going on would be a guess.
        (None, None) => {
            tracing::error!(stream = %args.name, "derived log was emptied and its position is lost: delete and create it again");
            return Err(PositionLost.into());
        }
    };
    Ok((position, end))
}

/// The derived log was emptied by retention and no hint tells its position.
#[derive(Debug, thiserror::Error)]
#[error("position of the derived stream is lost")]
struct PositionLost;

impl From<LogError> for super::StreamError {
    fn from(error: LogError) -> super::StreamError {
        super::StreamError::Log(error)
    }
}

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
