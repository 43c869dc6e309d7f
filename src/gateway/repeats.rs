//! Creates that are asked for twice: the first answer is kept for a day under the client's `Idempotency-Key`.
//!
//! ```text
//! name   = hex(fingerprint of the principal) "-" hex(fingerprint of the principal and its key)
//! record = { at ms, request: hex(fingerprint of method, path and body), answer: base64(wrapped) or none }
//! ```
//! A record without an answer says that somebody is at work: who wrote it first by compare-and-set does the work,
//! on whatever node. Neither the key nor the body is stored; the answer, which may tell a secret, is wrapped under
//! the master key. Only answers that made something are kept: a refusal changed nothing, and its key is free again.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{
    clock::{Clock, DAY_MS, Timestamp},
    crypto::{Fingerprinter, MasterKey},
    domain::PrincipalId,
    storage::{Registry, RegistryError},
};

/// Remembers first answers. Cheap to clone.
#[derive(Clone)]
pub struct Repeats(Arc<Shared>);

struct Shared {
    store: Arc<dyn Registry>,
    master: Arc<MasterKey>,
    fingerprints: Fingerprinter,
    clock: Clock,
    living: Mutex<Living>,
}

/// Records of each principal, as the last sweep and this node's own writes have it.
#[derive(Default)]
struct Living {
    swept: Option<Timestamp>,
    counts: HashMap<String, usize>,
}

/// The answer to a create.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl std::fmt::Debug for FirstAnswer {
    /// The body may show a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstAnswer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// What a request with a key is to do.
pub enum Turn {
    /// Do the work, and say what became of it.
    First(Permit),
    /// It was done.
    Again(FirstAnswer),
}

/// Why a request with a key is not worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RepeatError {
    #[error("this Idempotency-Key came with another request before: choose a new one")]
    OtherRequest,
    /// Retry later.
    #[error("a request with this Idempotency-Key is being worked on")]
    Busy,
    #[error("you used as many keys within a day as there may be: leave the header out, or come back later")]
    Full,
    /// Retry later.
    #[error("the store takes no changes at this moment")]
    Unavailable,
}

/// The right to do the work.
pub struct Permit {
    repeats: Repeats,
    name: String,
    version: u64,
    record: Record,
}

#[derive(Serialize, Deserialize)]
struct Record {
    at: Timestamp,
    request: String,
    answer: Option<String>,
}

impl Repeats {
    #[must_use]
    pub fn new(store: Arc<dyn Registry>, master: Arc<MasterKey>, clock: Clock) -> Repeats {
        let fingerprints = master.fingerprinter();
        Repeats(Arc::new(Shared { store, master, fingerprints, clock, living: Mutex::default() }))
    }

    /// Begins a request of `principal` with `key`; `parts` are what must be the same when it comes again.
    ///
    /// # Errors
    ///
    /// [`RepeatError`].
    pub async fn begin(
        &self,
        principal: &PrincipalId,
        key: &str,
        parts: &[&[u8]],
    ) -> Result<Turn, RepeatError> {
        let Shared { store, fingerprints, clock, .. } = &*self.0;
        let of = |parts: &[&[u8]]| format!("{:?}", fingerprints.request(parts));
        let id = principal.as_str().as_bytes();
        let owner = of(&[b"owner", id]);
        let name = format!("{owner}-{}", of(&[b"key", id, key.as_bytes()]));
        let request = of(parts);
        let now = clock.now();
        self.sweep(now).await?;
        let mut version = 0;
        if let Some(stored) = store.get(KIND, &name).await? {
            let record = read(&stored.body)?;
            let age_ms = now.since(record.at);
            if age_ms < DAY_MS {
                if record.request != request {
                    return Err(RepeatError::OtherRequest);
                }
                if let Some(sealed) = &record.answer {
                    return Ok(Turn::Again(self.open(&name, sealed)?));
                }
                if age_ms < WORK_MS {
                    return Err(RepeatError::Busy);
                }
            }
            version = stored.version;
        } else if self.0.living.lock().counts.get(&owner).is_some_and(|count| *count >= KEYS_MAX) {
            return Err(RepeatError::Full);
        }
        let record = Record { at: now, request, answer: None };
        let put = store.put(KIND, &name, version, body(&record)).await;
        let written = put.map_err(|error| match error {
            RegistryError::Conflict { .. } => RepeatError::Busy,
            _ => RepeatError::Unavailable,
        })?;
        if version == 0 {
            *self.0.living.lock().counts.entry(owner).or_default() += 1;
        }
        Ok(Turn::First(Permit { repeats: self.clone(), name, version: written, record }))
    }

