//! Session key actor: the only writer of one session's key.
//!
//! - **Owns** the decision which key a session has: reads, creates, rotates and marks it consented.
//! - **Born** in `actors::session_keys`, its supervisor, when a session's key is not open on this node.
//! - **Spoken to** by its supervisor only; [`SessionKeyMsg`] never leaves `actors/`.
//! - **Fails** by stopping. The next event of the session spawns a new one that reads the KeyStore.
//! - **Bounded**: one question per event in flight, and those are bounded by `http::admission`. It is
//!   passivated as soon as it has decided, since an idle actor costs 7 KiB.
//!
//! Invariants: a key is durable before it is published; of two nodes that create one, the KeyStore lets
//! one win and the other uses the winner's; a key that was superseded or has expired never comes back,
//! whatever the wall clock does.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use super::{
    ask::respond,
    epoch_keys::{EpochKeyError, EpochKeys},
    open_keys::{KeyUse, OpenKeys},
};
use crate::{
    clock::{Clock, Timestamp},
    crypto::{OpenKey, SessionRoot},
    domain::{Epoch, Fingerprint, KeyLink, Policy, StreamName, Suite},
    storage::{Created, KeyError, KeyRecord, KeyStore, Lookup},
};

/// Why a session key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SessionKeyError {
    /// The key could not be made durable or be read. Mostly retryable, see the cause.
    #[error(transparent)]
    Store(#[from] KeyError),
    /// A person has to look: a stored key does not open.
    #[error("session key cannot be unwrapped")]
    Unwrap,
    /// Retry later: the actor was restarted or is overloaded.
    #[error("session key actor did not answer")]
    Gone,
}

impl From<EpochKeyError> for SessionKeyError {
    fn from(error: EpochKeyError) -> SessionKeyError {
        match error {
            EpochKeyError::Store(error) => SessionKeyError::Store(error),
            EpochKeyError::Unwrap(_) | EpochKeyError::Destroyed(_) => SessionKeyError::Unwrap,
        }
    }
}

/// What an event needs of its session's key.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    pub stream: StreamName,
    /// What a new key is made under.
    pub policy: Option<Arc<Policy>>,
    pub session: Fingerprint,
    /// The data subject the event names, which its key is registered for.
    pub subject: Option<Fingerprint>,
    pub suite: Suite,
    /// The event carries consent, so its key must outlive the close of its epoch.
    pub consented: bool,
}

pub(super) type KeyReply = Result<Arc<OpenKey>, SessionKeyError>;

pub(super) enum SessionKeyMsg {
    Open { request: KeyRequest, reply: RpcReplyPort<KeyReply> },
}

impl std::fmt::Debug for SessionKeyMsg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKeyMsg::Open")
    }
}

/// What every session key actor works with.
pub(super) struct KeyWorkshop {
    pub store: Arc<dyn KeyStore>,
    pub epochs: Arc<EpochKeys>,
    pub open: Arc<OpenKeys>,
    pub clock: Clock,
    /// Milliseconds a key is used. Source: `[keys] rotate_after_s`.
    pub rotate_after_ms: i64,
}

pub(super) struct SessionKeyActor;

pub(super) struct SessionKeyState {
    workshop: Arc<KeyWorkshop>,
    current: Option<(KeyRecord, SessionRoot)>,
}

impl Actor for SessionKeyActor {
    type Msg = SessionKeyMsg;
    type State = SessionKeyState;
    type Arguments = Arc<KeyWorkshop>;

    async fn pre_start(
        &self,
        _me: ActorRef<SessionKeyMsg>,
        workshop: Arc<KeyWorkshop>,
    ) -> Result<SessionKeyState, ActorProcessingErr> {
        Ok(SessionKeyState { workshop, current: None })
    }

    async fn handle(
        &self,
        _me: ActorRef<SessionKeyMsg>,
        msg: SessionKeyMsg,
        state: &mut SessionKeyState,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            SessionKeyMsg::Open { request, reply } => respond(reply, state.on_open(&request).await),
        }
        Ok(())
    }
}

impl SessionKeyState {
    async fn on_open(&mut self, request: &KeyRequest) -> KeyReply {
        let now = self.workshop.clock.steady();
        let purpose = KeyUse::Sealing(request.suite);
        if let Some(key) = self.workshop.open.of_session(request.session, purpose, now)
            && (key.consented() || !request.consented)
            && self.workshop.open.knows_subject(&key, request.subject)
        {
            return Ok(key);
        }
        let usable = self.current.as_ref().is_some_and(|(record, _)| is_usable(record, now));
        if !usable {
            let newest = self.newest(request, now).await?;
            self.current = Some(self.find_or_create(request, newest, now).await?);
        }
        self.register(request, now).await?;
        let Some((record, root)) = &mut self.current else { return Err(SessionKeyError::Gone) };
        if request.consented && !record.consented {
            self.workshop.store.mark_consented(record.key_link).await?;
            record.consented = true;
        }
        let key = open(record, root, request.suite);
        self.workshop.open.publish(request.session, purpose, &key, now);
        if let Some(subject) = request.subject {
            self.workshop.open.remember_subject(&key, subject);
        }
        Ok(key)
    }

