//! Forgetting data subjects: finds the keys of a subject, files the order, destroys the keys, says that it is done.
//!
//! A handle, no actor. What is filed in the ledger and not completed is completed by the next pass of the janitor,
//! whoever was killed meanwhile; `settlement` then makes it physical. A subject is known here by its fingerprint only.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::try_join_all;
use tokio::sync::Mutex;

use super::{AuditError, AuditorHandle, ControlError, Inventory, RegistryHandle, SessionKeys};
use crate::{
    audit::Action,
    clock::{Clock, Timestamp},
    crypto::Fingerprinter,
    domain::{
        ErasedPlace, Erasure, Fingerprint, KeyLink, StreamName, SubjectHolding, Who, erasure::pseudonym,
    },
    storage::{EpochKind, KeyError, KeyRecord, KeyStore},
    telemetry::Meters,
};

/// Finds and forgets data subjects. Cheap to clone.
#[derive(Clone)]
pub struct Erasures(Arc<Works>);

/// What [`Erasures`] works with.
pub(super) struct Works {
    pub store: Arc<dyn KeyStore>,
    pub keys: SessionKeys,
    pub registry: RegistryHandle,
    pub auditor: AuditorHandle,
    pub fingerprints: Fingerprinter,
    pub clock: Clock,
    pub meters: Arc<Meters>,
    /// One erasure at a time: the janitor and a request may want the same one.
    pub turn: Mutex<()>,
}

/// Why a subject was not looked at or not erased.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    /// There is nothing to forget, and never was.
    #[error("no key holds data of this subject")]
    Unknown,
    /// Retry later: what was ordered is completed all the same.
    #[error("keys cannot be read or destroyed now")]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// A subject that has keys.
#[derive(Clone, Debug)]
pub struct KnownSubject {
    pub pseudonym: String,
    pub keys: u64,
}

/// A key that holds data of a subject.
#[derive(Clone, Debug)]
pub struct SubjectKey {
    pub link: KeyLink,
    pub stream: StreamName,
    pub created: Timestamp,
    /// From then on no event is sealed with it.
    pub expires: Timestamp,
    /// When its policy says that it is destroyed.
    pub ends: Option<Timestamp>,
}

/// What became of an order.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub pseudonym: String,
    pub erasure: Erasure,
    /// It was done before; nothing was left to do.
    pub repeated: bool,
}

impl Erasures {
    pub(super) fn new(works: Works) -> Erasures {
        Erasures(Arc::new(works))
    }

    /// Subjects that have keys, of `stream` where one is named, by pseudonym from after `after`.
    ///
    /// # Errors
    ///
    /// [`ErasureError::Keys`].
    pub async fn subjects(
        &self,
        stream: Option<&StreamName>,
        mut after: Option<Fingerprint>,
        limit: usize,
    ) -> Result<Vec<KnownSubject>, ErasureError> {
        let mut found = Vec::new();
        while found.len() < limit {
            let page = self.0.store.subjects(after, limit).await?;
            let Some(last) = page.last() else { break };
            after = Some(*last);
            for subject in page {
                let keys = self.records(subject).await?;
                let keys = keys.iter().filter(|key| stream.is_none_or(|stream| key.stream == *stream));
                let keys = keys.count() as u64;
                if keys > 0 && found.len() < limit {
                    found.push(KnownSubject { pseudonym: pseudonym(subject), keys });
                }
            }
        }
        Ok(found)
    }

    /// The keys that hold data of a subject, by key link, once it is written down that somebody looked.
    ///
    /// # Errors
    ///
    /// [`ErasureError`].
    pub async fn key_links(&self, by: Who, subject: &str) -> Result<(String, Vec<SubjectKey>), ErasureError> {
        let subject = self.0.fingerprints.subject(subject.as_bytes());
        let keys = self.records(subject).await?;
        if keys.is_empty() {
            return Err(ErasureError::Unknown);
        }
        self.looked(by, subject).await?;
        let shown = keys.into_iter().map(|key| SubjectKey {
            link: key.key_link,
            stream: key.stream,
            created: key.created,
            expires: key.expires,
            ends: key.term.map(|term| term.ends),
        });
        Ok((pseudonym(subject), shown.collect()))
    }

    /// What erasing a subject would destroy, once it is written down that somebody looked.
    ///
    /// # Errors
    ///
    /// [`ErasureError`].
    pub async fn preview(&self, by: Who, subject: &str) -> Result<(String, SubjectHolding), ErasureError> {
        let subject = self.0.fingerprints.subject(subject.as_bytes());
        let keys = self.records(subject).await?;
        if keys.is_empty() && !self.0.registry.inventory().is_erased(subject) {
            return Err(ErasureError::Unknown);
        }
        self.looked(by, subject).await?;
        Ok((pseudonym(subject), holding(&keys)))
    }

