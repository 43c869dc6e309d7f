//! Messages of a place, by subject below the place's own.
//!
//! ```text
//! E                              the epoch key, wrapped
//! G                              the gate: "open", or "closed" once no key may be made here
//! K.<session>.<stream>.<gen>     one key, or what is left of it
//! L.<link>                       the subject of its K
//! U.<subject>.<link>             existing keys of a subject
//! X.<ends>.<link>                existing keys with a term
//! B.<link>                       consented while the epoch was closing, and not carried over yet
//! ```

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    domain::{Epoch, Fingerprint, KeyLink, KeyTerm, PolicyId, StreamName},
    storage::{KeyRecord, Place},
};

/// The payload of a `K`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum KeyRow {
    Live(LiveKey),
    /// `carried`: it counts among what a closing carried over.
    Destroyed {
        link: Uuid,
        carried: bool,
    },
}

/// A key that exists.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct LiveKey {
    pub consented: bool,
    pub link: Uuid,
    pub key_id: u32,
    pub created_ms: i64,
    pub expires_ms: i64,
    pub term: Option<(Uuid, i64)>,
    pub subjects: Vec<Fingerprint>,
    pub wrapped: Vec<u8>,
}

impl LiveKey {
    pub(super) fn of(record: &KeyRecord) -> LiveKey {
        LiveKey {
            consented: record.consented,
            link: record.key_link.0,
            key_id: record.key_id,
            created_ms: record.created.0,
            expires_ms: record.expires.0,
            term: record.term.map(|term| (term.policy.0, term.ends.0)),
            subjects: record.subject.into_iter().collect(),
            wrapped: record.wrapped.clone(),
        }
    }

    /// The record, with what its subject says. `None` when the subject is malformed.
    pub(super) fn record(self, key: &str, epoch: Epoch, place: Place) -> Option<KeyRecord> {
        let mut parts = key.strip_prefix("K.")?.split('.');
        let session = Fingerprint(*Uuid::parse_str(parts.next()?).ok()?.as_bytes());
        let stream = parts.next()?.parse().ok()?;
        let generation = parts.next()?.parse().ok()?;
        let term = self.term;
        Some(KeyRecord {
            stream,
            session,
            subject: self.subjects.first().copied(),
            epoch,
            generation,
            place,
            key_link: KeyLink(self.link),
            key_id: self.key_id,
            created: Timestamp(self.created_ms),
            expires: Timestamp(self.expires_ms),
            consented: self.consented,
            term: term.map(|(policy, ends)| KeyTerm { policy: PolicyId(policy), ends: Timestamp(ends) }),
            wrapped: self.wrapped,
        })
    }

    /// Adds what became known elsewhere of the same key.
    pub(super) fn merge(&mut self, other: &LiveKey) {
        self.consented |= other.consented;
        for subject in &other.subjects {
            if !self.subjects.contains(subject) {
                self.subjects.push(*subject);
            }
        }
    }

    /// Subjects that lead to this key.
    pub(super) fn entries(&self) -> Vec<String> {
        let link = self.link.simple();
        let subjects = self.subjects.iter().map(|subject| format!("U.{}.{link}", plain(*subject)));
        let term = self.term.iter().map(|(_, ends)| term_key(Timestamp(*ends), self.link));
        subjects.chain(term).collect()
    }
}

pub(super) fn key_prefix(session: Fingerprint, stream: &StreamName) -> String {
    format!("K.{}.{stream}", plain(session))
}

pub(super) fn key(session: Fingerprint, stream: &StreamName, generation: u32) -> String {
    format!("{}.{generation}", key_prefix(session, stream))
}

pub(super) fn link(link: KeyLink) -> String {
    format!("L.{}", link.0.simple())
}

pub(super) fn left_behind(link: Uuid) -> String {
    format!("B.{}", link.simple())
}

pub(super) fn of_subject(subject: Fingerprint) -> String {
    format!("U.{}.*", plain(subject))
}

/// Every entry of a subject.
pub(super) const SUBJECTS: &str = "U.*.*";

/// The subject of a `U`.
pub(super) fn subject_of(key: &str) -> Option<Fingerprint> {
    let subject = key.strip_prefix("U.")?.split('.').next()?;
    Some(Fingerprint(Uuid::parse_str(subject).ok()?.into_bytes()))
}

/// Terms sort by their end: instants before 1970 do not occur.
fn term_key(ends: Timestamp, link: Uuid) -> String {
    format!("X.{:020}.{}", ends.0.max(0), link.simple())
}

/// The instant and the link of an `X`.
pub(super) fn term_link(key: &str) -> Option<(Timestamp, KeyLink)> {
    let mut parts = key.strip_prefix("X.")?.split('.');
    let ends = Timestamp(parts.next()?.parse().ok()?);
    Some((ends, KeyLink(Uuid::parse_str(parts.next()?).ok()?)))
}

/// The link at the end of a `U`.
pub(super) fn last_link(key: &str) -> Option<KeyLink> {
    Some(KeyLink(Uuid::parse_str(key.rsplit('.').next()?).ok()?))
}

pub(super) fn generation(key: &str) -> Option<u32> {
    key.rsplit('.').next()?.parse().ok()
}

fn plain(fingerprint: Fingerprint) -> String {
    Uuid::from_bytes(fingerprint.0).simple().to_string()
}
