//! Stream actor: reads a source log once and hands it to one consent filter per derived stream.
//!
//! - **Owns** which filters its source has and where each of them stands.
//! - **Born** in `actors::streams`, its supervisor, for every source that has a derived stream.
//! - **Spoken to** by its filters, by the task that follows the log's end, and by its supervisor.
//! - **Fails** by stopping with its filters; the supervisor spawns it again and nothing is lost, since
//!   positions live in the derived logs.
//! - **Bounded**: a filter has one batch in flight, so batches in memory are at most the filters; a slow
//!   filter is simply not ready and holds up nobody.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent,
};

use super::{
    Inventory, SessionKeyError, SessionKeys,
    ask::{AskError, ask, respond},
    consent_filter::{ConsentFilterActor, ConsentFilterArgs, ConsentFilterMsg, ProjectedBatch},
    projection::{Projected, Projection, Provisions, Workbench, project, records_of},
};
use crate::{
    crypto::OpenKey,
    domain::{FieldPath, KeyLink, StreamName, Suite},
    storage::{Chunk, EventLog, KeyError, LogError},
    telemetry::StreamMeters,
};

/// A derived stream as its source's actor needs it.
#[derive(Clone)]
pub(super) struct DerivedStream {
    pub name: StreamName,
    pub begins_at: u64,
    pub projection: Arc<Projection>,
    pub meters: Arc<StreamMeters>,
}

pub(super) enum StreamMsg {
    /// The derived streams of this source, as of now.
    SetDerived(Vec<DerivedStream>),
    /// A filter wants source records from `from` on.
    Ready { derived: StreamName, from: u64 },
    /// The source log ends at `end`.
    Grown { end: u64, reply: RpcReplyPort<()> },
    /// A filter that failed may be tried again.
    Revive(StreamName),
}

impl std::fmt::Debug for StreamMsg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            StreamMsg::SetDerived(_) => "StreamMsg::SetDerived",
            StreamMsg::Ready { .. } => "StreamMsg::Ready",
            StreamMsg::Grown { .. } => "StreamMsg::Grown",
            StreamMsg::Revive(_) => "StreamMsg::Revive",
        })
    }
}

/// Why a stream's processing stopped; its supervisor tries again.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("log cannot be read")]
    Log(#[source] LogError),
}

/// What a stream actor is born with.
pub(super) struct StreamArgs {
    pub name: StreamName,
    pub log: Arc<dyn EventLog>,
    pub inventory: Arc<ArcSwap<Inventory>>,
    pub keys: SessionKeys,
    /// Bytes read at a time. Source: `[streams] batch_bytes`.
    pub batch_bytes: usize,
    pub derived: Vec<DerivedStream>,
}

pub(super) struct StreamActor;

pub(super) struct StreamState {
    args: StreamArgs,
    filters: HashMap<StreamName, Filter>,
    end: u64,
    bench: Workbench,
    provisions: Provisions,
    /// The snapshot that the plans in `provisions` were made from.
    planned: Arc<Inventory>,
    /// The last batches, for filters that are a little behind the others.
    recent: VecDeque<Recent>,
}

struct Filter {
    derived: DerivedStream,
    actor: Option<ActorRef<ConsentFilterMsg>>,
    /// Where it waits for records; none while it appends.
    waiting_at: Option<u64>,
    /// Where it will wait next.
    heading_to: u64,
    backoff: Duration,
}

struct Recent {
    from: u64,
    next: u64,
    results: Vec<(Arc<Projection>, Arc<Projected>)>,
}

impl StreamActor {
    pub(super) async fn spawn(parent: ActorCell, args: StreamArgs) -> Result<ActorRef<StreamMsg>, SpawnErr> {
        Ok(Actor::spawn_linked(None, StreamActor, args, parent).await?.0)
    }
}

impl Actor for StreamActor {
    type Msg = StreamMsg;
    type State = StreamState;
    type Arguments = StreamArgs;

