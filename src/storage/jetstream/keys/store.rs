//! The trait: single keys. Epochs and closing have files of their own.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;

use super::{
    epochs::OPEN,
    place::{PlaceStream, Write, Wrote, encode, malformed},
    rows::{self, KeyRow, LiveKey},
};
use crate::{
    clock::Timestamp,
    domain::{Epoch, Fingerprint, KeyLink, StreamName},
    storage::{
        CloseError, Created, Cursor, EpochKind, EpochRecord, KeyError, KeyRecord, KeyStore, Lookup,
        Unavailable,
        jetstream::{connection::Nats, registry::Documents},
    },
};

/// The keys of a cluster.
pub(in super::super) struct Keys {
    pub nats: Nats,
    pub registry: Arc<Documents>,
}

#[async_trait]
impl KeyStore for Keys {
    async fn create(&self, record: KeyRecord) -> Result<Created<KeyRecord>, KeyError> {
        let key = rows::key(record.session, &record.stream, record.generation);
        for _ in 0..ATTEMPTS_MAX {
            let state = self.state(record.epoch, EpochKind::Sessions).await?.ok_or(KeyError::NoEpoch)?;
            if state.destroyed {
                return Err(KeyError::EpochDestroyed);
            }
            if record.place != state.writable() {
                return Err(KeyError::EpochMoved { place: state.writable() });
            }
            for generation in state.places() {
                let place = self.place(record.epoch, EpochKind::Sessions, generation);
                if let Some((_, row)) = place.row(&key).await? {
                    return earlier(row, &key, record.epoch, generation);
                }
            }
            let place = self.place(record.epoch, EpochKind::Sessions, record.place);
            if let Some(gate) = open_gate(&place).await? {
                let live = LiveKey::of(&record);
                let link = Write::plain(rows::link(record.key_link), key.clone()).behind_gate(gate);
                let entries = live.entries().into_iter().map(|entry| Write::plain(entry, ""));
                let row = Write::guarded(key.clone(), encode(&KeyRow::Live(live))?, 0);
                let writes = [row, link].into_iter().chain(entries).collect();
                match place.write(writes).await {
                    Ok(Wrote::Done) => return Ok(Created::Won),
                    Ok(Wrote::Refused | Wrote::Gone) => {}
                    Err(error) => return confirm(&place, &key, &record, error).await,
                }
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        Err(contended())
    }

    async fn latest(
        &self,
        stream: &StreamName,
        session: Fingerprint,
        epoch: Epoch,
    ) -> Result<Lookup<KeyRecord>, KeyError> {
        let Some(state) = self.state(epoch, EpochKind::Sessions).await? else { return Ok(Lookup::Absent) };
        let filter = format!("{}.*", rows::key_prefix(session, stream));
        let mut newest: Option<(u32, Lookup<KeyRecord>)> = None;
        for at in state.places().rev() {
            let place = self.place(epoch, EpochKind::Sessions, at);
            let keys = place.list(&filter).await?;
            let Some(key) = keys.into_iter().max_by_key(|key| rows::generation(key)) else { continue };
            let generation = rows::generation(&key).ok_or_else(malformed)?;
            if newest.as_ref().is_some_and(|(known, _)| *known >= generation) {
                continue;
            }
            if let Some((_, row)) = place.row(&key).await? {
                newest = Some((generation, lookup(row, &key, epoch, at)?));
            }
        }
        Ok(newest.map_or(Lookup::Absent, |(_, found)| found))
    }

    async fn by_link(&self, link: KeyLink) -> Result<Lookup<KeyRecord>, KeyError> {
        for place in self.session_places().await?.into_iter().rev() {
            if let Some(key) = key_of(&place, link).await?
                && let Some((_, row)) = place.row(&key).await?
            {
                return lookup(row, &key, place.epoch, place.generation);
            }
        }
        Ok(Lookup::Absent)
    }

    async fn by_subject(
        &self,
        subject: Fingerprint,
        after: Option<KeyLink>,
        limit: usize,
    ) -> Result<Vec<KeyLink>, KeyError> {
        let mut links = BTreeSet::new();
        for place in self.session_places().await? {
            let found = place.list(&rows::of_subject(subject)).await?;
            links.extend(found.iter().filter_map(|key| rows::last_link(key)));
        }
        let mut existing = Vec::new();
        for link in links.into_iter().filter(|link| after.is_none_or(|after| *link > after)) {
            if existing.len() >= limit {
                break;
            }
            // A node that died while it destroyed a key left its entries.
            if self.by_link(link).await?.found().is_some() {
                existing.push(link);
            }
        }
        Ok(existing)
    }

    async fn subjects(&self, after: Option<Fingerprint>, limit: usize) -> Result<Vec<Fingerprint>, KeyError> {
        let mut found = BTreeSet::new();
        for place in self.session_places().await? {
            found.extend(place.list(rows::SUBJECTS).await?.iter().filter_map(|key| rows::subject_of(key)));
        }
        let later = found.into_iter().filter(|subject| after.is_none_or(|after| *subject > after));
        Ok(later.take(limit).collect())
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
        self.change(link, change).await
    }

    async fn mark_consented(&self, link: KeyLink) -> Result<(), KeyError> {
        self.change(link, |live| Ok(!std::mem::replace(&mut live.consented, true))).await
    }

    async fn destroy(&self, link: KeyLink) -> Result<bool, KeyError> {
        let mut existed = false;
        for place in self.session_places().await? {
            let Some(key) = key_of(&place, link).await? else { continue };
            while let Some((seq, KeyRow::Live(live))) = place.row(&key).await? {
                let row = encode(&KeyRow::Destroyed { link: link.0, carried: true })?;
                if place.write(vec![Write::guarded(key.clone(), row, seq)]).await? == Wrote::Done {
                    existed = true;
                    place.purge(&live.entries()).await?;
                    place.purge(&[rows::left_behind(link.0)]).await?;
                }
            }
        }
        Ok(existed)
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<KeyRecord>, KeyError> {
        let mut links = Vec::new();
        for place in self.session_places().await?.into_iter().rev() {
            let terms = place.list("X.>").await?;
            let ended = terms.iter().filter_map(|key| rows::term_link(key)).filter(|(ends, _)| *ends <= now);
            for (_, link) in ended {
                if !links.contains(&link) {
                    links.push(link);
                }
            }
        }
        let mut due = Vec::new();
        for link in links {
            if due.len() >= limit {
                break;
            }
            due.extend(self.by_link(link).await?.found());
        }
        Ok(due)
    }

    async fn last_term(&self, epoch: Epoch) -> Result<Option<Timestamp>, KeyError> {
        let Some(state) = self.state(epoch, EpochKind::Sessions).await? else { return Ok(None) };
        let mut last = None;
        for generation in state.places() {
            let terms = self.place(epoch, EpochKind::Sessions, generation).list("X.>").await?;
            last = last.max(terms.iter().filter_map(|key| rows::term_link(key)).map(|(ends, _)| ends).max());
        }
        Ok(last)
    }

    async fn create_epoch(&self, record: EpochRecord) -> Result<Created<EpochRecord>, KeyError> {
        self.make_epoch(record).await
    }

    async fn epoch(&self, epoch: Epoch, kind: EpochKind) -> Result<Lookup<EpochRecord>, KeyError> {
        self.find_epoch(epoch, kind).await
    }

    async fn epochs(&self) -> Result<Vec<EpochRecord>, KeyError> {
        let mut records = Vec::new();
        for (epoch, kind, state) in self.states().await? {
            for generation in state.places() {
                records.extend(self.epoch_key(epoch, kind, generation).await?);
            }
        }
        Ok(records)
    }

    async fn scan(
        &self,
        epoch: Epoch,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<(Vec<KeyRecord>, Option<Cursor>), KeyError> {
        let state = self.state(epoch, EpochKind::Sessions).await?;
        let Some(state) = state.filter(|state| !state.destroyed) else { return Ok((Vec::new(), None)) };
        let after = after.map(|Cursor(key)| String::from_utf8_lossy(&key).into_owned()).unwrap_or_default();
        let mut found = Vec::new();
        let mut last = None;
        let rows = self.place(epoch, EpochKind::Sessions, state.current).rows().await?;
        for (key, row) in rows.into_iter().filter(|(key, _)| *key > after) {
            if found.len() >= limit.max(1) {
                return Ok((found, last.map(|key: String| Cursor(key.into_bytes()))));
            }
            if let KeyRow::Live(live) = row {
                found.push(live.record(&key, epoch, state.current).ok_or_else(malformed)?);
            }
            last = Some(key);
        }
        Ok((found, None))
    }

    async fn begin_close(&self, record: EpochRecord) -> Result<Created<EpochRecord>, CloseError> {
        self.begin(record).await
    }

    async fn put_rewrapped(&self, epoch: Epoch, records: Vec<KeyRecord>) -> Result<(), CloseError> {
        self.carry(epoch, records).await
    }

    async fn finish_close(&self, epoch: Epoch, expected_count: u64) -> Result<u64, CloseError> {
        self.finish(epoch, expected_count).await
    }

    async fn destroy_epoch(&self, epoch: Epoch, kind: EpochKind) -> Result<(), KeyError> {
        self.remove_epoch(epoch, kind).await
    }
}

impl Keys {
    /// Every place of session keys, the oldest first.
    async fn session_places(&self) -> Result<Vec<PlaceStream>, KeyError> {
        let states = self.states().await?.into_iter().filter(|(_, kind, _)| *kind == EpochKind::Sessions);
        let places = states.flat_map(|(epoch, kind, state)| {
            state.places().map(move |generation| self.place(epoch, kind, generation))
        });
        Ok(places.collect())
    }

    /// Changes a key wherever it lies, the old place before the new one: whoever carries it over looks at
    /// the old one again after it wrote the new. `change` says whether it changed anything.
    async fn change(
        &self,
        link: KeyLink,
        change: impl Fn(&mut LiveKey) -> Result<bool, KeyError> + Send + Sync,
    ) -> Result<(), KeyError> {
        let mut noted: Option<PlaceStream> = None;
        for place in self.session_places().await? {
            let Some(key) = key_of(&place, link).await? else { continue };
            for attempt in 0.. {
                let gate = place.get("G").await?;
                let Some((seq, KeyRow::Live(mut live))) = place.row(&key).await? else { break };
                if !change(&mut live)? {
                    break;
                }
                let closing = gate.as_ref().is_some_and(|(_, word)| word != OPEN);
                let mut writes: Vec<Write> =
                    live.entries().into_iter().map(|entry| Write::plain(entry, "")).collect();
                if closing && live.consented {
                    writes.push(Write::plain(rows::left_behind(link.0), ""));
                }
                let gate = gate.map_or(0, |(seq, _)| seq);
                writes.push(Write::plain(rows::link(link), key.clone()).behind_gate(gate));
                writes.push(Write::guarded(key.clone(), encode(&KeyRow::Live(live))?, seq));
                match place.write(writes).await? {
                    Wrote::Done => {
                        match &noted {
                            Some(old) => old.purge(&[rows::left_behind(link.0)]).await?,
                            None if closing => noted = Some(place.clone()),
                            None => {}
                        }
                        break;
                    }
                    Wrote::Gone => break,
                    Wrote::Refused if attempt >= ATTEMPTS_MAX => return Err(contended()),
                    Wrote::Refused => tokio::time::sleep(AGAIN_AFTER).await,
                }
            }
        }
        Ok(())
    }
}

/// The gate's sequence while keys may be made in this place.
async fn open_gate(place: &PlaceStream) -> Result<Option<u64>, KeyError> {
    Ok(place.get("G").await?.filter(|(_, word)| word == OPEN).map(|(seq, _)| seq))
}

/// Whether a key whose creation was not answered is there: the leader knows.
async fn confirm(
    place: &PlaceStream,
    key: &str,
    record: &KeyRecord,
    error: KeyError,
) -> Result<Created<KeyRecord>, KeyError> {
    match place.row(key).await? {
        Some((_, KeyRow::Live(live))) if live.link == record.key_link.0 => Ok(Created::Won),
        Some((_, row)) => earlier(row, key, record.epoch, record.place),
        None => Err(error),
    }
}

async fn key_of(place: &PlaceStream, link: KeyLink) -> Result<Option<String>, KeyError> {
    let found = place.get(&rows::link(link)).await?;
    found.map(|(_, key)| String::from_utf8(key.to_vec()).map_err(|_| malformed())).transpose()
}

fn earlier(row: KeyRow, key: &str, epoch: Epoch, place: u32) -> Result<Created<KeyRecord>, KeyError> {
    match row {
        KeyRow::Live(live) => live.record(key, epoch, place).map(Created::Lost).ok_or_else(malformed),
        KeyRow::Destroyed { .. } => Ok(Created::Destroyed),
    }
}

fn lookup(row: KeyRow, key: &str, epoch: Epoch, place: u32) -> Result<Lookup<KeyRecord>, KeyError> {
    match row {
        KeyRow::Live(live) => live.record(key, epoch, place).map(Lookup::Found).ok_or_else(malformed),
        KeyRow::Destroyed { .. } => {
            Ok(Lookup::Destroyed { generation: rows::generation(key).ok_or_else(malformed)? })
        }
    }
}

fn contended() -> KeyError {
    Unavailable::Backend("others change this key all the time".into()).into()
}

/// As in the embedded store.
const SUBJECTS_PER_KEY_MAX: usize = 255;
const ATTEMPTS_MAX: u32 = 100;
const AGAIN_AFTER: std::time::Duration = std::time::Duration::from_millis(10);
