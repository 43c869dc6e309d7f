//! What an operator may set. One file per section of `cluster.toml`; unknown keys are errors.
//!
//! Order of precedence, last wins: built-in default, `cluster.toml` (`--config`), environment
//! (`SLUICE__<SECTION>__<KEY>`), command line. `cluster.toml` in the repository documents every key;
//! `tests/tidy.rs` compares it with these structures.

mod audit;
mod consent;
mod http;
mod keys;
mod log;
mod node;
mod oidc;
mod storage;
mod streams;
mod tokens;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::{
    audit::Audit,
    consent::Consent,
    http::Http,
    keys::{Keys, MasterSource, MasterSourceError},
    log::{Log, LogFormat},
    node::Node,
    oidc::{Oidc, OidcAlgorithm, is_loopback},
    storage::Storage,
    streams::Streams,
    tokens::Tokens,
};

/// Data folder when none is named, relative to the working folder.
pub const DEFAULT_DATA_DIR: &str = "sluice-data";

/// All settings of one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub node: Node,
    pub http: Http,
    pub tokens: Tokens,
    pub oidc: Oidc,
    pub storage: Storage,
    pub streams: Streams,
    pub keys: Keys,
    pub consent: Consent,
    pub audit: Audit,
    pub log: Log,
}

/// The settings cannot be used. The message names the key and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the settings cannot be read: {0}")]
    Unreadable(#[from] config::ConfigError),
    #[error("{key}: {rule}")]
    Value { key: &'static str, rule: &'static str },
}

impl Config {
    /// Reads the settings from `file` (if any) and the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: fix the file or the variable and start again.
    pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
        let mut builder = config::Config::builder();
        if let Some(file) = file {
            builder = builder.add_source(config::File::from(file).format(config::FileFormat::Toml));
        }
        let environment = config::Environment::with_prefix("SLUICE")
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true);
        let config: Config = builder.add_source(environment).build()?.try_deserialize()?;
        config.check()?;
        Ok(config)
    }

    /// Settings of a node that lives in `data_dir` and listens on a free loopback port.
    #[must_use]
    pub fn in_folder(data_dir: PathBuf) -> Config {
        let mut config = Config::default();
        config.node.data_dir = data_dir;
        config.http.listen = "127.0.0.1:0".parse().expect("a loopback address");
        config
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.http.check()?;
        self.tokens.check()?;
        self.oidc.check()?;
        self.storage.check()?;
        self.streams.check()?;
        self.keys.check()
    }
}

/// Refuses `key` with `rule` unless `holds`.
fn demand(holds: bool, key: &'static str, rule: &'static str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Value { key, rule }) }
}
