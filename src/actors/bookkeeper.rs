//! Bookkeeper: writes down what every stream used, so that it is known after a restart.
//!
//! - **Owns** the log [`USAGE_LOG`]: one record for each stream with counts of each period, written once.
//! - **Born** in `actors::root`.
//! - **Spoken to** by its own timer, and through [`UsageHandle`] by `http` and at the node's stop.
//! - **Fails** by stopping; what was not yet written waits in the meters for the next one.
//! - **Bounded**: one record a stream and period; the log is trimmed by age.
//!
//! Counts are taken out of the meters when they are written, and put back when they cannot be: nothing is
//! counted twice. A node that is killed loses what it counted since the last writing.
//! ```text
//! record    schema = name of the stream, accepted = begin of the period, body = JSON of UsageCounts
//! ```

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};

use super::{
    Inventory, KnownStream,
    ask::{ask, respond},
    projection::records_of,
};
use crate::{
    clock::{Clock, DAY_MS, Timestamp},
    domain::{KeyLink, Levels, RecordBatch, RecordHead, Serialization, StreamName, UsageCounts},
    storage::{AppendOptions, EventLog, LogError},
    telemetry::Meters,
};

/// Name of the log that no stream can have.
pub(super) const USAGE_LOG: &str = "sluice-usage";

/// It cannot be said now what was used. Retry later.
#[derive(Debug, thiserror::Error)]
#[error("usage cannot be read now")]
pub struct UsageError;

/// What the bookkeeper is born with.
#[derive(Clone)]
pub(super) struct BookkeeperArgs {
    pub log: Arc<dyn EventLog>,
    pub meters: Arc<Meters>,
    pub inventory: Arc<ArcSwap<Inventory>>,
    pub clock: Clock,
    /// Source: `[streams] usage_every_s`.
    pub every: Duration,
    /// Source: `[streams] usage_days`.
    pub keep_days: u32,
}

/// How the rest of Sluice asks what was used. Cheap to clone.
#[derive(Clone)]
pub struct UsageHandle {
    args: Arc<BookkeeperArgs>,
    actor: Arc<ArcSwapOption<ActorRef<BookkeeperMsg>>>,
}

/// Counts by the number of the window, then by stream.
pub type UsageWindows = BTreeMap<i64, BTreeMap<StreamName, UsageCounts>>;

impl UsageHandle {
    pub(super) fn new(args: BookkeeperArgs) -> UsageHandle {
        UsageHandle { args: Arc::new(args), actor: Arc::default() }
    }

    /// Writes down what was counted so far.
    pub async fn flush(&self) {
        let Some(actor) = self.actor.load_full() else { return };
        if ask(&actor, BookkeeperMsg::Flush, DEADLINE).await.is_err() {
            tracing::warn!("usage was not written down");
        }
    }

    /// What `streams` used from `from` until before `until`, in windows of `by_ms` milliseconds that are
    /// counted from 1970. Exact to the period in which counts are written, and up to the present.
    ///
    /// # Errors
    ///
    /// [`UsageError`].
    pub async fn of(
        &self,
        streams: &[StreamName],
        from: Timestamp,
        until: Timestamp,
        by_ms: i64,
    ) -> Result<UsageWindows, UsageError> {
        self.flush().await;
        self.read(streams, from, until, by_ms).await.map_err(|error| {
            tracing::error!(%error, "usage cannot be read");
            UsageError
        })
    }

    async fn read(
        &self,
        streams: &[StreamName],
        from: Timestamp,
        until: Timestamp,
        by_ms: i64,
    ) -> Result<UsageWindows, LogError> {
        let (log, name) = (&self.args.log, usage_log());
        let mut windows = UsageWindows::new();
        let mut next = self.position_of(from).await?;
        loop {
            let chunks = log.read(&name, next, READ_BYTES).await?;
            let Some(last) = chunks.last() else { return Ok(windows) };
            let end = last.first_seq + u64::from(last.count);
            for (_, record) in records_of(&chunks, next) {
                let Some(record) = record else { continue };
                let at = record.head.accepted;
                if at >= until {
                    return Ok(windows);
                }
                let Some(stream) = streams.iter().find(|stream| stream.as_str() == record.head.schema) else {
                    continue;
                };
                if at >= from
                    && let Ok(counts) = serde_json::from_slice::<UsageCounts>(record.body)
                {
                    let window = windows.entry(at.0.div_euclid(by_ms)).or_default();
                    window.entry(stream.clone()).or_default().add(&counts);
                }
            }
            next = end;
        }
    }

