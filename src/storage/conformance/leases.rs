//! Checks of `Lease`.

use std::time::Duration;

use crate::storage::Storage;

/// A lease has one holder until it is given back or runs out; its token grows with each change.
pub async fn one_holder_at_a_time(storage: &Storage) {
    let leases = &*storage.leases;
    let long = Duration::from_secs(60);
    let first = leases.acquire("job", "a", long).await.unwrap().unwrap();
    assert_eq!(leases.acquire("job", "b", long).await.unwrap(), None);
    assert_eq!(leases.acquire("job", "a", long).await.unwrap().unwrap().token, first.token);
    leases.release("job", "b").await.unwrap();
    assert_eq!(leases.holder("job").await.unwrap().as_deref(), Some("a"));
    leases.release("job", "a").await.unwrap();
    assert_eq!(leases.holder("job").await.unwrap(), None);
    let second = leases.acquire("job", "b", Duration::from_millis(300)).await.unwrap().unwrap();
    assert!(second.token > first.token);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(leases.holder("job").await.unwrap(), None);
    assert!(leases.acquire("job", "a", long).await.unwrap().unwrap().token > second.token);
}
