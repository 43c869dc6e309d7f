//! Session root S: the only secret of a session key that is ever stored, and only wrapped.

use super::secret::{Secret, fill_random};

/// 32 random bytes, one per session, epoch and generation. [`super::OpenKey`] is derived from it.
pub struct SessionRoot(pub(super) Secret);

impl SessionRoot {
    /// A new random root.
    #[must_use]
    pub fn generate() -> SessionRoot {
        SessionRoot(Secret::random())
    }

    #[cfg(test)]
    pub(super) fn from_bytes(bytes: &[u8; 32]) -> SessionRoot {
        SessionRoot(Secret::copied_from(bytes).expect("32 bytes"))
    }
}

/// A random key id, never 0: Tink reserves 0.
#[must_use]
pub fn random_key_id() -> u32 {
    loop {
        let mut bytes = [0; 4];
        fill_random(&mut bytes);
        match u32::from_be_bytes(bytes) {
            0 => {}
            id => return id,
        }
    }
}
