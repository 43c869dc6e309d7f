//! Checkpoints: what the log was at one size, signed. A C2SP tlog-checkpoint in a C2SP signed note.
//!
//! ```text
//! sluice/audit/3f9a0c1d5e6b7a88        origin: the key's own name, one log a key
//! 1042                                 size
//! 9zE...=                              base64 of the root
//!
//! — sluice/audit/3f9a0c1d5e6b7a88 base64(key id 4 | Ed25519 signature 64)
//! key     origin "+" hex(key id) "+" base64(0x01 | public key 32)
//! key id  the first 4 bytes of SHA-256(origin | 0x0A | 0x01 | public key)
//! ```
//! The signature is over the text up to and with the line end before the empty line. So every tool that
//! knows transparency logs can keep, witness and check them.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::merkle::Hash;

/// A size and its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub size: u64,
    pub root: Hash,
}

/// The public half of an audit key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKey([u8; 32]);

/// Why a checkpoint or a key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("this is not a checkpoint of an audit log")]
    Form,
    #[error("this is not the public key of an audit log")]
    KeyForm,
    #[error("the checkpoint is of another log, or was not signed with this key, or was altered")]
    Signature,
}

impl LogKey {
    /// The key with these 32 bytes.
    #[must_use]
    pub fn new(public: [u8; 32]) -> LogKey {
        LogKey(public)
    }

    /// The name of the log: the first 8 bytes of the key's hash.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("sluice/audit/{}", hex(&Sha256::digest(self.0)[..8]))
    }

    /// The text form that people keep.
    #[must_use]
    pub fn text(&self) -> String {
        let key = [&[ED25519_KIND][..], &self.0].concat();
        format!("{}+{}+{}", self.origin(), hex(&self.id()), STANDARD.encode(key))
    }

    /// Reads the text form; white space around it is ignored.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::KeyForm`].
    pub fn parse(text: &str) -> Result<LogKey, CheckpointError> {
        let mut parts = text.trim().splitn(3, '+');
        let bytes = parts.nth(2).and_then(|key| STANDARD.decode(key).ok());
        let Some([ED25519_KIND, key @ ..]) = bytes.as_deref() else { return Err(CheckpointError::KeyForm) };
        let key = LogKey(key.try_into().map_err(|_| CheckpointError::KeyForm)?);
        if key.text() == text.trim() { Ok(key) } else { Err(CheckpointError::KeyForm) }
    }

    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(self.origin())
            .chain_update([b'\n', ED25519_KIND])
            .chain_update(self.0)
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

impl Checkpoint {
    /// The note, signed by `sign`, which holds the private half of `key`.
    #[must_use]
    pub fn sign(&self, key: &LogKey, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> String {
        let body = self.body(key);
        let signature = [&key.id()[..], &sign(body.as_bytes())].concat();
        format!("{body}\n\u{2014} {} {}\n", key.origin(), STANDARD.encode(signature))
    }

    /// Reads a note and checks that `key` signed it. Lines of other signers are ignored.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`].
    pub fn open(note: &str, key: &LogKey) -> Result<Checkpoint, CheckpointError> {
        let (text, signatures) = note.split_once("\n\n").ok_or(CheckpointError::Form)?;
        let mut lines = text.split('\n');
        let (origin, size, root) = (lines.next(), lines.next(), lines.next());
        let size: u64 = size.and_then(|size| size.parse().ok()).ok_or(CheckpointError::Form)?;
        let root = root.and_then(|root| STANDARD.decode(root).ok()?.try_into().ok());
        let checkpoint = Checkpoint { size, root: root.ok_or(CheckpointError::Form)? };
        let body = checkpoint.body(key);
        if origin != Some(&key.origin()) || body != format!("{text}\n") || !note.ends_with('\n') {
            return Err(CheckpointError::Signature);
        }
        let ours = format!("\u{2014} {} ", key.origin());
        let public = UnparsedPublicKey::new(&ED25519, key.0);
        let good = |line: &str| -> Option<()> {
            let signature = STANDARD.decode(line.strip_prefix(&ours)?).ok()?;
            let signature = signature.strip_prefix(&key.id())?;
            public.verify(body.as_bytes(), signature).ok()
        };
        if signatures.lines().any(|line| good(line).is_some()) {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::Signature)
        }
    }

    fn body(&self, key: &LogKey) -> String {
        format!("{}\n{}\n{}\n", key.origin(), self.size, STANDARD.encode(self.root))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Signature type of Ed25519 in signed notes.
const ED25519_KIND: u8 = 1;

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn pair(seed: u8) -> (Ed25519KeyPair, LogKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let key = LogKey::new(pair.public_key().as_ref().try_into().unwrap());
        (pair, key)
    }

    fn signed(size: u64) -> (String, LogKey) {
        let (pair, key) = pair(1);
        let checkpoint = Checkpoint { size, root: [7; 32] };
        (checkpoint.sign(&key, |text| pair.sign(text).as_ref().try_into().unwrap()), key)
    }

    #[test]
    fn a_checkpoint_opens_under_its_own_key_only() {
        let (note, key) = signed(42);
        assert_eq!(Checkpoint::open(&note, &key), Ok(Checkpoint { size: 42, root: [7; 32] }));
        assert_eq!(Checkpoint::open(&note, &pair(2).1), Err(CheckpointError::Signature));
        assert_eq!(LogKey::parse(&format!(" {}\n", key.text())), Ok(key.clone()));
        assert_eq!(LogKey::parse(&key.text().replace('+', "-")), Err(CheckpointError::KeyForm));
    }

    #[test]
    fn no_altered_byte_of_a_checkpoint_is_taken() {
        let (note, key) = signed(1_042);
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut bytes = note.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(altered) = String::from_utf8(bytes) else { continue };
                assert!(Checkpoint::open(&altered, &key).is_err(), "byte {at} bit {bit}: {altered}");
            }
        }
    }
}
