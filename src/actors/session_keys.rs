//! Session keys: hands every session to its one `actors::session_key`.
//!
//! - **Owns** which session has a live actor on this node.
//! - **Born** in `actors::root`. Spawns the session key actors, linked, on the core runtime.
//! - **Spoken to** through [`SessionKeys`], by `gateway::intake` and `actors::stream`.
//! - **Fails** by stopping; root restarts it, and the open keys, which are not its own, stay usable.
//! - **Bounded**: one question per event in flight (`http::admission`); an actor lives only while it
//!   decides, so their number is bounded by the questions.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent,
};

use super::{
    ask::{AskError, ask},
    epoch_keys::EpochKeys,
    open_keys::{KeyUse, OpenKeys},
    session_key::{KeyReply, KeyRequest, KeyWorkshop, SessionKeyActor, SessionKeyError, SessionKeyMsg},
};
use crate::{
    clock::Timestamp,
    crypto::{NoConsentKey, OpenKey},
    domain::{Epoch, Fingerprint, KeyLink, StreamName, Suite},
};

/// How the rest of Sluice asks for session keys. Cheap to clone.
#[derive(Clone)]
pub struct SessionKeys {
    workshop: Arc<KeyWorkshop>,
    actor: Arc<ArcSwapOption<ActorRef<SessionKeysMsg>>>,
}

impl SessionKeys {
    pub(super) fn new(workshop: Arc<KeyWorkshop>) -> SessionKeys {
        SessionKeys { workshop, actor: Arc::new(ArcSwapOption::empty()) }
    }

    /// The session's key if it is open on this node, serves an event that does or does not carry consent,
    /// and is registered for the event's subject. The path of almost every event: one map read.
    #[must_use]
    pub fn open(
        &self,
        session: Fingerprint,
        subject: Option<Fingerprint>,
        suite: Suite,
        consented: bool,
        now: Timestamp,
    ) -> Option<Arc<OpenKey>> {
        let key = self.workshop.open.of_session(session, KeyUse::Sealing(suite), now)?;
        let serves = (key.consented() || !consented) && self.workshop.open.knows_subject(&key, subject);
        serves.then_some(key)
    }

    /// The session's key, read or created where needed, durable when this returns.
    ///
    /// # Errors
    ///
    /// [`SessionKeyError`]: retryable, except for `Unwrap`.
    pub async fn resolve(&self, request: KeyRequest) -> KeyReply {
        let mut outcome = Err(SessionKeyError::Gone);
        for _ in 0..RESOLVE_TRIES {
            let Some(actor) = self.actor.load_full() else { break };
            let request = request.clone();
            let question = |reply| SessionKeysMsg::Open { request, reply };
            match ask(&actor, question, RESOLVE_DEADLINE).await {
                Ok(answer) => return answer,
                // The actor was passivated between the look-up and the message: ask again.
                Err(AskError::Gone) => outcome = Err(SessionKeyError::Gone),
                Err(AskError::TimedOut(_)) => return Err(SessionKeyError::Gone),
            }
        }
        outcome
    }

    /// The key of a session that gave no consent, of the strict reading: derived, never stored.
    ///
    /// # Errors
    ///
    /// [`SessionKeyError::Store`]: the day's secret could not be made durable. Retryable.
    pub async fn without_consent(
        &self,
        stream: &StreamName,
        session: Fingerprint,
        suite: Suite,
        now: Timestamp,
    ) -> KeyReply {
        let purpose = KeyUse::NoConsent(suite);
        if let Some(key) = self.workshop.open.of_session(session, purpose, now) {
            return Ok(key);
        }
        let epoch = Epoch::of(now);
        let secret = self.workshop.epochs.day_secret(epoch).await?;
        let NoConsentKey { root, key_link, key_id } = secret.session(stream, session);
        let end = Epoch(epoch.0 + 1).start();
        let key = OpenKey::from_root(&root, suite, key_link, key_id, epoch.start(), end, false);
        self.workshop.open.publish(session, purpose, &key, now);
        Ok(key)
    }

    /// The key of `link` for opening fields; none when it was destroyed.
    ///
    /// # Errors
    ///
    /// [`SessionKeyError`]: retryable, except for `Unwrap`.
    pub async fn of_link(
        &self,
        link: KeyLink,
        suite: Suite,
    ) -> Result<Option<Arc<OpenKey>>, SessionKeyError> {
        self.workshop.open_link(link, suite).await
    }

    /// The keys open on this node.
    #[must_use]
    pub fn open_keys(&self) -> &OpenKeys {
        &self.workshop.open
    }

