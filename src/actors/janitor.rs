//! Janitor: what has to be done by the clock.
//!
//! - **Owns** nothing; every pass reads what there is and can be repeated.
//! - **Born** in `actors::root`.
//! - **Spoken to** by its own timer only.
//! - **Fails** by stopping; root restarts it and the next pass does what was left.
//! - **Bounded**: one pass at a time, keys in pages of [`PAGE`].
//!
//! Each act leaves an entry in the audit log first (see `janitor_books`).
//!
//! A pass drops expired keys from memory, trims logs by their retention, destroys single keys (see
//! `key_destruction`) and day secrets whose day is over, and closes epochs: surviving keys move under a new
//! epoch key and the old one is destroyed, with every key of a session that never consented.
//!
//! An epoch lives until the longest retention of a stream has passed. Keys of it whose policy lives longer
//! are then carried over once more, without the others.

use std::{sync::Arc, time::Duration};

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};

use super::{
    AuditError, AuditorHandle, ControlError, ErasureError, Erasures, Inventory, RegistryHandle, SessionKeys,
    epoch_keys::{EpochKeyError, FIRST_PLACE},
    janitor_books::Trims,
};
use crate::{
    audit::{Action, DaySecret},
    clock::{Clock, DAY_MS, Timestamp},
    domain::Epoch,
    storage::{
        CloseError, Created, Cursor, EpochKind, EpochRecord, EventLog, KeyError, KeyRecord, KeyStore,
        Registry, RegistryError,
    },
    telemetry::Meters,
};

/// What the janitor works with.
#[derive(Clone)]
pub(super) struct JanitorArgs {
    pub log: Arc<dyn EventLog>,
    pub store: Arc<dyn KeyStore>,
    pub keys: SessionKeys,
    pub inventory: Arc<arc_swap::ArcSwap<Inventory>>,
    pub clock: Clock,
    pub meters: Arc<Meters>,
    /// Milliseconds after the end of its keys that an epoch is closed. Source: `[keys] close_after_h`.
    pub close_after_ms: i64,
    /// Time between two passes, and what rings for one before its time.
    pub pass_every: Duration,
    pub bell: Arc<tokio::sync::Notify>,
    /// Where deleted streams wait until their keys are destroyed.
    pub registry: Arc<dyn Registry>,
    /// Where its acts are written down.
    pub auditor: AuditorHandle,
    pub trims: Trims,
    /// What was ordered of them and not completed, and where that is filed.
    pub erasures: Erasures,
    pub registry_handle: RegistryHandle,
    /// Source: `[keys] erase_within_s`.
    pub erase_within_ms: i64,
}

#[derive(Debug)]
pub(super) enum JanitorMsg {
    Resume,
    Upkeep,
    Pass,
}

pub(super) struct JanitorActor;

/// Why a pass over the epochs did not end.
#[derive(Debug, thiserror::Error)]
pub(super) enum JanitorError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Close(#[from] CloseError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Epoch(#[from] EpochKeyError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Erasure(#[from] ErasureError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("what is remembered of day {0} is damaged")]
    Damaged(u32),
    #[error("a key of day {0} does not open: its epoch stays as it is")]
    Unwrap(u32),
}

impl JanitorActor {
    pub(super) async fn spawn(
        parent: ActorCell,
        args: JanitorArgs,
    ) -> Result<ActorRef<JanitorMsg>, SpawnErr> {
        Ok(Actor::spawn_linked(None, JanitorActor, args, parent).await?.0)
    }
}

impl Actor for JanitorActor {
    type Msg = JanitorMsg;
    type State = JanitorArgs;
    type Arguments = JanitorArgs;

    async fn pre_start(
        &self,
        me: ActorRef<JanitorMsg>,
        args: JanitorArgs,
    ) -> Result<JanitorArgs, ActorProcessingErr> {
        me.send_interval(UPKEEP_EVERY, || JanitorMsg::Upkeep);
        me.send_interval(args.pass_every, || JanitorMsg::Pass);
        follow_bell(&me, &args.bell);
        me.cast(JanitorMsg::Resume)?;
        Ok(args)
    }

