//! STUB, replaced when the branches meet: only what the command line needs of the configuration.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// Data folder of a node that was not told another.
pub const DEFAULT_DATA_DIR: &str = "./sluice-data";

/// What a node is told at start.
pub struct Config {
    /// Folder of everything the node keeps.
    pub data_dir: PathBuf,
    /// Address it listens on; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// What the command line says over the file and the environment.
#[derive(Default)]
pub struct Overrides {
    pub data_dir: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
}

impl Config {
    /// Reads `file` when given, then the environment, then `overrides`.
    pub fn load(_file: Option<&Path>, overrides: Overrides) -> anyhow::Result<Config> {
        Ok(Config {
            data_dir: overrides.data_dir.unwrap_or_else(|| DEFAULT_DATA_DIR.into()),
            listen: overrides.listen.unwrap_or((Ipv4Addr::LOCALHOST, 8080).into()),
        })
    }
}
