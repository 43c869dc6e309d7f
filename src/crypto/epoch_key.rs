//! Epoch key: wraps the session roots made on one UTC day. Destroying it destroys them all.

use super::{
    no_consent::DaySecret,
    secret::Secret,
    session_root::SessionRoot,
    wrap::{UnwrapError, bind, unwrap_secret, wrap},
};
use crate::domain::{Epoch, KeyLink, StreamName};

/// Which keys an epoch key protects. They are destroyed at different times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EpochKind {
    /// Roots of sessions.
    Sessions = 0,
    /// The one-day secret of events without consent.
    NoConsent = 1,
}

/// A random key of one epoch. A new generation takes over what survives when the epoch is closed.
pub struct EpochKey {
    pub(super) secret: Secret,
    epoch: Epoch,
    generation: u32,
    kind: EpochKind,
}

impl EpochKey {
    /// A new random key.
    #[must_use]
    pub fn generate(epoch: Epoch, generation: u32, kind: EpochKind) -> EpochKey {
        EpochKey::with(Secret::random(), epoch, generation, kind)
    }

    pub(super) fn with(secret: Secret, epoch: Epoch, generation: u32, kind: EpochKind) -> EpochKey {
        EpochKey { secret, epoch, generation, kind }
    }

    /// The UTC day.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Counts the closings of the epoch.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// What this key protects.
    #[must_use]
    pub fn kind(&self) -> EpochKind {
        self.kind
    }

    /// Wraps a session's root for storage: 73 bytes, bound to stream, key link, epoch and generation.
    #[must_use]
    pub fn wrap_root(&self, stream: &StreamName, key_link: KeyLink, root: &SessionRoot) -> Vec<u8> {
        wrap(&self.secret, &self.place_of_root(stream, key_link), root.0.bytes())
    }

    /// The root that [`EpochKey::wrap_root`] wrapped for the same stream and key link.
    ///
    /// # Errors
    ///
    /// [`UnwrapError`]; the session's fields then stay sealed.
    pub fn unwrap_root(
        &self,
        stream: &StreamName,
        key_link: KeyLink,
        wrapped: &[u8],
    ) -> Result<SessionRoot, UnwrapError> {
        unwrap_secret(&self.secret, &self.place_of_root(stream, key_link), wrapped).map(SessionRoot)
    }

    /// Wraps the one-day secret of events without consent: 73 bytes.
    #[must_use]
    pub fn wrap_day_secret(&self, day: &DaySecret) -> Vec<u8> {
        wrap(&self.secret, &self.place(b"sluice/v1/day-secret\0", &[]), day.0.bytes())
    }

    /// The secret that [`EpochKey::wrap_day_secret`] wrapped.
    ///
    /// # Errors
    ///
    /// [`UnwrapError`].
    pub fn unwrap_day_secret(&self, wrapped: &[u8]) -> Result<DaySecret, UnwrapError> {
        unwrap_secret(&self.secret, &self.place(b"sluice/v1/day-secret\0", &[]), wrapped).map(DaySecret)
    }

    fn place_of_root(&self, stream: &StreamName, key_link: KeyLink) -> Vec<u8> {
        self.place(b"sluice/v1/session-root\0", &[stream.as_str().as_bytes(), key_link.0.as_bytes()])
    }

    fn place(&self, purpose: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let mut aad = bind(purpose, parts);
        aad.extend_from_slice(&place_of_epoch(self.epoch, self.generation, self.kind));
        aad
    }
}

/// `epoch u32 BE | generation u32 BE | kind u8`: what names an epoch key.
pub(super) fn place_of_epoch(epoch: Epoch, generation: u32, kind: EpochKind) -> [u8; 9] {
    let mut place = [0; 9];
    place[..4].copy_from_slice(&epoch.0.to_be_bytes());
    place[4..8].copy_from_slice(&generation.to_be_bytes());
    place[8] = kind as u8;
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StreamName {
        text.parse().unwrap()
    }

    #[test]
    fn a_root_unwraps_in_its_own_place_only() {
        let key = EpochKey::generate(Epoch(20_000), 1, EpochKind::Sessions);
        let (root, link) = (SessionRoot::generate(), KeyLink::random());
        let wrapped = key.wrap_root(&name("clicks"), link, &root);
        assert_eq!(wrapped.len(), 73);
        let back = key.unwrap_root(&name("clicks"), link, &wrapped).unwrap();
        assert_eq!(back.0.bytes(), root.0.bytes());
        assert!(key.unwrap_root(&name("orders"), link, &wrapped).is_err());
        assert!(key.unwrap_root(&name("clicks"), KeyLink::random(), &wrapped).is_err());
        assert!(key.unwrap_day_secret(&wrapped).is_err());
        let same_secret = |epoch, generation, kind| {
            EpochKey::with(Secret::copied_from(key.secret.bytes()).unwrap(), Epoch(epoch), generation, kind)
        };
        assert!(
            same_secret(20_000, 1, EpochKind::Sessions).unwrap_root(&name("clicks"), link, &wrapped).is_ok()
        );
        for moved in [
            same_secret(20_001, 1, EpochKind::Sessions),
            same_secret(20_000, 2, EpochKind::Sessions),
            same_secret(20_000, 1, EpochKind::NoConsent),
        ] {
            assert_eq!(moved.unwrap_root(&name("clicks"), link, &wrapped).err(), Some(UnwrapError::Refused));
        }
    }
}
