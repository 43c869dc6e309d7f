//! Checks of `Registry`.

use crate::storage::{Change, RegistryError, Storage};

fn change(name: &str, expected_version: u64, body: Option<&'static str>) -> Change {
    let body = body.map(|body| body.as_bytes().into());
    Change { kind: "contract".to_owned(), name: name.to_owned(), expected_version, body }
}

/// A document changes only under its present version, and versions are never used twice.
pub async fn versions_guard_documents(storage: &Storage) {
    let registry = &*storage.registry;
    assert_eq!(registry.get("contract", "a").await.unwrap(), None);
    let first = registry.put("contract", "a", 0, "one".into()).await.unwrap();
    let twice = registry.put("contract", "a", 0, "two".into()).await;
    assert!(matches!(twice, Err(RegistryError::Conflict { index: 0, actual }) if actual == first));
    let second = registry.put("contract", "a", first, "two".into()).await.unwrap();
    assert!(second > first);
    let found = registry.get("contract", "a").await.unwrap().unwrap();
    assert_eq!((found.version, &found.body[..]), (second, &b"two"[..]));
    assert!(registry.delete("contract", "a", first).await.is_err());
    registry.delete("contract", "a", second).await.unwrap();
    assert_eq!(registry.get("contract", "a").await.unwrap(), None);
    assert!(registry.put("contract", "a", 0, "three".into()).await.unwrap() > second);
    registry.put("contract2", "b", 0, "other kind".into()).await.unwrap();
    assert_eq!(registry.list("contract").await.unwrap().len(), 1);
    assert!(matches!(registry.put("k", "a\0b", 0, "x".into()).await, Err(RegistryError::BadName)));
}

/// All changes of one call happen, or none.
pub async fn changes_apply_together(storage: &Storage) {
    let registry = &*storage.registry;
    let version = registry.apply(vec![change("a", 0, Some("1")), change("b", 0, Some("1"))]).await.unwrap();
    let failed = registry.apply(vec![change("a", version, None), change("b", version + 1, Some("2"))]).await;
    assert!(matches!(failed, Err(RegistryError::Conflict { index: 1, .. })));
    let names: Vec<_> =
        registry.list("contract").await.unwrap().into_iter().map(|found| found.name).collect();
    assert_eq!(names, ["a", "b"]);
    let racers = (0..8).map(|_| {
        let registry = storage.registry.clone();
        tokio::spawn(async move { registry.put("contract", "a", version, "race".into()).await.is_ok() })
    });
    let mut won = 0;
    for racer in racers.collect::<Vec<_>>() {
        won += u32::from(racer.await.unwrap());
    }
    assert_eq!(won, 1);
}

/// The revision grows with every change, for those who watch.
pub async fn the_revision_is_watched(storage: &Storage) {
    let registry = &*storage.registry;
    let mut watch = registry.watch();
    let before = *watch.borrow_and_update();
    let version = registry.put("contract", "a", 0, "1".into()).await.unwrap();
    watch.changed().await.unwrap();
    assert!(*watch.borrow_and_update() == version && version > before);
    registry.delete("contract", "a", version).await.unwrap();
    watch.changed().await.unwrap();
}