    async fn handle(
        &self,
        _me: ActorRef<JanitorMsg>,
        msg: JanitorMsg,
        state: &mut JanitorArgs,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            JanitorMsg::Resume => state.on_resume().await,
            JanitorMsg::Upkeep => state.on_upkeep(),
            JanitorMsg::Pass => state.on_pass().await,
        }
        Ok(())
    }
}

impl JanitorArgs {
    /// What was ordered of the keys of a person does not wait for a pass.
    async fn on_resume(&self) {
        if let Err(error) = self.erasures.resume().await {
            tracing::error!(%error, "erasures are not completed: trying again at the next pass");
        }
    }

    fn on_upkeep(&self) {
        self.meters.upkeep();
        let sessions = self.keys.open_keys().sessions();
        self.meters.sessions_open.set(u32::try_from(sessions).map_or(f64::MAX, f64::from));
    }

    async fn on_pass(&self) {
        self.keys.open_keys().drop_expired(self.clock.steady());
        self.trim_logs().await;
        if let Err(error) = self.destroy_due().await {
            tracing::error!(%error, "keys whose term has ended are still there: trying again at the next pass");
        }
        if let Err(error) = self.destroy_orphans().await {
            tracing::error!(%error, "keys of deleted streams are still there: trying again at the next pass");
        }
        if let Err(error) = self.settle_erasures().await {
            tracing::error!(%error, "erasures are not completed: trying again at the next pass");
        }
        if let Err(error) = self.close_epochs().await {
            tracing::error!(%error, "epochs cannot be listed: trying again at the next pass");
        }
    }

    async fn trim_logs(&self) {
        let now = self.clock.now();
        for known in self.inventory.load_full().streams() {
            if let Err(error) = self.trim_log(known, now).await {
                tracing::error!(stream = %known.definition.name, %error, "log was not trimmed");
            }
        }
        self.forget_trims();
    }

    /// Closes every epoch whose keys have all ended, and destroys the day secrets of days that are over.
    async fn close_epochs(&self) -> Result<(), JanitorError> {
        let now = self.clock.steady();
        let retention_days = self.longest_retention();
        let mut records = self.store.epochs().await?;
        // What only has to be destroyed does not wait for what has to be moved.
        records.sort_by_key(|record| record.kind != EpochKind::NoConsent);
        for record in records {
            if let Err(error) = self.close_if_due(&record, now, retention_days).await {
                let day = record.epoch.0;
                tracing::error!(%error, day, "an epoch was not closed: trying again at the next pass");
            }
        }
        Ok(())
    }

    async fn close_if_due(
        &self,
        record: &EpochRecord,
        now: Timestamp,
        retention_days: u32,
    ) -> Result<(), JanitorError> {
        let epoch = record.epoch;
        let ended = match record.kind {
            EpochKind::NoConsent => Epoch(epoch.0 + 1).start(),
            EpochKind::Sessions => Epoch(epoch.0 + 2).start(),
        };
        if now < ended.plus_ms(self.close_after_ms) {
            return Ok(());
        }
        let place = match record.kind {
            EpochKind::Sessions => self.ordinary_place(record).await?,
            EpochKind::NoConsent => FIRST_PLACE,
        };
        let outlived = now >= ended.plus_ms(i64::from(retention_days) * DAY_MS);
        match record.kind {
            EpochKind::NoConsent => self.destroy(epoch, EpochKind::NoConsent).await,
            EpochKind::Sessions if outlived => match self.store.last_term(epoch).await? {
                Some(end) if end > now && place <= FIRST_PLACE + 1 => {
                    let outlives = |key: &KeyRecord| key.term.is_some_and(|term| term.ends > now);
                    self.close(epoch, record, |key| key.consented && outlives(key)).await
                }
                Some(end) if end > now => Ok(()),
                _ => self.destroy(epoch, EpochKind::Sessions).await,
            },
            // Place 1 is the one an epoch is lived in; a later one means that it was closed.
            EpochKind::Sessions if place == FIRST_PLACE => {
                self.close(epoch, record, |key| key.consented).await
            }
            EpochKind::Sessions => Ok(()),
        }
    }

