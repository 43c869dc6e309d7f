//! The trait: single keys. Epochs and closing have files of their own.

use std::{collections::BTreeSet, ops::Bound, sync::Arc};

use async_trait::async_trait;
use fjall::{Keyspace, Slice};

use super::{
    closing, epochs,
    rows::{self, KeyRow, LiveKey},
};
use crate::{
    clock::Timestamp,
    domain::{Epoch, Fingerprint, KeyLink, StreamName},
    storage::{
        CloseError, Created, Cursor, EpochKind, EpochRecord, KeyError, KeyRecord, KeyStore, Lookup,
        embedded::{
            engine::{Engine, Failure, Open},
            options::SUBJECTS_PER_KEY_MAX,
            txn::Txn,
        },
    },
};

/// The keys of one node.
pub(in super::super) struct Keys(pub Arc<Engine>);

#[async_trait]
impl KeyStore for Keys {
    async fn create(&self, record: KeyRecord) -> Result<Created<KeyRecord>, KeyError> {
        self.0.work(true, move |txn| create(txn, &record)).await?
    }

    async fn latest(
        &self,
        stream: &StreamName,
        session: Fingerprint,
        epoch: Epoch,
    ) -> Result<Lookup<KeyRecord>, KeyError> {
        latest(&*self.0.open()?, stream, session, epoch)
    }

    async fn by_link(&self, link: KeyLink) -> Result<Lookup<KeyRecord>, KeyError> {
        by_link(&*self.0.open()?, link)
    }

    async fn by_subject(
        &self,
        subject: Fingerprint,
        after: Option<KeyLink>,
        limit: usize,
    ) -> Result<Vec<KeyLink>, KeyError> {
        let open = self.0.open()?;
        Ok(self.0.blocking(move || by_subject(&open, subject, after, limit)).await?)
    }

    async fn subjects(&self, after: Option<Fingerprint>, limit: usize) -> Result<Vec<Fingerprint>, KeyError> {
        let open = self.0.open()?;
        Ok(self.0.blocking(move || subjects(&open, after, limit)).await?)
    }

    async fn add_subject(&self, subject: Fingerprint, link: KeyLink) -> Result<(), KeyError> {
        let change = move |live: &mut LiveKey| {
            let known = live.subjects.contains(&subject);
            if !known && live.subjects.len() >= SUBJECTS_PER_KEY_MAX {
                return Err(KeyError::TooManySubjects);
            }
            if !known {
                live.subjects.push(subject);
            }
            Ok(!known)
        };
        self.0.work(true, move |txn| change_key(txn, link, change)).await?
    }

    async fn mark_consented(&self, link: KeyLink) -> Result<(), KeyError> {
        let change = |live: &mut LiveKey| Ok(!std::mem::replace(&mut live.consented, true));
        self.0.work(true, move |txn| change_key(txn, link, change)).await?
    }

