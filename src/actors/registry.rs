//! Registry actor: the only writer of contracts and streams, and of the snapshot everyone reads.
//!
//! - **Owns** the [`Inventory`] and the order of changes to it.
//! - **Born** in `actors::root`, before anything that reads the snapshot.
//! - **Spoken to** through [`RegistryHandle`], by `http` for the control plane.
//! - **Fails** by stopping; root restarts it and it reads the Registry store again.
//! - **Bounded** by the control plane's requests; events never ask it anything.
//!
//! Invariant: a snapshot is published only after the change it shows is durable.

use std::{sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use tokio::sync::watch;

use super::{
    Inventory, KnownContract, KnownStream,
    ask::{AskError, ask, respond},
    contract_orders::{self, ContractOrder},
    inventory_store::LoadError,
    order_error::OrderError,
    principal_orders::{PrincipalOrder, PrincipalOrderError},
    project_orders::{ProjectOrder, ProjectOrderError},
    stream_orders::{self, CreatedStream, NewStream, StreamOrderError},
    workshop::{Answer, Order, RegistryWorkshop},
};
use crate::{
    domain::{ContractDocumentError, ContractRights, SchemaDocumentError, StateError, StreamName, Who},
    event::{ContractError, SchemaError},
    storage::RegistryError,
};

/// Why a change of contracts or streams was not made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("no such stream")]
    StreamUnknown,
    #[error("no such contract")]
    ContractUnknown,
    #[error("there is a contract or schema of this name already: raise the version")]
    ContractExists,
    #[error("there is another schema of this name already: raise its version")]
    SchemaExists,
    #[error("the contract names a schema that is not known: give the schema or create it first")]
    SchemaUnknown,
    #[error("schema: {0}")]
    SchemaDocument(SchemaDocumentError),
    #[error("contract: {0}")]
    ContractDocument(ContractDocumentError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    Contract(#[from] ContractError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("your role does not allow this step with this contract")]
    StepForbidden,
    #[error("only a DRAFT can be changed: take it back with revise, or make a new version")]
    NotEditable,
    #[error("it has another version than If-Match names: read it again")]
    PreconditionFailed,
    #[error("a built-in contract cannot be changed")]
    BuiltIn,
    #[error("only a contract that was never ACTIVE can be deleted: archive it instead")]
    ContractInUse,
    #[error("streams mask by this contract: {0}")]
    ContractMasks(String),
    #[error(transparent)]
    Stream(#[from] StreamOrderError),
    #[error(transparent)]
    Principal(#[from] PrincipalOrderError),
    #[error(transparent)]
    Project(#[from] ProjectOrderError),
    #[error(transparent)]
    Order(#[from] OrderError),
    /// Read again and retry.
    #[error("it was changed by somebody else at the same time")]
    Conflict,
    /// Retry later.
    #[error("the store takes no changes at this moment")]
    Unavailable,
}

impl From<RegistryError> for ControlError {
    fn from(error: RegistryError) -> ControlError {
        match error {
            RegistryError::Conflict { .. } => ControlError::Conflict,
            other => {
                tracing::error!(error = %other, "registry change failed");
                ControlError::Unavailable
            }
        }
    }
}

impl From<AskError> for ControlError {
    fn from(_: AskError) -> ControlError {
        ControlError::Unavailable
    }
}

/// How the rest of Sluice reads and changes contracts and streams. Cheap to clone.
#[derive(Clone)]
pub struct RegistryHandle {
    inventory: Arc<ArcSwap<Inventory>>,
    changes: Arc<watch::Sender<u64>>,
    actor: Arc<ArcSwapOption<ActorRef<RegistryMsg>>>,
}

impl Default for RegistryHandle {
    fn default() -> RegistryHandle {
        RegistryHandle {
            inventory: Arc::default(),
            changes: Arc::new(watch::Sender::new(0)),
            actor: Arc::new(ArcSwapOption::empty()),
        }
    }
}

impl RegistryHandle {
    /// The snapshot as it is now.
    #[must_use]
    pub fn inventory(&self) -> Arc<Inventory> {
        self.inventory.load_full()
    }

    /// Where snapshots are published.
    #[must_use]
    pub fn shared(&self) -> Arc<ArcSwap<Inventory>> {
        Arc::clone(&self.inventory)
    }

    /// Counts the snapshots.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Makes a stream and its first credentials, which are told only here.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn create_stream(&self, by: Who, new: NewStream) -> Result<CreatedStream, ControlError> {
        self.ask(|reply| RegistryMsg::CreateStream { by, new: Box::new(new), reply }).await
    }

    /// Deletes a stream, its events and its credentials; with `recursive` also what derives from it.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn delete_stream(
        &self,
        by: Who,
        name: StreamName,
        recursive: bool,
    ) -> Result<(), ControlError> {
        self.ask(|reply| RegistryMsg::DeleteStream { by, name, recursive, reply }).await
    }

    /// Has `work` done in its turn; answers once the snapshot shows what it changed.
    pub(super) async fn order<T, F>(
        &self,
        work: impl FnOnce(RegistryWorkshop, Arc<Inventory>) -> F + Send + 'static,
    ) -> Result<T, ControlError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ControlError>> + Send + 'static,
    {
        self.ask(|reply| {
            RegistryMsg::Order(Box::new(|workshop, inventory| {
                Box::pin(async move {
                    let outcome = work(workshop, inventory).await;
                    Box::new(move || respond(reply, outcome)) as Answer
                })
            }))
        })
        .await
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(RpcReplyPort<Result<T, ControlError>>) -> RegistryMsg,
    ) -> Result<T, ControlError> {
        let actor = self.actor.load_full().ok_or(ControlError::Unavailable)?;
        ask(&actor, question, DEADLINE).await?
    }

    /// Spawns the actor under `parent`; returns once the first snapshot is published.
    pub(super) async fn spawn(
        &self,
        parent: ActorCell,
        workshop: RegistryWorkshop,
    ) -> Result<ActorRef<RegistryMsg>, SpawnErr> {
        let args = RegistryArgs {
            workshop,
            inventory: Arc::clone(&self.inventory),
            changes: Arc::clone(&self.changes),
        };
        let (actor, _) = Actor::spawn_linked(None, RegistryActor, args, parent).await?;
        self.actor.store(Some(Arc::new(actor.clone())));
        Ok(actor)
    }
}

pub(super) type Reply<T> = RpcReplyPort<Result<T, ControlError>>;

pub(super) enum RegistryMsg {
    CreateStream {
        by: Who,
        new: Box<NewStream>,
        reply: Reply<CreatedStream>,
    },
    DeleteStream {
        by: Who,
        name: StreamName,
        recursive: bool,
        reply: Reply<()>,
    },
    Contract {
        by: Who,
        rights: ContractRights,
        order: Box<ContractOrder>,
        reply: Reply<Option<Arc<KnownContract>>>,
    },
    Principal(Box<PrincipalOrder>),
    Project(Box<ProjectOrder>),
    /// The Registry store changed, perhaps by another node.
    /// One of the files beside: `stream_life`, `purposes`, `policies`.
    Order(Order),
    Reload,
}

impl std::fmt::Debug for RegistryMsg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegistryMsg")
    }
}

pub(super) struct RegistryArgs {
    pub(super) workshop: RegistryWorkshop,
    pub(super) inventory: Arc<ArcSwap<Inventory>>,
    changes: Arc<watch::Sender<u64>>,
}

pub(super) struct RegistryActor;

pub(super) struct RegistryState {
    pub(super) args: RegistryArgs,
}

impl Actor for RegistryActor {
    type Msg = RegistryMsg;
    type State = RegistryState;
    type Arguments = RegistryArgs;

    async fn pre_start(
        &self,
        me: ActorRef<RegistryMsg>,
        args: RegistryArgs,
    ) -> Result<RegistryState, ActorProcessingErr> {
        follow_store(&me, args.workshop.holdings.watch());
        let state = RegistryState { args };
        state.reload().await?;
        Ok(state)
    }

    async fn handle(
        &self,
        _me: ActorRef<RegistryMsg>,
        msg: RegistryMsg,
        state: &mut RegistryState,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            RegistryMsg::CreateStream { by, new, reply } => {
                respond(reply, state.on_create_stream(&by, *new).await)
            }
            RegistryMsg::DeleteStream { by, name, recursive, reply } => {
                respond(reply, state.on_delete_stream(&by, &name, recursive).await);
            }
            RegistryMsg::Contract { by, rights, order, reply } => {
                respond(reply, state.on_contract(&by, rights, *order).await);
            }
            RegistryMsg::Principal(order) => order.carry_out(state).await,
            RegistryMsg::Project(order) => order.carry_out(state).await,
            RegistryMsg::Order(order) => {
                let done = order(state.args.workshop.clone(), state.args.inventory.load_full()).await;
                state.reload().await?;
                done();
            }
            RegistryMsg::Reload => state.reload().await?,
        }
        Ok(())
    }
}

impl RegistryState {
    async fn on_create_stream(&mut self, by: &Who, new: NewStream) -> Result<CreatedStream, ControlError> {
        let inventory = self.args.inventory.load_full();
        let created = stream_orders::create(&self.args.workshop, &inventory, by, new).await?;
        self.reload().await?;
        tracing::info!(?by, stream = %created.definition.name, "stream created");
        Ok(created)
    }

    async fn on_delete_stream(
        &mut self,
        by: &Who,
        name: &StreamName,
        recursive: bool,
    ) -> Result<(), ControlError> {
        let inventory = self.args.inventory.load_full();
        let streams = stream_orders::to_delete(&inventory, name, recursive)?;
        for stream in &streams {
            stream_orders::delete(&self.args.workshop, &inventory, by, stream).await?;
            tracing::info!(?by, %stream, "stream deleted");
        }
        self.reload().await?;
        Ok(())
    }

    async fn on_contract(
        &mut self,
        by: &Who,
        rights: ContractRights,
        order: ContractOrder,
    ) -> Result<Option<Arc<KnownContract>>, ControlError> {
        let inventory = self.args.inventory.load_full();
        let carried_out =
            contract_orders::carry_out(&self.args.workshop, &inventory, by, rights, order).await;
        if matches!(carried_out, Err(ControlError::StepForbidden)) {
            self.args.workshop.auditor.denied(by, "contract_step");
        }
        let reference = carried_out?;
        self.reload().await?;
        Ok(self.args.inventory.load().contract(reference.as_str()).cloned())
    }

    /// Reads the store and publishes a new snapshot.
    pub(super) async fn reload(&self) -> Result<(), LoadError> {
        let before = self.args.inventory.load_full();
        let inventory = self.args.workshop.holdings.load(&before).await?;
        let gone = before.streams().filter(|known| inventory.stream(&known.definition.name).is_none());
        gone.for_each(|known: &Arc<KnownStream>| self.args.workshop.meters.forget(&known.definition.name));
        self.args.inventory.store(Arc::new(inventory));
        self.args.changes.send_modify(|count| *count += 1);
        Ok(())
    }
}

fn follow_store(me: &ActorRef<RegistryMsg>, mut revisions: watch::Receiver<u64>) {
    let me = me.clone();
    revisions.mark_unchanged();
    ractor::concurrency::spawn(async move {
        while revisions.changed().await.is_ok() {
            if me.cast(RegistryMsg::Reload).is_err() {
                return;
            }
        }
    });
}

/// A change is a few durable writes; a large stream's files may take a while to go.
const DEADLINE: Duration = Duration::from_secs(30);
