//! Root: spawns the actors that live as long as the node, and spawns them again when they fall.
//!
//! - **Owns** the six: auditor, registry, session_keys, bookkeeper, streams, janitor.
//! - **Born** by [`start`], from `server`, on the core runtime.
//! - **Spoken to** by nobody; handles go past it.
//! - **Fails** never by itself; if it ends all the same, the fatal switch stops the node.
//! - **Bounded**: restarts back off to one in 10 s.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

use super::{
    AuditorHandle, Erasures, RegistryHandle, SessionKeys,
    auditor::AuditorActor,
    bookkeeper::{BookkeeperArgs, UsageHandle},
    epoch_keys::EpochKeys,
    erasures::Works,
    janitor::{JanitorActor, JanitorArgs},
    janitor_books::Trims,
    open_keys::OpenKeys,
    session_key::KeyWorkshop,
    streams::{StreamsActor, StreamsArgs},
    workshop::{Holdings, RegistryWorkshop},
};
use crate::{
    clock::Clock,
    config::Config,
    crypto::{AuditKey, MasterKey},
    storage::Storage,
    telemetry::{FatalSwitch, Meters},
};

/// What the actors need from the outside.
pub struct RootArgs {
    pub config: Config,
    pub storage: Storage,
    pub master: Arc<MasterKey>,
    /// Signs checkpoints of the audit log.
    pub audit_key: Arc<AuditKey>,
    pub clock: Clock,
    pub meters: Arc<Meters>,
    pub fatal: FatalSwitch,
    /// Time between two passes of the janitor.
    pub janitor_every: Duration,
    /// Rings it before its time.
    pub janitor_bell: Arc<tokio::sync::Notify>,
}

/// The running actors.
pub struct Actors {
    pub auditor: AuditorHandle,
    pub registry: RegistryHandle,
    pub keys: SessionKeys,
    pub usage: UsageHandle,
    pub erasures: Erasures,
    root: ActorRef<RootMsg>,
    stopping: Arc<AtomicBool>,
}

impl Actors {
    /// Stops all actors and waits until they are gone.
    pub async fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.usage.flush().await;
        self.auditor.close().await;
        if self.root.stop_and_wait(None, Some(STOP_DEADLINE)).await.is_err() {
            tracing::warn!("actors did not stop in time");
        }
    }
}

