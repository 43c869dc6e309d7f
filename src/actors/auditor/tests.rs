//! Auditors that share one log, as two nodes do, and the time a long log takes to read.

use futures_util::future::join_all;

use super::*;
use crate::{
    actors::ask::ask,
    audit::{Checkpoint, Filter, LogKey, verify_log},
    clock::Clock,
    crypto::AuditKey,
    storage::{
        Storage,
        embedded::{EmbeddedOptions, open},
    },
};

/// Stands in for root: auditors are born under it.
struct Parent;

impl Actor for Parent {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

fn storage(folder: &tempfile::TempDir) -> Storage {
    open(&folder.path().join("store"), EmbeddedOptions::default(), Clock::system()).unwrap()
}

async fn auditor(storage: &Storage, key: &Arc<AuditKey>) -> (AuditorHandle, ActorRef<()>) {
    let (parent, _) = Actor::spawn(None, Parent, ()).await.unwrap();
    let handle = AuditorHandle::new(Arc::clone(&storage.log), Arc::clone(key), Clock::system(), None);
    AuditorActor::spawn(parent.get_cell(), &handle).await.unwrap();
    (handle, parent)
}

fn change(name: u64) -> Action {
    Action::Changed { kind: "test".into(), name: name.to_string(), change: "made".into(), detail: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_of_one_log_lose_no_entry_and_come_to_one_tree() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, key) = (storage(&folder), Arc::new(AuditKey::generate()));
    let (one, parent_one) = auditor(&storage, &key).await;
    let (two, parent_two) = auditor(&storage, &key).await;
    let orders = (0..400).map(|name| {
        let handle = if name % 2 == 0 { one.clone() } else { two.clone() };
        async move { handle.record(Who::operator(), change(name)).await.unwrap() }
    });
    let mut indexes = join_all(orders).await;
    indexes.sort_unstable();
    assert_eq!(indexes, (0..400).collect::<Vec<_>>(), "every answer names an entry of its own");
    let (third, parent_three) = auditor(&storage, &key).await;
    let mut names = Vec::new();
    let page = third.list(&Filter::default(), 0, 1000).await.unwrap();
    assert_eq!(page.next, None);
    let text: String = page.entries.iter().map(|entry| format!("{}\n", entry.get())).collect();
    for (index, line) in (0..).zip(text.lines()) {
        let entry: Entry = serde_json::from_str(line).unwrap();
        assert_eq!((entry.index, entry.encode()), (index, line.as_bytes().to_vec()));
        let Action::Changed { name, .. } = entry.action else { panic!("{line}") };
        names.push(name.parse::<u64>().unwrap());
    }
    names.sort_unstable();
    assert_eq!(names, (0..400).collect::<Vec<_>>());
    let key = LogKey::parse(&third.key()).unwrap();
    let note = third.checkpoint(None).unwrap().checkpoint;
    let checkpoint = Checkpoint::open(&note, &key).unwrap();
    assert_eq!(verify_log(text.as_bytes(), None, &[checkpoint]).unwrap().entries, 400);
    for parent in [parent_one, parent_two, parent_three] {
        parent.stop_and_wait(None, None).await.unwrap();
    }
    storage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_is_counted_and_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, key) = (storage(&folder), Arc::new(AuditKey::generate()));
    let (handle, parent) = auditor(&storage, &key).await;
    let actor = handle.shared();
    let stream: StreamName = "clicks".parse().unwrap();
    let client: Arc<str> = "stream-1".into();
    for _ in 0..5 {
        let (client, stream) = (Arc::clone(&client), stream.clone());
        let grant = |reply| AuditorMsg::Granted { client, stream, purposes: vec![1], reply };
        ask(&actor.actor().unwrap(), grant, DEADLINE).await.unwrap().unwrap();
    }
    assert_eq!(handle.size(), 1);
    for _ in 0..1000 {
        handle.shared().failures.count(crate::actors::recent::Claimant::Client(None));
    }
    handle.close().await;
    let page = handle.list(&Filter::default(), 0, 10).await.unwrap();
    let last = page.entries.last().unwrap().get();
    assert_eq!(page.entries.len(), 2);
    assert!(last.contains(r#""type":"login_failed","client":null,"stream":null,"count":1000"#), "{last}");
    parent.stop_and_wait(None, None).await.unwrap();
    storage.close().await;
}

/// Not a bound, a measurement: `cargo test --release -- --ignored --nocapture a_million`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute; prints what a start with a long log costs"]
async fn a_million_entries_are_read_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, key) = (storage(&folder), Arc::new(AuditKey::generate()));
    storage.log.create(&StreamName::audit_log()).await.unwrap();
    for page in 0..100_u64 {
        let mut batch = RecordBatch::default();
        for index in page * 10_000..(page + 1) * 10_000 {
            let (who, action) = (Who::operator(), change(index));
            let entry = Entry { index, at: Timestamp(1), who, action, project: None };
            batch.push(&head(Timestamp(1)), &entry.encode());
        }
        storage.log.append(&StreamName::audit_log(), batch, AppendOptions::default()).await.unwrap();
    }
    let begun = std::time::Instant::now();
    let (handle, parent) = auditor(&storage, &key).await;
    assert_eq!(handle.size(), 1_000_000);
    eprintln!("1,000,000 entries read in {:?}", begun.elapsed());
    let begun = std::time::Instant::now();
    assert_eq!(handle.inclusion(123_456, None).await.unwrap().hashes.len(), 20);
    eprintln!("proof in {:?}", begun.elapsed());
    parent.stop_and_wait(None, None).await.unwrap();
    storage.close().await;
}
