//! Idempotency: which appends were stored in the last minutes, in two windows dropped as a whole.

use std::collections::HashMap;

use fjall::{Database, Keyspace};

use super::{
    keyspaces::{Budget, keyspace},
    layout,
    options::ONCE_MS,
};
use crate::{clock::Timestamp, storage::OnceKey};

/// The window being written and the one before it, and what is not yet in either.
#[derive(Default)]
pub(super) struct Windows {
    windows: Vec<(i64, Keyspace)>,
    fresh: HashMap<RowKey, (Place, Timestamp)>,
}

/// Stream and key.
type RowKey = [u8; 24];
/// First sequence and end.
type Place = (u64, u64);

impl Windows {
    /// Takes the windows found on disk over; hands out those that are past.
    pub(super) fn adopt(found: Vec<(i64, Keyspace)>, now: Timestamp) -> (Windows, Vec<Keyspace>) {
        let (mut windows, past): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(window, _)| *window >= window_of(now) - 1);
        windows.sort_by_key(|(window, _)| *window);
        let past = past.into_iter().map(|(_, keyspace)| keyspace).collect();
        (Windows { windows, fresh: HashMap::new() }, past)
    }

    /// Where an append under this key was stored, if within the last minutes.
    pub(super) fn find(&self, stream: u64, once: OnceKey, now: Timestamp) -> fjall::Result<Option<Place>> {
        let key = row_key(stream, once);
        let young = |stored: Timestamp| now.since(stored) < ONCE_MS;
        if let Some((place, stored)) = self.fresh.get(&key)
            && young(*stored)
        {
            return Ok(Some(*place));
        }
        for (_, keyspace) in self.windows.iter().rev() {
            if let Some(row) = keyspace.get(key)?
                && let Some((place, stored)) = row.split_at_checked(16)
                && let (Some(place), Some(stored)) = (layout::read_pair(place), layout::read_time(stored))
                && young(stored)
            {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Notes where an append was stored. The journal keeps it until it is in a window.
    pub(super) fn note(&mut self, stream: u64, once: OnceKey, place: Place, stored: Timestamp) {
        self.fresh.insert(row_key(stream, once), (place, stored));
    }

    /// Takes out at most `count` of what is in no window yet, as rows for one.
    pub(super) fn take_fresh(&mut self, count: usize) -> Vec<(RowKey, Vec<u8>)> {
        let keys: Vec<RowKey> = self.fresh.keys().take(count).copied().collect();
        let taken = keys.into_iter().filter_map(|key| {
            let ((first, end), stored) = self.fresh.remove(&key)?;
            Some((key, [first.to_le_bytes(), end.to_le_bytes(), stored.0.to_le_bytes()].concat()))
        });
        taken.collect()
    }

    /// The window of `now`, made when there is none; older ones than the one before it are dropped.
    pub(super) fn current(
        &mut self,
        db: &Database,
        budget: &mut Budget,
        now: Timestamp,
    ) -> fjall::Result<Keyspace> {
        let window = window_of(now);
        // A clock that went back writes on into the newest window.
        if let Some((_, keyspace)) = self.windows.last().filter(|(newest, _)| *newest >= window) {
            return Ok(keyspace.clone());
        }
        let made = keyspace(db, &layout::once_name(window))?;
        self.windows.push((window, made.clone()));
        while self.windows.len() > 2 {
            let (_, past) = self.windows.remove(0);
            budget.forget(&past);
            db.delete_keyspace(past)?;
        }
        Ok(made)
    }
}

fn row_key(stream: u64, once: OnceKey) -> RowKey {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&stream.to_be_bytes());
    key[8..].copy_from_slice(&once.0);
    key
}

fn window_of(now: Timestamp) -> i64 {
    now.0.div_euclid(ONCE_MS)
}
