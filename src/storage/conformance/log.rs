//! Checks of `EventLog`.

use super::{batch, stream};
use crate::{
    clock::Timestamp,
    domain::StreamName,
    storage::{AppendError, AppendOptions, Appended, Bounds, EventLog, Hint, LogError, OnceKey, Storage},
};

/// Everything from `from` on: sequence and body.
pub async fn read_all(log: &dyn EventLog, stream: &StreamName, from: u64) -> Vec<(u64, Vec<u8>)> {
    let (mut at, mut found) = (from, Vec::new());
    loop {
        let chunks = log.read(stream, at, 64 << 10).await.unwrap();
        let Some(last) = chunks.last() else { return found };
        let next = last.end();
        for chunk in &chunks {
            found.extend(chunk.records(at).map(|(seq, record)| (seq, record.unwrap().body.to_vec())));
        }
        at = next;
    }
}

async fn append(log: &dyn EventLog, name: &StreamName, bodies: &[&str]) -> Appended {
    log.append(name, batch(bodies), AppendOptions::default()).await.unwrap()
}

/// Sequences start at 1, have no gaps, and an append says where its records went.
pub async fn sequences_are_gapless(storage: &Storage) {
    let (log, name) = (&*storage.log, stream("clicks"));
    log.create(&name).await.unwrap();
    log.create(&name).await.unwrap();
    assert_eq!(log.bounds(&name).await.unwrap(), Bounds { first: 1, end: 1, bytes: 0 });
    assert_eq!(log.last(&name).await.unwrap(), None);
    assert_eq!(append(log, &name, &["a", "b"]).await, Appended { first_seq: 1, end: 3, duplicate: false });
    assert_eq!(append(log, &name, &["c"]).await, Appended { first_seq: 3, end: 4, duplicate: false });
    let expected = [(2, b"b".to_vec()), (3, b"c".to_vec())];
    assert_eq!(read_all(log, &name, 2).await, expected);
    assert!(log.read(&name, 4, 1).await.unwrap().is_empty());
    assert_eq!(log.last(&name).await.unwrap().unwrap().0, 3);
    assert_eq!(append(log, &name, &[]).await, Appended { first_seq: 4, end: 4, duplicate: false });
}

