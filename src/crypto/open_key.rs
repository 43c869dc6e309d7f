//! Open key: what ingest seals fields with and what consent filters open them with.
//!
//! ```text
//! field text = base64, standard alphabet, padded, of
//!              0x01 | key id u32 BE | sealed          (Tink's TINK output prefix)
//! sealed     = see `xchacha` and `siv`
//! ```
//! Must never: leave this process, appear in a log or a `Debug`, or outlive its lease.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::{Zeroize, Zeroizing};

use super::{session_root::SessionRoot, siv, xchacha};
use crate::{
    clock::Timestamp,
    domain::{Fingerprint, KeyLink, Suite},
};

/// The derived key material of one session for one epoch, shared as `Arc<OpenKey>`.
///
/// 112 bytes, 128 with the counters of its `Arc`, which is a size class of jemalloc: a million live
/// sessions fit in 200 bytes each with their map entry. Hence the packed times.
pub struct OpenKey {
    /// K_enc | K_nonce, or K_siv.
    material: [u8; 64],
    key_link: KeyLink,
    key_id: u32,
    created_ms: [u8; 6],
    lifetime_ms: [u8; 5],
    /// The first data subject of the key; zeros for none.
    subject: [u8; 16],
    flags: AtomicU8,
}

const _: () = assert!(size_of::<OpenKey>() == 112);

const FLAG_CONSENTED: u8 = 1;
const FLAG_SIV: u8 = 2;
const CREATED_MS_MAX: i64 = (1 << 48) - 1;
const LIFETIME_MS_MAX: i64 = (1 << 40) - 1;
const PREFIX_BYTES: usize = 5;
/// Sealed fields up to this size are built on the stack.
const STACK_BYTES: usize = 256;
/// One sealing in this many is opened again at once.
pub(super) const CHECK_EVERY: u32 = 10_000;

/// A field did not open again to what was sealed: memory, processor or code is faulty. Stop the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed field did not open again")]
pub struct SealMismatch;

/// Why a field stays sealed. None of them is worth a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a field text at all: not base64 in its one canonical form, too short, no prefix.
    #[error("the text is not a sealed field")]
    Malformed,
    /// Sealed under another key: look up the key by the event's key link.
    #[error("the field was sealed under another key")]
    OtherKey,
    /// Altered, moved from another field or session, or not sealed by Sluice.
    #[error("the sealed field is not authentic")]
    Refused,
    /// Authentic, but not UTF-8: never sealed through a contract.
    #[error("the opened field is not text")]
    NotText,
}

impl OpenKey {
    /// Derives the key of `suite` from a session's root, straight into its place on the heap.
    ///
    /// `created` must lie in 1970..=10889 and `expires` within 34 years after it; both are kept to the
    /// millisecond inside and clamped outside.
    #[must_use]
    pub fn from_root(
        root: &SessionRoot,
        suite: Suite,
        key_link: KeyLink,
        key_id: u32,
        created: Timestamp,
        expires: Timestamp,
        consented: bool,
    ) -> Arc<OpenKey> {
        let created = Timestamp(created.0.clamp(0, CREATED_MS_MAX));
        let lifetime = expires.since(created).clamp(0, LIFETIME_MS_MAX);
        let siv_flag = if suite == Suite::Aes256Siv { FLAG_SIV } else { 0 };
        let mut shared = Arc::new(OpenKey {
            material: [0; 64],
            key_link,
            key_id,
            created_ms: low_bytes(created.0),
            lifetime_ms: low_bytes(lifetime),
            subject: [0; 16],
            flags: AtomicU8::new(siv_flag | if consented { FLAG_CONSENTED } else { 0 }),
        });
        let key = Arc::get_mut(&mut shared).expect("nobody else has it yet");
        match suite {
            Suite::XChaCha20Poly1305 => xchacha::derive(root, &mut key.material),
            Suite::Aes256Siv => siv::derive(root, &mut key.material),
        }
        shared
    }

    /// The key with the data subject that it is registered for in the KeyStore. Before it is shared.
    #[must_use]
    pub fn of_subject(mut self: Arc<OpenKey>, subject: Option<Fingerprint>) -> Arc<OpenKey> {
        if let Some(key) = Arc::get_mut(&mut self) {
            key.subject = subject.map_or([0; 16], |subject| subject.0);
        }
        self
    }

    /// The data subject that the key is registered for; there may be more.
    #[must_use]
    pub fn subject(&self) -> Option<Fingerprint> {
        (self.subject != [0; 16]).then_some(Fingerprint(self.subject))
    }

    /// Seals `plain` and appends the field text to `out`. Equal `plain` and `class` give equal text.
    ///
    /// `class` is the field's equality class, authenticated and not contained in the text.
    ///
    /// # Errors
    ///
    /// [`SealMismatch`]: the sampled check failed; `out` is as before. Stop the node.
    pub fn seal(&self, class: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), SealMismatch> {
        let (before, after) = self.overhead();
        let length = PREFIX_BYTES + before + plain.len() + after;
        let mut stack = [0; STACK_BYTES];
        let mut heap = Vec::new();
        let raw = match stack.get_mut(..length) {
            Some(raw) => raw,
            None => {
                heap.resize(length, 0);
                heap.as_mut_slice()
            }
        };
        raw[0] = 1;
        raw[1..PREFIX_BYTES].copy_from_slice(&self.key_id.to_be_bytes());
        let sealed = &mut raw[PREFIX_BYTES..];
        sealed[before..before + plain.len()].copy_from_slice(plain);
        match self.suite() {
            Suite::XChaCha20Poly1305 => xchacha::seal(&self.material, class, sealed),
            Suite::Aes256Siv => siv::seal(&self.material, class, sealed),
        }
        let start = out.len();
        out.resize(start + length.div_ceil(3) * 4, 0);
        STANDARD.encode_slice(raw, &mut out[start..]).expect("the length was computed");
        if check_is_due() && !self.opens_again(class, plain, &out[start..]) {
            out.truncate(start);
            return Err(SealMismatch);
        }
        Ok(())
    }

