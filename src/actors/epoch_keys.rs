//! Epoch keys and day secrets of this node, opened once and shared.
//!
//! Both are made on first need by compare-and-set in the KeyStore, so that every node of an
//! installation ends with the same one. Only wrapped forms are stored.

use std::sync::Arc;

use dashmap::DashMap;

use crate::{
    crypto::{self, DaySecret, EpochKey, MasterKey},
    domain::Epoch,
    storage::{Created, EpochKind, EpochRecord, KeyError, KeyStore, Lookup, Place},
};

/// Opens and makes epoch keys.
pub struct EpochKeys {
    store: Arc<dyn KeyStore>,
    master: Arc<MasterKey>,
    current: DashMap<Epoch, CurrentEpoch>,
    opened: DashMap<(Epoch, Place), Arc<EpochKey>>,
    days: DashMap<Epoch, Arc<DaySecret>>,
}

/// An epoch key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum EpochKeyError {
    /// See the cause: mostly retryable.
    #[error(transparent)]
    Store(#[from] KeyError),
    /// The record is not what the master key wrapped. A person has to look.
    #[error("epoch key of day {0} cannot be unwrapped")]
    Unwrap(u32),
    /// The epoch was closed for good: nothing can be made in it.
    #[error("epoch of day {0} was destroyed")]
    Destroyed(u32),
}

/// An epoch's open key and its place.
pub type CurrentEpoch = (Arc<EpochKey>, Place);

/// Place of an epoch's first key.
pub const FIRST_PLACE: Place = 1;

impl EpochKeys {
    /// Reads and writes epoch records in `store`, wrapped under `master`.
    #[must_use]
    pub fn new(store: Arc<dyn KeyStore>, master: Arc<MasterKey>) -> EpochKeys {
        EpochKeys { store, master, current: DashMap::new(), opened: DashMap::new(), days: DashMap::new() }
    }

    /// The key that new session keys of `epoch` are wrapped under, made and durable if there was none.
    ///
    /// # Errors
    ///
    /// [`EpochKeyError`].
    pub async fn of(&self, epoch: Epoch) -> Result<CurrentEpoch, EpochKeyError> {
        if let Some(found) = self.current.get(&epoch) {
            return Ok((Arc::clone(&found.0), found.1));
        }
        let wrap =
            || self.master.wrap_epoch(&EpochKey::generate(epoch, FIRST_PLACE, crypto::EpochKind::Sessions));
        let record = self.find_or_create(epoch, EpochKind::Sessions, wrap).await?;
        let key = self.open(&record)?;
        self.current.insert(epoch, (Arc::clone(&key), record.generation));
        Ok((key, record.generation))
    }

    /// The key that wraps what lies in `place` of `epoch`; none when it was destroyed.
    ///
    /// # Errors
    ///
    /// [`EpochKeyError`].
    pub async fn at(&self, epoch: Epoch, place: Place) -> Result<Option<Arc<EpochKey>>, EpochKeyError> {
        if let Some(found) = self.opened.get(&(epoch, place)) {
            return Ok(Some(Arc::clone(&found)));
        }
        let records = self.store.epochs().await?;
        let wanted =
            |r: &&EpochRecord| (r.epoch, r.generation, r.kind) == (epoch, place, EpochKind::Sessions);
        records.iter().find(wanted).map(|record| self.open(record)).transpose()
    }

    /// The day secret of `epoch`, made and durable if there was none.
    ///
    /// # Errors
    ///
    /// [`EpochKeyError`].
    pub async fn day_secret(&self, epoch: Epoch) -> Result<Arc<DaySecret>, EpochKeyError> {
        if let Some(found) = self.days.get(&epoch) {
            return Ok(Arc::clone(&found));
        }
        let record = self.find_or_create(epoch, EpochKind::NoConsent, || self.wrap_new_day(epoch)).await?;
        let secret = self.unwrap_day(&record).ok_or(EpochKeyError::Unwrap(epoch.0))?;
        let secret = Arc::new(secret);
        self.days.insert(epoch, Arc::clone(&secret));
        Ok(secret)
    }

    /// Forgets what is open of `epoch`: it has moved or is gone.
    pub fn forget(&self, epoch: Epoch) {
        self.current.remove(&epoch);
        self.opened.retain(|(of, _), _| *of != epoch);
        self.days.remove(&epoch);
    }

    /// Opens the key that `record` holds.
    ///
    /// # Errors
    ///
    /// [`EpochKeyError::Unwrap`]: the record is not what the master key wrapped.
    pub fn open(&self, record: &EpochRecord) -> Result<Arc<EpochKey>, EpochKeyError> {
        let (epoch, place) = (record.epoch, record.generation);
        if let Some(found) = self.opened.get(&(epoch, place)) {
            return Ok(Arc::clone(&found));
        }
        let key = self
            .master
            .unwrap_epoch(epoch, place, crypto::EpochKind::Sessions, &record.wrapped)
            .map_err(|_| EpochKeyError::Unwrap(epoch.0))?;
        let key = Arc::new(key);
        self.opened.insert((epoch, place), Arc::clone(&key));
        Ok(key)
    }

    /// A new key for `epoch` in `place`, wrapped: what a close begins with.
    #[must_use]
    pub fn new_record(&self, epoch: Epoch, place: Place) -> EpochRecord {
        let key = EpochKey::generate(epoch, place, crypto::EpochKind::Sessions);
        let wrapped = self.master.wrap_epoch(&key);
        EpochRecord { epoch, kind: EpochKind::Sessions, generation: place, wrapped }
    }

    /// A new day secret under an epoch key of its own: `wrapped epoch key | wrapped secret`.
    fn wrap_new_day(&self, epoch: Epoch) -> Vec<u8> {
        let key = EpochKey::generate(epoch, FIRST_PLACE, crypto::EpochKind::NoConsent);
        [self.master.wrap_epoch(&key), key.wrap_day_secret(&DaySecret::generate())].concat()
    }

    fn unwrap_day(&self, record: &EpochRecord) -> Option<DaySecret> {
        let (key, secret) = record.wrapped.split_at_checked(record.wrapped.len() / 2)?;
        let kind = crypto::EpochKind::NoConsent;
        let key = self.master.unwrap_epoch(record.epoch, record.generation, kind, key).ok()?;
        key.unwrap_day_secret(secret).ok()
    }

    async fn find_or_create(
        &self,
        epoch: Epoch,
        kind: EpochKind,
        wrap: impl FnOnce() -> Vec<u8>,
    ) -> Result<EpochRecord, EpochKeyError> {
        match self.store.epoch(epoch, kind).await? {
            Lookup::Found(record) => return Ok(record),
            Lookup::Destroyed { .. } => return Err(EpochKeyError::Destroyed(epoch.0)),
            Lookup::Absent => {}
        }
        let record = EpochRecord { epoch, kind, generation: FIRST_PLACE, wrapped: wrap() };
        match self.store.create_epoch(record.clone()).await? {
            Created::Won => Ok(record),
            Created::Lost(winner) => Ok(winner),
            Created::Destroyed => Err(EpochKeyError::Destroyed(epoch.0)),
        }
    }
}