    /// Deletes what is older than a day and counts the rest, once in a while.
    async fn sweep(&self, now: Timestamp) -> Result<(), RepeatError> {
        let due = |living: &Living| living.swept.is_none_or(|swept| now.since(swept).abs() >= SWEEP_MS);
        if !due(&self.0.living.lock()) {
            return Ok(());
        }
        let mut counts = HashMap::new();
        for stored in self.0.store.list(KIND).await? {
            if now.since(read(&stored.body)?.at) < DAY_MS {
                let owner = stored.name.split('-').next().unwrap_or_default().to_owned();
                *counts.entry(owner).or_default() += 1;
            } else if let Err(error) = self.0.store.delete(KIND, &stored.name, stored.version).await {
                tracing::debug!(%error, "an old answer was deleted by another node");
            }
        }
        *self.0.living.lock() = Living { swept: Some(now), counts };
        Ok(())
    }

    fn open(&self, name: &str, sealed: &str) -> Result<FirstAnswer, RepeatError> {
        let wrapped = STANDARD.decode(sealed).map_err(|_| damaged())?;
        let plain = self.0.master.unwrap_secret(&label(name), &wrapped).map_err(|_| damaged())?;
        serde_json::from_slice(&plain).map_err(|_| damaged())
    }
}

impl Permit {
    /// Keeps the answer, for a day from the beginning of its request.
    pub async fn keep(mut self, answer: &FirstAnswer) {
        let Shared { store, master, .. } = &*self.repeats.0;
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(answer).expect("an answer is plain data"));
        self.record.answer = Some(STANDARD.encode(master.wrap_secret(&label(&self.name), &plain)));
        if let Err(error) = store.put(KIND, &self.name, self.version, body(&self.record)).await {
            tracing::warn!(%error, "an answer to a create could not be kept");
        }
    }

    /// The request changed nothing: its key is free.
    pub async fn free(self) {
        let Shared { store, living, .. } = &*self.repeats.0;
        if let Err(error) = store.delete(KIND, &self.name, self.version).await {
            tracing::warn!(%error, "an idempotency key could not be freed");
        }
        let owner = self.name.split('-').next().unwrap_or_default();
        if let Some(count) = living.lock().counts.get_mut(owner) {
            *count = count.saturating_sub(1);
        }
    }
}

impl From<RegistryError> for RepeatError {
    fn from(error: RegistryError) -> RepeatError {
        tracing::error!(%error, "first answers cannot be read");
        RepeatError::Unavailable
    }
}

fn read(body: &[u8]) -> Result<Record, RepeatError> {
    serde_json::from_slice(body).map_err(|_| damaged())
}

fn body(record: &Record) -> bytes::Bytes {
    serde_json::to_vec(record).expect("a record is plain data").into()
}

fn label(name: &str) -> String {
    format!("first-answer/{name}")
}

fn damaged() -> RepeatError {
    tracing::error!("a first answer is damaged");
    RepeatError::Unavailable
}

/// Registry documents of this file.
const KIND: &str = "first_answer";
/// Records of one principal within a day.
const KEYS_MAX: usize = 1000;
/// After this long whoever was at work is gone: the registry's deadline is half of it.
const WORK_MS: i64 = 60_000;
const SWEEP_MS: i64 = 60_000;
