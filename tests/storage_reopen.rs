//! What embedded storage remembers over a restart and over time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use sluice::{
    clock::{Clock, DAY_MS, Timestamp},
    domain::{Epoch, Fingerprint},
    storage::{
        AppendOptions, Created, EpochKind, Hint, KeyRecord, Lookup, OnceKey, Storage,
        conformance::{batch, keys, log::read_all, stream},
        embedded::{EmbeddedOptions, open},
    },
};

const DAY: Epoch = Epoch(20_000);

fn at(folder: &Path, clock: &Clock) -> Storage {
    open(folder, EmbeddedOptions::default(), clock.clone()).unwrap()
}

fn clock() -> Clock {
    Clock::manual(Timestamp(1_700_000_000_000))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_again() {
    let (folder, clock, name) = (tempfile::tempdir().unwrap(), clock(), stream("clicks"));
    let hint = Hint { source_seq: 70, derived_end: 3 };
    let once = AppendOptions { once: Some(OnceKey([1; 16])), ..AppendOptions::default() };
    let storage = at(folder.path(), &clock);
    storage.log.create(&name).await.unwrap();
    storage.log.append(&name, batch(["a", "b"]), once).await.unwrap();
    storage.log.put_hint(&name, hint).await.unwrap();
    storage.keys.create_epoch(keys::epoch_key(1)).await.unwrap();
    let (key, subject) = (keys::record(1, 1), Fingerprint([3; 16]));
    storage.keys.create(key.clone()).await.unwrap();
    storage.keys.add_subject(subject, key.key_link).await.unwrap();
    let version = storage.registry.put("kind", "doc", 0, "body".into()).await.unwrap();
    storage.close().await;

    let storage = at(folder.path(), &clock);
    assert_eq!(read_all(&*storage.log, &name, 1).await.len(), 2);
    assert_eq!(*storage.log.tail(&name).borrow(), 3);
    assert_eq!(storage.log.hint(&name).await.unwrap(), Some(hint));
    assert!(storage.log.append(&name, batch(["a", "b"]), once).await.unwrap().duplicate);
    let found = storage.keys.by_link(key.key_link).await.unwrap().found().unwrap();
    assert_eq!(found, KeyRecord { subject: Some(subject), ..key.clone() });
    assert_eq!(storage.keys.by_subject(subject, None, 9).await.unwrap(), [key.key_link]);
    assert_eq!(storage.registry.get("kind", "doc").await.unwrap().unwrap().version, version);
    assert_eq!(*storage.registry.watch().borrow(), version);
    clock.turn(11 * 60 * 1000);
    assert!(!storage.log.append(&name, batch(["a", "b"]), once).await.unwrap().duplicate);
    storage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_drops_whole_segments_and_sequences_go_on() {
    let (folder, clock, name) = (tempfile::tempdir().unwrap(), clock(), stream("clicks"));
    let storage = at(folder.path(), &clock);
    storage.log.create(&name).await.unwrap();
    for day in 0..10 {
        storage.log.append(&name, batch([format!("{day}a")]), AppendOptions::default()).await.unwrap();
        storage.log.append(&name, batch([format!("{day}b")]), AppendOptions::default()).await.unwrap();
        clock.turn(DAY_MS);
    }
    assert_eq!(read_all(&*storage.log, &name, 1).await.len(), 20);
    let week = |clock: &Clock| clock.now().plus_ms(-7 * DAY_MS);
    assert_eq!(storage.log.trim(&name, week(&clock)).await.unwrap(), 7);
    storage.close().await;
    let storage = at(folder.path(), &clock);
    assert_eq!(storage.log.bounds(&name).await.unwrap().first, 7);
    assert_eq!(read_all(&*storage.log, &name, 1).await.first().unwrap().0, 7);
    clock.turn(30 * DAY_MS);
    // The records' own times are older than the clock: after a restart they date the newest segment.
    assert_eq!(storage.log.trim(&name, week(&clock)).await.unwrap(), 21);
    storage.close().await;
    let storage = at(folder.path(), &clock);
    let bounds = storage.log.bounds(&name).await.unwrap();
    assert_eq!((bounds.first, bounds.end), (21, 21));
    let next = storage.log.append(&name, batch(["c"]), AppendOptions::default()).await.unwrap();
    assert_eq!(next.first_seq, 21);
    storage.close().await;
}

/// Goal: a closing interrupted at any step goes on after a restart and loses no key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closing_goes_on_after_a_restart() {
    let clock = clock();
    for stop_after in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let storage = at(folder.path(), &clock);
        storage.keys.create_epoch(keys::epoch_key(1)).await.unwrap();
        let records: Vec<KeyRecord> = (0..4).map(|session| keys::record(session, 1)).collect();
        for record in &records {
            storage.keys.create(record.clone()).await.unwrap();
        }
        let moved = |n: usize| KeyRecord { place: 2, ..records[n].clone() };
        if stop_after > 0 {
            storage.keys.begin_close(keys::epoch_key(2)).await.unwrap();
        }
        if stop_after > 1 {
            storage.keys.put_rewrapped(DAY, vec![moved(0), moved(1)]).await.unwrap();
        }
        if stop_after > 2 {
            storage.keys.finish_close(DAY, 2).await.unwrap();
        }
        storage.close().await;

        let storage = at(folder.path(), &clock);
        let begun = storage.keys.begin_close(keys::epoch_key(2)).await;
        match stop_after {
            0 => assert_eq!(begun.unwrap(), Created::Won),
            1 | 2 => assert_eq!(begun.unwrap(), Created::Lost(keys::epoch_key(2))),
            _ => assert!(begun.is_err()),
        }
        if stop_after < 3 {
            assert_eq!(storage.keys.scan(DAY, None, 9).await.unwrap().0.len(), 4);
            storage.keys.put_rewrapped(DAY, vec![moved(0), moved(1)]).await.unwrap();
            assert_eq!(storage.keys.finish_close(DAY, 2).await.unwrap(), 2);
        }
        assert_eq!(storage.keys.by_link(records[0].key_link).await.unwrap().found().unwrap(), moved(0));
        assert_eq!(storage.keys.by_link(records[2].key_link).await.unwrap(), Lookup::Absent);
        let epoch = storage.keys.epoch(DAY, EpochKind::Sessions).await.unwrap();
        assert_eq!(epoch.found().unwrap().generation, 2);
        storage.close().await;
    }
}

/// Goal: many logs that share one batch never fill the journal and still leave memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_that_share_their_bytes_go_on_when_all_together_hold_much() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let storage = at(folder.path(), &clock);
    let names: Vec<_> = (0..600).map(|n| stream(&format!("derived-{n}"))).collect();
    for name in &names {
        storage.log.create(name).await.unwrap();
    }
    // 100 KB each round and log, 300 MB in all: more than memory may hold, and little per log.
    for round in 0..5_u64 {
        let mut shared = batch([vec![7; 100_000]]);
        shared.share();
        for name in &names {
            loop {
                match storage.log.append(name, shared.clone(), AppendOptions::default()).await {
                    Ok(appended) => break assert_eq!(appended.end, round + 2),
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                }
            }
        }
    }
    storage.close().await;
    let storage = at(folder.path(), &clock);
    for name in [&names[0], &names[599]] {
        assert_eq!(read_all(&*storage.log, name, 1).await.len(), 5);
    }
    storage.close().await;
}
