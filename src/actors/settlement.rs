//! The janitor's hand on erasures: completes those that were broken off, and makes the others physical.
//!
//! Bytes of an erased key lie in one place of its day's epoch, or in two while the epoch is closed. Once no place up
//! to there is left, nothing on the disk is wrapped by their epoch keys. Places that an erasure made are remembered
//! (kind `moved`), since the day is still to be closed in the ordinary way, without the keys that never consented.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    inventory_store::MOVED,
    janitor::{JanitorArgs, JanitorError},
    workshop::document,
};
use crate::{
    domain::{Epoch, ErasedPlace},
    storage::{EpochKind, EpochRecord, Place},
};

/// Places of an epoch that erasures made.
#[derive(Default, Serialize, Deserialize)]
struct Moved {
    places: BTreeSet<Place>,
}

impl JanitorArgs {
    /// Moves surviving keys away from those that were erased, in time for `[keys] erase_within_s`.
    pub(super) async fn settle_erasures(&self) -> Result<(), JanitorError> {
        self.erasures.resume().await?;
        let now = self.clock.steady();
        let inventory = self.inventory.load_full();
        let mut open = Vec::new();
        for erased in inventory.ledger() {
            let unsettled = erased.erasures.iter().filter(|e| e.completed.is_some() && e.settled.is_none());
            open.extend(unsettled.map(|erasure| (erased.subject, erasure)));
        }
        // Half of the time is for others to join, the rest for the move and for another try.
        let due = |ordered| now.since(ordered) >= self.erase_within_ms / 2;
        if !open.iter().any(|(_, erasure)| due(erasure.ordered)) {
            return Ok(());
        }
        let places: Vec<_> = open.iter().flat_map(|(_, erasure)| erasure.places.iter().copied()).collect();
        for day in places.iter().map(|place| place.day).collect::<BTreeSet<_>>() {
            let upto = places.iter().filter(|place| place.day == day).map(|place| place.place).max();
            // An epoch that was being closed takes two.
            for _ in 0..2 {
                if let Some(old) = self.first_up_to(day, upto.unwrap_or(0)).await? {
                    self.remember_move(&old).await?;
                    self.close(old.epoch, &old, |_| true).await?;
                }
            }
        }
        for (subject, erasure) in open {
            if self.are_gone(&erasure.places).await? {
                self.registry_handle.settle_erasure(subject, erasure.id, now).await?;
            }
        }
        Ok(())
    }

    /// How often an epoch was closed in the ordinary way, from 1, as its place's number was before there were
    /// erasures.
    pub(super) async fn ordinary_place(&self, record: &EpochRecord) -> Result<Place, JanitorError> {
        let moved = self.moved(record.epoch).await?.0;
        let extra = moved.places.range(..=record.generation).count();
        Ok(record.generation - u32::try_from(extra).unwrap_or(0).min(record.generation - 1))
    }

    /// Forgets the moves of an epoch that is gone.
    pub(super) async fn forget_moves(&self, epoch: Epoch) -> Result<(), JanitorError> {
        match self.moved(epoch).await?.1 {
            0 => Ok(()),
            version => Ok(self.registry.delete(MOVED, &epoch.0.to_string(), version).await?),
        }
    }

    async fn remember_move(&self, old: &EpochRecord) -> Result<(), JanitorError> {
        let (mut moved, version) = self.moved(old.epoch).await?;
        if moved.places.insert(old.generation + 1) {
            self.registry.put(MOVED, &old.epoch.0.to_string(), version, document(&moved)).await?;
        }
        Ok(())
    }

    async fn moved(&self, epoch: Epoch) -> Result<(Moved, u64), JanitorError> {
        let Some(stored) = self.registry.get(MOVED, &epoch.0.to_string()).await? else {
            return Ok((Moved::default(), 0));
        };
        let moved = serde_json::from_slice(&stored.body).map_err(|_| JanitorError::Damaged(epoch.0))?;
        Ok((moved, stored.version))
    }

    async fn are_gone(&self, places: &[ErasedPlace]) -> Result<bool, JanitorError> {
        for place in places {
            if self.first_up_to(place.day, place.place).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The oldest place of a day that is not after `upto`.
    async fn first_up_to(&self, day: u32, upto: Place) -> Result<Option<EpochRecord>, JanitorError> {
        let mut records = self.store.epochs().await?;
        records.retain(|record| record.epoch.0 == day && record.kind == EpochKind::Sessions);
        Ok(records.into_iter().find(|record| record.generation <= upto))
    }
}
