//! Closing an epoch: survivors move to a new place, the old one is deleted.

use std::sync::Arc;

use fjall::Keyspace;

use super::{
    epochs::{self, EpochState},
    rows::{self, KeyRow, LiveKey},
    store::{decode, write},
};
use crate::{
    domain::Epoch,
    storage::{
        CloseError, Created, EpochKind, EpochRecord, KeyError, KeyRecord,
        embedded::{
            engine::{Engine, Open},
            layout::{self, EpochRow},
            queue::Committing,
            txn::Txn,
        },
    },
};

/// Rows looked at between two commits while tombstones are carried over.
const PAGE_ROWS: usize = 1024;

/// See `KeyStore::begin_close`.
pub(super) fn begin(
    committing: &mut Committing<'_>,
    key: EpochRecord,
) -> fjall::Result<Result<Created<EpochRecord>, CloseError>> {
    let (open, at) = (committing.open, (key.epoch, key.kind));
    let Some(state) = open.epoch_state(key.epoch, key.kind).filter(|_| key.kind == EpochKind::Sessions)
    else {
        return Ok(Err(CloseError::NotClosing));
    };
    if state.row.destroyed {
        return Ok(Ok(Created::Destroyed));
    }
    if state.building.is_some() {
        let earlier = epochs::record(open, key.epoch, key.kind, state.row.building);
        return Ok(earlier.map(Created::Lost).map_err(CloseError::from));
    }
    if key.generation != state.row.current + 1 {
        return Ok(Err(CloseError::WrongGeneration { present: state.row.current }));
    }
    let row = EpochRow { building: key.generation, ..state.row };
    let building = match epochs::build_place(committing, &key, row)? {
        Ok(place) => place,
        Err(full) => return Ok(Err(KeyError::from(full).into())),
    };
    open.epochs.write().insert(at, EpochState { row, building: Some(building), ..state });
    Ok(Ok(Created::Won))
}

/// See `KeyStore::put_rewrapped`.
pub(super) fn carry(
    txn: &mut Txn<'_>,
    epoch: Epoch,
    records: &[KeyRecord],
) -> fjall::Result<Result<(), CloseError>> {
    let Some(state) = txn.open.epoch_state(epoch, EpochKind::Sessions) else {
        return Ok(Err(CloseError::NotClosing));
    };
    let (Some(old), Some(new)) = (&state.current, &state.building) else {
        return Ok(Err(CloseError::NotClosing));
    };
    for record in records {
        if record.place != state.row.building {
            return Ok(Err(KeyError::EpochMoved { place: state.row.building }.into()));
        }
        let key = rows::session_key(record.session, &record.stream, record.generation);
        let before = match txn.get(old, &key)?.map(|row| decode(&row)).transpose() {
            Ok(Some(before)) => before,
            // Made in the new place after the closing began: already where it belongs.
            Ok(None) => continue,
            Err(error) => return Ok(Err(error.into())),
        };
        let already = txn.get(new, &key)?.and_then(|row| KeyRow::decode(&row));
        let row = match (before, already) {
            (_, Some(KeyRow::Destroyed { .. })) => continue,
            (KeyRow::Destroyed { link, .. }, _) => KeyRow::Destroyed { link, carried: true },
            (KeyRow::Live(before), already) => {
                let mut live = LiveKey::of(record);
                live.merge(&before);
                if let Some(KeyRow::Live(already)) = already {
                    live.merge(&already);
                }
                KeyRow::Live(live)
            }
        };
        state.left_behind.lock().remove(&record.key_link);
        write(txn, new, key, &row);
    }
    Ok(Ok(()))
}

/// See `KeyStore::finish_close`.
pub(super) async fn finish(
    engine: &Arc<Engine>,
    epoch: Epoch,
    expected_count: u64,
) -> Result<u64, CloseError> {
    let open = engine.open().map_err(KeyError::from)?;
    let state = open.epoch_state(epoch, EpochKind::Sessions).ok_or(CloseError::NotClosing)?;
    drop(open);
    let (Some(old), Some(new)) = (state.current, state.building) else { return Err(CloseError::NotClosing) };
    let (before, after) = (old.clone(), new.clone());
    let counts = engine.blocking(move || Counts::of(&before, &after)).await.map_err(KeyError::from)?;
    let left_behind = state.left_behind.lock().len() as u64;
    if counts.carried < expected_count || left_behind > 0 {
        return Err(CloseError::Incomplete { carried: counts.carried, left_behind });
    }
    carry_tombstones(engine, &old, &new).await?;
    // Held handles would keep the old place's files.
    drop((old, new));
    let switched =
        engine.manage(move |committing| switch(committing, epoch)).await.map_err(KeyError::from)?;
    switched.map(|()| counts.live)
}

