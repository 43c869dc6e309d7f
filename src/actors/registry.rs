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
    audited::{change, stepped},
    inventory_store::{self, LoadError},
    order_error::OrderError,
    principal_orders::{PrincipalOrder, PrincipalOrderError},
    project_orders::{self, ProjectOrder, ProjectOrderError},
    stream_orders::{self, CreatedStream, NewStream, StreamOrderError},
    workshop::{Answer, Order, RegistryWorkshop, document},
};
use crate::{
    audit::Action,
    domain::{
        Contract, ContractDocumentError, ContractRef, ContractState, Schema, SchemaDocumentError, StateError,
        StreamName, Who,
    },
    event::{ContractError, EventPlan, SchemaError, SchemaPlan},
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

/// A contract to be created, with its schema unless it uses a known one.
#[derive(Clone)]
pub struct NewContract {
    pub contract: Contract,
    pub schema: Option<Schema>,
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

    /// Makes a contract in state DRAFT.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn create_contract(
        &self,
        by: Who,
        new: NewContract,
    ) -> Result<Arc<KnownContract>, ControlError> {
        self.ask(|reply| RegistryMsg::CreateContract { by, new: Box::new(new), reply }).await
    }

    /// Takes a contract to state `to`.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn step_contract(
        &self,
        by: Who,
        reference: ContractRef,
        to: ContractState,
    ) -> Result<Arc<KnownContract>, ControlError> {
        self.ask(|reply| RegistryMsg::StepContract { by, reference, to, reply }).await
    }

    /// Deletes a contract that was never ACTIVE.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn delete_contract(&self, by: Who, reference: ContractRef) -> Result<(), ControlError> {
        self.ask(|reply| RegistryMsg::DeleteContract { by, reference, reply }).await
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
    CreateContract {
        by: Who,
        new: Box<NewContract>,
        reply: Reply<Arc<KnownContract>>,
    },
    StepContract {
        by: Who,
        reference: ContractRef,
        to: ContractState,
        reply: Reply<Arc<KnownContract>>,
    },
    DeleteContract {
        by: Who,
        reference: ContractRef,
        reply: Reply<()>,
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
        follow_store(&me, args.workshop.store.watch());
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
            RegistryMsg::CreateContract { by, new, reply } => {
                respond(reply, state.on_create_contract(&by, *new).await)
            }
            RegistryMsg::StepContract { by, reference, to, reply } => {
                respond(reply, state.on_step_contract(&by, &reference, to).await);
            }
            RegistryMsg::DeleteContract { by, reference, reply } => {
                respond(reply, state.on_delete_contract(&by, &reference).await);
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
            stream_orders::delete(&self.args.workshop, by, stream).await?;
            tracing::info!(?by, %stream, "stream deleted");
        }
        self.reload().await?;
        Ok(())
    }

    async fn on_create_contract(
        &mut self,
        by: &Who,
        new: NewContract,
    ) -> Result<Arc<KnownContract>, ControlError> {
        let inventory = self.args.inventory.load_full();
        let NewContract { mut contract, schema } = new;
        let reference = contract.reference.clone();
        project_orders::demand_open(&inventory, &contract.project)?;
        if inventory.contract(reference.as_str()).is_some() {
            return Err(ControlError::ContractExists);
        }
        let known = inventory.schema(contract.schema_ref.as_str());
        let is_new = match (known, &schema) {
            (Some(known), Some(schema)) if known.schema.definition != schema.definition => {
                return Err(ControlError::SchemaExists);
            }
            (None, None) => return Err(ControlError::SchemaUnknown),
            (known, _) => known.is_none(),
        };
        let plan = match (known, &schema) {
            (Some(known), _) => Arc::clone(&known.plan),
            (None, Some(schema)) => Arc::new(SchemaPlan::compile(schema)?),
            (None, None) => return Err(ControlError::SchemaUnknown),
        };
        contract.state = ContractState::Draft;
        EventPlan::compile(plan, Arc::new(contract.clone()), &[])?;
        let action = Action::ContractCreated { contract: reference.clone() };
        let mut changes = vec![change(inventory_store::CONTRACT, &reference, 0, Some(document(&contract)))];
        if let Some(schema) = schema.filter(|_| is_new) {
            changes.push(change(inventory_store::SCHEMA, &schema.reference, 0, Some(document(&schema))));
        }
        self.args.workshop.apply(by, action, changes).await?;
        self.reload().await?;
        tracing::info!(?by, contract = %reference, "contract created");
        self.contract(&reference)
    }

    async fn on_step_contract(
        &mut self,
        by: &Who,
        reference: &ContractRef,
        to: ContractState,
    ) -> Result<Arc<KnownContract>, ControlError> {
        let known = self.contract(reference)?;
        if known.version == 0 {
            return Err(ControlError::BuiltIn);
        }
        let mut contract = Contract::clone(&known.contract);
        contract.state = contract.state.step(to)?;
        let action = stepped(reference, known.contract.state, to);
        let change = change(inventory_store::CONTRACT, reference, known.version, Some(document(&contract)));
        self.args.workshop.apply(by, action, vec![change]).await?;
        self.reload().await?;
        tracing::info!(?by, contract = %reference, state = to.as_str(), "contract changed state");
        self.contract(reference)
    }

    async fn on_delete_contract(&mut self, by: &Who, reference: &ContractRef) -> Result<(), ControlError> {
        let known = self.contract(reference)?;
        if known.version == 0 {
            return Err(ControlError::BuiltIn);
        }
        if !matches!(
            known.contract.state,
            ContractState::Draft | ContractState::InReview | ContractState::Approved
        ) {
            return Err(ControlError::ContractInUse);
        }
        let inventory = self.args.inventory.load_full();
        let masking: Vec<_> = inventory.masking_by(reference).map(StreamName::as_str).collect();
        if !masking.is_empty() {
            return Err(ControlError::ContractMasks(masking.join(", ")));
        }
        let action = Action::ContractDeleted { contract: reference.clone() };
        let change = change(inventory_store::CONTRACT, reference, known.version, None);
        self.args.workshop.apply(by, action, vec![change]).await?;
        self.reload().await?;
        tracing::info!(?by, contract = %reference, "contract deleted");
        Ok(())
    }

    fn contract(&self, reference: &ContractRef) -> Result<Arc<KnownContract>, ControlError> {
        let inventory = self.args.inventory.load();
        inventory.contract(reference.as_str()).cloned().ok_or(ControlError::ContractUnknown)
    }

    /// Reads the store and publishes a new snapshot.
    pub(super) async fn reload(&self) -> Result<(), LoadError> {
        let before = self.args.inventory.load_full();
        let inventory = inventory_store::load(&*self.args.workshop.store, &before).await?;
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
