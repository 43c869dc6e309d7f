//! Epoch keys, wrapped: a small file each, outside of the engine.
//!
//! The engine's journal keeps what was removed until it is written out, and its tables until they are
//! merged. Everything that an epoch key wraps is lost with it, so that of all bytes only these few have to
//! be gone at once: a file is overwritten with zeros, synced and unlinked.
//! ```text
//! epoch-keys/k<epoch>.<kind>.<place> = wrapped key | xxh3-64 of it, little-endian
//! ```
//! A file is durable before the catalog names it, and goes after the catalog has forgotten it; what a crash
//! leaves between is shredded at the next opening.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

/// The folder of epoch keys.
pub(in super::super) struct Vault(PathBuf);

impl Vault {
    /// Opens the folder in `data`, made first when there is none, and shreds what `named` does not hold.
    pub(in super::super) fn open(data: &Path, named: &HashSet<String>) -> io::Result<Vault> {
        let vault = Vault(data.join("epoch-keys"));
        fs::create_dir_all(&vault.0)?;
        File::open(data)?.sync_all()?;
        for entry in fs::read_dir(&vault.0)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !named.contains(&name) {
                vault.shred(&name)?;
            }
        }
        Ok(vault)
    }

    /// Keeps `wrapped` under `name`. Durable when this returns.
    pub(super) fn keep(&self, name: &str, wrapped: &[u8]) -> io::Result<()> {
        let mut file = File::create(self.0.join(name))?;
        file.write_all(&[wrapped, &xxh3_64(wrapped).to_le_bytes()].concat())?;
        file.sync_all()?;
        self.sync()
    }

    /// What is kept under `name`; `InvalidData` when it is not what was kept.
    pub(in super::super) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut kept = fs::read(self.0.join(name))?;
        let at = kept.len().checked_sub(8).ok_or(io::ErrorKind::InvalidData)?;
        let checksum = kept.split_off(at);
        if checksum != xxh3_64(&kept).to_le_bytes() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(kept)
    }

    /// Destroys what is kept under `name`, if anything is.
    pub(super) fn shred(&self, name: &str) -> io::Result<()> {
        let path = self.0.join(name);
        let mut file = match OpenOptions::new().write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX).min(SHRED_BYTES_MAX);
        file.write_all(&vec![0; length])?;
        file.sync_all()?;
        fs::remove_file(&path)?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

/// Far more than any wrapped key has.
const SHRED_BYTES_MAX: usize = 64 << 10;
