//! Rows of a place.
//!
//! ```text
//! s | session 16 | stream | 0 | gen u32  -> 1 | consented u8 | link 16 | key id u32 | created i64
//!                                         | expires i64 | term u8 (1: policy 16 | ends i64)
//!                                         | n u8, subject 16 each | wrapped
//!                                        -> 0 | link 16      destroyed here
//!                                        -> 2 | link 16      destroyed before this place was made
//! l | link 16                            -> the key of its `s` row
//! u | subject 16 | link 16               -> empty; existing keys only
//! x | ends i64 | link 16                 -> empty; existing keys with a term only
//! ```

use uuid::Uuid;

use crate::{
    clock::Timestamp,
    domain::{Epoch, Fingerprint, KeyLink, KeyTerm, PolicyId, StreamName},
    storage::{KeyRecord, Place},
};

/// The value of an `s` row.
#[derive(Clone)]
pub(super) enum KeyRow {
    Live(LiveKey),
    /// `carried`: it counts among what a closing carried over.
    Destroyed {
        link: KeyLink,
        carried: bool,
    },
}

/// A key that exists.
#[derive(Clone)]
pub(super) struct LiveKey {
    pub consented: bool,
    pub link: KeyLink,
    pub key_id: u32,
    pub created: Timestamp,
    pub expires: Timestamp,
    pub term: Option<KeyTerm>,
    pub subjects: Vec<Fingerprint>,
    pub wrapped: Vec<u8>,
}

pub(super) fn session_prefix(session: Fingerprint, stream: &StreamName) -> Vec<u8> {
    [b"s", &session.0[..], stream.as_str().as_bytes(), b"\0"].concat()
}

pub(super) fn session_key(session: Fingerprint, stream: &StreamName, generation: u32) -> Vec<u8> {
    let mut key = session_prefix(session, stream);
    key.extend_from_slice(&generation.to_be_bytes());
    key
}

pub(super) fn link_key(link: KeyLink) -> Vec<u8> {
    [b"l", &link.0.as_bytes()[..]].concat()
}

pub(super) fn subject_prefix(subject: Fingerprint) -> Vec<u8> {
    [b"u", &subject.0[..]].concat()
}

pub(super) fn subject_key(subject: Fingerprint, link: KeyLink) -> Vec<u8> {
    [b"u", &subject.0[..], &link.0.as_bytes()[..]].concat()
}

pub(super) const TERM_PREFIX: &[u8] = b"x";

/// Terms lie in their order: instants before 1970 do not occur.
pub(super) fn term_key(term: KeyTerm, link: KeyLink) -> Vec<u8> {
    [b"x", &term.ends.0.max(0).to_be_bytes()[..], &link.0.as_bytes()[..]].concat()
}

/// The instant and the link in a term row's key.
pub(super) fn term_link(key: &[u8]) -> Option<(Timestamp, KeyLink)> {
    let (ends, link) = key.get(1..)?.split_first_chunk::<8>()?;
    Some((Timestamp(i64::from_be_bytes(*ends)), KeyLink(Uuid::from_slice(link).ok()?)))
}

/// The link at the end of a `u` row's key.
pub(super) fn subject_link(key: &[u8]) -> Option<KeyLink> {
    Some(KeyLink(Uuid::from_slice(key.get(17..)?).ok()?))
}

/// The subject in a `u` row's key.
pub(super) fn row_subject(key: &[u8]) -> Option<Fingerprint> {
    Some(Fingerprint(key.get(1..17)?.try_into().ok()?))
}

/// Comes after every `u` row of a subject: links are never all ones.
pub(super) fn after_subject(subject: Fingerprint) -> Vec<u8> {
    [&subject_prefix(subject)[..], &[0xff; 16]].concat()
}

/// Generation in an `s` row's key.
pub(super) fn generation(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*key.last_chunk::<4>()?))
}

impl KeyRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            KeyRow::Live(live) => live.encode(),
            KeyRow::Destroyed { link, carried } => {
                [&[if *carried { 0 } else { 2 }], &link.0.as_bytes()[..]].concat()
            }
        }
    }

    pub(super) fn decode(value: &[u8]) -> Option<KeyRow> {
        let (tag, mut rest) = value.split_first()?;
        match tag {
            1 => Some(KeyRow::Live(LiveKey::decode(&mut rest)?)),
            0 | 2 => {
                let link = KeyLink(Uuid::from_slice(rest).ok()?);
                Some(KeyRow::Destroyed { link, carried: *tag == 0 })
            }
            _ => None,
        }
    }
}

impl LiveKey {
    pub(super) fn of(record: &KeyRecord) -> LiveKey {
        LiveKey {
            consented: record.consented,
            link: record.key_link,
            key_id: record.key_id,
            created: record.created,
            expires: record.expires,
            term: record.term,
            subjects: record.subject.into_iter().collect(),
            wrapped: record.wrapped.clone(),
        }
    }

    /// The record, with what its row's key says. `None` when the key is malformed.
    pub(super) fn record(self, key: &[u8], epoch: Epoch, place: Place) -> Option<KeyRecord> {
        let session = Fingerprint(key.get(1..17)?.try_into().ok()?);
        let stream = std::str::from_utf8(key.get(17..key.len().checked_sub(5)?)?).ok()?.parse().ok()?;
        Some(KeyRecord {
            stream,
            session,
            subject: self.subjects.first().copied(),
            epoch,
            generation: generation(key)?,
            place,
            key_link: self.link,
            key_id: self.key_id,
            created: self.created,
            expires: self.expires,
            consented: self.consented,
            term: self.term,
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

    fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(72 + self.subjects.len() * 16 + self.wrapped.len());
        row.extend_from_slice(&[1, u8::from(self.consented)]);
        row.extend_from_slice(self.link.0.as_bytes());
        row.extend_from_slice(&self.key_id.to_le_bytes());
        row.extend_from_slice(&self.created.0.to_le_bytes());
        row.extend_from_slice(&self.expires.0.to_le_bytes());
        row.push(u8::from(self.term.is_some()));
        if let Some(term) = self.term {
            row.extend_from_slice(term.policy.0.as_bytes());
            row.extend_from_slice(&term.ends.0.to_le_bytes());
        }
        row.push(u8::try_from(self.subjects.len()).expect("SUBJECTS_PER_KEY_MAX fits a byte"));
        for subject in &self.subjects {
            row.extend_from_slice(&subject.0);
        }
        row.extend_from_slice(&self.wrapped);
        row
    }

    fn decode(rest: &mut &[u8]) -> Option<LiveKey> {
        let [consented] = take(rest)?;
        let link = KeyLink(Uuid::from_bytes(take(rest)?));
        let key_id = u32::from_le_bytes(take(rest)?);
        let created = Timestamp(i64::from_le_bytes(take(rest)?));
        let expires = Timestamp(i64::from_le_bytes(take(rest)?));
        let [has_term] = take(rest)?;
        let term = match has_term {
            0 => None,
            _ => Some(KeyTerm {
                policy: PolicyId(Uuid::from_bytes(take(rest)?)),
                ends: Timestamp(i64::from_le_bytes(take(rest)?)),
            }),
        };
        let [count] = take(rest)?;
        let subjects = (0..count).map(|_| take(rest).map(Fingerprint)).collect::<Option<_>>()?;
        let wrapped = rest.to_vec();
        Some(LiveKey { consented: consented == 1, link, key_id, created, expires, term, subjects, wrapped })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}
