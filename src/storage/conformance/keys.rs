//! Checks of `KeyStore`.

use super::stream;
use crate::{
    clock::Timestamp,
    domain::{Epoch, Fingerprint, KeyLink, KeyTerm, PolicyId},
    storage::{CloseError, Created, EpochKind, EpochRecord, KeyError, KeyRecord, KeyStore, Lookup, Storage},
};

const DAY: Epoch = Epoch(20_000);

/// A key record of the first place.
pub fn record(session: u8, generation: u32) -> KeyRecord {
    KeyRecord {
        stream: stream("clicks"),
        session: Fingerprint([session; 16]),
        subject: None,
        epoch: DAY,
        generation,
        place: 1,
        key_link: KeyLink::random(),
        key_id: 9,
        created: Timestamp(1),
        expires: Timestamp(2),
        consented: false,
        term: None,
        wrapped: vec![session; 60],
    }
}

/// An epoch key of session keys.
pub fn epoch_key(generation: u32) -> EpochRecord {
    EpochRecord { epoch: DAY, kind: EpochKind::Sessions, generation, wrapped: vec![7; 60] }
}

async fn opened(storage: &Storage) -> &dyn KeyStore {
    assert_eq!(storage.keys.create_epoch(epoch_key(1)).await.unwrap(), Created::Won);
    &*storage.keys
}

/// Many create the same key at once: one wins, the others get the winner's.
pub async fn one_of_many_creators_wins(storage: &Storage) {
    assert!(matches!(storage.keys.create(record(1, 1)).await, Err(KeyError::NoEpoch)));
    let keys = opened(storage).await;
    for session in 0..20 {
        let creators = (0..8).map(|_| {
            let keys = storage.keys.clone();
            tokio::spawn(async move {
                let record = record(session, 1);
                (record.key_link, keys.create(record).await.unwrap())
            })
        });
        let (mut winners, mut told) = (Vec::new(), Vec::new());
        for creator in creators.collect::<Vec<_>>() {
            match creator.await.unwrap() {
                (link, Created::Won) => winners.push(link),
                (_, Created::Lost(winner)) => told.push(winner.key_link),
                (_, Created::Destroyed) => panic!("nothing was destroyed"),
            }
        }
        assert_eq!(winners.len(), 1);
        assert!(told.iter().all(|link| *link == winners[0]));
        let latest = keys.latest(&stream("clicks"), Fingerprint([session; 16]), DAY).await.unwrap();
        assert_eq!(latest.found().unwrap().key_link, winners[0]);
    }
}

/// The newest generation is found; a destroyed one is never made again.
pub async fn generations_and_tombstones(storage: &Storage) {
    let keys = opened(storage).await;
    let (first, second) = (record(1, 1), record(1, 2));
    assert_eq!(keys.latest(&first.stream, first.session, DAY).await.unwrap(), Lookup::Absent);
    assert_eq!(keys.create(first.clone()).await.unwrap(), Created::Won);
    assert_eq!(keys.create(second.clone()).await.unwrap(), Created::Won);
    assert_eq!(keys.create(first.clone()).await.unwrap(), Created::Lost(first.clone()));
    assert_eq!(keys.latest(&first.stream, first.session, DAY).await.unwrap(), Lookup::Found(second.clone()));
    assert_eq!(keys.latest(&stream("other"), first.session, DAY).await.unwrap(), Lookup::Absent);
    assert_eq!(keys.by_link(first.key_link).await.unwrap(), Lookup::Found(first.clone()));
    keys.mark_consented(first.key_link).await.unwrap();
    assert!(keys.by_link(first.key_link).await.unwrap().found().unwrap().consented);
    assert!(keys.destroy(second.key_link).await.unwrap());
    assert!(!keys.destroy(second.key_link).await.unwrap());
    assert!(!keys.destroy(KeyLink::random()).await.unwrap());
    assert_eq!(keys.by_link(second.key_link).await.unwrap(), Lookup::Destroyed { generation: 2 });
    let latest = keys.latest(&first.stream, first.session, DAY).await.unwrap();
    assert_eq!(latest, Lookup::Destroyed { generation: 2 });
    assert_eq!(keys.create(record(1, 2)).await.unwrap(), Created::Destroyed);
    keys.mark_consented(second.key_link).await.unwrap();
    assert_eq!(keys.by_link(second.key_link).await.unwrap(), Lookup::Destroyed { generation: 2 });
    assert_eq!(keys.by_link(KeyLink::random()).await.unwrap(), Lookup::Absent);
}