/// What the new place holds.
struct Counts {
    /// Rows that came from the old place.
    carried: u64,
    /// Keys that exist.
    live: u64,
}

impl Counts {
    fn of(old: &Keyspace, new: &Keyspace) -> fjall::Result<Counts> {
        let mut counts = Counts { carried: 0, live: 0 };
        for row in new.prefix(b"s") {
            let (key, value) = row.into_inner()?;
            counts.live += u64::from(value.first() == Some(&1));
            counts.carried += u64::from(value.first() != Some(&2) && old.contains_key(&key)?);
        }
        Ok(counts)
    }
}

/// What was destroyed stays destroyed: its generations are never made again.
async fn carry_tombstones(engine: &Arc<Engine>, old: &Keyspace, new: &Keyspace) -> Result<(), KeyError> {
    let mut after = b"s".to_vec();
    loop {
        let (from, place) = (after.clone(), old.clone());
        let page = engine.blocking(move || {
            let rows =
                place.range((std::ops::Bound::Excluded(from), std::ops::Bound::Excluded(b"t".to_vec())));
            rows.take(PAGE_ROWS).map(fjall::Guard::into_inner).collect::<fjall::Result<Vec<_>>>()
        });
        let page = page.await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = last.to_vec();
        let place = new.clone();
        let work = engine.work(true, move |txn| {
            for (key, value) in page {
                if let Some(KeyRow::Destroyed { link, .. }) = KeyRow::decode(&value)
                    && txn.get(&place, &key)?.is_none()
                {
                    write(txn, &place, key.to_vec(), &KeyRow::Destroyed { link, carried: false });
                }
            }
            Ok(())
        });
        work.await?;
    }
}

/// The switch: one commit, then the old epoch key and the old place go.
fn switch(committing: &mut Committing<'_>, epoch: Epoch) -> fjall::Result<Result<(), CloseError>> {
    let (open, kind) = (committing.open, EpochKind::Sessions);
    let Some(state) = open.epoch_state(epoch, kind) else { return Ok(Err(CloseError::NotClosing)) };
    let (Some(old), Some(new)) = (state.current, state.building) else {
        return Ok(Err(CloseError::NotClosing));
    };
    let left_behind = state.left_behind.lock().len() as u64;
    if left_behind > 0 {
        return Ok(Err(CloseError::Incomplete { carried: 0, left_behind }));
    }
    let row = EpochRow { current: state.row.building, building: 0, destroyed: false };
    let mut txn = committing.txn();
    txn.put_unread(&open.catalog, &layout::epoch_key(epoch, kind), row.encode());
    txn.commit()?;
    let closed = EpochState { row, current: Some(new), building: None, left_behind: Arc::default() };
    open.epochs.write().insert((epoch, kind), closed);
    open.vault.shred(&layout::place_name(epoch, kind, state.row.current))?;
    committing.drop_keyspace(&old)?;
    Ok(Ok(()))
}

/// See `KeyStore::scan`.
pub(super) fn page(
    open: &Open,
    epoch: Epoch,
    after: Option<Vec<u8>>,
    limit: usize,
) -> fjall::Result<(Vec<KeyRecord>, Option<Vec<u8>>)> {
    let state = open.epoch_state(epoch, EpochKind::Sessions);
    let Some((row, place)) = state.and_then(|state| Some((state.row, state.current?))) else {
        return Ok((Vec::new(), None));
    };
    let (mut found, mut last) = (Vec::new(), None);
    let from = after.unwrap_or_else(|| b"s".to_vec());
    for guard in place.range((std::ops::Bound::Excluded(from), std::ops::Bound::Excluded(b"t".to_vec()))) {
        if found.len() >= limit {
            return Ok((found, last));
        }
        let (key, value) = guard.into_inner()?;
        if let Some(KeyRow::Live(live)) = KeyRow::decode(&value) {
            found.extend(live.record(&key, epoch, row.current));
        }
        last = Some(key.to_vec());
    }
    Ok((found, None))
}
