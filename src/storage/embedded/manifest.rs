//! Are the engine's lists of tables whole? Asked before the engine opens them.
//!
//! Every keyspace has a file `vN` that lists its tables (levels, checksums, sequence numbers) and a file
//! `current` that names it with its checksum. The engine (lsm-tree 3.1.10) writes that checksum and never
//! compares it, so one flipped bit in a level or a sequence number would change what is served.
//! ```text
//! current = N u64 | xxh3-128 of vN u128 | 0                all integers little-endian
//! ```

use std::{io, path::Path};

use xxhash_rust::xxh3::xxh3_128;

use crate::storage::OpenError;

/// Checks the list of every keyspace in `folder`.
pub(super) fn check(folder: &Path) -> Result<(), OpenError> {
    let keyspaces = match std::fs::read_dir(folder.join("keyspaces")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        keyspaces => keyspaces.map_err(unusable)?,
    };
    for keyspace in keyspaces {
        let path = keyspace.map_err(unusable)?.path();
        // Without a list the keyspace was being made or deleted: the engine's own business.
        if path.join("current").try_exists().map_err(unusable)? && !is_whole(&path).map_err(unusable)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            return Err(OpenError::Damaged { what: format!("the list of tables in keyspaces/{name}") });
        }
    }
    Ok(())
}

fn is_whole(keyspace: &Path) -> io::Result<bool> {
    let current = std::fs::read(keyspace.join("current"))?;
    let Some((number, checksum)) = current.split_first_chunk::<8>() else { return Ok(false) };
    let Some((checksum, [0])) = checksum.split_first_chunk::<16>() else { return Ok(false) };
    match std::fs::read(keyspace.join(format!("v{}", u64::from_le_bytes(*number)))) {
        Ok(list) => Ok(xxh3_128(&list) == u128::from_le_bytes(*checksum)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn unusable(error: io::Error) -> OpenError {
    OpenError::Io(error.into())
}
