//! Wrapped session keys, and the epoch keys that wrap them.
//!
//! Keys of one epoch lie in one *place*. Closing an epoch moves the surviving keys into a new place,
//! wrapped by a new epoch key, and then removes the old place with all bytes in it:
//! ```text
//! begin_close(new epoch key)   new keys go to the new place from now on
//! scan / put_rewrapped ...     the caller carries survivors over; repeatable
//! finish_close(count)          one commit: the old place and the old epoch key are gone
//! ```
//! A node killed in between finds the epoch still closing: `begin_close` returns the same new epoch key
//! again (`Created::Lost`) and the caller carries on.

use async_trait::async_trait;

use super::{Cause, Unavailable};
use crate::{
    clock::Timestamp,
    domain::{Epoch, Fingerprint, KeyLink, KeyTerm, StreamName},
};

/// All keys of a node or a cluster. What returns `Ok` survives a crash.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Stores a key unless its (stream, session, epoch, generation) is taken. One winner cluster-wide.
    ///
    /// # Errors
    ///
    /// [`KeyError::EpochMoved`] when `record.place` is not where keys of this epoch go now: wrap it under
    /// the epoch key that `epoch` returns, and try again.
    async fn create(&self, record: KeyRecord) -> Result<Created<KeyRecord>, KeyError>;

    /// The key of the highest generation.
    async fn latest(
        &self,
        stream: &StreamName,
        session: Fingerprint,
        epoch: Epoch,
    ) -> Result<Lookup<KeyRecord>, KeyError>;

    /// The key with this public name.
    async fn by_link(&self, link: KeyLink) -> Result<Lookup<KeyRecord>, KeyError>;

    /// Names of a subject's keys that still exist, in ascending order, from after `after`.
    async fn by_subject(
        &self,
        subject: Fingerprint,
        after: Option<KeyLink>,
        limit: usize,
    ) -> Result<Vec<KeyLink>, KeyError>;

    /// Subjects that have keys, in ascending order, from after `after`.
    async fn subjects(&self, after: Option<Fingerprint>, limit: usize) -> Result<Vec<Fingerprint>, KeyError>;

    /// Says that a key also holds data of `subject`. Idempotent; does nothing for a key that is gone.
    async fn add_subject(&self, subject: Fingerprint, link: KeyLink) -> Result<(), KeyError>;

    /// Says that an event under this key carried consent. Idempotent; nothing for a key that is gone.
    async fn mark_consented(&self, link: KeyLink) -> Result<(), KeyError>;

    /// Removes a key and leaves a tombstone, so that its generation is never made again. Idempotent.
    /// True when there was such a key. Its bytes leave the disk when its epoch is closed.
    async fn destroy(&self, link: KeyLink) -> Result<bool, KeyError>;

    /// Keys whose term has ended by `now`, those that ended first before the others of their epoch.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<KeyRecord>, KeyError>;

    /// When the last term of an epoch's keys ends; none when no key of it has one.
    async fn last_term(&self, epoch: Epoch) -> Result<Option<Timestamp>, KeyError>;

    /// Stores an epoch's first key unless there is one.
    async fn create_epoch(&self, record: EpochRecord) -> Result<Created<EpochRecord>, KeyError>;

    /// The epoch key to wrap new keys under. While an epoch is closing, that is the new one.
    async fn epoch(&self, epoch: Epoch, kind: EpochKind) -> Result<Lookup<EpochRecord>, KeyError>;

    /// Every epoch key that exists, oldest epoch first. An epoch that is closing has two.
    async fn epochs(&self) -> Result<Vec<EpochRecord>, KeyError>;

    /// Existing keys in the place that will be removed (while closing) or the only place, in a stable
    /// order, from after `after`; with the cursor to go on from, `None` at the end.
    async fn scan(
        &self,
        epoch: Epoch,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<(Vec<KeyRecord>, Option<Cursor>), KeyError>;

    /// Starts to close an epoch: `record.generation` is one more than the present one's.
    async fn begin_close(&self, record: EpochRecord) -> Result<Created<EpochRecord>, CloseError>;

    /// Puts survivors into the new place. Idempotent. What happened to a key since it was scanned
    /// (consent, another subject, destruction) is kept. Records name the new place.
    async fn put_rewrapped(&self, epoch: Epoch, records: Vec<KeyRecord>) -> Result<(), CloseError>;

    /// Removes the old place and the old epoch key, if `expected_count` keys were carried over
    /// (destroyed meanwhile or not). Returns how many keys the epoch has left.
    ///
    /// # Errors
    ///
    /// [`CloseError::Incomplete`]: the count differs, or keys that consented meanwhile were left behind.
    /// Scan again.
    async fn finish_close(&self, epoch: Epoch, expected_count: u64) -> Result<u64, CloseError>;

    /// Removes an epoch key with everything it wraps, for good. Idempotent.
    async fn destroy_epoch(&self, epoch: Epoch, kind: EpochKind) -> Result<(), KeyError>;
}

