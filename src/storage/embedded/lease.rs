//! Leases of a single node: in memory, because nobody else can hold one after a restart.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::{
    clock::Clock,
    storage::{Grant, Lease, LeaseError},
};

/// Leases by name.
pub(super) struct Leases {
    held: Mutex<Held>,
}

struct Held {
    by_name: HashMap<String, (String, Grant, Instant)>,
    /// Starts at the wall clock's milliseconds, so that it grows over restarts too.
    last_token: u64,
}

impl Leases {
    pub(super) fn new(clock: &Clock) -> Leases {
        let last_token = u64::try_from(clock.now().0).unwrap_or(0);
        Leases { held: Mutex::new(Held { by_name: HashMap::new(), last_token }) }
    }
}

#[async_trait]
impl Lease for Leases {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Grant>, LeaseError> {
        let mut held = self.held.lock();
        let now = Instant::now();
        let live = held.by_name.get(name).filter(|(_, _, until)| *until > now);
        let token = match live {
            Some((other, _, _)) if other != holder => return Ok(None),
            Some((_, grant, _)) => grant.token,
            None => held.last_token + 1,
        };
        held.last_token = held.last_token.max(token);
        let grant = Grant { token, ttl };
        held.by_name.insert(name.to_owned(), (holder.to_owned(), grant, now + ttl));
        Ok(Some(grant))
    }

    async fn release(&self, name: &str, holder: &str) -> Result<(), LeaseError> {
        let mut held = self.held.lock();
        if held.by_name.get(name).is_some_and(|(present, _, _)| present == holder) {
            held.by_name.remove(name);
        }
        Ok(())
    }

    async fn holder(&self, name: &str) -> Result<Option<String>, LeaseError> {
        let held = self.held.lock();
        let live = held.by_name.get(name).filter(|(_, _, until)| *until > Instant::now());
        Ok(live.map(|(holder, _, _)| holder.clone()))
    }
}
