//! Streams: one `actors::stream` for every source that has a derived stream.
//!
//! - **Owns** which sources are being processed on this node.
//! - **Born** in `actors::root`.
//! - **Spoken to** by a task that follows the inventory; nobody asks it anything.
//! - **Fails** by stopping with all its streams; root restarts it and they go on where they were.
//! - **Bounded** by the number of streams.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::watch;

use super::{
    Inventory, KnownStream, SessionKeys,
    projection::{Masks, Projection},
    stream::{DerivedStream, StreamActor, StreamArgs, StreamMsg},
};
use crate::{
    crypto::{Masker, MasterKey},
    domain::{StreamName, mask::MaskConfig, stream_definition::Derivation},
    storage::EventLog,
    telemetry::Meters,
};

/// What the streams actor is born with.
#[derive(Clone)]
pub(super) struct StreamsArgs {
    pub log: Arc<dyn EventLog>,
    pub inventory: Arc<ArcSwap<Inventory>>,
    /// Counts the snapshots of the inventory.
    pub changes: watch::Receiver<u64>,
    pub keys: SessionKeys,
    pub master: Arc<MasterKey>,
    pub meters: Arc<Meters>,
    pub zero_is_a_purpose: bool,
    pub batch_bytes: usize,
}

#[derive(Debug)]
pub(super) enum StreamsMsg {
    /// The inventory changed, or a failed stream may be tried again.
    Reconcile,
}

pub(super) struct StreamsActor;

pub(super) struct StreamsState {
    args: StreamsArgs,
    live: HashMap<StreamName, ActorRef<StreamMsg>>,
    /// Projections by derived stream and registry version, so that an unchanged stream keeps its own.
    projections: HashMap<(StreamName, u64), Arc<Projection>>,
    backoff: Duration,
}

impl StreamsActor {
    pub(super) async fn spawn(
        parent: ActorCell,
        args: StreamsArgs,
    ) -> Result<ActorRef<StreamsMsg>, SpawnErr> {
        Ok(Actor::spawn_linked(None, StreamsActor, args, parent).await?.0)
    }
}

impl Actor for StreamsActor {
    type Msg = StreamsMsg;
    type State = StreamsState;
    type Arguments = StreamsArgs;

    async fn pre_start(
        &self,
        me: ActorRef<StreamsMsg>,
        args: StreamsArgs,
    ) -> Result<StreamsState, ActorProcessingErr> {
        follow_inventory(&me, args.changes.clone());
        Ok(StreamsState { args, live: HashMap::new(), projections: HashMap::new(), backoff: BACKOFF_MIN })
    }

    async fn handle(
        &self,
        me: ActorRef<StreamsMsg>,
        msg: StreamsMsg,
        state: &mut StreamsState,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            StreamsMsg::Reconcile => state.on_reconcile(&me).await,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<StreamsMsg>,
        event: SupervisionEvent,
        state: &mut StreamsState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                tracing::error!(%error, "stream failed");
                state.on_stream_ended(&me, cell.get_id());
            }
            SupervisionEvent::ActorTerminated(cell, ..) => state.on_stream_ended(&me, cell.get_id()),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl StreamsState {
    async fn on_reconcile(&mut self, me: &ActorRef<StreamsMsg>) {
        let wanted = self.wanted();
        self.live.retain(|source, actor| {
            let keep = wanted.contains_key(source);
            if !keep {
                actor.stop(None);
            }
            keep
        });
        for (source, derived) in wanted {
            if let Some(actor) = self.live.get(&source) {
                // A stream that just ended is spawned again by the event of its end.
                drop(actor.cast(StreamMsg::SetDerived(derived)));
                continue;
            }
            let args = StreamArgs {
                name: source.clone(),
                log: Arc::clone(&self.args.log),
                inventory: Arc::clone(&self.args.inventory),
                keys: self.args.keys.clone(),
                batch_bytes: self.args.batch_bytes,
                derived,
            };
            match StreamActor::spawn(me.get_cell(), args).await {
                Ok(actor) => {
                    self.live.insert(source, actor);
                }
                Err(error) => {
                    tracing::error!(%source, %error, "stream cannot start: trying again");
                    self.reconcile_later(me);
                }
            }
        }
    }

    fn on_stream_ended(&mut self, me: &ActorRef<StreamsMsg>, id: ActorId) {
        let before = self.live.len();
        self.live.retain(|_, actor| actor.get_id() != id);
        if self.live.len() < before {
            self.reconcile_later(me);
        }
    }

    fn reconcile_later(&mut self, me: &ActorRef<StreamsMsg>) {
        me.send_after(self.backoff, || StreamsMsg::Reconcile);
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }

    /// The sources to process, with their derived streams.
    fn wanted(&mut self) -> HashMap<StreamName, Vec<DerivedStream>> {
        let inventory = self.args.inventory.load_full();
        let mut wanted: HashMap<StreamName, Vec<DerivedStream>> = HashMap::new();
        let mut kept = HashMap::new();
        for known in inventory.streams().filter(|known| known.definition.enabled) {
            let Some(derivation) = &known.definition.derived else { continue };
            let Some(projection) = self.projection(known, derivation) else { continue };
            kept.insert((known.definition.name.clone(), known.version), Arc::clone(&projection));
            wanted.entry(derivation.source.clone()).or_default().push(DerivedStream {
                name: known.definition.name.clone(),
                begins_at: derivation.begins_at,
                projection,
                meters: self.args.meters.stream(&known.definition.name),
            });
        }
        self.projections = kept;
        wanted
    }

    fn projection(&self, known: &KnownStream, derivation: &Derivation) -> Option<Arc<Projection>> {
        let name = &known.definition.name;
        if let Some(projection) = self.projections.get(&(name.clone(), known.version)) {
            return Some(Arc::clone(projection));
        }
        let masks = match &derivation.masks {
            None => None,
            Some(config) => match open_masks(&self.args.master, name, config) {
                Some(masks) => Some(Arc::new(masks)),
                None => {
                    tracing::error!(stream = %name, "mask seed cannot be unwrapped: the stream stays stopped");
                    return None;
                }
            },
        };
        Some(Arc::new(Projection {
            rule: derivation.rule.clone(),
            zero_is_a_purpose: self.args.zero_is_a_purpose,
            as_received: derivation.as_received,
            masks,
        }))
    }
}

fn open_masks(master: &MasterKey, stream: &StreamName, config: &MaskConfig) -> Option<Masks> {
    let seed = super::stream_orders::unwrap_seed(master, stream, config)?;
    Some(Masks { masker: Masker::new(config.hash, &seed), fields: config.patterns.clone() })
}

fn follow_inventory(me: &ActorRef<StreamsMsg>, mut changes: watch::Receiver<u64>) {
    let me = me.clone();
    ractor::concurrency::spawn(async move {
        loop {
            changes.mark_unchanged();
            if me.cast(StreamsMsg::Reconcile).is_err() || changes.changed().await.is_err() {
                return;
            }
        }
    });
}

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
