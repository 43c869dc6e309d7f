//! `[node]`: where the node keeps its data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Folder of everything the node stores; made when missing.
    pub data_dir: PathBuf,
}

impl Default for Node {
    fn default() -> Node {
        Node { data_dir: super::DEFAULT_DATA_DIR.into() }
    }
}