/// Generation of the epoch key that wraps a session key.
pub type Place = u32;

/// One session key, wrapped.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRecord {
    pub stream: StreamName,
    pub session: Fingerprint,
    /// The data subject known when the key was made; more by `add_subject`.
    pub subject: Option<Fingerprint>,
    pub epoch: Epoch,
    /// Counts the keys of this session in this epoch, from 1.
    pub generation: u32,
    /// Generation of the epoch key that wraps this key.
    pub place: Place,
    pub key_link: KeyLink,
    /// Tink key id. Never 0.
    pub key_id: u32,
    pub created: Timestamp,
    pub expires: Timestamp,
    /// An event under this key carried consent.
    pub consented: bool,
    /// The policy the key was made under, and when it says that the key is destroyed.
    pub term: Option<KeyTerm>,
    /// The session root under the epoch key.
    pub wrapped: Vec<u8>,
}

impl std::fmt::Debug for KeyRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRecord")
            .field("stream", &self.stream)
            .field("epoch", &self.epoch)
            .field("generation", &self.generation)
            .field("place", &self.place)
            .field("key_link", &self.key_link)
            .finish_non_exhaustive()
    }
}

/// One epoch key, wrapped under the master key.
#[derive(Clone, PartialEq, Eq)]
pub struct EpochRecord {
    pub epoch: Epoch,
    pub kind: EpochKind,
    /// From 1; each closing adds one.
    pub generation: u32,
    pub wrapped: Vec<u8>,
}

impl std::fmt::Debug for EpochRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EpochRecord")
            .field("epoch", &self.epoch)
            .field("kind", &self.kind)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// What an epoch key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum EpochKind {
    /// Wraps the session keys of the epoch.
    Sessions = 0,
    /// Keys of events without consent are derived from it and stored nowhere.
    NoConsent = 1,
}

/// Outcome of a create-if-absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created<T> {
    /// Stored.
    Won,
    /// Somebody was earlier; this is theirs.
    Lost(T),
    /// There was one and it was destroyed. A session takes the next generation.
    Destroyed,
}

/// Outcome of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    Absent,
    Found(T),
    /// There was one and it was destroyed. `generation` is its generation.
    Destroyed {
        generation: u32,
    },
}

impl<T> Lookup<T> {
    /// What was found, if anything.
    pub fn found(self) -> Option<T> {
        match self {
            Lookup::Found(found) => Some(found),
            Lookup::Absent | Lookup::Destroyed { .. } => None,
        }
    }
}

/// Where a scan goes on. Valid for the same epoch of the same store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub(in crate::storage) Vec<u8>);

/// Why a key operation failed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Keys of this epoch now go to another place: use the epoch key that `epoch` returns.
    #[error("epoch has moved to another place")]
    EpochMoved { place: Place },
    /// The epoch has no key yet: make one with `create_epoch`.
    #[error("epoch has no key")]
    NoEpoch,
    /// The epoch was destroyed for good.
    #[error("epoch was destroyed")]
    EpochDestroyed,
    /// The key already holds as many subjects as it may.
    #[error("key has too many subjects")]
    TooManySubjects,
    /// Try again later.
    #[error("key store is unavailable")]
    Unavailable(#[from] Unavailable),
    /// Call a person.
    #[error("key store is damaged")]
    Damaged(#[source] Cause),
}

/// Why closing an epoch did not go on.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// There is no such epoch, or it is not closing: start with `begin_close`.
    #[error("epoch is not closing")]
    NotClosing,
    /// The generation is not the present one plus one.
    #[error("generation does not follow the present one")]
    WrongGeneration { present: u32 },
    /// Keys are missing in the new place: scan again.
    #[error("not all keys were carried over")]
    Incomplete { carried: u64, left_behind: u64 },
    #[error(transparent)]
    Store(#[from] KeyError),
}