    async fn destroy(&self, epoch: Epoch, kind: EpochKind) -> Result<(), JanitorError> {
        let secret = match kind {
            EpochKind::Sessions => DaySecret::Sessions,
            EpochKind::NoConsent => DaySecret::NoConsent,
        };
        let destruction = async { Ok::<_, JanitorError>(self.store.destroy_epoch(epoch, kind).await?) };
        self.announced(Action::EpochDestroyed { day: epoch.0, secret }, destruction).await?;
        self.keys.epochs().forget(epoch);
        if kind == EpochKind::Sessions {
            self.forget_moves(epoch).await?;
        }
        tracing::info!(day = epoch.0, ?kind, "an epoch's keys were destroyed");
        Ok(())
    }

    /// Carries the keys that survive to a new place and removes the old one.
    pub(super) async fn close(
        &self,
        epoch: Epoch,
        old: &EpochRecord,
        survives: impl Fn(&KeyRecord) -> bool,
    ) -> Result<(), JanitorError> {
        let epochs = self.keys.epochs();
        let new = match self.store.begin_close(epochs.new_record(epoch, old.generation + 1)).await {
            Ok(Created::Won) => self.newest(epoch).await?,
            Ok(Created::Lost(running)) => Some(running),
            Ok(Created::Destroyed) => None,
            Err(error) => return Err(error.into()),
        };
        let Some(new) = new else { return Ok(()) };
        let (old_key, new_key) = (epochs.open(old)?, epochs.open(&new)?);
        for _ in 0..CLOSE_TRIES {
            let mut carried = 0;
            let mut after: Option<Cursor> = None;
            loop {
                let (page, next) = self.store.scan(epoch, after, PAGE).await?;
                let mut survivors = Vec::with_capacity(page.len());
                for record in page.into_iter().filter(&survives) {
                    let root = old_key
                        .unwrap_root(&record.stream, record.key_link, &record.wrapped)
                        .map_err(|_| JanitorError::Unwrap(epoch.0))?;
                    let wrapped = new_key.wrap_root(&record.stream, record.key_link, &root);
                    new_key
                        .unwrap_root(&record.stream, record.key_link, &wrapped)
                        .map_err(|_| JanitorError::Unwrap(epoch.0))?;
                    survivors.push(KeyRecord { place: new.generation, wrapped, ..record });
                }
                carried += survivors.len() as u64;
                self.store.put_rewrapped(epoch, survivors).await?;
                after = next;
                if after.is_none() {
                    break;
                }
            }
            let finish = async { Ok::<_, JanitorError>(self.store.finish_close(epoch, carried).await?) };
            match self.announced(Action::EpochClosed { day: epoch.0, carried }, finish).await {
                Ok(left) => {
                    epochs.forget(epoch);
                    tracing::info!(day = epoch.0, keys = left, "an epoch was closed");
                    return Ok(());
                }
                Err(JanitorError::Close(CloseError::Incomplete { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        tracing::warn!(day = epoch.0, "an epoch's keys changed while it was closed: going on later");
        Ok(())
    }

    async fn newest(&self, epoch: Epoch) -> Result<Option<EpochRecord>, JanitorError> {
        Ok(self.store.epoch(epoch, EpochKind::Sessions).await?.found())
    }

    fn longest_retention(&self) -> u32 {
        let inventory = self.inventory.load();
        inventory.streams().map(|known| known.definition.retention_days).max().unwrap_or(1)
    }
}

fn follow_bell(me: &ActorRef<JanitorMsg>, bell: &Arc<tokio::sync::Notify>) {
    let (me, bell) = (me.clone(), Arc::clone(bell));
    ractor::concurrency::spawn(async move {
        loop {
            bell.notified().await;
            if me.cast(JanitorMsg::Pass).is_err() {
                return;
            }
        }
    });
}

const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// Keys carried over at a time.
pub(super) const PAGE: usize = 1_024;
/// Scans of an epoch in one pass; keys that consent meanwhile ask for another.
const CLOSE_TRIES: u32 = 3;