/// Of writers that believe in the same end, one wins.
pub async fn expected_end_admits_one_writer(storage: &Storage) {
    let (log, name) = (storage.log.clone(), stream("clicks"));
    log.create(&name).await.unwrap();
    for round in 0..20_u64 {
        let writers = (0..8).map(|writer| {
            let (log, name) = (log.clone(), name.clone());
            let options = AppendOptions { expected_end: Some(round + 1), ..AppendOptions::default() };
            tokio::spawn(async move { log.append(&name, batch([format!("{writer}")]), options).await })
        });
        let mut won = 0;
        for writer in writers.collect::<Vec<_>>() {
            match writer.await.unwrap() {
                Ok(_) => won += 1,
                Err(AppendError::WrongEnd { actual }) => assert_eq!(actual, round + 2),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1);
    }
    assert_eq!(log.bounds(&name).await.unwrap().end, 21);
}

/// The same key stores once, also when both are under way at once.
pub async fn a_once_key_stores_once(storage: &Storage) {
    let (log, name) = (storage.log.clone(), stream("clicks"));
    log.create(&name).await.unwrap();
    let options = AppendOptions { once: Some(OnceKey([7; 16])), ..AppendOptions::default() };
    let (a, b) =
        tokio::join!(log.append(&name, batch(["a"]), options), log.append(&name, batch(["a"]), options));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!((a.first_seq, a.end, b.first_seq, b.end), (1, 2, 1, 2));
    assert!(a.duplicate != b.duplicate);
    assert!(log.append(&name, batch(["a"]), options).await.unwrap().duplicate);
    let other = AppendOptions { once: Some(OnceKey([8; 16])), ..AppendOptions::default() };
    assert!(!log.append(&name, batch(["b"]), other).await.unwrap().duplicate);
    assert_eq!(log.bounds(&name).await.unwrap().end, 3);
}

/// A batch larger than any chunk comes back whole and in order.
pub async fn large_batches_stay_whole(storage: &Storage) {
    let (log, name) = (&*storage.log, stream("clicks"));
    log.create(&name).await.unwrap();
    let bodies: Vec<Vec<u8>> = (0..10_000_u32).map(|n| [&n.to_le_bytes()[..], &[7; 200]].concat()).collect();
    let appended = log.append(&name, batch(&bodies), AppendOptions::default()).await.unwrap();
    assert_eq!((appended.first_seq, appended.end), (1, 10_001));
    let found = read_all(log, &name, 1).await;
    assert_eq!(found.len(), bodies.len());
    assert!(found.iter().zip(1..).all(|((seq, body), n)| *seq == n && *body == bodies[n as usize - 1]));
    let one = log.append(&name, batch([vec![1; 1 << 20]]), AppendOptions::default()).await.unwrap();
    assert_eq!(read_all(log, &name, one.first_seq).await[0].1.len(), 1 << 20);
}

/// A read may start inside a chunk and yields nothing before its start.
pub async fn reads_start_anywhere(storage: &Storage) {
    let (log, name) = (&*storage.log, stream("clicks"));
    log.create(&name).await.unwrap();
    for first in [1, 5, 9] {
        let bodies: Vec<String> = (first..first + 4).map(|n| n.to_string()).collect();
        log.append(&name, batch(bodies), AppendOptions::default()).await.unwrap();
    }
    for from in 0..=13_u64 {
        let found = read_all(log, &name, from).await;
        let expected: Vec<_> = (from.max(1)..13).map(|n| (n, n.to_string().into_bytes())).collect();
        assert_eq!(found, expected, "from {from}");
    }
}

/// The tail shows each durable end, and ends with its log.
pub async fn tail_follows_appends(storage: &Storage) {
    let (log, name) = (&*storage.log, stream("clicks"));
    assert!(log.tail(&name).changed().await.is_err());
    log.create(&name).await.unwrap();
    let mut tail = log.tail(&name);
    assert_eq!(*tail.borrow_and_update(), 1);
    append(log, &name, &["a", "b"]).await;
    tail.changed().await.unwrap();
    assert_eq!(*tail.borrow_and_update(), 3);
    log.delete(&name).await.unwrap();
    assert!(tail.changed().await.is_err());
}

/// Sequences go on where they were when everything was trimmed.
pub async fn emptied_logs_go_on(storage: &Storage) {
    let (log, name) = (&*storage.log, stream("clicks"));
    log.create(&name).await.unwrap();
    append(log, &name, &["a", "b"]).await;
    assert_eq!(log.trim(&name, Timestamp(0)).await.unwrap(), 1);
    assert_eq!(log.trim(&name, Timestamp(i64::MAX)).await.unwrap(), 3);
    let bounds = log.bounds(&name).await.unwrap();
    assert_eq!((bounds.first, bounds.end), (3, 3));
    assert!(log.read(&name, 1, 1000).await.unwrap().is_empty());
    assert_eq!(append(log, &name, &["c"]).await.first_seq, 3);
    assert_eq!(read_all(log, &name, 1).await, [(3, b"c".to_vec())]);
}

/// A deleted log is unknown; its name may be used again.
pub async fn deleted_logs_are_unknown_and_start_again(storage: &Storage) {
    let (log, name) = (&*storage.log, stream("clicks"));
    let options = AppendOptions::default();
    assert!(matches!(log.append(&name, batch(["a"]), options).await, Err(AppendError::UnknownStream)));
    log.create(&name).await.unwrap();
    append(log, &name, &["a"]).await;
    log.delete(&name).await.unwrap();
    log.delete(&name).await.unwrap();
    assert!(matches!(log.bounds(&name).await, Err(LogError::UnknownStream)));
    assert!(matches!(log.append(&name, batch(["a"]), options).await, Err(AppendError::UnknownStream)));
    log.create(&name).await.unwrap();
    assert_eq!(append(log, &name, &["b"]).await.first_seq, 1);
    assert_eq!(read_all(log, &name, 1).await, [(1, b"b".to_vec())]);
}

/// The newest hint is found again.
pub async fn hints_are_kept(storage: &Storage) {
    let (log, name) = (&*storage.log, stream("clicks-1"));
    log.create(&name).await.unwrap();
    assert_eq!(log.hint(&name).await.unwrap(), None);
    let hints = [1, 2].map(|n| Hint { source_seq: n * 100, derived_end: n });
    log.put_hint(&name, hints[0]).await.unwrap();
    assert_eq!(log.hint(&name).await.unwrap(), Some(hints[0]));
    let options = AppendOptions { hint: Some(hints[1]), ..AppendOptions::default() };
    log.append(&name, batch(["a"]), options).await.unwrap();
    assert_eq!(log.hint(&name).await.unwrap(), Some(hints[1]));
}

/// Appends of many tasks to many logs: each log is gapless, each task's records are in its order.
pub async fn concurrent_appends_keep_their_order(storage: &Storage) {
    let names: Vec<StreamName> = (0..3).map(|n| stream(&format!("stream-{n}"))).collect();
    for name in &names {
        storage.log.create(name).await.unwrap();
    }
    let tasks = (0..12_usize).map(|task| {
        let (log, name) = (storage.log.clone(), names[task % 3].clone());
        tokio::spawn(async move {
            for n in 0..50_u32 {
                let body = format!("{task} {n}");
                log.append(&name, batch([body]), AppendOptions::default()).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    for name in &names {
        let found = read_all(&*storage.log, name, 1).await;
        assert!(found.iter().map(|(seq, _)| *seq).eq(1..=200));
        let mut next = std::collections::HashMap::<String, u32>::new();
        for (_, body) in found {
            let body = String::from_utf8(body).unwrap();
            let (task, n) = body.split_once(' ').unwrap();
            let expected = next.entry(task.to_owned()).or_default();
            assert_eq!(n.parse(), Ok(*expected));
            *expected += 1;
        }
    }
    assert_eq!(storage.scrub().await.unwrap().losses, []);
}