    /// Forgets a subject: when this returns, none of the keys it had opens anything on this node.
    ///
    /// # Errors
    ///
    /// [`ErasureError`]. What was ordered before the error is completed later.
    pub async fn erase(&self, by: Who, subject: &str) -> Result<Outcome, ErasureError> {
        let subject = self.0.fingerprints.subject(subject.as_bytes());
        let _turn = self.0.turn.lock().await;
        let keys = self.records(subject).await?;
        let known =
            self.0.registry.inventory().erased(subject).and_then(|known| known.erased.last().cloned());
        match known {
            Some(open) if open.completed.is_none() => {}
            Some(done) if keys.is_empty() => {
                return Ok(Outcome { pseudonym: pseudonym(subject), erasure: done, repeated: true });
            }
            None if keys.is_empty() => return Err(ErasureError::Unknown),
            _ => {
                let now = self.0.clock.steady();
                self.0.registry.order_erasure(by, subject, holding(&keys), now).await?;
            }
        }
        let erasure = self.complete(subject).await?;
        Ok(Outcome { pseudonym: pseudonym(subject), erasure, repeated: false })
    }

    /// Completes what was ordered before the node ended, or before an error.
    pub(super) async fn resume(&self) -> Result<(), ErasureError> {
        for subject in self.0.registry.inventory().uncompleted() {
            let _turn = self.0.turn.lock().await;
            if self.0.registry.inventory().uncompleted().contains(&subject) {
                self.complete(subject).await?;
                tracing::info!("an erasure that was broken off was completed");
            }
        }
        Ok(())
    }

    /// Destroys every key of a subject whose erasure was ordered. Can be repeated.
    async fn complete(&self, subject: Fingerprint) -> Result<Erasure, ErasureError> {
        let works = &self.0;
        let keys = self.records(subject).await?;
        for batch in keys.chunks(TOGETHER) {
            let now = works.clock.steady();
            batch.iter().for_each(|key| works.keys.open_keys().bar(key.key_link, now));
            try_join_all(batch.iter().map(|key| works.store.destroy(key.key_link))).await?;
            for key in batch {
                works.keys.open_keys().forget_link(key.session, key.key_link);
            }
            works.meters.keys_destroyed_by_erasure.increment(batch.len() as u64);
        }
        let inventory = works.registry.inventory();
        let ordered = inventory.erased(subject).and_then(|known| known.erased.last().cloned());
        let mut held = ordered.ok_or(ErasureError::Unknown)?.held;
        held.absorb(holding(&keys));
        let places = self.places(&held.days).await?;
        let now = works.clock.steady();
        Ok(works.registry.complete_erasure(subject, held, places, now).await?)
    }

    /// Where bytes of keys of `days` lie now: keys are put nowhere else once they are destroyed.
    async fn places(&self, days: &[u32]) -> Result<Vec<ErasedPlace>, ErasureError> {
        let mut places: Vec<ErasedPlace> = Vec::new();
        for record in self.0.store.epochs().await? {
            let day = record.epoch.0;
            if record.kind != EpochKind::Sessions || !days.contains(&day) {
                continue;
            }
            places.retain(|place| place.day != day || place.place > record.generation);
            if places.iter().all(|place| place.day != day) {
                places.push(ErasedPlace { day, place: record.generation });
            }
        }
        Ok(places)
    }

    async fn records(&self, subject: Fingerprint) -> Result<Vec<KeyRecord>, ErasureError> {
        let (mut records, mut after) = (Vec::new(), None);
        loop {
            let links = self.0.store.by_subject(subject, after, PAGE).await?;
            let Some(last) = links.last() else { return Ok(records) };
            after = Some(*last);
            for link in links {
                records.extend(self.0.store.by_link(link).await?.found());
            }
        }
    }

    async fn looked(&self, by: Who, subject: Fingerprint) -> Result<(), AuditError> {
        self.0.auditor.record(by, Action::SubjectViewed { subject: pseudonym(subject) }).await.map(drop)
    }
}

fn holding(keys: &[KeyRecord]) -> SubjectHolding {
    let days: BTreeSet<_> = keys.iter().map(|key| key.epoch.0).collect();
    SubjectHolding {
        keys: keys.len() as u64,
        sessions: keys.iter().map(|key| key.session).collect::<BTreeSet<_>>().len() as u64,
        streams: keys.iter().map(|key| &key.stream).collect::<BTreeSet<_>>().len() as u64,
        days: days.into_iter().collect(),
    }
}

impl Inventory {
    /// Whether a subject was ever erased.
    #[must_use]
    pub fn is_erased(&self, subject: Fingerprint) -> bool {
        self.erased.contains_key(&subject)
    }

    fn uncompleted(&self) -> Vec<Fingerprint> {
        let open = |known: &&Arc<super::KnownErased>| {
            known.erased.last().is_some_and(|erasure| erasure.completed.is_none())
        };
        self.erased.values().filter(open).map(|known| known.erased.subject).collect()
    }
}

/// Keys read, and destroyed side by side so that they share commits.
const PAGE: usize = 1_024;
const TOGETHER: usize = 256;
