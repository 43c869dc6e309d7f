//! The open session keys of this node: the one map the path of an event reads.
//!
//! Written by `actors::session_key` alone, read by `gateway::intake` and `actors::stream` without a
//! mailbox hop. Bounded by `[keys] open_max`: over it the expired go first, then any. A key that is
//! dropped here is read again from the KeyStore when it is needed.

use std::sync::Arc;

use dashmap::DashMap;

use crate::{
    clock::Timestamp,
    crypto::OpenKey,
    domain::{Fingerprint, KeyLink, Suite},
};

/// Which reading of a session a key serves. One session has one stored root; each suite has its own
/// subkeys, and events without consent have their own key where the operator asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    Sealing(Suite),
    NoConsent(Suite),
}

/// Open keys by session, and by key link for those that filters opened.
pub struct OpenKeys {
    by_session: DashMap<Fingerprint, Arc<OpenKey>>,
    by_link: DashMap<(KeyLink, Suite), Arc<OpenKey>>,
    /// Data subjects that keys are registered for beside their first one, and when those keys end: sessions
    /// with several are rare.
    more_subjects: DashMap<(KeyLink, Fingerprint), Timestamp>,
    /// Keys that were destroyed lately, until when nobody can still hold them from before.
    barred: DashMap<KeyLink, Timestamp>,
    capacity: usize,
}

impl OpenKeys {
    /// A map for at most `capacity` sessions and a sixteenth as many links.
    #[must_use]
    pub fn new(capacity: usize) -> OpenKeys {
        OpenKeys {
            by_session: DashMap::new(),
            by_link: DashMap::new(),
            more_subjects: DashMap::new(),
            barred: DashMap::new(),
            capacity,
        }
    }

    /// The open key of `session`, unless it has expired by `now`.
    #[must_use]
    pub fn of_session(&self, session: Fingerprint, purpose: KeyUse, now: Timestamp) -> Option<Arc<OpenKey>> {
        let found = self.by_session.get(&place(session, purpose))?;
        (now < found.expires()).then(|| Arc::clone(&found))
    }

    /// The open key of `link`, if a filter opened it lately.
    #[must_use]
    pub fn of_link(&self, link: KeyLink, suite: Suite) -> Option<Arc<OpenKey>> {
        self.by_link.get(&(link, suite)).map(|found| Arc::clone(&found))
    }

    /// Publishes the key of `session`.
    pub fn publish(&self, session: Fingerprint, purpose: KeyUse, key: &Arc<OpenKey>, now: Timestamp) {
        self.by_session.insert(place(session, purpose), Arc::clone(key));
        self.drop_barred(session, key.key_link());
        if self.by_session.len() > self.capacity {
            evict(&self.by_session, self.capacity, now);
        }
    }

    /// Keeps the key of `link` for the filters.
    pub fn keep_link(&self, link: KeyLink, suite: Suite, key: &Arc<OpenKey>, now: Timestamp) {
        self.by_link.insert((link, suite), Arc::clone(key));
        if self.barred.contains_key(&link) {
            self.by_link.remove(&(link, suite));
        }
        let capacity = self.capacity / 16;
        if self.by_link.len() > capacity {
            evict(&self.by_link, capacity, now);
        }
    }

    /// Whether `key` is known to be registered for `subject`. An event that names none asks for nothing.
    #[must_use]
    pub fn knows_subject(&self, key: &OpenKey, subject: Option<Fingerprint>) -> bool {
        subject.is_none_or(|subject| {
            key.subject() == Some(subject) || self.more_subjects.contains_key(&(key.key_link(), subject))
        })
    }

    /// Remembers that `key` is registered for `subject`, durably.
    pub fn remember_subject(&self, key: &OpenKey, subject: Fingerprint) {
        if key.subject() == Some(subject) {
            return;
        }
        let capacity = (self.capacity / 16).max(1);
        if self.more_subjects.len() >= capacity {
            // What is forgotten is registered again, which changes nothing.
            self.more_subjects.clear();
        }
        self.more_subjects.insert((key.key_link(), subject), key.expires());
    }

    /// Keeps out copies of a key that is about to be destroyed: who read it before must not publish it after.
    pub fn bar(&self, link: KeyLink, now: Timestamp) {
        self.barred.insert(link, now.plus_ms(BARRED_MS));
    }

    fn drop_barred(&self, session: Fingerprint, link: KeyLink) {
        if self.barred.contains_key(&link) {
            self.forget_link(session, link);
        }
    }

    /// Drops the copies of a key that was destroyed.
    pub fn forget_link(&self, session: Fingerprint, link: KeyLink) {
        for suite in [Suite::XChaCha20Poly1305, Suite::Aes256Siv] {
            self.by_link.remove(&(link, suite));
            let at = place(session, KeyUse::Sealing(suite));
            self.by_session.remove_if(&at, |_, key| key.key_link() == link);
        }
    }

    /// Drops every key that has expired by `now`.
    pub fn drop_expired(&self, now: Timestamp) {
        self.by_session.retain(|_, key| now < key.expires());
        self.by_link.retain(|_, key| now < key.expires());
        self.more_subjects.retain(|_, expires| now < *expires);
        self.barred.retain(|_, until| now < *until);
    }

    /// Drops every key. The next events read theirs again.
    pub fn clear(&self) {
        self.by_session.clear();
        self.by_link.clear();
        self.more_subjects.clear();
    }

    /// Number of sessions whose key is open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.by_session.len()
    }
}

/// Far longer than a question for a key takes.
const BARRED_MS: i64 = 10 * 60 * 1000;

/// Makes room for a sixteenth of the capacity, so that the walk over the map is paid once in many inserts.
fn evict<K: std::hash::Hash + Eq>(map: &DashMap<K, Arc<OpenKey>>, capacity: usize, now: Timestamp) {
    map.retain(|_, key| now < key.expires());
    if map.len() > capacity {
        let mut surplus = map.len() - (capacity - capacity / 16);
        map.retain(|_, _| {
            let keep = surplus == 0;
            surplus = surplus.saturating_sub(1);
            keep
        });
    }
}

/// Folds the use into the fingerprint, which keeps an entry at 24 bytes. Fingerprints are uniform, so
/// flipping bits of the last byte cannot bring two sessions together except by the chance they have anyway.
fn place(session: Fingerprint, purpose: KeyUse) -> Fingerprint {
    let mut bytes = session.0;
    bytes[15] ^= match purpose {
        KeyUse::Sealing(Suite::XChaCha20Poly1305) => 0,
        KeyUse::Sealing(Suite::Aes256Siv) => 1,
        KeyUse::NoConsent(Suite::XChaCha20Poly1305) => 2,
        KeyUse::NoConsent(Suite::Aes256Siv) => 3,
    };
    Fingerprint(bytes)
}
