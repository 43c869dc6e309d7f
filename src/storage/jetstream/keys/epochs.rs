//! Epochs: their state is a registry document, their keys lie in their places.

use serde::{Deserialize, Serialize};

use super::{
    place::{PlaceStream, Write, Wrote},
    store::Keys,
};
use crate::{
    domain::Epoch,
    storage::{
        Created, EpochKind, EpochRecord, KeyError, Lookup, Place, Registry, RegistryError, Unavailable,
    },
};

/// What the registry knows of an epoch.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct EpochState {
    pub current: Place,
    /// The place being built while closing; 0 for none.
    pub building: Place,
    pub destroyed: bool,
    /// Version of the document.
    #[serde(skip)]
    pub version: u64,
}

impl EpochState {
    pub(super) fn writable(self) -> Place {
        if self.building == 0 { self.current } else { self.building }
    }

    /// Every place, the oldest first.
    pub(super) fn places(self) -> impl DoubleEndedIterator<Item = Place> {
        let building = (self.building != 0).then_some(self.building);
        [Some(self.current), building].into_iter().flatten().filter(move |_| !self.destroyed)
    }
}

impl Keys {
    pub(super) fn place(&self, epoch: Epoch, kind: EpochKind, generation: Place) -> PlaceStream {
        PlaceStream { nats: self.nats.clone(), epoch, kind, generation }
    }

    pub(super) async fn state(&self, epoch: Epoch, kind: EpochKind) -> Result<Option<EpochState>, KeyError> {
        let found = self.registry.get(KIND, &name(epoch, kind)).await.map_err(from_registry)?;
        found.map(|found| read(&found.body, found.version)).transpose()
    }

    /// Every epoch, the oldest first.
    pub(super) async fn states(&self) -> Result<Vec<(Epoch, EpochKind, EpochState)>, KeyError> {
        let mut states = Vec::new();
        for found in self.registry.list(KIND).await.map_err(from_registry)? {
            let Some((epoch, kind)) = parse(&found.name) else { continue };
            states.push((epoch, kind, read(&found.body, found.version)?));
        }
        states.sort_by_key(|(epoch, kind, _)| (*epoch, *kind));
        Ok(states)
    }

    /// Writes an epoch's state if it has not changed since it was read. False when it has.
    pub(super) async fn set_state(
        &self,
        epoch: Epoch,
        kind: EpochKind,
        state: EpochState,
    ) -> Result<bool, KeyError> {
        let body = serde_json::to_vec(&state).map_err(|error| KeyError::Damaged(error.into()))?;
        match self.registry.put(KIND, &name(epoch, kind), state.version, body.into()).await {
            Ok(_) => Ok(true),
            Err(RegistryError::Conflict { .. }) => Ok(false),
            Err(error) => Err(from_registry(error)),
        }
    }

    pub(super) async fn epoch_key(
        &self,
        epoch: Epoch,
        kind: EpochKind,
        generation: Place,
    ) -> Result<Option<EpochRecord>, KeyError> {
        let found = self.place(epoch, kind, generation).get("E").await?;
        Ok(found.map(|(_, wrapped)| EpochRecord { epoch, kind, generation, wrapped: wrapped.to_vec() }))
    }

    /// Makes a place with its key and an open gate. The key that is there: ours, or an earlier one.
    pub(super) async fn build_place(&self, wanted: &EpochRecord) -> Result<EpochRecord, KeyError> {
        let place = self.place(wanted.epoch, wanted.kind, wanted.generation);
        place.make().await?;
        let writes = vec![Write::guarded("E", wanted.wrapped.clone(), 0), Write::guarded("G", OPEN, 0)];
        match place.write(writes).await? {
            Wrote::Done => Ok(wanted.clone()),
            Wrote::Refused => {
                let earlier = self.epoch_key(wanted.epoch, wanted.kind, wanted.generation).await?;
                earlier.ok_or_else(|| Unavailable::Backend("another node makes this place".into()).into())
            }
            Wrote::Gone => Err(Unavailable::Backend("the place was removed meanwhile".into()).into()),
        }
    }

    pub(super) async fn make_epoch(&self, wanted: EpochRecord) -> Result<Created<EpochRecord>, KeyError> {
        let (epoch, kind) = (wanted.epoch, wanted.kind);
        if let Some(state) = self.state(epoch, kind).await? {
            return self.earlier_epoch(epoch, kind, state).await;
        }
        let there = self.build_place(&wanted).await?;
        let state = EpochState { current: wanted.generation, building: 0, destroyed: false, version: 0 };
        // Lost to another node that found the same place.
        self.set_state(epoch, kind, state).await?;
        Ok(if there == wanted { Created::Won } else { Created::Lost(there) })
    }

    async fn earlier_epoch(
        &self,
        epoch: Epoch,
        kind: EpochKind,
        state: EpochState,
    ) -> Result<Created<EpochRecord>, KeyError> {
        if state.destroyed {
            return Ok(Created::Destroyed);
        }
        let earlier = self.epoch_key(epoch, kind, state.writable()).await?;
        earlier.map(Created::Lost).ok_or_else(|| KeyError::Damaged("an epoch's key is missing".into()))
    }

    pub(super) async fn find_epoch(
        &self,
        epoch: Epoch,
        kind: EpochKind,
    ) -> Result<Lookup<EpochRecord>, KeyError> {
        let Some(state) = self.state(epoch, kind).await? else { return Ok(Lookup::Absent) };
        Ok(match self.earlier_epoch(epoch, kind, state).await? {
            Created::Lost(found) => Lookup::Found(found),
            _ => Lookup::Destroyed { generation: state.current },
        })
    }

    pub(super) async fn remove_epoch(&self, epoch: Epoch, kind: EpochKind) -> Result<(), KeyError> {
        loop {
            let Some(state) = self.state(epoch, kind).await? else { return Ok(()) };
            let gone = EpochState {
                current: state.writable(),
                building: 0,
                destroyed: true,
                version: state.version,
            };
            if !state.destroyed && !self.set_state(epoch, kind, gone).await? {
                continue;
            }
            // Also when an earlier attempt ended in between.
            for generation in 1..=state.writable() {
                self.place(epoch, kind, generation).remove().await?;
            }
            return Ok(());
        }
    }
}

fn name(epoch: Epoch, kind: EpochKind) -> String {
    format!("{}.{}", epoch.0, kind as u8)
}

fn parse(name: &str) -> Option<(Epoch, EpochKind)> {
    let (epoch, kind) = name.split_once('.')?;
    let kind = match kind {
        "0" => EpochKind::Sessions,
        "1" => EpochKind::NoConsent,
        _ => return None,
    };
    Some((Epoch(epoch.parse().ok()?), kind))
}

fn read(body: &[u8], version: u64) -> Result<EpochState, KeyError> {
    let state: EpochState = serde_json::from_slice(body).map_err(|error| KeyError::Damaged(error.into()))?;
    Ok(EpochState { version, ..state })
}

fn from_registry(error: RegistryError) -> KeyError {
    match error {
        RegistryError::Unavailable(error) => error.into(),
        other => KeyError::Damaged(other.into()),
    }
}

const KIND: &str = "storage.epoch";
pub(super) const OPEN: &str = "open";
pub(super) const CLOSED: &str = "closed";
