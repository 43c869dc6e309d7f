//! `[audit]`: where the newest checkpoint of the audit log is written.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// File that always holds the newest signed checkpoint; relative to the data folder. None: no file.
    pub checkpoint_file: Option<PathBuf>,
}