    /// Opens a field text and appends the plain text, which is UTF-8, to `out`.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; `out` is as before.
    pub fn open(&self, class: &[u8], text: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        let start = out.len();
        let opened = self.open_behind(class, text, out);
        if opened.is_err() {
            out[start..].zeroize();
            out.truncate(start);
        }
        opened
    }

    fn open_behind(&self, class: &[u8], text: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        let (before, after) = self.overhead();
        let start = out.len();
        out.resize(start + text.len().div_ceil(4) * 3, 0);
        let raw = &mut out[start..];
        let length = STANDARD.decode_slice(text, raw).map_err(|_| OpenError::Malformed)?;
        if length < PREFIX_BYTES + before + after || raw[0] != 1 {
            return Err(OpenError::Malformed);
        }
        if raw[1..PREFIX_BYTES] != self.key_id.to_be_bytes() {
            return Err(OpenError::OtherKey);
        }
        let sealed = &mut raw[PREFIX_BYTES..length];
        let authentic = match self.suite() {
            Suite::XChaCha20Poly1305 => xchacha::open(&self.material, class, sealed),
            Suite::Aes256Siv => siv::open(&self.material, class, sealed),
        };
        if !authentic {
            return Err(OpenError::Refused);
        }
        let plain = PREFIX_BYTES + before..length - after;
        if std::str::from_utf8(&raw[plain.clone()]).is_err() {
            return Err(OpenError::NotText);
        }
        let plain_length = plain.len();
        raw.copy_within(plain, 0);
        raw[plain_length..].zeroize();
        out.truncate(start + plain_length);
        Ok(())
    }

    fn opens_again(&self, class: &[u8], plain: &[u8], text: &[u8]) -> bool {
        let Ok(raw) = STANDARD.decode(text) else { return false };
        let raw = Zeroizing::new(raw);
        let Some((prefix, sealed)) = raw.split_at_checked(PREFIX_BYTES) else { return false };
        if prefix[0] != 1 || prefix[1..] != self.key_id.to_be_bytes() {
            return false;
        }
        match self.suite() {
            Suite::XChaCha20Poly1305 => xchacha::second_opinion(&self.material, class, sealed, plain),
            Suite::Aes256Siv => siv::second_opinion(&self.material, class, sealed, plain),
        }
    }

    /// Sealed bytes before and after the text.
    fn overhead(&self) -> (usize, usize) {
        match self.suite() {
            Suite::XChaCha20Poly1305 => (xchacha::NONCE_BYTES, xchacha::TAG_BYTES),
            Suite::Aes256Siv => (siv::SIV_BYTES, 0),
        }
    }

    /// The cipher suite this key is for.
    #[must_use]
    pub fn suite(&self) -> Suite {
        if self.flags.load(Ordering::Relaxed) & FLAG_SIV == 0 {
            Suite::XChaCha20Poly1305
        } else {
            Suite::Aes256Siv
        }
    }

    /// The key's public name.
    #[must_use]
    pub fn key_link(&self) -> KeyLink {
        self.key_link
    }

    /// The id in every field text of this key.
    #[must_use]
    pub fn key_id(&self) -> u32 {
        self.key_id
    }

    /// When the session's key was made.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        Timestamp(from_low_bytes(&self.created_ms))
    }

    /// From when on nothing may be sealed or opened with this copy.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.created().plus_ms(from_low_bytes(&self.lifetime_ms))
    }

    /// Whether the session has consented to anything since the key was made.
    #[must_use]
    pub fn consented(&self) -> bool {
        self.flags.load(Ordering::Acquire) & FLAG_CONSENTED != 0
    }

    /// Notes that the session consented. True the first time: then it has to be stored, too.
    pub fn mark_consented(&self) -> bool {
        self.flags.fetch_or(FLAG_CONSENTED, Ordering::AcqRel) & FLAG_CONSENTED == 0
    }

    pub(super) fn material(&self) -> &[u8; 64] {
        &self.material
    }
}

impl Drop for OpenKey {
    fn drop(&mut self) {
        self.material.zeroize();
    }
}

/// True for the first sealing of a thread and every [`CHECK_EVERY`]th after it.
fn check_is_due() -> bool {
    thread_local!(static UNTIL_CHECK: Cell<u32> = const { Cell::new(0) });
    UNTIL_CHECK.with(|left| match left.get() {
        0 => {
            left.set(CHECK_EVERY - 1);
            true
        }
        n => {
            left.set(n - 1);
            false
        }
    })
}

fn low_bytes<const N: usize>(value: i64) -> [u8; N] {
    let mut low = [0; N];
    low.copy_from_slice(&value.to_le_bytes()[..N]);
    low
}

fn from_low_bytes(low: &[u8]) -> i64 {
    let mut whole = [0; 8];
    whole[..low.len()].copy_from_slice(low);
    i64::from_le_bytes(whole)
}

#[cfg(test)]
pub(super) mod tests;