    async fn pre_start(
        &self,
        me: ActorRef<StreamMsg>,
        mut args: StreamArgs,
    ) -> Result<StreamState, ActorProcessingErr> {
        let derived = std::mem::take(&mut args.derived);
        let end = args.log.bounds(&args.name).await?.end;
        follow_end(&me, &args);
        let planned = args.inventory.load_full();
        let mut state = StreamState {
            args,
            provisions: Provisions::default(),
            planned,
            filters: HashMap::new(),
            end,
            bench: Workbench::default(),
            recent: VecDeque::new(),
        };
        state.on_set_derived(&me, derived).await;
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<StreamMsg>,
        msg: StreamMsg,
        state: &mut StreamState,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            StreamMsg::SetDerived(derived) => state.on_set_derived(&me, derived).await,
            StreamMsg::Ready { derived, from } => state.on_ready(&derived, from).await?,
            StreamMsg::Grown { end, reply } => {
                state.on_grown(end).await?;
                respond(reply, ());
            }
            StreamMsg::Revive(derived) => state.on_revive(&me, &derived).await,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<StreamMsg>,
        event: SupervisionEvent,
        state: &mut StreamState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                tracing::error!(source = %state.args.name, %error, "consent filter failed");
                state.on_filter_ended(&me, cell.get_id());
            }
            SupervisionEvent::ActorTerminated(cell, ..) => state.on_filter_ended(&me, cell.get_id()),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl StreamState {
    async fn on_set_derived(&mut self, me: &ActorRef<StreamMsg>, derived: Vec<DerivedStream>) {
        let keeps = |name: &StreamName, filter: &Filter| {
            derived.iter().any(|d| d.name == *name && d.projection.is_same(&filter.derived.projection))
        };
        // Masked fields of another rule need other plans.
        self.provisions.plans.clear();
        self.filters.retain(|name, filter| {
            let keep = keeps(name, filter);
            if !keep && let Some(actor) = &filter.actor {
                actor.stop(None);
            }
            keep
        });
        for derived in derived {
            if !self.filters.contains_key(&derived.name) {
                let name = derived.name.clone();
                let filter =
                    Filter { derived, actor: None, waiting_at: None, heading_to: 0, backoff: BACKOFF_MIN };
                self.filters.insert(name.clone(), filter);
                self.on_revive(me, &name).await;
            }
        }
    }

    async fn on_revive(&mut self, me: &ActorRef<StreamMsg>, name: &StreamName) {
        let Some(filter) = self.filters.get_mut(name).filter(|filter| filter.actor.is_none()) else { return };
        let args = ConsentFilterArgs {
            name: name.clone(),
            begins_at: filter.derived.begins_at,
            log: Arc::clone(&self.args.log),
            stream: me.clone(),
            meters: Arc::clone(&filter.derived.meters),
        };
        match ConsentFilterActor::spawn(me.get_cell(), args).await {
            Ok(actor) => filter.actor = Some(actor),
            Err(error) => {
                tracing::error!(stream = %name, %error, "consent filter cannot start: trying again");
                revive_later(me, name, filter);
            }
        }
    }

    fn on_filter_ended(&mut self, me: &ActorRef<StreamMsg>, id: ActorId) {
        let is_it = |filter: &&mut Filter| filter.actor.as_ref().is_some_and(|a| a.get_id() == id);
        let Some(filter) = self.filters.values_mut().find(is_it) else { return };
        filter.actor = None;
        filter.waiting_at = None;
        let name = filter.derived.name.clone();
        revive_later(me, &name, filter);
    }

    async fn on_ready(&mut self, derived: &StreamName, from: u64) -> Result<(), ActorProcessingErr> {
        let Some(filter) = self.filters.get_mut(derived) else { return Ok(()) };
        filter.waiting_at = Some(from);
        if from > filter.heading_to {
            filter.backoff = BACKOFF_MIN;
        }
        filter.heading_to = from;
        self.serve().await
    }

    async fn on_grown(&mut self, end: u64) -> Result<(), ActorProcessingErr> {
        self.end = self.end.max(end);
        self.serve().await
    }

    /// Gives a batch to every filter that waits for one that exists.
    async fn serve(&mut self) -> Result<(), ActorProcessingErr> {
        loop {
            let waiting = self.filters.values().filter_map(|filter| filter.waiting_at);
            let Some(from) = waiting.filter(|from| *from < self.end).min() else { return Ok(()) };
            let at = self.batch_at(from).await?;
            let Some(recent) = self.recent.get(at) else { return Ok(()) };
            for filter in self.filters.values_mut().filter(|filter| filter.waiting_at == Some(from)) {
                let Some(projected) = recent.result_of(&filter.derived.projection) else { continue };
                let batch = ProjectedBatch { from, next: recent.next, projected };
                filter.waiting_at = None;
                filter.heading_to = recent.next;
                if let Some(actor) = &filter.actor {
                    // One that just died is revived by the event of its end.
                    drop(actor.cast(ConsentFilterMsg::Append(batch)));
                }
            }
        }
    }

    /// Index in `recent` of a batch that begins at `from` and serves everyone who waits there.
    async fn batch_at(&mut self, from: u64) -> Result<usize, ActorProcessingErr> {
        let waiting = |filter: &&Filter| filter.waiting_at == Some(from);
        let serves_all = |recent: &Recent| {
            let mut waiting = self.filters.values().filter(waiting);
            recent.from == from && waiting.all(|f| recent.result_of(&f.derived.projection).is_some())
        };
        if let Some(at) = self.recent.iter().position(serves_all) {
            return Ok(at);
        }
        // Those who will be here in a moment are served from the same pass over the records.
        let coming = self.filters.values().filter(|filter| filter.heading_to == from);
        let mut projections: Vec<Arc<Projection>> = Vec::new();
        for filter in coming {
            if !projections.iter().any(|known| known.is_same(&filter.derived.projection)) {
                projections.push(Arc::clone(&filter.derived.projection));
            }
        }
        let chunks = self.args.log.read(&self.args.name, from, self.args.batch_bytes).await?;
        let next = chunks.last().map_or(self.end, |last| last.first_seq + u64::from(last.count));
        let kept = chunks.first().map_or(self.end, |first| first.first_seq);
        if kept > from {
            let lost = kept - from;
            tracing::error!(source = %self.args.name, lost, "events passed their retention before they were derived");
        }
        self.provide(&chunks, from, &projections).await?;
        let results = project(&chunks, from, &projections, &self.provisions, &mut self.bench);
        let results = projections.into_iter().zip(results.into_iter().map(Arc::new)).collect();
        if self.recent.len() == RECENT_BATCHES {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { from, next, results });
        Ok(self.recent.len() - 1)
    }

    /// Finds the plans and opens the keys of all records that some projection lets pass.
    async fn provide(
        &mut self,
        chunks: &[Chunk],
        from: u64,
        projections: &[Arc<Projection>],
    ) -> Result<(), ActorProcessingErr> {
        let inventory = self.args.inventory.load_full();
        let provisions = &mut self.provisions;
        provisions.keys.clear();
        if !Arc::ptr_eq(&inventory, &self.planned) {
            provisions.plans.clear();
            self.planned = Arc::clone(&inventory);
        }
        for (_, record) in records_of(chunks, from) {
            let Some(record) = record else { continue };
            let head = record.head;
            if !projections.iter().any(|projection| projection.passes(&head)) {
                continue;
            }
            if !provisions.knows_plan(&head) {
                let masked = masked_fields(self.filters.values(), head.contract);
                let plan = inventory.reading_plan(head.schema, head.contract, &masked);
                if let Err(error) = &plan {
                    tracing::warn!(source = %self.args.name, %error, "events stay out of derived streams");
                }
                let pair = (head.schema.to_owned(), head.contract.to_owned());
                provisions.plans.insert(pair, plan.ok());
            }
            let Some(known) = inventory.contract(head.contract) else { continue };
            let suite = known.contract.suite;
            if let std::collections::hash_map::Entry::Vacant(entry) =
                provisions.keys.entry((head.key_link, suite))
            {
                entry.insert(key_or_shut(&self.args, head.key_link, suite).await?);
            }
        }
        Ok(())
    }
}

impl Recent {
    fn result_of(&self, projection: &Projection) -> Option<Arc<Projected>> {
        let found = self.results.iter().find(|(known, _)| known.is_same(projection));
        found.map(|(_, projected)| Arc::clone(projected))
    }
}

/// The key of `link`; none when it is gone or damaged: its fields then stay shut and hold nobody up.
async fn key_or_shut(
    args: &StreamArgs,
    link: KeyLink,
    suite: Suite,
) -> Result<Option<Arc<OpenKey>>, SessionKeyError> {
    match args.keys.of_link(link, suite).await {
        Err(SessionKeyError::Unwrap | SessionKeyError::Store(KeyError::Damaged(_))) => {
            tracing::error!(source = %args.name, ?link, "a key is damaged: its fields stay sealed");
            Ok(None)
        }
        other => other,
    }
}

/// All fields that any filter of the source masks in events of `contract`. Plans are kept over batches, so
/// they must serve every filter, not only those that stand at this batch.
fn masked_fields<'a>(filters: impl Iterator<Item = &'a Filter>, contract: &str) -> Vec<FieldPath> {
    let mut fields = Vec::new();
    for masks in filters.filter_map(|filter| filter.derived.projection.masks.as_ref()) {
        for (_, masked) in masks.fields.iter().filter(|(reference, _)| reference.as_str() == contract) {
            for field in masked {
                if !fields.contains(field) {
                    fields.push(field.clone());
                }
            }
        }
    }
    fields
}

/// Tells the actor when the log grows: one message at a time, so that a busy log costs one message a batch.
fn follow_end(me: &ActorRef<StreamMsg>, args: &StreamArgs) {
    let mut tail = args.log.tail(&args.name);
    let me = me.clone();
    ractor::concurrency::spawn(async move {
        loop {
            let end = *tail.borrow_and_update();
            let told = ask(&me, |reply| StreamMsg::Grown { end, reply }, GROWN_DEADLINE).await;
            if told == Err(AskError::Gone) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
            if tail.changed().await.is_err() {
                return;
            }
        }
    });
}

fn revive_later(me: &ActorRef<StreamMsg>, name: &StreamName, filter: &mut Filter) {
    let name = name.clone();
    me.send_after(filter.backoff, || StreamMsg::Revive(name));
    filter.backoff = (filter.backoff * 2).min(BACKOFF_MAX);
}

const RECENT_BATCHES: usize = 4;
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A pass over a batch may wait for key reads; a minute means that the actor is gone.
const GROWN_DEADLINE: Duration = Duration::from_secs(60);
/// Least time between two batches: lets a batch fill under load, and is small against the second that
/// a consumer may wait.
const PAUSE: Duration = Duration::from_millis(1);
