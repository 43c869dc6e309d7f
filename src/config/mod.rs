//! STUB, replaced when the branches meet: only what the command line needs of the configuration.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Data folder of a node that was not told another.
pub const DEFAULT_DATA_DIR: &str = "sluice-data";

pub struct Config {
    pub node: Node,
    pub http: Http,
}

pub struct Node {
    pub data_dir: PathBuf,
}

pub struct Http {
    pub listen: SocketAddr,
}

impl Config {
    pub fn load(_file: Option<&Path>) -> anyhow::Result<Config> {
        Ok(Config::in_folder(DEFAULT_DATA_DIR.into()))
    }

    pub fn in_folder(data_dir: PathBuf) -> Config {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Config { node: Node { data_dir }, http: Http { listen } }
    }
}