/// A subject's keys are listed in pages, without those that are gone.
pub async fn subjects_list_their_keys(storage: &Storage) {
    let keys = opened(storage).await;
    let subject = Fingerprint([99; 16]);
    let mut links = Vec::new();
    for session in 0..10 {
        let mut record = record(session, 1);
        record.subject = (session % 2 == 0).then_some(subject);
        links.push(record.key_link);
        keys.create(record).await.unwrap();
        keys.add_subject(subject, links[usize::from(session)]).await.unwrap();
    }
    keys.destroy(links.remove(3)).await.unwrap();
    links.sort();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = keys.by_subject(subject, after, 4).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(*last);
        found.extend(page);
    }
    assert_eq!(found, links);
    // And the subjects themselves, of two days, each once, without those whose keys are gone.
    assert_eq!(keys.subjects(None, 9).await.unwrap(), [subject]);
    let next_day = Epoch(DAY.0 + 1);
    keys.create_epoch(EpochRecord { epoch: next_day, ..epoch_key(1) }).await.unwrap();
    let (first, last) = (Fingerprint([7; 16]), Fingerprint([200; 16]));
    for (session, subject, epoch) in [(20, first, DAY), (21, last, next_day), (22, subject, next_day)] {
        let key = KeyRecord { subject: Some(subject), epoch, ..record(session, 1) };
        keys.create(key).await.unwrap();
    }
    assert_eq!(keys.subjects(None, 9).await.unwrap(), [first, subject, last]);
    assert_eq!(keys.subjects(None, 2).await.unwrap(), [first, subject]);
    assert_eq!(keys.subjects(Some(subject), 2).await.unwrap(), [last]);
    for link in found {
        keys.destroy(link).await.unwrap();
    }
    assert_eq!(keys.subjects(Some(first), 1).await.unwrap(), [subject], "the next day's key is there");
    let left = keys.by_subject(subject, None, 9).await.unwrap();
    keys.destroy(left[0]).await.unwrap();
    assert_eq!(keys.subjects(None, 9).await.unwrap(), [first, last]);
}

/// An epoch's key is made once per kind.
pub async fn epochs_have_one_key(storage: &Storage) {
    let keys = &*storage.keys;
    assert_eq!(keys.epoch(DAY, EpochKind::Sessions).await.unwrap(), Lookup::Absent);
    assert_eq!(keys.create_epoch(epoch_key(1)).await.unwrap(), Created::Won);
    let other = EpochRecord { wrapped: vec![8], ..epoch_key(1) };
    assert_eq!(keys.create_epoch(other).await.unwrap(), Created::Lost(epoch_key(1)));
    let silent = EpochRecord { kind: EpochKind::NoConsent, ..epoch_key(1) };
    assert_eq!(keys.create_epoch(silent.clone()).await.unwrap(), Created::Won);
    assert_eq!(keys.epoch(DAY, EpochKind::NoConsent).await.unwrap(), Lookup::Found(silent.clone()));
    assert_eq!(keys.epochs().await.unwrap(), [epoch_key(1), silent]);
}

/// Survivors live on in the new place; the rest is gone with the old one.
pub async fn closing_carries_survivors(storage: &Storage) {
    let keys = opened(storage).await;
    let records: Vec<KeyRecord> = (0..10).map(|session| record(session, 1)).collect();
    for record in &records {
        keys.create(record.clone()).await.unwrap();
    }
    keys.destroy(records[9].key_link).await.unwrap();
    let wrong = keys.begin_close(epoch_key(3)).await;
    assert!(matches!(wrong, Err(CloseError::WrongGeneration { present: 1 })));
    assert_eq!(keys.begin_close(epoch_key(2)).await.unwrap(), Created::Won);
    assert_eq!(keys.begin_close(epoch_key(2)).await.unwrap(), Created::Lost(epoch_key(2)));
    let moved = keys.create(record(50, 1)).await;
    assert!(matches!(moved, Err(KeyError::EpochMoved { place: 2 })));
    let late = KeyRecord { place: 2, ..record(50, 1) };
    assert_eq!(keys.create(late.clone()).await.unwrap(), Created::Won);

    let (page, cursor) = keys.scan(DAY, None, 6).await.unwrap();
    let (rest, end) = keys.scan(DAY, cursor, 100).await.unwrap();
    assert_eq!((page.len(), rest.len(), end), (6, 3, None));
    let survivors: Vec<KeyRecord> =
        page.into_iter().take(5).map(|record| KeyRecord { place: 2, wrapped: vec![1], ..record }).collect();
    keys.put_rewrapped(DAY, survivors[..4].to_vec()).await.unwrap();
    let early = keys.finish_close(DAY, 5).await;
    assert!(matches!(early, Err(CloseError::Incomplete { carried: 4, left_behind: 0 })));
    keys.put_rewrapped(DAY, survivors.clone()).await.unwrap();
    keys.destroy(survivors[0].key_link).await.unwrap();
    assert_eq!(keys.finish_close(DAY, 5).await.unwrap(), 5);

    assert_eq!(keys.epochs().await.unwrap(), [epoch_key(2)]);
    for survivor in &survivors[1..] {
        assert_eq!(keys.by_link(survivor.key_link).await.unwrap(), Lookup::Found(survivor.clone()));
    }
    assert_eq!(keys.by_link(late.key_link).await.unwrap(), Lookup::Found(late));
    assert_eq!(keys.by_link(survivors[0].key_link).await.unwrap().found(), None);
    assert_eq!(keys.by_link(records[8].key_link).await.unwrap(), Lookup::Absent);
    let again = KeyRecord { place: 2, ..record(9, 1) };
    assert_eq!(keys.create(again).await.unwrap(), Created::Destroyed);
    assert!(matches!(keys.finish_close(DAY, 0).await, Err(CloseError::NotClosing)));
}