    async fn destroy(&self, link: KeyLink) -> Result<bool, KeyError> {
        self.0.work(false, move |txn| destroy(txn, link)).await?
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<KeyRecord>, KeyError> {
        let open = self.0.open()?;
        let links = self.0.blocking({
            let open = Arc::clone(&open);
            move || due(&open, now, limit)
        });
        let records = links.await?.into_iter().map(|link| by_link(&open, link));
        records.filter_map(|found| found.map(Lookup::found).transpose()).collect()
    }

    async fn last_term(&self, epoch: Epoch) -> Result<Option<Timestamp>, KeyError> {
        let open = self.0.open()?;
        Ok(self.0.blocking(move || last_term(&open, epoch)).await?)
    }

    async fn create_epoch(&self, record: EpochRecord) -> Result<Created<EpochRecord>, KeyError> {
        self.0.manage(move |committing| epochs::create(committing, record)).await?
    }

    async fn epoch(&self, epoch: Epoch, kind: EpochKind) -> Result<Lookup<EpochRecord>, KeyError> {
        epochs::find(&*self.0.open()?, epoch, kind)
    }

    async fn epochs(&self) -> Result<Vec<EpochRecord>, KeyError> {
        let open = self.0.open()?;
        let known = open.epochs.read().clone();
        let mut records = Vec::new();
        for ((epoch, kind), state) in known {
            for (place, _) in state.places() {
                records.push(epochs::record(&open, epoch, kind, place)?);
            }
        }
        records.sort_by_key(|record| (record.epoch, record.kind, record.generation));
        Ok(records)
    }

    async fn scan(
        &self,
        epoch: Epoch,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<(Vec<KeyRecord>, Option<Cursor>), KeyError> {
        let open = self.0.open()?;
        let after = after.map(|Cursor(key)| key);
        let (found, last) = self.0.blocking(move || closing::page(&open, epoch, after, limit.max(1))).await?;
        Ok((found, last.map(Cursor)))
    }

    async fn begin_close(&self, record: EpochRecord) -> Result<Created<EpochRecord>, CloseError> {
        self.0.manage(move |committing| closing::begin(committing, record)).await.map_err(KeyError::from)?
    }

    async fn put_rewrapped(&self, epoch: Epoch, records: Vec<KeyRecord>) -> Result<(), CloseError> {
        self.0.work(true, move |txn| closing::carry(txn, epoch, &records)).await.map_err(KeyError::from)?
    }

    async fn finish_close(&self, epoch: Epoch, expected_count: u64) -> Result<u64, CloseError> {
        closing::finish(&self.0, epoch, expected_count).await
    }

    async fn destroy_epoch(&self, epoch: Epoch, kind: EpochKind) -> Result<(), KeyError> {
        Ok(self.0.manage(move |committing| epochs::destroy(committing, epoch, kind)).await?)
    }
}

/// Reads an `s` row.
pub(super) fn decode(row: &Slice) -> Result<KeyRow, KeyError> {
    KeyRow::decode(row).ok_or_else(malformed)
}

fn malformed() -> KeyError {
    KeyError::Damaged("a key's row is malformed".into())
}

/// Writes an `s` row with the rows that lead to it.
pub(super) fn write(txn: &mut Txn<'_>, place: &Keyspace, key: Vec<u8>, row: &KeyRow) {
    let link = match row {
        KeyRow::Live(live) => {
            for subject in &live.subjects {
                txn.put(place, rows::subject_key(*subject, live.link), Vec::new());
            }
            if let Some(term) = live.term {
                txn.put(place, rows::term_key(term, live.link), Vec::new());
            }
            live.link
        }
        KeyRow::Destroyed { link, .. } => *link,
    };
    txn.put(place, rows::link_key(link), key.clone());
    txn.put(place, key, row.encode());
}

fn create(txn: &mut Txn<'_>, record: &KeyRecord) -> fjall::Result<Result<Created<KeyRecord>, KeyError>> {
    let Some(state) = txn.open.epoch_state(record.epoch, EpochKind::Sessions) else {
        return Ok(Err(KeyError::NoEpoch));
    };
    let Some((writable, target)) = state.writable() else { return Ok(Err(KeyError::EpochDestroyed)) };
    if record.place != writable {
        return Ok(Err(KeyError::EpochMoved { place: writable }));
    }
    let key = rows::session_key(record.session, &record.stream, record.generation);
    for (place, keyspace) in state.places() {
        let Some(row) = txn.get(keyspace, &key)? else { continue };
        return Ok(match decode(&row) {
            Ok(KeyRow::Live(live)) => {
                live.record(&key, record.epoch, place).map(Created::Lost).ok_or_else(malformed)
            }
            Ok(KeyRow::Destroyed { .. }) => Ok(Created::Destroyed),
            Err(error) => Err(error),
        });
    }
    write(txn, target, key, &KeyRow::Live(LiveKey::of(record)));
    Ok(Ok(Created::Won))
}

/// Every place that holds the key `link` names, the newest first: keyspace, key and value of its row.
fn find(txn: &Txn<'_>, link: KeyLink) -> fjall::Result<Vec<(Keyspace, Slice, Slice)>> {
    let mut found = Vec::new();
    for (_, state) in txn.open.session_epochs() {
        for (_, place) in state.places() {
            if let Some(key) = txn.get(place, &rows::link_key(link))?
                && let Some(row) = txn.get(place, &key)?
            {
                found.push((place.clone(), key, row));
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// Changes a key wherever it lies. `change` says whether it changed anything.
fn change_key(
    txn: &mut Txn<'_>,
    link: KeyLink,
    change: impl Fn(&mut LiveKey) -> Result<bool, KeyError>,
) -> fjall::Result<Result<(), KeyError>> {
    let found = find(txn, link)?;
    let alone_in_old = found.len() == 1;
    for (place, key, row) in found {
        let mut live = match decode(&row) {
            Ok(KeyRow::Live(live)) => live,
            Ok(KeyRow::Destroyed { .. }) => continue,
            Err(error) => return Ok(Err(error)),
        };
        match change(&mut live) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(error) => return Ok(Err(error)),
        }
        if alone_in_old && live.consented {
            note_left_behind(txn.open, &place, link);
        }
        write(txn, &place, key.to_vec(), &KeyRow::Live(live));
    }
    Ok(Ok(()))
}

/// A key that consents while its epoch is closing must not be left behind.
fn note_left_behind(open: &Open, place: &Keyspace, link: KeyLink) {
    for (_, state) in open.session_epochs() {
        if state.building.is_some() && state.current.as_ref() == Some(place) {
            state.left_behind.lock().insert(link);
        }
    }
}

fn destroy(txn: &mut Txn<'_>, link: KeyLink) -> fjall::Result<Result<bool, KeyError>> {
    let mut existed = false;
    for (place, key, row) in find(txn, link)? {
        let live = match decode(&row) {
            Ok(KeyRow::Live(live)) => live,
            Ok(KeyRow::Destroyed { .. }) => continue,
            Err(error) => return Ok(Err(error)),
        };
        existed = true;
        for subject in live.subjects {
            txn.remove(&place, rows::subject_key(subject, link));
        }
        if let Some(term) = live.term {
            txn.remove(&place, rows::term_key(term, link));
        }
        txn.put(&place, key.to_vec(), KeyRow::Destroyed { link, carried: true }.encode());
    }
    for (_, state) in txn.open.session_epochs() {
        state.left_behind.lock().remove(&link);
    }
    Ok(Ok(existed))
}

fn latest(
    open: &Open,
    stream: &StreamName,
    session: Fingerprint,
    epoch: Epoch,
) -> Result<Lookup<KeyRecord>, KeyError> {
    let Some(state) = open.epoch_state(epoch, EpochKind::Sessions) else { return Ok(Lookup::Absent) };
    let prefix = rows::session_prefix(session, stream);
    let mut newest: Option<(u32, Lookup<KeyRecord>)> = None;
    for (place, keyspace) in state.places() {
        let Some(guard) = keyspace.prefix(&prefix).next_back() else { continue };
        let (key, row) = guard.into_inner().map_err(Failure::from)?;
        let generation = rows::generation(&key).ok_or_else(malformed)?;
        if newest.as_ref().is_some_and(|(known, _)| *known >= generation) {
            continue;
        }
        newest = Some((generation, lookup(&key, &row, epoch, place)?));
    }
    Ok(newest.map_or(Lookup::Absent, |(_, found)| found))
}

fn lookup(key: &[u8], row: &Slice, epoch: Epoch, place: u32) -> Result<Lookup<KeyRecord>, KeyError> {
    match decode(row)? {
        KeyRow::Live(live) => live.record(key, epoch, place).map(Lookup::Found).ok_or_else(malformed),
        KeyRow::Destroyed { .. } => {
            Ok(Lookup::Destroyed { generation: rows::generation(key).ok_or_else(malformed)? })
        }
    }
}

fn by_link(open: &Open, link: KeyLink) -> Result<Lookup<KeyRecord>, KeyError> {
    for (epoch, state) in open.session_epochs() {
        for (place, keyspace) in state.places() {
            let Some(key) = keyspace.get(rows::link_key(link)).map_err(Failure::from)? else { continue };
            if let Some(row) = keyspace.get(&key).map_err(Failure::from)? {
                return lookup(&key, &row, epoch, place);
            }
        }
    }
    Ok(Lookup::Absent)
}

fn by_subject(
    open: &Open,
    subject: Fingerprint,
    after: Option<KeyLink>,
    limit: usize,
) -> fjall::Result<Vec<KeyLink>> {
    let mut links = BTreeSet::new();
    for (_, state) in open.session_epochs() {
        for (_, place) in state.places() {
            let rows = place.prefix(rows::subject_prefix(subject)).map(fjall::Guard::key);
            for key in rows {
                let link = rows::subject_link(&key?);
                links.extend(link.filter(|link| after.is_none_or(|after| *link > after)));
                if links.len() > limit {
                    links.pop_last();
                }
            }
        }
    }
    Ok(links.into_iter().collect())
}

fn subjects(open: &Open, after: Option<Fingerprint>, limit: usize) -> fjall::Result<Vec<Fingerprint>> {
    let mut found = BTreeSet::new();
    for (_, state) in open.session_epochs() {
        for (_, place) in state.places() {
            let mut last = after;
            for _ in 0..limit {
                let from = last.map_or_else(|| b"u".to_vec(), rows::after_subject);
                let row = place.range((Bound::Excluded(from), Bound::Excluded(b"v".to_vec()))).next();
                let Some(row) = row else { break };
                let Some(subject) = rows::row_subject(&row.key()?) else { break };
                found.insert(subject);
                last = Some(subject);
            }
        }
    }
    Ok(found.into_iter().take(limit).collect())
}

fn due(open: &Open, now: Timestamp, limit: usize) -> fjall::Result<Vec<KeyLink>> {
    let mut links = BTreeSet::new();
    for (_, state) in open.session_epochs() {
        for (_, place) in state.places() {
            for row in place.prefix(rows::TERM_PREFIX).map(fjall::Guard::key) {
                let Some((ends, link)) = rows::term_link(&row?) else { continue };
                if ends > now || links.len() >= limit {
                    break;
                }
                links.insert(link);
            }
        }
    }
    Ok(links.into_iter().collect())
}

fn last_term(open: &Open, epoch: Epoch) -> fjall::Result<Option<Timestamp>> {
    let Some(state) = open.epoch_state(epoch, EpochKind::Sessions) else { return Ok(None) };
    let mut last = None;
    for (_, place) in state.places() {
        let Some(row) = place.prefix(rows::TERM_PREFIX).next_back() else { continue };
        last = last.max(rows::term_link(&row.key()?).map(|(ends, _)| ends));
    }
    Ok(last)
}
