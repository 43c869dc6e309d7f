//! Idempotency: which appends were stored in the last minutes, in two windows dropped as a whole.

use fjall::{Database, Keyspace};

use super::{
    keyspaces::{Budget, Kind, keyspace},
    layout,
    options::ONCE_MS,
    txn::Txn,
};
use crate::{clock::Timestamp, storage::OnceKey};

/// The window being written and the one before it.
#[derive(Default)]
pub(super) struct Windows(Vec<(i64, Keyspace)>);

impl Windows {
    /// Takes the windows found on disk over; hands out those that are past.
    pub(super) fn adopt(found: Vec<(i64, Keyspace)>, now: Timestamp) -> (Windows, Vec<Keyspace>) {
        let (mut kept, past): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(window, _)| *window >= window_of(now) - 1);
        kept.sort_by_key(|(window, _)| *window);
        (Windows(kept), past.into_iter().map(|(_, keyspace)| keyspace).collect())
    }

    /// Where an append under this key was stored, if within the last minutes.
    pub(super) fn find(
        &self,
        txn: &Txn<'_>,
        stream: u64,
        once: OnceKey,
        now: Timestamp,
    ) -> fjall::Result<Option<(u64, u64)>> {
        for (_, keyspace) in self.0.iter().rev() {
            if let Some(row) = txn.get(keyspace, &row_key(stream, once))?
                && let Some((place, stored)) = row.split_at_checked(16)
                && let (Some(place), Some(stored)) = (layout::read_pair(place), layout::read_time(stored))
                && now.since(stored) < ONCE_MS
            {
                return Ok(Some(place));
            }
        }
        Ok(None)
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
        if let Some((_, keyspace)) = self.0.last().filter(|(newest, _)| *newest >= window) {
            return Ok(keyspace.clone());
        }
        let made = keyspace(db, &layout::once_name(window), Kind::Rows)?;
        self.0.push((window, made.clone()));
        while self.0.len() > 2 {
            let (_, past) = self.0.remove(0);
            budget.forget(&past);
            db.delete_keyspace(past)?;
        }
        Ok(made)
    }
}

/// Notes where an append was stored.
pub(super) fn note(
    txn: &mut Txn<'_>,
    window: &Keyspace,
    stream: u64,
    once: OnceKey,
    row: (u64, u64),
    now: Timestamp,
) {
    let value = [row.0.to_le_bytes(), row.1.to_le_bytes(), now.0.to_le_bytes()].concat();
    txn.put(window, row_key(stream, once), value);
}

fn row_key(stream: u64, once: OnceKey) -> Vec<u8> {
    [&stream.to_be_bytes()[..], &once.0].concat()
}

fn window_of(now: Timestamp) -> i64 {
    now.0.div_euclid(ONCE_MS)
}