/// Starts the actors; returns once the first snapshot of contracts and streams is published.
///
/// # Errors
///
/// [`SpawnErr`]: the registry cannot be read.
pub async fn start(args: RootArgs) -> Result<Actors, SpawnErr> {
    let (log, key) = (Arc::clone(&args.storage.log), Arc::clone(&args.audit_key));
    let checkpoint_file = args.config.audit.checkpoint_file.as_ref();
    let checkpoint_file = checkpoint_file.map(|file| args.config.node.data_dir.join(file));
    let auditor = AuditorHandle::new(log, key, args.clock.clone(), checkpoint_file);
    let registry = RegistryHandle::default();
    let epochs = Arc::new(EpochKeys::new(Arc::clone(&args.storage.keys), Arc::clone(&args.master)));
    let keys = SessionKeys::new(Arc::new(KeyWorkshop {
        store: Arc::clone(&args.storage.keys),
        epochs,
        open: Arc::new(OpenKeys::new(args.config.keys.open_max)),
        clock: args.clock.clone(),
        rotate_after_ms: i64::try_from(args.config.keys.rotate_after_s * 1000).unwrap_or(i64::MAX),
    }));
    let usage = UsageHandle::new(BookkeeperArgs {
        log: Arc::clone(&args.storage.log),
        meters: Arc::clone(&args.meters),
        inventory: registry.shared(),
        clock: args.clock.clone(),
        every: Duration::from_secs(args.config.streams.usage_every_s),
        keep_days: args.config.streams.usage_days,
    });
    let erasures = Erasures::new(Works {
        store: Arc::clone(&args.storage.keys),
        keys: keys.clone(),
        registry: registry.clone(),
        auditor: auditor.clone(),
        fingerprints: args.master.fingerprinter(),
        clock: args.clock.clone(),
        meters: Arc::clone(&args.meters),
        turn: tokio::sync::Mutex::new(()),
    });
    let plan = Plan {
        args,
        erasures: erasures.clone(),
        auditor: auditor.clone(),
        registry: registry.clone(),
        keys: keys.clone(),
        usage: usage.clone(),
    };
    let fatal = plan.args.fatal.clone();
    let (root, ended) = Actor::spawn(None, RootActor, plan).await?;
    let stopping = Arc::new(AtomicBool::new(false));
    let orderly = Arc::clone(&stopping);
    tokio::spawn(async move {
        drop(ended.await);
        if !orderly.load(Ordering::SeqCst) {
            fatal.trip("the root actor ended");
        }
    });
    Ok(Actors { auditor, registry, keys, usage, erasures, root, stopping })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Child {
    Auditor,
    Registry,
    SessionKeys,
    Bookkeeper,
    Streams,
    Janitor,
}

#[derive(Debug)]
enum RootMsg {
    Spawn(Child),
}

struct Plan {
    args: RootArgs,
    auditor: AuditorHandle,
    registry: RegistryHandle,
    keys: SessionKeys,
    usage: UsageHandle,
    erasures: Erasures,
}

struct RootActor;

struct RootState {
    plan: Plan,
    children: Vec<(ActorId, Child)>,
    backoff: Duration,
}

impl Actor for RootActor {
    type Msg = RootMsg;
    type State = RootState;
    type Arguments = Plan;

    async fn pre_start(&self, me: ActorRef<RootMsg>, plan: Plan) -> Result<RootState, ActorProcessingErr> {
        let mut state = RootState { plan, children: Vec::new(), backoff: BACKOFF_MIN };
        for child in [
            Child::Auditor,
            Child::Registry,
            Child::SessionKeys,
            Child::Bookkeeper,
            Child::Streams,
            Child::Janitor,
        ] {
            state.spawn(&me, child).await?;
        }
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<RootMsg>,
        msg: RootMsg,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            RootMsg::Spawn(child) => {
                if let Err(error) = state.spawn(&me, child).await {
                    tracing::error!(?child, %error, "actor cannot be started: trying again");
                    state.spawn_later(&me, child);
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<RootMsg>,
        event: SupervisionEvent,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        let cell = match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                tracing::error!(%error, "actor failed");
                cell
            }
            SupervisionEvent::ActorTerminated(cell, ..) => cell,
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => return Ok(()),
        };
        if let Some(at) = state.children.iter().position(|(id, _)| *id == cell.get_id()) {
            let (_, child) = state.children.swap_remove(at);
            state.spawn_later(&me, child);
        }
        Ok(())
    }
}

impl RootState {
    async fn spawn(&mut self, me: &ActorRef<RootMsg>, child: Child) -> Result<(), SpawnErr> {
        let (plan, parent) = (&self.plan, me.get_cell());
        let id = match child {
            Child::Auditor => AuditorActor::spawn(parent, &plan.auditor).await?.get_id(),
            Child::Registry => plan.registry.spawn(parent, plan.registry_workshop()).await?.get_id(),
            Child::SessionKeys => plan.keys.spawn(parent).await?.get_id(),
            Child::Bookkeeper => plan.usage.spawn(parent).await?.get_id(),
            Child::Streams => StreamsActor::spawn(parent, plan.streams_args()).await?.get_id(),
            Child::Janitor => JanitorActor::spawn(parent, plan.janitor_args()).await?.get_id(),
        };
        tracing::debug!(?child, "actor started");
        self.children.push((id, child));
        Ok(())
    }

    fn spawn_later(&mut self, me: &ActorRef<RootMsg>, child: Child) {
        me.send_after(self.backoff, move || RootMsg::Spawn(child));
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }
}

impl Plan {
    fn registry_workshop(&self) -> RegistryWorkshop {
        RegistryWorkshop {
            holdings: Holdings::new(
                Arc::clone(&self.args.storage.registry),
                Arc::clone(&self.args.storage.log),
            ),
            auditor: self.auditor.clone(),
            master: Arc::clone(&self.args.master),
            meters: Arc::clone(&self.args.meters),
            clock: self.args.clock.clone(),
            retention_days: self.args.config.streams.retention_days,
            api_days: (self.args.config.tokens.api_days, self.args.config.tokens.api_days_max),
        }
    }

    fn streams_args(&self) -> StreamsArgs {
        StreamsArgs {
            log: Arc::clone(&self.args.storage.log),
            inventory: self.registry.shared(),
            changes: self.registry.changes(),
            keys: self.keys.clone(),
            master: Arc::clone(&self.args.master),
            meters: Arc::clone(&self.args.meters),
            zero_is_a_purpose: self.args.config.consent.zero_is_a_purpose,
            batch_bytes: self.args.config.streams.batch_bytes,
        }
    }

    fn janitor_args(&self) -> JanitorArgs {
        JanitorArgs {
            log: Arc::clone(&self.args.storage.log),
            store: Arc::clone(&self.args.storage.keys),
            keys: self.keys.clone(),
            inventory: self.registry.shared(),
            clock: self.args.clock.clone(),
            meters: Arc::clone(&self.args.meters),
            close_after_ms: i64::from(self.args.config.keys.close_after_h) * 60 * 60 * 1000,
            pass_every: self.args.janitor_every,
            bell: Arc::clone(&self.args.janitor_bell),
            registry: Arc::clone(&self.args.storage.registry),
            auditor: self.auditor.clone(),
            trims: Trims::default(),
            erasures: self.erasures.clone(),
            registry_handle: self.registry.clone(),
            erase_within_ms: i64::from(self.args.config.keys.erase_within_s) * 1000,
        }
    }
}

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
const STOP_DEADLINE: Duration = Duration::from_secs(10);
