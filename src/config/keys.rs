//! `[keys]`: the master key and the life of session keys.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ConfigError, demand};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// Where the master key is: `file:PATH` (made on first start when missing, mode 0600; a relative
    /// path is taken from the data folder) or `env:NAME`.
    pub master: String,
    /// Seconds a session key is used, from its creation.
    pub rotate_after_s: u64,
    /// Open session keys held in memory, at most; the others are read again when needed.
    pub open_max: usize,
    /// Hours after the end of its day's keys that an epoch is closed.
    pub close_after_h: u32,
    /// Seconds after an erasure by which none of its keys can be rebuilt from the disk.
    pub erase_within_s: u32,
}

/// A parsed `keys.master`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterSource {
    File(PathBuf),
    Environment(String),
}

/// `keys.master` names no known kind of place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("keys.master takes file:PATH or env:NAME")]
pub struct MasterSourceError;

impl Default for Keys {
    fn default() -> Keys {
        Keys {
            master: "file:master.key".to_owned(),
            rotate_after_s: 86_400,
            open_max: 2_000_000,
            close_after_h: 1,
            erase_within_s: 600,
        }
    }
}

impl Keys {
    /// The place of the master key; relative paths are taken from `data_dir`.
    ///
    /// # Errors
    ///
    /// [`MasterSourceError`]: correct `[keys] master`.
    pub fn master_source(&self, data_dir: &Path) -> Result<MasterSource, MasterSourceError> {
        match self.master.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(MasterSource::File(data_dir.join(path))),
            Some(("env", name)) if !name.is_empty() => Ok(MasterSource::Environment(name.to_owned())),
            _ => Err(MasterSourceError),
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let known = self.master_source(Path::new(".")).is_ok();
        demand(known, "keys.master", "takes file:PATH or env:NAME")?;
        demand(
            (1..=86_400).contains(&self.rotate_after_s),
            "keys.rotate_after_s",
            "takes 1 to 86400 seconds",
        )?;
        demand(self.open_max >= 1_000, "keys.open_max", "must be at least 1000")?;
        demand(self.close_after_h <= 48, "keys.close_after_h", "takes 0 to 48 hours")?;
        demand(
            (300..=86_400).contains(&self.erase_within_s),
            "keys.erase_within_s",
            "takes 300 to 86400 seconds",
        )
    }
}