/// A key that consents while its epoch is closing is not left behind.
pub async fn closing_notices_late_consent(storage: &Storage) {
    let keys = opened(storage).await;
    let late = record(1, 1);
    keys.create(late.clone()).await.unwrap();
    keys.begin_close(epoch_key(2)).await.unwrap();
    keys.mark_consented(late.key_link).await.unwrap();
    let early = keys.finish_close(DAY, 0).await;
    assert!(matches!(early, Err(CloseError::Incomplete { left_behind: 1, .. })));
    let subject = Fingerprint([5; 16]);
    keys.add_subject(subject, late.key_link).await.unwrap();
    keys.put_rewrapped(DAY, vec![KeyRecord { place: 2, ..late.clone() }]).await.unwrap();
    assert_eq!(keys.finish_close(DAY, 1).await.unwrap(), 1);
    assert!(keys.by_link(late.key_link).await.unwrap().found().unwrap().consented);
    assert_eq!(keys.by_subject(subject, None, 10).await.unwrap(), [late.key_link]);
}

/// Keys with a term are found when it ends, wherever they lie, and no longer once they are destroyed.
pub async fn terms_end_in_their_order(storage: &Storage) {
    let keys = opened(storage).await;
    let policy = PolicyId(uuid::Uuid::from_u128(3));
    let term = |ends: i64| Some(KeyTerm { policy, ends: Timestamp(ends) });
    assert_eq!(keys.last_term(DAY).await.unwrap(), None);
    let ends = [Some(500), None, Some(100), Some(300)];
    let records: Vec<KeyRecord> =
        (0..4).map(|n| KeyRecord { term: ends[usize::from(n)].and_then(term), ..record(n, 1) }).collect();
    for record in &records {
        keys.create(record.clone()).await.unwrap();
        assert_eq!(keys.by_link(record.key_link).await.unwrap(), Lookup::Found(record.clone()));
    }
    let due = async |now: i64, limit: usize| keys.due(Timestamp(now), limit).await.unwrap();
    let links = |mut found: Vec<KeyRecord>| {
        found.sort_by_key(|record| record.term.map(|term| term.ends));
        found.into_iter().map(|record| record.key_link).collect::<Vec<_>>()
    };
    assert_eq!(due(99, 10).await, []);
    assert_eq!(links(due(100, 10).await), [records[2].key_link]);
    assert_eq!(links(due(499, 1).await), [records[2].key_link], "the first to end comes first");
    assert_eq!(links(due(499, 10).await), [records[2].key_link, records[3].key_link]);
    assert_eq!(keys.last_term(DAY).await.unwrap(), Some(Timestamp(500)));
    keys.destroy(records[2].key_link).await.unwrap();
    assert_eq!(links(due(499, 10).await), [records[3].key_link]);
    keys.begin_close(epoch_key(2)).await.unwrap();
    let carried = [0, 3].map(|n: usize| KeyRecord { place: 2, ..records[n].clone() });
    keys.put_rewrapped(DAY, carried.to_vec()).await.unwrap();
    assert_eq!(links(due(499, 10).await), [records[3].key_link], "a key in two places is one key");
    keys.finish_close(DAY, 2).await.unwrap();
    assert_eq!(due(900, 10).await.len(), 2);
    keys.destroy(records[0].key_link).await.unwrap();
    assert_eq!(keys.last_term(DAY).await.unwrap(), Some(Timestamp(300)));
    keys.destroy_epoch(DAY, EpochKind::Sessions).await.unwrap();
    assert_eq!((due(900, 10).await, keys.last_term(DAY).await.unwrap()), (vec![], None));
}

/// A destroyed epoch takes its keys along and never comes back.
pub async fn destroyed_epochs_stay_destroyed(storage: &Storage) {
    let keys = opened(storage).await;
    let lost = record(1, 1);
    keys.create(lost.clone()).await.unwrap();
    keys.destroy_epoch(DAY, EpochKind::Sessions).await.unwrap();
    keys.destroy_epoch(DAY, EpochKind::Sessions).await.unwrap();
    assert_eq!(keys.by_link(lost.key_link).await.unwrap(), Lookup::Absent);
    assert_eq!(keys.epoch(DAY, EpochKind::Sessions).await.unwrap(), Lookup::Destroyed { generation: 1 });
    assert_eq!(keys.create_epoch(epoch_key(1)).await.unwrap(), Created::Destroyed);
    assert!(matches!(keys.create(record(1, 1)).await, Err(KeyError::EpochDestroyed)));
    assert_eq!(keys.epochs().await.unwrap(), []);
}
