//! Closing an epoch: survivors move to a new place, the old one is deleted.

use super::{
    epochs::{CLOSED, EpochState},
    place::{PlaceStream, Write, Wrote, encode},
    rows::{self, KeyRow, LiveKey},
    store::Keys,
};
use crate::{
    domain::Epoch,
    storage::{CloseError, Created, EpochKind, EpochRecord, KeyError, KeyRecord},
};

impl Keys {
    pub(super) async fn begin(&self, wanted: EpochRecord) -> Result<Created<EpochRecord>, CloseError> {
        let (epoch, kind) = (wanted.epoch, EpochKind::Sessions);
        if wanted.kind != kind {
            return Err(CloseError::NotClosing);
        }
        loop {
            let state = self.state(epoch, kind).await?.ok_or(CloseError::NotClosing)?;
            if state.destroyed {
                return Ok(Created::Destroyed);
            }
            let old = self.place(epoch, kind, state.current);
            if state.building != 0 {
                close_gate(&old).await?;
                let earlier = self.epoch_key(epoch, kind, state.building).await?;
                let earlier = earlier.ok_or_else(|| KeyError::Damaged("an epoch's key is missing".into()))?;
                return Ok(Created::Lost(earlier));
            }
            if wanted.generation != state.current + 1 {
                return Err(CloseError::WrongGeneration { present: state.current });
            }
            let there = self.build_place(&wanted).await?;
            if self.set_state(epoch, kind, EpochState { building: wanted.generation, ..state }).await? {
                close_gate(&old).await?;
                return Ok(if there == wanted { Created::Won } else { Created::Lost(there) });
            }
        }
    }

    async fn both(&self, epoch: Epoch) -> Result<(EpochState, PlaceStream, PlaceStream), CloseError> {
        let state = self.state(epoch, EpochKind::Sessions).await?.ok_or(CloseError::NotClosing)?;
        if state.destroyed || state.building == 0 {
            return Err(CloseError::NotClosing);
        }
        let place = |generation| self.place(epoch, EpochKind::Sessions, generation);
        Ok((state, place(state.current), place(state.building)))
    }

    pub(super) async fn carry(&self, epoch: Epoch, records: Vec<KeyRecord>) -> Result<(), CloseError> {
        let (state, old, new) = self.both(epoch).await?;
        for record in records {
            if record.place != state.building {
                return Err(KeyError::EpochMoved { place: state.building }.into());
            }
            carry_one(&old, &new, &record).await?;
        }
        Ok(())
    }

    pub(super) async fn finish(&self, epoch: Epoch, expected_count: u64) -> Result<u64, CloseError> {
        let (state, old, new) = self.both(epoch).await?;
        // From here on nothing consents in the old place without looking at the new one again.
        close_gate(&old).await?;
        let left_behind = old.list("B.*").await?.len() as u64;
        let before = old.rows().await?;
        let after = new.rows().await?;
        let was_there = |key: &str| before.binary_search_by(|(found, _)| found.as_str().cmp(key)).is_ok();
        let (mut carried, mut live) = (0, 0);
        for (key, row) in &after {
            live += u64::from(matches!(row, KeyRow::Live(_)));
            let own = matches!(row, KeyRow::Destroyed { carried: false, .. });
            carried += u64::from(!own && was_there(key));
        }
        if carried < expected_count || left_behind > 0 {
            return Err(CloseError::Incomplete { carried, left_behind });
        }
        for (key, row) in &before {
            if let KeyRow::Destroyed { link, .. } = row {
                let row = encode(&KeyRow::Destroyed { link: *link, carried: false })?;
                let links = Write::plain(format!("L.{}", link.simple()), key.clone());
                // Refused where the new place has it already.
                new.write(vec![Write::guarded(key.clone(), row, 0), links]).await?;
            }
        }
        let closed = EpochState { current: state.building, building: 0, ..state };
        if !self.set_state(epoch, EpochKind::Sessions, closed).await? {
            return Err(CloseError::NotClosing);
        }
        old.remove().await?;
        Ok(live)
    }
}

/// No key is made here from now on.
async fn close_gate(place: &PlaceStream) -> Result<(), KeyError> {
    place.write(vec![Write::plain("G", CLOSED)]).await.map(drop)
}

async fn carry_one(old: &PlaceStream, new: &PlaceStream, record: &KeyRecord) -> Result<(), KeyError> {
    let key = rows::key(record.session, &record.stream, record.generation);
    loop {
        // Made in the new place after the closing began: already where it belongs.
        let Some((old_seq, before)) = old.row(&key).await? else { return Ok(()) };
        let already = new.row(&key).await?;
        let new_seq = already.as_ref().map_or(0, |(seq, _)| *seq);
        let row = match (before, already) {
            (_, Some((_, KeyRow::Destroyed { .. }))) => return Ok(()),
            (KeyRow::Destroyed { link, .. }, _) => KeyRow::Destroyed { link, carried: true },
            (KeyRow::Live(before), already) => {
                let mut live = LiveKey::of(record);
                live.merge(&before);
                if let Some((_, KeyRow::Live(already))) = already {
                    live.merge(&already);
                }
                KeyRow::Live(live)
            }
        };
        let mut writes = vec![Write::guarded(key.clone(), encode(&row)?, new_seq)];
        writes.push(Write::plain(rows::link(record.key_link), key.clone()));
        if let KeyRow::Live(live) = &row {
            writes.extend(live.entries().into_iter().map(|entry| Write::plain(entry, "")));
        }
        if new.write(writes).await? != Wrote::Done {
            continue;
        }
        // Whoever changed the old row since did so before it looked here, or finds this one.
        if old.row(&key).await?.is_some_and(|(seq, _)| seq == old_seq) {
            return old.purge(&[rows::left_behind(record.key_link.0)]).await;
        }
    }
}
