//! What the erasure ledger remembers of a data subject that was forgotten: a pseudonym, counts and times, never its id.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Fingerprint;
use crate::clock::Timestamp;

/// A subject and its erasures, the oldest first: who comes back can be forgotten again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    pub subject: Fingerprint,
    pub erasures: Vec<Erasure>,
}

/// One erasure. Entries are indices in the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erasure {
    pub id: Uuid,
    pub held: SubjectHolding,
    pub ordered: Timestamp,
    pub ordered_entry: u64,
    /// From then on no key of the subject opens.
    #[serde(default)]
    pub completed: Option<Mark>,
    /// What still has to leave the disk; nothing of it is named before `completed`.
    #[serde(default)]
    pub places: Vec<ErasedPlace>,
    /// From then on none of the keys can be rebuilt from the disk.
    #[serde(default)]
    pub settled: Option<Mark>,
}

/// When something was reached, and the entry that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub at: Timestamp,
    pub entry: u64,
}

/// What is kept of a subject, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectHolding {
    pub keys: u64,
    pub sessions: u64,
    pub streams: u64,
    /// Days whose epochs hold the keys.
    pub days: Vec<u32>,
}

/// Up to this place of a day's epoch there are bytes of erased keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedPlace {
    pub day: u32,
    pub place: u32,
}

/// What an erasure is worth.
///
/// 1: safe from whoever has disks, servers and backups but not the master key, which is static. 2 would be: safe from
/// everybody, by a master key whose versions can be destroyed.
pub const GRADE: u8 = 1;

/// The pseudonym under which a subject is shown, audited and filed: 32 hexadecimal digits.
#[must_use]
pub fn pseudonym(subject: Fingerprint) -> String {
    Uuid::from_bytes(subject.0).simple().to_string()
}

/// The subject that a pseudonym names.
#[must_use]
pub fn subject_of(pseudonym: &str) -> Option<Fingerprint> {
    let named = |id: &Uuid| id.simple().to_string() == pseudonym;
    Uuid::try_parse(pseudonym).ok().filter(named).map(|id| Fingerprint(id.into_bytes()))
}

impl SubjectHolding {
    /// Adds what was found later of the same subject.
    pub fn absorb(&mut self, other: SubjectHolding) {
        self.keys = self.keys.max(other.keys);
        self.sessions = self.sessions.max(other.sessions);
        self.streams = self.streams.max(other.streams);
        self.days.extend(other.days);
        self.days.sort_unstable();
        self.days.dedup();
    }
}

impl Erased {
    /// The newest erasure.
    #[must_use]
    pub fn last(&self) -> Option<&Erasure> {
        self.erasures.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_leads_back_to_its_fingerprint_and_nothing_else_does() {
        let subject = Fingerprint(std::array::from_fn(|at| u8::try_from(at * 16).unwrap()));
        let text = pseudonym(subject);
        assert_eq!((text.len(), subject_of(&text)), (32, Some(subject)));
        for other in ["", "ada@example.org", &text.to_uppercase(), &text[1..]] {
            assert_eq!(subject_of(other), None, "{other}");
        }
    }
}