    /// Registers the key for the event's subject. One that has as many as it may is succeeded by another.
    async fn register(&mut self, request: &KeyRequest, now: Timestamp) -> Result<(), SessionKeyError> {
        let Some(subject) = request.subject else { return Ok(()) };
        let Some((record, _)) = &mut self.current else { return Ok(()) };
        if record.subject == Some(subject) {
            return Ok(());
        }
        match self.workshop.store.add_subject(subject, record.key_link).await {
            Ok(()) => {
                record.subject.get_or_insert(subject);
                Ok(())
            }
            Err(KeyError::TooManySubjects) => {
                let full = Some((record.epoch, record.generation, None));
                let (fresh, root) = self.find_or_create(request, full, now).await?;
                if fresh.subject != Some(subject) {
                    self.workshop.store.add_subject(subject, fresh.key_link).await?;
                }
                self.current = Some((fresh, root));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The session's `newest` key if it may still be used, a new one otherwise.
    async fn find_or_create(
        &self,
        request: &KeyRequest,
        mut newest: Option<Newest>,
        now: Timestamp,
    ) -> Result<(KeyRecord, SessionRoot), SessionKeyError> {
        for _ in 0..CREATE_TRIES {
            if let Some((_, _, Some(record))) = &newest
                && is_usable(record, now)
                && let Some(root) = self.workshop.unwrap(record).await?
            {
                return Ok((record.clone(), root));
            }
            let (epoch, generation) = successor(newest.as_ref(), Epoch::of(now));
            let (record, root) = self.make(request, epoch, generation, now).await?;
            match self.workshop.store.create(record.clone()).await {
                Ok(Created::Won) => return Ok((record, root)),
                // The loser's root was never used; it is wiped here.
                Ok(Created::Lost(winner)) => newest = Some((epoch, generation, Some(winner))),
                Ok(Created::Destroyed) => newest = Some((epoch, generation, None)),
                Err(KeyError::EpochMoved { .. }) => self.workshop.epochs.forget(epoch),
                Err(error) => return Err(error.into()),
            }
        }
        Err(SessionKeyError::Gone)
    }

    /// The newest key the session ever had around `now`. A clock that stepped back must not bring an
    /// older one to life, so the day after is asked first.
    async fn newest(&self, request: &KeyRequest, now: Timestamp) -> Result<Option<Newest>, SessionKeyError> {
        let today = Epoch::of(now);
        for epoch in [Epoch(today.0.saturating_add(1)), today, today.previous()] {
            match self.workshop.store.latest(&request.stream, request.session, epoch).await? {
                Lookup::Found(record) => return Ok(Some((epoch, record.generation, Some(record)))),
                Lookup::Destroyed { generation } => return Ok(Some((epoch, generation, None))),
                Lookup::Absent => {}
            }
        }
        Ok(None)
    }

    async fn make(
        &self,
        request: &KeyRequest,
        epoch: Epoch,
        generation: u32,
        now: Timestamp,
    ) -> Result<(KeyRecord, SessionRoot), SessionKeyError> {
        let (epoch_key, place) = self.workshop.epochs.of(epoch).await?;
        let root = SessionRoot::generate();
        let key_link = KeyLink::random();
        let wrapped = epoch_key.wrap_root(&request.stream, key_link, &root);
        let record = KeyRecord {
            stream: request.stream.clone(),
            session: request.session,
            subject: request.subject,
            epoch,
            generation,
            place,
            key_link,
            key_id: crate::crypto::random_key_id(),
            created: now,
            expires: now.plus_ms(self.workshop.rotate_after_ms),
            consented: request.consented,
            term: request.policy.as_ref().map(|policy| policy.term(now)),
            wrapped,
        };
        Ok((record, root))
    }
}

/// The newest key of a session: where it lies, and the record unless it was destroyed.
type Newest = (Epoch, u32, Option<KeyRecord>);

/// Where the next key of a session goes: always after the newest one.
fn successor(newest: Option<&Newest>, today: Epoch) -> (Epoch, u32) {
    match newest {
        Some((epoch, generation, _)) if *epoch >= today => (*epoch, generation + 1),
        _ => (today, 1),
    }
}

impl KeyWorkshop {
    /// Opens a stored root; none when its epoch key has been destroyed. An epoch that is closed between
    /// two reads shows as a missing epoch key, so the record is then read once more.
    pub(super) async fn unwrap(&self, record: &KeyRecord) -> Result<Option<SessionRoot>, SessionKeyError> {
        let mut record = record.clone();
        for _ in 0..2 {
            if let Some(epoch_key) = self.epochs.at(record.epoch, record.place).await? {
                return epoch_key
                    .unwrap_root(&record.stream, record.key_link, &record.wrapped)
                    .map(Some)
                    .map_err(|_| SessionKeyError::Unwrap);
            }
            match self.store.by_link(record.key_link).await? {
                Lookup::Found(again) => record = again,
                Lookup::Destroyed { .. } | Lookup::Absent => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The open key of `link` for a filter; none when it was destroyed.
    pub(super) async fn open_link(
        &self,
        link: KeyLink,
        suite: Suite,
    ) -> Result<Option<Arc<OpenKey>>, SessionKeyError> {
        if let Some(key) = self.open.of_link(link, suite) {
            return Ok(Some(key));
        }
        let Some(record) = self.store.by_link(link).await?.found() else { return Ok(None) };
        let Some(root) = self.unwrap(&record).await? else { return Ok(None) };
        let key = open(&record, &root, suite);
        self.open.keep_link(link, suite, &key, self.clock.steady());
        Ok(Some(key))
    }
}

fn open(record: &KeyRecord, root: &SessionRoot, suite: Suite) -> Arc<OpenKey> {
    OpenKey::from_root(
        root,
        suite,
        record.key_link,
        record.key_id,
        record.created,
        record.expires,
        record.consented,
    )
    .of_subject(record.subject)
}

/// A key may be used from its creation, give or take a node's clock, until it expires.
fn is_usable(record: &KeyRecord, now: Timestamp) -> bool {
    now < record.expires && record.created.since(now) <= CLOCK_SKEW_MS
}

/// How far the clocks of two nodes may differ, milliseconds.
const CLOCK_SKEW_MS: i64 = 5 * 60 * 1000;
/// Attempts to create a key; each lost one means that another node made progress.
const CREATE_TRIES: u32 = 8;
