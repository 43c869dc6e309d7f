//! Epochs: where their keys lie, and their own key.

use std::{collections::HashSet, io, sync::Arc};

use fjall::{Database, Keyspace};
use parking_lot::Mutex;

use crate::{
    domain::{Epoch, KeyLink},
    storage::{
        Created, EpochKind, EpochRecord, KeyError, Lookup, Place, Unavailable,
        embedded::{
            engine::Open,
            keyspaces::keyspace,
            layout::{self, EpochRow},
            queue::Committing,
        },
    },
};

/// An epoch as the committer left it. Cheap to clone.
#[derive(Clone)]
pub(in super::super) struct EpochState {
    pub row: EpochRow,
    /// The place that survives until a closing is finished. `None` when destroyed.
    pub current: Option<Keyspace>,
    /// The new place while closing.
    pub building: Option<Keyspace>,
    /// Keys that consented while closing, before they were carried over.
    pub left_behind: Arc<Mutex<HashSet<KeyLink>>>,
}

impl EpochState {
    /// An epoch found on disk. `None` when a keyspace it names is missing.
    pub(in super::super) fn found(
        db: &Database,
        epoch: Epoch,
        kind: EpochKind,
        row: EpochRow,
    ) -> Option<EpochState> {
        let find = |place: Place| {
            let name = layout::place_name(epoch, kind, place);
            db.keyspace_exists(&name).then(|| keyspace(db, &name).ok()).flatten()
        };
        let mut state = EpochState { row, current: None, building: None, left_behind: Arc::default() };
        if row.destroyed {
            return Some(state);
        }
        state.current = Some(find(row.current)?);
        if row.building != 0 {
            state.building = Some(find(row.building)?);
        }
        Some(state)
    }

    /// Where new keys go.
    pub(super) fn writable(&self) -> Option<(Place, &Keyspace)> {
        match &self.building {
            Some(building) => Some((self.row.building, building)),
            None => self.current.as_ref().map(|current| (self.row.current, current)),
        }
    }

    /// Every place, the newest first.
    pub(in super::super) fn places(&self) -> impl Iterator<Item = (Place, &Keyspace)> {
        let building = self.building.as_ref().map(|building| (self.row.building, building));
        building.into_iter().chain(self.current.as_ref().map(|current| (self.row.current, current)))
    }
}

impl Open {
    pub(super) fn epoch_state(&self, epoch: Epoch, kind: EpochKind) -> Option<EpochState> {
        self.epochs.read().get(&(epoch, kind)).cloned()
    }

    /// Every epoch of session keys, the newest first.
    pub(in super::super) fn session_epochs(&self) -> Vec<(Epoch, EpochState)> {
        let epochs = self.epochs.read();
        let sessions = epochs.iter().rev().filter(|((_, kind), _)| *kind == EpochKind::Sessions);
        sessions.map(|((epoch, _), state)| (*epoch, state.clone())).collect()
    }
}

/// The epoch key of a place.
pub(super) fn record(
    open: &Open,
    epoch: Epoch,
    kind: EpochKind,
    generation: Place,
) -> Result<EpochRecord, KeyError> {
    let wrapped = open.vault.read(&layout::place_name(epoch, kind, generation));
    let wrapped = wrapped.map_err(|error| KeyError::Damaged(error.into()))?;
    Ok(EpochRecord { epoch, kind, generation, wrapped })
}

/// See `KeyStore::epoch`.
pub(super) fn find(open: &Open, epoch: Epoch, kind: EpochKind) -> Result<Lookup<EpochRecord>, KeyError> {
    let Some(state) = open.epoch_state(epoch, kind) else { return Ok(Lookup::Absent) };
    match state.writable() {
        Some((place, _)) => Ok(Lookup::Found(record(open, epoch, kind, place)?)),
        None => Ok(Lookup::Destroyed { generation: state.row.current }),
    }
}

/// See `KeyStore::create_epoch`.
pub(super) fn create(
    committing: &mut Committing<'_>,
    wanted: EpochRecord,
) -> fjall::Result<Result<Created<EpochRecord>, KeyError>> {
    let (open, at) = (committing.open, (wanted.epoch, wanted.kind));
    match find(open, wanted.epoch, wanted.kind) {
        Ok(Lookup::Absent) => {}
        Ok(Lookup::Found(earlier)) => return Ok(Ok(Created::Lost(earlier))),
        Ok(Lookup::Destroyed { .. }) => return Ok(Ok(Created::Destroyed)),
        Err(error) => return Ok(Err(error)),
    }
    let row = EpochRow { current: wanted.generation, building: 0, destroyed: false };
    let current = match build_place(committing, &wanted, row)? {
        Ok(place) => place,
        Err(full) => return Ok(Err(full.into())),
    };
    let state = EpochState { row, current: Some(current), building: None, left_behind: Arc::default() };
    open.epochs.write().insert(at, state);
    Ok(Ok(Created::Won))
}

/// Makes a place for what `key` wraps: first its key, then in one commit the place and the epoch's new row.
pub(super) fn build_place(
    committing: &mut Committing<'_>,
    key: &EpochRecord,
    row: EpochRow,
) -> fjall::Result<Result<Keyspace, Unavailable>> {
    let open = committing.open;
    let name = layout::place_name(key.epoch, key.kind, key.generation);
    match open.vault.keep(&name, &key.wrapped) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(Err(Unavailable::DiskFull)),
        kept => kept?,
    }
    let place = keyspace(&open.db, &name)?;
    let mut txn = committing.txn();
    txn.put_unread(&open.catalog, &layout::epoch_key(key.epoch, key.kind), row.encode());
    txn.commit()?;
    Ok(Ok(place))
}

/// See `KeyStore::destroy_epoch`.
pub(super) fn destroy(committing: &mut Committing<'_>, epoch: Epoch, kind: EpochKind) -> fjall::Result<()> {
    let open = committing.open;
    let Some(state) = open.epoch_state(epoch, kind).filter(|state| !state.row.destroyed) else {
        return Ok(());
    };
    let row = EpochRow { current: state.row.current.max(state.row.building), building: 0, destroyed: true };
    let mut txn = committing.txn();
    txn.put_unread(&open.catalog, &layout::epoch_key(epoch, kind), row.encode());
    txn.commit()?;
    let gone = EpochState { row, current: None, building: None, left_behind: Arc::default() };
    open.epochs.write().insert((epoch, kind), gone);
    for (generation, place) in state.places() {
        open.vault.shred(&layout::place_name(epoch, kind, generation))?;
        committing.drop_keyspace(place)?;
    }
    Ok(())
}