    /// A sequence at or before the first record of `from`: records lie in the order of their periods.
    async fn position_of(&self, from: Timestamp) -> Result<u64, LogError> {
        let (log, name) = (&self.args.log, usage_log());
        let bounds = log.bounds(&name).await?;
        let (mut low, mut high) = (bounds.first, bounds.end);
        while high - low > LINEAR {
            let middle = low + (high - low) / 2;
            let chunks = log.read(&name, middle, 1).await?;
            let at = records_of(&chunks, middle).find_map(|(_, record)| Some(record?.head.accepted));
            match at {
                Some(at) if at < from => low = middle,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// A limit that was just set counts what the stream stored since its window began.
    pub async fn seed_limit(&self, known: &KnownStream) {
        self.flush().await;
        self.seed(known).await;
    }

    /// Streams whose events are counted by window go on with what they stored before a restart.
    async fn seed_limits(&self) {
        for known in self.args.inventory.load_full().streams() {
            self.seed(known).await;
        }
    }

    async fn seed(&self, known: &KnownStream) {
        let limits = &known.definition.limits;
        if limits.events_max.is_none() {
            return;
        }
        let now = self.args.clock.steady();
        let from = limits.events_max_per.start(now).max(known.definition.created);
        let names = [known.definition.name.clone()];
        let Ok(windows) = self.read(&names, from, now.plus_ms(DAY_MS), DAY_MS).await else { return };
        let stored = windows.values().flat_map(BTreeMap::values).map(|counts| counts.accepted).sum();
        known.live.remember(limits, now, stored);
    }

    pub(super) async fn spawn(&self, parent: ActorCell) -> Result<ActorRef<BookkeeperMsg>, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, BookkeeperActor, self.clone(), parent).await?;
        self.actor.store(Some(Arc::new(actor.clone())));
        Ok(actor)
    }
}

#[derive(Debug)]
pub(super) enum BookkeeperMsg {
    /// A period has ended.
    Write,
    Flush(RpcReplyPort<()>),
}

pub(super) struct BookkeeperActor;

pub(super) struct BookkeeperState {
    args: Arc<BookkeeperArgs>,
    /// When the present period began. Never moves back.
    begun: Timestamp,
    trimmed: Timestamp,
}

impl Actor for BookkeeperActor {
    type Msg = BookkeeperMsg;
    type State = BookkeeperState;
    type Arguments = UsageHandle;

    async fn pre_start(
        &self,
        me: ActorRef<BookkeeperMsg>,
        usage: UsageHandle,
    ) -> Result<BookkeeperState, ActorProcessingErr> {
        usage.args.log.create(&usage_log()).await?;
        usage.seed_limits().await;
        me.send_interval(usage.args.every, || BookkeeperMsg::Write);
        let begun = usage.args.clock.now();
        Ok(BookkeeperState { args: Arc::clone(&usage.args), begun, trimmed: Timestamp(0) })
    }

    async fn handle(
        &self,
        _me: ActorRef<BookkeeperMsg>,
        msg: BookkeeperMsg,
        state: &mut BookkeeperState,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            BookkeeperMsg::Write => state.on_write().await,
            BookkeeperMsg::Flush(reply) => {
                state.on_write().await;
                respond(reply, ());
            }
        }
        Ok(())
    }
}

impl BookkeeperState {
    async fn on_write(&mut self) {
        let counts = self.args.meters.take_usage();
        let period = self.begun;
        self.begun = self.begun.max(self.args.clock.now());
        if !counts.is_empty() {
            let mut batch = RecordBatch::default();
            for (stream, counts) in &counts {
                let head = RecordHead {
                    serialization: Serialization::Json,
                    accepted: period,
                    source_seq: 0,
                    key_link: KeyLink(uuid::Uuid::nil()),
                    schema: stream.as_str(),
                    contract: "",
                    consent: Levels::Plain(&[]),
                };
                let body = serde_json::to_vec(counts).expect("counts have string keys");
                batch.push(&head, &body);
            }
            let written = self.args.log.append(&usage_log(), batch, AppendOptions::default()).await;
            if let Err(error) = written {
                tracing::error!(%error, "usage was not written down: trying again after the next period");
                self.args.meters.put_back_usage(counts);
            }
        }
        if self.begun.since(self.trimmed) > DAY_MS / 24 {
            self.trimmed = self.begun;
            let oldest = self.begun.plus_ms(-i64::from(self.args.keep_days) * DAY_MS);
            if let Err(error) = self.args.log.trim(&usage_log(), oldest).await {
                tracing::error!(%error, "old usage was not trimmed");
            }
        }
    }
}

fn usage_log() -> StreamName {
    USAGE_LOG.parse().expect("it has the form of a stream's name")
}

/// Bytes read at a time, and records that are read through rather than searched.
const READ_BYTES: usize = 256 << 10;
const LINEAR: u64 = 512;
/// One durable write.
const DEADLINE: Duration = Duration::from_secs(10);