    /// The epoch keys open on this node.
    #[must_use]
    pub fn epochs(&self) -> &EpochKeys {
        &self.workshop.epochs
    }

    pub(super) async fn spawn(&self, parent: ActorCell) -> Result<ActorRef<SessionKeysMsg>, SpawnErr> {
        let (actor, _) =
            Actor::spawn_linked(None, SessionKeysActor, Arc::clone(&self.workshop), parent).await?;
        self.actor.store(Some(Arc::new(actor.clone())));
        Ok(actor)
    }
}

pub(super) enum SessionKeysMsg {
    Open { request: KeyRequest, reply: RpcReplyPort<KeyReply> },
    Passivate(Fingerprint),
}

impl std::fmt::Debug for SessionKeysMsg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SessionKeysMsg::Open { .. } => "SessionKeysMsg::Open",
            SessionKeysMsg::Passivate(_) => "SessionKeysMsg::Passivate",
        })
    }
}

pub(super) struct SessionKeysActor;

pub(super) struct SessionKeysState {
    workshop: Arc<KeyWorkshop>,
    live: HashMap<Fingerprint, LiveActor>,
    sessions: HashMap<ActorId, Fingerprint>,
}

struct LiveActor {
    actor: ActorRef<SessionKeyMsg>,
    /// Questions handed over and not yet counted back.
    waiting: u32,
}

impl Actor for SessionKeysActor {
    type Msg = SessionKeysMsg;
    type State = SessionKeysState;
    type Arguments = Arc<KeyWorkshop>;

    async fn pre_start(
        &self,
        _me: ActorRef<SessionKeysMsg>,
        workshop: Arc<KeyWorkshop>,
    ) -> Result<SessionKeysState, ActorProcessingErr> {
        Ok(SessionKeysState { workshop, live: HashMap::new(), sessions: HashMap::new() })
    }

    async fn handle(
        &self,
        me: ActorRef<SessionKeysMsg>,
        msg: SessionKeysMsg,
        state: &mut SessionKeysState,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            SessionKeysMsg::Open { request, reply } => state.on_open(&me, request, reply).await,
            SessionKeysMsg::Passivate(session) => {
                state.on_passivate(session);
                Ok(())
            }
        }
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<SessionKeysMsg>,
        event: SupervisionEvent,
        state: &mut SessionKeysState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, ..) | SupervisionEvent::ActorFailed(cell, _) => {
                state.on_session_key_ended(cell.get_id());
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl SessionKeysState {
    async fn on_open(
        &mut self,
        me: &ActorRef<SessionKeysMsg>,
        request: KeyRequest,
        reply: RpcReplyPort<KeyReply>,
    ) -> Result<(), ActorProcessingErr> {
        let session = request.session;
        if !self.live.contains_key(&session) {
            let workshop = Arc::clone(&self.workshop);
            let (actor, _) = Actor::spawn_linked(None, SessionKeyActor, workshop, me.get_cell()).await?;
            self.sessions.insert(actor.get_id(), session);
            self.live.insert(session, LiveActor { actor, waiting: 0 });
        }
        let Some(live) = self.live.get_mut(&session) else { return Ok(()) };
        live.waiting += 1;
        // The answer goes straight to the caller; the actor tells us when it has decided.
        let (told, decided) = ractor::concurrency::oneshot();
        let forward = SessionKeyMsg::Open { request, reply: told.into() };
        if live.actor.cast(forward).is_err() {
            self.forget(session);
            return Ok(());
        }
        let me = me.clone();
        ractor::concurrency::spawn(async move {
            if let Ok(answer) = decided.await {
                super::ask::respond(reply, answer);
            }
            // A supervisor that is gone has taken its actors with it.
            drop(me.cast(SessionKeysMsg::Passivate(session)));
        });
        Ok(())
    }

    fn on_passivate(&mut self, session: Fingerprint) {
        let Some(live) = self.live.get_mut(&session) else { return };
        live.waiting = live.waiting.saturating_sub(1);
        if live.waiting == 0 {
            live.actor.stop(None);
            self.forget(session);
        }
    }

    fn on_session_key_ended(&mut self, id: ActorId) {
        if let Some(session) = self.sessions.remove(&id) {
            self.live.remove(&session);
        }
    }

    fn forget(&mut self, session: Fingerprint) {
        if let Some(live) = self.live.remove(&session) {
            self.sessions.remove(&live.actor.get_id());
        }
    }
}

/// A key costs one durable write, or two when its epoch is new; this is two orders above.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);
const RESOLVE_TRIES: u32 = 3;
